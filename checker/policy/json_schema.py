"""JSON Schemas of the documents, for YAML editors and for readers without Python.

Editors speak draft-07, pydantic speaks 2020-12: definitions move, and a description beside a
`$ref`, which draft-07 ignores, is kept by wrapping the reference. The schema knows shapes only;
references inside a document are for `phigate validate`.

The types describe whole policies, for that is what they are once resolved; their schema learns here
what a policy that extends others may leave out, and what a control's `params` are for each built-in
probe.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from checker.attacks.api import GROUP, load_attack
from checker.errors import UsageError
from checker.plugins import BUILT_IN, suggestion
from checker.policy.parsing import DOCUMENT_KINDS

DRAFT = "http://json-schema.org/draft-07/schema#"


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles pydantic makes up from field names: editors show them as noise."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document.

    Args:
        kind: one of `DOCUMENT_KINDS`.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in DOCUMENT_KINDS:
        raise UsageError(
            f"unknown kind '{kind}'{suggestion(kind, DOCUMENT_KINDS)}; there are"
            f" {', '.join(DOCUMENT_KINDS)}"
        )
    schema = dict(_without_null(json_schema_of(DOCUMENT_KINDS[kind], identifier=kind)))
    if kind == "LeakagePolicy":
        schema = _with_probes(_with_partial_policies(schema))
    return schema


def json_schema_of(
    model: type[BaseModel],
    *,
    identifier: str,
    mode: Literal["validation", "serialization"] = "validation",
) -> dict[str, Any]:
    """Return a model's JSON Schema in draft-07.

    Args:
        model: the root of the document.
        identifier: names the schema: its `$id` is `urn:phigate:v1:IDENTIFIER`.
        mode: whether keys with a default may be missing (validation) or are always written.
    """
    raw = model.model_json_schema(by_alias=True, mode=mode, schema_generator=_Untitled)
    schema = _draft7(raw)
    definitions = schema.pop("definitions", {})
    head = {"$schema": DRAFT, "$id": f"urn:phigate:v1:{identifier}", "title": identifier}
    return {**head, **{k: v for k, v in schema.items() if k != "title"}} | (
        {"definitions": dict(sorted(definitions.items()))} if definitions else {}
    )


def _draft7(node: Any) -> Any:
    """Rewrite a 2020-12 schema as draft-07."""
    if isinstance(node, list):
        return [_draft7(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "$defs":
            out["definitions"] = {name: _draft7(one) for name, one in value.items()}
        elif key in ("properties", "patternProperties"):  # names, not keywords
            out[key] = {name: _draft7(one) for name, one in value.items()}
        elif key == "prefixItems":
            out["items"] = _draft7(value)
        elif key == "$ref":
            out[key] = value.replace("#/$defs/", "#/definitions/")
        elif key == "description":
            out[key] = re.sub(r"(?<!\n)\n(?!\n)", " ", value)
        elif key in ("default", "const", "enum", "examples"):
            out[key] = value
        else:
            out[key] = _draft7(value)
    if "patternProperties" in out:  # pydantic leaves names that do not match the pattern free
        out.setdefault("additionalProperties", False)
    if "$ref" in out and len(out) > 1:
        out = {"allOf": [{"$ref": out.pop("$ref")}], **out}
    return out


def _without_null(node: Any) -> Any:
    """Drop `null`: where a key of a document may be left out, it may not be left empty."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {
        key: {name: _without_null(one) for name, one in value.items()}
        if key == "properties"  # names, not keywords
        else _without_null(value)
        for key, value in node.items()
    }
    default = out.get("default", ())
    if default is None:
        del out["default"]
    elif isinstance(default, dict):
        out["default"] = _given(default)
    branches = [one for one in out.get("anyOf", []) if one != {"type": "null"}]
    if len(branches) > 1:
        out["anyOf"] = branches
    elif branches:
        del out["anyOf"]
        only = branches[0]
        out = {**({"allOf": [only]} if "$ref" in only and out else only), **out}
    return out


def _given(default: dict[str, Any]) -> dict[str, Any]:
    """Return what a default holds, without keys that hold nothing, to any depth."""
    return {
        key: _given(value) if isinstance(value, dict) else value
        for key, value in default.items()
        if value is not None
    }


# --- policies that need not say everything themselves -------------------------------------------

_PARTIAL = (
    "PolicySpec",
    "AttackerSpec",
    "PolicyClassSpec",
    "ControlSpec",
    "Limit",
    "PrerequisiteSpec",
    "Citation",
    "WaiverRules",
)
"""What a policy may write a part of where it inherits the rest; items of lists are whole."""

_REFERENCE = "#/definitions/"


def _with_partial_policies(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what policies that inherit may leave out; what they must say is for the reader."""
    schema = copy.deepcopy(schema)
    definitions = schema["definitions"]
    definitions |= {
        _partial(name): _relaxed(definitions[name]) for name in _PARTIAL if name in definitions
    }
    spec, used = definitions["PolicySpec"], definitions["PolicyClassSpec"]
    spec["required"] = [key for key in spec["required"] if key not in ("attackers", "controls")]
    spec["if"] = {"properties": {"abstract": {"const": True}}, "required": ["abstract"]}
    spec["else"] = {"required": ["attackers", "controls"]}
    whole = used.pop("required")
    used["anyOf"] = [
        {"required": [*rest]} for rest in (["use"], [*whole, "codes"], [*whole, "anyOf"])
    ]
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


# --- what probes take and measure ---------------------------------------------------------------

_CONTROLS = ("ControlSpec", "InheritingControlSpec")
_SHARED = {
    "horizonTokens": "so many tokens are drawn, and compared with as many of the true record",
    "score": "the number that tells members apart",
    "temperature": "of sampling: below 1 the model keeps to what it finds likely, above 1 it strays"
    " from it",
    "topP": "of sampling: only the likeliest tokens that make up this share are drawn from",
}
"""What parameters mean that several probes share."""


def _with_probes(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what each built-in probe takes and measures; what is installed changes no schema."""
    rules, definitions = [], dict(schema["definitions"])
    for name in BUILT_IN[GROUP]:
        attack = load_attack(name)
        params = json_schema_of(attack.params, identifier=name)
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
