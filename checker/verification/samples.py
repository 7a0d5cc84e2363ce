"""A cell's sample, counted again from the evidence: who is there to be measured, by split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from checker.attacks.api import load_attack
from checker.attacks.labels import labelled_again
from checker.planning import AuditPlan, Cell
from checker.planning.nonmembers import SPARE
from checker.planning.protocol import SampleEvidence, planning_of

Tables = Callable[[str], pa.Table | None]
"""Returns a job's table, or None where it has none."""


def strange_samples(plan: AuditPlan, tables: Tables) -> Iterator[str]:
    """Yield counts of samples that the evidence does not bear out.

    Each attack counts its own; of one that does not, what its labels say of a subgroup is compared.
    """
    everybody = next(
        (found for job in plan.jobs_of("labels") if (found := tables(job.digest)) is not None), None
    )
    if everybody is not None:
        everybody = _lot(everybody, plan)
    for cell in plan.cells:
        for name, found in _counted(cell, plan, tables, everybody).items():
            said = getattr(cell.sample, name)
            if name == "subgroup_members" and plan.data.drawn is not None and said is not None:
                found = max(found, said)  # it is of all, and the evidence of those who were drawn
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
        if job.kind == SPARE:
            if len(place) > place.null_count:
                yield f"has {len(place) - place.null_count} spare patients in a split"
            continue
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


def _lot(labels: pa.Table, plan: AuditPlan) -> pa.Table:
    """Return the rows of those who stand for everybody: the first of each split."""
    members, nonmembers = plan.data.lot
    return pa.concat_tables(
        [labels.slice(0, members), labels.slice(plan.data.asked[0], nonmembers)]
    )


def _same(said: float, found: float) -> bool:
    return said == found or round(said, 9) == round(found, 9)


def _counted(
    cell: Cell, plan: AuditPlan, tables: Tables, everybody: pa.Table | None
) -> Mapping[str, float]:
    labels = tables(cell.labels) if cell.labels is not None else None
    kinds = {job.digest: job.kind for job in plan.jobs}
    found: dict[str, list[pa.Table]] = {}
    for digest in cell.jobs:
        table = tables(digest)
        if table is not None:
            found.setdefault(kinds[digest], []).append(table)
    planning = planning_of(load_attack(cell.probe))
    measured = bool(planning.kinds_read(cell) & found.keys()) and not (
        planning.needs_labels(cell) and labels is None
    )
    counts = {} if labels is None else labelled_again(labels, cell.subgroup)
    if measured:
        counts |= planning.recount(cell, SampleEvidence(labels, found, everybody))
    return counts
