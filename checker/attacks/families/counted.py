"""Families of shares of patients: rates, means in [0, 1], and what exceeds nonmembers.

Patients who share a prompt share what becomes of it, so they are one sampling unit: `Clusters`
turns outcomes by prompt into the counts that the bounds are computed from (METHODS §1, §4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from checker import stats
from checker.attacks.families.base import Family, Measurement, Power, Sample
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate
from checker.stats.power import (
    pass_probability_difference,
    pass_probability_difference_in_differences,
    pass_probability_rate,
    positives_needed,
    zero_hit_bound_difference,
    zero_hit_bound_difference_in_differences,
    zero_hit_bound_rate,
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Hits among patients, or among as many as carry the same information.

    Args:
        hits: in [0, n]; fractional for shares, and where patients share prompts.
        n: patients.
        of: who they are, for the message when there is nobody.
        partial: more are planned; bounds then have to hold at whatever number sampling stops.
    """

    hits: float
    n: int
    of: str = "patients"
    partial: bool = False

    def estimate(self, *, confidence: float) -> Estimate:
        """Return the rate.

        Raises:
            InsufficientData: n is 0.
        """
        if self.n == 0:
            raise InsufficientData(self.of, needed=1, got=0)
        bounds = stats.sequential_rate if self.partial else stats.rate
        return bounds(self.hits, self.n, confidence=confidence)


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """How often two models disagreed about the same patients.

    Args:
        target_only: hits of the model under audit alone, whole or fractional.
        reference_only: hits of the reference model alone.
        n: all patients.
        of: who they are, for the message when there is nobody.
    """

    target_only: float
    reference_only: float
    n: int
    of: str = "patients"


@dataclass(frozen=True, slots=True)
class Clusters:
    """Outcomes by prompt with the number of patients who share it: the sampling units.

    Args:
        value: [k] float64, one per distinct prompt: in [0, 1], or of two models the difference of
            such outcomes in [-1, 1].
        size: [k] int64, patients with that prompt.
    """

    value: NDArray[np.float64]
    size: NDArray[np.int64]

    @classmethod
    def by_prompt(cls, value: NDArray[np.float64], prompt: NDArray[np.int64]) -> Clusters:
        """Take the mean over the patients of each prompt.

        Args:
            value: [n] float64 in [0, 1], one per patient.
            prompt: [n] int64, equal for equal prompts.
        """
        _, row, size = np.unique(prompt, return_inverse=True, return_counts=True)
        return cls(np.bincount(row, weights=value, minlength=len(size)) / size, size)

    def counted(self, of: str = "patients", *, partial: bool = False) -> Counts:
        """Return hits and patients that carry as much information as the clusters do.

        The rate is over patients; its n is Kish's effective sample size (Σm)² / Σm² for outcomes
        that are equal within a prompt, rounded down. With one patient a prompt it is the number of
        patients, with equally many it is the number of prompts.

        Reference:
            Kish 1965, Survey Sampling, section 5.4 (design effect at intraclass correlation 1).
        """
        patients = int(self.size.sum())
        if patients == 0:
            return Counts(0.0, 0, of, partial)
        n = int(patients**2 // int((self.size**2).sum()))
        return Counts(float(self.value @ self.size) / patients * n, n, of, partial)

    def paired(self, of: str = "patients") -> PairedCounts:
        """Return how often each of two models was alone, where the values are differences."""
        target, reference = (
            Clusters(np.maximum(gap, 0), self.size).counted() for gap in (self.value, -self.value)
        )
        return PairedCounts(target.hits, reference.hits, target.n, of)

    def halves(self, rng: np.random.Generator) -> tuple[Clusters, Clusters]:
        """Cut the prompts in two at random."""
        chosen = np.zeros(len(self.size), dtype=np.bool_)
        chosen[rng.permutation(len(chosen))[: len(chosen) // 2]] = True
        first, second = (Clusters(self.value[i], self.size[i]) for i in (chosen, ~chosen))
        return first, second


class Rate(Family[Counts, Clusters]):
    """A share of members, nothing subtracted."""

    name: ClassVar[str] = "rate"
    needs_identifying_prompts: ClassVar[bool] = False
    is_share: ClassVar[bool] = True
    takes_max_count: ClassVar[bool] = True
    counted_from: ClassVar[tuple[str, ...]] = ("members",)
    has_sequence: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True

    def measure(
        self, members: Counts, nonmembers: Counts | None = None, *, confidence: float
    ) -> Measurement:
        """Estimate the members' rate."""
        rate = members.estimate(confidence=confidence)
        return Measurement(rate, members=rate)

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound of a rate without hits."""
        return Counts(0, found.estimate.n, partial=partial).estimate(confidence=confidence).high

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Enumerate the hits of a rate."""
        n = sample.members
        missing = max(0, self.positives_needed(limit, confidence=confidence) - n)
        if n == 0:
            return Power(can_pass=False, needed_more=max(missing, 1), base_rate=base_rate)
        chance = pass_probability_rate(
            n, limit=limit, base_rate=base_rate, confidence=confidence
        )
        bound = zero_hit_bound_rate(n, confidence=confidence)
        return _counted_power(limit, bound, chance, missing=missing, base_rate=base_rate)


class RateDifference(Family[Counts, Clusters]):
    """A share of members beyond the same share of nonmembers."""

    name: ClassVar[str] = "rate-difference"
    is_excess: ClassVar[bool] = True
    is_share: ClassVar[bool] = True
    counted_from: ClassVar[tuple[str, ...]] = ("members", "nonmembers")
    has_sequence: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True

    def measure(
        self, members: Counts, nonmembers: Counts | None, *, confidence: float
    ) -> Measurement:
        """Subtract the nonmembers' rate from the members'."""
        assert nonmembers is not None  # an excess is taken over somebody
        inside = members.estimate(confidence=confidence)
        outside = nonmembers.estimate(confidence=confidence)
        subtract = stats.sequential_difference if members.partial else stats.rate_difference
        excess = subtract(
            members.hits, members.n, nonmembers.hits, nonmembers.n, confidence=confidence
        )
        return Measurement(excess, inside, outside)

    def placebo(
        self, nonmembers: Clusters, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the rates of two halves, a prompt counting once."""
        return stats.placebo_difference(nonmembers.value, confidence=confidence, rng=rng)

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound of a difference where neither group has a hit."""
        if found.members is None or found.nonmembers is None:
            return None
        sizes = found.members.n, found.nonmembers.n
        if partial:
            return stats.sequential_difference(
                0, sizes[0], 0, sizes[1], confidence=confidence
            ).high
        return zero_hit_bound_difference(*sizes, confidence=confidence)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Enumerate the hits of both groups."""
        sizes = sample.members, sample.nonmembers
        missing = max(0, self.positives_needed(limit, confidence=confidence) - sample.members)
        if not all(sizes):
            return Power(can_pass=False, needed_more=max(missing, 1), base_rate=base_rate)
        chance = pass_probability_difference(
            *sizes, limit=limit, base_rate=base_rate, confidence=confidence
        )
        bound = zero_hit_bound_difference(*sizes, confidence=confidence)
        return _counted_power(limit, bound, chance, missing=missing, base_rate=base_rate)


class MeanDifference(RateDifference):
    """A mean of values in [0, 1] beyond the same mean of nonmembers.

    The bounds take each value for a coin toss, which varies most.
    """

    name: ClassVar[str] = "mean-difference"
    counted_from: ClassVar[tuple[str, ...]] = ()
    has_sequence: ClassVar[bool] = False
    varies_less_than_planned: ClassVar[bool] = True


class DifferenceInDifferences(Family[PairedCounts, Clusters]):
    """An excess of the model under audit beyond that of a reference model (METHODS §3)."""

    name: ClassVar[str] = "difference-in-differences"
    is_excess: ClassVar[bool] = True
    is_share: ClassVar[bool] = True
    decided_by_zero_hits: ClassVar[bool] = True
    varies_less_than_planned: ClassVar[bool] = True

    def measure(
        self, members: PairedCounts, nonmembers: PairedCounts | None, *, confidence: float
    ) -> Measurement:
        """Subtract, patient by patient, what the reference model tells."""
        assert nonmembers is not None  # an excess is taken over somebody
        for group in (members, nonmembers):
            if group.n == 0:
                raise InsufficientData(group.of, needed=1, got=0)
        inside, outside = (
            (group.target_only, group.reference_only, group.n) for group in (members, nonmembers)
        )
        return Measurement(
            stats.difference_in_differences(inside, outside, confidence=confidence),
            stats.paired_difference(*inside, confidence=confidence),
            stats.paired_difference(*outside, confidence=confidence),
        )

    def placebo(
        self, nonmembers: Clusters, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract the paired differences of two halves."""
        first, second = (half.paired("eligible nonmembers") for half in nonmembers.halves(rng))
        return self.measure(first, second, confidence=confidence).estimate

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the bound where the models never disagree."""
        if found.members is None or found.nonmembers is None:
            return None
        return zero_hit_bound_difference_in_differences(
            found.members.n, found.nonmembers.n, confidence=confidence
        )

    def positives_needed(self, limit: float, *, confidence: float) -> int:
        """Return how many each split needs: two equal bounds are squared and added."""
        return positives_needed(limit / math.sqrt(2), confidence=confidence)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Take the models as hitting independently: at worst as likely to pass as so."""
        sizes = sample.members, sample.nonmembers
        needed = self.positives_needed(limit, confidence=confidence)
        short = Power.short_of(sample, needed=needed).model_copy(update={"base_rate": base_rate})
        if not all(sizes):
            return short
        bound = zero_hit_bound_difference_in_differences(*sizes, confidence=confidence)
        chance = pass_probability_difference_in_differences(
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
