"""A test over several runs: its estimate with bounds, in the verdict's colour, and the limit."""

from __future__ import annotations

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
)
from checker.report.comparison import ComparedCell
from checker.report.palette import INK, MUTED, VERDICTS
from checker.report.trend import Trend, TrendRow
from checker.report.wording.measures import is_share, measure_of
from checker.report.wording.numbers import bounds, figure, setting
from checker.report.wording.plain import shorten
from checker.report.wording.terms import VERDICT_WORDS

CHARTS_SHOWN = 6
_MARGINS = Margins(right=0.3, bottom=0.7)


def trend_charts(trend: Trend) -> list[Chart]:
    """Draw the table's first tests that two runs have numbers of; what got worse leads it."""
    names = [f"{shorten(one.version, 20)}, {one.as_of[:10]}" for one in trend.reports]
    drawn = [row for row in trend.rows() if _measured(row) > 1][:CHARTS_SHOWN]
    return [_trend(f"trend-{place}", row, names) for place, row in enumerate(drawn, start=1)]


def _measured(row: TrendRow) -> int:
    return sum(point is not None and point.estimate is not None for point in row.points)


def _trend(key: str, row: TrendRow, names: list[str]) -> Chart:
    metric = row.told.metric

    def paint(axes: Axes) -> None:
        places: list[tuple[int, float]] = []
        for place, point in enumerate(row.points):
            if point is None:
                continue
            if point.limit is not None:
                axes.hlines(point.limit, place - 0.25, place + 0.25, color=INK, linewidth=1.6)
            if point.estimate is None:
                continue
            colours, number = VERDICTS[point.verdict], point.estimate
            axes.vlines(place, number.low, top(number), color=colours.line, linewidth=3.2,
                        alpha=0.45)  # fmt: skip
            axes.plot([place], [number.value], marker="o", markersize=6, color=colours.line,
                      markerfacecolor="none" if point.waived else colours.line,
                      clip_on=False)  # fmt: skip
            places.append((place, number.value))
        axes.plot(*zip(*places, strict=True), color=MUTED, linewidth=1.0, zorder=0)
        dress(axes)
        if is_share(metric):
            low, high = axes.get_ylim()
            read_as_shares(axes, min(low, 0.0), max(high, 0.1))
        name_columns(axes, names, inches=WIDTH_IN - _MARGINS.left - _MARGINS.right, most=3)

    told = [
        f"{name}: {_said(point, metric)}." for name, point in zip(names, row.points, strict=True)
    ]
    title = shorten(row.told.title, 80)
    description = f"{title}, {measure_of(metric).counts}, over the runs. {' '.join(told)}"
    caption = f"{shorten(row.told.attacker, 40)}, {shorten(row.told.subgroup, 40)}"
    svg = draw(paint, key, title, description, margins=_MARGINS)
    return Chart(key, title, caption, description, svg)


def _said(point: ComparedCell | None, metric: str) -> str:
    if point is None:
        return "not asked"
    words = [VERDICT_WORDS[point.verdict] + (", waived" if point.waived else "")]
    if point.estimate is not None:
        words.append(f"{figure(point.estimate.value, metric)}, {bounds(point.estimate, metric)}")
    if point.limit is not None:
        words.append(f"limit {setting(point.limit, metric)}")
    return "; ".join(words)
