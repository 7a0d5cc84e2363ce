"""Small models that compute otherwise beyond some length: what `wrong_lengths` trains and bends.

Three architectures of transformers, each of two narrow layers, whose configuration names a length
of more than 64 tokens. PhiMoE applies a sliding window through the mask alone, Llama 4 attends
within chunks through the mask alone, and Phi-3 turns positions by other angles, those of tokens
already read included, once a record is longer than the length it was first trained at (LongRoPE:
Ding et al. 2024, arXiv 2402.13753). What is seldom longer than that is trained as it is drawn, each
token by the angles of what stands before it (`crossed`), or in one pass over each record (`whole`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Llama4TextConfig,
    Phi3Config,
    PhimoeConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from benchmarks.wrong_worlds import LENGTHS
from checker.targets.engine.training import SpecialIds

_WIDTH, _HEADS, _LAYERS = 64, 4, 2


def _common(size: int, specials: SpecialIds, context: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "max_position_embeddings": context,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "initializer_range": 0.08,
        "tie_word_embeddings": True,
        "bos_token_id": specials.bos,
        "eos_token_id": specials.eos,
        "pad_token_id": specials.pad,
    }


def _window(common: dict[str, Any]) -> PreTrainedConfig:
    return PhimoeConfig(
        **common, sliding_window=LENGTHS["window"], num_local_experts=2, num_experts_per_tok=1
    )


def _chunk(common: dict[str, Any]) -> PreTrainedConfig:
    return Llama4TextConfig(
        **common,
        intermediate_size_mlp=2 * _WIDTH,
        head_dim=_WIDTH // _HEADS,
        attention_chunk_size=LENGTHS["chunk"],
        layer_types=["chunked_attention"] * _LAYERS,
        no_rope_layers=[1] * _LAYERS,
        moe_layers=[],
        num_local_experts=1,
    )


def _rope(common: dict[str, Any], *, shape: str = "rope") -> PreTrainedConfig:
    turned = _WIDTH // _HEADS // 2
    return Phi3Config(
        **common,
        original_max_position_embeddings=LENGTHS[shape],
        rope_scaling={
            "type": "longrope",
            "short_factor": [1.0] * turned,
            "long_factor": [4.0] * turned,
        },
    )


ARCHITECTURES: Mapping[str, Callable[[dict[str, Any]], PreTrainedConfig]] = {
    "window": _window,
    "chunk": _chunk,
    "rope": _rope,
    "crossed": partial(_rope, shape="crossed"),
    "whole": partial(_rope, shape="whole"),
}


def untrained(
    architecture: str, *, vocabulary_size: int, specials: SpecialIds, context_length: int
) -> PreTrainedModel:
    """Return a model of one of the architectures, with weights by torch's own generator."""
    config = ARCHITECTURES[architecture](_common(vocabulary_size, specials, context_length))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    if architecture == "crossed":
        _train_as_drawn(model, length=LENGTHS[architecture])
    return model


def _train_as_drawn(model: PreTrainedModel, *, length: int) -> None:
    """Let each position of a batch be read in a pass that is longer than a length only if it is."""
    whole = model.forward

    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> CausalLMOutput:
        ends = sorted({min(length, input_ids.shape[1]), input_ids.shape[1]})
        parts = [
            whole(input_ids=input_ids[:, :end], attention_mask=attention_mask[:, :end]).logits
            for end in ends
        ]
        return CausalLMOutput(logits=torch.cat([parts[0], *(p[:, length:] for p in parts[1:])], 1))

    model.forward = forward
