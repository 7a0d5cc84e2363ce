"""Which classes codes belong to, for people and machines.

A code without its system is ambiguous (042 is HIV disease as an ICD-9-CM diagnosis and a procedure
on a nerve in its volume 3), so a bare code is read in every system whose shape it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.codes import (
    EXACT_SHAPES,
    PREFIX_SHAPES,
    ClassMatcher,
    CodeReader,
    CodeSystem,
    Reading,
    Standing,
    normal,
    read_code,
)
from checker.errors import UsageError
from checker.plugins import nearest_or_all
from checker.policy.classes import class_matcher
from checker.policy.documents import AttributeClassSpec

_SYSTEMS: tuple[CodeSystem, ...] = get_args(CodeSystem)
_SHORTEST_CODE = 3
_SHORTEST_NAME = 4


@dataclass(frozen=True, slots=True)
class CodeMatch:
    """What one reading of a text is to the classes.

    Args:
        text: as asked for.
        system, code: how it was read.
        classes: by name, the standing and the values it is from.
        excluded: by name, classes whose exclusions it falls under, with these.
    """

    text: str
    system: CodeSystem
    code: str
    classes: dict[str, tuple[Standing, tuple[str, ...]]]
    excluded: dict[str, tuple[str, ...]]


def match_texts(
    classes: Mapping[str, AttributeClassSpec],
    texts: Sequence[str],
    *,
    system: CodeSystem | None = None,
) -> list[CodeMatch]:
    """Say which classes some codes belong to.

    Args:
        classes: by name.
        texts: a data set's spellings ("ICD10CM/B20"), bare codes, or the texts of drugs.
        system: of bare codes; without it each is read in every system whose shape it has.

    Returns:
        For each text its readings, those that a class catches or excludes first; at least one.

    Raises:
        UsageError: a text is empty.
    """
    if not all(text.strip() for text in texts):
        raise UsageError("an empty code belongs to no class; write a code, a spelling or a drug")
    matchers = {name: class_matcher(spec) for name, spec in classes.items()}
    found: list[CodeMatch] = []
    for text in texts:
        readings = [read_code(system, text)] if system else _possible_readings(text)
        matches = [_match(matchers, text, reading) for reading in readings]
        telling = [one for one in matches if one.classes or one.excluded]
        found += telling or matches[:1]
    return found


def matches_json(matches: Iterable[CodeMatch]) -> list[dict[str, Any]]:
    """Return matches as plain data."""
    return [
        {
            "text": match.text,
            "system": match.system,
            "code": match.code,
            "classes": {
                name: {"standing": standing, "values": list(values)}
                for name, (standing, values) in match.classes.items()
            },
            "excluded": {name: list(values) for name, values in match.excluded.items()},
        }
        for match in matches
    ]


def code_system(name: str) -> CodeSystem:
    """Return the code system of a name.

    Raises:
        UsageError: there is no such system.
    """
    for system in _SYSTEMS:
        if system == name:
            return system
    raise UsageError(f"there is no code system '{name}'{nearest_or_all(name, _SYSTEMS)}")


def _possible_readings(text: str) -> list[Reading]:
    spelled = CodeReader().read(text)
    if spelled:
        return list(spelled)
    readings = []
    for system, (shape, _) in {**PREFIX_SHAPES, **EXACT_SHAPES}.items():
        code = normal(system, text)
        likely = len(code) >= _SHORTEST_CODE and any(letter.isdigit() for letter in code)
        if likely and shape.fullmatch(code):
            readings.append(Reading(code_system(system), code))
    if any(word.isalpha() and len(word) >= _SHORTEST_NAME for word in text.split()):
        readings.append(read_code("drug", text))
    return [*readings, Reading("local", text)]


def _match(matchers: Mapping[str, ClassMatcher], text: str, reading: Reading) -> CodeMatch:
    classes: dict[str, tuple[Standing, tuple[str, ...]]] = {}
    excluded: dict[str, tuple[str, ...]] = {}
    for name, matcher in matchers.items():
        standing = matcher.standing([reading], text)
        if standing is not None:
            values = tuple(pattern.value for pattern in matcher.matching([reading], text))
            classes[name] = standing, values
        elif against := matcher.excluding([reading], text):
            excluded[name] = tuple(pattern.value for pattern in against)
    return CodeMatch(text, reading.system, reading.code, classes, excluded)


def print_matches(matches: Iterable[CodeMatch], console: Console) -> None:
    """Print which classes codes belong to."""
    table = plain_table("code", "read as", "class", "is", "by")
    for match in matches:
        head = told(match.text), f"{match.system} {told(match.code)}"
        rows = [
            *((name, standing, values) for name, (standing, values) in match.classes.items()),
            *((name, "excluded", values) for name, values in match.excluded.items()),
        ]
        for place, (name, standing, values) in enumerate(rows or [("no class", "", ())]):
            shown = head if place == 0 else ("", "")
            table.add_row(*shown, name, standing, told(", ".join(values)))
    console.print(table)
