"""Code systems: which codes a data set's spellings stand for, and which class they belong to.

Three steps, each over a dictionary of spellings, never over events:

    "DIAGNOSIS//ICD//10//F1020" ─ CodeReader ─► Reading("icd10cm", "F1020") ─ ClassMatcher ─► tier

ICD matching follows the code sets themselves (ICD-9-CM and ICD-10-CM/PCS, CDC/NCHS and CMS): a
category stands for everything below it, so values are prefixes; dots carry no meaning; leading
zeros do (042 is HIV, 42x are diseases of the heart). An ICD-9 *procedure* is not an ICD-9-CM
diagnosis of the same digits and gets no reading. Drugs are matched by generic name as whole words
in the text of a medication, because hospital pharmacies rarely carry a code.

Spellings come from the ETLs whose output phigate was written against (MIMIC-IV and eICU in MEDS,
Synthea, OMOP-derived MEDS); a target's `codeSystems` come before them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RANKS",
    "RANK_DEFINITIVE",
    "RANK_EXPOSURE",
    "RANK_NONE",
    "RANK_STRONG",
    "RANK_SUGGESTIVE",
    "ClassMatcher",
    "CodePattern",
    "CodeReader",
    "CodeSystem",
    "Reading",
    "Tier",
    "match_codes",
    "parse_value",
]

Tier = Literal["definitive", "strong", "suggestive", "exposure"]
CodeSystem = Literal[
    "icd10cm", "icd9cm", "icd10pcs", "snomed", "loinc", "rxnorm", "hcpcs", "drug", "local"
]

RANK_NONE: Final = 0
RANK_EXPOSURE: Final = 1
RANK_SUGGESTIVE: Final = 2
RANK_STRONG: Final = 3
RANK_DEFINITIVE: Final = 4
RANKS: Final[dict[Tier, int]] = {
    "exposure": RANK_EXPOSURE,
    "suggestive": RANK_SUGGESTIVE,
    "strong": RANK_STRONG,
    "definitive": RANK_DEFINITIVE,
}
_TIERS: Final[dict[int, Tier]] = {rank: tier for tier, rank in RANKS.items()}

_GLOB_CHARACTERS = re.compile(r"[*?\[]")
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_EXACT: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "snomed": (re.compile(r"\d{5,18}"), "5 to 18 digits"),
    "rxnorm": (re.compile(r"\d{1,8}"), "1 to 8 digits"),
    "loinc": (re.compile(r"(?:L[AP])?\d{1,8}-\d"), "digits, a hyphen and a check digit"),
    "hcpcs": (re.compile(r"[A-Z0-9]\d{3}[A-Z0-9]"), "five characters"),
}
_ICD_SHAPE: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "icd10cm": (re.compile(r"[A-Z][0-9A-Z]{0,6}"), "a letter and up to six more characters"),
    "icd9cm": (re.compile(r"[0-9EV][0-9]{0,4}"), "up to five characters, E, V or a digit first"),
    "icd10pcs": (re.compile(r"[0-9A-Z]{1,7}"), "up to seven characters"),
}


# --- values of a policy -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodePattern:
    """One value of a code set, checked and ready to match.

    Args:
        system: the code system.
        value: as written in the policy.
        low, high: first and last prefix (ICD; equal for a single prefix), or the exact code.
        phrases: for drugs, the names that must all be present, each as " word word ".
    """

    system: CodeSystem
    value: str
    low: str = ""
    high: str = ""
    phrases: tuple[str, ...] = ()

    def matches(self, code: str) -> bool:
        """Say whether a reading's code, a drug's text or (for `local`) a spelling matches."""
        if self.system == "local":
            return _glob(self.value)(code)
        if self.system == "drug":
            text = _text_of_words(code)
            return all(phrase in text for phrase in self.phrases)
        normal = _normal(self.system, code)
        if self.system in _ICD_SHAPE:
            return len(normal) >= len(self.low) and self.low <= normal[: len(self.low)] <= self.high
        return normal == self.low


def parse_value(system: CodeSystem, value: str) -> CodePattern:
    """Check one value of a code set and make it ready to match.

    Args:
        system: the code system.
        value: an ICD prefix ("F10") or range of equally long prefixes ("F10-F16"), dots ignored;
            generic drug names ("naltrexone", both of "buprenorphine+naloxone"); a glob over the
            data set's own spelling (`local`); otherwise an exact code.

    Raises:
        ValueError: the value cannot be meant, with one sentence that says why.
    """
    text = value.strip()
    if not text:
        raise ValueError("an empty code matches nothing")
    if text.startswith("re:"):
        raise ValueError(
            f"'{text}' is a regular expression, which this version does not support; write"
            " prefixes, ranges, or globs with system 'local'"
        )
    if system == "local":
        return CodePattern(system, text)
    if system == "drug":
        return CodePattern(system, text, phrases=_drug_phrases(text))
    if _GLOB_CHARACTERS.search(text):
        meant = "a prefix needs no '*'" if system in _ICD_SHAPE else "codes are matched exactly"
        raise ValueError(f"'{text}' is not a code of {system}: {meant}; globs need system 'local'")
    if system in _ICD_SHAPE:
        first, dash, last = text.partition("-")
        low = _icd_prefix(system, first)
        high = _icd_prefix(system, last) if dash else low
        _check_range(system, text, low, high)
        return CodePattern(system, text, low, high)
    shape, expected = _EXACT[system]
    code = _normal(system, text)
    if not shape.fullmatch(code):
        raise ValueError(f"'{text}' is not a code of {system}, which has {expected}")
    return CodePattern(system, text, code, code)


def _drug_phrases(text: str) -> tuple[str, ...]:
    phrases = tuple(_text_of_words(name) for name in text.split("+"))
    for phrase in phrases:
        if not any(letter.isalpha() for letter in phrase):
            raise ValueError(f"'{text}' is not a drug name or a combination 'name+name'")
    return phrases


def _icd_prefix(system: CodeSystem, text: str) -> str:
    whole, dot, _ = text.strip().partition(".")
    if system == "icd9cm" and dot and whole.isdecimal() and len(whole) < 3:
        raise ValueError(
            f"'{text}' has lost its leading zeros: ICD-9-CM has three digits before the dot"
        )
    prefix = _normal(system, text)
    shape, expected = _ICD_SHAPE[system]
    if not shape.fullmatch(prefix):
        raise ValueError(f"'{text.strip()}' is not a prefix of {system}, which has {expected}")
    return prefix


def _check_range(system: CodeSystem, text: str, low: str, high: str) -> None:
    if len(low) != len(high):
        raise ValueError(f"'{text}' is not a range: its two ends must be equally long prefixes")
    kinds = {first if first in "EV" else "digit" for first in (low[0], high[0])}
    if system == "icd9cm" and len(kinds) > 1:
        raise ValueError(
            f"'{text}' is not a range: its ends are of different kinds (digits, E or V)"
        )
    if high < low:
        raise ValueError(f"'{text}' is not a range: it ends before it begins")


def _normal(system: str, code: str) -> str:
    """Return a code in the one form that is compared: no dots in ICD, upper case, no spaces."""
    if system in _ICD_SHAPE:
        return code.replace(".", "").strip().upper()
    return code.strip().upper()


def _text_of_words(text: str) -> str:
    """Return the words of a text in lower case, one space around each, so that `in` is exact."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _glob(pattern: str) -> Callable[[str], bool]:
    """Compile a case-sensitive glob; each `*` takes the shortest match and never gives it back."""
    match = re.compile(fnmatch.translate(pattern)).match
    return lambda text: match(text) is not None


# --- spellings of a data set --------------------------------------------------------------------


class Reading(NamedTuple):
    """A code that a spelling stands for; ICD without dots, or the text of a drug."""

    system: CodeSystem
    code: str


_SYSTEM_NAMES: Final[dict[str, CodeSystem]] = {
    "ICD10CM": "icd10cm",
    "ICD10": "icd10cm",
    "ICD9CM": "icd9cm",
    "ICD9": "icd9cm",
    "ICD10PCS": "icd10pcs",
    "SNOMED": "snomed",
    "SNOMEDCT": "snomed",
    "SNOMEDCTUS": "snomed",
    "LOINC": "loinc",
    "RXNORM": "rxnorm",
    "HCPCS": "hcpcs",
}
_MEDICATION_HEADS: Final = ("MEDICATION", "INFUSION", "DRUG", "PRESCRIPTION", "PHARMACY")
_ICD9_SHAPE = re.compile(r"\d{3}\.?\d{0,2}|V\d{2}\.?\d{0,2}|E\d{3}\.?\d?")
_ICD10_SHAPE = re.compile(r"[A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?")


class CodeReader:
    """Reads the codes that a data set's spellings stand for.

    Args:
        extra: a target's `codeSystems` as (glob with {code}, system). A spelling that one of them
            matches is read by them alone.

    Raises:
        ValueError: a glob does not hold {code} exactly once.
    """

    def __init__(self, extra: Iterable[tuple[str, CodeSystem]] = ()) -> None:
        self._extra = [(_code_glob(match), system) for match, system in extra]

    def read(
        self, spelling: str, *, description: str | None = None, parents: Sequence[str] = ()
    ) -> tuple[Reading, ...]:
        """Return the codes that a spelling stands for, without duplicates.

        Args:
            spelling: the data set's own code, for example "DIAGNOSIS//ICD//10//F1020".
            description: what the data set says of it; read for drug names only.
            parents: MEDS parent codes, read like spellings.
        """
        found = dict.fromkeys(self._read_own(spelling))
        for parent in parents:
            found.update(dict.fromkeys(self._read_own(parent)))
        text = _drug_text(spelling, description, coded=any(r.system == "rxnorm" for r in found))
        if text:
            found[Reading("drug", text)] = None
        return tuple(found)

    def _read_own(self, spelling: str) -> list[Reading]:
        own = [
            reading
            for pattern, system in self._extra
            if (match := pattern.match(spelling))
            for reading in _readings(system, match["code"])
        ]
        return own or _read_built_in(spelling)


def _code_glob(pattern: str) -> re.Pattern[str]:
    before, code, after = pattern.partition("{code}")
    if not code or "{code}" in after:
        raise ValueError(f"'{pattern}' must hold {{code}} once, where the code stands")
    start = fnmatch.translate(before).removesuffix(r"\Z").removesuffix(r"\z")
    return re.compile(f"{start}(?P<code>.+?){fnmatch.translate(after)}", re.DOTALL)


def _read_built_in(spelling: str) -> list[Reading]:
    """Find a system's name among the parts of a spelling; the code stands in the part after it."""
    parts = [part.strip() for part in spelling.split("//")]
    if len(parts) == 1:
        parts = spelling.split("/", 1)  # OMOP-derived: "ICD10CM/B20"
    for i in range(len(parts) - 1):
        name = re.sub(r"[^A-Z0-9]", "", parts[i].upper())
        code = parts[i + 1]
        if name == "ICD" and i + 2 < len(parts):  # MIMIC-IV: "ICD//10//B20"
            name, code = f"ICD{code}", parts[i + 2]
        if name in _SYSTEM_NAMES:
            system = _SYSTEM_NAMES[name]
            if parts[0].upper().startswith("PROC") and system in {"icd9cm", "icd10cm"}:
                return _readings("icd10pcs", code) if system == "icd10cm" else []
            return _readings(system, code)
    return []


def _readings(system: CodeSystem, text: str) -> list[Reading]:
    """Read one code, or the comma-separated ICD codes that eICU writes into one field."""
    if system == "drug":
        return [Reading("drug", _text_of_words(text).strip())]
    if system == "local":
        return [Reading("local", text)]
    if system not in {"icd9cm", "icd10cm"}:
        return [Reading(system, _normal(system, text))]
    pieces = [piece.strip().upper() for piece in text.split(",")]
    return [Reading(_revision(system, p), _normal(system, p)) for p in pieces if p]


def _revision(system: CodeSystem, code: str) -> CodeSystem:
    """Tell by its shape an ICD-10 code in a field for ICD-9; eICU writes "491.20, J44.9"."""
    if system == "icd9cm" and not _ICD9_SHAPE.fullmatch(code) and _ICD10_SHAPE.fullmatch(code):
        return "icd10cm"
    return system


def _drug_text(spelling: str, description: str | None, *, coded: bool) -> str:
    """Return what names the drug in a medication's spelling and description, or nothing."""
    head, _, rest = spelling.partition("//")
    head = head.upper()
    medication = head.startswith(_MEDICATION_HEADS)
    if head.startswith("ALLERGY") or not (medication or coded):
        return ""  # an allergy names a drug that is *not* taken
    return _text_of_words(f"{rest if medication else ''} {description or ''}").strip()


# --- classes ------------------------------------------------------------------------------------

_Hit = tuple[int, int]  # which class, which rank


@dataclass(slots=True)
class _Index:
    """Patterns of many classes, arranged so that a code is looked up rather than compared."""

    exact: dict[tuple[str, str], list[_Hit]] = field(default_factory=dict)
    ranges: dict[tuple[str, int], list[tuple[str, str, _Hit]]] = field(default_factory=dict)
    drugs: dict[str, list[tuple[tuple[str, ...], _Hit]]] = field(default_factory=dict)
    globs: list[tuple[str, Callable[[str], bool], _Hit]] = field(default_factory=list)
    by_prefix: dict[tuple[str, str], list[_Hit]] = field(default_factory=dict)

    def add(self, pattern: CodePattern, hit: _Hit) -> None:
        if pattern.system == "local":
            head = _GLOB_CHARACTERS.split(pattern.value, maxsplit=1)[0]
            self.globs.append((head, _glob(pattern.value), hit))
        elif pattern.system == "drug":
            first = pattern.phrases[0].split()[0]
            self.drugs.setdefault(first, []).append((pattern.phrases, hit))
        elif pattern.system in _ICD_SHAPE:
            key = pattern.system, len(pattern.low)
            self.ranges.setdefault(key, []).append((pattern.low, pattern.high, hit))
        else:
            self.exact.setdefault((pattern.system, pattern.low), []).append(hit)

    def hits(self, readings: Iterable[Reading], spelling: str) -> Iterable[_Hit]:
        for system, code in readings:
            if system == "drug":
                text = f" {code} "
                for word in dict.fromkeys(code.split()):
                    for phrases, hit in self.drugs.get(word, ()):
                        if all(phrase in text for phrase in phrases):
                            yield hit
            elif system in _ICD_SHAPE:
                for length in range(1, len(code) + 1):
                    if (system, length) in self.ranges:
                        yield from self._prefix_hits(system, code[:length])
            else:
                yield from self.exact.get((system, code), ())
        for head, matches, hit in self.globs:
            if spelling.startswith(head) and matches(spelling):
                yield hit

    def _prefix_hits(self, system: str, prefix: str) -> list[_Hit]:
        # thousands of codes share a few prefixes: compare a prefix with the ranges only once
        known = self.by_prefix.get((system, prefix))
        if known is None:
            ranges = self.ranges[system, len(prefix)]
            known = [hit for low, high, hit in ranges if low <= prefix <= high]
            self.by_prefix[system, prefix] = known
        return known


class ClassMatcher:
    """Says how strongly a code stands for one attribute class.

    Args:
        code_sets: (system, tier, values) of the class; values as `parse_value` takes them.

    Raises:
        ValueError: a value cannot be meant.
    """

    def __init__(self, code_sets: Iterable[tuple[CodeSystem, Tier, Iterable[str]]]) -> None:
        self.patterns: tuple[tuple[CodePattern, int], ...] = tuple(
            (parse_value(system, value), RANKS[tier])
            for system, tier, values in code_sets
            for value in values
        )
        self._index = _Index()
        for pattern, rank in self.patterns:
            self._index.add(pattern, (0, rank))

    def tier(self, readings: Iterable[Reading], spelling: str) -> Tier | None:
        """Return the strongest tier in which a code belongs to the class, or None.

        Args:
            readings: what `CodeReader.read` made of the spelling.
            spelling: the data set's own code, for `local` patterns.
        """
        ranks = [rank for _, rank in self._index.hits(readings, spelling)]
        return _TIERS[max(ranks)] if ranks else None


def match_codes(
    matchers: Mapping[str, ClassMatcher],
    spellings: Sequence[str],
    *,
    reader: CodeReader,
    descriptions: Sequence[str | None],
    parents: Sequence[Sequence[str]],
) -> dict[str, NDArray[np.int8]]:
    """Match a dictionary of codes with all classes at once.

    Args:
        matchers: by class name.
        spellings: the dictionary's entries.
        descriptions: of the entries, None where there is none.
        parents: MEDS parent codes of the entries.
        reader: knows how the data set spells its codes.

    Returns:
        For each class [entries] int8: RANK_NONE, or the rank of the strongest tier.
    """
    index = _Index()
    for slot, matcher in enumerate(matchers.values()):
        for pattern, rank in matcher.patterns:
            index.add(pattern, (slot, rank))
    ranks = np.zeros((len(matchers), len(spellings)), dtype=np.int8)
    entries = zip(spellings, descriptions, parents, strict=True)
    for entry, (spelling, description, own_parents) in enumerate(entries):
        readings = reader.read(spelling, description=description, parents=own_parents)
        for slot, rank in index.hits(readings, spelling):
            if rank > ranks[slot, entry]:
                ranks[slot, entry] = rank
    return {name: ranks[slot] for slot, name in enumerate(matchers)}
