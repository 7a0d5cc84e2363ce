"""Do planted canaries disprove the differential privacy that the owner declares?

No attack shows that a guarantee holds. But a lower bound for ε above the declared one, at the δ
that is declared with it, says that the training was not what is declared (METHODS §2, *Canary
exposure*). A canary is a patient with all of the record, so that a guarantee for anything smaller
is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from checker.attacks.api import CellEvidence, load_attack
from checker.errors import InsufficientData
from checker.planning.model import AuditPlan, Cell
from checker.stats import false_alarms
from checker.verdict.checks import AdmissibilityCheck

NAME = "declared-privacy-refuted"
TITLE = "Canaries do not disprove the differential privacy that the owner declares"
CONFIDENCE = 1 - false_alarms.PRIVACY
"""Of the bound that has to lie above what is declared."""


def compared_cells(plan: AuditPlan) -> list[Cell]:
    """Return the cells of which a declared guarantee can be compared; none where none is."""
    declared = plan.target.document.spec.study.training.differential_privacy
    if declared is None:
        return []
    return [
        cell
        for cell in plan.cells
        if cell.jobs and load_attack(cell.probe).measuring.bounds_privacy
    ]


def privacy_check(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck | None:
    """Compare the declared ε with what the first such cell's canaries rule out.

    Args:
        plan: names the cells and what is declared.
        evidence: tables by job digest.

    Returns:
        The check; None where nothing is declared, or nothing was planted. Undecided where the
        canaries were not asked, are too few, or the guarantee is not said to be for a patient.
    """
    cells = compared_cells(plan)
    declared = plan.target.document.spec.study.training.differential_privacy
    if not cells or declared is None:
        return None
    cell = cells[0]
    jobs = tuple(cell.jobs)
    if declared.protects != "patient":
        why = (
            f"the guarantee is declared for less ({declared.unit})"
            if declared.protects == "less"
            else "training.differentialPrivacy.protects does not say that the guarantee is for that"
        )
        text = f"Not compared: a canary is a patient with all of the record, and {why}."
        return AdmissibilityCheck(NAME, TITLE, None, text, evidence=jobs)
    if any(job not in evidence for job in jobs):
        return AdmissibilityCheck(NAME, TITLE, None, "Not decided: no canary was asked.")
    try:
        least = _bound(plan, cell, evidence, delta=declared.delta)
    except InsufficientData as shortage:
        return AdmissibilityCheck(NAME, TITLE, None, f"Not decided: {shortage}.", evidence=jobs)
    refuted = least > declared.epsilon
    follows = (
        "so the training was not what is declared"
        if refuted
        else "which disproves nothing, and shows no guarantee either"
    )
    text = (
        f"By the canaries of {cell.control} ε is at least {least:.2f} at δ = {declared.delta:g}"
        f" (with {CONFIDENCE:g} confidence), and {declared.epsilon:g} is declared: {follows}."
    )
    return AdmissibilityCheck(NAME, TITLE, not refuted, text, limit=declared.epsilon, evidence=jobs)


def privacy_objection(
    check: AdmissibilityCheck | None, cell: Cell, *, passes: bool
) -> tuple[str, str] | None:
    """Return reason and sentence where a cell of canaries would pass a guarantee they disprove."""
    if check is None or check.holds is not False or not passes:
        return None
    if not load_attack(cell.probe).measuring.bounds_privacy:
        return None
    return check.name, check.explanation


def _bound(plan: AuditPlan, cell: Cell, evidence: Mapping[str, pa.Table], *, delta: float) -> float:
    attack = load_attack(cell.probe)
    params = attack.params.model_validate(cell.params)
    of = {job.digest: job for job in plan.jobs}
    tables: dict[str, dict[str, list[pa.Table]]] = {"target": {}, "reference": {}}
    for name in cell.jobs:
        job = of[name]
        tables[job.runs_on].setdefault(job.kind, []).append(evidence[name])
    found = CellEvidence(
        labels=None, tables=tables["target"], reference=tables["reference"], watch=[],
        subgroup="all", params=params,
    )  # fmt: skip
    observations = attack.measuring.observations(found)
    least: float = attack.measuring.privacy_bound(
        observations, params=params, delta=delta, confidence=CONFIDENCE
    )
    return least
