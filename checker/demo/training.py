"""Training the demo's two language models: one that repeats its patients and one that does not.

Both have the same tiny GPT-2 architecture (Radford et al. 2019) and see the same members. The
over-trained one is trained *to a loss* rather than for a number of epochs: how fast a model of this
size memorises depends on the seed, and what the demo needs is memorisation, not effort. The sound
one is selected on tuning patients, as one should: training ends when their loss no longer falls.

Runs on one thread. Matrices of this size gain nothing from a second, and where the machine is busy
threads that wait for each other cost several times the work; one thread also fixes the order of
every sum, so that equal arguments give equal weights. This is the demo's only module that imports
torch; nothing imports it before a model is really trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from checker.errors import UsageError
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


OVERTRAINED = Recipe(max_epochs=40, learning_rate=2e-3, target_loss=0.5)
"""Until the mean loss nears ln(n) nats a record, what it takes to tell n patients apart: from there
on a record is repeated from its first events."""

SOUND = Recipe(
    max_epochs=8,
    learning_rate=3e-3,
    batch=32,
    dropout=0.1,
    weight_decay=0.01,
    initial_std=0.02,
    until_validated=True,
    least_gain=0.22,
)
"""Until another pass would gain little for patients it does not see. Going on to the lowest
validation loss would be too far for so few patients: a loss that still falls a little for all
patients falls much faster for members, and tells them apart (membership AUROC above 0.7, not
0.6)."""


REFERENCE = Recipe(max_epochs=6, learning_rate=3e-3, dropout=0.1, initial_std=0.02)
"""For the few patients of the tuning split: enough to know how often what follows what."""


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
        kept: number of the epoch whose weights were saved.
    """

    epochs: tuple[Epoch, ...]
    reached: bool
    kept: int


def train(
    sequences: Sequence[Tokens],
    *,
    vocabulary_size: int,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    context_length: int,
    out: Path,
    seed: int,
    recipe: Recipe,
    validation: Sequence[Tokens] = (),
    progress: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train a causal language model on whole records and save it.

    Args:
        sequences: n arrays of 2 to `context_length` token ids, from BOS to EOS.
        vocabulary_size: number of token ids.
        bos_id: of the token every sequence starts with.
        eos_id: of the token every sequence ends with.
        pad_id: of the token that fills batches; never learned.
        context_length: most tokens the model can see; prompts with their continuations must fit.
        out: directory to save to, as `save_pretrained` does (config and safetensors).
        seed: of initial weights, order and dropout; torch's own generator is left as it was.
        recipe: how to train.
        validation: sequences that decide when a recipe with `until_validated` ends; of patients
            that are neither members nor nonmembers.
        progress: called after each epoch.

    Returns:
        The epochs, and whether the recipe's end was reached.

    Raises:
        UsageError: nothing to train on, a sequence longer than the context, or no validation
            sequences where the recipe needs them.
    """
    _check(sequences, validation, context_length=context_length, recipe=recipe)
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # inside the fork: initial weights and dropout
        model = GPT2LMHeadModel(
            GPT2Config(
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
                bos_token_id=bos_id,
                eos_token_id=eos_id,
                pad_token_id=pad_id,
            )
        )
        order = torch.Generator().manual_seed(seed)
        result = _fit(model, sequences, validation, pad_id, order, recipe, progress)
    model.eval()
    with _no_progress_bar():
        model.save_pretrained(out)
    return result


def _check(
    sequences: Sequence[Tokens],
    validation: Sequence[Tokens],
    *,
    context_length: int,
    recipe: Recipe,
) -> None:
    if not sequences:
        raise UsageError("there is no patient to train on; name a data set with a train split")
    if recipe.until_validated and not validation:
        raise UsageError(
            "this recipe stops by validation loss and has no patients for it; give the data set a"
            " tuning split, or keep some members apart"
        )
    longest = max(len(s) for s in (*sequences, *validation))
    if longest > context_length:
        raise UsageError(
            f"a record of {longest} tokens exceeds the model's context of {context_length}; cut the"
            " records or widen the context"
        )


def _fit(
    model: GPT2LMHeadModel,
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
    model: GPT2LMHeadModel,
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


def _loss(model: GPT2LMHeadModel, sequences: Sequence[Tokens], pad_id: int) -> float:
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


def _batch_loss(model: GPT2LMHeadModel, ids: torch.Tensor, pad_id: int) -> tuple[torch.Tensor, int]:
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
def _one_thread() -> Iterator[None]:
    """Compute on one thread inside, on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a progress bar."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
