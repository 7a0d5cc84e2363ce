"""The command power: how many patients a policy takes, and what it can decide with how many."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, plain_table, show, told
from checker.cli.options import File, json_option
from checker.errors import EvidenceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from checker.planning.characteristics import Characteristics
    from checker.planning.operating import CellNeed, OperatingPoint
    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy


@click.command()
@click.argument("policy", type=File)
@click.option(
    "--target",
    type=File,
    metavar="TARGET",
    help="Whose patients the shares are taken from: who has which class, within whose reach.",
)
@click.option(
    "--members",
    "sizes",
    type=click.IntRange(50, 10_000_000),
    multiple=True,
    help="Size of the training split; repeatable. Default: from 300 to 300,000.",
)
@click.option(
    "--nonmembers",
    "share",
    type=click.FloatRange(0.001, 100),
    help="For each member. Default: as many as the target's patients have.",
)
@click.option(
    "--write",
    "folder",
    type=File,
    metavar="FOLDER",
    help="Write what the policy can decide into FOLDER/NAME@VERSION.json, computed anew.",
)
@json_option
def power(
    policy: Path,
    target: Path | None,
    sizes: tuple[int, ...],
    share: float | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Say how many patients a policy takes, and what it decides with how many.

    No model is run. Without a target cohorts are imagined whose patients have classes as often as
    those of public hospital records; with one its own patients are read, and others like them.
    """
    from checker import library
    from checker.planning.characteristics import characteristics, shipped_characteristics, to_bytes
    from checker.planning.operating import SIZES, operating_points, patients_needed

    if target is None and (sizes or share is not None):
        raise UsageError("--members and --nonmembers scale a cohort: name it with --target")
    if target is not None and folder is not None:
        raise UsageError(
            "--write keeps what a policy decides with any patients: leave out --target"
        )
    demands = library.load_policy(policy)
    needed = patients_needed(demands.document.spec)
    points = known = unknown = None
    if target is not None:
        # cohorts of other sizes are imagined from all who are there
        planned = library.plan(_of_all(demands), library.load_target(target)).plan
        points = operating_points(planned, sizes=sizes or SIZES, nonmember_share=share)
    else:
        known = None if folder else shipped_characteristics(demands.document)
        try:
            known = known or characteristics(demands)
        except EvidenceError as error:
            if folder is not None:
                raise
            unknown = str(error)  # whose patients would be needed; what each cell takes is known
    if folder is not None and known is not None:
        path = folder / f"{known.policy}@{known.version}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_bytes(known))
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    if as_json:
        emit_json(
            {
                "cells": [asdict(one) for one in needed],
                "cohorts": None if points is None else [asdict(one) for one in points],
                "characteristics": None if known is None else known.model_dump(mode="json"),
            }
        )
    else:
        show(partial(_print_power, needed, points, known, unknown))


def _of_all(policy: Located[LeakagePolicy]) -> Located[LeakagePolicy]:
    """Return a policy that asks everybody."""
    spec = policy.document.spec
    sampling = spec.parameters.sampling.model_copy(update={"patients": "all"})
    parameters = spec.parameters.model_copy(update={"sampling": sampling})
    document = policy.document.model_copy(
        update={"spec": spec.model_copy(update={"parameters": parameters})}
    )
    return replace(policy, document=document)


BY_ASSUMPTION = (
    "Likely is by the base rate that the policy assumes. Where records tell a class by\n"
    "themselves it takes more, and only phigate plan looks whether they do."
)
"""What every number of patients that likely pass is of."""


def print_needed(needed: list[CellNeed], console: Console) -> None:
    """Print how many patients cells take, whatever cohort they are of."""
    numbers = ("limit", "to pass at all", "to pass likely")
    table = plain_table("cell", "metric", "who", *numbers, numbers=numbers)
    for one in needed:
        limit = "none" if one.limit is None else f"{one.limit:g}"
        table.add_row(
            told(one.cell) + ("" if one.gating else " [dim](reported only)[/]"),
            one.metric,
            one.counted,
            limit,
            _many(one.fewest),
            _many(one.likely),
        )
    console.print("Patients that each cell takes in each split, members and nonmembers alike;")
    console.print("positives are patients with the class, within the attacker's reach.")
    console.print(BY_ASSUMPTION)
    if any(one.counted == "judged" for one in needed):
        console.print(
            "Judged are those who teach a learned score nothing: two thirds of the members,"
        )
        console.print(
            "and of the nonmembers four ninths, or two thirds where spare patients teach."
        )
    console.print(table)


def _print_power(
    needed: list[CellNeed],
    points: list[OperatingPoint] | None,
    known: Characteristics | None,
    unknown: str | None,
    console: Console,
) -> None:
    print_needed(needed, console)
    if known is not None:
        _print_characteristics(known, console)
    if unknown is not None:
        console.print(told(unknown))
    if points is None:
        console.print("With --target TARGET these become sizes of cohorts like that target's.")
        return
    console.print()
    heads = (
        "members", "nonmembers", "can pass", "likely to", "sound model released", "at twice limits",
    )  # fmt: skip
    cohorts = plain_table(*heads, "stopped by", numbers=heads)
    for point in points:
        chance = "unknown" if point.released is None else f"{point.released:.0%}"
        floor = "at least " if point.is_floor and point.released else ""
        cohorts.add_row(
            f"{point.members:,}",
            f"{point.nonmembers:,}",
            f"{point.can_pass} of {point.deciding}",
            f"{point.likely} of {point.deciding}",
            floor + chance,
            _at_most(point.released_at_twice),
            told(_shortened(point.stopped_by)),
        )
    console.print("Cohorts like this one, by size: cells that decide, and the chance that a model")
    console.print("that leaks nothing, rightly described, is released, and one at twice a limit,")
    console.print("by that base rate.")
    console.print(cohorts)


def _print_characteristics(known: Characteristics, console: Console) -> None:
    """Print the chance of a release, a row a kind of cohort, and how many cells can pass."""
    console.print()
    sizes = list(dict.fromkeys(point.patients for point in known.points))
    heads = [f"{size:,}" for size in sizes]
    table = plain_table("records", "splits", *heads, numbers=tuple(heads))
    rows: dict[tuple[str, str], list[str]] = {}
    for point in known.points:
        chance = "?" if point.released is None else f"{point.released:.0%}"
        text = f"{chance} ({point.can_pass})"
        rows.setdefault((point.cohort, point.split), []).append(text)
    for (cohort, split), cells in rows.items():
        table.add_row(told(cohort), split, *cells)
    deciding = max(point.deciding for point in known.points)
    twice = [p.released_at_twice for p in known.points if p.released_at_twice is not None]
    console.print(
        "How likely a model that leaks nothing is released, by patients of both splits together;"
    )
    console.print(
        f"in brackets how many of the {deciding} cells that must pass can; splits dealt by lot:"
    )
    console.print(table)
    for name, title in known.cohorts.items():
        console.print(f"{told(name)}: {told(title)}")
    if twice:
        most = max(twice)
        chance = f"at most {most:.1%}" if most >= 0.001 else "less than 0.1%"
        console.print(
            f"A model at twice a limit that must be shown is released with a chance of {chance}."
        )
    console.print(
        "Records are taken to be as long as the windows that extraction looks for (length). Records"
        " of few events may have none, so that nobody can be asked: such data need a shorter one."
    )
    if known.only_warn:
        console.print(
            "Where too few patients have them these only warn, and stop a model only by a proven"
            f" leak: {told(', '.join(known.only_warn))}."
        )


def _at_most(chance: float | None) -> str:
    return "unknown" if chance is None else f"≤ {chance:.1%}"


def _many(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _shortened(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown} and {len(names) - 2} more"
