"""Which nonmembers have a member's record, or nearly so? A check that needs no model.

METHODS §3, *Admissibility* (a), and *Near-duplicates*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import STATIC_TIME, Records

Codes = NDArray[np.int32]
Hashes = NDArray[np.uint64]

SHINGLE = 5
"""Events in a row that make up one shingle."""

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of shingle sets from which two records count as nearly the same."""

MIN_EVENTS = 10
"""Shorter records are not compared: two strangers may well share one check-up."""

BUCKETS = 1 << 22


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Nonmembers whose record is also a member's.

    Args:
        exact: nonmembers with the very codes of a member, in the same order.
        near: further nonmembers nearly equal to a member.
        exact_indices: [exact] int64, ascending; which they are.
        nonmember_indices: [exact + near] int64, ascending; both together.
    """

    exact: int
    near: int
    exact_indices: NDArray[np.int64]
    nonmember_indices: NDArray[np.int64]


def find_duplicates(
    members: Sequence[Codes], nonmembers: Sequence[Codes], *, rng: np.random.Generator
) -> Duplicates:
    """Find nonmembers whose record is, or nearly is, that of a member.

    Near means a Jaccard similarity of at least 0.8 between the sets of runs of 5 codes. Two sets so
    alike share one of the rarest fifth of their runs (prefix filtering), so only records that do
    are compared, and those exactly: nothing is missed and nothing is found by chance. Records of
    fewer than 10 events are left out.

    Args:
        members: codes of each member's events, in order.
        nonmembers: the same of each nonmember.
        rng: draws the hash function. The result does not depend on it.

    Reference:
        Broder 1997, SEQUENCES '97:21 (shingles); Xiao, Wang, Lin & Yu 2008, WWW '08:131 (prefixes).
    """
    known = {codes.tobytes() for codes in members if len(codes) >= MIN_EVENTS}
    long = [i for i, codes in enumerate(nonmembers) if len(codes) >= MIN_EVENTS]
    exact = [i for i in long if nonmembers[i].tobytes() in known]
    same = set(exact)
    search = _NearSearch(members, rng=rng)
    near = [i for i in long if i not in same and search.finds(nonmembers[i])]
    return Duplicates(
        len(exact),
        len(near),
        exact_indices=np.array(exact, dtype=np.int64),
        nonmember_indices=np.array(sorted(exact + near), dtype=np.int64),
    )


def copied_records(members: Records, nonmembers: Records) -> NDArray[np.int64]:
    """Find nonmembers whose every event, time and value is a member's, however short the record.

    Two strangers may share one check-up, but not its minute and their dates of birth; records with
    fewer than two dated events are left out all the same, for they say too little.

    Returns:
        Positions among the nonmembers, ascending.
    """

    def contents(records: Records) -> Iterator[bytes | None]:
        for start, end in zip(records.offsets[:-1], records.offsets[1:], strict=True):
            times = records.time_us[start:end]
            dated = int((times != STATIC_TIME).sum())
            parts = (records.code[start:end], times, records.value[start:end])
            yield b"".join(part.tobytes() for part in parts) if dated > 1 else None

    known = set(contents(members)) - {None}
    found = [i for i, content in enumerate(contents(nonmembers)) if content in known]
    return np.array(found, dtype=np.int64)


class _NearSearch:
    """An inverted index from the rarest shingles of each member to the member."""

    def __init__(self, members: Sequence[Codes], *, rng: np.random.Generator) -> None:
        self._members = members
        self._multipliers = rng.integers(2**64, size=SHINGLE, dtype=np.uint64) | np.uint64(1)
        self._holders = np.zeros(BUCKETS, dtype=np.int32)
        self._sizes = np.zeros(len(members), dtype=np.int64)
        for i, hashes in self._hashed_members():
            self._sizes[i] = len(hashes)
            self._holders[self._buckets(hashes)] += 1
        keys, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        for i, hashes in self._hashed_members():
            rarest = self._rarest(hashes)
            keys.append(rarest)
            owners.append(np.full(len(rarest), i, dtype=np.int32))
        flat = np.concatenate(keys)
        order = np.argsort(flat, kind="stable")
        self._keys, self._owners = flat[order], np.concatenate(owners)[order]

    def finds(self, codes: Codes) -> bool:
        """Return whether some member's record is nearly this one."""
        hashes = self._hashes(codes)
        rarest = self._rarest(hashes)
        first = np.searchsorted(self._keys, rarest, side="left")
        last = np.searchsorted(self._keys, rarest, side="right")
        found = [self._owners[a:b] for a, b in zip(first, last, strict=True) if a < b]
        if not found:
            return False
        candidates = np.unique(np.concatenate(found))
        sizes = self._sizes[candidates]
        shorter, longer = np.minimum(sizes, len(hashes)), np.maximum(sizes, len(hashes))
        wanted = _runs(codes)
        return any(
            _jaccard(wanted, _runs(self._members[i])) >= NEAR_DUPLICATE
            for i in candidates[shorter >= NEAR_DUPLICATE * longer]
        )

    def _hashed_members(self) -> Iterator[tuple[int, Hashes]]:
        # hashed twice rather than kept: all shingles of a large cohort would fill the memory
        for i, codes in enumerate(self._members):
            if len(codes) >= MIN_EVENTS:
                yield i, self._hashes(codes)

    def _hashes(self, codes: Codes) -> Hashes:
        windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint64), SHINGLE)
        return np.unique(windows @ self._multipliers)

    def _buckets(self, hashes: Hashes) -> NDArray[np.intp]:
        return (hashes >> np.uint64(64 - (BUCKETS.bit_length() - 1))).astype(np.intp)

    def _rarest(self, hashes: Hashes) -> Hashes:
        """Return the prefix: as many shingles as two similar sets cannot both lack.

        Rare by the count of members in the shingle's bucket; any order that is the same for all
        records is right, this one only makes the lists short.
        """
        count = len(hashes) - math.ceil(NEAR_DUPLICATE * len(hashes) - 1e-9) + 1
        order = np.lexsort((hashes, self._holders[self._buckets(hashes)]))
        return hashes[order[:count]]


def _runs(codes: Codes) -> set[bytes]:
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE)
    return {window.tobytes() for window in windows}


def _jaccard(first: set[bytes], second: set[bytes]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)
