"""Which split each subject of a MEDS data set belongs to.

Splits come from `metadata/subject_splits.parquet`; only where there is none do the folders under
`data/` name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.errors import DataError
from checker.plugins import suggestion
from checker.records.meds_files import (
    OLDER_SPLITS,
    SUBJECT,
    as_numpy,
    check_no_nulls,
    read_columns,
    subject_ids,
)

_SPLIT: Final[str] = meds.SubjectSplitSchema.split_name


@dataclass(frozen=True, slots=True)
class Splits:
    """Which of the wanted splits a subject belongs to.

    Args:
        wanted: names of the members' and the nonmembers' split, then of those of spare patients.
        subjects: [subjects of these splits] int64, ascending; None where folders decide.
        split: of each subject, its place in `wanted`.
        listed: [subjects of all splits] int64, ascending.
        folders: of each shard its place in `wanted` or -1; empty where subjects decide.
    """

    wanted: tuple[str, ...]
    subjects: NDArray[np.int64] | None
    split: NDArray[np.int8]
    listed: NDArray[np.int64]
    folders: dict[Path, int]

    @classmethod
    def of(cls, root: Path, shards: list[Path], *, wanted: tuple[str, ...]) -> Splits:
        """Read the splits, or take them from the folders of the shards."""
        path = root / meds.subject_splits_filepath
        if path.is_file():
            return cls._of_table(path, wanted)
        if (root / OLDER_SPLITS).is_file():
            raise DataError(
                f"is where MEDS 0.3.0 has the splits; rename it to {meds.subject_splits_filepath},"
                " and its column patient_id to subject_id, or the folders would decide",
                file=root / OLDER_SPLITS,
            )
        data = root / meds.data_subdirectory
        folder_of = {shard: shard.relative_to(data).parts[0] for shard in shards}
        loose = [shard for shard in shards if shard.parent == data]
        if loose:
            raise DataError(
                f"there is no '{meds.subject_splits_filepath}', and '{loose[0].name}' lies in no"
                " split's folder; write one of them so that members and nonmembers can be told",
                file=root,
            )
        for name in wanted:
            if name not in folder_of.values() and (data / name).is_dir():
                raise DataError("holds no files that end in .parquet", file=data / name)
        _check_wanted(wanted, set(folder_of.values()), root)
        folders = {
            shard: wanted.index(name) if name in wanted else -1 for shard, name in folder_of.items()
        }
        nobody = np.empty(0, dtype=np.int64)
        return cls(wanted, None, np.empty(0, dtype=np.int8), nobody, folders)

    @classmethod
    def _of_table(cls, path: Path, wanted: tuple[str, ...]) -> Splits:
        table = read_columns(path, {SUBJECT: "integer", _SPLIT: "string"})
        for name in (SUBJECT, _SPLIT):
            check_no_nulls(table[name], name=name, path=path)
        column = table[_SPLIT]
        if not pa.types.is_dictionary(column.type):  # not every kind of text can be compared
            column = column.cast(pa.large_string())
        names = {name for name in pc.unique(column).to_pylist() if name is not None}
        _check_wanted(wanted, names, path)
        subjects = subject_ids(table, path)
        split = np.full(len(subjects), -1, dtype=np.int8)
        for number, name in enumerate(wanted):
            split[as_numpy(pc.equal(column, name))] = number
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
        """Return how many subjects of a shard are in no split."""
        return 0 if self.subjects is None else int((~np.isin(subjects, self.listed)).sum())

    def assign(self, shard: Path, subjects: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return each subject's place in `wanted`, -1 for others."""
        if self.subjects is None:
            return np.full(len(subjects), self.folders[shard], dtype=np.int8)
        if not len(self.subjects):
            return np.full(len(subjects), -1, dtype=np.int8)
        at = np.minimum(np.searchsorted(self.subjects, subjects), len(self.subjects) - 1)
        return np.where(self.subjects[at] == subjects, self.split[at], -1).astype(np.int8)


def _check_wanted(wanted: tuple[str, ...], names: set[str], where: Path) -> None:
    for name in wanted:
        if name not in names:
            known = ", ".join(f"'{known}'" for known in sorted(names)) or "none"
            raise DataError(
                f"there is no split '{name}'{suggestion(name, names)}; splits: {known}", file=where
            )
