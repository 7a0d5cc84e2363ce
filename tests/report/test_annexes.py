"""Annexes: what is asked, what is answered, what is not, and that nothing is cited unread."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import report_builder as build
from hostile import HOSTILE
from markdown_it import MarkdownIt
from pydantic import BaseModel, ValidationError

from checker.attacks.api import attack_names, load_attack
from checker.plugins import load_plugin
from checker.policy.documents import Study
from checker.report.annexes.answers import ANSWERS
from checker.report.annexes.coverage import Covered, coverage
from checker.report.annexes.filling import NOT_DECLARED, UNCONFIRMED, WITHHELD, fill
from checker.report.annexes.questions import (
    ANNEXES,
    AnnexName,
    Question,
    attack_kinds,
    declared_value,
    questions,
)
from checker.report.disclosure_control import for_audience
from checker.report.formats.api import ReportFormat
from checker.report.model import CellReport, Report, StudyReport

TEXTS = [f"annex-{name}{form}" for name in ANNEXES for form in ("", "-markdown")]
DECLARED = Study.model_validate_json(
    '{"protocol": "HS 41", "data": {"legalBasis": "Hospital act, section 25"}, "training":'
    ' {"patients": 7351, "tokens": 9907113, "epochs": 3, "parameters": 12000000,'
    ' "differentialPrivacy": {"epsilon": 8, "delta": 1e-6, "unit": "patient"}}}'
)


@cache
def report(audience: str = "shared") -> Report:
    whole = build.every_verdict_report().model_copy(update={"study": StudyReport(**dict(DECLARED))})
    return whole if audience == "internal" else for_audience(whole, "shared")


def rendered(name: str, what: Report) -> str:
    found: ReportFormat = load_plugin("phigate.reports", name)
    return found.render(what).decode()


# --- the questions ------------------------------------------------------------------------------


def keys_of(model: type[BaseModel], path: str = "study") -> Iterator[str]:
    for info in model.model_fields.values():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, f"{path}.{info.alias}")
        else:
            yield f"{path}.{info.alias}"


@pytest.mark.parametrize("name", ANNEXES)
def test_every_question_has_answers_that_exist(name: AnnexName) -> None:
    kinds = {f"kind/{one.id}" for one in attack_kinds()}
    for row in (row for table in questions(name).tables for row in table.rows):
        assert row.answers or row.declared, row.topic
        assert {*row.answers} <= {*ANSWERS} | kinds
        for key in row.declared:
            declared_value(Study(), None, key)
    assert len([row for table in questions(name).tables for row in table.rows]) > 6


def test_every_key_of_a_study_answers_a_question_and_every_answer_is_used() -> None:
    rows = [r for name in ANNEXES for table in questions(name).tables for r in table.rows]
    asked = {"number", "documentVersion", "replaces", "decision", "signatures"}
    assert {key for row in rows for key in row.declared} == {
        *keys_of(Study),
        *(f"submission.{name}" for name in asked),
    }
    assert {*ANSWERS} <= {answer for row in rows for answer in row.answers}
    for key in ("study.data.licence", "submission.verdict", "submission.decision.by", "target.id"):
        with pytest.raises(KeyError):
            declared_value(Study(), build.submission(), key)


def test_every_metric_with_a_limit_is_of_one_kind_of_attack() -> None:
    for probe in attack_names():
        for metric in load_attack(probe).metrics.values():
            kinds = [kind.id for kind in attack_kinds() if kind.has(probe, metric.name)]
            assert len(kinds) == (1 if metric.limitable else len(kinds)), (probe, metric.name)
    known = {probe: {*load_attack(probe).metrics} for probe in attack_names()}
    for kind in attack_kinds():
        for probe, metrics in kind.tests.items():
            assert metrics == "all" or {*metrics} <= known[probe]


@pytest.mark.parametrize(
    "row",
    [
        {"known": "secondary", "topic": "t", "asks": "It asks."},
        {"known": "memory", "topic": "t", "asks": "It asks.", "place": "¶ 1"},
        {"known": "text", "topic": "t", "place": "¶ 1"},
        {"known": "quoted", "topic": "t", "asks": "It asks."},
        {"known": "hearsay", "topic": "t"},
    ],
)
def test_a_row_that_claims_more_than_is_known_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Question.model_validate(row)


@pytest.mark.parametrize("name", ANNEXES)
def test_only_what_was_read_or_quoted_is_printed_as_a_citation(name: AnnexName) -> None:
    unseen = [r for table in questions(name).tables for r in table.rows if not r.is_seen]
    seen = {r.place for table in questions(name).tables for r in table.rows if r.is_seen}
    text = rendered(f"annex-{name}-markdown", report())
    for row in unseen:
        (line,) = [one for one in text.split("\n") if one.startswith(f"| **{row.topic}** (")]
        assert line.startswith(f"| **{row.topic}** ({UNCONFIRMED}) |")
        assert row.place is None or row.place in seen or row.place not in text
    assert text.count(f"({UNCONFIRMED})") == len(unseen)


# --- the answers --------------------------------------------------------------------------------


def test_what_the_owner_says_stands_there_and_what_not_is_said_with_its_key() -> None:
    text = rendered("annex-edpb-markdown", report())
    assert "legal basis: Hospital act, section 25" in text
    assert "ε 8, δ 1e-06, for each patient" in text
    assert f"period: {NOT_DECLARED} (spec.study.data.period)" in text
    page = rendered("annex-edpb", report())
    assert "Hospital act, section 25" in page
    assert f"{NOT_DECLARED} (spec.study.data.period)" in page
    assert "Of 31 points 22 wait for the owner: 21 keys of the target&#39;s study" in page


def test_what_a_report_is_submitted_with_answers_who_decided_and_signed() -> None:
    entered = report().model_copy(update={"submission": build.submission()})
    text = rendered("annex-ethics-markdown", entered).replace("&#8203;", "")
    assert "decision: Not released; a new model is expected in January" in text
    assert "number: MR-2026-014" in text
    assert (
        "signatures: Entered as signed by Dr. M. Okafor (Privacy officer, 2026-12-01); one line"
        " to sign is empty"
    ) in text
    assert "Dr. M. Okafor" in rendered("annex-hipaa", entered)
    lines = [one.model_copy(update={"on": None}) for one in build.submission().signatures]
    unsigned = build.submission().model_copy(update={"signatures": lines, "decision": None})
    half = report().model_copy(update={"submission": unsigned})
    open_text = rendered("annex-ethics-markdown", half).replace("&#8203;", "")
    for name in ("signatures", "decision"):
        assert f"{name}: {NOT_DECLARED} (Submission: spec.{name})" in open_text
    assert "keys of the target's study and the submission are not declared" in open_text
    assert "number: MR-2026-014" in open_text


def test_nothing_declared_is_nothing_claimed() -> None:
    bare = report().model_copy(update={"study": StudyReport()})
    for name in ANNEXES:
        rows = [row for table in fill(name, bare).tables for row in table.rows]
        assert all(one.value is None and not one.answered for r in rows for one in r.declared)
        assert all(row.open for row in rows if row.declared)


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_withheld_from_an_audience_is_in_no_annex(name: str) -> None:
    shared, internal = rendered(name, report()), rendered(name, report("internal"))
    for secret in ("7351", "7 351", "9907113", "9 907 113"):
        assert secret not in shared
    if "edpb" in name:
        assert WITHHELD in shared
        assert "7 351" in internal.replace("\N{NO-BREAK SPACE}", " ")
    assert "Confidential" in internal


@pytest.mark.parametrize("name", TEXTS)
def test_every_annex_says_that_no_anonymity_is_claimed(name: str) -> None:
    text = rendered(name, report())
    assert "No claim of anonymity is made" in text
    assert "This is not proof of anonymity" in text


def test_limits_above_none_are_said_to_support_no_claim() -> None:
    words = "no claim of anonymity is supported"
    assert words in rendered("annex-edpb-markdown", report())
    whole = report()
    strict = whole.model_copy(
        update={
            "cells": [
                cell.model_copy(update={"limit": cell.limit.model_copy(update={"fail": 0.0})})
                for cell in whole.cells
            ]
        }
    )
    assert words not in rendered("annex-edpb-markdown", strict)


# --- attacks by kind ----------------------------------------------------------------------------


def kinds_of(cells: list[CellReport]) -> dict[str, Covered]:
    whole = report("internal").model_copy(update={"cells": cells})
    return {one.id: one for one in coverage(whole)}


def test_a_kind_is_run_not_run_or_asked_for_and_undecided() -> None:
    ran = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    nothing = ran.model_copy(
        update={"estimate": None, "verdict": "inconclusive", "reason": "too-few-eligible"}
    )
    assert kinds_of([])["attribute-inference"].standing == "not run"
    undecided = kinds_of([nothing])["attribute-inference"]
    assert undecided.standing == "asked for, not decided"
    assert undecided.result[0] == "1 inconclusive."
    assert undecided.result[1].startswith("Why: ")
    found = kinds_of([nothing, ran])["attribute-inference"]
    assert found.standing == "run"
    assert "1 inconclusive" in found.result[0]
    assert found.result[1].startswith("Worst: ")
    assert {one.standing for one in kinds_of([ran]).values()} == {"run", "not run"}


def test_what_phigate_cannot_do_is_listed_as_not_run_with_why() -> None:
    kinds = kinds_of(report().cells)
    for name in ("inversion", "reconstruction"):
        assert kinds[name].standing == "not run"
        assert kinds[name].result == (
            next(one.lacking for one in attack_kinds() if one.id == name),
        )
        assert "phigate has no such attack" in kinds[name].result[0]
    assert "publishing the weights" in " ".join(kinds["white-box"].result)
    assert "others" not in kinds


def test_an_attack_of_no_known_kind_is_listed_as_another() -> None:
    cell = report("internal").cells[0].model_copy(update={"probe": "house-probe"})
    kinds = kinds_of([cell])
    assert "house-probe" in kinds["others"].meaning
    assert kinds["attribute-inference"].standing == "not run"


def test_worst_is_the_worst_and_a_probe_that_cannot_pass_says_so() -> None:
    cells = [cell for cell in report("internal").cells if cell.probe == "attribute-disclosure"]
    assert any(cell.verdict == "fail" for cell in cells)
    found = kinds_of(cells)["attribute-inference"]
    assert "fail" in found.result[0]
    only_fails = [cell.model_copy(update={"can_only_fail": True}) for cell in cells]
    assert "cannot pass" in " ".join(kinds_of(only_fails)["attribute-inference"].result)
    assert "cannot pass" not in " ".join(found.result)


# --- text of somebody else ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_an_owner_writes_can_only_be_read(kind: str) -> None:
    payload = HOSTILE[kind][:1900]
    study = DECLARED.model_copy(
        update={"data": DECLARED.data.model_copy(update={"source": f"wards {payload}"})}
    )
    hostile = report().model_copy(update={"study": StudyReport(**dict(study))})
    page = rendered("annex-edpb", hostile)
    harmless = rendered("annex-edpb", report())
    for tag in ("<script", "<img", "<a ", "<p", "<td", "<b>"):
        assert page.count(tag) == harmless.count(tag)
    assert "javascript:alert" not in re.sub(r">[^<]*<", "><", page)
    parsed = (
        MarkdownIt("commonmark").enable("table").parse(rendered("annex-edpb-markdown", hostile))
    )
    plain = (
        MarkdownIt("commonmark").enable("table").parse(rendered("annex-edpb-markdown", report()))
    )
    assert [one.type for one in parsed] == [one.type for one in plain]
