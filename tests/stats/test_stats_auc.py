"""AUROC and TPR at FPR: against slow definitions, at the edges, and their error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from properties import examples
from scipy.special import expit, logit
from scipy.stats import beta, norm

from checker import stats
from checker.errors import InsufficientData
from checker.stats.auc import ROC_FPRS, lenient_rank, strict_rank

Scores = NDArray[np.float64]


def slow_delong(positive: Scores, negative: Scores) -> tuple[float, float]:
    """AUROC and its DeLong variance from all m x n pairs, ties counting one half."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    above, below = wins.mean(axis=1), wins.mean(axis=0)
    variance = above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)
    return float(wins.mean()), float(variance)


@examples(30)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(50, 90), st.integers(50, 90)),
    values=st.sampled_from([5, 20, 10**9]),
)
def test_midranks_give_what_all_pairs_give(seed: int, sizes: tuple[int, int], values: int) -> None:
    rng = np.random.default_rng(seed)
    negative = rng.integers(0, values, sizes[1]).astype(np.float64)
    positive = rng.integers(0, values, sizes[0]) + 0.25 * values * (rng.random(sizes[0]) < 0.5)
    value, variance = slow_delong(positive, negative)
    estimate = stats.auroc(positive, negative, confidence=0.9)
    assert estimate.method == "delong-logit"
    assert estimate.value == pytest.approx(value)
    reach = norm.ppf(0.9) * np.sqrt(variance) / (value * (1 - value))
    assert estimate.low == pytest.approx(expit(logit(value) - reach))
    assert estimate.high == pytest.approx(expit(logit(value) + reach))


def test_an_auroc_depends_neither_on_order_nor_on_a_rising_transformation() -> None:
    rng = np.random.default_rng(1)
    positive, negative = rng.normal(0.3, 1, 80), rng.normal(0, 1, 120)
    estimate = stats.auroc(positive, negative, confidence=0.95)
    assert stats.auroc(rng.permutation(positive), negative[::-1], confidence=0.95) == estimate
    assert stats.auroc(np.exp(positive), np.exp(negative), confidence=0.95) == estimate


def test_swapping_the_groups_mirrors_the_auroc() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.5, 1, 60), rng.normal(0, 1, 90)
    ahead = stats.auroc(first, second, confidence=0.95)
    back = stats.auroc(second, first, confidence=0.95)
    mirrored = (1 - back.value, 1 - back.high, 1 - back.low)
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx(mirrored)


def test_groups_told_apart_perfectly_still_have_a_lower_bound() -> None:
    # Clopper-Pearson with 60 of 60: L = 0.05^(1/60) = 0.9513
    estimate = stats.auroc(np.arange(60) + 1000.0, np.arange(80.0), confidence=0.95)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.05 ** (1 / 60))
    assert estimate.method == "clopper-pearson on the smaller group"
    worst = stats.auroc(np.arange(60.0), np.arange(80) + 1000.0, confidence=0.95)
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(1 - 0.05 ** (1 / 60))


def test_constant_scores_are_chance_with_the_smaller_group_as_sample() -> None:
    # every pair is a tie: 0.5, bounds of 25 hits of 50
    estimate = stats.auroc(np.zeros(50), np.zeros(200), confidence=0.95)
    expected = stats.rate(25, 50, confidence=0.95)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, expected.low, expected.high)
    assert estimate.n == 250


def test_scores_that_are_mostly_zero_do_not_trust_their_variance() -> None:
    rng = np.random.default_rng(3)
    mostly_zero = np.where(rng.random(100) < 0.6, 0.0, rng.random(100))
    spread = np.where(rng.random(100) < 0.3, 0.0, rng.random(100))
    tied = stats.auroc(mostly_zero, mostly_zero[::-1], confidence=0.95)
    assert tied.method == "clopper-pearson on the smaller group"
    assert stats.auroc(spread, spread[::-1], confidence=0.95).method == "delong-logit"


def test_fifty_scores_are_needed_on_either_side() -> None:
    with pytest.raises(InsufficientData) as few:
        stats.auroc(np.arange(49.0), np.arange(50.0), confidence=0.95)
    assert (few.value.needed, few.value.got) == (50, 49)
    with pytest.raises(InsufficientData):
        stats.auroc(np.arange(50.0), np.arange(49.0), confidence=0.95)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.auroc(np.full(50, np.nan), np.arange(50.0), confidence=0.95)


@pytest.mark.parametrize("zero_share", [0.0, 0.8])
def test_an_auroc_at_its_limit_passes_or_fails_in_about_1_of_20_audits(zero_share: float) -> None:
    # normal scores d apart have AUROC Φ(d/√2); d = 0.36 gives 0.6. A share of both groups is set to
    # one value below all others: then AUROC = 1/2·z² + z(1-z) + (1-z)²·0.6 for z the share.
    rng = np.random.default_rng(4)
    z = zero_share
    limit = 0.5 * z**2 + z * (1 - z) + (1 - z) ** 2 * norm.cdf(0.36 / np.sqrt(2))
    audits, passed, failed = 600, 0, 0
    for _ in range(audits):
        positive, negative = rng.normal(0.36, 1, 60), rng.normal(0, 1, 100)
        positive[rng.random(60) < z] = -9
        negative[rng.random(100) < z] = -9
        estimate = stats.auroc(positive, negative, confidence=0.95)
        passed += estimate.high <= limit
        failed += estimate.low > limit
    # 5 % and three standard errors of 600 audits: 0.05 + 3·√(0.05·0.95/600) = 0.077
    assert passed / audits <= 0.077
    assert failed / audits <= 0.077


def test_a_difference_of_aurocs_is_squared_and_added() -> None:
    first = stats.Estimate(0.7, 0.66, 0.73, 100, 0.95, "delong-logit")
    second = stats.Estimate(0.5, 0.46, 0.53, 80, 0.95, "delong-logit")
    # 0.2 - √(0.04² + 0.03²) = 0.15; 0.2 + √(0.03² + 0.04²) = 0.25
    estimate = stats.difference(first, second)
    bounds = (estimate.value, estimate.low, estimate.high)
    assert bounds == pytest.approx((0.2, 0.15, 0.25))
    assert estimate.n == 180
    assert estimate.method == "square-and-add over delong-logit"


def test_aurocs_of_different_confidence_are_not_subtracted() -> None:
    first = stats.Estimate(0.7, 0.66, 0.73, 100, 0.95, "delong-logit")
    second = stats.Estimate(0.5, 0.46, 0.53, 80, 0.9, "delong-logit")
    with pytest.raises(ValueError, match="different confidence"):
        stats.difference(first, second)


def test_the_ranks_bound_the_false_positive_rate_from_both_sides() -> None:
    # 1,000 nonmembers, fpr 0.01: the share at or above the j-th highest is Beta(j, 1001 - j)
    lenient = lenient_rank(1000, fpr=0.01, confidence=0.95)
    strict = strict_rank(1000, fpr=0.01, confidence=0.95)
    assert lenient is not None
    assert strict is not None
    assert beta.sf(0.01, lenient, 1001 - lenient) >= 0.975
    assert beta.sf(0.01, lenient - 1, 1002 - lenient) < 0.975
    assert beta.cdf(0.01, strict, 1001 - strict) >= 0.975
    assert beta.cdf(0.01, strict + 1, 1000 - strict) < 0.975
    assert strict < 10 < lenient


def test_the_true_positive_rate_is_counted_above_the_allowed_nonmembers() -> None:
    # 1 % of 500 nonmembers 0..499 allows five, 495..499: the threshold is 494. Of members at
    # 490.5, 491.5, ... 499.5 five are above it.
    estimate = stats.tpr_at_fpr(np.arange(490.5, 500), np.arange(500.0), fpr=0.01, confidence=0.95)
    assert estimate.value == pytest.approx(0.6)
    assert estimate.low <= 0.6 <= estimate.high


def test_without_a_strict_threshold_a_rate_may_pass_but_not_fail() -> None:
    # no fail: 0.99^n <= 0.025 needs n >= 368
    members = np.full(100, 1e6)
    few = stats.tpr_at_fpr(members, np.arange(367.0), fpr=0.01, confidence=0.95)
    assert (few.value, few.low) == (1.0, 0.0)
    assert few.method.endswith("too few nonmembers for a lower bound")
    enough = stats.tpr_at_fpr(members, np.arange(368.0), fpr=0.01, confidence=0.95)
    assert enough.low == pytest.approx(0.025 ** (1 / 100))


def test_with_neither_threshold_there_is_no_estimate() -> None:
    # one nonmember bounds no rate of 0.5: Beta(1, 1) is as often below as above
    with pytest.raises(InsufficientData) as few:
        stats.tpr_at_fpr([1.0], [0.0], fpr=0.5, confidence=0.95)
    # 0.5^n <= 0.025 needs n >= 6
    assert (few.value.reason, few.value.needed) == ("too-few-nonmembers", 6)
    with pytest.raises(InsufficientData):
        stats.tpr_at_fpr([1.0], [], fpr=0.01, confidence=0.95)
    with pytest.raises(InsufficientData) as nobody:
        stats.tpr_at_fpr([], np.arange(500.0), fpr=0.01, confidence=0.95)
    assert nobody.value.reason == "too-few-members"


def test_a_true_positive_rate_at_its_limit_passes_or_fails_in_at_most_1_of_20_audits() -> None:
    # normal scores 1 apart: TPR at FPR 5 % is 1 - Φ(Φ⁻¹(0.95) - 1) = 0.26
    rng = np.random.default_rng(6)
    limit = norm.sf(norm.isf(0.05) - 1)
    audits, passed, failed = 600, 0, 0
    for _ in range(audits):
        estimate = stats.tpr_at_fpr(
            rng.normal(1, 1, 150), rng.normal(0, 1, 200), fpr=0.05, confidence=0.95
        )
        passed += estimate.high <= limit
        failed += estimate.low > limit
    assert passed / audits <= 0.05
    assert failed / audits <= 0.05


def test_a_roc_is_the_true_positive_rate_at_each_false_positive_rate() -> None:
    rng = np.random.default_rng(8)
    members, nonmembers = rng.normal(1.0, 1, 300), rng.normal(0, 1, 400)
    points = stats.roc(members, nonmembers, confidence=0.95)
    # 0.001 · 400 and 0.002 · 400 are less than one nonmember
    assert [fpr for fpr, _ in points] == [fpr for fpr in ROC_FPRS if fpr >= 0.005]
    for fpr, found in points:
        assert found == stats.tpr_at_fpr(members, nonmembers, fpr=fpr, confidence=0.95)
        # of two unit normals a distance of 1 apart, Φ(Φ⁻¹(fpr) + 1) are caught
        assert found.low <= norm.cdf(norm.ppf(fpr) + 1) <= found.high
    assert np.all(np.diff([found.value for _, found in points]) >= 0)


def test_without_members_there_is_no_roc() -> None:
    assert stats.roc([], np.arange(400.0), confidence=0.95) == ()
