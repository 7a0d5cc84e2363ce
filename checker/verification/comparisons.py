"""Comparisons with an earlier run that lie in a run's folder: do they say of this run what it says?

The earlier report is not in the folder. So the side of this run is compared with its report, cell
by cell, each difference is taken again from the two estimates that stand there, and the pages are
made again from the data. What is said of the earlier run is shown by verifying that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS, load_json_file, read_file
from checker.report.comparison import Comparison, strange_side
from checker.report.formats.comparison import PAGES
from checker.report.formats.json import load_report
from checker.report.model import Report
from checker.run.stored import Run
from checker.verification.statement import Statement

DATA = "comparison.json"


def check_comparisons(run: Run, report: Report) -> Iterator[Statement]:
    """Compare what was made of two runs with the one that lies here.

    Args:
        run: the run.
        report: its shared report.
    """
    yield from _compared(run.folder, report, name="")
    internal = run.folder / INTERNAL_REPORTS
    if not any((internal / name).exists() for name in (DATA, *PAGES)):
        return
    try:
        whole = load_report(internal / "report.json")
    except EvidenceError as error:
        text = f"{INTERNAL_REPORTS}/{DATA} was not compared with a report: {error}"
        yield Statement(False, text)
        return
    yield from _compared(internal, whole, name=f"{INTERNAL_REPORTS}/")


def _compared(folder: Path, report: Report, *, name: str) -> Iterator[Statement]:
    data = folder / DATA
    pages = [page for page in PAGES if (folder / page).exists()]
    if not data.exists():
        for page in pages:
            yield Statement(False, f"{name}{page} lies here without the {DATA} it was made of")
        return
    try:
        found = load_json_file(data, Comparison)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    try:
        strange = strange_side(found, report)
        rendered = {page: PAGES[page](found).encode() for page in pages}
    except (ValidationError, ValueError, OverflowError) as error:
        strange, rendered = f"holds what no comparison does ({error})", {}
    if read_file(data) != found.to_bytes():
        strange = strange or "is not in the form that phigate writes"
    if strange is not None:
        yield Statement(False, f"{name}{DATA} {strange}; compare the two runs again")
        return
    other = [page for page, content in rendered.items() if content != read_file(folder / page)]
    for page in other:
        yield Statement(False, f"{name}{page} is not what {DATA} renders to; compare them again")
    if not other:
        yield Statement(
            None,
            f"{name}{DATA} says of this run what its report says; what it says of the earlier run"
            f" ({found.before.target} {found.before.version}) nothing here can show: verify that"
            " one",
        )
