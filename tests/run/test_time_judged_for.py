"""No judgement for a time before the newest measurement: it would revive waivers that ran out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from auditing import AS_OF, MEASURED
from command_line import Checked, Command
from waiver_texts import waiver_text

from checker import library
from checker.errors import ExitCode, UsageError

BEFORE = (MEASURED - timedelta(seconds=1)).isoformat()
AT = MEASURED.isoformat()
Check = Callable[[str], Checked]


@pytest.fixture
def run(checked: Check) -> Path:
    """An audited model that leaks, measured at MEASURED."""
    return checked("leaking").run


def documents(run: Path) -> tuple[Path, Path]:
    return run.parent / "policy.yaml", run.parent / "leaking.yaml"


def test_judge_refuses_a_time_before_the_newest_measurement(phigate: Command, run: Path) -> None:
    report = (run / "report.json").read_bytes()
    refused = phigate("judge", run, "--as-of", BEFORE)
    assert refused.code == ExitCode.USAGE
    assert "is before the newest measurement, 2026-10-31T12:00:00+00:00" in refused.err
    assert (run / "report.json").read_bytes() == report
    assert phigate("judge", run, "--as-of", AT, "--format", "json").code == ExitCode.FAIL
    assert phigate("judge", run, "--format", "json").code == ExitCode.FAIL


def test_the_newest_measurement_counts_and_not_the_oldest(phigate: Command, run: Path) -> None:
    times = json.loads((run / "run.json").read_text())
    for file in list(times["measured"])[1:]:
        times["measured"][file] = "2026-01-01T00:00:00+00:00"
    (run / "run.json").write_text(json.dumps(times))
    between = phigate("judge", run, "--as-of", "2026-06-01", "--format", "json")
    assert between.code == ExitCode.USAGE
    assert "is before the newest measurement, 2026-10-31" in between.err


def test_a_waiver_that_ran_out_is_not_revived_by_an_old_time(phigate: Command, run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    policy = documents(run)[0]
    rules = {"approverRoles": ["privacy-officer"], "maxDuration": "P180D"}
    policy.write_text(policy.read_text() + f"  waivers: {json.dumps(rules)}\n")
    control, attacker, _ = report["summary"]["blockedBy"][0].split("/")
    waiver = waiver_text(
        name="late",
        policy={"ref": "three-classes@1.1.0"},
        control=control,
        attacker=attacker,
        model={"name": "leaking", "sha256": report["target"]["modelSha256"]},
        ceiling=0.99,
        approvals=[{"name": "Petra Officer", "role": "privacy-officer", "on": "2026-05-01"}],
        startsOn="2026-06-01",
        expiresOn="2026-10-30",
    )
    file = run.parent / "waiver.yaml"
    file.write_text(waiver)
    judging = ("judge", run, "--policy", policy, "--waivers", file, "--format", "json")
    revived = phigate(*judging, "--as-of", "2026-10-30T12:00Z")
    assert revived.code == ExitCode.USAGE
    assert "is before the newest measurement" in revived.err
    now = phigate(*judging)
    assert now.code == ExitCode.USAGE
    assert "expired" in now.err


def test_check_refuses_it_before_anything_is_measured(phigate: Command, run: Path) -> None:
    new = run.parent / "new"
    refused = phigate("check", *documents(run), "--out", new, "--as-of", BEFORE)
    assert refused.code == ExitCode.USAGE
    assert "this audit still has to measure" in refused.err
    assert not new.exists()
    # of what is measured already the time of measurement counts, unless it is measured anew
    for more, words in (
        ((), "is before the newest measurement"),
        (("--fresh",), "still has to measure"),
    ):
        again = phigate("check", *documents(run), "--out", run, "--as-of", BEFORE, *more)
        assert again.code == ExitCode.USAGE
        assert words in again.err


def test_a_finished_audit_is_checked_again_for_a_time_after_it_was_measured(
    phigate: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checker.clock.current_time", lambda: MEASURED + timedelta(days=30))
    again = phigate("check", *documents(run), "--out", run, "--as-of", AS_OF, "--format", "json")
    assert again.code == ExitCode.FAIL
    assert "0 jobs to run" in again.err


def test_where_measurements_are_not_dated_no_time_in_the_past_is_taken(
    phigate: Command, run: Path
) -> None:
    (run / "run.json").unlink()
    past = phigate("judge", run, "--as-of", BEFORE)
    assert past.code == ExitCode.USAGE
    assert "does not say when all of the evidence was measured" in past.err
    assert phigate("judge", run, "--format", "json").code == ExitCode.FAIL


def test_the_library_refuses_it_as_well(run: Path) -> None:
    with pytest.raises(UsageError, match="before the newest measurement"):
        library.judge(run, as_of=MEASURED - timedelta(seconds=1))
    with pytest.raises(UsageError, match="before the newest measurement"):
        library.verify(run, as_of=datetime(2026, 1, 1, tzinfo=UTC))


def test_verify_refuses_it_and_finds_a_report_that_was_judged_so(
    phigate: Command, run: Path
) -> None:
    refused = phigate("verify", run, "--as-of", BEFORE)
    assert refused.code == ExitCode.USAGE
    assert "is before the newest measurement" in refused.err
    text = (run / "report.json").read_text()
    (run / "report.json").write_text(text.replace(AS_OF, "2026-10-30T00:00:00+00:00"))
    found = phigate("verify", run)
    assert found.code == ExitCode.INCOMPLETE
    assert "not judged again: --as-of 2026-10-30T00:00:00+00:00: is before" in found.out
    again = phigate("report", run, "--audience", "internal", "--format", "json")
    assert again.code == ExitCode.USAGE
