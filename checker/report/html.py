"""The report for people: one HTML file that needs nothing but itself.

No network, no script, no font but the reader's own. The content security policy in the page lets
nothing load and only the style sheet that was put in (by its hash) apply, so that even a mistake in
a template could not make a hostile code label do anything. Jinja2 escapes everything; `plain` takes
away what escaping does not: control characters and direction overrides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from checker.report import text
from checker.report.formats import ReportFormat
from checker.report.matrix import Matrix, build_matrix, worst_first
from checker.report.measures import Unit
from checker.report.model import CellReport, CitationText, Number, Report, WaiverReport
from checker.resources import resource

__all__ = ["HTML", "render_html"]


def render_html(report: Report) -> str:
    """Render the report as one self-contained page; equal reports give equal bytes."""
    # matplotlib, needed by no other format
    from checker.report.charts import leakage_charts, perturbation_charts

    page = _environment().get_template("report.html.j2")
    style = resource("reports/static/report.css").read_text(encoding="utf-8")
    matrix = build_matrix(report)
    ranked = worst_first(report.cells)
    return page.render(
        report=report,
        style=Markup(style),  # ours, shipped with the package
        policy_header=_content_policy(style),
        matrix=matrix,
        scales=_scales(matrix),
        blocking=_named(report, report.summary.blocked_by),
        findings=[cell for cell in ranked if _needs_attention(cell)],
        passing=[cell for cell in ranked if not _needs_attention(cell)],
        charts=[(chart, Markup(chart.svg)) for chart in leakage_charts(report)],
        curves=[(chart, Markup(chart.svg)) for chart in perturbation_charts(report)],
        book=_Book.of(report),
        text=text,
    )


def _named(report: Report, ids: list[str]) -> list[CellReport]:
    cells = {cell.id: cell for cell in report.cells}
    return [cells[name] for name in ids if name in cells]


def _needs_attention(cell: CellReport) -> bool:
    return cell.verdict != "pass" or cell.warned or cell.waiver is not None


def _content_policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none';"
        " form-action 'none'"
    )


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
    environment.filters["flat"] = _flat
    environment.filters["grouped"] = text.grouped
    return environment


def _printable(value: Any) -> Any:
    """Everything a template prints passes here, before it is escaped."""
    return text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


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


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a number stands on the line that all squares of one unit share, in percent of it."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return the place of a number, kept on the line."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def span(self, number: Number) -> str:
        """Return the length of an interval."""
        top = self.high if number.high is None else number.high
        low, high = (min(max(v, self.low), self.high) for v in (number.low, top))
        return f"{100 * max(0.008, (high - low) / (self.high - self.low)):.2f}%"


_LEAST_SPANS: dict[Unit, tuple[float, float]] = {"auroc": (0.5, 0.6), "bits": (0.0, 2.0)}
"""What a unit's scale shows at the least; others begin at zero and reach a tenth."""


def _scales(matrix: Matrix) -> dict[Unit, _Scale]:
    """Return one scale for all squares of a unit, so that squares can be compared by eye."""
    ends: dict[Unit, list[float]] = {}
    for cell in (cell for row in matrix.rows for square in row.squares for cell in square):
        unit = text.unit_of(cell.metric)
        found = ends.setdefault(unit, list(_LEAST_SPANS.get(unit, (0.0, 0.1))))
        found += [limit for limit in (cell.limit.fail, cell.limit.warn) if limit is not None]
        if cell.estimate is not None:
            bound = cell.estimate.high
            found += [cell.estimate.low, cell.estimate.value if bound is None else bound]
    return {
        unit: _Scale(min(found), max(found) + 0.04 * (max(found) - min(found)))
        for unit, found in ends.items()
    }


@dataclass(frozen=True, slots=True)
class _Book:
    """Where things are in the page: titles by id, and the places that links lead to."""

    attackers: Mapping[str, str]
    classes: Mapping[str, str]
    controls: Mapping[str, Any]
    citations: Mapping[str, tuple[int, CitationText]]
    evidence: Mapping[str, tuple[int, str]]
    anchors: Mapping[str, str]
    first: Mapping[str, str]
    waivers: Mapping[str, tuple[str, WaiverReport]]

    @classmethod
    def of(cls, report: Report) -> _Book:
        """Index a report."""
        evidence: dict[str, tuple[int, str]] = {}
        for place, entry in enumerate(report.provenance.evidence, start=1):
            for name in (entry.job, entry.sha256, entry.file):
                evidence.setdefault(name, (place, entry.title))
        return cls(
            attackers={item.id: item.title for item in report.policy.attackers},
            classes={item.id: item.title for item in report.policy.attribute_classes},
            controls={item.id: item for item in report.controls},
            citations={
                item.id: (place, item)
                for place, item in enumerate(report.policy.citations, start=1)
            },
            evidence=evidence,
            anchors={
                cell.id: f"{'finding' if _needs_attention(cell) else 'passing'}-{place}"
                for place, cell in enumerate(report.cells, start=1)
            },
            first={
                # the worst finding of each control carries its remedies and basis
                cell.control: cell.id
                for cell in reversed(worst_first(report.cells))
                if _needs_attention(cell)
            },
            waivers={
                item.id: (f"waiver-{place}", item)
                for place, item in enumerate(report.waivers, start=1)
                if item.status == "applied"
            },
        )

    def title_of(self, cell: CellReport) -> str:
        """Return the requirement of a cell in the policy's words."""
        control = self.controls.get(cell.control)
        return control.title if control is not None else cell.control

    def class_of(self, cell: CellReport) -> str:
        """Return the class of a cell in words, or the attack where it is about no class."""
        if cell.attribute_class is None:
            return text.probe_words(cell.probe).title
        return self.classes.get(cell.attribute_class, cell.attribute_class)

    def attacker_of(self, cell: CellReport) -> str:
        """Return the attacker of a cell in words."""
        return self.attackers.get(cell.attacker, cell.attacker)


HTML = ReportFormat.of_text("report.html", render_html)
