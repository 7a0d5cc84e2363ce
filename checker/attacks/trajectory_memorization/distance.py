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

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from checker.attacks.trajectory_memorization.code_labels import LabelVectors
from checker.attacks.trajectory_memorization.trajectories import Trajectory

LARGEST_DISTANCE: Final = 2.0
"""Of trajectories whose labels have no negative cosines, as lexical ones; in general twice that."""

_COSINES_AT_ONCE: Final = 1 << 22

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
    cost = 1.0 - np.asarray(cosine, np.float64)
    if times is not None:
        cost *= 1.0 + np.abs(times[0][:, None] - times[1][None, :])
    return _moved(cost, padding=1.0 if times is None else 2.0)


def _moved(cost: NDArray[np.float64], *, padding: float) -> float:
    """Return the mean cost of moving one sequence to another, what is too long to padding."""
    first, second = cost.shape
    if first == second == 0:
        return 0.0
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
    return distances_of_many([truth], [others], labels=labels)[0]


def distances_of_many(
    truths: Sequence[Trajectory], others: Sequence[Sequence[Trajectory]], *, labels: LabelVectors
) -> list[NDArray[np.float64]]:
    """Return the same for several patients: truths[i] against each of others[i].

    Codes recur, so cosines of distinct codes are taken once for as many patients as a table of
    them has room for, and gathered. Takes some hundred megabytes, whatever the vocabulary.
    """
    true_ids = np.unique(np.concatenate([truth.tokens for truth in truths]))
    every = [other.tokens for own in others for other in own]
    ids = np.unique(np.concatenate([*every, np.empty(0, np.int32)]))
    if len(true_ids) * len(ids) > _COSINES_AT_ONCE and len(truths) > 1:
        middle = len(truths) // 2
        return [
            *distances_of_many(truths[:middle], others[:middle], labels=labels),
            *distances_of_many(truths[middle:], others[middle:], labels=labels),
        ]
    table = _Dissimilarities(true_ids, ids, 1.0 - labels.cosines(true_ids, ids))
    with ThreadPoolExecutor(max_workers=min(len(truths), _cores())) as pool:
        return list(pool.map(_distances, truths, others, itertools.repeat(table)))


def _cores() -> int:
    """Return how many threads are worth having: the solver runs without Python's lock."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@dataclass(frozen=True, slots=True)
class _Dissimilarities:
    """1 - cosine of each of `true_ids` and each of `ids`, ascending token ids: [true_ids, ids]."""

    true_ids: NDArray[np.int32]
    ids: NDArray[np.int32]
    values: NDArray[np.float64]

    def to(self, truth: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return those of all `ids` to one patient's tokens: [ids, truth]."""
        return np.ascontiguousarray(self.values[np.searchsorted(self.true_ids, truth)].T)


def _distances(
    truth: Trajectory, others: Sequence[Trajectory], unlike: _Dissimilarities
) -> NDArray[np.float64]:
    """Return how far each of a patient's trajectories is, one small matrix of costs at a time."""
    near = unlike.to(truth.tokens)
    own_days = [other.days for other in others if other.days is not None]
    found = np.empty(len(others))
    if truth.days is None or len(own_days) < len(others):
        for i, other in enumerate(others):
            cost = near.take(np.searchsorted(unlike.ids, other.tokens), axis=0)
            found[i] = _moved(cost, padding=1.0)
        return found
    longest = truth.days.max(initial=0.0)
    for i, (other, days) in enumerate(zip(others, own_days, strict=True)):
        apart = np.abs(days[:, None] - truth.days)
        span = max(longest, days.max(initial=0.0))
        apart /= span if span > 0 else 1.0
        apart += 1.0
        apart *= near.take(np.searchsorted(unlike.ids, other.tokens), axis=0)
        found[i] = _moved(apart, padding=2.0)
    return found
