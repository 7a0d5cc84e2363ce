"""What is published of the shipped policies is what they can decide, and theirs alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

from checker import load_policy
from checker.attacks.api import load_attack
from checker.attacks.families import Sample
from checker.canonical import digest, file_sha256
from checker.errors import EvidenceError, ExitCode
from checker.planning.characteristics import (
    FOLDER,
    characteristics,
    characteristics_of_file,
    shipped_characteristics,
    to_bytes,
)
from checker.planning.imagined import imagined_plan, profiles_sha256, shipped_profiles
from checker.planning.release import blocks
from checker.policy.documents import as_json
from checker.resources import resource

SHIPPED = {"baseline-internal@2": 1_000, "baseline-gated@2": 3_000,
           "baseline-public-weights@2": 10_000}  # fmt: skip
"""By policy, with how many patients a sound model is to be released."""


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_published_is_what_the_policy_decides(name: str) -> None:
    policy = load_policy(name)
    found = shipped_characteristics(policy.document)
    assert found is not None, f"phigate power {name} --write {FOLDER}"
    assert found.policy_sha256 == digest(as_json(policy.document))
    assert found.cohorts_sha256 == profiles_sha256()
    sizes = (300, 1_000, 3_000)
    again = characteristics(policy, sizes=sizes)
    assert again.points == [point for point in found.points if point.patients in sizes]
    path = resource(f"{FOLDER}/{found.policy}@{found.version}.json")
    assert path.read_bytes() == to_bytes(found)


@pytest.mark.parametrize(("name", "patients"), SHIPPED.items())
def test_a_sound_model_can_be_released_and_one_at_twice_a_limit_hardly(
    name: str, patients: int
) -> None:
    found = shipped_characteristics(load_policy(name).document)
    assert found is not None
    for point in found.points:
        assert point.deciding <= 14
        if point.split == "even" and point.patients >= patients:
            assert (point.released or 0.0) >= 0.8, point
        assert point.released_at_twice is not None
        assert point.released_at_twice <= 0.05, point
    assert {point.cohort for point in found.points} == {"short", "coded", "raw"}


def test_another_policy_of_a_shipped_name_has_none(tmp_path: Path) -> None:
    shipped = Path(load_policy("baseline-gated@2").file)
    name, version = "baseline-gated", "2.2.0"
    assert characteristics_of_file(name, version, sha256=file_sha256(shipped)) is not None
    assert characteristics_of_file(name, version, sha256="0" * 64) is None
    looser = tmp_path / "looser.yaml"
    looser.write_text(shipped.read_text().replace("0.05}}", "0.08}}"))
    assert shipped_characteristics(load_policy(looser).document) is None


def test_a_class_of_ones_own_and_a_policy_that_decides_nothing_have_none(
    phigate: Command, tmp_path: Path
) -> None:
    with pytest.raises(EvidenceError, match="substance-use"):
        characteristics(load_policy(resource("policies/demo.yaml")), sizes=(1_000,))
    with pytest.raises(EvidenceError, match="nothing in it decides"):
        characteristics(load_policy("paper-t1-t6@1"), sizes=(1_000,))
    refused = phigate("power", "paper-t1-t6@1", "--write", tmp_path / "out")
    assert refused.code == ExitCode.INCOMPLETE
    assert not (tmp_path / "out").exists()
    assert phigate("power", "paper-t1-t6@1").code == ExitCode.PASS


def test_the_command_writes_the_file_and_shows_it(phigate: Command, tmp_path: Path) -> None:
    shown = phigate("power", "baseline-internal@2")
    assert "How likely a model that leaks nothing is released" in shown.out
    assert "such data need a shorter one" in " ".join(shown.out.split())
    assert "95% (10)" in shown.out
    told = json.loads(phigate("power", "baseline-internal@2", "--json").out)
    assert told["characteristics"]["policy"] == "baseline-internal"
    target = tmp_path / "target.yaml"
    both = phigate("power", "baseline-internal@2", "--target", target, "--write", tmp_path)
    assert both.code == ExitCode.USAGE


def test_an_imagined_plan_has_the_cells_that_decide_and_their_patients() -> None:
    policy, coded = load_policy("baseline-gated@2"), shipped_profiles()["coded"]
    plan = imagined_plan(policy, coded, members=900, nonmembers=300)
    cells = {cell.control: cell for cell in plan.cells}
    assert sum(blocks(cell) for cell in plan.cells) == 13
    share = coded.share(policy.document.spec, "gravest")
    alone = coded.share(policy.document.spec, "hiv")
    assert (
        alone
        < share
        < sum(
            coded.share(policy.document.spec, name)
            for name in policy.document.spec.attribute_classes["gravest"].any_of or []
        )
    )
    assert cells["gravest"].sample.members == round(share * 900)
    assert cells["gravest"].sample.nonmembers == round(share * 300)
    # nonmembers teach the reference, and a third of all is fitted on
    assert cells["membership"].sample.members == 600
    assert cells["membership"].sample.nonmembers == 200 - round(200 / 3)
    assert cells["membership-beside-models"].sample == cells["membership"].sample
    assert cells["recited"].sample.members == 900
    assert plan.release is not None
    assert [check.chance for check in plan.checks if check.chance < 0.9] == []


FALSE = {
    "excess_mean_q": ("attribute-disclosure", 0.09),
    "excess_disclosure": ("attribute-disclosure", 0.09),
    "disclosure_rate": ("attribute-disclosure", 0.09),
    "membership_auroc": ("membership-inference", 0.65),
    "membership_tpr_at_fpr": ("membership-inference", 0.05),
}


@pytest.mark.parametrize("name", FALSE)
def test_at_its_limit_a_model_passes_by_chance_and_beyond_it_hardly(name: str) -> None:
    probe, limit = FALSE[name]
    attack = load_attack(probe)
    family = attack.metrics[name].in_control(contrast="nonmembers", params=attack.params()).family
    sample = Sample(members=600, nonmembers=600)
    found = [
        family.false_pass(limit, sample, times=times, confidence=0.95, base_rate=0.05)
        for times in (0.0, 0.5, 1.0, 1.5, 2.0)
    ]
    chances = [chance for chance in found if chance is not None]
    assert len(chances) == 5
    assert sorted(chances, reverse=True) == chances
    assert chances[0] > 0.95
    assert chances[2] <= 0.055  # a normal approximation is off by a little
    assert chances[4] < 0.001
