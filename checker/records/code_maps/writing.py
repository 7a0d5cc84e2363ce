"""The table of codes that a mapping makes: a new file beside the old one, which stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from checker.errors import DataError, UsageError
from checker.records.code_maps.mapping import MappedCode
from checker.records.meds_files import APPROXIMATE_PARENTS, CODE, code_lists

MAPPED_CODES: Final = "metadata/codes.mapped.parquet"
"""Inside the data set's folder, unless another place is asked for."""

_PARENTS: Final = meds.CodeMetadataSchema.parent_codes_name
_DESCRIPTION: Final = meds.CodeMetadataSchema.description_name
_LISTS: Final = pa.list_(pa.string())


def write_mapped_codes(
    root: Path, mapped: Sequence[MappedCode], *, old: str | None, new: str = MAPPED_CODES
) -> Path:
    """Write a table of codes with the parents of a mapping, and return where it is.

    All that the old table says stands in the new one; parents are added to those that are there.

    Args:
        root: the data set's folder.
        mapped: what is to be added.
        old: the table that is in use, inside the folder; the usual one, where it is None.
        new: the one to be written, inside the folder.

    Raises:
        UsageError: there is such a file already.
        DataError: the old one cannot be read, or the new one cannot be written.
    """
    path = root / new
    if path.exists():
        raise UsageError(
            f"{path} is there already, and is never overwritten; write to another --out"
        )
    table = _old_table(root / (old or meds.code_metadata_filepath))
    codes = table[CODE].to_pylist()
    known = set(codes)
    further = [one for one in mapped if one.code not in known]
    table = pa.concat_tables(
        [table, pa.table({CODE: pa.array([one.code for one in further], pa.string())})],
        promote_options="default",
    )
    by_code = {one.code: one for one in mapped}
    columns: dict[str, list[list[str] | None]] = {}
    for name in (_PARENTS, APPROXIMATE_PARENTS):
        has = name in table.column_names
        columns[name] = code_lists(table[name] if has else [None] * table.num_rows, path)
    seen: set[str] = set()
    for row, code in enumerate(table[CODE].to_pylist()):
        one = by_code.get(code)
        if one is None or code in seen:
            continue
        seen.add(code)  # a code may have several rows, which are read together
        for name, parents in ((_PARENTS, one.exact), (APPROXIMATE_PARENTS, one.near)):
            held = columns[name][row] or []
            columns[name][row] = list(dict.fromkeys((*held, *parents))) or None
    for name, values in columns.items():
        column = pa.array(values, _LISTS)
        place = table.column_names.index(name) if name in table.column_names else None
        if place is None:
            table = table.append_column(name, column)
        else:
            table = table.set_column(place, name, column)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            pq.write_table(table, stream)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and is never overwritten") from None
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=path) from error
    return path


def _old_table(path: Path) -> pa.Table:
    """Return the table in use with all its columns, or one without rows."""
    if not path.is_file():
        nothing: dict[str, Any] = {CODE: [], _DESCRIPTION: []}
        return pa.table({name: pa.array(rows, pa.string()) for name, rows in nothing.items()})
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError("is not a whole parquet file; copy or write it again", file=path) from error
    if CODE not in table.column_names:
        raise DataError(f"is not MEDS: it has no column '{CODE}'", file=path)
    place = table.column_names.index(CODE)
    return table.set_column(place, CODE, table[CODE].cast(pa.string()))
