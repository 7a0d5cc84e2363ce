"""What a reference model of the same patients tells is no leak of the model under audit.

Plain excess flags whatever makes members easier than nonmembers. Where a control takes its excess
over a reference model, only what the model under audit tells beyond that model counts (METHODS §3,
difference in differences).
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from auditing import Audit, audit, phigate, write_policy, write_variant

from checker.canonical import digest
from checker.errors import DocumentError, ExitCode
from checker.planning.reference import check_reference
from checker.policy import load_target
from checker.run.stored import load_run
from checker.targets import TargetDescription
from checker.verdict.reference_check import reference_check

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
    (folder / "honest.json").write_text(json.dumps(model | {"memorized": []}))
    leaking = folder / "leaking.yaml"
    write_variant(leaking, "beside-a-sound-one", **simulated("sound.json"))
    write_variant(leaking, "beside-one-alike", **simulated("alike.json"))
    sound = folder / "sound.yaml"
    write_variant(sound, "sound-beside-an-honest-one", **simulated("honest.json"))
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
def test_a_reference_that_knows_the_members_clears_nobody(
    audited: Callable[[str], Audit], control: str
) -> None:
    """A leak less the same leak is nothing: a pass here would release a model that leaks."""
    outcome = audited("beside-one-alike")
    found = outcome.cell(control)
    assert (found["verdict"], found["reason"]) == ("inconclusive", "reference-knows-members")
    assert found["estimate"]["high"] <= found["limit"]["fail"]  # but for the check it would pass
    assert outcome.check("reference-knows-members")["estimate"]["low"] > 0.5


@pytest.mark.parametrize("control", WITH_REFERENCE)
def test_an_honest_reference_clears_a_sound_model(
    audited: Callable[[str], Audit], control: str
) -> None:
    outcome = audited("sound-beside-an-honest-one")
    found = outcome.cell(control)
    assert found["verdict"] == "pass", found
    check = outcome.check("reference-knows-members")
    assert check["holds"] is True
    assert check["estimate"]["low"] < 0.5 < check["estimate"]["high"]


def test_the_reason_has_a_sentence_and_a_remedy_in_the_terminal(
    audited: Callable[[str], Audit],
) -> None:
    out = " ".join(audited("beside-one-alike").out.split())
    assert "reference model itself tells members from nonmembers" in out


def test_a_reference_that_was_not_run_for_its_scores_is_not_known_to_be_honest(
    audited: Callable[[str], Audit],
) -> None:
    stored = load_run(audited("beside-one-alike").run)
    evidence = {
        entry.job: table
        for entry in stored.manifest.entries
        for table in [pq.read_table(stored.folder / entry.file)]
        if entry.kind != "scores"
    }
    check = reference_check(stored.plan, evidence)
    assert check is not None
    assert check.holds is None


@pytest.mark.parametrize("copied", ["the same file", "a copy of its bytes"])
def test_the_target_itself_is_no_reference(
    simulated_targets: Path, tmp_path: Path, copied: str
) -> None:
    folder = tmp_path / "targets"
    shutil.copytree(simulated_targets, folder)
    name = "leaking.json"
    if copied != "the same file":
        (folder / "other").mkdir()
        shutil.copy(folder / name, folder / "other" / name)
        name = f"other/{name}"
    target = write_variant(folder / "leaking.yaml", "beside-itself", **simulated(name))
    policy = write_policy(folder / "policy.yaml", CONTROLS)
    code, out = phigate("plan", policy, target)
    assert code == ExitCode.USAGE
    place = next(
        number
        for number, line in enumerate(target.read_text().splitlines(), start=1)
        if line.startswith("  reference:")
    )
    said = " ".join(out.split())
    assert re.search(rf"beside-itself\.yaml:{place + 2}:\d+", said), said  # its line `path:`
    assert "the reference is the model under audit itself" in said


def described(**files: str) -> TargetDescription:
    return TargetDescription(
        backend="simulated",
        vocabulary_size=9,
        context_length=None,
        capabilities=frozenset(),
        bos_token_id=None,
        files={name.replace("__", "."): sha256 for name, sha256 in files.items()},
        sha256=digest(files),
    )


OWN = {"config__json": "c", "model__safetensors": "w"}


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({"config__json": "edited", "model__safetensors": "w"}, True),
        ({"config__json": "edited", "renamed__bin": "w"}, True),
        ({"config__json": "c", "model__safetensors": "others"}, False),
        # a base model beside its adapter is a fair reference of what was fine-tuned from it
        ({**OWN, "adapter__safetensors": "a"}, False),
        ({"config__json": "edited"}, False),
    ],
)
def test_a_reference_is_refused_for_its_weights_and_not_for_its_configuration(
    simulated_targets: Path, other: dict[str, str], refused: bool
) -> None:
    target = load_target(simulated_targets / "sound.yaml")
    if not refused:
        check_reference(target, described(**OWN), described(**other))
        return
    with pytest.raises(DocumentError, match="has the weights of the model under audit"):
        check_reference(target, described(**OWN), described(**other))


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
