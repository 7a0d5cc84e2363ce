"""Small models compute on one thread, and whoever says otherwise is heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch

from checker.policy.documents import ModelSpec
from checker.targets.engine import loading, threads
from checker.targets.engine.threads import SMALL, ThreadChoice


def test_one_thread_is_used_until_a_large_model_is_open() -> None:
    choice = ThreadChoice(usual=8)
    assert choice.open(1_000) == 1
    assert choice.open(SMALL - 1) == 1
    assert choice.open(SMALL) == 8
    assert choice.open(1_000) == 8  # a small reference must not slow down the large target


def test_opening_a_model_chooses_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(threads, "_choice", ThreadChoice(usual=8))
    folder = tiny_models.save_gpt2(tmp_path / "gpt2")
    spec = ModelSpec.model_validate({"backend": "huggingface", "path": ".", "device": "cpu"})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    loading.load_model(folder, spec=spec, dtype="float32")
    assert asked == [1]
    monkeypatch.setattr(threads, "SMALL", 10)
    loading.load_model(folder, spec=spec, dtype="float32")
    assert asked == [1, 8]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    loading.load_model(folder, spec=spec, dtype="float32")
    assert asked == [1, 8]
