"""What a report is submitted with: on its first page, in every format that lies there, and kept."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import report_builder as build
import yaml
from auditing import AS_OF, audit, phigate, write_policy

from checker.errors import ExitCode, PluginError
from checker.policy.documents import Submission
from checker.report.formats.html import render_html
from checker.report.formats.json import load_report
from checker.report.model import SignatureReport, SubmissionReport
from checker.report.submission import SubmissionRecord, submitted
from checker.report.wording.submission import is_draft, signed_words, source_words, standing_lines
from checker.run.stored import judge_run_again, load_run, write_reports

DAY = AS_OF[:10]


@pytest.fixture(autouse=True)
def _days_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.fromisoformat(AS_OF) + timedelta(days=3)
    monkeypatch.setattr("checker.clock.current_time", lambda: now)


@pytest.fixture(scope="module")
def judged(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submitted")
    limits = {"hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}}}
    policy = write_policy(folder / "policy.yaml", limits)
    run = audit(policy, simulated_targets / "leaking.yaml", folder / "run").run
    assert phigate("report", run, "--format", "html,json")[0] == 0
    return run


@pytest.fixture
def run(judged: Path, tmp_path: Path) -> Path:
    shutil.copytree(judged, tmp_path / "run")
    return tmp_path / "run"


def told(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def written(run: Path, **spec: Any) -> Path:
    """Write a submission that is about the run's report, with what is given instead."""
    report = told(run)
    whole = {
        "number": "MR-2026-014",
        "documentVersion": "1.0",
        "decision": "Not released",
        "about": {"verdict": report["verdict"], "modelSha256": report["target"]["modelSha256"]},
        "signatures": [
            {"role": "Privacy officer", "name": "Dr. M. Okafor", "on": DAY},
            {"role": "For the board"},
        ],
    }
    document = {
        "apiVersion": "phigate/v1",
        "kind": "Submission",
        "metadata": {"name": "release-board", "version": "1.0.0"},
        "spec": {name: value for name, value in (whole | spec).items() if value is not None},
    }
    path = run.parent / "submission.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_it_stands_in_every_report_of_the_run_and_verify_finds_it(run: Path) -> None:
    assert phigate("report", run, "--audience", "internal", "--format", "html,json")[0] == 0
    code, out = phigate("report", run, "--submission", written(run), "--format", "markdown")
    assert code == 0, out
    internal = run / "internal"
    assert f"wrote {run / 'report.md'}" in out
    assert f"brought up to date, for it lay there: {internal / 'report.html'}" in out
    assert f"wrote {internal}" not in out
    assert not (internal / "report.md").exists()  # nobody asked for it
    for page in (run / "report.html", run / "internal" / "report.html"):
        words = page.read_text()
        assert "MR-2026-014, version 1.0" in words
        assert "Not released" in words
        assert "Dr. M. Okafor" in words
        assert "Release is blocked" in words  # the verdict stays what it is
    assert told(run)["submission"]["signatures"][1] == {
        "role": "For the board", "name": None, "on": None,
    }  # fmt: skip
    code, out = phigate("verify", run)
    assert code == ExitCode.PASS, out
    assert "are as somebody entered them" in " ".join(out.split())
    code, out = phigate("report", run, "--format", "html")  # again, from report.json
    assert code == 0
    assert "MR-2026-014" in (run / "report.html").read_text()


def test_a_name_put_into_the_report_by_hand_is_found(run: Path) -> None:
    assert phigate("report", run, "--submission", written(run))[0] == 0
    path = run / "report.json"
    path.write_text(path.read_text().replace("Dr. M. Okafor", "Dr. N. Obody"))
    code, out = phigate("verify", run)
    assert code != ExitCode.PASS
    assert "they differ in submission" in out


@pytest.mark.parametrize(
    ("spec", "sentences"),
    [
        (
            {
                "about": {"verdict": "pass", "modelSha256": "0" * 64},
                "decision": "Released to everybody",
                "signatures": [{"role": "Officer", "name": "Dr. M. Okafor", "on": "2020-01-01"}],
            },
            (
                "the decision is about a report that says pass",
                "the decision is about another model",
                "2020-01-01 is not between the day",
            ),
        ),
        (
            {"about": None, "signatures": [{"role": "Officer", "on": DAY}]},
            ("has to say what report it is about", "a day without whoever signed"),
        ),
    ],
)
def test_a_record_that_no_command_would_write_does_not_verify(
    run: Path, spec: dict[str, Any], sentences: tuple[str, ...]
) -> None:
    document = Submission.model_validate(yaml.safe_load(written(run, **spec).read_text()))
    record = SubmissionRecord(document=document, sha256="0" * 64)
    (run / "submission.json").write_bytes(record.to_bytes())
    forged = submitted(load_report(run / "report.json"), record)
    write_reports(run, forged, formats=["json", "html", "markdown"])
    whole = judge_run_again(load_run(run), forged)
    write_reports(run, whole, formats=["json", "html"], audience="internal")
    code, out = phigate("verify", run)
    assert code == ExitCode.INCOMPLETE, out
    words = " ".join(out.split())
    assert all(sentence in words for sentence in sentences)
    assert "they differ" not in words  # it is the record itself that is refused
    assert "are as somebody entered them" not in words


def test_a_new_judgement_carries_no_old_signature(run: Path) -> None:
    assert phigate("report", run, "--submission", written(run))[0] == 0
    assert phigate("judge", run, "--as-of", "2026-11-03T00:00:00+00:00")[0] == ExitCode.FAIL
    assert told(run)["submission"] is None
    assert not (run / "submission.json").exists()
    assert phigate("verify", run)[0] == ExitCode.PASS


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"about": {"verdict": "pass", "modelSha256": "0" * 64}}, "a report that says pass"),
        ({"about": {"verdict": "fail", "modelSha256": "0" * 64}}, "about another model"),
        ({"about": None}, "has to say what report it is about"),
        ({"signatures": [{"role": "Board", "on": DAY}]}, "a day without whoever signed"),
        (
            {"signatures": [{"role": "Board", "name": "A", "on": "2020-01-01"}]},
            "is not between the day that the report was judged for",
        ),
        (
            {"signatures": [{"role": "Board", "name": "A", "on": "2999-01-01"}]},
            "is not between the day that the report was judged for",
        ),
    ],
)
def test_a_decision_about_something_else_is_refused_with_its_line(
    run: Path, spec: dict[str, Any], sentence: str
) -> None:
    before = (run / "report.json").read_bytes()
    code, out = phigate("report", run, "--submission", written(run, **spec))
    assert code == ExitCode.USAGE
    assert sentence in out
    assert "submission.yaml:" in out
    assert "Traceback" not in out
    assert (run / "report.json").read_bytes() == before
    assert not (run / "submission.json").exists()


def test_where_one_page_cannot_be_made_nothing_is_submitted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> bytes:
        raise PluginError("PDF reports need WeasyPrint, which is an extra")

    assert phigate("report", run, "--submission", written(run, number="MR-1"))[0] == 0
    (run / "internal" / "report.pdf").write_bytes(b"%PDF-1.7, made on another machine")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr("checker.report.formats.pdf.on_paper", lacking)
    code, out = phigate("report", run, "--submission", written(run))
    assert code == ExitCode.USAGE
    assert "WeasyPrint" in out
    changed = {path for path in before if path.read_bytes() != before[path]}
    assert changed <= {run / "log.txt"}
    assert {path for path in run.rglob("*") if path.is_file()} == {*before}
    (run / "internal" / "report.pdf").unlink()
    assert phigate("report", run, "--submission", written(run))[0] == 0
    assert phigate("verify", run)[0] == ExitCode.PASS
    assert "MR-2026-014" in (run / "internal" / "report.json").read_text()


def test_what_is_signed_is_not_changed(run: Path) -> None:
    (run / "attestation.json").write_text("{}")
    code, out = phigate("report", run, "--submission", written(run))
    assert code == ExitCode.USAGE
    assert "sign again" in out


def test_who_says_so_is_a_program_and_for_its_limits_somebody_named() -> None:
    report = build.passing_report()
    assert "no person judged it" in source_words(report)
    assert source_words(report).endswith("for the policy: Model release committee.")
    nobody = report.policy.model_copy(update={"owner": None})
    assert source_words(report.model_copy(update={"policy": nobody})).endswith("nobody is named.")


def test_a_report_is_a_draft_until_everybody_signed_everything_off() -> None:
    report = build.passing_report()
    assert standing_lines(report)[-1] == "Nobody has signed this report."
    line = SignatureReport(role="Board", name="A. Berg", on="2026-12-01")
    submission = SubmissionReport(
        id="x", version="1", sha256="0" * 64, signatures=[line, SignatureReport(role="Officer")]
    )
    half = report.model_copy(update={"submission": submission})
    assert signed_words(half) == (
        "Entered as signed by A. Berg (Board, 2026-12-01); one line to sign is empty."
    )
    policy = report.policy.model_copy(
        update={
            "adopted": True,
            "adopted_by": "the board",
            "attribute_classes": [
                one.model_copy(update={"review": "reviewed"})
                for one in report.policy.attribute_classes
            ],
        }
    )
    whole = submission.model_copy(update={"signatures": [line]})
    for policies, entered, draft in (
        (policy, whole, False),
        (report.policy, whole, True),
        (policy, submission, True),
        (policy, None, True),
    ):
        one = report.model_copy(update={"policy": policies, "submission": entered})
        assert is_draft(one) is draft
        assert ("<strong>Draft.</strong>" in render_html(one)) is draft
