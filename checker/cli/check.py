"""The command check: plan, run, judge and report; the exit code is the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker.cli.auditing import (
    executor_for,
    finish,
    read_waivers,
    record_in_ledger,
    register_or_load_attempt,
    run_prepared,
)
from checker.cli.options import (
    File,
    as_of_option,
    audience_option,
    device_option,
    executor_options,
    format_option,
    fresh_option,
    json_option,
    ledger_option,
    no_waivers_option,
    out_option,
    read_formats,
    read_moment,
    waivers_option,
)

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from checker.report.model import Audience


@click.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@out_option
@format_option
@audience_option
@device_option
@executor_options
@fresh_option
@waivers_option
@no_waivers_option
@ledger_option
@as_of_option
@json_option
def check(
    policy: Path,
    target: Path,
    out: Path,
    formats: str,
    audience: Audience,
    device: str | None,
    resume: bool,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    ledger: Path | None,
    as_of: str | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Plan, run, judge and report; the exit code is the verdict."""
    from checker.run.prepare import prepare
    from checker.run.stored import judge_run, load_run, record_waivers

    names, moment = read_formats(formats), read_moment(as_of) if as_of else None
    executor = executor_for(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    granted = read_waivers(
        () if no_waivers else waivers,
        policy=prepared.policy.document,
        plan=prepared.audit.plan,
        as_of=moment or read_moment(None),
    )
    attempt = register_or_load_attempt(ledger, plan=prepared.audit.plan, folder=out)
    run_prepared(prepared, out, resume=resume, executor=executor, attempt=attempt)
    record = record_waivers(out, granted)
    report = judge_run(
        load_run(out), as_of=moment or read_moment(None), waivers=record, attempt=attempt
    )
    record_in_ledger(ledger, attempt, plan=prepared.audit.plan, report=report)
    finish(report, out, names, audience=audience, as_json=as_json)
