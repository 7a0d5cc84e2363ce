"""What attribute classes catch of a data set, what of them never matches, and what they may miss.

A class that misses a code measures too little leakage and leaves the code in the prompt, so that
the attacker is handed what should be guessed. Nobody can list what is missing; but four kinds of
codes are worth a curator's look, and this finds them among those that a class does not catch:

* *spelling*: a code that is not read, and may be of the class: its zeros are lost, or a character
  only looks like another;
* *family*: an ICD or ATC code of a category of which the class names some codes only;
* *drug*: a code whose text names a drug of the class, such as the laboratory test of its level;
* *word*: a code whose text holds one of the class's words.

A near miss is no error: most are right where they are, and many belong to another class, which is
named. Counts are of single codes and of patients; they are for those who hold the data anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from checker.codes import (
    PREFIX_SHAPES,
    RANK_NONE,
    RANK_STRONG,
    ClassMatcher,
    ClassMatches,
    CodePattern,
    CodeReader,
    CodeSystem,
    Reading,
    Standing,
    find_matches,
    words,
)
from checker.codes.ancestry import is_approximate, unmarked
from checker.policy.classes import class_matcher
from checker.policy.documents import AttributeClassSpec
from checker.records.code_census import ClaimedCodes, take_census
from checker.records.cohort import Cohort
from checker.records.proxies import Proxy, find_proxies

_CATEGORY: Final = {"icd10cm": 3, "icd9cm": 3, "icd10pcs": 3, "icd9proc": 2, "atc": 5}
"""How many characters make the family of a code."""
_SHORTEST_DRUG: Final = 6


@dataclass(frozen=True, slots=True)
class CodeCount:
    """A code of the data set.

    Args:
        code: as the data set spells it.
        description: what the data set says of it, if anything.
        events: how often it occurs.
        patients: in how many patients.
    """

    code: str
    description: str | None
    events: int
    patients: int


@dataclass(frozen=True, slots=True)
class MatchedCode:
    """A code that a class catches, how strongly, and by which of its values.

    Args:
        code: the code.
        standing: the strongest.
        values: of the class.
        through: the way to the nearest ancestor that has the standing, from parent to parent;
            empty where the code has it itself.
    """

    code: CodeCount
    standing: Standing
    values: tuple[str, ...]
    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A code that a class does not catch and perhaps should.

    Args:
        code: the code.
        kind: why it is shown, see the module.
        hint: the category, drug or word that it shares with the class, or the code that it may be.
        elsewhere: other classes that catch it.
    """

    code: CodeCount
    kind: Literal["spelling", "family", "drug", "word"]
    hint: str
    elsewhere: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """What of a data set one class catches.

    Args:
        name, title: of the class.
        caught: codes, strongest and commonest first.
        patients: with a definitive or strong code, who would count as having the class.
        patients_any: with any code of the class, proxies included.
        excluded: codes that an exclusion takes out.
        unmatched: by system that the data set has codes of, values that match none of them.
        absent: systems of the class that the data set has no codes of.
        near_misses: those that no other class catches first, of these drugs and words before
            families, then by how often they occur.
        proxies: codes that are none of it and tell it all the same, by who has them.
    """

    name: str
    title: str
    caught: tuple[MatchedCode, ...]
    patients: int
    patients_any: int
    excluded: tuple[CodeCount, ...]
    unmatched: Mapping[CodeSystem, tuple[str, ...]]
    absent: tuple[CodeSystem, ...]
    near_misses: tuple[NearMiss, ...]
    proxies: tuple[Proxy, ...] = ()


@dataclass(frozen=True, slots=True)
class UnreadCodes:
    """Codes of one head (`LAB`, `DRG`) in which no code system was recognised."""

    head: str
    codes: int
    events: int


@dataclass(frozen=True, slots=True)
class DataCoverage:
    """What of a data set some classes catch.

    Args:
        name: of the data set.
        patients, events, codes: how many of them were looked at.
        systems: how many codes of each system there are.
        unread: what only `local` values can catch, commonest first.
        claims: what of that, and of other codes, claims a vocabulary and is not read as it stands.
        lost: what stands before ICD-9 codes whose zeros are lost for good.
        suspect: what stands before many ICD-9 codes none of which begins with a zero.
        classes: in the order they were asked for.
    """

    name: str
    patients: int
    events: int
    codes: int
    systems: Mapping[str, int]
    unread: tuple[UnreadCodes, ...]
    claims: tuple[ClaimedCodes, ...]
    lost: tuple[str, ...]
    suspect: tuple[str, ...]
    classes: tuple[ClassCoverage, ...]


def measure_coverage(
    classes: Mapping[str, AttributeClassSpec],
    cohort: Cohort,
    *,
    reader: CodeReader,
    only: Sequence[str] = (),
) -> DataCoverage:
    """Measure what classes catch of the members and nonmembers of a data set.

    Args:
        classes: valid classes by name.
        cohort: the patients, and the dictionary of codes.
        reader: knows how the data set spells its codes.
        only: the classes asked for; all, where none is. The others say what they catch of the near
            misses.
    """
    matchers = {name: class_matcher(spec) for name, spec in classes.items()}
    matches = find_matches(
        matchers,
        cohort.codes,
        reader=reader,
        descriptions=cohort.descriptions,
        parents=cohort.parents,
    )
    data = _Data(cohort, reader)
    census = take_census(cohort, reader)
    asked = {name: matches[name] for name in only or classes}
    proxies = find_proxies(
        {name: one.ranks for name, one in asked.items()}, cohort.nonmembers, cohort.codes
    )
    return DataCoverage(
        name=cohort.name,
        patients=len(cohort.members) + len(cohort.nonmembers),
        events=int(data.events.sum()),
        codes=len(cohort.codes),
        systems=dict(data.systems.most_common()),
        unread=data.unread(),
        claims=census.claims,
        lost=census.lost,
        suspect=census.suspect,
        classes=tuple(
            replace(
                _coverage(name, classes[name], matches, data, matcher=matchers[name]),
                proxies=proxies[name],
            )
            for name in asked
        ),
    )


def count_patients(
    classes: Mapping[str, AttributeClassSpec], cohort: Cohort, *, reader: CodeReader
) -> dict[str, int]:
    """Count who has a definitive or strong code of each class, without all that coverage shows."""
    matches = find_matches(
        {name: class_matcher(spec) for name, spec in classes.items()},
        cohort.codes,
        reader=reader,
        descriptions=cohort.descriptions,
        parents=cohort.parents,
    )
    data = _Data(cohort, reader)
    return {name: data.patients_with(one.ranks >= RANK_STRONG) for name, one in matches.items()}


# --- the data set -------------------------------------------------------------------------------


class _Data:
    """A data set's codes with their counts, readings and texts."""

    def __init__(self, cohort: Cohort, reader: CodeReader) -> None:
        self._cohort = cohort
        self._reader = reader
        n_codes = len(cohort.codes)
        members, nonmembers = cohort.members, cohort.nonmembers
        code = np.concatenate([members.code, nonmembers.code]).astype(np.int64)
        lengths = np.concatenate([np.diff(members.offsets), np.diff(nonmembers.offsets)])
        patient = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
        pairs = np.unique(patient * n_codes + code)
        self._patients, self._codes = pairs // n_codes, pairs % n_codes
        self.patients = np.bincount(self._codes, minlength=n_codes)
        self.events = np.bincount(code, minlength=n_codes)
        rows = zip(cohort.codes, cohort.descriptions, cohort.parents, strict=True)
        self.readings: list[tuple[Reading, ...]] = []
        self.texts: list[str] = []
        for spelling, description, parents in rows:
            self.readings.append(reader.read(spelling, description=description, parents=parents))
            self.texts.append(words(f"{spelling} {description or ''}"))
        self.systems = Counter(
            system for found in self.readings for system in {reading.system for reading in found}
        )

    def garbled(self) -> dict[int, tuple[Reading, ...]]:
        """Return what codes without a reading may have been, where that can be told."""
        found = {
            entry: self._reader.candidates(
                self._cohort.codes[entry], parents=self._cohort.parents[entry]
            )
            for entry, readings in enumerate(self.readings)
            if not readings
        }
        return {entry: meant for entry, meant in found.items() if meant}

    def through(self, entry: int, matcher: ClassMatcher, standing: Standing) -> tuple[str, ...]:
        """Return the way to the nearest ancestor that gives a code its standing in a class."""
        spelling = self._cohort.codes[entry]
        own = [one for one in self.readings[entry] if one.system == "drug"]
        own += self._reader.read_own(spelling)
        if matcher.standing(own, spelling) == standing:
            return ()
        ancestry = self._reader.ancestry
        for ancestor in ancestry.walk(self._cohort.parents[entry], child=spelling):
            found = matcher.standing(self._reader.read_own(unmarked(ancestor)), "")
            if is_approximate(ancestor) and found == "definitive":
                found = "strong"
            if found == standing:
                return ancestry.path(spelling, ancestor)[1:]
        return ()

    def count(self, entry: int) -> CodeCount:
        """Return a code with its counts."""
        return CodeCount(
            self._cohort.codes[entry],
            self._cohort.descriptions[entry],
            int(self.events[entry]),
            int(self.patients[entry]),
        )

    def patients_with(self, wanted: NDArray[np.bool_]) -> int:
        """Count the patients that have one of some codes, given as [codes] bool."""
        patients = self._patients[wanted[self._codes]]
        return len(np.unique(patients))

    def unread(self) -> tuple[UnreadCodes, ...]:
        """Return the heads of codes without a reading, commonest first."""
        codes: Counter[str] = Counter()
        events: Counter[str] = Counter()
        for entry, readings in enumerate(self.readings):
            if not readings:
                head = self._cohort.codes[entry].partition("//")[0]
                codes[head] += 1
                events[head] += int(self.events[entry])
        return tuple(UnreadCodes(head, codes[head], count) for head, count in events.most_common())


# --- one class ----------------------------------------------------------------------------------


def _coverage(
    name: str,
    spec: AttributeClassSpec,
    matches: Mapping[str, ClassMatches],
    data: _Data,
    *,
    matcher: ClassMatcher,
) -> ClassCoverage:
    found = matches[name]
    excluded = {
        entry
        for excludes, entries in zip(found.excludes, found.entries, strict=True)
        if excludes
        for entry in entries
        if found.ranks[entry] == RANK_NONE
    }
    return ClassCoverage(
        name=name,
        title=spec.title,
        caught=tuple(_caught(found, data, matcher)),
        patients=data.patients_with(found.ranks >= RANK_STRONG),
        patients_any=data.patients_with(found.ranks > RANK_NONE),
        excluded=tuple(data.count(entry) for entry in sorted(excluded)),
        unmatched=_unmatched(found, data),
        absent=tuple(dict.fromkeys(p.system for p in found.patterns if _absent(p.system, data))),
        near_misses=tuple(
            _near_misses(name, spec, matches, data, excluded=excluded, matcher=matcher)
        ),
    )


def _caught(found: ClassMatches, data: _Data, matcher: ClassMatcher) -> Iterator[MatchedCode]:
    values: dict[int, list[str]] = {}
    rows = zip(found.patterns, found.excludes, found.entries, strict=True)
    for pattern, excludes, entries in rows:
        for entry in [] if excludes else entries:
            values.setdefault(entry, []).append(pattern.value)
    order = sorted(values, key=lambda e: (-int(found.ranks[e]), -int(data.events[e]), e))
    for entry in order:
        if standing := found.standing(entry):
            through = data.through(entry, matcher, standing)
            named = tuple(dict.fromkeys(values[entry]))
            yield MatchedCode(data.count(entry), standing, named, through)


def _absent(system: CodeSystem, data: _Data) -> bool:
    return system != "local" and system not in data.systems


def _unmatched(found: ClassMatches, data: _Data) -> dict[CodeSystem, tuple[str, ...]]:
    unmatched: dict[CodeSystem, list[str]] = {}
    rows = zip(found.patterns, found.excludes, found.entries, strict=True)
    for pattern, excludes, entries in rows:
        if not (excludes or entries or _absent(pattern.system, data)):
            unmatched.setdefault(pattern.system, []).append(pattern.value)
    return {system: tuple(values) for system, values in unmatched.items()}


# --- near misses --------------------------------------------------------------------------------


def _near_misses(
    name: str,
    spec: AttributeClassSpec,
    matches: Mapping[str, ClassMatches],
    data: _Data,
    *,
    excluded: set[int],
    matcher: ClassMatcher,
) -> list[NearMiss]:
    found = matches[name]
    families = _families(found.patterns)
    drugs = _drugs(found)
    hints = [hint for word in spec.words if (hint := words(word).strip())] or _title_words(
        spec.title
    )
    garbled = data.garbled()
    near = []
    for entry in np.flatnonzero(found.ranks == RANK_NONE).tolist():
        if entry in excluded:
            continue
        meant = _meant(garbled.get(entry, ()), matcher)
        reason: tuple[Literal["spelling", "family", "drug", "word"], str] | None = (
            ("spelling", meant)
            if meant is not None
            else _reason(data.readings[entry], data.texts[entry], families, drugs, hints)
        )
        if reason is not None:
            elsewhere = tuple(n for n, other in matches.items() if other.ranks[entry] > RANK_NONE)
            near.append(NearMiss(data.count(entry), *reason, elsewhere))
    return sorted(near, key=_urgency)


def _meant(candidates: Sequence[Reading], matcher: ClassMatcher) -> str | None:
    """Return the first code of a class that a garbled spelling may have been, or None."""
    return next((one.code for one in candidates if matcher.standing([one], "")), None)


def _urgency(one: NearMiss) -> tuple[bool, int, int, str]:
    """Order what nothing catches before the rest, and what is named before what is only near."""
    kind = {"spelling": 0, "family": 2}.get(one.kind, 1)
    return bool(one.elsewhere), kind, -one.code.events, one.code.code


def _reason(
    readings: Sequence[Reading],
    text: str,
    families: set[tuple[CodeSystem, str]],
    drugs: Sequence[str],
    hints: Sequence[str],
) -> tuple[Literal["family", "drug", "word"], str] | None:
    for drug in drugs:
        if f" {drug} " in text:
            return "drug", drug
    for hint in hints:
        # a word is meant by its beginning, a number as it is: cd 4 is not cd 45
        if f" {hint}{' ' if hint[-1].isdigit() else ''}" in text:
            return "word", hint
    for system, code in readings:
        if (system, category := code[: _CATEGORY.get(system, 0)]) in families:
            return "family", category
    return None


def _families(patterns: Iterable[CodePattern]) -> set[tuple[CodeSystem, str]]:
    """Return the categories of which a class names some codes only."""
    families: set[tuple[CodeSystem, str]] = set()
    for pattern in patterns:
        size = _CATEGORY.get(pattern.system, 0)
        # a pattern says of its whole category which codes are meant
        if pattern.system not in PREFIX_SHAPES or pattern.places or pattern.length <= size:
            continue
        families |= {(pattern.system, end[:size]) for end in (pattern.low, pattern.high)}
    return families


def _drugs(found: ClassMatches) -> list[str]:
    """Return the names of single drugs that a class counts or hides."""
    names = []
    for pattern, excludes in zip(found.patterns, found.excludes, strict=True):
        if not excludes and len(pattern.phrases) == 1:
            name = pattern.phrases[0].strip()
            if " " not in name and len(name) >= _SHORTEST_DRUG:
                names.append(name)
    return names


def _title_words(title: str) -> list[str]:
    """Return the longer words of a title, for a class that names no words of its own."""
    return [word for word in words(title).split() if len(word) > len("other")]
