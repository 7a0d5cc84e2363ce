"""The command run: plan and run, without judging."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from checker.cli import auditing, options
from checker.cli.console import tell


@click.command()
@click.argument("policy", type=options.File)
@click.argument("target", type=options.File)
@options.out_option
@options.device_option
@options.executor_options
@options.fresh_option
@options.ledger_option
@options.json_option
def run(
    policy: Path,
    target: Path,
    out: Path,
    device: str | None,
    resume: bool,
    ledger: Path | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Plan and run, without judging; `phigate judge` does the rest."""
    from checker import library

    executor = auditing.executor_for(policy, target, device, **where)
    with auditing.watched(resume=resume) as how:
        planned = auditing.planned(policy, target, device=device, ledger=ledger, as_of=None)
        manifest = library.collect(planned, out=out, ledger=ledger, executor=executor, **how)
    auditing.tell_crashes(out)
    said = f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`"
    jobs = {"finished": len(manifest.entries), "crashed": dict(manifest.crashed)}
    tell(said, as_json, run=out, jobs=jobs)
