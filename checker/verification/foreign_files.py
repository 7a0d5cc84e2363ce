"""What lies in a run's folder beside the run: nobody vouches for it, and people may read it."""

from __future__ import annotations

from collections.abc import Iterator

from checker.errors import EvidenceError
from checker.ledger import ATTEMPT_FILE
from checker.report.model import Report
from checker.run.belonging import foreign_files
from checker.run.stored import SUBMISSION, WAIVERS, Run
from checker.verification.comparisons import check_comparisons
from checker.verification.statement import Statement

UNUSED_SHOWN = 3


def check_foreign(run: Run, report: Report) -> Iterator[Statement]:
    """Report files that are no part of a run, and evidence that is not judged.

    A file that is no part of the run may say anything, also that another model may be released.

    Args:
        run: the run.
        report: its shared report, which says whether waivers and an attempt belong to it.
    """
    try:
        strangers = foreign_files(run.folder)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    for name in strangers:
        yield Statement(
            False, f"{name} is no part of the run, and nothing vouches for it; move it elsewhere"
        )
    for name in _not_of(report, run):
        yield Statement(None, f"{name} lies here, and this report does not rest on it")
    yield from check_comparisons(run, report)
    known = {entry.file for entry in run.manifest.entries}
    unused = [
        path
        for path in (run.folder / "evidence").glob("*.parquet")
        if f"evidence/{path.name}" not in known and f"evidence/{path.name}" not in strangers
    ]
    if unused:
        yield Statement(
            None,
            f"{', '.join(sorted(path.name[:12] for path in unused)[:UNUSED_SHOWN])}…:"
            f" {len(unused)} evidence files are not in the manifest, and are not judged",
        )


def _not_of(report: Report, run: Run) -> Iterator[str]:
    """Yield files that a run may have and that this report does not speak of."""
    spoken_of = {
        WAIVERS: report.provenance.waivers_sha256 is not None,
        SUBMISSION: report.submission is not None,
        ATTEMPT_FILE: report.provenance.attempt is not None,
    }
    yield from (n for n, has in spoken_of.items() if not has and (run.folder / n).exists())
