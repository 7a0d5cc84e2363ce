"""Checkpoints as they lie about: each is the model that was trained, or refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CONTEXT, VOCABULARY
from transformers import AutoConfig, AutoModelForCausalLM

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, Tokens
from checker.targets.backends.checkpoint import HuggingFaceBackend, files_dtype
from checker.targets.engine.huggingface import HuggingFaceTarget

Config = dict[str, Any]

NEO: Config = {
    "max_position_embeddings": CONTEXT,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 8,
}
GPTJ: Config = {"n_positions": CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4}
LLAMA: Config = {
    "max_position_embeddings": CONTEXT,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
RWKV: Config = {"hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16}


def saved(folder: Path, kind: str, *, dtype: torch.dtype = torch.float32, **config: Any) -> Path:
    torch.manual_seed(0)
    made = AutoConfig.for_model(kind, vocab_size=VOCABULARY, **config)
    AutoModelForCausalLM.from_config(made).to(dtype).save_pretrained(folder)
    return folder


def with_tensors(folder: Path, more: dict[str, torch.Tensor]) -> Path:
    weights = folder / "model.safetensors"
    save_file({**load_file(weights), **more}, weights, metadata={"format": "pt"})
    return folder


def opened(folder: Path, **spec: Any) -> HuggingFaceTarget:
    model = ModelSpec.model_validate({"path": folder.name, "device": "cpu", **spec})
    target = HuggingFaceBackend().open(model, folder.parent, pad_id=None, eos_id=None)
    assert isinstance(target, HuggingFaceTarget)
    return target


def causal(*, window: int = CONTEXT, dtype: torch.dtype = torch.bool) -> torch.Tensor:
    mask = torch.ones(1, 1, CONTEXT, CONTEXT, dtype=torch.bool).tril()
    return (mask & ~mask.tril(-window)).to(dtype)


def frequencies(base: float = 10_000.0) -> torch.Tensor:
    return 1.0 / base ** (torch.arange(0, 8, 2) / 8)


@pytest.mark.parametrize(
    ("stored", "asked", "runs"),
    [
        (torch.float32, "auto", "float32"),
        (torch.bfloat16, "auto", "bfloat16"),
        (torch.float16, "auto", "float16"),
        (torch.float64, "auto", "float32"),
        (torch.bfloat16, "float32", "float32"),
    ],
)
def test_auto_is_the_format_of_the_files(
    tmp_path: Path, stored: torch.dtype, asked: str, runs: str
) -> None:
    folder = saved(tmp_path / "model", "llama", dtype=stored, **LLAMA)
    assert opened(folder, dtype=asked).info.dtype == runs


def test_formats_that_differ_are_held_by_the_wider_and_unknown_ones_named(tmp_path: Path) -> None:
    folder = tiny_models.save_llama(tmp_path / "model")
    weights = folder / "model.safetensors"
    whole = load_file(weights)
    first, *others = whole
    for stored, expected in (
        ({first: torch.float16}, "float32"),
        (
            {first: torch.float16} | dict.fromkeys(others, torch.bfloat16),
            "float32",
        ),
    ):
        mixed = {name: one.to(stored.get(name, one.dtype)) for name, one in whole.items()}
        save_file(mixed, weights, metadata={"format": "pt"})
        assert files_dtype(folder) == expected
    packed = {name: torch.zeros(3, dtype=torch.uint8) for name in whole}
    save_file(packed, weights, metadata={"format": "pt"})
    with pytest.raises(TargetError, match="weights are stored as U8, in which no model runs"):
        files_dtype(folder)


@pytest.mark.parametrize(
    ("kind", "config", "more"),
    [
        (
            "gpt_neo",
            NEO,
            {
                "transformer.h.0.attn.attention.bias": causal(dtype=torch.uint8),
                "transformer.h.1.attn.attention.bias": causal(window=8),
                "transformer.h.1.attn.attention.masked_bias": torch.tensor(-1e9),
            },
        ),
        (
            "gptj",
            GPTJ,
            {
                "transformer.h.0.attn.bias": causal(),
                "transformer.h.0.attn.masked_bias": torch.tensor(-1e9),
            },
        ),
        (
            "llama",
            LLAMA,
            {"model.layers.1.self_attn.rotary_emb.inv_freq": frequencies().to(torch.bfloat16)},
        ),
    ],
)
def test_constants_of_the_code_are_no_weights(
    tmp_path: Path, kind: str, config: dict[str, Any], more: dict[str, torch.Tensor]
) -> None:
    opened(with_tensors(saved(tmp_path / "model", kind, **config), more))


@pytest.mark.parametrize(
    ("kind", "config", "name", "tensor"),
    [
        ("gpt_neo", NEO, "transformer.h.1.attn.attention.bias", causal()),
        ("gpt_neo", NEO, "transformer.h.1.attn.attention.bias", causal(window=4)),
        ("gptj", GPTJ, "transformer.h.0.attn.bias", ~causal()),
        ("llama", LLAMA, "model.layers.0.self_attn.rotary_emb.inv_freq", frequencies(5e5)),
    ],
)
def test_constants_that_are_other_than_the_code_s_tell_of_another_model(
    tmp_path: Path, kind: str, config: dict[str, Any], name: str, tensor: torch.Tensor
) -> None:
    folder = with_tensors(saved(tmp_path / "model", kind, **config), {name: tensor.contiguous()})
    with pytest.raises(TargetError, match=r"is not the constant that the code of .* config\.json"):
        opened(folder)


@pytest.mark.parametrize("differs", [False, True])
def test_a_tied_head_is_the_embedding_or_nobody_knows_which(tmp_path: Path, differs: bool) -> None:
    folder = saved(tmp_path / "model", "llama", tie_word_embeddings=True, **LLAMA)
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    with_tensors(folder, {"lm_head.weight": embedding + float(differs)})
    if not differs:
        opened(folder)
        return
    with pytest.raises(TargetError, match=r"output layer and embedding are one .* two that differ"):
        opened(folder)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_state_whose_steps_mix_rows_is_decoded_row_by_row(
    tmp_path: Path, use_cache: bool
) -> None:
    """The steps of transformers' RWKV add the states of all rows to each of them."""
    folder = saved(tmp_path / "model", "rwkv", context_length=CONTEXT, use_cache=use_cache, **RWKV)
    target = opened(folder)
    rng = np.random.default_rng(0)
    prompts: list[Tokens] = [rng.integers(0, VOCABULARY, n).astype(np.int32) for n in (9, 9, 5)]
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=6, seed=1)
    together = target.rollout(prompts, keys=[1, 2, 3], samples=2, sampler=sampler)
    for prompt, key, found in zip(prompts, (1, 2, 3), together, strict=True):
        (alone,) = target.rollout([prompt], keys=[key], samples=2, sampler=sampler)
        assert [one.tolist() for one in found] == [one.tolist() for one in alone]
    following = [rng.integers(0, VOCABULARY, 6).astype(np.int32) for _ in prompts]
    whole = target.score([np.concatenate(pair) for pair in zip(prompts, following, strict=True)])
    for prompt, scores, steps in zip(prompts, whole, target.steps(prompts, following), strict=True):
        assert np.abs(scores.logprob[len(prompt) - 1 :] - steps).max() < 1e-4


def test_a_configuration_that_turns_the_cache_off_is_decoded_with_one(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", "llama", **LLAMA, use_cache=False)
    assert opened(folder).decoding == "shared prefix"
