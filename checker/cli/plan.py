"""The command plan: what an audit would measure, what cannot pass, and what it costs."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli import auditing
from checker.cli.console import say, show, write
from checker.cli.options import File, json_option, ledger_option


@click.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@ledger_option
@json_option
def plan(policy: Path, target: Path, ledger: Path | None, as_json: bool) -> None:
    """Show what an audit would measure, what cannot pass, and what it costs; runs no model.

    With a ledger, for the attempt that it would be; nothing is registered.
    """
    from checker.cli.plan_table import print_plan
    from checker.ledger import upcoming_attempt
    from checker.planning import at_attempt
    from checker.run.prepare import prepare

    compiled = prepare(policy, target).audit.plan
    if ledger is not None:
        number = upcoming_attempt(ledger, plan=compiled)
        compiled = at_attempt(compiled, attempt=number)
        say(f"attempt {number} by the ledger: bounds at {100 * compiled.confidence:.10g} %")
    auditing.tell_ledger_missing(compiled.policy.document, ledger)
    if as_json:
        write(compiled.to_bytes().decode().rstrip("\n"))
    else:
        show(lambda console: print_plan(compiled, console))
