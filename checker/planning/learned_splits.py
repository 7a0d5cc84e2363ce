"""How often a learned score, without the model, lets splits by that do not differ.

Where an attack learns what tells members apart, the same learner without any number of the model
stands in the place of a classifier of codes (METHODS §3, *Admissibility* (b)). It is judged on
fewer patients than that one, so the plan says its chance on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from checker import stats
from checker.attacks.api import Measuring, load_attack
from checker.errors import InsufficientData
from checker.planning.cells import metric_of
from checker.planning.model import AuditPlan, Cell, CheckPower
from checker.stats.false_alarms import LEARNED_SPLITS


def compares_splits(cell: Cell) -> bool:
    """Whether a cell's attack shows by itself that the splits are alike without the model."""
    return load_attack(cell.probe).params.model_validate(cell.params).compares_splits


def ranking_cells(plan: AuditPlan) -> list[Cell]:
    """Return the cells by whose score members can be ranked, those of a learned one first."""
    ranked = [
        cell
        for cell in plan.cells
        if cell.jobs
        and cell.subgroup == "all"
        and metric_of(cell).family.separates_splits
        and _ranks_patients(cell)
    ]
    return sorted(ranked, key=lambda cell: not compares_splits(cell))


def _ranks_patients(cell: Cell) -> bool:
    """Whether a cell's attack says who scored what; one of somebody else's may not."""
    measuring = load_attack(cell.probe).measuring
    return type(measuring).scored_patients is not Measuring.scored_patients


def learned_splits(plan: AuditPlan, on_split: Sequence[Cell]) -> CheckPower:
    """Return what is known of the check.

    Args:
        plan: says how the splits were made, and how alike they must be.
        on_split: deciding cells that rest on the splits.
    """
    learned = [cell for cell in on_split if compares_splits(cell)]
    known = CheckPower(
        name="learned-splits",
        reason="split-not-comparable",
        title="without the model, a learned score tells nothing apart",
        chance=1 - LEARNED_SPLITS,
        is_floor=True,
        cells=len(learned),
    )
    if plan.target.document.spec.data.assignment == "random" or not learned:
        return known
    tolerance = plan.policy.document.spec.parameters.admissibility_tolerance
    chances = {
        cell.id: comparability_chance(
            cell.sample.members,
            cell.sample.nonmembers,
            tolerance=tolerance,
            confidence=plan.confidence,
        )
        for cell in learned
    }
    worst = min(chances, key=lambda cell: chances[cell])
    return known.model_copy(update={"chance": chances[worst], "worst": worst, "is_floor": False})


def comparability_chance(
    members: int, nonmembers: int, *, tolerance: float, confidence: float
) -> float:
    """Return how likely scores that tell nothing apart are shown to tell at most `tolerance`.

    Args:
        members: who are judged.
        nonmembers: the same.
        tolerance: above an AUROC of 0.5.
        confidence: of the upper bound.
    """
    try:
        return stats.pass_probability_auroc(
            members, nonmembers, limit=0.5 + tolerance, confidence=confidence
        )
    except InsufficientData:
        return 0.0
