"""Exposure in bits of planted canaries among twins that were left out, with bounds for its mean.

The exposure of a canary among N - 1 twins is log2(N) - log2(rank) (Carlini et al. 2019, USENIX
Security '19:267). Where a model repeats its canaries, all of them rank against the same few best
twins, so a mean of exposures can hang on a handful of twins however many canaries there are.
Resampling does not see that: simulated with 500 against 500 at confidence 0.95, the lower bound of
a BCa bootstrap lay above the truth in 5 % of audits at a mean of 3 bits, but in 21 % at 7.5 bits.

So the bounds rest on what is known exactly instead. Among the scores that a canary might have had,
the shares above each of the twins are the order statistics of evenly spread numbers, whatever the
scores; between two twins a canary counts as standing at the less favourable one. Canaries carry the
weights of a Dirichlet distribution, with one further canary of the least favourable exposure
(Gaffke 2005, Math. Methods Oper. Res. 61:437). For a single threshold both steps are those of
Clopper and Pearson. Simulated with 500 against 500 and 100 against 100 (normal scores shifted by 0
to 4 standard deviations; 2 to 98 % of the canaries memorised; 10 to 100 % of them level with
the best twin), means of 1.4 to 8.1 bits, 400 or 600 audits each: at most 4.3 % of lower bounds lay
above the truth and at most 5.8 % of upper bounds below it. Where nothing is memorised the upper
bound is 0.18 bits above the mean, BCa's 0.14.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData
from checker.stats.arrays import FloatArray, finite
from checker.stats.estimate import Estimate

MIN_CANARIES = 50
"""Fewest canaries planted, and left out, for which bounds were tried."""

DRAWS = 10_000
"""Draws per bound. Those of 95 % then lie within 0.02 standard errors of where infinitely many
would put them."""

TAIL_DRAWS = 10
"""Fewest draws beyond a quantile that is read off; at higher confidence nothing is decided."""

_GRID = 600  # shares at which the mean log-rank is computed; between them it is off by 1e-4 bits
_BLOCK = 1 << 21


def null_exposure_bits(left_out: int) -> float:
    """Return the mean exposure of canaries that nothing was memorised of.

    Args:
        left_out: number of unplanted twins, N - 1.

    Returns:
        log2(N) - log2(N!)/N: 0.5 for one twin, towards log2(e) = 1.4427 for many.

    >>> round(null_exposure_bits(1), 12)  # ranks 1 and 2 are as likely: (1 + 0) / 2
    0.5
    """
    n = left_out + 1
    return math.log2(n) - math.lgamma(n + 1) / math.log(2) / n


def exposures_bits(planted: ArrayLike, left_out: ArrayLike) -> FloatArray:
    """Return the exposure of each planted canary among its unplanted twins.

    Where twins score the same the ranks they share are as likely as each other, and the exposure is
    the mean over them.

    Args:
        planted: [n] scores; higher is more member-like.
        left_out: [N - 1] scores.

    Returns:
        [n] bits in [0, log2(N)].

    >>> exposures_bits([9.0, 2.5, 0.0], [1.0, 2.0, 3.0]).tolist()  # ranks 1, 2, 4 of 4
    [2.0, 1.0, 0.0]
    """
    twins = np.sort(finite(left_out))
    scores = finite(planted)
    above = len(twins) - np.searchsorted(twins, scores, side="right")
    tied = len(twins) - np.searchsorted(twins, scores, side="left") - above
    log_ranks = (scipy.special.gammaln(above + tied + 2) - scipy.special.gammaln(above + 1)) / (
        (tied + 1) * math.log(2)
    )
    bits: FloatArray = np.clip(np.log2(len(twins) + 1) - log_ranks, 0.0, None)
    return bits


def mean_exposure(
    planted: ArrayLike, left_out: ArrayLike, *, confidence: float, seed: int = 0
) -> Estimate:
    """Estimate the mean exposure of canaries like these.

    Args:
        planted: [n] finite scores; higher is more member-like.
        left_out: [N - 1] finite scores of twins that differ in nothing but not being planted.
        confidence: of each bound, in (0, 1).
        seed: of the draws, and of the order among equal scores.

    Returns:
        Bits in [0, log2(N)]; `null_exposure_bits(N - 1)` is chance. Its n counts both groups. At a
        confidence that the draws cannot tell the bounds are 0 and log2(N).

    Raises:
        InsufficientData: fewer than 50 planted or left out (reason "too-few-canaries").
    """
    canaries, twins = finite(planted), finite(left_out)
    fewest = min(len(canaries), len(twins))
    if fewest < MIN_CANARIES:
        raise InsufficientData(
            "canaries on one side of the coin",
            needed=MIN_CANARIES,
            got=fewest,
            reason="too-few-canaries",
        )
    largest = math.log2(len(twins) + 1)
    low, high = 0.0, largest
    if (1 - confidence) * DRAWS >= TAIL_DRAWS:
        above = _twins_above(canaries, twins, seed=seed)
        lows, highs = _drawn(above.tobytes(), len(twins), seed)
        low, high = float(np.quantile(lows, 1 - confidence)), float(np.quantile(highs, confidence))
    value = float(exposures_bits(canaries, twins).mean())
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=len(canaries) + len(twins),
        confidence=confidence,
        method="order statistics of the twins, dirichlet weights",
    )


def _twins_above(planted: FloatArray, left_out: FloatArray, *, seed: int) -> NDArray[np.int64]:
    """Return how many canaries have 0, 1 ... N - 1 twins above them, equal scores put in order."""
    scores = np.concatenate([planted, left_out])
    by_lot = np.random.default_rng([seed, 1]).random(len(scores))
    falling = np.lexsort((by_lot, -scores))
    is_twin = falling >= len(planted)
    above = np.cumsum(is_twin)[~is_twin]
    return np.bincount(above, minlength=len(left_out) + 1).astype(np.int64)


@lru_cache(maxsize=16)  # a p-value asks for the bounds at many confidences
def _drawn(above: bytes, twins: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Draw what the mean exposure may be at least and at most: two [DRAWS] arrays of bits."""
    counts = np.frombuffer(above, dtype=np.int64)
    at = np.flatnonzero(counts)
    shares, log_ranks = _mean_log_ranks(twins)
    largest = math.log2(twins + 1)
    rng = np.random.default_rng([seed, 2])
    lows: list[FloatArray] = []
    highs: list[FloatArray] = []
    for start in range(0, DRAWS, size := max(1, _BLOCK // (twins + 1))):
        rows = min(size, DRAWS - start)
        steps = np.cumsum(rng.standard_exponential((rows, twins + 1)), axis=1)
        share_above = np.zeros((rows, twins + 2))  # 0, at each twin from the best on, 1
        share_above[:, 1:] = steps / steps[:, -1:]
        weights = rng.standard_gamma(counts[at], size=(rows, len(at)))
        further = rng.standard_exponential(rows)
        total = weights.sum(axis=1) + further
        for found, place, extreme in ((lows, at + 1, 0.0), (highs, at, largest)):
            bits = largest - np.interp(share_above[:, place], shares, log_ranks)
            found.append(((weights * bits).sum(axis=1) + further * extreme) / total)
    return np.concatenate(lows), np.concatenate(highs)


@lru_cache(maxsize=16)
def _mean_log_ranks(twins: int) -> tuple[FloatArray, FloatArray]:
    """Return shares p, and E log2(1 + Bin(twins, p)): the mean log-rank below a share of twins."""
    shares = np.concatenate([[0.0], np.geomspace(0.01 / twins, 1.0, _GRID)])
    count = np.arange(twins + 1)
    logs = np.log2(1 + count)
    return shares, np.array([float(scipy.stats.binom.pmf(count, twins, p) @ logs) for p in shares])
