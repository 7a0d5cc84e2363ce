"""The gate as its users have it: documents in, verdict, evidence and exit code out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from auditing import AS_OF, LATE, MEASURED
from command_line import Checked, Command, Outcome

from benchmarks.simulated_gate import audit_seed
from checker.errors import ExitCode

ROOT = Path(__file__).parents[2]
Check = Callable[[str], Checked]


def without_times(report: str) -> str:
    return re.sub(r'"(started|finished|measured|asOf|runSha256)": "[^"]*"', r'"\1": "-"', report)


def check(phigate: Command, folder: Path, name: str, run: str = "run", *more: object) -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / f"{name}.yaml", "--out", folder / run,
        "--as-of", AS_OF, *more,
    )  # fmt: skip


def test_a_leaking_target_fails_and_the_report_names_class_attacker_and_membership(
    checked: Check,
) -> None:
    found = checked("leaking")
    assert found.outcome.code == ExitCode.FAIL
    report = json.loads((found.run / "report.json").read_text())
    failed = {cell["id"] for cell in report["cells"] if cell["verdict"] == "fail"}
    assert "membership/record/all" in failed
    assert "hiv-disclosure/events-10/all" in failed
    assert "must not be released" in found.outcome.out
    assert (found.run / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_sound_target_passes(checked: Check) -> None:
    found = checked("sound")
    assert found.outcome.code == ExitCode.PASS, found.outcome.out
    report = json.loads((found.run / "report.json").read_text())
    assert report["verdict"] == "pass"
    assert all(c["verdict"] == "pass" for c in report["cells"] if c["gating"])


@pytest.mark.parametrize("seed", [1, 2])
def test_verdicts_hold_on_other_seeds(seed: int) -> None:
    reports = audit_seed(seed)
    assert {name: r.verdict for name, r in reports.items()} == {"leaking": "fail", "sound": "pass"}


def test_a_finished_run_is_verified_and_a_changed_one_is_not(
    phigate: Command, checked: Check
) -> None:
    found = checked("sound")
    run = found.run
    assert phigate("verify", run).code == ExitCode.PASS
    evidence = sorted((run / "evidence").glob("*.parquet"))[0]
    content = bytearray(evidence.read_bytes())
    content[len(content) // 2] ^= 1
    evidence.write_bytes(content)
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert evidence.name in outcome.out
    again = check(phigate, found.folder, "sound")
    assert again.code == ExitCode.INCOMPLETE
    assert evidence.name in again.err


def test_an_edited_report_is_found_out(phigate: Command, checked: Check) -> None:
    run = checked("leaking").run
    path = run / "report.json"
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"'))
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "BROKEN" in outcome.out


def test_a_forged_page_is_found_out(phigate: Command, checked: Check) -> None:
    run = checked("leaking").run
    (run / "report.html").write_text("<html>All is well.</html>")
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "BROKEN  report.html" in outcome.out


def test_evidence_keeps_its_age_however_often_the_audit_is_repeated(
    phigate: Command, workspace: Path
) -> None:
    text = (workspace / "policy.yaml").read_text()
    (workspace / "policy.yaml").write_text(
        text.replace("  gate:\n", "  gate:\n    maxEvidenceAge: P90D\n")
    )
    now = MEASURED
    late = (now + timedelta(days=91)).isoformat()
    soon = (now + timedelta(days=1)).isoformat()
    run = workspace / "run"
    documents = (workspace / "policy.yaml", workspace / "sound.yaml", "--out", run)
    assert phigate("check", *documents, "--as-of", soon).code == ExitCode.PASS
    assert phigate("judge", run, "--as-of", late).code == ExitCode.INCONCLUSIVE
    times = json.loads((run / "run.json").read_text())
    old = dict.fromkeys(times["measured"], "2020-01-01T00:00:00+00:00")
    (run / "run.json").write_text(json.dumps({**times, "measured": old}))
    assert phigate("check", *documents, "--as-of", soon).code == ExitCode.INCONCLUSIVE
    (run / "run.json").unlink()
    assert phigate("judge", run, "--as-of", soon).code == ExitCode.INCONCLUSIVE
    assert phigate("check", *documents, "--as-of", soon, "--fresh").code == ExitCode.PASS


def test_another_pseudonym_key_makes_other_evidence(phigate: Command, checked: Check) -> None:
    workspace = checked("leaking").folder
    (workspace / "run" / "pseudonym.key").unlink()
    outcome = check(phigate, workspace, "leaking")
    assert "found finished" not in outcome.err
    phigate("report", workspace / "run", "--audience", "internal", "--format", "json")
    report = json.loads((workspace / "run" / "internal" / "report.json").read_text())
    cell = next(c for c in report["cells"] if c["id"] == "hiv-disclosure/events-10/all")
    assert cell["estimate"]["n"] == 160
    (workspace / "run" / "pseudonym.key").write_text("")
    empty = check(phigate, workspace, "leaking")
    assert empty.code == ExitCode.INCOMPLETE
    assert "pseudonym.key" in empty.err


def test_fresh_deletes_nothing_that_phigate_did_not_write(
    phigate: Command, workspace: Path
) -> None:
    kept = workspace / "run" / "evidence" / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("precious")
    check(phigate, workspace, "sound", "run", "--fresh")
    check(phigate, workspace, "sound", "run", "--fresh")
    assert kept.read_text() == "precious"


def test_a_verdict_stands_when_its_reader_has_gone(workspace: Path) -> None:
    command = (
        f"{sys.executable} -m checker.cli check {workspace}/policy.yaml {workspace}/sound.yaml"
        f" --out {workspace}/run --format json --json | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.PASS, done.stderr


def test_judging_again_gives_the_same_report_and_needs_no_cohort(
    phigate: Command, checked: Check
) -> None:
    first = checked("leaking")
    workspace, run = first.folder, first.run
    before = (run / "report.json").read_bytes()
    for part in ("cohort/data", "leaking.json", "policy.yaml"):
        (workspace / part).rename(workspace / f"{part}.gone")
    again = phigate("judge", run, "--as-of", AS_OF)
    assert again.code == first.outcome.code
    assert (run / "report.json").read_bytes() == before


def test_a_stricter_policy_is_judged_from_the_same_evidence(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    text = (workspace / "policy.yaml").read_text()
    stricter = workspace / "stricter.yaml"
    stricter.write_text(text.replace("fail: 0.05", "fail: 0.01"))
    assert "fail: 0.01" in stricter.read_text()
    before = (workspace / "run" / "report.json").read_bytes()
    outcome = phigate("judge", workspace / "run", "--policy", stricter, "--json")
    report = json.loads(outcome.out)
    # 0 of 80 shows 0.037 at most, which 0.01 is below: nothing is measured anew, nothing passes
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {c["reason"] for c in report["cells"] if c["attributeClass"] and c["gating"]} == {
        "not-decided-by-numbers"  # and not that they were too few, which internal reports say
    }
    assert (workspace / "run" / "report.json").read_bytes() == before
    (derived,) = (workspace / "run").glob("judged-by-*")
    assert phigate("verify", derived).code == ExitCode.PASS


def test_a_demand_that_was_not_measured_is_not_passed(phigate: Command, checked: Check) -> None:
    workspace = checked("sound").folder
    text = (workspace / "policy.yaml").read_text()
    other = workspace / "other.yaml"
    other.write_text(text.replace("samples: 20", "samples: 30"))
    outcome = phigate("judge", workspace / "run", "--policy", other, "--json")
    assert outcome.code == ExitCode.INCONCLUSIVE
    reasons = {c["reason"] for c in json.loads(outcome.out)["cells"] if c["attributeClass"]}
    assert reasons == {"not-run"}


def test_a_second_check_repeats_nothing_and_reports_the_same(
    phigate: Command, workspace: Path
) -> None:
    check(phigate, workspace, "sound")
    before = (workspace / "run" / "report.json").read_text()
    (workspace / "sound.json").touch()
    stamps = {p: p.stat().st_mtime_ns for p in (workspace / "run" / "evidence").iterdir()}
    outcome = check(phigate, workspace, "sound")
    assert "0 jobs to run" in outcome.err
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert without_times((workspace / "run" / "report.json").read_text()) == without_times(before)


def test_a_run_killed_in_the_middle_goes_on_and_ends_the_same(
    phigate: Command, workspace: Path
) -> None:
    def arguments(run: str) -> list[str]:
        return [
            "check", str(workspace / "policy.yaml"), str(workspace / "leaking.yaml"),
            "--out", str(workspace / run), "--as-of", LATE, "--format", "json",
        ]  # fmt: skip

    whole = phigate(*arguments("whole"))
    assert whole.code == ExitCode.FAIL, whole.err
    jobs = len(list((workspace / "whole" / "evidence").iterdir()))
    cut = workspace / "cut"
    cut.mkdir()
    key = workspace / "whole" / "pseudonym.key"
    (cut / "pseudonym.key").write_bytes(key.read_bytes())  # equal pseudonyms, to compare bytes
    process = subprocess.Popen(
        [sys.executable, "-m", "checker.cli", *arguments("cut")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(cut.glob("evidence/*.parquet"))) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {p.name: p.stat().st_mtime_ns for p in cut.glob("evidence/*.parquet")}
    assert 3 <= len(done) < jobs
    again = phigate(*arguments("cut"))
    assert again.code == ExitCode.FAIL, again.err
    assert {p.name: p.stat().st_mtime_ns for p in cut.glob("evidence/*.parquet")}.items() >= (
        done.items()
    )
    reports = [(workspace / run / "report.json").read_text() for run in ("whole", "cut")]
    same = [re.sub(r"(?<=[/ ])cut\b", "whole", without_times(r)) for r in reports]
    assert same[0] == same[1]


def test_patients_are_named_nowhere_in_evidence_or_report(checked: Check) -> None:
    import pyarrow.parquet as pq

    workspace = checked("leaking").folder
    shards = (workspace / "cohort" / "data").rglob("*.parquet")
    subjects = {str(s) for f in shards for s in pq.read_table(f)["subject_id"].to_pylist()}
    run = workspace / "run"
    for table in map(pq.read_table, (run / "evidence").iterdir()):
        for column in ("patient", "prompt"):
            if column in table.column_names:
                assert not subjects & set(table[column].to_pylist())
    pseudonyms = {
        name
        for file in (run / "evidence").iterdir()
        if "patient" in (table := pq.read_table(file)).column_names
        for name in table["patient"].to_pylist()
    }
    for report in ("report.json", "report.html"):
        text = (run / report).read_text()
        assert not any(name in text for name in pseudonyms)
    assert (run / "pseudonym.key").stat().st_mode & 0o777 == 0o600


def test_the_plan_says_what_cannot_pass_and_what_it_would_take(
    phigate: Command, workspace: Path
) -> None:
    policy = (workspace / "policy.yaml").read_text().replace("fail: 0.05", "fail: 0.01")
    (workspace / "policy.yaml").write_text(policy)
    human = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml")
    assert human.code == 0
    # 299 clean positives show 1 % (METHODS §4); there are 80
    assert "cannot pass, needs 219 more positives" in human.out
    plan = json.loads(
        phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml", "--json").out
    )
    assert plan["cost"]["rolloutTokens"] <= plan["cost"]["rolloutTokensUnshared"]
    assert {c["power"]["neededMore"] for c in plan["cells"] if c["attributeClass"]} >= {219}


def test_no_command_but_those_that_run_a_model_loads_torch(workspace: Path) -> None:
    script = """
import sys
from checker.cli import run_command
def run(*arguments):
    sys.argv = ["phigate", *arguments]
    assert run_command() in (0, 1)
run("--help")
run("validate", "policy.yaml", "sound.yaml")
run("plan", "policy.yaml", "sound.yaml")
run("check", "policy.yaml", "sound.yaml", "--out", "run", "--format", "json")
run("judge", "run", "--format", "json")
run("verify", "run")
heavy = {"torch", "transformers", "ray", "matplotlib", "weasyprint"} & set(sys.modules)
assert not heavy, heavy
import matplotlib  # and the check can fail
assert "matplotlib" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workspace, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
