"""One cell: what a policy demands of whom, and what it is judged from."""

from __future__ import annotations

from typing import Literal

from checker.attacks.api import Metric, Params, load_probe
from checker.plan.identity import measurement_digest
from checker.plan.model import Cell, CellLimit, CellSample, Power
from checker.plan.power import cell_power
from checker.policy import ResolvedAttacker
from checker.policy.documents import PolicySpec
from checker.stats import SEQUENTIAL_SHARE

__all__ = ["control_cell", "may_stop_early", "planned_power"]


def may_stop_early(metric: Metric, limit: CellLimit, *, contrast: str, sequential: bool) -> bool:
    """Return whether a cell's patients are drawn in batches until it is decided (METHODS §6).

    What can never pass is decided by a failure alone, and its attack asks the disclosed members
    again once all are drawn: it has nothing to stop early, and keeps the whole of its error.
    """
    counts = metric.thresholded and limit.fail is not None and contrast == "nonmembers"
    return sequential and counts and metric.can_pass


def planned_power(
    metric: Metric,
    limit: CellLimit,
    sample: CellSample,
    *,
    contrast: str,
    sequential: bool,
    confidence: float,
    base_rate: float,
    fpr: float | None,
) -> Power:
    """Return what a cell can decide, at the confidence that is left for its planned patients."""
    if may_stop_early(metric, limit, contrast=contrast, sequential=sequential):
        confidence = 1 - (1 - SEQUENTIAL_SHARE) * (1 - confidence)
    return cell_power(
        metric,
        limit,
        sample,
        confidence=confidence,
        base_rate=base_rate,
        fpr=fpr,
        contrast=contrast,
    )


def control_cell(
    spec: PolicySpec,
    control_name: str,
    attacker: ResolvedAttacker,
    subgroup: str,
    params: Params,
    *,
    sample: CellSample,
    missing_capability: str | None,
    labels: str | None,
    jobs: list[str],
) -> Cell:
    """Put together one cell: what the policy demands of it, and what it is judged from."""
    control = spec.controls[control_name]
    limit = CellLimit.model_validate(control.limits[attacker.name].model_dump(mode="json"))
    metric = load_probe(control.probe).metrics[control.metric]
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
        gating=attacker.gating
        and control.enforcement != "advisory"
        and control.severity in spec.gate.fail_on,
        on_inconclusive=control.on_inconclusive or default,
        measurement=measurement_digest(spec, control, attacker, params, subgroup),
        missing_capability=missing_capability,
        labels=labels,
        jobs=jobs,
        sample=sample,
        power=planned_power(
            metric,
            limit,
            sample,
            contrast=control.contrast,
            sequential=spec.parameters.sampling.sequential,
            confidence=spec.parameters.confidence,
            base_rate=spec.parameters.expected_base_rate,
            fpr=getattr(params, "fpr", None),
        ),
    )
