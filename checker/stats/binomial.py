"""The binomial law by special functions alone: `scipy.stats` takes longer to load than a report."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from checker.stats.arrays import FloatArray


def chances(hits: ArrayLike, n: ArrayLike, p: ArrayLike) -> FloatArray:
    """Return P(Bin(n, p) = hits), to 1e-10 of itself; 0 where there are more hits than n."""
    hits, n, p = (np.asarray(one, np.float64) for one in (hits, n, p))
    possible = hits <= n
    rest: NDArray[np.float64] = np.where(possible, n - hits, 0.0)
    ways = -np.log1p(n) - scipy.special.betaln(rest + 1, hits + 1)
    logs = ways + scipy.special.xlogy(hits, p) + scipy.special.xlog1py(rest, -p)
    found: FloatArray = np.where(possible, np.exp(logs), 0.0)
    return found


def support(n: int, least: float, most: float, *, negligible: float) -> FloatArray:
    """Return the hits of n that matter where their rate lies between two.

    Args:
        n: patients.
        least: of the rates, in [0, 1].
        most: of the rates, in [`least`, 1].
        negligible: probability of as few hits as are left out, and of as many.
    """
    every, bdtr, bdtrc = range(n + 1), scipy.special.bdtr, scipy.special.bdtrc
    first = bisect_left(every, negligible, key=lambda hits: bdtr(hits, n, least))
    last = bisect_left(every, True, key=lambda hits: bdtrc(hits, n, most) <= negligible)
    return np.arange(first, min(last, n) + 1, dtype=np.float64)
