"""Records and prompts longer than the context, end to end: planned, and never passed by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import Audit, audit, phigate, write_policy, write_variant

from checker.errors import ExitCode

ALL = {"everything": {"knows": {"static": "all", "events": "all"}, "access": "samples"}}


def bounded(workspace: Path, name: str, max_length: int, window: str = "first") -> Path:
    """A toy target whose records, of up to 31 tokens, are longer than what it sees."""
    spec = yaml.safe_load((workspace / f"{name}.yaml").read_text())["spec"]
    return write_variant(
        workspace / f"{name}.yaml",
        f"{name}-{max_length}",
        tokenization=spec["tokenization"] | {"maxLength": max_length, "window": window},
    )


def check(workspace: Path, target: Path, **control: Any) -> Audit:
    policy = write_policy(workspace / "policy.yaml", {"hiv-disclosure": control}, attackers=ALL)
    return audit(policy, target, workspace / "run")


@pytest.mark.parametrize("window", ["first", "tiled"])
def test_a_leak_is_found_within_what_the_model_sees(workspace: Path, window: str) -> None:
    found = check(
        workspace, bounded(workspace, "leaking", 26, window), limits={"everything": {"fail": 0.05}}
    )
    (cell,) = found.cells.values()
    assert (found.code, cell["verdict"]) == (ExitCode.FAIL, "fail"), cell


def test_first_events_that_fill_the_context_are_inconclusive_and_the_rest_is_planned(
    workspace: Path,
) -> None:
    policy = write_policy(
        workspace / "policy.yaml",
        {
            "hiv-disclosure": {"limits": {"first": {"fail": 0.9}}},
            "membership": {"limits": {"record": {"fail": 0.99}}},
        },
        attackers={"first": {"knows": {"static": "all", "events": 20}, "access": "samples"}},
    )
    target = bounded(workspace, "leaking", 20)
    code, out = phigate("plan", policy, target)
    assert code == ExitCode.PASS
    assert "of the prompts fill the model's context" in out
    planned = json.loads(phigate("plan", policy, target, "--json")[1])
    (cell,) = (one for one in planned["cells"] if one["control"] == "hiv-disclosure")
    assert cell["sample"]["tooLongShare"] > 0.05
    assert not cell["power"]["canPass"]
    assert cell["jobs"] == []
    found = audit(policy, target, workspace / "run")
    cells = {cell["control"]: cell for cell in found.cells.values()}
    assert (cells["hiv-disclosure"]["verdict"], cells["hiv-disclosure"]["reason"]) == (
        "inconclusive",
        "prompts-too-long",
    )
    # the line to change is named, where the policy is that holds it
    assert (
        "attackers.first.knows.events: 20 (policy.yaml, line "
        in (cells["hiv-disclosure"]["explanation"])
    )
    assert cells["membership"]["reason"] != "not-run"
    assert found.code == ExitCode.INCONCLUSIVE


def test_another_window_or_length_is_another_measurement(workspace: Path) -> None:
    policy = write_policy(
        workspace / "policy.yaml",
        {"hiv-disclosure": {"limits": {"everything": {"fail": 0.05}}}},
        attackers=ALL,
    )
    jobs = []
    for length, window in ((26, "first"), (26, "tiled"), (27, "first")):
        target = bounded(workspace, "leaking", length, window)
        planned = json.loads(phigate("plan", policy, target, "--json")[1])
        jobs.append({job["digest"] for job in planned["jobs"] if job["kind"] == "labels"})
    assert not jobs[0] & jobs[1]
    assert not jobs[0] & jobs[2]
