"""T4: how well a score of the whole record tells members from nonmembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Measuring, Metric, Observations
from checker.attacks.membership_inference import MembershipInferenceParams
from checker.attacks.tables import booleans, in_subgroup
from checker.kinds import score_column
from checker.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class ScoreObservations(Observations):
    """Membership scores of n patients; higher is more member-like.

    Args:
        member: [n] bool.
        scores: name of the score to [n] float64.
    """

    member: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]


class MembershipMeasuring(Measuring[ScoreObservations, MembershipInferenceParams]):
    """Takes membership scores; the estimators ask for enough patients themselves."""

    def observations(self, evidence: CellEvidence) -> ScoreObservations:
        """Put the scores of all jobs together and keep one subgroup.

        With a reference model there is one more score, "reference-ratio": how much more likely
        than the reference model the model finds a record, per token (log of the ratio, in nats).
        """
        table = pa.concat_tables(evidence.tables["scores"])
        keep = in_subgroup(table, evidence.subgroup)
        columns = {"loss": "loss"} | {
            score: score_column(score, evidence.params.k) for score in ("min-k", "min-k++")
        }
        scores = {
            score: table[column].to_numpy().astype(np.float64)[keep]
            for score, column in columns.items()
        }
        unanswered = 0
        if evidence.reference:
            other = pa.concat_tables(evidence.reference["scores"])
            by_patient = dict(
                zip(other["patient"].to_pylist(), other["loss"].to_pylist(), strict=True)
            )
            patients = [
                p for p, wanted in zip(table["patient"].to_pylist(), keep, strict=True) if wanted
            ]
            unanswered = sum(patient not in by_patient for patient in patients)
            if not unanswered:
                reference = np.array(
                    [by_patient[patient] for patient in patients], dtype=np.float64
                )
                scores["reference-ratio"] = scores["loss"] - reference
        return ScoreObservations(
            member=booleans(table, "member")[keep], scores=scores, unanswered=unanswered
        )

    def group(
        self,
        metric: Metric,
        observations: ScoreObservations,
        *,
        member: bool,
        params: MembershipInferenceParams,
    ) -> NDArray[np.float64]:
        """Return one split's scores."""
        chosen = observations.member == member
        scores: NDArray[np.float64] = observations.scores[params.score][chosen]
        return scores

    def roc(
        self,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
    ) -> Sequence[tuple[float, Estimate]]:
        """Return whom the score catches at which price, for the report's chart."""
        scores = observations.scores[params.score]
        members, nonmembers = scores[observations.member], scores[~observations.member]
        return stats.roc(members, nonmembers, confidence=confidence)


MEASURE = MembershipMeasuring()
