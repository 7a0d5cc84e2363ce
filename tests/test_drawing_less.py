"""Curtailed sampling and sequential stopping: less is drawn, and nothing else is decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import Command

from checker.errors import ExitCode

AS_OF = "2026-11-01T00:00:00+00:00"


def sampling(folder: Path, name: str, **settings: bool) -> Path:
    """One class and one attacker of the demo policy, with these ways of drawing less."""
    document = yaml.safe_load((folder / "policy.yaml").read_text())
    spec = document["spec"]
    spec["parameters"]["sampling"] = settings
    spec["controls"] = {"hiv-disclosure": spec["controls"]["hiv-disclosure"]}
    spec["controls"]["hiv-disclosure"]["limits"] = {"events-10": {"fail": 0.05}}
    path = folder / f"{name}.yaml.policy"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def audit(phigate: Command, folder: Path, target: str, name: str, **settings: bool) -> Any:
    """Outcome, folder and report of an audit."""
    policy = sampling(folder, name, **settings)
    run = folder / f"run-{name}-{target}"
    outcome = phigate("check", policy, folder / f"{target}.yaml", "--out", run, "--as-of", AS_OF)
    return outcome, run, json.loads((run / "report.json").read_text())


def drawn(run: Path) -> int:
    """Continuations that were drawn."""
    entries = json.loads((run / "manifest.json").read_text())["entries"]
    return sum(entry["rows"] for entry in entries if entry["kind"] == "rollouts")


def verdicts(report: Any) -> dict[str, tuple[str, str | None]]:
    return {cell["id"]: (cell["verdict"], cell["reason"]) for cell in report["cells"]}


@pytest.mark.parametrize("target", ["leaking", "sound"])
def test_curtailed_sampling_draws_less_and_gives_the_same_numbers(
    phigate: Command, workspace: Path, target: str
) -> None:
    _, full_run, full = audit(phigate, workspace, target, "full")
    _, short_run, short = audit(phigate, workspace, target, "short", curtailed=True)
    assert verdicts(short) == verdicts(full)
    assert [c["estimate"] for c in short["cells"]] == [c["estimate"] for c in full["cells"]]
    # with 20 samples and a threshold of one half nobody is settled before 10 are drawn
    assert 0.5 * drawn(full_run) <= drawn(short_run) < 0.8 * drawn(full_run)


def test_curtailed_samples_are_the_first_of_those_drawn_anyway(
    phigate: Command, workspace: Path
) -> None:
    _, full_run, _ = audit(phigate, workspace, "leaking", "full")
    _, short_run, _ = audit(phigate, workspace, "leaking", "short", curtailed=True)
    # runs have keys of their own: with the same one prompts have the same names
    (short_run / "pseudonym.key").write_bytes((full_run / "pseudonym.key").read_bytes())
    audit(phigate, workspace, "leaking", "short", curtailed=True)
    full, short = (
        {
            (row["prompt"], row["sample"]): row["tokens"]
            for entry in json.loads((run / "manifest.json").read_text())["entries"]
            if entry["kind"] == "rollouts"
            for row in pq.read_table(run / entry["file"]).to_pylist()
        }
        for run in (full_run, short_run)
    )
    assert short
    assert all(full[key] == tokens for key, tokens in short.items())


def test_a_leak_is_found_early_and_the_rest_is_not_drawn(
    phigate: Command, workspace: Path
) -> None:
    _, full_run, _ = audit(phigate, workspace, "leaking", "full")
    outcome, run, report = audit(phigate, workspace, "leaking", "early", sequential=True)
    assert outcome.code == ExitCode.FAIL
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["leftOut"]
    assert drawn(run) < drawn(full_run)
    stopped = [c for c in report["cells"] if c["estimate"] and "sequen" in c["estimate"]["method"]]
    assert stopped
    assert all(cell["verdict"] == "fail" for cell in stopped)
    # what was left out is no gap: the run is verified, and found finished when it is repeated
    assert phigate("verify", run).code == ExitCode.PASS
    again, _, repeated = audit(phigate, workspace, "leaking", "early", sequential=True)
    assert again.code == ExitCode.FAIL
    assert verdicts(repeated) == verdicts(report)


def test_a_run_that_was_cut_short_is_not_taken_for_one_that_stopped(
    phigate: Command, workspace: Path
) -> None:
    _, run, report = audit(phigate, workspace, "sound", "early", sequential=True)
    assert not json.loads((run / "manifest.json").read_text())["leftOut"]
    manifest = json.loads((run / "manifest.json").read_text())
    last = [entry for entry in manifest["entries"] if entry["kind"] == "rollouts"][-1]
    manifest["entries"].remove(last)
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / last["file"]).unlink()
    assert phigate("judge", run, "--as-of", AS_OF).code == ExitCode.INCONCLUSIVE
    cells = json.loads((run / "report.json").read_text())["cells"]
    assert "not-run" in {cell["reason"] for cell in cells}


def test_judging_without_sequential_bounds_needs_everything_drawn(
    phigate: Command, workspace: Path
) -> None:
    _, run, _ = audit(phigate, workspace, "leaking", "early", sequential=True)
    outcome = phigate(
        "judge", run, "--policy", sampling(workspace, "full"), "--as-of", AS_OF, "--json"
    )  # fmt: skip
    reasons = {cell["reason"] for cell in json.loads(outcome.out)["cells"]}
    assert "not-run" in reasons
