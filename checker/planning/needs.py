"""How many patients a cell takes, so that no more are asked (METHODS §6, *Patients by need*).

Needs depend on the policy and on how the splits were declared, never on what a model says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from checker.attacks.api import load_attack
from checker.attacks.families import Sample
from checker.planning.cells import control_cell, decides, planned_confidence, planned_power
from checker.planning.checks import base_rate_chance
from checker.planning.learned_splits import comparability_chance
from checker.planning.power import comparability_power
from checker.planning.protocol import PlannedCell
from checker.planning.sample_size import least, sample_needed
from checker.policy.documents import PolicySpec

Assignment = Literal["random", "other"]

LOST = 0.05
"""By this much at most the chance of a release falls for patients who were not asked; a policy's
deciding cells share it."""

FEWEST = 300
"""Of those a cell is about in each split, so that checks find what is worth finding."""

FEWEST_OF_ALL = 2_000
"""Of each split, for what looks at everybody. A classifier that tells the splits apart is found
from an AUROC of 0.54 on."""


def power_wanted(spec: PolicySpec, cells: Sequence[PlannedCell[Any]]) -> float:
    """Return the chance of a pass, if nothing leaks, that each deciding cell is given."""
    deciding = sum(is_deciding(spec, cell) for cell in cells)
    return 1 - LOST / max(deciding, 1)


def is_deciding(spec: PolicySpec, cell: PlannedCell[Any]) -> bool:
    """Whether a cell's verdict counts for the release."""
    return decides(spec, cell.control, cell.attacker)


def patients_of_each(spec: PolicySpec) -> int | None:
    """Return how many patients of each split a policy asks for by number, or None."""
    patients = spec.parameters.sampling.patients
    return None if patients in ("auto", "all") else int(patients)


def patients_to_ask(
    spec: PolicySpec, cell: PlannedCell[Any], *, assignment: Assignment | None, power: float
) -> int | None:
    """Return how many patients of each split a cell takes for a pass with a chance of `power`.

    Args:
        spec: of the policy.
        cell: control, attacker and subgroup.
        assignment: as the target declares it.
        power: if nothing leaks, in (0, 1).

    Returns:
        At least `FEWEST`; None where all have to be asked: where nothing may ever occur, where
        nobody knows the chance before the data, and where 100,000 do not give it.
    """
    if (asked := patients_of_each(spec)) is not None:
        return asked
    limit = cell.control.limits[cell.attacker.name]
    metric = cell.metric.in_control(contrast=cell.control.contrast, params=cell.params)
    if limit.fail is None:
        return None  # the one whom the model repeats may be the one who is left out
    if not metric.can_pass:
        return FEWEST
    confidence, base_rate = spec.parameters.confidence, spec.parameters.expected_base_rate
    _, needed = sample_needed(
        metric,
        limit,
        confidence=planned_confidence(
            metric,
            limit,
            sequential=spec.parameters.sampling.sequential,
            confidence=confidence,
        ),
        base_rate=base_rate,
        likely=power,
    )
    if needed is None:
        return None
    needed = max(needed, FEWEST)
    compares = metric.rests_on_split and load_attack(cell.control.probe).compares_base_rates
    if compares and assignment != "random":
        needed = _for_base_rates(spec, cell, assignment, start=needed, power=power)
    if needed is not None and assignment != "random" and cell.params.compares_splits:
        tolerance = spec.parameters.admissibility_tolerance
        needed = least(
            lambda n: (
                comparability_chance(n, n, tolerance=tolerance, confidence=confidence) >= power
            ),
            start=needed,
        )
    return needed


def _for_base_rates(
    spec: PolicySpec,
    cell: PlannedCell[Any],
    assignment: Assignment | None,
    *,
    start: int,
    power: float,
) -> int | None:
    """Return how many it takes that prompts are shown to promise the class alike."""

    def alike(n: int) -> Sample:
        return Sample(members=n, nonmembers=n, members_negative=n, nonmembers_negative=n)

    known = control_cell(
        spec,
        cell.control_name,
        cell.attacker,
        cell.piece.name,
        cell.params,
        sample=alike(start),
        missing_capability=None,
        labels=None,
        jobs=[],
    )
    metric = cell.metric.in_control(contrast=cell.control.contrast, params=cell.params)

    def is_enough(n: int) -> bool:
        left = planned_power(
            metric,
            known.limit,
            alike(n),
            sequential=spec.parameters.sampling.sequential,
            confidence=spec.parameters.confidence,
            base_rate=spec.parameters.expected_base_rate,
        )
        asked = known.model_copy(update={"sample": alike(n), "power": left})
        chance = base_rate_chance(
            asked, assignment=assignment, confidence=spec.parameters.confidence
        )
        return chance >= power

    return least(is_enough, start=start)


def alike_needed(
    tolerance: float, *, assignment: Assignment | None, confidence: float, power: float
) -> int | None:
    """Return how many of each split it takes to show that codes do not tell the splits apart.

    Args:
        tolerance: how far above 0.5 the bound of the AUROC may lie.
        assignment: as the target declares it.
        confidence: of the bound.
        power: if nothing tells them apart, in (0, 1).
    """

    def is_enough(n: int) -> bool:
        found = comparability_power(
            n, n, assignment=assignment, tolerance=tolerance, confidence=confidence
        )
        return (found.pass_probability or 0.0) >= power

    return least(is_enough, start=1)
