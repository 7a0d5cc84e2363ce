"""Small MEDS data sets for tests: patients are lists of (code, day) or (code, day, value).

A day counts from 2020-01-01 and may be a fraction or negative; None is an event without a time.

    write_meds(tmp_path, {"train": [[("GENDER//F", None), ("DX//A", 0), ("LAB//B", 1.5, 7.2)]]})
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from checker.records.tokenization import STATIC_TIME, Records, Vocabulary

Event = tuple[str, float | None] | tuple[str, float | None, float]
Patient = Sequence[Event]

DAY_ZERO = datetime(2020, 1, 1)  # noqa: DTZ001  MEDS times carry no zone
FIRST_SUBJECT = 700_000_001  # long enough to be recognised, should it ever stand in a message


def moment(day: float | None) -> datetime | None:
    """Return the time of a day counted from 2020-01-01."""
    return None if day is None else DAY_ZERO + timedelta(days=day)


def events_table(patients: Mapping[int, Patient]) -> pa.Table:
    """Return a MEDS table of patients by subject id."""
    rows = [(subject, *event) for subject, patient in patients.items() for event in patient]
    return pa.table(
        {
            "subject_id": pa.array([row[0] for row in rows], pa.int64()),
            "time": pa.array([moment(row[2]) for row in rows], pa.timestamp("us")),
            "code": pa.array([row[1] for row in rows], pa.string()),
            "numeric_value": pa.array(
                [row[3] if len(row) > 3 else None for row in rows], pa.float32()
            ),
        }
    )


def write_meds(
    root: Path,
    splits: Mapping[str, Sequence[Patient]],
    *,
    layout: Literal["folders", "flat"] = "folders",
    with_splits: bool = True,
    descriptions: Mapping[str, str] | None = None,
    parents: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a data set and return its folder.

    Args:
        root: the folder to write to; made when it is not there.
        splits: by split, its patients. Subject ids run on from FIRST_SUBJECT in this order.
        layout: a file for each split in a folder of its name, or one file for all.
        with_splits: write `metadata/subject_splits.parquet`.
        descriptions: by code, written to `metadata/codes.parquet`.
        parents: parent codes by code, likewise.
    """
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    by_split: dict[str, dict[int, Patient]] = {}
    subject = FIRST_SUBJECT
    for split, patients in splits.items():
        by_split[split] = dict(enumerate(patients, start=subject))
        subject += len(patients)
    everybody = {k: patient for own in by_split.values() for k, patient in own.items()}
    tables = by_split if layout == "folders" else {"": everybody}
    for folder, own in tables.items():
        path = root / meds.data_subdirectory / folder / "0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(events_table(own), path)
    if with_splits:
        pairs = [(k, split) for split, own in by_split.items() for k in own]
        write_splits(root, pairs)
    _write_codes(root, everybody, descriptions or {}, parents or {})
    (root / meds.dataset_metadata_filepath).write_text(
        json.dumps({"dataset_name": "made-up", "dataset_version": "1"})
    )
    return root


def write_splits(root: Path, pairs: Sequence[tuple[int, str]]) -> None:
    """Write `metadata/subject_splits.parquet` from (subject, split) pairs."""
    pq.write_table(
        pa.table(
            {
                "subject_id": pa.array([subject for subject, _ in pairs], pa.int64()),
                "split": pa.array([split for _, split in pairs], pa.string()),
            }
        ),
        root / meds.subject_splits_filepath,
    )


def _write_codes(
    root: Path,
    patients: Mapping[int, Patient],
    descriptions: Mapping[str, str],
    parents: Mapping[str, Sequence[str]],
) -> None:
    codes = sorted(
        {event[0] for patient in patients.values() for event in patient}
        | descriptions.keys()
        | parents.keys()
    )
    pq.write_table(
        pa.table(
            {
                "code": pa.array(codes, pa.string()),
                "description": pa.array([descriptions.get(c) for c in codes], pa.string()),
                "parent_codes": pa.array(
                    [list(parents[c]) if c in parents else None for c in codes],
                    pa.list_(pa.string()),
                ),
            }
        ),
        root / meds.code_metadata_filepath,
    )


def make_records(patients: Sequence[Patient]) -> tuple[Records, tuple[str, ...]]:
    """Return patients as columns, and the dictionary that their codes index, without a file."""
    codes = tuple(sorted({event[0] for patient in patients for event in patient}))
    place = {code: i for i, code in enumerate(codes)}
    events = [event for patient in patients for event in patient]
    epoch_us = int(np.datetime64(DAY_ZERO, "us").astype(np.int64))
    return (
        Records(
            subject_id=np.arange(FIRST_SUBJECT, FIRST_SUBJECT + len(patients), dtype=np.int64),
            offsets=np.cumsum([0, *map(len, patients)]).astype(np.int64),
            code=np.array([place[event[0]] for event in events], dtype=np.int32),
            time_us=np.array(
                [
                    STATIC_TIME if event[1] is None else epoch_us + round(event[1] * 86_400_000_000)
                    for event in events
                ],
                dtype=np.int64,
            ),
            value=np.array(
                [event[2] if len(event) > 2 else np.nan for event in events], dtype=np.float32
            ),
        ),
        codes,
    )


def make_vocabulary(tokens: Sequence[str]) -> Vocabulary:
    """Return a vocabulary that numbers the tokens from 0."""
    return Vocabulary({token: i for i, token in enumerate(tokens)}, sha256="0" * 64, file="vocab")
