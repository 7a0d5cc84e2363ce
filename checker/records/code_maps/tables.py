"""Maps that are tables of pairs: an institution's dictionary, and SNOMED CT's reference sets.

A *dictionary* has the columns `code` and `parent`, and perhaps `relation`, which is `exact` (where
it is left empty) or `approximate`. Codes are written as the data set spells them, or with their
vocabulary before them (`ICD10CM/B20`).

A *reference set* is the file of a SNOMED CT release (RF2) that leads to ICD-10-CM: the columns are
`referencedComponentId` and `mapTarget`, with `mapRule` and `mapCategoryId` in an extended map. A
target that holds whatever else is known of the patient (rule TRUE, "properly classified") is exact;
one that depends on age, sex or another code is near, and so is every target of a simple map, which
does not say.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from checker.errors import DataError
from checker.records.code_maps.nodes import LOCAL, CodeMap, CodeNode
from checker.yaml import short

_PROPERLY_CLASSIFIED: Final = "447637006"
_ALWAYS: Final = frozenset({"TRUE", "OTHERWISE TRUE"})
_RELATIONS: Final = ("exact", "approximate")
_VOCABULARY = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9. -]*?)\s*(?://|/|:|\|)\s*(?P<code>[^/|:]+)")

_Pair = tuple[CodeNode, CodeNode, bool]
"""From, to, and whether the step is exact."""


def is_table(columns: list[str]) -> bool:
    """Say whether a heading is of a dictionary or of a reference set."""
    return {"code", "parent"} <= set(columns) or {"referencedComponentId", "mapTarget"} <= set(
        columns
    )


def read_table(path: Path, *, delimiter: str) -> CodeMap:
    """Read a dictionary or a reference set.

    Args:
        path: the file; its first line is a heading that `is_table` knows.
        delimiter: between its columns.

    Raises:
        DataError: it cannot be read, or a row is no row; with the line.
    """
    exact: dict[CodeNode, list[CodeNode]] = defaultdict(list)
    near: dict[CodeNode, list[CodeNode]] = defaultdict(list)
    rows = used = 0
    for line, row in _rows(path, delimiter):
        read = _dictionary_row if "parent" in row else _refset_row
        rows += 1
        for source, target, is_exact in read(row, _complain(path, line)):
            used += 1
            (exact if is_exact else near)[source].append(target)
    if not rows:
        raise DataError("holds no rows below its heading; there is nothing to map by", file=path)
    return CodeMap(path, rows, used, exact, near, {})


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if delimiter == "\t":  # releases of SNOMED CT quote nothing
                reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                reader = csv.reader(stream, delimiter=delimiter, strict=True)
            heading = [name.strip() for name in next(reader)]
            for row in reader:
                if not any(one.strip() for one in row):
                    continue
                if len(row) != len(heading):
                    message = f"line {reader.line_num}: {len(row)} columns, not {len(heading)}"
                    raise DataError(message, file=path)
                yield reader.line_num, dict(zip(heading, row, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 text: byte {error.start} is no character", file=path
        ) from error
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: {error}", file=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error


def _complain(path: Path, line: int) -> Callable[[str], DataError]:
    return lambda message: DataError(f"line {line}: {message}", file=path)


def _dictionary_row(row: Mapping[str, str], wrong: Callable[[str], DataError]) -> Iterator[_Pair]:
    code, parent = row["code"].strip(), row["parent"].strip()
    if not code or not parent:
        raise wrong(f"has no {'parent' if code else 'code'}")
    relation = (row.get("relation") or "exact").strip().lower() or "exact"
    if relation not in _RELATIONS:
        raise wrong(f"relation '{short(relation)}' is neither exact nor approximate")
    target = _spelled(parent)
    if target.vocabulary == LOCAL and target.code == code:
        raise wrong(f"'{short(code)}' is its own parent")
    yield CodeNode(LOCAL, code), target, relation == "exact"
    # a dictionary may name the code as its vocabulary does, and not as the data set spells it
    if (named := _spelled(code)).vocabulary != LOCAL:
        yield named, target, relation == "exact"


def _spelled(text: str) -> CodeNode:
    match = _VOCABULARY.fullmatch(text)
    if match is None:
        return CodeNode(LOCAL, text)
    node = CodeNode.of(match["name"], match["code"])
    return node if node.parent is not None else CodeNode(LOCAL, text)


def _refset_row(row: Mapping[str, str], wrong: Callable[[str], DataError]) -> Iterator[_Pair]:
    if row.get("active", "1").strip() != "1":
        return
    source = CodeNode.of("SNOMED", row["referencedComponentId"])
    if source.parent is None:
        raise wrong(f"'{short(source.code)}' is no identifier of SNOMED CT")
    target = row["mapTarget"].strip().partition("?")[0].rstrip(".X")
    if not target:
        return  # not to be classified, or only with more than a concept says
    node = CodeNode.of("ICD10CM", target)
    if node.parent is None:
        raise wrong(f"'{short(row['mapTarget'].strip())}' is no code of ICD-10-CM")
    is_exact = (
        row.get("mapCategoryId", "").strip() == _PROPERLY_CLASSIFIED
        and row.get("mapRule", "").strip().upper() in _ALWAYS
    )
    yield source, node, is_exact
