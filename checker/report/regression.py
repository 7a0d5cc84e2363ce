"""Whether a model got worse: what a pipeline stops at when it compares two reports.

Only what decides is looked at, in either report. Worse is a difference that is shown, a verdict
that was better before, and a test that is no longer asked: dropping it would be the easiest way to
get better.
"""

from __future__ import annotations

from collections.abc import Iterator

from checker.report.comparison import CellChange, Comparison
from checker.report.model import Report

_BETTER_FIRST = ("pass", "not_applicable", "inconclusive", "error", "fail")


def regressions(found: Comparison, before: Report, after: Report) -> list[str]:
    """Return what got worse, a phrase each; empty where nothing is shown to have.

    Args:
        found: the comparison of the two.
        before: the earlier report.
        after: the later one, of the same audience.
    """
    return list(_regressions(found, before, after))


def _regressions(found: Comparison, before: Report, after: Report) -> Iterator[str]:
    if after.summary.exit_code and not before.summary.exit_code:
        yield f"release was allowed and is blocked now: {after.verdict}"
    deciding = {cell.id for report in (before, after) for cell in report.cells if cell.gating}
    for change in found.changes:
        if change.id in deciding and (words := _worse(change)) is not None:
            yield f"{change.id}: {words}"


def _worse(change: CellChange) -> str | None:
    """Return in what a test got worse."""
    if change.direction == "gone":
        return "is no longer asked"
    if change.before is None or change.after is None:
        return None
    was, now = change.before, change.after
    if _BETTER_FIRST.index(now.verdict) > _BETTER_FIRST.index(was.verdict):
        return f"was {was.verdict}, is {now.verdict}"
    return "more is told than before" if change.direction == "worse" else None
