"""Codes as maps name them, and the steps between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from checker.codes import CodeReader
from checker.codes.spellings import system_named
from checker.codes.systems import CodeSystem, is_code, normal

_SPELLED: Final[Mapping[CodeSystem, str]] = {
    "icd10cm": "ICD10CM",
    "icd9cm": "ICD9CM",
    "icd10pcs": "ICD10PCS",
    "icd9proc": "ICD9PROC",
    "snomed": "SNOMED",
    "loinc": "LOINC",
    "rxnorm": "RXNORM",
    "hcpcs": "HCPCS",
    "atc": "ATC",
}
"""How a parent is spelled, so that it is read again."""

_PART = re.compile(r"[^/|:]+")
LOCAL: Final = ""
"""The vocabulary of codes as the data set spells them."""


class CodeNode(NamedTuple):
    """A code that a map speaks of.

    Args:
        vocabulary: a system that phigate reads, the name of another in capitals, or `LOCAL`.
        code: in the form in which codes of it are compared.
    """

    vocabulary: str
    code: str

    @classmethod
    def of(cls, vocabulary: str, code: str) -> CodeNode:
        """Return the node of a vocabulary's code, whatever way the vocabulary is called."""
        system = system_named(vocabulary)
        if system is None:
            return cls(re.sub(r"[^A-Z0-9]", "", vocabulary.upper()), code.strip())
        return cls(system, normal(system, code))

    @property
    def parent(self) -> str | None:
        """How it is spelled as a parent; None where phigate does not read its vocabulary."""
        for system, name in _SPELLED.items():
            if system == self.vocabulary:
                return f"{name}/{self.code}" if is_code(system, self.code) else None
        return None


@dataclass(frozen=True, slots=True)
class CodeMap:
    """What a map says, as far as it was asked.

    Args:
        file: it was read from.
        rows: how many it has, without a heading.
        used: how many of them say something that can be used.
        exact: from a code to those that mean the same or hold it.
        near: from a code to those that only come near it.
        broader: from a code to those of its own vocabulary that hold it; where a code has nothing
            near, what is near to these is taken.
    """

    file: Path
    rows: int
    used: int
    exact: Mapping[CodeNode, Sequence[CodeNode]]
    near: Mapping[CodeNode, Sequence[CodeNode]]
    broader: Mapping[CodeNode, Sequence[CodeNode]]


def nodes_of(spelling: str, reader: CodeReader) -> list[CodeNode]:
    """Return all that a map may call a code of a data set, the surest first.

    That is the codes that phigate reads in it, the spelling itself, and each of its parts as a code
    of the vocabulary that the part before it would be.
    """
    found = [CodeNode(system, code) for system, code in reader.read_own(spelling)]
    found.append(CodeNode(LOCAL, spelling.strip()))
    parts = [part.group().strip() for part in _PART.finditer(spelling)]
    found += [CodeNode.of(name, code) for name, code in pairwise(parts)]
    return list(dict.fromkeys(found))
