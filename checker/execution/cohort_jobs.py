"""Jobs that need no model: who is who, and whether the splits can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.comparability import (
    MIN_EVENTS,
    SplitScores,
    base_rate_scores,
    copied_records,
    find_duplicates,
    split_classifier_scores,
)
from checker.errors import InsufficientData
from checker.execution.task import Task
from checker.prompts import Prompts
from checker.tokenization import KIND_EVENT, KIND_SPECIAL, TokenizedRecords

__all__ = ["comparability", "labels", "overlap"]


def labels(task: Task) -> pa.Table:
    """Who is positive, who is eligible, which prompt stands for whom."""
    found = task.workload.labels[task.job.digest]
    base = _base_scores(task, found.members, found.nonmembers)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("patient", "member", "positive", "eligible", "prompt", "subgroups")
    }
    for is_member, prompts, keys in (
        (True, found.members, found.member_keys),
        (False, found.nonmembers, found.nonmember_keys),
    ):
        for i, key in enumerate(keys):
            columns["patient"].append(task.patient(is_member, i))
            columns["member"].append(is_member)
            columns["positive"].append(bool(prompts.positive[i]))
            columns["eligible"].append(bool(prompts.eligible[i]))
            columns["prompt"].append(None if key is None else task.prompt_name(key))
            columns["subgroups"].append(task.workload.subgroups_of(is_member, i))
    schema = pa.schema(
        [
            ("patient", pa.string()),
            ("member", pa.bool_()),
            ("positive", pa.bool_()),
            ("eligible", pa.bool_()),
            ("prompt", pa.string()),
            ("subgroups", pa.list_(pa.string())),
            ("base_score", pa.float32()),
        ]
    )
    return pa.table({**columns, "base_score": base}, schema=schema)


def _base_scores(task: Task, members: Prompts, nonmembers: Prompts) -> pa.Array:
    """What a predictor fitted on nonmembers expects from the same prompts; null elsewhere."""
    promptable = np.concatenate([members.promptable, nonmembers.promptable])
    eligible = np.concatenate([members.eligible, nonmembers.eligible])
    is_member = np.arange(len(promptable)) < len(members)
    taught = promptable & ~is_member
    asks_for_a_class = task.job.inputs["codes"] is not None
    if not (asks_for_a_class and eligible[taught].any() and (~eligible[taught]).any()):
        return pa.nulls(len(promptable), pa.float32())
    prompts = [p.prompt(i) for p in (members, nonmembers) for i in range(len(p))]
    chosen = np.flatnonzero(promptable)
    values = np.zeros(len(promptable), dtype=np.float32)
    values[chosen] = base_rate_scores(
        [prompts[i] for i in chosen],
        eligible[chosen],
        is_member[chosen],
        vocabulary_size=task.plan.target.vocabulary_size,
        rng=task.plan.rng_for(f"base scores {task.job.digest}"),
    )
    return pa.array(values, mask=~promptable)


def overlap(task: Task) -> pa.Table:
    """How many nonmembers have a member's record, or nearly so."""
    members, nonmembers = (
        _patients(split, "code", chosen=_events)
        for split in (task.workload.members, task.workload.nonmembers)
    )
    found = find_duplicates(members, nonmembers, rng=task.plan.rng_for("overlap"))
    cohort = task.workload.cohort
    copies = copied_records(cohort.members, cohort.nonmembers)
    exact = len(np.union1d(copies, found.exact_indices))
    return pa.table(
        {
            "exact": [exact],
            "near": [len(found.nonmember_indices) - len(found.exact_indices)],
            "members": [len(members)],
            "nonmembers": [len(nonmembers)],
            "compared": [sum(len(codes) >= MIN_EVENTS for codes in nonmembers)],
        }
    )


def comparability(task: Task) -> pa.Table:
    """Scores of a classifier without the model, on the half it was not fitted on."""
    n_members = len(task.workload.cohort.members)
    try:
        judged = split_classifier_scores(
            _patients(task.workload.members, "tokens", chosen=_all_but_specials),
            _patients(task.workload.nonmembers, "tokens", chosen=_all_but_specials),
            n_codes=task.plan.target.vocabulary_size,
            rng=task.plan.rng_for("comparability"),
        )
    except InsufficientData:  # no halves to judge: the judge finds no scores and says so
        judged = SplitScores(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))
    return pa.table(
        {
            "patient": [
                task.patient(True, i) if i < n_members else task.patient(False, i - n_members)
                for i in judged.index.tolist()
            ],
            "member": pa.array(judged.is_member.tolist(), pa.bool_()),
            "score": pa.array(judged.scores.tolist(), pa.float32()),
        }
    )


def _events(split: TokenizedRecords) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = split.kind == KIND_EVENT
    return mask


def _all_but_specials(split: TokenizedRecords) -> NDArray[np.bool_]:
    """What prompts and scores can depend on: the static prefix and time tokens too."""
    mask: NDArray[np.bool_] = split.kind != KIND_SPECIAL
    return mask


def _patients(
    split: TokenizedRecords,
    column: Literal["tokens", "code"],
    *,
    chosen: Callable[[TokenizedRecords], NDArray[np.bool_]],
) -> list[NDArray[np.int32]]:
    """Return each patient's values of one column where the token is chosen, in order."""
    mask = chosen(split)
    row = np.repeat(np.arange(len(split)), np.diff(split.offsets))[mask]
    ends = np.cumsum(np.bincount(row, minlength=len(split)))
    return np.split(getattr(split, column)[mask], ends[:-1])
