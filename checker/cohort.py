"""The patients: members and nonmembers of a MEDS 0.4 data set, as columns.

MEDS (Medical Event Data Standard, github.com/Medical-Event-Data-Standard/meds) promises that all
events of a subject stand together in one file, sorted by time, those without a time first. The
promise is checked, because everything behind it (prompts, cuts, ages) silently depends on it.

Splits come from `metadata/subject_splits.parquet`; only where there is none do the folders under
`data/` name them. Codes are mapped over each file's dictionary, never over rows. Messages name a
file and a subject's place in it, never a subject.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.canonical import digest
from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy.documents import DataSpec
from checker.tokenization import STATIC_TIME, Records

__all__ = ["STATIC_TIME", "Cohort", "Records", "load_cohort"]

_SUBJECT: Final[str] = meds.DataSchema.subject_id_name
_TIME: Final[str] = meds.DataSchema.time_name
_CODE: Final[str] = meds.DataSchema.code_name
_VALUE: Final[str] = meds.DataSchema.numeric_value_name
_SPLIT: Final[str] = meds.SubjectSplitSchema.split_name


@dataclass(frozen=True, slots=True)
class Cohort:
    """The patients an audit compares.

    Args:
        name: of the data set, as its metadata says, else of its folder.
        codes: the dictionary: codes that occur in the two splits, then codes that the data set
            only describes (a model may know them from other patients); each part sorted.
        descriptions: of each code, None where there is none.
        parents: MEDS parent codes of each code.
        members: patients the model was trained on.
        nonmembers: patients it never saw.
        files: path inside the data set to SHA-256 of every file that was read.
        sha256: over `files` and the names of the two splits.
    """

    name: str
    codes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    parents: tuple[tuple[str, ...], ...]
    members: Records
    nonmembers: Records
    files: dict[str, str]
    sha256: str


def load_cohort(spec: DataSpec, *, base: Path) -> Cohort:
    """Read the members and nonmembers of a data set.

    Args:
        spec: where it is and which splits to compare.
        base: the folder that `spec.path` is relative to.

    Raises:
        DataError: it is not a MEDS data set that keeps its promises, a split is missing or empty,
            or a subject is in both.
    """
    if spec.members == spec.nonmembers:
        raise DataError(
            f"data.members and data.nonmembers are both '{spec.members}'; patients cannot be"
            " compared with themselves"
        )
    root = base / spec.path
    shards = _shards(root)
    splits = _Splits.of(root, shards, wanted=(spec.members, spec.nonmembers))
    with ThreadPoolExecutor(max_workers=1) as hashing:
        read = [path for path in (root / name for name in _METADATA) if path.is_file()] + shards
        hashes = [hashing.submit(_sha256, path) for path in read]
        parts = _Parts()
        for shard in shards:
            parts.add(shard, splits)
        files = {
            path.relative_to(root).as_posix(): found.result()
            for path, found in zip(read, hashes, strict=True)
        }
    for split, part in zip(splits.wanted, parts.by_split, strict=True):
        if not part.subject_id:
            raise DataError(
                f"split '{split}' holds no patients; no data is never zero risk", file=root
            )
    described = _code_metadata(root)
    codes, place = parts.codes.sorted_with(described)
    members, nonmembers = (part.records(place) for part in parts.by_split)
    return Cohort(
        name=_name(root),
        codes=codes,
        descriptions=tuple(described.get(code, (None, ()))[0] for code in codes),
        parents=tuple(described.get(code, (None, ()))[1] for code in codes),
        members=members,
        nonmembers=nonmembers,
        files=files,
        sha256=digest({"files": files, "members": spec.members, "nonmembers": spec.nonmembers}),
    )


# --- files --------------------------------------------------------------------------------------

_METADATA: Final = (
    meds.dataset_metadata_filepath,
    meds.code_metadata_filepath,
    meds.subject_splits_filepath,
)


def _shards(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError("there is no such folder; check data.path", file=root)
    data = root / meds.data_subdirectory
    if not data.is_dir():
        raise DataError(f"has no folder '{meds.data_subdirectory}'; it is not MEDS", file=root)
    shards = sorted(
        path
        for path in data.rglob("*.parquet")
        if not any(part.startswith(".") for part in path.relative_to(data).parts)
    )
    if not shards:
        raise DataError("holds no parquet files", file=data)
    return shards


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def _read(path: Path, columns: dict[str, str], *, optional: tuple[str, ...] = ()) -> pa.Table:
    """Read columns of a parquet file after checking their types.

    Args:
        path: the file.
        columns: name to the type it must have: "integer", "string" or "timestamp" or "number".
        optional: of these, columns that may be absent.
    """
    try:
        with pq.ParquetFile(path, read_dictionary=[_CODE]) as file:
            schema = file.schema_arrow
            present = [name for name in columns if name in schema.names]
            for name, kind in columns.items():
                if name not in present and name not in optional:
                    raise DataError(f"is not MEDS: it has no column '{name}'", file=path)
                if name in present and file.metadata.num_rows:
                    _check_type(schema.field(name).type, kind, name=name, path=path)
            return file.read(columns=present)
    except PermissionError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "is not a whole parquet file; copy or write it again", file=path
        ) from error


def _check_type(found: pa.DataType, kind: str, *, name: str, path: Path) -> None:
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    holds = {
        "integer": types.is_integer(found),
        "string": types.is_string(found) or types.is_large_string(found),
        "timestamp": types.is_timestamp(found),
        "number": types.is_floating(found) or types.is_integer(found) or types.is_null(found),
    }
    if not holds[kind]:
        raise DataError(
            f"is not MEDS: column '{name}' should be a {kind} and is {found}", file=path
        )


def _code_metadata(root: Path) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Return description and parent codes by code; nothing where the data set describes none."""
    path = root / meds.code_metadata_filepath
    if not path.is_file():
        return {}
    schema = meds.CodeMetadataSchema
    columns = {_CODE: "string", schema.description_name: "string"}
    table = _read(path, columns, optional=(schema.description_name,))
    parents: list[Any] = [None] * table.num_rows
    try:
        names = pq.read_schema(path).names
        if schema.parent_codes_name in names:
            parents = pq.read_table(path, columns=[schema.parent_codes_name])[0].to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError("is not a whole parquet file", file=path) from error
    descriptions: list[Any] = [None] * table.num_rows
    if schema.description_name in table.column_names:
        descriptions = table[schema.description_name].to_pylist()
    return {
        code: (description or None, tuple(p for p in own or () if isinstance(p, str)))
        for code, description, own in zip(
            table[_CODE].to_pylist(), descriptions, parents, strict=True
        )
        if code is not None
    }


def _name(root: Path) -> str:
    path = root / meds.dataset_metadata_filepath
    if not path.is_file():
        return root.resolve().name
    try:
        metadata = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError("cannot be read as JSON", file=path) from error
    words = [metadata.get(f"dataset_{key}") for key in ("name", "version")]
    return " ".join(str(word) for word in words if word) or root.resolve().name
