"""Leakage against what the attacker knows: members and nonmembers, a chart per control.

Charts of shares have one axis, to be compared by eye; others share none.
"""

from __future__ import annotations

from collections.abc import Iterable

from checker.report.charts.canvas import (
    WIDTH_IN,
    Axes,
    Chart,
    Margins,
    draw,
    dress,
    name_columns,
    read_as_shares,
    top,
    write,
)
from checker.report.index import ReportIndex
from checker.report.model import AttackerText, CellReport, ControlReport, Report
from checker.report.palette import MEMBERS, NONMEMBERS
from checker.report.wording.measures import is_share, measure_of
from checker.report.wording.numbers import bounds, figure
from checker.report.wording.plain import shorten
from checker.stats.estimate import ReportedEstimate

_MARGINS = Margins()
_Points = list[tuple[AttackerText, CellReport, ReportedEstimate, ReportedEstimate]]


def leakage_charts(report: Report) -> list[Chart]:
    """Draw one chart per control: members and nonmembers against attacker knowledge.

    Controls whose metric has no two parts (membership, canaries), or whose parts were not measured
    or are withheld, have no chart.
    """
    drawn = [(control, found) for control in report.controls if (found := _points(report, control))]
    index = ReportIndex.of(report)
    ends = _ends(found for control, found in drawn if is_share(control.metric))
    return [
        _leakage(f"chart-{place}", index.class_of(control), control, found, ends=ends)
        for place, (control, found) in enumerate(drawn, start=1)
    ]


def _points(report: Report, control: ControlReport) -> _Points:
    """Return a control's cells over all patients that have both parts, weakest attacker first."""
    return [
        (attacker, cell, cell.members, cell.nonmembers)
        for attacker in report.policy.attackers
        for cell in report.cells
        if (cell.control, cell.attacker, cell.subgroup) == (control.id, attacker.id, "all")
        and cell.members is not None
        and cell.nonmembers is not None
    ]


def _ends(groups: Iterable[_Points]) -> tuple[float, float]:
    """Return the ends of the axis that all charts of shares have, to be compared by eye."""
    ends = [
        end
        for points in groups
        for _, _, *both in points
        for number in both
        for end in (number.low, top(number))
    ]
    low, high = min([0.0, *ends]), max([0.1, *ends])
    return (1.04 * low, 1.04 * high)


def _leakage(
    key: str, title: str, control: ControlReport, points: _Points, *, ends: tuple[float, float]
) -> Chart:
    metric, measure = control.metric, measure_of(control.metric)
    inside = [members for _, _, members, _ in points]
    outside = [nonmembers for _, _, _, nonmembers in points]
    decides = [cell.gating for _, cell, _, _ in points]

    def paint(axes: Axes) -> None:
        _series(axes, inside, decides, colour=MEMBERS, marker="o", dashes="-")
        _series(axes, outside, decides, colour=NONMEMBERS, marker="s", dashes=(0, (4, 2)))
        if is_share(metric):
            read_as_shares(axes, *ends)
        dress(axes)
        room = WIDTH_IN - _MARGINS.left - _MARGINS.right
        name_columns(axes, [attacker.title for attacker, *_ in points], inches=room + 0.5)
        _name_series(axes, inside[-1].value, outside[-1].value)

    what = measure.part or measure.title
    if control.contrast == "reference":
        what += ", this model minus the reference"
    description = _describe(metric, what, points)
    svg = draw(paint, key, title, description, margins=_MARGINS)
    return Chart(key, title, what[:1].upper() + what[1:], description, svg)


def _series(
    axes: Axes,
    numbers: list[ReportedEstimate],
    decides: list[bool],
    *,
    colour: str,
    marker: str,
    dashes: str | tuple[float, tuple[float, ...]],
) -> None:
    """Draw one group: a line with a band through what decides, hollow points for the rest."""
    deciding = [(place, n) for place, n in enumerate(numbers) if decides[place]]
    reported = [(place, n) for place, n in enumerate(numbers) if not decides[place]]
    if len(deciding) > 1:
        lows, highs = [n.low for _, n in deciding], [top(n) for _, n in deciding]
        places = [place for place, _ in deciding]
        axes.fill_between(places, lows, highs, color=colour, alpha=0.16, linewidth=0)
    for points, filled in ((deciding, True), (reported, False)):
        places, values = [place for place, _ in points], [n.value for _, n in points]
        lows, highs = [n.low for _, n in points], [top(n) for _, n in points]
        # the two groups' bars stand side by side, or one would hide the other
        aside = [place + (-0.025 if marker == "o" else 0.025) for place in places]
        axes.vlines(aside, lows, highs, color=colour, linewidth=1.2)
        axes.plot(aside, values, color=colour, linestyle=dashes if filled else "none",
                  linewidth=1.8, marker=marker, markersize=6.0, clip_on=False,
                  markerfacecolor=colour if filled else "none")  # fmt: skip


def _name_series(axes: Axes, members: float, nonmembers: float) -> None:
    """Write each group's name beside its last point, apart where the points are close."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    middle = (members + nonmembers) / 2
    if abs(members - nonmembers) < gap:
        sign = 1 if members >= nonmembers else -1
        members, nonmembers = middle + sign * gap / 2, middle - sign * gap / 2
    for name, height, colour in (
        ("members", members, MEMBERS),
        ("nonmembers", nonmembers, NONMEMBERS),
    ):
        write(axes, name, (1, height), within=("axes fraction", "data"), aside=(6, 0),
              colour=colour)  # fmt: skip


def _describe(metric: str, what: str, points: _Points) -> str:
    parts = [
        f"Of members and nonmembers, the {what}, with one-sided bounds, by what the attacker knows."
    ]
    parts += [
        f"{shorten(attacker.title)}: members {figure(members.value, metric)}"
        f" ({bounds(members, metric)}), nonmembers {figure(nonmembers.value, metric)}"
        f" ({bounds(nonmembers, metric)})."
        for attacker, _, members, nonmembers in points
    ]
    return " ".join(parts)
