"""The attempt ledger: what counts as a try, who may write, and what no one can take back unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from auditing import AS_OF, write_policy
from command_line import Command, Outcome
from jsonschema import Draft7Validator

from checker.canonical import sha256_hex
from checker.cli.published_schemas import published_schemas
from checker.errors import EvidenceError, ExitCode
from checker.ledger import (
    FIRST,
    Attempt,
    evidence_sha256,
    make_ledger,
    read_ledger,
    record_verdict,
    register_attempt,
    upcoming_attempt,
)
from checker.planning import AuditPlan
from checker.run.prepare import prepare

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MEMBERSHIP = {"membership": {"limits": {"record": {"fail": 0.7}}}}


def one_control(path: Path, **parameters: Any) -> Path:
    """The membership control alone: an audit of one forward pass."""
    return write_policy(path, MEMBERSHIP, **parameters)


@pytest.fixture(scope="module")
def plan(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditPlan:
    policy = one_control(tmp_path_factory.mktemp("policies") / "policy.yaml")
    return prepare(policy, simulated_targets / "sound.yaml").audit.plan


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """An empty ledger."""
    path = tmp_path / "ledger.jsonl"
    make_ledger(path)
    return path


def asking(plan: AuditPlan, what: str) -> AuditPlan:
    """The same plan, asking the model something else: other patients, or another seed."""
    jobs = [
        job.model_copy(update={"digest": sha256_hex(f"{what} {job.digest}".encode())})
        for job in plan.jobs
    ]
    return plan.model_copy(update={"jobs": jobs})


def under(plan: AuditPlan, **metadata: str) -> AuditPlan:
    """The same plan under another edition of its policy, or another policy."""
    before = plan.policy.document
    document = before.model_copy(update={"metadata": before.metadata.model_copy(update=metadata)})
    policy = plan.policy.model_copy(update={"document": document, "sha256": "1" * 64})
    return plan.model_copy(update={"policy": policy})


def of_model(plan: AuditPlan, sha256: str) -> AuditPlan:
    """The same plan for another model."""
    return plan.model_copy(
        update={"target": plan.target.model_copy(update={"model_sha256": sha256})}
    )


def numbers(path: Path, *plans: AuditPlan) -> list[int]:
    return [register_attempt(path, plan=one, at=NOW).number for one in plans]


def conclude(path: Path, attempt: Attempt, plan: AuditPlan, verdict: str, **grounds: str) -> None:
    """Record a verdict on one evidence and as of one time, or on other grounds."""
    said = {"manifest_sha256": "4" * 64, "as_of": AS_OF, **grounds}
    record_verdict(path, attempt=attempt, plan=plan, verdict=verdict, at=NOW, **said)


def filled(path: Path, plan: AuditPlan) -> list[bytes]:
    """Register three attempts, each with its verdict; returns the lines."""
    for what, verdict in (("a", "fail"), ("b", "inconclusive"), ("c", "pass")):
        one = asking(plan, what)
        attempt = register_attempt(path, plan=one, at=NOW)
        conclude(path, attempt, one, verdict)
    return path.read_bytes().splitlines(keepends=True)


# --- what counts --------------------------------------------------------------------------------


def test_fresh_patients_are_a_further_attempt_and_the_identical_plan_is_none(
    plan: AuditPlan, ledger: Path
) -> None:
    assert numbers(ledger, plan, plan, asking(plan, "b"), plan, asking(plan, "c")) == [
        1, 1, 2, 1, 3,
    ]  # fmt: skip
    assert len(read_ledger(ledger).lines) == 3
    assert upcoming_attempt(ledger, plan=asking(plan, "b")) == 2
    assert upcoming_attempt(ledger, plan=asking(plan, "d")) == 4
    assert len(read_ledger(ledger).lines) == 3


def test_another_edition_of_the_policy_is_the_same_release(plan: AuditPlan, ledger: Path) -> None:
    # nothing is drawn anew for other limits or wording; a new seed under a new version is
    edition = under(plan, version="9.9.9")
    assert numbers(ledger, plan, edition, asking(edition, "new seed")) == [1, 1, 2]


def test_another_policy_and_another_model_start_at_one(plan: AuditPlan, ledger: Path) -> None:
    assert numbers(
        ledger, plan, under(plan, name="other"), of_model(plan, "2" * 64), asking(plan, "b")
    ) == [1, 1, 1, 2]


def test_only_what_the_model_is_asked_makes_an_attempt(plan: AuditPlan) -> None:
    asked = [job for job in plan.jobs if job.depends_on_model]
    assert 0 < len(asked) < len(plan.jobs)
    without = plan.model_copy(update={"jobs": asked[::-1]})
    assert evidence_sha256(without) == evidence_sha256(plan)
    assert evidence_sha256(asking(plan, "b")) != evidence_sha256(plan)


# --- through the command line -------------------------------------------------------------------


def check(
    phigate: Command, folder: Path, run: str, *more: object, target: str = "sound"
) -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / f"{target}.yaml", "--out", folder / run,
        "--as-of", AS_OF, "--format", "json", *more,
    )  # fmt: skip


def report_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def test_attempts_are_counted_shown_and_kept(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = workspace / "ledger.jsonl"
    one_control(workspace / "policy.yaml")
    assert phigate("ledger", "make", ledger).code == ExitCode.PASS
    first = check(phigate, workspace, "a", "--ledger", ledger)
    assert first.code == ExitCode.PASS, first.err
    assert "This is the first attempt to release this model" in first.out
    one_control(workspace / "policy.yaml", seed=8)  # draws anew
    monkeypatch.setenv("PHIGATE_LEDGER", str(ledger))
    assert "attempt 2 by the ledger: bounds at 97.5 %" in phigate(
        "plan", workspace / "policy.yaml", workspace / "sound.yaml"
    ).err  # fmt: skip
    second = check(phigate, workspace, "b")
    assert "This is attempt 2" in second.out
    report = report_of(workspace / "b")
    attempt = report["provenance"]["attempt"]
    assert (attempt["number"], attempt["confidence"]) == (2, 0.975)
    assert {c["estimate"]["confidence"] for c in report["cells"]} == {0.975}
    assert "97.5% confidence" in report["summary"]["releaseStatement"]
    assert "97.5% confidence" in report["summary"]["multiplicityStatement"]
    lines = ledger.read_bytes().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["attempt", "verdict"] * 2
    assert sha256_hex(lines[2]) == attempt["ledgerEntry"]
    # again: nothing is registered, and nothing said twice
    check(phigate, workspace, "b")
    assert ledger.read_bytes().splitlines() == lines
    monkeypatch.delenv("PHIGATE_LEDGER")
    # without naming the ledger it stays what it was registered as
    before = (workspace / "b" / "report.json").read_bytes()
    assert phigate("judge", workspace / "b", "--as-of", AS_OF, "--format", "json").code == 0
    assert (workspace / "b" / "report.json").read_bytes() == before
    stricter = workspace / "stricter.yaml"
    stricter.write_text((workspace / "policy.yaml").read_text().replace("0.7}", "0.65}"))
    phigate("judge", workspace / "b", "--policy", stricter, "--format", "json")
    (derived,) = (workspace / "b").glob("judged-by-*")
    assert report_of(derived)["provenance"]["attempt"] == attempt
    listed = phigate("ledger", "list", ledger)
    assert [word in listed.out for word in ("sound 0", "demo 1.0.0", "registered", "pass")]
    told = json.loads(phigate("ledger", "list", ledger, "--json").out)
    assert [one["attempt"] for one in told] == [1, 1, 2, 2]


def test_without_a_ledger_the_report_says_that_the_attempt_is_unknown(
    phigate: Command, workspace: Path
) -> None:
    one_control(workspace / "policy.yaml")
    outcome = check(phigate, workspace, "a")
    assert "Attempt unknown: no ledger was kept" in outcome.out
    assert report_of(workspace / "a")["provenance"]["attempt"] is None
    assert {c["estimate"]["confidence"] for c in report_of(workspace / "a")["cells"]} == {0.95}


def test_an_attempt_is_registered_before_the_model_is_asked_anything(
    phigate: Command, workspace: Path
) -> None:
    one_control(workspace / "policy.yaml")
    missing = check(phigate, workspace, "a", "--ledger", workspace / "no" / "ledger.jsonl")
    assert missing.code == ExitCode.USAGE
    assert "there is no such ledger" in missing.err
    assert "phigate ledger make" in missing.err
    assert not (workspace / "a").exists()
    ledger = workspace / "ledger.jsonl"
    make_ledger(ledger)
    (workspace / "a").mkdir()
    (workspace / "a" / "pseudonym.key").write_text("none")  # the run cannot even begin
    assert check(phigate, workspace, "a", "--ledger", ledger).code == ExitCode.INCOMPLETE
    (entry,) = read_ledger(ledger).entries
    assert (entry.kind, entry.attempt) == ("attempt", 1)


def test_a_ledger_is_made_once_and_never_in_passing(phigate: Command, ledger: Path) -> None:
    again = phigate("ledger", "make", ledger)
    assert again.code == ExitCode.USAGE
    assert "is there already" in again.err
    assert phigate("ledger", "make", ledger.parent).code == ExitCode.USAGE
    assert phigate("ledger", "make", ledger / "x").code == ExitCode.INCOMPLETE
    for verb in ("list", "verify", "mend"):
        assert phigate("ledger", verb, ledger.with_name("absent")).code == ExitCode.USAGE
        assert phigate("ledger", verb).code == ExitCode.USAGE


# --- the chain ----------------------------------------------------------------------------------


def test_each_line_holds_the_digest_of_the_one_before(plan: AuditPlan, ledger: Path) -> None:
    lines = [line.rstrip(b"\n") for line in filled(ledger, plan)]
    schema = Draft7Validator(published_schemas()["LedgerEntry"])
    previous = FIRST
    for line in lines:
        entry = json.loads(line)
        schema.validate(entry)
        assert entry["previous"] == previous
        previous = sha256_hex(line)
    assert read_ledger(ledger).head == previous
    assert [json.loads(line)["attempt"] for line in lines] == [1, 1, 2, 2, 3, 3]


def test_the_ledger_holds_no_count_and_no_patient(plan: AuditPlan, ledger: Path) -> None:
    entry = json.loads(filled(ledger, plan)[1])
    words = {key for key, value in entry.items() if value is None or isinstance(value, str)}
    assert set(entry) - words == {"attempt"}  # the only number


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda lines: [lines[0].replace(b"sound", b"noise"), *lines[1:]], "line 2 does not"),
        (lambda lines: [lines[0], lines[1].replace(b"fail", b"pass"), *lines[2:]], "line 3 does"),
        (lambda lines: lines[1:], "line 1 does not follow from the beginning"),
        (lambda lines: [*lines[:2], *lines[4:]], "line 3 does not follow from line 2"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2 does not follow"),
        (lambda lines: [*lines[:3], lines[0], *lines[3:]], "line 4 does not follow"),
        (lambda lines: [*lines, b"\n"], "line 7 is not the line of an attempt ledger"),
        (lambda lines: [*lines[:5], lines[5][:40]], "line 6 is cut short"),
    ],
    ids=[
        "changed", "verdict changed", "first removed", "two removed", "swapped", "copied in",
        "blank", "torn",
    ],
)  # fmt: skip
def test_what_was_changed_removed_or_put_in_is_found(
    phigate: Command, plan: AuditPlan, ledger: Path, change: Any, where: str
) -> None:
    lines = filled(ledger, plan)
    assert phigate("ledger", "verify", ledger).code == ExitCode.PASS
    ledger.write_bytes(b"".join(change(lines)))
    outcome = phigate("ledger", "verify", ledger)
    assert outcome.code == ExitCode.INCOMPLETE
    assert outcome.out.startswith("BROKEN")
    assert where in outcome.out
    before = ledger.read_bytes()
    for again in (asking(plan, "a"), asking(plan, "new")):
        with pytest.raises(EvidenceError, match="line"):  # nothing is counted in it, or added
            register_attempt(ledger, plan=again, at=NOW)
    assert ledger.read_bytes() == before


def rewritten(lines: list[bytes], **changes: Any) -> list[bytes]:
    """Change the last line; nothing behind it can tell."""
    entry = {**json.loads(lines[-1]), **changes}
    return [*lines[:-1], json.dumps(entry).encode() + b"\n"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "attempt"}, "registers an attempt a second time"),
        ({"evidenceSha256": "3" * 64}, "on an attempt that was not registered"),
        ({"attempt": 2}, "on an attempt that was not registered"),
        ({"kind": "attempt", "evidenceSha256": "3" * 64, "attempt": 1}, "is attempt 4 and says"),
    ],
)
def test_a_last_line_that_counts_wrongly_is_found(
    plan: AuditPlan, ledger: Path, changes: dict[str, Any], problem: str
) -> None:
    ledger.write_bytes(b"".join(rewritten(filled(ledger, plan), **changes)))
    assert problem in str(read_ledger(ledger).problem)


def test_lines_taken_off_the_end_are_missed_by_who_noted_the_last_digest(
    phigate: Command, plan: AuditPlan, ledger: Path
) -> None:
    lines = filled(ledger, plan)
    noted = phigate("ledger", "verify", ledger).out.split()[-1]
    assert noted == sha256_hex(lines[-1].rstrip(b"\n"))
    register_attempt(ledger, plan=asking(plan, "d"), at=NOW)
    assert phigate("ledger", "verify", ledger, "--holds", noted).code == ExitCode.PASS
    ledger.write_bytes(b"".join(lines[:4]))  # a chain of its own, but not all of it
    assert phigate("ledger", "verify", ledger).code == ExitCode.PASS
    outcome = phigate("ledger", "verify", ledger, "--holds", noted, "--json")
    assert outcome.code == ExitCode.INCOMPLETE
    assert [one["holds"] for one in json.loads(outcome.out)] == [True, False]


def test_a_line_cut_short_is_taken_off_on_request_and_nothing_else_is(
    phigate: Command, plan: AuditPlan, ledger: Path
) -> None:
    lines = filled(ledger, plan)
    ledger.write_bytes(b"".join(lines) + lines[0][:25])
    assert "phigate ledger mend" in phigate("ledger", "verify", ledger).out
    assert phigate("ledger", "list", ledger).code == ExitCode.INCOMPLETE
    mended = phigate("ledger", "mend", ledger)
    assert mended.code == ExitCode.PASS
    assert "took off 25 bytes" in mended.out
    (kept,) = ledger.parent.glob("*.torn")
    assert kept.read_bytes() == lines[0][:25]
    assert ledger.read_bytes() == b"".join(lines)
    assert "nothing was changed" in phigate("ledger", "mend", ledger).out
    assert ledger.read_bytes() == b"".join(lines)


def test_a_verdict_needs_an_attempt_that_stands_in_the_ledger(
    plan: AuditPlan, ledger: Path
) -> None:
    attempt = register_attempt(ledger, plan=plan, at=NOW)
    ledger.write_bytes(b"")
    with pytest.raises(EvidenceError, match="lacks the line"):
        conclude(ledger, attempt, plan, "pass")


def test_what_a_stranger_wrote_into_a_ledger_is_shown_as_inert_text(
    phigate: Command, plan: AuditPlan, ledger: Path
) -> None:
    lines = filled(ledger, plan)
    entry = json.loads(lines[0])
    hostile = {**entry, "target": "\x1b[31mred", "policy": "[bold]x\u202e", "at": "\x07" * 500}
    ledger.write_bytes(json.dumps(hostile).encode() + b"\n")
    listed = phigate("ledger", "list", ledger)
    assert listed.code == ExitCode.PASS
    assert not set("\x1b\x07\u202e") & set(listed.out)
    assert "[bold]x" in listed.out


# --- contradictions -----------------------------------------------------------------------------


def test_a_verdict_names_the_evidence_that_it_was_reached_on(
    phigate: Command, workspace: Path
) -> None:
    ledger = workspace / "ledger.jsonl"
    make_ledger(ledger)
    one_control(workspace / "policy.yaml")
    check(phigate, workspace, "a", "--ledger", ledger)
    registered, verdict = read_ledger(ledger).entries
    provenance = report_of(workspace / "a")["provenance"]
    assert (verdict.plan_sha256, verdict.manifest_sha256, verdict.as_of) == (
        provenance["planSha256"], provenance["manifestSha256"], provenance["asOf"],
    )  # fmt: skip
    assert verdict.phigate_version == provenance["phigateVersion"]
    assert (registered.manifest_sha256, registered.grounds) == (None, None)


def test_two_verdicts_on_the_same_grounds_contradict_each_other(
    phigate: Command, plan: AuditPlan, ledger: Path
) -> None:
    attempt = register_attempt(ledger, plan=plan, at=NOW)
    for verdict, grounds in (
        ("fail", {}),
        ("fail", {}),  # is not said twice
        ("pass", {"manifest_sha256": "5" * 64}),  # of other evidence
        ("pass", {"waivers_sha256": "6" * 64}),  # of what was waived since
        ("inconclusive", {"as_of": "2027-11-01T00:00:00+00:00"}),  # of evidence grown old
    ):
        conclude(ledger, attempt, plan, verdict, **grounds)
    assert len(read_ledger(ledger).lines) == 5
    assert read_ledger(ledger).contradictions() == []
    assert phigate("ledger", "verify", ledger).code == ExitCode.PASS
    conclude(ledger, attempt, plan, "pass")
    assert read_ledger(ledger).contradictions(plan) == [(2, 6)]
    assert read_ledger(ledger).contradictions(asking(plan, "b")) == []
    found = phigate("ledger", "verify", ledger)
    assert found.code == ExitCode.INCOMPLETE
    assert "BROKEN  lines 2 and 6 contradict each other: fail and pass on one plan" in found.out
    listed = phigate("ledger", "list", ledger)
    assert listed.code == ExitCode.INCOMPLETE
    assert "lines 2 and 6 contradict each other" in listed.err
    # the chain holds all the same, and the count goes on
    assert numbers(ledger, plan, asking(plan, "b")) == [1, 2]


def test_another_version_of_phigate_may_judge_otherwise(
    plan: AuditPlan, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = register_attempt(ledger, plan=plan, at=NOW)
    conclude(ledger, attempt, plan, "pass")
    monkeypatch.setattr("checker.ledger.PHIGATE_VERSION", "99.0")
    conclude(ledger, attempt, plan, "fail")
    assert [entry.verdict for entry in read_ledger(ledger).entries] == [None, "pass", "fail"]
    assert read_ledger(ledger).contradictions() == []


def test_lines_of_earlier_versions_are_read_and_contradict_nothing(
    plan: AuditPlan, ledger: Path
) -> None:
    lines: list[bytes] = []
    attempt = register_attempt(ledger, plan=plan, at=NOW)
    for verdict in ("fail", "pass"):
        conclude(ledger, attempt, plan, verdict, waivers_sha256=sha256_hex(verdict.encode()))
    for line in ledger.read_bytes().splitlines():
        entry = json.loads(line)
        for name in ("manifestSha256", "waiversSha256", "phigateVersion"):
            del entry[name]
        entry["previous"] = sha256_hex(lines[-1]) if lines else FIRST
        lines.append(json.dumps(entry).encode())
    ledger.write_bytes(b"".join(line + b"\n" for line in lines))
    read = read_ledger(ledger)
    assert (len(read.lines), read.problem, read.contradictions()) == (3, None, [])


# --- several writers ----------------------------------------------------------------------------

WRITERS = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from checker.ledger import register_attempt
from checker.planning import AuditPlan

plan = AuditPlan.model_validate_json(Path(sys.argv[2]).read_bytes())

def write(name):
    for i in range(8):
        jobs = [job.model_copy(update={"digest": f"{name}{i} {job.digest}"}) for job in plan.jobs]
        one = plan.model_copy(update={"jobs": jobs})
        number = register_attempt(Path(sys.argv[1]), plan=one, at=datetime.now(UTC)).number
        os.write(1, f"{number} ".encode())

for name in "abc":
    if os.fork() == 0:  # three processes, and what they import is paid for once
        write(name)
        os._exit(0)
for _ in "abc":
    assert os.wait()[1] == 0
"""


def test_several_processes_append_at_once_and_none_counts_twice(
    plan: AuditPlan, ledger: Path, tmp_path: Path
) -> None:
    (tmp_path / "plan.json").write_bytes(plan.to_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITERS, ledger, tmp_path / "plan.json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given = [int(word) for word in done.stdout.split()]
    assert sorted(given) == list(range(1, 25))
    read = read_ledger(ledger)
    assert read.problem is None
    assert [entry.attempt for entry in read.entries] == list(range(1, 25))


def test_a_full_disk_leaves_the_ledger_as_it_was(
    plan: AuditPlan, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = filled(ledger, plan)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("checker.ledger.os.fsync", full)
    with pytest.raises(EvidenceError, match="No space left"):
        register_attempt(ledger, plan=asking(plan, "d"), at=NOW)
    assert ledger.read_bytes() == b"".join(lines)


def test_a_line_that_lacks_only_its_end_is_ended_and_kept(
    phigate: Command, plan: AuditPlan, ledger: Path
) -> None:
    lines = filled(ledger, plan)
    for whole in (b"".join(lines), lines[0]):
        ledger.write_bytes(whole[:-1])
        assert "lacks its end" in phigate("ledger", "verify", ledger).out
        assert phigate("ledger", "mend", ledger).code == ExitCode.PASS
        assert ledger.read_bytes() == whole
        assert phigate("ledger", "verify", ledger).code == ExitCode.PASS


@pytest.mark.parametrize(
    "content", [b"a: b\nc: d", b"c: d", b"{} and more", b"{", b'{"asOf":null, "mine": 1}']
)
def test_what_is_no_ledger_is_neither_listed_nor_mended(
    phigate: Command, ledger: Path, content: bytes
) -> None:
    ledger.write_bytes(content)
    for verb in ("list", "mend", "verify"):
        outcome = phigate("ledger", verb, ledger)
        assert outcome.code == ExitCode.INCOMPLETE
        assert "of an attempt ledger" in outcome.out + outcome.err
        assert "cut short" not in outcome.out + outcome.err
    assert ledger.read_bytes() == content


def test_an_empty_ledger_is_said_to_be_empty(phigate: Command, ledger: Path) -> None:
    outcome = phigate("ledger", "verify", ledger)
    assert outcome.code == ExitCode.PASS
    assert outcome.out.startswith("open    it has no line")
