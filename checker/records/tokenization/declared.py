"""What a target declares of its time bins and its prefix, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy.documents import TimeBin
from checker.records.tokenization.records import DAY_US

_UNIT_US: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": DAY_US,
    "w": 7 * DAY_US,
    "y": 365.25 * DAY_US,
}


def duration_us(written: str) -> float:
    """Return a duration such as 7d in microseconds."""
    return float(written[:-1]) * _UNIT_US[written[-1]]


def upper_limits_us(bins: Sequence[TimeBin]) -> NDArray[np.int64]:
    """Return the longest gap of each time bin, the last one without end."""
    limits: list[int] = []
    for number, bin_ in enumerate(bins):
        is_last = number == len(bins) - 1
        if (bin_.up_to is None) != is_last:
            raise DataError(
                f"tokenization.time: entry {number + 1} must {'not ' if is_last else ''}have an"
                " 'upTo';"
                " every entry but the last has one"
            )
        if bin_.up_to is not None:
            limits.append(round(duration_us(bin_.up_to)))
            if len(limits) > 1 and limits[-1] <= limits[-2]:
                raise DataError(
                    f"tokenization.time: 'upTo: {bin_.up_to}' is not above the one before"
                )
    return np.array(limits, dtype=np.int64)


def ordered_prefix(order: Sequence[str] | None, declared: tuple[str, ...]) -> tuple[str, ...]:
    """Return the prefix fields in the order that the target declares, each once."""
    if order is None:
        return declared
    for name in order:
        if name not in declared:
            raise DataError(
                f"tokenization.prefixOrder: '{name}' is not declared{suggestion(name, declared)}"
            )
    missing = [name for name in declared if name not in order]
    if missing or len(set(order)) != len(order):
        wrong = f"'{missing[0]}' is missing" if missing else "a field is named twice"
        raise DataError(f"tokenization.prefixOrder: {wrong}; it names every field once")
    return tuple(order)
