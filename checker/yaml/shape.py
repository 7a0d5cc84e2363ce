"""What pydantic found wrong with a document's shape, as plain sentences at the lines they concern.

One sentence per place: a value that fits no branch of a union gets one message that names all of
them, a mapping that was meant for one branch is judged by that branch only.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from checker.errors import Problem
from checker.plugins import suggestion
from checker.yaml.characters import foreign_character
from checker.yaml.expected import expected_at, is_model, keys_of
from checker.yaml.scalars import DECIMAL
from checker.yaml.source import KeyPath, Node, Source, dotted, short
from checker.yaml.syntax import missing_space

_Model = TypeVar("_Model", bound=BaseModel)

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a date such as 2026-10-01",
    timedelta: "a duration such as P90D",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


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
    unread: KeyPath | None = None,
) -> list[Problem]:
    """Translate a validation error.

    Args:
        error: what `model` raised for the value at `base`.
        model: the type expected there.
        source: the document.
        base: where in the document the value stands.
        unread: a part of the document that leads to others which could not be read, so that nothing
            beside it is known to be missing.

    Returns:
        One problem per place, none where the value could not be read in the first place.
    """
    data = source.at(base)
    assert data is not None  # the error is of this value
    complaints = [_complaint(details, data) for details in error.errors(include_url=False)]
    problems: dict[tuple[KeyPath, str], Problem] = {}
    for complaint in _one_per_place(complaints):
        path = (*base, *complaint.path)
        node = source.at(path)
        if node is not None and (
            node.broken or (complaint.kind == "value_error" and node.holds_broken)
        ):
            continue  # which is reported already
        message = _sentence(complaint, model, data)
        problems.setdefault((path, complaint.kind), source.problem(path, message))
    misspelt = {
        (path[:-1], problem.message.rpartition("; did you mean ")[2])
        for (path, kind), problem in problems.items()
        if kind == "extra_forbidden"
    }
    return [  # a key that is there, but misspelt, is not missing too
        problem
        for (path, kind), problem in problems.items()
        if kind != "missing"
        or not (
            (unread is not None and path[: len(unread)] != unread)
            or (path[:-1], f"'{path[-1]}'?") in misspelt
        )
    ]


def mended(
    error: ValidationError, *, model: type[_Model], source: Source, spare: KeyPath
) -> _Model | None:
    """Return the document without what is wrong with it, or None where too much is.

    Unknown keys are taken for the known key they resemble, or left out.

    Args:
        error: what `model` raised for the document.
        model: the type expected.
        source: the document.
        spare: a mapping, entries of which that are wrong in themselves are left out.
    """
    value = copy.deepcopy(source.value)
    complaints = [_complaint(one, source.root) for one in error.errors(include_url=False)]
    for path in [c.path for c in complaints if c.kind == "extra_forbidden"]:
        known = expected_at(model, path[:-1]).keys
        _rename_or_drop(_value_at(value, path[:-1]), path[-1], known)
    try:
        return model.model_validate(value)
    except ValidationError as rest:
        for details in rest.errors(include_url=False):
            if details["loc"][: len(spare)] == spare and len(details["loc"]) > len(spare):
                _value_at(value, spare).pop(details["loc"][len(spare)], None)
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


def _value_at(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value[step]
    return value


# --- which errors count -------------------------------------------------------------------------


def _complaint(details: ErrorDetails, data: Node) -> _Complaint:
    """Drop pydantic's own steps (branch labels, "[key]") from a location by walking the data."""
    path: list[str | int] = []
    union: KeyPath | None = None
    branch = ""
    here, of_key = data, False
    for position, step in enumerate(details["loc"]):
        node = here.at((step,))
        if node is not None:
            path.append(step)
            here = node
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


# --- sentences ----------------------------------------------------------------------------------


def _sentence(complaint: _Complaint, model: type[BaseModel], data: Node) -> str:
    """Say what is wrong, what was expected, and what was probably meant."""
    kind, details, path = complaint.kind, complaint.details, complaint.path
    expected = expected_at(model, path, of_key=complaint.of_key)
    if kind == "missing":
        return f"'{path[-1]}' is missing; expected {_in_words(expected.kinds)}"
    if kind == "extra_forbidden":
        known = expected_at(model, path[:-1]).keys
        hint = _home_of(path, model, data) or suggestion(str(path[-1]), known)
        return f"unknown key '{short(str(path[-1]))}'{hint or f'; expected {_listed(known)}'}"
    node = data.at(path)
    assert node is not None  # pydantic complains of what is there
    text = str(path[-1]) if complaint.of_key else node.content
    shown = f"'{short(str(path[-1]))}'" if complaint.of_key else _shown(node)
    if isinstance(text, str) and (complaint.wrong_kind or kind == "string_pattern_mismatch"):
        strange = foreign_character(text)
        if strange is not None:
            return f"{shown} does not fit: {strange}"
    if complaint.wrong_kind:
        home = _home_of(path, model, data) if isinstance(text, str) else ""
        return _wrong_kind(node, expected.kinds) + home
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{shown} must be {words} {_number(details[key])}"
    if kind == "string_pattern_mismatch":
        form = expected.form or expected.description or f"pattern {details['pattern']}"
        return f"{shown} does not fit: {form}"
    if kind == "string_too_long":
        return f"this text is longer than {details['max_length']} characters"
    if kind == "too_short" and details["min_length"] > 1:
        return f"this needs {details['min_length']} items at the least"
    if kind in ("too_short", "string_too_short"):
        return "this must not be empty"
    if kind == "value_error":
        return str(details["error"])
    message = complaint.message
    return f"{shown} does not fit: {message[:1].lower()}{message[1:]}"


def _home_of(path: KeyPath, model: type[BaseModel], data: Node) -> str:
    """Say where a key belongs that stands too far to the left or to the right, or nothing."""
    if not path or not isinstance(path[-1], str) or _is_known(path, model):
        return ""
    for depth in range(len(path) - 2, -1, -1):
        if _is_known((*path[:depth], path[-1]), model):
            return f"; '{path[-1]}' belongs to {_named(path[:depth])}: check the indentation"
    siblings = data.at(path[:-1])
    for name in siblings.content if siblings is not None and siblings.is_mapping else ():
        if name != path[-1] and _is_known((*path[:-1], name, path[-1]), model):
            place = _named((*path[:-1], name))
            return f"; '{path[-1]}' belongs to {place}: check the indentation"
    return ""


def _is_known(path: KeyPath, model: type[BaseModel]) -> bool:
    return path[-1] in expected_at(model, path[:-1]).keys


def _named(path: KeyPath) -> str:
    return dotted(path) or "the document itself"


def _in_words(found: list[Any]) -> str:
    words = []
    for kind in found:
        if get_origin(kind) is Literal:
            words += [f"'{value}'" for value in get_args(kind)]
        elif is_model(kind):
            words.append(f"a mapping with {_listed(keys_of(kind))}")
        elif get_origin(kind) is list:
            words.append("a list")
        else:
            words.append(_WORDS.get(kind, "a mapping"))
    return _listed(words)


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _wrong_kind(node: Node, found: list[Any]) -> str:
    message = f"expected {_in_words(found)}, but found {_shown(node)}"
    if node.text is None:
        return message
    text = node.text
    if hint := _shorthand(node, text, found):
        return message + hint
    if {int, float} & set(found) and (hint := _number_hint(text, found, plain=node.plain)):
        return message + hint
    choices = [str(v) for kind in found if get_origin(kind) is Literal for v in get_args(kind)]
    return message + (suggestion(text, choices) or _collection_hint(text, found))


def _shorthand(node: Node, text: str, found: list[Any]) -> str:
    """Explain a value that stands where a mapping with it belongs, or a list of such mappings.

    A model says in `shorthand` which of its keys people mean who write its value without it.
    """
    for kind in found:
        (inner,) = get_args(kind) if get_origin(kind) is list else (kind,)
        key = getattr(inner, "shorthand", None)
        if key is not None:
            is_number = node.plain and DECIMAL.fullmatch(text)
            meant = f"{{{key}: {short(text)}}}" if is_number else f'{{{key}: "{short(text)}"}}'
            return f"; write [{meant}]" if get_origin(kind) is list else f"; write {meant}"
    return ""


def _collection_hint(text: str, found: list[Any]) -> str:
    """Explain a text that was meant for a list or a mapping."""
    if any(get_origin(kind) is list for kind in found):
        return f"; write it in brackets: [{short(text)}]"
    meant = missing_space(text)
    return f"; a space is missing after the colon: {meant}" if meant else ""


def _number_hint(text: str, found: list[Any], *, plain: bool) -> str:
    """Explain why something that looks like a number is none, or not the one expected."""
    if float not in found and re.fullmatch(r"-?[1-9][0-9]{0,2}(,[0-9]{3})+", text):
        return f"; write {text.replace(',', '')}"
    if re.fullmatch(r"-?[0-9]+,[0-9]+", text):
        return f"; YAML wants a decimal point, so write {text.replace(',', '.')}"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?\s?%", text):
        return f"; write the fraction {Decimal(text.rstrip('% ')).scaleb(-2).normalize():f}"
    if re.fullmatch(r"[-+]?[0-9][0-9A-Fa-fx_:.]*", text) and not DECIMAL.fullmatch(text):
        return "; write it in decimal digits, without a leading zero"
    if not DECIMAL.fullmatch(text) or len(text) > 30:
        return ""
    if not plain:
        return "; remove the quotes"
    exact = Decimal(text)
    if float in found or abs(exact) >= 2**63 or exact != int(exact):
        return ""
    return f"; write {int(exact)}"


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _shown(node: Node) -> str:
    """Show a value as it was written."""
    if node.is_mapping or node.is_list:
        return "a mapping" if node.is_mapping else "a list"
    text = str(node.content) if node.text is None else node.text
    read = not isinstance(node.content, str) or (node.plain and DECIMAL.fullmatch(text))
    return short(text) if read else f"'{short(text)}'"
