"""The one cheapest thing that would decide a test, with numbers (METHODS §6, *What would decide*).

A gate that says "inconclusive" and no more is worked around. So each test that is not decided, or
will not be, names the next step that costs least: something to be declared, patients who are there
and were not asked, an attacker who reaches more of them, a split that was kept apart, and last more
patients, how many and how many times the cohort that makes. Numbers come from the plan's own
power functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from checker.attacks.families import Sample
from checker.canonical import JsonModel
from checker.planning.cells import (
    base_rate_cells,
    expected_in,
    metric_of,
    power_in,
    spread_in,
)
from checker.planning.checks import base_rate_chance
from checker.planning.learned_splits import compares_splits
from checker.planning.model import AuditPlan, Cell
from checker.planning.needs import alike_needed
from checker.planning.power import prompts_too_long
from checker.planning.reference_patients import spare_needed
from checker.planning.sample_size import LIKELY, least, sample_needed
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.stats.estimate import ReportedEstimate

Kind = Literal["declare", "expect", "ask", "attacker", "spare", "patients"]

CHEAPEST: tuple[Kind, ...] = ("declare", "expect", "ask", "attacker", "spare", "patients")
"""What costs nothing but a line comes first, and what takes another cohort last."""

SHORTAGES = frozenset(
    {
        "too-few-positives",
        "too-few-members",
        "too-few-nonmembers",
        "too-few-patients",
        "horizon-too-short",
        "bounds-straddle-limit",
        "exceeds-uncorrected",
        "subgroup-too-small",
    }
)
"""Reasons that more patients mend."""


MOST_PATIENTS = 300_000
"""More hardly anybody has: an estimate that lies on its limit is decided by no number."""


class Remedy(JsonModel):
    """What would decide a test, and costs least.

    `declare` says in the target how patients came to their splits, `expect` what the trainer
    expects; `ask` asks patients who are there; `attacker` is another one of the policy, or one with
    `events: all` where `attacker` is None; `spare` declares patients who were kept apart;
    `patients` takes more of them. `members` and `nonmembers` are so many more whom the test can
    measure, or for `attacker` and `spare` so many in all, and `times` about how many times as many
    patients the cohort must have. `chance` is that of a pass then, if nothing leaks.
    """

    kind: Kind
    members: int | None = None
    nonmembers: int | None = None
    times: float | None = None
    attacker: str | None = None
    chance: float | None = None

    @property
    def is_public(self) -> bool:
        """Whether it follows from documents alone, so that it tells nothing of patients."""
        return self.kind in ("declare", "expect")

    def without_numbers(self) -> Remedy:
        """Return it without what follows from patients."""
        return Remedy(kind=self.kind)


def undecided(plan: AuditPlan, cell: Cell) -> str | None:
    """Return the reason for which a cell will hardly pass, as the plan knows it; None where it may.

    The words are the judge's: what it would say of the cell if nothing leaks.
    """
    if cell.missing_capability is not None:
        return "capability-missing"
    if (absent := plan.class_absent_from(cell)) is not None:
        return f"class-not-in-{absent}"
    if cell.subgroup != "all" and cell.sample.subgroup_members == 0:
        return None
    if not metric_of(cell).can_pass:
        return "cannot-show-absence"
    if prompts_too_long(cell.sample):
        return "prompts-too-long"
    stopping = {check.reason for check in plan.checks if check.chance == 0 and not check.is_floor}
    if "expectation-missing" in stopping:
        return "expectation-missing"
    if _shares_prompts(cell):
        return "prompt-not-identifying"
    power = cell.power
    if power.can_pass and (power.pass_probability is None or power.pass_probability >= LIKELY):
        if _are_told_apart(plan, cell):
            return "split-not-comparable"
        spare_differ = plan.spare_difference is not None and metric_of(cell).rests_on_split
        return "spare-not-comparable" if spare_differ else None
    if cell.attribute_class is None:
        return "too-few-patients"
    reach = cell.sample.members_positive or 0
    return "horizon-too-short" if reach > 2 * cell.sample.members else "too-few-positives"


def _are_told_apart(plan: AuditPlan, cell: Cell) -> bool:
    """Whether the plan knows that a cell's splits will not be shown alike."""
    if not metric_of(cell).rests_on_split:
        return False
    asked = "learned-splits" if compares_splits(cell) else "splits"
    if any(one.name == asked and one.chance == 0 and not one.is_floor for one in plan.checks):
        return True
    assignment = plan.target.document.spec.data.assignment
    gap = plan.prompt_gaps.get(cell.id)
    if gap is None or assignment == "random":
        return False
    return not base_rate_chance(
        cell,
        assignment=assignment,
        confidence=plan.confidence,
        gap=gap,
        spread=spread_in(plan, cell),
    )


def remedy(
    plan: AuditPlan, cell: Cell, reason: str | None, estimate: ReportedEstimate | None = None
) -> Remedy | None:
    """Return what would decide a cell at the least cost.

    Args:
        plan: of the audit.
        cell: of the plan.
        reason: for which it is not decided; None where it is.
        estimate: that was measured, if any.

    Returns:
        None where no number and no line of a document would do: the reason's own words say what.
    """
    if reason == "expectation-missing":
        return Remedy(kind="expect")
    if reason == "split-not-comparable":
        return _alike(plan, cell)
    if reason == "prompt-not-identifying":
        found = _other_attacker(plan, cell, lambda one: one.power.can_pass)
        return None if found is None else _asking(found)
    if reason not in SHORTAGES:
        return None
    goal = _goal(plan, cell, estimate, reason)
    if goal is None:
        return None
    return _more(plan, cell, goal)


# --- more patients, or a way around them --------------------------------------------------------


def _more(plan: AuditPlan, cell: Cell, goal: int) -> Remedy | None:
    """Return what gives a cell `goal` patients in each split."""
    sample = _units(cell)
    short = _short(cell, sample, goal)
    if not any(short):
        return None
    chance = _chance(plan, cell, goal)
    left = _left_out(plan, cell)
    if left is not None and not any(_short(cell, left, goal)):
        return Remedy(kind="ask", members=left.members, nonmembers=left.nonmembers, chance=chance)
    if (found := _other_attacker(plan, cell, lambda one: _reaches(one, goal))) is not None:
        return _asking(found)
    everybody = Sample(
        members=sample.members_positive or 0, nonmembers=sample.nonmembers_positive or 0
    )
    knows = plan.policy.document.spec.attackers[cell.attacker].knows
    if cell.attribute_class and knows.events != "all" and not any(_short(cell, everybody, goal)):
        return Remedy(
            kind="attacker",
            members=everybody.members,
            nonmembers=everybody.nonmembers,
            chance=chance,
        )
    needed = spare_needed(plan.data.lot[1])
    if compares_splits(cell) and plan.data.spare < needed and not short[0]:
        # a third of the nonmembers teaches the reference unless as many spare patients do
        judged = sample.nonmembers * 3 // 2
        if judged >= goal:
            return Remedy(kind="spare", members=needed, nonmembers=judged, chance=chance)
    growth = max(
        goal / count if count else math.inf
        for count, lacking in zip((sample.members, sample.nonmembers), short, strict=True)
        if lacking
    )
    lacking = _of_cohort(plan, cell, short)
    return Remedy(
        kind="patients",
        members=lacking[0] or None,
        nonmembers=lacking[1] or None,
        times=None if math.isinf(growth) else math.ceil(growth * 10) / 10,
        chance=chance,
    )


def _of_cohort(plan: AuditPlan, cell: Cell, short: tuple[int, int]) -> tuple[int, int]:
    """Return how many more a cohort takes: of a learned score not everybody is judged."""
    if not compares_splits(cell) or cell.subgroup != "all":
        return short
    judged = cell.sample.members, cell.sample.nonmembers
    inside, outside = (
        math.ceil(count * everybody / own) if own else count
        for count, own, everybody in zip(short, judged, plan.data.lot, strict=True)
    )
    return inside, outside


def _goal(
    plan: AuditPlan, cell: Cell, estimate: ReportedEstimate | None, reason: str
) -> int | None:
    """Return how many patients of each split would decide a cell."""
    if reason == "subgroup-too-small":
        fewest = plan.policy.document.spec.parameters.min_cell
        return max(fewest, _needed(plan, cell) or 0)
    needed = _needed(plan, cell)
    if needed is None or any(_short(cell, _units(cell), needed)):
        return needed
    if estimate is None or estimate.value is None or cell.limit.fail is None:
        return None
    # there were enough for what was expected: bounds shrink with the root of the number
    away = abs(estimate.value - cell.limit.fail)
    bound = estimate.high if estimate.value <= cell.limit.fail else estimate.low
    if not away or bound is None:
        return None
    n = max(_units(cell).members, _units(cell).nonmembers)
    wanted = n * (abs(bound - estimate.value) / away) ** 2
    return max(needed, n + 1, math.ceil(wanted)) if wanted <= MOST_PATIENTS else None


def _needed(plan: AuditPlan, cell: Cell) -> int | None:
    """Return how many make a pass likely, or possible where nobody knows how likely it is."""
    metric, base_rate = expected_in(plan, cell)
    at_all, likely = sample_needed(
        metric, cell.limit, confidence=plan.confidence, base_rate=base_rate
    )
    if cell.limit.fail is None:
        return cell.limit.min_n or 1
    return likely or at_all


def _chance(plan: AuditPlan, cell: Cell, count: int) -> float | None:
    alike = Sample(
        members=count,
        nonmembers=count,
        rollouts=count,
        members_negative=max(count, cell.sample.members_negative or 0),
        nonmembers_negative=max(count, cell.sample.nonmembers_negative or 0),
    )
    return power_in(plan, cell, alike).pass_probability


def _units(cell: Cell) -> Sample:
    """Return a cell's sample, of shares as many patients as tell as much by themselves."""
    family = metric_of(cell).family
    counts = family.is_share and family.of_patients
    return cell.sample.as_independent if counts else cell.sample


def _short(cell: Cell, sample: Sample, goal: int) -> tuple[int, int]:
    """Return how many members, and nonmembers where they count, a sample is short of."""
    family = metric_of(cell).family
    compares = family.is_excess or family.separates_splits
    return max(0, goal - sample.members), max(0, goal - sample.nonmembers) if compares else 0


def _left_out(plan: AuditPlan, cell: Cell) -> Sample | None:
    """Return about how many a cell could measure if everybody were asked; None where all are."""
    if cell.labels is None:
        drawn = plan.data.drawn
        if drawn is None:
            return None
        factors = [plan.data.members / drawn.members, plan.data.nonmembers / drawn.nonmembers]
    else:
        (job,) = (job for job in plan.jobs if job.digest == cell.labels)
        drawn_of = job.inputs.get("drawn")
        if not drawn_of:
            return None
        counts_of = drawn_of["members"], drawn_of["nonmembers"]
        factors = [of / max(asked, 1) for asked, of in counts_of]
    if max(factors) <= 1:
        return None
    counts = (_units(cell).members, _units(cell).nonmembers)
    inside, outside = (int(n * factor) for n, factor in zip(counts, factors, strict=True))
    return Sample(members=inside, nonmembers=outside)


def _reaches(cell: Cell, goal: int) -> bool:
    return cell.power.can_pass and not any(_short(cell, _units(cell), goal))


def _other_attacker(plan: AuditPlan, cell: Cell, will_do: Callable[[Cell], bool]) -> Cell | None:
    """Return the cell of another attacker that asks the same of the same patients, and can pass.

    Of several the one who reaches most.
    """
    found = [
        one
        for one in plan.cells
        if one.attacker != cell.attacker
        and (one.attribute_class, one.metric, one.subgroup, one.contrast)
        == (cell.attribute_class, cell.metric, cell.subgroup, cell.contrast)
        and one.missing_capability is None
        and not _shares_prompts(one)
        and will_do(one)
    ]
    return max(found, key=lambda one: min(one.sample.members, one.sample.nonmembers), default=None)


def _asking(cell: Cell) -> Remedy:
    return Remedy(
        kind="attacker",
        attacker=cell.attacker,
        members=cell.sample.members,
        nonmembers=cell.sample.nonmembers,
        chance=cell.power.pass_probability,
    )


def _shares_prompts(cell: Cell) -> bool:
    share = cell.sample.distinct_prompt_share
    return (
        metric_of(cell).needs_identifying_prompts
        and share is not None
        and share < DISTINCT_PROMPTS_NEEDED
    )


# --- alike splits -------------------------------------------------------------------------------


def _alike(plan: AuditPlan, cell: Cell) -> Remedy | None:
    """Return what would show that the splits are alike."""
    assignment = plan.target.document.spec.data.assignment
    if assignment is None:
        return Remedy(kind="declare")
    if assignment == "random" or cell.id not in {one.id for one in base_rate_cells(plan)}:
        return None  # a difference was proved: other nonmembers are the remedy, not more

    def is_likely(n: int) -> bool:
        sample = cell.sample.model_copy(update={"members": n, "nonmembers": n})
        power = power_in(plan, cell, sample)
        alike = cell.model_copy(update={"sample": sample, "power": power})
        alone = power.pass_probability or 0.0
        left = base_rate_chance(
            alike,
            assignment="other",
            confidence=plan.confidence,
            spread=spread_in(plan, cell),
        )
        return alone * left >= LIKELY

    goal = least(is_likely, start=2)
    by_codes = alike_needed(
        plan.policy.document.spec.parameters.admissibility_tolerance,
        assignment="other",
        confidence=plan.confidence,
        power=LIKELY,
    )
    if goal is None or by_codes is None:
        return None
    times = max(
        goal / max(min(cell.sample.members, cell.sample.nonmembers), 1),
        by_codes / max(min(plan.data.lot), 1),
    )
    if times <= 1:
        return None
    short = _short(cell, cell.sample, goal)
    return Remedy(
        kind="patients",
        members=short[0] or None,
        nonmembers=short[1] or None,
        times=math.ceil(times * 10) / 10,
    )
