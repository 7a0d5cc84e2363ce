"""The distance of two trajectories: optimal transport between their codes, with a time penalty.

Both sequences are padded to n = the longer one's length and carry uniform weights. Moving a to b
costs (1 - cos(h(a), h(b))) · (1 + |t_a - t_b|); moving anything to or from padding costs 1 · (1 +
1), or 1 where there are no times. With equal uniform weights an optimal plan of transport is a
permutation (Birkhoff 1946), so the value is an assignment problem's mean cost. Padding costs the
same wherever it goes, so the assignment is solved for the real tokens alone.

*The unit of t.* The definition leaves it open, and lets padding count as a time difference of 1. So
t is the running time as a fraction of the longer of the two time spans: no difference exceeds 1,
nothing real costs more than padding while no cosine is negative, and a week in intensive care and
ten years of check-ups are held to the same scale.

Reference: Tonekaboni et al. 2025 (arXiv 2510.12950), test T1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from checker.trajectories.labels import LabelVectors
from checker.trajectories.reading import Trajectory

__all__ = ["LARGEST_DISTANCE", "trajectory_distances", "transport_distance"]

LARGEST_DISTANCE: Final = 2.0
"""Of trajectories whose labels have no negative cosines, as lexical ones; in general twice that."""

Times = tuple[NDArray[np.float64], NDArray[np.float64]]


def transport_distance(cosine: NDArray[np.floating], times: Times | None) -> float:
    """Return the optimal transport cost between two sequences.

    Args:
        cosine: [a, b] in [-1, 1], of the labels of each pair of tokens.
        times: [a] and [b], of each token, or None where no times are used. A difference of 1 is
            what padding counts as.

    Returns:
        The mean cost of a moved token, >= 0: 0 for the same codes at the same times, 2 (without
        times 1) where nothing is alike and all differ by a time of 1. Two empty sequences are
        alike.
    """
    first, second = cosine.shape
    if first == second == 0:
        return 0.0
    cost = 1.0 - np.asarray(cosine, np.float64)
    padding = 1.0
    if times is not None:
        cost *= 1.0 + np.abs(times[0][:, None] - times[1][None, :])
        padding = 2.0
    rows, columns = linear_sum_assignment(cost)
    moved = float(cost[rows, columns].sum()) + padding * abs(first - second)
    return float(moved / max(first, second))


def trajectory_distances(
    truth: Trajectory, others: Sequence[Trajectory], *, labels: LabelVectors
) -> NDArray[np.float64]:
    """Return how far each of several trajectories is from the true one.

    Args:
        truth: what followed, cut to a length limit.
        others: [S], cut to the same limit; with days when `truth` has them.
        labels: of the tokens.

    Returns:
        [S] float64 in [0, LARGEST_DISTANCE] (twice that where cosines are negative).
    """
    if not others:
        return np.empty(0)
    true_ids, true_at = np.unique(truth.tokens, return_inverse=True)
    every_token = np.concatenate([other.tokens for other in others])
    ids, at = np.unique(every_token, return_inverse=True)
    # continuations repeat their codes: cosines of distinct codes are taken once for all of them
    cosine = labels.cosines(true_ids, ids)[true_at]
    ends = np.cumsum([len(other) for other in others])
    return np.array(
        [
            transport_distance(cosine[:, part], _fractions(truth.days, other.days))
            for part, other in zip(np.split(at, ends[:-1]), others, strict=True)
        ]
    )


def _fractions(
    first: NDArray[np.float64] | None, second: NDArray[np.float64] | None
) -> Times | None:
    """Return running times as fractions of the longer span."""
    if first is None or second is None:
        return None
    span = max(float(first.max(initial=0.0)), float(second.max(initial=0.0)))
    return (first / span, second / span) if span > 0 else (first, second)
