"""What the codes of a data set are by the institution's maps.

    "CONDITION//SNOMED//254637007" ─ Is a ─► ... ─ Maps to ─► parents, exact and approximate

Codes of systems in which classes name theirs (ICD, ATC, LOINC, HCPCS) need no map: they are read as
they are. All others are followed through the maps, step by step, for as long as steps are exact,
and one step further where it is only near.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from checker.codes import CodeReader
from checker.errors import DataError
from checker.records.code_maps.nodes import LOCAL, CodeMap, CodeNode, nodes_of
from checker.records.code_maps.omop import is_omop, read_heading, read_omop
from checker.records.code_maps.tables import is_table, read_table
from checker.records.cohort import Cohort

_READ: Final = frozenset({"icd10cm", "icd9cm", "icd10pcs", "icd9proc", "atc", "loinc", "hcpcs"})
_DEEPEST: Final = 40
"""Steps; SNOMED CT is about twenty deep."""


@dataclass(frozen=True, slots=True)
class MappedCode:
    """What a code of the data set is by the maps.

    Args:
        code: as the data set spells it.
        exact: parents that mean the same or hold it, the nearest first.
        near: parents that only come near it.
        through_broader: whether what is near was found at a broader concept.
    """

    code: str
    exact: tuple[str, ...]
    near: tuple[str, ...]
    through_broader: bool = False


@dataclass(frozen=True, slots=True)
class CodeMapping:
    """What maps say of a data set.

    Args:
        mapped: the codes of which they say something.
        unmapped: those of which they say nothing, the commonest first, with how often they occur.
        needing: codes that occur and need a map.
        events: of these codes.
        mapped_events: of those of them that are mapped.
        maps: file, rows and rows used of each map, in their order.
    """

    mapped: tuple[MappedCode, ...]
    unmapped: tuple[tuple[str, int], ...]
    needing: int
    events: int
    mapped_events: int
    maps: tuple[CodeMap, ...]

    @property
    def share(self) -> float | None:
        """The share of events whose codes are mapped, in [0, 1]; None where none needs a map."""
        return self.mapped_events / self.events if self.events else None

    @property
    def exactly(self) -> int:
        """How many codes have an exact parent."""
        return sum(bool(one.exact) for one in self.mapped)


def map_codes(cohort: Cohort, files: Sequence[Path], *, reader: CodeReader) -> CodeMapping:
    """Follow the codes of a data set through maps.

    Args:
        cohort: the patients, and the dictionary of codes.
        files: of the maps; those that are tables are followed before those of OMOP.
        reader: knows how the data set spells its codes.

    Raises:
        DataError: a map cannot be read, or is none; with the line where one is wrong.
    """
    nodes = {
        code: nodes_of(code, reader)
        for code in cohort.codes
        if not any(reading.system in _READ for reading in reader.read_own(code))
    }
    headings = {file: read_heading(file) for file in files}
    for file, (columns, _) in headings.items():
        if not is_table(columns) and not is_omop(columns):
            raise DataError(
                f"line 1: the columns {', '.join(columns[:4])} … are of no map that phigate knows;"
                " write code,parent (and relation), or take SNOMED CT's reference set or OMOP's"
                " CONCEPT_RELATIONSHIP.csv",
                file=file,
            )
    maps = {
        file: read_table(file, delimiter=delimiter)
        for file, (columns, delimiter) in headings.items()
        if is_table(columns)
    }
    begin = {node for own in nodes.values() for node in own}
    begin |= {
        target
        for one in maps.values()
        for steps in (one.exact, one.near)
        for targets in steps.values()
        for target in targets
    }
    for file, (_, delimiter) in headings.items():
        if file not in maps:
            maps[file] = read_omop(file, delimiter=delimiter, wanted=begin)
    steps = _Steps.of(maps.values())
    counts = np.bincount(
        np.concatenate([cohort.members.code, cohort.nonmembers.code]), minlength=len(cohort.codes)
    )
    events = dict(zip(cohort.codes, counts.tolist(), strict=True))
    mapped, unmapped = [], Counter[str]()
    for code, own in nodes.items():
        found = steps.follow(code, own)
        if found.exact or found.near:
            mapped.append(found)
        elif events[code]:
            unmapped[code] = events[code]
    occurring = [code for code in nodes if events[code]]
    return CodeMapping(
        mapped=tuple(mapped),
        unmapped=tuple(unmapped.most_common()),
        needing=len(occurring),
        events=sum(events[code] for code in occurring),
        mapped_events=sum(events[one.code] for one in mapped),
        maps=tuple(maps[file] for file in files),
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of all maps together."""

    exact: Mapping[CodeNode, Sequence[CodeNode]]
    near: Mapping[CodeNode, Sequence[CodeNode]]
    broader: Mapping[CodeNode, Sequence[CodeNode]]

    @classmethod
    def of(cls, maps: Iterable[CodeMap]) -> _Steps:
        maps = tuple(maps)
        joined: list[dict[CodeNode, list[CodeNode]]] = [{}, {}, {}]
        for one in maps:
            for steps, part in zip(joined, (one.exact, one.near, one.broader), strict=True):
                for node, targets in part.items():
                    known = steps.setdefault(node, [])
                    known += [target for target in targets if target not in known]
        return cls(*joined)

    def follow(self, code: str, own: Sequence[CodeNode]) -> MappedCode:
        """Return what a code is, by all that it may be called."""
        exact = self._held(own)
        near: dict[CodeNode, None] = {}
        level, known, broader = self._same(own), set[CodeNode](), False
        for _ in range(_DEEPEST):
            near = {n: None for node in level for n in self.near.get(node, ()) if n not in exact}
            known |= level
            further = {n for node in level for n in self.broader.get(node, ())} - known
            if near or not further:
                break
            level, broader = further, True
        # what stands above something near is near too
        near |= {n: None for n in self._held(list(near)) if n not in exact}
        return MappedCode(
            code,
            _spelled(exact, own),
            _spelled([n for n in near if n not in exact], own),
            through_broader=bool(near) and broader,
        )

    def _held(self, begin: Sequence[CodeNode]) -> dict[CodeNode, None]:
        """Return what is reached by exact steps, the first codes without."""
        found: dict[CodeNode, None] = {}
        seen, waiting = set(begin), deque(begin)
        while waiting:
            for node in self.exact.get(waiting.popleft(), ()):
                if node not in seen:
                    seen.add(node)
                    found[node] = None
                    waiting.append(node)
        return found

    def _same(self, own: Sequence[CodeNode]) -> set[CodeNode]:
        """Return what means the same as a code: exact steps that do not lead to what holds it."""
        found, waiting = set(own), deque(own)
        while waiting:
            node = waiting.popleft()
            holders = set(self.broader.get(node, ()))
            for other in self.exact.get(node, ()):
                if other not in holders and other not in found:
                    found.add(other)
                    waiting.append(other)
        return found


def _spelled(nodes: Iterable[CodeNode], own: Sequence[CodeNode]) -> tuple[str, ...]:
    texts = (
        node.parent or (node.code if node.vocabulary == LOCAL else None)
        for node in nodes
        if node not in own
    )
    return tuple(dict.fromkeys(text for text in texts if text))
