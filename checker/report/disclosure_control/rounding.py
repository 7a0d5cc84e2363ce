"""Numbers known only up to rounding: what a shared report says instead of exact ones.

Counts are rounded to multiples of a unit, and what is said of a rate is said of the rounded counts:
its bounds are the widest that any counts rounded alike would give. So they hold the true bounds,
and who reads them learns the rounded counts and nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from checker.stats.estimate import ReportedEstimate
from checker.stats.intervals import clopper_pearson, square_and_add

Intervals = NDArray[np.float64]
"""[k, 2]: lower and upper ends."""


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
        """Round a count, halves up, never to none.

        >>> rounding = Rounding(11)
        >>> [rounding.count(n) for n in (3, 14, 15, 80, 84)]
        [10, 10, 20, 80, 80]
        """
        return self.unit * max(1, math.floor((count + self.unit // 2) / self.unit))

    def ends(self, count: float) -> tuple[int, int]:
        """Return the least and the greatest count that is rounded like this one.

        >>> Rounding(11).ends(80)
        (75, 84)
        """
        rounded, below = self.count(count), self.unit // 2
        least = 1 if rounded == self.unit else rounded - below
        return least, rounded + self.unit - below - 1

    def rate(self, number: ReportedEstimate) -> RoundedRate:
        """Round a share of patients; `few` and `nearly all` are each one value, none included."""
        n, hits = number.n or 0, hits_of(number)
        rounded, ends = self.count(n), self.ends(n)
        if hits < self.min_cell:
            corners = tuple((float(min(x, m)), m) for x, m in product((0, self.unit), ends))
            return RoundedRate(min(0.5, self.unit / 2 / rounded), corners, few=True)
        if n - hits < self.min_cell:
            corners = tuple((float(max(0, m - x)), m) for x, m in product((0, self.unit), ends))
            return RoundedRate(max(0.5, 1 - self.unit / 2 / rounded), corners, few=False)
        corners = tuple((float(min(x, m)), m) for x, m in product(self.ends(hits), ends))
        return RoundedRate(min(1.0, self.count(hits) / rounded), corners, few=False)

    def intervals(self, numbers: Sequence[ReportedEstimate], *, confidence: float) -> Intervals:
        """Return the interval that each corner of what may be true would give.

        Args:
            numbers: one rate, or two of which the second is subtracted from the first.
            confidence: of each bound.
        """
        sides = [_limits(self.rate(number).corners, confidence=confidence) for number in numbers]
        if len(sides) == 1:
            _, low, high = sides[0]
            return np.stack([low, high], axis=-1)
        (value, low, high), second = sides
        across = value[:, None], low[:, None], high[:, None]
        _, low, high = square_and_add(across, second)
        return np.stack([low, high], axis=-1).reshape(-1, 2)

    def few_of(self, n: int, *, confidence: float) -> Intervals:
        """Return the intervals that few hits among n would give, at the ends of what may be."""
        corners = [(float(min(x, m)), m) for x, m in product((0, self.unit), self.ends(n))]
        _, low, high = _limits(corners, confidence=confidence)
        return np.stack([low, high], axis=-1)

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


def _limits(
    corners: Sequence[tuple[float, int]], *, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return value, lower and upper limit of each corner."""
    hits, n = np.array(corners, dtype=np.float64).T
    return hits / n, *clopper_pearson(hits, n, confidence=confidence)
