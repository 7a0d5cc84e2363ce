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

    chosen = choose_coded(policy, names)
    measured = coverage_of({**choose_coded(policy), **chosen}, target, only=[*chosen])
    if as_json:
        emit_json(coverage_json(measured))
    else:
        shown = sys.maxsize if everything else 8
        show(partial(print_coverage, measured, shown=shown))


@classes.command("map")
@click.argument("target", type=File)
@click.option(
    "--map",
    "maps",
    type=File,
    multiple=True,
    required=True,
    metavar="FILE",
    help="code,parent[,relation] as CSV, a reference set of SNOMED CT, or OMOP's"
    " CONCEPT_RELATIONSHIP.csv with CONCEPT.csv beside it; repeatable.",
)
@click.option(
    "--out",
    metavar="PATH",
    help="The new table, inside the data set's folder; never one that is there."
    "  [default: metadata/codes.mapped.parquet]",
)
@policy_option
@json_option
def map_classes(
    target: Path, maps: tuple[Path, ...], out: str | None, policy: Path | None, as_json: bool
) -> None:
    """Fill parent codes of a data set from your own maps, in a new table beside the old one.

    TARGET is a target's file or the folder of a MEDS data set. Classes find diagnoses in SNOMED CT
    or local codes by their parents; what a map says exactly counts in full, what it only comes near
    as strong at most. Shown are the share that was mapped, and the patients of each class before
    and after.
    """
    from checker.cli.class_listing import choose_coded
    from checker.cli.code_mapping import map_target, mapping_json, print_mapping

    done = map_target(target, maps, classes=choose_coded(policy), out=out)
    if as_json:
        emit_json(mapping_json(done))
    else:
        show(partial(print_mapping, done))


@classes.command("review")
@click.argument("name", metavar="CLASS")
@click.option("--data", type=File, metavar="TARGET", help="Count codes in these patients.")
@click.option(
    "--titles",
    multiple=True,
    metavar="SYSTEM=FILE",
    help="Titles of a system's codes, each line a code and its title as CMS publishes them:"
    " icd10cm=icd10cm-codes-2024.txt; repeatable.",
)
@policy_option
@json_option
def review_class(
    name: str,
    data: Path | None,
    titles: tuple[str, ...],
    policy: Path | None,
    as_json: bool,
) -> None:
    """Print a sheet by which a clinician or a coding specialist can sign a class off.

    It lists the codes by tier with their titles, where they are known, what the class is expressly
    not, how often its codes occur in a data set, what is open, and the lines of `reviewed` to be
    filled in.
    """
    from checker.cli.class_listing import choose_classes, choose_coded
    from checker.cli.class_sheet import class_sheet, print_sheet, sheet_json

    spec = choose_classes(policy, [name])[name]
    sheet = class_sheet(
        name, spec, titles=titles, data=data, others=choose_coded(policy), policy=policy
    )
    if as_json:
        emit_json(sheet_json(sheet))
    else:
        show(partial(print_sheet, sheet))
