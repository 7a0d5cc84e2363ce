"""What a sample can decide before any model runs (METHODS §6, *Power*).

Two questions per cell. *Can it pass at all?* Only if the upper bound that zero hits would give is
within the limit. *Will it pass, when there is nothing to find?* The probability of a pass at a true
excess of zero: enumerated exactly for rates and their differences, exact (beta-binomial) for a
true-positive rate, and a normal approximation for AUROCs, whose tests compare it with simulation.

For a mean of values in [0, 1] (`excess_mean_q`) `checker.stats.betting` has the same two answers.

What is bootstrapped (distances, bits of exposure, average precision) has no announced probability:
it depends on a spread that is unknown before the data. Only whether there are enough patients is
known, `checker.stats.bootstrap.MIN_SAMPLE` a group, or for average precision `auprc_shortage`.

A plan with sequential stopping asks at the confidence that the bounds at the planned n have there,
1 - (1 - SEQUENTIAL_SHARE) · α. Stopping early can only add passes, of cells that are clear anyway.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import scipy

from checker.errors import InsufficientData, UsageError
from checker.stats.arrays import FloatArray
from checker.stats.auc import MIN_GROUP, lenient_rank
from checker.stats.beta_binomial import up_to_each
from checker.stats.binomial import chances, support
from checker.stats.bootstrap import MIN_SAMPLE
from checker.stats.intervals import clopper_pearson, difference_limits
from checker.stats.paired import paired_limits
from checker.stats.precision_recall import MIN_CLASS

NEGLIGIBLE_MASS = 1e-10
"""Each tail of a binomial beyond this probability is not enumerated, so that a pass probability is
exact to 4e-10, and 100,000 patients cost no more than their standard deviation does."""

_BLOCK = 1 << 20

_QUANTILES = 20

_LEVELS = 64
"""Distances to a bound are rounded up to so many steps between the least and the greatest."""


def zero_hit_bound_rate(n: int, *, confidence: float) -> float:
    """Return the upper bound of a rate of which no hit was seen among n patients.

    >>> zero_hit_bound_rate(59, confidence=0.95) < 0.05 < zero_hit_bound_rate(58, confidence=0.95)
    True
    """
    _require(n, "members")
    return float(clopper_pearson(0, n, confidence=confidence)[1])


def zero_hit_bound_difference(n_members: int, n_nonmembers: int, *, confidence: float) -> float:
    """Return the upper bound of an excess when neither group has a hit.

    The square-and-add bound adds √((u₁ - 0)² + (0 - 0)²): with no hits the nonmembers take nothing
    off, so it equals the members' own bound, however many nonmembers there are.
    """
    _require(n_nonmembers, "nonmembers")
    return zero_hit_bound_rate(n_members, confidence=confidence)


def zero_hit_bound_difference_in_differences(
    n_members: int, n_nonmembers: int, *, confidence: float
) -> float:
    """Return the upper bound of a difference in differences when nothing was discordant.

    Unlike a plain excess it needs nonmembers as much as members: among too few of them the
    reference model may hit more often than the target without being seen. √(u₁² + u₂²) with
    the zero-hit bounds of both groups, so a limit τ needs `positives_needed(τ / √2)` of each where
    they are equally many.

    >>> round(zero_hit_bound_difference_in_differences(59, 59, confidence=0.95), 4)
    0.07
    """
    _require(n_members, "members")
    _require(n_nonmembers, "nonmembers")
    members, nonmembers = clopper_pearson(0, [n_members, n_nonmembers], confidence=confidence)[1]
    return math.hypot(members, nonmembers)


def auprc_shortage(positives: int, negatives: int) -> tuple[int, int]:
    """Return how many positives and how many negatives an average precision still lacks.

    What is missing of all patients together is counted as negatives, who are easier to find.

    >>> auprc_shortage(40, 200), auprc_shortage(120, 200)
    ((60, 0), (0, 0))
    """
    more = max(0, MIN_CLASS - positives)
    have = positives + more
    return more, max(0, MIN_CLASS - negatives, MIN_SAMPLE - have - negatives)


def positives_needed(limit: float, *, confidence: float) -> int:
    """Return the fewest members whose zero-hit bound is within a limit.

    The same number holds for a rate and for an excess: with no hits anywhere, the number of
    nonmembers changes nothing (`zero_hit_bound_difference`), so no ratio of nonmembers to members
    makes up for members. What more nonmembers do improve is the probability of a pass.

    Args:
        limit: in (0, 1].
        confidence: of the bound, in (0, 1).

    Raises:
        UsageError: the limit is 0, which no sample can show.

    >>> [positives_needed(limit, confidence=0.95) for limit in (0.05, 0.01, 0.001)]
    [59, 299, 2995]
    """
    if limit <= 0:
        raise UsageError(
            "no number of patients shows a rate of at most 0: use `maxCount: 0` with `minN`"
        )
    if limit >= 1:
        return 1
    # the bound of no hits among n is 1 - α^(1/n)
    n = max(1, math.ceil(math.log(1 - confidence) / math.log1p(-limit)))
    while zero_hit_bound_rate(n, confidence=confidence) > limit:  # the logarithms are rounded
        n += 1
    return n


def pass_probability_rate(n: int, *, limit: float, base_rate: float, confidence: float) -> float:
    """Return the probability that a rate passes when it truly is `base_rate`.

    Args:
        n: patients, at least 1.
        limit: upper limit of the rate, in [0, 1].
        base_rate: true rate, in [0, 1].
        confidence: of the upper bound, in (0, 1).

    Returns:
        Exact, in [0, 1].
    """
    _require(n, "members")
    most = _most_hits(n, limit=limit, confidence=confidence)
    return 0.0 if most is None else float(scipy.special.bdtr(most, n, base_rate))


def pass_probability_difference(
    n1: int, n2: int, *, limit: float, base_rate: float, confidence: float, excess: float = 0.0
) -> float:
    """Return the probability that an excess over nonmembers passes.

    A pass needs the upper bound and the zero-hit bound within the limit.

    Args:
        n1: members, at least 1.
        n2: nonmembers, at least 1.
        limit: upper limit of the excess, in [0, 1].
        base_rate: true rate among nonmembers, in [0, 1].
        confidence: of the upper bound, in (0, 1).
        excess: true excess of the members; at `limit` or more the result is the probability of a
            false pass.

    Returns:
        Exact to 4e-10, in [0, 1].
    """
    if zero_hit_bound_difference(n1, n2, confidence=confidence) > limit:
        return 0.0
    x1, mass_1 = _support(n1, min(base_rate + excess, 1.0))
    x2, mass_2 = _support(n2, base_rate)
    total = 0.0
    rows = max(1, _BLOCK // len(x2))
    for start in range(0, len(x1), rows):
        at = slice(start, start + rows)
        upper = difference_limits(x1[at, None], n1, x2, n2, confidence=confidence)[2]
        total += float(mass_1[at] @ ((upper <= limit) @ mass_2))
    return min(total, 1.0)


def pass_probability_less_gap(
    n1: int,
    n2: int,
    *,
    limit: float,
    base_rate: float,
    confidence: float,
    gap_error: float,
    gap: float | None = None,
    truth: tuple[float, float] = (0.0, 0.0),
) -> float:
    """Return the probability that an excess passes from which a gap between the groups is taken.

    The bounds of the gap and those of the excess are squared and added. A gap beyond the limit
    passes nothing. Where it is not known yet it is truly zero, and its estimate normal.

    Args:
        n1: members, at least 1.
        n2: nonmembers, at least 1.
        limit: upper limit of what is left, in [0, 1].
        base_rate: true rate in both groups, or among nonmembers where the gap is known; in [0, 1].
        confidence: of the bounds, in (0, 1).
        gap_error: standard error of the gap, > 0; >= 0 where it is known.
        gap: as it was found, in [-1, 1], or None.
        truth: where it is known, mean and standard deviation of what the groups truly differ by,
            as far as anybody knows; the members' rate is higher by it.

    Returns:
        In [0, 1].
    """
    if zero_hit_bound_difference(n1, n2, confidence=confidence) > limit:
        return 0.0
    reach = float(scipy.special.ndtri(confidence)) * gap_error
    x2, mass_2 = _support(n2, base_rate)
    if gap is not None:
        if abs(gap) > limit:
            return 0.0
        x1, mass_1 = _support_if_uncertain(n1, base_rate, more=truth)
    else:
        x1, mass_1 = _support(n1, base_rate)
        most = scipy.special.ndtr(limit / gap_error)
    total = 0.0
    rows = max(1, _BLOCK // len(x2))
    for start in range(0, len(x1), rows):
        at = slice(start, start + rows)
        value, _, upper = difference_limits(x1[at, None], n1, x2, n2, confidence=confidence)
        # the least gap that leaves the upper bound within the limit
        least = value + np.hypot(upper - value, reach) - limit
        if gap is not None:
            passes = (least <= gap).astype(np.float64)
        else:
            below = scipy.special.ndtr(np.maximum(least, -limit) / gap_error)
            passes = np.maximum(most - below, 0.0)
        total += float(mass_1[at] @ (passes @ mass_2))
    return min(total, 1.0)


def difference_misses_zero(n1: int, n2: int, *, base_rate: float, confidence: float) -> float:
    """Return the probability that the bounds of a difference of equal rates exclude zero.

    Args:
        n1: patients in one group, at least 1.
        n2: patients in the other, at least 1.
        base_rate: true rate in both, in [0, 1].
        confidence: of each of the two bounds, in (0, 1).

    Returns:
        Exact to 4e-10; at most 2 (1 - confidence), and far less at small rates.

    >>> round(difference_misses_zero(40, 40, base_rate=0.0, confidence=0.95), 9)
    0.0
    """
    x1, mass_1 = _support(n1, base_rate)
    x2, mass_2 = _support(n2, base_rate)
    total = 0.0
    rows = max(1, _BLOCK // len(x2))
    for start in range(0, len(x1), rows):
        at = slice(start, start + rows)
        _, lower, upper = difference_limits(x1[at, None], n1, x2, n2, confidence=confidence)
        total += float(mass_1[at] @ (((lower > 0) | (upper < 0)) @ mass_2))
    return min(total, 1.0)


def pass_probability_difference_in_differences(
    n1: int, n2: int, *, limit: float, base_rate: float, confidence: float
) -> float:
    """Return the probability that a difference in differences passes when it truly is zero.

    Target and reference are taken to hit every patient at `base_rate`, independently of each
    other. Two models that hit the same patients disagree less, so the truth is rather higher.

    Args:
        n1: members, at least 1.
        n2: nonmembers, at least 1.
        limit: upper limit, in [0, 2].
        base_rate: true rate of both models in both groups, in [0, 1].
        confidence: of the upper bound, in (0, 1).

    Returns:
        In [0, 1], too low by at most half a point, because distances from a difference to its bound
        are rounded up.
    """
    if zero_hit_bound_difference_in_differences(n1, n2, confidence=confidence) > limit:
        return 0.0
    share = base_rate * (1 - base_rate)  # one model hits and the other does not
    value_1, reach_1, mass_1 = _paired_outcomes(n1, share, upwards=True, confidence=confidence)
    value_2, reach_2, mass_2 = _paired_outcomes(n2, share, upwards=False, confidence=confidence)
    # what is left at and above each value, and nothing behind the last
    left_2 = np.pad(np.cumsum(mass_2[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    total = 0.0
    for reach, mass in zip(reach_1, mass_1, strict=True):
        for other, left in zip(reach_2, left_2, strict=True):
            least = value_1 + math.hypot(reach, other) - limit  # of the nonmembers, for a pass
            total += float(mass @ left[np.searchsorted(value_2, least)])
    return min(total, 1.0)


def pass_probability_auroc(
    m: int, n: int, *, limit: float, confidence: float, truth: float = 0.5
) -> float:
    """Return about how probably an AUROC passes.

    Normal approximation with the null variance (m + n + 1) / (12mn) of untied scores, both for the
    AUROC and for its bound; a higher AUROC varies less.

    Args:
        m: size of one group, at least 50.
        n: size of the other, at least 50.
        limit: upper limit of the AUROC, in [0, 1].
        confidence: of the upper bound, in (0, 1).
        truth: what it truly is, in [0.5, 1]; at `limit` or more the result is the probability of a
            false pass.

    Raises:
        InsufficientData: fewer than 50 in a group.
    """
    spread = _null_spread(m, n)
    reach = float(scipy.special.ndtri(confidence)) * spread

    def beyond(value: float) -> float:
        upper = scipy.special.expit(scipy.special.logit(value) + reach / (value * (1 - value)))
        return float(upper) - limit

    # the bound rises with the value from here on; further below 0.5 no true 0.5 is ever measured
    lowest = max(0.5 - 8 * spread, 0.1)
    if beyond(lowest) > 0:
        return 0.0
    if limit >= 1 or beyond(1 - 1e-6) <= 0:
        return 1.0
    greatest = scipy.optimize.brentq(beyond, lowest, 1 - 1e-6)
    return float(scipy.special.ndtr((greatest - truth) / spread))


def pass_probability_auroc_difference(
    members: tuple[int, int], nonmembers: tuple[int, int], *, limit: float, confidence: float
) -> float:
    """Return about how probably a difference of AUROCs passes when both truly are 0.5.

    Args:
        members: how many have the class and how many do not, at least 50 each.
        nonmembers: the same among nonmembers.
        limit: upper limit of the difference, in [0, 1].
        confidence: of the upper bound, in (0, 1).

    Raises:
        InsufficientData: fewer than 50 in a group.
    """
    spread = math.hypot(_null_spread(*members), _null_spread(*nonmembers))
    return float(scipy.special.ndtr(limit / spread - scipy.special.ndtri(confidence)))


def pass_probability_tpr(
    m: int, n: int, *, limit: float, fpr: float, confidence: float, truth: float | None = None
) -> float:
    """Return the probability that a true-positive rate passes.

    Exact for untied scores where members score like nonmembers: the share of members above the j-th
    highest nonmember is beta-binomial.

    Args:
        m: members, at least 1.
        n: nonmembers.
        limit: upper limit of the true-positive rate, in [0, 1].
        fpr: the false-positive rate, in (0, 1).
        confidence: of the upper bound, in (0, 1).
        truth: what the rate truly is, or None where members score like nonmembers. Then the most
            the probability can be: the threshold that a pass rests on is more lenient than `fpr`,
            and finds at least so many.

    Raises:
        InsufficientData: no members, or too few nonmembers for an upper bound (reason
            "too-few-nonmembers").
    """
    _require(m, "members")
    rank = lenient_rank(n, fpr=fpr, confidence=confidence)
    if rank is None:
        needed = math.ceil(math.log((1 - confidence) / 2) / math.log(fpr))
        raise InsufficientData("nonmembers", needed=needed, got=n, reason="too-few-nonmembers")
    most = _most_hits(m, limit=limit, confidence=(1 + confidence) / 2)
    if most is None:
        return 0.0
    if truth is not None:
        return float(scipy.special.bdtr(most, m, truth))
    return float(up_to_each(m, n, rank=rank)[most])


def _most_hits(n: int, *, limit: float, confidence: float) -> int | None:
    """Return the most hits of n whose upper bound is within the limit, or None when 0 are too many.

    The upper bound of x hits is within the limit iff P(Bin(n, limit) <= x) <= α.
    """
    if limit >= 1:
        return n
    alpha = 1 - confidence
    # the least x at which that probability is α or more
    most = bisect_left(range(n), alpha, key=lambda hits: scipy.special.bdtr(hits, n, limit))
    # a rounded probability must not decide: ask the interval itself around it
    while most >= 0 and clopper_pearson(most, n, confidence=confidence)[1] > limit:
        most -= 1
    return most if most >= 0 else None


def _support(n: int, p: float) -> tuple[FloatArray, FloatArray]:
    """Return the hits of Bin(n, p) that matter, and their probabilities."""
    hits = support(n, p, p, negligible=NEGLIGIBLE_MASS)
    return hits, chances(hits, n, p)


def _support_if_uncertain(
    n: int, p: float, *, more: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return the hits that matter where the rate is `p` and a normal number more, within [0, 1].

    Args:
        n: patients.
        p: a rate.
        more: mean and standard deviation of what it is higher by.
    """
    # the normal at as many middle quantiles, each as likely
    middle = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    rates = np.clip(p + more[0] + more[1] * scipy.special.ndtri(middle), 0.0, 1.0)
    hits = support(n, rates.min(), rates.max(), negligible=NEGLIGIBLE_MASS)
    mass: FloatArray = chances(hits, n, rates[:, None]).mean(axis=0)
    return hits, mass


def _paired_outcomes(
    n: int, share: float, *, upwards: bool, confidence: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return paired differences of n patients, distances to a bound, and the mass of both.

    Args:
        n: patients.
        share: probability of each kind of discordance, at most 1/4.
        upwards: to the upper bound, else to the lower.
        confidence: of the bound.

    Returns:
        [V] differences, rising; [_LEVELS + 1] distances, rounded up; their probabilities.
    """
    first, mass = _support(n, share)
    b, c = first[:, None], first[None, :]  # either count has the same distribution
    # of those not hit in the first alone, the second alone hits with probability share/(1 - share)
    weight = mass[:, None] * chances(c, n - b, share / (1 - share))
    kept = weight > NEGLIGIBLE_MASS / weight.size  # never where b + c exceeds n
    value, low, high = paired_limits(b, c, n, confidence=confidence)
    reach = (high - value if upwards else value - low)[kept]
    step = float(np.ptp(reach)) / _LEVELS or 1.0
    level = np.ceil((reach - reach.min()) / step - 1e-9).astype(np.intp)
    discordance = (b - c)[kept].astype(np.intp)
    differences = np.arange(discordance.min(), discordance.max() + 1)
    together = np.zeros((_LEVELS + 1, len(differences)))
    np.add.at(together, (level, discordance - differences[0]), weight[kept])
    return differences / n, reach.min() + step * np.arange(_LEVELS + 1), together


def _null_spread(m: int, n: int) -> float:
    """Return the standard deviation of the AUROC of two equally distributed groups."""
    for size in (m, n):
        if size < MIN_GROUP:
            raise InsufficientData("scores in the smaller group", needed=MIN_GROUP, got=size)
    return math.sqrt((m + n + 1) / (12 * m * n))


def _require(n: int, what: str) -> None:
    if n < 1:
        reason = "too-few-nonmembers" if what == "nonmembers" else "too-few-positives"
        raise InsufficientData(what, needed=1, got=n, reason=reason)
