"""Training the demo's two language models: one that repeats its patients and one that does not.

Both have the same tiny GPT-2 architecture and see the same members. The over-trained one is trained
*to a loss* rather than for a number of epochs: how fast a model of this size memorises depends on
the seed, and what the demo needs is memorisation, not effort. The sound one is selected on tuning
patients, as one should: training ends when their loss no longer falls.

How a model is trained `checker.targets.engine.training` says. Nothing imports this module before a
model is really trained, for it loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from checker.errors import UsageError
from checker.targets import Tokens
from checker.targets.engine.training import (
    Epoch,
    Recipe,
    SpecialIds,
    TrainingResult,
    train_model,
)

OVERTRAINED = Recipe(max_epochs=40, learning_rate=2e-3, target_loss=0.8)
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
    least_gain=0.15,
)
"""Until another pass would gain little for patients it does not see. Going on to the lowest
validation loss would be too far for so few patients: a loss that still falls a little for all
patients falls much faster for members, and tells them apart (AUROC of the strongest attack 0.69
after six passes over 1,500 members, 0.62 after three)."""

REFERENCE = Recipe(max_epochs=6, learning_rate=3e-3, dropout=0.1, initial_std=0.02)
"""For the few patients of the tuning split: enough to know how often what follows what."""


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
    make: Callable[[], Any] | None = None,
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
        make: as in `train_model`.

    Returns:
        The epochs, and whether the recipe's end was reached.

    Raises:
        UsageError: nothing to train on, a sequence longer than the context, or no validation
            sequences where the recipe needs them.
    """
    _check(sequences, validation, context_length=context_length, recipe=recipe)
    model, result = train_model(
        sequences,
        vocabulary_size=vocabulary_size,
        specials=SpecialIds(bos=bos_id, eos=eos_id, pad=pad_id),
        context_length=context_length,
        seed=seed,
        recipe=recipe,
        validation=validation,
        progress=progress,
        make=make,
    )
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
