"""What is measured, apart from what is demanded: the identity that outlives a change of limits."""

from __future__ import annotations

from typing import Any

from checker.attacks.api import Params
from checker.canonical import digest
from checker.policy import ResolvedAttacker
from checker.policy.documents import AttributeClassSpec, ControlSpec, PolicySpec

__all__ = ["codes_of", "knowledge_of", "measurement_digest"]


def codes_of(spec: AttributeClassSpec) -> dict[str, Any]:
    """Return a class's codes as plain data; what is said about them changes no measurement."""
    return spec.model_dump(
        mode="json",
        include={"codes": True, "exclude": True, "proxies": True},
        exclude={
            "codes": {"__all__": {"note"}},
            "exclude": {"__all__": {"why"}},
            "proxies": {"__all__": {"why"}},
        },
    )


def knowledge_of(attacker: ResolvedAttacker) -> dict[str, Any]:
    """Return what an attacker's prompt depends on."""
    static = attacker.static if attacker.static == "all" else sorted(attacker.static)
    known: dict[str, Any] = {"static": static, "events": attacker.events}
    if attacker.random:
        known["random"] = attacker.random
    if attacker.code_types:
        known["codeTypes"] = sorted(attacker.code_types)
    return known


def measurement_digest(
    spec: PolicySpec,
    control: ControlSpec,
    attacker: ResolvedAttacker,
    params: Params,
    subgroup: str,
) -> str:
    """Return the digest of everything that a cell measures and nothing that it demands."""
    name = control.attribute_class
    return digest(
        {
            "probe": control.probe,
            "params": params.model_dump(mode="json"),
            "metric": control.metric,
            "contrast": control.contrast,
            "codes": codes_of(spec.attribute_classes[name]) if name else None,
            "attacker": knowledge_of(attacker),
            "subgroup": subgroup,
            "seed": spec.parameters.seed,
        }
    )
