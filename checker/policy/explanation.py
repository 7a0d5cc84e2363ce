"""What a policy says in the end and where each part of it was written; and what a change means.

`explain` lists every field of a resolved policy, defaults included, with its document and line.
`compare` lists what differs between two policies and whether that demands more or less. Both are
data, which the command line draws for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic_core import to_jsonable_python

from checker.errors import UsageError
from checker.plugins import nearest_or_all
from checker.policy.attackers import lineage, resolve_attacker
from checker.policy.classes import pooled
from checker.policy.documents import LeakagePolicy
from checker.policy.inheritance.rules import Change, Direction
from checker.policy.inheritance.strictness import changes, filled_in
from checker.policy.located import Located, Origin
from checker.yaml import KeyPath, Place, dotted


@dataclass(frozen=True, slots=True)
class ResolvedField:
    """One field of a resolved policy.

    Args:
        path: from the document's root. Items of a list that come from several documents are
            several fields of one path.
        value: plain: a scalar, a list of scalars, or one item of a list of mappings.
        place: where it was written; None for a default.
        document: of the place.
    """

    path: KeyPath
    value: Any
    place: Place | None
    document: Origin | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A resolved policy, field by field.

    Args:
        documents: that the fields come from; the policy itself first.
        control: the one control that is explained, or None for everything.
        fields: in the order of the policy; of one control, its own first.
    """

    documents: tuple[Origin, ...]
    control: str | None
    fields: tuple[ResolvedField, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "documents": [one.model_dump(mode="json") for one in self.documents],
            "control": self.control,
            "fields": [
                {
                    "path": dotted(one.path),
                    "value": to_jsonable_python(one.value),
                    "default": one.place is None,
                    "file": one.place.file if one.place else None,
                    "line": one.place.line if one.place else None,
                    "column": one.place.column if one.place else None,
                    "document": one.document.reference if one.document else None,
                }
                for one in self.fields
            ],
        }


def explain(policy: Located[LeakagePolicy], *, control: str | None = None) -> Explanation:
    """Say what a policy demands in the end, and where each part of it was written.

    Args:
        policy: resolved.
        control: limits it to one control and what that refers to: its attackers and all that those
            extend, its class, its citations, and what holds for every control.

    Raises:
        UsageError: there is no such control.
    """
    spec = policy.document.spec
    if control is not None and control not in spec.controls:
        hint = nearest_or_all(control, spec.controls)
        raise UsageError(f"{policy.file} has no control '{control}'{hint}")
    documents = (policy.origin, *policy.origins)
    by_file = {one.file: one for one in reversed(documents)}
    plain = {
        "metadata": policy.document.metadata.model_dump(by_alias=True, exclude_none=True),
        "spec": filled_in(spec),
    }
    wanted = None if control is None else _wanted(policy.document, control)
    fields = []
    for path, value in _leaves(plain, (), policy):
        if wanted is not None and not any(path[: len(one)] == one for one in wanted):
            continue
        place = _place(path, policy)
        document = by_file.get(place.file) if place else None
        fields.append(ResolvedField(_without_span(path), value, place, document))
    if control is not None:
        told = {field.place.file for field in fields if field.place}
        documents = (documents[0], *(one for one in documents[1:] if one.file in told))
        fields.sort(key=lambda field: field.path[:3] != ("spec", "controls", control))  # stable
    return Explanation(documents, control, tuple(fields))


def _wanted(policy: LeakagePolicy, control: str) -> list[KeyPath]:
    """Return the paths that matter to one control."""
    spec = policy.spec
    one = spec.controls[control]
    attackers: list[str] = []
    for name in one.limits:
        attackers += lineage(spec, name)
    cites = [*one.cites, *(c for name in one.limits for c in resolve_attacker(spec, name).cites)]
    paths: list[KeyPath] = [("spec", "context"), ("spec", "parameters"), ("spec", "gate")]
    paths += [("spec", "prerequisites")]
    paths += [("spec", "controls", control), ("spec", "waivers")]
    paths += [("spec", "attackers", name) for name in attackers]
    paths += [("spec", "citations", name) for name in cites]
    if one.attribute_class is not None:
        named = [one.attribute_class, *pooled(spec.attribute_classes, one.attribute_class)]
        paths += [("spec", "attributeClasses", name) for name in named]
    return paths


class _Span(int):
    """An index into a list of scalars, of the first item of several that are one field."""


def _leaves(
    value: Any, path: KeyPath, policy: Located[LeakagePolicy]
) -> Iterator[tuple[KeyPath, Any]]:
    """Yield fields; a list of scalars is one, unless its items come from several documents."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, (*path, key), policy)
    elif not isinstance(value, list):
        yield path, value
    elif any(isinstance(one, dict) for one in value):
        for index, one in enumerate(value):
            yield (*path, index), one
    elif value and policy.source.at(path) is not None:
        items = groupby(enumerate(value), key=lambda item: policy.place((*path, item[0])).file)
        for _, group in items:
            numbered = list(group)
            yield (*path, _Span(numbered[0][0])), [one for _, one in numbered]
    elif value:
        yield path, value


def _without_span(path: KeyPath) -> KeyPath:
    return path[:-1] if isinstance(path[-1], _Span) else path


def _place(path: KeyPath, policy: Located[LeakagePolicy]) -> Place | None:
    """Return where a field was written; for a list, where its key is if that is the same file."""
    if policy.source.at(path) is None:
        return None
    place = policy.place(path)
    whole = policy.place(path[:-1])
    return whole if isinstance(path[-1], _Span) and whole.file == place.file else place


# --- two policies -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What differs between two policies.

    Args:
        old, new: the policies.
        changes: worst first; paths from the document's root.
        places: of each change, where the old and the new value stand, or what would hold them.
        note: what the versions should say of it, or None.
    """

    old: Origin
    new: Origin
    changes: tuple[Change, ...]
    places: tuple[tuple[Place, Place], ...]
    note: str | None

    def count(self, direction: Direction) -> int:
        """Return how many fields moved in a direction."""
        return sum(change.direction == direction for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "old": self.old.model_dump(mode="json"),
            "new": self.new.model_dump(mode="json"),
            "counts": {direction: self.count(direction) for direction in _WORST_FIRST},
            "note": self.note,
            "changes": [
                {
                    "path": dotted(change.path),
                    "direction": change.direction,
                    "old": to_jsonable_python(change.old),
                    "new": to_jsonable_python(change.new),
                    "law": change.law or None,
                    "oldPlace": str(before),
                    "newPlace": str(after),
                }
                for change, (before, after) in zip(self.changes, self.places, strict=True)
            ],
        }


_WORST_FIRST: tuple[Direction, ...] = ("looser", "incomparable", "tighter", "neutral")


def compare(old: Located[LeakagePolicy], new: Located[LeakagePolicy]) -> PolicyDiff:
    """Say field by field whether a policy demands more or less than another.

    Args:
        old: what was demanded.
        new: what is demanded now.
    """
    found = changes(old.document.spec, new.document.spec)
    found.sort(key=lambda change: _WORST_FIRST.index(change.direction))  # stable
    return PolicyDiff(
        old=old.origin,
        new=new.origin,
        changes=tuple(found),
        places=tuple((old.place(one.path), new.place(one.path)) for one in found),
        note=_version_note(old.document, new.document) if _loosened(found) else None,
    )


def _loosened(found: list[Change]) -> bool:
    return any(change.direction == "looser" for change in found)


def _version_note(old: LeakagePolicy, new: LeakagePolicy) -> str | None:
    """Hold the versions to what they promise: loosening is a new major version."""
    before, after = old.metadata, new.metadata
    if (before.name, before.major) != (after.name, after.major):
        return None
    return (
        f"loosening is a new major version, but {before.name} went from {before.version} to"
        f" {after.version}"
    )
