"""ICD-9 codes that went through a program which took them for numbers.

042 is HIV disease and 42x are diseases of the heart, so a code that lost its zeros must never be
read as it stands (`42.0` for 420), and not every loss can be undone:

* Where the dot is kept, three digits stand before it in a diagnosis and two in a procedure, so
  `70.54` is 070.54 whatever stands beside it, and `42.0` is 042 in a column of dotted codes.
* Without dots, 7054 is 705.4 or 070.54, and 42 is 042 or 004.2. Nothing in the code tells which.

So the whole column is looked at: the codes of one system that are spelled alike but for the code.
One that writes no dots, holds a code shorter than its system has, and none that begins with a zero
is *lost*: only codes too long to have lost anything are read. Everywhere else zeros are restored
where that has one meaning, and a short code is left unread where it has several. ICD-10-PCS codes
have seven characters, so their zeros can always be restored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

_NUMBER = re.compile(r"([0-9]+)(?:(\.)([0-9]*))?")
_BEFORE_DOT: Final = {"icd9cm": 3, "icd9proc": 2}
_SHORTEST: Final = 3
"""Digits of the shortest code without a dot: volume 3 has none of two digits."""
_LONGEST: Final = {"icd9cm": 5, "icd9proc": 4}
_PCS_LENGTH: Final = 7
_PCS_FEWEST: Final = 5
"""A section and a body system may be zero, an operation of such a code is not."""
ENOUGH: Final = 150
"""Of so many codes of diagnoses, some begin with a zero: 3.6 % of those in MIMIC-IV's demo do, so
that none of 150 would have a chance of 4 in 1,000."""


class Restored(NamedTuple):
    """A code as it is to be read.

    Args:
        text: None where it could be several.
        change: what was done, or what is wrong.
    """

    text: str | None
    change: Literal["none", "restored", "lost"] = "none"


@dataclass(slots=True)
class _Column:
    """What the numbers of one system show that are spelled alike; each is a count of codes.

    Args:
        numbers: all of them.
        dotted: a digit other than zero stands behind a dot.
        undotted: longer than what may stand before a dot.
        zeros: begin with a zero.
        short: have fewer digits than any code of their system without a dot.
    """

    numbers: int = 0
    dotted: int = 0
    undotted: int = 0
    zeros: int = 0
    short: int = 0

    def add(self, system: str, text: str) -> None:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return
        whole, dot, behind = match.groups()
        has_decimals = bool(dot and behind.strip("0"))
        self.numbers += 1
        self.dotted += has_decimals
        self.undotted += len(whole) > _BEFORE_DOT[system]
        self.zeros += whole.startswith("0") and len(whole) >= _BEFORE_DOT[system]
        self.short += not has_decimals and len(whole) < _SHORTEST

    @property
    def is_dotted(self) -> bool:
        return self.dotted > self.undotted

    @property
    def is_lost(self) -> bool:
        # a stray short code among many that kept their zeros is a mistake of its own
        return self.undotted > 0 and not self.is_dotted and self.short > self.zeros

    @property
    def is_suspect(self) -> bool:
        return self.undotted > 0 and not self.zeros and self.numbers >= ENOUGH


@dataclass(slots=True)
class LostZeros:
    """What a data set's columns of ICD-9 codes show, and the codes as they are to be read."""

    _columns: dict[tuple[str, str], _Column] = field(default_factory=dict)

    def learn(self, codes: Iterable[tuple[str, str, str]]) -> None:
        """Look at a data set's codes.

        Args:
            codes: (what stands before the code, system, code) of each.
        """
        for head, system, text in codes:
            if system in _BEFORE_DOT:
                self._columns.setdefault((head, system), _Column()).add(system, text)

    @property
    def lost(self) -> list[str]:
        """Columns whose zeros are lost for good, by what stands before their codes."""
        return sorted({head for (head, _), one in self._columns.items() if one.is_lost})

    @property
    def suspect(self) -> list[str]:
        """Long columns of diagnoses without a dot of which no code begins with a zero."""
        return sorted(
            head
            for (head, system), one in self._columns.items()
            if system == "icd9cm" and one.is_suspect and not one.is_lost
        )

    def doubtful(self, head: str, system: str, text: str) -> str | None:
        """Return what a code is if it lost a zero, in a column that shows none; None elsewhere."""
        column = self._columns.get((head, system))
        if column is None or column.zeros or column.is_dotted or not column.undotted:
            return None
        match = _NUMBER.fullmatch(text)
        if match is None or len(match[1]) >= _LONGEST[system] or (match[3] or "").strip("0"):
            return None
        return f"0{match[1]}"

    def restore(self, head: str, system: str, text: str) -> Restored:
        """Return a code as it is to be read."""
        if system == "icd10pcs":
            return _restored_pcs(text)
        match = _NUMBER.fullmatch(text) if system in _BEFORE_DOT else None
        if match is None:
            return Restored(text)
        whole, dot, behind = match.groups()
        column = self._columns.get((head, system), _Column())
        before = _BEFORE_DOT[system]
        if dot and behind.strip("0"):  # a dot that means something tells where zeros are missing
            if len(whole) < before:
                return Restored(f"{whole.zfill(before)}.{behind}", "restored")
            return Restored(text)
        if column.is_lost:
            # the longest code has no room for a zero that it lost, and some show theirs
            is_whole = len(whole) == _LONGEST[system] or (
                whole.startswith("0") and len(whole) >= before
            )
            return Restored(whole) if is_whole else Restored(None, "lost")
        undotted = column.undotted > 0 and not column.is_dotted
        categories = column.short > 0 and not column.dotted
        if dot and (len(whole) > before or undotted or categories):
            text, dot = whole, None  # an integer as a float
        if len(whole) >= (_SHORTEST if undotted else before):
            return Restored(text)
        if column.undotted or not column.numbers:
            return Restored(None, "lost")
        tail = f".{behind}" if column.is_dotted and dot else ""
        return Restored(whole.zfill(before) + tail, "restored")


def _restored_pcs(text: str) -> Restored:
    match = _NUMBER.fullmatch(text)
    if match is None or (match[3] or "").strip("0"):
        return Restored(text)
    whole = match[1]
    if _PCS_FEWEST <= len(whole) < _PCS_LENGTH:
        return Restored(whole.zfill(_PCS_LENGTH), "restored")
    return Restored(whole)
