"""The command plan: what an audit would measure, what cannot pass, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli import auditing
from checker.cli.console import emit_json, say, show, write_json
from checker.cli.options import File, RunFolder, json_option, ledger_option
from checker.errors import DataError, UsageError

if TYPE_CHECKING:
    from checker.planning import AuditPlan
    from checker.run.prepare import Prepared


@click.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@ledger_option
@click.option(
    "--rounded",
    is_flag=True,
    help="Round counts and withhold those below the policy's minCell, for logs that others read.",
)
@click.option(
    "--like",
    "earlier",
    type=RunFolder,
    metavar="RUN",
    help="Say how long it will take, at the speed of an earlier run on this machine.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Say how long it will take, and ask the model for some seconds to know; takes the model.",
)
@json_option
def plan(
    policy: Path,
    target: Path,
    ledger: Path | None,
    rounded: bool,
    earlier: Path | None,
    measure: bool,
    as_json: bool,
) -> None:
    """Show what an audit would measure, what cannot pass, and what it costs; runs no model.

    With a ledger, for the attempt that it would be; nothing is registered.
    """
    from checker.cli.plan_table import print_plan
    from checker.ledger import upcoming_attempt
    from checker.planning import at_attempt
    from checker.run.foreseen import foreseen

    if measure and earlier is not None:
        raise UsageError("--measure and --like: both say how long it takes; leave one out")
    prepared = _prepared(policy, target, rounded=rounded)
    compiled = prepared.plan if rounded else foreseen(prepared.audit)
    if ledger is not None:
        number = upcoming_attempt(ledger, plan=compiled)
        compiled = at_attempt(compiled, attempt=number)
        say(f"attempt {number} by the ledger: bounds at {100 * compiled.confidence:.10g} %")
    auditing.tell_ledger_missing(compiled.policy.document, ledger)
    if earlier is not None:
        _tell_time(compiled, earlier)
    if measure:
        _tell_measured(prepared)
    if rounded:
        from checker.cli.rounded_plan import print_rounded_plan, rounded_plan

        if as_json:
            emit_json(rounded_plan(compiled))
        else:
            show(lambda console: print_rounded_plan(compiled, console))
    elif as_json:
        write_json(compiled.to_bytes().decode().rstrip("\n"))
    else:
        show(lambda console: print_plan(compiled, console))


def _tell_time(compiled: AuditPlan, earlier: Path) -> None:
    """Say how long an audit will take; beside the plan, which knows no machine."""
    from checker.cli.progress import span
    from checker.run.estimate import estimate_time
    from checker.run.stored import load_run

    found = estimate_time(compiled, load_run(earlier))
    rest = "" if found.share > 0.995 else f"; {1 - found.share:.0%} of it is of kinds not in there"
    say(f"about {span(found.seconds)} at the speed of {earlier} (on {found.device}{rest})")


def _tell_measured(prepared: Prepared) -> None:
    """Say how long an audit will take at the speed that the model has now."""
    from checker.cli.progress import span
    from checker.run.estimate import measure_time

    found = measure_time(prepared.audit, prepared.open_target())
    rest = "" if found.share > 0.995 else f"; {1 - found.share:.0%} of it is of kinds not measured"
    say(f"about {span(found.seconds)} at the speed measured just now (on {found.device}{rest})")


def _prepared(policy: Path, target: Path, *, rounded: bool) -> Prepared:
    """Compile the plan; where counts are to be rounded, those in an error are too."""
    from checker.policy import load_policy, load_target
    from checker.run.prepare import prepare_documents

    demands = load_policy(policy)
    try:
        return prepare_documents(demands, load_target(target))
    except DataError as error:
        if not rounded:
            raise
        from checker.cli.rounded_plan import rounded_error

        raise rounded_error(
            error, min_cell=demands.document.spec.parameters.min_cell
        ) from None  # its own text has the counts
