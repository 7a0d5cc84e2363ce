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
import os
from collections.abc import Iterable, Iterator
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
from checker.records.tokenization import STATIC_TIME, Records

__all__ = ["STATIC_TIME", "Cohort", "Records", "load_cohort"]

_SUBJECT: Final[str] = meds.DataSchema.subject_id_name
_TIME: Final[str] = meds.DataSchema.time_name
_CODE: Final[str] = meds.DataSchema.code_name
_VALUE: Final[str] = meds.DataSchema.numeric_value_name
_SPLIT: Final[str] = meds.SubjectSplitSchema.split_name
_DESCRIPTION: Final[str] = meds.CodeMetadataSchema.description_name
_PARENTS: Final[str] = meds.CodeMetadataSchema.parent_codes_name


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
    parts.check_subjects(splits)
    parts.check_census(splits, root)
    described = _code_metadata(root)
    codes, place = parts.codes.sorted_with(described, used=parts.used())
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
    shards = sorted(path for path in _files(data) if path.name.endswith(".parquet"))
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
        columns: name to the type it must have, as in `_check_type`.
        optional: of these, columns that may be absent.
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
                raise DataError(f"is not MEDS: it has no column '{name}'", file=path)
            if name in present and metadata.num_rows:
                _check_type(schema.field(name).type, kind, name=name, path=path)
        codes = [_CODE] if _CODE in present else []
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=codes) as file:
            return file.read(columns=present)
    except PermissionError as error:
        raise DataError("cannot be read: permission denied", file=path) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError("is not a whole parquet file; copy or write it again", file=path) from error


def _subject_ids(table: pa.Table, path: Path) -> NDArray[np.int64]:
    try:
        return _numpy(table[_SUBJECT].cast(pa.int64()))
    except pa.ArrowException as error:
        raise DataError("is not MEDS: a subject_id exceeds 64 bits", file=path) from error


def _is_text(found: pa.DataType) -> bool:
    types = pa.types
    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(found) for is_kind in kinds)


def _check_type(found: pa.DataType, kind: str, *, name: str, path: Path) -> None:
    types = pa.types
    if types.is_dictionary(found):
        found = found.value_type
    holds = {
        "integer": types.is_integer(found),
        "string": _is_text(found),
        "timestamp": types.is_timestamp(found),
        "number": types.is_floating(found) or types.is_integer(found) or types.is_decimal(found),
        "list of string": (types.is_list(found) or types.is_large_list(found))
        and _is_text(found.value_type),
    }
    if not holds[kind] and not types.is_null(found):  # a column of nothing but nulls has no type
        raise DataError(
            f"is not MEDS: column '{name}' holds {found} where {kind} belongs", file=path
        )


def _code_metadata(root: Path) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Return description and parent codes by code; nothing where the data set describes none.

    Several rows of one code (a row for each of its modifiers, say) are joined: the first
    description, and the parents of all.
    """
    path = root / meds.code_metadata_filepath
    if not path.is_file():
        return {}
    kinds = {_CODE: "string", _DESCRIPTION: "string", _PARENTS: "list of string"}
    table = _read(path, kinds, optional=(_DESCRIPTION, _PARENTS))
    nothing: list[Any] = [None] * table.num_rows
    columns = (table[name].to_pylist() if name in table.column_names else nothing for name in kinds)
    found: dict[str, tuple[str | None, tuple[str, ...]]] = {}
    for code, description, parents in zip(*columns, strict=True):
        if code is not None:
            told, known = found.get(code, (None, ()))
            further = (p for p in parents or () if p)
            found[code] = told or description or None, tuple(dict.fromkeys((*known, *further)))
    return found


def _name(root: Path) -> str:
    path = root / meds.dataset_metadata_filepath
    if not path.is_file():
        return root.resolve().name
    try:
        metadata = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("cannot be read as JSON", file=path) from error
    if not isinstance(metadata, dict):
        raise DataError("is not MEDS: it holds no JSON object", file=path)
    words = [metadata.get(f"dataset_{key}") for key in ("name", "version")]
    name = " ".join(str(word) for word in words if word) or root.resolve().name
    return name.encode("utf-8", "replace").decode()


# --- splits -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Splits:
    """Which of the two wanted splits a subject belongs to.

    Args:
        wanted: names of the members' and the nonmembers' split.
        subjects: [subjects of the two splits] int64, ascending; None where folders decide.
        split: of each subject, 0 or 1.
        listed: [subjects of all splits] int64, ascending.
        folders: of each shard 0, 1 or -1; empty where subjects decide.
    """

    wanted: tuple[str, str]
    subjects: NDArray[np.int64] | None
    split: NDArray[np.int8]
    listed: NDArray[np.int64]
    folders: dict[Path, int]

    @classmethod
    def of(cls, root: Path, shards: list[Path], *, wanted: tuple[str, str]) -> _Splits:
        path = root / meds.subject_splits_filepath
        if path.is_file():
            return cls._of_table(path, wanted)
        data = root / meds.data_subdirectory
        folder_of = {shard: shard.relative_to(data).parts[0] for shard in shards}
        loose = [shard for shard in shards if shard.parent == data]
        if loose:
            raise DataError(
                f"there is no '{meds.subject_splits_filepath}', and '{loose[0].name}' lies in no"
                " split's folder; write one of them so that members and nonmembers can be told",
                file=root,
            )
        _check_wanted(wanted, set(folder_of.values()), root)
        folders = {
            shard: wanted.index(name) if name in wanted else -1 for shard, name in folder_of.items()
        }
        nobody = np.empty(0, dtype=np.int64)
        return cls(wanted, None, np.empty(0, dtype=np.int8), nobody, folders)

    @classmethod
    def _of_table(cls, path: Path, wanted: tuple[str, str]) -> _Splits:
        table = _read(path, {_SUBJECT: "integer", _SPLIT: "string"})
        for name in (_SUBJECT, _SPLIT):
            _check_no_nulls(table[name], name=name, path=path)
        names = {name for name in pc.unique(table[_SPLIT]).to_pylist() if name is not None}
        _check_wanted(wanted, names, path)
        subjects = _subject_ids(table, path)
        split = np.full(len(subjects), -1, dtype=np.int8)
        for number, name in enumerate(wanted):
            split[_numpy(pc.equal(table[_SPLIT], name))] = number
        order = np.argsort(subjects, kind="stable")
        same = np.flatnonzero(subjects[order][1:] == subjects[order][:-1])
        torn = same[split[order][same] != split[order][same + 1]]
        if len(torn):
            row = int(order[torn + 1].min()) + 1
            raise DataError(
                f"row {row} puts a subject into a second split; a patient is a member or not",
                file=path,
            )
        kept = order[split[order] >= 0]
        return cls(wanted, subjects[kept], split[kept], subjects[order], {})

    def count_unlisted(self, subjects: NDArray[np.int64]) -> int:
        """Return how many subjects of a shard stand in no split."""
        return 0 if self.subjects is None else int((~np.isin(subjects, self.listed)).sum())

    def assign(self, shard: Path, subjects: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return 0 for a member, 1 for a nonmember and -1 for others."""
        if self.subjects is None:
            return np.full(len(subjects), self.folders[shard], dtype=np.int8)
        if not len(self.subjects):
            return np.full(len(subjects), -1, dtype=np.int8)
        at = np.minimum(np.searchsorted(self.subjects, subjects), len(self.subjects) - 1)
        return np.where(self.subjects[at] == subjects, self.split[at], -1).astype(np.int8)


def _check_wanted(wanted: tuple[str, str], names: set[str], where: Path) -> None:
    for name in wanted:
        if name not in names:
            known = ", ".join(f"'{known}'" for known in sorted(names)) or "none"
            raise DataError(
                f"there is no split '{name}'{suggestion(name, names)}; splits: {known}", file=where
            )


def _check_no_nulls(column: pa.ChunkedArray, *, name: str, path: Path) -> None:
    if column.null_count:
        row = int(np.flatnonzero(_numpy(column.is_null()))[0]) + 1
        raise DataError(f"is not MEDS: row {row} has no '{name}'", file=path)


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy())


# --- events -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Codebook:
    """Codes in the order in which they are met."""

    places: dict[str, int] = field(default_factory=dict)

    def indices(self, column: pa.ChunkedArray) -> NDArray[np.int32]:
        """Return the place of each row's code."""
        if pa.types.is_string_view(column.type):  # as Polars writes them; no dictionary of it
            column = column.cast(pa.large_string())
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        array = pa.concat_arrays(column.unify_dictionaries().chunks)
        own = [
            self.places.setdefault(code, len(self.places)) for code in array.dictionary.to_pylist()
        ]
        place = np.array(own, dtype=np.int32)
        rows: NDArray[np.int32] = array.indices.to_numpy()
        return place[rows]

    def sorted_with(
        self, described: Iterable[str], *, used: NDArray[np.bool_]
    ) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return used codes and then the other described ones, sorted, and each place's new one."""
        met = list(self.places)
        occurring = sorted(code for code, is_used in zip(met, used, strict=True) if is_used)
        codes = (*occurring, *sorted(set(described).difference(occurring)))
        new = {code: i for i, code in enumerate(codes)}
        return codes, np.array([new.get(code, -1) for code in met], dtype=np.int32)


@dataclass(slots=True)
class _Part:
    """One split's events, shard by shard."""

    subject_id: list[NDArray[np.int64]] = field(default_factory=list)
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    code: list[NDArray[np.int32]] = field(default_factory=list)
    time_us: list[NDArray[np.int64]] = field(default_factory=list)
    value: list[NDArray[np.float32]] = field(default_factory=list)

    def records(self, place: NDArray[np.int32]) -> Records:
        lengths = np.concatenate(self.lengths)
        return Records(
            subject_id=np.concatenate(self.subject_id),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            code=place[_joined(self.code)],
            time_us=_joined(self.time_us),
            value=_joined(self.value),
        )


def _joined(pieces: list[Any]) -> NDArray[Any]:
    """Concatenate and let go of the pieces, so that two columns are never held twice."""
    whole = np.concatenate(pieces)
    pieces.clear()
    return whole


@dataclass(frozen=True, slots=True)
class _Met:
    """The subjects of one shard that are kept: their place in the file, and their split."""

    shard: Path
    place: NDArray[np.int64]
    subject: NDArray[np.int64]
    split: NDArray[np.int8]


@dataclass(slots=True)
class _Parts:
    """Both splits while they are read, and where each subject was met."""

    codes: _Codebook = field(default_factory=_Codebook)
    by_split: tuple[_Part, _Part] = field(default_factory=lambda: (_Part(), _Part()))
    met: list[_Met] = field(default_factory=list)
    unlisted: int = 0

    def add(self, shard: Path, splits: _Splits) -> None:
        """Read a shard, check MEDS's promises, and keep the events of the two splits."""
        if splits.folders.get(shard) == -1:
            return
        kinds = {_SUBJECT: "integer", _TIME: "timestamp", _CODE: "string", _VALUE: "number"}
        table = _read(shard, kinds, optional=(_VALUE,))
        if not table.num_rows:
            return
        for name in (_SUBJECT, _CODE):
            _check_no_nulls(table[name], name=name, path=shard)
        row_subject = _subject_ids(table, shard)
        starts = np.flatnonzero(np.append(True, row_subject[1:] != row_subject[:-1]))
        subjects, lengths = row_subject[starts], np.diff(starts, append=len(row_subject))
        split = splits.assign(shard, subjects)
        self.unlisted += splits.count_unlisted(subjects)
        time_us = _times(table[_TIME], shard)
        _check_sorted(time_us, starts, wanted=np.repeat(split >= 0, lengths), shard=shard)
        code, value = self.codes.indices(table[_CODE]), _values(table)
        kept = np.flatnonzero(split >= 0)
        self.met.append(_Met(shard, kept, subjects[kept], split[kept]))
        for number, part in enumerate(self.by_split):
            own = split == number
            if own.any():
                rows = slice(None) if own.all() else np.repeat(own, lengths)
                part.subject_id.append(subjects[own])
                part.lengths.append(lengths[own])
                part.code.append(code[rows])
                part.time_us.append(time_us[rows])
                part.value.append(value[rows])

    def check_subjects(self, splits: _Splits) -> None:
        """Check that no subject was met twice."""
        shard = np.repeat(np.arange(len(self.met)), [len(met.place) for met in self.met])
        place = np.concatenate([met.place for met in self.met])
        subject = np.concatenate([met.subject for met in self.met])
        split = np.concatenate([met.split for met in self.met])
        order = np.argsort(subject, kind="stable")
        again = np.flatnonzero(subject[order][1:] == subject[order][:-1])
        if not len(again):
            return
        second = int(order[again + 1].min())
        first = int(np.flatnonzero(subject == subject[second])[0])
        who = f"its subject no. {place[second] + 1}"
        if split[first] != split[second]:
            raise DataError(
                f"{who} is in both splits, '{splits.wanted[0]}' and '{splits.wanted[1]}';"
                " a patient is a member or not",
                file=self.met[shard[second]].shard,
            )
        elsewhere = self.met[shard[first]].shard
        where = "earlier in the file" if shard[first] == shard[second] else f"in {elsewhere}"
        raise DataError(
            f"is not MEDS: {who} has events {where} too; a subject's events stand together",
            file=self.met[shard[second]].shard,
        )

    def check_census(self, splits: _Splits, root: Path) -> None:
        """Check that every subject listed in one of the two splits has events.

        Splits that were drawn from other data than these would leave a part of the members out, and
        nothing would say that it was never looked at.
        """
        if splits.subjects is None:
            return
        found = np.concatenate([met.subject for met in self.met])
        missing = ~np.isin(splits.subjects, found)
        if not missing.any():
            return
        gone = " and ".join(
            f"{int((missing & own).sum())} of the {int(own.sum())} subjects listed as '{name}'"
            for number, name in enumerate(splits.wanted)
            if (missing & (own := splits.split == number)).any()
        )
        others = f"; {self.unlisted} subjects of the data are in no split" if self.unlisted else ""
        raise DataError(
            f"{gone} have no events{others}. Audit the data that the splits were drawn from, or"
            " list only who is in them",
            file=root / meds.subject_splits_filepath,
        )

    def used(self) -> NDArray[np.bool_]:
        """[codes met] bool: the code occurs in one of the two splits."""
        used = np.zeros(len(self.codes.places), dtype=np.bool_)
        for part in self.by_split:
            for code in part.code:
                used[code] = True
        return used


def _times(column: pa.ChunkedArray, shard: Path) -> NDArray[np.int64]:
    if pa.types.is_null(column.type):
        return np.full(len(column), STATIC_TIME, dtype=np.int64)
    unit = pa.timestamp("us", tz=column.type.tz)
    try:
        # finer than a microsecond is cut off; coarser units must not overflow
        column = column.cast(unit, safe=column.type.unit != "ns")
    except pa.ArrowInvalid as error:
        raise DataError(f"has times that are out of range: {error}", file=shard) from error
    return _numpy(column.cast(pa.int64()).fill_null(STATIC_TIME))


def _values(table: pa.Table) -> NDArray[np.float32]:
    if _VALUE not in table.column_names or pa.types.is_null(table[_VALUE].type):
        return np.full(table.num_rows, np.nan, dtype=np.float32)
    return _numpy(table[_VALUE].cast(pa.float32(), safe=False).fill_null(np.nan))


def _check_sorted(
    time_us: NDArray[np.int64],
    starts: NDArray[np.int64],
    *,
    wanted: NDArray[np.bool_],
    shard: Path,
) -> None:
    falls = time_us[1:] < time_us[:-1]
    falls[starts[1:] - 1] = False  # there the next subject begins
    bad = np.flatnonzero(falls & wanted[1:])
    if not len(bad):
        return
    row = int(bad[0]) + 1
    subject = int(np.searchsorted(starts, row, side="right"))
    problem = (
        "events without a time stand behind events with one"
        if time_us[row] == STATIC_TIME
        else "events are not sorted by time"
    )
    raise DataError(f"is not MEDS: {problem} for its subject no. {subject}", file=shard)
