"""Numbers known only up to rounding: what a shared report says instead of exact ones.

Counts are rounded to multiples of a unit, and what is said of a rate is said of the rounded counts:
its bounds are the widest that any counts rounded alike would give. So they hold the true bounds,
and who reads them learns the rounded counts and nothing more.

No rounded count stands for fewer counts than must be hidden: those from none to `minCell` - 1 are
one, and the first that is shown stands for all from `minCell` up to where the next one begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.stats.estimate import ReportedEstimate
from checker.stats.intervals import clopper_pearson, difference_limits

Intervals = NDArray[np.float64]
"""[k, 2]: lower and upper ends."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits that are rounded alike.

    Args:
        least, most: of them, or of those not hit.
        missed: the numbers count those who were not hit.
    """

    least: float
    most: float
    missed: bool = False

    def at(self, share: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
        """Return the hits among n patients that lie so far from the least to the most."""
        size = np.asarray(n, np.float64)
        count = np.minimum(self.least + (self.most - self.least) * np.asarray(share), size)
        return np.asarray(size - count if self.missed else count, np.float64)


@dataclass(frozen=True, slots=True)
class RoundedRate:
    """A rate whose hits and n are known only up to rounding.

    Args:
        value: that of the rounded counts.
        corners: (hits, n) at the ends of what may be true.
        few: so few hits that not even their rounded number may be said.
    """

    value: float
    corners: tuple[tuple[float, int], ...]
    few: bool


@dataclass(frozen=True, slots=True)
class Rounding:
    """Rounding of counts to multiples of a unit.

    Args:
        min_cell: fewest patients whose number may be said; counts are rounded to multiples of one
            less, so that two counts that are rounded alike may differ by as many as must be hidden.
    """

    min_cell: int

    @property
    def unit(self) -> int:
        """What counts are rounded to multiples of."""
        return max(1, self.min_cell - 1)

    def count(self, count: float) -> int:
        """Round a count, halves up; what is few never to none, what is not few never to few.

        >>> rounding = Rounding(11)
        >>> [rounding.count(n) for n in (3, 11, 14, 15, 80, 84)]
        [10, 20, 20, 20, 80, 80]
        """
        if count < self.min_cell:
            return self.unit
        return self.unit * max(2, math.floor((count + self.unit // 2) / self.unit))

    def ends(self, count: float) -> tuple[int, int]:
        """Return the least and the greatest count that is rounded like this one.

        >>> rounding = Rounding(11)
        >>> rounding.ends(3), rounding.ends(12), rounding.ends(80)
        ((0, 10), (11, 24), (75, 84))
        """
        if count < self.min_cell:
            return 0, self.min_cell - 1
        rounded, below = self.count(count), self.unit // 2
        least = self.min_cell if rounded == 2 * self.unit else rounded - below
        return least, rounded + self.unit - below - 1

    def hits(self, number: ReportedEstimate) -> tuple[Hits, bool]:
        """Return which hits a share may have, by its n, and whether they are few.

        `few` and `nearly all` are each one value, none and all included. Hits may be fractional, as
        of patients who share a prompt: then the greatest are those below the next ones.
        """
        n, hits = number.n or 0, hits_of(number)
        beyond = 0.0 if hits == round(hits) else 1.0
        if hits < self.min_cell:
            return Hits(0.0, self.unit + beyond), True
        if n - hits < self.min_cell:
            return Hits(0.0, self.unit + beyond, missed=True), False
        least, most = self.ends(hits)
        return Hits(float(least), most + beyond), False

    def rate(self, number: ReportedEstimate) -> RoundedRate:
        """Round a share of patients; `few` and `nearly all` are each one value, none included."""
        rounded, (least, most) = self.count(number.n or 0), self.ends(number.n or 0)
        hits, few = self.hits(number)
        sizes = (max(1, least), most)
        corners = tuple((float(hits.at(end, n)), n) for end, n in product((0.0, 1.0), sizes))
        if few:
            value = min(0.5, self.unit / 2 / rounded)
        elif hits.missed:
            value = max(0.5, 1 - self.unit / 2 / rounded)
        else:
            value = min(1.0, self.count(hits_of(number)) / rounded)
        return RoundedRate(value, corners, few=few)

    def intervals(self, numbers: Sequence[ReportedEstimate], *, confidence: float) -> Intervals:
        """Return the interval that each corner of what may be true would give.

        Args:
            numbers: one rate, or two of which the second is subtracted from the first.
            confidence: of each bound.
        """
        corners = [np.array(self.rate(number).corners).T for number in numbers]
        if len(corners) == 1:
            low, high = clopper_pearson(*corners[0], confidence=confidence)
            return np.stack([low, high], axis=-1)
        (hits, sizes), (others, other_sizes) = corners
        _, low, high = difference_limits(
            hits[:, None], sizes[:, None], others, other_sizes, confidence=confidence
        )
        return np.stack([low, high], axis=-1).reshape(-1, 2)

    def wide(self, number: ReportedEstimate, rates: Sequence[ReportedEstimate]) -> ReportedEstimate:
        """Say a rate, or a difference of two, as if of the rounded counts.

        Args:
            number: the estimate; its method and confidence are kept.
            rates: what it consists of, one or two.
        """
        values = [self.rate(rate).value for rate in rates]
        value = values[0] - sum(values[1:])
        found = self.intervals(rates, confidence=number.confidence)
        low, high = float(found[:, 0].min()), float(found[:, 1].max())
        return ReportedEstimate(
            value=tidy(min(max(value, low), high)),
            low=tidy(low),
            high=tidy(high),
            n=sum(self.count(rate.n or 0) for rate in rates),
            confidence=number.confidence,
            method=f"{number.method}, over counts rounded to {self.unit}",
        )


def outward(number: ReportedEstimate, *, step: float) -> ReportedEstimate:
    """Put a number on a grid: the value on the nearest line, each bound away from it.

    >>> number = ReportedEstimate(0.537, 0.511, 0.561, 90, 0.95, "DeLong")
    >>> on_grid = outward(number, step=0.05)
    >>> on_grid.value, on_grid.low, on_grid.high
    (0.55, 0.5, 0.6)
    """
    # what lies on a line but for rounding stays on it
    high = None if number.high is None else tidy(math.ceil(number.high / step - 1e-9) * step)
    return ReportedEstimate(
        value=tidy(round(number.value / step) * step),
        low=tidy(math.floor(number.low / step + 1e-9) * step),
        high=high,
        n=number.n,
        confidence=number.confidence,
        method=f"{number.method}, rounded outward",
    )


def hits_of(number: ReportedEstimate) -> float:
    """Return the hits behind a share; of a difference, those it makes."""
    hits = abs(number.value) * (number.n or 0)
    # a value is hits / n: what comes back from the division is off by a few ulps
    return float(round(hits)) if abs(hits - round(hits)) < 1e-6 else hits


def tidy(value: float) -> float:
    """Return a number without the digits that only arithmetic put there."""
    return round(value, 6) + 0.0
