"""Comparisons with earlier runs that lie in a run's folder: do they say of this run what it says?

The earlier reports are not in the folder. So the side of this run is compared with its report, cell
by cell, each difference is taken again from the two estimates that stand there, and the pages are
made again from the data. What is said of an earlier run is shown by verifying that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS, load_json_file, read_file
from checker.report.comparison import Comparison, strange_side
from checker.report.formats import comparison, trend
from checker.report.formats.json import load_report
from checker.report.model import Report
from checker.report.trend import Trend, strange_trend
from checker.run.stored import Run
from checker.verification.statement import Statement

_Found = TypeVar("_Found", Comparison, Trend)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Found]):
    """What can be made of several runs: its data, its pages, and what must hold of it."""

    data: str
    model: type[_Found]
    pages: Mapping[str, Callable[[_Found], str]]
    strange: Callable[[_Found, Report], str | None]
    others: Callable[[_Found], str]


_COMPARISON = _Kind(
    "comparison.json",
    Comparison,
    comparison.PAGES,
    strange_side,
    lambda found: f"the earlier run ({found.before.target} {found.before.version})",
)
_TREND = _Kind(
    "trend.json",
    Trend,
    trend.PAGES,
    strange_trend,
    lambda found: f"{len(found.steps)} earlier runs",
)


def check_comparisons(run: Run, report: Report) -> Iterator[Statement]:
    """Compare what was made of two runs with the one that lies here.

    Args:
        run: the run.
        report: its shared report.
    """
    internal = run.folder / INTERNAL_REPORTS
    yield from _in(run.folder, report, name="")
    names = [name for kind in (_COMPARISON, _TREND) for name in (kind.data, *kind.pages)]
    if not any((internal / name).exists() for name in names):
        return
    try:
        whole = load_report(internal / "report.json")
    except EvidenceError as error:
        text = f"{INTERNAL_REPORTS}: nothing was compared with a report: {error}"
        yield Statement(False, text)
        return
    yield from _in(internal, whole, name=f"{INTERNAL_REPORTS}/")


def _in(folder: Path, report: Report, *, name: str) -> Iterator[Statement]:
    yield from _compared(_COMPARISON, folder, report, name=name)
    yield from _compared(_TREND, folder, report, name=name)


def _compared(
    kind: _Kind[_Found], folder: Path, report: Report, *, name: str
) -> Iterator[Statement]:
    data = folder / kind.data
    pages = [page for page in kind.pages if (folder / page).exists()]
    if not data.exists():
        for page in pages:
            yield Statement(False, f"{name}{page} lies here without the {kind.data} it was made of")
        return
    try:
        found = load_json_file(data, kind.model)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    try:
        strange = kind.strange(found, report)
        rendered = {page: kind.pages[page](found).encode() for page in pages}
    except (ValidationError, ValueError, OverflowError) as error:
        strange, rendered = f"holds what no comparison does ({error})", {}
    if read_file(data) != found.to_bytes():
        strange = strange or "is not in the form that phigate writes"
    if strange is not None:
        yield Statement(False, f"{name}{kind.data} {strange}; compare the runs again")
        return
    other = [page for page, content in rendered.items() if content != read_file(folder / page)]
    for page in other:
        text = f"{name}{page} is not what {kind.data} renders to; compare them again"
        yield Statement(False, text)
    if not other:
        yield Statement(
            None,
            f"{name}{kind.data} says of this run what its report says; what it says of"
            f" {kind.others(found)} nothing here can show: verify each",
        )
