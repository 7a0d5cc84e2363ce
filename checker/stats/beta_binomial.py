"""How many of n score above a threshold that others set: the beta-binomial law.

Of n patients and m others who are exchangeable, the number above the r-th highest of the others is
beta-binomial with parameters n, r and m - r + 1, whatever the scores look like.
"""

from __future__ import annotations

import numpy as np
import scipy

from checker.stats.arrays import FloatArray


def up_to_each(n: int, m: int, *, rank: int) -> FloatArray:
    """Return the chance that no more than 0, 1, ..., n are above.

    Args:
        n: patients, >= 0.
        m: others, at least `rank`.
        rank: r, from the top, >= 1.

    Returns:
        [n + 1] rising to 1.

    >>> up_to_each(1, 1, rank=1).round(12).tolist()
    [0.5, 1.0]
    """
    betaln, above = scipy.special.betaln, np.arange(n + 1)
    ways = -np.log1p(n) - betaln(n - above + 1, above + 1)
    chance = ways + betaln(above + rank, n - above + m - rank + 1) - betaln(rank, m - rank + 1)
    summed: FloatArray = np.minimum(np.cumsum(np.exp(chance)), 1.0)
    summed[-1] = 1.0
    return summed
