"""BCa bounds of means: normal theory, skewness, refusals, determinism, error rates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from checker import stats
from checker.errors import InsufficientData
from checker.stats.bootstrap import READABLE, bootstrap


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_bounds_of_a_symmetric_mean_are_those_of_normal_theory() -> None:
    values = rng().normal(5, 2, 1000)
    estimate = stats.bootstrap_mean(values, confidence=0.95, rng=rng())
    error = values.std() / np.sqrt(1000)
    # 1.645 standard errors; a resampled bound is known to 0.03 of one, three times that is 0.09
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.value - estimate.low) / error == pytest.approx(1.645, abs=0.1)
    assert (estimate.high - estimate.value) / error == pytest.approx(1.645, abs=0.1)
    assert (estimate.n, estimate.confidence, estimate.method) == (1000, 0.95, "bca bootstrap")


def test_bounds_of_a_skewed_mean_reach_further_to_the_long_side() -> None:
    values = rng().exponential(1, 300)
    estimate = stats.bootstrap_mean(values, confidence=0.95, rng=rng())
    # Edgeworth: the mean's bounds shift by (2z² + 1)·skew/(6√n) = 6.4·2/(6·17.3) = 0.12 errors
    above, below = estimate.high - estimate.value, estimate.value - estimate.low
    assert 1.05 < above / below < 1.4


def test_a_gap_between_groups_has_the_errors_of_both() -> None:
    first, second = rng(1).normal(3, 1, 400), rng(2).normal(1, 2, 500)
    estimate = stats.bootstrap_mean_difference(first, second, confidence=0.95, rng=rng())
    error = np.sqrt(first.var() / 400 + second.var() / 500)
    assert estimate.value == pytest.approx(first.mean() - second.mean())
    assert (estimate.value - estimate.low) / error == pytest.approx(1.645, abs=0.1)
    assert (estimate.high - estimate.value) / error == pytest.approx(1.645, abs=0.1)
    assert estimate.n == 900


def test_equal_generators_give_equal_bounds_in_any_order_of_patients() -> None:
    values = rng().exponential(1, 300)
    first = stats.bootstrap_mean(values, confidence=0.95, rng=rng(7))
    assert stats.bootstrap_mean(values[::-1], confidence=0.95, rng=rng(7)) == first
    assert stats.bootstrap_mean(values, confidence=0.95, rng=rng(8)) != first


def test_fewer_than_300_patients_are_too_few() -> None:
    with pytest.raises(InsufficientData) as few:
        stats.bootstrap_mean(np.arange(299.0), confidence=0.95, rng=rng())
    found = few.value
    assert (found.needed, found.got, found.reason) == (300, 299, "too-few-patients")
    with pytest.raises(InsufficientData, match="299 patients"):
        stats.bootstrap_mean_difference(
            np.arange(400.0), np.arange(299.0), confidence=0.95, rng=rng()
        )


def test_a_mean_that_rests_on_few_patients_is_refused() -> None:
    values = np.zeros(300)
    with pytest.raises(InsufficientData) as constant:
        stats.bootstrap_mean(values, confidence=0.95, rng=rng())
    assert (constant.value.reason, constant.value.got) == ("no-variation", 0)
    values[:29] = 1.0
    with pytest.raises(InsufficientData) as nearly:
        stats.bootstrap_mean(values, confidence=0.95, rng=rng())
    assert (nearly.value.needed, nearly.value.got) == (30, 29)
    values[:30] = 1.0
    assert stats.bootstrap_mean(values, confidence=0.95, rng=rng()).low > 0


def test_a_group_that_is_all_alike_does_not_hide_the_gap_to_another() -> None:
    varying = rng().normal(4, 1, 300)
    gap = stats.bootstrap_mean_difference(varying, np.zeros(300), confidence=0.95, rng=rng())
    assert gap.low > 3.8
    with pytest.raises(InsufficientData, match="commonest"):
        stats.bootstrap_mean_difference(np.ones(300), np.zeros(300), confidence=0.95, rng=rng())


def test_a_statistic_that_never_varies_has_no_bounds() -> None:
    def largest(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.ones(values.shape[:-1])

    with pytest.raises(InsufficientData) as same:
        bootstrap(largest, [np.arange(300.0)], confidence=0.95, rng=rng())
    assert same.value.reason == "no-variation"


def test_values_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.bootstrap_mean(np.full(300, np.nan), confidence=0.95, rng=rng())


def test_bounds_stay_within_what_the_statistic_can_be() -> None:
    values = np.append(np.zeros(40), np.ones(300))
    estimate = bootstrap(
        np.mean, [values], confidence=1 - 1e-12, rng=rng(), smallest=0.0, largest=0.9
    )
    # 0.882 ± 7 standard errors of 0.0175 is 0.76 to 1.005
    assert estimate.high == 0.9
    assert 0.7 < estimate.low < 0.8


def test_more_confidence_never_narrows_the_bounds() -> None:
    values = rng().exponential(1, 300)
    levels = (0.5, 0.8, 0.95, 0.99, READABLE, 0.9999, 1 - 1e-9)
    found = [stats.bootstrap_mean(values, confidence=level, rng=rng()) for level in levels]
    lows, highs = [each.low for each in found], [each.high for each in found]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    assert len(set(lows)) == len(levels)


def test_a_p_value_is_that_of_the_normal_distribution_beyond_the_last_resample_too() -> None:
    values = rng().normal(0, 1, 400)
    error = values.std() / 20
    for distance in (1.5, 3.0, 5.0):
        p = stats.p_value(
            lambda confidence: stats.bootstrap_mean(values, confidence=confidence, rng=rng()).low,
            limit=values.mean() - distance * error,
        )
        # resampled bounds move by 0.1 errors, and those read off last by more
        assert norm.isf(p) == pytest.approx(distance, abs=0.3)


def test_a_skewed_mean_at_its_limit_passes_or_fails_in_about_1_of_20_audits() -> None:
    # exponential values have mean 1; 5 % and three standard errors of 100 audits:
    # 0.05 + 3·√(0.05·0.95/100) = 0.115
    source, audits = rng(3), 100
    found = [
        stats.bootstrap_mean(source.exponential(1, 300), confidence=0.95, rng=source)
        for _ in range(audits)
    ]
    assert sum(each.high <= 1 for each in found) / audits <= 0.115
    assert sum(each.low > 1 for each in found) / audits <= 0.115
