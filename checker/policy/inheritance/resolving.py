"""Policies that extend others, and classes taken from a library: inheritance only tightens.

A policy that extends others is resolved before it is validated: its parents are brought together
(the strictest wins), what it writes is laid over them, and the whole is then a policy like any
other, whose every field still knows the file and line it was written at. The whole is compared
with each parent by the same table that `phigate diff` reads; a field that is looser, or different
where nothing can be compared, is refused with both lines. Classes taken from a library may grow in
the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from checker.attacks.api import load_attack
from checker.errors import DocumentError, Problem
from checker.policy.attackers import lineage
from checker.policy.documents import (
    AttributeClassLibrary,
    AttributeClassSpec,
    LeakagePolicy,
    PolicySpec,
)
from checker.policy.inheritance.merging import Disagreement, Overlay, join, settled
from checker.policy.inheritance.parents import References
from checker.policy.inheritance.rules import Change
from checker.policy.inheritance.shortening import is_allowed, noted, withdrawn, written_by_hand
from checker.policy.inheritance.strictness import ATTRIBUTE_CLASS, POLICY, changes, filled_in
from checker.policy.located import Located, Origin
from checker.yaml import KeyPath, Node, Place, Source, dotted, short

_OWN = ("extends", "abstract")
"""Keys of a spec that are not inherited."""
_UNSAID = ("parameters", "gate", "waivers")
"""Keys of which an abstract policy demands only what it writes, for it judges nothing itself."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a policy rests on, and the whole that they make.

    Args:
        source: the whole; where a parent cannot be read, the policy alone.
        parents: that it names, in its order.
        classes: taken from a library, by the name they have in the policy.
        problems: of the references, and of codes that would be weakened.
        whole: whether all parents could be read; otherwise the source is a fragment.
        disputed: fields that parents disagree about, which is among the problems.
    """

    source: Source
    parents: tuple[Located[LeakagePolicy], ...] = ()
    classes: dict[str, Located[AttributeClassLibrary]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    whole: bool = True
    disputed: tuple[KeyPath, ...] = ()

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Every document that the whole rests on, nearest first."""
        named: list[Located[Any]] = [*self.parents, *self.classes.values()]
        found = [one.origin for one in named]
        found += [origin for parent in self.parents for origin in parent.origins]
        return tuple({origin.file: origin for origin in found}.values())

    def refusals(self, document: LeakagePolicy, *, mended: bool) -> list[Problem]:
        """Return what the whole demands less of than a parent or a library does.

        Args:
            document: the whole.
            mended: it was invalid and lacks parts, which must not read as their removal.
        """
        found: dict[KeyPath, Problem] = {}
        for base, change in self._differences(document):
            if change.direction in ("tighter", "neutral") or (mended and change.new is None):
                continue
            if base.spec is not None and is_allowed(change, base.spec):
                continue
            lineage_too = (change.path, *_of_extended(change.path, document.spec))
            if any(self._is_disputed(path) for path in lineage_too):
                continue
            found.setdefault(change.path, _refusal(change, self.source, base))
        return [
            problem
            for path, problem in found.items()
            if not any(cause in found for cause in _causes(path, document.spec))
        ]

    def explains(self, problem: Problem) -> bool:
        """Whether a problem is of a part that parents disagree about, and so no news."""
        parts = {dotted(path[:3]) for path in self.disputed if len(path) > 3}
        return any(problem.path.startswith(f"{part}.") for part in parts)

    def _is_disputed(self, path: KeyPath) -> bool:
        """Whether parents disagree about a field, or its control, attacker or class."""
        return any(
            path[: len(one)] == one or (len(one) > 3 and path[:3] == one[:3])
            for one in self.disputed
        )

    def _differences(self, document: LeakagePolicy) -> Iterator[tuple[_Base, Change]]:
        for parent in self.parents:
            base = _Base(parent.source, (), parent.document.spec)
            for change in changes(parent.document.spec, document.spec):
                if not _unsaid(change.path, parent):
                    yield base, change
        for name, library in self.classes.items():
            if name not in document.spec.attribute_classes:
                continue
            base = _Base(library.source, ("spec", "attributeClasses", name))
            held = _class_values(library.document.spec)
            mine = _class_values(document.spec.attribute_classes[name])
            for change in ATTRIBUTE_CLASS.changes(base.path, held, mine, confidence=0.95):
                yield base, change


@dataclass(frozen=True, slots=True)
class _Base:
    """Something inherited.

    Args:
        source: its document.
        path: which part of the policy its `spec` stands for; () for a parent.
        spec: of a parent.
    """

    source: Source
    path: KeyPath
    spec: PolicySpec | None = None

    def at(self, path: KeyPath) -> KeyPath:
        """Return where in this document a field of the policy was written, if it was.

        What an attacker knows may be written with one that it extends.
        """
        if self.spec is None:
            return ("spec", *path[len(self.path) :])
        for place in (path, *_of_extended(path, self.spec)):
            if self.source.at(place) is not None:
                return place
        return path


def inherit(source: Source, references: References) -> Inheritance:
    """Resolve a policy's references.

    Args:
        source: a document of kind LeakagePolicy, of any shape.
        references: reads its parents and the classes that it uses.

    Returns:
        The whole; the source itself where the policy refers to nothing.
    """
    spec = source.at(("spec",))
    if spec is None or not spec.is_mapping:
        return Inheritance(source)
    problems: list[Problem] = list(written_by_hand(source))
    overlay = Overlay()
    spec, used = _with_classes(spec, source, references, overlay, problems)
    before = len(problems)
    parents = _parents(spec, source, references, problems)
    if len(problems) > before:
        return Inheritance(source, problems=tuple(problems), whole=False)
    disputed: list[KeyPath] = []
    if parents:
        base = _together(parents, spec, source, problems, disputed)
        spec = settled(overlay.over(base, spec, POLICY, ("spec",)), file=source.file)
        spec = noted(spec, parents)
    if not parents and not used and not problems:
        return Inheritance(source)
    whole = replace(source, root=source.root.but(spec=spec))
    return Inheritance(
        whole,
        tuple(parents),
        used,
        (*problems, *overlay.problems),
        disputed=tuple(disputed),
    )


def _together(
    parents: list[Located[LeakagePolicy]],
    spec: Node,
    source: Source,
    problems: list[Problem],
    disputed: list[KeyPath],
) -> Node:
    """Return what parents demand together, and note what they disagree about."""
    abstract = spec.at(("abstract",))
    concrete = [one.file for one in parents if not one.document.spec.abstract]
    if concrete and abstract is not None and abstract.content is True:
        # what it leaves open would be open in those that extend it
        message = f"an abstract policy extends abstract ones only, and {concrete[0]} is none"
        problems.append(source.problem(("spec", "abstract"), message))
    base, disagreements = join(
        POLICY,
        [(_heritable(one), _demands(one)) for one in parents],
        confidence=max(one.document.spec.parameters.confidence for one in parents),
    )
    for found in [*disagreements, *_two_files(parents)]:
        path: KeyPath = ("spec", *found.path)
        disputed.append(path)
        message = (
            f"its parents disagree about {dotted(path)} ({found.places[0]} and {found.places[1]}):"
            f" {found.law or 'extend one of them'}"
        )
        problems.append(source.problem(("spec", "extends"), message))
    base = withdrawn(base, parents)
    return base.but(waivers=None) if any(_grants_none(p.document) for p in parents) else base


def _two_files(parents: Sequence[Located[LeakagePolicy]]) -> Iterator[Disagreement]:
    """Yield where one text names two files: each parent's own, below that parent's folder."""
    named: dict[tuple[KeyPath, str], tuple[Path, Place]] = {}
    for parent in parents:
        for name, control in parent.document.spec.controls.items():
            params = load_attack(control.probe).params.model_validate(control.params)
            for key in sorted(params.paths & control.params.keys()):
                path: KeyPath = ("controls", name, "params", key)
                place, text = parent.place(("spec", *path)), str(control.params[key])
                file = (Path(place.file).resolve().parent / text).resolve()
                first, where = named.setdefault((path, text), (file, place))
                if first != file:
                    law = (
                        f"a path is relative to the file that says it, and these are {first} and"
                        f" {file}; give one of the two controls another name"
                    )
                    yield Disagreement(path, (where, place), law)


def _heritable(parent: Located[LeakagePolicy]) -> Node:
    spec: Node = parent.source.root.content["spec"]
    return spec.but(**dict.fromkeys(_OWN))


def _demands(parent: Located[LeakagePolicy]) -> dict[str, Any]:
    """Return a parent as plain values, with defaults as far as they bind."""
    plain = filled_in(parent.document.spec)
    for section in ("parameters", "gate"):
        plain[section] = {
            key: value
            for key, value in plain[section].items()
            if not _unsaid(("spec", section, key), parent)
        }
    return plain


def _unsaid(path: KeyPath, parent: Located[LeakagePolicy]) -> bool:
    """Whether a parent leaves something open, rather than at its default."""
    if not parent.document.spec.abstract:
        return False
    if path[-1] == "blocks":
        path = ("spec", "gate", "failOn")
    return path[1] in _UNSAID and parent.source.at(path) is None


def _grants_none(policy: LeakagePolicy) -> bool:
    return policy.spec.waivers is None and not policy.spec.abstract


def _parents(
    spec: Node, source: Source, references: References, problems: list[Problem]
) -> list[Located[LeakagePolicy]]:
    """Read the policies that a policy extends; references of the wrong shape are left alone."""
    extends = spec.at(("extends",))
    found: list[Located[LeakagePolicy]] = []
    for index, item in enumerate(extends.value if extends is not None and extends.is_list else []):
        reference = item.get("ref") if isinstance(item, dict) else None
        if not isinstance(reference, str):
            continue
        path: KeyPath = ("spec", "extends", index)
        try:
            parent = references.parent(reference, of=source)
        except ValueError as error:
            problems.append(source.problem((*path, "ref"), str(error)))
            continue
        except DocumentError as error:
            problems += error.problems
            continue
        pin = item.get("sha256", parent.sha256)
        if pin != parent.sha256:
            message = (
                f"{parent.file} has the SHA-256 {parent.sha256}, not the one it is pinned to: it"
                " was changed; read what changed (`phigate diff`) before pinning it again"
            )
            problems.append(source.problem((*path, "sha256"), message))
        if parent.source.file in {one.source.file for one in found}:
            problems.append(source.problem((*path, "ref"), f"{parent.file} is extended twice"))
        found.append(parent)
    return found


def _with_classes(
    spec: Node, source: Source, references: References, overlay: Overlay, problems: list[Problem]
) -> tuple[Node, dict[str, Located[AttributeClassLibrary]]]:
    """Lay classes over those that they are taken from."""
    named = spec.at(("attributeClasses",))
    found: dict[str, Located[AttributeClassLibrary]] = {}
    if named is None or not named.is_mapping:
        return spec, found
    content: dict[str, Node] = {}
    for name, node in named.content.items():
        reference = node.at(("use",))
        content[name] = node
        if reference is None or not isinstance(reference.content, str):
            continue
        path: KeyPath = ("spec", "attributeClasses", name)
        try:
            library = references.attribute_class(reference.content, of=source)
        except ValueError as error:
            problems.append(source.problem((*path, "use"), str(error)))
        except DocumentError as error:
            problems += error.problems
        else:
            found[name] = library
            whole = library.source.root.content["spec"]
            keys = _class_keys()
            base = whole.but(**{key: None for key in whole.content if key not in keys})
            content[name] = overlay.over(base, node, ATTRIBUTE_CLASS, path)
        if name not in found:  # stands for a class that cannot be known
            content[name] = Node(None, node.place, broken=True)
    return spec.but(attributeClasses=Node(content, named.place)), found


def _class_keys() -> list[str]:
    return [info.alias or name for name, info in AttributeClassSpec.model_fields.items()]


def _class_values(spec: AttributeClassSpec) -> dict[str, Any]:
    plain = spec.model_dump(by_alias=True, exclude_none=True)
    return {key: plain[key] for key in _class_keys() if key in plain}


# --- refusals -----------------------------------------------------------------------------------


def _of_extended(path: KeyPath, spec: PolicySpec) -> Iterator[KeyPath]:
    """Yield the same field of all attackers that an attacker extends."""
    if path[:2] == ("spec", "attackers") and len(path) > 3:
        for name in lineage(spec, str(path[2]))[1:]:
            yield (*path[:2], name, *path[3:])


def _causes(path: KeyPath, spec: PolicySpec) -> Iterator[KeyPath]:
    """Yield fields whose refusal explains that this one is looser too."""
    yield from _of_extended(path, spec)
    if path[-1] == "blocks":
        yield (*path[:-1], "severity")
        yield (*path[:-1], "enforcement")
        yield ("spec", "gate", "failOn")


def _refusal(change: Change, source: Source, base: _Base) -> Problem:
    """Say what is looser than what, with both lines."""
    there = base.at(change.path)
    place = base.source.place(there)
    default = "" if base.source.at(there) is not None else "the default of "
    old = said(change.old, base.source, there)
    new = said(change.new, source, change.path)
    if change.path[:2] == ("spec", "attackers") and source.at(change.path) is None:
        return _weaker_lineage(change, source, f"{old}, {place}")
    if change.path[-1] == "blocks":
        message = f"this control would no longer block a release, as it does in {place}"
    elif change.new is None:
        message = f"{old} is missing here, but demanded in {default}{place}"
    elif change.old is None and isinstance(change.new, list):
        message = f"{new} is added here, but {place} does not have it"
    elif change.old is None:
        message = f"{new} is looser than {default}{place}"
    elif change.direction == "looser":
        message = f"{new} is looser than {old}, {default}{place}"
    else:
        message = f"{new} cannot take the place of {old}, {default}{place}"
    return source.problem(change.path, f"{message}: {change.law}")


def _weaker_lineage(change: Change, source: Source, old: str) -> Problem:
    """Say that an attacker knows or sees less because it extends another one than it did."""
    name, what = change.path[2], dotted(change.path[3:])
    now = f"no longer has {what}" if change.new is None else f"has {what} {said(change.new)}, not"
    message = f"with this, '{name}' {now} {old}: {change.law}"
    return source.problem((*change.path[:3], "extends"), message)


def said(value: Any, source: Source | None = None, path: KeyPath = ()) -> str:
    """Show a value of a policy in a sentence: as it was written, where it was."""
    written = None if source is None else source.at(path)
    if written is not None and written.text is not None:
        return short(written.text)
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return str(to_jsonable_python(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return short(", ".join(said(one) for one in value)) or "nothing"
    if isinstance(value, dict):
        return short(", ".join(f"{key}: {said(one)}" for key, one in value.items()))
    return short(str(value))
