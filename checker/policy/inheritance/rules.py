"""What demanding more means for one kind of field: it falls, rises, grows, or stays what it is.

A `Rule` compares two values of a field and says of each difference whether the step is *tighter*,
*looser*, *incomparable* (neither, so that nobody can say that as much is demanded) or *neutral* (it
demands nothing). `strictness` says which field has which rule.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic.alias_generators import to_camel

from checker.policy.documents import Knowledge
from checker.yaml import KeyPath

Direction = Literal["tighter", "looser", "incomparable", "neutral"]


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs between two policies.

    Args:
        path: of the field, as in the file.
        old, new: its values; None where there is none.
        direction: of the step from old to new.
        law: what the field may do, as a clause: "limits only fall".
    """

    path: KeyPath
    old: Any
    new: Any
    direction: Direction
    law: str


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """Which way a field may move.

    Args:
        law: the same in words.
    """

    law: str

    @abstractmethod
    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield what differs between two values.

        Args:
            path: of the field.
            old: its value; None where there is none.
            new: the value it is compared with.
            confidence: of the old policy's bounds.
        """


@dataclass(frozen=True, slots=True)
class Step(Rule):
    """A value that moves as a whole."""

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield the one step between two values, if they differ."""
        if old != new:
            yield Change(path, old, new, self.direction(old, new), self.law)

    @abstractmethod
    def direction(self, old: Any, new: Any) -> Direction:
        """Say which way a step between two different values leads."""


@dataclass(frozen=True, slots=True)
class Ordered(Step):
    """A value with a measure of how much it demands.

    Args:
        demand: from loosest to strictest, ascending.
    """

    demand: Callable[[Any], float]

    def direction(self, old: Any, new: Any) -> Direction:
        """Compare what two values demand."""
        before, after = self.demand(old), self.demand(new)
        if before == after:
            return "neutral"
        return "tighter" if after > before else "looser"


@dataclass(frozen=True, slots=True)
class Asked(Step):
    """How many patients are asked: a number, as many as it takes ("auto"), or everybody ("all")."""

    def direction(self, old: Any, new: Any) -> Direction:
        """Nobody knows whether a number is more than it takes."""
        if "all" in (old, new):
            return "tighter" if new == "all" else "looser"
        if "auto" in (old, new):
            return "incomparable"
        return "tighter" if new > old else "looser"


@dataclass(frozen=True, slots=True)
class Fixed(Step):
    """A value that means something else when it changes.

    Args:
        may_be_added: whether it may be given where there was none.
    """

    may_be_added: bool = False

    def direction(self, old: Any, new: Any) -> Direction:
        """Nothing is stricter than what it replaces."""
        return "neutral" if old is None and self.may_be_added else "incomparable"


@dataclass(frozen=True, slots=True)
class Free(Step):
    """A value that demands nothing."""

    law: str = "this demands nothing"

    def direction(self, old: Any, new: Any) -> Direction:
        """Whatever it says, no verdict changes."""
        return "neutral"


@dataclass(frozen=True, slots=True)
class Grows(Rule):
    """A list of things demanded.

    Args:
        additive: an inheriting policy writes what it adds; otherwise it writes the whole list.
        neutral: the things demand nothing.
        default: the list where none is written.
    """

    additive: bool = True
    neutral: bool = False
    default: tuple[Any, ...] = ()
    added: ClassVar[Direction] = "tighter"
    removed: ClassVar[Direction] = "looser"

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield what was removed and what was added, each as one change."""
        if "all" in (old, new) and old != new:  # everything there is to know
            yield Change(path, old, new, self.added if new == "all" else self.removed, self.law)
            return
        if old == new:
            return
        before = {element_key(one): one for one in old or []}
        after = {element_key(one): one for one in new or []}
        gone = [one for key, one in before.items() if key not in after]
        more = [one for key, one in after.items() if key not in before]
        if gone:
            yield Change(path, gone, None, "neutral" if self.neutral else self.removed, self.law)
        if more:
            yield Change(path, None, more, "neutral" if self.neutral else self.added, self.law)


@dataclass(frozen=True, slots=True)
class Shrinks(Grows):
    """A list of exceptions; an inheriting policy writes the whole list."""

    additive: bool = False
    added: ClassVar[Direction] = "looser"
    removed: ClassVar[Direction] = "tighter"


@dataclass(frozen=True, slots=True)
class Named(Rule):
    """A mapping of names to parts, each of which demands something.

    Args:
        part: rule of each part.
        neutral: the parts demand nothing.
    """

    part: Rule
    neutral: bool = False

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield removed, added and changed parts."""
        before, after = old or {}, new or {}
        for name in before:
            if name not in after:
                direction: Direction = "neutral" if self.neutral else "looser"
                yield Change((*path, name), before[name], None, direction, self.law)
        for name, value in after.items():
            here = (*path, name)
            if name in before:
                yield from self.part.changes(here, before[name], value, confidence)
            else:
                yield Change(here, None, value, "neutral" if self.neutral else "tighter", self.law)


@dataclass(frozen=True, slots=True)
class Parts(Rule):
    """A mapping of known keys, each with a rule of its own.

    Args:
        rules: by key.
        otherwise: of keys without one.
    """

    rules: Mapping[str, Rule]
    otherwise: Rule = Fixed("an inherited value cannot change")

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield the changes of every key."""
        before, after = old or {}, new or {}
        for key in {**before, **after}:
            yield from self.of(key).changes(
                (*path, key), before.get(key), after.get(key), confidence
            )

    def of(self, key: str) -> Rule:
        """Return a key's rule."""
        return self.rules.get(key, self.otherwise)


@dataclass(frozen=True, slots=True)
class Selections(Parts):
    """What an attacker knows; who knows all events knows every choice of them too."""

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield the changes of every key, of `events` alone where it is `all` on either side."""
        before, after = dict(old or {}), dict(new or {})
        if "all" in (before.get("events"), after.get("events")):
            for one in (before, after):
                for choice in Knowledge.choices():
                    one.pop(to_camel(choice), None)
        yield from Parts.changes(self, path, before, after, confidence)


@dataclass(frozen=True, slots=True)
class Permission(Rule):
    """Parts that loosen by being there at all: permission for something.

    Args:
        parts: rule of what is permitted.
    """

    parts: Parts

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield the permission given or withdrawn, or what changed about it."""
        if old is not None and new is not None:
            yield from self.parts.changes(path, old, new, confidence)
        elif old != new:
            yield Change(path, old, new, "looser" if old is None else "tighter", self.law)


@dataclass(frozen=True, slots=True)
class LimitRule(Rule):
    """A limit as a whole, for its keys only mean something together."""

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Compare two limits; `warn` counts as no higher than `fail`."""
        if ("fail" in old) != ("fail" in new):
            yield Change(path, old, new, self._other_form(old, new, confidence), self.law)
            return
        if "fail" not in old:
            yield from _COUNTS_RISE.changes((*path, "minN"), old["minN"], new["minN"], confidence)
            return
        yield from _LIMITS_FALL.changes((*path, "fail"), old["fail"], new["fail"], confidence)
        if old.get("warn") != new.get("warn"):
            before = min(old.get("warn", old["fail"]), old["fail"])
            after = min(new.get("warn", new["fail"]), new["fail"])
            yield Change(
                (*path, "warn"),
                old.get("warn"),
                new.get("warn"),
                _LIMITS_FALL.direction(before, after) if before != after else "neutral",
                self.law,
            )

    @staticmethod
    def _other_form(old: Any, new: Any, confidence: float) -> Direction:
        """Compare `maxCount: 0` with a share.

        No hit among enough patients proves every share, and the reverse is not true; among too few
        it proves less.
        """
        count, share = (old, new["fail"]) if "fail" in new else (new, old["fail"])
        if share >= 1:
            enough = 1
        else:
            from checker.stats.power import positives_needed  # SciPy is slow to import

            enough = positives_needed(share, confidence=confidence)
        if count["minN"] < enough:
            return "incomparable"
        return "looser" if "fail" in new else "tighter"


@dataclass(frozen=True, slots=True)
class CodesRule(Rule):
    """Codes of a class with their tiers, however they are grouped into sets.

    Args:
        inverse: the codes are exceptions, so that fewer demand more.
    """

    inverse: bool = False

    def changes(self, path: KeyPath, old: Any, new: Any, confidence: float) -> Iterator[Change]:
        """Yield codes removed or weakened, and codes added or strengthened, one change each."""
        before, after = _code_strengths(old or []), _code_strengths(new or [])
        fewer = [key for key in before if not _covers(after.get(key), before[key])]
        more = [key for key in after if not _covers(before.get(key), after[key])]
        gone: Direction = "tighter" if self.inverse else "looser"
        came: Direction = "looser" if self.inverse else "tighter"
        for keys, direction in ((fewer, gone), (more, came)):
            if keys:
                yield Change(
                    path,
                    [_shown(key, before[key]) for key in keys if key in before] or None,
                    [_shown(key, after[key]) for key in keys if key in after] or None,
                    direction,
                    self.law,
                )


_TIERS = ("exposure", "suggestive", "strong", "definitive")


class CodeStrength(NamedTuple):
    """How strongly a class holds a code.

    Args:
        tier: from 0 for exposure to 3 for definitive; 4 where there are no tiers.
        exclude: what is excluded from the code.
    """

    tier: int
    exclude: frozenset[str]

    def covers(self, other: CodeStrength) -> bool:
        """Whether a code is held at least as strongly, with no more exclusions."""
        return self.tier >= other.tier and self.exclude <= other.exclude

    def __str__(self) -> str:
        """Say it in words."""
        tier = _TIERS[self.tier] if self.tier < len(_TIERS) else ""
        without = f"without {', '.join(sorted(self.exclude))}" if self.exclude else ""
        return " ".join(part for part in (tier, without) if part)


def element_key(value: Any) -> str:
    """Return a text that is equal for equal list items."""
    return json.dumps(value, sort_keys=True, default=str)


def code_key(system: Any, value: Any) -> tuple[str, str]:
    """Return what a code is told apart by: its spelling without dots, but for globs and names."""
    text = str(value)
    return str(system), text if system in ("local", "drug") else text.replace(".", "").upper()


def code_strength(code_set: dict[str, Any]) -> CodeStrength:
    """Return how strongly a set holds its codes; sets without tiers (proxies) are all equal."""
    tier, exclude = code_set.get("tier"), code_set.get("exclude")
    system = code_set.get("system")
    return CodeStrength(
        _TIERS.index(tier) if tier in _TIERS else len(_TIERS),
        frozenset(code_key(system, text)[1] for text in exclude)
        if isinstance(exclude, list)
        else frozenset(),
    )


def _code_strengths(sets: list[dict[str, Any]]) -> dict[tuple[str, str], CodeStrength]:
    """Return how strongly each code is held where it is held most strongly."""
    found: dict[tuple[str, str], CodeStrength] = {}
    for one in sets:
        strength = code_strength(one)
        for value in one["values"]:
            key = code_key(one["system"], value)
            if key not in found or strength.covers(found[key]):
                found[key] = strength
    return found


def _covers(holder: CodeStrength | None, held: CodeStrength) -> bool:
    return holder is not None and holder.covers(held)


def _shown(key: tuple[str, str], strength: CodeStrength) -> str:
    return " ".join(part for part in (*key, str(strength)) if part)


# --- measures of demand -------------------------------------------------------------------------


def rank(*order: Any) -> Callable[[Any], float]:
    """Return the measure of a word: its place in an order from loosest to strictest."""
    return lambda value: float(order.index(value)) if value in order else -1.0


def falls(law: str) -> Ordered:
    """Return the rule of a ceiling, a number or a duration; none is the loosest."""

    def demand(value: Any) -> float:
        if value is None:
            return float("-inf")
        return -float(value.total_seconds() if hasattr(value, "total_seconds") else value)

    return Ordered(law, demand)


def rises(law: str) -> Ordered:
    """Return the rule of a minimum; none is the loosest."""
    return Ordered(law, lambda value: float("-inf") if value is None else float(value))


_LIMITS_FALL = falls("limits only fall")
_COUNTS_RISE = rises("minimum counts only rise")
