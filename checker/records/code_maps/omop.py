"""The vocabulary files of OMOP: CONCEPT_RELATIONSHIP.csv, with CONCEPT.csv beside it.

Relationships differ in what they promise. `Maps to`, `Is a`, the replacement of a retired concept
and the way from a drug to its ingredient and to ATC lead to what means the same or holds it: they
are exact. ICD is mapped *onto* SNOMED CT, so the way back (`Mapped from`) leads to ICD codes that
may be narrower than the concept, and is only near; where a concept has none, the nearest concepts
that hold it are asked. All others are not followed.

The files of a full vocabulary are gigabytes: they are read in pieces, and kept of them is what can
be reached from the codes of the data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from checker.errors import DataError
from checker.records.code_maps.nodes import CodeMap, CodeNode

_CONCEPTS: Final = "CONCEPT.csv"
_SAME: Final = (
    "Maps to",
    "Concept replaced by",
    "Concept same_as to",
    "RxNorm has ing",
    "RxNorm - ATC",
    "Form of",
    "Tradename of",
    "Consists of",
)
_HOLDS: Final = ("Is a", "RxNorm is a")
_NEAR: Final = ("Mapped from", "Concept poss_eq to", "Concept was_a to", "Concept alt_to to")
_KINDS: Final = {name: kind for kind, names in enumerate((_SAME, _HOLDS, _NEAR)) for name in names}
_RELATIONSHIP_COLUMNS: Final = ("concept_id_1", "concept_id_2", "relationship_id")
_CONCEPT_COLUMNS: Final = ("concept_id", "vocabulary_id", "concept_code")


def is_omop(columns: Sequence[str]) -> bool:
    """Say whether a heading is that of OMOP's relationships."""
    return {name.lower() for name in columns} >= set(_RELATIONSHIP_COLUMNS)


def read_omop(path: Path, *, delimiter: str, wanted: Iterable[CodeNode]) -> CodeMap:
    """Read what OMOP's relationships say of some codes, and of all that they lead to.

    Args:
        path: of CONCEPT_RELATIONSHIP.csv, by whatever name; CONCEPT.csv lies beside it.
        delimiter: between its columns.
        wanted: codes to begin at.

    Raises:
        DataError: a file cannot be read, lacks a column, or holds what is no number of a concept;
            with the line where it is known.
    """
    concepts = path.with_name(_CONCEPTS)
    if not concepts.is_file():
        raise DataError(
            f"is OMOP's, and needs {_CONCEPTS} beside it, which names the concepts", file=path
        )
    begin = _ids(concepts, set(wanted))
    source, target, kind, rows, used = _relationships(path, delimiter)
    order = np.argsort(source, kind="stable")
    source, target, kind = source[order], target[order], kind[order]
    exact_steps = kind != _KINDS[_NEAR[0]]
    held = _reached(
        np.unique(np.array(list(begin.values()), dtype=np.int64)),
        source[exact_steps],
        target[exact_steps],
    )
    # nothing is followed beyond what is only near
    inside = np.isin(source, held)
    nodes = _nodes(concepts, np.union1d(held, target[inside]))
    edges: tuple[dict[CodeNode, list[CodeNode]], ...] = tuple(defaultdict(list) for _ in range(3))
    for one, other, which in zip(
        source[inside].tolist(), target[inside].tolist(), kind[inside].tolist(), strict=True
    ):
        if one != other and one in nodes and other in nodes:  # some files lack a concept
            edges[which][nodes[one]].append(nodes[other])
    same, holds, near = edges
    exact: dict[CodeNode, list[CodeNode]] = defaultdict(list)
    for part in (same, holds):
        for node, targets in part.items():
            exact[node] += targets
    return CodeMap(path, rows, used, exact, near, holds)


def _batches(
    path: Path, columns: Sequence[str], types: dict[str, pa.DataType], delimiter: str | None = None
) -> Iterator[pa.RecordBatch]:
    heading, found = read_heading(path)
    by_name = {name.lower(): name for name in heading}
    if absent := [name for name in columns if name not in by_name]:
        raise DataError(f"has no column '{absent[0]}' of OMOP's", file=path)
    optional = [name for name in ("invalid_reason",) if name in by_name]
    chosen = [by_name[name] for name in (*columns, *optional)]
    tabs = (delimiter or found) == "\t"
    try:
        with pacsv.open_csv(
            path,
            parse_options=pacsv.ParseOptions(
                delimiter="\t" if tabs else ",", quote_char=False if tabs else '"'
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=chosen,
                column_types={by_name[name]: kind for name, kind in types.items()}
                | {by_name[name]: pa.string() for name in optional},
            ),
        ) as stream:
            for batch in stream:
                yield batch.rename_columns([*columns, *optional])
    except pa.ArrowException as error:
        raise DataError(f"is no table of OMOP's: {error}", file=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def read_heading(path: Path) -> tuple[list[str], str]:
    """Return the names of a file's columns, and what stands between them.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", file=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    if not first.strip():
        raise DataError("is empty; a map begins with the names of its columns", file=path)
    delimiter = "\t" if "\t" in first else ","
    return [name.strip().strip('"') for name in first.split(delimiter)], delimiter


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Leave out what OMOP has withdrawn."""
    if "invalid_reason" not in batch.schema.names:
        return batch
    reason = pc.fill_null(batch.column("invalid_reason"), "")
    return batch.filter(pc.equal(pc.utf8_trim_whitespace(reason), ""))


def _ids(path: Path, wanted: set[CodeNode]) -> dict[CodeNode, int]:
    """Return the numbers of concepts by their vocabulary and code; retired ones too."""
    found: dict[CodeNode, int] = {}
    for concept, node in _concepts(path, lambda batch: _codes_among(batch, wanted)):
        if node in wanted:
            found.setdefault(node, concept)
    return found


def _codes_among(batch: pa.RecordBatch, wanted: set[CodeNode]) -> pa.Array:
    # compared without dots, as codes of ICD are; which vocabulary it is of is looked at later
    codes = pa.array(sorted({node.code.replace(".", "") for node in wanted}), pa.string())
    bare = pc.replace_substring(pc.utf8_upper(batch.column("concept_code")), ".", "")
    return pc.is_in(bare, value_set=codes)


def _nodes(path: Path, reached: NDArray[np.int64]) -> dict[int, CodeNode]:
    among = pa.array(reached, pa.int64())
    return dict(
        _concepts(path, lambda batch: pc.is_in(batch.column("concept_id"), value_set=among))
    )


def _concepts(
    path: Path, chosen: Callable[[pa.RecordBatch], pa.Array]
) -> Iterator[tuple[int, CodeNode]]:
    types = {"concept_id": pa.int64(), "vocabulary_id": pa.string(), "concept_code": pa.string()}
    for batch in _batches(path, _CONCEPT_COLUMNS, types):
        rows = batch.filter(chosen(batch)).select(list(_CONCEPT_COLUMNS))
        columns = (rows.column(name).to_pylist() for name in _CONCEPT_COLUMNS)
        for concept, vocabulary, code in zip(*columns, strict=True):
            if concept is not None and vocabulary and code:
                yield concept, CodeNode.of(vocabulary, code)


def _relationships(
    path: Path, delimiter: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8], int, int]:
    """Return source, target and kind of each relationship that is followed: [used]."""
    names = pa.array(list(_KINDS), pa.string())
    types = {
        "concept_id_1": pa.int64(),
        "concept_id_2": pa.int64(),
        "relationship_id": pa.string(),
    }
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]] = []
    rows = 0
    kinds = np.array(list(_KINDS.values()), dtype=np.int8)
    for batch in _batches(path, _RELATIONSHIP_COLUMNS, types, delimiter):
        rows += batch.num_rows
        followed = _valid(batch)
        place = pc.index_in(followed.column("relationship_id"), value_set=names)
        known = pc.and_(
            pc.is_valid(place),
            pc.and_(
                pc.is_valid(followed.column("concept_id_1")),
                pc.is_valid(followed.column("concept_id_2")),
            ),
        )
        one, other = (
            followed.column(name).filter(known).to_numpy(zero_copy_only=False).astype(np.int64)
            for name in _RELATIONSHIP_COLUMNS[:2]
        )
        index = place.filter(known).to_numpy(zero_copy_only=False).astype(np.int64)
        parts.append((one, other, kinds[index]))
    if not rows:
        raise DataError("holds no rows below its heading; there is nothing to map by", file=path)
    source = np.concatenate([part[0] for part in parts])
    target = np.concatenate([part[1] for part in parts])
    kind = np.concatenate([part[2] for part in parts])
    return source, target, kind, rows, len(source)


def _reached(
    begin: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return all concepts that can be reached, the first ones included; `source` is sorted."""
    known = begin
    while len(begin):
        low = np.searchsorted(source, begin, side="left")
        high = np.searchsorted(source, begin, side="right")
        parts = [target[a:b] for a, b in zip(low.tolist(), high.tolist(), strict=True) if b > a]
        if not parts:
            break
        begin = np.setdiff1d(np.unique(np.concatenate(parts)), known)
        known = np.union1d(known, begin)
    return known
