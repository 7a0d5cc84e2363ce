"""Bounds for means of values in [0, 1] that hold at any n and use how little the values vary.

Counting a mean of probabilities as if it were a share of coin tosses throws away what is known: no
value varies more than a coin, and most vary far less. Betting bounds (Waudby-Smith & Ramdas 2024,
J. R. Stat. Soc. B 86:1, "Estimating means of bounded random variables by betting") have neither
fault. Whoever bets that the mean exceeds m, at stakes that depend on what came before only, plays a
fair game where it does not, so that his capital Π (1 + λ_t (x_t - m)) exceeds 1/α with probability
at most α. The lower limit is the largest m at which it does; the upper one is that of 1 - x.

*Stakes* are their predictable plug-in, λ_t = √(2 ln(1/α₀) / (n σ̂²_{t-1})), cut off at c/m. With α₀
fixed they do not depend on the confidence, nor, but for the cut, on m: the capital falls with m, so
there is one limit, and limits at several confidences contain each other.

*Order.* Patients have none, and a limit must not depend on how evidence is sorted. A mean of fair
games is fair, so the capital is averaged over random orders of the values, the same in every run.

`confseq` on PyPI has such bounds, and with them a C++ extension to build and dependencies that are
not maintained; what is needed of it is this page.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData
from checker.stats.arrays import FloatArray, finite
from checker.stats.estimate import Estimate
from checker.stats.intervals import difference

MOST_AT_STAKE: Final = 0.85
"""c: so much of the capital is staked at most, so that no single value loses all of it."""

_TUNED_FOR: Final = 0.05  # α₀
_ORDERS: Final = 12
_ROUNDING: Final = 1e-9  # limits are found to so much, and widened by it


def betting_limits(values: ArrayLike, *, confidence: float) -> tuple[float, float]:
    """Return the lower and the upper limit of the mean of independent values, each one-sided.

    Args:
        values: [n] in [0, 1], at least one, in any order.
        confidence: of each limit, in (0, 1).

    Returns:
        Two numbers in [0, 1]; they enclose the mean of the values.

    >>> low, high = betting_limits([0.02] * 75, confidence=0.95)
    >>> 0 < low < 0.02 < high < 0.07
    True
    """
    x = _checked(values)
    mean = float(x.mean())
    low = _lower(x, confidence=confidence)
    high = 1.0 - _lower(1.0 - x[::-1], confidence=confidence)
    return min(max(low - _ROUNDING, 0.0), mean), max(min(high + _ROUNDING, 1.0), mean)


def bounded_mean(values: ArrayLike, *, confidence: float) -> Estimate:
    """Estimate the mean of independent values in [0, 1].

    Args:
        values: [n], one for each patient.
        confidence: of each bound, in (0, 1).

    Returns:
        The mean in [0, 1] with betting bounds.

    Raises:
        InsufficientData: there are no values.
    """
    x = _checked(values)
    low, high = betting_limits(x, confidence=confidence)
    return Estimate(float(x.mean()), low, high, len(x), confidence, "betting")


def bounded_mean_difference(first: ArrayLike, second: ArrayLike, *, confidence: float) -> Estimate:
    """Estimate the difference of the means of two independent groups of values in [0, 1].

    Args:
        first: [n1] of members.
        second: [n2] of nonmembers.
        confidence: of each bound, in (0, 1).

    Returns:
        The difference in [-1, 1], square-and-add over betting limits; its n counts both groups.

    Raises:
        InsufficientData: a group is empty.

    >>> alike = bounded_mean_difference([0.02] * 75, [0.02] * 75, confidence=0.95)
    >>> alike.value, alike.high < 0.05
    (0.0, True)
    """
    return difference(
        bounded_mean(first, confidence=confidence), bounded_mean(second, confidence=confidence)
    )


@cache
def zero_bound_mean(n: int, *, confidence: float) -> float:
    """Return the upper limit of a mean of which all n values were 0.

    >>> zero_bound_mean(70, confidence=0.95) < 0.05 < zero_bound_mean(60, confidence=0.95)
    True
    """
    return betting_limits(np.zeros(n), confidence=confidence)[1]


@cache
def means_needed(limit: float, *, confidence: float) -> int:
    """Return the fewest values, all 0, whose mean is shown to be within a limit.

    Args:
        limit: in (0, 1].
        confidence: of the bound, in (0, 1).

    >>> 59 <= means_needed(0.05, confidence=0.95) <= 75
    True
    """
    low, high = 0, 1
    while zero_bound_mean(high, confidence=confidence) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if zero_bound_mean(middle, confidence=confidence) > limit:
            low = middle
        else:
            high = middle
    return high


SPREAD_ASSUMED: Final = 0.1
"""Variance of q between patients that the plan assumes, as a share of a coin's of the same mean."""

MOST_SPREAD: Final = 0.99
"""Nearer to a coin's a beta distribution is no number any more."""


@cache
def pass_probability_mean_difference(
    n1: int,
    n2: int,
    *,
    limit: float,
    base_rate: float,
    confidence: float,
    excess: float = 0.0,
    spread: float | None = None,
) -> float:
    """Return about how probably a difference of means passes.

    Both groups are taken to follow the beta distribution of that mean with the spread. The
    distances from the means to their limits are those of its quantiles, and the difference of the
    means is normal.

    Args:
        n1: members, at least 1.
        n2: nonmembers, at least 1.
        limit: upper limit of the difference, in [0, 1].
        base_rate: mean of the nonmembers, in [0, 1].
        confidence: of the bound, in (0, 1).
        excess: by which the members' mean is truly higher, up to 1.
        spread: variance between patients as a share of a coin's; None for `SPREAD_ASSUMED`.

    Returns:
        In [0, 1].
    """
    inside = min(base_rate + excess, 1.0)
    if zero_bound_mean(n1, confidence=confidence) > limit:
        return 0.0
    reach, varies = _reach_and_spread(
        (n1, inside), (n2, base_rate), confidence=confidence, spread=spread
    )
    left = limit - (inside - base_rate) - reach
    if varies == 0:
        return float(left >= 0)
    return float(scipy.special.ndtr(left / varies))


def pass_probability_mean_less_gap(
    n1: int,
    n2: int,
    *,
    limit: float,
    base_rate: float,
    confidence: float,
    gap_error: float,
    gap: float | None = None,
    truth: tuple[float, float] = (0.0, 0.0),
    spread: float | None = None,
) -> float:
    """Return about how probably a difference of means passes from which a gap is taken.

    As `stats.pass_probability_less_gap`, whose arguments it has, and the spread of
    `pass_probability_mean_difference`.
    """
    if zero_bound_mean(n1, confidence=confidence) > limit:
        return 0.0
    if gap is None:
        within = 2 * float(scipy.special.ndtr(limit / gap_error)) - 1
        left_over, varies = 0.0, gap_error
    else:
        within = float(abs(gap) <= limit)
        left_over, varies = truth[0] - gap, truth[1]
    reach, own = _reach_and_spread(
        (n1, base_rate), (n2, base_rate), confidence=confidence, spread=spread
    )
    left = limit - left_over
    left -= math.hypot(reach, float(scipy.special.ndtri(confidence)) * gap_error)
    around = math.hypot(own, varies)
    return within * (float(scipy.special.ndtr(left / around)) if around else float(left >= 0))


def _reach_and_spread(
    members: tuple[int, float],
    nonmembers: tuple[int, float],
    *,
    confidence: float,
    spread: float | None,
) -> tuple[float, float]:
    """Return how far the bound lies above a difference of means, and how far that varies.

    Args:
        members: how many, and their true mean.
        nonmembers: the same.
        confidence: of the bound.
        spread: of the values of both; None for `SPREAD_ASSUMED`.
    """
    share = SPREAD_ASSUMED if spread is None else min(spread, MOST_SPREAD)
    inside, outside = (_typical(*one, spread=share) for one in (members, nonmembers))
    above = betting_limits(inside, confidence=confidence)[1] - inside.mean()
    below = outside.mean() - betting_limits(outside, confidence=confidence)[0]
    varying = sum(mean * (1 - mean) / n for n, mean in (members, nonmembers))
    return math.hypot(above, below), math.sqrt(share * varying)


def _typical(n: int, mean: float, *, spread: float) -> FloatArray:
    """Return n values that are spread like the beta distribution with a mean and a spread."""
    if mean in (0.0, 1.0) or not spread:
        return np.full(n, mean)
    weight = 1 / spread - 1
    at = (np.arange(n) + 0.5) / n
    values: FloatArray = scipy.special.betaincinv(mean * weight, (1 - mean) * weight, at)
    return values


def _checked(values: ArrayLike) -> FloatArray:
    """Return the values, sorted: not even rounding may depend on their order."""
    x = np.sort(finite(values))
    if not len(x):
        raise InsufficientData("patients", needed=1, got=0)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError("values must lie in [0, 1]")
    return x


def _lower(x: FloatArray, *, confidence: float) -> float:
    """Return the largest mean that is excluded from below, or 0 where none is."""
    ordered, stakes = _game(x)
    wanted = -math.log1p(-confidence)  # log 1/α

    def beyond(m: float) -> float:
        return _log_capital(ordered, stakes, m) - wanted

    mean = float(x.mean())
    if mean <= 0 or beyond(0.0) <= 0:
        return 0.0
    if beyond(mean) >= 0:
        return mean
    return float(scipy.optimize.brentq(beyond, 0.0, mean, xtol=_ROUNDING / 2))


def _game(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the values in several orders and what is staked on each, [orders, n] both."""
    n = len(x)
    ordered = x[_random_orders(n)]
    seen = np.arange(1, n + 1)
    means = (0.5 + ordered.cumsum(axis=1)) / (seen + 1)
    spread = (0.25 + ((ordered - means) ** 2).cumsum(axis=1)) / (seen + 1)
    before = np.concatenate([np.full((len(ordered), 1), 0.25), spread[:, :-1]], axis=1)
    return ordered, np.sqrt(-2 * math.log(_TUNED_FOR) / (n * before))


def _random_orders(n: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(n)
    return rng.permuted(np.tile(np.arange(n), (_ORDERS, 1)), axis=1)


def _log_capital(ordered: FloatArray, stakes: FloatArray, m: float) -> float:
    cut = MOST_AT_STAKE / m if m > 0 else math.inf
    gains = np.log1p(np.minimum(stakes, cut) * (ordered - m)).sum(axis=1)
    return float(scipy.special.logsumexp(gains) - math.log(len(gains)))
