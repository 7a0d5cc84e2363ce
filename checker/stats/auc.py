"""How well a score tells two groups apart: AUROC, and true-positive rate at a false-positive rate.

AUROC bounds follow DeLong, DeLong & Clarke-Pearson (1988, Biometrics 44:837) on the logit scale,
with midranks (Sun & Xu 2014, IEEE Signal Process. Lett. 21:1389) so that a million scores cost two
sorts. Where the variance cannot be trusted (over half of the scores tied at one value, or no
variance at all) the bounds are Clopper-Pearson with AUROC · min(m, n) hits of min(m, n): plain
DeLong let 14 % of models at the limit pass when most scores were 0. That fallback is wide enough
because no AUROC varies more than AUROC · (1 - AUROC) / min(m, n) (Birnbaum & Klose 1957, Ann. Math.
Stat. 28:933), and is not used sooner because it is about 1.6 times as wide.

The threshold of a true-positive rate is itself estimated from nonmembers. It is bounded by an order
statistic, half of the error spent on each step; a threshold taken as known gave 14 to 53 % false
passes. Scores: higher is more member-like (or more like the class).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

import numpy as np
import scipy
from numpy.typing import ArrayLike

from checker.errors import InsufficientData
from checker.stats.arrays import FloatArray, finite
from checker.stats.estimate import Estimate
from checker.stats.intervals import clopper_pearson

MIN_GROUP = 50
"""Fewest scores in each group for which DeLong's variance is relied on."""

ROC_FPRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""False-positive rates at which `roc` looks: mostly low ones, where an accusation is worth much."""

MAX_TIED_SHARE = 0.5
"""Of all scores that hold one and the same value. Simulated at the limit (21 distinct values, true
AUROC 0.55 to 0.7, 50 against 50 and 80 against 400 patients, 1,500 audits each), DeLong passed at
most 5.3 % while up to 42 % of the scores were 0, 6.2 % at 57 %, and 8.5 % at 93 %."""


def auroc(positive_scores: ArrayLike, negative_scores: ArrayLike, *, confidence: float) -> Estimate:
    """Estimate the chance that a positive scores above a negative, ties counting one half.

    Args:
        positive_scores: [m] finite, members or patients with the class; m at least 50.
        negative_scores: [n] finite, nonmembers or patients without it; n at least 50.
        confidence: of each bound, in (0, 1).

    Returns:
        The AUROC in [0, 1]: 0.5 is chance, 1 tells all apart. `method` is "delong-logit", or
        "clopper-pearson on the smaller group" where most scores are tied or none vary.

    Raises:
        InsufficientData: fewer than 50 in a group.
    """
    # sorted, so that the order of patients changes no digit of any sum
    positive, negative = np.sort(finite(positive_scores)), np.sort(finite(negative_scores))
    _require(positive, "scores of members or positives")
    _require(negative, "scores of nonmembers or negatives")
    above, below = _placements(positive, negative)
    value = float(above.mean())
    spread = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    n = len(positive) + len(negative)
    if spread == 0 or not 0 < value < 1 or _tied_share(positive, negative) > MAX_TIED_SHARE:
        smaller = min(len(positive), len(negative))
        low, high = clopper_pearson(value * smaller, smaller, confidence=confidence)
        method = "clopper-pearson on the smaller group"
        return _enclosing(value, float(low), float(high), n, confidence, method)
    reach = scipy.special.ndtri(confidence) * spread / (value * (1 - value))
    low, high = scipy.special.expit(scipy.special.logit(value) + reach * np.array([-1.0, 1.0]))
    return _enclosing(value, float(low), float(high), n, confidence, "delong-logit")


def tpr_at_fpr(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, fpr: float, confidence: float
) -> Estimate:
    """Estimate the share of members caught where a share `fpr` of nonmembers is accused.

    The upper bound uses a threshold that is lenient enough, and the lower bound one that is strict
    enough, with probability 1 - α/2; Clopper-Pearson at α/2 does the rest. Where the nonmembers are
    too few for one of the thresholds, that bound is 0 or 1 and so decides nothing, and `method`
    says so.

    Args:
        member_scores: [m] finite, at least one.
        nonmember_scores: [n] finite.
        fpr: the false-positive rate, in (0, 1).
        confidence: of each bound, in (0, 1).

    Returns:
        The true-positive rate in [0, 1]; `fpr` is chance. The value counts members above the
        lowest threshold that accuses at most ⌊n · fpr⌋ nonmembers.

    Raises:
        InsufficientData: no members, or too few nonmembers for either bound (reason
            "too-few-nonmembers").
    """
    members, nonmembers = np.sort(finite(member_scores)), np.sort(finite(nonmember_scores))[::-1]
    if not len(members):
        raise InsufficientData("members", needed=1, got=0, reason="too-few-members")
    m, n = len(members), len(nonmembers)
    lenient = lenient_rank(n, fpr=fpr, confidence=confidence)
    strict = strict_rank(n, fpr=fpr, confidence=confidence)
    if lenient is None and strict is None:
        needed = _smallest_n(fpr=fpr, confidence=confidence)
        raise InsufficientData("nonmembers", needed=needed, got=n, reason="too-few-nonmembers")
    allowed = math.floor(n * fpr * (1 + 1e-12))  # 0.29 · 100 must be 29
    value = _share_above(members, nonmembers[allowed])
    half = (1 + confidence) / 2
    low, high = 0.0, 1.0
    method = "order statistic and clopper-pearson"
    if strict is None:
        method += "; too few nonmembers for a lower bound"
    else:
        hits = m - np.searchsorted(members, nonmembers[strict - 1], side="right")
        low = float(clopper_pearson(hits, m, confidence=half)[0])
    if lenient is None:
        method += "; too few nonmembers for an upper bound"
    else:
        hits = m - np.searchsorted(members, nonmembers[lenient - 1], side="left")
        high = float(clopper_pearson(hits, m, confidence=half)[1])
    return _enclosing(value, low, high, m + n, confidence, method)


def roc(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, confidence: float
) -> tuple[tuple[float, Estimate], ...]:
    """Estimate the true-positive rate at each of `ROC_FPRS`: the ROC curve with its bounds.

    Rates that would accuse less than one nonmember are left out, and so are those for which the
    nonmembers are too few for either bound.

    Args:
        member_scores: [m] finite.
        nonmember_scores: [n] finite.
        confidence: of each bound of each point on its own, in (0, 1).

    Returns:
        Pairs of false-positive and true-positive rate, rising; empty where there are no members.
    """
    points = []
    for fpr in ROC_FPRS:
        if np.size(nonmember_scores) * fpr * (1 + 1e-12) < 1:
            continue
        try:
            found = tpr_at_fpr(member_scores, nonmember_scores, fpr=fpr, confidence=confidence)
        except InsufficientData:
            continue
        points.append((fpr, found))
    return tuple(points)


def lenient_rank(n: int, *, fpr: float, confidence: float) -> int | None:
    """Return the rank of the nonmember score that bounds the true-positive rate from above.

    With rank j counted from the highest of n scores, accusing everyone at or above the j-th has a
    false-positive rate that is Beta(j, n - j + 1) or more, where scores are tied.

    Returns:
        The least j with P(rate >= fpr) >= 1 - α/2, or None when no rank is enough.
    """

    def chance(rank: int) -> float:  # rises with the rank
        return float(scipy.special.betaincc(rank, n - rank + 1, fpr))

    below = bisect_left(range(1, n + 1), (1 + confidence) / 2, key=chance)
    return below + 1 if below < n else None


def strict_rank(n: int, *, fpr: float, confidence: float) -> int | None:
    """Return the rank of the nonmember score that bounds the true-positive rate from below.

    Returns:
        The greatest j, counted from the highest score, with P(rate <= fpr) >= 1 - α/2 when everyone
        above the j-th is accused, or None when no rank is strict enough.
    """

    def chance(rank: int) -> float:  # falls with the rank
        return float(scipy.special.betainc(rank, n - rank + 1, fpr))

    enough = (1 + confidence) / 2
    return bisect_right(range(1, n + 1), -enough, key=lambda rank: -chance(rank)) or None


def _smallest_n(*, fpr: float, confidence: float) -> int:
    """Return the smallest n with a lenient (fpr^n <= α/2) or a strict ((1-fpr)^n <= α/2) rank."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(min(fpr, 1 - fpr)))


def _share_above(members: FloatArray, threshold: float) -> float:
    return 1 - float(np.searchsorted(members, threshold, side="right")) / len(members)


def _placements(positive: FloatArray, negative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return DeLong's structural components: each score's share of the other group it beats.

    `above[i]` is the share of negatives below positive i, `below[j]` the share of positives above
    negative j, ties counting one half.
    """
    m, n = len(positive), len(negative)
    above = _beaten(positive, np.sort(negative)) / n
    below = 1 - _beaten(negative, np.sort(positive)) / m
    return above, below


def _beaten(scores: FloatArray, others: FloatArray) -> FloatArray:
    """Return how many of ascending others each score beats, ties counting one half."""
    sides = others.searchsorted(scores, side="left") + others.searchsorted(scores, side="right")
    found: FloatArray = sides / 2
    return found


def _tied_share(positive: FloatArray, negative: FloatArray) -> float:
    """Return the share of all scores that hold the commonest value."""
    _, counts = np.unique(np.concatenate([positive, negative]), return_counts=True)
    return float(counts.max() / counts.sum())


def _require(scores: FloatArray, what: str) -> None:
    if len(scores) < MIN_GROUP:
        raise InsufficientData(what, needed=MIN_GROUP, got=len(scores))


def _enclosing(
    value: float, low: float, high: float, n: int, confidence: float, method: str
) -> Estimate:
    # rounding, and confidence at or below 0.5, may put a bound on the wrong side of the value
    return Estimate(value, min(low, value), max(high, value), n, confidence, method)
