"""p-values from bounds, Holm's procedure and the placebo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from checker import stats
from checker.errors import InsufficientData


def test_the_p_value_of_a_rate_is_its_binomial_tail() -> None:
    # L(α) > limit exactly when P(X >= 9 | limit) < α
    p = stats.p_value(lambda c: stats.rate(9, 60, confidence=c).low, limit=0.05)
    assert p == pytest.approx(binom.sf(8, 60, 0.05), rel=2e-6)


def test_the_bound_at_the_p_value_exceeds_the_limit() -> None:
    def lower(confidence: float) -> float:
        return stats.rate_difference(30, 80, 6, 90, confidence=confidence).low

    p = stats.p_value(lower, limit=0.05)
    assert lower(1 - p) > 0.05
    assert lower(1 - 0.999 * p) <= 0.05


def test_a_value_within_its_limit_has_p_1_and_an_extreme_one_the_least() -> None:
    assert stats.p_value(lambda c: stats.rate(1, 60, confidence=c).low, limit=0.05) == 1.0
    assert stats.p_value(lambda c: stats.rate(60, 60, confidence=c).low, limit=0.05) == 1e-12


def slow_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Reject what every intersection that contains it rejects by Bonferroni (closed testing)."""
    k = range(len(p_values))
    subsets = [s for r in k for s in itertools.combinations(k, r + 1)]
    return [
        all(min(p_values[j] for j in s) <= alpha / len(s) for s in subsets if i in s) for i in k
    ]


@given(p_values=st.lists(st.floats(0, 0.1), min_size=1, max_size=6))
def test_holm_is_closed_bonferroni(p_values: list[float]) -> None:
    assert stats.holm(p_values, alpha=0.05).tolist() == slow_holm(p_values, 0.05)


def test_no_cells_name_nothing() -> None:
    assert stats.holm([], alpha=0.05).tolist() == []


def test_a_cell_alone_needs_no_correction() -> None:
    assert stats.holm([0.05], alpha=0.05).tolist() == [True]


def test_the_placebo_of_a_sound_instrument_contains_zero_in_nearly_every_draw() -> None:
    # ten cells at 0.2 %: one interval misses in 0.02 % of draws; 300 draws expect at most 0.06
    outcomes = np.repeat([0.0, 1.0], [160, 40])
    rng = np.random.default_rng(1)
    level = stats.placebo_confidence(cells=10)
    draws = [stats.placebo_difference(outcomes, confidence=level, rng=rng) for _ in range(300)]
    assert sum(not stats.contains(draw, 0) for draw in draws) <= 2
    assert draws[0].confidence == pytest.approx(0.9999)
    assert draws[0].n == 200


def test_an_estimate_away_from_zero_does_not_contain_it() -> None:
    assert not stats.contains(stats.rate_difference(90, 100, 10, 100, confidence=0.999), 0)


def test_equal_generators_give_equal_placebos() -> None:
    outcomes = np.random.default_rng(0).random(31)
    first, second = (
        stats.placebo_difference(outcomes, confidence=0.95, rng=np.random.default_rng(7))
        for _ in range(2)
    )
    assert first == second


def test_one_nonmember_has_no_halves() -> None:
    with pytest.raises(InsufficientData) as few:
        stats.placebo_difference([1.0], confidence=0.95, rng=np.random.default_rng(0))
    assert few.value.reason == "too-few-nonmembers"
