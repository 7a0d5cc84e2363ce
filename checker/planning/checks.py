"""How often each check that can stop a pass lets a sound model through, before any model runs.

A gate that is never opened is switched off. What a cell's bounds can decide is its own power
(`checker.planning.power`); this is what stands beside it, and can stop what the bounds would pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scipy.stats import norm

from checker.attacks.api import load_attack
from checker.planning.cells import metric_of
from checker.planning.learned_splits import NAME, TITLE, compares_splits, learned_splits
from checker.planning.model import AuditPlan, Cell
from checker.planning.power import FALSE_ALARMS
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED

BASE_SCORE_SD = 0.2
"""Spread of what prompts promise of a class among those who have it, as the plan assumes it.

Synthea's prompts have 0.17 to 0.21, made-up cohorts 0.01 to 0.08; less spread is easier to show."""


@dataclass(frozen=True, slots=True)
class CheckPower:
    """One check, and what is known of it before the audit.

    Args:
        name: of the check, and the reason of what it stops.
        title: in words.
        chance: that it lets a sound, rightly described model through, in [0, 1]; None where the
            plan cannot know.
        is_floor: the chance is at least this.
        cells: how many deciding cells it may stop.
        worst: the cell with the lowest chance, where it is asked cell by cell.
    """

    name: str
    title: str
    chance: float | None
    cells: int
    is_floor: bool = False
    worst: str | None = None


def check_powers(plan: AuditPlan) -> list[CheckPower]:
    """Return every check that can stop a pass of a plan's deciding cells, in the judge's order."""
    deciding = [cell for cell in plan.cells if cell.gating and cell.power.can_pass]
    on_split = [cell for cell in deciding if metric_of(cell).rests_on_split]
    return [check for check in _checks(plan, deciding, on_split) if check.cells]


def _checks(plan: AuditPlan, deciding: list[Cell], on_split: list[Cell]) -> Iterator[CheckPower]:
    assignment = plan.target.document.spec.data.assignment
    yield CheckPower(
        "attack-not-shown-to-work",
        "the declared prompt format is the model's own",
        None if plan.jobs_of("prompt-format") else 0.0,
        len(deciding),
    )
    everybody = plan.data.nonmembers + plan.data.set_aside
    most = plan.policy.document.spec.parameters.max_near_duplicates
    yield CheckPower(
        "near-duplicates",
        "hardly any nonmember has nearly a member's record (compared already)",
        float(plan.data.near_duplicates <= most * everybody),
        len(on_split),
    )
    yield CheckPower(
        "split-not-comparable",
        "without the model, members do not differ from nonmembers"
        if assignment == "random"
        else "without the model, members are shown to look like nonmembers",
        plan.comparability.pass_probability or 0.0,
        sum(not compares_splits(cell) for cell in on_split),
        is_floor=assignment == "random",
    )
    learned = learned_splits(plan, on_split)
    yield CheckPower(
        NAME, TITLE, learned.chance, learned.cells, learned.worst is None, learned.worst
    )
    yield _base_rates(plan, on_split, assignment)
    yield CheckPower(
        "placebo-failed",
        "between two halves of the nonmembers nothing differs",
        1 - FALSE_ALARMS,
        len(on_split),
        is_floor=True,
    )
    on_reference = {job.digest for job in plan.jobs if job.runs_on == "reference"}
    yield CheckPower(
        "reference-knows-members",
        "the reference model does not know the members",
        1 - FALSE_ALARMS,
        sum(not on_reference.isdisjoint(cell.jobs) for cell in deciding),
        is_floor=True,
    )
    shared = [cell for cell in on_split if cell.sample.distinct_prompt_share is not None]
    yield CheckPower(
        "prompt-not-identifying",
        f"{DISTINCT_PROMPTS_NEEDED:.0%} of the prompts are distinct (counted already)",
        1.0,  # a cell whose prompts are shared cannot pass, and is none of these
        len(shared),
    )


def _base_rates(
    plan: AuditPlan, on_split: list[Cell], assignment: Literal["random", "other"] | None
) -> CheckPower:
    """Prompts promise the class alike, or what they promise is subtracted."""
    compared = [
        cell
        for cell in on_split
        if load_attack(cell.probe).compares_base_rates and cell.limit.fail is not None
    ]
    title = "prompts do not promise the class more often in members"
    if assignment == "random" or not compared:
        return CheckPower(
            "split-not-comparable", title, 1 - FALSE_ALARMS, len(compared), is_floor=True
        )
    chances = {
        cell.id: base_rate_chance(cell, assignment=assignment, confidence=plan.confidence)
        for cell in compared
    }
    worst = min(chances, key=lambda name: chances[name])
    return CheckPower(
        "split-not-comparable", title, chances[worst], len(compared), is_floor=True, worst=worst
    )


def base_rate_chance(
    cell: Cell, *, assignment: Literal["random", "other"] | None, confidence: float
) -> float:
    """Return how likely a gap of base rates stops nothing where the two groups are alike.

    With nothing declared the gap must be shown to lie within half the limit; with `other` it is
    subtracted, and must not exceed the limit where it can be subtracted.

    Args:
        cell: has a limit, and eligible positives in both groups.
        assignment: as the target declares it, but for "random".
        confidence: of each bound of the gap.
    """
    limit, sizes = cell.limit.fail, (cell.sample.members, cell.sample.nonmembers)
    if limit is None or min(sizes) < 2:
        return 0.0
    error = BASE_SCORE_SD * math.sqrt(sum(1 / size for size in sizes))
    family = metric_of(cell).family
    if assignment == "other" and family.is_share and not family.is_paired:
        room = limit
    else:
        room = limit / 2 - max(0.0, float(norm.ppf(confidence))) * error
    return max(0.0, 2 * float(norm.cdf(room / error)) - 1)
