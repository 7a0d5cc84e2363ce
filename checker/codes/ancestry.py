"""The ancestors of a code: its parents in the table of codes, their parents, and so on.

MEDS links a code to others that stand for it or above it (`parent_codes`), one step at a time: a
local number to SNOMED CT, that to ICD-10-CM. A class that names any of them means the code too.
Tables are made by many hands: a parent may be missing from the table, or lead back to its child.

A parent may also be only *about* what the code is (`approximately`): a map from one system to
another often leads to a code that is wider, narrower or beside it. What is reached through such a
step, and by no other way, is approximate too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_APPROXIMATELY: Final = "APPROXIMATELY//"


def approximately(parent: str) -> str:
    """Return a parent marked as one that is only about what its child is."""
    return f"{_APPROXIMATELY}{parent}"


def is_approximate(parent: str) -> bool:
    """Say whether a parent is only about what its child is."""
    return parent.startswith(_APPROXIMATELY)


def unmarked(parent: str) -> str:
    """Return a parent without the mark."""
    return parent.removeprefix(_APPROXIMATELY)


@dataclass(frozen=True, slots=True)
class Ancestry:
    """Parents by code, for a whole table of codes."""

    parents: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, codes: Iterable[str], parents: Iterable[Sequence[str]]) -> Ancestry:
        """Return the ancestry of a table; blanks around a code do not count."""
        table: dict[str, list[str]] = {}
        for code, own in zip(codes, parents, strict=True):
            if own:
                known = table.setdefault(code.strip(), [])
                known += [parent for parent in own if parent not in known]
        return cls(table)

    def walk(self, starts: Sequence[str], *, child: str | None = None) -> Iterator[str]:
        """Yield codes and their ancestors once each, the nearest first, the approximate ones last.

        Args:
            starts: where to begin; yielded first.
            child: the code they are the parents of, which is none of its own ancestors.

        Yields:
            Codes as the table has them; those that are reached only through an approximate step
            are marked (`is_approximate`).
        """
        seen = set() if child is None else {child.strip()}
        exact, inexact = deque[str](), deque[str]()
        _divide(starts, exact, inexact)
        while exact:
            code = exact.popleft()
            if code.strip() not in seen:
                seen.add(code.strip())
                yield code
                _divide(self.parents.get(code.strip(), ()), exact, inexact)
        while inexact:
            code = unmarked(inexact.popleft())
            if code.strip() not in seen:
                seen.add(code.strip())
                yield approximately(code)
                inexact.extend(self.parents.get(code.strip(), ()))

    def path(self, code: str, ancestor: str) -> tuple[str, ...]:
        """Return the shortest way from a code to an ancestor, both ends included, or nothing."""
        start, end = code.strip(), unmarked(ancestor).strip()
        came_from: dict[str, str | None] = {start: None}
        waiting = deque([start])
        while waiting:
            here: str | None = waiting.popleft()
            if unmarked(here or "").strip() == end:
                way = []
                while here is not None:
                    way.append(here)
                    here = came_from[here]
                return tuple(reversed(way))
            for parent in self.parents.get(unmarked(here or "").strip(), ()):
                if parent.strip() not in came_from:
                    came_from[parent.strip()] = here
                    waiting.append(parent.strip())
        return ()


def _divide(codes: Iterable[str], exact: deque[str], inexact: deque[str]) -> None:
    for code in codes:
        (inexact if is_approximate(code) else exact).append(code)
