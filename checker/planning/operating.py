"""What a policy can decide, by how many patients there are (METHODS §6, *How many patients*).

A plan says what the cohort that is there can decide. Scaled up or down, with the shares of patients
that it found, it says what a cohort of any size could: from how many patients on a cell can pass,
is likely to, and a model that leaks nothing is likely to be released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from checker.attacks.api import Params, load_attack
from checker.attacks.families import Sample
from checker.planning.cells import decides, metric_of, planned_confidence, power_in
from checker.planning.model import AuditPlan, Cell
from checker.planning.release import blocks, can_pass_with, comparability_of, with_prospects
from checker.planning.sample_size import LIKELY, sample_needed
from checker.policy import resolve_attacker
from checker.policy.documents import ControlSpec, PolicySpec

SIZES = (300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
"""Members, and as many nonmembers or a part of them."""

_COUNTED = (
    "members", "subgroup_members", "members_positive", "members_negative", "rollouts",
)  # fmt: skip
_COUNTED_OUTSIDE = ("nonmembers", "nonmembers_positive", "nonmembers_negative")


@dataclass(frozen=True, slots=True)
class CellNeed:
    """How many patients a cell takes, whatever cohort they are of.

    Args:
        cell: control and attacker.
        metric: as its control measures it.
        limit: of a failure; None where nothing may ever occur.
        gating: whether it decides.
        counted: who has to be so many: "positives" (who have the class, within reach), "patients",
            or "judged" (patients who teach a learned score nothing).
        fewest: in each split, to pass at all; None where 100,000 are not enough.
        likely: for a pass with chance `LIKELY` where nothing leaks; None where not, or unknown.
    """

    cell: str
    metric: str
    limit: float | None
    gating: bool
    counted: str
    fewest: int | None
    likely: int | None


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a policy can decide with cohorts of one size.

    Args:
        members: in the training split.
        nonmembers: apart.
        deciding: cells that keep a model from release unless they pass.
        can_pass: so many of them can.
        likely: so many pass with chance `LIKELY` at least where nothing leaks.
        released: chance that a model that leaks nothing and is described rightly is released, or
            None where it is not known before the data.
        is_floor: the chance is rather higher.
        released_at_twice: the most that chance can be for a model that is at twice one of the
            limits, whichever of those that must be shown and can be; None where no cell can say.
        stopped_by: cells and checks that let no model through.
    """

    members: int
    nonmembers: int
    deciding: int
    can_pass: int
    likely: int
    released: float | None
    is_floor: bool
    released_at_twice: float | None
    stopped_by: tuple[str, ...]


def patients_needed(spec: PolicySpec, *, control: str | None = None) -> list[CellNeed]:
    """Return how many patients each cell of a policy takes, in the policy's order.

    Args:
        spec: a resolved policy's body. Subgroups take as many patients as the whole.
        control: limits it to this one.
    """
    found = []
    for name, one in spec.controls.items():
        if control not in (None, name):
            continue
        attack = load_attack(one.probe)
        params = attack.params.model_validate(one.params)
        metric = attack.metrics[one.metric].in_control(contrast=one.contrast, params=params)
        for attacker_name, limit in one.limits.items():
            fewest, likely = sample_needed(
                metric,
                limit,
                confidence=spec.parameters.confidence,
                base_rate=spec.parameters.expected_base_rate,
            )
            found.append(
                CellNeed(
                    cell=f"{name}/{attacker_name}",
                    metric=one.metric,
                    limit=limit.fail,
                    gating=decides(spec, one, resolve_attacker(spec, attacker_name)),
                    counted=_counted(one, params),
                    fewest=fewest if metric.can_pass else None,
                    likely=likely if metric.can_pass else None,
                )
            )
    return found


def _counted(control: ControlSpec, params: Params) -> str:
    if control.attribute_class:
        return "positives"
    return "judged" if params.compares_splits else "patients"


def operating_points(
    plan: AuditPlan, *, sizes: Sequence[int] = SIZES, nonmember_share: float | None = None
) -> list[OperatingPoint]:
    """Return what a plan's policy can decide with cohorts like its own, but of other sizes.

    Args:
        plan: of a cohort whose shares of patients (with a class, within an attacker's reach, in a
            subgroup) stand for the others'.
        sizes: members of each, > 0.
        nonmember_share: nonmembers for each member; default: as in the plan's cohort.
    """
    share = nonmember_share
    if share is None:
        share = plan.data.nonmembers / max(plan.data.members, 1)
    return [
        operating_point(scaled(plan, members=size, nonmembers=round(size * share)))
        for size in sizes
    ]


def scaled(plan: AuditPlan, *, members: int, nonmembers: int) -> AuditPlan:
    """Return a plan as a cohort of another size would have it, to be shown and not to be run.

    Args:
        plan: as compiled, with at least one patient in each split.
        members: of the other cohort.
        nonmembers: of it.
    """
    inside = members / max(plan.data.members, 1)
    outside = nonmembers / max(plan.data.nonmembers, 1)
    cells = [_resized(plan, cell, inside=inside, outside=outside) for cell in plan.cells]
    data = plan.data.model_copy(
        update={
            "members": members,
            "nonmembers": nonmembers,
            "near_duplicates": round(plan.data.near_duplicates * outside),
            "same_codes": round(plan.data.same_codes * outside),
            "set_aside": round(plan.data.set_aside * outside),
        }
    )
    other = plan.model_copy(
        update={
            "cells": cells,
            "data": data,
        }
    )
    return with_prospects(other.model_copy(update={"comparability": comparability_of(other)}))


def _resized(plan: AuditPlan, cell: Cell, *, inside: float, outside: float) -> Cell:
    sample = cell.sample.model_copy(
        update={
            **_times(cell.sample, _COUNTED, inside),
            **_times(cell.sample, _COUNTED_OUTSIDE, outside),
            "effective_members": _effective(
                cell.sample.members, cell.sample.effective_members, inside
            ),
            "effective_nonmembers": _effective(
                cell.sample.nonmembers, cell.sample.effective_nonmembers, outside
            ),
        }
    )
    return cell.model_copy(update={"sample": sample, "power": power_in(plan, cell, sample)})


def _effective(count: int, effective: int | None, factor: float) -> int | None:
    """Return Kish's effective number where there are so many times the patients.

    Each meets as many times more patients with his prompt, but for himself.
    """
    if not effective:
        return effective
    others = count**2 / effective - count
    grown = count * factor
    return int(grown**2 / (grown + others * factor**2)) if grown else 0


def _times(sample: Sample, names: Sequence[str], factor: float) -> dict[str, int]:
    return {
        name: round(count * factor)
        for name in names
        if (count := getattr(sample, name)) is not None
    }


def operating_point(plan: AuditPlan) -> OperatingPoint:
    """Return what a plan's patients can decide.

    Args:
        plan: with its prospects.
    """
    deciding = [cell for cell in plan.cells if blocks(cell)]
    release = plan.release
    assert release is not None  # `with_prospects` has it computed
    able = [cell for cell in deciding if can_pass_with(plan, cell)]
    return OperatingPoint(
        members=plan.data.members,
        nonmembers=plan.data.nonmembers,
        deciding=len(deciding),
        can_pass=len(able),
        likely=sum((cell.power.pass_probability or 0.0) >= LIKELY for cell in able),
        released=release.chance,
        is_floor=release.is_floor,
        released_at_twice=0.0 if release.stopped_by else _at_twice(plan, able),
        stopped_by=tuple(release.stopped_by),
    )


def _at_twice(plan: AuditPlan, cells: Sequence[Cell]) -> float | None:
    """Return the greatest chance that a cell passes though twice its limit leaks."""
    found = []
    for cell in cells:
        metric = metric_of(cell)
        if cell.limit.fail is not None:
            confidence = planned_confidence(
                metric, cell.limit, sequential=plan.sequential, confidence=plan.confidence
            )
            chance = metric.family.false_pass(
                cell.limit.fail,
                cell.sample,
                times=2.0,
                confidence=confidence,
                base_rate=cell.power.base_rate or 0.0,
            )
            if chance is not None:
                found.append(chance)
    return max(found, default=None)
