"""What a target keeps from being looked for or asked, and reports say so.

Codes that it declares to be its own, and patients who have a class by codes without a token.
"""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import report_builder as build
from auditing import AS_OF, phigate, write_policy
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
UNTOLD = "codes that no token of the target names"


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


# --- codes without a token ----------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_for_people_names_classes_of_which_patients_were_not_asked(name: str) -> None:
    report = build.passing_report()
    assert UNTOLD not in html.unescape(FORMATS[name](report))
    target = report.target.model_copy(update={"untold_classes": ["hiv", "psychosis"]})
    said = html.unescape(FORMATS[name](report.model_copy(update={"target": target})))
    assert UNTOLD in said
    assert "who have hiv and psychosis by codes" in said


@pytest.mark.parametrize(
    ("left_out", "of", "said"), [(11, 100, True), (10, 100, False), (40, 801, False)]
)
def test_few_patients_and_small_parts_of_a_class_are_not_named(
    checked: Callable[[str], Checked], left_out: int, of: int, said: bool
) -> None:
    run = load_run(checked("sound").run)
    found = run.plan.classes["hiv"]
    more = {"untold": ["X"], "untold_patients": left_out, "patients": of}
    classes = run.plan.classes | {"hiv": found.model_copy(update=more)}
    own = run.plan.model_copy(update={"classes": classes})
    manifest = run.manifest.model_copy(update={"plan_sha256": own.sha256})
    judged = judge_run(
        replace(run, plan=own, manifest=manifest), as_of=datetime.fromisoformat(AS_OF)
    )
    assert judged.target.untold_classes == (["hiv"] if said else [])


def test_a_class_of_which_the_vocabulary_lacks_a_code_says_whom_it_leaves_out(
    workspace: Path,
) -> None:
    """Whoever leaves the commonest code out has the class measured on the others."""
    vocabulary = workspace / "vocab.json"
    ids = json.loads(vocabulary.read_text())
    gone = "DIAGNOSIS//ICD//10//B20"
    policy = write_policy(workspace / "one.yaml", {"hiv-disclosure": {}})

    def planned() -> tuple[dict[str, Any], str]:
        found = json.loads(phigate("plan", policy, workspace / "sound.yaml", "--json")[1])
        return found["classes"]["hiv"], " ".join(
            phigate("plan", policy, workspace / "sound.yaml")[1].split()
        )

    whole, said = planned()
    assert (whole["untold"], whole["untoldPatients"]) == ([], 0)
    assert "are not asked, for no token" not in said
    vocabulary.write_text(json.dumps({code: i for code, i in ids.items() if code != gone}))
    part, said = planned()
    assert part["untold"] == [gone]
    assert part["untoldPatients"] > 0.1 * part["patients"]
    assert f"{part['untoldPatients']:,} of {part['patients']:,} patients who have it" in said
