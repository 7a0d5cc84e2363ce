"""Confidence sequences: METHODS §6, the martingale's definition, error over all paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from properties import examples
from scipy.special import beta
from scipy.stats import binom

from checker import stats
from checker.errors import InsufficientData
from checker.stats import power
from checker.stats.intervals import square_and_add
from checker.stats.sequential import SEQUENTIAL_SHARE, confidence_sequence

ALPHA = 0.05
SEQUENCE = 1 - SEQUENTIAL_SHARE * ALPHA
PLANNED = 1 - (1 - SEQUENTIAL_SHARE) * ALPHA

groups = st.integers(1, 400).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n)))


def test_the_patients_needed_are_those_of_the_methods() -> None:
    # METHODS §6: a pure confidence sequence 158 instead of 59, this way 61
    assert stats.sequential_rate(0, 158, confidence=0.95).high <= 0.05
    assert stats.sequential_rate(0, 157, confidence=0.95).high > 0.05
    assert power.positives_needed(0.05, confidence=0.95) == 59
    assert power.positives_needed(0.05, confidence=PLANNED) == 61


def test_a_bound_is_where_the_martingale_reaches_1_over_alpha() -> None:
    # the definition, with the uniform mixture: B(1 + 7, 1 + 33) / (p^7 (1 - p)^33) = 1 / 0.05
    estimate = stats.sequential_rate(7, 40, confidence=0.95)
    for p in (estimate.low, estimate.high):
        assert beta(8, 34) / (p**7 * (1 - p) ** 33) == pytest.approx(20)
    assert (estimate.value, estimate.n) == (0.175, 40)
    assert estimate.method == "beta-mixture confidence sequence"


def test_a_difference_takes_opposite_limits_at_half_the_error() -> None:
    first = stats.sequential_rate(30, 60, confidence=0.975)
    second = stats.sequential_rate(4, 50, confidence=0.975)
    found = stats.sequential_difference(30, 60, 4, 50, confidence=0.95)
    assert found.value == pytest.approx(0.42)
    assert found.n == 110
    assert found.low == pytest.approx(first.low - second.high)
    assert found.high == pytest.approx(first.high - second.low)
    assert found.method == "beta-mixture confidence sequences of both groups"


@pytest.mark.parametrize("planned", [61, 124])
@pytest.mark.parametrize("limit", [0.05, 0.2])
def test_over_all_paths_a_rate_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    planned: int, limit: float
) -> None:
    hits = np.arange(planned + 1)
    here, passed, failed = np.zeros(planned + 1), 0.0, 0.0
    here[0] = 1.0
    for n in range(1, planned + 1):
        here = np.append(0.0, here[:-1]) * limit + here * (1 - limit)
        if n < planned:
            low, high = confidence_sequence(np.minimum(hits, n), n, confidence=SEQUENCE)
        else:
            low, high = stats.clopper_pearson(hits, n, confidence=PLANNED)
        passed += here[high <= limit].sum()
        failed += here[low > limit].sum()
        here[(high <= limit) | (low > limit)] = 0.0
    assert passed <= 0.05
    assert failed <= 0.05


def error_of_differences(
    planned: int, batch: int, *, limit: float, background: float
) -> tuple[float, float]:
    """Pass and fail probability at an excess of `limit`, over all paths of two groups."""
    size = planned + 1
    hits = np.arange(size)
    step = [_toeplitz(size, batch, rate) for rate in (background + limit, background)]
    here = np.zeros((size, size))
    here[0, 0] = 1.0
    passed = failed = 0.0
    for n in range(batch, planned + 1, batch):
        here = step[0].T @ here @ step[1]
        x = np.minimum(hits, n)
        if n < planned:
            low, high = confidence_sequence(x, n, confidence=(1 + SEQUENCE) / 2)
            lower, upper = low[:, None] - high, high[:, None] - low
        else:
            low, high = stats.clopper_pearson(x, n, confidence=PLANNED)
            _, lower, upper = square_and_add(
                (x[:, None] / n, low[:, None], high[:, None]), (x / n, low, high)
            )
            if power.zero_hit_bound_rate(n, confidence=PLANNED) > limit:
                upper = np.ones_like(upper)
        passed += here[upper <= limit].sum()
        failed += here[lower > limit].sum()
        here[(upper <= limit) | (lower > limit)] = 0.0
    return passed, failed


def _toeplitz(size: int, batch: int, rate: float) -> NDArray[np.float64]:
    """Transition of hits by one batch."""
    more = np.arange(size) - np.arange(size)[:, None]
    return np.asarray(binom.pmf(more, batch, rate), np.float64)


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("background", [0.0, 0.05, 0.3])
def test_over_all_paths_an_excess_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    limit: float, background: float
) -> None:
    passed, failed = error_of_differences(100, 5, limit=limit, background=background)
    assert passed <= 0.051
    assert failed <= 0.051


def test_a_plain_leak_is_decided_long_before_the_planned_number() -> None:
    # half of the members hit and the limit is 5 %: 10 of 20 are enough
    assert stats.sequential_rate(10, 20, confidence=SEQUENCE).low > 0.05
    # nothing ever hits: 208 patients, where 61 of a fixed sample would do
    assert stats.sequential_rate(0, 208, confidence=SEQUENCE).high <= 0.05
    assert stats.sequential_rate(0, 207, confidence=SEQUENCE).high > 0.05


def test_before_the_first_patient_nothing_is_excluded() -> None:
    low, high = confidence_sequence(0, 0, confidence=0.95)
    assert low == 0
    assert high == 1
    with pytest.raises(InsufficientData):
        stats.sequential_rate(0, 0, confidence=0.95)
    with pytest.raises(InsufficientData):
        stats.sequential_difference(1, 2, 0, 0, confidence=0.95)
    with pytest.raises(ValueError, match="between 0 and n = 3"):
        stats.sequential_rate(4, 3, confidence=0.95)


@examples(100)
@given(group=groups, confidence=st.floats(0.01, 0.999999))
def test_a_rate_lies_between_its_bounds_and_mirrors(
    group: tuple[float, int], confidence: float
) -> None:
    hits, n = group
    ahead = stats.sequential_rate(hits, n, confidence=confidence)
    assert 0 <= ahead.low <= ahead.value <= ahead.high <= 1
    back = stats.sequential_rate(n - hits, n, confidence=confidence)
    assert (ahead.low, ahead.high) == pytest.approx((1 - back.high, 1 - back.low), abs=1e-9)


@examples(100)
@given(group=groups)
def test_at_one_sample_size_the_sequence_is_wider_than_the_fixed_bounds(
    group: tuple[float, int],
) -> None:
    sequence = stats.sequential_rate(*group, confidence=0.95)
    fixed = stats.rate(*group, confidence=0.95)
    assert sequence.low <= fixed.low + 1e-12
    assert sequence.high >= fixed.high - 1e-12
