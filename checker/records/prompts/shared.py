"""How many patients share a prompt, where only a part of them was looked at.

Prompts that many share identify nobody (METHODS §1, *Shared prompts*), and a sample hides it: two
of five hundred patients meet less often than two of a hundred thousand. What is counted in a sample
is therefore said of all from whom it was drawn (METHODS §6, *Patients by need*).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HEAVY = 3
"""So many of a sample who share a prompt are a crowd of their own; fewer meet by chance."""


def sharers(keys: Sequence[bytes], *, everybody: int) -> NDArray[np.float64]:
    """Say for each patient of a sample how many of all have his prompt, himself included.

    Of a whole group that is counted. Of a sample of k, a crowd (`HEAVY` or more with one prompt) is
    as large a part of all as it is of the sample. Single patients and pairs are judged together, by
    how many distinct prompts there must be at least (Chao's bound for samples without replacement).
    It is met where all prompts are shared by equally many, and otherwise says that more are shared.

    Args:
        keys: of k patients who were drawn by lot, one prompt's key each.
        everybody: from whom they were drawn, at least k.

    Returns:
        [k] float64, at least 1.

    >>> sharers([b"a", b"a", b"b"], everybody=3).tolist()
    [2.0, 2.0, 1.0]
    Reference:
        Chao & Lin 2012, Biometrics 68:912.
    """
    k = len(keys)
    places = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    which = np.array([places[key] for key in keys], dtype=np.int64)
    met = np.bincount(which, minlength=len(places))[which].astype(np.float64) if k else np.empty(0)
    if k >= everybody or k < 2:
        return met
    of_crowds = 1 + (met - 1) * (everybody - 1) / (k - 1)
    light = met < HEAVY
    single, paired = float((met == 1).sum()), float((met == 2).sum()) / 2
    drawn = k / everybody
    unseen = single**2 / max(2 * paired + single * drawn / (1 - drawn), 1e-12)
    distinct = (single + paired + unseen) * drawn / max(float(light.sum()), 1.0)
    return np.where(light, 1 / min(1.0, distinct) if light.any() else 1.0, of_crowds)


def distinct_share(shared: NDArray[np.float64]) -> float | None:
    """Return how many distinct prompts all have for each patient, from `sharers` of a sample."""
    return float((1 / shared).mean()) if len(shared) else None
