"""The command check: plan, run, judge and report; the exit code is the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker.cli import auditing, options

if TYPE_CHECKING:
    from checker.report.model import Audience


@click.command()
@click.argument("policy", type=options.File)
@click.argument("target", type=options.File)
@options.out_option
@options.format_option
@options.audience_option
@options.device_option
@options.executor_options
@options.fresh_option
@options.waivers_option
@options.no_waivers_option
@options.ledger_option
@options.as_of_option
@options.json_option
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

    names, moment = options.read_formats(formats), options.read_moment(as_of) if as_of else None
    executor = auditing.executor_for(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    granted = auditing.read_waivers(
        () if no_waivers else waivers,
        policy=prepared.policy.document,
        plan=prepared.audit.plan,
        as_of=moment or options.read_moment(None),
    )
    attempt = auditing.register_or_load_attempt(ledger, plan=prepared.audit.plan, folder=out)
    auditing.run_prepared(prepared, out, resume=resume, executor=executor, attempt=attempt)
    record = record_waivers(out, granted)
    report = judge_run(
        load_run(out), as_of=moment or options.read_moment(None), waivers=record, attempt=attempt
    )
    auditing.record_in_ledger(ledger, attempt, plan=prepared.audit.plan, report=report)
    auditing.finish(report, out, names, audience=audience, as_json=as_json)
