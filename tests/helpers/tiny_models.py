"""Tiny random checkpoints, saved as a user would save theirs.

Their initial weights are far larger than usual: a model whose predictions hardly depend on the
history would hide a broken cache, a wrong mask or a lost position.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    Phi3Config,
    PhimoeConfig,
    PreTrainedConfig,
)

torch.set_num_threads(1)  # threads cost more than such matrices, above all on a busy machine

VOCABULARY = 23
CONTEXT = 64


def save_gpt2(
    directory: Path, *, vocabulary: int = VOCABULARY, context: int = CONTEXT, seed: int = 0
) -> Path:
    """Learned positions, tied embeddings; its generation settings must never matter."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=context,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _save(config, directory, seed=seed)


def save_llama(
    directory: Path, *, context: int = CONTEXT, rope: dict[str, Any] | None = None, seed: int = 0
) -> Path:
    """Rotary positions, scaled where asked, grouped queries, untied head."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=context,
        rope_parameters=None if rope is None else {"rope_theta": 10000.0, **rope},
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
    )
    return _save(config, directory, seed=seed)


def save_gemma2(directory: Path, *, seed: int = 0) -> Path:
    """An architecture that caps its logits after the output embeddings."""
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=32,
        final_logit_softcapping=3.0,
        initializer_range=0.4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return _save(config, directory, seed=seed)


def save_mamba(directory: Path, *, seed: int = 0) -> Path:
    """A recurrent state instead of attention, and no context length."""
    config = MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        state_size=4,
        num_hidden_layers=2,
        initializer_range=0.4,
    )
    return _save(config, directory, seed=seed)


def save_mamba2(directory: Path, *, seed: int = 0) -> Path:
    """The same idea with heads and chunks; the paper's own model is of this kind."""
    config = Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_heads=4,
        head_dim=8,
        state_size=4,
        n_groups=1,
        chunk_size=8,
        num_hidden_layers=2,
        initializer_range=0.4,
    )
    return _save(config, directory, seed=seed)


def save_phimoe(directory: Path, *, seed: int = 0) -> Path:
    """A sliding window that only the mask knows of: attention is not told."""
    config = PhimoeConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=80,
        initializer_range=0.4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return _save(config, directory, seed=seed)


def save_longrope(directory: Path, *, seed: int = 0) -> Path:
    """Rotary positions of which all change once a record is longer than 80 tokens."""
    config = Phi3Config(
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        original_max_position_embeddings=80,
        rope_scaling={"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return _save(config, directory, seed=seed)


def save_bert(directory: Path, *, seed: int = 0) -> Path:
    """A masked language model under a causal model's class: every token sees all others."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.4,
        pad_token_id=0,
    )
    return _save(config, directory, seed=seed)


def _save(config: PreTrainedConfig, directory: Path, *, seed: int) -> Path:
    with torch.random.fork_rng(), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory
