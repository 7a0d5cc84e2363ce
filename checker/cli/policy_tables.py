"""Explanations and comparisons of policies, drawn for people."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from checker.cli.console import plain_table, told
from checker.policy.explanation import Explanation, PolicyDiff, ResolvedField
from checker.policy.inheritance.resolving import said
from checker.policy.inheritance.rules import Direction
from checker.policy.located import Origin
from checker.report.wording.plain import plain
from checker.yaml import KeyPath, Place, dotted

VALUES_SHOWN = 12

_STYLES: dict[Direction, str] = {
    "looser": "bold red",
    "incomparable": "bold yellow",
    "tighter": "green",
    "neutral": "dim",
}


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print every field of a policy with its value, and the document and line it came from."""
    for index, origin in enumerate(explanation.documents):
        lead = "" if index == 0 else "rests on "
        console.print(f"{lead}[bold]{told(origin.reference)}[/]: {told(origin.file)}")
    table = plain_table("field", "value", "from")
    for section, fields in groupby(explanation.fields, key=_section):
        table.add_section()
        table.add_row(f"[bold]{told(dotted(section))}[/]", "", "")
        for shown in fields:
            name = dotted(shown.path[len(section) :])
            table.add_row(f"  {told(name)}", escape(_value(shown.value)), told(_from(shown)))
    console.print(table)


def print_control(explanation: Explanation, console: Console) -> None:
    """Print what one control says, and name what else holds for it."""
    own = ("spec", "controls", explanation.control)
    fields = tuple(one for one in explanation.fields if one.path[:3] == own)
    files = {one.place.file for one in fields if one.place}
    first, *others = explanation.documents
    documents = (first, *(one for one in others if one.file in files))
    print_explanation(replace(explanation, documents=documents, fields=fields), console)
    rest = len(explanation.fields) - len(fields)
    console.print(f"its attackers, class and citations, and what holds for all: {rest} more, --all")


_NAMED = (
    ("spec", "attackers"),
    ("spec", "attributeClasses"),
    ("spec", "controls"),
    ("spec", "prerequisites"),
    ("spec", "citations"),
)


def _section(one: ResolvedField) -> KeyPath:
    """Return what a field is shown under: its control, attacker, …, or part of the policy."""
    if one.path[:2] in _NAMED:
        return one.path[:3]
    return one.path[:2] if len(one.path) > 2 else one.path[:1]


def _from(one: ResolvedField) -> str:
    if one.place is None:
        return "default"
    name = one.document.reference if one.document else one.place.file
    return f"{name}, line {one.place.line}"


def _value(value: Any) -> str:
    """Show a value whole, but for long lists of codes."""
    if isinstance(value, dict):
        head = " ".join(str(value[key]) for key in ("system", "tier") if key in value)
        rest = {k: one for k, one in value.items() if k not in ("system", "tier") and one != []}
        values = rest.pop("values", None)
        parts = [head] if head else []
        parts += [_value(values)] if values is not None else []
        parts += [f"{key}: {_value(one)}" for key, one in rest.items()]
        return "; ".join(parts)
    if isinstance(value, list):
        sentences = any(isinstance(one, str) and " " in one.strip() for one in value)
        shown = ("\n" if sentences else ", ").join(_value(one) for one in value[:VALUES_SHOWN])
        more = len(value) - VALUES_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown
    return plain(value if isinstance(value, str) else said(value))


def print_diff(comparison: PolicyDiff, console: Console) -> None:
    """Print what differs between two policies, worst first."""
    old, new = comparison.old, comparison.new
    console.print(f"from [bold]{told(old.reference)}[/]: {told(old.file)}")
    console.print(f"to   [bold]{told(new.reference)}[/]: {told(new.file)}")
    if not comparison.changes:
        console.print("They demand the same.")
        return
    table = plain_table("", "field", "old", "new")
    for change, (before, after) in zip(comparison.changes, comparison.places, strict=True):
        style = _STYLES[change.direction]
        table.add_row(
            f"[{style}]{change.direction}[/]",
            told(dotted(change.path)),
            escape(_with_line(change.old, before, old)),
            escape(_with_line(change.new, after, new)),
        )
    console.print(table)
    counts = [
        f"[{_STYLES[direction]}]{comparison.count(direction)} {direction}[/]"
        for direction in _STYLES
        if comparison.count(direction)
    ]
    console.print(", ".join(counts))
    if comparison.note is not None:
        console.print(f"[bold]{told(comparison.note)}[/]")


def _with_line(value: Any, place: Place, policy: Origin) -> str:
    if value is None:
        return "–"
    title = value.get("title") if isinstance(value, dict) else None  # of a whole control or class
    inherited = "" if place.file == policy.file else f"{Path(place.file).name}, "
    return f"{plain(title) if title else _value(value)} ({inherited}line {place.line})"
