"""The command judge: a run's evidence judged again, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.auditing import finish, read_waivers, record_in_ledger, register_or_load_attempt
from checker.cli.options import (
    File,
    RunFolder,
    as_of_option,
    audience_option,
    format_option,
    json_option,
    ledger_option,
    no_waivers_option,
    read_formats,
    read_moment,
    waivers_option,
)

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from checker.report.model import Audience


@click.command()
@click.argument("folder", metavar="RUN", type=RunFolder)
@click.option("--policy", type=File, help="Judge by another policy, in a folder below RUN.")
@format_option
@audience_option
@waivers_option
@no_waivers_option
@ledger_option
@as_of_option
@json_option
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

    names, run, moment = read_formats(formats), load_run(folder), read_moment(as_of)
    if policy is not None:
        run = derive_run(run, load_policy(policy))
    attempt = register_or_load_attempt(ledger, plan=run.plan, folder=run.folder)
    if attempt is not None:
        record_attempt(run.folder, attempt)
    record = None
    if waivers and not no_waivers:
        granted = read_waivers(waivers, policy=run.policy, plan=run.plan, as_of=moment)
        record = record_waivers(run.folder, granted)
    elif not no_waivers:
        record = load_waivers(run.folder)
    report = judge_run(run, as_of=moment, waivers=record, attempt=attempt)
    record_in_ledger(ledger, attempt, plan=run.plan, report=report)
    finish(report, run.folder, names, audience=audience, as_json=as_json)
