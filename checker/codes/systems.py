"""Code systems: what a code of each looks like, and the one form in which codes are compared.

ICD matching follows the code sets themselves (ICD-9-CM and ICD-10-CM/PCS, CDC/NCHS and CMS): dots
carry no meaning, leading zeros do (042 is HIV, 42x are diseases of the heart). ICD-9-CM volume 3
holds procedures, whose codes look like those of diagnoses (94.65 and 946.5), so it is a system of
its own. ATC identifiers are letters and digits of a place in a tree; its texts are not shipped.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Tier = Literal["definitive", "strong", "suggestive", "exposure"]
CodeSystem = Literal[
    "icd10cm",
    "icd9cm",
    "icd10pcs",
    "icd9proc",
    "snomed",
    "loinc",
    "rxnorm",
    "hcpcs",
    "atc",
    "drug",
    "local",
]

DIAGNOSES: Final = frozenset({"icd10cm", "icd9cm"})

PREFIX_SHAPES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "icd10cm": (re.compile(r"[A-Z][0-9A-Z]{0,6}"), "a letter and up to six more characters"),
    "icd9cm": (re.compile(r"[0-9EV][0-9]{0,4}"), "up to five characters, E, V or a digit first"),
    "icd10pcs": (re.compile(r"[0-9A-Z]{1,7}"), "up to seven characters"),
    "icd9proc": (re.compile(r"[0-9]{1,4}"), "up to four digits"),
    "atc": (
        re.compile(r"[A-Z](?:[0-9]{2}(?:[A-Z](?:[A-Z](?:[0-9]{2})?)?)?)?"),
        "one, three, four, five or seven characters, like J05AE03",
    ),
}
"""Systems whose values stand for everything below them; of a value, and in words."""

EXACT_SHAPES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "snomed": (re.compile(r"[0-9]{5,18}"), "5 to 18 digits"),
    "rxnorm": (re.compile(r"[0-9]{1,8}"), "1 to 8 digits"),
    "loinc": (re.compile(r"(?:L[AP])?[0-9]{1,8}-[0-9]"), "digits, a hyphen and a check digit"),
    "hcpcs": (re.compile(r"[A-Z0-9][0-9]{3}[A-Z0-9]"), "five characters"),
}
"""Systems whose codes are compared as a whole; of a code, and in words."""

_CODE_SHAPES: Final[dict[str, re.Pattern[str]]] = {
    "icd10cm": re.compile(r"[A-Z][0-9][0-9A-Z](?:\.?[0-9A-Z]{0,4})?"),
    "icd9cm": re.compile(
        r"(?:[0-9]{3}\.?[0-9]{0,2})|(?:V[0-9]{2}\.?[0-9]{0,2})|E[0-9]{3}\.?[0-9]?"
    ),
    "icd10pcs": re.compile(r"[0-9A-HJ-NP-Z]{7}"),
    "icd9proc": re.compile(r"[0-9]{2}\.?[0-9]{0,2}"),
    "atc": PREFIX_SHAPES["atc"][0],
    **{system: shape for system, (shape, _) in EXACT_SHAPES.items()},
}
"""What a code looks like where a data set holds one: dotted or not, of ASCII characters alone."""


def is_code(system: str, text: str) -> bool:
    """Say whether a text in upper case is a code of a system as data hold it.

    Unicode knows hundreds of digits, and letters whose capitals are Latin: none of them is meant.
    """
    shape = _CODE_SHAPES.get(system)
    return shape is None or (text.isascii() and shape.fullmatch(text) is not None)


_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")


def normal(system: str, code: str) -> str:
    """Return a code in the one form that is compared: no dots in ICD, upper case, no spaces."""
    if system in PREFIX_SHAPES:
        return code.replace(".", "").strip().upper()
    return code.strip().upper()


def words(text: str) -> str:
    """Return the words of a text in lower case, one space around each, so that `in` is exact."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "
