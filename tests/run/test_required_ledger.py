"""`gate.requireLedger`: nothing passes that was not registered before the model was asked."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from auditing import AS_OF, MEASURED, write_policy
from command_line import Command, Outcome
from judging import AS_OF as MOMENT
from judging import Bench, policy
from waiver_texts import waiver

from checker.errors import ExitCode
from checker.ledger import make_ledger
from checker.policy.documents import LeakagePolicy
from checker.report.formats.json import load_report
from checker.report.wording.reasons import REASONS
from checker.run.stored import write_reports

REASON = "attempt-not-registered"
MEMBERSHIP = {"membership": {"limits": {"record": {"fail": 0.7}}}}


@pytest.fixture
def folder(workspace: Path) -> Path:
    """Targets, an empty ledger, and a policy of one control that requires it."""
    path = write_policy(workspace / "policy.yaml", MEMBERSHIP)
    path.write_text(path.read_text().replace("  gate:\n", "  gate:\n    requireLedger: true\n"))
    assert "requireLedger" in path.read_text()
    make_ledger(workspace / "ledger.jsonl")
    return workspace


def check(phigate: Command, folder: Path, *more: object, target: str = "sound") -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / f"{target}.yaml", "--out", folder / "run",
        "--as-of", AS_OF, "--format", "json", *more,
    )  # fmt: skip


def cells(run: Path) -> list[tuple[str, str | None]]:
    report = json.loads((run / "report.json").read_text())
    return [(cell["verdict"], cell["reason"]) for cell in report["cells"]]


def test_without_a_ledger_a_sound_model_does_not_pass(phigate: Command, folder: Path) -> None:
    outcome = check(phigate, folder)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert "without --ledger nothing can pass" in outcome.err
    assert cells(folder / "run") == [("inconclusive", REASON)]
    report = load_report(folder / "run" / "report.json")
    assert REASONS[REASON].meaning in report.cells[0].explanation
    names = ("html", "markdown", "junit", "sarif", "oscal")
    for path in write_reports(folder / "run", report, formats=names):
        assert "ledger" in path.read_text(), path.name
    verified = phigate("verify", folder / "run")
    assert verified.code == ExitCode.PASS, verified.out
    assert "open    the policy requires a ledger (gate.requireLedger), and the audit was not" in (
        verified.out
    )


def test_with_a_ledger_it_passes_and_verify_asks_for_the_ledger(
    phigate: Command, folder: Path
) -> None:
    ledger = folder / "ledger.jsonl"
    outcome = check(phigate, folder, "--ledger", ledger)
    assert outcome.code == ExitCode.PASS, outcome.err
    assert "can pass" not in outcome.err
    assert cells(folder / "run") == [("pass", None)]
    alone = phigate("verify", folder / "run")
    assert "open    the policy requires a ledger (gate.requireLedger): only --ledger" in alone.out
    whole = phigate("verify", folder / "run", "--ledger", ledger)
    assert whole.code == ExitCode.PASS, whole.out
    assert "holds   the policy requires a ledger, and the attempt was registered before" in (
        whole.out
    )


def test_a_model_that_leaks_fails_with_and_without(phigate: Command, folder: Path) -> None:
    assert check(phigate, folder, target="leaking").code == ExitCode.FAIL


def test_who_registers_after_measuring_has_registered_nothing(
    phigate: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(phigate, folder)
    monkeypatch.setattr("checker.clock.current_time", lambda: MEASURED + timedelta(seconds=1))
    ledger = ("--ledger", folder / "ledger.jsonl")
    late = phigate("judge", folder / "run", "--as-of", AS_OF, "--format", "json", *ledger)
    assert late.code == ExitCode.INCONCLUSIVE
    assert cells(folder / "run") == [("inconclusive", REASON)]
    # nor where nobody knows when it was measured
    assert check(phigate, folder, "--fresh", *ledger).code == ExitCode.PASS
    (folder / "run" / "run.json").unlink()
    undated = phigate("judge", folder / "run", "--as-of", AS_OF, "--format", "json")
    assert undated.code == ExitCode.INCONCLUSIVE


def demands(*, required: bool) -> LeakagePolicy:
    document = policy(requireLedger=required).model_dump(mode="json", exclude_none=True)
    rules = {"approverRoles": ["privacy-officer"], "maxDuration": "P180D"}
    document["spec"]["waivers"] = rules
    return LeakagePolicy.model_validate_json(json.dumps(document))


@pytest.mark.parametrize("on_inconclusive", ["block", "warn"])
def test_no_waiver_and_no_mere_warning_lets_it_through(on_inconclusive: str) -> None:
    bench = Bench()
    for name, hits in (("c/known/all", 40), ("sound", 0)):
        bench.disclosure(
            name, hits=(hits, 0), n=(200, 200), id=name, on_inconclusive=on_inconclusive
        )
    granted = [waiver(ceiling=0.7)]
    for required, registered, verdict, status in (
        (False, False, "pass", "applied"),
        (True, True, "pass", "applied"),
        (True, False, "fail", "void"),
    ):
        judged = bench.judge(
            policy=demands(required=required), registered=registered, waivers=granted, as_of=MOMENT
        )
        assert (judged.verdict, judged.waivers[0].status) == (verdict, status)
    alone = Bench()
    alone.disclosure("sound", hits=(0, 0), n=(200, 200), on_inconclusive=on_inconclusive)
    judged = alone.judge(policy=demands(required=True))
    assert (judged.verdict, judged.findings[0].reason) == ("inconclusive", REASON)


def test_plan_says_what_will_be_missing(phigate: Command, folder: Path) -> None:
    documents = (folder / "policy.yaml", folder / "sound.yaml")
    assert "without --ledger nothing can pass" in phigate("plan", *documents).err
    named = phigate("plan", *documents, "--ledger", folder / "ledger.jsonl")
    assert "can pass" not in named.err


def test_inheritance_only_turns_it_on(phigate: Command, folder: Path) -> None:
    parent = folder / "policy.yaml"
    child = folder / "child.yaml"

    def extend(gate: str) -> Outcome:
        child.write_text(
            "apiVersion: phigate/v1\nkind: LeakagePolicy\n"
            "metadata: {name: child, version: '1', title: t, owner: o}\n"
            f"spec:\n  extends: [{{ref: ./{parent.name}}}]\n  context: gated\n{gate}"
        )
        return phigate("validate", child)

    assert extend("").code == ExitCode.PASS
    assert "a ledger is required" in phigate("explain", child).out
    refused = extend("  gate: {requireLedger: false}\n")
    assert refused.code == ExitCode.USAGE
    assert "a ledger that is required stays required" in refused.err
    parent.write_text(parent.read_text().replace("requireLedger: true", "requireLedger: false"))
    on = extend("  gate: {requireLedger: true}\n")
    assert on.code == ExitCode.PASS, on.err
    loosened = shutil.copy(parent, folder / "old.yaml")
    parent.write_text(parent.read_text().replace("requireLedger: false", "requireLedger: true"))
    assert phigate("diff", loosened, parent).code == ExitCode.PASS
    assert phigate("diff", parent, loosened).code == ExitCode.FAIL
