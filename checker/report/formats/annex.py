"""Annexes as files: what authorities, experts and committees ask, with what is known of each point.

One page that needs only itself, the same on paper, and Markdown for a form to paste into. What
stands in them is put together in `checker.report.annexes`.
"""

from __future__ import annotations

from functools import partial

from markupsafe import Markup

from checker.report.annexes.filling import Annex, FilledRow, fill
from checker.report.annexes.questions import AnnexName
from checker.report.formats.api import ReportFormat
from checker.report.formats.html import page_style
from checker.report.formats.markdown import audience_lines, not_proof_lines
from checker.report.formats.markdown_syntax import escape, table
from checker.report.formats.pdf import attached, lacking, made_elsewhere, on_paper
from checker.report.formats.templates import content_policy, environment
from checker.report.model import Report
from checker.report.wording.decision import decision_words, headline
from checker.report.wording.plain import shorten
from checker.report.wording.times import instant, moment


def render_annex_html(report: Report, *, name: AnnexName) -> str:
    """Render an annex as one self-contained page; equal reports give equal bytes."""
    style = page_style(report)
    return (
        environment()
        .get_template("annex.html.j2")
        .render(
            report=report,
            annex=fill(name, report),
            style=Markup(style),  # ours, shipped with the package
            policy_header=content_policy(style),
        )
    )


def render_annex_pdf(report: Report, *, name: AnnexName) -> bytes:
    """Render an annex on paper, with `report.json` attached.

    Raises:
        PluginError: WeasyPrint or what it needs of the system is not installed.
    """
    return on_paper(render_annex_html(report, name=name), report)


def render_annex_markdown(report: Report, *, name: AnnexName) -> str:
    """Return an annex as Markdown, ending in a newline."""
    annex = fill(name, report)
    parts = [
        audience_lines(report),
        [f"## {annex.title}"],
        [annex.lead],
        [
            f"**{escape(shorten(report.target.name))} {escape(shorten(report.target.version))}**,"
            f" judged by {escape(shorten(report.policy.name))}"
            f" {escape(shorten(report.policy.version))} as of {_as_of(report)}:"
            f" {headline(report)}. {escape(shorten(decision_words(report), 600))}"
        ],
        not_proof_lines(report),
        [escape(annex.standing)],
        _kinds(annex),
    ]
    for one in annex.tables:
        source = one.asked.source
        parts += [
            [f"### {one.asked.title}"],
            [f"{escape(source.title)} (<{source.url}>). {escape(source.note)}"],
            table(
                ["Point", "What the report says", "What the owner declares"],
                [_row(row) for row in one.rows],
            ),
        ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _as_of(report: Report) -> str:
    """Return the time judged for; that it is one is checked, so nothing else can stand there."""
    return moment(instant(report.provenance.as_of).isoformat())


def _kinds(annex: Annex) -> list[str]:
    rows = [
        [
            f"**{escape(one.title)}**: {escape(one.meaning)} {escape(one.named or '')}".rstrip(),
            f"**{escape(one.standing)}**",
            _paragraphs(one.strength),
            _paragraphs(one.result),
        ]
        for one in annex.kinds
    ]
    head = ["Kind of attack", "Run", "How strongly", "With which result"]
    return ["### Attacks by kind", "", *table(head, rows)] if rows else []


def _row(row: FilledRow) -> list[str]:
    asks = f": {escape(row.asks)}" if row.asks else ""
    declared = [f"{escape(one.label)}: {escape(one.words)}" for one in row.declared]
    return [
        f"**{escape(row.topic)}** ({escape(row.place)}){asks}",
        _paragraphs(row.said),
        "<br>".join(declared) or "–",
    ]


def _paragraphs(said: tuple[str, ...]) -> str:
    return "<br>".join(escape(one) for one in said) or "–"


def _page(name: AnnexName) -> ReportFormat:
    return ReportFormat.of_text(f"report.annex.{name}.html", partial(render_annex_html, name=name))


def _paper(name: AnnexName) -> ReportFormat:
    render = partial(render_annex_pdf, name=name)
    return ReportFormat(f"report.annex.{name}.pdf", render, lacking, made_elsewhere, attached)


def _markdown(name: AnnexName) -> ReportFormat:
    return ReportFormat.of_text(
        f"report.annex.{name}.md", partial(render_annex_markdown, name=name)
    )


EDPB, EDPB_PDF, EDPB_MARKDOWN = _page("edpb"), _paper("edpb"), _markdown("edpb")
CNIL, CNIL_PDF, CNIL_MARKDOWN = _page("cnil"), _paper("cnil"), _markdown("cnil")
HIPAA, HIPAA_PDF, HIPAA_MARKDOWN = _page("hipaa"), _paper("hipaa"), _markdown("hipaa")
ETHICS, ETHICS_PDF, ETHICS_MARKDOWN = _page("ethics"), _paper("ethics"), _markdown("ethics")
