"""A finding in sentences, for formats that have no layout of their own to say it with.

SARIF, JUnit, OSCAL, Markdown and the model card take a cell's sentences from here, so that none
says more or less than another. All of it is plain text; each format still escapes it in its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from checker.report.index import ReportIndex
from checker.report.matrix import worst_first
from checker.report.model import CellReport, ControlReport, Report, WaiverReport
from checker.report.wording.audience import side_words, withheld_words
from checker.report.wording.cells import (
    contrast_words,
    counts_words,
    limit_words,
    meaning_words,
    needs_more,
    next_step,
    none_words,
    precision_words,
    reason_of,
    subgroup_words,
    telling_bound,
    title_words,
    verdict_word,
)
from checker.report.wording.measures import measure_of, probe_words
from checker.report.wording.numbers import figure, grouped, setting
from checker.report.wording.people import sentence
from checker.report.wording.plain import plain, shorten
from checker.report.wording.sources import basis_words
from checker.report.wording.terms import CANNOT_PASS, ENFORCEMENT

TITLE = 200
"""Characters of a title, beyond which it is cut."""

PROSE = 1000
"""Characters of a sentence or paragraph from outside."""


@dataclass(frozen=True, slots=True)
class FindingText:
    """What a cell's finding is about, and what it says.

    Args:
        cell: the finding.
        control: the requirement, unless the report was put together wrongly.
        requirement: its title.
        about: the attribute class in words, or the attack where it is about none.
        attacker: in words.
        patients: the subgroup in words.
        told: what was found, in a sentence that a person would say.
        blocks: this finding keeps the model from being released.
        waiver: the waiver that keeps it from blocking.
    """

    cell: CellReport
    control: ControlReport | None
    requirement: str
    about: str
    attacker: str
    patients: str
    told: str
    blocks: bool
    waiver: WaiverReport | None

    @property
    def verdict(self) -> str:
        """The verdict in one or two words."""
        return verdict_word(self.cell)

    @property
    def headline(self) -> str:
        """What became of which requirement, in a sentence."""
        word = self.verdict[0].upper() + self.verdict[1:]
        return f"{word}: {self.requirement} ({self.attacker}; {self.patients})."

    @property
    def standing(self) -> str | None:
        """What a finding that is no pass means for the release."""
        if self.cell.verdict in {"pass", "not_applicable"}:
            return None
        if self.blocks:
            return "It blocks the release."
        if not self.cell.gating:
            return "It is reported only and does not block the release."
        return "It does not block the release."

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything there is to say, the most important first."""
        cell, reason = self.cell, reason_of(self.cell)
        said = [self.headline, self.told, f"{found_words(cell)}.", self.standing]
        said.append(shorten(cell.explanation, PROSE))
        if reason is not None:
            meaning = meaning_words(cell)
            said += [meaning and shorten(meaning, PROSE), next_step(cell)]
        if (missing := needs_more(cell)) is not None:
            said.append(f"This test {missing}.")
        if cell.can_only_fail:
            said.append(f"This attack {CANNOT_PASS}.")
        if self.waiver is not None:
            said.append(waiver_words(self.waiver))
        return tuple(_sentence(one) for one in said if one)

    @property
    def text(self) -> str:
        """All sentences as one paragraph."""
        return " ".join(self.sentences)


def finding_texts(report: Report) -> list[FindingText]:
    """Return every finding in words, in the report's order."""
    index, blocking = ReportIndex.of(report), set(report.summary.blocked_by)
    return [
        FindingText(
            cell=cell,
            control=index.controls.get(cell.control),
            requirement=shorten(index.title_of(cell), TITLE),
            about=shorten(index.class_of(cell), TITLE),
            attacker=shorten(index.attacker_of(cell), TITLE),
            patients=shorten(subgroup_words(cell.subgroup), TITLE),
            told=sentence(cell, index, min_cell=report.policy.min_cell),
            blocks=cell.id in blocking,
            waiver=index.waivers.get(cell.waiver or "", (None, None))[1],
        )
        for cell in report.cells
    ]


def ranked_texts(report: Report) -> list[FindingText]:
    """Return every finding in words, the worst first."""
    texts = {text.cell.id: text for text in finding_texts(report)}
    return [texts[cell.id] for cell in worst_first(report.cells)]


def found_words(cell: CellReport) -> str:
    """Return what was measured, the bound that decides, and what is allowed."""
    allowed = f"allowed: {limit_words(cell.limit, cell.metric)}"
    if cell.estimate is not None:
        value = figure(cell.estimate.value, cell.metric)
        found = f"{value} {counts_words(cell)}, {telling_bound(cell)}"
        told = precision_words(cell, None) if "precision" in cell.reported else None
        said = [found, allowed, none_words(cell), told, f"n {grouped(cell.estimate.n)}"]
        return "; ".join(one for one in said if one)
    if "estimate" in cell.withheld:
        said = [side_words(cell), withheld_words(cell), allowed, none_words(cell)]
        return "; ".join(one for one in said if one)
    return f"nothing was measured; {allowed}"


def waiver_terms(waiver: WaiverReport) -> str:
    """Return what was accepted, until when, and who approved it."""
    return plain(f"{_accepted(waiver)}, {_granted(waiver)}")


def waiver_condition(waiver: WaiverReport) -> str:
    """Return what a waiver accepts of which test, its terms, and what is done meanwhile."""
    counts = "" if waiver.metric is None else f" {measure_of(waiver.metric).counts}"
    meanwhile = "; ".join(waiver.compensating_controls)
    return plain(
        f"of {waiver.cell} {_accepted(waiver)}{counts}; {_granted(waiver)}; meanwhile: {meanwhile}"
    )


def _accepted(waiver: WaiverReport) -> str:
    ceiling = f"{waiver.ceiling:g}"
    if waiver.metric is not None:
        ceiling = setting(waiver.ceiling, waiver.metric)
    return f"accepted up to {ceiling}"


def _granted(waiver: WaiverReport) -> str:
    approvals = ", ".join(f"{one.name} ({one.role}, {one.on})" for one in waiver.approvals)
    return (
        f"from {waiver.starts_on} to the end of {waiver.expires_on} (UTC); approved by {approvals};"
        f" requested by {waiver.requester}; ticket {waiver.ticket}"
    )


def waiver_words(waiver: WaiverReport) -> str:
    """Return a waiver's terms and why it was granted."""
    return (
        f"Waiver {shorten(waiver.id, TITLE)}: {shorten(waiver_terms(waiver), PROSE)};"
        f" {shorten(waiver.justification, PROSE)}"
    )


def params_words(params: Mapping[str, Any]) -> str:
    """Return an attack's parameters as "samples 20, threshold 0.5"."""
    return shorten(", ".join(f"{name} {value}" for name, value in params.items()), PROSE)


def source_words(report: Report, ids: list[str]) -> list[str]:
    """Return sources with what each is a basis for, and which of them nobody has seen."""
    known = {one.id: one for one in report.policy.citations}
    return [
        f"{shorten(known[name].title, TITLE)} ({basis_words(known[name])})"
        if name in known
        else shorten(name, TITLE)
        for name in ids
    ]


def control_words(report: Report, control: ControlReport) -> list[tuple[str, str]]:
    """Return what there is to know of a requirement, as names and plain text."""
    cell = next((cell for cell in report.cells if cell.control == control.id), None)
    enforcement = ENFORCEMENT.get(control.enforcement, control.enforcement)
    rows = [
        ("Why", control.rationale),
        ("Attack", probe_words(control.probe).meaning),
        ("Measured as", title_words(cell) if cell else measure_of(control.metric).title),
        ("Compared with", contrast_words(control)),
        ("Parameters", params_words(control.params)),
        ("Weight", f"{control.severity} severity; {enforcement}"),
        ("What would fix it", "; ".join(control.remediation)),
        ("Sources", "; ".join(source_words(report, control.citations))),
    ]
    return [(name, shorten(value, PROSE)) for name, value in rows if value]


def _sentence(words: str) -> str:
    """Return text that begins and ends like a sentence."""
    text = plain(words).strip()
    if text[:1].isascii():
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
