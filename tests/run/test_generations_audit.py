"""An audit of draws from a file: what leaks may fail, and nothing passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from auditing import audit, phigate, write_policy, write_variant

from checker.errors import ExitCode
from checker.policy.documents import ModelSpec
from checker.targets import Sampler
from checker.testing.simulated import SimulatedBackend


def draw(folder: Path, *, model: str, ids: dict[str, int]) -> None:
    """Draw what was asked, where the model is."""
    opened = SimulatedBackend().open(
        ModelSpec(path=model), folder, pad_id=ids["[PAD]"], eos_id=ids["[EOS]"]
    )
    rows: list[dict[str, Any]] = []
    for one in pq.read_table(folder / "prompts.parquet").to_pylist():
        sampler = Sampler(one["temperature"], one["top_p"], one["horizon_tokens"], one["seed"])
        prompt = np.array(one["tokens"], np.int32)
        drawn = opened.rollout([prompt], keys=[one["key"]], samples=one["samples"], sampler=sampler)
        rows += [
            {"prompt": one["prompt"], "sample": number, "tokens": tokens.tolist()}
            for number, tokens in enumerate(drawn[0])
        ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "draws.parquet")


@pytest.mark.filterwarnings("always:.*had measured nothing")
def test_draws_of_a_sound_model_pass_nothing_and_are_refused_for_another_policy(
    workspace: Path,
) -> None:
    ids = json.loads((workspace / "vocab.json").read_text())
    options = {
        "prompts": "prompts.parquet",
        "draws": "draws.parquet",
        "vocabularySize": len(ids),
        "contextLength": 128,
    }
    said = {"backend": "generations", "path": "sound.json", "options": options}
    target = write_variant(workspace / "sound.yaml", "elsewhere", model=said)
    policy = write_policy(workspace / "policy.yaml", {"hiv-disclosure": {}})
    asked = phigate("target", "prompts", target, "--policy", policy, "--out",
                    workspace / "prompts.parquet")  # fmt: skip
    assert asked[0] == ExitCode.PASS, asked
    prompts = workspace / "prompts.parquet"
    assert prompts.stat().st_mode & 0o777 == 0o600  # they are patients'
    before = prompts.read_bytes()
    again = phigate("target", "prompts", target, "--policy", policy, "--out", prompts)
    assert again[0] == ExitCode.USAGE
    assert "prompts.parquet is there already" in again[1]
    assert prompts.read_bytes() == before
    missing = phigate("check", policy, target, "--out", workspace / "run")
    assert missing[0] == ExitCode.INCOMPLETE
    assert "draws.parquet: no such file" in missing[1]
    draw(workspace, model="sound.json", ids=ids)
    draws = pq.read_table(workspace / "draws.parquet")
    pq.write_table(draws.slice(1), workspace / "draws.parquet")
    lacking = phigate("check", policy, target, "--out", workspace / "run")
    assert lacking[0] == ExitCode.INCOMPLETE
    assert "samples of the prompt" in lacking[1]
    pq.write_table(draws, workspace / "draws.parquet")  # and the same folder does for the answer
    outcome = audit(policy, target, workspace / "run")
    assert outcome.code == ExitCode.INCONCLUSIVE
    took = "took the folder of an audit that had measured nothing"
    assert took in outcome.out
    assert took in (workspace / "run" / "log.txt").read_text()
    assert {verdict for verdict, _ in outcome.verdicts.values()} == {"inconclusive"}
    assert "attack-not-shown-to-work" in {reason for _, reason in outcome.verdicts.values()}
    other = write_policy(workspace / "other.yaml", {"hiv-disclosure": {}}, seed=99)
    refused = audit(other, target, workspace / "other")
    assert refused.code == ExitCode.INCOMPLETE
    assert any("written for another policy" in cell["explanation"]
               for cell in refused.cells.values())  # fmt: skip
    asked = phigate("target", "prompts", workspace / "sound.yaml", "--policy", policy, "--out",
                    workspace / "p")  # fmt: skip
    assert asked[0] == ExitCode.INCOMPLETE
    assert "the backend simulated asks its model itself" in asked[1]
