"""T3 on targets of known truth: what embeddings tell of members that they do not tell of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import Audit, audit, write_policy, write_variant
from command_line import Command
from measuring import measured, placebo_of

from checker.attacks.embedding_probe import ATTACK, EmbeddingProbeParams
from checker.attacks.embedding_probe.measure import EmbeddingObservations
from checker.errors import ExitCode, InsufficientData

INSIDER = {"extends": "demographics", "knows": {"events": 5}, "access": "embeddings"}


def control(*, fail: float = 0.15, **params: Any) -> dict[str, Any]:
    """The benign class, which many patients have, asked of embeddings."""
    return {
        "attributeClass": "common-chronic",
        "probe": "embedding-probe",
        "params": params,
        "metric": "excess_probe_auroc",
        "limits": {"insider": {"fail": fail}},
    }


# half the members are memorised, and 240 labels teach only so much: an excess of about 0.15, with
# bounds 0.06 to either side, so that one draw in a thousand would not reach beyond 0.01
CONTROLS = {
    "sound-limit": control(),
    "logistic": control(fail=0.01, labelShare=0.4),
    "mlp": control(fail=0.01, labelShare=0.4, classifier="mlp"),
    "hardly-any": control(labelShare=0.001),
}


@pytest.fixture(scope="module")
def audited(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit a target under some of T3's controls, once."""
    folder = tmp_path_factory.mktemp("audits")
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            asked = {
                n: c for n, c in CONTROLS.items() if (n == "sound-limit") == (target == "sound")
            }
            policy = write_policy(folder / f"{target}.yaml", asked, attackers={"insider": INSIDER})
            done[target] = audit(policy, simulated_targets / f"{target}.yaml", folder / target)
        return done[target]

    return once


@pytest.mark.parametrize("classifier", ["logistic", "mlp"])
def test_embeddings_that_recall_the_record_are_flagged(
    audited: Callable[[str], Audit], classifier: str
) -> None:
    found = audited("leaking").cell(classifier)
    assert found["verdict"] == "fail", found
    assert found["members"]["value"] > found["nonmembers"]["value"] + 0.05


def test_nothing_that_a_submitter_may_turn_draws_other_labels(
    simulated_targets: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(simulated_targets, tmp_path / "targets")
    target = yaml.safe_load((folder / "leaking.yaml").read_text())["spec"]
    policy = write_policy(
        tmp_path / "policy.yaml", {"asked": CONTROLS["logistic"]}, attackers={"insider": INSIDER}
    )
    changes: dict[str, dict[str, Any]] = {
        "as-it-is": {},
        "device": {"model": {**target["model"], "device": "cpu"}},
        "length": {"tokenization": {**target["tokenization"], "maxLength": 120}},
    }
    estimates = []
    for name, change in changes.items():
        turned = write_variant(folder / "leaking.yaml", name, **change)
        estimates.append(audit(policy, turned, tmp_path / f"run-{name}").cell("asked")["estimate"])
    assert estimates == [estimates[0]] * len(changes)


def test_embeddings_of_the_prompt_alone_are_cleared(audited: Callable[[str], Audit]) -> None:
    found = audited("sound").cell("sound-limit")
    assert found["verdict"] == "pass", found
    assert found["members"]["n"] == 480  # four fifths of 600 members: the attacker labels a fifth


def test_an_attacker_with_hardly_any_labels_fits_no_classifier(
    audited: Callable[[str], Audit],
) -> None:
    # a thousandth of 600 members is one patient, and one patient is of one kind
    found = audited("leaking").cell("hardly-any")
    assert (found["verdict"], found["reason"]) == ("inconclusive", "too-few-labels")


def test_a_target_without_embeddings_is_not_tested_and_does_not_pass(
    phigate: Command, workspace: Path
) -> None:
    model = json.loads((workspace / "sound.json").read_text())
    model["capabilities"] = ["samples", "logprobs"]
    (workspace / "sound.json").write_text(json.dumps(model))
    policy = write_policy(
        workspace / "embeddings.yaml", {"embeddings": control()}, attackers={"insider": INSIDER}
    )
    untested = audit(policy, workspace / "sound.yaml", workspace / "run")
    found = untested.cell("embeddings")
    assert (found["verdict"], found["reason"]) == ("inconclusive", "capability-missing")
    assert "embeddings" in found["explanation"]
    assert phigate("judge", untested.run).code == untested.code == ExitCode.INCONCLUSIVE


def observations(shift: float, n: int = 400, *, fitted: bool = True) -> EmbeddingObservations:
    """n members and n nonmembers, half of each with the class; members' scores differ by shift."""
    positive = np.tile(np.arange(n) % 2 == 0, 2)
    member = np.repeat([True, False], n)
    score = np.tile(np.arange(n) / n, 2) + np.where(positive & member, shift, 0.0)
    return EmbeddingObservations(member=member, positive=positive, score=score, fitted=fitted)


def test_the_excess_is_what_members_have_beyond_nonmembers() -> None:
    params = EmbeddingProbeParams()
    # ladders of step 1/400, positives on even steps: an AUROC of one half but for half a step
    level, raised = (
        measured(ATTACK, "excess_probe_auroc", observations(shift), params=params)
        for shift in (0.0, 2.0)
    )
    assert level.estimate.value == pytest.approx(0.0)
    assert raised.members is not None
    assert raised.members.value == 1.0
    assert raised.estimate.value == pytest.approx(0.5, abs=0.01)


def test_a_classifier_that_was_never_fitted_is_no_number() -> None:
    with pytest.raises(InsufficientData) as lack:
        measured(
            ATTACK, "probe_auroc", observations(0.0, fitted=False), params=EmbeddingProbeParams()
        )
    assert lack.value.reason == "too-few-labels"


def test_the_placebo_splits_nonmembers_and_finds_nothing() -> None:
    estimate = placebo_of(
        ATTACK,
        "excess_probe_auroc",
        observations(2.0),
        params=EmbeddingProbeParams(),
        confidence=0.99,
        seed=3,
    )
    assert estimate is not None
    assert estimate.low <= 0 <= estimate.high
