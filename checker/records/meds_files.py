"""The files of a MEDS data set: which there are, and columns whose types were checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.canonical import file_sha256
from checker.codes.ancestry import approximately
from checker.errors import DataError
from checker.json_text import read_json

SUBJECT: Final[str] = meds.DataSchema.subject_id_name
CODE: Final[str] = meds.DataSchema.code_name
CODE_SYSTEM: Final = "code_system"
"""A column beside MEDS's own, in which some loaders leave the system of a code."""
_DESCRIPTION: Final[str] = meds.CodeMetadataSchema.description_name
_PARENTS: Final[str] = meds.CodeMetadataSchema.parent_codes_name
APPROXIMATE_PARENTS: Final = "approximate_parent_codes"
"""A column beside MEDS's own, in which `phigate classes map` leaves parents that are only near."""


def metadata_files(codes: str | None = None) -> tuple[str, ...]:
    """Return the files beside the events that say what a data set is, relative to its folder.

    Args:
        codes: the table of codes, where it is not the usual one.
    """
    return (
        meds.dataset_metadata_filepath,
        codes or meds.code_metadata_filepath,
        meds.subject_splits_filepath,
    )


def find_shards(root: Path) -> list[Path]:
    """Return the parquet files of a data set, sorted."""
    if not root.is_dir():
        raise DataError("there is no such folder; check data.path", file=root)
    data = root / meds.data_subdirectory
    if not data.is_dir():
        raise DataError(f"has no folder '{meds.data_subdirectory}'; it is not MEDS", file=root)
    shards = sorted(path for path in _files(data) if path.name.lower().endswith(".parquet"))
    for path in shards:
        if not path.exists():
            raise DataError("is a link that leads nowhere; copy what it stands for", file=path)
    if not shards:
        raise DataError("holds no parquet files", file=data)
    return shards


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, behind links too, as far as they are data.

    Names that begin with a dot or an underscore are the bookkeeping of others (Spark, Delta).

    Raises:
        DataError: a folder cannot be read, or a link leads back to where it stands.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot be read: {error.strerror or error}", file=Path(error.filename))

    seen: dict[Path, Path] = {}
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        place, real = Path(here), Path(here).resolve()
        if real in seen:
            raise DataError(f"is the same folder as {seen[real]}, by a link", file=place)
        seen[real] = place
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        yield from (place / name for name in names if not name.startswith((".", "_")))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def read_columns(
    path: Path,
    columns: dict[str, str],
    *,
    optional: tuple[str, ...] = (),
    if_text: tuple[str, ...] = (),
) -> pa.Table:
    """Read columns of a parquet file after checking their types.

    Args:
        path: the file.
        columns: name to the type it must have, as in `_check_type`.
        optional: of these, columns that may be absent.
        if_text: further columns, which are read where they are there and hold text.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        for name in columns:
            if schema.names.count(name) > 1:
                raise DataError(f"is not MEDS: it has two columns '{name}'", file=path)
        present = [name for name in columns if name in schema.names]
        for name, kind in columns.items():
            if name not in present and name not in optional:
                raise DataError(
                    f"is not MEDS: it has no column '{name}'{_older_version(schema)}", file=path
                )
            if name in present and metadata.num_rows:
                _check_type(schema.field(name).type, kind, name=name, path=path)
        present += [
            name
            for name in if_text
            if schema.names.count(name) == 1 and _holds_text(schema.field(name).type)
        ]
        codes = [CODE] if CODE in present else []
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=codes) as file:
            table = file.read(columns=present)
        for name in present:
            _check_text(table[name], name=name, path=path)
        return table
    except PermissionError as error:
        raise DataError("cannot be read: permission denied", file=path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError("is not a whole parquet file; copy or write it again", file=path) from error


OLDER_SPLITS: Final = "metadata/patient_splits.parquet"
"""Where MEDS 0.3.0 has the splits."""


def _older_version(schema: pa.Schema) -> str:
    """Return what is to be done with a table of a MEDS before 0.3.2, which names patients so.

    The first versions have a row for each patient with all his events, the third a row an event.
    """
    if "patient_id" not in schema.names or SUBJECT in schema.names:
        return ""
    if "events" in schema.names:
        return (
            ", and one row for all events of a patient, as MEDS 0.1 and 0.2 have it; convert the"
            " source anew with an ETL that writes MEDS 0.4, such as meds_etl from 0.3.11 on"
        )
    return (
        f", but 'patient_id', as MEDS 0.3.0 has it; rename the column to '{SUBJECT}' in all files,"
        f" and {OLDER_SPLITS} to {meds.subject_splits_filepath}"
    )


def subject_ids(table: pa.Table, path: Path) -> NDArray[np.int64]:
    """Return the column of subjects: [rows] int64."""
    try:
        return as_numpy(table[SUBJECT].cast(pa.int64()))
    except pa.ArrowException as error:
        raise DataError("is not MEDS: a subject_id exceeds 64 bits", file=path) from error


CodeTable = dict[str, tuple[str | None, tuple[str, ...]]]
"""Description and parent codes by code."""


def code_metadata(root: Path, codes: str | None = None) -> tuple[CodeTable, CodeTable | None]:
    """Return the table of codes, empty where the data set has none; and the usual one beside it.

    The second is None where the first is the usual one itself.

    Several rows of one code (a row for each of its modifiers, say) are joined: the first
    description, and the parents of all. A code whose row names its system has the two together as
    a parent. Parents are lists of texts, as MEDS has them, or what other
    writers make of these: a text with one code, or with a list in brackets. Parents that are only
    near, in a column of their own, are marked so.

    Args:
        root: the data set's folder.
        codes: the table in it, where it is not the usual one.

    Raises:
        DataError: a table that was named is not there, or says less than the usual one; or one
            that is there is not MEDS.
    """
    usual = root / meds.code_metadata_filepath
    described = _code_table(usual) if usual.is_file() else {}
    if codes is None:
        return described, None
    path = root / codes
    if not path.is_file():
        raise DataError("there is no such file; check data.codes", file=path)
    named = _code_table(path)
    _check_nothing_lost(described, named, path)
    return named, described


def _check_nothing_lost(usual: CodeTable, named: CodeTable, path: Path) -> None:
    """Refuse a table that leaves out what the usual one says of a code.

    What it adds may still exclude a code from a class; that takes the classes to be seen
    (`checker.planning.code_checks`).
    """
    poorer = []
    for code, (description, parents) in usual.items():
        now, held = named.get(code, (None, ()))
        if not set(parents) <= set(held) or (description is not None and now != description):
            poorer.append(code)
    if poorer:
        raise DataError(
            f"says less, or something else, than {meds.code_metadata_filepath} of {len(poorer):,}"
            f" codes, such as {poorer[0][:60]}; another table may only add to it",
            file=path,
        )


def _code_table(path: Path) -> CodeTable:
    lists = "list or string"
    kinds = {CODE: "string", _DESCRIPTION: "string", _PARENTS: lists, APPROXIMATE_PARENTS: lists}
    optional = (_DESCRIPTION, _PARENTS, APPROXIMATE_PARENTS)
    table = read_columns(path, kinds, optional=optional, if_text=(CODE_SYSTEM,))
    nothing: list[Any] = [None] * table.num_rows
    columns = (
        table[name].to_pylist() if name in table.column_names else nothing
        for name in (*kinds, CODE_SYSTEM)
    )
    found: CodeTable = {}
    for code, description, parents, near, system in zip(*columns, strict=True):
        if code is not None:
            told, known = found.get(code, (None, ()))
            further = [p for p in _parent_codes(parents, path) if p.strip()]
            further += [approximately(p) for p in _parent_codes(near, path) if p.strip()]
            further += [with_system(code, system)] if system else []
            found[code] = told or description or None, tuple(dict.fromkeys((*known, *further)))
    return found


def with_system(code: str, system: str) -> str:
    """Return the spelling of a code whose system stands in a column of its own."""
    return f"{system}/{code}"


_QUOTED = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)")\s*,?""")


def _parent_codes(value: Any, path: Path) -> list[str]:
    """Return parent codes as texts, whatever they were written as.

    Raises:
        DataError: a text begins like a list and is none.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        inside = value.strip()[1:-1] if value.rstrip().endswith("]") else value
        found = [match[1] or match[2] or "" for match in _QUOTED.finditer(inside)]
        if _QUOTED.sub("", inside).strip():
            raise DataError(
                f"is not MEDS: '{_PARENTS}' holds {value[:40]!r}, which is no list of codes;"
                " write lists of texts",
                file=path,
            )
        return found
    if isinstance(value, str):
        return [value]
    return [one for one in value or () if one is not None]


def code_lists(values: Any, path: Path) -> list[list[str] | None]:
    """Return a column of parents as lists, whatever it was written as; None where there is none.

    Raises:
        DataError: a text begins like a list and is none.
    """
    rows = values.to_pylist() if hasattr(values, "to_pylist") else values
    return [_parent_codes(one, path) or None for one in rows]


def data_set_name(root: Path) -> str:
    """Return name and version as the metadata says them, else the folder's name."""
    path = root / meds.dataset_metadata_filepath
    if not path.is_file():
        return root.resolve().name
    try:
        metadata = read_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    except ValueError as error:
        raise DataError(f"cannot be read as JSON: it {error}", file=path) from error
    if not isinstance(metadata, dict):
        raise DataError("is not MEDS: it holds no JSON object", file=path)
    words = [metadata.get(f"dataset_{key}") for key in ("name", "version")]
    name = " ".join(str(word) for word in words if word) or root.resolve().name
    return name.encode("utf-8", "replace").decode()


def check_no_nulls(column: pa.ChunkedArray, *, name: str, path: Path) -> None:
    """Check that each row has a value."""
    if column.null_count:
        row = int(np.flatnonzero(as_numpy(column.is_null()))[0]) + 1
        raise DataError(f"is not MEDS: row {row} has no '{name}'", file=path)


def as_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column without nulls as an array."""
    return np.asarray(column.to_numpy())


def _check_text(column: pa.ChunkedArray, *, name: str, path: Path) -> None:
    """Check that texts are UTF-8, which Parquet demands and not every writer keeps to."""
    if not (_holds_text(column.type) or _is_list(column.type)):
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"is not MEDS: column '{name}' holds bytes that are not UTF-8; write the file again"
            " with its texts converted",
            file=path,
        ) from error


def _is_text(found: pa.DataType) -> bool:
    types = pa.types
    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(found) for is_kind in kinds)


def _is_list(found: pa.DataType) -> bool:
    types = pa.types
    kinds = (
        types.is_list,
        types.is_large_list,
        types.is_fixed_size_list,
        types.is_list_view,
        types.is_large_list_view,
    )
    return any(is_kind(found) for is_kind in kinds)


def _holds_text(found: pa.DataType) -> bool:
    value = found.value_type if pa.types.is_dictionary(found) else found
    return _is_text(value) or pa.types.is_null(value)


def _check_type(found: pa.DataType, kind: str, *, name: str, path: Path) -> None:
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    holds = {
        "integer": types.is_integer(found) or (types.is_decimal(found) and not found.scale),
        "string": _is_text(found),
        "timestamp": types.is_timestamp(found) or types.is_date(found),
        "number": types.is_floating(found) or types.is_integer(found) or types.is_decimal(found),
        "list or string": _is_text(found) or (_is_list(found) and _holds_text(found.value_type)),
    }
    if not holds[kind] and not types.is_null(found):  # a column of nothing but nulls has no type
        raise DataError(
            f"is not MEDS: column '{name}' holds {found} where {kind} belongs", file=path
        )
