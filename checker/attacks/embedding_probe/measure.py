"""T3: how well a classifier on embeddings tells who has a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Measurement, Measuring, Observations
from checker.attacks.embedding_probe import EmbeddingProbeParams
from checker.attacks.tables import booleans, in_subgroup
from checker.errors import InsufficientData
from checker.stats.auc import MIN_GROUP
from checker.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class EmbeddingObservations(Observations):
    """What a classifier says of n patients whose attribute the attacker does not know.

    Args:
        member: [n] bool.
        positive: [n] bool, has the class.
        score: [n] float64, probability of the class.
        fitted: False where the labelled members were too few of a kind for any classifier.
    """

    member: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    score: NDArray[np.float64]
    fitted: bool


class EmbeddingMeasuring(Measuring[EmbeddingObservations, EmbeddingProbeParams]):
    """Takes a classifier's scores.

    Shared prompts matter to none of it: a classifier that sees nothing of a patient tells nothing
    apart. What the prompt tells of anybody the nonmembers' AUROC already says.
    """

    def observations(self, evidence: CellEvidence) -> EmbeddingObservations:
        """Take the scores of one subgroup."""
        table = evidence.tables["probe-scores"][0]
        keep = in_subgroup(table, evidence.subgroup)
        return EmbeddingObservations(
            member=booleans(table, "member")[keep],
            positive=booleans(table, "positive")[keep],
            score=table["score"].to_numpy().astype(np.float64)[keep],
            fitted=table.num_rows > 0,
        )

    def measure(
        self,
        metric: str,
        observations: EmbeddingObservations,
        *,
        params: EmbeddingProbeParams,
        confidence: float,
    ) -> Measurement:
        """Estimate how well the classifier does on members, or beyond nonmembers."""
        if not observations.fitted:
            raise InsufficientData(
                "labelled members of either kind", needed=2, got=0, reason="too-few-labels"
            )
        inside = _auroc(observations, member=True, confidence=confidence)
        if metric == "probe_auroc":
            return Measurement(inside, members=inside)
        outside = _auroc(observations, member=False, confidence=confidence)
        return Measurement(stats.auroc_difference(inside, outside), inside, outside)

    def placebo(
        self,
        metric: str,
        observations: EmbeddingObservations,
        *,
        params: EmbeddingProbeParams,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Difference of the AUROCs of two random halves of the nonmembers.

        None where a half would be too small for DeLong's bounds: the comparison is then not made,
        and with so few the cell itself seldom decides.
        """
        if metric != "excess_probe_auroc":
            return None
        outside = np.flatnonzero(~observations.member)
        halves = np.array_split(rng.permutation(outside), 2)
        sizes = [(observations.positive[half].sum(), len(half)) for half in halves]
        if any(min(positives, n - positives) < MIN_GROUP for positives, n in sizes):
            return None
        first, second = (
            stats.auroc(
                observations.score[half[observations.positive[half]]],
                observations.score[half[~observations.positive[half]]],
                confidence=confidence,
            )
            for half in halves
        )
        return stats.auroc_difference(first, second)


def _auroc(observations: EmbeddingObservations, *, member: bool, confidence: float) -> Estimate:
    split = observations.member == member
    return stats.auroc(
        observations.score[split & observations.positive],
        observations.score[split & ~observations.positive],
        confidence=confidence,
    )


MEASURE = EmbeddingMeasuring()
