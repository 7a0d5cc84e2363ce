"""Which events of a patient an attacker knows, and where that puts the cut."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy import ResolvedAttacker
from checker.records.prompts.source import ClassPlaces, Flags, Positions, PromptSource, blocks, flag


@dataclass(frozen=True, slots=True)
class KnownEvents:
    """Which events an attacker knows of each of n patients.

    Args:
        source: the patients.
        first: [n] int64, so many events are known anyway.
        limit: [n] int64, first event that cannot be known, at least `first`.
        is_comparable: [n] bool, there is a place for the cut.
        pool: [codes] bool, events of these codes between `first` and `limit` may be chosen; None
            where all are known.
        last: of these the last so many are known,
        of_type: [codes] bool, all of these codes,
        random: and of the others so many.
    """

    source: PromptSource
    first: Positions
    limit: Positions
    is_comparable: Flags
    pool: Flags | None
    last: int
    of_type: Flags
    random: int

    @classmethod
    def of(
        cls,
        source: PromptSource,
        attacker: ResolvedAttacker,
        standing: ClassPlaces,
        *,
        removed: Flags,
        counted: Flags,
    ) -> KnownEvents:
        """Find out how far knowledge may reach."""
        knows = attacker.knows
        first = np.full(
            len(source.records),
            knows.events if isinstance(knows.events, int) else 0,
            dtype=np.int64,
        )
        if knows.tokens:
            first = np.maximum(first, _within(source, tokens=knows.tokens))
        limit = first
        if knows.chooses_events:
            is_asked = bool(counted.any())
            limit = _limits(source, standing, first=first, is_asked=is_asked)
        chooses = knows.chooses_events and knows.events != "all"
        return cls(
            source=source,
            first=first,
            limit=np.maximum(limit, first),
            is_comparable=limit >= 0,
            pool=~removed if chooses else None,
            last=knows.last or 0,
            of_type=_matching(attacker, source.codes),
            random=knows.random or 0,
        )

    def cuts(self, rows: Positions) -> Positions:
        """Return the number of each patient's first event behind the last one known."""
        if self.pool is None:
            return self.limit[rows]
        cut = self.first[rows]
        for part in blocks(self._reach(rows)):
            known, reach = self.chosen(rows[part])
            number = np.arange(len(known)) - np.repeat(np.cumsum(reach) - reach, reach)
            np.maximum.at(
                cut[part], np.repeat(np.arange(len(reach)), reach)[known], number[known] + 1
            )
        return cut

    def chosen(self, rows: Positions) -> tuple[Flags, Positions]:
        """Return which of the patients' events before their limits are known, end to end.

        Returns:
            [sum of the patients' events before their limits] bool, and how many each has: [rows].
        """
        reach = self._reach(rows)
        row = np.repeat(np.arange(len(rows)), reach)
        number = np.arange(len(row)) - np.repeat(np.cumsum(reach) - reach, reach)
        known = number < np.repeat(self.first[rows], reach)
        assert self.pool is not None  # callers choose only where there is a choice
        places = self.source.positions
        code = self.source.records.code[places.token[places.first[rows][row] + number]]
        choice = ~known & flag(self.pool, code)
        of_type = flag(self.of_type, code)
        known |= choice & of_type
        if self.last:
            before_the_end = (np.repeat(reach, reach) - number).astype(np.uint64)
            known |= _least(choice, before_the_end, row, count=self.last)
        if self.random:
            drawn = self.source.draws(rows, reach + 1)
            own = np.ones(len(drawn), dtype=np.bool_)
            own[np.cumsum(reach + 1) - reach - 1] = False  # that one decides the cut
            known |= _least(choice & ~known, drawn[own], row, count=self.random)
        return known, reach

    def _reach(self, rows: Positions) -> Positions:
        return np.minimum(self.limit[rows], self.source.positions.size[rows])


def _within(source: PromptSource, *, tokens: int) -> Positions:
    """Return how many events of each patient lie whole within so many first tokens, [n]."""
    places, offsets = source.positions, source.records.offsets[:-1].astype(np.int64)
    ends = np.append(places.starts[1:], 0).astype(np.int64)  # one ends where the next begins
    has = places.size > 0
    ends[places.first[1:][has] - 1] = places.end[has]
    row = np.repeat(np.arange(len(offsets)), places.size)
    return np.bincount(row[ends - offsets[row] <= tokens], minlength=len(offsets))


def _limits(
    source: PromptSource, standing: ClassPlaces, *, first: Positions, is_asked: bool
) -> Positions:
    """Return each patient's first event that cannot be known, [n]; -1 where there is no such place.

    Args:
        source: the patients.
        standing: of the class.
        first: [n] int64, so many events are known anyway.
        is_asked: whether a class is in question.
    """
    places = source.positions
    size = places.size
    if not is_asked:
        # the middle of what the model was trained on: it knows no other continuation
        windows = source.windows
        unseen, seen = (places.before(at) for at in (windows.seen_from, windows.seen_to))
        begin = np.maximum(first, unseen)
        return np.where(seen > begin, begin + (seen - begin) // 2, -1)
    start = places.begin(first)
    told = np.append(standing.counted, np.iinfo(np.int64).max)
    next_told = told[np.searchsorted(standing.counted, start)]
    has = next_told < places.end
    limit = np.full(len(size), -1, dtype=np.int64)
    limit[has] = source.records.event[next_told[has]]
    found = np.sort(limit[has])
    within = np.searchsorted(found, size)  # places that a record is long enough for
    compared = np.flatnonzero(~has & (within > 0))
    if len(compared):
        count = within[compared]
        drawn = np.minimum((source.cut_draws[compared] * count).astype(np.int64), count - 1)
        limit[compared] = found[drawn]
    return limit


def _matching(attacker: ResolvedAttacker, codes: Sequence[str]) -> Flags:
    """Return which codes of the dictionary the attacker's globs match: [codes] bool."""
    matching = np.zeros(len(codes), dtype=np.bool_)
    for glob in attacker.knows.code_types or ():
        match = re.compile(fnmatch.translate(glob)).match
        own = np.array([match(code) is not None for code in codes], dtype=np.bool_)
        if not own.any():  # he would know less than the policy says, and the model look safer
            raise DataError(
                f"attacker '{attacker.name}': no code of the data set matches '{glob}'"
                f"{suggestion(glob, codes)}; check knows.codeTypes"
            )
        matching |= own
    return matching


def _least(pool: Flags, priority: NDArray[np.uint64], row: Positions, *, count: int) -> Flags:
    """Flag each row's `count` entries of smallest priority among those of the pool."""
    chosen = np.zeros_like(pool)
    at = np.flatnonzero(pool)
    at = at[np.lexsort((priority[at], row[at]))]
    rank = np.arange(len(at)) - np.searchsorted(row[at], row[at])
    chosen[at[rank < count]] = True
    return chosen
