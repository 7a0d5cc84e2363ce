"""From events that have a token each to whole sequences: where every token stands.

Nothing here knows the rules of a target; it is arithmetic on columns, without a loop over patients
or events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization.records import (
    DAY_US,
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    Records,
)

ABSENT: Final = -1
"""Stands for the token of something that the patient does not have."""

UNKNOWN: Final = -2
"""Stands for a token that the vocabulary lacks."""


@dataclass(frozen=True, slots=True)
class PrefixField:
    """One field of the prefix for n patients.

    Args:
        token: [n] int32, id, ABSENT or UNKNOWN.
        code: [n] int32, index into the cohort's codes, -1 where the token stands for none.
    """

    token: NDArray[np.int32]
    code: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class EventStream:
    """k events that become tokens, grouped by patient, static ones first in each.

    Args:
        row: [k] int32, number of the patient.
        code: [k] int32, index into the cohort's codes.
        token: [k] int32, id, or ABSENT where only the time that has gone by is told.
        value_token: [k] int32, id where the value has a token of its own, else ABSENT.
        time_us: [k] int64, as in Records.
    """

    row: NDArray[np.int32]
    code: NDArray[np.int32]
    token: NDArray[np.int32]
    value_token: NDArray[np.int32]
    time_us: NDArray[np.int64]

    @property
    def is_dated(self) -> NDArray[np.bool_]:
        """[k] bool: the event has a time."""
        return np.not_equal(self.time_us, STATIC_TIME)

    def later(self) -> NDArray[np.int64]:
        """Return the places of events that are later than the dated event before them."""
        dated = self.is_dated
        follows = dated[1:] & dated[:-1] & (self.row[1:] == self.row[:-1])
        return np.flatnonzero(follows & (self.time_us[1:] > self.time_us[:-1])) + 1


class Columns(TypedDict):
    """The columns of TokenizedRecords that are laid out here."""

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    kind: NDArray[np.int8]
    event: NDArray[np.int32]
    code: NDArray[np.int32]
    field: NDArray[np.int16]
    time_days: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the events of a stream stand among T tokens.

    Args:
        coded: which events have a token.
        at: its place, each.
        timed: which have a time token.
        first: its place, each.
        valued: places of the tokens that have one of their value behind them.
    """

    coded: NDArray[np.int64]
    at: NDArray[np.int64]
    timed: NDArray[np.int64]
    first: NDArray[np.int64]
    valued: NDArray[np.int64]

    def times(self, stream: EventStream, count: int) -> NDArray[np.int64]:
        """Return when each of `count` tokens is: [T] int64, STATIC_TIME in front and at the end."""
        when = np.full(count, STATIC_TIME, dtype=np.int64)
        when[self.at] = stream.time_us[self.coded]
        when[self.first] = stream.time_us[self.timed]
        when[self.valued + 1] = when[self.valued]
        return when


def lay_out(
    stream: EventStream,
    prefix: Sequence[PrefixField],
    *,
    n: int,
    bos: Sequence[int],
    eos: int,
    time_token: NDArray[np.int32],
) -> tuple[Columns, Placement]:
    """Lay out BOS, prefix, static codes, events with their time and value tokens, and EOS.

    Args:
        stream: the events.
        prefix: the prefix's fields in order, without UNKNOWN tokens.
        n: number of patients, those without events too.
        bos: ids of the first tokens, in order; none where there is no BOS.
        eos: id of the last token, or ABSENT.
        time_token: [k] int32, token before each event, or ABSENT.

    Returns:
        The columns, and where each event stands in them.
    """
    before = np.full(n, len(bos), dtype=np.int64)
    for field in prefix:
        before += field.token != ABSENT
    has_time, has_value = time_token != ABSENT, stream.value_token != ABSENT
    has_code = stream.token != ABSENT
    width = np.concatenate([[0], np.cumsum(has_code.astype(np.int64) + has_time + has_value)])
    bounds = np.searchsorted(stream.row, np.arange(n + 1))
    own = width[bounds[1:]] - width[bounds[:-1]]
    offsets = np.concatenate([[0], np.cumsum(before + own + int(eos != ABSENT))]).astype(np.int64)
    columns = _empty(offsets)
    for place, token in enumerate(bos):
        columns["tokens"][offsets[:-1] + place] = token
    if eos != ABSENT:
        columns["tokens"][offsets[1:] - 1] = eos
    _write_prefix(columns, prefix, offsets[:-1] + len(bos))
    first = (offsets[:-1] + before - width[bounds[:-1]])[stream.row] + width[:-1]
    at = first + has_time
    days = _days(stream, bounds)
    coded = np.flatnonzero(has_code)
    _write_events(columns, stream, coded, at[coded])
    columns["time_days"][at[coded]] = days[coded]
    timed = np.flatnonzero(has_time)
    columns["tokens"][first[timed]] = time_token[timed]
    columns["kind"][first[timed]] = KIND_TIME
    columns["time_days"][first[timed]] = days[timed]
    valued = at[has_value]
    for column in (columns["kind"], columns["event"], columns["code"], columns["time_days"]):
        column[valued + 1] = column[valued]
    columns["tokens"][valued + 1] = stream.value_token[has_value]
    return columns, Placement(coded, at[coded], timed, first[timed], valued)


def join(parts: Sequence[Columns]) -> Columns:
    """Put the columns of consecutive patients together, and let go of the parts.

    One column after the other, so that no two of them are ever held twice.
    """
    sizes = np.cumsum([0, *(part["offsets"][-1] for part in parts)])
    moved = [
        part["offsets"][1:] + before
        for part, before in zip(parts, sizes[:-1].tolist(), strict=True)
    ]
    columns: dict[str, Any] = {"offsets": np.concatenate([np.zeros(1, np.int64), *moved])}
    own: list[dict[str, Any]] = [cast("dict[str, Any]", part) for part in parts]
    for name in ("tokens", "kind", "event", "code", "field", "time_days"):
        columns[name] = np.concatenate([part.pop(name) for part in own])
    return cast("Columns", columns)


def _empty(offsets: NDArray[np.int64]) -> Columns:
    total = int(offsets[-1])
    return Columns(
        tokens=np.empty(total, dtype=np.int32),
        offsets=offsets,
        kind=np.full(total, KIND_SPECIAL, dtype=np.int8),
        event=np.full(total, -1, dtype=np.int32),
        code=np.full(total, -1, dtype=np.int32),
        field=np.full(total, -1, dtype=np.int16),
        time_days=np.zeros(total, dtype=np.float32),
    )


def _write_prefix(
    columns: Columns, prefix: Sequence[PrefixField], start: NDArray[np.int64]
) -> None:
    place = start.copy()
    for number, field in enumerate(prefix):
        has = field.token != ABSENT
        at = place[has]
        columns["tokens"][at] = field.token[has]
        columns["kind"][at] = KIND_STATIC
        columns["code"][at] = field.code[has]
        columns["field"][at] = number
        place += has


def _write_events(
    columns: Columns, stream: EventStream, coded: NDArray[np.int64], at: NDArray[np.int64]
) -> None:
    """Write code tokens: dated events are numbered from the patient's first dated one."""
    dated, row = stream.is_dated[coded], stream.row[coded]
    counted: NDArray[np.int64] = np.cumsum(dated) - dated
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    earlier = np.repeat(counted[begins], np.diff(begins, append=len(row)))
    number: NDArray[np.int64] = counted - earlier
    columns["tokens"][at] = stream.token[coded]
    columns["code"][at] = stream.code[coded]
    columns["kind"][at] = np.where(dated, KIND_EVENT, KIND_STATIC)
    columns["event"][at] = np.where(dated, number, -1)


def _days(stream: EventStream, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return when events are, in days from their patient's first dated one; 0 without a time."""
    dated = stream.is_dated
    n_static = np.bincount(stream.row[~dated], minlength=len(bounds) - 1)
    first_dated = (bounds[:-1] + n_static)[stream.row]
    days = np.zeros(len(dated), dtype=np.float64)
    days[dated] = (stream.time_us[dated] - stream.time_us[first_dated[dated]]) / DAY_US
    return days


def ages(
    records: Records,
    row: NDArray[np.int32],
    *,
    is_birth: NDArray[np.bool_],
    lived: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each patient's completed years at the first and at the last event, -1 where unknown.

    Args:
        records: the patients.
        row: [events] int32, number of each event's patient.
        is_birth: [events] bool, the event is a birth; the first dated one counts.
        lived: [events] bool, the event may be the first or last.
    """
    dated = records.time_us != STATIC_TIME
    times = np.full((3, len(records)), STATIC_TIME, dtype=np.int64)
    born, events = np.flatnonzero(is_birth & dated), np.flatnonzero(lived & dated)
    for which, places in enumerate((born[::-1], events[::-1], events)):
        times[which, row[places]] = records.time_us[places]  # the last assignment stays
    birth, first, last = times
    known = (birth != STATIC_TIME) & (first != STATIC_TIME)
    return (
        np.where(known, np.maximum(completed_years(birth, first), 0), -1),
        np.where(known, np.maximum(completed_years(birth, last), 0), -1),
    )


def completed_years(birth_us: NDArray[np.int64], at_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return birthdays passed, as people count them; who is born on 29 February turns on 1 March.

    Args:
        birth_us: [n] microseconds since 1970-01-01; a result for STATIC_TIME has no meaning.
        at_us: [n] likewise.
    """
    (birth_month, birth_day), (month, day) = _months_and_days(birth_us), _months_and_days(at_us)
    return (month - birth_month - (day < birth_day)) // 12


def _months_and_days(time_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return months since 1970-01 and the day of the month, counted from 0."""
    days = np.where(time_us == STATIC_TIME, 0, time_us).astype("datetime64[us]")
    days = days.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    return months.astype(np.int64), (days - months.astype("datetime64[D]")).astype(np.int64)
