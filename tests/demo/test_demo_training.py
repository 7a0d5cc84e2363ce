"""The demo's training: it ends where the recipe says, and nothing outside notices that it ran."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from checker.demo.training import OVERTRAINED, SOUND, train
from checker.errors import UsageError
from checker.targets import Tokens
from checker.targets.engine.training import Epoch, Recipe, TrainingResult

PAD, BOS, EOS = 0, 1, 2
WORDS = 12
TINY = Recipe(max_epochs=3, learning_rate=5e-3, layers=1, width=16, heads=2)


def patients(count: int, *, seed: int) -> list[Tokens]:
    """Records of 6 words drawn evenly from 9: without memory a word costs ln 9 = 2.20 nats."""
    rng = np.random.default_rng(seed)
    return [np.array([BOS, *rng.integers(3, WORDS, size=6), EOS], np.int32) for _ in range(count)]


def trained(
    out: Path,
    recipe: Recipe = TINY,
    *,
    count: int = 24,
    seed: int = 0,
    validation: Sequence[Tokens] = (),
    **changed: Any,
) -> TrainingResult:
    arguments = {
        "vocabulary_size": WORDS,
        "bos_id": BOS,
        "eos_id": EOS,
        "pad_id": PAD,
        "context_length": 16,
        "out": out,
        "seed": seed,
        "recipe": recipe,
        "validation": validation,
    }
    return train(patients(count, seed=7), **{**arguments, **changed})


def test_training_to_a_loss_ends_with_a_model_that_repeats_its_records(tmp_path: Path) -> None:
    # Perfect memory of 24 records costs ln 24 = 3.2 nats a record, 0.45 a token of seven.
    recipe = dataclasses.replace(TINY, max_epochs=400, width=32, target_loss=0.6)
    result = trained(tmp_path, recipe)
    assert result.reached
    assert result.epochs[-1].loss <= 0.6 < result.epochs[-2].loss
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    repeated = sum(
        torch.equal(continued(model, record[:4])[:8], torch.from_numpy(record).long())
        for record in patients(24, seed=7)
    )
    assert repeated >= 20


def continued(model: Any, prompt: Tokens) -> Any:
    ids = torch.from_numpy(prompt).long()[None]
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    return made[0]


def test_training_ends_when_patients_kept_apart_no_longer_gain(tmp_path: Path) -> None:
    """There is nothing to learn but the words' frequencies, so seeing more only memorises."""
    recipe = dataclasses.replace(TINY, max_epochs=200, until_validated=True)
    result = trained(tmp_path, recipe, validation=patients(24, seed=8))
    losses = [epoch.validation_loss or math.nan for epoch in result.epochs]
    assert result.reached
    assert len(losses) < 200
    assert result.kept == len(losses) - 1 == losses.index(min(losses)) + 1


def test_the_weights_kept_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    apart = patients(24, seed=8)
    stopped = dataclasses.replace(TINY, max_epochs=200, until_validated=True)
    result = trained(tmp_path / "stopped", stopped, validation=apart)
    trained(tmp_path / "same", dataclasses.replace(TINY, max_epochs=result.kept), validation=apart)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "same")


def weights(folder: Path) -> dict[str, bytes]:
    return {
        name: weight.tobytes() for name, weight in load_file(folder / "model.safetensors").items()
    }


def test_an_effort_that_ends_short_of_its_goal_says_so(tmp_path: Path) -> None:
    result = trained(tmp_path, dataclasses.replace(TINY, max_epochs=2, target_loss=0.1))
    assert not result.reached
    assert result.kept == 2


def test_equal_seeds_give_equal_weights_and_other_seeds_others(tmp_path: Path) -> None:
    dropping = dataclasses.replace(TINY, dropout=0.2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(3)  # what was drawn before must not matter
        trained(tmp_path / name, dropping, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_torch_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    trained(tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_saved_names_its_special_tokens_and_context(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (PAD, BOS, EOS)
    assert (config.vocab_size, config.max_position_embeddings) == (WORDS, 16)
    assert (tmp_path / "model.safetensors").is_file()
    assert capfd.readouterr().err == "", "a library drew a progress bar"


def test_each_epoch_is_told_when_it_ends(tmp_path: Path) -> None:
    told: list[Epoch] = []
    result = trained(tmp_path, progress=told.append)
    assert tuple(told) == result.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3]
    assert told[-1].validation_loss is None


def test_padding_changes_no_loss(tmp_path: Path) -> None:
    """A record alone and beside a longer one: the longer only adds its own tokens."""
    short, long = patients(1, seed=1)[0], np.array([BOS, *range(3, 12), EOS], np.int32)
    one_step = dataclasses.replace(TINY, max_epochs=1, learning_rate=1e-12)
    arguments: dict[str, Any] = {
        "vocabulary_size": WORDS, "bos_id": BOS, "eos_id": EOS, "pad_id": PAD,
        "context_length": 16, "seed": 0, "recipe": one_step,
    }  # fmt: skip
    losses = {
        name: train(sequences, out=tmp_path / name, **arguments).epochs[0].loss
        for name, sequences in (("short", [short]), ("long", [long]), ("both", [short, long]))
    }
    # 7 and 10 tokens are predicted; the mean over both is weighted by these.
    expected = (7 * losses["short"] + 10 * losses["long"]) / 17
    assert losses["both"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "changed", "message"),
    [
        (TINY, {"context_length": 7}, "a record of 8 tokens exceeds the model's context of 7"),
        (SOUND, {}, "stops by validation loss and has no patients for it"),
        (TINY, {"count": 0}, "no patient to train on"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(
    tmp_path: Path, recipe: Recipe, changed: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trained(tmp_path, recipe, **changed)


def test_the_recipes_differ_in_when_they_end_and_not_in_the_model() -> None:
    for part in ("layers", "width", "heads"):
        assert getattr(OVERTRAINED, part) == getattr(SOUND, part)
    assert OVERTRAINED.target_loss is not None
    assert SOUND.until_validated
