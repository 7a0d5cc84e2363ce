"""An audit of a model behind a server: the same evidence, and never a pass when it goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from auditing import audit, phigate, write_policy, write_variant
from model_servers import Deferred, served

from checker.errors import ExitCode
from checker.testing.simulated import SimulatedBackend

SCRIPT = """
import os
from pathlib import Path
import phigate_adapter
from checker.policy.documents import ModelSpec
from checker.testing.simulated import SimulatedBackend

class Dying:
    spec = ModelSpec(path="sound.json")
    info = SimulatedBackend().describe(spec, Path())
    def begin(self, *, pad_id, eos_id):
        model = SimulatedBackend().open(self.spec, Path(), pad_id=pad_id, eos_id=eos_id)
        own = model.watched_rollout  # which is asked by jobs, and by nothing before
        def watched_rollout(prompts, **given):
            if Path("die").exists():
                print("out of memory", flush=True)
                os._exit(9)
            return own(prompts, **given)
        model.watched_rollout = watched_rollout
        return model

phigate_adapter.serve(Dying(), files="sound.json")
"""
PATIENTS = 600
CONTROLS: dict[str, dict[str, Any]] = {"hiv-disclosure": {}, "membership": {}}


class Trouble(Deferred):
    """A simulated model that answers otherwise when all patients are scored.

    Args:
        path: of the model.
        what: makes another answer of its answer.
    """

    def __init__(self, path: Path, what: Callable[[Any], Any]) -> None:
        super().__init__(SimulatedBackend(), path)
        self.what = what

    def begin(self, *, pad_id: int | None, eos_id: int | None) -> Any:
        model: Any = super().begin(pad_id=pad_id, eos_id=eos_id)
        own = model.score

        def score(sequences: Any, **given: Any) -> Any:
            found = own(sequences, **given)
            return self.what(found) if len(sequences) == PATIENTS else found

        model.score = score
        return model


@contextmanager
def served_target(workspace: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with served(model, workspace / "sound.json", monkeypatch) as spec:
        said = {"backend": "flight", "path": "sound.json", "options": spec.options}
        yield write_variant(workspace / "sound.yaml", "served", model=said)


def evidence(run: Path) -> list[bytes]:
    """Return the bytes of each table, in the order of their jobs, without the job's digest."""
    manifest = json.loads((run / "manifest.json").read_text())
    found = []
    for one in manifest["entries"]:
        table = pq.read_table(run / one["file"]).replace_schema_metadata(None).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        found.append(sink.getvalue().to_pybytes())
    return found


def test_evidence_and_verdicts_are_those_of_the_model_in_this_process(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, run = write_policy(workspace / "policy.yaml", CONTROLS), workspace / "run"
    here = audit(policy, workspace / "sound.yaml", workspace / "here")
    run.mkdir()
    shutil.copy(here.run / "pseudonym.key", run)
    with served_target(
        workspace, Deferred(SimulatedBackend(), workspace / "sound.json"), monkeypatch
    ) as target:
        outcome = audit(policy, target, run)
    assert outcome.code == here.code == ExitCode.PASS
    assert evidence(run) == evidence(here.run)
    code, out = phigate("verify", run, "--model", workspace / "sound.json")
    assert code == ExitCode.PASS, out


def not_numbers(found: list[Any]) -> list[Any]:
    return [replace(one, logprob=one.logprob * np.nan) for one in found]


def test_an_answer_that_makes_no_sense_is_an_error_of_what_rests_on_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_policy(workspace / "policy.yaml", CONTROLS)
    trouble = Trouble(workspace / "sound.json", not_numbers)
    with served_target(workspace, trouble, monkeypatch) as target:
        outcome = audit(policy, target, workspace / "run")
    assert outcome.code == ExitCode.INCOMPLETE
    cell = outcome.cell("membership")
    assert cell["verdict"] == "error"
    assert "answered score with logprob of nan" in cell["explanation"]


def test_a_server_that_ends_in_the_middle_is_an_error_and_the_audit_goes_on_later(
    workspace: Path,
) -> None:
    policy = write_policy(workspace / "policy.yaml", CONTROLS)
    (workspace / "serve.py").write_text(SCRIPT)
    (workspace / "die").touch()
    options = {"command": [sys.executable, "serve.py"]}
    said = {"backend": "flight", "path": "sound.json", "options": options}
    target = write_variant(workspace / "sound.yaml", "served", model=said)
    outcome = audit(policy, target, workspace / "run")
    assert outcome.code == ExitCode.INCOMPLETE
    errors = [cell for cell in outcome.cells.values() if cell["verdict"] == "error"]
    assert "hiv-disclosure" in {cell["control"] for cell in errors}
    assert all("its last words: out of memory" in cell["explanation"] for cell in errors)
    shared = phigate("report", workspace / "run", "--format", "json,markdown,html")
    assert shared[0] == ExitCode.PASS, shared
    for page in (workspace / "run").glob("report.*"):
        text = page.read_text()
        assert "out of memory" not in text  # who writes words may write anything
        assert page.suffix == ".json" or "is the owner&#39;s word" in text.replace("'", "&#39;")
    (workspace / "die").unlink()
    again = audit(policy, target, workspace / "run")
    assert again.code == ExitCode.PASS, again.verdicts
