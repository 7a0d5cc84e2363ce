"""Judge the evidence again, as of the report's own time or a later one, and compare."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from checker import clock
from checker.errors import EvidenceError, UsageError
from checker.evidence import load_json_file, read_file
from checker.policy import problems_in
from checker.report.disclosure_control import for_audience
from checker.report.formats.json import load_report, render_json
from checker.report.model import Report
from checker.report.submission import SubmissionRecord, unfit
from checker.run.stored import SUBMISSION, Run, judge_run_again, report_folder
from checker.verification.statement import Statement

ENTERED = (
    "the decision and the signatures in the reports are as somebody entered them: a typed name is"
    " no proof that its bearer signed"
)


def check_judgement(run: Run, report: Report) -> Iterator[Statement]:
    """The evidence, judged again as of the report's time, gives the same bytes."""
    try:
        judged = judge_run_again(run, report)
    except (EvidenceError, UsageError) as error:
        yield Statement(False, f"not judged again: {error}")
        return
    for path, written in _written(run, report):
        again, name = for_audience(judged, written.audience), path.relative_to(run.folder)
        if render_json(again).encode() == read_file(path):
            text = f"judged again, the evidence gives the same {name}: {again.verdict}"
            yield Statement(True, text)
            continue
        differing = [
            field
            for field in type(written).model_fields
            if getattr(written, field) != getattr(again, field)
        ]
        yield Statement(
            False,
            f"judged again, the evidence says {again.verdict} and {name} {written.verdict};"
            f" they differ in {', '.join(differing) or 'their bytes'}",
        )
    if judged.submission is not None:
        yield from _check_submission(run, judged)


def _check_submission(run: Run, judged: Report) -> Iterator[Statement]:
    """What the reports are submitted with is about this judgement, as `report` asks of it."""
    document = load_json_file(run.folder / SUBMISSION, SubmissionRecord).document
    wrong = [
        *(problem.message for problem in problems_in(document, file=SUBMISSION)),
        *(message for _, message in unfit(document, judged, today=clock.current_time().date())),
    ]
    yield from (Statement(False, f"{SUBMISSION}: {message}") for message in wrong)
    if not wrong:
        yield Statement(None, ENTERED)


def _written(run: Run, report: Report) -> Iterator[tuple[Path, Report]]:
    """Yield the reports of a run, one for each audience that has one."""
    yield run.folder / "report.json", report
    path = report_folder(run.folder, "internal") / "report.json"
    if path.exists():
        yield path, load_report(path)


def check_later(run: Run, report: Report, as_of: datetime) -> Iterator[Statement]:
    """Whether the verdict still holds at a later time, and which waivers have run out by then."""
    later = judge_run_again(run, report, as_of=as_of)
    when = as_of.astimezone(UTC).isoformat(timespec="seconds")
    before = {waiver.id: waiver.status for waiver in report.waivers}
    for waiver in later.waivers:
        if waiver.status == "expired" and before.get(waiver.id) != "expired":
            text = f"as of {when} the waiver {waiver.id} has run out, on {waiver.expires_on} (UTC)"
            yield Statement(False, text)
    if later.summary.exit_code == report.summary.exit_code:
        yield Statement(True, f"as of {when} the verdict is the same: {later.verdict}")
    else:
        text = f"as of {when} the verdict is {later.verdict}: {later.summary.decision}"
        yield Statement(False, text)
