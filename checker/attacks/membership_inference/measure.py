"""T4: how well a score of the whole record tells members from nonmembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import (
    CellEvidence,
    Measuring,
    Metric,
    Observations,
    ScoredPatients,
)
from checker.attacks.families import SplitAuroc
from checker.attacks.membership_inference import STRONGEST, MembershipInferenceParams
from checker.attacks.tables import booleans, in_subgroup
from checker.kinds import score_column
from checker.stats.estimate import Estimate

Scores = NDArray[np.float64]

_BESIDE = {"own-ratio": "own_ratio", "declared-ratio": "reference_ratio"} | {
    name: name for name in ("loss", "min-k", "min-k++")
}


@dataclass(frozen=True, slots=True)
class ScoreObservations(Observations):
    """Membership scores of n patients; higher is more member-like.

    Args:
        member: [n] bool.
        scores: name of the score to [n] float64.
        patients: [n] pseudonyms; None where nobody is told from whom a score is.
        half, placebo: of a learned score, [n] each: one of two random halves, and what the
            classifier says where it was to tell them apart; None of any other score.
        blind: of a learned score, what the classifier says where it sees nothing of the model: of
            all members and nonmembers who are judged, whatever the subgroup.
        declared: the same where it sees a declared reference alone; None without one.
    """

    member: NDArray[np.bool_]
    scores: dict[str, Scores]
    patients: NDArray[np.object_] | None = None
    half: NDArray[np.bool_] | None = None
    placebo: Scores | None = None
    blind: tuple[Scores, Scores] | None = None
    declared: tuple[Scores, Scores] | None = None

    @property
    def learned(self) -> bool:
        """Whether a classifier was fitted."""
        return self.blind is not None

    def blind_scores(self) -> tuple[Scores, Scores] | None:
        """Return the scores without the model, of members and nonmembers."""
        return self.blind

    def reference_scores(self) -> tuple[Scores, Scores] | None:
        """Return the scores from a declared reference alone, of members and nonmembers."""
        return self.declared


class MembershipMeasuring(Measuring[ScoreObservations, MembershipInferenceParams]):
    """Takes membership scores; the estimators ask for enough patients themselves."""

    def observations(self, evidence: CellEvidence) -> ScoreObservations:
        """Put the scores of all jobs together and keep one subgroup.

        With a reference model there is one more score, "reference-ratio": how much more likely
        than the reference model the model finds a record, per token (log of the ratio, in nats).
        """
        if "membership-scores" in evidence.tables:
            return _learned(evidence)
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
            member=booleans(table, "member")[keep],
            scores=scores,
            patients=_names(table)[keep],
            unanswered=unanswered,
        )

    def group(
        self,
        metric: Metric,
        observations: ScoreObservations,
        *,
        member: bool,
        params: MembershipInferenceParams,
    ) -> Scores:
        """Return one split's scores."""
        chosen = observations.member == member
        scores: Scores = observations.scores[params.score][chosen]
        return scores

    def reported(
        self,
        metric: Metric,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
    ) -> dict[str, Estimate]:
        """Return the classic scores of the same patients, by the same metric."""
        if not observations.learned:
            return {}
        family = metric.family
        member = observations.member
        return {
            f"{metric.name}_{_BESIDE[name]}".replace("-", "_"): family.measure(
                scores[member], scores[~member], confidence=confidence
            ).estimate
            for name, scores in observations.scores.items()
            if name != STRONGEST
        }

    def placebo(
        self,
        metric: Metric,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Tell two halves of the nonmembers apart, with a classifier that was taught to."""
        if not observations.learned:
            return super().placebo(
                metric, observations, params=params, confidence=confidence, rng=rng
            )
        if not isinstance(metric.family, SplitAuroc):
            return None
        assert observations.placebo is not None
        assert observations.half is not None
        first, second = (
            observations.placebo[~observations.member & (observations.half == half)]
            for half in (True, False)
        )
        return stats.auroc(first, second, confidence=confidence)

    def scored_patients(
        self, observations: ScoreObservations, *, params: MembershipInferenceParams
    ) -> ScoredPatients | None:
        """Return everybody's score, by which the control judges."""
        if observations.patients is None:
            return None
        scores, member = observations.scores[params.score], observations.member
        names = observations.patients[member].tolist()
        return ScoredPatients(names, scores[member], scores[~member])

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


def _names(table: pa.Table) -> NDArray[np.object_]:
    names: NDArray[np.object_] = table["patient"].to_numpy()
    return names


def _learned(evidence: CellEvidence) -> ScoreObservations:
    """Take what the learned attack left of the patients whom it was not fitted on."""
    (table,) = evidence.tables["membership-scores"]
    keep = in_subgroup(table, evidence.subgroup)
    columns = dict(_score_columns(table, k_percent=evidence.params.k))

    def column(name: str) -> Scores:
        values: Scores = table[name].to_numpy().astype(np.float64)[keep]
        return values

    member = booleans(table, "member")

    def of_all(name: str) -> tuple[Scores, Scores]:
        values: Scores = table[name].to_numpy().astype(np.float64)
        return values[member], values[~member]

    return ScoreObservations(
        member=member[keep],
        scores={name: column(of) for name, of in columns.items()},
        patients=_names(table)[keep],
        half=booleans(table, "half")[keep],
        placebo=column("placebo"),
        blind=of_all("blind"),
        declared=of_all("declared") if "declared" in table.column_names else None,
    )


def _score_columns(table: pa.Table, *, k_percent: float) -> Iterator[tuple[str, str]]:
    """Yield the scores of a table with their columns; of Min-K% the one that the cell asks for."""
    asked = {score_column(name, k_percent): name for name in ("min-k", "min-k++")}
    for column in table.column_names:
        kind, _, name = column.partition("@")
        if kind != "score":
            continue
        if name.partition("@")[0] not in ("min-k", "min-k++"):
            yield name, column
        elif name in asked:
            yield asked[name], column


MEASURE = MembershipMeasuring()
