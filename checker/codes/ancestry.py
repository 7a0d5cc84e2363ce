"""The ancestors of a code: its parents in the table of codes, their parents, and so on.

MEDS links a code to others that stand for it or above it (`parent_codes`), one step at a time: a
local number to SNOMED CT, that to ICD-10-CM. A class that names any of them means the code too.
Tables are made by many hands: a parent may be missing from the table, or lead back to its child.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


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
        """Yield codes and their ancestors once each, the nearest first.

        Args:
            starts: where to begin; yielded first.
            child: the code they are the parents of, which is none of its own ancestors.
        """
        seen = set() if child is None else {child.strip()}
        waiting = deque(starts)
        while waiting:
            code = waiting.popleft()
            if code.strip() not in seen:
                seen.add(code.strip())
                yield code
                waiting.extend(self.parents.get(code.strip(), ()))

    def path(self, code: str, ancestor: str) -> tuple[str, ...]:
        """Return the shortest way from a code to an ancestor, both ends included, or nothing."""
        came_from: dict[str, str | None] = {code.strip(): None}
        waiting = deque([code.strip()])
        while waiting:
            here: str | None = waiting.popleft()
            if here == ancestor.strip():
                way = []
                while here is not None:
                    way.append(here)
                    here = came_from[here]
                return tuple(reversed(way))
            for parent in self.parents.get(here or "", ()):
                if parent.strip() not in came_from:
                    came_from[parent.strip()] = here
                    waiting.append(parent.strip())
        return ()
