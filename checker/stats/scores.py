"""Membership scores of one record from the log-probabilities of its tokens.

Every score is signed so that higher is more member-like: loss is negated, Min-K% (Shi et al.
2024, arXiv 2310.16789) and Min-K%++ (Zhang et al. 2024, arXiv 2404.02936) are means of
log-probabilities and already point that way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData

STD_FLOOR = 1e-3
"""Nats. A next-token distribution with a smaller spread holds its favourite with probability above
1 - 1e-8, which float32 cannot tell from certainty; dividing by less would only magnify rounding."""


def loss(logprobs: ArrayLike) -> float:
    """Return minus the mean loss: the mean log-probability of a record's tokens.

    Args:
        logprobs: [n] nats, one per token but the first.

    Returns:
        At most 0; higher is more member-like.

    Raises:
        InsufficientData: n is 0.

    >>> loss([-1.0, -3.0])
    -2.0
    """
    return float(_tokens(logprobs).mean())


def min_k(logprobs: ArrayLike, *, k_percent: float) -> float:
    """Return Min-K%: the mean of the lowest max(1, ⌊n·k/100⌋) token log-probabilities.

    Args:
        logprobs: [n] nats, one per token but the first.
        k_percent: in (0, 100].

    Returns:
        At most 0; higher is more member-like.

    Raises:
        InsufficientData: n is 0.

    Reference:
        Shi et al. 2024, arXiv 2310.16789, section 4.

    >>> min_k([-1.0, -9.0, -2.0, -7.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0], k_percent=20)
    -8.0
    """
    return _mean_of_lowest(_tokens(logprobs), k_percent)


def min_k_plus_plus(
    logprob: ArrayLike, mean: ArrayLike, std: ArrayLike, *, k_percent: float
) -> float:
    """Return Min-K%++: Min-K% of log-probabilities standardised by the model's own expectation.

    Args:
        logprob: [n] nats, log p of each token.
        mean: [n] nats, mean of log p(·) under p(·) at that position.
        std: [n] nats, standard deviation of the same; floored at STD_FLOOR.
        k_percent: in (0, 100].

    Returns:
        In standard deviations; higher is more member-like.

    Raises:
        InsufficientData: n is 0.

    Reference:
        Zhang et al. 2024, arXiv 2404.02936, equation (3).

    >>> min_k_plus_plus([-1.0, -6.0], [-2.0, -2.0], [0.5, 2.0], k_percent=50)
    -2.0
    """
    token, centre = _tokens(logprob), np.asarray(mean, np.float64)
    spread = np.maximum(np.asarray(std, np.float64), STD_FLOOR)
    return _mean_of_lowest((token - centre) / spread, k_percent)


def _tokens(logprobs: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(logprobs, np.float64)  # float32 sums would depend on the record's length
    if not len(array):
        raise InsufficientData("token log-probabilities", needed=1, got=0, reason="empty-records")
    return array


def _mean_of_lowest(values: NDArray[np.float64], k_percent: float) -> float:
    if not 0 < k_percent <= 100:
        raise ValueError(f"k_percent must lie in (0, 100], got {k_percent}")
    count = max(1, int(len(values) * k_percent / 100))
    return float(np.partition(values, count - 1)[:count].mean())
