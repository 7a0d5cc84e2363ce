"""T1 on targets of known truth, from policy to verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import Audit, audit, phigate, write_policy
from command_line import Command

from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.testing.simulated import MemorizedRecord, write_simulated
from checker.testing.toy_targets import TOKENIZATION

ATTACKERS: dict[str, dict[str, Any]] = {
    "relative": {"knows": {"static": ["age", "sex", "race"], "events": 10}},
    "nobody": {"knows": {}},
}


def control(metric: str, attacker: str = "relative", *, fail: float, **params: Any) -> Any:
    """A control of one cell."""
    return {
        "probe": "trajectory-memorization",
        "params": {"horizonTokens": 24, "minRun": 6, "samples": 4, **params},
        "metric": metric,
        "limits": {attacker: {"fail": fail}},
    }


CONTROLS = {
    "extraction": control("extraction_rate", fail=0.1),
    "excess": control("excess_extraction", fail=0.05),
    "distance": control("distance_gap", fail=0.1),
    "regurgitation": control("regurgitation_excess", "nobody", fail=0.05, samples=200),
    "regurgitation-short": control("regurgitation_excess", "nobody", fail=0.05, samples=20),
    # of an attacker who knows nothing; shared prompts are what it ends by, whatever the samples
    "excess-of-nothing": control("excess_extraction", "nobody", fail=0.05, samples=20),
}


@pytest.fixture(scope="module")
def targets(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated targets, and one that begins anybody's record."""
    folder = tmp_path_factory.mktemp("targets") / "targets"
    shutil.copytree(simulated_targets, folder)
    write_repeater(folder)
    return folder


@pytest.fixture(scope="module")
def audited(targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Audit]:
    """Audit a target under all of T1's controls, once."""
    folder = tmp_path_factory.mktemp("audits")
    every = write_policy(folder / "policy.yaml", CONTROLS, attackers=ATTACKERS)
    blind = {name: one for name, one in CONTROLS.items() if "nobody" in one["limits"]}
    of_nobody = write_policy(folder / "blind.yaml", blind, attackers=ATTACKERS)
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            policy = of_nobody if target == "repeater" else every
            done[target] = audit(policy, targets / f"{target}.yaml", folder / target)
        return done[target]

    return once


def write_repeater(folder: Path) -> None:
    """Write a target that from nothing begins some member's record and goes on with it.

    Its choice of member is as blind as the population's: whoever asks about one patient learns
    nothing of him, and yet the records that come out are real.
    """
    cohort = load_cohort(DataSpec(path="cohort"), base=folder)
    vocabulary = load_vocabulary(folder / "vocab.json")
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(TOKENIZATION), vocabulary=vocabulary, base=folder
    )
    records = tokenizer.encode(cohort.members, cohort.codes)
    write_simulated(
        folder / "repeater.json",
        vocabulary_size=len(vocabulary.tokens),
        context_length=128,
        unigram=json.loads((folder / "sound.json").read_text())["unigram"],
        memorized=[
            MemorizedRecord(tokens=tuple(records.record(i).tokens.tolist()), first=1, weight=0.98)
            for i in range(0, len(records), 3)
        ],
    )
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    target["metadata"]["name"] = "repeater"
    target["spec"]["model"]["path"] = "repeater.json"
    (folder / "repeater.yaml").write_text(yaml.safe_dump(target, sort_keys=False))


@pytest.mark.parametrize("name", ["extraction", "excess", "distance"])
def test_a_model_that_repeats_records_is_flagged_and_a_sound_one_cleared(
    audited: Callable[[str], Audit], name: str
) -> None:
    leaking, sound = (audited(target).cell(name) for target in ("leaking", "sound"))
    assert leaking["verdict"] == "fail", leaking
    assert sound["verdict"] == "pass", sound


def test_a_distance_gap_says_what_chance_would_give(audited: Callable[[str], Audit]) -> None:
    found = audited("leaking").cell("distance")
    assert set(found["reported"]) == {"random_distance", "frequent_distance"}
    assert found["members"]["value"] < found["nonmembers"]["value"]
    assert found["estimate"]["value"] == pytest.approx(
        found["nonmembers"]["value"] - found["members"]["value"]
    )


def test_a_distance_is_of_everybody_whose_record_goes_on_and_the_run_is_verified(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("sound")
    distance, runs = outcome.cell("distance")["sample"], outcome.cell("excess")["sample"]
    assert distance["members"] > runs["members"]
    assert distance["nonmembers"] > runs["nonmembers"]
    code, told = phigate("verify", outcome.run)
    assert code == 0, told


def test_who_repeats_anybodys_record_fails_by_regurgitation_and_not_by_excess(
    audited: Callable[[str], Audit],
) -> None:
    repeater, sound = audited("repeater"), audited("sound")
    found = repeater.cell("regurgitation")
    assert found["verdict"] == "fail", found
    assert found["estimate"]["low"] > 0.9  # each continuation is a member's record
    excess = repeater.cell("excess-of-nothing")
    assert (excess["verdict"], excess["reason"]) == ("inconclusive", "prompt-not-identifying")
    assert excess["estimate"]["low"] < 0.05
    cleared = sound.cell("regurgitation")
    assert cleared["verdict"] == "pass", cleared
    assert cleared["estimate"]["n"] == 200  # one prompt, and so many continuations


def test_the_plan_asks_for_more_continuations_where_the_prompt_is_one(
    audited: Callable[[str], Audit],
) -> None:
    found = audited("sound").cell("regurgitation-short")
    # 59 without a hit are needed for 5 %
    assert found["power"]["neededMoreRollouts"] == 39
    assert (found["verdict"], found["reason"]) == ("inconclusive", "too-few-rollouts")


def test_a_run_that_no_continuation_could_hold_is_refused(phigate: Command, tmp_path: Path) -> None:
    controls = {"long": control("extraction_rate", fail=0.1, minRun=25)}
    path = write_policy(tmp_path / "policy.yaml", controls, attackers=ATTACKERS)
    outcome = phigate("validate", path)
    assert outcome.code == 2
    assert "minRun" in outcome.err


def test_equal_inputs_give_equal_distances(
    targets: Path, tmp_path: Path, audited: Callable[[str], Audit]
) -> None:
    only = {"distance": CONTROLS["distance"]}
    path = write_policy(tmp_path / "policy.yaml", only, attackers=ATTACKERS)
    # in another run, under another key and beside fewer controls
    again = audit(path, targets / "sound.yaml", tmp_path / "run").cell("distance")
    assert np.isfinite(again["estimate"]["value"])
    assert again["estimate"] == audited("sound").cell("distance")["estimate"]
