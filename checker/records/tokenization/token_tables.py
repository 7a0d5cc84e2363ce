"""Token tables as they lie on disk: read, and checked to hold what their columns say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.canonical import file_sha256
from checker.errors import DataError
from checker.records.tokenization.records import (
    KIND_EVENT,
    KIND_MARK,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    leading_specials,
    slices_of,
)

COLUMNS: Final = ("subject_id", "token", "event", "kind", "code", "time")


@dataclass(frozen=True, slots=True)
class TokenTable:
    """T tokens of n patients, each patient's together and in the model's order.

    Args:
        subject_id: [n] int64, ascending.
        offsets: [n + 1] int64.
        token: [T] int32.
        event: [T] int32, number of the dated event in its record from 0; -1 for tokens of none.
        kind: [T] int8, one of the KIND constants.
        is_value: [T] bool, the token tells a value or a time and no code.
        code: [T] int32, index into `codes`, or -1.
        time_us: [T] int64, or STATIC_TIME.
        codes: as the table spells them.
        sha256: of the file.
        file: the file, for messages.
        channels: by name, [T] float64, what the model is told beside the token.
    """

    subject_id: NDArray[np.int64]
    offsets: NDArray[np.int64]
    token: NDArray[np.int32]
    event: NDArray[np.int32]
    kind: NDArray[np.int8]
    is_value: NDArray[np.bool_]
    code: NDArray[np.int32]
    time_us: NDArray[np.int64]
    codes: tuple[str, ...]
    sha256: str
    file: str
    channels: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def read_table(path: Path, *, channels: Sequence[str] = ()) -> TokenTable:
    """Read a parquet file with the columns COLUMNS, a row a token.

    Args:
        path: of the file.
        channels: further columns that it must have, a number in each row.

    Raises:
        DataError: it cannot be read, or is not such a table.
    """
    try:
        table = pq.read_table(path)
        sha256 = file_sha256(path)
    except FileNotFoundError as error:
        raise DataError("there is no such file; check tokenization.records", file=path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is not a whole parquet file: {error}", file=path) from error
    _check_columns(table, path, channels)
    if not table.num_rows:
        raise DataError("holds no tokens", file=path)
    row_subject = _integers(table, "subject_id", path)
    starts = np.flatnonzero(np.append(True, row_subject[1:] != row_subject[:-1]))
    subjects = row_subject[starts]
    order = np.argsort(subjects, kind="stable")
    if (np.diff(subjects[order]) == 0).any():
        raise DataError("tokens of a patient stand in two places; write them together", file=path)
    bounds = np.append(starts, len(row_subject))
    rows, offsets = slices_of(bounds.astype(np.int64), order)
    table = table.take(pa.array(rows))
    token = _integers(table, "token", path)
    if token.min() < 0:
        raise DataError(f"holds the token {token.min()}; ids are 0 or more", file=path)
    event = _integers(table, "event", path, missing=-1)
    names = table["kind"].cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
    texts = table["code"].cast(pa.string()).combine_chunks().dictionary_encode()
    code = texts.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    row = np.repeat(np.arange(len(order)), np.diff(offsets))
    number = _numbers(event, row, path)
    kind = _kinds(names, number, offsets, path)
    code = _of_events(code, number, row)
    return TokenTable(
        subject_id=subjects[order],
        offsets=offsets,
        token=token.astype(np.int32),
        event=_numbers(np.where(kind == KIND_EVENT, number, -1), row, path),
        kind=kind,
        is_value=np.isin(names, ("value", "time", "special")),
        code=code,
        time_us=_times(table["time"], path),
        codes=tuple(texts.dictionary.to_pylist()),
        sha256=sha256,
        file=str(path),
        channels={name: _numbers_of(table[name], name, path) for name in channels},
    )


def _check_columns(table: pa.Table, path: Path, channels: Sequence[str]) -> None:
    for name in COLUMNS:
        if table.column_names.count(name) != 1:
            raise DataError(
                f"has no column '{name}', or two; a token table has {', '.join(COLUMNS)}", file=path
            )
    if others := [name for name in table.column_names if name not in (*COLUMNS, *channels)]:
        raise DataError(
            f"has the column '{others[0]}', which would go to the model beside the ids, and"
            " tokenization.channels does not say what it is; if the model does not take it, write"
            " the table without it",
            file=path,
        )
    for name in channels:
        if table.column_names.count(name) != 1:
            raise DataError(
                f"has no column '{name}', or two; tokenization.channels declares it, so the table"
                " tells its value at each token",
                file=path,
            )
    for name in ("subject_id", "token", "kind"):
        if table[name].null_count:
            raise DataError(f"has rows without '{name}'", file=path)


def _integers(
    table: pa.Table, name: str, path: Path, *, missing: int | None = None
) -> NDArray[np.int64]:
    try:
        column = table[name].cast(pa.int64())
    except pa.ArrowException as error:
        raise DataError(f"column '{name}' does not hold integers: {error}", file=path) from error
    column = column if missing is None else column.fill_null(missing)
    return np.asarray(column.to_numpy())


def _numbers_of(column: pa.ChunkedArray, name: str, path: Path) -> NDArray[np.float64]:
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise DataError(f"column '{name}' does not hold numbers: {error}", file=path) from error
    if not np.isfinite(numbers).all():
        raise DataError(f"column '{name}' has rows without a number", file=path)
    return np.asarray(numbers)


def _times(column: pa.ChunkedArray, path: Path) -> NDArray[np.int64]:
    try:
        if not pa.types.is_null(column.type):
            column = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)))
        return np.asarray(column.cast(pa.int64()).fill_null(STATIC_TIME).to_numpy())
    except pa.ArrowException as error:
        raise DataError(f"column 'time' does not hold times: {error}", file=path) from error


def _numbers(event: NDArray[np.int64], row: NDArray[np.int64], path: Path) -> NDArray[np.int32]:
    """Return each token's event as a number in its record, from 0 in order; -1 for none."""
    at = np.flatnonzero(event >= 0)
    changes = (np.diff(event[at]) != 0) | (np.diff(row[at]) != 0)
    begins = np.append(True, changes)[: len(at)]
    begins[1:] |= np.diff(at) > 1  # another token stands in between
    width = int(event.max(initial=0)) + 1
    if len(np.unique((row[at] * width + event[at])[begins])) < begins.sum():
        raise DataError("tokens of an event stand in two places of its record", file=path)
    count = np.cumsum(begins)
    own_row = row[at]
    first = np.searchsorted(own_row, own_row)
    number = np.full(len(event), -1, dtype=np.int32)
    number[at] = count - count[first]
    return number


def _kinds(
    names: NDArray[np.str_], number: NDArray[np.int32], offsets: NDArray[np.int64], path: Path
) -> NDArray[np.int8]:
    if (lost := np.flatnonzero(np.isin(names, ("code", "value")) & (number < 0))).size:
        raise DataError(
            f"row {lost[0] + 1} of the patients in order is of kind '{names[lost[0]]}' and names no"
            " event",
            file=path,
        )
    kind = np.full(len(names), KIND_MARK, dtype=np.int8)
    kind[names == "special"] = KIND_SPECIAL
    kind[names == "time"] = KIND_TIME
    is_static = names == "static"
    begins = offsets[:-1]
    # ages are facts in front, and of the record's form behind the first event
    seen = np.cumsum((number >= 0) & ~is_static)
    before = np.repeat(
        seen[begins] - ((number[begins] >= 0) & ~is_static[begins]), np.diff(offsets)
    )
    kind[is_static | ((names == "age") & (seen == before))] = KIND_STATIC
    kind[(number >= 0) & (kind != KIND_STATIC)] = KIND_EVENT
    # special tokens are BOS in front and EOS at the end; others are marks
    leading = leading_specials(kind, begins)
    last = np.zeros(len(kind), dtype=np.bool_)
    last[offsets[1:] - 1] = True
    kind[(kind == KIND_SPECIAL) & ~leading & ~last] = KIND_MARK
    return kind


def _of_events(
    code: NDArray[np.int32], number: NDArray[np.int32], row: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return each token's code, that of its event where its own row names none."""
    at = np.flatnonzero(number >= 0)
    begins = np.append(True, (np.diff(number[at]) != 0) | (np.diff(row[at]) != 0))[: len(at)]
    group = np.cumsum(begins) - 1
    of_event = np.full(int(begins.sum()), -1, dtype=np.int32)
    named = np.flatnonzero(code[at] >= 0)[::-1]  # the assignment that is made last stays: the first
    of_event[group[named]] = code[at[named]]
    filled = code.copy()
    filled[at] = np.where(code[at] >= 0, code[at], of_event[group])
    return filled
