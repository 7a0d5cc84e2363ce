"""A cohort's dictionary of codes, as the rules of a target read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization.values import BinTable


@dataclass(frozen=True, slots=True)
class Dictionary:
    """What the rules make of each code of a cohort's dictionary.

    Args:
        codes: the dictionary.
        token: [codes] int32, id of the code's own token, or -1.
        is_known: [codes] bool, the code has a token, be it that of a bin of its values.
        field: [codes] int16, index into the static fields, or -1.
        birth: index of the birth code, or -1.
        first: [codes] bool, the code stands before others of the same time.
        bins: the codes' value bins, or None.
        bin_token: [bins of all codes] int32, or None where bins are not spelled with their code.
    """

    codes: Sequence[str]
    token: NDArray[np.int32]
    is_known: NDArray[np.bool_]
    field: NDArray[np.int16]
    birth: int
    first: NDArray[np.bool_]
    bins: BinTable | None
    bin_token: NDArray[np.int32] | None


def pick(
    row: NDArray[np.int32],
    code: NDArray[np.int32],
    *,
    mine: NDArray[np.bool_],
    take: str,
    n: int,
) -> NDArray[np.int32]:
    """Return for each patient the first or last code of a static field, or -1."""
    picked = np.full(n, -1, dtype=np.int32)
    at = np.flatnonzero(mine)
    if take == "first":
        at = at[::-1]  # the assignment that is made last stays
    picked[row[at]] = code[at]
    return picked


def unknown_counts(
    code: NDArray[np.int32],
    slot: NDArray[np.int64] | None,
    unknown: NDArray[np.bool_],
    dictionary: Dictionary,
) -> Iterator[tuple[str, int]]:
    """Yield each token that the vocabulary lacks, and how many events lack it."""
    at = np.flatnonzero(unknown)
    if slot is not None and dictionary.bins is not None:
        binned = at[slot[at] >= 0]
        counts = np.bincount(slot[binned])
        for i in np.flatnonzero(counts).tolist():
            yield _bin_name(i, dictionary), int(counts[i])
        at = at[slot[at] < 0]
    counts = np.bincount(code[at])
    for i in np.flatnonzero(counts).tolist():
        yield dictionary.codes[i], int(counts[i])


def _bin_name(slot: int, dictionary: Dictionary) -> str:
    """Return how a bin's token is spelled, or what to call one that has none."""
    bins = dictionary.bins
    assert bins is not None  # callers have found a bin
    spelled = bins.spelling[slot]
    if spelled is not None:
        return spelled
    code = int(np.searchsorted(bins.slot, slot, side="right")) - 1
    return f"{dictionary.codes[code]}, bin {slot - int(bins.slot[code]) + 1}"


def open_parts(
    glob: str, picked: NDArray[np.int32], codes: Sequence[str]
) -> tuple[str | None, ...]:
    """Return what a glob with one '*' leaves open of each patient's code; else the code."""
    before, star, after = glob.partition("*")
    simple = bool(star) and not set("*?[") & {*before, *after}
    used = np.unique(picked)
    names: dict[int, str | None] = {
        i: codes[i][len(before) : len(codes[i]) - len(after)] if simple else codes[i]
        for i in used[used >= 0].tolist()
    }
    names[-1] = None
    return tuple(names[i] for i in picked.tolist())
