"""What a job returns that is no evidence of its kind takes its own cells along and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from checker.errors import ExitCode
from checker.run import execution
from checker.run.execution import SHARED_JOBS


def lacks_a_column(task: Any) -> Any:
    return SHARED_JOBS["scores"](task).drop_columns(["loss"])


def is_no_table(task: Any) -> Any:
    return {"loss": [0.0]}


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        (lacks_a_column, "what a job of kind 'scores' observed lacks the column 'loss'"),
        (is_no_table, "jobs of kind 'scores' return dict, not a pyarrow Table"),
    ],
)
def test_a_job_that_observes_something_else_fails_by_itself(
    phigate: Command,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    returns: Callable[[Any], Any],
    said: str,
) -> None:
    monkeypatch.setattr(execution, "SHARED_JOBS", {**SHARED_JOBS, "scores": returns})
    run = workspace / "run"
    documents = workspace / "policy.yaml", workspace / "sound.yaml"
    internal = ("--format", "json", "--audience", "internal")
    done = phigate("check", *documents, "--out", run, *internal)
    assert done.code == ExitCode.INCOMPLETE, done.err
    report = json.loads((run / "internal" / "report.json").read_text())
    cells = {cell["id"]: cell for cell in report["cells"]}
    broken = cells.pop("membership/record/all")
    assert (broken["verdict"], broken["reason"]) == ("error", "probe-crashed")
    assert said in broken["explanation"]
    assert "pass" in {cell["verdict"] for cell in cells.values()}
    monkeypatch.undo()
    again = phigate("check", *documents, "--out", run, "--format", "json")
    assert again.code == ExitCode.PASS, again.err  # nothing was kept that would have to be deleted
