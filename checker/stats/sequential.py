"""Bounds that hold after every patient, so that an audit may stop as soon as a cell is decided.

Patients are drawn in a frozen random order. A confidence sequence (Ville 1939; Robbins 1970, Ann.
Math. Stat. 41:1397; for Bernoulli rates Howard et al. 2021, Ann. Stat. 49:1055) holds at all sample
sizes at once: with E_n(p) = B(a + S, b + n - S) / (B(a, b) p^S (1 - p)^(n - S)), a nonnegative
martingale at the true rate, the set {p : E_n(p) < 1/α} misses the truth at any n ever with
probability at most α. That costs patients: at α = 5 % no hit among 158 bounds a rate by 5 %, where
the fixed sample needs 59.

So the sequence spends only `SEQUENTIAL_SHARE` of α, which stops an audit early where the answer is
plain, and at the planned number of patients the fixed-sample bounds apply at the rest, which needs
61. The two errors add up to α at most, whenever and for whatever reason sampling stopped; computed
over all paths, limits 0.01 to 0.3 and 61 to 600 planned patients, false passes of a rate are at
most 4.4 % and false fails 4.5 %; of a difference, 60 to 150 a group in batches of 5, 4.3 and 4.1 %.

These are the numbers of a = b = 1, the uniform mixture. Of 300 patients planned at a limit of 5 %
it draws 51 on average where the true rate is 20 %, 8 where it is 50 %, and 208 where nothing ever
hits. Jeffreys' a = b = 1/2 would draw 53, 9 and 165.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from checker.stats.arrays import FloatArray, check_hits
from checker.stats.estimate import Estimate

SEQUENTIAL_SHARE = 0.1
"""Share of α that the confidence sequence spends; the bounds at the planned n have the rest."""

MIXTURE = (1.0, 1.0)
"""Parameters a and b of the beta distribution that rates are mixed over."""

_HALVINGS = 60  # of an interval no longer than 1: to 1e-18


def confidence_sequence(
    hits: ArrayLike, n: ArrayLike, *, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper limit of a rate, valid at every n at once.

    Args:
        hits: [...] in [0, n] so far, whole, or fractional as a sum of values in [0, 1] (E_n is then
            a supermartingale, as p^x (1 - p)^(1 - x) is convex in x).
        n: patients so far; broadcasts against `hits`. With none the limits are 0 and 1.
        confidence: with which both limits hold at all n together, in (0, 1).

    Returns:
        Two arrays of the broadcast shape, in [0, 1].

    >>> _, high = confidence_sequence(0, [157, 158], confidence=0.95)
    >>> (high <= 0.05).tolist()
    [False, True]
    """
    x, size = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(n, np.float64))
    value = x / np.maximum(size, 1.0)
    low = _end(x, size, outside=np.zeros_like(value), inside=value, confidence=confidence)
    high = _end(x, size, outside=np.ones_like(value), inside=value, confidence=confidence)
    # without hits nothing excludes p = 0, and with nothing but hits nothing excludes p = 1
    return np.where(x > 0, low, 0.0), np.where(x < size, high, 1.0)


def sequential_rate(hits: float, n: int, *, confidence: float) -> Estimate:
    """Estimate a rate from the patients drawn so far.

    Args:
        hits: in [0, n], whole or fractional.
        n: patients so far, at least 1.
        confidence: of the bounds at all n together; `SEQUENTIAL_SHARE` of the error, where
            fixed-sample bounds are to follow.

    Returns:
        The rate in [0, 1] with both ends of the confidence sequence.

    Raises:
        InsufficientData: n is 0.

    >>> so_far = sequential_rate(12, 20, confidence=0.995)
    >>> so_far.value, round(so_far.low, 2), round(so_far.high, 2)
    (0.6, 0.22, 0.91)
    """
    check_hits(hits, n)
    low, high = confidence_sequence(hits, n, confidence=confidence)
    return Estimate(
        hits / n, float(low), float(high), n, confidence, "beta-mixture confidence sequence"
    )


def sequential_difference(x1: float, n1: int, x2: float, n2: int, *, confidence: float) -> Estimate:
    """Estimate the difference x1/n1 - x2/n2 of two independent rates from the patients so far.

    Each group's sequence has half of the error, so the groups need not be drawn in step.

    Args:
        x1: hits of the first group (members) in [0, n1], whole or fractional.
        n1: its patients so far, at least 1.
        x2: hits of the second group (nonmembers) in [0, n2].
        n2: its patients so far, at least 1.
        confidence: of the bounds at all n1 and n2 together.

    Returns:
        The difference in [-1, 1], its bounds the differences of opposite limits.

    Raises:
        InsufficientData: a group is empty.

    >>> so_far = sequential_difference(40, 50, 2, 50, confidence=0.995)
    >>> round(so_far.value, 2), so_far.low > 0.2
    (0.76, True)
    """
    check_hits(x1, n1)
    check_hits(x2, n2)
    half = (1 + confidence) / 2
    low, high = confidence_sequence([x1, x2], [n1, n2], confidence=half)
    return Estimate(
        x1 / n1 - x2 / n2,
        float(low[0] - high[1]),
        float(high[0] - low[1]),
        n1 + n2,
        confidence,
        "beta-mixture confidence sequences of both groups",
    )


def _end(
    x: FloatArray, size: FloatArray, *, outside: FloatArray, inside: FloatArray, confidence: float
) -> FloatArray:
    """Bisect for the end of {p : E_n(p) < 1/α} between a rate outside of it and one inside.

    log E_n is convex in p and at most 0 at x / n, so on either side there is one end.
    """
    a, b = MIXTURE
    mixed = scipy.special.betaln(a + x, b + size - x) - scipy.special.betaln(a, b)
    threshold = -np.log1p(-confidence)  # log 1/α
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        likelihood = scipy.special.xlogy(x, middle) + scipy.special.xlog1py(size - x, -middle)
        excluded = mixed - likelihood >= threshold
        outside, inside = np.where(excluded, middle, outside), np.where(excluded, inside, middle)
    return np.asarray(outside, np.float64)
