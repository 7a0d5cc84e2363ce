"""Families of shares of patients: rates, means in [0, 1], and what exceeds nonmembers.

Patients who share a prompt share what becomes of it, so they are one sampling unit:
`.samples.Clusters` turns outcomes by prompt into counts (METHODS §1, §4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from checker import stats
from checker.attacks.families.base import Family, Measurement, Power, Sample

if TYPE_CHECKING:
    import numpy as np

    from checker.attacks.families.samples import Clusters
    from checker.stats.estimate import Estimate


class Rate(Family["Clusters"]):
    """A share of members, nothing subtracted."""

    name: ClassVar[str] = "rate"
    needs_identifying_prompts: ClassVar[bool] = False
    is_share: ClassVar[bool] = True
    takes_max_count: ClassVar[bool] = True
    counts_hits: ClassVar[bool] = True
    has_sequence: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True

    @property
    def direction(self) -> Family[Clusters] | None:
        """The same beyond nonmembers: of those nobody may be found more often."""
        return RateDifference()

    def measure(
        self, members: Clusters, nonmembers: Clusters | None = None, *, confidence: float
    ) -> Measurement:
        """Estimate the members' rate."""
        rate = _rate(members, confidence=confidence)
        return Measurement(rate, members=rate)

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound of a rate without hits."""
        bounds = stats.sequential_rate if partial else stats.rate
        return bounds(0, found.estimate.n, confidence=confidence).high

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Enumerate the hits of a rate."""
        n = sample.members
        missing = max(0, self.positives_needed(limit, confidence=confidence) - n)
        if n == 0:
            return Power(can_pass=False, needed_more=max(missing, 1), base_rate=base_rate)
        chance = stats.pass_probability_rate(
            n, limit=limit, base_rate=base_rate, confidence=confidence
        )
        bound = stats.zero_hit_bound_rate(n, confidence=confidence)
        return _counted_power(limit, bound, chance, missing=missing, base_rate=base_rate)

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Enumerate the hits of a rate that is so high."""
        return stats.pass_probability_rate(
            sample.members,
            limit=limit,
            base_rate=min(times * limit, 1.0),
            confidence=confidence,
        )


class RateDifference(Family["Clusters"]):
    """A share of members beyond the same share of nonmembers."""

    name: ClassVar[str] = "rate-difference"
    is_excess: ClassVar[bool] = True
    is_share: ClassVar[bool] = True
    counts_hits: ClassVar[bool] = True
    has_sequence: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True

    def measure(
        self, members: Clusters, nonmembers: Clusters | None, *, confidence: float
    ) -> Measurement:
        """Subtract the nonmembers' rate from the members'."""
        assert nonmembers is not None  # an excess is taken over somebody
        subtract = stats.sequential_difference if members.partial else stats.rate_difference
        return Measurement(
            subtract(*members.counted(), *nonmembers.counted(), confidence=confidence),
            _rate(members, confidence=confidence),
            _rate(nonmembers, confidence=confidence),
        )

    def placebo(
        self, nonmembers: Clusters, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the rates of two halves, a prompt counting once."""
        return stats.placebo_difference(nonmembers.value, confidence=confidence, rng=rng)

    def placebo_misses(self, sample: Sample, *, confidence: float, base_rate: float) -> float:
        """Enumerate the hits of both halves."""
        n = sample.nonmembers
        if n < 2:
            return 1.0
        return stats.difference_misses_zero(
            n - n // 2, n // 2, base_rate=base_rate, confidence=confidence
        )

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound of a difference where neither group has a hit."""
        if found.members is None or found.nonmembers is None:
            return None
        sizes = found.members.n, found.nonmembers.n
        if partial:
            return stats.sequential_difference(0, sizes[0], 0, sizes[1], confidence=confidence).high
        return stats.zero_hit_bound_difference(*sizes, confidence=confidence)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Ask how likely groups without an excess pass."""
        missing = max(0, self.positives_needed(limit, confidence=confidence) - sample.members)
        if not sample.members or not sample.nonmembers:
            return Power(can_pass=False, needed_more=max(missing, 1), base_rate=base_rate)
        chance = self._chance(limit, sample, 0.0, confidence=confidence, base_rate=base_rate)
        bound = self._bound_of_none(sample, confidence=confidence)
        return _counted_power(limit, bound, chance, missing=missing, base_rate=base_rate)

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Ask how likely groups pass whose excess is so many times the limit."""
        return self._chance(
            limit, sample, times * limit, confidence=confidence, base_rate=base_rate
        )

    def _chance(
        self, limit: float, sample: Sample, excess: float, *, confidence: float, base_rate: float
    ) -> float:
        """Enumerate the hits of both groups."""
        return stats.pass_probability_difference(
            sample.members,
            sample.nonmembers,
            limit=limit,
            base_rate=base_rate,
            confidence=confidence,
            excess=excess,
        )

    def _bound_of_none(self, sample: Sample, *, confidence: float) -> float:
        return stats.zero_hit_bound_difference(
            sample.members, sample.nonmembers, confidence=confidence
        )


@dataclass(frozen=True)
class MeanDifference(RateDifference):
    """A mean of values in [0, 1] beyond the same mean of nonmembers.

    The bounds use how little the values vary (`checker.stats.betting`). Where patients share a
    prompt each value is taken for a coin toss, which varies most, as many as carry the information.

    Args:
        spread: for plans, the variance between patients as a share of a coin's; None where a plan
            has to assume it.
    """

    spread: float | None = None

    name: ClassVar[str] = "mean-difference"
    counts_hits: ClassVar[bool] = False
    has_sequence: ClassVar[bool] = False

    def varying(self, spread: float) -> MeanDifference:
        """Return the family that a plan asks with what it knows."""
        return replace(self, spread=spread)

    def measure(
        self, members: Clusters, nonmembers: Clusters | None, *, confidence: float
    ) -> Measurement:
        """Subtract the nonmembers' mean from the members'."""
        assert nonmembers is not None  # an excess is taken over somebody
        first, second = (_mean(one, confidence=confidence) for one in (members, nonmembers))
        if {first.method, second.method} != {"betting"}:
            # of unequal groups, counts are subtracted with the correlation that they need
            return super().measure(members, nonmembers, confidence=confidence)
        return Measurement(stats.difference(first, second), first, second)

    def placebo(
        self, nonmembers: Clusters, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the means of two halves, a prompt counting once."""
        first, second = nonmembers.halves(rng)
        return stats.bounded_mean_difference(first.value, second.value, confidence=confidence)

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound of the members' mean where nobody's value is more than 0."""
        if found.members is None or found.nonmembers is None:
            return None
        return stats.zero_bound_mean(found.members.n, confidence=confidence)

    def positives_needed(self, limit: float, *, confidence: float) -> int:
        """Return the fewest members whose mean of zeros is shown to be within the limit."""
        return stats.means_needed(limit, confidence=confidence)

    def _chance(
        self, limit: float, sample: Sample, excess: float, *, confidence: float, base_rate: float
    ) -> float:
        """Take q as spread like a beta distribution in both groups."""
        return stats.pass_probability_mean_difference(
            sample.members,
            sample.nonmembers,
            limit=limit,
            base_rate=base_rate,
            confidence=confidence,
            excess=excess,
            spread=self.spread,
        )

    def _bound_of_none(self, sample: Sample, *, confidence: float) -> float:
        return stats.zero_bound_mean(sample.members, confidence=confidence)


class DifferenceInDifferences(Family["Clusters"]):
    """An excess of the model under audit beyond that of a reference model (METHODS §3)."""

    name: ClassVar[str] = "difference-in-differences"
    is_excess: ClassVar[bool] = True
    is_paired: ClassVar[bool] = True
    is_share: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True
    varies_less_than_planned: ClassVar[bool] = True

    def measure(
        self, members: Clusters, nonmembers: Clusters | None, *, confidence: float
    ) -> Measurement:
        """Subtract, patient by patient, what the reference model tells."""
        assert nonmembers is not None  # an excess is taken over somebody
        inside, outside = members.discordant(), nonmembers.discordant()
        return Measurement(
            stats.difference_in_differences(inside, outside, confidence=confidence),
            stats.paired_difference(*inside, confidence=confidence),
            stats.paired_difference(*outside, confidence=confidence),
        )

    def placebo(
        self, nonmembers: Clusters, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the paired differences of two halves."""
        first, second = nonmembers.halves(rng)
        return self.measure(first, second, confidence=confidence).estimate

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound where the models never disagree."""
        if found.members is None or found.nonmembers is None:
            return None
        return stats.zero_hit_bound_difference_in_differences(
            found.members.n, found.nonmembers.n, confidence=confidence
        )

    def positives_needed(self, limit: float, *, confidence: float) -> int:
        """Return how many each split needs: two equal bounds are squared and added."""
        return stats.positives_needed(limit / math.sqrt(2), confidence=confidence)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Take the models as hitting independently: at worst as likely to pass as so."""
        sizes = sample.members, sample.nonmembers
        needed = self.positives_needed(limit, confidence=confidence)
        short = Power.short_of(sample, needed=needed).model_copy(update={"base_rate": base_rate})
        if not all(sizes):
            return short
        bound = stats.zero_hit_bound_difference_in_differences(*sizes, confidence=confidence)
        chance = stats.pass_probability_difference_in_differences(
            *sizes, limit=limit, base_rate=base_rate, confidence=confidence
        )
        return Power(
            can_pass=bound <= limit,
            zero_hit_bound=bound,
            needed_more=None if bound <= limit else short.needed_more,
            needed_more_nonmembers=None if bound <= limit else short.needed_more_nonmembers,
            pass_probability=chance,
            base_rate=base_rate,
        )


def _mean(group: Clusters, *, confidence: float) -> Estimate:
    if (group.size > 1).any():
        return _rate(group, confidence=confidence)
    return stats.bounded_mean(group.value, confidence=confidence)


def _rate(group: Clusters, *, confidence: float) -> Estimate:
    bounds = stats.sequential_rate if group.partial else stats.rate
    return bounds(*group.counted(), confidence=confidence)


def _counted_power(
    limit: float, bound: float, chance: float, *, missing: int, base_rate: float
) -> Power:
    return Power(
        can_pass=bound <= limit,
        zero_hit_bound=bound,
        needed_more=missing or None,
        pass_probability=chance if bound <= limit else 0.0,
        base_rate=base_rate,
    )
