"""A target that does not show what a probe must see: untested is said, and is no pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import AS_OF, Audit, audit, phigate, write_policy, write_variant

from checker.errors import ExitCode

TEN_EVENTS = {"events-10": {"fail": 0.5}}
BY_ACCESS: dict[str, dict[str, dict[str, Any]]] = {
    "samples": {
        "hiv-disclosure": {"limits": TEN_EVENTS},
        "extraction": {
            "probe": "trajectory-memorization",
            "params": {"horizonTokens": 8, "minRun": 6, "samples": 1},
            "metric": "extraction_rate",
            "limits": TEN_EVENTS,
        },
        "perturbation": {
            "attributeClass": "hiv",
            "probe": "identifier-perturbation",
            "params": {"horizonTokens": 32},
            "metric": "memorized_share",
            "limits": TEN_EVENTS,
        },
    },
    "logprobs": {
        "membership": {},
        "canaries": {
            "probe": "canary-exposure",
            "params": {"manifest": "manifest.json"},
            "metric": "exposure_bits",
            "limits": {"record": {"fail": 2.0}},
        },
    },
    "embeddings": {
        "embedding": {
            "attributeClass": "common-chronic",
            "probe": "embedding-probe",
            "metric": "excess_probe_auroc",
            "limits": {"insider": {"fail": 0.15}},
        }
    },
}
"""Every probe, by what it has to see of the model."""

INSIDER = {"knows": {"static": ["age", "sex"], "events": 5}, "access": "embeddings"}


@pytest.fixture(scope="module")
def audited(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit a sound target that lacks a capability, once."""
    folder = tmp_path_factory.mktemp("capabilities") / "targets"
    shutil.copytree(simulated_targets, folder)
    target = folder / "sound.yaml"
    code, said = phigate(
        "canaries", "make", target, "--out", folder / "shard", "--manifest",
        folder / "manifest.json", "--count", 200, "--events", 8, "--seed", 1,
    )  # fmt: skip
    assert code == ExitCode.PASS, said
    controls = {name: one for group in BY_ACCESS.values() for name, one in group.items()}
    policy = write_policy(folder / "policy.yaml", controls, attackers={"insider": INSIDER})
    done: dict[str, Audit] = {}

    def once(lacking: str) -> Audit:
        if lacking not in done:
            model = json.loads((folder / "sound.json").read_text())
            model["capabilities"] = [access for access in BY_ACCESS if access != lacking]
            (folder / f"no-{lacking}.json").write_text(json.dumps(model))
            path = write_variant(
                target,
                f"no-{lacking}",
                model={"backend": "simulated", "path": f"no-{lacking}.json"},
            )
            done[lacking] = audit(policy, path, folder / f"run-{lacking}")
        return done[lacking]

    return once


@pytest.mark.parametrize("lacking", BY_ACCESS)
def test_what_a_target_does_not_show_is_named_and_not_tested(
    audited: Callable[[str], Audit], lacking: str
) -> None:
    outcome = audited(lacking)
    for access, controls in BY_ACCESS.items():
        for name in controls:
            found = outcome.cell(name)
            assert (found["reason"] == "capability-missing") == (access == lacking), found
    for name in BY_ACCESS[lacking]:
        found = outcome.cell(name)
        assert found["verdict"] == "inconclusive"
        assert f"gives no {lacking}" in found["explanation"]
        assert found["estimate"] is None
        assert not found["evidence"]


@pytest.mark.parametrize("lacking", BY_ACCESS)
def test_a_target_that_does_not_show_enough_is_not_released(
    audited: Callable[[str], Audit], lacking: str
) -> None:
    outcome = audited(lacking)
    assert outcome.code == ExitCode.INCONCLUSIVE
    untested = {outcome.cell(name)["id"] for name in BY_ACCESS[lacking]}
    assert untested <= set(outcome.report["summary"]["blockedBy"])
    assert f"The target gives no {lacking}, so this was not tested." in outcome.out
    assert phigate("judge", outcome.run, "--as-of", AS_OF)[0] == ExitCode.INCONCLUSIVE


def test_without_log_probabilities_nothing_that_rests_on_the_format_passes(
    audited: Callable[[str], Audit],
) -> None:
    # the format is checked by log-probabilities, and a wrong one makes any model look safe
    outcome = audited("logprobs")
    assert "pass" not in {cell["verdict"] for cell in outcome.cells.values()}
    assert outcome.cell("hiv-disclosure")["reason"] == "attack-not-shown-to-work"


def test_a_target_that_shows_all_that_a_control_needs_passes_it(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("embeddings")
    assert {outcome.cell(name)["verdict"] for name in ("hiv-disclosure", "membership")} == {"pass"}
    assert outcome.cell("extraction")["verdict"] == "pass"
