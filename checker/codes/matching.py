"""Classes: how strongly a code stands for each of many classes, in one pass over a dictionary.

    Reading("icd10cm", "F1020") ─ ClassMatcher ─► "definitive"

A class is a list of rules: values that belong to it in some tier, proxies that only hint at it, and
exclusions. **An exclusion always wins**: one that stands with a set of values takes codes out of
that set, one of the whole class takes them out of the class. It speaks of the code it stands on.
All that is read from one spelling describes one thing, so that a product which is excluded by the
ATC identifier in its spelling is not brought back by its name; only ICD codes that share a field
(eICU writes several into one) are judged one by one. A parent excludes no code that the spelling
tells itself, and no drug that is called by its name: what belongs to a class is not for the data
set's table to say.

A code is looked up rather than compared: prefixes and exact codes in tables, drugs by their first
word, so that the time grows with the codes and hardly with the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from checker.codes.patterns import GLOB_CHARACTERS, CodePattern, glob, parse_value
from checker.codes.readings import CodeReader, Lines, Reading
from checker.codes.systems import DIAGNOSES, PREFIX_SHAPES, CodeSystem, Tier

Standing = Tier | Literal["proxy"]
"""What a code is to a class: of a tier, or only a hint that leaves the prompt with it."""

RANK_NONE: Final = 0
RANK_PROXY: Final = 1
RANK_EXPOSURE: Final = 2
RANK_SUGGESTIVE: Final = 3
RANK_STRONG: Final = 4
RANK_DEFINITIVE: Final = 5
RANKS: Final[dict[Standing, int]] = {
    "proxy": RANK_PROXY,
    "exposure": RANK_EXPOSURE,
    "suggestive": RANK_SUGGESTIVE,
    "strong": RANK_STRONG,
    "definitive": RANK_DEFINITIVE,
}
_STANDINGS: Final[dict[int, Standing]] = {rank: standing for standing, rank in RANKS.items()}

_WHOLE_CLASS: Final = -1


class ClassRule(NamedTuple):
    """Values of one system and what they mean for a class.

    Args:
        system: the code system.
        standing: a tier, `proxy`, or `excluded` for codes that are never of the class.
        values: as `parse_value` takes them.
        exclude: values of the same system that are not meant here.
    """

    system: CodeSystem
    standing: Standing | Literal["excluded"]
    values: Iterable[str]
    exclude: Iterable[str] = ()


class _Hit(NamedTuple):
    """A pattern that matched.

    Args:
        slot: which class.
        rank: RANK_NONE for an exclusion.
        rule: which rule of the class it is of, or which an exclusion is about.
        pattern: its place among the patterns of the class.
    """

    slot: int
    rank: int
    rule: int
    pattern: int


class ClassMatcher:
    """Says how strongly a code stands for one attribute class.

    Args:
        rules: of the class; (system, tier, values) is enough for a rule without exclusions.

    Raises:
        ValueError: a value is invalid.
    """

    def __init__(
        self,
        rules: Iterable[
            ClassRule
            | tuple[CodeSystem, Standing, Iterable[str]]
            | tuple[CodeSystem, Literal["excluded"], Iterable[str]]
        ],
    ) -> None:
        self.patterns: list[CodePattern] = []
        """All values of the class, in order, exclusions too."""
        self.ranks: list[int] = []
        """Of each pattern; RANK_NONE marks exclusions."""
        self._rules: list[int] = []
        for number, one in enumerate(rules):
            system, standing, values, exclude = rule = ClassRule(*one)
            excluded = standing == "excluded"
            rank = RANK_NONE if rule.standing == "excluded" else RANKS[rule.standing]
            self._add(system, values, rank, _WHOLE_CLASS if excluded else number)
            self._add(system, exclude, RANK_NONE, number)
        self._index = _Index()
        self.fill(self._index, slot=0)

    def _add(self, system: CodeSystem, values: Iterable[str], rank: int, rule: int) -> None:
        for value in values:
            self.patterns.append(parse_value(system, value))
            self.ranks.append(rank)
            self._rules.append(rule)

    def fill(self, index: _Index, *, slot: int) -> None:
        """Put the patterns into an index of several classes."""
        for number, pattern in enumerate(self.patterns):
            index.add(pattern, _Hit(slot, self.ranks[number], self._rules[number], number))

    def standing(self, readings: Sequence[Reading], spelling: str) -> Standing | None:
        """Return the strongest standing of a code in the class, or None.

        Args:
            readings: what `CodeReader.read` made of the spelling.
            spelling: the data set's own code, for `local` patterns.
        """
        ranks = [hit.rank for hit in _judged(self._index, _one_by_one(readings), spelling)[0]]
        return _STANDINGS[max(ranks)] if ranks else None

    def matching(self, readings: Sequence[Reading], spelling: str) -> list[CodePattern]:
        """Return the values that a code has its standing from, none where it has none."""
        hits, _ = _judged(self._index, _one_by_one(readings), spelling)
        best = max((hit.rank for hit in hits), default=RANK_NONE)
        numbers = dict.fromkeys(hit.pattern for hit in hits if hit.rank == best)
        return [self.patterns[number] for number in numbers]

    def excluding(self, readings: Sequence[Reading], spelling: str) -> list[CodePattern]:
        """Return the exclusions that a code falls under."""
        _, exclusions = _judged(self._index, _one_by_one(readings), spelling)
        numbers = dict.fromkeys(hit.pattern for hit in exclusions)
        return [self.patterns[number] for number in numbers]


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """What of a dictionary one class matches.

    Args:
        patterns: the values of the class, in order, exclusions too.
        excludes: which of them are exclusions.
        ranks: [entries] int8: RANK_NONE, or the rank of the strongest standing.
        entries: for each pattern, the entries that it matches and nothing excludes; for an
            exclusion, the entries that it takes out.
    """

    patterns: Sequence[CodePattern]
    excludes: Sequence[bool]
    ranks: NDArray[np.int8]
    entries: list[list[int]]

    def standing(self, entry: int) -> Standing | None:
        """Return the strongest standing of an entry in the class, or None."""
        return _STANDINGS.get(int(self.ranks[entry]))

    @property
    def unmatched(self) -> list[str]:
        """Values, but for exclusions, that match no entry."""
        rows = zip(self.patterns, self.excludes, self.entries, strict=True)
        return [p.value for p, excludes, entries in rows if not (excludes or entries)]


def find_matches(
    matchers: Mapping[str, ClassMatcher],
    spellings: Sequence[str],
    *,
    reader: CodeReader,
    descriptions: Sequence[str | None],
    parents: Sequence[Sequence[str]],
) -> dict[str, ClassMatches]:
    """Match a dictionary of codes with all classes at once.

    Args:
        matchers: by class name.
        spellings: the dictionary's entries.
        descriptions: of the entries, None where there is none.
        parents: MEDS parent codes of the entries; the reader knows what stands above them.
        reader: knows how the data set spells its codes.
    """
    index = _Index()
    for slot, matcher in enumerate(matchers.values()):
        matcher.fill(index, slot=slot)
    ranks = np.zeros((len(matchers), len(spellings)), dtype=np.int8)
    found: list[list[list[int]]] = [[[] for _ in m.patterns] for m in matchers.values()]
    rows = zip(spellings, descriptions, parents, strict=True)
    for entry, (spelling, description, own_parents) in enumerate(rows):
        lines = reader.lines(spelling, description=description, parents=own_parents)
        hits, exclusions = _judged(index, lines, spelling)
        for hit in dict.fromkeys([*hits, *exclusions]):
            found[hit.slot][hit.pattern].append(entry)
            if hit.rank > ranks[hit.slot, entry]:
                ranks[hit.slot, entry] = hit.rank
    return {
        name: ClassMatches(
            matcher.patterns,
            [rank == RANK_NONE for rank in matcher.ranks],
            ranks[slot],
            found[slot],
        )
        for slot, (name, matcher) in enumerate(matchers.items())
    }


# --- looking up ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Index:
    """Patterns of many classes, arranged so that a code is looked up rather than compared."""

    exact: dict[tuple[str, str], list[_Hit]] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    scanned: dict[tuple[str, int, str], list[tuple[CodePattern, _Hit]]] = field(
        default_factory=dict
    )
    drugs: dict[str, list[tuple[tuple[str, ...], _Hit]]] = field(default_factory=dict)
    globs: list[tuple[str, Callable[[str], bool], _Hit]] = field(default_factory=list)
    heads: tuple[str, ...] = ()
    known: dict[tuple[str, str], list[_Hit]] = field(default_factory=dict)

    def add(self, pattern: CodePattern, hit: _Hit) -> None:
        if pattern.system == "local":
            head = GLOB_CHARACTERS.split(pattern.value, maxsplit=1)[0]
            self.globs.append((head, glob(pattern.value), hit))
            self.heads = tuple({*self.heads, head})
        elif pattern.system == "drug":
            first = pattern.phrases[0].split()[0]
            self.drugs.setdefault(first, []).append((pattern.phrases, hit))
        elif pattern.system in PREFIX_SHAPES:
            lengths = self.lengths.setdefault(pattern.system, [])
            if pattern.length not in lengths:
                lengths.append(pattern.length)
            if pattern.places or pattern.low != pattern.high:
                for initial in pattern.initials:
                    key = pattern.system, pattern.length, initial
                    self.scanned.setdefault(key, []).append((pattern, hit))
            else:
                self.exact.setdefault((pattern.system, pattern.low), []).append(hit)
        else:
            self.exact.setdefault((pattern.system, pattern.low), []).append(hit)

    def of_spelling(self, spelling: str) -> Iterator[_Hit]:
        if not spelling.startswith(self.heads):
            return
        for head, matches, hit in self.globs:
            if spelling.startswith(head) and matches(spelling):
                yield hit

    def of_reading(self, reading: Reading) -> Iterator[_Hit]:
        system, code = reading
        if system == "drug":
            text = f" {code} "
            for word in dict.fromkeys(code.split()):
                for phrases, hit in self.drugs.get(word, ()):
                    if all(phrase in text for phrase in phrases):
                        yield hit
        elif system in PREFIX_SHAPES:
            for length in self.lengths.get(system, ()):
                if length <= len(code):
                    yield from self._of_prefix(system, code[:length])
        else:
            yield from self.exact.get((system, code), ())

    def _of_prefix(self, system: str, prefix: str) -> list[_Hit]:
        # thousands of codes share a few prefixes: compare a prefix with the ranges only once
        known = self.known.get((system, prefix))
        if known is None:
            known = list(self.exact.get((system, prefix), ()))
            for pattern, hit in self.scanned.get((system, len(prefix), prefix[0]), ()):
                if pattern.fits(prefix):
                    known.append(hit)
            self.known[system, prefix] = known
        return known


def _one_by_one(readings: Iterable[Reading]) -> Lines:
    own = tuple(readings)
    return Lines(own, [(reading,) for reading in own])


def _judged(index: _Index, found: Lines, spelling: str) -> tuple[list[_Hit], list[_Hit]]:
    """Return what matches and is not excluded, and the exclusions that took something out.

    What excludes a code excludes what stands above it, and the name of a drug; what a spelling says
    itself, and the name, are not excluded by its parents, which a table gives it. What is only
    approximate excludes nothing but itself, and is strong at most.
    """
    itself = list(index.of_spelling(spelling))
    named: list[_Hit] = []
    above: list[_Hit] = []
    for reading in dict.fromkeys(reading for line in found.lines for reading in line):
        if reading.system not in DIAGNOSES:
            own = itself if reading in found.own else named if reading.system == "drug" else above
            own.extend(index.of_reading(reading))
    by_itself = _exclusions(itself)
    by_name = by_itself + _exclusions(named)
    by_all = by_name + _exclusions(above)
    by_lines: list[_Hit] = []
    valid, exclusions = _split(itself)
    for hits in ([*named, *by_itself], [*above, *by_name]):
        inherited, told = _split(hits)
        valid, exclusions = valid + inherited, exclusions + told
    for line in found.lines:
        nearer: list[_Hit] = []
        for reading in line:
            if reading.system in DIAGNOSES:
                hits = list(index.of_reading(reading))
                common = by_itself if reading in found.own else by_all
                kept, told = _split([*hits, *common, *nearer])
                valid, exclusions = valid + kept, exclusions + told
                nearer += _exclusions(hits)
        by_lines += nearer
    for reading in found.approximate:
        own, told = _split([*index.of_reading(reading), *by_all, *by_lines])
        valid = valid + [hit._replace(rank=min(hit.rank, RANK_STRONG)) for hit in own]
        exclusions = exclusions + told
    return valid, exclusions


def _exclusions(hits: Iterable[_Hit]) -> list[_Hit]:
    return [hit for hit in hits if hit.rank == RANK_NONE]


def _split(hits: list[_Hit]) -> tuple[list[_Hit], list[_Hit]]:
    """Return what is not excluded, and the exclusions that took something out."""
    exclusions = [hit for hit in hits if hit.rank == RANK_NONE]
    if not exclusions:
        return hits, exclusions
    barred = {(hit.slot, hit.rule) for hit in exclusions}
    included = [hit for hit in hits if hit.rank != RANK_NONE]
    valid = [
        hit
        for hit in included
        if (hit.slot, hit.rule) not in barred and (hit.slot, _WHOLE_CLASS) not in barred
    ]
    touched = {(hit.slot, hit.rule) for hit in included}
    touched |= {(hit.slot, _WHOLE_CLASS) for hit in included}
    return valid, [hit for hit in exclusions if (hit.slot, hit.rule) in touched]
