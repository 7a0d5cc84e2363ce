"""Another policy over the same measurements: new limits cost no GPU time."""

from __future__ import annotations

from checker.attacks.api import load_attack
from checker.attacks.families import Sample
from checker.planning.cells import control_cell
from checker.planning.identity import measurement_digest
from checker.planning.model import AuditPlan, Cell, ClassSnapshot
from checker.planning.release import with_prospects
from checker.planning.snapshots import policy_snapshot
from checker.policy import Located, resolve_attacker
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
