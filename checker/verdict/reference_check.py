"""Does the reference model know the members? Then what is subtracted is the leak itself.

A reference is to say how easy a record is for a model that never saw it. One that was trained on
the members tells as much of them as the model under audit, and the difference between the two is
nothing: a leak would pass (METHODS §3, *Reference unknown to the members*).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from checker import stats
from checker.errors import InsufficientData
from checker.planning.model import AuditPlan, Cell
from checker.stats import false_alarms
from checker.verdict.checks import AdmissibilityCheck

NAME = "reference-knows-members"
CONFIDENCE = 1 - false_alarms.REFERENCE
"""Of the bound that has to lie above 0.5, where a reference is suspected."""


def reference_check(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck | None:
    """Attack the reference itself: its loss must not tell members from nonmembers.

    Args:
        plan: names the jobs.
        evidence: tables by job digest.

    Returns:
        The check; None where no cell of the plan uses a reference model. It is undecided where the
        reference gives no log-probabilities, or there are too few patients.
    """
    if not any(uses_reference(plan, cell) for cell in plan.cells):
        return None
    title = "The reference model does not know the members"
    jobs = [job.digest for job in plan.jobs_of("scores") if job.runs_on == "reference"]
    if not jobs:
        text = (
            "Not decided: the reference model gives no log-probabilities, so that it never saw the"
            " members rests on the target's word."
        )
        return AdmissibilityCheck(NAME, title, None, text)
    if any(job not in evidence for job in jobs):
        return AdmissibilityCheck(NAME, title, None, "The reference model was not run.")
    table = pa.concat_tables([evidence[job].select(["member", "loss"]) for job in jobs])
    member = table["member"].to_numpy().astype(np.bool_)
    loss = table["loss"].to_numpy().astype(np.float64)
    try:
        found = stats.auroc(loss[member], loss[~member], confidence=CONFIDENCE)
    except InsufficientData as shortage:
        text = f"Not decided: {shortage}."
        return AdmissibilityCheck(NAME, title, None, text, limit=0.5, evidence=tuple(jobs))
    knows = found.low > 0.5
    text = (
        "The loss of the reference model itself tells members from nonmembers with AUROC"
        f" {found.value:.3f}; its lower bound {found.low:.3f} (at {CONFIDENCE:.1%}) is"
        f" {'above' if knows else 'not above'} 0.5, which is chance."
    )
    return AdmissibilityCheck(NAME, title, not knows, text, found.reported(), 0.5, tuple(jobs))


def uses_reference(plan: AuditPlan, cell: Cell) -> bool:
    """Whether a cell is judged from what the reference model says."""
    on_reference = {job.digest for job in plan.jobs if job.runs_on == "reference"}
    return not on_reference.isdisjoint(cell.jobs)
