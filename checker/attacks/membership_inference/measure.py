"""T4, membership inference: can one tell that a patient was in the training data?

Tonekaboni et al. (arXiv 2510.12950), test T4. The whole record's token log-probabilities come from
one forward pass; scores are the loss, Min-K% (Shi et al. 2024, arXiv 2310.16789), Min-K%++ (Zhang
et al. 2024, arXiv 2404.02936) and, where the target names a reference model, the ratio of the two
models' likelihoods per token (Carlini et al. 2021, arXiv 2012.07805, section 5.2 "comparing to
another model").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from checker import stats
from checker.attacks.api import Access, CellEvidence, Measurement, Metric, Observes, Params, Probe
from checker.attacks.observations import ScoreObservations, score_observations
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate

__all__ = ["MembershipInference", "MembershipInferenceParams"]


class MembershipInferenceParams(Params):
    """Parameters of `membership-inference`."""

    score: Literal["loss", "min-k", "min-k++", "reference-ratio"] = Field(
        "min-k", description="what tells members apart; reference-ratio needs a reference model"
    )
    k: Annotated[float, Field(gt=0, le=100)] = Field(20.0, description="percent of tokens")
    fpr: Annotated[float, Field(gt=0, lt=1)] = Field(0.01, description="of membership_tpr_at_fpr")


class MembershipInference(Probe):
    """How well a score of the whole record tells members from nonmembers."""

    name: ClassVar[str] = "membership-inference"
    title: ClassVar[str] = "Membership inference"
    paper_test: ClassVar[str | None] = "T4"
    access: ClassVar[Access] = "logprobs"
    observes: ClassVar[Observes] = "membership"
    needs_attribute_class: ClassVar[bool] = False
    needs_whole_record: ClassVar[bool] = True
    params_type: ClassVar[type[Params]] = MembershipInferenceParams
    metrics: ClassVar[dict[str, Metric]] = {
        metric.name: metric
        for metric in (
            Metric(
                "membership_auroc",
                "AUROC between members and nonmembers",
                "auroc",
                separates_splits=True,
            ),
            Metric(
                "membership_tpr_at_fpr",
                "true-positive rate at a fixed false-positive rate",
                "tpr",
                separates_splits=True,
            ),
        )
    }

    @classmethod
    def needs_reference(cls, params: MembershipInferenceParams) -> bool:
        """Whether the score is a ratio to a reference model's."""
        return params.score == "reference-ratio"

    @classmethod
    def observations(cls, evidence: CellEvidence) -> ScoreObservations:
        """Put the scores of all jobs together."""
        return score_observations(evidence)

    @classmethod
    def measure(
        cls,
        metric: str,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
    ) -> Measurement:
        """Estimate how well the score tells members from nonmembers."""
        scores = observations.scores[params.score]
        members, nonmembers = scores[observations.member], scores[~observations.member]
        if metric == "membership_auroc":
            return Measurement(stats.auroc(members, nonmembers, confidence=confidence))
        return Measurement(
            stats.tpr_at_fpr(members, nonmembers, fpr=params.fpr, confidence=confidence)
        )

    @classmethod
    def roc(
        cls,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
    ) -> Sequence[tuple[float, Estimate]]:
        """Return whom the score catches at which price, for the report's chart."""
        scores = observations.scores[params.score]
        members, nonmembers = scores[observations.member], scores[~observations.member]
        return stats.roc(members, nonmembers, confidence=confidence)

    @classmethod
    def placebo(
        cls,
        metric: str,
        observations: ScoreObservations,
        *,
        params: MembershipInferenceParams,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """AUROC between two random halves of the nonmembers: 0.5 but for chance."""
        if metric != "membership_auroc":
            return None
        nonmembers = observations.scores[params.score][~observations.member]
        if len(nonmembers) < 2:
            raise InsufficientData("nonmembers", needed=2, got=len(nonmembers))
        shuffled = rng.permutation(nonmembers)
        half = len(nonmembers) // 2
        return stats.auroc(shuffled[:half], shuffled[half:], confidence=confidence)
