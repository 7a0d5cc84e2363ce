"""Comparisons with an earlier run that lie in a run's folder: do they say of this run what it says?

The earlier report is not in the folder. So the side of this run is compared with its report, cell
by cell, each difference is taken again from the two estimates that stand there, and the page is
made again from the data. What is said of the earlier run is shown by verifying that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS, load_json_file, read_file
from checker.report.comparison import Comparison, strange_side
from checker.report.formats.comparison import render_comparison
from checker.report.formats.json import load_report
from checker.report.model import Report
from checker.run.stored import Run
from checker.verification.statement import Statement

DATA, PAGE = "comparison.json", "comparison.html"


def check_comparisons(run: Run, report: Report) -> Iterator[Statement]:
    """Compare what was made of two runs with the one that lies here.

    Args:
        run: the run.
        report: its shared report.
    """
    yield from _compared(run.folder, report, name="")
    internal = run.folder / INTERNAL_REPORTS
    if not any((internal / name).exists() for name in (DATA, PAGE)):
        return
    try:
        whole = load_report(internal / "report.json")
    except EvidenceError as error:
        text = f"{INTERNAL_REPORTS}/{DATA} was not compared with a report: {error}"
        yield Statement(False, text)
        return
    yield from _compared(internal, whole, name=f"{INTERNAL_REPORTS}/")


def _compared(folder: Path, report: Report, *, name: str) -> Iterator[Statement]:
    data, page = folder / DATA, folder / PAGE
    if not data.exists():
        if page.exists():
            yield Statement(False, f"{name}{PAGE} lies here without the {DATA} it was made of")
        return
    try:
        found = load_json_file(data, Comparison)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    try:
        strange = strange_side(found, report)
        rendered = render_comparison(found).encode() if page.exists() else None
    except (ValidationError, ValueError, OverflowError) as error:
        strange, rendered = f"holds what no comparison does ({error})", None
    if read_file(data) != found.to_bytes():
        strange = strange or "is not in the form that phigate writes"
    if strange is not None:
        yield Statement(False, f"{name}{DATA} {strange}; compare the two runs again")
    elif rendered is not None and rendered != read_file(page):
        yield Statement(False, f"{name}{PAGE} is not what {DATA} renders to; compare them again")
    else:
        yield Statement(
            None,
            f"{name}{DATA} says of this run what its report says; what it says of the earlier run"
            f" ({found.before.target} {found.before.version}) nothing here can show: verify that"
            " one",
        )
