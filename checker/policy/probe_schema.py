"""What the JSON Schema of policies knows of probes: their names, metrics and parameters.

To the types a control's `params` are any mapping, because every plug-in has its own; an editor
should explain and complete them all the same. Only built-in probes are written out, so that the
published schema does not depend on what is installed; of others it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checker.attacks.api import GROUP, load_attack
from checker.plugins import BUILT_IN

_CONTROLS = ("ControlSpec", "InheritingControlSpec")
_SHARED = {
    "horizonTokens": "so many tokens are drawn, and compared with as many of the true record",
    "score": "the number that tells members apart",
    "temperature": "of sampling: below 1 the model keeps to what it finds likely, above 1 it strays"
    " from it",
    "topP": "of sampling: only the likeliest tokens that make up this share are drawn from",
}
"""What parameters mean that several probes share."""


def with_probes(
    schema: dict[str, Any], *, schema_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return the schema of policies, with what each built-in probe takes and measures.

    Args:
        schema: in draft-07; the definitions of its controls are extended in a copy.
        schema_of: takes a model, and an `identifier`, to its schema in draft-07.
    """
    rules, definitions = [], dict(schema["definitions"])
    for name in BUILT_IN[GROUP]:
        attack = load_attack(name)
        params = schema_of(attack.params, identifier=name)
        definitions |= params.get("definitions", {})
        metrics = [metric for metric, one in attack.metrics.items() if one.limitable]
        rules.append(
            {
                "if": {"properties": {"probe": {"const": name}}, "required": ["probe"]},
                "then": {
                    "properties": {
                        "params": {
                            "description": f"parameters of {name}",
                            "type": "object",
                            "properties": _explained(params["properties"]),
                            "additionalProperties": False,
                        },
                        "metric": {
                            "description": f"what {name} measures; higher is leakier",
                            "enum": metrics,
                        },
                    }
                },
            }
        )
    for name in _CONTROLS:
        control = definitions[name]
        definitions[name] = {**control, "allOf": [*control.get("allOf", []), *rules]}
    return {**schema, "definitions": dict(sorted(definitions.items()))}


def _explained(properties: dict[str, Any]) -> dict[str, Any]:
    shared = {name: {"description": words} for name, words in _SHARED.items()}
    return {name: {**shared.get(name, {}), **one} for name, one in properties.items()}
