"""How far a share hangs on which patients happen to be in a set: the delete-one jackknife."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike


def jackknife_reach(
    repeated: ArrayLike, *, patients: int, confidence: float, weight: ArrayLike = 1.0
) -> float:
    """Return how far a set's share may lie from that of other sets of as many patients.

    Without its k-th patient the set would lose the rollouts that repeat that patient alone.

    Args:
        repeated: [R] int, whom each rollout repeats: k >= 1 the k-th patient alone, other numbers
            nobody or more than one.
        patients: in the set.
        confidence: of one bound.
        weight: [R] in [0, 1], what a rollout adds to the share, or one number for all.

    Returns:
        The normal quantile at `confidence` times the standard error, at least 0.

    Reference:
        Efron & Stein 1981, Ann. Stat. 9:586.

    >>> everybody_once = [1, 2, 3, 4, 0, 0, 0, 0]
    >>> jackknife_reach(everybody_once, patients=4, confidence=0.95)  # nobody matters more
    0.0
    >>> round(jackknife_reach([1, 1, 1, 1, 0, 0, 0, 0], patients=4, confidence=0.95), 3)
    0.617
    """
    who = np.asarray(repeated, np.int64)
    weights = np.broadcast_to(np.asarray(weight, np.float64), who.shape)
    alone = who > 0
    lost = np.bincount(who[alone], weights=weights[alone]) / len(who)
    variance = (patients - 1) / patients * (float(lost @ lost) - float(lost.sum()) ** 2 / patients)
    return float(scipy.special.ndtri(confidence)) * math.sqrt(max(variance, 0.0))
