"""`score: strongest` on targets of known truth, from policy to verdict, and whom it judges."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import Audit, audit, phigate, write_policy, write_variant

from checker.planning import AuditPlan
from checker.run.prepare import prepare

CONTROLS: dict[str, dict[str, Any]] = {
    "auroc": {"limits": {"record": {"fail": 0.7}}},
    "tpr": {
        "metric": "membership_tpr_at_fpr",
        "params": {"fpr": 0.1},
        "limits": {"record": {"fail": 0.35}},
    },
    "exposed": {
        "metric": "exposed_members",
        "limits": {"record": {"fail": 15}},
    },
}


def strongest(**changes: Any) -> dict[str, Any]:
    """A control that names no score, and so takes the strongest."""
    return {
        "probe": "membership-inference",
        "params": {},
        "metric": "membership_auroc",
        **changes,
    }


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strongest")
    controls = {name: strongest(**control) for name, control in CONTROLS.items()}
    return write_policy(folder / "policy.yaml", controls)


@pytest.fixture(scope="module")
def audited(
    policy: Path, simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit a target, once."""
    folder = tmp_path_factory.mktemp("audited")
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            done[target] = audit(policy, simulated_targets / f"{target}.yaml", folder / target)
        return done[target]

    return once


def tables(run: Path, kind: str) -> list[pa.Table]:
    """The evidence of all jobs of a kind, without the salt that makes its digest a run's own."""
    manifest = json.loads((run / "manifest.json").read_text())
    return [
        pq.read_table(run / entry["file"]).replace_schema_metadata(None)
        for entry in manifest["entries"]
        if entry["kind"] == kind
    ]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_leaking_target_is_flagged_and_a_sound_one_cleared(
    audited: Callable[[str], Audit], control: str
) -> None:
    leaking, sound = (audited(target).cell(control) for target in ("leaking", "sound"))
    assert leaking["verdict"] == "fail", leaking
    assert sound["verdict"] == "pass", sound
    beside = {name.removeprefix(f"{leaking['metric']}_") for name in leaking["reported"]}
    assert beside == {"loss", "min_k", "min_k++", "own_ratio"}


def test_nobody_is_judged_who_taught_the_reference_or_the_classifier(
    audited: Callable[[str], Audit],
) -> None:
    run = audited("sound").run
    features = pa.concat_tables(tables(run, "membership-features")).to_pylist()
    (judged,) = (table.to_pylist() for table in tables(run, "membership-scores"))
    by_name = {row["patient"]: row for row in features}
    members = [row for row in features if row["member"]]
    # 600 of each: 200 nonmembers teach the reference and have no features at all
    assert (len(members), len(features) - len(members)) == (600, 400)
    assert sum(row["fitted"] for row in members) == 200
    assert len(judged) == sum(not row["fitted"] for row in features)
    assert not any(by_name[row["patient"]]["fitted"] for row in judged)
    cell = audited("sound").cell("auroc")
    assert cell["sample"]["members"] == sum(row["member"] for row in judged) == 400
    assert cell["sample"]["nonmembers"] == sum(not row["member"] for row in judged)


def test_a_run_that_ended_after_the_training_does_not_train_again(
    audited: Callable[[str], Audit], policy: Path, simulated_targets: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(audited("sound").run, tmp_path / "run"))
    manifest = json.loads((run / "manifest.json").read_text())
    (trained,) = (e["file"] for e in manifest["entries"] if e["kind"] == "reference-training")
    before = json.loads((run / "run.json").read_text())["measured"][trained]
    for entry in manifest["entries"]:
        if entry["kind"].startswith("membership-"):
            (run / entry["file"]).unlink()
    manifest["entries"] = [
        e for e in manifest["entries"] if not e["kind"].startswith("membership-")
    ]
    (run / "manifest.json").write_text(json.dumps(manifest))
    stamp = (run / trained).stat().st_mtime_ns
    again = audit(policy, simulated_targets / "sound.yaml", run)
    assert again.verdicts == audited("sound").verdicts
    assert (run / trained).stat().st_mtime_ns == stamp
    assert json.loads((run / "run.json").read_text())["measured"][trained] == before


def test_the_run_is_verified_offline(audited: Callable[[str], Audit]) -> None:
    code, said = phigate("verify", audited("leaking").run)
    assert code == 0, said


# --- the lot ------------------------------------------------------------------------------------


def plan_of(policy: Path, target: Path) -> AuditPlan:
    return prepare(policy, target).plan


def trainings(plan: AuditPlan) -> list[str]:
    return [job.digest for job in plan.jobs_of("reference-training")]


def lots(policy: Path, target: Path) -> list[tuple[list[int], list[int]]]:
    """Who teaches the reference, and whose record is fitted on, as the plan has drawn them."""
    prepared = prepare(policy, target).audit
    inputs = prepared.workload.inputs
    found = []
    for job in prepared.plan.jobs:
        if job.kind == "reference-training":
            found.append(
                (inputs[job.digest].taught.tolist(), inputs[job.digest].validation.tolist())
            )
        if job.kind == "membership-features":
            chosen = inputs[job.digest]
            found.append(([int(x) for x in chosen.fitted], [int(x) for x in chosen.half]))
    return found


def test_who_is_judged_is_halved_exactly_for_the_placebo(
    policy: Path, simulated_targets: Path
) -> None:
    """Or a plan calls a sample large enough whose smaller half is not."""
    prepared = prepare(policy, simulated_targets / "sound.yaml").audit
    chosen = [
        prepared.workload.inputs[job.digest] for job in prepared.plan.jobs_of("membership-features")
    ]
    outside = np.concatenate([[not inside for inside, _ in one.patients] for one in chosen])
    fitted = np.concatenate([one.fitted for one in chosen])
    half = np.concatenate([one.half for one in chosen])
    for group in (outside & ~fitted, outside & fitted):
        assert group.sum() > 20
        assert half[group].sum() == (group.sum() + 1) // 2


@pytest.fixture
def targets(simulated_targets: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(simulated_targets, tmp_path / "targets"))


def test_nothing_that_the_target_says_of_itself_draws_another_lot(
    policy: Path, targets: Path
) -> None:
    """Or a leaking model could be described anew until the attack on it is weak."""
    target = targets / "leaking.yaml"
    spec = yaml.safe_load(target.read_text())["spec"]
    shorter = write_variant(
        target, "shorter", tokenization=spec["tokenization"] | {"maxLength": 40}
    )
    other = write_variant(target, "other", model=spec["model"] | {"path": "sound.json"})
    expected = lots(policy, target)
    for variant in (shorter, other):
        assert lots(policy, variant) == expected
    assert trainings(plan_of(policy, other)) == trainings(plan_of(policy, target))


def test_another_seed_of_the_policy_draws_another_lot(policy: Path, targets: Path) -> None:
    document = yaml.safe_load(policy.read_text())
    document["spec"]["parameters"]["seed"] += 1
    reseeded = policy.with_name("reseeded.yaml")
    reseeded.write_text(yaml.safe_dump(document))
    target = targets / "leaking.yaml"
    assert lots(reseeded, target) != lots(policy, target)
    assert trainings(plan_of(reseeded, target)) != trainings(plan_of(policy, target))


# --- the plan -----------------------------------------------------------------------------------


def test_the_plan_says_what_training_costs_and_how_many_are_judged(
    policy: Path, targets: Path
) -> None:
    plan = plan_of(policy, targets / "sound.yaml")
    (job,) = plan.jobs_of("reference-training")
    assert plan.cost.training_tokens == job.training_tokens > 0
    cell = next(cell for cell in plan.cells if cell.control == "auroc")
    assert (cell.sample.members, cell.power.can_pass) == (400, True)
    code, said = phigate("plan", policy, targets / "sound.yaml")
    assert code == 0
    assert f"{plan.cost.training_tokens:,} tokens" in " ".join(said.split())


def test_several_references_are_several_trainings_that_all_scores_rest_on(
    policy: Path, targets: Path
) -> None:
    asked = write_policy(
        policy.with_name("three.yaml"),
        {"auroc": strongest(params={"references": 3}, **CONTROLS["auroc"])},
    )
    plan = plan_of(asked, targets / "sound.yaml")
    trained = trainings(plan)
    assert len(set(trained)) == 3
    assert all(set(trained) <= set(job.needs) for job in plan.jobs_of("membership-features"))
    assert set(trained) <= set(plan.cells[0].jobs)


def test_a_classic_score_that_a_control_names_trains_nothing(policy: Path, targets: Path) -> None:
    asked = write_policy(
        policy.with_name("classic.yaml"),
        {"auroc": strongest(params={"score": "loss"}, **CONTROLS["auroc"])},
    )
    plan = plan_of(asked, targets / "sound.yaml")
    assert trainings(plan) == []
    assert plan.cost.training_tokens == 0
    assert plan.cells[0].sample.members == 600


def test_a_changed_reference_is_found(audited: Callable[[str], Audit], tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited("sound").run, tmp_path / "run"))
    manifest = json.loads((run / "manifest.json").read_text())
    (entry,) = (e for e in manifest["entries"] if e["kind"] == "reference-training")
    path = run / entry["file"]
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    code, said = phigate("verify", run)
    assert code != 0
    assert Path(entry["file"]).name in said
