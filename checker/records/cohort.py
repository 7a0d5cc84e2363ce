"""The patients: members and nonmembers of a MEDS 0.4 data set, as columns.

MEDS (Medical Event Data Standard, github.com/Medical-Event-Data-Standard/meds) promises that all
events of a subject stand together in one file, sorted by time, those without a time first. The
promise is checked, because everything behind it (prompts, cuts, ages) silently depends on it.

Codes are mapped over each file's dictionary, never over rows. Messages name a file and a subject's
place in it, never a subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.canonical import digest
from checker.errors import DataError
from checker.policy.documents import DataSpec
from checker.records.meds_files import (
    CODE,
    CODE_SYSTEM,
    SUBJECT,
    CodeTable,
    as_numpy,
    check_no_nulls,
    code_metadata,
    data_set_name,
    find_shards,
    metadata_files,
    read_columns,
    sha256_of,
    subject_ids,
    with_system,
)
from checker.records.splits import Splits
from checker.records.tokenization import STATIC_TIME, Records

_TIME: Final[str] = meds.DataSchema.time_name
_VALUE: Final[str] = meds.DataSchema.numeric_value_name


@dataclass(frozen=True, slots=True)
class Cohort:
    """The patients an audit compares.

    Args:
        name: of the data set, as its metadata says, else of its folder.
        codes: the dictionary: codes that occur in the splits, then codes that the data set
            only describes (a model may know them from other patients); each part sorted.
        descriptions: of each code, None where there is none.
        parents: MEDS parent codes of each code, and the code behind a system that a column
            `code_system` names for it.
        members: patients the model was trained on.
        nonmembers: patients it never saw.
        files: path inside the data set to SHA-256 of every file that was read.
        sha256: over `files` and the names of the splits.
        spare: patients it never saw who are not judged either; nobody where none are declared.
        usual: descriptions and parents of each code as the usual table has them, where the target
            names another one.
    """

    name: str
    codes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    parents: tuple[tuple[str, ...], ...]
    members: Records
    nonmembers: Records
    files: dict[str, str]
    sha256: str
    spare: Records = field(default_factory=Records.of_nobody)
    usual: tuple[tuple[str | None, ...], tuple[tuple[str, ...], ...]] | None = None


def load_cohort(spec: DataSpec, *, base: Path) -> Cohort:
    """Read the members and nonmembers of a data set, and spare patients where any are declared.

    Args:
        spec: where it is and which splits to compare.
        base: the folder that `spec.path` is relative to.

    Raises:
        DataError: it is not a MEDS data set that keeps its promises, a split is missing or empty,
            or a subject is in two of them.
    """
    _check_names(spec)
    root = base / spec.path
    shards = find_shards(root)
    splits = Splits.of(root, shards, wanted=(spec.members, spec.nonmembers, *spec.spare_splits))
    with ThreadPoolExecutor(max_workers=1) as hashing:
        read = [
            path for path in (root / name for name in metadata_files(spec.codes)) if path.is_file()
        ] + shards
        hashes = [hashing.submit(sha256_of, path) for path in read]
        reader = _SplitReader.of(splits)
        for shard in shards:
            reader.add(shard, splits)
        files = {
            path.relative_to(root).as_posix(): found.result()
            for path, found in zip(read, hashes, strict=True)
        }
    for split, part in zip(splits.wanted, reader.by_split, strict=True):
        if not part.subject_id:
            raise DataError(
                f"split '{split}' holds no patients; no data is never zero risk", file=root
            )
    reader.check_subjects(splits)
    reader.check_census(splits, root)
    described, usual = code_metadata(root, spec.codes)
    codes, place = reader.codes.sorted_with(described, used=reader.used())
    members, nonmembers, *spare = (part.records(place) for part in reader.by_split)
    named: dict[str, Any] = {"members": spec.members, "nonmembers": spec.nonmembers}
    if spare:
        named["spare"] = list(spec.spare_splits)
    descriptions, parents = reader.codes.told_of(codes, described)
    return Cohort(
        name=data_set_name(root),
        codes=codes,
        descriptions=descriptions,
        parents=parents,
        members=members,
        nonmembers=nonmembers,
        files=files,
        sha256=digest({"files": files, **named}),
        spare=_joined_records(spare),
        usual=None if usual is None else reader.codes.told_of(codes, usual),
    )


def _check_names(spec: DataSpec) -> None:
    """Refuse splits that are one split by two names."""
    if spec.members == spec.nonmembers:
        raise DataError(
            f"data.members and data.nonmembers are both '{spec.members}'; patients cannot be"
            " compared with themselves"
        )
    seen = {spec.members: "data.members", spec.nonmembers: "data.nonmembers"}
    for name in spec.spare_splits:
        if name in seen:
            raise DataError(
                f"data.spare names '{name}', and so does {seen[name]}; spare patients are neither"
                " trained on nor judged, so name a split of their own"
            )
        seen[name] = "data.spare itself"


def _joined_records(parts: list[Records]) -> Records:
    """Return the patients of several splits, one split after the other."""
    if not parts:
        return Records.of_nobody()
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Records(
        subject_id=np.concatenate([part.subject_id for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        code=np.concatenate([part.code for part in parts]),
        time_us=np.concatenate([part.time_us for part in parts]),
        value=np.concatenate([part.value for part in parts]),
    )


# --- events -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Codebook:
    """Codes in the order in which they are met."""

    places: dict[str, int] = field(default_factory=dict)
    systems: dict[int, list[str]] = field(default_factory=dict)

    def add_systems(self, code: NDArray[np.int32], column: pa.ChunkedArray) -> None:
        """Keep which systems a column of their own names for each code."""
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        array = pa.concat_arrays(column.unify_dictionaries().chunks)
        names = array.dictionary.to_pylist()
        index = array.indices.fill_null(-1).to_numpy().astype(np.int64)
        named = index >= 0
        for pair in np.unique(code[named].astype(np.int64) * len(names) + index[named]).tolist():
            place, system = divmod(pair, len(names))
            known = self.systems.setdefault(place, [])
            if names[system] and names[system] not in known:
                known.append(names[system])

    def stated(self, code: str) -> list[str]:
        """Return a code with each of the systems that the data name for it."""
        place = self.places.get(code)
        systems = [] if place is None else self.systems.get(place, [])
        return [with_system(code, system) for system in systems]

    def told_of(
        self, codes: Sequence[str], table: CodeTable
    ) -> tuple[tuple[str | None, ...], tuple[tuple[str, ...], ...]]:
        """Return descriptions and parents of codes, by a table of codes and the data's columns."""
        known = [table.get(code, (None, ())) for code in codes]
        parents = (
            tuple(dict.fromkeys((*own, *self.stated(code))))
            for code, (_, own) in zip(codes, known, strict=True)
        )
        return tuple(description for description, _ in known), tuple(parents)

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
class _SplitColumns:
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
class _MetSubjects:
    """The subjects of one shard that are kept: their place in the file, and their split."""

    shard: Path
    place: NDArray[np.int64]
    subject: NDArray[np.int64]
    split: NDArray[np.int8]


@dataclass(slots=True)
class _SplitReader:
    """The wanted splits while they are read, and where each subject was met."""

    by_split: tuple[_SplitColumns, ...]
    codes: _Codebook = field(default_factory=_Codebook)
    met: list[_MetSubjects] = field(default_factory=list)
    unlisted: int = 0

    @classmethod
    def of(cls, splits: Splits) -> _SplitReader:
        """Return one that has read nothing yet."""
        return cls(tuple(_SplitColumns() for _ in splits.wanted))

    def add(self, shard: Path, splits: Splits) -> None:
        """Read a shard, check MEDS's promises, and keep the events of the wanted splits."""
        if splits.folders.get(shard) == -1:
            return
        kinds = {SUBJECT: "integer", _TIME: "timestamp", CODE: "string", _VALUE: "number"}
        table = read_columns(shard, kinds, optional=(_VALUE,), if_text=(CODE_SYSTEM,))
        if not table.num_rows:
            return
        for name in (SUBJECT, CODE):
            check_no_nulls(table[name], name=name, path=shard)
        row_subject = subject_ids(table, shard)
        starts = np.flatnonzero(np.append(True, row_subject[1:] != row_subject[:-1]))
        subjects, lengths = row_subject[starts], np.diff(starts, append=len(row_subject))
        split = splits.assign(shard, subjects)
        self.unlisted += splits.count_unlisted(subjects)
        time_us = _times(table[_TIME], shard)
        _check_sorted(time_us, starts, wanted=np.repeat(split >= 0, lengths), shard=shard)
        code, value = self.codes.indices(table[CODE]), _values(table)
        if CODE_SYSTEM in table.column_names:
            self.codes.add_systems(code, table[CODE_SYSTEM])
        kept = np.flatnonzero(split >= 0)
        self.met.append(_MetSubjects(shard, kept, subjects[kept], split[kept]))
        for number, part in enumerate(self.by_split):
            own = split == number
            if own.any():
                rows = slice(None) if own.all() else np.repeat(own, lengths)
                part.subject_id.append(subjects[own])
                part.lengths.append(lengths[own])
                part.code.append(code[rows])
                part.time_us.append(time_us[rows])
                part.value.append(value[rows])

    def check_subjects(self, splits: Splits) -> None:
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
            names = sorted({int(split[first]), int(split[second])})
            raise DataError(
                f"{who} is in both splits, '{splits.wanted[names[0]]}' and"
                f" '{splits.wanted[names[1]]}'; a patient is a member or not",
                file=self.met[shard[second]].shard,
            )
        elsewhere = self.met[shard[first]].shard
        where = "earlier in the file" if shard[first] == shard[second] else f"in {elsewhere}"
        raise DataError(
            f"is not MEDS: {who} has events {where} too; a subject's events stand together",
            file=self.met[shard[second]].shard,
        )

    def check_census(self, splits: Splits, root: Path) -> None:
        """Check that every subject listed in one of the wanted splits has events.

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
        """[codes met] bool: the code occurs in one of the wanted splits."""
        used = np.zeros(len(self.codes.places), dtype=np.bool_)
        for part in self.by_split:
            for code in part.code:
                used[code] = True
        return used


_MILLI: Final = pa.timestamp("ms")


def _times(column: pa.ChunkedArray, shard: Path) -> NDArray[np.int64]:
    if pa.types.is_null(column.type):
        return np.full(len(column), STATIC_TIME, dtype=np.int64)
    if pa.types.is_date(column.type):  # midnight, as every reader takes a date
        column = column.cast(pa.timestamp("s") if pa.types.is_date32(column.type) else _MILLI)
    unit = pa.timestamp("us", tz=column.type.tz)
    try:
        # finer than a microsecond is cut off; coarser units must not overflow
        column = column.cast(unit, safe=column.type.unit != "ns")
    except pa.ArrowInvalid as error:
        raise DataError(f"has times that are out of range: {error}", file=shard) from error
    return as_numpy(column.cast(pa.int64()).fill_null(STATIC_TIME))


def _values(table: pa.Table) -> NDArray[np.float32]:
    if _VALUE not in table.column_names or pa.types.is_null(table[_VALUE].type):
        return np.full(table.num_rows, np.nan, dtype=np.float32)
    return as_numpy(table[_VALUE].cast(pa.float32(), safe=False).fill_null(np.nan))


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
