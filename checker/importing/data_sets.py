"""What an importer has to know of a MEDS data set: its splits, and which codes have no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from checker.importing.draft import TargetDraft, parquet, relative
from checker.records.meds_files import CODE, SUBJECT, find_shards, read_columns

_TIME = meds.DataSchema.time_name
SPLITS = ("train", "tuning", "held_out")


@dataclass(frozen=True, slots=True)
class DataSetFacts:
    """What stands in a data set, over all its splits.

    Args:
        events: by code, how many events have it.
        undated: of these, codes that no event with a time has.
        split_of: by subject, the name of his split; empty where the data set has none.
    """

    events: Mapping[str, int]
    undated: frozenset[str]
    split_of: Mapping[int, str]

    @property
    def splits(self) -> list[str]:
        """Names of the splits, MEDS's own first."""
        found = set(self.split_of.values())
        return [*(name for name in SPLITS if name in found), *sorted(found - set(SPLITS))]


def read_facts(root: Path) -> DataSetFacts:
    """Read a data set once over.

    Raises:
        DataError: it is no MEDS.
    """
    events: dict[str, int] = {}
    dated: set[str] = set()
    split_of: dict[int, str] = {}
    table_of_splits = root / meds.subject_splits_filepath
    for shard in find_shards(root):
        kinds = {SUBJECT: "integer", _TIME: "timestamp", CODE: "string"}
        table = read_columns(shard, kinds)
        codes = table[CODE].cast(pa.large_string())
        counted = pc.value_counts(codes)
        for code, count in zip(
            counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True
        ):
            if code is not None:
                events[code] = events.get(code, 0) + count
        dated |= set(pc.unique(codes.filter(pc.is_valid(table[_TIME]))).to_pylist()) - {None}
        if not table_of_splits.is_file() and shard.parent != root / meds.data_subdirectory:
            name = shard.relative_to(root / meds.data_subdirectory).parts[0]
            split_of |= dict.fromkeys(np.unique(table[SUBJECT].to_numpy()).tolist(), name)
    if table_of_splits.is_file():
        table = read_columns(table_of_splits, {SUBJECT: "integer", "split": "string"})
        split_of = dict(zip(table[SUBJECT].to_pylist(), table["split"].to_pylist(), strict=True))
    return DataSetFacts(events, frozenset(set(events) - dated), split_of)


def describe_splits(draft: TargetDraft, facts: DataSetFacts) -> None:
    """Say which splits are members, nonmembers and spare, and what that takes for granted."""
    names = facts.splits
    if "train" in names:
        draft.data["members"] = "train"
        draft.assumed.append("Members are the patients of the split 'train'.")
    else:
        draft.left.append(
            f"data.members: the split that the model was trained on; there are {', '.join(names)}."
        )
    if "held_out" in names:
        draft.data["nonmembers"] = "held_out"
        draft.assumed.append("The model never saw the split 'held_out'.")
    if "tuning" in names:
        draft.data["spare"] = "tuning"
        draft.assumed.append(
            "The split 'tuning' was not trained on; it is there to show that 'held_out' was not"
            " either."
        )


def narrow(
    draft: TargetDraft, root: Path, facts: DataSetFacts, used: Mapping[int, str], *, out: Path
) -> None:
    """Name the data set, or write a view of it with the patients alone that a trainer kept.

    Args:
        draft: takes it up.
        root: of the data set.
        facts: of it.
        used: by subject, his split with the trainer.
        out: the folder that the target is written to.
    """
    if dict(facts.split_of) == dict(used):
        draft.data["path"] = relative(root, to=out)
        return
    draft.data["path"] = "./cohort"
    subjects = sorted(used)
    draft.files[f"cohort/{meds.subject_splits_filepath}"] = parquet(
        pa.table(
            {
                "subject_id": pa.array(subjects, pa.int64()),
                "split": [used[subject] for subject in subjects],
            }
        )
    )
    for name in (meds.dataset_metadata_filepath, meds.code_metadata_filepath):
        if (root / name).is_file():
            draft.files[f"cohort/{name}"] = (root / name).read_bytes()
    draft.links[f"cohort/{meds.data_subdirectory}"] = root / meds.data_subdirectory
    draft.assumed.append(
        f"Of the data set's {len(facts.split_of)} patients those {len(used)} count that the"
        " trainer's files hold, in his splits; ./cohort lists them and links to the data."
    )
