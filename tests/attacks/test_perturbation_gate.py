"""T5 the whole way: what hangs on the age is memorized, and what ignores it proves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditing import Audit, audit, write_policy, write_variant
from canary_builder import opened

from checker.errors import ExitCode
from checker.records.tokenization import KIND_STATIC

CONTROLS: dict[str, Any] = {
    "hiv-disclosure": {"limits": {"events-10": {"fail": 0.2}}},
    "memorized": {
        "attributeClass": "hiv",
        "probe": "identifier-perturbation",
        "params": {"horizonTokens": 32},
        "metric": "memorized_share",
        "limits": {"events-10": {"fail": 0.2}},
    },
}
AGES_TRIED = (-10, -5, -2, -1, 0, 1, 2, 5, 10)


def write_age_blind(folder: Path) -> Path:
    """Write a target that repeats half the members with HIV whatever age and sex it is told."""
    _, cohort, tokenizer = opened(folder / "sound.yaml")
    ids = tokenizer.vocabulary.ids
    records = tokenizer.encode(cohort.members, cohort.codes)
    spelled = ("DIAGNOSIS//ICD//10//B20", "DIAGNOSIS//ICD//10//Z21")
    hiv = [token for code, token in ids.items() if code.startswith(spelled)]
    told = [i for i in range(len(records)) if np.isin(records.record(i).tokens, hiv).any()]
    memorized = []
    for i in told[::2]:
        record = records.record(i)
        events = record.tokens[record.kind != KIND_STATIC][1:]  # behind BOS
        race = int(record.tokens[3])
        own = int(tokenizer.vocabulary.tokens[record.tokens[1]].removeprefix("AGE//"))
        for years in AGES_TRIED:
            for sex in ("GENDER//F", "GENDER//M"):
                prefix = [ids["[BOS]"], ids[f"AGE//{own + years}"], ids[sex], race]
                memorized.append({"tokens": [*prefix, *events.tolist()], "from": 5, "weight": 0.98})
    model = json.loads((folder / "sound.json").read_text()) | {"memorized": memorized}
    (folder / "age-blind.json").write_text(json.dumps(model))
    return write_variant(
        folder / "sound.yaml", "age-blind", model={"backend": "simulated", "path": "age-blind.json"}
    )


@pytest.fixture(scope="module")
def audited(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit a target under T2 and T5, once."""
    folder = tmp_path_factory.mktemp("perturbation") / "targets"
    shutil.copytree(simulated_targets, folder)
    write_age_blind(folder)
    policy = write_policy(folder / "policy.yaml", CONTROLS)
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            done[target] = audit(policy, folder / f"{target}.yaml", folder / f"run-{target}")
        return done[target]

    return once


def test_a_leak_that_hangs_on_the_age_is_called_memorized(
    audited: Callable[[str], Audit],
) -> None:
    # the leaking target repeats whole records, age included
    outcome = audited("leaking")
    found = outcome.cell("memorized")
    assert found["verdict"] == "fail", found
    assert found["reported"]["memorized share of disclosed members"]["value"] > 0.9
    assert found["reported"]["q unchanged"]["low"] > found["reported"]["q at age +1"]["high"]
    assert outcome.cell("hiv-disclosure")["verdict"] == "fail"


def test_a_leak_that_ignores_the_age_does_not_pass_on_its_stability(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("age-blind")
    assert outcome.cell("hiv-disclosure")["verdict"] == "fail"  # it is a leak
    found = outcome.cell("memorized")
    assert found["estimate"]["high"] < 0.2, found  # and far within the limit of this attack
    assert found["reported"]["q at age +1"]["value"] > 0.9
    assert found["verdict"] == "inconclusive"
    assert found["reason"] == "cannot-show-absence"
    assert found["id"] in outcome.report["summary"]["blockedBy"]


def test_who_discloses_nobody_is_not_flagged_and_not_passed(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("sound")
    found = outcome.cell("memorized")
    assert (found["estimate"]["value"], found["verdict"]) == (0.0, "inconclusive")
    assert found["reason"] == "cannot-show-absence"
    assert outcome.cell("hiv-disclosure")["verdict"] == "pass"
    assert outcome.code == ExitCode.INCONCLUSIVE


def test_a_prompt_that_nobody_has_leaves_the_cell_open_and_the_audit_whole(
    simulated_targets: Path, tmp_path: Path
) -> None:
    shutil.copytree(simulated_targets, folder := tmp_path / "targets")
    memorized = CONTROLS["memorized"] | {"limits": {"all-events": {"fail": 0.2}}}
    path = write_policy(
        folder / "policy.yaml",
        {"hiv-disclosure": CONTROLS["hiv-disclosure"], "memorized": memorized},
        attackers={
            "events-10": {"knows": {"static": "all", "events": 10}},
            "all-events": {"knows": {"static": "all", "events": 10_000}},
        },
    )
    found = audit(path, folder / "sound.yaml", folder / "run").cell("memorized")
    assert (found["verdict"], found["estimate"]) == ("inconclusive", None), found
    assert found["sample"]["members"] == 0
