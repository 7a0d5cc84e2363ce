"""The report for people: one HTML file that needs nothing but itself (`formats.templates`).

The script filters and sorts what is there; with scripting off nothing is missing but that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from markupsafe import Markup

from checker.report import palette
from checker.report.formats.api import ReportFormat
from checker.report.formats.templates import content_policy, environment, static_text
from checker.report.index import ReportIndex, needs_attention
from checker.report.matrix import build_matrix, scales_of, worst_first
from checker.report.model import Report
from checker.report.wording import audience

if TYPE_CHECKING:
    from checker.report.charts import Chart


BRIEF = 12
"""How many findings the board's pages list."""


def render_html(report: Report) -> str:
    """Render the report as one self-contained page; equal reports give equal bytes."""
    return _rendered(report, "report.html.j2")


def render_board(report: Report) -> str:
    """Render what a board reads, for paper: the decision, findings in brief, signatures."""
    return _rendered(report, "board.html.j2")


def _rendered(report: Report, template: str) -> str:
    # matplotlib, needed by no other format, nor to know this one's file name
    from checker.report import charts

    style, script = page_style(report), static_text("report.js")
    matrix = build_matrix(report)
    index, ranked = ReportIndex.of(report), worst_first(report.cells)
    listed = [cell for cell in ranked if needs_attention(cell)]
    return (
        environment()
        .get_template(template)
        .render(
            report=report,
            style=Markup(style),  # ours, shipped with the package, as is the script
            script=Markup(script),
            policy_header=content_policy(style, script),
            matrix=matrix,
            scales=scales_of(matrix),
            listed=listed,
            topics=list(dict.fromkeys(index.class_of(cell) for cell in listed)),
            adversaries=list(dict.fromkeys(index.attacker_of(cell) for cell in listed)),
            passing=[cell for cell in ranked if not needs_attention(cell)],
            glance=_drawn([charts.overview_chart(report)])[0],
            ladder=_drawn([one for one in [charts.ladder_chart(report)] if one is not None]),
            leakage=_drawn(charts.leakage_charts(report)),
            people_pictures=_drawn(charts.people_charts(report)),
            rocs=_drawn(charts.roc_charts(report)),
            curves=_drawn(charts.perturbation_charts(report)),
            characteristics=_drawn(charts.characteristics_charts(report)),
            powers=_drawn(charts.power_charts(report)),
            index=index,
            palette=palette,
            is_board=template == "board.html.j2",
            shown=BRIEF,
        )
    )


def _drawn(drawn: Iterable[Chart]) -> list[tuple[Chart, Markup]]:
    """Pair charts with their drawings, whose text matplotlib and ElementTree have escaped."""
    return [(chart, Markup(chart.svg)) for chart in drawn]


def page_style(report: Report) -> str:
    """Put the style sheets together, with the line that stands on every printed page."""
    line = audience.running_line(report).replace("\\", "").replace('"', "")
    running = f'\n@page {{ @top-center {{ content: "{line}"; }} }}\n'
    return static_text("report.css") + static_text("print.css") + running


HTML = ReportFormat.of_text("report.html", render_html)
