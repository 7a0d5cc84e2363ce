"""Where in a spelling a code stands, and which vocabulary a spelling claims that is not read.

    "DIAGNOSIS//ICD//10//F1020" ─ find_code ─► CodePlace("DIAGNOSIS//ICD//10//", "icd10cm", "F1020")
    "MEDICATION//NDC//00378-5505" ─ claim ─► Claim("NDC", "drugs", "unread")

A name of a system stands among the parts of a spelling, and the code in the part behind it, or
behind the version between them. Parts end at `//`, `/`, `|` or `:`, as ETLs, FHIR and CURIEs write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from checker.codes.systems import CodeSystem

Kind = Literal["diagnoses", "procedures", "drugs", "measurements"]
Problem = Literal["unread", "malformed", "lost-zeros", "restored"]


class CodePlace(NamedTuple):
    """A code within a spelling: what stands before it, its system, and its text as it is there."""

    head: str
    system: CodeSystem
    text: str


class Claim(NamedTuple):
    """What a spelling says of itself that phigate does not read, or not as it stands.

    Args:
        vocabulary: its name, or what stands before the code.
        kind: what its codes are of; None where it cannot be told.
        problem: `unread`, a vocabulary that phigate does not read; `malformed`, a text that is no
            code of its system; `lost-zeros`, one that could be several; `restored`, one that is
            read with zeros that it lost.
        detail: what is wrong with the text, where that is known.
    """

    vocabulary: str
    kind: Kind | None
    problem: Problem
    detail: str = ""


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
    "SCT": "snomed",
    "LOINC": "loinc",
    "LOINCORG": "loinc",
    "RXNORM": "rxnorm",
    "HCPCS": "hcpcs",
    "CPT": "hcpcs",  # level I of HCPCS
    "CPT4": "hcpcs",
    "ATC": "atc",
}
_PROCEDURES: Final[dict[CodeSystem, CodeSystem]] = {"icd10cm": "icd10pcs", "icd9cm": "icd9proc"}
_KIND_OF_SYSTEM: Final[dict[str, Kind]] = {
    "icd10cm": "diagnoses",
    "icd9cm": "diagnoses",
    "icd10pcs": "procedures",
    "icd9proc": "procedures",
    "hcpcs": "procedures",
    "rxnorm": "drugs",
    "atc": "drugs",
    "drug": "drugs",
    "loinc": "measurements",
}

MEDICATION_HEADS: Final = ("MEDICATION", "INFUSION", "DRUG", "PRESCRIPTION", "PHARMACY")
_KIND_OF_HEAD: Final[dict[tuple[str, ...], Kind]] = {
    ("DIAG", "DX", "CONDITION", "PROBLEM", "COMORBID"): "diagnoses",
    ("PROC", "OPERATION", "SURGERY"): "procedures",
    MEDICATION_HEADS: "drugs",
    ("LAB", "OBS", "MEASUREMENT", "VITAL"): "measurements",
}

_UNREAD: Final[tuple[tuple[Kind | None, str], ...]] = (
    (
        "diagnoses",
        "ICD11 ICD10GM ICD10CA ICD10AM ICD10CN ICD10SE ICD8 ICD7 ICDO ICDO3 KCD KCD7 KCD8 ICPC"
        " ICPC2 ICPC3 READ READV2 READV3 READCODE CTV3 OXMIS MESH MEDCODE MEDCODEID MEDDRA OMIM"
        " ORPHA ORPHANET PHECODE PHECODEX DSM4 DSMIV DSM5 CIEL IMO",
    ),
    (
        "procedures",
        "OPCS OPCS4 OPS CCAM NOMESCO NCSP ACHI ICPM CDT APC ICD9PROCCN ICD10PROCCN EDI",
    ),
    (
        "drugs",
        "NDC NDC9 NDC11 GPI GCN GSN GCNSEQNO DMD BNF MULTUM VANDF VAPRODUCT SPL UNII"
        " RXNORMEXTENSION AMT DIN DPD PZN NDFRT MEDRT PRODCODE PRODCODEID CIP13 MULTILEX HIC",
    ),
    ("measurements", "NPU JLAC10 LOINCEXT"),
    (None, "UMLS CVX NCIT"),
)
_UNREAD_NAMES: Final = {name: kind for kind, names in _UNREAD for name in names.split(" ")}
"""Vocabularies that data sets name and phigate does not read. Vaccines are of no kind that is
counted, nor are vocabularies of everything."""

_TERM = re.compile(r"\s*\|[^|]*\|\s*$")
"""A term behind an identifier, "86406008 |HIV infection|", as SNOMED CT's own syntax has it."""

WHOLE: Final = re.compile(r"\.0+$")
"""What an integer gains in a column of floats, where pandas keeps it beside missing values."""

_PART = re.compile(r"[^/|:]+")
_VERSION: Final[dict[str, re.Pattern[str]]] = {
    "icd10cm": re.compile(r"[0-9]{1,4}(?:\.0+)?|CM"),  # no code of it is a number
    "icd10pcs": re.compile(r"10(?:\.0+)?|20[0-9]{2}"),
    "icd9cm": re.compile(r"0?9(?:\.0+)?|CM"),
    "icd9proc": re.compile(r"0?9(?:\.0+)?"),
}


def system_named(name: str) -> CodeSystem | None:
    """Return the system that a vocabulary's name means, or None."""
    return _SYSTEM_NAMES.get(_name(name))


def find_code(spelling: str) -> CodePlace | None:
    """Find a system's name among the parts of a spelling, and the code behind it."""
    end = match.start() if (match := _TERM.search(spelling)) else len(spelling)
    parts = list(_PART.finditer(spelling, 0, end))
    is_procedure = bool(parts) and _head(parts[0].group()).startswith("PROC")
    for i, part in enumerate(parts[:-1]):
        name, behind = _name(part.group()), i + 1
        if name == "ICD" and behind + 1 < len(parts):  # MIMIC-IV: "ICD//10//B20"
            name, behind = f"ICD{_name(WHOLE.sub('', parts[behind].group().strip()))}", behind + 1
        system = _SYSTEM_NAMES.get(name)
        if system is None:
            continue
        if is_procedure:  # 9461 is a diagnosis too, of another meaning
            system = _PROCEDURES.get(system, system)
        version = _VERSION.get(system)
        if version and behind + 1 < len(parts) and version.fullmatch(_head(parts[behind].group())):
            behind += 1
        return CodePlace(
            spelling[: parts[behind].start()], system, parts[behind].group().strip(" ")
        )
    return None


def kind_of(spelling: str, system: str | None) -> Kind | None:
    """Return what a code is of: as its first part says, else as its system does."""
    first = _PART.match(spelling)
    head = _head(first.group()) if first else ""
    for heads, kind in _KIND_OF_HEAD.items():
        if head.startswith(heads):
            return kind
    return None if system is None else _KIND_OF_SYSTEM.get(system)


def find_claim(spelling: str, located: CodePlace | None) -> Claim | None:
    """Say which vocabulary a spelling claims that no code was read of, or None.

    Args:
        spelling: the data set's own, without a reading.
        located: where a code of a known system stands in it, though it is no code of it.
    """
    if located is not None:
        kind = kind_of(spelling, located.system)
        return Claim(
            f"{located.head}… ({located.system})",
            kind,
            "malformed",
            foreign(located.text) or f"'{located.text}' is no code of {located.system}",
        )
    if (character := foreign(spelling)) and (seen := find_code(plain_text(spelling))):
        kind = kind_of(plain_text(spelling), seen.system)
        return Claim(f"{seen.head}… ({seen.system})", kind, "malformed", character)
    parts = [part.group() for part in _PART.finditer(_TERM.sub("", spelling))]
    names = [_name(part) for part in parts]
    for i, name in enumerate(names[:-1]):
        if name == "ICD":
            version = _name(WHOLE.sub("", parts[i + 1].strip())) if i + 2 < len(parts) else ""
            known = _UNREAD_NAMES.get(f"ICD{version}", "diagnoses")
            return Claim(f"ICD {version}".strip(), kind_of(spelling, None) or known, "unread")
        # deep in a spelling that is of nothing clinical, OPS or READ is a ward or a word
        if name in _UNREAD_NAMES:
            kind = kind_of(spelling, None) or _UNREAD_NAMES[name]
            if i == 0 or kind_of(spelling, None) or kind is None or names[0] in _URIS:
                return Claim(parts[i].strip(), kind, "unread")
    for known_name, system in _SYSTEM_NAMES.items():
        if len(known_name) > _SHORT_NAME and names and names[-1].startswith(known_name):
            kind = kind_of(spelling, system)
            return Claim(known_name, kind, "unread", "its code stands in no part of its own")
    if len(parts) > 1 and kind_of(spelling, None) == "diagnoses":
        return Claim(parts[0].strip(), "diagnoses", "unread")
    return None


_SHORT_NAME: Final = 3
_URIS: Final = frozenset({"HTTP", "HTTPS"})


def foreign(text: str) -> str:
    """Name the first character that is not plain printable ASCII; nothing where all are."""
    for character in text:
        if not (character.isascii() and character.isprintable()):
            name = unicodedata.name(character, "")
            return f"it holds U+{ord(character):04X} {name}".rstrip()
    return ""


def names_a_drug(text: str) -> bool:
    """Say whether a drug's text, without the names of vocabularies, holds a word that names one."""
    return any(
        word.isalpha() and len(word) > _SHORT_NAME and word.upper() not in _NO_DRUG
        for word in text.split()
    )


_STATES: Final = "START STOP BEGIN GIVEN ADMINISTERED DISCONTINUED ORDERED EXTENSION RATE DOSE HOLD"
_NO_DRUG: Final = frozenset(
    {*_SYSTEM_NAMES, *_UNREAD_NAMES, *MEDICATION_HEADS, *_STATES.split(" ")}
)


def _head(part: str) -> str:
    return part.strip().upper() if part.isascii() else ""


def _name(part: str) -> str:
    # no capital of another script must become one of a name
    return re.sub(r"[^A-Z0-9]", "", part.upper()) if part.isascii() else ""


_ALIKE: Final = str.maketrans(
    "АВЕЗКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧıſ", "ABE3KMHOPCTYXIJSABEZHIKMNOPTYXIS"
)
"""Cyrillic and Greek capitals that look Latin, and letters whose capitals are Latin."""


def plain_text(text: str) -> str:
    """Return a text as it looks: compatibility forms, digits of any script, capitals alike."""
    shown = []
    for character in unicodedata.normalize("NFKC", text).translate(_ALIKE):
        digit = unicodedata.digit(character, None)
        if digit is not None:
            shown.append(str(digit))
        elif unicodedata.category(character)[0] != "C":
            shown.append(character)
    return "".join(shown)


def codes_in(system: CodeSystem, text: str) -> Sequence[str]:
    """Return the codes of a part in upper case: eICU writes several of ICD into one."""
    if system not in ("icd10cm", "icd9cm"):
        return [text.upper() if text.isascii() else text]
    pieces = [piece.strip(" ") for piece in text.split(",")]
    return [piece.upper() if piece.isascii() else piece for piece in pieces if piece]
