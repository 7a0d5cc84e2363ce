"""The checker's own reference model: a small GPT-2 that is trained, kept as numbers and scores.

It says how easy a record is for a model that never saw it. Its weights are evidence like any other
and travel as named arrays, never as a checkpoint that would have to be found and hashed again.
Training and scoring run on one thread of the CPU in float32, so that equal patients and seeds give
equal bytes wherever the audited model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GPT2LMHeadModel

from checker.errors import TargetError
from checker.targets import Tokens, TokenScores
from checker.targets.engine.scoring import ForwardPass
from checker.targets.engine.training import (
    Epoch,
    Recipe,
    SpecialIds,
    configuration,
    one_thread,
    train_model,
)

VOCABULARY = "vocabulary"
HEADS = "heads"
VALIDATION = "validation loss"
_TIED = "lm_head.weight"  # the token embeddings under another name
_BATCH_TOKENS = 8192


def train_reference(
    taught: Sequence[Tokens],
    validation: Sequence[Tokens],
    *,
    known: NDArray[np.int32],
    recipe: Mapping[str, int | float],
    seed: int,
    progress: Callable[[Epoch], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Train a reference model.

    Args:
        taught: arrays of 2 to `recipe["context"]` token ids, at least one.
        validation: the same of patients who decide when training ends, at least one.
        known: ascending ids of all tokens that it will ever be asked about; others would only
            make the output layer larger.
        recipe: `context`, `layers`, `width`, `heads`, `batch`, `learning_rate`, `dropout`,
            `weight_decay`, `initial_std` and `max_epochs`.
        seed: of initial weights, order and dropout.
        progress: called after each epoch.

    Returns:
        The model's tensors by name, its vocabulary and heads, and the validation loss after each
        epoch: all that `ReferenceModel` needs, and a reader who doubts it.

    Raises:
        TargetError: there is nothing to train on.
    """
    if not taught or not validation:
        raise TargetError(
            "there are too few patients to train a reference model on: the lot leaves none to learn"
            " from, or none to decide when training ends"
        )
    training = {key: value for key, value in recipe.items() if key != "context"}
    settings = Recipe(**training, until_validated=True)  # type: ignore[arg-type]  # as the job says
    pad = len(known)
    model, result = train_model(
        [_compact(tokens, known) for tokens in taught],
        vocabulary_size=pad + 1,
        specials=SpecialIds(bos=None, eos=None, pad=pad),
        context_length=int(recipe["context"]),
        seed=seed,
        recipe=settings,
        validation=[_compact(tokens, known) for tokens in validation],
        progress=progress,
    )
    losses = [epoch.validation_loss for epoch in result.epochs if epoch.validation_loss is not None]
    return _tensors(model, known) | {VALIDATION: np.array(losses, dtype=np.float32)}


def train_shadow(
    taught: Sequence[Tokens],
    asked: Sequence[Tokens],
    *,
    known: NDArray[np.int32],
    recipe: Mapping[str, int | float],
    seed: int,
    each: Callable[[list[TokenScores]], None],
) -> None:
    """Train a model of a reference's kind, and after each pass score records with it.

    Args:
        taught: as of `train_reference`.
        asked: arrays of at least two known token ids, which it scores.
        known: as of `train_reference`.
        recipe: the same; all its `max_epochs` are trained.
        seed: the same.
        each: called after each pass with the scores of the records asked about, in order.

    Raises:
        TargetError: there is nothing to train on.
    """
    if not taught:
        raise TargetError("there are too few patients to train a model on half of them")
    settings = Recipe(**{key: value for key, value in recipe.items() if key != "context"})  # type: ignore[arg-type]
    pad = len(known)
    specials = SpecialIds(bos=None, eos=None, pad=pad)
    context = int(recipe["context"])
    made: list[GPT2LMHeadModel] = []

    def make() -> GPT2LMHeadModel:
        made.append(
            GPT2LMHeadModel(
                configuration(
                    vocabulary_size=pad + 1,
                    specials=specials,
                    context_length=context,
                    recipe=settings,
                )
            )
        )
        return made[0]

    def after(epoch: Epoch) -> None:
        each(ReferenceModel(_tensors(made[0], known)).score(asked))

    train_model(
        [_compact(tokens, known) for tokens in taught],
        vocabulary_size=pad + 1,
        specials=specials,
        context_length=context,
        seed=seed,
        recipe=settings,
        progress=after,
        make=make,
    )


def _tensors(model: GPT2LMHeadModel, known: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
    """Return a model's weights by name, a copy, with its vocabulary and heads."""
    tensors = {
        name: weight.detach().numpy().astype(np.float32)
        for name, weight in sorted(model.state_dict().items())
        if name != _TIED
    }
    return tensors | {
        VOCABULARY: known.astype(np.float32),  # ids below 2**24 are exact
        HEADS: np.array([model.config.n_head], dtype=np.float32),
    }


class ReferenceModel:
    """A trained reference model that scores sequences of any length.

    Args:
        tensors: as `train_reference` returned them.

    Raises:
        TargetError: they are none of a reference model's.
    """

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        try:
            self._known = tensors[VOCABULARY].astype(np.int32)
            size, width = tensors["transformer.wte.weight"].shape
            self._context = len(tensors["transformer.wpe.weight"])
            layers = sum(name.endswith(".ln_1.weight") for name in tensors)
            recipe = Recipe(
                max_epochs=0, learning_rate=0.0, layers=layers, width=width,
                heads=int(tensors[HEADS][0]),
            )  # fmt: skip
            self._pad = len(self._known)
            with torch.random.fork_rng(devices=[]):  # weights are drawn and then replaced
                model = GPT2LMHeadModel(
                    configuration(
                        vocabulary_size=size,
                        specials=SpecialIds(bos=None, eos=None, pad=self._pad),
                        context_length=self._context,
                        recipe=recipe,
                    )
                )
            weights = {
                name: torch.from_numpy(np.array(values))
                for name, values in tensors.items()
                if name not in (VOCABULARY, HEADS, VALIDATION)
            }
            left = model.load_state_dict(weights, strict=False)
        except (KeyError, ValueError, RuntimeError) as error:
            raise TargetError(f"these are no weights of a reference model: {error}") from error
        if left.unexpected_keys or set(left.missing_keys) - {_TIED}:
            raise TargetError("these are no weights of a reference model: some are missing")
        model.tie_weights()
        model.config.pad_token_id = None  # batches are padded on the right, where nothing looks
        model.eval()
        self._forward = ForwardPass(model, vocabulary_size=size, pad_id=self._pad)
        self._forward.is_chunked = True  # GPT-2's logits are its output embeddings, no more

    def knows(self, tokens: Tokens) -> bool:
        """Whether all tokens are among those that the model was told of."""
        return bool(np.isin(tokens, self._known).all())

    def score(self, sequences: Sequence[Tokens]) -> list[TokenScores]:
        """Score whole sequences of at least two known tokens, as `TargetModel.score` does.

        What is longer than the context is scored in pieces that overlap by half of it, so that
        every token but the first few has at least half a context before it.

        Raises:
            TargetError: a token stands in no record that the model was told of.
        """
        pieces: list[tuple[int, Tokens, int]] = []
        for number, tokens in enumerate(sequences):
            compact = _compact(tokens, self._known)
            pieces += [(number, piece, first) for piece, first in self._pieces(compact)]
        parts: list[list[TokenScores]] = [[] for _ in sequences]
        order = sorted(range(len(pieces)), key=lambda at: len(pieces[at][1]))
        scored: dict[int, TokenScores] = {}
        with one_thread(), torch.inference_mode():
            for batch in self._batches(order, pieces):
                found = self._forward.score([pieces[at][1] for at in batch])
                scored |= dict(zip(batch, found, strict=True))
        for at, (number, _, first) in enumerate(pieces):
            one, kept = scored[at], slice(first - 1, None)
            assert one.first is not None  # the forward pass always says
            parts[number].append(
                TokenScores(one.logprob[kept], one.mean[kept], one.std[kept], one.first[kept])
            )
        return [joined(own) for own in parts]

    def _pieces(self, tokens: Tokens) -> list[tuple[Tokens, int]]:
        """Return pieces that fit the context, each with the first position it scores."""
        if len(tokens) <= self._context:
            return [(tokens, 1)]
        half = self._context // 2
        starts = range(0, len(tokens) - half, half)
        return [(tokens[start : start + self._context], half if start else 1) for start in starts]

    def _batches(self, order: list[int], pieces: list[tuple[int, Tokens, int]]) -> list[list[int]]:
        """Put pieces of like length together, so many tokens at once."""
        batches: list[list[int]] = []
        for at in order:
            longest = len(pieces[at][1])
            if not batches or (len(batches[-1]) + 1) * longest > _BATCH_TOKENS:
                batches.append([])
            batches[-1].append(at)
        return batches


def joined(parts: Sequence[TokenScores]) -> TokenScores:
    """Put the scores of consecutive pieces of one sequence together."""
    firsts = [part.first for part in parts if part.first is not None]
    return TokenScores(
        np.concatenate([part.logprob for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.std for part in parts]),
        np.concatenate(firsts) if len(firsts) == len(parts) else None,
    )


def _compact(tokens: Tokens, known: NDArray[np.int32]) -> Tokens:
    """Return ids as places among the known ones."""
    places = np.searchsorted(known, tokens)
    if (places >= len(known)).any() or (known[places] != tokens).any():
        raise TargetError("a record holds a token that the reference model was not told of")
    return places.astype(np.int32)
