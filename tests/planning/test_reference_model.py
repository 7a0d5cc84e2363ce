"""What a reference model of the same patients tells is no leak of the model under audit.

Plain excess flags whatever makes members easier than nonmembers. Where a control takes its excess
over a reference model, only what the model under audit tells beyond that model counts (METHODS §3,
difference in differences).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import Audit, audit, write_policy, write_variant

from checker.errors import ExitCode

TEN_EVENTS = {"limits": {"events-10": {"fail": 0.1}}}
CONTROLS: dict[str, dict[str, Any]] = {
    "hiv-disclosure": TEN_EVENTS,
    "beyond-reference": {
        "attributeClass": "hiv",
        "probe": "attribute-disclosure",
        "params": {"samples": 20, "horizonTokens": 32, "threshold": 0.5},
        "metric": "excess_disclosure",
        "contrast": "reference",
        **TEN_EVENTS,
    },
    "mean-beyond-reference": {
        "attributeClass": "hiv",
        "probe": "attribute-disclosure",
        "params": {"samples": 20, "horizonTokens": 32, "threshold": 0.5},
        "metric": "excess_mean_q",
        "contrast": "reference",
        **TEN_EVENTS,
    },
    "membership": {},
    "membership-ratio": {
        "probe": "membership-inference",
        "params": {"score": "reference-ratio"},
        "metric": "membership_auroc",
        "limits": {"record": {"fail": 0.7}},
    },
}
WITH_REFERENCE = [name for name in CONTROLS if "reference" in name or "ratio" in name]
PLAIN = ["hiv-disclosure", "membership"]


def simulated(path: str) -> dict[str, dict[str, str]]:
    return {"reference": {"backend": "simulated", "path": path}}


@pytest.fixture(scope="module")
def audited(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit one of the targets, once."""
    folder = tmp_path_factory.mktemp("reference") / "targets"
    shutil.copytree(simulated_targets, folder)
    # with seed 7 the ratio meets the false alarm that a placebo gives in one of a hundred cells
    policy = write_policy(folder / "policy.yaml", CONTROLS, seed=8, expectedBaseRate=0.02)
    # a worse model of the population, for which these same members are as easy
    model = json.loads((folder / "leaking.json").read_text())
    even = 1 / len(model["unigram"])
    model["unigram"] = [0.9 * share + 0.1 * even for share in model["unigram"]]
    (folder / "alike.json").write_text(json.dumps(model))
    leaking = folder / "leaking.yaml"
    write_variant(leaking, "beside-a-sound-one", **simulated("sound.json"))
    write_variant(leaking, "beside-one-alike", **simulated("alike.json"))
    (folder / "worse.json").write_text(json.dumps(model | {"memorized": []}))
    write_variant(folder / "sound.yaml", "sound-beside-a-sound-one", **simulated("worse.json"))
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            done[target] = audit(policy, folder / f"{target}.yaml", folder / f"run-{target}")
        return done[target]

    return once


@pytest.mark.parametrize("control", WITH_REFERENCE)
def test_what_a_sound_reference_does_not_tell_is_flagged(
    audited: Callable[[str], Audit], control: str
) -> None:
    found = audited("beside-a-sound-one").cell(control)
    assert found["verdict"] == "fail", found


@pytest.mark.parametrize("control", PLAIN)
def test_plain_excess_flags_what_the_reference_tells_too(
    audited: Callable[[str], Audit], control: str
) -> None:
    assert audited("beside-one-alike").cell(control)["verdict"] == "fail"


@pytest.mark.parametrize("control", WITH_REFERENCE)
def test_who_tells_no_more_than_the_reference_is_cleared(
    audited: Callable[[str], Audit], control: str
) -> None:
    found = audited("sound-beside-a-sound-one").cell(control)
    assert found["verdict"] == "pass", found


@pytest.mark.parametrize("control", WITH_REFERENCE)
def test_a_reference_that_knows_the_members_clears_nobody(
    audited: Callable[[str], Audit], control: str
) -> None:
    # it remembers the same members, so beyond it nothing is left; but all else it finds harder, and
    # by the ratio of the two the members stand out as those whom the reference knows better
    found = audited("beside-one-alike").cell(control)
    assert (found["verdict"], found["reason"]) == ("inconclusive", "worse-than-chance"), found


def test_the_plan_announces_what_an_excess_over_a_reference_can_show(
    audited: Callable[[str], Audit],
) -> None:
    plan = json.loads((audited("beside-one-alike").run / "plan.json").read_text())
    cells = {cell["control"]: cell for cell in plan["cells"]}
    plain, beyond = cells["hiv-disclosure"], cells["beyond-reference"]
    assert plain["sample"] == beyond["sample"]
    m, n = beyond["sample"]["members"], beyond["sample"]["nonmembers"]
    # bounds of no hits, 1 - 0.05^(1/n), of both groups squared and added
    bounds = [1 - 0.05 ** (1 / size) for size in (m, n)]
    assert plain["power"]["zeroHitBound"] == pytest.approx(bounds[0])
    assert beyond["power"]["zeroHitBound"] == pytest.approx(math.hypot(*bounds))
    assert 0 < beyond["power"]["passProbability"] < plain["power"]["passProbability"]


def test_a_target_without_a_reference_is_not_tested_against_one(
    audited: Callable[[str], Audit],
) -> None:
    outcome = audited("sound")
    for control in WITH_REFERENCE:
        found = outcome.cell(control)
        assert (found["verdict"], found["reason"]) == ("inconclusive", "capability-missing")
        assert "reference model" in found["explanation"]
        assert found["estimate"] is None
    assert {outcome.cell(control)["verdict"] for control in PLAIN} == {"pass"}
    assert outcome.code == ExitCode.INCONCLUSIVE
