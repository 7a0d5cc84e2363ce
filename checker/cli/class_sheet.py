"""`phigate classes review`: what has to be read before a class is signed off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from rich.console import Console

from checker.cli.class_listing import sign_off
from checker.cli.code_matches import code_system
from checker.cli.console import plain_table, told
from checker.cli.coverage_table import coverage_of
from checker.codes import PREFIX_SHAPES, RANK_NONE, CodeSystem, Standing, find_matches, read_code
from checker.codes.readings import CodeReader
from checker.errors import DataError, UsageError
from checker.policy.class_review import codes_digest
from checker.policy.classes import class_matcher
from checker.policy.documents import AttributeClassSpec, LibraryClassSpec, PolicyClassSpec
from checker.policy.library import library_class, library_classes
from checker.records.coverage import ClassCoverage

_ORDER: Final[tuple[Standing, ...]] = ("definitive", "strong", "suggestive", "exposure", "proxy")
_MEANING: Final[Mapping[Standing, str]] = {
    "definitive": "the code alone says it; who has one counts",
    "strong": "the usual reading; who has one counts",
    "suggestive": "needs more to be sure of; leaves the prompt, and does not count",
    "exposure": "a test, a contact, a history; leaves the prompt, and does not count",
    "proxy": "hints at it and at other things; leaves the prompt, and does not count",
}


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One line to be read.

    Args:
        system: of the codes.
        code: a code of a table of titles, or a value as the class writes it.
        title: of the code; why, of a value that has a reason.
        patients: with the code in the data set, one patient once for each of its spellings; None
            where no data set was given.
    """

    system: CodeSystem
    code: str
    title: str
    patients: int | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is to be read of a class, and signed.

    Args:
        name: of the class.
        spec: what it says.
        version: of the class, or what is to be written for it.
        sha256: of its codes, which the signature is bound to.
        rows: by standing.
        never: what it is expressly not, with reasons.
        questions: what is open.
        data: what it catches of a data set, if one was given.
        data_set: its name.
    """

    name: str
    spec: AttributeClassSpec
    version: str
    sha256: str
    rows: Mapping[Standing, tuple[SheetRow, ...]]
    never: tuple[str, ...]
    questions: tuple[str, ...]
    data: ClassCoverage | None
    data_set: str | None


def class_sheet(
    name: str,
    spec: AttributeClassSpec,
    *,
    titles: Sequence[str],
    data: Path | None,
    others: Mapping[str, AttributeClassSpec],
    policy: Path | None,
) -> Sheet:
    """Put together what is to be read of a class.

    Args:
        name: of the class.
        spec: what it says.
        titles: `SYSTEM=FILE`, each line of which is a code and its title.
        data: a target, or the folder of a MEDS data set.
        others: classes that may own what this one misses.
        policy: the class is of this policy and not of the library.

    Raises:
        UsageError: the class is a pool, or a system or a file of titles is none.
        DataError: the patients or the titles cannot be read.
    """
    if isinstance(spec, PolicyClassSpec) and spec.any_of:
        raise UsageError(f"'{name}' is a pool; review its classes: {', '.join(spec.any_of)}")
    measured = None if data is None else coverage_of({**others, name: spec}, data, only=[name])
    found = None if measured is None else measured.classes[0]
    tables = dict(_titles(one) for one in titles)
    return Sheet(
        name=name,
        spec=spec,
        version="the policy's" if policy else _version(name),
        sha256=codes_digest(spec),
        rows=_rows(spec, tables, found),
        never=tuple(_never(spec)),
        questions=tuple(_questions(spec, found)),
        data=found,
        data_set=None if measured is None else measured.name,
    )


def _version(name: str) -> str:
    found = library_class(f"library/{name}") if "@" in name else library_classes()[name]
    return found.document.metadata.version


def _titles(option: str) -> tuple[CodeSystem, dict[str, str]]:
    system, equals, file = option.partition("=")
    if not equals or not file:
        raise UsageError(f"--titles {option}: write SYSTEM=FILE, such as icd10cm=codes.txt")
    path = Path(file)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    found = {}
    for line in text.decode("utf-8", errors="replace").splitlines():
        code, _, title = line.strip().partition(" ")
        if code:
            found[code] = title.strip()
    if not found:
        raise DataError("holds no titles; each line is a code and its title", file=path)
    return code_system(system), found


def _rows(
    spec: AttributeClassSpec,
    tables: Mapping[CodeSystem, Mapping[str, str]],
    found: ClassCoverage | None,
) -> dict[Standing, tuple[SheetRow, ...]]:
    """Return the codes of tables that the class catches, and its values where there is no table."""
    rows: dict[Standing, list[SheetRow]] = {standing: [] for standing in _ORDER}
    counts: dict[str, int] = {}
    by_code: dict[tuple[str, str], int] = {}
    reader = CodeReader()
    for caught in [] if found is None else found.caught:
        for value in caught.values:
            counts[value] = counts.get(value, 0) + caught.code.patients
        for reading in reader.read_own(caught.code.code):
            by_code[reading] = by_code.get(reading, 0) + caught.code.patients
    matcher = class_matcher(spec)
    for system, table in tables.items():
        matches = find_matches(
            {"class": matcher},
            [f"{system}//{code}" for code in table],
            reader=CodeReader([(f"{system}//{{code}}", system)]),
            descriptions=[None] * len(table),
            parents=[()] * len(table),
        )["class"]
        for entry, (code, title) in enumerate(table.items()):
            standing = matches.standing(entry)
            if standing is not None and matches.ranks[entry] > RANK_NONE:
                count = None if found is None else by_code.get(read_code(system, code), 0)
                rows[standing].append(SheetRow(system, code, title, count))
    for standing, one, why in _sets(spec):
        if one.system in tables and one.system in PREFIX_SHAPES:
            continue  # its codes stand there one by one
        excluded = f" (not {', '.join(one.exclude)})" if one.exclude else ""
        for value in one.values:
            title = tables.get(one.system, {}).get(value) or (why or "") + excluded
            count = None if found is None else counts.get(value, 0)
            rows[standing].append(SheetRow(one.system, value, title, count))
    return {standing: tuple(listed) for standing, listed in rows.items()}


def _sets(spec: AttributeClassSpec) -> Iterable[tuple[Standing, Any, str | None]]:
    yield from ((one.tier, one, one.note) for one in spec.codes)
    yield from (("proxy", one, one.why) for one in spec.proxies)


def _never(spec: AttributeClassSpec) -> Iterable[str]:
    for one in spec.exclude:
        yield f"{one.system} {', '.join(one.values)}: {one.why or 'excluded'}"
    for trap in spec.traps:
        if trap.expect == "none":
            yield f"{trap.system} {trap.code}: {trap.why}"


def _questions(spec: AttributeClassSpec, found: ClassCoverage | None) -> Iterable[str]:
    for trap in spec.traps:
        if trap.expect != "none":
            yield f"is {trap.system} {trap.code} {trap.expect}? {trap.why}"
    systems = {one.system for one in (*spec.codes, *spec.proxies)}
    missing = [system for system in get_args(CodeSystem) if system not in systems | {"local"}]
    if missing:
        yield f"the class has no codes of {', '.join(missing)}: is that right?"
    if isinstance(spec, LibraryClassSpec) and spec.review.note:
        yield spec.review.note
    if found is not None:
        for system, values in found.unmatched.items():
            yield f"no code of the data set is {system} {', '.join(values[:12])}" + (
                f" or one of {len(values) - 12} more" if len(values) > 12 else ""
            )
        for near in found.near_misses[:12]:
            if not near.elsewhere:
                text = f"{near.code.code} {near.code.description or ''}".strip()
                yield f"does this belong to it? {text} ({near.kind} {near.hint})"


def sheet_json(sheet: Sheet) -> dict[str, Any]:
    """Return the whole of a sheet."""
    spec = sheet.spec
    return {
        "name": sheet.name,
        "title": spec.title,
        "version": sheet.version,
        "sha256": sheet.sha256,
        "signed": sign_off(spec),
        "codes": {
            standing: [
                {
                    "system": row.system,
                    "code": row.code,
                    "title": row.title,
                    **({} if row.patients is None else {"patients": row.patients}),
                }
                for row in rows
            ]
            for standing, rows in sheet.rows.items()
        },
        "never": list(sheet.never),
        "notes": spec.notes,
        "questions": list(sheet.questions),
        "data": None
        if sheet.data is None
        else {
            "name": sheet.data_set,
            "patients": sheet.data.patients,
            "patientsAny": sheet.data.patients_any,
        },
    }


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Print a sheet to be read on paper, and signed at its end."""
    spec = sheet.spec
    console.print(f"[bold]Review of the class {told(sheet.name)}: {told(spec.title)}[/]")
    if spec.description:
        console.print(told(spec.description))
    console.print(told(f"version {sheet.version}; {sign_off(spec)}"))
    if sheet.data is not None:
        console.print(
            told(
                f"in {sheet.data_set}: {sheet.data.patients:,} patients count,"
                f" {sheet.data.patients_any:,} have any of its codes; keep this with the data"
            )
        )
    for standing, rows in sheet.rows.items():
        console.print()
        console.print(f"[bold]{standing}[/] ({len(rows):,}): {_MEANING[standing]}")
        counted = any(row.patients is not None for row in rows)
        columns = ("", "system", "code", "title", *(["patients"] if counted else []))
        table = plain_table(*columns, numbers=("patients",))
        for row in rows:
            count = [] if not counted else ["" if row.patients is None else f"{row.patients:,}"]
            table.add_row("( )", row.system, told(row.code), told(row.title), *count)
        if rows:
            console.print(table)
    for heading, lines in (
        ("It is not", sheet.never),
        ("To be known", spec.notes),
        ("Open questions", sheet.questions),
    ):
        if lines:
            console.print()
            console.print(f"[bold]{heading}[/]")
            for line in lines:
                console.print(told(f"( ) {line}"), soft_wrap=True)
    console.print()
    console.print("Who signs writes this into the class; it holds for these codes and no others:")
    console.print(told("reviewed: {by: …, role: …, date: …, version: …,"), soft_wrap=True)
    console.print(told(f"           sha256: {sheet.sha256}}}"), soft_wrap=True)
    console.print()
    for line in ("Name", "Role", "Date", "Signature"):
        console.print(f"{line + ':':11} {'_' * 48}")
