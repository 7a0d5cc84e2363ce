"""What a model repeats word for word: of the true continuation, and of anybody's record.

*Of the true continuation*: the longest run of consecutive tokens that both hold, wherever it stands
in either (a longest common substring). From `minRun` tokens on it counts as extracted.

*Of anybody's record*, where the prompt identifies nobody (METHODS §1): which records hold a run of
`minRun` tokens of a rollout. Medicine repeats itself: of all runs of 20 tokens in Synthea's members
37 % stand in a nonmember's record too, as laboratory panels, while in the MIMIC-IV demo none of
200,000 do. Hence a set of members is compared with an equally large set of nonmembers, and only
runs that *tell the two sets apart* count: for members those that no nonmember of the other set has,
for nonmembers those that no member of the one set has. Without memorization the sets are
exchangeable, so both shares are equal in expectation, whatever is common to both. Were all runs
counted instead, one panel in every rollout would put both shares at 1 and hide any regurgitation.

Runs of one or two codes need no rule of their own: such care is everybody's, and cancels. (In the
MIMIC-IV demo 1 % of runs of 20 tokens hold fewer than 8 different ones.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.attacks.families.samples import RepeatedRecords
from checker.errors import InsufficientData
from checker.records.tokenization import TokenizedRecords

Tokens = NDArray[np.int32]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]

_PAIRS_AT_ONCE: Final = 4096
_TOKENS_AT_ONCE: Final = 1 << 20
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no place of a window is lost


# --- of the true continuation -------------------------------------------------------------------


def longest_shared_runs(first: Sequence[Tokens], second: Sequence[Tokens]) -> NDArray[np.int64]:
    """Return the length of the longest run of tokens that each pair of sequences shares.

    Args:
        first: [p] arrays of token ids >= 0.
        second: [p] the same.

    Returns:
        [p] int64, 0 where a pair has no token in common. Takes time and memory as all sequences
        padded to the longest: cut them to the horizon before.
    """
    found = np.zeros(len(first), dtype=np.int64)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        a, b = _padded(first[part], with_=-1), _padded(second[part], with_=-2)
        # run[p, j + 1]: tokens in a row that end alike at the current place of a and at j of b
        small = np.int16 if b.shape[1] < np.iinfo(np.int16).max else np.int32
        run = np.zeros((len(a), b.shape[1] + 1), dtype=small)
        best = np.zeros_like(run)
        for place in range(a.shape[1]):
            run[:, 1:] = (run[:, :-1] + 1) * (a[:, place, None] == b)
            np.maximum(best, run, out=best)
        found[part] = best.max(axis=1)
    return found


def _padded(sequences: Sequence[Tokens], *, with_: int) -> Tokens:
    longest = max(len(sequence) for sequence in sequences)
    table = np.full((len(sequences), longest), with_, dtype=np.int32)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return table


# --- of anybody's record ------------------------------------------------------------------------


def regurgitation(
    rollouts: Sequence[Tokens],
    *,
    members: TokenizedRecords,
    nonmembers: TokenizedRecords,
    min_run: int,
    rng: np.random.Generator,
) -> RepeatedRecords:
    """Say for each rollout whether it repeats members, and how often nonmembers by the same rule.

    The rollouts' runs are indexed and the records are read past them once, so memory grows with the
    rollouts, not with the records: 100,000 rollouts of 100 tokens take 0.6 GB at the peak, and 400
    million tokens of records a minute or two.

    Args:
        rollouts: [R] continuations, without their prompts.
        members: whole records of at least one patient.
        nonmembers: the same of at least one.
        min_run: tokens in a row that make a repetition, >= 1.
        rng: draws the groups of members, the set of nonmembers and its halves.

    Raises:
        InsufficientData: there are no members or no nonmembers.
    """
    for split, what in ((members, "members"), (nonmembers, "nonmembers")):
        if len(split) == 0:
            raise InsufficientData(what, needed=1, got=0, reason=f"too-few-{what}")
    sets = _Sets.draw(len(members), len(nonmembers), rng=rng)
    index = _RunIndex(rollouts, min_run=min_run)
    nobody = np.zeros(len(members), dtype=np.int64)
    held = index.found_in(
        [(members, sets.group, nobody), (nonmembers, sets.part, sets.number)],
        columns=sets.groups + _PARTS,
    )
    return _count(held, sets)


_HALF_A, _HALF_B, _ODD_ONE, _EXTRA, _PARTS = range(5)


@dataclass(frozen=True, slots=True)
class _Sets:
    """Who is compared with whom; patients in no set have -1.

    Group sizes differ by at most one. The nonmembers are as many as the smaller groups; larger
    groups are compared with these and one extra nonmember.

    Args:
        group: [members] int64, each one's group.
        part: [nonmembers] int64, `groups` + one of the parts above.
        number: [nonmembers] int64, a random order of them from 1.
        groups: how many groups there are.
        is_larger: [groups] bool, the group has one patient more.
        nonmembers: size of the set of nonmembers, without the extra one.
    """

    group: NDArray[np.int64]
    part: NDArray[np.int64]
    number: NDArray[np.int64]
    groups: int
    is_larger: Flags
    nonmembers: int

    @classmethod
    def draw(cls, n_members: int, n_nonmembers: int, *, rng: np.random.Generator) -> _Sets:
        groups = math.ceil(n_members / n_nonmembers)
        size, larger = divmod(n_members, groups)
        group = np.empty(n_members, dtype=np.int64)
        group[rng.permutation(n_members)] = np.arange(n_members) % groups
        order = rng.permutation(n_nonmembers)
        number = np.empty(n_nonmembers, dtype=np.int64)
        number[order] = np.arange(1, n_nonmembers + 1)
        part = np.full(n_nonmembers, -1, dtype=np.int64)
        half = size // 2
        part[order[:half]] = groups + _HALF_A
        part[order[half : 2 * half]] = groups + _HALF_B
        part[order[2 * half : size]] = groups + _ODD_ONE
        if larger:
            part[order[size]] = groups + _EXTRA
        return cls(group, part, number, groups, np.arange(groups) < larger, size)


def _count(held: _Held, sets: _Sets) -> RepeatedRecords:
    parts = held.by_set[:, sets.groups :]
    half_a, half_b = parts[:, _HALF_A], parts[:, _HALF_B]
    nonmember = half_a | half_b | parts[:, _ODD_ONE]
    counts = np.zeros((2, held.n_rollouts), dtype=np.int64)
    counted = np.zeros(len(parts), dtype=np.bool_)
    for number, is_larger in enumerate(sets.is_larger.tolist()):
        member = held.by_set[:, number]
        other = nonmember | parts[:, _EXTRA] if is_larger else nonmember
        counts[0] += held.rollouts_with(member & ~other) != 0
        counts[1] += held.rollouts_with(other & ~member) != 0
        counted |= other & ~member
    halves = [held.rollouts_with(only) for only in (half_a & ~half_b, half_b & ~half_a)]
    return RepeatedRecords(
        member_groups=counts[0],
        nonmember_groups=counts[1],
        repeated=held.rollouts_with(counted),
        halves=np.stack(halves, axis=1),
        groups=sets.groups,
        nonmembers=sets.nonmembers,
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """The k distinct runs that stand in a record, and the w places of rollouts that hold one.

    Args:
        by_set: [k, columns] bool, the sets that hold the run.
        holder: [k] int64, number of the one nonmember who has the run, -1 where several have it, 0
            where none has.
        run: [w] int64, which run stands at a place.
        rollout: [w] int64, whose place it is.
        n_rollouts: how many rollouts there are.
    """

    by_set: Flags
    holder: NDArray[np.int64]
    run: NDArray[np.int64]
    rollout: NDArray[np.int64]
    n_rollouts: int

    def rollouts_with(self, wanted: Flags) -> NDArray[np.int64]:
        """Return whose wanted runs ([k] bool) each rollout holds: [R] int64.

        0 says that it holds none, k >= 1 that all are the k-th nonmember's alone, else -1.
        """
        at = wanted[self.run]
        rollout, holder = self.rollout[at], self.holder[self.run[at]]
        least = np.full(self.n_rollouts, np.iinfo(np.int64).max)
        most = np.full(self.n_rollouts, -2)
        np.minimum.at(least, rollout, holder)
        np.maximum.at(most, rollout, holder)
        alone = (least == most) & (least > 0)
        return np.where(most == -2, 0, np.where(alone, least, -1))


class _RunIndex:
    """All distinct runs of m tokens of the rollouts, by a 64-bit polynomial hash.

    A hash found in a record is compared token for token, so no record is accused wrongly. Two runs
    of rollouts are taken for one if their hashes are equal; among q runs that has the probability
    q² / 2⁶⁵: 2·10⁻⁶ for 8 million.
    """

    def __init__(self, rollouts: Sequence[Tokens], *, min_run: int) -> None:
        self._m = min_run
        self._n_rollouts = len(rollouts)
        lengths = np.array([len(rollout) for rollout in rollouts], dtype=np.int64)
        self._tokens = np.concatenate([*rollouts, np.empty(0, np.int32)]).astype(np.int32)
        ends = np.cumsum(lengths)
        starts = _window_starts(ends - lengths, ends, min_run)
        self._hashes, first, run = np.unique(
            _hashes(self._tokens, min_run)[starts], return_index=True, return_inverse=True
        )
        self._example = starts[first]  # where a run stands, to be compared with
        self._run = run.astype(np.int64)
        self._rollout = np.searchsorted(ends, starts, side="right")
        # most runs of a record are in no rollout: one look into a table settles 15 of 16 of them
        bits = min(max(math.ceil(math.log2(16 * len(self._hashes) + 1)), 10), 28)
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, dtype=np.bool_)
        self._maybe[self._hashes >> self._shift] = True

    def found_in(
        self,
        splits: Sequence[tuple[TokenizedRecords, NDArray[np.int64], NDArray[np.int64]]],
        *,
        columns: int,
    ) -> _Held:
        """Return which runs stand in which sets of records.

        Args:
            splits: records, and for each record the column of its set, or -1, and its patient's
                number >= 1, or 0 where nobody asks.
            columns: number of sets.
        """
        keys = [np.empty(0, dtype=np.int64)]
        least = np.full(len(self._hashes), np.iinfo(np.int64).max)
        most = np.zeros(len(self._hashes), dtype=np.int64)
        for records, column, number in splits if len(self._hashes) else ():
            for tokens, starts, owner in _pieces(records, self._m):
                at, run = self._matches(tokens, starts)
                wanted = column[owner[at]] >= 0
                at, run = at[wanted], run[wanted]
                keys.append(np.unique(run * columns + column[owner[at]]))
                whose = number[owner[at]]
                known = whose > 0
                np.minimum.at(least, run[known], whose[known])
                np.maximum.at(most, run[known], whose[known])
        run_of, column_of = np.divmod(np.unique(np.concatenate(keys)), columns)
        runs, row = np.unique(run_of, return_inverse=True)
        by_set = np.zeros((len(runs), columns), dtype=np.bool_)
        by_set[row, column_of] = True
        alone = (least == most) | (most == 0)
        new = np.full(len(self._hashes), -1, dtype=np.int64)
        new[runs] = np.arange(len(runs))
        places = np.flatnonzero(new[self._run] >= 0)
        return _Held(
            by_set=by_set,
            holder=np.where(alone, most, -1)[runs],
            run=new[self._run[places]],
            rollout=self._rollout[places],
            n_rollouts=self._n_rollouts,
        )

    def _matches(
        self, tokens: Tokens, starts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of the windows are runs of rollouts, and which runs they are."""
        hashes = _hashes(tokens, self._m)[starts]
        at = np.flatnonzero(self._maybe[hashes >> self._shift])
        run = np.searchsorted(self._hashes, hashes[at])
        run = np.minimum(run, len(self._hashes) - 1)
        same = self._hashes[run] == hashes[at]
        at, run = at[same], run[same]
        place = np.arange(self._m)
        windows = tokens[starts[at][:, None] + place]
        same = (windows == self._tokens[self._example[run][:, None] + place]).all(axis=1)
        return at[same], run[same].astype(np.int64)


def _pieces(
    records: TokenizedRecords, m: int
) -> Iterator[tuple[Tokens, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield some records' tokens at a time, where their windows start, and whose each window is."""
    first = 0
    while first < len(records):
        limit = records.offsets[first] + _TOKENS_AT_ONCE
        last = max(int(np.searchsorted(records.offsets, limit, side="right")) - 1, first + 1)
        offsets = records.offsets[first : last + 1]
        starts = _window_starts(offsets[:-1], offsets[1:], m) - offsets[0]
        owner = first + np.searchsorted(offsets[1:] - offsets[0], starts, side="right")
        yield records.tokens[offsets[0] : offsets[-1]], starts, owner
        first = last


def _window_starts(begins: NDArray[np.int64], ends: NDArray[np.int64], m: int) -> NDArray[np.int64]:
    """Return where windows of m tokens start that lie within one of the parts, in order."""
    counts = np.maximum(ends - begins - m + 1, 0)
    before = np.cumsum(counts) - counts
    return np.repeat(begins - before, counts) + np.arange(counts.sum(), dtype=np.int64)


def _hashes(tokens: Tokens, m: int) -> Hashes:
    """Return the hash of each window of m tokens: a polynomial over scattered ids, modulo 2⁶⁴."""
    scattered = _scatter(tokens)
    windows = max(len(tokens) - m + 1, 0)
    hashes: Hashes = np.zeros(windows, dtype=np.uint64)
    for place in range(m):
        hashes *= _MULTIPLIER
        hashes += scattered[place : place + windows]
    return hashes


def _scatter(tokens: Tokens) -> Hashes:
    """Spread small ids over 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    x = (tokens.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
