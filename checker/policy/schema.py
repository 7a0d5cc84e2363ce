"""JSON Schemas of the documents, for YAML editors and for readers without Python.

Editors speak draft-07, pydantic speaks 2020-12: definitions move, and a description beside a
`$ref`, which draft-07 ignores, is kept by wrapping the reference. The schema knows shapes only;
references inside a document are for `phigate validate`.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from checker.errors import UsageError
from checker.plugins import suggestion
from checker.policy.loading import DOCUMENT_KINDS
from checker.policy.partial_schema import with_partial_policies
from checker.policy.probe_schema import with_probes

__all__ = ["document_schema", "json_schema_of"]

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
        schema = with_probes(with_partial_policies(schema), schema_of=json_schema_of)
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
    out = {key: _without_null(value) for key, value in node.items()}
    default = out.get("default", ())
    if default is None:
        del out["default"]
    elif isinstance(default, dict):
        out["default"] = {key: value for key, value in default.items() if value is not None}
    branches = [one for one in out.get("anyOf", []) if one != {"type": "null"}]
    if len(branches) > 1:
        out["anyOf"] = branches
    elif branches:
        del out["anyOf"]
        only = branches[0]
        out = {**({"allOf": [only]} if "$ref" in only and out else only), **out}
    return out
