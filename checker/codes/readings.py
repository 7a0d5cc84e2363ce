"""Readings: which codes the spellings of a data set stand for.

    "DIAGNOSIS//ICD//10//F1020" ─ CodeReader ─► Reading("icd10cm", "F1020")

Spellings come from the ETLs whose output phigate was written against (MIMIC-IV and eICU in MEDS,
Synthea, OMOP-derived MEDS); a target's `codeSystems` come before them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from checker.codes.systems import DIAGNOSES, CodeSystem, normal, words

__all__ = ["CodeReader", "Reading", "read_code"]


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
    "ICD10PROC": "icd10pcs",
    "ICD9PROC": "icd9proc",
    "ICD9PCS": "icd9proc",
    "SNOMED": "snomed",
    "SNOMEDCT": "snomed",
    "SNOMEDCTUS": "snomed",
    "LOINC": "loinc",
    "RXNORM": "rxnorm",
    "HCPCS": "hcpcs",
    "ATC": "atc",
}
_PROCEDURES: Final[dict[CodeSystem, CodeSystem]] = {"icd10cm": "icd10pcs", "icd9cm": "icd9proc"}

_MEDICATION_HEADS: Final = ("MEDICATION", "INFUSION", "DRUG", "PRESCRIPTION", "PHARMACY")
_ICD9_SHAPE = re.compile(r"\d{3}\.?\d{0,2}|V\d{2}\.?\d{0,2}|E\d{3}\.?\d?")
_ICD10_SHAPE = re.compile(r"[A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?")


_TERM = re.compile(r"\s*\|[^|]*\|\s*$")
"""A term behind an identifier, "86406008 |HIV infection|", as SNOMED CT's own syntax has it."""

_WHOLE = re.compile(r"\.0+$")
"""What an integer gains in a column of floats, where pandas keeps it beside missing values."""

_NUMBERED: Final = frozenset({"snomed", "rxnorm", "loinc"})
"""Systems whose codes hold no dot, so that one can only come from a number."""


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
        coded = any(reading.system in {"rxnorm", "atc"} for reading in found)
        text = _drug_text(spelling, description, coded=coded)
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


def _read_built_in(spelling: str) -> list[Reading]:
    """Find a system's name among the parts of a spelling; the code stands in the part after it."""
    spelling = _TERM.sub("", spelling)
    parts = [part.strip() for part in spelling.split("//")]
    if len(parts) == 1:
        parts = spelling.split("/", 1)  # OMOP-derived: "ICD10CM/B20"
    for i in range(len(parts) - 1):
        name = re.sub(r"[^A-Z0-9]", "", parts[i].upper())
        code = parts[i + 1]
        if name == "ICD" and i + 2 < len(parts):  # MIMIC-IV: "ICD//10//B20"
            name, code = f"ICD{_WHOLE.sub('', code)}", parts[i + 2]
        if name in _SYSTEM_NAMES:
            system = _SYSTEM_NAMES[name]
            if parts[0].upper().startswith("PROC"):  # 9461 is a diagnosis too, of another meaning
                system = _PROCEDURES.get(system, system)
            return _readings(system, code)
    return []


def _readings(system: CodeSystem, text: str) -> list[Reading]:
    """Read one code, or the comma-separated ICD codes that eICU writes into one field."""
    if system in _NUMBERED:
        text = _WHOLE.sub("", text.strip())
    if system not in DIAGNOSES:
        return [read_code(system, text)]
    pieces = [piece.strip().upper() for piece in text.split(",")]
    return [Reading(_revision(system, p), normal(system, p)) for p in pieces if p]


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
    return words(f"{rest if medication else ''} {description or ''}").strip()
