"""Training small causal language models: the demo's, and the reference of a membership attack.

Tiny GPT-2 models (Radford et al. 2019) on whole records. Training ends at a loss, when patients who
are kept apart no longer gain, or after so many passes.

Runs on one thread of the CPU. Matrices of this size gain nothing from a second, and where the
machine is busy threads that wait for each other cost several times the work; one thread also fixes
the order of every sum, so that equal arguments give equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from checker.targets import Tokens


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained, and when training ends.

    Args:
        layers: transformer blocks.
        width: of the hidden state; a multiple of `heads`.
        heads: attention heads a layer.
        batch: sequences an optimizer step.
        learning_rate: of AdamW, after a linear warm-up over the first epoch.
        dropout: share of activations dropped, in [0, 1).
        weight_decay: of AdamW.
        initial_std: standard deviation of the initial weights. GPT-2's 0.02 is made for widths near
            1,000; at a width of 96 it takes twice the epochs that 0.08 does.
        max_epochs: passes over the sequences at most.
        target_loss: end as soon as an epoch's mean loss, in nats a token, is at most this.
        until_validated: end with the first epoch that does not lower the validation loss by
            `least_gain`, and keep the weights with the lowest.
        least_gain: nats a token, >= 0.
    """

    max_epochs: int
    learning_rate: float
    layers: int = 2
    width: int = 96
    heads: int = 4
    batch: int = 16
    dropout: float = 0.0
    weight_decay: float = 0.0
    initial_std: float = 0.08
    target_loss: float | None = None
    until_validated: bool = False
    least_gain: float = 0.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the sequences; losses in nats a token.

    Args:
        number: counted from 1.
        loss: mean over the pass, while the weights change.
        validation_loss: afterwards, on the validation sequences; None without any.
    """

    number: int
    loss: float
    validation_loss: float | None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of a training.

    Args:
        epochs: one after the other.
        reached: whether it ended as the recipe wants and not at `max_epochs`.
        kept: number of the epoch whose weights were kept.
    """

    epochs: tuple[Epoch, ...]
    reached: bool
    kept: int


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids with a meaning of their own; padding is neither seen nor scored."""

    bos: int | None
    eos: int | None
    pad: int


def train_model(
    sequences: Sequence[Tokens],
    *,
    vocabulary_size: int,
    specials: SpecialIds,
    context_length: int,
    seed: int,
    recipe: Recipe,
    validation: Sequence[Tokens] = (),
    progress: Callable[[Epoch], None] | None = None,
    make: Callable[[], Any] | None = None,
) -> tuple[Any, TrainingResult]:
    """Train a causal language model on whole records, on the CPU.

    Args:
        sequences: n >= 1 arrays of 2 to `context_length` token ids; none holds `specials.pad`.
        vocabulary_size: number of token ids.
        specials: as the model's configuration will name them.
        context_length: most tokens the model can see.
        seed: of initial weights, order and dropout; torch's own generator is left as it was.
        recipe: how to train.
        validation: sequences that decide when a recipe with `until_validated` ends.
        progress: called after each epoch.
        make: returns another causal language model of transformers to train than the recipe's.

    Returns:
        The model, ready to score, and what came of the training.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # inside the fork: initial weights and dropout
        model: Any = (
            make()
            if make is not None
            else GPT2LMHeadModel(
                configuration(
                    vocabulary_size=vocabulary_size,
                    specials=specials,
                    context_length=context_length,
                    recipe=recipe,
                )
            )
        )
        order = torch.Generator().manual_seed(seed)
        result = _fit(model, sequences, validation, specials.pad, order, recipe, progress)
    model.eval()
    return model, result


def configuration(
    *, vocabulary_size: int, specials: SpecialIds, context_length: int, recipe: Recipe
) -> GPT2Config:
    """Return the architecture that a recipe trains."""
    return GPT2Config(
        vocab_size=vocabulary_size,
        n_positions=context_length,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        initializer_range=recipe.initial_std,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel instead of 8
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
        bos_token_id=specials.bos,
        eos_token_id=specials.eos,
        pad_token_id=specials.pad,
    )


def _fit(
    model: Any,
    sequences: Sequence[Tokens],
    validation: Sequence[Tokens],
    pad_id: int,
    order: torch.Generator,
    recipe: Recipe,
    progress: Callable[[Epoch], None] | None,
) -> TrainingResult:
    """Train in place, ending with the weights that the recipe keeps."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),  # a memory of 50 steps: a whole training here is a few hundred
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    steps = -(-len(sequences) // recipe.batch)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / steps, total_iters=steps)
    epochs: list[Epoch] = []
    best: dict[str, torch.Tensor] = {}
    kept, reached = 0, False
    for number in range(1, recipe.max_epochs + 1):
        loss = _pass(model, sequences, pad_id, order, recipe.batch, optimizer, warm_up)
        checked = _loss(model, validation, pad_id) if validation else None
        lowest = epochs[kept - 1].validation_loss if kept else None
        epochs.append(Epoch(number, loss, checked))
        if progress is not None:
            progress(epochs[-1])
        if recipe.until_validated and checked is not None:
            if lowest is not None and checked > lowest - recipe.least_gain:
                reached = True
                break
            best = {name: weight.clone() for name, weight in model.state_dict().items()}
        kept = number
        if recipe.target_loss is not None and loss <= recipe.target_loss:
            reached = True
            break
    if best:
        model.load_state_dict(best)
    return TrainingResult(tuple(epochs), reached, kept)


def _pass(
    model: Any,
    sequences: Sequence[Tokens],
    pad_id: int,
    order: torch.Generator,
    batch: int,
    optimizer: torch.optim.Optimizer,
    warm_up: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Go once over the sequences in random order; return the mean loss in nats a token."""
    model.train()
    total, count = 0.0, 0
    shuffled = torch.randperm(len(sequences), generator=order).tolist()
    for start in range(0, len(shuffled), batch):
        ids = _padded([sequences[i] for i in shuffled[start : start + batch]], pad_id)
        loss, tokens = _batch_loss(model, ids, pad_id)
        optimizer.zero_grad()
        torch.autograd.backward(loss / tokens)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        total, count = total + loss.item(), count + tokens
    return total / count


def _loss(model: Any, sequences: Sequence[Tokens], pad_id: int) -> float:
    """Return the mean loss in nats a token, without learning."""
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(sequences), 64):
            loss, tokens = _batch_loss(
                model, _padded(sequences[start : start + 64], pad_id), pad_id
            )
            total, count = total + loss.item(), count + tokens
    return total / count


def _batch_loss(model: Any, ids: torch.Tensor, pad_id: int) -> tuple[torch.Tensor, int]:
    """Return the summed loss in nats and its number of tokens; padding is not seen nor scored."""
    real = ids != pad_id
    logits = model(ids[:, :-1], attention_mask=real[:, :-1]).logits
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=pad_id, reduction="sum"
    )
    return loss, int(real[:, 1:].sum())


def _padded(sequences: Sequence[Tokens], pad_id: int) -> torch.Tensor:
    """Stack sequences to [n, longest], padded on the right."""
    return nn.utils.rnn.pad_sequence(
        [torch.from_numpy(s.astype(np.int64)) for s in sequences],
        batch_first=True,
        padding_value=pad_id,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside, on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
