"""T3, embedding probe: do frozen embeddings tell an attribute of patients the attacker never saw?

Tonekaboni et al. (arXiv 2510.12950), test T3. From a prompt that holds no code of the class comes
one embedding; an attacker who knows the attribute of some members fits a classifier and applies it
to the others. phigate subtracts how well the same classifier does on nonmembers: what embeddings
say of anybody is medicine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from checker import stats
from checker.attacks.api import Access, CellEvidence, Measurement, Metric, Observes, Params, Probe
from checker.attacks.observations import booleans, in_subgroup
from checker.errors import InsufficientData
from checker.stats.auc import MIN_GROUP
from checker.stats.estimate import Estimate

__all__ = ["EmbeddingObservations", "EmbeddingProbe", "EmbeddingProbeParams"]


class EmbeddingProbeParams(Params):
    """Parameters of `embedding-probe`."""

    label_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the members whose attribute the attacker knows"
    )
    classifier: Literal["logistic", "mlp"] = Field(
        "logistic", description="logistic regression, or a network with one hidden layer"
    )


@dataclass(frozen=True, slots=True)
class EmbeddingObservations:
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
    unanswered: int = 0

    def distinct_prompt_share(self, *, everybody: bool) -> None:
        """Return None: a classifier that sees nothing of a patient tells nothing apart."""
        return

    def eligible(self, *, member: bool) -> None:
        """Return None: the AUROC asks for enough patients itself."""
        return

    def base_scores(self) -> None:
        """Return None: the nonmembers' AUROC already says what the prompt tells of anybody."""
        return


class EmbeddingProbe(Probe):
    """How well a classifier on embeddings tells who has a class."""

    name: ClassVar[str] = "embedding-probe"
    title: ClassVar[str] = "Embedding probe"
    paper_test: ClassVar[str | None] = "T3"
    access: ClassVar[Access] = "embeddings"
    observes: ClassVar[Observes] = "embeddings"
    needs_attribute_class: ClassVar[bool] = True
    needs_whole_record: ClassVar[bool] = False
    params_type: ClassVar[type[Params]] = EmbeddingProbeParams
    metrics: ClassVar[dict[str, Metric]] = {
        metric.name: metric
        for metric in (
            Metric(
                "probe_auroc",
                "AUROC of a classifier on members' embeddings",
                "auroc",
                takes_everybody=True,
                identifying_prompts=False,
            ),
            Metric(
                "excess_probe_auroc",
                "the same beyond nonmembers",
                "auroc-difference",
                takes_everybody=True,
                identifying_prompts=False,
            ),
        )
    }

    @classmethod
    def observations(cls, evidence: CellEvidence) -> EmbeddingObservations:
        """Take the scores of one subgroup."""
        table = evidence.tables["probe-scores"][0]
        keep = in_subgroup(table, evidence.subgroup)
        return EmbeddingObservations(
            member=booleans(table, "member")[keep],
            positive=booleans(table, "positive")[keep],
            score=table["score"].to_numpy().astype(np.float64)[keep],
            fitted=table.num_rows > 0,
        )

    @classmethod
    def measure(
        cls,
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

    @classmethod
    def placebo(
        cls,
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
