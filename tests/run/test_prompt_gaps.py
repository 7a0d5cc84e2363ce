"""What `phigate plan` finds that prompts promise is what the judge will find."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from auditing import phigate, write_policy, write_variant

from checker.attacks.attribute_disclosure.measure import _base_scores
from checker.attacks.tables import booleans
from checker.evidence import Pseudonyms
from checker.planning.checks import check_powers
from checker.planning.model import AuditPlan, PromptGap
from checker.planning.remedies import undecided
from checker.planning.task import PatientNames, Task
from checker.run import prompt_gaps
from checker.run.cohort_jobs import labels
from checker.run.prepare import Prepared, prepare
from checker.run.prompt_gaps import with_prompt_gaps
from checker.verdict.comparability import base_rate_gap

CONTROLS: dict[str, Any] = {"hiv-disclosure": {"limits": {"events-10": {"fail": 0.1}}}}
CELL = "hiv-disclosure/events-10/all"


def prepared(folder: Path, assignment: str | None) -> Prepared:
    data = {"path": "cohort"} | ({"assignment": assignment} if assignment else {})
    target = write_variant(folder / "sound.yaml", "declared", data=data)
    return prepare(write_policy(folder / "asked.yaml", CONTROLS), target)


def base_rates(plan: AuditPlan) -> Any:
    (found,) = (check for check in check_powers(plan) if check.name == "base-rates")
    return found


def test_the_gap_is_that_of_the_evidence(workspace: Path) -> None:
    audit = prepared(workspace, "other").audit
    found = with_prompt_gaps(audit).prompt_gaps[CELL]
    (job,) = (job for job in audit.plan.jobs if job.kind == "labels")
    names = PatientNames(audit.workload, Pseudonyms(b"0" * 32))
    table = labels(Task(job, audit.plan, audit.workload, names, {}, None, lambda done: None))
    eligible, member = booleans(table, "eligible"), booleans(table, "member")
    promised = _base_scores(table, eligible & member, eligible & ~member)
    assert promised is not None
    gap = base_rate_gap(*promised, confidence=0.95)
    assert found.value == pytest.approx(gap.value, abs=1e-12)
    assert 0 < found.error < gap.high - gap.value


@pytest.mark.parametrize("assignment", ["other", None])
def test_a_plan_that_looked_assumes_nothing(workspace: Path, assignment: str | None) -> None:
    audit = prepared(workspace, assignment).audit
    assumed, looked = base_rates(audit.plan), base_rates(with_prompt_gaps(audit))
    assert assumed.is_floor
    assert "spreads by 0.2" in assumed.condition
    assert (looked.is_floor, looked.condition) == (False, None)
    assert looked.chance > assumed.chance
    assert "compared already" in looked.title
    _, said = phigate("plan", workspace / "asked.yaml", workspace / "declared.yaml", "--json")
    assert json.loads(said)["promptGaps"].keys() == {CELL}
    assert audit.plan.prompt_gaps == {}  # a run's plan is the same wherever it is compiled


def test_a_gap_that_no_audit_can_make_up_for_is_announced(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = prepared(workspace, "other").audit
    wide = PromptGap(value=0.2, error=0.01, freedom=100.0)
    monkeypatch.setattr(prompt_gaps, "prompt_gap", lambda *_: wide)
    plan = with_prompt_gaps(audit)
    assert plan.release is not None
    assert plan.release.chance == 0
    assert plan.release.stopped_by == ["base-rates"]


def test_nobody_looks_where_a_lot_is_declared_or_nothing_can_learn(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = prepared(workspace, "random").audit
    assert with_prompt_gaps(audit) is audit.plan
    other = prepared(workspace, "other").audit
    monkeypatch.setattr(prompt_gaps, "is_installed", lambda name: False)
    assert with_prompt_gaps(replace(other)) is other.plan


def test_what_only_warns_keeps_no_model_from_release(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a gap of prompts stops no attack that asks none."""
    controls = {
        "hiv-disclosure": CONTROLS["hiv-disclosure"] | {"onInconclusive": "warn"},
        "membership": {"limits": {"record": {"fail": 0.7}}},
    }
    monkeypatch.setitem(globals(), "CONTROLS", controls)
    audit = prepared(workspace, None).audit
    wide = PromptGap(value=0.2, error=0.01, freedom=100.0)
    monkeypatch.setattr(prompt_gaps, "prompt_gap", lambda *_: wide)
    plan = with_prompt_gaps(audit)
    assert plan.release is not None
    assert plan.release.stopped_by == []
    reasons = {cell.control: undecided(plan, cell) for cell in plan.cells}
    assert reasons == {"hiv-disclosure": "split-not-comparable", "membership": None}
