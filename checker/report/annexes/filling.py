"""An annex filled: each question beside what the report says and what is declared or submitted.

What nobody answered stands there as not declared, with the key to write it in. A blank would read
as if there were nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from checker.policy.documents.study import DifferentialPrivacy
from checker.report.annexes.answers import ANSWERS
from checker.report.annexes.coverage import Covered, coverage
from checker.report.annexes.questions import (
    AnnexName,
    Question,
    QuestionTable,
    declared_value,
    questions,
)
from checker.report.model import Report
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import plain
from checker.report.wording.submission import signatures, signed_words

UNCONFIRMED = "to be confirmed against the source"
SUBMISSION = "Submission:"
NOT_DECLARED = "not declared"
WITHHELD = "declared, and withheld from this audience"
HOW_KNOWN = {"text": "text read", "quoted": "seen as quoted by others"}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the owner declares under a key; `value` is None where nothing is.

    Args:
        key: where it is written, such as `spec.study.data.source` of the target, or
            `Submission: spec.decision`.
        label: its last part, in words.
        value: in words.
        answered: whether anything is declared, shown here or not.
    """

    key: str
    label: str
    value: str | None
    answered: bool

    @property
    def words(self) -> str:
        """What is declared, or that nothing is and where it would be."""
        if self.value is not None:
            return self.value
        return WITHHELD if self.answered else f"{NOT_DECLARED} ({self.key})"


@dataclass(frozen=True, slots=True)
class FilledRow:
    """A question with its answers.

    Args:
        place: the paragraph and how it is known, or that it is to be confirmed.
        topic: what it is about.
        asks: what stands there; None for what was not seen.
        said: what the report says, in sentences.
        declared: what the owner declares.
    """

    place: str
    topic: str
    asks: str | None
    said: tuple[str, ...]
    declared: tuple[Declared, ...]

    @property
    def open(self) -> bool:
        """Whether something that only the owner can answer is not answered."""
        return any(not one.answered for one in self.declared)


@dataclass(frozen=True, slots=True)
class FilledTable:
    """Questions from one source, with their answers."""

    asked: QuestionTable
    rows: tuple[FilledRow, ...]


@dataclass(frozen=True, slots=True)
class Annex:
    """An annex as it is laid out; `kinds` is empty where attacks are not listed by kind."""

    name: AnnexName
    title: str
    lead: str
    kinds: tuple[Covered, ...]
    tables: tuple[FilledTable, ...]

    @property
    def standing(self) -> str:
        """How many of the questions are open, in a sentence or two."""
        rows = [row for table in self.tables for row in table.rows]
        left = sum(row.open for row in rows)
        keys = {one.key for row in rows for one in row.declared if not one.answered}
        where = [
            name
            for name, has in (
                ("the target's study", any(not key.startswith(SUBMISSION) for key in keys)),
                ("the submission", any(key.startswith(SUBMISSION) for key in keys)),
            )
            if has
        ]
        said = (
            "Everything that is asked of the owner is declared."
            if not left
            else f"Of {grouped(len(rows))} points {grouped(left)} wait for the owner:"
            f" {grouped(len(keys))} keys of {' and '.join(where)} are not declared."
        )
        return f"{said} What is declared was not checked by phigate."


def fill(name: AnnexName, report: Report) -> Annex:
    """Fill an annex from a report as its audience may see it."""
    asked, kinds = questions(name), coverage(report)
    return Annex(
        name=name,
        title=asked.title,
        lead=asked.lead,
        kinds=kinds if asked.coverage else (),
        tables=tuple(
            FilledTable(table, tuple(_row(report, row, kinds) for row in table.rows))
            for table in asked.tables
        ),
    )


def _row(report: Report, row: Question, kinds: Sequence[Covered]) -> FilledRow:
    by_kind = {f"kind/{one.id}": one.words for one in kinds}
    said = [
        sentence
        for name in row.answers
        for sentence in ([by_kind[name]] if name in by_kind else ANSWERS[name](report))
    ]
    return FilledRow(
        place=f"{row.place} ({HOW_KNOWN[row.known]})" if row.is_seen else UNCONFIRMED,
        topic=row.topic,
        asks=row.asks,
        said=tuple(said),
        declared=tuple(_declared(report, key) for key in row.declared),
    )


def _declared(report: Report, key: str) -> Declared:
    value = declared_value(report.study, report.submission, key)
    withheld = key.removeprefix("study.") in report.study.withheld
    if key == "submission.signatures":  # lines that nobody signed answer nothing
        signed = any(one.on is not None for one in signatures(report))
        value = signed_words(report).removesuffix(".") if signed else None
    of_submission = key.startswith("submission.")
    return Declared(
        key=f"{SUBMISSION} spec.{key.removeprefix('submission.')}"
        if of_submission
        else f"spec.{key}",
        label=_label(key),
        value=None if value is None else _words(value),
        answered=value is not None or withheld,
    )


def _label(key: str) -> str:
    """Return the last part of a key in words: "legalBasis" is "legal basis"."""
    last = key.rpartition(".")[2]
    return "".join(f" {char.lower()}" if char.isupper() else char for char in last)


def _words(value: object) -> str:
    if isinstance(value, DifferentialPrivacy):
        return f"ε {value.epsilon:g}, δ {value.delta:g}, for each {plain(value.unit)}"
    if isinstance(value, bool | date | str):
        return plain(value)
    return grouped(value) if isinstance(value, int) else f"{value:g}"
