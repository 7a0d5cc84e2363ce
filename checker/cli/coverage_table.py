"""What attribute classes catch of a data set, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.cli.proxy_table import print_proxies
from checker.cli.unread_codes import print_claims
from checker.codes import CodeReader
from checker.policy import Located, load_target
from checker.policy.documents import AttributeClassSpec, AuditTarget, DataSpec
from checker.records.code_census import cohort_reader
from checker.records.cohort import Cohort, load_cohort
from checker.records.coverage import ClassCoverage, CodeCount, DataCoverage, measure_coverage


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
        cohort = load_cohort(DataSpec(path="."), base=data)
        reader = cohort_reader([], cohort)
    else:
        cohort, reader = _of_target(load_target(data), base=data.resolve().parent)
    return measure_coverage(classes, cohort, reader=reader, only=only)


def _of_target(target: Located[AuditTarget], *, base: Path) -> tuple[Cohort, CodeReader]:
    spec = target.document.spec
    cohort = load_cohort(spec.data, base=base)
    return cohort, cohort_reader(spec.code_systems, cohort)


def coverage_json(coverage: DataCoverage) -> dict[str, Any]:
    """Return the whole of a coverage."""
    return asdict(coverage)


def print_coverage(coverage: DataCoverage, console: Console, *, shown: int) -> None:
    """Print a coverage, at most so many codes of each list."""
    systems = ", ".join(f"{count:,} {system}" for system, count in coverage.systems.items())
    console.print(
        f"[bold]{told(coverage.name)}[/]: {coverage.patients:,} patients, {coverage.events:,}"
        f" events, {coverage.codes:,} codes ({systems or 'none of a known system'})"
    )
    if coverage.unread:
        heads = ", ".join(f"{u.head} ({u.codes:,})" for u in coverage.unread[:shown])
        console.print(told(f"codes of no known system, seen by local values only: {heads}"))
    print_claims(coverage.claims, coverage.lost, coverage.suspect, console, shown=shown)
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
        f"[bold]{found.name}[/]: {told(found.title)}: {found.patients:,} patients count,"
        f" {found.patients_any:,} have any of its codes"
    )
    table = plain_table("", "code", "", "events", "patients", "by", numbers=("events", "patients"))
    for caught in found.caught[:shown]:
        by = ", ".join(caught.values)
        if caught.through:
            by += f" through {' > '.join(caught.through)}"
        table.add_row(caught.standing, *_counted(caught.code), told(by))
    if found.caught:
        console.print(table)
        _print_rest(len(found.caught) - shown, "codes that it catches", console)
    for code in found.excluded[:shown]:
        console.print(told(f"excluded: {code.code} {code.description or ''}".rstrip()))
    for system, values in found.unmatched.items():
        more = f" and {len(values) - shown} more" if len(values) > shown else ""
        listed = ", ".join(values[:shown])
        console.print(told(f"no code here matches ({system}): {listed}{more}"))
    if found.absent:
        console.print(f"the data set has no codes of {', '.join(found.absent)}")
    print_proxies(found.name, found.proxies, console, shown=shown)
    columns = ("near miss", "", "events", "patients", "why", "caught by")
    near = plain_table(*columns, numbers=("events", "patients"))
    for one in found.near_misses[:shown]:
        why = f"could be {one.hint}" if one.kind == "spelling" else f"{one.kind} {one.hint}"
        near.add_row(*_counted(one.code), told(why), ", ".join(one.elsewhere))
    if found.near_misses:
        console.print(near)
        _print_rest(len(found.near_misses) - shown, "near misses", console)


def _print_rest(number: int, what: str, console: Console) -> None:
    if number > 0:
        console.print(f"and {number:,} more {what}; --all shows them")


def _counted(code: CodeCount) -> tuple[str, str, str, str]:
    description = (code.description or "")[:60]
    return told(code.code), told(description), f"{code.events:,}", f"{code.patients:,}"
