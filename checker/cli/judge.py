"""The command judge: a run's evidence judged again, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli import auditing, options

if TYPE_CHECKING:
    from checker.report.model import Audience


@click.command()
@click.argument("folder", metavar="RUN", type=options.RunFolder)
@click.option("--policy", type=options.File, help="Judge by another policy, in a folder below RUN.")
@options.format_option
@options.audience_option
@options.waivers_option
@options.no_waivers_option
@options.ledger_option
@options.as_of_option
@options.json_option
def judge(
    folder: Path,
    policy: Path | None,
    formats: str,
    audience: Audience,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    ledger: Path | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Judge a run's evidence again, without the model.

    Waivers that the run was judged with before count again, unless others are given; so does the
    attempt that it was registered as.
    """
    from checker.ledger import record_attempt
    from checker.policy import load_policy
    from checker.run.stored import derive_run, judge_run, load_run, load_waivers, record_waivers

    names, run, moment = options.read_formats(formats), load_run(folder), options.read_moment(as_of)
    if policy is not None:
        run = derive_run(run, load_policy(policy))
    attempt = auditing.register_or_load_attempt(ledger, plan=run.plan, folder=run.folder)
    if attempt is not None:
        record_attempt(run.folder, attempt)
    record = None
    if waivers and not no_waivers:
        granted = auditing.read_waivers(waivers, policy=run.policy, plan=run.plan, as_of=moment)
        record = record_waivers(run.folder, granted)
    elif not no_waivers:
        record = load_waivers(run.folder)
    report = judge_run(run, as_of=moment, waivers=record, attempt=attempt)
    auditing.record_in_ledger(ledger, attempt, plan=run.plan, report=report)
    auditing.finish(report, run.folder, names, audience=audience, as_json=as_json)
