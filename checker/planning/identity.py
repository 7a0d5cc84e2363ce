"""What makes two things the same: everything in their documents but what is excluded by name.

A job, a prompt and a measurement are named by digests of what they depend on. Were that a list of
fields that matter, a field added to a document and forgotten in the list would give one attacker
another's prompts, and a model a wrong pass. So identity is every field, minus `EXCLUDED`: fields
that say who demands something, how much, or why, and can change no observation. A field forgotten
here costs a measurement done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from checker.attacks.api import Params
from checker.canonical import digest
from checker.policy import ResolvedAttacker
from checker.policy.classes import pooled
from checker.policy.documents import (
    AttributeClassSpec,
    CodeSet,
    ControlSpec,
    DataSpec,
    ExcludedCodes,
    Knowledge,
    ModelSpec,
    PolicyClassSpec,
    PolicySpec,
    ProxyCodes,
)

EXCLUDED: dict[type, frozenset[str]] = {
    # what it is called, what it may see (jobs ask a target's capability), and where it counts
    ResolvedAttacker: frozenset({"name", "title", "access", "gating", "cites"}),
    # what is said about codes
    AttributeClassSpec: frozenset(
        {
            "title",
            "sensitivity",
            "also_sensitive",
            "confidentiality",
            "description",
            "benign",
            "words",
            "traps",
            "notes",
            "reviewed",
        }
    ),
    PolicyClassSpec: frozenset({"use"}),  # its codes are part of the class by now
    CodeSet: frozenset({"note"}),
    ExcludedCodes: frozenset({"why"}),
    ProxyCodes: frozenset({"why"}),
    # what is demanded, of whom it is demanded, and what stands in the measurement itself
    ControlSpec: frozenset(
        {
            "title",
            "attribute_class",
            "params",
            "limits",
            "subgroups",
            "severity",
            "enforcement",
            "on_inconclusive",
            "adjustable",
            "shortened",
            "rationale",
            "remediation",
            "cites",
        }
    ),
    # where files lie: digests of their contents stand beside; so do options (`builder`)
    ModelSpec: frozenset({"path", "adapter", "options"}),
    # and what is said of how the patients came there
    DataSpec: frozenset({"path", "codes", "assignment", "assigned_by"}),
}
"""Fields by the type that declares them, and the only ones that identity leaves out."""


def identity(value: Any) -> Any:
    """Return a document, or a part of one, as plain data without what cannot matter.

    Args:
        value: a pydantic model, a dataclass, or plain values, nested in any way.

    Raises:
        TypeError: something in it has no plain form.
    """
    if isinstance(value, Knowledge):
        return _known(value)
    if isinstance(value, BaseModel):
        named = {name: getattr(value, name) for name in type(value).model_fields}
    elif is_dataclass(value) and not isinstance(value, type):
        named = {one.name: getattr(value, one.name) for one in fields(value)}
    elif isinstance(value, Mapping):
        return {str(key): identity(one) for key, one in value.items()}
    elif isinstance(value, list | tuple):
        return [identity(one) for one in value]
    elif value is None or isinstance(value, str | int | float | bool):
        return value
    elif isinstance(value, date):
        return value.isoformat()
    else:
        raise TypeError(f"{type(value).__name__} is part of no document")
    left_out = excluded(type(value))
    return {name: identity(one) for name, one in named.items() if name not in left_out}


def inputs_of(params: BaseModel, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return parameters as inputs of a job, in camelCase.

    Args:
        params: of an attack.
        without: fields that cannot matter for this kind of job, or stand in its inputs otherwise.

    Raises:
        ValueError: the parameters have no such field.
    """
    left_out = set(without)
    if strange := left_out - set(type(params).model_fields):
        raise ValueError(f"{type(params).__name__} has no field {min(strange)}")
    named = {name: one for name, one in identity(params).items() if name not in left_out}
    return {to_camel(name): one for name, one in named.items()}


def excluded(kind: type) -> frozenset[str]:
    """Return the fields of a type that its identity leaves out, inherited ones too."""
    return frozenset().union(*(EXCLUDED.get(base, frozenset()) for base in kind.__mro__))


def _known(knowledge: Knowledge) -> dict[str, Any]:
    """Return knowledge as a set: in which order fields and globs are written changes no prompt."""
    return {
        name: sorted(value)
        if isinstance(value := getattr(knowledge, name), list) and selector.grows == "set"
        else value
        for name, selector in type(knowledge).selectors().items()
    }


def class_identity(spec: PolicySpec, name: str) -> Any:
    """Return what of an attribute class observations depend on; of a pool, of its classes.

    Their names are a part of it: evidence says by name which of a pool's classes a patient has.
    """
    if spec.attribute_classes[name].any_of is None:
        return identity(spec.attribute_classes[name])
    own = pooled(spec.attribute_classes, name)
    return {"anyOf": {part: identity(one) for part, one in own.items()}}


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
            "control": identity(control),
            "params": identity(params),
            "class": class_identity(spec, name) if name else None,
            "attacker": identity(attacker),
            "subgroup": subgroup,
            "seed": spec.parameters.seed,
        }
    )
