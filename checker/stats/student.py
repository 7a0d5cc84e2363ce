"""Student's t-test of whether a mean is zero."""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray


def t_test(values: NDArray[np.float64], *, two_sided: bool = False) -> float:
    """Return the p with which values whose mean is zero have one at least so high.

    Args:
        values: [n] with n > 1, not all equal; for a paired test the differences of pairs.
        two_sided: whether a mean far below zero counts as well.

    Reference:
        Student 1908, Biometrika 6:1.
    """
    error = math.sqrt(float(values.var(ddof=1)) / len(values))
    t = float(values.mean()) / error
    if two_sided:
        return 2 * float(scipy.special.stdtr(len(values) - 1, -abs(t)))
    return float(scipy.special.stdtr(len(values) - 1, -t))
