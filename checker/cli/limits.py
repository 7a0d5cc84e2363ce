"""The command limits: what may leak to whom, how many patients that takes, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, plain_table, show, told
from checker.cli.options import File, json_option
from checker.cli.power import BY_ASSUMPTION
from checker.errors import UsageError
from checker.plugins import nearest_or_all

if TYPE_CHECKING:
    from rich.console import Console

    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy


@dataclass(frozen=True, slots=True)
class StatedLimit:
    """A limit of a policy with what it takes, and where it was written.

    Args:
        attribute_class: whom it protects; None where it is about all patients.
        title: of the class.
        control, attacker, metric: which cell it is, and what is measured.
        fail, warn: on the metric; None where nothing may ever occur, or no warning is asked for.
        max_count, min_n: where nothing may ever occur.
        gating: whether it decides about the release; otherwise it is reported only.
        counted: who has to be so many: "positives" (who have the class, within the attacker's
            reach) or "patients".
        fewest: in each split, to pass at all; None where 100,000 are not enough.
        likely: for a pass with a chance of 80 % where nothing leaks; None where that is not known.
        document: that it was written in, with its version.
        file, line: of it.
    """

    attribute_class: str | None
    title: str | None
    control: str
    attacker: str
    metric: str
    fail: float | None
    warn: float | None
    max_count: int | None
    min_n: int | None
    gating: bool
    counted: str
    fewest: int | None
    likely: int | None
    document: str
    file: str
    line: int


@click.command()
@click.argument("policy", type=File)
@click.argument("classes", metavar="[CLASS]...", nargs=-1)
@json_option
def limits(policy: Path, classes: tuple[str, ...], as_json: bool) -> None:
    """Show every limit by class and attacker: patients it takes, document and line.

    Give CLASSes to see only theirs.
    """
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy

    found = stated_limits(load_only(LeakagePolicy, policy), classes=classes)
    if as_json:
        emit_json([asdict(one) for one in found])
    else:
        show(lambda console: _print_limits(found, console))


def stated_limits(
    policy: Located[LeakagePolicy], *, classes: Sequence[str] = ()
) -> list[StatedLimit]:
    """Return a policy's limits, those of one class together, in the policy's order.

    Args:
        policy: with all that it inherits.
        classes: whose limits are wanted; all where none is named.

    Raises:
        UsageError: the policy asks for nothing of a class.
    """
    from checker.planning.operating import patients_needed

    spec = policy.document.spec
    asked = [one for one in spec.attribute_classes if one in _audited(policy.document)]
    for name in classes:
        if name not in asked:
            hint = nearest_or_all(name, asked)
            raise UsageError(f"{policy.file} has no limit of a class '{name}'{hint}")
    needs = {one.cell: one for one in patients_needed(spec)}
    documents = {one.file: one.reference for one in (*policy.origins, policy.origin)}
    found = []
    for name, control in spec.controls.items():
        of = control.attribute_class
        if classes and of not in classes:
            continue
        for attacker, limit in control.limits.items():
            need = needs[f"{name}/{attacker}"]
            place = policy.place(("spec", "controls", name, "limits", attacker, "fail"))
            found.append(
                StatedLimit(
                    attribute_class=of,
                    title=spec.attribute_classes[of].title if of else None,
                    control=name,
                    attacker=attacker,
                    metric=control.metric,
                    fail=limit.fail,
                    warn=limit.warn,
                    max_count=limit.max_count,
                    min_n=limit.min_n,
                    gating=need.gating,
                    counted=need.counted,
                    fewest=need.fewest,
                    likely=need.likely,
                    document=documents.get(place.file, place.file),
                    file=place.file,
                    line=place.line,
                )
            )
    order = {name: number for number, name in enumerate([*spec.attribute_classes, None])}
    return sorted(found, key=lambda one: order[one.attribute_class])  # stable


def _audited(policy: LeakagePolicy) -> set[str | None]:
    return {control.attribute_class for control in policy.spec.controls.values()}


def _print_limits(found: Sequence[StatedLimit], console: Console) -> None:
    numbers = ("limit", "to pass at all", "likely")
    table = plain_table("class, attacker", *numbers, "written in", numbers=numbers)
    for name, of_class in groupby(found, key=lambda one: one.attribute_class):
        for control, rows in groupby(of_class, key=lambda one: one.control):
            stated = list(rows)
            who = "positives" if name else "patients"
            head = name if name is not None else "all patients"
            more = "" if control == name else f" ({told(control)})"
            table.add_section()
            table.add_row(f"[bold]{told(head)}[/]{more}", "", who, "", told(stated[0].metric))
            for one in stated:
                table.add_row(
                    f"  {told(one.attacker)}" + ("" if one.gating else " [dim]*[/]"),
                    _limit(one),
                    _many(one.fewest),
                    _many(one.likely),
                    f"{told(one.document)}:{one.line}",
                )
    console.print("What may leak, and how many patients in each split, members and nonmembers")
    console.print("alike, a pass takes: at the least, and with a chance of 80 % if nothing leaks.")
    console.print("Positives are patients with the class, within the attacker's reach.")
    console.print(BY_ASSUMPTION)
    console.print(table)
    if not all(one.gating for one in found):
        console.print("* is reported, and does not decide.")


def _limit(one: StatedLimit) -> str:
    if one.fail is None:
        return f"none of {one.min_n:,}" if one.min_n else "none"
    return f"{one.fail:g}"


def _many(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"
