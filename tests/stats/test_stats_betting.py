"""Bounds of means in [0, 1] by betting: right too often, narrow where values hardly vary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from checker import stats
from checker.errors import InsufficientData
from checker.stats.betting import betting_limits, means_needed, pass_probability_mean_difference

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

SKEWED: dict[str, tuple[Draw, float]] = {
    "beta": (lambda rng, n: rng.beta(0.2, 9.8, n), 0.02),
    "coins": (lambda rng, n: (rng.random(n) < 0.05).astype(np.float64), 0.05),
    "few by heart": (lambda rng, n: np.where(rng.random(n) < 0.02, 0.9, 0.02), 0.02 + 0.02 * 0.88),
    "nearly all": (lambda rng, n: 1 - rng.beta(0.2, 9.8, n), 0.98),
}


@pytest.mark.parametrize("name", SKEWED)
def test_limits_miss_the_mean_no_oftener_than_they_say(name: str) -> None:
    draw, mean = SKEWED[name]
    rng = np.random.default_rng(8)
    limits = np.array([betting_limits(draw(rng, 90), confidence=0.95) for _ in range(150)])
    most = int(binom.isf(1e-3, 150, 0.05))
    assert (limits[:, 0] > mean).sum() <= most
    assert (limits[:, 1] < mean).sum() <= most


@pytest.mark.parametrize(("confidence", "n"), [(0.95, 3), (0.95, 21), (0.999, 8), (0.999, 34)])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.02, 0.9), (0.3, 1.0)])
def test_the_orders_that_were_drawn_miss_no_mean_of_two_kinds_too_often(
    confidence: float, n: int, low: float, high: float
) -> None:
    """Exact: a miss is likeliest where the mean lies just beyond the limit of some count."""
    counts = np.arange(n + 1)
    limits = np.array([
        betting_limits(np.repeat([low, high], [n - k, k]), confidence=confidence) for k in counts
    ])  # fmt: skip
    missed = [
        binom.pmf(counts, n, share)[beyond].sum()
        for edge, inwards in ((limits[:, 0], -1e-12), (limits[:, 1], 1e-12))
        for mean in edge + inwards
        if 0 <= (share := (mean - low) / (high - low)) <= 1
        for beyond in [limits[:, 0] > mean if inwards < 0 else limits[:, 1] < mean]
    ]
    assert 0 < max(missed) <= 1 - confidence


def test_values_that_hardly_vary_are_bounded_by_far_less_than_coins() -> None:
    rng = np.random.default_rng(2)
    q = rng.beta(20, 180, 200)
    betting = stats.bounded_mean(q, confidence=0.95)
    coins = stats.rate(float(q.sum()), 200, confidence=0.95)
    assert betting.value == pytest.approx(coins.value)
    assert betting.high - betting.value < 0.45 * (coins.high - coins.value)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.randoms())
@settings(max_examples=40)
def test_limits_enclose_the_mean_and_depend_on_no_order(values: list[float], lot: object) -> None:
    low, high = betting_limits(values, confidence=0.95)
    assert 0 <= low <= np.mean(values) <= high <= 1
    shuffled = list(values)
    lot.shuffle(shuffled)  # type: ignore[attr-defined]
    assert betting_limits(shuffled, confidence=0.95) == (low, high)


def test_more_confidence_takes_wider_limits() -> None:
    q = np.random.default_rng(1).beta(1, 9, 80)
    found = [betting_limits(q, confidence=level) for level in (0.8, 0.95, 0.999)]
    lows, highs = zip(*found, strict=True)
    assert sorted(lows, reverse=True) == list(lows)
    assert sorted(highs) == list(highs)


def test_the_upper_limit_is_the_lower_one_of_what_is_left() -> None:
    q = np.random.default_rng(4).beta(1, 9, 50)
    low, high = betting_limits(q, confidence=0.95)
    other_low, other_high = betting_limits(1 - q, confidence=0.95)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low))


def test_nobody_has_no_mean_and_no_value_lies_outside() -> None:
    with pytest.raises(InsufficientData):
        stats.bounded_mean([], confidence=0.95)
    for wrong in ([1.2], [-0.1], [float("nan")]):
        with pytest.raises(ValueError, match="values must"):
            stats.bounded_mean(wrong, confidence=0.95)


def test_the_fewest_zeros_are_those_that_show_it() -> None:
    for limit in (0.02, 0.05, 0.3):
        n = means_needed(limit, confidence=0.95)
        bounds = [betting_limits(np.zeros(size), confidence=0.95)[1] for size in (n - 1, n)]
        assert bounds[0] > limit >= bounds[1]


@pytest.mark.parametrize(("n", "base_rate"), [(90, 0.02), (130, 0.1), (60, 0.02)])
def test_the_announced_chance_of_a_pass_is_about_that_of_simulated_audits(
    n: int, base_rate: float
) -> None:
    announced = pass_probability_mean_difference(
        n, n, limit=0.05, base_rate=base_rate, confidence=0.95
    )
    rng = np.random.default_rng(6)
    passes = 0
    for _ in range(100):
        q = rng.beta(9 * base_rate, 9 * (1 - base_rate), (2, n))
        passes += stats.bounded_mean_difference(*q, confidence=0.95).high <= 0.05
    assert announced == pytest.approx(passes / 100, abs=0.17)
