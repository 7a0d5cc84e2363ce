"""Families without a scale of their own: gaps between distances, bits of exposure, ε.

What is resampled has no announced probability of a pass: its spread is not known before the data,
so only whether there are enough can be said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from checker import stats
from checker.attacks.families.base import Family, Measurement, Power, Sample, seeded
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from checker.attacks.families.samples import Guesses

Values: TypeAlias = "NDArray[np.float64]"

_SEED = 20251012
"""Of the resamples. One for all: bounds must be monotone in the confidence they are asked for."""


class Gap(Family["Values"]):
    """How much smaller a distance is for members than for nonmembers; 0 is no difference."""

    name: ClassVar[str] = "gap"
    is_excess: ClassVar[bool] = True
    largest: ClassVar[float | None] = 2.0

    def measure(
        self, members: Values, nonmembers: Values | None, *, confidence: float
    ) -> Measurement:
        """Subtract the members' mean from the nonmembers'."""
        assert nonmembers is not None  # an excess is taken over somebody
        gap = stats.bootstrap_mean_difference(
            nonmembers, members, confidence=confidence, rng=seeded(_SEED)
        )
        return Measurement(
            gap,
            self.mean(members, confidence=confidence),
            self.mean(nonmembers, confidence=confidence),
        )

    def mean(self, values: Values, *, confidence: float) -> Estimate | None:
        """Return a mean that stands beside the gap; None where there is nothing to resample."""
        try:
            return stats.bootstrap_mean(values, confidence=confidence, rng=seeded(_SEED))
        except InsufficientData:
            return None

    def placebo(
        self, nonmembers: Values, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the means of two halves."""
        from checker.stats.bootstrap import bootstrap, mean_difference

        shuffled = rng.permutation(nonmembers)
        half = len(shuffled) // 2
        return bootstrap(
            mean_difference,
            (shuffled[:half], shuffled[half:]),
            confidence=confidence,
            rng=rng,
            min_sample=stats.MIN_SAMPLE // 2,  # halves of as many as the gap asks for
        )

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Say whether there are enough in both splits."""
        return Power.of_sizes(sample, needed=stats.MIN_SAMPLE)


class Bits(Family["Values"]):
    """Mean exposure of planted canaries among those left out; 1.44 bits is chance."""

    name: ClassVar[str] = "bits"
    needs_identifying_prompts: ClassVar[bool] = False
    of_patients: ClassVar[bool] = False
    largest: ClassVar[float | None] = None

    def measure(
        self, members: Values, nonmembers: Values | None, *, confidence: float
    ) -> Measurement:
        """Rank the planted canaries among those left out."""
        assert nonmembers is not None  # they are ranked among somebody
        return Measurement(stats.mean_exposure(members, nonmembers, confidence=confidence))

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Say whether there are enough canaries of both kinds."""
        return Power.of_sizes(sample, needed=stats.MIN_CANARIES)


class Epsilon(Family["Guesses"]):
    """A lower bound for the ε of differential privacy; nothing bounds it from above."""

    name: ClassVar[str] = "epsilon"
    needs_identifying_prompts: ClassVar[bool] = False
    of_patients: ClassVar[bool] = False
    largest: ClassVar[float | None] = None

    def measure(
        self, members: Guesses, nonmembers: Guesses | None = None, *, confidence: float
    ) -> Measurement:
        """Bound ε by the guesses that were right; the value is the bound at confidence 0.5."""
        low, middle = (
            stats.epsilon_lower_bound(
                members.correct,
                guesses=members.n,
                canaries=members.canaries,
                delta=members.delta,
                confidence=level,
            )
            for level in (confidence, 0.5)
        )
        return Measurement(
            Estimate(
                value=max(middle, low),
                low=low,
                high=math.inf,
                n=members.canaries,
                confidence=confidence,
                method=f"one training run, {members.correct} of {members.n} guesses right,"
                f" {members.chosen}",
            )
        )

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """No number of canaries bounds ε from above."""
        return Power(can_pass=False)
