"""T1's two jobs: continuations against the true ones, and against everybody's records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.trajectory_memorization.chance_distances import Baselines
from checker.attacks.trajectory_memorization.code_labels import label_vectors
from checker.attacks.trajectory_memorization.continuations import compare_continuations
from checker.attacks.trajectory_memorization.trajectories import TrajectoryReader
from checker.attacks.trajectory_memorization.verbatim import regurgitation
from checker.planning.task import Running, Task
from checker.planning.workload import SplitLabels

Tokens = NDArray[np.int32]


def trajectories(task: Task) -> pa.Table:
    """How near each eligible patient's continuations came, and the longest run they repeat."""
    workload, inputs = task.workload, task.job.inputs
    found = workload.labels[task.labels_digest()]
    drawn = _by_prompt(task)
    rows = [
        (is_member, i)
        for is_member in (True, False)
        for i in np.flatnonzero(found.split(is_member).eligible).tolist()
    ]
    names = [task.prompt_name(found.split(side).keys[i] or b"") for side, i in rows]
    reader = TrajectoryReader(workload.tokenizer)
    compared = compare_continuations(
        [_truth(task, side, found.split(side), i) for side, i in rows],
        [drawn[name] for name in names],
        horizon_tokens=int(inputs["horizonTokens"]),
        reader=reader,
        labels=label_vectors(
            str(inputs["labels"]["from"]),
            cohort=workload.cohort,
            tokenizer=workload.tokenizer,
            code_systems=workload.code_systems,
            base=task.input,
        ),
        baselines=Baselines.of(workload.nonmembers, reader=reader),
        rng=task.rng,
    )
    return pa.table(
        {
            "patient": pa.array([task.patient(*row) for row in rows], pa.string()),
            "member": pa.array([side for side, _ in rows], pa.bool_()),
            "subgroups": pa.array(
                [workload.subgroups_of(*row) for row in rows], pa.list_(pa.string())
            ),
            "prompt": pa.array(names, pa.string()),
            "distance": compared.distance,
            "longest_run": compared.longest_run,
            "extracted": compared.longest_run >= int(inputs["minRun"]),
            "random_distance": compared.random_distance,
            "frequent_distance": compared.frequent_distance,
        }
    )


def regurgitated(task: Task) -> pa.Table:
    """Whose records each continuation repeats, by sets of members and of nonmembers."""
    parts = list(_drawn(task))
    rollouts = pa.concat_tables(table for table, _ in parts) if parts else None
    horizon = int(task.job.inputs["horizonTokens"])
    tokens = [own for _, drawn in parts for own in drawn]
    found = regurgitation(
        [drawn[:horizon] for drawn in tokens],
        members=task.workload.members,
        nonmembers=task.workload.nonmembers,
        min_run=int(task.job.inputs["minRun"]),
        rng=task.rng,
    )
    columns = asdict(found)
    n = len(tokens)
    return pa.table(
        {
            "prompt": pa.array([], pa.string()) if rollouts is None else rollouts["prompt"],
            "sample": pa.array([], pa.int32()) if rollouts is None else rollouts["sample"],
            "member_groups": columns["member_groups"],
            "nonmember_groups": columns["nonmember_groups"],
            "repeated": columns["repeated"],
            "half_a": columns["halves"][:, 0],
            "half_b": columns["halves"][:, 1],
            "groups": pa.array(np.full(n, found.groups, dtype=np.int64)),
            "nonmembers": pa.array(np.full(n, found.nonmembers, dtype=np.int64)),
        }
    )


def _truth(task: Task, is_member: bool, labelled: SplitLabels, index: int) -> Tokens:
    start, end = labelled.behind[index]
    return task.workload.split(is_member).tokens[start:end]


def _drawn(task: Task) -> Iterator[tuple[pa.Table, list[Tokens]]]:
    """Yield the continuations that the job speaks of: each sample of each of its prompts once.

    The jobs it reads hold prompts of other cells too, and some of its own more than once: with
    fewer samples than it needs, or with more.

    Yields:
        Rows of one table, and their tokens.
    """
    found = task.workload.labels[task.labels_digest()]
    keys = dict.fromkeys(key for split in (found.members, found.nonmembers) for key in split.keys)
    own = pa.array([task.prompt_name(key) for key in keys if key is not None], pa.string())
    left = np.ones(len(own), dtype=np.bool_)
    samples = int(task.job.inputs["samples"])
    for job in task.needed_jobs("rollouts"):
        if int(job.inputs["samples"]) < samples:
            continue
        table = task.evidence[job.digest]
        which = pc.index_in(table["prompt"], value_set=own).fill_null(-1).to_numpy()
        wanted = (which >= 0) & (table["sample"].to_numpy() < samples)
        wanted[wanted] = left[which[wanted]]
        left[which[wanted]] = False
        chosen = table.filter(pa.array(wanted))
        yield chosen, _lists(chosen)


def _by_prompt(task: Task) -> dict[str, list[Tokens]]:
    """Return each prompt's continuations by its name."""
    found: dict[str, list[Tokens]] = {}
    for table, drawn in _drawn(task):
        for name, tokens in zip(table["prompt"].to_pylist(), drawn, strict=True):
            found.setdefault(name, []).append(tokens)
    return found


def _lists(table: pa.Table) -> list[Tokens]:
    column = table["tokens"].combine_chunks()
    flat = pc.list_flatten(column).to_numpy()
    lengths = pc.list_value_length(column).to_numpy()
    return np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []


RUN = Running({"trajectories": trajectories, "regurgitation": regurgitated})
