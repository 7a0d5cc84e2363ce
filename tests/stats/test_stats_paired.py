"""Paired differences: exact error rates, symmetry, fractional outcomes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from properties import examples
from scipy.stats import multinomial

from checker import stats
from checker.errors import InsufficientData
from checker.stats.intervals import square_and_add
from checker.stats.paired import discordant, paired_limits

pairs = st.integers(1, 300).flatmap(
    lambda n: st.tuples(st.floats(0, n / 2), st.floats(0, n / 2), st.just(n))
)


def outcomes(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers of patients hit in the first alone and in the second alone."""
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = b + c <= n
    return b[possible], c[possible]


def mass(n: int, p: float, q: float) -> NDArray[np.float64]:
    b, c = outcomes(n)
    return np.asarray(multinomial.pmf(np.stack([b, c, n - b - c], 1), n, [p, q, 1 - p - q]))


@pytest.mark.parametrize("n", [30, 60, 100, 150])
def test_a_paired_difference_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    n: int,
) -> None:
    _, low, high = paired_limits(*outcomes(n), n, confidence=0.95)
    zero_hits = stats.rate(0, n, confidence=0.95).high
    for limit in (0.01, 0.02, 0.05, 0.1, 0.3):
        for second_only in (0.0, 0.01, 0.05, 0.1, 0.3):
            weight = mass(n, second_only + limit, second_only)
            assert weight[(high <= limit) & (zero_hits <= limit)].sum() <= 0.051
            assert weight[low > limit].sum() <= 0.051


@pytest.mark.parametrize("sizes", [(30, 30), (30, 50), (50, 30)])
def test_a_difference_in_differences_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits(
    sizes: tuple[int, int],
) -> None:
    n1, n2 = sizes
    inside = paired_limits(*outcomes(n1), n1, confidence=0.95)
    outside = paired_limits(*outcomes(n2), n2, confidence=0.95)
    _, low, high = square_and_add(
        (inside[0][:, None], inside[1][:, None], inside[2][:, None]), outside, largest=2.0
    )
    for limit in (0.02, 0.1, 0.4):
        passes, fails = high <= limit, low > limit
        for target, reference in ((0.0, 0.0), (0.1, 0.1), (0.3, 0.02)):
            for outer in (0.0, 0.1, 0.25):
                members = mass(n1, target + limit, target)
                nonmembers = mass(n2, outer, outer)
                assert members @ passes @ nonmembers <= 0.051
                assert members @ fails @ nonmembers <= 0.051
                members = mass(n1, reference + limit + 0.1, reference)  # both see more of members
                nonmembers = mass(n2, outer + 0.1, outer)
                assert members @ passes @ nonmembers <= 0.051
                assert members @ fails @ nonmembers <= 0.051


def test_a_paired_difference_is_what_squaring_and_adding_with_correlation_gives() -> None:
    # limits of 30/200: 0.1101, 0.1979; of 10/200: 0.0274, 0.0835 (binomial tails of 5 %);
    # correlation -√(30·10/(170·190)) = -0.0964;
    # below: 0.0399² + 0.0335² + 2·0.0964·0.0399·0.0335 = 0.002972, root 0.0545 -> 0.0455
    # above: 0.0479² + 0.0226² + 2·0.0964·0.0479·0.0226 = 0.003014, root 0.0549 -> 0.1549
    estimate = stats.paired_difference(30, 10, 200, confidence=0.95)
    assert estimate.value == pytest.approx(0.1)
    assert estimate.low == pytest.approx(0.0455, abs=3e-4)
    assert estimate.high == pytest.approx(0.1549, abs=3e-4)
    assert (estimate.n, estimate.method) == (200, "paired square-and-add over clopper-pearson")


def test_without_hits_of_the_second_it_is_the_rate_of_the_first() -> None:
    # the reference never hits and cannot be seen to: only its own upper limit widens the lower one
    for hits in (0, 7):
        paired = stats.paired_difference(hits, 0, 80, confidence=0.95)
        assert paired.high == pytest.approx(stats.rate(hits, 80, confidence=0.95).high)
        assert paired.low < stats.rate(hits, 80, confidence=0.95).low


def test_the_same_patients_tell_more_than_two_groups_when_models_agree() -> None:
    # 60 of 100 hit in both, 8 in the target alone, 2 in the reference alone
    paired = stats.paired_difference(8, 2, 100, confidence=0.95)
    unpaired = stats.rate_difference(68, 100, 62, 100, confidence=0.95)
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_a_reference_that_hits_members_as_often_takes_the_excess_away() -> None:
    # excess of the target 40 - 10 = 30 points, and so has the reference, on the same patients
    explained = stats.difference_in_differences((5, 5, 200), (5, 5, 200), confidence=0.95)
    assert explained.value == 0
    assert stats.contains(explained, 0)
    leaked = stats.difference_in_differences((60, 0, 200), (5, 5, 200), confidence=0.95)
    assert leaked.value == pytest.approx(0.3)
    assert leaked.low > 0.2
    assert (leaked.n, leaked.confidence) == (400, 0.95)


def test_a_difference_in_differences_reaches_two() -> None:
    extreme = stats.difference_in_differences((50, 0, 50), (0, 50, 50), confidence=0.95)
    assert (extreme.value, extreme.high) == (2.0, 2.0)
    assert 1.8 < extreme.low < 2


def test_outcomes_become_discordant_counts() -> None:
    first, second = np.array([1, 1, 0, 0.5, 1]), np.array([0, 1, 1, 0.25, 0.5])
    assert discordant(first, second) == (1 + 0.25 + 0.5, 1.0, 5)
    with pytest.raises(ValueError, match="equal length"):
        discordant([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        discordant([np.nan], [0.0])


def test_mean_shares_at_their_limit_pass_or_fail_less_often_than_counts() -> None:
    # shares of 5 samples, 0.5 and 0.4 on average: the true paired difference is 0.1
    rng = np.random.default_rng(1)
    passed = failed = 0
    audits = 400
    for _ in range(audits):
        first, second = rng.binomial(5, 0.5, 100) / 5, rng.binomial(5, 0.4, 100) / 5
        found = stats.paired_difference(*discordant(first, second), confidence=0.95)
        passed += found.high <= 0.1
        failed += found.low > 0.1
    assert max(passed, failed) / audits <= 0.05


def test_impossible_counts_and_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="together at most n = 10"):
        stats.paired_difference(6, 5, 10, confidence=0.95)
    with pytest.raises(ValueError, match="at least 0"):
        stats.paired_difference(-1, 5, 10, confidence=0.95)
    with pytest.raises(InsufficientData):
        stats.paired_difference(0, 0, 0, confidence=0.95)
    with pytest.raises(InsufficientData):
        stats.difference_in_differences((1, 0, 5), (0, 0, 0), confidence=0.95)


@examples(100)
@given(pair=pairs, confidence=st.floats(0.5, 0.999999))
def test_a_paired_difference_turned_round_is_its_mirror_image(
    pair: tuple[float, float, int], confidence: float
) -> None:
    b, c, n = pair
    ahead = stats.paired_difference(b, c, n, confidence=confidence)
    back = stats.paired_difference(c, b, n, confidence=confidence)
    assert -1 <= ahead.low <= ahead.value <= ahead.high <= 1
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx(
        (-back.value, -back.high, -back.low), abs=1e-9
    )


@examples(100)
@given(pair=pairs)
def test_more_confidence_never_narrows_a_paired_difference(
    pair: tuple[float, float, int],
) -> None:
    wide = stats.paired_difference(*pair, confidence=0.99)
    narrow = stats.paired_difference(*pair, confidence=0.9)
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12
