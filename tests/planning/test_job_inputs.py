"""What a job's observations depend on is in its digest, whichever document or file it stands in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import phigate as run_phigate
from auditing import write_policy, write_variant
from command_line import Command

from checker.errors import ExitCode
from checker.planning import Job
from checker.policy import load_policy
from checker.run.prepare import prepare

NEAR = {
    "probe": "trajectory-memorization",
    "metric": "distance_gap",
    "params": {"horizonTokens": 24, "minRun": 6, "samples": 1},
    "limits": {"events-10": {"fail": 0.2}},
}
EXPOSED = {
    "probe": "canary-exposure",
    "metric": "exposure_bits",
    "params": {"manifest": "manifest.json"},
    "limits": {"record": {"fail": 3.0}},
}


def only_job(policy: Path, target: Path, kind: str) -> Job:
    (job,) = prepare(policy, target).plan.jobs_of(kind)
    return job


def test_how_the_data_spell_codes_decides_how_near_continuations_are(
    simulated_targets: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(simulated_targets, tmp_path / "targets")
    policy = write_policy(tmp_path / "policy.yaml", {"near": NEAR})
    spelled = write_variant(
        folder / "sound.yaml",
        "spelled",
        codeSystems=[{"match": "DIAGNOSIS//{code}", "system": "icd9cm"}],
    )
    one, other = (
        only_job(policy, target, "trajectories") for target in (folder / "sound.yaml", spelled)
    )
    assert one.digest != other.digest


# --- files that a policy names ------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospital(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's policy that names a manifest and a model of labels, and a ward's beside it.

    In the ward's folder stand another manifest and another model of the same names.
    """
    folder = shutil.copytree(simulated_targets, tmp_path_factory.mktemp("files") / "hospital")
    ward = folder / "ward"
    ward.mkdir()
    for seed, where in ((1, folder), (2, ward)):
        code, said = run_phigate(
            "canaries", "make", folder / "sound.yaml", "--out", where / "shard", "--manifest",
            where / "manifest.json", "--count", 100, "--events", 8, "--seed", seed,
        )  # fmt: skip
        assert code == ExitCode.PASS, said
        (where / "labels").mkdir()
        (where / "labels" / "config.json").write_text(json.dumps({"seed": seed}))
    near = {**NEAR, "params": {**NEAR["params"], "labels": "labels"}}  # type: ignore[dict-item]
    policy = write_policy(folder / "policy.yaml", {"exposed": EXPOSED, "near": near})
    document = yaml.safe_load(policy.read_text())
    document["metadata"]["name"] = "hospital"
    policy.write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def write_ward(hospital: Path, controls: dict[str, Any]) -> Path:
    path = hospital / "ward" / "policy.yaml"
    document = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "ward", "version": "1.0.0"},
        "spec": {"extends": [{"ref": "../policy.yaml"}], "controls": controls},
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


SAID_AGAIN = {
    "exposed": {"params": {"manifest": "manifest.json"}},
    "near": {"params": {"labels": "labels"}},
}


@pytest.mark.parametrize("controls", [{}, SAID_AGAIN], ids=["inherited", "said again"])
def test_an_inherited_control_reads_the_file_that_its_own_author_named(
    hospital: Path, controls: dict[str, Any]
) -> None:
    demanded = hospital / "policy.yaml"
    ward = write_ward(hospital, controls)
    assert load_policy(ward).document.spec.controls == load_policy(demanded).document.spec.controls
    for kind in ("canaries", "trajectories"):
        one, other = (
            only_job(policy, hospital / "sound.yaml", kind) for policy in (demanded, ward)
        )
        assert one.digest == other.digest, kind


def test_one_path_cannot_mean_two_files(hospital: Path, phigate: Command) -> None:
    ward = write_ward(hospital, {"own": {"title": "Of the ward's own", **EXPOSED}})
    refused = phigate("plan", ward, hospital / "sound.yaml")
    assert refused.code == ExitCode.USAGE
    assert "spec.controls.own.params: 'manifest.json' is another file here" in refused.err
