"""Does a plan that was read back hang together? Every cell with an attack, and with jobs to read.

The files of a plan are checked field by field when they are read, and `phigate verify` asks whether
its cells are those of its policy. In between lies what any judge takes for granted: that a cell's
attack has its metric, and that the jobs a cell is judged from observe what the attack reads. A plan
of which this does not hold was written by no phigate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from checker.attacks.api import load_attack
from checker.errors import EvidenceError, PluginError
from checker.planning import AuditPlan, Cell, Job
from checker.planning.protocol import planning_of


def check_plan(plan: AuditPlan, path: Path) -> None:
    """Check that a plan hangs together.

    Args:
        plan: as read from a file, field by field.
        path: of the file.

    Raises:
        EvidenceError: it does not.
    """
    for strange in _strange(plan):
        raise EvidenceError(f"{path}: {strange}; restore the plan that the audit was run from")


def _strange(plan: AuditPlan) -> Iterator[str]:
    for what, names in (
        ("cell", [cell.id for cell in plan.cells]),
        ("job", [job.digest for job in plan.jobs]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            yield f"has the {what} {twice[0]} twice"
    jobs = {job.digest: job for job in plan.jobs}
    for job in plan.jobs:
        subgroups = job.inputs.get("subgroups", [])
        if not isinstance(subgroups, list) or not all(isinstance(one, str) for one in subgroups):
            yield f"the job {job.digest[:12]} names subgroups by what are no names"
    for cell in plan.cells:
        for what in _strange_cell(cell, plan, jobs):
            yield f"the cell {cell.id} {what}"


def _strange_cell(cell: Cell, plan: AuditPlan, jobs: Mapping[str, Job]) -> Iterator[str]:
    control = plan.policy.document.spec.controls.get(cell.control)
    if control is None or cell.attacker not in control.limits:
        yield "is of no control and attacker of the plan's policy"
    try:
        attack = load_attack(cell.probe)
    except PluginError as error:
        yield f"cannot be judged: {error}"
        return
    if cell.metric not in attack.metrics:
        yield f"has the metric '{cell.metric}', which {cell.probe} does not have"
    try:
        params = attack.params.model_validate(cell.params)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        yield f"has parameters that {cell.probe} does not take: {place}: {first['msg']}"
        return
    if (cell.attribute_class is None) == attack.needs_attribute_class:
        yield f"has {'no' if cell.attribute_class is None else 'an'} attribute class"
    labels = [] if cell.labels is None else [cell.labels]
    if not cell.jobs or any(digest not in jobs for digest in [*labels, *cell.jobs]):
        return  # nothing is measured of it: it is judged as not run
    if cell.attribute_class is not None and cell.attribute_class not in plan.classes:
        yield f"asks for the class '{cell.attribute_class}', of which the plan says nothing"
    if cell.labels is not None and jobs[cell.labels] not in plan.jobs_of("labels"):
        yield "has labels that are a job of another kind"
    if cell.labels is None and planning_of(attack).needs_labels(cell):
        yield "has no labels"
    over_reference = cell.contrast == "reference" or params.needs_reference
    asked = [jobs[digest] for digest in cell.jobs]
    reads = planning_of(attack).kinds_read(cell)
    yield from _unread(reads, asked, over_reference=over_reference)
    strangers = not over_reference and not params.reads_reference
    if reads and strangers and any(job.runs_on == "reference" for job in asked):
        yield "is judged from what a reference model said, which it does not compare with"


def _unread(reads: frozenset[str], jobs: list[Job], *, over_reference: bool) -> Iterator[str]:
    """Say which of two models a cell has no observations of, or observations that nobody reads."""
    if not reads:
        return
    for who in ("target", "reference") if over_reference else ("target",):
        kinds = {job.kind for job in jobs if (job.runs_on == "reference") == (who == "reference")}
        if not kinds & reads:
            yield f"is judged from no job of kind {' or '.join(sorted(reads))} on the {who}"
