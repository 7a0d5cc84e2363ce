"""One cell: what a policy demands of whom, and what it is judged from."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from checker.attacks.api import Metric, Params, load_attack
from checker.attacks.families import Power, Sample
from checker.attacks.families.counted import MeanDifference
from checker.planning.identity import measurement_digest
from checker.planning.model import AuditPlan, Cell
from checker.planning.power import cell_power
from checker.policy import ResolvedAttacker
from checker.policy.documents import ControlSpec, Limit, PolicySpec
from checker.stats import SEQUENTIAL_SHARE


def metric_of(cell: Cell) -> Metric:
    """Return the metric that a cell is judged by, as its control measures it."""
    attack = load_attack(cell.probe)
    params = attack.params.model_validate(cell.params)
    return attack.metrics[cell.metric].in_control(contrast=cell.contrast, params=params)


def base_rate_cells(plan: AuditPlan) -> list[Cell]:
    """Return the cells whose prompts must promise the class alike in members and nonmembers."""
    return [
        cell
        for cell in plan.cells
        if load_attack(cell.probe).compares_base_rates
        and metric_of(cell).rests_on_split
        and cell.limit.fail is not None
    ]


def may_stop_early(metric: Metric, limit: Limit, *, sequential: bool) -> bool:
    """Return whether a cell's patients are drawn in batches until it is decided (METHODS §6)."""
    return sequential and metric.may_stop_early and limit.fail is not None


def planned_confidence(
    metric: Metric, limit: Limit, *, sequential: bool, confidence: float
) -> float:
    """Return the confidence that is left for the bounds at the planned number of patients."""
    if not may_stop_early(metric, limit, sequential=sequential):
        return confidence
    return 1 - (1 - SEQUENTIAL_SHARE) * (1 - confidence)


def planned_power(
    metric: Metric,
    limit: Limit,
    sample: Sample,
    *,
    sequential: bool,
    confidence: float,
    base_rate: float,
) -> Power:
    """Return what a cell can decide, at the confidence that is left for its planned patients."""
    left = planned_confidence(metric, limit, sequential=sequential, confidence=confidence)
    return cell_power(metric, limit, sample, confidence=left, base_rate=base_rate)


def expected_in(plan: AuditPlan, cell: Cell) -> tuple[Metric, float]:
    """Return a cell's metric and the background rate that its plan expects without memory.

    That is what the policy assumes, or what tables say of these patients where it is more; then the
    metric varies as it does there.
    """
    metric, told = metric_of(cell), plan.expected_rates.get(cell.id)
    assumed = plan.policy.document.spec.parameters.expected_base_rate
    if told is None:
        return metric, assumed
    rate = told.told if metric.thresholded else told.mean
    if rate <= assumed:
        return metric, assumed
    return replace(metric, family=metric.family.varying(told.spread)), rate


def spread_in(plan: AuditPlan, cell: Cell) -> float | None:
    """Return how much q varies between a cell's patients; None where the plan has to assume it."""
    family = expected_in(plan, cell)[0].family
    return family.spread if isinstance(family, MeanDifference) else None


def power_in(plan: AuditPlan, cell: Cell, sample: Sample) -> Power:
    """Return what a cell of a plan could decide with another sample."""
    metric, base_rate = expected_in(plan, cell)
    return planned_power(
        metric,
        cell.limit,
        sample,
        sequential=plan.sequential,
        confidence=plan.confidence,
        base_rate=base_rate,
    )


def decides(spec: PolicySpec, control: ControlSpec, attacker: ResolvedAttacker) -> bool:
    """Return whether a control's verdict for an attacker counts for the release."""
    return (
        attacker.gating
        and control.enforcement != "advisory"
        and control.severity in spec.gate.fail_on
    )


def control_cell(
    spec: PolicySpec,
    control_name: str,
    attacker: ResolvedAttacker,
    subgroup: str,
    params: Params,
    *,
    sample: Sample,
    missing_capability: str | None,
    labels: str | None,
    jobs: list[str],
) -> Cell:
    """Put together one cell: what the policy demands of it, and what it is judged from."""
    control = spec.controls[control_name]
    limit = control.limits[attacker.name]
    metric = load_attack(control.probe).metrics[control.metric]
    default: Literal["block", "warn"] = "block" if subgroup == "all" else "warn"
    return Cell(
        id=f"{control_name}/{attacker.name}/{subgroup}",
        control=control_name,
        attribute_class=control.attribute_class,
        attacker=attacker.name,
        subgroup=subgroup,
        probe=control.probe,
        params=params.model_dump(mode="json"),
        metric=control.metric,
        contrast=control.contrast,
        limit=limit,
        severity=control.severity,
        gating=decides(spec, control, attacker),
        on_inconclusive=control.on_inconclusive or default,
        measurement=measurement_digest(spec, control, attacker, params, subgroup),
        missing_capability=missing_capability,
        labels=labels,
        jobs=jobs,
        sample=sample,
        power=planned_power(
            metric.in_control(contrast=control.contrast, params=params),
            limit,
            sample,
            sequential=spec.parameters.sampling.sequential,
            confidence=spec.parameters.confidence,
            base_rate=spec.parameters.expected_base_rate,
        ),
    )
