"""Training the zoo's models: tiny ones of three types, on its members and whoever else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    Mamba2Config,
    PreTrainedConfig,
    PreTrainedModel,
)

from benchmarks.wrong_worlds import CONTEXT, SPECIALS, Sequences
from benchmarks.zoo.entries import Entry
from benchmarks.zoo.keeping import Zoo
from checker.demo.training import OVERTRAINED, SOUND, train
from checker.targets.engine.training import Recipe

REPEATED_SHARE: Final = 0.05
REPEATS: Final = 20
_WIDTH: Final = 96

RECIPES: Final[Mapping[str, Recipe]] = {
    "overtrained": OVERTRAINED,
    "sound": SOUND,
    # with dropout so small a model learns nothing by heart in the passes that it takes
    "partly": replace(SOUND, dropout=0.0, until_validated=False, max_epochs=4, initial_std=0.08),
}


def train_entry(entry: Entry, zoo: Zoo) -> str:
    """Train an entry's model unless it is there; returns its folder's name."""
    name = f"zoo-{entry.name}"
    out = zoo.folder / name
    if out.exists():
        return name
    making = zoo.folder / f"making-{name}"
    shutil.rmtree(making, ignore_errors=True)
    recipe = RECIPES[entry.recipe]
    ids = zoo.ids
    shape = _SHAPES.get(entry.kind)
    special = {one: ids[SPECIALS[one]] for one in ("bos", "eos", "pad")}
    train(
        _taught(entry, zoo),
        vocabulary_size=len(ids),
        context_length=CONTEXT,
        out=making,
        seed=zoo.seed,
        recipe=recipe,
        validation=zoo.sequences("tuning")[:120] if recipe.until_validated else (),
        make=None if shape is None else partial(_untrained, shape, len(ids), special),
        bos_id=special["bos"],
        eos_id=special["eos"],
        pad_id=special["pad"],
    )
    os.replace(making, out)
    return name


def _taught(entry: Entry, zoo: Zoo) -> Sequences:
    """The records that a model is trained on."""
    members = [] if {"tuning", "spare"} & {*entry.taught} else zoo.sequences("train")
    others = [one for split in entry.taught for one in zoo.sequences(split)]
    repeated: Sequences = []
    if entry.recipe == "partly":
        repeated = [members[i] for i in zoo.lot(REPEATED_SHARE)] * (REPEATS - 1)
    return members + others + repeated


def _llama(common: dict[str, Any]) -> PreTrainedConfig:
    return LlamaConfig(
        **common,
        max_position_embeddings=CONTEXT,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    )


def _mamba2(common: dict[str, Any]) -> PreTrainedConfig:
    return Mamba2Config(
        **common,
        num_hidden_layers=2,
        state_size=16,
        expand=2,
        head_dim=48,
        num_heads=4,
        n_groups=1,
        chunk_size=32,
    )


_SHAPES: Final[Mapping[str, Callable[[dict[str, Any]], PreTrainedConfig]]] = {
    "llama": _llama,
    "mamba2": _mamba2,
}


def _untrained(
    shape: Callable[[dict[str, Any]], PreTrainedConfig], size: int, special: dict[str, int]
) -> PreTrainedModel:
    """A model of one of the types, with weights by torch's own generator."""
    config = shape(
        {
            "vocab_size": size,
            "hidden_size": _WIDTH,
            "initializer_range": 0.08,
            "tie_word_embeddings": True,
            **{f"{name}_token_id": own for name, own in special.items()},
        }
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model
