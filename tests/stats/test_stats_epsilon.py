"""The one-run bound for ε: reference values, exact error over all outcomes, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from checker import stats
from checker.errors import InsufficientData
from checker.stats.epsilon import epsilon_p_value


def bound(correct: int, guesses: int, canaries: int, delta: float) -> float:
    return stats.epsilon_lower_bound(
        correct, guesses=guesses, canaries=canaries, delta=delta, confidence=0.95
    )


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "expected"),
    [(1000, 100, 100, 0.0, 3.4930), (1000, 100, 95, 1e-5, 2.1652)],
)
def test_the_bounds_are_those_of_the_tables(
    canaries: int, guesses: int, correct: int, delta: float, expected: float
) -> None:
    # METHODS §4; the first by hand: q^100 = 0.05, q = 0.9705, ε = ln(q / (1 - q)) = 3.493
    assert bound(correct, guesses, canaries, delta) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("guesses", [10, 60])
@pytest.mark.parametrize(("delta", "abstained"), [(0.0, 0), (1e-5, 40)])
def test_randomised_response_is_accused_of_more_than_its_epsilon_in_at_most_1_of_20_audits(
    epsilon: float, guesses: int, delta: float, abstained: int
) -> None:
    # it answers truly with probability e^ε/(1 + e^ε), which is ε-private and nothing less
    mass = binom.pmf(np.arange(guesses + 1), guesses, expit(epsilon))
    bounds = [bound(v, guesses, guesses + abstained, delta) for v in range(guesses + 1)]
    assert mass[np.array(bounds) > epsilon].sum() <= 0.05


def test_without_delta_it_is_the_clopper_pearson_bound_of_the_share_of_right_guesses() -> None:
    share = stats.rate(80, 100, confidence=0.95).low
    assert bound(80, 100, 100, 0.0) == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


def test_more_right_guesses_never_lower_the_bound_and_more_delta_never_raises_it() -> None:
    for delta in (0.0, 1e-6, 1e-3):
        bounds = [bound(v, 40, 200, delta) for v in range(41)]
        assert bounds == sorted(bounds)
        assert all(found <= bound(v, 40, 200, 0.0) + 1e-8 for v, found in enumerate(bounds))


def test_guesses_no_better_than_a_coin_refute_nothing() -> None:
    assert bound(50, 100, 1000, 1e-5) == 0.0
    assert bound(0, 100, 1000, 1e-5) == 0.0


def test_the_p_value_rises_with_epsilon_and_is_alpha_at_the_bound() -> None:
    found = bound(95, 100, 1000, 1e-5)
    at = [
        epsilon_p_value(epsilon, correct=95, guesses=100, canaries=1000, delta=1e-5)
        for epsilon in (found - 0.1, found, found + 0.1)
    ]
    assert at[0] < at[1] < at[2]
    assert at[1] == pytest.approx(0.05, abs=1e-6)
    assert at[1] <= 0.05


def test_a_delta_that_explains_everything_leaves_no_bound() -> None:
    # 2mδ·P[v > Bin >= v - i]/i is over 5 % with δ = 0.01 and a thousand canaries
    assert bound(95, 100, 1000, 0.01) < bound(95, 100, 1000, 1e-5) - 0.5


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InsufficientData) as none:
        bound(0, 0, 100, 0.0)
    assert none.value.reason == "too-few-canaries"
    with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
        bound(11, 10, 100, 0.0)
    with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
        bound(5, 10, 9, 0.0)
    with pytest.raises(ValueError, match="delta"):
        bound(5, 10, 10, 2.0)
