"""The command report: a run's reports written again, or compared with earlier runs'."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, show, write, write_json
from checker.cli.options import (
    File,
    RunFolder,
    audience_option,
    format_option,
    json_option,
    read_formats,
)
from checker.errors import ExitCode, UsageError
from checker.report.wording.plain import plain

if TYPE_CHECKING:
    from checker.report.model import Audience, Report


@click.command()
@click.argument("folder", metavar="RUN", type=RunFolder)
@format_option
@audience_option
@click.option(
    "--compare",
    "earlier",
    type=RunFolder,
    multiple=True,
    metavar="OLD_RUN",
    help="Say what got better or worse since another run; writes comparison.html, .md, .json."
    " Given more than once, the oldest run first: how it went over all of them; trend.html, .md,"
    " .json.",
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="With --compare: exit code 1 when a test that decides got worse, or is demanded less of,"
    " since the run before or since the first.",
)
@click.option(
    "--submission",
    type=File,
    help="Put a document number, a decision and lines to sign into all reports of the run.",
)
@json_option
def report(
    folder: Path,
    formats: str,
    audience: Audience,
    earlier: tuple[Path, ...],
    fail_on_regression: bool,
    submission: Path | None,
    as_json: bool,
) -> None:
    """Write a run's reports again, or compare it with earlier runs.

    Shared reports are made from report.json alone, internal ones from the evidence. A submission
    goes when the run is judged again: what was signed was another judgement.
    """
    from checker.run.stored import report_folder, write_reports

    names = read_formats(formats)
    if fail_on_regression and not earlier:
        raise UsageError("--fail-on-regression needs --compare OLD_RUN: worse than what?")
    if submission is not None:
        if earlier:
            raise UsageError("--submission and --compare are two things to do: one at a time")
        paths = _submit(folder, submission, names, audience)
        _say_written(paths, as_json=as_json, asked=report_folder(folder, audience))
        return
    written = _report_for(folder, audience)
    if earlier:
        worse = _compare(folder, list(earlier), audience=audience, as_json=as_json)
        if fail_on_regression and worse:
            raise click.exceptions.Exit(ExitCode.FAIL)
        return
    paths = write_reports(folder, written, formats=names, audience=audience)
    _say_written(paths, as_json=as_json)


def _say_written(paths: list[Path], *, as_json: bool, asked: Path | None = None) -> None:
    """Say what was written.

    Args:
        paths: of the files.
        as_json: for programs.
        asked: folder of what was asked for; what lies elsewhere lay there and had to follow suit.
    """
    if as_json:
        emit_json({"written": [str(path) for path in paths]})
        return
    lines = [f"wrote {path}" for path in paths if asked in (None, path.parent)]
    others = [path for path in paths if asked not in (None, path.parent)]
    lines += [f"brought up to date, for it lay there: {path}" for path in others]
    write("\n".join(map(plain, lines)))


def _submit(folder: Path, path: Path, names: list[str], audience: Audience) -> list[Path]:
    from checker.clock import current_time
    from checker.policy import load_only
    from checker.policy.documents import Submission
    from checker.run.stored import submit

    located = load_only(Submission, path)
    today = current_time().date()
    return submit(folder, located, formats=names, audience=audience, today=today)


def _report_for(folder: Path, audience: Audience) -> Report:
    """Read a run's shared report, or judge it again for the audit team."""
    from checker.report.formats.json import load_report
    from checker.run.stored import judge_run_again, load_run

    shared = load_report(folder / "report.json")
    return shared if audience == "shared" else judge_run_again(load_run(folder), shared)


def _compare(folder: Path, earlier: list[Path], *, audience: Audience, as_json: bool) -> list[str]:
    """Compare a run with others, the oldest first, say what changed, and return what got worse."""
    from checker.report.comparison import Comparison, compare_reports
    from checker.report.formats import comparison, trend
    from checker.report.regression import regressions
    from checker.report.trend import Trend, trend_of
    from checker.run.stored import write_comparison

    runs = [*earlier, folder]
    if len(runs) > 2 and len({run.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is named twice: name each of the runs once, the oldest first")
    reports = [_report_for(run, audience) for run in runs]
    found: Comparison | Trend
    if len(reports) == 2:
        found = compare_reports(*reports)
        pages = {name: render(found) for name, render in comparison.PAGES.items()}
        worse = regressions(found, *reports)
    else:
        found = trend_of(reports)
        pages = {name: render(found) for name, render in trend.PAGES.items()}
        before, last = (
            regressions(found.steps[-1], *reports[-2:]),
            regressions(found.overall, reports[0], reports[-1]),
        )
        worse = [f"{one} (since the run before)" for one in before]
        worse += [f"{one} (since the first run)" for one in last if one not in before]
    paths = write_comparison(folder, found, pages=pages)
    if as_json:
        write_json(found.to_bytes().decode().rstrip("\n"))
    else:
        if isinstance(found, Trend):
            show(partial(trend.print_trend, found))
        else:
            show(partial(comparison.print_comparison, found))
        lines = [*(f"worse: {one}" for one in worse), *(f"wrote {path}" for path in paths)]
        write("\n".join(plain(line) for line in lines))
    return worse
