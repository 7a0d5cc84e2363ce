"""What prompts promise is known before a model is asked, so a plan need not guess it.

Where patients came to their splits by lot, check (c) stops hardly anybody. Where they did not, it
hangs on the data alone how much likelier prompts make a class for members than for nonmembers
(METHODS §6, *Power*), and `phigate plan` looks. The plan of a run does not: nothing that is judged
hangs on it, and a plan is the same to the byte wherever it is compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData
from checker.extras import is_installed
from checker.planning import AuditPlan, CompiledAudit
from checker.planning.cells import base_rate_cells
from checker.planning.model import Cell, PromptGap
from checker.planning.release import with_prospects
from checker.run.cohort_jobs import promised_by_prompts
from checker.verdict.comparability import gap_and_error

LEARNS_WITH = "sklearn"


def with_prompt_gaps(audit: CompiledAudit) -> AuditPlan:
    """Return a plan that announces what the gaps of base rates leave of a release.

    As it is where a lot is declared, and where scikit-learn is not installed: then the plan assumes
    how far what prompts promise spreads, and says so.

    Args:
        audit: with its patients.
    """
    plan = audit.plan
    if plan.target.document.spec.data.assignment == "random" or not is_installed(LEARNS_WITH):
        return plan
    promised: dict[str, NDArray[np.float32] | None] = {}
    gaps = {}
    for cell in base_rate_cells(plan):
        if cell.labels is None or not (cell.gating and cell.power.can_pass):
            continue
        if cell.labels not in promised:
            promised[cell.labels] = promised_by_prompts(
                audit.workload.labels[cell.labels], plan=plan, workload=audit.workload
            )
        found = _gap_of(cell, promised[cell.labels], audit)
        if found is not None:
            gaps[cell.id] = found
    return with_prospects(plan.model_copy(update={"prompt_gaps": gaps}))


def _gap_of(
    cell: Cell, promised: NDArray[np.float32] | None, audit: CompiledAudit
) -> PromptGap | None:
    if promised is None or cell.labels is None:
        return None
    labels, piece = audit.workload.labels[cell.labels], audit.workload.slices[cell.subgroup]
    at = len(labels.members.keys)
    return prompt_gap(
        promised[:at][labels.members.eligible & piece.members],
        promised[at:][labels.nonmembers.eligible & piece.nonmembers],
    )


def prompt_gap(members: ArrayLike, nonmembers: ArrayLike) -> PromptGap | None:
    """Return how much more prompts promise a class in eligible members than in nonmembers.

    Args:
        members: [m] what is promised, in [0, 1].
        nonmembers: [n] the same.

    Returns:
        None where there are too few to compare.
    """
    try:
        value, error, freedom = gap_and_error(members, nonmembers)
    except InsufficientData:
        return None
    return PromptGap(value=value, error=error, freedom=freedom)
