"""Several runs in a row for people: in a terminal, as a page of its own, in a comment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from checker.report.comparison import ComparedReport
from checker.report.formats.comparison import (
    CHANGE_STYLES,
    NOTE,
    ROWS_SHOWN,
    cell_words,
    change_counts,
    difference,
    is_changed,
    outcome,
)
from checker.report.formats.markdown_syntax import escape
from checker.report.formats.markdown_syntax import table as markdown_table
from checker.report.formats.templates import content_policy, environment, static_text
from checker.report.trend import Trend, TrendRow
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.plain import plain, shorten

_SINCE = "since the first"


def trend_summary(trend: Trend) -> str:
    """Say in a sentence how a model went over the runs."""
    reports = trend.reports
    verdicts = ", ".join(one.verdict for one in reports)
    return plain(
        f"{len(reports)} runs of {reports[-1].target}, from {reports[0].version}"
        f" ({reports[0].as_of[:10]}) to {reports[-1].version} ({reports[-1].as_of[:10]}):"
        f" {verdicts}. From the first to the last: {change_counts(trend.overall)}."
    )


def cautions(trend: Trend) -> list[str]:
    """Return what else is different between the runs, each said once."""
    found = [one for step in (*trend.steps, trend.overall) for one in step.cautions]
    times = [one.as_of for one in trend.reports]
    if times != sorted(times):
        found.append("The runs are not in the order in which they were judged.")
    if len({one.target for one in trend.reports}) > 1:
        found.append("The runs are of models with different names.")
    return list(dict.fromkeys(found))


def since_first(row: TrendRow) -> str:
    """Return how a test changed from the first run to the last, with the difference."""
    if not row.is_whole:
        return "only in runs between"
    words = outcome(row.told)
    return words if row.told.difference is None else f"{words}: {difference(row.told)}"


def heading(one: ComparedReport) -> str:
    """Return what a run is called at the head of its column."""
    return plain(f"{shorten(one.version, 30)}, {one.as_of[:10]}")


def print_trend(trend: Trend, console: Console) -> None:
    """Print each test over the runs, those that got worse since the first on top."""
    console.print()
    console.print(Text(trend_summary(trend), style="bold"))
    for caution in cautions(trend):
        console.print(Text(caution, style="yellow"))
    table = Table(show_lines=True, highlight=False)
    for column in ("test", *map(heading, trend.reports), _SINCE):
        table.add_column(column, overflow="fold")  # names cut short would look alike
    for row in trend.rows():
        table.add_row(
            Text(f"{shorten(row.told.title, 80)}\n{plain(row.told.id)}"),
            *(Text(cell_words(point, row.told.metric)) for point in row.points),
            Text(since_first(row), style=CHANGE_STYLES.get(row.told.direction, "")),
        )
    console.print(table)
    console.print(Text(NOTE, style="dim"))


def render_trend(trend: Trend) -> str:
    """Render a trend as one self-contained page; equal trends give equal bytes."""
    # matplotlib, needed by no other form
    from checker.report.charts.trend import trend_charts

    style = static_text("report.css")
    return (
        environment()
        .get_template("trend.html.j2")
        .render(
            last=trend.reports[-1],
            reports=[(f"Run {place}", one) for place, one in enumerate(trend.reports, start=1)],
            rows=trend.rows(),
            drawn=[(chart, Markup(chart.svg)) for chart in trend_charts(trend)],
            style=Markup(style),  # ours, shipped with the package
            policy_header=content_policy(style),
            note=NOTE,
            above=CONFIDENTIAL if trend.audience == "internal" else "Shared trend",
            cautions=cautions(trend),
            cell_words=cell_words,
            heading=heading,
            since_first=since_first,
            summary=trend_summary(trend),
        )
    )


def render_trend_markdown(trend: Trend) -> str:
    """Render a trend for a comment: what changed since the first run, the rest as counts."""
    rows = trend.rows()
    changed = [row for row in rows if not row.is_whole or is_changed(row.told)]
    parts = [[f"**{CONFIDENTIAL}**"]] if trend.audience == "internal" else []
    parts += [["### The last runs"], [escape(trend_summary(trend))]]
    parts += [[f"> {escape(caution)}"] for caution in cautions(trend)]
    if changed:
        parts.append(
            markdown_table(
                ["test", *(escape(heading(one)) for one in trend.reports), _SINCE],
                [
                    [
                        f"{escape(shorten(row.told.title, 80))}<br>"
                        f"{escape(shorten(row.told.id, 120))}",
                        *(escape(cell_words(point, row.told.metric)) for point in row.points),
                        escape(since_first(row)),
                    ]
                    for row in changed[:ROWS_SHOWN]
                ],
            )
        )
    if more := len(changed) - ROWS_SHOWN if len(changed) > ROWS_SHOWN else 0:
        parts.append([f"{more} more changed; the page of the trend has all."])
    if still := len(rows) - len(changed):
        parts.append([f"Of {still} no change since the first run is shown."])
    parts.append([escape(NOTE)])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


PAGES: Mapping[str, Callable[[Trend], str]] = MappingProxyType(
    {"trend.html": render_trend, "trend.md": render_trend_markdown}
)
"""What a trend is written as for people, by file name."""
