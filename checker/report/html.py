"""The report for people: one HTML file that needs nothing but itself.

No network and no font but the reader's own. The content security policy in the page lets nothing
load, and only the style sheet and the script that were put in (by their hashes) apply, so that even
a mistake in a template could not make a hostile code label do anything. The script filters and
sorts what is there; with scripting off nothing is missing but that. Jinja2 escapes everything;
`plain` takes away what escaping does not: control characters and direction overrides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from checker.report import audience, decision, palette, text
from checker.report.book import Book, needs_attention
from checker.report.formats import ReportFormat
from checker.report.matrix import build_matrix, worst_first
from checker.report.model import Report
from checker.report.scales import scales_of
from checker.resources import resource

if TYPE_CHECKING:
    from checker.report.charts import Chart

__all__ = ["HTML", "render_html"]


def render_html(report: Report) -> str:
    """Render the report as one self-contained page; equal reports give equal bytes."""
    # matplotlib, needed by no other format
    from checker.report import charts

    style, script = _style(report), _static("report.js")
    matrix = build_matrix(report)
    book, ranked = Book.of(report), worst_first(report.cells)
    findings = [cell for cell in ranked if needs_attention(cell)]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),  # ours, shipped with the package, as is the script
            script=Markup(script),
            policy_header=_content_policy(style, script),
            matrix=matrix,
            scales=scales_of(matrix),
            findings=findings,
            topics=list(dict.fromkeys(book.class_of(cell) for cell in findings)),
            adversaries=list(dict.fromkeys(book.attacker_of(cell) for cell in findings)),
            passing=[cell for cell in ranked if not needs_attention(cell)],
            glance=_drawn([charts.glance_chart(report)])[0],
            leakage=_drawn(charts.leakage_charts(report)),
            rocs=_drawn(charts.roc_charts(report)),
            curves=_drawn(charts.perturbation_charts(report)),
            powers=_drawn(charts.power_charts(report)),
            book=book,
            text=text,
            audience=audience,
            decision=decision,
            palette=palette,
        )
    )


def _drawn(charts: Iterable[Chart]) -> list[tuple[Chart, Markup]]:
    """Pair charts with their drawings, whose text matplotlib and ElementTree have escaped."""
    return [(chart, Markup(chart.svg)) for chart in charts]


def _static(name: str) -> str:
    return resource(f"reports/static/{name}").read_text(encoding="utf-8")


def _style(report: Report) -> str:
    """Put the style sheets together, with the line that stands on every printed page."""
    line = audience.running_line(report).replace("\\", "").replace('"', "")
    running = f'\n@page {{ @top-center {{ content: "{line}"; }} }}\n'
    return _static("report.css") + _static("print.css") + running


def _content_policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(resource("reports/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.filters["web_link"] = _web_link
    environment.filters["short"] = text.shorten
    environment.filters["told"] = _told
    environment.filters["flat"] = _flat
    environment.filters["grouped"] = text.grouped
    return environment


def _printable(value: Any) -> Any:
    """Everything a template prints passes here, before it is escaped."""
    return text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _told(value: object, length: int) -> Markup:
    """Return words from outside, cut, and set apart so that their direction stays their own."""
    return Markup("<bdi>{}</bdi>").format(escape(text.shorten(value, length)))


def _web_link(url: str | None) -> str | None:
    """Return an address that may stand in a link: the web, and nothing that could run."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested mappings as "a.b" and text, in order."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list):
            yield f"{prefix}{name}", ", ".join(str(item) for item in inner)
        else:
            yield f"{prefix}{name}", str(inner)


HTML = ReportFormat.of_text("report.html", render_html)
