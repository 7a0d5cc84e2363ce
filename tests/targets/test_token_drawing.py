"""Tokens are drawn cheaply, and as the reference sampler draws them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from checker.targets import Sampler
from checker.targets.engine.drawing import _by_bisection, draw, least_kept
from checker.targets.sampling import shape_probabilities

torch.set_num_threads(1)


def some_logits(rows: int, width: int, *, spread: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, spread, (rows, width)).astype(np.float32))


def some_numbers(rows: int, *, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(rows))


def reference(
    logits: torch.Tensor, numbers: torch.Tensor, *, temperature: float, top_p: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return tokens and weights by the definition, in float64."""
    how = Sampler(temperature=temperature, top_p=top_p, horizon_tokens=1, seed=0)
    weights = shape_probabilities(logits.double().softmax(-1).numpy(), sampler=how)
    mass = weights.cumsum(axis=1)
    pairs = zip(mass, numbers.numpy(), strict=True)
    drawn = [np.searchsorted(row, number * row[-1], side="right") for row, number in pairs]
    return np.array(drawn), weights


@pytest.mark.parametrize("width", [1, 7, 63, 64, 65, 1000, 6000])
@pytest.mark.parametrize("spread", [0.5, 4.0])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.95), (0.7, 0.3)])
def test_draws_are_those_of_the_definition(
    width: int, spread: float, temperature: float, top_p: float
) -> None:
    # 6,000 tokens are more than are sorted at first: of the flat rows a larger part is kept
    logits, numbers = some_logits(200, width, spread=spread), some_numbers(200)
    tokens, sound = draw(logits, numbers, temperature=temperature, top_p=top_p)
    expected, weights = reference(logits, numbers, temperature=temperature, top_p=top_p)
    assert bool(sound)
    assert (weights[np.arange(200), tokens.numpy()] > 0).all()
    # float32 against float64: a uniform may fall between the two sums of a boundary
    assert (tokens.numpy() != expected).sum() <= 1


def test_all_tokens_as_likely_as_the_last_that_is_kept_are_kept() -> None:
    # 0.4, then four of 0.15: top-p 0.5 needs one of the four, and cannot say which
    probabilities = torch.tensor([[0.15, 0.4, 0.15, 0.15, 0.15]])
    numbers = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens, _ = draw(probabilities.log().expand(1000, 5), numbers, temperature=1.0, top_p=0.5)
    assert np.bincount(tokens.numpy()).tolist() == [150, 400, 150, 150, 150]
    # the control: with the edge between 0.4 and the rest only one is kept
    tokens, _ = draw(probabilities.log().expand(1000, 5), numbers, temperature=1.0, top_p=0.39)
    assert np.bincount(tokens.numpy()).tolist() == [0, 1000]


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_bisection_finds_the_edge_that_sorting_finds(spread: float) -> None:
    weights = some_logits(50, 5000, spread=spread).softmax(-1)
    kept = [
        (weights >= least).sum(-1)
        for least in (least_kept(weights, top_p=0.9), _by_bisection(weights, top_p=0.9))
    ]
    # sums taken in another order may differ by the rounding of 5,000 float32
    assert (kept[0] - kept[1]).abs().max() <= 2
    small = torch.tensor([[0.15, 0.4, 0.15, 0.15, 0.15]])
    assert _by_bisection(small, top_p=0.5).item() == pytest.approx(0.15)
    assert _by_bisection(small, top_p=0.39).item() > 0.15


def test_a_token_that_is_ruled_out_is_never_drawn() -> None:
    logits = torch.full((4, 200), -torch.inf)
    logits[:, [3, 70, 71]] = 0.0
    for number in (0.0, 1 / 3, 2 / 3, np.nextafter(1.0, 0.0)):
        numbers = torch.full((4,), number, dtype=torch.float64)
        tokens, sound = draw(logits, numbers, temperature=1.0, top_p=0.99)
        assert bool(sound)
        assert set(tokens.tolist()) <= {3, 70, 71}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_noticed(bad: float) -> None:
    logits = some_logits(3, 100, spread=1.0)
    logits[1, 50] = bad
    tokens, sound = draw(logits, some_numbers(3), temperature=1.0, top_p=0.9)
    assert not bool(sound)
    assert ((tokens >= 0) & (tokens < 100)).all()


def test_a_row_is_drawn_alike_in_every_batch() -> None:
    logits, numbers = some_logits(300, 5000, spread=2.0), some_numbers(300)
    together, _ = draw(logits, numbers, temperature=1.0, top_p=0.95)
    alone = [
        int(draw(logits[i : i + 1], numbers[i : i + 1], temperature=1.0, top_p=0.95)[0])
        for i in range(0, 300, 37)
    ]
    assert together[::37].tolist() == alone
