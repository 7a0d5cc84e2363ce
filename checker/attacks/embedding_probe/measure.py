"""T3: how well a classifier on embeddings tells who has a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.attacks.api import CellEvidence, Measuring, Metric, Observations
from checker.attacks.embedding_probe import EmbeddingProbeParams
from checker.attacks.families.samples import Ranked
from checker.attacks.tables import booleans, in_subgroup
from checker.errors import InsufficientData


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

    def group(
        self,
        metric: Metric,
        observations: EmbeddingObservations,
        *,
        member: bool,
        params: EmbeddingProbeParams,
    ) -> Ranked:
        """Rank the patients of a split by what the classifier says of them."""
        if not observations.fitted:
            raise InsufficientData(
                "labelled members of either kind", needed=2, got=0, reason="too-few-labels"
            )
        split = observations.member == member
        positive = observations.positive[split]
        return Ranked(observations.score[split], positive, ~positive)


MEASURE = EmbeddingMeasuring()
