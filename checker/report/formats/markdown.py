"""The report in a comment: what was decided, the matrix, and what stands in the way.

Short enough for a pull request, whatever the report holds: a forge refuses a comment of more than
65,536 characters, and nobody reads a tenth of that. What was left out is counted.
"""

from __future__ import annotations

from checker.report.formats.api import ReportFormat
from checker.report.formats.markdown_syntax import escape, table
from checker.report.matrix import build_matrix, worst_first
from checker.report.model import CellReport, Report
from checker.report.wording.audience import CONFIDENTIAL, banner, withheld_words
from checker.report.wording.cells import reason_of, telling_bound, verdict_word
from checker.report.wording.decision import (
    decides_nothing,
    decision_words,
    headline,
    not_proof,
    shortened_words,
)
from checker.report.wording.declared import assignment_words
from checker.report.wording.findings import FindingText, found_words, ranked_texts, waiver_terms
from checker.report.wording.paper import PAPER_COLUMNS, paper_numbers
from checker.report.wording.plain import plain, shorten
from checker.report.wording.prerequisites import DECLARED, prerequisite_text, unmet
from checker.report.wording.standing import standing_words
from checker.report.wording.terms import CANNOT_PASS, OUT_OF_SCOPE, VERDICT_WORDS, WAIVER_STATUS
from checker.report.wording.times import instant, moment

FINDINGS_SHOWN = 10
ROWS_SHOWN = 12
COLUMNS_SHOWN = 8
REQUIREMENTS_SHOWN = 40
CELLS_SHOWN = 3
WAIVERS_SHOWN = 5
SHORT = 60
LONG = 160


def render_markdown(report: Report) -> str:
    """Return the summary, ending in a newline."""
    parts = [
        audience_lines(report),
        decision_lines(report, level=2),
        prerequisite_lines(report, level=3),
        _counts(report),
        matrix_lines(report, level=3),
        _open_findings(report),
        waiver_lines(report, level=3),
        _beside_the_paper(report),
        not_proof_lines(report),
        _why_withheld(report),
        [_made_from(report)],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def not_proof_lines(report: Report) -> list[str]:
    """Return what no verdict says."""
    local = [shorten(plain(name), SHORT) for name in report.target.local_vocabularies]
    return [f"> {escape(not_proof(report, local=local))}"]


def audience_lines(report: Report) -> list[str]:
    """Return who may read it, where not everybody may; it stands before all else."""
    return [f"**{CONFIDENTIAL}**"] if report.audience == "internal" else []


def _why_withheld(report: Report) -> list[str]:
    """Return, once, why numbers are missing, where some are."""
    gone = report.audience == "shared" and any(withheld_words(cell) for cell in report.cells)
    return [banner(report)[1]] if gone else []


def decision_lines(report: Report, *, level: int) -> list[str]:
    """Return what was decided, of which model, by which policy."""
    target, policy = report.target, report.policy
    return [
        f"{'#' * level} {headline(report)}",
        "",
        _short(decision_words(report), 4 * LONG),
        "",
        f"**{_short(target.name)} {_short(target.version)}**, judged by"
        f" **{_short(policy.name)} {_short(policy.version)}** as of"
        f" {_as_of(report)}.",
        "",
        _short(" ".join(standing_words(report)), 4 * LONG),
        *_declaration(report),
        *(line for words in shortened_words(report) for line in ("", _short(words, LONG))),
    ]


def _declaration(report: Report) -> list[str]:
    """Return how patients came to their splits, where the target says so."""
    target = report.target
    if target.assignment is None:
        return []
    said = f"Declared, not checked: {assignment_words(target.assignment)}"
    by_whom = f" ({_short(target.assigned_by, LONG)})" if target.assigned_by else ""
    return ["", f"{said}{by_whom}."]


def matrix_lines(report: Report, *, level: int) -> list[str]:
    """Return what leaks to whom as a table; further rows and columns are counted.

    Where there are too many attackers, those against whom nothing was asked go first.
    """
    matrix = build_matrix(report)
    rows, places = matrix.rows[:ROWS_SHOWN], [*range(len(matrix.columns))]
    if len(places) > COLUMNS_SHOWN:
        asked = [at for at in places if any(row.squares[at] for row in matrix.rows)]
        places = (asked or places)[:COLUMNS_SHOWN]
    if not places or not rows:
        return []
    lines = [f"{'#' * level} What leaks to whom", ""]
    lines += table(
        ["What leaks", *(_short(matrix.columns[at].title) for at in places)],
        [[_short(row.title), *(_square(row.squares[at]) for at in places)] for row in rows],
    )
    left = (len(matrix.rows) - len(rows), len(matrix.columns) - len(places))
    if any(left):
        lines += ["", f"Only in the full report: {left[0]} more rows, {left[1]} more columns."]
    if matrix.elsewhere:
        many = len(matrix.elsewhere)
        lines += ["", f"Verdicts about groups of patients, which have no square: {many}."]
    return lines


def prerequisite_lines(report: Report, *, level: int) -> list[str]:
    """Return what must be so whatever was measured, and what is declared of it."""
    if not report.prerequisites:
        return []
    ranked = [*unmet(report), *(one for one in report.prerequisites if one.verdict == "pass")]
    rows = [
        [
            f"**{escape(VERDICT_WORDS[one.verdict])}**",
            _short(one.title, LONG),
            _short(prerequisite_text(one), 3 * LONG),
        ]
        for one in ranked[:ROWS_SHOWN]
    ]
    lines = [f"{'#' * level} Prerequisites", "", *table(["Verdict", "Presupposed", "Found"], rows)]
    if len(ranked) > ROWS_SHOWN:
        lines += ["", f"{len(ranked) - ROWS_SHOWN} more in the full report."]
    return [*lines, "", DECLARED]


def waiver_lines(report: Report, *, level: int) -> list[str]:
    """Return the waivers and what became of each."""
    if not report.waivers:
        return []
    lines = [f"{'#' * level} Waivers", ""]
    for waiver in report.waivers[:WAIVERS_SHOWN]:
        lines.append(
            f"* {_short(waiver.id)} of {_short(waiver.cell, LONG)}:"
            f" **{WAIVER_STATUS[waiver.status]}**; {_short(waiver_terms(waiver), 2 * LONG)}"
        )
    if len(report.waivers) > WAIVERS_SHOWN:
        lines.append(f"* {len(report.waivers) - WAIVERS_SHOWN} more in the full report")
    return lines


def _as_of(report: Report) -> str:
    """Return the time judged for; that it is one is checked, so nothing else can stand there."""
    return moment(instant(report.provenance.as_of).isoformat())


def _counts(report: Report) -> list[str]:
    counts, summary = report.summary.counts, report.summary
    said = [f"{counts[name]} {word}" for name, word in VERDICT_WORDS.items() if counts.get(name)]
    lines = [f"Of {summary.gating_cells} deciding tests: {', '.join(said)}."] if said else []
    if not summary.gating_cells:
        lines = ["No test decides."]
    if summary.waived:
        lines.append(f"Waived: {len(summary.waived)}.")
    if summary.reported_only_cells:
        lines.append(f"Reported only: {summary.reported_only_cells}.")
    return [" ".join(lines)]


def _open_findings(report: Report) -> list[str]:
    """Return what blocks, worst first; where nothing does, what else a reader must know."""
    ranked = ranked_texts(report)
    blocking = [text for text in ranked if text.blocks]
    chosen = blocking or [text for text in ranked if _is_open(text)]
    title, most = "What blocks the release" if blocking else "What stays open", FINDINGS_SHOWN
    if decides_nothing(report):  # of each requirement its worst test
        worst = {text.cell.control: text for text in reversed(ranked)}
        chosen = [worst[name] for name in dict.fromkeys(text.cell.control for text in ranked)]
        title, most = "What was found, at its worst", REQUIREMENTS_SHOWN
    if not chosen:
        return []
    shown = chosen[:most]
    lines = [f"### {title}", ""]
    lines += table(["Verdict", "Requirement", "Attacker, patients", "Found"], map(_row, shown))
    if len(chosen) > len(shown):
        lines += ["", f"{len(chosen) - len(shown)} more in the full report."]
    return lines


def _beside_the_paper(report: Report) -> list[str]:
    """Return, under a policy that repeats the paper's tests, which number is which."""
    rows = [
        [escape(one.theirs), escape(one.here), escape(one.differs)] for one in paper_numbers(report)
    ]
    if not rows:
        return []
    return ["### The paper's numbers and these", "", *table(PAPER_COLUMNS, rows)]


def _is_open(text: FindingText) -> bool:
    cell = text.cell
    decided = cell.verdict in {"pass", "not_applicable"} and not cell.warned
    return cell.gating and not decided


def _row(text: FindingText) -> list[str]:
    found, reason = found_words(text.cell), reason_of(text.cell)
    if reason is not None:
        found = f"{reason.short}; {found}"
    return [
        f"**{escape(text.verdict)}**",
        _short(text.requirement, LONG),
        f"{_short(text.attacker)}, {_short(text.patients)}",
        _short(found, 2 * LONG),
    ]


def _square(cells: tuple[CellReport, ...]) -> str:
    if not cells:
        return OUT_OF_SCOPE
    words = [_square_words(cell) for cell in worst_first(list(cells))[:CELLS_SHOWN]]
    if len(cells) > CELLS_SHOWN:
        words.append(f"{len(cells) - CELLS_SHOWN} more")
    return " / ".join(words)


def _square_words(cell: CellReport) -> str:
    words = f"**{escape(verdict_word(cell))}**"
    if (bound := telling_bound(cell)) is not None:
        words += f", {escape(bound)}"
    if not cell.gating:
        words += ", reported only"
    return f"{words}, {CANNOT_PASS}" if cell.can_only_fail else words


def _made_from(report: Report) -> str:
    provenance, policy = report.provenance, report.policy
    return (
        f"phigate {_short(provenance.phigate_version, 20)}; policy"
        f" {_short(policy.sha256, 13)}, plan {_short(provenance.plan_sha256, 13)}, evidence"
        f" {_short(provenance.manifest_sha256, 13)}; `phigate verify RUN` checks it offline."
    )


def _short(text: object, length: int = SHORT) -> str:
    return escape(shorten(plain(text), length))


MARKDOWN = ReportFormat.of_text("report.md", render_markdown)
