"""Commands that audit a model: plan, check, run and judge."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker.cli.console import error_console, printable, say, show, write
from checker.cli.options import (
    File,
    RunFolder,
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
from checker.errors import PhigateError

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from checker.ledger import Attempt
    from checker.plan import AuditPlan
    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy, LeakageWaiver
    from checker.report.model import Audience, Report
    from checker.run.executors import Executor
    from checker.run.prepare import Prepared

__all__ = ["check", "judge", "plan", "run"]


@click.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@ledger_option
@json_option
def plan(policy: Path, target: Path, ledger: Path | None, as_json: bool) -> None:
    """Show what an audit would measure, what cannot pass, and what it costs; runs no model.

    With a ledger, for the attempt that it would be; nothing is registered.
    """
    from checker.cli.terminal import print_plan
    from checker.ledger import upcoming_attempt
    from checker.plan import at_attempt
    from checker.run.prepare import prepare

    compiled = prepare(policy, target).audit.plan
    if ledger is not None:
        number = upcoming_attempt(ledger, plan=compiled)
        compiled = at_attempt(compiled, attempt=number)
        say(f"attempt {number} by the ledger: bounds at {100 * compiled.confidence:.10g} %")
    if as_json:
        write(compiled.to_bytes().decode().rstrip("\n"))
    else:
        show(lambda console: print_plan(compiled, console))


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
    executor = _executor(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    granted = _granted(
        () if no_waivers else waivers,
        policy=prepared.policy.document,
        plan=prepared.audit.plan,
        as_of=moment or read_moment(None),
    )
    attempt = _attempt(ledger, plan=prepared.audit.plan, folder=out)
    _run(prepared, out, resume=resume, executor=executor, attempt=attempt)
    record = record_waivers(out, granted)
    report = judge_run(
        load_run(out), as_of=moment or read_moment(None), waivers=record, attempt=attempt
    )
    _remember(ledger, attempt, plan=prepared.audit.plan, report=report)
    _finish(report, out, names, audience=audience, as_json=as_json)


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

    executor = _executor(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    attempt = _attempt(ledger, plan=prepared.audit.plan, folder=out)
    _run(prepared, out, resume=resume, executor=executor, attempt=attempt)
    write(f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`")


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
    attempt = _attempt(ledger, plan=run.plan, folder=run.folder)
    if attempt is not None:
        record_attempt(run.folder, attempt)
    record = None
    if waivers and not no_waivers:
        granted = _granted(waivers, policy=run.policy, plan=run.plan, as_of=moment)
        record = record_waivers(run.folder, granted)
    elif not no_waivers:
        record = load_waivers(run.folder)
    report = judge_run(run, as_of=moment, waivers=record, attempt=attempt)
    _remember(ledger, attempt, plan=run.plan, report=report)
    _finish(report, run.folder, names, audience=audience, as_json=as_json)


def _attempt(ledger: Path | None, *, plan: AuditPlan, folder: Path) -> Attempt | None:
    """Register an attempt before anything is asked of a model, or take what a run was before."""
    from checker.ledger import load_attempt, register_attempt

    if ledger is not None:
        return register_attempt(ledger, plan=plan, at=read_moment(None))
    known = load_attempt(folder)
    return known if known is not None and known.speaks_of(plan) else None


def _remember(
    ledger: Path | None, attempt: Attempt | None, *, plan: AuditPlan, report: Report
) -> None:
    """Add the verdict to the ledger, where one is kept."""
    from checker.ledger import record_verdict

    if ledger is not None and attempt is not None:
        record_verdict(
            ledger,
            attempt=attempt,
            plan=plan,
            verdict=report.verdict,
            as_of=report.provenance.as_of,
            at=read_moment(None),
        )


def _granted(
    files: tuple[Path, ...], *, policy: LeakagePolicy, plan: AuditPlan, as_of: datetime
) -> list[Located[LeakageWaiver]]:
    """Read waivers, and refuse what cannot hold before anything is measured."""
    from checker.policy.documents import LeakageWaiver
    from checker.policy.loading import load_all
    from checker.policy.waivers import check_waivers

    waivers = load_all(LeakageWaiver, files)
    check_waivers(
        waivers,
        policy=policy,
        policy_sha256=plan.policy.sha256,
        as_of=as_of,
        model_sha256=plan.target.model_sha256,
        cells=[cell.id for cell in plan.cells],
    )
    return waivers


def _executor(
    policy: Path,
    target: Path,
    device: str | None,
    *,
    executor: str,
    ray_address: str | None,
    workers: int | None,
    threads_per_worker: int | None,
) -> Executor:
    """Choose where jobs run; what cannot be meant is refused before anything is read."""
    from checker.run.executors import choose_executor
    from checker.run.prepare import prepare

    return choose_executor(
        executor,
        partial(prepare, policy.resolve(), target.resolve(), device=device),
        address=ray_address,
        workers=workers,
        threads=threads_per_worker,
        notice=say,
    )


def _run(
    prepared: Prepared,
    out: Path,
    *,
    resume: bool,
    executor: Executor,
    attempt: Attempt | None,
) -> None:
    from checker.cli.terminal import TerminalProgress
    from checker.report.formats.json import load_report
    from checker.run.running import run_audit

    if resume and (out / "report.json").exists():
        before = load_report(out / "report.json").policy
        if before.sha256 != prepared.policy.sha256:
            say(
                f"{out} holds a report under {before.name} {before.version}, another policy; it is"
                " replaced, and the evidence that serves both is used again"
            )
    with TerminalProgress(error_console()) as progress:
        manifest = run_audit(
            prepared.audit,
            run=out,
            open_target=prepared.open_target,
            open_reference=prepared.open_reference,
            executor=executor,
            progress=progress,
            command=printable(shlex.join(["phigate", *sys.argv[1:]])),
            attempt=attempt,
            fresh=not resume,
        )
    for job, message in manifest.crashed.items():
        say(f"job {job[:12]} could not be completed: {message}")


def _finish(
    report: Report, folder: Path, formats: list[str], *, audience: Audience, as_json: bool
) -> None:
    from checker.report.disclosure_control import for_audience
    from checker.report.formats.console import print_report
    from checker.report.formats.json import render_json
    from checker.run.stored import write_reports

    paths = write_reports(folder, report, formats=formats, audience=audience)
    shown = for_audience(report, audience)
    try:
        if as_json:
            write(render_json(shown).rstrip("\n"))
        else:
            show(lambda console: print_report(shown, console))
            write("\n".join(printable(f"report: {path}") for path in paths))
    except PhigateError as error:  # the verdict stands, whether or not it can be shown
        say(str(error))
    raise click.exceptions.Exit(report.summary.exit_code)
