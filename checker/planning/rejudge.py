"""Another policy over the same measurements: new limits cost no GPU time."""

from __future__ import annotations

from checker.attacks.api import load_attack
from checker.attacks.families import Sample
from checker.planning.cells import control_cell, decides
from checker.planning.depth import depth_under
from checker.planning.identity import measurement_digest
from checker.planning.model import AuditPlan, Cell, ClassSnapshot
from checker.planning.protocol import planning_of
from checker.planning.release import with_prospects
from checker.planning.snapshots import policy_snapshot
from checker.policy import Located, ResolvedAttacker, resolve_attacker
from checker.policy.documents import ControlSpec, LeakagePolicy, PolicySpec, Subgroup


def with_policy(plan: AuditPlan, policy: Located[LeakagePolicy]) -> AuditPlan:
    """Put a policy's demands over what a plan measured.

    Args:
        plan: whose jobs were run.
        policy: validated; may differ in limits, severities, gate and wording, and may ask for
            less or for more.

    Returns:
        A plan with the policy's cells. A cell that asks for something the old plan did not measure
        has no jobs, and is judged *inconclusive*, `not-run`.
    """
    spec = policy.document.spec
    cells = demanded_cells(plan, spec)
    demanded = plan.model_copy(
        update={
            "policy": policy_snapshot(policy),
            "cells": cells,
            "classes": _classes(plan, cells, spec),
            "depth": depth_under(plan, cells),
            "confidence": spec.parameters.confidence,
            "sequential": spec.parameters.sampling.sequential,
        }
    )
    return with_prospects(demanded)


def demanded_cells(plan: AuditPlan, spec: PolicySpec) -> list[Cell]:
    """Return the cells that a policy asks for, each judged from what a plan measured for it.

    Of the policy that the plan was made from, they are the plan's own cells.
    """
    measured = {cell.measurement: cell for cell in plan.cells}
    recorded = (name for job in plan.jobs for name in job.inputs.get("subgroups", []))
    names = list(dict.fromkeys([*(cell.subgroup for cell in plan.cells), *recorded]))
    cells: list[Cell] = []
    for control_name, control in spec.controls.items():
        params = load_attack(control.probe).params.model_validate(control.params)
        for attacker_name in control.limits:
            attacker = resolve_attacker(spec, attacker_name)
            for subgroup in _subgroup_names(control, names):
                key = measurement_digest(spec, control, attacker, params, subgroup)
                old = measured.get(key)
                if old is not None and not _asked_enough(plan, old, spec, control, attacker):
                    old = None
                cells.append(
                    control_cell(
                        spec,
                        control_name,
                        attacker,
                        subgroup,
                        params,
                        sample=old.sample if old else Sample(members=0, nonmembers=0),
                        missing_capability=old.missing_capability if old else None,
                        labels=old.labels if old else None,
                        jobs=old.jobs if old else [],
                    )
                )
    return cells


def _asked_enough(
    plan: AuditPlan,
    old: Cell,
    spec: PolicySpec,
    control: ControlSpec,
    attacker: ResolvedAttacker,
) -> bool:
    """Whether a cell was asked of as many patients as a policy would ask.

    Fewer than its limit takes only leave a cell open. But what a policy asks of everybody is not
    shown by a part of them: one who is repeated may be among the others.
    """
    if not plan.leaves_out(old):
        return True
    wanted, drawn = spec.parameters.sampling.patients, plan.data.patients
    if wanted == "all":
        return False
    if wanted != "auto":
        fewest = min(old.sample.members, old.sample.nonmembers)
        return fewest >= wanted or (drawn not in ("auto", "all") and int(drawn) >= int(wanted))
    if drawn != "auto":
        return False
    attack = load_attack(control.probe)
    params = attack.params.model_validate(control.params)
    metric = attack.metrics[control.metric].in_control(contrast=control.contrast, params=params)
    may_be_drawn = planning_of(attack).drawn_from(params, metric, has_spare=plan.data.spare > 0)
    asks_all = control.limits[attacker.name].fail is None or may_be_drawn is None
    if not (asks_all and decides(spec, control, attacker)):
        return True
    return plan.has_every_member(old)


def _classes(plan: AuditPlan, cells: list[Cell], spec: PolicySpec) -> dict[str, ClassSnapshot]:
    """Return what the classes matched that were measured and are asked for, by their new names."""
    measured = {
        cell.measurement: plan.classes[cell.attribute_class]
        for cell in plan.cells
        if cell.attribute_class
    }
    return {
        cell.attribute_class: measured[cell.measurement].model_copy(
            update={"title": spec.attribute_classes[cell.attribute_class].title}
        )
        for cell in cells
        if cell.attribute_class and cell.measurement in measured
    }


def _subgroup_names(control: ControlSpec, measured: list[str]) -> list[str]:
    """Name a control's slices; the values of a static field are those the old plan found."""
    names: list[str] = []
    for subgroup in control.subgroups:
        if not isinstance(subgroup, Subgroup):
            names.append(subgroup)
        elif subgroup.rare_code is not None:
            names.append(f"rare_code<={subgroup.rare_code}")
        elif subgroup.age_over is not None:
            names.append(f"age>{subgroup.age_over}")
        else:
            found = [name for name in measured if name.startswith(f"{subgroup.static}=")]
            names += found or [f"{subgroup.static}=*"]
    return names
