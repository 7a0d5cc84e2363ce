"""The command run: plan and run, without judging."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from checker.cli.auditing import executor_for, register_or_load_attempt, run_prepared
from checker.cli.console import write
from checker.cli.options import (
    File,
    device_option,
    executor_options,
    fresh_option,
    ledger_option,
    out_option,
)


@click.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@out_option
@device_option
@executor_options
@fresh_option
@ledger_option
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

    executor = executor_for(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    attempt = register_or_load_attempt(ledger, plan=prepared.audit.plan, folder=out)
    run_prepared(prepared, out, resume=resume, executor=executor, attempt=attempt)
    write(f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`")
