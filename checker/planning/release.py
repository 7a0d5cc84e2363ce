"""How likely a model that leaks nothing is released with a plan's patients (METHODS §6, *Power*).

Cells and checks together: every cell that would block has to pass by its bounds, and no check may
stop it. They are taken as independent. Cells that ask for the same patients pass and fail together
rather than not, so the number is rather too low.
"""

from __future__ import annotations

import math

from checker.attacks.families import Power
from checker.planning.cells import metric_of
from checker.planning.checks import PREREQUISITE, check_powers
from checker.planning.model import AuditPlan, Cell, ReleaseChance
from checker.planning.power import comparability_power


def with_prospects(plan: AuditPlan) -> AuditPlan:
    """Return a plan with what it announces of its checks and of a release, computed anew."""
    known = plan.model_copy(update={"checks": check_powers(plan)})
    return known.model_copy(update={"release": release_chance(known)})


def comparability_of(plan: AuditPlan) -> Power:
    """Return the power of the check that splits are alike, at a plan's sizes and confidence."""
    return comparability_power(
        *plan.data.lot,
        assignment=plan.target.document.spec.data.assignment,
        tolerance=plan.policy.document.spec.parameters.admissibility_tolerance,
        confidence=plan.confidence,
    )


def release_chance(plan: AuditPlan) -> ReleaseChance:
    """Return how likely a model that leaks nothing and is described rightly is released.

    Args:
        plan: with the power of its cells and checks.
    """
    blocking = [cell for cell in plan.cells if blocks(cell)]
    hopeless = [cell.id for cell in blocking if not can_pass_with(plan, cell)]
    unknown = [
        cell.id
        for cell in blocking
        if cell.id not in hopeless and cell.power.pass_probability is None and _is_open(cell)
    ]
    by_bounds = math.prod(
        cell.power.pass_probability
        for cell in blocking
        if cell.id not in hopeless and cell.power.pass_probability is not None
    )
    # a check that can only make cells inconclusive that do not block stops no release
    asked = [check for check in plan.checks if blocking or check.name.startswith(PREREQUISITE)]
    checks = math.prod(check.chance for check in asked)
    stopped_by = hopeless + [
        check.name for check in asked if check.chance == 0 and not check.is_floor
    ]
    if not any(cell.gating for cell in plan.cells):
        stopped_by.append("no cell decides")
    cells = 0.0 if hopeless else None if unknown else by_bounds
    if stopped_by:
        chance: float | None = 0.0
    else:
        chance = None if cells is None else cells * checks
    return ReleaseChance(
        chance=chance,
        cells=cells,
        checks=checks,
        is_floor=not stopped_by and (len(blocking) > 1 or any(check.is_floor for check in asked)),
        unknown=unknown,
        stopped_by=stopped_by,
    )


def blocks(cell: Cell) -> bool:
    """Whether a cell keeps the model from release unless it passes."""
    empty = cell.subgroup != "all" and cell.sample.subgroup_members == 0  # not applicable
    return cell.gating and cell.on_inconclusive == "block" and not empty


def _is_open(cell: Cell) -> bool:
    """Whether its chance hangs on the data; a limit of no hit at all is met where nothing leaks."""
    return cell.limit.fail is not None


def can_pass_with(plan: AuditPlan, cell: Cell) -> bool:
    """Whether a cell can pass with its sample, whatever the model."""
    if cell.missing_capability is not None or plan.class_absent_from(cell) is not None:
        return False
    if not cell.power.can_pass or not metric_of(cell).can_pass:
        return False
    few = min(cell.sample.members, cell.sample.nonmembers)
    min_cell = plan.policy.document.spec.parameters.min_cell
    return cell.subgroup == "all" or not metric_of(cell).rests_on_split or few >= min_cell
