"""A sound model, and what nobody may release all the same: prerequisites through a whole audit."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import AS_OF, MEASURED, write_policy
from command_line import Command, Outcome

from checker.canonical import sha256_hex
from checker.errors import ExitCode
from checker.report.formats.json import load_report
from checker.report.wording.prerequisites import DECLARED
from checker.report.wording.reasons import REASONS
from checker.run.stored import write_reports

MEMBERSHIP = {"membership": {"limits": {"record": {"fail": 0.7}}}}
TITLE = "The licence of the training data allows this release"
FORMATS = ("html", "markdown", "model-card", "junit", "sarif", "sarif-github", "oscal")


@pytest.fixture
def folder(workspace: Path) -> Path:
    """Targets, and a policy of one control that presupposes a licence."""
    path = write_policy(workspace / "policy.yaml", MEMBERSHIP)
    document = yaml.safe_load(path.read_text())
    document["spec"]["prerequisites"] = {"licence": {"title": TITLE, "maxAge": "P90D"}}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return workspace


def model_of(phigate: Command, folder: Path, target: str = "sound") -> str:
    plan = phigate("plan", folder / "policy.yaml", folder / f"{target}.yaml", "--json")
    return str(json.loads(plan.out)["target"]["modelSha256"])


def declare(folder: Path, target: str = "sound", **declared: Any) -> None:
    path = folder / f"{target}.yaml"
    document = yaml.safe_load(path.read_text())
    whole = {
        "holds": True, "on": "2026-10-15", "by": "A. Lindqvist", "document": "DUA 2026-17",
        "release": "public-weights", **declared,
    }  # fmt: skip
    document["spec"]["declarations"] = {"licence": whole}
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def check(phigate: Command, folder: Path, *more: object) -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / "sound.yaml", "--out", folder / "run",
        "--as-of", AS_OF, "--format", "json", *more,
    )  # fmt: skip


def presupposed(run: Path) -> dict[str, Any]:
    (one,) = json.loads((run / "report.json").read_text())["prerequisites"]
    return dict(one)


def test_undeclared_nothing_is_released_and_everybody_says_why(
    phigate: Command, folder: Path
) -> None:
    plan = phigate("plan", folder / "policy.yaml", folder / "sound.yaml")
    assert "never" in plan.out
    assert "cannot be released with these patients: prerequisite:licence" in " ".join(
        plan.out.split()
    )
    outcome = check(phigate, folder)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert "prerequisite licence: The target declares nothing of it." in outcome.err
    assert "Release is blocked: nobody declares that a prerequisite holds" in outcome.out
    run = folder / "run"
    assert presupposed(run)["reason"] == "not-declared"
    report = load_report(run / "report.json")
    assert [cell.verdict for cell in report.cells] == ["pass"]
    for path in write_reports(run, report, formats=FORMATS):
        text = " ".join(path.read_text().split())
        assert TITLE in text, path.name
        assert DECLARED in text, path.name
        assert REASONS["not-declared"].meaning[:30] in text, path.name
    assert "<error" in (run / "report.junit.xml").read_text()
    verified = phigate("verify", run)
    assert verified.code == ExitCode.PASS, verified.out
    assert "0 of 1 prerequisites are declared by the model's owner" in verified.out


def test_declared_of_this_model_and_release_it_passes(phigate: Command, folder: Path) -> None:
    declare(folder, model=model_of(phigate, folder))
    outcome = check(phigate, folder)
    assert outcome.code == ExitCode.PASS, outcome.err
    found = presupposed(folder / "run")
    assert (found["verdict"], found["declaredBy"], found["document"]) == (
        "pass", "A. Lindqvist", "DUA 2026-17",
    )  # fmt: skip
    report = load_report(folder / "run" / "report.json")
    for path in write_reports(folder / "run", report, formats=FORMATS[:4]):
        assert "A. Lindqvist" in path.read_text(), path.name
    page = (folder / "run" / "report.html").read_text()
    assert "It rests on what the model&#39;s owner declares" in page
    later = phigate("verify", folder / "run", "--as-of", "2027-01-20T00:00:00+00:00")
    assert later.code != ExitCode.PASS
    assert "inconclusive" in later.out  # 97 days old by then


@pytest.mark.parametrize(
    ("declared", "code", "reason"),
    [
        ({"holds": False}, ExitCode.FAIL, "declared-not-to-hold"),
        ({"on": "2026-11-02"}, ExitCode.INCONCLUSIVE, "declared-in-future"),
        ({"on": "2026-01-01"}, ExitCode.INCONCLUSIVE, "declaration-outdated"),
        ({"release": "gated"}, ExitCode.INCONCLUSIVE, "declared-for-another-release"),
    ],
)
def test_what_counts_for_nothing_blocks_a_sound_model(
    phigate: Command, folder: Path, declared: dict[str, Any], code: ExitCode, reason: str
) -> None:
    declare(folder, model=model_of(phigate, folder), **declared)
    outcome = check(phigate, folder)
    assert outcome.code == code
    assert presupposed(folder / "run")["reason"] == reason
    assert "Release is blocked" in outcome.out


def test_the_declaration_of_the_model_before_does_not_let_this_one_pass(
    phigate: Command, folder: Path
) -> None:
    declare(folder, model=model_of(phigate, folder, "leaking"))
    assert check(phigate, folder).code == ExitCode.INCONCLUSIVE
    assert presupposed(folder / "run")["reason"] == "declaration-of-another-model"


def test_a_declaration_that_is_edited_in_the_plan_is_found(
    phigate: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(folder, model=model_of(phigate, folder), holds=False)
    assert check(phigate, folder).code == ExitCode.FAIL
    path = folder / "run" / "plan.json"
    text = path.read_text()
    assert text.count('"holds": false') == 1
    edited = text.replace('"holds": false', '"holds": true')
    path.write_text(edited)
    verified = phigate("verify", folder / "run")
    assert verified.code != ExitCode.PASS
    assert "BROKEN" in verified.out
    monkeypatch.setattr("checker.clock.current_time", lambda: MEASURED + timedelta(days=1))
    again = phigate("judge", folder / "run", "--as-of", AS_OF, "--format", "json")
    assert again.code != ExitCode.PASS  # the manifest is of another plan
    manifest = folder / "run" / "manifest.json"
    was, now = (sha256_hex(one.encode()) for one in (text, edited))
    assert was in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(was, now))
    known = phigate("verify", folder / "run")
    assert "its target is not the one that its digest names" in known.out


def test_editing_the_target_after_the_run_changes_no_verdict(
    phigate: Command, folder: Path
) -> None:
    model = model_of(phigate, folder)
    declare(folder, model=model, holds=False)
    assert check(phigate, folder).code == ExitCode.FAIL
    declare(folder, model=model)
    again = phigate("judge", folder / "run", "--as-of", AS_OF, "--format", "json")
    assert again.code == ExitCode.FAIL
    refused = check(phigate, folder)  # another plan than the folder's
    assert refused.code == ExitCode.INCOMPLETE
    assert "a target that is described otherwise" in refused.err


def test_another_policy_over_the_run_asks_its_own_prerequisites(
    phigate: Command, folder: Path
) -> None:
    declare(folder, model=model_of(phigate, folder))
    assert check(phigate, folder).code == ExitCode.PASS
    document = yaml.safe_load((folder / "policy.yaml").read_text())
    document["metadata"]["name"] = "stricter"
    document["spec"]["prerequisites"]["egress"] = {"title": "The registry lets the model leave"}
    (folder / "stricter.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    judged = phigate(
        "judge", folder / "run", "--policy", folder / "stricter.yaml", "--as-of", AS_OF,
        "--format", "json",
    )  # fmt: skip
    assert judged.code == ExitCode.INCONCLUSIVE, judged.out
