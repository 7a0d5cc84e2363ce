"""The command test: made-up results, and the verdicts that a policy must give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, plain_table, say, show, told
from checker.cli.options import File, json_option, others_option
from checker.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from checker.verdict.policy_tests import CaseResult


@click.command("test")
@click.argument("files", metavar="FILE|FOLDER...", type=File, nargs=-1, required=True)
@click.option("--policy", type=File, help="Test this policy instead of the one the tests name.")
@others_option
@json_option
def run_policy_tests(
    files: tuple[Path, ...], policy: Path | None, skip_others: bool, as_json: bool
) -> None:
    """Run policy tests: made-up results, and the verdicts that a policy must give.

    Needs neither model nor patients. Running no test at all is a failure, unless files that hold
    none were to be passed over.
    """
    from checker.policy import load_policy
    from checker.policy.recognition import kinds_named
    from checker.verdict.policy_tests import find_tests, policy_under_test, run_policy_test

    if skip_others:
        files = tuple(f for f in files if f.is_dir() or "PolicyTest" in (kinds_named(f) or ()))
    given = load_policy(policy) if policy is not None else None
    nothing_to_test = skip_others and not files
    results = [
        result
        for test in find_tests(files)
        for result in run_policy_test(test, policy=given or policy_under_test(test))
    ]
    if as_json:
        emit_json(
            {
                "passed": (bool(results) or nothing_to_test) and all(r.holds for r in results),
                "cases": [{**asdict(r), "holds": r.holds} for r in results],
            }
        )
    elif not nothing_to_test:
        show(lambda console: _print_results(results, console))
    if not results and not nothing_to_test:
        say("no policy tests were found, so nothing was tested")
    if not (results or nothing_to_test) or not all(result.holds for result in results):
        raise click.exceptions.Exit(int(ExitCode.FAIL))


def _print_results(results: Sequence[CaseResult], console: Console) -> None:
    """Print what became of each case, and why where it is not what was expected."""
    table = plain_table("test", "case", "cell", "expected", "got", "")
    for result in results:
        for place, check in enumerate(result.checks):
            table.add_row(
                told(result.test) if place == 0 else "",
                told(result.case) if place == 0 else "",
                told(check.what),
                told(check.expected),
                told(check.got),
                "[green]✓[/]" if check.holds else "[bold red]✗[/]",
            )
    if results:
        console.print(table)
    failing = [result for result in results if not result.holds]
    for result in failing:
        console.print(f"[bold red]✗[/] {told(f'{result.file}:{result.line}')}: {told(result.case)}")
        for check in result.checks:
            if not check.holds:
                text = f"{check.what}: expected {check.expected}, got {check.got}."
                console.print(f"  {told(text)} {told(check.explanation)}")
    console.print(
        f"{len(results)} cases, {len(failing)} not as expected"
        + (f"; policy {told(', '.join(sorted({r.policy for r in results})))}" if results else "")
    )
