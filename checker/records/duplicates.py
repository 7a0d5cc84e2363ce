"""Which nonmembers have a member's record, or nearly so? A check that needs no model.

METHODS §3, *Admissibility* (a), and *Near-duplicates*.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

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

BITS_A_RUN = 4
"""Of the bits, so many are there for each run that a split holds: at most a quarter is set."""

RUNS_AT_ONCE = 1 << 20

KEY_BITS = 44
"""Of a run's hash, beside the number of a patient among at most RUNS_AT_ONCE."""


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

    Near means a Jaccard similarity of at least 0.8 between the sets of runs of 5 codes. Each of two
    sets so alike has four fifths of its runs in the other. So a nonmember is looked at only if the
    members together hold four fifths of his runs, a member only if those nonmembers hold four
    fifths of his, and of the few who are left those pairs are compared, exactly, that share one of
    the rarest fifth of their runs (prefix filtering): nothing is missed and nothing is found by
    chance. Records of fewer than 10 events are left out.

    Args:
        members: codes of each member's events, in order.
        nonmembers: the same of each nonmember.
        rng: draws the hash function. The result does not depend on it.

    Reference:
        Broder 1997, SEQUENCES '97:21 (shingles); Xiao, Wang, Lin & Yu 2008, WWW '08:131 (prefixes).
    """
    multipliers = rng.integers(2**64, size=SHINGLE, dtype=np.uint64) | np.uint64(1)
    known = _Held.of(members, multipliers)
    chosen = known.mostly_hold(nonmembers)
    candidates = [nonmembers[i] for i in chosen.tolist()]
    likely = []
    if candidates:
        like = _Held.of(candidates, multipliers).mostly_hold(members)
        likely = [members[i] for i in like.tolist()]
    whole = {codes.tobytes() for codes in likely}
    exact = [i for i in chosen.tolist() if nonmembers[i].tobytes() in whole]
    same = set(exact)
    search = _NearSearch(likely, multipliers)
    near = [i for i in chosen.tolist() if i not in same and search.finds(nonmembers[i])]
    return Duplicates(
        len(exact),
        len(near),
        exact_indices=np.array(exact, dtype=np.int64),
        nonmember_indices=np.array(sorted(exact + near), dtype=np.int64),
    )


def copied_records(
    known: NDArray[np.void], found: NDArray[np.void], nonmembers: Records
) -> NDArray[np.int64]:
    """Find nonmembers whose every event, time and value is a member's, however short the record.

    Two strangers may share one check-up, but not its minute and their dates of birth; records with
    fewer than two dated events are left out all the same, for they say too little.

    Args:
        known: `record_digests` of the members.
        found: of the nonmembers.
        nonmembers: the nonmembers.

    Returns:
        Positions among the nonmembers, ascending.
    """
    return np.flatnonzero(np.isin(found, known) & _says_enough(nonmembers)).astype(np.int64)


def record_digests(records: Records) -> NDArray[np.void]:
    """Return 16 bytes that name what each patient's record holds: codes, times and values.

    Equal records have equal digests, in any split of one cohort, and others do not.

    Returns:
        [n] of 16 bytes.
    """
    codes, times, values = (
        np.ascontiguousarray(column).view(np.uint8).data
        for column in (records.code, records.time_us, records.value)
    )
    digests = bytearray()
    for start, end in pairwise(records.offsets.tolist()):
        whole = hashlib.blake2b(codes[4 * start : 4 * end], digest_size=16)
        whole.update(times[8 * start : 8 * end])
        whole.update(values[4 * start : 4 * end])
        digests += whole.digest()
    return np.frombuffer(bytes(digests), dtype="V16")


def _says_enough(records: Records) -> NDArray[np.bool_]:
    dated = np.concatenate([[0], np.cumsum(records.time_us != STATIC_TIME)])
    enough: NDArray[np.bool_] = np.diff(dated[records.offsets]) > 1
    return enough


def shingles(codes: Codes) -> set[bytes]:
    """Return the runs of five events of a record, or all its events where it has fewer."""
    if not len(codes):
        return set()
    windows = np.lib.stride_tricks.sliding_window_view(codes, min(SHINGLE, len(codes)))
    return {window.tobytes() for window in windows}


@dataclass(frozen=True, slots=True)
class _Held:
    """The runs that some patients hold together: a superset of them, one bit each.

    Args:
        bits: [2 ** first_bits] bool, by the first bits of a run's hash.
        first_bits: so many.
        multipliers: of the hash function.
    """

    bits: NDArray[np.bool_]
    first_bits: int
    multipliers: Hashes

    @classmethod
    def of(cls, patients: Sequence[Codes], multipliers: Hashes) -> _Held:
        """Note the runs of everybody whose record is long enough."""
        runs = sum(len(codes) for codes in patients)
        first_bits = min(max((BITS_A_RUN * runs).bit_length(), 10), KEY_BITS)
        held = cls(np.zeros(1 << first_bits, dtype=np.bool_), first_bits, multipliers)
        for _, _, hashes in _hashes_in_parts(patients, multipliers):
            held.bits[held.place(hashes)] = True
        return held

    def place(self, hashes: Hashes) -> NDArray[np.intp]:
        """Return the place of each run's bit."""
        return (hashes >> np.uint64(64 - self.first_bits)).astype(np.intp)

    def mostly_hold(self, patients: Sequence[Codes]) -> NDArray[np.int64]:
        """Return who has four fifths of his distinct runs here, or seems to: ascending places."""
        found = [np.empty(0, dtype=np.int64)]
        for places, row, hashes in _hashes_in_parts(patients, self.multipliers):
            # one number sorts faster than two: whose run it is, and the first bits of its hash
            keys = (row.astype(np.uint64) << np.uint64(KEY_BITS)) | (
                hashes >> np.uint64(64 - KEY_BITS)
            )
            keys.sort()
            keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
            whose = (keys >> np.uint64(KEY_BITS)).astype(np.intp)
            held = self.bits[self.place(keys << np.uint64(64 - KEY_BITS))]
            distinct = np.bincount(whose, minlength=len(places))
            inside = np.bincount(whose[held], minlength=len(places))
            chosen = inside >= NEAR_DUPLICATE * distinct - 1e-9
            found.append(places[chosen])
        return np.concatenate(found)


def _hashes_in_parts(
    patients: Sequence[Codes], multipliers: Hashes
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Hashes]]:
    """Yield the hashed runs of some patients at a time whose record is long enough.

    Yields:
        Places of p patients; [k] which of them a run is of, ascending; [k] the run's hash.
    """
    long = [i for i, codes in enumerate(patients) if len(codes) >= MIN_EVENTS]
    start = 0
    while start < len(long):
        end, events = start, 0
        while end < len(long) and (end == start or events < RUNS_AT_ONCE):
            events += len(patients[long[end]])
            end += 1
        own = [patients[i] for i in long[start:end]]
        lengths = np.array([len(codes) for codes in own], dtype=np.int64)
        flat = np.concatenate(own).astype(np.uint64)
        hashes = np.zeros(len(flat) - SHINGLE + 1, dtype=np.uint64)
        for offset, multiplier in enumerate(multipliers.tolist()):
            hashes += flat[offset : offset + len(hashes)] * np.uint64(multiplier)
        row = np.repeat(np.arange(len(own)), lengths)
        # a run lies within one patient where its last event is of the same one
        within = row[: len(hashes)] == row[SHINGLE - 1 :]
        yield np.array(long[start:end], dtype=np.int64), row[: len(hashes)][within], hashes[within]
        start = end


class _NearSearch:
    """An inverted index from the rarest shingles of each member to the member."""

    def __init__(self, members: Sequence[Codes], multipliers: Hashes) -> None:
        self._members = members
        self._multipliers = multipliers
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
        wanted = shingles(codes)
        return any(
            _jaccard(wanted, shingles(self._members[i])) >= NEAR_DUPLICATE
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


def _jaccard(first: set[bytes], second: set[bytes]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)
