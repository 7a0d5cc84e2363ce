"""The questions of an annex, as they are written in `reports/annexes`, and how each is known.

An annex that cites what nobody read is worse than none. So what a paragraph asks may stand only in
rows whose text was read or seen as quoted; of the others there is a topic.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, Self, get_args

import yaml
from pydantic import Field, model_validator

from checker.canonical import ClosedModel
from checker.policy.documents import Study
from checker.report.model import SubmissionReport
from checker.resources import resource

Known = Literal["text", "quoted", "secondary", "memory"]
AnnexName = Literal["edpb", "cnil", "hipaa", "ethics"]
ANNEXES: tuple[AnnexName, ...] = get_args(AnnexName)

SEEN: frozenset[Known] = frozenset(("text", "quoted"))
"""How a row has to be known for a citation of it to be printed."""


class Question(ClosedModel):
    """A row of an annex.

    `place` is the paragraph; `asks` is what stands there, in our words. `answers` are names of what
    a report says (`answers.ANSWERS`, or `kind/NAME` of attacks), `declared` keys of a report where
    the owner answers, below `study` or `submission`.
    """

    place: str | None = None
    known: Known
    topic: str
    asks: str | None = None
    answers: list[str] = Field(default_factory=list)
    declared: list[str] = Field(default_factory=list)

    @property
    def is_seen(self) -> bool:
        """Whether it may be printed as a citation."""
        return self.known in SEEN

    @model_validator(mode="after")
    def _claims_no_more_than_is_known(self) -> Self:
        if self.is_seen != (self.asks is not None) or (self.is_seen and self.place is None):
            raise ValueError(
                f"'{self.topic}': what is read or quoted has a place and says what stands there;"
                " what is not says neither"
            )
        return self


class Source(ClosedModel):
    """Where the questions of a table come from, and what has to be known of that."""

    title: str
    url: str
    note: str


class QuestionTable(ClosedModel):
    """Questions from one source."""

    title: str
    source: Source
    rows: list[Question]


class Questions(ClosedModel):
    """An annex before it is filled; `coverage` says whether attacks are listed by kind first."""

    title: str
    lead: str
    coverage: bool
    tables: list[QuestionTable]


class NamedAt(ClosedModel):
    """Where a kind of attack is named, and how that is known."""

    place: str
    known: Known


class AttackKind(ClosedModel):
    """A kind of attack that guidance or the literature names, and which of our tests are of it.

    `lacking` says why there is none where nothing of it was run, and `partly` what of it is not
    covered even where something was.
    """

    id: str
    title: str
    meaning: str
    named: NamedAt | None = None
    tests: dict[str, Literal["all"] | list[str]] = Field(default_factory=dict)
    partly: str | None = None
    lacking: str = "The policy asks for no such attack."

    def has(self, probe: str, metric: str) -> bool:
        """Whether an attack's tests of a metric are of this kind."""
        metrics = self.tests.get(probe, [])
        return metrics == "all" or metric in metrics


class _Kinds(ClosedModel):
    kinds: list[AttackKind]


@cache
def questions(name: AnnexName) -> Questions:
    """Read the questions of an annex."""
    return Questions.model_validate(_read(name))


@cache
def attack_kinds() -> tuple[AttackKind, ...]:
    """Read the kinds of attack, in the order in which they are listed."""
    return tuple(_Kinds.model_validate(_read("attacks")).kinds)


def _read(name: str) -> object:
    return yaml.safe_load(resource(f"reports/annexes/{name}.yaml").read_text(encoding="utf-8"))


def declared_value(study: Study, submission: SubmissionReport | None, key: str) -> object:
    """Return what a key such as `study.data.source` declares, or None where it declares nothing.

    Args:
        study: what the target declares.
        submission: what the report is submitted with, for keys such as `submission.decision`.
        key: where it is written.

    Raises:
        KeyError: there is no such key.
    """
    head, *names = key.split(".")
    if head not in ("study", "submission") or not names:
        raise KeyError(key)
    value: object = study if head == "study" else submission
    kind: type = Study if head == "study" else SubmissionReport
    for name in names:
        fields = getattr(kind, "model_fields", {})
        found = next((field for field, info in fields.items() if name == info.alias), None)
        if found is None:
            raise KeyError(key)
        value = None if value is None else getattr(value, found)
        kind = type(value)
    return value
