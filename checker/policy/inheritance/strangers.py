"""Entries of a policy that look like changes of something inherited but have no name it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from checker.errors import Problem
from checker.plugins import suggestion

if TYPE_CHECKING:
    from checker.policy.inheritance.resolving import Inheritance

_PARTS = {
    "attackers": ("attacker", "attackers"),
    "attributeClasses": ("attribute class", "attribute_classes"),
    "controls": ("control", "controls"),
}
"""The named parts of a policy, by key: what one is called, and the field that holds them."""
_MISSING = "is missing; expected"
_MEANT_EXTENDS = "did you mean 'extends'?"


def strangers_named(problems: list[Problem], inherited: Inheritance) -> list[Problem]:
    """Say of an entry that lacks what a new one needs that nothing inherited has its name.

    Whoever misspells a control to change it is not to be told that its title, probe and metric are
    missing. That is right only of a new one, which the sentence speaks of too.

    Args:
        problems: with the shape of a policy.
        inherited: what the policy rests on.

    Returns:
        The problems, where one stands for all that such an entry lacks.
    """
    if not inherited.parents:
        return _without_what_parents_say(problems)
    lacking: dict[str, list[Problem]] = {}
    kept = []
    for problem in problems:
        entry, _, key = problem.path.rpartition(".")
        if f"'{key}' {_MISSING}" in problem.message and _known(entry, inherited) is not None:
            lacking.setdefault(entry, []).append(problem)
        else:
            kept.append(problem)
    return [*kept, *_told(lacking, inherited)]


def _without_what_parents_say(problems: list[Problem]) -> list[Problem]:
    """Leave out what is only missing because `extends` is misspelt and nothing is extended."""
    misspelt = any(
        problem.path.rpartition(".")[0] == "spec" and problem.message.endswith(_MEANT_EXTENDS)
        for problem in problems  # an attacker extends another, which brings nothing to the policy
    )
    return [
        one
        for one in problems
        if not (misspelt and one.path.startswith("spec.") and _MISSING in one.message)
    ]


def _told(lacking: Mapping[str, list[Problem]], inherited: Inheritance) -> Iterator[Problem]:
    for entry, problems in lacking.items():
        part, name = entry.removeprefix("spec.").split(".", 1)
        known = _known(entry, inherited) or []
        needed = sorted(problem.path.rpartition(".")[2] for problem in problems)
        meant = suggestion(name, known) or _within(name, known)
        message = (
            f"nothing that this policy extends has {_article(_PARTS[part][0])} of this name, "
            f"and a new one needs {', '.join(needed)}{meant}"
        )
        yield replace(problems[0], path=entry, message=message)


def _within(name: str, known: list[str]) -> str:
    """Return the names that are a part of one, or that it is a part of, or nothing."""
    parts = [f"'{one}'" for one in known if one in name or name in one][:3]
    return f"; did you mean {' or '.join(parts)}?" if parts else ""


def _known(entry: str, inherited: Inheritance) -> list[str] | None:
    """Return what the parents call their parts, or None where the entry is none or one of those."""
    spec, _, rest = entry.partition(".")
    part, _, name = rest.partition(".")
    if spec != "spec" or part not in _PARTS or not name or "." in name:
        return None
    held: list[Mapping[str, Any]] = [
        getattr(parent.document.spec, _PARTS[part][1]) for parent in inherited.parents
    ]
    known = sorted({one for names in held for one in names})
    return None if name in known else known


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
