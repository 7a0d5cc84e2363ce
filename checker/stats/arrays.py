"""What every estimate takes, checked once: arrays of finite numbers, and hits among patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData

FloatArray = NDArray[np.float64]


def finite(values: ArrayLike) -> FloatArray:
    """Return values as [n] float64; NaN, infinity and other shapes raise ValueError."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("values must be a one-dimensional array of finite numbers")
    return array


def check_hits(hits: float, n: int) -> None:
    """Check that hits lie in [0, n]; no patients at all raise InsufficientData."""
    if n <= 0:
        raise InsufficientData("patients", needed=1, got=0)
    if not 0 <= hits <= n:
        raise ValueError(f"hits must lie between 0 and n = {n}, got {hits}")
