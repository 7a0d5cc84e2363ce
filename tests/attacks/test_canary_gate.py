"""Canaries the whole way: made by the command, planted in simulated targets, and judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditing import Audit, audit, phigate, write_policy, write_variant
from canary_builder import opened

from checker.attacks.canary_exposure.planted import PlantedCanaries, open_canaries
from checker.errors import ExitCode


def control(metric: str, *, fail: float, **params: Any) -> dict[str, Any]:
    return {
        "probe": "canary-exposure",
        "params": {"manifest": "manifest.json", **params},
        "metric": metric,
        "limits": {"record": {"fail": fail}},
    }


CONTROLS: Mapping[str, Any] = {
    "exposure": control("exposure_bits", fail=2.0),
    "exposure-ratio": control("exposure_bits", fail=2.0, score="reference-ratio"),
    "epsilon": control("epsilon_lower_bound", fail=1.0),
}


@pytest.fixture(scope="module")
def folder(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets beside a sound reference, which differ in what they kept of four hundred canaries.

    `leaking` keeps every canary that was planted, `sound` only the beacons, which stood in the
    shard many times, and `untrained` was never trained on the shard. Of that of `filtered` whoever
    trained took out the outliers, which are those canaries that do not begin like patients.
    """
    folder = tmp_path_factory.mktemp("canaries") / "targets"
    shutil.copytree(simulated_targets, folder)
    sound = folder / "sound.yaml"
    code, said = phigate(
        "canaries", "make", sound, "--out", folder / "shard", "--manifest",
        folder / "manifest.json", "--count", 400, "--events", 16, "--seed", 1,
    )  # fmt: skip
    assert code == ExitCode.PASS, said
    _, cohort, tokenizer = opened(sound)
    planted = open_canaries(
        folder / "manifest.json", cohort=cohort, tokenizer=tokenizer, max_length=128
    )
    kept = {
        "leaking": planted.included | planted.beacon,
        "sound": planted.beacon,
        "untrained": np.zeros(len(planted), dtype=np.bool_),
        "filtered": planted.beacon & planted.natural,
    }
    for name, which in kept.items():
        write_planted(folder, name, planted, which)
    write_policy(folder / "policy.yaml", CONTROLS)
    return folder


def write_planted(folder: Path, name: str, canaries: PlantedCanaries, kept: np.ndarray) -> None:
    model = json.loads((folder / "sound.json").read_text())
    model["memorized"] = [
        {"tokens": canaries.sequences[i].tolist(), "from": 4, "weight": 0.6}
        for i in np.flatnonzero(kept).tolist()
    ]
    (folder / f"planted-{name}.json").write_text(json.dumps(model))
    write_variant(
        folder / "sound.yaml",
        f"planted-{name}",
        model={"backend": "simulated", "path": f"planted-{name}.json"},
        reference={"backend": "simulated", "path": "sound.json"},
    )


@pytest.fixture(scope="module")
def audited(folder: Path) -> Callable[[str], Audit]:
    """Audit one of the targets, once."""
    done: dict[str, Audit] = {}

    def once(name: str) -> Audit:
        if name not in done:
            target = folder / f"planted-{name}.yaml"
            done[name] = audit(folder / "policy.yaml", target, folder / f"run-{name}")
        return done[name]

    return once


def test_a_target_that_kept_its_canaries_fails(audited: Callable[[str], Audit]) -> None:
    outcome = audited("leaking")
    assert {cell["verdict"] for cell in outcome.cells.values()} == {"fail"}, outcome.verdicts
    assert outcome.code == ExitCode.FAIL


def test_a_target_that_kept_only_the_beacons_is_cleared(audited: Callable[[str], Audit]) -> None:
    outcome = audited("sound")
    assert outcome.cell("exposure")["verdict"] == "pass"
    assert outcome.cell("exposure-ratio")["verdict"] == "pass"
    # how little the attack finds bounds no ε from above
    epsilon = outcome.cell("epsilon")
    assert (epsilon["verdict"], epsilon["reason"]) == ("inconclusive", "cannot-show-absence")
    beside = epsilon["reported"]["epsilon_lower_bound_gaussian"]
    assert 0 <= beside["low"] <= beside["value"] < 1


def test_a_target_that_never_saw_the_shard_does_not_pass(audited: Callable[[str], Audit]) -> None:
    outcome = audited("untrained")
    found = outcome.cell("exposure")
    assert (found["verdict"], found["reason"]) == ("inconclusive", "attack-not-shown-to-work")
    assert "beacons" in found["explanation"]
    assert outcome.code == ExitCode.INCONCLUSIVE


def test_a_shard_of_which_the_outliers_were_taken_out_shows_nothing(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("filtered")
    found = outcome.cell("exposure")
    assert (found["verdict"], found["reason"]) == ("inconclusive", "attack-not-shown-to-work")
    assert "implausible beacons" in found["explanation"]
    assert "natural" not in found["explanation"]


def declaring(folder: Path, name: str, **privacy: Any) -> Path:
    """A target whose owner declares that it was trained with differential privacy."""
    target = folder / f"planted-{name}.yaml"
    private = {"delta": 1e-5, "protects": "patient", "unit": "patient", **privacy}
    said = {key: value for key, value in private.items() if value is not None}
    study = {"training": {"differentialPrivacy": said}}
    return write_variant(target, f"{name}-private", study=study)


PARTLY: Mapping[str, Any] = {
    # a limit that the exposure of a leaking model keeps, so that the guarantee alone decides
    "exposure": control("exposure_bits", fail=9.0),
}


@pytest.mark.parametrize(
    ("name", "declared", "verdict", "holds"),
    [
        ("leaking", {"epsilon": 0.5}, ("inconclusive", "declared-privacy-refuted"), False),
        ("leaking", {"epsilon": 20.0}, ("pass", None), True),
        # a canary is a patient: of less than that the guarantee is not compared
        ("leaking", {"epsilon": 0.5, "protects": "less"}, ("pass", None), None),
        ("leaking", {"epsilon": 0.5, "protects": None}, ("pass", None), None),
        # what the guarantee is called decides nothing: years of a patient are all of the record
        (
            "leaking",
            {"epsilon": 0.5, "unit": "person-years, all visits"},
            ("inconclusive", "declared-privacy-refuted"),
            False,
        ),
        ("sound", {"epsilon": 0.5}, ("pass", None), True),
    ],
)
def test_a_guarantee_that_canaries_disprove_passes_no_canaries(
    folder: Path,
    tmp_path: Path,
    name: str,
    declared: dict[str, Any],
    verdict: tuple[str, str | None],
    holds: bool | None,
) -> None:
    policy = write_policy(folder / "partly.yaml", PARTLY)
    outcome = audit(policy, declaring(folder, name, **declared), tmp_path / "run")
    found = outcome.cell("exposure")
    assert (found["verdict"], found["reason"]) == verdict
    check = outcome.check("declared-privacy-refuted")
    assert check["holds"] is holds
    said = "Not compared" if holds is None else f"and {declared['epsilon']:g} is declared"
    assert said in check["explanation"]
    if holds is False:
        assert phigate("verify", tmp_path / "run")[0] == 0
        planned = json.loads((tmp_path / "run" / "plan.json").read_text())["checks"]
        (power,) = (one for one in planned if one["reason"] == "declared-privacy-refuted")
        assert (power["cells"], power["chance"]) == (1, 0.9995)


def test_who_declares_nothing_is_not_compared(audited: Callable[[str], Audit]) -> None:
    assert "declared-privacy-refuted" not in {
        check["name"] for check in audited("leaking").report["admissibility"]
    }


def test_without_a_reference_model_the_ratio_is_not_tested(folder: Path, tmp_path: Path) -> None:
    outcome = audit(folder / "policy.yaml", folder / "sound.yaml", tmp_path / "run")
    found = outcome.cell("exposure-ratio")
    assert (found["verdict"], found["reason"]) == ("inconclusive", "capability-missing")
    assert "reference model" in found["explanation"]
    assert outcome.cell("exposure")["reason"] != "capability-missing"
