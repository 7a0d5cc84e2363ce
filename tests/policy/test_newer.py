"""`validate` says where a policy names what there is a newer version of, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

from checker.policy import load_policy
from checker.policy.newer import newer_versions

POLICIES = Path(__file__).parents[2] / "policies"


def policy(folder: Path, parent: str, use: str, *, name: str = "policy.yaml") -> Path:
    file = folder / name
    file.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\n"
        'metadata: {name: release, version: "1.0.0"}\n'
        f'spec:\n  context: gated\n  extends: [{{ref: "{parent}"}}]\n'
        f'  attributeClasses:\n    mine: {{use: "{use}"}}\n'
    )
    return file


def said(file: Path) -> list[str]:
    return [one.message for one in newer_versions(load_policy(file))]


def test_older_versions_are_named_with_the_newest_at_their_lines(
    tmp_path: Path, phigate: Command
) -> None:
    file = policy(tmp_path, "baseline-gated@1", "library/hiv@1")
    told = json.loads(phigate("validate", file, "--json").out)
    assert told["valid"]
    found = {one["path"]: (one["line"], one["message"]) for one in told["warnings"]}
    line, message = found["spec.attributeClasses.mine.use"]
    assert (line, message.partition(";")[0]) == (8, "library/hiv has version 2 by now")
    line, message = found["spec.extends[0].ref"]
    assert (line, message.partition(" is ")[0]) == (6, "baseline-gated@2")


def test_the_newest_and_what_has_one_version_are_left_alone(tmp_path: Path) -> None:
    assert said(policy(tmp_path, "baseline-gated@2", "library/hiv@2")) == []
    assert said(policy(tmp_path, "baseline-gated@2", "library/suicidality@1")) == []


def test_what_is_inherited_is_said_where_it_is_written(tmp_path: Path) -> None:
    house = policy(tmp_path, "baseline-gated@2", "library/hiv@1", name="house.yaml")
    assert len(said(house)) == 1
    child = policy(tmp_path, "./house.yaml", "library/epilepsy@1")
    child.write_text(child.read_text().replace("mine:", "ours:"))
    assert said(child) == []


def test_a_policy_of_the_house_of_that_name_is_not_the_shipped_one(tmp_path: Path) -> None:
    own = policy(
        tmp_path, "baseline-gated@2", "library/epilepsy@1", name="baseline-internal@1.yaml"
    )
    own.write_text(own.read_text().replace("name: release", "name: baseline-internal"))
    child = policy(tmp_path, "baseline-internal@1", "library/epilepsy@1")
    child.write_text(child.read_text().replace("mine:", "ours:"))
    assert said(child) == []


@pytest.mark.parametrize("name", ["baseline-gated@1.1.0", "paper-t1-t6"])
def test_what_is_shipped_names_what_it_named(name: str) -> None:
    assert said(POLICIES / f"{name}.yaml") == []
