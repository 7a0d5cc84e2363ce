"""Records as a trainer's own loader made them: a table with a row a token, in place of rules.

Some loaders do what no rules say (visits with a beginning and an end, codes of several tokens), so
a target may name their output instead. Each row tells which event of the data set its token is of,
so that prompts, classes and horizons are worked out over events all the same.

What leaves a prompt leaves it with all of its tokens. The gap that is told across it is what the
table teaches: where each time token is seen with gaps of its own range, alone between two events,
a longer gap is told by the token of its range, as the loader would have. Else everything stays that
stood between the events, as nobody knows what the loader would have put there.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from checker.canonical import digest
from checker.errors import DataError
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization.channels import births
from checker.records.tokenization.dictionary import Dictionary, open_parts, pick
from checker.records.tokenization.records import (
    DAY_US,
    KIND_EVENT,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    Coverage,
    Records,
    Survey,
    TokenizedRecords,
    slices_of,
)
from checker.records.tokenization.sequences import ABSENT, ages
from checker.records.tokenization.token_tables import read_table
from checker.records.tokenization.tokenizer import UNKNOWN_LIMIT, Tokenizer, spec_of
from checker.records.tokenization.vocabulary import Vocabulary
from checker.targets.channels import years_older

STRANGE_SHARE: Final = 0.01
"""Of a table's events, so many may have a code that their patient's record does not hold."""


class MadeRecords(Tokenizer):
    """The records of a target whose `tokenization.records` names a token table.

    Args:
        spec, vocabulary, base: as of a Tokenizer. Of the rules only `specials`, `static`, `age`,
            `maxLength` and `window` count: the others say what the table says already.

    Raises:
        DataError: the table cannot be used, or holds tokens that the vocabulary lacks.
    """

    def __init__(self, spec: TokenizationSpec, *, vocabulary: Vocabulary, base: Path) -> None:
        super().__init__(spec, vocabulary=vocabulary, base=base)
        assert spec.records is not None  # `make_tokenizer` asks
        self.table = read_table(base / spec.records, channels=tuple(spec.channels))
        known = np.array(sorted(vocabulary.ids.values()), dtype=np.int64)
        strange = np.setdiff1d(self.table.token, known)
        if len(strange):
            raise DataError(
                f"holds the token {strange[0]}, for which the vocabulary has no name",
                file=self.table.file,
            )
        self._check_special("bos", self._bos[0] if self._bos else ABSENT)
        self._check_special("eos", self._eos)
        self._order = self._standing_order()

    @property
    def sha256(self) -> str:
        """Digest of everything that decides which tokens a record becomes."""
        spec = spec_of(self.spec, "records")  # where it lies
        return digest(
            {"spec": spec, "vocabulary": self.vocabulary.sha256, "records": self.table.sha256}
        )

    # --- patients -------------------------------------------------------------------------------

    @property
    def _tells_birth(self) -> bool:
        """Whether ages tell when somebody was born, so that no token of the birth is missing."""
        clocks = (one.time for one in self.spec.channels.values())
        return self.spec.age is not None or any(one and one.since == "birth" for one in clocks)

    def encode(
        self, records: Records, codes: Sequence[str], *, partial: bool = False
    ) -> TokenizedRecords:
        """Return the table's tokens of patients; see `Tokenizer.encode`.

        Raises:
            DataError: the table lacks a patient, its codes are not of the data set, or its events
                are not these patients'.
        """
        table = self.table
        at = np.searchsorted(table.subject_id, records.subject_id)
        at = np.minimum(at, len(table.subject_id) - 1)
        lacking = int((table.subject_id[at] != records.subject_id).sum())
        if lacking:
            raise DataError(
                f"has no tokens of {lacking} of {len(records)} patients. It has to hold everybody"
                " in the splits: leave those out of them whom the loader left out. Patients who"
                " are made up, as canaries are, it cannot hold",
                file=table.file,
            )
        tokens, offsets = slices_of(table.offsets, at)
        place = self._place(codes)
        code = np.append(place, -1)[table.code[tokens]].astype(np.int32)
        kind, event = table.kind[tokens], table.event[tokens]
        row = np.repeat(np.arange(len(records)), np.diff(offsets))
        self._check_patients(records, code, row, _first_of_events(kind, event, row))
        dictionary = self._dictionary(codes)
        field = np.where(kind == KIND_STATIC, np.append(dictionary.field, -1)[code], -1)
        own = table.token[tokens].copy()
        if self.spec.age is not None and len(self.ages):
            is_age = (kind == KIND_STATIC) & np.isin(own, list(self.ages))
            field[is_age] = len(self._static)
        names = [*self._static, *(["age"] if self.spec.age else [])]
        standing = np.array([self._order.index(name) for name in names] or [-1], dtype=np.int16)
        field = np.where(field >= 0, standing[field], -1).astype(np.int16)
        self._vary(own, field, offsets)
        counted = np.not_equal(records.time_us, STATIC_TIME)
        if self._tells_birth:
            counted &= records.code != dictionary.birth
        counted &= dictionary.field[records.code] < 0
        coverage = _coverage(records, counted, code[_first_of_events(kind, event, row)], codes)
        if not partial:
            self._check_left_out(records.code[counted], coverage, codes)
        if self.channels:
            own = self._with_channels(
                own, offsets, kind, tokens, births(records, dictionary.birth), partial=partial
            )
        return TokenizedRecords(
            tokens=own,
            offsets=offsets,
            kind=kind,
            event=np.where(kind == KIND_EVENT, event, -1).astype(np.int32),
            code=code,
            field=field,
            time_days=_days(table.time_us[tokens], kind, offsets),
            **self._facts(records, dictionary, codes),
            coverage=coverage,
        )

    def _with_channels(
        self,
        own: NDArray[np.int32],
        offsets: NDArray[np.int64],
        kind: NDArray[np.int8],
        rows: NDArray[np.int64],
        birth_us: NDArray[np.int64],
        *,
        partial: bool,
    ) -> NDArray[np.int32]:
        """Return tokens, which stand in some rows of the table, with their channels."""
        table = self.table
        time_us = _own_times(table.time_us[rows], kind, offsets)
        made = self._channels.of(
            own,
            offsets,
            kind=kind,
            time_us=time_us,
            birth_us=birth_us,
        )
        found = self._channels.agreed(
            made,
            {name: column[rows] for name, column in table.channels.items()},
            kind=kind,
            time_us=time_us,
            offsets=offsets,
            file=table.file,
            strict=self._strict and not partial,
        )
        if self._strict:
            self._channels.check_varied(found, patients=len(offsets) - 1)
            self._channels.check_steps(found, offsets)
        return years_older(found, self._age_shift)

    def survey(self, records: Records, codes: Sequence[str], *, partial: bool = False) -> Survey:
        """Look at patients as the table tells them; see `Tokenizer.survey`."""
        found = self.encode(records, codes, partial=partial)
        row = np.repeat(np.arange(len(found)), np.diff(found.offsets))
        named = _first_of_events(found.kind, found.event, row) & (found.code >= 0)
        counts = np.bincount(row[named], minlength=len(found))
        used = np.zeros(max(self.vocabulary.ids.values(), default=-1) + 1, dtype=np.bool_)
        used[found.tokens] = True
        return Survey(
            event_code=found.code[named],
            event_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            age_years=found.age_years,
            static_values=found.static_values,
            used=used,
            coverage=found.coverage,
        )

    def _place(self, codes: Sequence[str]) -> NDArray[np.int32]:
        """Return where the table's codes are in a cohort's dictionary."""
        where = {code: i for i, code in enumerate(codes)}
        place = np.array([where.get(code, -1) for code in self.table.codes], dtype=np.int32)
        used = np.unique(self.table.code[self.table.code >= 0])
        strange = [self.table.codes[i] for i in used.tolist() if place[i] < 0]
        if len(strange) > STRANGE_SHARE * max(len(used), 1):
            raise DataError(
                f"{len(strange)} of its {len(used)} codes are none of the data set's, such as"
                f" '{strange[0]}'; the column 'code' holds codes as the data set spells them",
                file=self.table.file,
            )
        return place

    def _check_patients(
        self,
        records: Records,
        code: NDArray[np.int32],
        row: NDArray[np.int64],
        first: NDArray[np.bool_],
    ) -> None:
        """Check that patients have the codes that the table says of them."""
        width = int(max(code.max(initial=0), records.code.max(initial=0))) + 2
        first = first & (code >= 0)
        told = row[first] * width + code[first]
        own_row = np.repeat(np.arange(len(records)), np.diff(records.offsets))
        strange = ~np.isin(told, own_row * width + records.code)
        if strange.sum() > STRANGE_SHARE * len(strange):
            raise DataError(
                f"{strange.mean():.1%} of its events have a code that their patient's record does"
                " not hold; it was made of other patients, or subject_id is another's",
                file=self.table.file,
            )

    def _check_left_out(
        self, happened: NDArray[np.int32], coverage: Coverage, codes: Sequence[str]
    ) -> None:
        """Check that events are there of whose code the table tells other events.

        A loader leaves codes out, for rarity, say. Single events of codes that it tells would be
        missing where the table's records are cut, or where its column `code` is not filled in: then
        patients with a class would count as patients without it.
        """
        table = self.table
        told = {table.codes[i] for i in np.unique(table.code[table.kind == KIND_EVENT]) if i >= 0}
        count = np.bincount(happened, minlength=len(codes))
        total = sum(int(count[i]) for i, code in enumerate(codes) if code in told)
        lost = {code: gone for code, gone in coverage.counts.items() if code in told}
        if sum(lost.values()) <= UNKNOWN_LIMIT * total:
            return
        most = max(lost, key=lambda code: lost[code])
        raise DataError(
            f"tells nothing of {sum(lost.values()) / total:.1%} of the events whose codes it tells"
            f" elsewhere, most of all of '{most}'. It holds whole records, and names the code in"
            " every row that tells it; where the loader itself leaves such events out, name the"
            " data set as it reads it",
            file=table.file,
        )

    def _facts(
        self, records: Records, dictionary: Dictionary, codes: Sequence[str]
    ) -> dict[str, Any]:
        """Return what is known of patients beside tokens: ages and values of static fields."""
        n = len(records)
        row = np.repeat(np.arange(n, dtype=np.int32), np.diff(records.offsets))
        field = dictionary.field[records.code]
        is_birth = records.code == dictionary.birth
        _, last_age = ages(records, row, is_birth=is_birth, lived=(field < 0) & ~is_birth)
        return {
            "age_years": last_age.astype(np.float32),
            "static_values": {
                name: open_parts(
                    entry.codes,
                    pick(row, records.code, mine=field == number, take=entry.take, n=n),
                    codes,
                )
                for number, (name, entry) in enumerate(self._static.items())
            },
        }

    def _vary(
        self, own: NDArray[np.int32], field: NDArray[np.int16], offsets: NDArray[np.int64]
    ) -> None:
        """Tell the prefix otherwise, where this is a variant (`Tokenizer.variant`)."""
        if self._age_shift:
            of_age = {years: token for token, years in self.ages.items()}
            at = np.flatnonzero(field == self._order.index("age"))
            told = own[at]
            for token, years in self.ages.items():
                shifted = of_age.get(years + self._age_shift, self._unk)
                if shifted >= 0:
                    own[at[told == token]] = shifted
        if self._table_order == self._order:
            return
        at = np.flatnonzero(field >= 0)
        row = np.searchsorted(offsets, at, side="right")
        order = np.lexsort((field[at], row))
        own[at], field[at] = own[at][order], field[at][order]

    @cached_property
    def _table_order(self) -> tuple[str, ...]:
        return self._standing_order()

    def _standing_order(self) -> tuple[str, ...]:
        """Return the declared fields in the order in which they stand in the table's records."""
        declared = [*self._static, *(["age"] if self.spec.age else [])]
        places: dict[str, list[int]] = {name: [] for name in declared}
        table = self.table
        static = np.flatnonzero(table.kind == KIND_STATIC)
        patterns = {
            name: re.compile(fnmatch.translate(entry.codes)) for name, entry in self._static.items()
        }
        field_of = np.full(len(table.codes) + 1, -1, dtype=np.int16)
        for i, code in enumerate(table.codes):
            for number, name in enumerate(self._static):
                if patterns[name].match(code):
                    field_of[i] = number
        found = field_of[table.code[static]]
        if self.spec.age:
            found = np.where(
                np.isin(table.token[static], list(self.ages)), len(declared) - 1, found
            )
        row = np.searchsorted(table.offsets, static, side="right") - 1
        for number, name in enumerate(declared):
            places[name] = (static - table.offsets[row])[found == number].tolist()
            if not places[name]:
                raise DataError(
                    f"no token of kind 'static' is of the field '{name}'; check"
                    f" tokenization.{'age' if name == 'age' else 'static'}",
                    file=table.file,
                )
        return tuple(sorted(declared, key=lambda name: (float(np.median(places[name])), name)))

    def _check_special(self, role: str, token: int) -> None:
        """Check that records begin and end as `specials` says, if it says so."""
        table = self.table
        where = table.offsets[:-1] if role == "bos" else table.offsets[1:] - 1
        share = (table.token[where] == token).mean() if token != ABSENT else 1.0
        if share < 1 - STRANGE_SHARE:
            raise DataError(
                f"only {share:.1%} of its records {'begin' if role == 'bos' else 'end'} with the"
                f" token that tokenization.specials.{role} names",
                file=table.file,
            )

    # --- tokens as codes ------------------------------------------------------------------------

    @property
    def makes_records(self) -> bool:
        """Never: the table holds those whom the loader saw."""
        return False

    @cached_property
    def told_codes(self) -> Mapping[int, frozenset[str]]:
        """By token, the codes that it tells of, wholly or in part; of tokens that tell any."""
        table = self.table
        told = (table.code >= 0) & ~table.is_value
        width = len(table.codes) + 1
        pairs = np.unique(table.token[told].astype(np.int64) * width + table.code[told])
        found: dict[int, set[str]] = {}
        for token, code in zip((pairs // width).tolist(), (pairs % width).tolist(), strict=True):
            found.setdefault(token, set()).add(table.codes[code])
        return {token: frozenset(own) for token, own in found.items()}

    @cached_property
    def _token_codes(self) -> list[str | None]:
        """The code of each token that tells one alone; of tokens of no record, their spelling."""
        spelled: list[str | None] = super()._token_codes
        for token in np.unique(self.table.token).tolist():
            own = self.told_codes.get(token, frozenset())
            spelled[token] = next(iter(own)) if len(own) == 1 else None
        return spelled

    # --- gaps -----------------------------------------------------------------------------------

    @cached_property
    def _ranges(self) -> list[tuple[float, float, int]]:
        """Least and longest gap, in days, of each time token (ABSENT for none), ascending.

        Empty where gaps of any length cannot be told from the table: tokens of overlapping ranges,
        or several in a row.
        """
        table = self.table
        row = np.repeat(np.arange(len(table.subject_id)), np.diff(table.offsets))
        is_event = table.kind == KIND_EVENT
        events = np.flatnonzero(is_event)
        later = row[events[1:]] == row[events[:-1]]
        before, after = events[:-1][later], events[1:][later]
        times = np.append(0, np.cumsum(table.kind == KIND_TIME))
        count = times[after] - times[before]
        gap = (table.time_us[after] - table.time_us[before]) / DAY_US
        dated = (table.time_us[after] != STATIC_TIME) & (table.time_us[before] != STATIC_TIME)
        if (count > 1).any() or not dated.any() or not (count > 0).any():
            return []
        last = np.searchsorted(np.flatnonzero(table.kind == KIND_TIME), after) - 1
        token = np.where(
            count > 0, table.token[np.flatnonzero(table.kind == KIND_TIME)[last]], ABSENT
        )
        counted = dated & ((count > 0) | (gap > 0))
        found = [
            (float(gap[own].min()), float(gap[own].max()), one)
            for one in np.unique(token[counted]).tolist()
            if (own := counted & (token == one)).any()
        ]
        found.sort()
        apart = all(a[1] < b[0] for a, b in pairwise(found))
        return found if apart else []

    @property
    def tells_gaps(self) -> bool:
        """Whether the table teaches which token tells which gap."""
        return bool(self._ranges)

    @property
    def retells_gaps(self) -> bool:
        """Whether the gap across an event that leaves can be told in one."""
        return bool(self._ranges)

    @property
    def time_gaps_days(self) -> list[tuple[int, float, float | None]]:
        """Each time token's id, and the gaps it stands for, as far as the table shows them."""
        limits = self._limits
        tokens = (one[2] for one in self._ranges)
        bins = zip(tokens, [0.0, *limits], [*limits, None], strict=False)
        return [one for one in bins if one[0] != ABSENT]

    def gap_tokens(self, days: NDArray[np.floating]) -> NDArray[np.int32]:
        """Return the token of each gap, between ranges that of the nearer one."""
        if not self._ranges:
            return np.full(len(days), ABSENT, dtype=np.int32)
        tokens = np.array([one[2] for one in self._ranges], dtype=np.int32)
        return tokens[np.searchsorted(self._limits, days)]

    @property
    def _limits(self) -> list[float]:
        return [(a[1] + b[0]) / 2 for a, b in pairwise(self._ranges)]


def _first_of_events(
    kind: NDArray[np.int8], event: NDArray[np.int32], row: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Flag the first token of each event."""
    first: NDArray[np.bool_] = kind == KIND_EVENT
    same = (event[1:] == event[:-1]) & (row[1:] == row[:-1]) & first[:-1]
    first[1:] &= ~same
    return first


def _days(
    time_us: NDArray[np.int64], kind: NDArray[np.int8], offsets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return days since each patient's first dated event; a time token has its event's time."""
    n = len(offsets) - 1
    row = np.repeat(np.arange(n), np.diff(offsets))
    dated = np.flatnonzero((kind == KIND_EVENT) & (time_us != STATIC_TIME))
    days = np.zeros(len(kind), dtype=np.float32)
    if not len(dated):
        return days
    begins = np.searchsorted(row[dated], np.arange(n))
    has = begins < len(dated)
    start = np.zeros(n, dtype=np.int64)
    start[has] = time_us[dated[begins[has]]]
    days[dated] = (time_us[dated] - start[row[dated]]) / DAY_US
    times = np.flatnonzero(kind == KIND_TIME)
    following = np.searchsorted(dated, times)
    inside = following < len(dated)
    times, following = times[inside], following[inside]
    own = row[times] == row[dated[following]]
    days[times[own]] = days[dated[following[own]]]
    return days


def _own_times(
    time_us: NDArray[np.int64], kind: NDArray[np.int8], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return when each token is: a time token at the event that it stands before, [T]."""
    dated = np.flatnonzero((kind == KIND_EVENT) & (time_us != STATIC_TIME))
    own = np.where(kind == KIND_EVENT, time_us, STATIC_TIME)
    times = np.flatnonzero(kind == KIND_TIME)
    following = np.searchsorted(dated, times)
    times, following = times[following < len(dated)], following[following < len(dated)]
    row = np.searchsorted(offsets, np.arange(len(kind)), side="right")
    same = row[times] == row[dated[following]]
    own[times[same]] = time_us[dated[following[same]]]
    return own


def _coverage(
    records: Records,
    counted: NDArray[np.bool_],
    told_codes: NDArray[np.int32],
    codes: Sequence[str],
) -> Coverage:
    """Count the dated events of the data set that the table tells nothing of.

    Args:
        records: the patients.
        counted: [E] bool, which of their events might have become tokens.
        told_codes: the code of each event of the table, -1 where it has none.
        codes: the cohort's dictionary.
    """
    happened = np.bincount(records.code[counted], minlength=len(codes))
    told = np.bincount(told_codes[told_codes >= 0], minlength=len(codes))
    lost = np.maximum(happened - told, 0)
    return Coverage(
        events=int(happened.sum()),
        unknown=int(lost.sum()),
        counts={codes[i]: int(lost[i]) for i in np.flatnonzero(lost).tolist()},
    )


def make_tokenizer(spec: TokenizationSpec, *, vocabulary: Vocabulary, base: Path) -> Tokenizer:
    """Return what makes a target's records: its rules, or the table that its loader wrote.

    Args:
        spec: a target's `tokenization`.
        vocabulary: the model's tokens.
        base: the folder that paths in `spec` are relative to.

    Raises:
        DataError: the rules or the table cannot be used.
    """
    kind = Tokenizer if spec.records is None else MadeRecords
    return kind(spec, vocabulary=vocabulary, base=base)
