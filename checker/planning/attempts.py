"""A plan's prospects at a further attempt, when every bound has to hold at a higher confidence."""

from __future__ import annotations

from checker.planning.cells import power_in
from checker.planning.model import AuditPlan
from checker.planning.release import comparability_of, with_prospects
from checker.stats import attempt_confidence


def at_attempt(plan: AuditPlan, *, attempt: int) -> AuditPlan:
    """Return what a plan can decide at its k-th attempt, to be shown and not to be stored.

    `plan.json` knows of no ledger, so that equal inputs give equal plans; what the attempt changes
    is how many patients it takes.

    Args:
        plan: as compiled.
        attempt: k, from 1.

    Returns:
        The plan with the attempt's confidence, and with power computed anew at it.

    Raises:
        UsageError: there is no such attempt.
    """
    confidence = attempt_confidence(plan.confidence, attempt=attempt)
    if confidence == plan.confidence:
        return plan
    later = plan.model_copy(update={"confidence": confidence})
    cells = [
        cell.model_copy(update={"power": power_in(later, cell, cell.sample)})
        for cell in later.cells
    ]
    later = later.model_copy(update={"cells": cells})
    return with_prospects(later.model_copy(update={"comparability": comparability_of(later)}))
