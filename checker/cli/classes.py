"""The commands of classes: what the library's or a policy's attribute classes say and catch."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from checker.cli.console import emit_json, show
from checker.cli.options import File, json_option
from checker.errors import UsageError


@click.group()
def classes() -> None:
    """Attribute classes: what there is, what a class says, and what it catches.

    Of the library that phigate ships, or of a policy with --policy.
    """


policy_option = click.option(
    "--policy", type=File, help="The classes of this policy, instead of the library's."
)


@classes.command("list")
@policy_option
@json_option
def list_classes(policy: Path | None, as_json: bool) -> None:
    """List the classes, with how many values each has in its tiers."""
    from checker.cli.class_listing import choose_classes, list_json, print_classes

    chosen = choose_classes(policy)
    if as_json:
        emit_json(list_json(chosen))
    else:
        show(partial(print_classes, chosen))


@classes.command("show")
@click.argument("name", metavar="CLASS")
@policy_option
@json_option
def show_class(name: str, policy: Path | None, as_json: bool) -> None:
    """Show all that a class says: codes, exclusions, proxies, traps, sources, review."""
    from checker.cli.class_listing import choose_classes, class_json, print_class

    spec = choose_classes(policy, [name])[name]
    if as_json:
        emit_json(class_json(name, spec))
    else:
        show(partial(print_class, name, spec))


@classes.command("find")
@click.argument("words", metavar="WORD...", nargs=-1, required=True)
@policy_option
@json_option
def find(words: tuple[str, ...], policy: Path | None, as_json: bool) -> None:
    """Find classes by name, synonym, what they say, or a code: `classes find schizophrenia`.

    Exit code 2 where no class answers.
    """
    from dataclasses import asdict

    from checker.cli.class_listing import choose_coded
    from checker.cli.class_search import find_classes, meant, print_found

    chosen, sought = choose_coded(policy), " ".join(words)
    found = find_classes(chosen, sought)
    if as_json:
        emit_json([asdict(one) for one in found])
    elif found:
        show(partial(print_found, found))
    if not found:
        raise UsageError(f"no class answers to '{sought}'{meant(chosen, sought)}")


@classes.command("match")
@click.argument("codes", metavar="CODE...", nargs=-1, required=True)
@click.option("--system", help="Of bare codes; default: every system whose shape they have.")
@policy_option
@json_option
def match_codes(
    codes: tuple[str, ...], system: str | None, policy: Path | None, as_json: bool
) -> None:
    """Say which classes codes, spellings of a data set or texts of drugs belong to."""
    from checker.cli.class_listing import choose_coded
    from checker.cli.code_matches import code_system, match_texts, matches_json, print_matches

    wanted = None if system is None else code_system(system)
    matches = match_texts(choose_coded(policy), codes, system=wanted)
    if as_json:
        emit_json(matches_json(matches))
    else:
        show(partial(print_matches, matches))


@classes.command("coverage")
@click.argument("target", type=File)
@click.option("--class", "names", multiple=True, metavar="CLASS", help="Only this; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Show whole lists, not their beginning.")
@policy_option
@json_option
def class_coverage(
    target: Path, names: tuple[str, ...], everything: bool, policy: Path | None, as_json: bool
) -> None:
    """Show what classes catch of a data set, what never matches, and what they may miss.

    TARGET is a target's file or the folder of a MEDS data set.
    """
    from checker.cli.class_listing import choose_coded
    from checker.cli.coverage_table import coverage_json, coverage_of, print_coverage

    chosen = [*choose_coded(policy, names)]
    measured = coverage_of(choose_coded(policy), target, only=chosen)
    if as_json:
        emit_json(coverage_json(measured))
    else:
        shown = sys.maxsize if everything else 8
        show(partial(print_coverage, measured, shown=shown))
