"""Of a hundred patients: what a share means in people, members beside those the model never saw.

"67.9 % of members beyond nonmembers" is hard to picture; sixty-eight marks of a hundred are not. A
picture shows the two shares that its test has in numbers, and is there only where they are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

from checker.report.charts.canvas import Chart
from checker.report.charts.svg import for_page
from checker.report.index import ReportIndex
from checker.report.matrix import worst_first
from checker.report.model import CellReport, Report
from checker.report.palette import MEMBERS, MUTED, NONMEMBERS, RULE
from checker.report.wording.measures import measure_of
from checker.report.wording.numbers import figure
from checker.report.wording.people import sentence
from checker.report.wording.plain import shorten

PICTURES_SHOWN: Final = 6
_A_ROW, _PITCH, _MARK = 10, 10, 8
_APART, _HEAD = 40, 16


def people_charts(report: Report) -> list[Chart]:
    """Draw the worst test of each requirement that exceeds its limit, in a hundred patients.

    Only tests that say of how many patients something was told, and whose two shares are shown.
    """
    index = ReportIndex.of(report)
    worst = {
        cell.control: cell
        for cell in reversed(worst_first(report.cells))
        if cell.verdict == "fail" and cell.members is not None and cell.nonmembers is not None
        if "{size}" in (measure_of(cell.metric).told or "")
    }
    found = [cell for cell in worst_first(report.cells) if worst.get(cell.control) is cell]
    return [
        _picture(f"people-{place}", cell, index, min_cell=report.policy.min_cell)
        for place, cell in enumerate(found[:PICTURES_SHOWN], start=1)
    ]


def _picture(key: str, cell: CellReport, index: ReportIndex, *, min_cell: int) -> Chart:
    width = 2 * _A_ROW * _PITCH + _APART
    root = ET.Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {_HEAD + 10 * _PITCH}"},
    )
    said = []
    for place, (name, part, colour) in enumerate(
        (("members", cell.members, MEMBERS), ("never seen", cell.nonmembers, NONMEMBERS))
    ):
        assert part is not None  # such tests alone are drawn
        marks, left = in_a_hundred(part.value), place * (_A_ROW * _PITCH + _APART)
        text = ET.SubElement(root, "text", {"x": str(left), "y": "10"})
        text.set("style", f"font-size: 9px; fill: {MUTED}")
        text.text = f"{name}: {figure(part.value, cell.metric)}"
        for first, last, fill in ((0, marks, colour), (marks, 100, RULE)):
            if first < last:
                path = {"d": _marks(first, last, left), "style": f"fill: {fill}"}
                ET.SubElement(root, "path", path)
        said.append(f"of 100 {name}, {marks} marked")
    title = shorten(index.class_of(cell), 80)
    caption = f"against {shorten(index.attacker_of(cell), 130)}"
    words = f"{sentence(cell, index, min_cell=min_cell)} Drawn: {'; '.join(said)}."
    svg = for_page(ET.tostring(root), key, title, words)
    return Chart(key, title, caption, words, svg)


def in_a_hundred(share: float) -> int:
    """Return how many of a hundred a share in [0, 1] is: none and all only where it is so.

    >>> in_a_hundred(0.0), in_a_hundred(0.001), in_a_hundred(0.5), in_a_hundred(0.999)
    (0, 1, 50, 99)
    """
    if share in (0.0, 1.0):
        return round(100 * share)
    return min(max(round(100 * share), 1), 99)


def _marks(first: int, last: int, left: int) -> str:
    """Return the outline of the marks of some patients, row by row."""
    return "".join(
        f"M{left + _PITCH * (n % _A_ROW)} {_HEAD + _PITCH * (n // _A_ROW)}"
        f"h{_MARK}v{_MARK}h-{_MARK}z"
        for n in range(first, last)
    )
