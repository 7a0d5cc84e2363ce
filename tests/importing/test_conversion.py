"""Training checkpoints become safetensors, and nothing that they name is run."""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from safetensors.torch import load_file

from checker.errors import TargetError, UsageError
from checker.importing import convert
from checker.targets.engine import converting


class Runs:
    """What a pickle can do to whoever unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Settings:
    """An object of a class that only the trainer has."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def test_a_lightning_checkpoint_is_converted_in_a_process_of_its_own(
    tmp_path: Path, model: Path, weights: dict[str, torch.Tensor]
) -> None:
    ran = tmp_path / "ran"
    settings = Settings()
    settings.rate = 1e-3  # type: ignore[attr-defined]
    state = {f"model.net._orig_mod.{name}": tensor for name, tensor in weights.items()}
    content = {
        "state_dict": OrderedDict({**state, "metrics.count": torch.zeros(3)}),
        "hyper_parameters": {"settings": settings, "folder": Path("/x"), "kind": list},
        "loops": defaultdict(list, {"seen": [1, 2]}),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
        "callbacks": {"early": Runs(ran)},
    }
    torch.save(content, tmp_path / "last.ckpt")
    done = convert(tmp_path / "last.ckpt", out=tmp_path / "out", config=model)
    assert not ran.exists()
    assert (done.prefix, done.dropped) == ("model.net.", ("metrics.count",))
    assert any(name.endswith("mkdir") for name in done.not_loaded)
    assert "'model.net.' was taken off" in done.summary
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    with pytest.raises(UsageError, match="is there already"):
        convert(tmp_path / "last.ckpt", out=tmp_path / "out", config=model)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_alone_are_converted(
    tmp_path: Path, model: Path, weights: dict[str, torch.Tensor], zipped: bool
) -> None:
    path = tmp_path / "model.pt"
    torch.save(
        {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    report = converting.convert(path, model, tmp_path / "out")
    assert (report["prefix"], report["dropped"]) == ("", [])
    assert report["dtypes"] == ["float32"]


def test_shards_are_joined_and_may_not_contradict_each_other(
    tmp_path: Path, model: Path, weights: dict[str, torch.Tensor]
) -> None:
    half = dict(list(weights.items())[:4])
    torch.save(half, tmp_path / "pytorch_model-1.bin")
    other = {name: tensor for name, tensor in weights.items() if name not in half}
    torch.save(other, tmp_path / "pytorch_model-2.bin")
    assert converting.convert(tmp_path, model, tmp_path / "out")["parameters"] > 1000
    torch.save(weights, tmp_path / "pytorch_model-2.bin")
    with pytest.raises(TargetError, match="and so does another file beside it"):
        converting.convert(tmp_path, model, tmp_path / "out")


def test_what_is_not_the_architecture_s_is_refused(
    tmp_path: Path, model: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "model.pt"
    name, tensor = next(iter(weights.items()))
    for content, message in (
        ({n: t for n, t in weights.items() if n != name}, f"lacks weights .* needs .{name}, 1 in"),
        ({**weights, name: tensor[:-1]}, f"{name} is of shape"),
        ({"epoch": 3}, "holds no weights at its top or under state_dict"),
        (Runs(tmp_path / "ran"), "one object, such as a whole pickled model"),
    ):
        torch.save(content, path)
        with pytest.raises(TargetError, match=message):
            converting.convert(path, model, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    path.write_bytes(b"no checkpoint")
    with pytest.raises(TargetError, match="no checkpoint that can be read"):
        converting.convert(path, model, tmp_path / "out")
    with pytest.raises(TargetError, match="there is no such checkpoint"):
        convert(tmp_path / "nowhere.pt", out=tmp_path / "out", config=model)
    with pytest.raises(TargetError, match=r"holds no config\.json"):
        convert(path, out=tmp_path / "out", config=tmp_path)
