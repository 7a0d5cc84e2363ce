"""The checker's own reference: equal seeds give equal bytes, and any length can be scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets import Tokens
from checker.targets.engine.reference import VALIDATION, ReferenceModel, train_reference

KNOWN = np.array([2, 5, 7, 11, 13, 40_000], dtype=np.int32)
RECIPE: dict[str, int | float] = {
    "layers": 1, "width": 16, "heads": 2, "context": 8, "batch": 4, "learning_rate": 1e-2,
    "dropout": 0.1, "weight_decay": 0.01, "initial_std": 0.05, "max_epochs": 6,
}  # fmt: skip


def records(count: int, *, seed: int, length: int = 8) -> list[Tokens]:
    """Records in which 5 is always followed by 7, and nothing else by anything."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(KNOWN, length).astype(np.int32) for _ in range(count)]
    for one in drawn:
        one[1:][one[:-1] == 5] = 7
    return drawn


def trained(**changes: Any) -> dict[str, NDArray[np.float32]]:
    arguments: dict[str, Any] = {"known": KNOWN, "recipe": RECIPE, "seed": 3, **changes}
    return train_reference(records(60, seed=0), records(8, seed=1), **arguments)


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[np.float32]]:
    return trained()


def test_equal_seeds_give_equal_bytes_whatever_was_drawn_before(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    torch.rand(5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again, other = trained(), trained(seed=4)
    torch.set_num_threads(threads)
    assert list(again) == list(tensors)
    assert all(again[name].tobytes() == tensors[name].tobytes() for name in tensors)
    assert any(other[name].tobytes() != tensors[name].tobytes() for name in tensors)


def test_it_learns_what_follows_what(tensors: dict[str, NDArray[np.float32]]) -> None:
    follows, random = ReferenceModel(tensors).score(
        [np.array([2, 5, 7], np.int32), np.array([2, 13, 7], np.int32)]
    )
    assert follows.logprob[1] > random.logprob[1] + 0.5
    losses = tensors[VALIDATION]
    assert len(losses) <= 6
    assert losses.min() < losses[0]


def test_a_long_record_is_scored_in_pieces_that_agree_with_a_short_one(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    model = ReferenceModel(tensors)
    (long,) = records(1, seed=5, length=29)
    whole, first = model.score([long, long[:8]])
    assert len(whole.logprob) == len(whole.std) == 28
    assert whole.first is not None
    assert len(whole.first) == 28
    assert np.allclose(whole.logprob[:7], first.logprob, atol=1e-5)
    # from there on each token has the half context before it that its own piece holds
    (piece,) = model.score([long[4:12]])
    assert np.allclose(whole.logprob[7:11], piece.logprob[3:], atol=1e-5)
    assert np.isfinite(whole.logprob).all()


def test_scores_do_not_hang_on_what_else_is_scored(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    model, asked = ReferenceModel(tensors), records(9, seed=6)
    together = model.score(asked)
    for one, found in zip(asked, together, strict=True):
        (alone,) = model.score([one])
        assert np.allclose(alone.logprob, found.logprob, atol=1e-5)


def test_probabilities_of_the_known_tokens_sum_to_one(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    asked = [np.array([2, token], np.int32) for token in KNOWN.tolist()]
    total = sum(float(np.exp(one.logprob[0])) for one in ReferenceModel(tensors).score(asked))
    assert 0.97 < total <= 1.0 + 1e-5  # the padding's share is never learned and never asked


def test_what_it_was_not_told_of_is_an_error_and_no_score(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    with pytest.raises(TargetError, match="was not told of"):
        ReferenceModel(tensors).score([np.array([2, 6], np.int32)])


@pytest.mark.parametrize("lost", ["transformer.wte.weight", "transformer.h.0.ln_1.weight", "heads"])
def test_weights_that_are_not_all_there_are_refused(
    tensors: dict[str, NDArray[np.float32]], lost: str
) -> None:
    rest = {name: values for name, values in tensors.items() if name != lost}
    with pytest.raises(TargetError, match="no weights of a reference model"):
        ReferenceModel(rest)


def test_too_few_patients_are_said_in_a_sentence() -> None:
    with pytest.raises(TargetError, match="too few patients to train a reference model on"):
        train_reference(records(3, seed=0), [], known=KNOWN, recipe=RECIPE, seed=0)
