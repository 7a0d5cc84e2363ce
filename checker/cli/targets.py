"""The commands of target: a model and its description, before any policy."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, error_console, plain_table, show, told
from checker.cli.options import File, device_option, json_option
from checker.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from checker.run.target_examination import TargetExamination

_CODES = {"shown": ExitCode.PASS, "not shown": ExitCode.INCONCLUSIVE, "wrong": ExitCode.FAIL}
_STYLES = {"shown": "green", "not shown": "yellow", "wrong": "bold red"}


@click.group()
def target() -> None:
    """Describe a model, and see whether it was described rightly."""


@target.command("test")
@click.argument("path", metavar="TARGET", type=File)
@click.option(
    "--policy",
    type=File,
    metavar="POLICY",
    help="Go through the lengths that this policy's audit uses. Default: whole records.",
)
@device_option
@json_option
def run_test(path: Path, policy: Path | None, device: str | None, as_json: bool) -> None:
    """Check a model against itself and against its description, as every audit does first.

    Exit codes: 0 all was shown, 1 something is wrong, 3 something could not be shown.
    """
    from checker import library

    with error_console().status("reading the patients and asking the model"):
        found = library.examine_target(
            library.load_target(path),
            policy=None if policy is None else library.load_policy(policy),
            device=device,
        )
    if as_json:
        emit_json({"answer": found.answer, **asdict(found)})
    else:
        show(partial(_print_test, found))
    raise click.exceptions.Exit(int(_CODES[found.answer]))


def _print_test(found: TargetExamination, console: Console) -> None:
    where = ", ".join(told(found.environment[key]) for key in ("backend", "device", "dtype"))
    console.print(f"[bold]{told(found.target)}[/] ({where}; {', '.join(found.capabilities)})")
    usage = found.usage
    console.print(
        f"records of up to {usage.longest_record:,} tokens; {usage.horizon_tokens:,} drawn after"
        f" prompts of up to {usage.longest_prompt:,}"
    )
    table = plain_table("", "what is to be shown", "what was found")
    for check in found.checks:
        style = _STYLES[check.answer]
        table.add_row(f"[{style}]{check.answer}[/]", told(check.title), told(check.found))
    console.print(table)
    left = [check for check in found.checks if check.answer != "shown"]
    if left:
        console.print("[bold]What to do next[/]")
        for step in dict.fromkeys(check.next_step for check in left):
            console.print(f"  {told(step)}")
    else:
        console.print("All of it was shown; `phigate plan` says what an audit could decide.")
