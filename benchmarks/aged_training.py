"""Training of `aged_gpt` models, which are told channels beside token ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GPT2Config

from benchmarks import aged_gpt
from checker.targets import Tokens
from checker.targets.engine.batches import padded, padded_channels
from checker.targets.engine.scoring import inputs_of
from checker.targets.engine.training import one_thread

CONTEXT, BATCH = 128, 32


def train_aged(
    sequences: Sequence[Tokens],
    *,
    validation: Sequence[Tokens],
    vocabulary_size: int,
    special_ids: Mapping[str, int],
    out: Path,
    seed: int,
    epochs: int = 40,
) -> None:
    """Train on sequences with channels, and save weights, configuration and code.

    Args:
        sequences: n of at most `CONTEXT` tokens.
        validation: training ends when these gain little; without any it goes on until the mean
            loss nears that of who knows each record by heart.
        vocabulary_size: number of token ids.
        special_ids: of bos, eos and pad.
        out: directory to save to.
        seed: of initial weights and order.
        epochs: at most.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=vocabulary_size,
            n_positions=CONTEXT,
            n_embd=96,
            n_layer=2,
            n_head=4,
            initializer_range=0.08,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **{f"{name}_token_id": number for name, number in special_ids.items()},
        )
        model = aged_gpt.AgedGPT(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), fused=True)
        rng = np.random.default_rng(seed)
        best = float("inf")
        before: dict[str, torch.Tensor] = {}
        for _ in range(epochs):
            loss = _pass(model, sequences, rng.permutation(len(sequences)), optimizer)
            if validation:
                checked = _pass(model, validation, np.arange(len(validation)), None)
                if checked > best - 0.15:
                    model.load_state_dict(before)
                    break
                best = checked
                before = {name: one.clone() for name, one in model.state_dict().items()}
            elif loss < 0.8:
                break
    config.auto_map = {"AutoModelForCausalLM": "aged_gpt.AgedGPT"}
    model.save_pretrained(out)
    shutil.copyfile(aged_gpt.__file__, out / "aged_gpt.py")
    written = json.loads((out / "config.json").read_text())
    written["auto_map"] = config.auto_map
    (out / "config.json").write_text(json.dumps(written))


def _pass(
    model: Any,
    sequences: Sequence[Tokens],
    order: Any,
    optimizer: torch.optim.Optimizer | None,
) -> float:
    """Go once over the sequences; return the mean loss in nats a token."""
    total, count = 0.0, 0
    for start in range(0, len(order), BATCH):
        rows = [sequences[i] for i in order[start : start + BATCH].tolist()]
        ids, real = padded(rows, pad_id=0, left=False, device=torch.device("cpu"))
        more = {
            name: own[:, :-1]
            for name, own in padded_channels(rows, device=torch.device("cpu")).items()
        }
        with torch.set_grad_enabled(optimizer is not None):
            logits = model(**inputs_of(ids[:, :-1], more)).logits
            loss = nn.functional.cross_entropy(
                logits[real[:, 1:]], ids[:, 1:][real[:, 1:]], reduction="sum"
            )
        tokens = int(real[:, 1:].sum())
        if optimizer is not None:
            optimizer.zero_grad()
            torch.autograd.backward(loss / tokens)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        total, count = total + loss.item(), count + tokens
    return total / count
