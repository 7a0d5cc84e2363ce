"""Readings: which codes the spellings of a data set stand for.

    "DIAGNOSIS//ICD//10//F1020" ─ CodeReader ─► Reading("icd10cm", "F1020")

Spellings come from the ETLs whose output phigate was written against (MIMIC-IV and eICU in MEDS,
Synthea, OMOP-derived MEDS); a target's `codeSystems` come before them. A text that is no code of
its system is not read: it could only match by accident.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from checker.codes.ancestry import Ancestry, is_approximate, unmarked
from checker.codes.lost_zeros import LostZeros
from checker.codes.spellings import (
    MEDICATION_HEADS,
    WHOLE,
    Claim,
    CodePlace,
    codes_in,
    find_claim,
    find_code,
    kind_of,
    names_a_drug,
    plain_text,
)
from checker.codes.systems import PREFIX_SHAPES, CodeSystem, is_code, normal, words


class Reading(NamedTuple):
    """A code that a spelling stands for; ICD without dots, or the text of a drug."""

    system: CodeSystem
    code: str


_ICD9_SHAPE = re.compile(r"[0-9]{3}\.?[0-9]{0,2}|V[0-9]{2}\.?[0-9]{0,2}|E[0-9]{3}\.?[0-9]?")
_ICD10_SHAPE = re.compile(r"[A-Z][0-9][0-9A-Z](?:\.?[0-9A-Z]{1,4})?")
_MODIFIERS = re.compile(r"(?:-[A-Z0-9]{2})+$")

_NUMBERED: Final = frozenset({"snomed", "rxnorm", "loinc"})
"""Systems whose codes hold no dot, so that one can only come from a number."""

_FREE: Final = frozenset({"drug", "local"})


class Lines(NamedTuple):
    """What a spelling stands for, line by line.

    Args:
        own: the codes that stand in the spelling itself.
        lines: in each a code and then what stands above it, the nearest first.
        approximate: what only comes near the spelling's meaning, by a map that says so; none of it
            is in a line.
    """

    own: tuple[Reading, ...]
    lines: list[tuple[Reading, ...]]
    approximate: tuple[Reading, ...] = ()


class CodeReader:
    """Reads the codes that a data set's spellings stand for.

    Args:
        extra: a target's `codeSystems` as (glob with {code}, system). A spelling that one of them
            reads is read by them alone.
        codes: all codes of the data set: whether ICD-9 codes lost their zeros shows in all of them
            together.
        parents: MEDS parent codes of each of them, for the ancestors behind the parents.
        occurring: those of the codes that patients have, where a table describes others too: zeros
            that a table kept do not show that the data kept them. All, where it is None.

    Raises:
        ValueError: a glob does not hold {code} exactly once.
    """

    def __init__(
        self,
        extra: Iterable[tuple[str, CodeSystem]] = (),
        *,
        codes: Sequence[str] = (),
        parents: Sequence[Sequence[str]] | None = None,
        occurring: Sequence[str] | None = None,
    ) -> None:
        self._extra = [(_code_glob(match), system) for match, system in extra]
        self.ancestry = Ancestry.of(codes, parents if parents is not None else [()] * len(codes))
        self.zeros = LostZeros()
        self.zeros.learn(
            (one.head, one.system, piece)
            for code in dict.fromkeys(codes if occurring is None else occurring)
            for one in self._located(code)
            for piece in codes_in(one.system, one.text)
        )
        self._known: dict[str, tuple[tuple[Reading, ...], bool]] = {}
        self._above: dict[str, tuple[tuple[Reading, ...], tuple[Reading, ...]]] = {}

    def read(
        self, spelling: str, *, description: str | None = None, parents: Sequence[str] = ()
    ) -> tuple[Reading, ...]:
        """Return the codes that a spelling stands for, without duplicates, the nearest first.

        Args:
            spelling: the data set's own code, for example "DIAGNOSIS//ICD//10//F1020".
            description: what the data set says of it; read for drug names only.
            parents: MEDS parent codes, read like spellings, and so are their ancestors.
        """
        found = self.lines(spelling, description=description, parents=parents)
        exact = (reading for line in found.lines for reading in line)
        return tuple(dict.fromkeys((*exact, *found.approximate)))

    def lines(
        self, spelling: str, *, description: str | None = None, parents: Sequence[str] = ()
    ) -> Lines:
        """Return what a spelling stands for, line by line: a code and then what stands above it.

        Several codes that share a spelling are a line each, and so are several parents of a
        spelling that tells no code itself; what is excluded by a code is not brought back by what
        stands above it. An ancestor that is the beginning of a nearer code (B20 above B20.9) says
        nothing new and is left out, and so is one of another branch of the spelling's own tree: in
        ICD and ATC, what stands above a code is how it begins, whatever a table says.
        """
        own = self.read_own(spelling)
        above = [self._read_above(parent) for parent in parents]
        ancestors = [exact for exact, _ in above]
        lines: list[Sequence[Reading]]
        if len(own) == 1:
            lines = [[*own, *(reading for line in ancestors for reading in line)]]
        else:
            lines = [*([reading] for reading in own), *ancestors]
        coded = any(one.system in {"rxnorm", "atc"} for line in lines for one in line)
        text = _drug_text(spelling, description, coded=coded)
        if text:
            lines.append([Reading("drug", text)])
        told = [tuple(_above_own(line, own)) for line in lines]
        known = {reading for line in told for reading in line}
        near = (one for _, near in above for one in near if one not in known)
        return Lines(own, told, tuple(dict.fromkeys(_above_own(near, own))))

    def read_own(self, spelling: str) -> tuple[Reading, ...]:
        """Return the codes that stand in a spelling itself."""
        return self._own(spelling)[0]

    def claim(self, spelling: str, *, description: str | None = None) -> Claim | None:
        """Say what a spelling claims to be that is not read, or is read with zeros restored.

        Args:
            spelling: the data set's own code.
            description: what the data set says of it; it may name a drug.
        """
        own, restored = self._own(spelling)
        located = next(iter(self._located(spelling)), None)
        if own:
            if restored and located:
                kind = kind_of(spelling, located.system)
                return Claim(f"{located.head}…", kind, "restored")
            return None
        if located is not None and self._is_lost(located):
            kind = kind_of(spelling, located.system)
            return Claim(f"{located.head}… ({located.system})", kind, "lost-zeros")
        found = find_claim(spelling, located)
        if found is not None and names_a_drug(_drug_text(spelling, description, coded=False)):
            return None
        return found

    def candidates(self, spelling: str, *, parents: Sequence[str] = ()) -> tuple[Reading, ...]:
        """Return what a spelling that is not read may have been before it was garbled.

        That is every code that it would be with zeros in front of it, and what it is read as where
        look-alike characters are replaced by those that they look like; of its parents likewise.
        """
        if self.read_own(spelling):
            return ()
        meant = [one for parent in parents for one in self.candidates(parent)]
        for one in self._located(spelling):
            if self._is_lost(one):
                for piece in codes_in(one.system, one.text):
                    whole = WHOLE.sub("", piece)
                    for text in (whole, f"0{whole}", f"00{whole}"):
                        if is_code(one.system, text):
                            meant.append(Reading(one.system, normal(one.system, text)))
        if (seen := plain_text(spelling)) != spelling:
            meant += self.read_own(seen)
        return tuple(dict.fromkeys(meant))

    def doubtful(self, spelling: str) -> tuple[Reading, ...]:
        """Return what an ICD-9 code that is read would be, had it lost a zero as all may have."""
        meant = (
            (one.system, self.zeros.doubtful(one.head, one.system, piece))
            for one in self._located(spelling)
            for piece in codes_in(one.system, one.text)
        )
        return tuple(Reading(system, text) for system, text in meant if text is not None)

    def _is_lost(self, located: CodePlace) -> bool:
        return any(
            self.zeros.restore(located.head, located.system, piece).text is None
            for piece in codes_in(located.system, located.text)
        )

    def _own(self, spelling: str) -> tuple[tuple[Reading, ...], bool]:
        known = self._known.get(spelling)
        if known is None:
            found: dict[Reading, None] = {}
            restored = False
            for one in self._located(spelling):
                for reading, changed in self._parsed(one):
                    found[reading] = None
                    restored |= changed
            known = self._known[spelling] = tuple(found), restored
        return known

    def _read_above(self, parent: str) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
        """Return what a parent and its ancestors stand for, and what they are only about.

        Each the nearest first.
        """
        known = self._above.get(parent)
        if known is None:
            exact: dict[Reading, None] = {}
            near: dict[Reading, None] = {}
            for code in self.ancestry.walk([parent]):
                found = near if is_approximate(code) else exact
                found.update(dict.fromkeys(self.read_own(unmarked(code))))
            known = self._above[parent] = tuple(exact), tuple(near)
        return known

    def _located(self, spelling: str) -> list[CodePlace]:
        """Return where codes stand: as the target says, else as phigate finds it."""
        declared = [
            CodePlace(spelling[: match.start("code")], system, match["code"].strip(" "))
            for pattern, system in self._extra
            if (match := pattern.match(spelling))
        ]
        if any(one.system in _FREE or _looks_like_a_code(one) for one in declared):
            return declared
        built_in = find_code(spelling)
        return declared if built_in is None else [built_in]

    def _parsed(self, located: CodePlace) -> Iterator[tuple[Reading, bool]]:
        head, system, text = located
        if system in _FREE:
            yield read_code(system, text), False
            return
        if system in _NUMBERED:
            text = WHOLE.sub("", text)
        elif system == "hcpcs":
            text = _MODIFIERS.sub("", text)
        for piece in codes_in(system, text):
            whole, change = self.zeros.restore(head, system, piece)
            if whole is None:
                continue
            actual = _revision(system, whole)
            if is_code(actual, whole):
                yield Reading(actual, normal(actual, whole)), change == "restored"


def read_code(system: CodeSystem, text: str) -> Reading:
    """Return the reading of one code of a known system, the text of a drug, or a spelling."""
    if system == "drug":
        return Reading("drug", words(text).strip())
    return Reading(system, text if system == "local" else normal(system, text))


def _code_glob(pattern: str) -> re.Pattern[str]:
    before, code, after = pattern.partition("{code}")
    if not code or "{code}" in after:
        raise ValueError(f"'{pattern}' must hold {{code}} once, where the code stands")
    start = fnmatch.translate(before).removesuffix(r"\Z").removesuffix(r"\z")
    return re.compile(f"{start}(?P<code>.+?){fnmatch.translate(after)}", re.DOTALL)


def _looks_like_a_code(located: CodePlace) -> bool:
    """Say whether a declared text may be of its system, with or without its zeros."""
    text = WHOLE.sub("", located.text) if located.system in _NUMBERED else located.text
    pieces = codes_in(located.system, text)
    numeric = located.system in {"icd9cm", "icd9proc", "icd10pcs"}
    return any(
        is_code(_revision(located.system, piece), piece)
        or (numeric and piece.isascii() and piece.replace(".", "", 1).isdigit())
        for piece in pieces
    )


def _revision(system: CodeSystem, code: str) -> CodeSystem:
    """Tell by its shape an ICD-10 code in a field for ICD-9; eICU writes "491.20, J44.9"."""
    if system == "icd9cm" and not _ICD9_SHAPE.fullmatch(code) and _ICD10_SHAPE.fullmatch(code):
        return "icd10cm"
    return system


def _above_own(line: Iterable[Reading], own: Sequence[Reading]) -> Iterator[Reading]:
    """Leave out ancestors that a nearer code has told already, or that contradict it."""
    trees = {one.system for one in own}.intersection(PREFIX_SHAPES)
    nearer: list[Reading] = []
    for reading in line:
        if reading not in own and reading.system in PREFIX_SHAPES:
            if reading.system in trees or any(
                one.system == reading.system and one.code.startswith(reading.code) for one in nearer
            ):
                continue
            nearer.append(reading)
        yield reading


def _drug_text(spelling: str, description: str | None, *, coded: bool) -> str:
    """Return what names the drug in a medication's spelling and description, or nothing."""
    head, _, rest = spelling.partition("//")
    head = head.upper()
    medication = head.startswith(MEDICATION_HEADS)
    if head.startswith("ALLERGY") or not (medication or coded):
        return ""  # an allergy names a drug that is *not* taken
    return words(f"{rest if medication else ''} {description or ''}").strip()
