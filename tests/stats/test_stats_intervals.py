"""Rates and their differences: reference values, exact error rates, ordering."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from scipy.stats import binom

from checker import stats
from checker.errors import InsufficientData
from checker.stats.intervals import difference_limits, square_and_add

groups = st.integers(1, 400).flatmap(
    lambda n: st.tuples(st.floats(0, n, allow_nan=False), st.just(n))
)
confidences = st.floats(0.5, 0.999999)


@pytest.mark.parametrize(
    ("limit", "smallest"),
    [(0.05, (59, 93, 124)), (0.01, (299, 473, 628)), (0.001, (2995, 4742, 6294))],
)
def test_the_smallest_sample_for_0_1_and_2_hits_is_that_of_the_tables(
    limit: float, smallest: tuple[int, int, int]
) -> None:
    # METHODS §4; for no hits 1 - 0.05^(1/n) <= limit by hand, ln 0.05 / ln 0.95 = 58.4
    for hits, n in enumerate(smallest):
        assert stats.rate(hits, n, confidence=0.95).high <= limit
        assert stats.rate(hits, n - 1, confidence=0.95).high > limit


def test_the_ratio_of_extreme_rates_is_that_of_the_tables() -> None:
    # METHODS §4: ln(TPR_L / FPR_U), 500 of 500 and 0 of 500, two-sided α = 0.01. By hand:
    # L = 0.005^(1/500), U = 1 - L, ln(L / U) = 4.5419
    low, high = stats.clopper_pearson([500, 0], 500, confidence=0.995)
    assert math.log(low[0] / high[1]) == pytest.approx(4.5419, abs=5e-5)


def test_a_bound_is_where_the_binomial_tail_is_alpha() -> None:
    # the definition: at the upper bound P(X <= 3) = 0.05, at the lower P(X >= 3) = 0.05
    estimate = stats.rate(3, 40, confidence=0.95)
    assert binom.cdf(3, 40, estimate.high) == pytest.approx(0.05)
    assert binom.sf(2, 40, estimate.low) == pytest.approx(0.05)
    assert (estimate.value, estimate.n, estimate.method) == (0.075, 40, "clopper-pearson")


def test_a_difference_is_squared_and_added_as_by_hand() -> None:
    # limits of 30/100: 0.2249, 0.3844; of 5/100: 0.0199, 0.1023 (tail definition above);
    # 0.25 - √(0.0751² + 0.0523²) = 0.1585; 0.25 + √(0.0844² + 0.0301²) = 0.3396
    estimate = stats.rate_difference(30, 100, 5, 100, confidence=0.95)
    assert estimate.value == pytest.approx(0.25)
    assert estimate.low == pytest.approx(0.1585, abs=2e-4)
    assert estimate.high == pytest.approx(0.3396, abs=2e-4)
    assert estimate.n == 200


def test_nobody_is_too_few() -> None:
    with pytest.raises(InsufficientData):
        stats.rate(0, 0, confidence=0.95)
    with pytest.raises(InsufficientData):
        stats.rate_difference(1, 2, 0, 0, confidence=0.95)


def test_more_hits_than_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and n = 3"):
        stats.rate(4, 3, confidence=0.95)


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("n", [30, 59, 124, 300])
def test_a_rate_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    n: int, limit: float
) -> None:
    hits = np.arange(n + 1)
    low, high = stats.clopper_pearson(hits, n, confidence=0.95)
    mass = binom.pmf(hits, n, limit)
    assert mass[high <= limit].sum() <= 0.05
    assert mass[low > limit].sum() <= 0.05


def worst_errors(
    sizes: tuple[int, int], *, confidence: float, leaning: bool = True
) -> tuple[float, float]:
    """Chances of a false pass and of a false fail at the limit, added up over all outcomes."""
    n1, n2 = sizes
    x1, x2 = np.arange(n1 + 1)[:, None], np.arange(n2 + 1)
    if leaning:
        _, low, high = difference_limits(x1, n1, x2, n2, confidence=confidence)
    else:
        first, second = (
            (x / n, *stats.clopper_pearson(x, n, confidence=confidence))
            for x, n in ((x1, n1), (x2, n2))
        )
        _, low, high = square_and_add(first, second)
    zero_hits = stats.rate(0, n1, confidence=confidence).high
    passes, fails = [], []
    for limit in (0.02, 0.05, 0.1, 0.3):
        for background in (0.0, 0.0025, 0.0075, 0.02, 0.1, 0.3, 0.6):
            first = binom.pmf(x1[:, 0], n1, background + limit)
            second = binom.pmf(x2, n2, background)
            passes.append(first @ ((high <= limit) & (zero_hits <= limit)) @ second)
            fails.append(first @ (low > limit) @ second)
    return max(passes), max(fails)


@pytest.mark.parametrize("sizes", [(30, 30), (30, 120), (120, 30), (100, 100), (60, 300)])
def test_an_excess_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    sizes: tuple[int, int],
) -> None:
    assert max(worst_errors(sizes, confidence=0.95)) <= 0.05


@pytest.mark.parametrize("sizes", [(120, 30), (450, 30), (480, 60), (800, 100), (1200, 60)])
def test_few_nonmembers_for_many_members_let_no_more_pass(sizes: tuple[int, int]) -> None:
    for confidence in (0.95, 0.975, 0.99):
        assert max(worst_errors(sizes, confidence=confidence)) <= 1 - confidence + 1e-9


def test_squaring_and_adding_alone_would_let_too_many_pass() -> None:
    assert worst_errors((450, 30), confidence=0.95, leaning=False)[0] > 0.052
    assert worst_errors((600, 30), confidence=0.99, leaning=False)[0] > 0.017


def test_groups_of_equal_size_and_misses_of_the_smaller_are_only_squared_and_added() -> None:
    first, second = (
        (x / n, *stats.clopper_pearson(x, n, confidence=0.95)) for x, n in ((9, 100), (4, 100))
    )
    even = [float(part) for part in square_and_add(first, second)]
    found = [float(part) for part in difference_limits(9, 100, 4, 100, confidence=0.95)]
    assert found == pytest.approx(even)
    # no hit among the nonmembers takes nothing off, so the bound is the members' own
    alone = stats.rate(9, 100, confidence=0.95).high
    assert difference_limits(9, 100, 0, 20, confidence=0.95)[2] == pytest.approx(alone)


@examples(100)
@given(group=groups, confidence=confidences)
def test_a_rate_lies_between_its_bounds(group: tuple[float, int], confidence: float) -> None:
    estimate = stats.rate(*group, confidence=confidence)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@examples(100)
@given(first=groups, second=groups, confidence=confidences)
def test_a_difference_turned_round_is_its_mirror_image(
    first: tuple[float, int], second: tuple[float, int], confidence: float
) -> None:
    ahead = stats.rate_difference(*first, *second, confidence=confidence)
    back = stats.rate_difference(*second, *first, confidence=confidence)
    assert -1 <= ahead.low <= ahead.high <= 1
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )


@examples(100)
@given(first=groups, second=groups)
def test_more_confidence_never_narrows_a_difference(
    first: tuple[float, int], second: tuple[float, int]
) -> None:
    wide = stats.rate_difference(*first, *second, confidence=0.99)
    narrow = stats.rate_difference(*first, *second, confidence=0.9)
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12


@examples(100)
@given(group=st.integers(2, 200).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_one_hit_more_never_lowers_a_bound(group: tuple[int, int]) -> None:
    x, n = group
    fewer, more = stats.rate(x, n, confidence=0.95), stats.rate(x + 1, n, confidence=0.95)
    assert fewer.low < more.low
    assert fewer.high < more.high or fewer.high == 1
