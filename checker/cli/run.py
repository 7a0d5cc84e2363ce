"""The command run: plan and run, without judging."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from checker.cli import auditing, options
from checker.cli.console import write


@click.command()
@click.argument("policy", type=options.File)
@click.argument("target", type=options.File)
@options.out_option
@options.device_option
@options.executor_options
@options.fresh_option
@options.ledger_option
def run(
    policy: Path,
    target: Path,
    out: Path,
    device: str | None,
    resume: bool,
    ledger: Path | None,
    **where: Any,
) -> None:
    """Plan and run, without judging; `phigate judge` does the rest."""
    from checker.run.prepare import prepare

    executor = auditing.executor_for(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    attempt = auditing.register_or_load_attempt(ledger, plan=prepared.audit.plan, folder=out)
    auditing.run_prepared(prepared, out, resume=resume, executor=executor, attempt=attempt)
    write(f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`")
