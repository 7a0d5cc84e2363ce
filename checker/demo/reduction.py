"""Any MEDS data set, cut down to what two tiny models can learn in minutes.

What is cut away is counted and said: a demonstration on part of the patients must not read as an
audit of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.errors import DataError
from checker.policy.documents import DataSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import STATIC_TIME, Records

TUNING_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the smaller data set lacks: patients of each split, and members kept for tuning."""

    members: int
    nonmembers: int
    kept_for_tuning: int


def reduce_cohort(source: Path, folder: Path, *, max_patients: int, seed: int) -> LeftOut:
    """Write at most so many patients of a MEDS data set as a data set of its own.

    Args:
        source: a MEDS data set with the splits `train` and `held_out`, and `tuning` if it has one.
        folder: where to write; made if missing.
        max_patients: at most so many members and so many nonmembers, drawn at random, >= 2.
        seed: of the draw.

    Returns:
        What was left out. Without a split `tuning` a tenth of the members becomes it, and is then
        not trained on and not a member.

    Raises:
        DataError: the data set cannot be read.
    """
    rng = np.random.default_rng([seed, 0xC07])
    both = load_cohort(
        DataSpec(path=str(source), members=meds.train_split, nonmembers=meds.held_out_split),
        base=Path(),
    )
    members = _drawn(rng, both.members, max_patients)
    nonmembers = _drawn(rng, both.nonmembers, max_patients)
    try:
        tuned = load_cohort(
            DataSpec(path=str(source), members=meds.tuning_split, nonmembers=meds.held_out_split),
            base=Path(),
        )
    except DataError:  # it has no such split: some members stand in
        count = max(1, round(len(members) * TUNING_SHARE))
        apart, kept = members[:count], np.sort(members[count:])
        tuning, tuning_codes = both.members.select(np.sort(apart)), both
        members = kept
    else:
        chosen = _drawn(rng, tuned.members, max_patients)
        tuning, tuning_codes = tuned.members.select(np.sort(chosen)), tuned
        count = 0
    parts = {
        meds.train_split: (both.members.select(np.sort(members)), both),
        meds.held_out_split: (both.nonmembers.select(np.sort(nonmembers)), both),
        meds.tuning_split: (tuning, tuning_codes),
    }
    for split, (records, cohort) in parts.items():
        _write_split(folder / meds.data_subdirectory / split / "0.parquet", records, cohort)
    _write_codes(folder / meds.code_metadata_filepath, both)
    return LeftOut(
        members=len(both.members) - len(members) - count,
        nonmembers=len(both.nonmembers) - len(nonmembers),
        kept_for_tuning=count,
    )


def _drawn(rng: np.random.Generator, records: Records, count: int) -> NDArray[np.int64]:
    return rng.permutation(len(records))[:count]


def _write_split(path: Path, records: Records, cohort: Cohort) -> None:
    static = records.time_us == STATIC_TIME
    table = pa.table(
        {
            "subject_id": pa.array(np.repeat(records.subject_id, np.diff(records.offsets))),
            "time": pa.array(np.where(static, 0, records.time_us), pa.int64(), mask=static).cast(
                pa.timestamp("us")
            ),
            "code": pa.array(cohort.codes, pa.string()).take(pa.array(records.code)),
            "numeric_value": pa.array(records.value, pa.float32(), mask=np.isnan(records.value)),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(meds.DataSchema.align(table), path)


def _write_codes(path: Path, cohort: Cohort) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "code": pa.array(cohort.codes, pa.string()),
            "description": pa.array(cohort.descriptions, pa.string()),
            "parent_codes": pa.array(
                [list(parents) or None for parents in cohort.parents], pa.list_(pa.string())
            ),
        }
    )
    pq.write_table(meds.CodeMetadataSchema.align(table), path)
