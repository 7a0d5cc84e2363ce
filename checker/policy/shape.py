"""What pydantic found wrong with a document's shape, as plain sentences at the lines they concern.

One sentence per place: a value that fits no branch of a union gets one message that names all of
them, a mapping that was meant for one branch is judged by that branch only. Text that YAML read as
something else (`042` as 34, `no` as false) is named as written and as read, whatever was expected.
"""

from __future__ import annotations

import copy
import difflib
import re
import types
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from checker.errors import Problem
from checker.plugins import suggestion
from checker.policy.documents import (
    CELL,
    COUNT,
    DEVICE,
    GAP,
    NAME,
    POLICY_REF,
    SHA256,
    VERSION,
    Limit,
    ParentRef,
)
from checker.policy.source import KeyPath, Source, dotted, short
from checker.policy.syntax import missing_space

__all__ = ["mended", "shape_problems", "unusual_numbers"]

_Model = TypeVar("_Model", bound=BaseModel)

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a date such as 2026-10-01",
    timedelta: "a duration such as P90D",
}
_FORMS = {
    NAME: "lower-case letters, digits, hyphens and dots",
    VERSION: "letters, digits, dots, plus signs, underscores and hyphens",
    SHA256: "a SHA-256, 64 hexadecimal digits in lower case",
    DEVICE: "auto, cpu, cuda or cuda:N",
    GAP: "a number with s, m, h, d, w or y, such as 7d",
    COUNT: "hits and patients, such as 0 of 80",
    CELL: "control/attacker or control/attacker/subgroup",
    POLICY_REF: "name@version",
}
"""What a text of each pattern is made of, in words."""
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_SHORTHAND: dict[Any, str] = {Limit: "fail", ParentRef: "ref"}
"""The key that people mean who write a mapping's value without it."""
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+")
_SCIENTIFIC = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class _Complaint:
    """One pydantic error, its location split into what the file has and what pydantic added.

    Args:
        path: keys and indices that stand in the file; a missing key is its last step.
        union, branch: where a union begins and which of its branches complains, if any does.
        of_key: it is the key that is wrong, not its value.
        kind: pydantic's type of error.
        details: its context.
    """

    path: KeyPath
    union: KeyPath | None
    branch: str
    of_key: bool
    kind: str
    details: dict[str, Any]
    message: str

    @property
    def wrong_kind(self) -> bool:
        """Whether the value is of another kind than expected, rather than a poor one of it."""
        return self.kind == "literal_error" or self.kind.endswith("_type")


def shape_problems(
    error: ValidationError,
    *,
    model: type[BaseModel],
    source: Source,
    base: KeyPath = (),
    fragment: bool = False,
) -> list[Problem]:
    """Translate a validation error.

    Args:
        error: what `model` raised for the value at `base`.
        model: the type expected there.
        source: the document.
        base: where in the document the value stands.
        fragment: a part of the document could not be read, so that nothing is known to be missing.

    Returns:
        One problem per place, none where the value could not be read in the first place.
    """
    data = source.value
    for step in base:
        data = data[step]
    complaints = [_complaint(details, data) for details in error.errors(include_url=False)]
    problems: dict[tuple[KeyPath, str], Problem] = {}
    for complaint in _one_per_place(complaints):
        path = (*base, *complaint.path)
        if path in source.broken or _follows(complaint, path, source):
            continue
        message = _sentence(complaint, model, data, source, path)
        problems.setdefault((path, complaint.kind), source.problem(path, message))
    misspelt = {
        (path[:-1], problem.message.rpartition("; did you mean ")[2])
        for (path, kind), problem in problems.items()
        if kind == "extra_forbidden"
    }
    return [  # a key that is there, but misspelt, is not missing too
        problem
        for (path, kind), problem in problems.items()
        if kind != "missing" or not (fragment or (path[:-1], f"'{path[-1]}'?") in misspelt)
    ]


def mended(error: ValidationError, *, model: type[_Model], source: Source) -> _Model | None:
    """Return the document without what is wrong with it, or None where too much is.

    Unknown keys are taken for the known key they resemble, or left out; a control that is wrong in
    itself is left out.
    """
    value = copy.deepcopy(source.value)
    complaints = [_complaint(details, value) for details in error.errors(include_url=False)]
    for path in [c.path for c in complaints if c.kind == "extra_forbidden"]:
        owners, _ = _expected(model, path[:-1], of_key=False)
        _rename_or_drop(_at(value, path[:-1]), path[-1], _known_keys(owners))
    try:
        return model.model_validate(value)
    except ValidationError as rest:
        for details in rest.errors(include_url=False):
            if details["loc"][:2] == ("spec", "controls") and len(details["loc"]) > 2:
                value["spec"]["controls"].pop(details["loc"][2], None)
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _rename_or_drop(holder: Any, key: str | int, known: list[str]) -> None:
    if not isinstance(holder, dict) or key not in holder:
        return
    held = holder.pop(key)
    near = difflib.get_close_matches(str(key), known, n=1)
    if near:
        holder.setdefault(near[0], held)


def _follows(complaint: _Complaint, path: KeyPath, source: Source) -> bool:
    """Whether a rule about a whole element fails because a part of it could not be read."""
    return complaint.kind == "value_error" and any(
        part[: len(path)] == path for part in source.broken
    )


def unusual_numbers(source: Source, *, reported: set[str]) -> list[Problem]:
    """Refuse numbers that say one thing to people and another to YAML: 010 is 8, 1:30 is 90."""
    found = []
    for path, scalar in source.scalars.items():
        if not scalar.plain or path in source.broken or dotted(path) in reported:
            continue
        value = _at(source.value, path)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and not _DECIMAL.fullmatch(scalar.text):
            message = f"YAML reads {scalar.text} as {value}; write {value} if that is meant"
            found.append(source.problem(path, message))
    return found


def _at(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value[step]
    return value


# --- which errors count -------------------------------------------------------------------------


def _complaint(details: ErrorDetails, data: Any) -> _Complaint:
    """Drop pydantic's own steps (branch labels, "[key]") from a location by walking the data."""
    path: list[str | int] = []
    union: KeyPath | None = None
    branch = ""
    here, of_key = data, False
    for position, step in enumerate(details["loc"]):
        in_mapping = isinstance(here, dict) and step in here
        in_list = isinstance(here, list) and isinstance(step, int) and step < len(here)
        if in_mapping or in_list:
            path.append(step)
            here = here[step]
        elif details["type"] == "missing" and position == len(details["loc"]) - 1:
            path.append(step)
        elif step == "[key]":
            of_key = True
        elif union is None:
            union, branch = tuple(path), str(step)
    context = dict(details.get("ctx") or {})
    return _Complaint(tuple(path), union, branch, of_key, details["type"], context, details["msg"])


def _one_per_place(complaints: list[_Complaint]) -> Iterator[_Complaint]:
    """Of each union keep one branch: the first that the value is of the right kind for."""
    unions: dict[KeyPath, dict[str, list[_Complaint]]] = defaultdict(dict)
    for complaint in complaints:
        if complaint.union is None:
            yield complaint
        else:
            unions[complaint.union].setdefault(complaint.branch, []).append(complaint)
    for place, branches in unions.items():
        fitting = [
            branch
            for branch in branches.values()
            if not any(c.path == place and c.wrong_kind for c in branch)
        ]
        if fitting:
            yield from fitting[0]
        else:
            yield next(c for branch in branches.values() for c in branch if c.path == place)


# --- what was expected --------------------------------------------------------------------------


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Unwrap Annotated and unions; None is no alternative, for a key can be left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _alternatives(branch)
    elif annotation is not type(None):
        yield annotation


def _description(annotation: Any) -> str | None:
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, FieldInfo) and extra.description:
                return extra.description
    return None


def _expected(
    model: type[BaseModel], path: KeyPath, *, of_key: bool
) -> tuple[list[Any], str | None]:
    """Return the types that may stand at a path, and the field's description."""
    found: list[Any] = [model]
    described: str | None = None
    for position, step in enumerate(path):
        inner: list[Any] = []
        key_wanted = of_key and position == len(path) - 1
        for kind in found:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                field = _field(kind, step)
                if field is not None:
                    inner.append(field.annotation)
                    described = field.description or _description(field.annotation)
            elif get_origin(kind) in (dict, list):
                inner.append(get_args(kind)[0 if key_wanted else -1])
                described = _description(inner[-1])
        found = [alternative for annotation in inner for alternative in _alternatives(annotation)]
    return found, described


def _field(model: type[BaseModel], key: str | int) -> FieldInfo | None:
    return next((f for f in model.model_fields.values() if f.alias == key), None)


def _keys(kind: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _known_keys(owners: list[Any]) -> list[str]:
    models = [o for o in owners if isinstance(o, type) and issubclass(o, BaseModel)]
    return [name for owner in models for name in _keys(owner)]


def _in_words(found: list[Any]) -> str:
    words = []
    for kind in found:
        if get_origin(kind) is Literal:
            words += [f"'{value}'" for value in get_args(kind)]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            words.append(f"a mapping with {_listed(_keys(kind))}")
        elif get_origin(kind) is list:
            words.append("a list")
        else:
            words.append(_WORDS.get(kind, "a mapping"))
    return _listed(words)


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- sentences ----------------------------------------------------------------------------------


def _sentence(
    complaint: _Complaint, model: type[BaseModel], data: Any, source: Source, path: KeyPath
) -> str:
    """Say what is wrong, what was expected, and what was probably meant."""
    kind, details = complaint.kind, complaint.details
    found, described = _expected(model, complaint.path, of_key=complaint.of_key)
    if kind == "missing":
        return f"'{path[-1]}' is missing; expected {_in_words(found)}"
    if kind == "extra_forbidden":
        owners, _ = _expected(model, complaint.path[:-1], of_key=False)
        home = _home_of(complaint.path, model, data)
        return _unknown_key(str(path[-1]), owners, home=home)
    value = _at(data, complaint.path)
    shown = _shown(path[-1] if complaint.of_key else value, source, path)
    if complaint.wrong_kind:
        home = _home_of(complaint.path, model, data) if isinstance(value, str) else ""
        return _wrong_kind(value, found, source, path) + home
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{shown} must be {words} {_number(details[key])}"
    if kind == "string_pattern_mismatch":
        pattern = details["pattern"]
        return f"{shown} does not fit: {_FORMS.get(pattern) or described or 'pattern ' + pattern}"
    if kind == "string_too_long":
        return f"this text is longer than {details['max_length']} characters"
    if kind in ("too_short", "string_too_short"):
        return "this must not be empty"
    if kind == "value_error":
        return str(details["error"])
    message = complaint.message
    return f"{shown} does not fit: {message[:1].lower()}{message[1:]}"


def _home_of(path: KeyPath, model: type[BaseModel], data: Any) -> str:
    """Say where a key belongs that stands too far to the left or to the right, or nothing."""
    if not path or not isinstance(path[-1], str) or _is_known(path, model):
        return ""
    for depth in range(len(path) - 2, -1, -1):
        if _is_known((*path[:depth], path[-1]), model):
            return f"; '{path[-1]}' belongs to {_named(path[:depth])}: check the indentation"
    siblings = _at(data, path[:-1])
    for name in siblings if isinstance(siblings, dict) else ():
        if name != path[-1] and _is_known((*path[:-1], name, path[-1]), model):
            place = _named((*path[:-1], name))
            return f"; '{path[-1]}' belongs to {place}: check the indentation"
    return ""


def _is_known(path: KeyPath, model: type[BaseModel]) -> bool:
    owners, _ = _expected(model, path[:-1], of_key=False)
    return path[-1] in _known_keys(owners)


def _named(path: KeyPath) -> str:
    return dotted(path) or "the document itself"


def _unknown_key(key: str, owners: list[Any], *, home: str) -> str:
    known = _known_keys(owners)
    hint = home or suggestion(key, known) or f"; expected {_listed(known)}"
    return f"unknown key '{short(key)}'{hint}"


def _shorthand(value: Any, found: list[Any], source: Source, path: KeyPath) -> str:
    """Explain a value that stands where a mapping with it belongs, or a list of such mappings."""
    if path not in source.scalars:
        return ""
    text = short(source.scalars[path].text)
    for kind in found:
        (inner,) = get_args(kind) if get_origin(kind) is list else (kind,)
        if key := _SHORTHAND.get(inner):
            meant = f'{{{key}: "{text}"}}' if isinstance(value, str) else f"{{{key}: {text}}}"
            return f"; write [{meant}]" if get_origin(kind) is list else f"; write {meant}"
    return ""


def _wrong_kind(value: Any, found: list[Any], source: Source, path: KeyPath) -> str:
    scalar = source.scalars.get(path)
    plain = scalar is not None and scalar.plain
    if scalar and plain and str in found and not isinstance(value, str):
        noun = "code " if "values" in path[-2:-1] else ""
        noun = f"{path[-1]} " if isinstance(path[-1], str) else noun
        return (
            f"{noun}{scalar.text} is not quoted: YAML reads it as {_reading(value)};"
            f' write "{scalar.text}"'
        )
    message = f"expected {_in_words(found)}, but found {_shown(value, source, path)}"
    if hint := _shorthand(value, found, source, path):
        return message + hint
    if not isinstance(value, str):
        return message
    if {int, float} & set(found) and (hint := _number_hint(value, plain=plain)):
        return message + hint
    choices = [str(v) for kind in found if get_origin(kind) is Literal for v in get_args(kind)]
    return message + (suggestion(value, choices) or _collection_hint(value, found))


def _collection_hint(text: str, found: list[Any]) -> str:
    """Explain a text that was meant for a list or a mapping."""
    if any(get_origin(kind) is list for kind in found):
        return f"; write it in brackets: [{short(text)}]"
    meant = missing_space(text)
    return f"; a space is missing after the colon: {meant}" if meant else ""


def _number_hint(text: str, *, plain: bool) -> str:
    """Explain why something that looks like a number is text."""
    if re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        return f"; YAML wants a decimal point, so write {text.replace(',', '.')}"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?\s?%", text):
        return f"; write the fraction {Decimal(text.rstrip('% ')).scaleb(-2).normalize():f}"
    if not _DECIMAL.fullmatch(text) and not _SCIENTIFIC.fullmatch(text):
        return ""
    if not plain:
        return "; remove the quotes"
    if not _SCIENTIFIC.fullmatch(text):
        return ""
    return f": YAML reads {text} as text; write {Decimal(text):f}"


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _reading(value: Any) -> str:
    """Say what YAML made of a scalar: "the number 34", "false", "the date 2026-01-02"."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"the number {value}" if isinstance(value, int | float) else f"the date {value}"


def _shown(value: Any, source: Source, path: KeyPath) -> str:
    """Show a value as it was written, and as it was read where that differs."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"'{short(value)}'"
    text = source.scalars[path].text if path in source.scalars else str(value)
    same = text.lower() == str(value).lower() or isinstance(value, date)
    if same or _DECIMAL.fullmatch(text):
        return text
    return f"{text}, which YAML reads as {_reading(value)}"
