"""Putting policies together: several parents into the strictest, and a policy over its parents.

Both walk the rules of `strictness` over values that know their lines. `join` chooses, field by
field, what demands more; where nothing can be compared the parents disagree. `overlay` lays what a
policy writes over what it inherits: what it leaves out is inherited, lists of demands add up, and
everything else it writes takes the place of what was there. Whether that is allowed is not asked
here but by `inheritance`, of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_camel

from checker.codes import CodePattern, CodeSystem, parse_value
from checker.errors import Problem
from checker.policy.documents import Knowledge, Selector, extent
from checker.policy.inheritance.rules import (
    CodesRule,
    CodeStrength,
    Fixed,
    Grows,
    LimitRule,
    Named,
    Parts,
    Permission,
    Rule,
    Shrinks,
    code_key,
    code_strength,
    element_key,
)
from checker.yaml import KeyPath, Node, Place, dotted

# --- a policy over what it inherits -------------------------------------------------------------


@dataclass(slots=True)
class Overlay:
    """Lays documents over what they inherit.

    Args:
        problems: codes that a document holds less strongly than it inherits them.
    """

    problems: list[Problem] = field(default_factory=list)

    def over(self, base: Node | None, node: Node, rule: Rule, path: KeyPath) -> Node:
        """Lay a node over what it inherits.

        Args:
            base: what is inherited, or None.
            node: what was written.
            rule: of the field.
            path: of the field.
        """
        if isinstance(rule, Grows) and rule.additive:
            return self._added(base, node, rule)
        if base is None or base.is_mapping != node.is_mapping or base.is_list != node.is_list:
            return node
        if isinstance(rule, LimitRule):
            return _limit(base, node)
        if isinstance(rule, CodesRule) and not rule.inverse and base.is_list:
            return self._codes(base, node, path)
        if isinstance(rule, Permission):
            rule = rule.parts
        if isinstance(rule, Parts | Named) and base.is_mapping:
            return self._mapping(base, node, rule, path)
        # what cannot change stays where it was first written: a path is relative to that file
        return base if isinstance(rule, Fixed) and node.value == base.value else node

    def _mapping(self, base: Node, node: Node, rule: Parts | Named, path: KeyPath) -> Node:
        content = dict(base.content)
        for key, child in node.content.items():
            of_key = rule.of(key) if isinstance(rule, Parts) else rule.part
            inherited = base.content.get(key)
            if inherited is None and isinstance(of_key, Grows) and of_key.default:
                inherited = Node.written(list(of_key.default), base.place)
            content[key] = self.over(inherited, child, of_key, (*path, key))
        return replace(node, content=content)

    def _added(self, base: Node | None, node: Node, rule: Grows) -> Node:
        if base is None or base.content == "all" or not node.is_list or not base.is_list:
            return base if base is not None and base.content == "all" and node.is_list else node
        known = {element_key(item.value) for item in base.content}
        more = [item for item in node.content if element_key(item.value) not in known]
        return replace(node, content=[*base.content, *more])

    def _codes(self, base: Node, node: Node, path: KeyPath) -> Node:
        """Add codes to those inherited; one that is written again is only held more strongly."""
        inherited = _codes_of(base)
        sets: list[Node] = []
        replaced: set[tuple[str, str]] = set()
        for index, code_set in enumerate(node.content):
            strength, keep = _strength(code_set), []
            for position, value in enumerate(_values(code_set)):
                key = code_key(_plain(code_set, "system"), value.value)
                held = inherited.get(key)
                if held is None:
                    keep.append(value)
                elif strength != held.strength and strength.covers(held.strength):
                    keep.append(value)
                    replaced.add(key)
                elif strength != held.strength:
                    here = (*path, index, "values", position)
                    self.problems.append(_weakened(value, strength, held, here))
            if keep:
                sets.append(_with_values(code_set, keep))
            elif not _values(code_set):  # it has the wrong shape, which is said later
                sets.append(code_set)
        rest = [_without(code_set, replaced) for code_set in base.content]
        return replace(node, content=[*(one for one in rest if one is not None), *sets])


def _weakened(value: Node, strength: CodeStrength, held: _Held, path: KeyPath) -> Problem:
    message = (
        f"the code '{value.value}' is inherited as {held.strength} ({held.value.place}) and cannot"
        f" become {strength}: codes only grow"
    )
    return Problem(*value.place, message, dotted(path))


def _limit(base: Node, node: Node) -> Node:
    """Lay a limit over another: a share or a count, never both; `warn` is no higher than `fail`."""
    written = set(node.content)
    dropped = {"warn", "fail"} if "maxCount" in written else set()
    dropped |= {"maxCount", "minN"} if "fail" in written else set()
    content = {key: one for key, one in base.content.items() if key not in dropped - written}
    return _clamped(replace(node, content={**content, **node.content}), written)


def _clamped(limit: Node, written: set[str]) -> Node:
    warn, fail = limit.content.get("warn"), limit.content.get("fail")
    if warn is None or fail is None or "warn" in written:
        return limit
    numbers = all(isinstance(one.content, int | float) for one in (warn, fail))
    return limit.but(warn=fail) if numbers and warn.content > fail.content else limit


# --- attackers ----------------------------------------------------------------------------------


def settled(spec: Node, *, file: str) -> Node:
    """Drop inherited selections of events that an attacker knows more than by now.

    Where `events: all` or a larger number came from elsewhere, what was inherited beside it says
    nothing any more, and would be refused in a policy that was written at once. What the policy
    writes itself stays, for it to be told.

    Args:
        spec: the whole.
        file: of the policy.
    """
    attackers = spec.at(("attackers",))
    if attackers is None or not attackers.is_mapping:
        return spec
    content = {name: _settled(name, attackers, file) for name in attackers.content}
    return spec.but(attackers=replace(attackers, content=content))


def _settled(name: str, attackers: Node, file: str) -> Node:
    attacker: Node = attackers.content[name]
    knows = attacker.at(("knows",))
    if knows is None or not knows.is_mapping:
        return attacker
    above = [one for one in _knowledge_above(name, attackers) if one.is_mapping]

    def is_idle(key: str, selector: Selector) -> bool:
        """Whether a key says nothing beside what those above know."""
        if selector.chooses and everything:
            return True
        own = _extent(knows.content.get(key))
        return selector.grows == "number" and own < _most(above, key)

    everything = _most([*above, knows], "events") == float("inf")
    selectors = {to_camel(name): one for name, one in Knowledge.selectors().items()}
    gone = [
        key
        for key, one in knows.content.items()
        if key in selectors and one.place.file != file and is_idle(key, selectors[key])
    ]
    return attacker.but(knows=knows.but(**dict.fromkeys(gone))) if gone else attacker


def _knowledge_above(name: str, attackers: Node) -> Iterator[Node]:
    """Yield what those know that an attacker extends, as far as that leads."""
    seen = {name}
    step = attackers.at((name, "extends"))
    while step is not None and isinstance(step.content, str) and step.content not in seen:
        seen.add(step.content)
        knows = attackers.at((step.content, "knows"))
        if knows is not None:
            yield knows
        step = attackers.at((step.content, "extends"))


def _most(several: Iterable[Node], key: str) -> float:
    return max((_extent(one.content.get(key)) for one in several), default=-1.0)


def _extent(node: Node | None) -> float:
    """Order how much is known; what has the wrong shape is nothing, which is said later."""
    value = None if node is None else node.content
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return extent(value) if value == "all" or is_number else -1.0


# --- codes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """A code, and how strongly it is held."""

    strength: CodeStrength
    value: Node


def _plain(code_set: Node, key: str) -> Any:
    node = code_set.at((key,))
    return None if node is None else node.value


def _strength(code_set: Node) -> CodeStrength:
    return code_strength(code_set.value if code_set.is_mapping else {})


def _values(code_set: Node) -> list[Node]:
    values = code_set.at(("values",))
    return list(values.content) if values is not None and values.is_list else []


def _codes_of(sets: Node) -> dict[tuple[str, str], _Held]:
    """Return each code where it is held most strongly."""
    found: dict[tuple[str, str], _Held] = {}
    for code_set in sets.content:
        strength = _strength(code_set)
        for value in _values(code_set):
            key = code_key(_plain(code_set, "system"), value.value)
            if key not in found or strength.covers(found[key].strength):
                found[key] = _Held(strength, value)
    return found


def _with_values(code_set: Node, values: list[Node]) -> Node:
    return code_set.but(values=replace(code_set.content["values"], content=values))


def _without(code_set: Node, keys: set[tuple[str, str]]) -> Node | None:
    """Return a code set without some codes, or None where no code is left."""
    system = _plain(code_set, "system")
    left = [value for value in _values(code_set) if code_key(system, value.value) not in keys]
    exclude = code_set.at(("exclude",))
    if len(left) < len(_values(code_set)) and exclude is not None and exclude.is_list:
        covering = [parse_value(system, value.value) for value in left]
        kept = [one for one in exclude.content if _covered(system, one.value, covering)]
        code_set = code_set.but(exclude=replace(exclude, content=kept) if kept else None)
    return _with_values(code_set, left) if left else None


def _covered(system: CodeSystem, value: str, covering: list[CodePattern]) -> bool:
    """Whether an exclusion still excludes something; what is inherited is known to be valid."""
    low = parse_value(system, value).low
    return not low or any(pattern.matches(low) for pattern in covering)


# --- several parents ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A field in which parents demand different things, none of them more.

    Args:
        path: of the field.
        places: where each of the two stands.
        law: what the field may do.
    """

    path: KeyPath
    places: tuple[Place, Place]
    law: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A value as written, if it was, and as it is meant, with defaults."""

    node: Node | None
    plain: Any
    place: Place
    """Of the node, or of what would hold it."""

    def part(self, key: str) -> _Part:
        node = None if self.node is None else self.node.content.get(key)
        plain = None if self.plain is None else self.plain.get(key)
        return _Part(node, plain, self.place if node is None else node.place)

    @property
    def keys(self) -> list[str]:
        return [] if self.node is None else list(self.node.content)


@dataclass(slots=True)
class _Join:
    confidence: float
    found: list[Disagreement] = field(default_factory=list)

    def join(self, rule: Rule, one: _Part, other: _Part, path: KeyPath) -> _Part:
        """Return whichever demands more, part by part."""
        if one.node is None and other.node is None:
            return one
        if isinstance(rule, Permission):
            if one.node is None or other.node is None:
                return other if one.node is None else one
            rule = rule.parts
        if isinstance(rule, Parts | Named):
            return self._mapping(rule, one, other, path)
        if isinstance(rule, CodesRule):
            return self._codes(rule, one, other)
        if isinstance(rule, Grows):
            return self._list(rule, one, other, path)
        directions = {
            change.direction
            for change in rule.changes(path, one.plain, other.plain, self.confidence)
        } - {"neutral"}
        if not directions:
            return other if one.node is None else one
        if directions == {"tighter"}:
            return other
        if directions == {"looser"}:
            return one
        if isinstance(rule, Fixed) and rule.may_be_added and other.node is None:
            return one
        if isinstance(rule, LimitRule) and "incomparable" not in directions:
            return self._limit(one, other)
        self.found.append(Disagreement(path, (one.place, other.place), rule.law))
        return one

    def _mapping(self, rule: Parts | Named, one: _Part, other: _Part, path: KeyPath) -> _Part:
        content: dict[str, Node] = {}
        plain: dict[str, Any] = {**(other.plain or {}), **(one.plain or {})}
        for key in dict.fromkeys([*one.keys, *other.keys]):
            mine, theirs = one.part(key), other.part(key)
            if isinstance(rule, Named) and mine.node is None:
                joined = theirs
            elif isinstance(rule, Named) and theirs.node is None:
                joined = mine
            else:
                of_key = rule.of(key) if isinstance(rule, Parts) else rule.part
                joined = self.join(of_key, mine, theirs, (*path, key))
            if joined.node is not None:
                content[key] = joined.node
            plain[key] = joined.plain
        return _Part(Node(content, one.place), plain, one.place)

    @staticmethod
    def _limit(one: _Part, other: _Part) -> _Part:
        """Take the lower `fail` and the lower `warn` of two limits."""
        plain, content = dict(one.plain), dict(one.node.content if one.node else {})
        for key, value in other.plain.items():
            if value < plain.get(key, float("inf")) and other.node is not None:
                plain[key], content[key] = value, other.node.content[key]
        node = _clamped(Node(content, one.place), set())
        return _Part(node, node.value, one.place)

    def _list(self, rule: Grows, one: _Part, other: _Part, path: KeyPath) -> _Part:
        """Unite lists of demands, and keep of exceptions those that both make."""
        for part in (one, other):
            if part.plain == "all":
                return part
        items, theirs = _items(rule, one), _items(rule, other)
        if isinstance(rule, Shrinks):
            kept = [node for key, node in items.items() if key in theirs]
            if items and theirs and not kept:
                self.found.append(Disagreement(path, (one.place, other.place), rule.law))
                return one
        else:
            kept = [*items.values(), *(node for key, node in theirs.items() if key not in items)]
        node = Node(kept, one.place if one.node is not None else other.place)
        return _Part(node if kept else None, node.value, node.place)

    @staticmethod
    def _codes(rule: CodesRule, one: _Part, other: _Part) -> _Part:
        """Unite codes, each with its stronger tier; keep of exclusions those that both make."""
        empty = Node([], one.place)
        mine, theirs = one.node or empty, other.node or empty
        if rule.inverse:
            shared = set(_codes_of(theirs))
            sets = [_without(code_set, set(_codes_of(mine)) - shared) for code_set in mine.content]
        else:
            held, more = _codes_of(mine), _codes_of(theirs)
            both = held.keys() & more.keys()
            weaker = {key for key in both if not held[key].strength.covers(more[key].strength)}
            known = both - weaker
            sets = [_without(code_set, weaker) for code_set in mine.content]
            sets += [_without(code_set, known) for code_set in theirs.content]
        node = Node([one for one in sets if one is not None], one.place)
        return _Part(node if node.content else None, node.value, node.place)


def _items(rule: Grows, part: _Part) -> dict[str, Node]:
    nodes = (
        Node.written(list(part.plain or rule.default), part.place).content
        if part.node is None
        else part.node.content
    )
    return {element_key(node.value): node for node in nodes}


def join(
    rule: Rule, parents: list[tuple[Node, dict[str, Any]]], *, confidence: float
) -> tuple[Node, list[Disagreement]]:
    """Return the strictest of several parents, field by field.

    Args:
        rule: of what they are.
        parents: each as written, and as plain values with all defaults; at least one.
        confidence: of the strictest bounds.

    Returns:
        What they demand together, and the fields in which they cannot be brought together.
    """
    joiner = _Join(confidence)
    parts = [_Part(node, plain, node.place) for node, plain in parents]
    whole = parts[0]
    for part in parts[1:]:
        whole = joiner.join(rule, whole, part, ())
    assert whole.node is not None  # parents are documents
    return whole.node, joiner.found
