"""What heirs may ask less of: numbers that only make a prompt or a continuation shorter.

A baseline is written for models of any context. Where its prompts do not fit a model, an heir may
shorten them as far as the baseline itself allows (`adjustable`), and no further; the whole then
says from what (`shortened`), so that a report can. Everything else an heir asks less of is refused
(`resolving`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from checker.attacks.api import load_attack
from checker.errors import PluginError, Problem
from checker.policy.attackers import lineage
from checker.policy.documents import LeakagePolicy, PolicySpec
from checker.policy.inheritance.rules import Change
from checker.policy.located import Located
from checker.yaml import KeyPath, Node, Source

_HOLDERS = ("attackers", "controls")
NOTE = "shortened"
PERMISSION = "adjustable"


def is_allowed(change: Change, spec: PolicySpec) -> bool:
    """Whether an inherited policy allows what an heir shortens.

    Args:
        change: of the heir against the policy.
        spec: of the inherited policy.
    """
    path, old, new = change.path, change.old, change.new
    if not (_is_number(old) and _is_number(new)) or new >= old or len(path) != 5:
        return False
    _, section, name, part, key = (str(one) for one in path)
    if (section, part) == ("attackers", "knows"):
        # what an attacker knows may be written with one that it extends
        told = (spec.attackers[one] for one in lineage(spec, name))
        holders = [one for one in told if getattr(one.knows, key, None) == old]
        floors = [one.adjustable and getattr(one.adjustable, key, None) for one in holders]
    elif (section, part, key) == ("controls", "params", "horizonTokens"):
        allowed = spec.controls[name].adjustable
        floors = [allowed and allowed.horizon_tokens]
    else:
        return False
    return bool(floors) and all(floor is not None and new >= floor for floor in floors)


def withdrawn(base: Node, parents: Iterable[Located[LeakagePolicy]]) -> Node:
    """Take permissions back that not every parent gives who has the attacker or the control.

    Args:
        base: what the parents demand together: a policy's `spec`.
        parents: of a policy.
    """
    specs = [parent.document.spec for parent in parents]
    for section in _HOLDERS:
        for name, node in _named(base, section):
            holders = [getattr(spec, section).get(name) for spec in specs]
            if node.at((PERMISSION,)) is not None and any(
                one is not None and one.adjustable is None for one in holders
            ):
                base = _with(base, section, name, node.but(**{PERMISSION: None}))
    return base


def noted(spec: Node, parents: Iterable[Located[LeakagePolicy]]) -> Node:
    """Say in a policy, beside what it shortens, from what.

    Args:
        spec: the whole.
        parents: of the policy.
    """
    for parent in parents:
        for section, name, part, key, old in _numbers(parent.document.spec):
            node = spec.at((section, name))
            new = None if node is None else node.at((part, key))
            if node is None or not node.is_mapping or new is None:
                continue
            before = max(old, _number(node.at((NOTE, key))) or 0)
            now = _number(new)
            if now is None or now >= before:
                continue
            note = node.at((NOTE,)) or Node({}, new.place)
            told = note.but(**{key: Node.written(before, new.place)})
            spec = _with(spec, section, name, node.but(**{NOTE: told}))
    return spec


def written_by_hand(source: Source) -> Iterator[Problem]:
    """Yield notes that a document holds itself: only what was inherited can be shortened."""
    spec = source.at(("spec",))
    if spec is None:
        return
    for section in _HOLDERS:
        for name, node in _named(spec, section):
            note = node.at((NOTE,)) if node.is_mapping else None
            if note is not None and note.content != {}:
                path: KeyPath = ("spec", section, name, NOTE)
                yield source.problem(path, "phigate writes this itself; leave it out")


def _numbers(spec: PolicySpec) -> Iterator[tuple[str, str, str, str, int]]:
    """Yield the numbers of a policy that heirs may be allowed to shorten."""
    for name, attacker in spec.attackers.items():
        for key in ("events", "last"):
            value = getattr(attacker.knows, key)
            if _is_number(value):
                yield "attackers", name, "knows", key, value
    for name, control in spec.controls.items():
        try:
            params: Any = load_attack(control.probe).params.model_validate(control.params)
        except PluginError:
            continue
        horizon: Any = getattr(params, "horizon_tokens", None)
        if _is_number(horizon):
            yield "controls", name, "params", "horizonTokens", horizon


def _named(spec: Node, section: str) -> list[tuple[str, Node]]:
    found = spec.at((section,))
    return list(found.content.items()) if found is not None and found.is_mapping else []


def _with(spec: Node, section: str, name: str, node: Node) -> Node:
    return spec.but(**{section: spec.content[section].but(**{name: node})})


def _number(node: Node | None) -> int | None:
    """Return the whole number that a node holds; what no type was read for is still text."""
    value = None if node is None else node.content
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
