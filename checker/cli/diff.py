"""The command diff: whether one policy is tighter or looser than another."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli.console import emit_json, show
from checker.cli.options import File, json_option
from checker.errors import ExitCode


@click.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Say field by field whether NEW is tighter or looser than OLD.

    Exits with 1 when anything is looser, so that a pipeline can refuse it.
    """
    from checker.policy import load_policy
    from checker.policy.display import print_comparison
    from checker.policy.explanation import compare

    comparison = compare(load_policy(old, abstract=True), load_policy(new, abstract=True))
    if as_json:
        emit_json(comparison.to_json())
    else:
        show(lambda console: print_comparison(comparison, console))
    if comparison.count("looser"):
        raise click.exceptions.Exit(int(ExitCode.FAIL))
