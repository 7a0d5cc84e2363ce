"""What check, run and judge share: the executor, progress, and how a run ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from checker.cli.console import error_console, say, say_error, show, write, write_json
from checker.errors import PhigateError, UsageError
from checker.report.wording.plain import plain

if TYPE_CHECKING:
    from datetime import datetime

    from checker.planning import AuditPlan
    from checker.policy.documents import LeakagePolicy
    from checker.report.model import Audience, Report
    from checker.run.executors import Executor
    from checker.run.prepare import Prepared
    from checker.run.running import RunProgress


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
    from checker.policy.parsing import STANDARD_INPUT
    from checker.run.executors import choose_executor
    from checker.run.prepare import prepare

    if executor != "serial" and STANDARD_INPUT in (policy, target):
        raise UsageError(
            f"--executor {executor}: workers read the documents themselves; name files instead of -"
        )
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


class How(TypedDict):
    """How a command runs an audit: what `library.collect` and `library.audit` take."""

    progress: RunProgress
    command: str
    fresh: bool


@contextmanager
def watched(*, resume: bool) -> Iterator[How]:
    """Show the progress of a run on standard error."""
    from checker.cli.progress import TerminalProgress

    with TerminalProgress(error_console()) as progress:
        command = plain(shlex.join(["phigate", *sys.argv[1:]]))
        yield How(progress=progress, command=command, fresh=not resume)


def planned(
    policy: Path,
    target: Path,
    *,
    device: str | None,
    ledger: Path | None,
    as_of: datetime | None,
) -> Prepared:
    """Plan an audit, and say before anything is measured what nothing can pass without."""
    from checker import library

    found = library.plan(library.load_policy(policy), library.load_target(target), device=device)
    tell_ledger_missing(found.policy.document, ledger)
    _tell_unmet(found.plan, as_of=as_of)
    return found


def tell_ledger_missing(policy: LeakagePolicy, ledger: Path | None) -> None:
    """Say before anything is measured that without the ledger nothing can pass."""
    if policy.spec.gate.require_ledger and ledger is None:
        say(
            "the policy requires an attempt ledger (gate.requireLedger): without --ledger nothing"
            " can pass"
        )


def _tell_unmet(plan: AuditPlan, *, as_of: datetime | None) -> None:
    """Say before anything is measured which prerequisites nothing can pass without."""
    from checker.policy.prerequisites import prerequisite_findings

    for one in prerequisite_findings(
        plan.policy.document.spec,
        plan.target.document.spec,
        model_sha256=plan.target.model_sha256,
        as_of=as_of,
    ):
        if one.verdict != "pass":
            say(plain(f"prerequisite {one.name}: {one.explanation} Without it nothing can pass."))


def tell_crashes(out: Path) -> None:
    """Say which jobs of a run could not be completed, and why."""
    from checker.run.stored import load_run

    for job, message in load_run(out).manifest.crashed.items():
        say(f"job {job[:12]} could not be completed: {message}")


def finish(
    report: Report, folder: Path, formats: list[str], *, audience: Audience, as_json: bool
) -> None:
    """Write a judged run's reports, show its verdict, and exit with its code."""
    from checker.report.disclosure_control import for_audience
    from checker.report.formats.console import print_report
    from checker.report.formats.json import render_json
    from checker.run.stored import replace_reports

    paths = replace_reports(folder, report, formats=formats, audience=audience)
    shown = for_audience(report, audience)
    try:
        if as_json:
            write_json(render_json(shown).rstrip("\n"))
        else:
            show(lambda console: print_report(shown, console))
            write("\n".join(plain(f"report: {path}") for path in paths))
    except PhigateError as error:  # the verdict stands, whether or not it can be shown
        say_error(error)
    raise click.exceptions.Exit(report.summary.exit_code)
