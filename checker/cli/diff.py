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
    from checker.cli.policy_tables import print_diff
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy
    from checker.policy.explanation import compare

    comparison = compare(load_only(LeakagePolicy, old), load_only(LeakagePolicy, new))
    if as_json:
        emit_json(comparison.as_json())
    else:
        show(lambda console: print_diff(comparison, console))
    if comparison.count("looser"):
        raise click.exceptions.Exit(int(ExitCode.FAIL))
