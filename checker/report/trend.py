"""Several runs of a model in a row: how each test went from one to the next, and since the first.

A trend is made of comparisons and adds no number of its own. Each report is compared with the one
before it, and the last with the first: a leak that grows by steps too small to be shown is shown
by the two ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from checker.canonical import JsonModel
from checker.report.comparison import (
    UNMEASURED,
    CellChange,
    ComparedCell,
    ComparedReport,
    Comparison,
    compare_reports,
    strange_inside,
    strange_side,
)
from checker.report.matrix import WORST_FIRST
from checker.report.model import Audience, Report


@dataclass(frozen=True, slots=True)
class TrendRow:
    """A test over all reports.

    Args:
        told: the test, and how it changed from the first report to the last; of a test that only
            reports between them have, how it changed last.
        points: [reports], the oldest first; None where a report does not have the test, or had it
            asked another way than the reports after it.
        is_whole: whether `told` speaks of the first report and the last.
    """

    told: CellChange
    points: tuple[ComparedCell | None, ...]
    is_whole: bool


class Trend(JsonModel):
    """Three reports or more, the oldest first.

    `steps` holds each report after the first compared with the one before it, `overall` the last
    compared with the first.
    """

    schema_version: Literal["1"] = "1"
    audience: Audience
    steps: Annotated[list[Comparison], Field(min_length=2)]
    overall: Comparison

    @property
    def reports(self) -> list[ComparedReport]:
        """The reports, the oldest first."""
        return [self.steps[0].before, *(step.after for step in self.steps)]

    def rows(self) -> list[TrendRow]:
        """Return every test that any report has, those that got worse since the first on top."""
        changes = [{change.id: change for change in step.changes} for step in self.steps]
        whole = {change.id: change for change in self.overall.changes}
        latest = {name: change for step in changes for name, change in step.items()}
        rows = []
        for name in dict.fromkeys([*whole, *latest]):
            first = changes[0].get(name)
            points = [None if first is None else first.before]
            for step in changes:
                change = step.get(name)
                points.append(None if change is None else change.after)
            told = whole.get(name) or latest[name]
            for place, step in enumerate(changes, start=1):
                if (change := step.get(name)) is not None and _asks_otherwise(change):
                    points[:place] = [None] * place
            rows.append(TrendRow(told, tuple(points), is_whole=name in whole))
        return sorted(rows, key=_rank)  # stable


def _asks_otherwise(change: CellChange) -> bool:
    return change.direction == "not-comparable" and change.why != UNMEASURED


def _rank(row: TrendRow) -> int:
    """Return 0 of a test that leaks more, 1 of one whose verdict got worse, 2 of all others."""
    before, after = row.told.before, row.told.after
    if row.told.direction == "worse":
        return 0
    if not row.is_whole or before is None or after is None:
        return 2
    return 1 if WORST_FIRST.index(after.verdict) < WORST_FIRST.index(before.verdict) else 2


def trend_of(reports: Sequence[Report]) -> Trend:
    """Compare reports in a row.

    Args:
        reports: of one audience, the oldest first; three or more.

    Raises:
        ValueError: they are fewer, or of two audiences.
    """
    if len(reports) < 3:
        raise ValueError("a trend takes three reports; two are a comparison")
    pairs = pairwise(reports)
    return Trend(
        audience=reports[-1].audience,
        steps=[compare_reports(before, after) for before, after in pairs],
        overall=compare_reports(reports[0], reports[-1]),
    )


def strange_trend(found: Trend, last: Report) -> str | None:
    """Say in what a trend does not fit the last of its reports or itself, or None where it fits.

    Args:
        found: as it was read back.
        last: the report that it says is the last one.

    Returns:
        The end of a sentence about the trend.
    """
    for comparison in (found.steps[-1], found.overall):
        if (strange := strange_side(comparison, last)) is not None:
            return strange
    if found.audience != last.audience:
        return "is of another audience than this report"
    if found.overall.before != found.steps[0].before or _before(found.overall) != _before(
        found.steps[0]
    ):
        return "does not begin with one report"
    for one, other in pairwise(found.steps):
        if one.after != other.before or _after(one) != _before(other):
            return "says two things of one report"
        if (strange := strange_inside(one)) is not None:
            return strange
    return None


def _before(found: Comparison) -> dict[str, ComparedCell]:
    return {one.id: one.before for one in found.changes if one.before is not None}


def _after(found: Comparison) -> dict[str, ComparedCell]:
    return {one.id: one.after for one in found.changes if one.after is not None}
