"""Cells of every attack rest on jobs that ask what the policy says, and on no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from every_probe import write_audit

from checker.evidence import Manifest
from checker.planning import AuditPlan, Job
from checker.run.prepare import Prepared, prepare
from checker.run.stored import Run
from checker.verification.demands import check_measurements
from checker.verification.statement import Statement


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    policy, target = write_audit(tmp_path_factory.mktemp("every"))
    return prepare(policy, target)


def checked(plan: AuditPlan) -> Statement:
    manifest = cast("Manifest", None)  # what was measured is not looked at
    return check_measurements(Run(Path(), plan, manifest, None))


def with_job(plan: AuditPlan, kind: str, **inputs: Any) -> AuditPlan:
    """Return a plan whose jobs of a kind have other inputs under the same digests."""

    def changed(job: Job) -> Job:
        return job.model_copy(update={"inputs": {**job.inputs, **inputs}})

    jobs = [changed(job) if job in plan.jobs_of(kind) else job for job in plan.jobs]
    return plan.model_copy(update={"jobs": jobs})


def test_every_attack_rests_on_jobs_that_ask_what_its_policy_says(prepared: Prepared) -> None:
    assert checked(prepared.audit.plan).holds


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("labels", "attacker", {}),
        ("rollouts", "temperature", 0.5),
        ("trajectories", "minRun", 1),
        ("regurgitation", "horizonTokens", 5),
        ("probe-scores", "classifier", "mlp"),
        ("perturbations", "watch", []),
        ("perturbations", "threshold", 0.9),
        ("perturbations", "samples", 500),
    ],
)
def test_a_job_that_asks_something_else_is_found(
    prepared: Prepared, kind: str, name: str, value: Any
) -> None:
    assert prepared.audit.plan.jobs_of(kind)
    found = checked(with_job(prepared.audit.plan, kind, **{name: value}))
    assert found.holds is False
    assert f"a job of other {name}" in found.text


def test_a_cell_reads_its_samples_from_a_job_that_draws_more_and_not_from_one_of_fewer(
    prepared: Prepared,
) -> None:
    plan = prepared.audit.plan
    assert checked(with_job(plan, "rollouts", samples=1000)).holds
    assert "a job of fewer samples" in checked(with_job(plan, "rollouts", samples=1)).text


def test_a_cell_does_not_rest_on_another_attacks_kind_of_job(prepared: Prepared) -> None:
    plan = prepared.audit.plan
    (canaries, *_) = plan.jobs_of("canaries")
    cells = [
        cell.model_copy(update={"jobs": [canaries.digest]})
        if cell.probe == "membership-inference"
        else cell
        for cell in plan.cells
    ]
    found = checked(plan.model_copy(update={"cells": cells}))
    assert "a job of a kind that its attack does not ask for" in found.text
