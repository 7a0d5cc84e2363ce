"""How patients came to their splits, as the target declares it, and what is then demanded.

METHODS §3, *What the target declares*. Splits dealt by lot differ by chance only, and that chance
is inside every interval already: an objection has to *prove* that they differ otherwise. Splits
made in any other way have to be shown alike, and what the prompts promise more often in members is
subtracted. Where nothing is declared, both must be shown: nobody vouches for the lot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from checker import stats
from checker.attacks.families import Measurement
from checker.errors import InsufficientData
from checker.stats import false_alarms
from checker.verdict.comparability import base_rate_gap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from checker.attacks.api import Metric
    from checker.stats.estimate import Estimate

Assignment = Literal["random", "other"]
Expected = tuple["NDArray[np.float64]", "NDArray[np.float64]"]

PROVEN = 1 - false_alarms.SPLITS
"""Confidence of the bound that proves a difference between splits that were dealt by lot."""


@dataclass(frozen=True, slots=True)
class BaseRates:
    """What prompts promise of a class, in members and in nonmembers who have it (check (c)).

    Args:
        assignment: how the patients came to their splits; None where the target does not say.
        expected: predictions for eligible members and nonmembers.
        confidence: of the policy, or the attempt.
        proof: confidence of each of the two bounds that prove a difference; allows for all cells.
    """

    assignment: Assignment | None
    expected: Expected
    confidence: float
    proof: float

    def objection(
        self, *, limit: float, metric: Metric, measured: Measurement | None
    ) -> str | None:
        """Return why the gap keeps a number from counting, in a sentence, or None.

        Args:
            limit: of the cell.
            metric: that it measures.
            measured: what was found, less the gap where that is subtracted.
        """
        confidence = self.proof if self.assignment == "random" else self.confidence
        try:
            gap = base_rate_gap(*self.expected, confidence=confidence)
        except InsufficientData as lack:
            if self.assignment == "random":
                return None  # so few prove nothing
            return f"Base rates could not be compared: {lack}."
        found = (
            "From the prompt alone, a predictor fitted on nonmembers expects the class"
            f" {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}) more often in members than in"
            " nonmembers"
        )
        if self.subtracts(metric):
            if abs(gap.value) <= limit:
                return None
            return f"{found}; more than the limit, {limit:g}, cannot be made up for by subtracting."
        largest = max(-gap.low, gap.high)
        # a failure stands when even the largest gap that the data allow does not explain it
        if measured is not None and measured.estimate.low - largest > limit:
            return None
        if self.assignment == "random":
            if stats.contains(gap, 0):
                return None
            return f"{found}: splits that were dealt by lot would not differ by so much."
        if largest <= limit / 2:
            return None
        return f"{found}; within ±{limit / 2:.3f}, half the limit, it would not matter."

    def subtracts(self, metric: Metric) -> bool:
        """Whether the gap is taken off the metric: an excess of shares over nonmembers.

        An AUROC has another scale than a base rate, and over a reference model the gap cancels.
        """
        family = metric.family
        return (
            self.assignment == "other"
            and family.is_excess
            and family.is_share
            and not family.is_paired
        )

    def adjusted(self, measured: Measurement, *, metric: Metric) -> Measurement:
        """Subtract the gap, where it is to be subtracted and there is one.

        The two are taken as independent; they rise and fall together in a model that follows its
        prompts, so the bounds are rather too wide.
        """
        if not self.subtracts(metric):
            return measured
        estimate = measured.estimate
        try:
            gap = base_rate_gap(*self.expected, confidence=estimate.confidence)
        except InsufficientData:
            return measured  # `objection` keeps it from counting
        return replace(measured, estimate=_less(estimate, gap))


def _less(estimate: Estimate, gap: Estimate) -> Estimate:
    """Subtract a gap between the same patients, whose n therefore stays."""
    left = stats.difference(estimate, gap)
    method = f"{estimate.method}, less the base-rate gap ({gap.method})"
    return replace(left, n=estimate.n, method=method)
