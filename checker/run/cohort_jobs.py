"""Jobs that need no model: labels, and whether the splits can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.errors import InsufficientData
from checker.planning.model import AuditPlan
from checker.planning.overlap import patients_of
from checker.planning.task import Task
from checker.planning.workload import LabelSet, SplitLabels, Workload
from checker.records.sample import SampledPatients, compare_sample
from checker.records.tokenization import KIND_SPECIAL, TokenizedRecords
from checker.verdict.comparability import (
    SplitScores,
    base_rate_scores,
    split_classifier_scores,
)


def labels(task: Task) -> pa.Table:
    """Who is positive, who is eligible, which prompt stands for whom.

    Of a draw also what share of those like him each patient is, and how many share his prompt.
    """
    found = task.workload.labels[task.job.digest]
    splits = (found.members, found.nonmembers)
    n_members = len(found.members.keys)
    asked = [None if key is None else task.prompt_name(key) for own in splits for key in own.keys]
    schema = pa.schema(
        [
            ("patient", pa.string()),
            ("member", pa.bool_()),
            ("positive", pa.bool_()),
            ("eligible", pa.bool_()),
            ("prompt", pa.string()),
            ("subgroups", pa.list_(pa.string())),
            ("base_score", pa.float32()),
            ("holds", pa.list_(pa.string())),
        ]
    )
    columns = {
        "patient": task.names.everybody,
        "member": np.arange(len(asked)) < n_members,
        "positive": np.concatenate([own.positive for own in splits]),
        "eligible": np.concatenate([own.eligible for own in splits]),
        "prompt": asked,
        "subgroups": task.names.subgroups,
        "base_score": _base_scores(task, found),
        "holds": [row for own in splits for row in _held(own, found.recipe.parts)],
    }
    table = pa.table(columns, schema=schema)
    for name in ("drawn", "shared"):
        parts = [part for own in splits if (part := getattr(own, name)) is not None]
        if parts:  # NaN is nobody's share
            column = pa.array(np.concatenate(parts), pa.float64(), from_pandas=True)
            table = table.append_column(name, column)
    return table


def _held(labelled: SplitLabels, parts: Sequence[str]) -> list[list[str] | None]:
    """Name the classes of a pool that each patient has; nothing where no pool is asked for."""
    if labelled.holds is None:
        return [None] * len(labelled.keys)
    names = {
        held: [name for bit, name in enumerate(parts) if held >> bit & 1]
        for held in np.unique(labelled.holds).tolist()
    }
    return [names[held] for held in labelled.holds.tolist()]


def _base_scores(task: Task, found: LabelSet) -> pa.Array:
    """What a predictor fitted on nonmembers expects from the same prompts; null elsewhere."""
    everybody = len(found.members.keys) + len(found.nonmembers.keys)
    nothing = pa.nulls(everybody, pa.float32())
    if task.job.inputs["codes"] is None:
        return nothing
    values = promised_by_prompts(found, plan=task.plan, workload=task.workload)
    return nothing if values is None else pa.array(values, from_pandas=True)  # NaN is null


def promised_by_prompts(
    found: LabelSet, *, plan: AuditPlan, workload: Workload
) -> NDArray[np.float32] | None:
    """Return what a predictor fitted on nonmembers expects of a class from each patient's prompt.

    Args:
        found: of a class.
        plan: says how random numbers are drawn, and how many tokens there are.
        workload: the patients.

    Returns:
        [n] members, then nonmembers, NaN of whom no prompt can be made; None where the nonmembers
        teach nothing, for all of them are eligible or none.
    """
    splits = (found.members, found.nonmembers)
    promptable = np.concatenate([own.promptable for own in splits])
    eligible = np.concatenate([own.eligible for own in splits])
    is_member = np.arange(len(promptable)) < len(found.members.keys)
    taught = promptable & ~is_member
    if not (eligible[taught].any() and (~eligible[taught]).any()):
        return None
    prompts = [
        (own, found.recipe.build(workload.sources[side], everybody=True))
        for side, own in ((True, found.members), (False, found.nonmembers))
    ]
    outside = found.nonmembers.drawn
    scores = base_rate_scores(
        [told.prompt(i) for own, told in prompts for i in np.flatnonzero(own.promptable).tolist()],
        eligible[promptable],
        is_member[promptable],
        vocabulary_size=plan.target.vocabulary_size,
        rng=plan.rng_for("base scores"),
        drawn=None if outside is None else outside[found.nonmembers.promptable],
    )
    values = np.full(len(promptable), np.nan, dtype=np.float32)
    values[promptable] = scores
    return values


def overlap(task: Task) -> pa.Table:
    """How many nonmembers have a member's record, or nearly so, and who is set aside for it.

    The plan has compared the records already: whom it sets aside is in no other job.
    """
    found = task.workload.overlap
    aside = [task.names.pseudonyms.of_subject(subject) for subject in found.set_aside.tolist()]
    return pa.table(
        {
            "exact": [found.exact],
            "near": [found.near],
            "same_codes": [found.same_codes],
            "members": [found.members],
            "nonmembers": [found.nonmembers],
            "compared": [found.compared],
            "set_aside": pa.array([aside], pa.list_(pa.string())),
        }
    )


def comparability(task: Task) -> pa.Table:
    """Scores of a classifier without the model, on the half it was not fitted on."""
    n_members = len(task.workload.members)
    try:
        judged = split_classifier_scores(
            patients_of(task.workload.members, "tokens", chosen=_all_but_specials),
            patients_of(task.workload.nonmembers, "tokens", chosen=_all_but_specials),
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


def expected_tokens(task: Task) -> pa.Table:
    """How the trainer's own sequences agree with the declared tokenization."""
    sampled: SampledPatients = task.input
    found = compare_sample(sampled.tokens, sampled.splits, max_length=task.workload.max_length)
    return pa.table(
        {
            "compared": [found.compared],
            "members": [found.members],
            "different": [found.different],
            "place": [found.place],
            "position": [found.position],
        }
    )


def _all_but_specials(split: TokenizedRecords) -> NDArray[np.bool_]:
    """What prompts and scores can depend on: the static prefix and time tokens too."""
    mask: NDArray[np.bool_] = split.kind != KIND_SPECIAL
    return mask
