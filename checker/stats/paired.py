"""Differences between two outcomes of the same patients, and differences of those.

Two models are asked about the same patient, or one rollout is compared with two sets of records.
Only the discordant outcomes count: with b patients hit in the first alone and c in the second
alone, the difference is (b - c) / n. Its bounds are square-and-add limits (Zou 2007, Psychol.
Methods 12:399) over the Clopper-Pearson limits of b/n and c/n with the correlation of two counts of
a multinomial, -√(b·c / ((n - b)(n - c))).

Chosen by enumerating all outcomes for n 30 to 400, limits 0.01 to 0.3 and second-only shares 0 to
0.3 at 95 %. At the limit false passes and false fails are at most

* 4.8 and 4.7 % as done here,
* 5.8 and 8.8 % with the score interval of Tango (1998, Stat. Med. 17:891), which is above 5.1 % on
  32 of the 210 points for passes and on 87 for fails,
* 10.6 and 10.5 % over Clopper-Pearson limits without the correlation,
* 5.8 and 5.7 % over Wilson limits with it.

A difference in differences, (target - reference) among members minus the same among nonmembers, is
square-and-add over two such differences of independent groups: at most 4.3 and 4.0 %, enumerated
for 30 to 100 patients a group.

Counts may be fractional: for outcomes x, y in [0, 1] give Σ max(x - y, 0) and Σ max(y - x, 0),
which is conservative because counts of the same means vary more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from checker.errors import InsufficientData
from checker.stats.arrays import FloatArray
from checker.stats.estimate import Estimate
from checker.stats.intervals import clopper_pearson, difference, square_and_add


def discordant(first: ArrayLike, second: ArrayLike) -> tuple[float, float, int]:
    """Return what `paired_difference` takes, from two outcomes of each patient.

    Args:
        first: [n] in [0, 1], hit or share of hits of each patient by the first model.
        second: [n] in [0, 1], the same patients by the second.

    Returns:
        Hits of the first alone, of the second alone, and n.

    >>> discordant([1, 1, 0, 0.5], [0, 1, 1, 0.25])
    (1.25, 1.0, 4)
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError("paired outcomes must be two one-dimensional arrays of equal length")
    for outcomes in (one, two):
        if not ((outcomes >= 0) & (outcomes <= 1)).all():  # NaN fails too
            raise ValueError("outcomes must lie in [0, 1]")
    gap = one - two
    return float(np.maximum(gap, 0).sum()), float(np.maximum(-gap, 0).sum()), len(gap)


def paired_limits(
    first_only: ArrayLike, second_only: ArrayLike, n: ArrayLike, *, confidence: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return value, lower and upper limit of paired differences.

    Args:
        first_only: [...] patients hit in the first outcome alone, whole or fractional.
        second_only: [...] in the second alone; with `first_only` at most n.
        n: patients, at least 1; broadcasts.
        confidence: of each limit, in (0, 1).

    Returns:
        Three arrays of the broadcast shape, in [-1, 1].
    """
    b, c, size = (np.asarray(each, np.float64) for each in (first_only, second_only, n))
    both_vary = (b > 0) & (c > 0) & (b < size) & (c < size)
    rest = np.where(both_vary, (size - b) * (size - c), 1.0)
    correlation = np.where(both_vary, -np.minimum(np.sqrt(b * c / rest), 1.0), 0.0)
    return square_and_add(
        (b / size, *clopper_pearson(b, size, confidence=confidence)),
        (c / size, *clopper_pearson(c, size, confidence=confidence)),
        correlation=correlation,
    )


def paired_difference(
    first_only: float, second_only: float, n: int, *, confidence: float
) -> Estimate:
    """Estimate the difference of two rates that were measured on the same patients.

    Args:
        first_only: patients hit in the first outcome and not in the second, whole or fractional.
        second_only: patients hit in the second and not in the first; together at most n.
        n: all patients, those hit in both or neither too.
        confidence: of each bound, in (0, 1).

    Returns:
        first rate minus second rate, in [-1, 1].

    Raises:
        InsufficientData: n is 0.

    >>> more = paired_difference(30, 10, 200, confidence=0.95)
    >>> round(more.value, 2), round(more.low, 3), round(more.high, 3)
    (0.1, 0.046, 0.155)
    """
    if n <= 0:
        raise InsufficientData("patients", needed=1, got=0)
    # fractional counts are sums, so together they may exceed n by rounding
    if min(first_only, second_only) < 0 or first_only + second_only > n * (1 + 1e-9):
        raise ValueError(
            f"discordant counts must be at least 0 and together at most n = {n}, got"
            f" {first_only} and {second_only}"
        )
    value, low, high = paired_limits(
        min(first_only, n), min(second_only, n), n, confidence=confidence
    )
    method = "paired square-and-add over clopper-pearson"
    return Estimate(float(value), float(low), float(high), n, confidence, method)


def difference_in_differences(
    members: tuple[float, float, int],
    nonmembers: tuple[float, float, int],
    *,
    confidence: float,
) -> Estimate:
    """Estimate (in - out) of the target minus (in - out) of the reference.

    What both models show of members alike, because members are easier to guess than nonmembers,
    cancels; what is left, only the target learned from them.

    Args:
        members: target-only hits, reference-only hits and number of members, as `discordant` of
            (target, reference) returns them.
        nonmembers: the same of nonmembers.
        confidence: of each bound, in (0, 1).

    Returns:
        The difference in [-2, 2]; its n counts members and nonmembers.

    Raises:
        InsufficientData: a group is empty.

    >>> beyond = difference_in_differences((40, 5, 100), (6, 5, 100), confidence=0.95)
    >>> round(beyond.value, 2), round(beyond.low, 2), round(beyond.high, 2)
    (0.34, 0.22, 0.46)
    """
    return difference(
        paired_difference(*members, confidence=confidence),
        paired_difference(*nonmembers, confidence=confidence),
        largest=2.0,
    )
