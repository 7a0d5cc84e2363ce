"""What n would decide: for each cell the sample there is, and the samples that would be enough."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from checker.report.charts.canvas import Axes, Chart, Margins, draw, wrapped, write
from checker.report.index import ReportIndex
from checker.report.model import CellReport, ControlReport, Report
from checker.report.palette import INK, MEMBERS, MUTED, NONMEMBERS, RULE
from checker.report.wording.cells import subgroup_words
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import shorten

_WIDTH_IN, _ROW_IN = 3.9, 0.5


class _Row(NamedTuple):
    """A cell: its attacker in words, how many pass at all or likely, and how many there are."""

    who: str
    at_all: int
    likely: int | None
    there: int | None


def power_charts(report: Report) -> list[Chart]:
    """Draw one chart per control, with a row per cell; all have one axis, to be compared by eye.

    Cells whose needs are unknown have no row. A report that withholds how many patients there are
    shows what would be needed and leaves the sample out.
    """
    groups = {
        control.id: [c for c in report.cells if c.control == control.id and c.needs.at_all]
        for control in report.controls
    }
    ends = _ends([cell for cells in groups.values() for cell in cells])
    index = ReportIndex.of(report)
    return [
        _power(f"power-{place}", index, control, cells, ends=ends)
        for place, (control, cells) in enumerate(
            ((one, groups[one.id]) for one in report.controls if groups[one.id]), start=1
        )
    ]


def sample_of(cell: CellReport) -> int | None:
    """Return what a cell has of that which is counted; None where that is withheld."""
    if cell.sample is None or cell.reason == "subgroup-too-small":
        return None
    return cell.sample.members if cell.sample.rollouts is None else cell.sample.rollouts


def _ends(cells: list[CellReport]) -> tuple[float, float]:
    """Return the ends of the axis: powers of ten around everything that is shown."""
    counts = [
        count
        for cell in cells
        for count in (cell.needs.at_all, cell.needs.likely, sample_of(cell))
        if count
    ]
    if not counts:
        return 10.0, 1000.0
    low = 10.0 ** math.floor(math.log10(min(counts)))
    return low, max(10 * low, 10.0 ** math.ceil(math.log10(max(counts))))


def _power(
    key: str,
    index: ReportIndex,
    control: ControlReport,
    cells: list[CellReport],
    *,
    ends: tuple[float, float],
) -> Chart:
    whom = "continuations" if any(c.sample and c.sample.rollouts for c in cells) else "members"
    if control.attribute_class is not None and whom == "members":
        whom = "eligible members"
    rows = tuple(
        _Row(_who(cell, index), cell.needs.at_all, cell.needs.likely, sample_of(cell))
        for cell in cells
        if cell.needs.at_all is not None
    )
    return _drawn(key, index.class_of(control), whom, rows, ends=ends)


@lru_cache(maxsize=500)  # for every audience, and whoever renders a report again
def _drawn(
    key: str, title: str, whom: str, rows: tuple[_Row, ...], *, ends: tuple[float, float]
) -> Chart:
    low, high = ends

    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim(len(rows) - 0.35, -0.6)
        for place, row in enumerate(rows):
            _paint(axes, place, row, ends=ends)
        powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
        axes.set_xticks([10.0**p for p in powers], [grouped(10**p) for p in powers])
        axes.minorticks_off()
        axes.set_yticks([])
        axes.tick_params(colors=INK, length=0, pad=4)
        axes.set_xlabel(whom, color=INK)
        axes.grid(axis="x", color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)

    parts = [
        f"For each attacker: how many {whom} there are, how many a pass needs at the least, and"
        " with about how many a model that leaks nothing passes four times of five."
    ]
    parts += [_describe(row, whom) for row in rows]
    description = " ".join(parts)
    height = 0.62 + _ROW_IN * len(rows)
    svg = draw(paint, key, title, description, size=(_WIDTH_IN, height),
               margins=Margins(left=0.12, right=0.3, top=0.05, bottom=0.5))  # fmt: skip
    return Chart(key, title, f"How many {whom} would decide", description, svg)


def _who(cell: CellReport, index: ReportIndex) -> str:
    who = shorten(index.attacker_of(cell), 60)
    return who if cell.subgroup == "all" else f"{who}, {subgroup_words(cell.subgroup)}"


def _paint(axes: Axes, place: int, row: _Row, *, ends: tuple[float, float]) -> None:
    """Draw what is needed as a stroke from the least to the likely, and what there is as a dot."""
    who, at_all, likely, there = row
    write(
        axes,
        wrapped(who, 58, most=1),
        (0, place),
        within=("axes fraction", "data"),
        aside=(0, 11),
        size=9.0,
    )
    axes.hlines(place, *ends, color=RULE, linewidth=1.0)
    axes.plot([at_all], [place], marker="|", markersize=11, markeredgewidth=2.0, color=MUTED)
    if likely is not None:
        axes.hlines(place, at_all, likely, color=NONMEMBERS, linewidth=3.0, alpha=0.45)
        axes.plot([likely], [place], marker="|", markersize=11, markeredgewidth=2.0,
                  color=NONMEMBERS)  # fmt: skip
    if there:
        axes.plot([there], [place], marker="o", markersize=7.0, color=MEMBERS, clip_on=False)


def _describe(row: _Row, whom: str) -> str:
    have = "the number is withheld" if row.there is None else f"{grouped(row.there)} {whom}"
    most = "" if row.likely is None else f", about {grouped(row.likely)} for a likely one"
    return f"{shorten(row.who, 120)}: {have}; {grouped(row.at_all)} for a pass at all{most}."
