"""Codes that a target declares to be its own were not looked for, and reports say so."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
import report_builder as build
from auditing import AS_OF
from command_line import Checked

from checker.cli.harmless import HarmlessConsole
from checker.planning.model import UnreadVocabulary
from checker.report.formats.console import print_report
from checker.report.formats.html import render_html
from checker.report.formats.markdown import render_markdown
from checker.report.formats.modelcard import render_model_card
from checker.report.formats.oscal import OSCAL
from checker.report.model import Report
from checker.report.wording.declared import local_words
from checker.run.stored import judge_run, load_run

SAYS = "declares them to be local"


def with_local(*names: str) -> Report:
    report = build.passing_report()
    target = report.target.model_copy(update={"local_vocabularies": list(names)})
    return report.model_copy(update={"target": target})


def console(report: Report) -> str:
    out = io.StringIO()
    print_report(report, HarmlessConsole(file=out, width=400))
    return out.getvalue()


FORMATS: dict[str, Callable[[Report], str]] = {
    "console": console,
    "html": render_html,
    "markdown": render_markdown,
    "model-card": render_model_card,
    "oscal": lambda report: OSCAL.render(report).decode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_for_people_names_what_was_declared_local(name: str) -> None:
    render = FORMATS[name]
    assert SAYS not in render(with_local())
    said = render(with_local("READ", "<b>LAB</b>"))
    assert SAYS in said
    assert "READ" in said
    assert name in ("console", "oscal") or "<b>LAB</b>" not in said


def test_many_are_counted() -> None:
    assert "codes of A: the target" in local_words(["A"])
    assert "codes of A, B, C, D, E and 2 more: the" in local_words(list("ABCDEFG"))


def test_a_report_takes_them_from_its_plan(checked: Callable[[str], Checked]) -> None:
    run = load_run(checked("sound").run)

    def judged(*problems: str) -> list[str]:
        unread = [
            UnreadVocabulary.model_validate(
                {"vocabulary": f"V{place}", "kind": None, "problem": problem, "detail": "",
                 "codes": 1, "events": 1, "patients": 1, "examples": ["x"]}
            )
            for place, problem in enumerate(problems)
        ]  # fmt: skip
        data = run.plan.data.model_copy(update={"unread": unread})
        own = run.plan.model_copy(update={"data": data})
        manifest = run.manifest.model_copy(update={"plan_sha256": own.sha256})
        judged = judge_run(
            replace(run, plan=own, manifest=manifest), as_of=datetime.fromisoformat(AS_OF)
        )
        return judged.target.local_vocabularies

    assert judged() == []
    # what is merely not read may not be more than a twentieth, and is no word of the owner's
    assert judged("declared", "unread", "declared", "restored") == ["V0", "V2"]
