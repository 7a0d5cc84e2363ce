"""Attribute classes for people and machines: what there is, what a class says, what it catches.

The commands `phigate classes …` are a few lines over these functions. A code without its system is
ambiguous (042 is HIV disease as an ICD-9-CM diagnosis and a procedure on a nerve in its volume 3),
so `match` reads a bare code in every system whose shape it has and says what came of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
from checker.policy import Located, load_only, load_target
from checker.policy.classes import class_matcher
from checker.policy.documents import (
    AttributeClassSpec,
    AuditTarget,
    DataSpec,
    LeakagePolicy,
    LibraryClassSpec,
)
from checker.policy.library import library_classes
from checker.records.cohort import Cohort, load_cohort
from checker.records.coverage import ClassCoverage, CodeCount, DataCoverage, measure_coverage

__all__ = [
    "CodeMatch",
    "choose_classes",
    "class_json",
    "code_system",
    "coverage_json",
    "coverage_of",
    "list_json",
    "match_texts",
    "matches_json",
    "print_class",
    "print_classes",
    "print_coverage",
    "print_matches",
]

_SYSTEMS: tuple[CodeSystem, ...] = get_args(CodeSystem)
_SHORTEST_CODE = 3
_SHORTEST_NAME = 4


def choose_classes(policy: Path | None, names: Sequence[str] = ()) -> dict[str, AttributeClassSpec]:
    """Return the classes of a policy, or of the library, by name.

    Args:
        policy: a policy file; its own classes, and those it takes from a library.
        names: of the wanted classes; all, where none is given.

    Raises:
        UsageError: there is no class of such a name.
        DocumentError: the policy is invalid.
    """
    known: dict[str, AttributeClassSpec]
    if policy is None:
        known = {name: one.document.spec for name, one in library_classes().items()}
    else:
        known = dict(load_only(LeakagePolicy, policy).document.spec.attribute_classes)
    for name in names:
        if name not in known:
            where = "the library" if policy is None else str(policy)
            raise UsageError(f"{where} has no class '{name}'{nearest_or_all(name, known)}")
    return {name: known[name] for name in names or known}


# --- list and show ------------------------------------------------------------------------------


def list_json(classes: Mapping[str, AttributeClassSpec]) -> list[dict[str, Any]]:
    """Return one line a class."""
    return [
        {
            "name": name,
            "title": spec.title,
            "sensitivity": spec.sensitivity,
            "confidentiality": spec.confidentiality,
            "benign": spec.benign,
            "review": spec.review.status if isinstance(spec, LibraryClassSpec) else None,
            "values": {
                tier: sum(len(one.values) for one in spec.codes if one.tier == tier)
                for tier in ("definitive", "strong", "suggestive", "exposure")
            }
            | {"proxy": sum(len(one.values) for one in spec.proxies)},
        }
        for name, spec in classes.items()
    ]


def print_classes(classes: Mapping[str, AttributeClassSpec], console: Console) -> None:
    """Print one line a class, with how many values it has in each tier."""
    counted = ("definitive", "strong", "suggestive", "exposure", "proxy")
    table = _table("class", "title", "HL7", *counted, "review", numbers=counted)
    for row in list_json(classes):
        codes = "/".join(filter(None, (row["sensitivity"], row["confidentiality"])))
        table.add_row(
            row["name"],
            escape(row["title"]),
            escape(codes),
            *(str(row["values"][one] or "") for one in counted),
            row["review"] or "",
        )
    console.print(table)


def class_json(name: str, spec: AttributeClassSpec) -> dict[str, Any]:
    """Return a class as its document says it."""
    return {"name": name, **spec.model_dump(mode="json", by_alias=True, exclude_none=True)}


def print_class(name: str, spec: AttributeClassSpec, console: Console) -> None:
    """Print all that a class says."""
    console.print(f"[bold]{name}[/]: {escape(spec.title)}")
    codes = ", ".join(filter(None, (spec.sensitivity, *spec.also_sensitive)))
    hl7 = f"HL7 sensitivity {codes or 'none'}, confidentiality {spec.confidentiality or 'not said'}"
    console.print(escape(hl7) + ("; benign, audited for comparison" if spec.benign else ""))
    if spec.description:
        console.print(escape(spec.description))
    table = _table("", "system", "values", "note")
    for one in spec.codes:
        table.add_row(one.tier, one.system, _values(one.values, one.exclude), _text(one.note))
    for proxy in spec.proxies:
        table.add_row("proxy", proxy.system, _values(proxy.values, proxy.exclude), _text(proxy.why))
    for excluded in spec.exclude:
        table.add_row("never", excluded.system, _values(excluded.values), _text(excluded.why))
    console.print(table)
    if spec.traps:
        traps = _table("trap", "system", "is", "why")
        for trap in spec.traps:
            traps.add_row(escape(trap.code), trap.system, trap.expect, escape(trap.why))
        console.print(traps)
    for note in spec.notes:
        console.print(f"note: {escape(note)}")
    if isinstance(spec, LibraryClassSpec):
        for source in spec.sources:
            terms = "; ".join(filter(None, (source.publisher, source.licence)))
            title = f"{source.title} ({terms})" if terms else source.title
            console.print(escape(f"source of {', '.join(source.systems)}: {title}"))
        for citation in spec.citations.values():
            note_text = f": {citation.note}" if citation.note else ""
            console.print(escape(f"{citation.basis}: {citation.title}{note_text}"))
        review = spec.review
        console.print(escape(f"review: {review.status}, by {review.by}. {review.note or ''}"))


# --- match --------------------------------------------------------------------------------------


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
    table = _table("code", "read as", "class", "is", "by")
    for match in matches:
        head = escape(match.text), f"{match.system} {escape(match.code)}"
        rows = [
            *((name, standing, values) for name, (standing, values) in match.classes.items()),
            *((name, "excluded", values) for name, values in match.excluded.items()),
        ]
        for place, (name, standing, values) in enumerate(rows or [("no class", "", ())]):
            shown = head if place == 0 else ("", "")
            table.add_row(*shown, name, standing, escape(", ".join(values)))
    console.print(table)


# --- coverage -----------------------------------------------------------------------------------


def coverage_of(
    classes: Mapping[str, AttributeClassSpec], data: Path, *, only: Sequence[str] = ()
) -> DataCoverage:
    """Measure what classes catch of a data set.

    Args:
        classes: by name.
        data: a file with an AuditTarget, or the folder of a MEDS data set, whose splits `train` and
            `held_out` are then read.
        only: the classes asked for; all, where none is.

    Raises:
        DocumentError: the target is invalid.
        DataError: the patients cannot be read.
    """
    if data.is_dir():
        cohort, reader = load_cohort(DataSpec(path="."), base=data), CodeReader()
    else:
        cohort, reader = _of_target(load_target(data), base=data.resolve().parent)
    return measure_coverage(classes, cohort, reader=reader, only=only)


def _of_target(target: Located[AuditTarget], *, base: Path) -> tuple[Cohort, CodeReader]:
    spec = target.document.spec
    reader = CodeReader([(one.match, one.system) for one in spec.code_systems])
    return load_cohort(spec.data, base=base), reader


def coverage_json(coverage: DataCoverage) -> dict[str, Any]:
    """Return the whole of a coverage."""
    return asdict(coverage)


def print_coverage(coverage: DataCoverage, console: Console, *, shown: int) -> None:
    """Print a coverage, at most so many codes of each list."""
    systems = ", ".join(f"{count:,} {system}" for system, count in coverage.systems.items())
    console.print(
        f"[bold]{escape(coverage.name)}[/]: {coverage.patients:,} patients, {coverage.events:,}"
        f" events, {coverage.codes:,} codes ({systems or 'none of a known system'})"
    )
    if coverage.unread:
        heads = ", ".join(f"{u.head} ({u.codes:,})" for u in coverage.unread[:shown])
        console.print(escape(f"codes of no known system, seen by local values only: {heads}"))
    for found in coverage.classes:
        console.print()
        _print_class_coverage(found, console, shown=shown)
    console.print()
    console.print(
        "Near misses are for a curator to look at, not errors. Counts of single patients are in"
        " here: keep it with the data."
    )


def _print_class_coverage(found: ClassCoverage, console: Console, *, shown: int) -> None:
    console.print(
        f"[bold]{found.name}[/]: {escape(found.title)}: {found.patients:,} patients count,"
        f" {found.patients_any:,} have any of its codes"
    )
    table = _table("", "code", "", "events", "patients", "by", numbers=("events", "patients"))
    for caught in found.caught[:shown]:
        table.add_row(caught.standing, *_counted(caught.code), escape(", ".join(caught.values)))
    if found.caught:
        console.print(table)
        _print_rest(len(found.caught) - shown, "codes that it catches", console)
    for code in found.excluded[:shown]:
        console.print(escape(f"excluded: {code.code} {code.description or ''}".rstrip()))
    for system, values in found.unmatched.items():
        more = f" and {len(values) - shown} more" if len(values) > shown else ""
        listed = ", ".join(values[:shown])
        console.print(escape(f"no code here matches ({system}): {listed}{more}"))
    if found.absent:
        console.print(f"the data set has no codes of {', '.join(found.absent)}")
    near = _table("near miss", "", "events", "patients", "why", "caught by",
                  numbers=("events", "patients"))  # fmt: skip
    for one in found.near_misses[:shown]:
        why = f"{one.kind} {one.hint}"
        near.add_row(*_counted(one.code), escape(why), ", ".join(one.elsewhere))
    if found.near_misses:
        console.print(near)
        _print_rest(len(found.near_misses) - shown, "near misses", console)


def _print_rest(number: int, what: str, console: Console) -> None:
    if number > 0:
        console.print(f"and {number:,} more {what}; --all shows them")


def _counted(code: CodeCount) -> tuple[str, str, str, str]:
    description = (code.description or "")[:60]
    return escape(code.code), escape(description), f"{code.events:,}", f"{code.patients:,}"


def _table(*headings: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left")
    return table


def _values(values: Sequence[str], exclude: Sequence[str] = ()) -> str:
    return escape(", ".join(values) + (f"; not {', '.join(exclude)}" if exclude else ""))


def _text(text: str | None) -> str:
    return escape(text or "")
