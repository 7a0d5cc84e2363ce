"""One cell: what a policy demands of whom, and what it is judged from."""

from __future__ import annotations

from typing import Literal

from checker.plan.measurement import measurement_digest
from checker.plan.model import Cell, CellLimit, CellSample
from checker.plan.power import cell_power
from checker.policy import ResolvedAttacker
from checker.policy.documents import PolicySpec
from checker.probes import Params, load_probe

__all__ = ["control_cell"]


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
        power=cell_power(
            load_probe(control.probe).metrics[control.metric],
            limit,
            sample,
            confidence=spec.parameters.confidence,
            base_rate=spec.parameters.expected_base_rate,
            fpr=getattr(params, "fpr", None),
        ),
    )
