"""What plan, check, run and judge share: attempt, waivers, executor, and how a run ends."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import error_console, printable, say, show, write
from checker.cli.options import read_moment
from checker.errors import PhigateError

if TYPE_CHECKING:
    from checker.ledger import Attempt
    from checker.plan import AuditPlan
    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy, LeakageWaiver
    from checker.report.model import Audience, Report
    from checker.run.executors import Executor
    from checker.run.prepare import Prepared


def register_or_load_attempt(
    ledger: Path | None, *, plan: AuditPlan, folder: Path
) -> Attempt | None:
    """Register an attempt before anything is asked of a model, or take what a run was before."""
    from checker.ledger import load_attempt, register_attempt

    if ledger is not None:
        return register_attempt(ledger, plan=plan, at=read_moment(None))
    known = load_attempt(folder)
    return known if known is not None and known.speaks_of(plan) else None


def record_in_ledger(
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


def read_waivers(
    files: tuple[Path, ...], *, policy: LeakagePolicy, plan: AuditPlan, as_of: datetime
) -> list[Located[LeakageWaiver]]:
    """Read waivers, and refuse what cannot hold before anything is measured."""
    from checker.policy import load_all
    from checker.policy.documents import LeakageWaiver
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


def executor_for(
    policy: Path,
    target: Path,
    device: str | None,
    *,
    executor: str,
    ray_address: str | None,
    workers: int | None,
    threads_per_worker: int | None,
) -> Executor:
    """Choose where jobs run; invalid options are refused before anything is read."""
    from checker.run.executors import choose_executor
    from checker.run.prepare import prepare

    return choose_executor(
        executor,
        partial(prepare, _absolute(policy), _absolute(target), device=device),
        address=ray_address,
        workers=workers,
        threads=threads_per_worker,
        notice=say,
    )


def _absolute(path: Path) -> Path:
    """Return a path that workers elsewhere find too; a shipped policy's name is one as it is."""
    return path.resolve() if path.exists() else path


def run_prepared(
    prepared: Prepared,
    out: Path,
    *,
    resume: bool,
    executor: Executor,
    attempt: Attempt | None,
) -> None:
    """Run what is left of an audit, with progress on standard error."""
    from checker.cli.progress import TerminalProgress
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


def finish(
    report: Report, folder: Path, formats: list[str], *, audience: Audience, as_json: bool
) -> None:
    """Write a judged run's reports, show its verdict, and exit with its code."""
    from checker.report.disclosure_control.suppression import for_audience
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
