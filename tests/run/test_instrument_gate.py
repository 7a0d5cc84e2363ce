"""Wrong vocabularies, end to end: no model that is asked in other tokens than its own is passed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from auditing import Audit, audit, write_policy, write_variant
from command_line import Outcome

from checker.errors import ExitCode

Ids = dict[str, int]


def shifted(by: int) -> Callable[[Ids], Ids]:
    def change(ids: Ids) -> Ids:
        own = [token for token in ids if not token.startswith("[")]
        return ids | {token: ids[own[(i + by) % len(own)]] for i, token in enumerate(own)}

    return change


def shuffled(prefix: str) -> Callable[[Ids], Ids]:
    def change(ids: Ids) -> Ids:
        own = [t for t in ids if t.startswith(prefix) and not t.startswith("[")]
        order = np.random.default_rng(0).permutation(len(own))
        return ids | {token: ids[own[order[i]]] for i, token in enumerate(own)}

    return change


WRONG = {
    "shifted by 1": shifted(1),
    "shifted by 40": shifted(40),
    "shuffled": shuffled(""),
    "diagnoses shuffled": shuffled("DIAGNOSIS//"),
}


def check(folder: Path, name: str, change: Callable[[Ids], Ids], *, expects: bool) -> Audit:
    """Audit a toy target under a changed vocabulary; the trainer's sample is as it was."""
    policy = write_policy(folder / "policy.yaml", {"membership": {}})
    ids = json.loads((folder / "vocab.json").read_text())
    (folder / "changed.json").write_text(json.dumps(change(ids)))
    spec = yaml.safe_load((folder / f"{name}.yaml").read_text())["spec"]
    tokenization = spec["tokenization"] | {"vocabulary": "changed.json"}
    expect = spec["expect"] if expects else {"loss": {"members": 5.04}}
    target = write_variant(
        folder / f"{name}.yaml", "changed", tokenization=tokenization, expect=expect
    )
    return audit(policy, target, folder / "run")


@pytest.mark.parametrize(
    ("name", "wrong"), [*(("sound", wrong) for wrong in WRONG), ("leaking", "diagnoses shuffled")]
)
def test_a_wrong_vocabulary_is_found_without_the_trainer(
    workspace: Path, name: str, wrong: str
) -> None:
    outcome = check(workspace, name, WRONG[wrong], expects=False)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert outcome.check("floor")["holds"] is False
    assert outcome.check("expected-loss")["holds"] is False
    assert {reason for _, reason in outcome.verdicts.values()} == {"attack-not-shown-to-work"}


def test_a_wrong_vocabulary_contradicts_the_trainer(workspace: Path) -> None:
    outcome = check(workspace, "sound", shifted(1), expects=True)
    assert outcome.check("expected-tokens")["holds"] is False
    assert "40 of 40" in outcome.check("expected-tokens")["explanation"]
    assert outcome.code == ExitCode.INCONCLUSIVE


def test_the_right_vocabulary_passes_where_the_trainer_confirms_it(workspace: Path) -> None:
    outcome = check(workspace, "sound", lambda ids: ids, expects=True)
    assert outcome.code == ExitCode.PASS, outcome.verdicts
    assert outcome.check("floor")["holds"] is True


def test_a_model_no_better_than_a_unigram_is_no_pass_on_its_owner_s_word(workspace: Path) -> None:
    outcome = check(workspace, "sound", lambda ids: ids, expects=False)
    assert outcome.check("expected-loss")["holds"] is True
    assert outcome.check("floor")["holds"] is None
    assert outcome.verdicts["membership/record/all"][0] == "inconclusive"


def test_a_leak_fails_rightly_described(workspace: Path) -> None:
    outcome = check(workspace, "leaking", lambda ids: ids, expects=True)
    assert outcome.code == ExitCode.FAIL


PREFIX = 4
"""BOS, age and two static facts, of the toy targets."""


def test_a_leak_that_is_told_without_a_prefix_is_no_pass(workspace: Path) -> None:
    """As declared the model is the sound one, and the trainer's sequences are right."""
    model = json.loads((workspace / "leaking.json").read_text())
    for known in model["memorized"]:
        known["tokens"] = known["tokens"][PREFIX:]
    (workspace / "leaking.json").write_text(json.dumps(model))
    outcome = check(workspace, "leaking", lambda ids: ids, expects=True)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert outcome.check("other-descriptions")["holds"] is None
    assert "'without prefix'" in outcome.check("other-descriptions")["explanation"]


def test_the_plan_says_that_a_required_expectation_is_missing(
    workspace: Path, phigate: Callable[..., Outcome]
) -> None:
    policy = write_policy(workspace / "policy.yaml", {"membership": {}})
    document = yaml.safe_load(policy.read_text())
    document["spec"].setdefault("gate", {})["requireExpectation"] = True
    policy.write_text(yaml.safe_dump(document, sort_keys=False))
    said = "The target declares no expectation"
    assert said not in phigate("plan", policy, workspace / "sound.yaml").out
    target = yaml.safe_load((workspace / "sound.yaml").read_text())
    del target["spec"]["expect"]
    (workspace / "silent.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    assert said in phigate("plan", policy, workspace / "silent.yaml").out
