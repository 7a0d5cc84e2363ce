"""The JSON Schema of policies that need not say everything themselves.

A policy that extends others leaves out what it inherits, one that is abstract has no controls, and
a class that is taken from a library has its codes from there. The types describe whole policies,
for that is what they are once resolved; here their schema learns what a file may leave out. Whether
the whole is complete only `phigate validate` can say.
"""

from __future__ import annotations

import copy
from typing import Any

_PARTIAL = (
    "PolicySpec",
    "AttackerSpec",
    "PolicyClassSpec",
    "ControlSpec",
    "Limit",
    "Citation",
    "WaiverRules",
)
"""What a policy may write a part of where it inherits the rest; items of lists are whole."""

_REFERENCE = "#/definitions/"


def with_partial_policies(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of policies, with what those that inherit may leave out.

    Args:
        schema: of whole policies, in draft-07.
    """
    schema = copy.deepcopy(schema)
    definitions = schema["definitions"]
    definitions |= {
        _partial(name): _relaxed(definitions[name]) for name in _PARTIAL if name in definitions
    }
    spec, used = definitions["PolicySpec"], definitions["PolicyClassSpec"]
    spec["required"] = [key for key in spec["required"] if key not in ("attackers", "controls")]
    spec["if"] = {"properties": {"abstract": {"const": True}}, "required": ["abstract"]}
    spec["else"] = {"required": ["attackers", "controls"]}
    used["anyOf"] = [{"required": ["use"]}, {"required": used.pop("required")}]
    schema["properties"]["spec"] = {
        "description": schema["properties"]["spec"]["description"],
        "if": {"properties": {"extends": {"minItems": 1}}, "required": ["extends"]},
        "then": {"$ref": _REFERENCE + _partial("PolicySpec")},
        "else": {"$ref": _REFERENCE + "PolicySpec"},
    }
    schema["definitions"] = dict(sorted(definitions.items()))
    return schema


def _partial(name: str) -> str:
    return f"Inheriting{name}"


def _relaxed(definition: dict[str, Any]) -> dict[str, Any]:
    """Drop what must be there, and refer to relaxed parts."""
    kept = {
        key: value for key, value in definition.items() if key not in ("required", "oneOf", "title")
    }
    relaxed: dict[str, Any] = _redirected(kept)
    return relaxed


def _redirected(node: Any) -> Any:
    if isinstance(node, list):
        return [_redirected(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _REFERENCE + _partial(name)
        if key == "$ref" and (name := str(value).removeprefix(_REFERENCE)) in _PARTIAL
        else _redirected(value)
        for key, value in node.items()
    }
