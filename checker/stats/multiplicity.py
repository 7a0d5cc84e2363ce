"""From bounds to p-values, and from many cells to the ones that may be named (Holm 1979).

That a release is within every limit is an intersection-union claim and needs no correction. Naming
the cells that are beyond theirs is the opposite: one of twenty sound cells would be named by chance
alone. Holm's step-down procedure keeps the chance of naming any sound cell at α, whatever the
dependence between cells. The placebo (METHODS §3) is corrected over cells as well, because one
false alarm anywhere makes a cell inconclusive.

Auditing a model again on fresh patients until it passes is multiplicity too (METHODS §6, *Second
tries*). Attempt k spends α/2^(k-1): an honest first try pays nothing, and however many follow, the
chance that any of them is wrong stays below 2α, where uncorrected it goes to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData, UsageError
from checker.stats.estimate import Estimate
from checker.stats.false_alarms import PLACEBO
from checker.stats.intervals import rate_difference

SMALLEST_P = 1e-12
LARGEST_P = 0.5


def p_value(lower: Callable[[float], float], *, limit: float) -> float:
    """Return the least α at which a lower bound of confidence 1 - α lies above a limit.

    Args:
        lower: lower bound at a confidence; does not rise with the confidence.
        limit: what it is compared with.

    Returns:
        p in [1e-12, 0.5], found by bisection from above (so `lower(1 - p)` does exceed the limit)
        to one part in a million, or 1 when the bound does not exceed the limit even at confidence
        0.5.

    >>> from checker.stats import rate
    >>> p = p_value(lambda confidence: rate(3, 3, confidence=confidence).low, limit=0.1)
    >>> round(p, 6)  # all three of three hits: 0.1 ** 3
    0.001
    """
    if not lower(1 - LARGEST_P) > limit:
        return 1.0
    if lower(1 - SMALLEST_P) > limit:
        return SMALLEST_P
    below, above = math.log(SMALLEST_P), math.log(LARGEST_P)
    while above - below > 1e-6:
        middle = (below + above) / 2
        if lower(1 - math.exp(middle)) > limit:
            above = middle
        else:
            below = middle
    return math.exp(above)


def holm(p_values: Sequence[float], *, alpha: float) -> NDArray[np.bool_]:
    """Return which hypotheses Holm's step-down procedure rejects.

    Args:
        p_values: [k] in [0, 1], one per cell that is tested, sound ones too.
        alpha: chance of rejecting any true hypothesis.

    Returns:
        [k] bool, in the order given.

    Reference:
        Holm 1979, Scand. J. Statist. 6:65.

    >>> holm([0.02, 0.04, 0.01], alpha=0.05).tolist()  # 0.01 <= .05/3, 0.02 <= .05/2, 0.04 <= .05
    [True, True, True]
    >>> holm([0.03, 0.04, 0.01], alpha=0.05).tolist()  # 0.03 > .05/2 stops the procedure
    [False, False, True]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    steps = alpha / np.arange(len(p), 0, -1)
    still = np.logical_and.accumulate(p[order] <= steps)
    rejected = np.zeros(len(p), dtype=np.bool_)
    rejected[order] = still
    return rejected


def attempt_confidence(confidence: float, *, attempt: int) -> float:
    """Return the one-sided confidence at which the k-th attempt at a release is judged.

    Args:
        confidence: of the policy, in (0, 1).
        attempt: k, from 1.

    Returns:
        1 - α/2^(k-1), the policy's own confidence at the first attempt.

    Raises:
        UsageError: there is no such attempt, or its α is too small to compute with.

    >>> [attempt_confidence(0.95, attempt=k) for k in (1, 2, 3)]
    [0.95, 0.975, 0.9875]
    """
    if attempt < 1:
        raise UsageError(f"attempts are counted from 1; there is no attempt {attempt}")
    if attempt == 1:
        return confidence
    alpha = (1 - confidence) / 2.0 ** (attempt - 1)
    if alpha < SMALLEST_P:
        raise UsageError(
            f"attempt {attempt} at confidence {confidence:g} leaves an error of {alpha:.1e}, which"
            " nothing can be judged at"
        )
    # rounded, so that the sixth decimal of a level is not one of floating point
    return round(1 - alpha, 12)


def placebo_confidence(*, cells: int) -> float:
    """Return the one-sided confidence at which all placebos together give few false alarms.

    With bounds at this confidence on both sides, the chance that any of `cells` intervals misses
    the truth is at most `false_alarms.PLACEBO` (Bonferroni; 2 · cells bounds). A placebo only takes
    a verdict away: one that fails by chance keeps a sound model from being released.

    >>> round(placebo_confidence(cells=5), 6)
    0.9998
    """
    return 1 - PLACEBO / (2 * max(cells, 1))


def placebo_difference(
    outcomes: ArrayLike, *, confidence: float, rng: np.random.Generator
) -> Estimate:
    """Estimate the difference of rates between two random halves of one group: zero but for chance.

    Args:
        outcomes: [n] in [0, 1], one per nonmember; at least 2.
        confidence: of each bound; `placebo_confidence` allows for two sides and many cells.
        rng: draws the halves.

    Returns:
        The difference; the instrument is sound for this data when `contains(estimate, 0)`.

    Raises:
        InsufficientData: fewer than 2 outcomes (reason "too-few-nonmembers").
    """
    values = np.asarray(outcomes, np.float64)
    if len(values) < 2:
        raise InsufficientData("nonmembers", needed=2, got=len(values), reason="too-few-nonmembers")
    first, second = np.array_split(rng.permutation(values), 2)
    return rate_difference(
        float(first.sum()), len(first), float(second.sum()), len(second), confidence=confidence
    )


def contains(estimate: Estimate, value: float) -> bool:
    """Return whether a value lies between an estimate's bounds.

    >>> contains(Estimate(0.1, -0.02, 0.2, 40, 0.95, "made up"), 0)
    True
    """
    return estimate.low <= value <= estimate.high
