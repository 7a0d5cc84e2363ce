"""The command power: how many patients a policy takes, and what it can decide with how many."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, plain_table, show, told
from checker.cli.options import File, json_option
from checker.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

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
@json_option
def power(
    policy: Path, target: Path | None, sizes: tuple[int, ...], share: float | None, as_json: bool
) -> None:
    """Say how many patients a policy takes; with a target, what it decides with how many.

    No model is run. With a target its patients are read, and cohorts like it are imagined.
    """
    from checker import library
    from checker.planning.operating import SIZES, operating_points, patients_needed

    if target is None and (sizes or share is not None):
        raise UsageError("--members and --nonmembers scale a cohort: name it with --target")
    demands = library.load_policy(policy)
    needed = patients_needed(demands.document.spec)
    points = None
    if target is not None:
        # cohorts of other sizes are imagined from all who are there
        planned = library.plan(_of_all(demands), library.load_target(target)).plan
        points = operating_points(planned, sizes=sizes or SIZES, nonmember_share=share)
    if as_json:
        emit_json(
            {
                "cells": [asdict(one) for one in needed],
                "cohorts": None if points is None else [asdict(one) for one in points],
            }
        )
    else:
        show(partial(_print_power, needed, points))


def _of_all(policy: Located[LeakagePolicy]) -> Located[LeakagePolicy]:
    """Return a policy that asks everybody."""
    spec = policy.document.spec
    sampling = spec.parameters.sampling.model_copy(update={"patients": "all"})
    parameters = spec.parameters.model_copy(update={"sampling": sampling})
    document = policy.document.model_copy(
        update={"spec": spec.model_copy(update={"parameters": parameters})}
    )
    return replace(policy, document=document)


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
    console.print(table)


def _print_power(
    needed: list[CellNeed], points: list[OperatingPoint] | None, console: Console
) -> None:
    print_needed(needed, console)
    if points is None:
        console.print("With --target TARGET these become sizes of cohorts like that target's.")
        return
    console.print()
    heads = ("members", "nonmembers", "can pass", "likely to", "sound model released")
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
            told(_shortened(point.stopped_by)),
        )
    console.print("Cohorts like this one, by size: cells that decide, and the chance that a model")
    console.print("that leaks nothing, rightly described, is released.")
    console.print(cohorts)


def _many(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _shortened(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown} and {len(names) - 2} more"
