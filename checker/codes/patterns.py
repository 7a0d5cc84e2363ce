"""Values of a class, checked and ready to match: prefixes, ranges, patterns, names and globs.

An ICD category stands for everything below it, so ICD values are prefixes, and so are ATC
identifiers. Where the meaning stands behind the category (in T40, the sixth character tells
poisoning from the adverse effect of a drug taken as prescribed), a *pattern* says which characters
each place may hold: "T40.[15789]?[14]". A pattern has one place for each character, no repetition
and no choice between lengths, so matching looks at each place once: time is linear in the length
of the pattern, whatever the input. That is why ICD values have no `*` and there are no regular
expressions at all.

Drugs are matched by generic name as whole words in the text of a medication, because hospital
pharmacies rarely carry a code; "a+b" wants both names, in any order.
"""

from __future__ import annotations

import fnmatch
import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from checker.codes.systems import EXACT_SHAPES, PREFIX_SHAPES, CodeSystem, normal, words

GLOB_CHARACTERS: Final = re.compile(r"[*?\[]")
_ALPHABET: Final = string.digits + string.ascii_uppercase
_LONGEST: Final = {"icd10cm": 7, "icd9cm": 5, "icd10pcs": 7, "icd9proc": 4, "atc": 7}
_PLACE = re.compile(r"\[([^\]\[]*)\]|(\?)|([0-9A-Z])")
_SPAN = re.compile(r"([0-9A-Z])(?:-([0-9A-Z]))?")


@dataclass(frozen=True, slots=True)
class CodePattern:
    """One value of a code set, checked and ready to match.

    Args:
        system: the code system.
        value: as written in the policy.
        low, high: first and last prefix (ICD, ATC; equal for a single prefix), or the exact code.
        places: for patterns, the characters that each place may hold.
        phrases: for drugs, the names that must all be present, each as " word word ".
    """

    system: CodeSystem
    value: str
    low: str = ""
    high: str = ""
    places: tuple[frozenset[str], ...] = ()
    phrases: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many characters of a code decide (ICD and ATC)."""
        return len(self.places) or len(self.low)

    @property
    def initials(self) -> Iterable[str]:
        """The characters that a matching code may begin with (ICD and ATC)."""
        if self.places:
            return self.places[0]
        return [letter for letter in _ALPHABET if self.low[0] <= letter <= self.high[0]]

    def matches(self, code: str) -> bool:
        """Say whether a code, a drug's text or (for `local`) a spelling matches."""
        if self.system == "local":
            return glob(self.value)(code)
        if self.system == "drug":
            text = words(code)
            return all(phrase in text for phrase in self.phrases)
        compared = normal(self.system, code)
        if self.system in PREFIX_SHAPES:
            return len(compared) >= self.length and self.fits(compared[: self.length])
        return compared == self.low

    def fits(self, prefix: str) -> bool:
        """Say whether a prefix of `length` characters is among those meant (ICD and ATC)."""
        if self.places:
            return all(letter in place for letter, place in zip(prefix, self.places, strict=True))
        return self.low <= prefix <= self.high


def parse_value(system: CodeSystem, value: str) -> CodePattern:
    """Check one value of a code set and make it ready to match.

    Args:
        system: the code system.
        value: an ICD prefix ("F10"), range of equally long prefixes ("F10-F16") or pattern
            ("T40.[15789]?[14]"; `?` is any one character), dots ignored; an ATC identifier or its
            beginning; generic drug names ("naltrexone", both of "buprenorphine+naloxone"); a glob
            over the data set's own spelling (`local`); otherwise an exact code.

    Raises:
        ValueError: the value is invalid, with one sentence that says why.
    """
    text = value.strip()
    if not text:
        raise ValueError("an empty code matches nothing")
    if text.startswith("re:"):
        raise ValueError(
            f"'{text}' is a regular expression, which phigate does not take; write prefixes,"
            " ranges, patterns such as T40.[15789]?[14], or globs with system 'local'"
        )
    if system == "local":
        if not text.strip("*?"):
            # every patient would have the class, and what everybody has cannot leak
            raise ValueError(
                f"'{text}' matches whatever a data set holds; write what it begins with"
            )
        return CodePattern(system, text)
    if system == "drug":
        return CodePattern(system, text, phrases=_drug_phrases(text))
    if system in PREFIX_SHAPES:
        return _prefix_value(system, text)
    if GLOB_CHARACTERS.search(text):
        raise ValueError(
            f"'{text}' is not a code of {system}: codes are matched exactly; globs need system"
            " 'local'"
        )
    shape, expected = EXACT_SHAPES[system]
    code = normal(system, text)
    if not shape.fullmatch(code):
        raise ValueError(f"'{text}' is not a code of {system}, which has {expected}")
    return CodePattern(system, text, code, code)


def glob(pattern: str) -> Callable[[str], bool]:
    """Compile a case-sensitive glob; each `*` takes the shortest match and never gives it back."""
    match = re.compile(fnmatch.translate(pattern)).match
    return lambda text: match(text) is not None


def _drug_phrases(text: str) -> tuple[str, ...]:
    phrases = tuple(words(name) for name in text.split("+"))
    for phrase in phrases:
        if not any(letter.isalpha() for letter in phrase):
            raise ValueError(f"'{text}' is not a drug name or a combination 'name+name'")
    return phrases


# --- ICD and ATC --------------------------------------------------------------------------------


def _prefix_value(system: CodeSystem, text: str) -> CodePattern:
    if "*" in text:
        raise ValueError(
            f"'{text}' is not a code of {system}: a prefix needs no '*'; globs need system 'local'"
        )
    if GLOB_CHARACTERS.search(text):
        return CodePattern(system, text, places=_places(system, text))
    first, dash, last = text.partition("-")
    low = _prefix(system, first)
    high = _prefix(system, last) if dash else low
    _check_range(system, text, low, high)
    return CodePattern(system, text, low, high)


def _prefix(system: CodeSystem, text: str) -> str:
    whole, dot, _ = text.strip().partition(".")
    digits = {"icd9cm": 3, "icd9proc": 2}.get(system, 0)
    if dot and whole.isdecimal() and len(whole) < digits:
        name, number = ("ICD-9-CM", "three") if digits == 3 else ("ICD-9-CM volume 3", "two")
        raise ValueError(
            f"'{text}' has lost its leading zeros: {name} has {number} digits before the dot"
        )
    prefix = normal(system, text)
    shape, expected = PREFIX_SHAPES[system]
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


def _places(system: CodeSystem, text: str) -> tuple[frozenset[str], ...]:
    """Read a pattern: one set of characters for each place."""
    pattern = text.replace(".", "").upper()
    places: list[frozenset[str]] = []
    end = 0
    while end < len(pattern):
        match = _PLACE.match(pattern, end)
        if match is None:
            raise ValueError(
                f"'{text}' is not a pattern: '{pattern[end]}' cannot stand in it; a place is a"
                " character, '?', or a list like [0-9X]"
            )
        listed, anything, one = match.groups()
        places.append(frozenset(_ALPHABET if anything else one or _listed(text, listed)))
        end = match.end()
    if len(places) > _LONGEST[system]:
        raise ValueError(f"'{text}' has {len(places)} places; {system} has {_LONGEST[system]}")
    shape, expected = PREFIX_SHAPES[system]
    if not shape.fullmatch("".join(min(place) for place in places)):
        raise ValueError(f"'{text}' matches no code of {system}, which has {expected}")
    return tuple(places)


def _listed(text: str, listed: str) -> set[str]:
    """Read the inside of [...]: characters and spans such as 0-9."""
    found: set[str] = set()
    end = 0
    while match := _SPAN.match(listed, end):
        first, last = match[1], match[2] or match[1]
        if last < first:
            raise ValueError(
                f"'{text}' is not a pattern: the span {match[0]} ends before it begins"
            )
        found |= {letter for letter in _ALPHABET if first <= letter <= last}
        end = match.end()
    if end < len(listed) or not found:
        raise ValueError(f"'{text}' is not a pattern: [{listed}] is no list of characters")
    return found
