"""A cell's sample, counted again from the evidence: who is there to be measured, by split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.tables import booleans, in_subgroup
from checker.planning import AuditPlan, Cell

Tables = Callable[[str], pa.Table | None]
"""Returns a job's table, or None where it has none."""


def strange_samples(plan: AuditPlan, tables: Tables) -> Iterator[str]:
    """Yield counts of samples that the evidence does not bear out.

    What an attack of somebody else counts is known to nobody here but its labels' positives and
    the size of its subgroup.
    """
    everybody = next(
        (found for job in plan.jobs_of("labels") if (found := tables(job.digest)) is not None), None
    )
    for cell in plan.cells:
        for name, found in _counted(cell, plan, tables, everybody).items():
            said = getattr(cell.sample, name)
            if said is not None and not _same(said, found):
                yield f"{name} of {cell.id} is {said}, and the evidence has {found}"


def strange_patients(plan: AuditPlan, tables: Tables) -> Iterator[str]:
    """Yield tables that put a patient into another split than the rest of the evidence does."""
    found = {job.digest: tables(job.digest) for job in plan.jobs}
    named = [
        (job, table.select(["patient", "member"]))
        for job in plan.jobs
        if (table := found[job.digest]) is not None
        and {"patient", "member"} <= set(table.column_names)
    ]
    # labels list everybody; without any, whole records were scored and say the most
    named.sort(key=lambda one: {"labels": 0, "scores": 1}.get(one[0].kind, 2))
    if not named:
        return
    first = named[0][0].kind
    known = pa.concat_tables(table for job, table in named if job.kind == first)
    for job in plan.jobs:
        table = found[job.digest]
        if table is None or "patient" not in table.column_names:
            continue
        place = pc.index_in(table["patient"], value_set=known["patient"])
        if first == "labels" and place.null_count:
            yield f"has nobody of {place.null_count} patients of the evidence ({job.kind})"
        inside = known["member"].take(place.drop_null())
        if "member" in table.column_names:
            own = table["member"].filter(place.is_valid())
        else:
            own = pa.chunked_array([pa.array([True] * len(inside), pa.bool_())])
        unlike = pc.sum(pc.not_equal(inside, own)).as_py() or 0
        if unlike:
            yield f"has {unlike} patients of the evidence ({job.kind}) in the other split"


def _same(said: float, found: float) -> bool:
    return said == found or round(said, 9) == round(found, 9)


def _counted(
    cell: Cell, plan: AuditPlan, tables: Tables, everybody: pa.Table | None
) -> dict[str, Any]:
    labels = tables(cell.labels) if cell.labels is not None else None
    if labels is not None:
        counts = _of_labels(cell, labels)
    elif cell.probe == "membership-inference" and cell.jobs:
        counts = _of_everybody(cell, everybody) if everybody is not None else {}
    else:
        counts = {}
    for digest in cell.jobs:
        job = next((one for one in plan.jobs if one.digest == digest), None)
        table = tables(digest)
        if job is None or table is None:
            continue
        if job.kind == "regurgitation":
            counts["rollouts"] = table.num_rows
        if job.kind == "canaries":
            drawn, planted = ~booleans(table, "beacon"), booleans(table, "included")
            counts["members"] = int((drawn & planted).sum())
            counts["nonmembers"] = int((drawn & ~planted).sum())
    return counts


def _of_labels(cell: Cell, labels: pa.Table) -> dict[str, Any]:
    member, inside = booleans(labels, "member"), in_subgroup(labels, cell.subgroup)
    positive, eligible = booleans(labels, "positive"), booleans(labels, "eligible")
    promptable = _promptable(labels)
    counts: dict[str, Any] = {"subgroup_members": int((inside & member).sum())}
    for split, chosen in (("members", inside & member), ("nonmembers", inside & ~member)):
        counts[f"{split}_positive"] = int((chosen & positive).sum())
        if cell.probe in _ELIGIBLE:
            counts[split] = int((chosen & eligible).sum())
        if cell.probe == "embedding-probe":
            counts[split] = int((chosen & positive).sum())
        if promptable is not None:
            counts[f"{split}_negative"] = int((chosen & promptable & ~positive).sum())
    if cell.probe in _ELIGIBLE:
        shares = [
            share
            for chosen in (inside & member & eligible, inside & ~member & eligible)
            if (share := _distinct(labels, chosen)) is not None
        ]
        if shares:
            counts["distinct_prompt_share"] = min(shares)
    return counts


_ELIGIBLE = ("attribute-disclosure", "identifier-perturbation", "trajectory-memorization")
"""Attacks that count, of each split, the eligible of a cell's labels."""


def _of_everybody(cell: Cell, labels: pa.Table) -> dict[str, Any]:
    """Count a subgroup's patients in a table that lists everybody."""
    member, inside = booleans(labels, "member"), in_subgroup(labels, cell.subgroup)
    members = int((inside & member).sum())
    return {
        "subgroup_members": members,
        "members": members,
        "nonmembers": int((inside & ~member).sum()),
    }


def _promptable(labels: pa.Table) -> NDArray[np.bool_] | None:
    """Return who has a prompt; None where the table does not say it of those who were not asked.

    A base score was computed for everybody who has one. Where everybody was asked, those without
    the class are too, and who was not has none.
    """
    scored: NDArray[np.bool_] = labels["base_score"].is_valid().to_numpy()
    if scored.any():
        return scored
    asked: NDArray[np.bool_] = labels["prompt"].is_valid().to_numpy()
    return asked if (asked & ~booleans(labels, "eligible")).any() else None


def _distinct(labels: pa.Table, chosen: NDArray[np.bool_]) -> float | None:
    prompts = labels["prompt"].filter(pa.array(chosen)).drop_null()
    return pc.count_distinct(prompts).as_py() / len(prompts) if len(prompts) else None
