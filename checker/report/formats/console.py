"""The report in a terminal: the decision, the matrix, and the worst findings with what to do.

Everything from the policy, the data or the model goes through `plain` and into `rich.text.Text`,
which reads no markup: a code label can neither drive the terminal nor dress up as a verdict.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from checker.report.index import ReportIndex
from checker.report.matrix import build_matrix, worst_first
from checker.report.model import CellReport, Report, WaiverReport
from checker.report.wording.audience import banner, withheld_words
from checker.report.wording.cells import (
    counts_words,
    limit_words,
    meaning_words,
    needs_more,
    next_step,
    reason_of,
    subgroup_words,
    telling_bound,
    verdict_word,
)
from checker.report.wording.decision import (
    attempt_words,
    decision_words,
    headline,
    not_proof,
    sampling_words,
    shortened_words,
)
from checker.report.wording.findings import found_words, waiver_terms
from checker.report.wording.plain import plain, shorten
from checker.report.wording.prerequisites import (
    DECLARED,
    prerequisite_headline,
    prerequisite_text,
)
from checker.report.wording.standing import standing_words
from checker.report.wording.terms import CANNOT_PASS, OUT_OF_SCOPE, WAIVER_STATUS

FINDINGS_SHOWN = 5
_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "error": "bold magenta"}
_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "error": "!", "not_applicable": "–"}


def print_report(report: Report, console: Console, *, location: Path | str | None = None) -> None:
    """Print a report for people.

    Args:
        report: what to print.
        console: where to; its width decides how wide the matrix may be.
        location: where the full report lies, named at the end.
    """
    console.print()
    console.print(Text(headline(report), style=_STYLES[report.verdict]))
    target, policy = report.target, report.policy
    console.print(
        Text(
            f"{shorten(target.name)} {shorten(target.version, 40)}, judged by"
            f" {shorten(policy.name)} {shorten(policy.version, 40)}",
            style="dim",
        )
    )
    console.print(Text(plain(decision_words(report))))
    for words in standing_words(report):
        console.print(Text(plain(words), style="dim"))
    for waiver in report.waivers:
        console.print(_waiver(waiver))
    for one in report.prerequisites:
        style = _STYLES[one.verdict]
        head = Text(f"Prerequisite {prerequisite_headline(one)}", style=style)
        console.print(Text.assemble(head, f"\n  {prerequisite_text(one)}"))
    if report.prerequisites:
        console.print(Text(DECLARED, style="dim"))
    console.print()
    console.print(_matrix(report))
    index, shown, advised = ReportIndex.of(report), _shown(report), set[str]()
    for cell in shown:
        advise = cell.control not in advised  # a control's remedies once, not for every attacker
        console.print(Padding(_finding(index, cell, advise=advise), (1, 0, 0, 0)))
        advised.add(cell.control)
    left = len(_open(report)) - len(shown)
    console.print()
    if left:
        console.print(Text(f"Findings only in the full report: {left}.", style="dim"))
    for note in [*shortened_words(report), *sampling_words(report)]:
        console.print(Text(note, style="dim"))
    console.print(Text(attempt_words(report), style="dim"))
    local = [shorten(name) for name in report.target.local_vocabularies]
    console.print(Text(not_proof(report, local=local), style="dim"))
    who, left_out = banner(report)
    console.print(Text(f"{who}. {left_out}", style="dim"))
    if location is not None:
        console.print(Text(f"Full report: {plain(location)}"))


def _waiver(waiver: WaiverReport) -> Text:
    style = "yellow" if waiver.status == "applied" else "bold red"
    head = f"Waiver {shorten(waiver.id)} of {shorten(waiver.cell, 160)}: "
    return Text.assemble(
        head,
        (WAIVER_STATUS[waiver.status], style),
        f"\n  {shorten(waiver_terms(waiver), 400)}\n  {shorten(waiver.explanation, 300)}",
    )


def _open(report: Report) -> list[CellReport]:
    return [cell for cell in worst_first(report.cells) if cell.verdict != "pass" or cell.warned]


def _shown(report: Report) -> list[CellReport]:
    """Return what decides, worst first; with nothing of the kind, what is only reported."""
    found = _open(report)
    deciding = [cell for cell in found if cell.gating]
    return (deciding or found)[:FINDINGS_SHOWN]


def _matrix(report: Report) -> Table:
    matrix = build_matrix(report)
    table = Table(title=None, show_lines=True, highlight=False)
    table.add_column(Text("What leaks"))
    for attacker in matrix.columns:
        note = "" if attacker.gating else "\n(reported only)"
        table.add_column(Text(shorten(attacker.title, 80) + note))
    for row in matrix.rows:
        squares = map(_square, row.squares)
        table.add_row(Text(shorten(row.title, 60)), *squares)
    return table


def _square(cells: tuple[CellReport, ...]) -> Text:
    if not cells:
        return Text(OUT_OF_SCOPE, style="dim")
    lines: list[Text] = []
    for cell in cells:
        lines.append(_verdict(cell))
        bound, withheld = telling_bound(cell), withheld_words(cell)
        if bound is not None or withheld is not None:
            limit = limit_words(cell.limit, cell.metric).removeprefix("at most ")
            told = (bound, counts_words(cell), f"limit {limit}", withheld)
            lines += [Text(words) for words in told if words is not None]
        elif (reason := reason_of(cell)) is not None:
            lines.append(Text(reason.short))
        if cell.can_only_fail:
            lines.append(Text(CANNOT_PASS))
    return Text("\n").join(lines)


def _verdict(cell: CellReport) -> Text:
    style = "yellow" if cell.warned else _STYLES.get(cell.verdict, "dim")
    return Text(f"{_MARKS[cell.verdict]} {verdict_word(cell)}", style=style)


def _finding(index: ReportIndex, cell: CellReport, *, advise: bool) -> Text:
    control = index.controls.get(cell.control)
    where = f"{shorten(index.attacker_of(cell), 60)}, {shorten(subgroup_words(cell.subgroup), 60)}"
    lines = [
        Text.assemble(_verdict(cell), "  ", (shorten(index.title_of(cell), 120), "bold")),
        Text(f"  {where}; {shorten(cell.severity, 20)} severity", style="dim"),
        Text(f"  {shorten(cell.explanation, 400)}"),
    ]
    if cell.estimate is not None or "estimate" in cell.withheld:
        lines.append(Text(f"  {found_words(cell)}"))
    reason, missing = reason_of(cell), needs_more(cell)
    if reason is not None and (step := next_step(cell)) is not None:
        lines.append(Text(f"  {' '.join(filter(None, (meaning_words(cell), step)))}"))
    if missing is not None:
        lines.append(Text(f"  This test {missing}."))
    if control is not None and cell.verdict == "fail" and advise:
        lines += [Text(f"  What would fix it: {shorten(s, 200)}") for s in control.remediation]
    return Text("\n").join(lines)
