"""Curtailed sampling and sequential stopping: less is drawn, and nothing else is decided."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from auditing import AS_OF, Audit, audit, write_policy
from command_line import Command

from checker.errors import ExitCode

SETTINGS: dict[str, dict[str, bool]] = {
    "full": {},
    "short": {"curtailed": True},
    "early": {"sequential": True},
}

Audited = Callable[[str, str], Audit]


def sampling(folder: Path, name: str) -> Path:
    """One class and one attacker of the demo policy, with one way of drawing less."""
    drawn = {"samples": 20, "probabilitySamples": 20, "horizonTokens": 32}
    controls: dict[str, Any] = {
        "hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}, "params": drawn}
    }
    return write_policy(folder / f"{name}.yaml", controls, sampling=SETTINGS[name])


@pytest.fixture(scope="module")
def audited(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Audit a target with a way of drawing less, once; the run is to be read only."""
    folder = tmp_path_factory.mktemp("audits")
    done: dict[tuple[str, str], Audit] = {}

    def once(target: str, name: str) -> Audit:
        if (target, name) not in done:
            done[target, name] = audit(
                sampling(folder, name),
                simulated_targets / f"{target}.yaml",
                folder / f"{name}-{target}",
            )
        return done[target, name]

    return once


def copied(found: Audit, folder: Path) -> Path:
    """Copy a run to be changed."""
    return shutil.copytree(found.run, folder / "run")


def drawn(run: Path) -> int:
    """Continuations that were drawn."""
    entries = json.loads((run / "manifest.json").read_text())["entries"]
    return sum(entry["rows"] for entry in entries if entry["kind"] == "rollouts")


@pytest.mark.parametrize("target", ["leaking", "sound"])
def test_curtailed_sampling_draws_less_and_gives_the_same_numbers(
    audited: Audited, target: str
) -> None:
    full, short = audited(target, "full"), audited(target, "short")
    assert short.verdicts == full.verdicts
    assert [c["estimate"] for c in short.cells.values()] == [
        c["estimate"] for c in full.cells.values()
    ]
    # with 20 samples and a threshold of one half nobody is settled before 10 are drawn, and nobody
    # of whom nothing is told before 15: each of the last five could add a hit and what was due
    assert 0.5 * drawn(full.run) <= drawn(short.run) < 0.9 * drawn(full.run)


def test_curtailed_samples_are_the_first_of_those_drawn_anyway(
    audited: Audited, simulated_targets: Path, tmp_path: Path
) -> None:
    full_run, short_run = audited("leaking", "full").run, tmp_path / "run"
    # runs have keys of their own: with the same one prompts have the same names
    short_run.mkdir()
    (short_run / "pseudonym.key").write_bytes((full_run / "pseudonym.key").read_bytes())
    audit(sampling(tmp_path, "short"), simulated_targets / "leaking.yaml", short_run)
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
    phigate: Command, audited: Audited, simulated_targets: Path, tmp_path: Path
) -> None:
    early = audited("leaking", "early")
    assert early.code == ExitCode.FAIL
    assert json.loads((early.run / "manifest.json").read_text())["leftOut"]
    assert drawn(early.run) < drawn(audited("leaking", "full").run)
    stopped = [
        cell
        for cell in early.cells.values()
        if cell["estimate"] and "sequen" in cell["estimate"]["method"]
    ]
    assert stopped
    assert all(cell["verdict"] == "fail" for cell in stopped)
    # what was left out is no gap: the run is verified, and found finished when it is repeated
    run = copied(early, tmp_path)
    assert phigate("verify", run).code == ExitCode.PASS
    again = audit(sampling(tmp_path, "early"), simulated_targets / "leaking.yaml", run)
    assert again.code == ExitCode.FAIL
    assert again.verdicts == early.verdicts


def test_a_run_that_was_cut_short_is_not_taken_for_one_that_stopped(
    phigate: Command, audited: Audited, tmp_path: Path
) -> None:
    run = copied(audited("sound", "early"), tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    assert not manifest["leftOut"]
    last = [entry for entry in manifest["entries"] if entry["kind"] == "rollouts"][-1]
    manifest["entries"].remove(last)
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / last["file"]).unlink()
    outcome = phigate("judge", run, "--as-of", AS_OF, "--format", "json")
    assert outcome.code == ExitCode.INCONCLUSIVE
    cells = json.loads((run / "report.json").read_text())["cells"]
    assert "not-run" in {cell["reason"] for cell in cells}


def test_judging_without_sequential_bounds_needs_everything_drawn(
    phigate: Command, audited: Audited, tmp_path: Path
) -> None:
    run = copied(audited("leaking", "early"), tmp_path)
    outcome = phigate(
        "judge", run, "--policy", sampling(tmp_path, "full"), "--as-of", AS_OF, "--json"
    )  # fmt: skip
    reasons = {cell["reason"] for cell in json.loads(outcome.out)["cells"]}
    assert "not-run" in reasons
