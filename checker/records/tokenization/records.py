"""Patients as columns, before and after tokenization.

A cohort has millions of events, so nothing here is an object per event: a column holds one field of
all events end to end, and `offsets` say where each patient's part begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

STATIC_TIME: Final = int(np.iinfo(np.int64).min)
"""Stands in `Records.time_us` for an event without a time; it sorts before every time."""

DAY_US: Final = 86_400_000_000
"""Microseconds of a day."""

KIND_SPECIAL: Final = 0
KIND_STATIC: Final = 1
KIND_TIME: Final = 2
KIND_EVENT: Final = 3
KIND_MARK: Final = 4
"""Of a record's form: where a visit begins and ends, a separator."""


@dataclass(frozen=True, slots=True)
class Records:
    """n patients with E events, in file order.

    Args:
        subject_id: [n] int64, never shown.
        offsets: [n + 1] int64; patient i has the events offsets[i] to offsets[i + 1].
        code: [E] int32, index into the cohort's codes.
        time_us: [E] int64, microseconds since 1970-01-01, or STATIC_TIME; ascending per patient.
        value: [E] float32, numeric value. The one place where NaN stands for "none": a column of
            numbers has no cheaper way to say it.
    """

    subject_id: NDArray[np.int64]
    offsets: NDArray[np.int64]
    code: NDArray[np.int32]
    time_us: NDArray[np.int64]
    value: NDArray[np.float32]

    @classmethod
    def of_nobody(cls) -> Records:
        """Return the records of no patient."""
        return cls(
            subject_id=np.empty(0, dtype=np.int64),
            offsets=np.zeros(1, dtype=np.int64),
            code=np.empty(0, dtype=np.int32),
            time_us=np.empty(0, dtype=np.int64),
            value=np.empty(0, dtype=np.float32),
        )

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.subject_id)

    def in_parts(self, events: int) -> Iterator[Records]:
        """Yield consecutive patients as views of at most so many events, or of one patient."""
        first, n = 0, len(self)
        while first < n or n == first == 0:
            limit = int(self.offsets[first]) + events
            last = max(int(np.searchsorted(self.offsets, limit, side="right")) - 1, first + 1)
            last = min(last, n)
            part = slice(self.offsets[first], self.offsets[last])
            yield Records(
                subject_id=self.subject_id[first:last],
                offsets=self.offsets[first : last + 1] - self.offsets[first],
                code=self.code[part],
                time_us=self.time_us[part],
                value=self.value[part],
            )
            if last == n:
                return
            first = last

    def select(self, indices: NDArray[np.integer]) -> Records:
        """Return some of the patients, in the order of `indices`."""
        events, offsets = slices_of(self.offsets, indices)
        return Records(
            subject_id=self.subject_id[indices],
            offsets=offsets,
            code=self.code[events],
            time_us=self.time_us[events],
            value=self.value[events],
        )


def slices_of(
    offsets: NDArray[np.int64], indices: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the parts `indices` of a column stand, end to end, and their new offsets."""
    lengths = np.diff(offsets)[indices]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shift = np.repeat(offsets[:-1][indices] - new_offsets[:-1], lengths)
    return shift + np.arange(new_offsets[-1], dtype=np.int64), new_offsets


def leading_specials(kind: NDArray[np.int8], begins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Flag the special tokens that records begin with: [T] bool.

    Args:
        kind: [T], one of the KIND constants, records end to end.
        begins: ascending places where records begin that have tokens, the first of them 0.
    """
    others = np.cumsum(kind != KIND_SPECIAL)
    before = np.repeat(
        others[begins] - (kind[begins] != KIND_SPECIAL), np.diff(begins, append=len(kind))
    )
    leading: NDArray[np.bool_] = others == before
    return leading


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what happened the vocabulary can say.

    Args:
        events: events that were to be tokens.
        unknown: of these, events whose token the vocabulary lacks.
        counts: by the missing token's spelling, how many events lack it.
    """

    events: int
    unknown: int
    counts: Mapping[str, int]

    def __add__(self, other: Coverage) -> Coverage:
        """Return the coverage of both sets of patients together."""
        counts = dict(self.counts)
        for spelling, count in other.counts.items():
            counts[spelling] = counts.get(spelling, 0) + count
        return Coverage(self.events + other.events, self.unknown + other.unknown, counts)

    def __sub__(self, other: Coverage) -> Coverage:
        """Return the coverage without that of some of the patients."""
        counts = {k: n - other.counts.get(k, 0) for k, n in self.counts.items()}
        left = {spelling: count for spelling, count in counts.items() if count}
        return Coverage(self.events - other.events, self.unknown - other.unknown, left)

    @property
    def unknown_share(self) -> float:
        """Unknown events per event, in [0, 1]; 0 where there are no events."""
        return self.unknown / self.events if self.events else 0.0

    @property
    def commonest(self) -> tuple[tuple[str, int], ...]:
        """The five commonest missing tokens with their counts, commonest first."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(ranked[:5])


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of n patients before they are tokenized, so that all can be looked at.

    Args:
        event_code: [E] int32, index into the cohort's codes of each dated event that would have a
            token, patients end to end.
        event_offsets: [n + 1] int64; patient i has the events event_offsets[i] to
            event_offsets[i + 1].
        age_years, static_values: as in TokenizedRecords.
        used: [vocabulary] bool, tokens of events and of the prefix that some patient would have;
            those of the gaps between events are not looked at.
        coverage: what the vocabulary cannot say.
    """

    event_code: NDArray[np.int32]
    event_offsets: NDArray[np.int64]
    age_years: NDArray[np.float32]
    static_values: Mapping[str, tuple[str | None, ...]]
    used: NDArray[np.bool_]
    coverage: Coverage

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.event_offsets) - 1

    def without(self, indices: NDArray[np.integer], *, coverage: Coverage) -> Survey:
        """Leave some patients out.

        Args:
            indices: which.
            coverage: of them; what they alone would use is not told apart.
        """
        kept = np.setdiff1d(np.arange(len(self)), indices)
        events, offsets = slices_of(self.event_offsets, kept)
        places = kept.tolist()
        return Survey(
            self.event_code[events],
            offsets,
            self.age_years[kept],
            {name: tuple(own[i] for i in places) for name, own in self.static_values.items()},
            self.used,
            self.coverage - coverage,
        )

    @property
    def events(self) -> list[NDArray[np.int32]]:
        """Codes of each patient's dated events, in order."""
        return np.split(self.event_code, self.event_offsets[1:-1]) if len(self) else []


@dataclass(frozen=True, slots=True)
class TokenizedRecord:
    """One patient's tokens; a view, fields as in TokenizedRecords."""

    tokens: NDArray[np.int32]
    kind: NDArray[np.int8]
    event: NDArray[np.int32]
    code: NDArray[np.int32]
    field: NDArray[np.int16]
    time_days: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class TokenizedRecords:
    """n patients with T tokens:

        kind    SPECIAL  STATIC ...  EVENT  TIME   EVENT  EVENT  TIME   EVENT  SPECIAL
        token   [BOS]    AGE//60 ..  C1     T//1d  C2     C3     T//7d  C4     [EOS]
        event   -1       -1          0      -1     1      2      -1     3      -1

    A time token stands right before the event that it dates.

    Args:
        tokens: [T] int32, ids, all patients end to end.
        offsets: [n + 1] int64; patient i has the tokens offsets[i] to offsets[i + 1].
        kind: [T] int8, one of the KIND constants.
        event: [T] int32, number of the event among the patient's dated events that became tokens,
            or -1. An event with a token of its own for its value has two tokens of one number.
        code: [T] int32, index into the cohort's codes, -1 where a token stands for no code.
        field: [T] int16, index into `Tokenizer.field_names` for tokens of the prefix, else -1.
        time_days: [T] float32, days since the patient's first dated event; 0 before it. A time
            token has the time of the event that it stands before.
        age_years: [n] float32, completed years at the last event; -1 where unknown.
        static_values: by field, for each patient what the field's glob leaves open ("WHITE" for
            RACE//WHITE under RACE//*), None where the patient has no such code.
        coverage: what the vocabulary could not say.
    """  # noqa: D415  a diagram follows

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    kind: NDArray[np.int8]
    event: NDArray[np.int32]
    code: NDArray[np.int32]
    field: NDArray[np.int16]
    time_days: NDArray[np.float32]
    age_years: NDArray[np.float32]
    static_values: Mapping[str, tuple[str | None, ...]]
    coverage: Coverage

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.offsets) - 1

    def first(self, count: int) -> TokenizedRecords:
        """Return the first patients, as views; what was counted is of all."""
        if count == len(self):
            return self
        at = slice(0, int(self.offsets[count]))
        return TokenizedRecords(
            tokens=self.tokens[at],
            offsets=self.offsets[: count + 1],
            kind=self.kind[at],
            event=self.event[at],
            code=self.code[at],
            field=self.field[at],
            time_days=self.time_days[at],
            age_years=self.age_years[:count],
            static_values={name: own[:count] for name, own in self.static_values.items()},
            coverage=self.coverage,
        )

    def record(self, index: int) -> TokenizedRecord:
        """Return a view of one patient's tokens."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        return TokenizedRecord(
            tokens=self.tokens[part],
            kind=self.kind[part],
            event=self.event[part],
            code=self.code[part],
            field=self.field[part],
            time_days=self.time_days[part],
        )
