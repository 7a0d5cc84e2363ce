"""Power: METHODS §6, brute force, simulation, and size."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from checker import stats
from checker.errors import InsufficientData, UsageError
from checker.stats import power
from checker.stats.intervals import square_and_add
from checker.stats.paired import paired_limits


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        (0.02, {60: 0.43, 100: 0.60, 150: 0.82, 200: 0.93}),
        # METHODS §6 says 0.39 for n = 100 here; enumeration gives 0.3845
        (0.05, {60: 0.27, 100: 0.385, 150: 0.55, 200: 0.67}),
    ],
)
def test_the_announced_power_is_that_of_the_methods(
    background: float, expected: dict[int, float]
) -> None:
    for n, probability in expected.items():
        found = power.pass_probability_difference(
            n, n, limit=0.05, base_rate=background, confidence=0.95
        )
        assert found == pytest.approx(probability, abs=0.006)


def test_the_power_of_a_difference_is_the_mass_of_all_passing_outcomes() -> None:
    total = 0.0
    for x1 in range(61):
        for x2 in range(41):
            bound = stats.rate_difference(x1, 60, x2, 40, confidence=0.95).high
            if bound <= 0.05:  # and no hits among 60 bound the rate by 0.0487
                total += binom.pmf(x1, 60, 0.05) * binom.pmf(x2, 40, 0.05)
    found = power.pass_probability_difference(60, 40, limit=0.05, base_rate=0.05, confidence=0.95)
    assert found == pytest.approx(total, abs=1e-9)


def test_a_cell_whose_zero_hit_bound_is_above_the_limit_never_passes() -> None:
    settings = {"limit": 0.05, "base_rate": 0.5, "confidence": 0.95}
    assert power.pass_probability_difference(58, 500, **settings) == 0.0
    assert power.pass_probability_difference(59, 500, **settings) > 0.0
    assert power.pass_probability_rate(58, limit=0.05, base_rate=0.0, confidence=0.95) == 0.0


def test_at_an_excess_of_the_limit_the_pass_is_false_in_at_most_1_of_20_audits() -> None:
    for background in (0.0, 0.02, 0.2):
        false_pass = power.pass_probability_difference(
            150, 200, limit=0.05, base_rate=background, confidence=0.95, excess=0.05
        )
        assert false_pass <= 0.05


def test_the_power_of_a_rate_is_the_mass_of_all_passing_counts() -> None:
    # n = 124 passes a 5 % limit with at most two hits (METHODS §4)
    found = power.pass_probability_rate(124, limit=0.05, base_rate=0.01, confidence=0.95)
    assert found == pytest.approx(binom.cdf(2, 124, 0.01))
    assert power.pass_probability_rate(5, limit=1.0, base_rate=0.5, confidence=0.95) == 1.0


def test_the_members_needed_are_those_of_the_tables() -> None:
    needed = [power.positives_needed(limit, confidence=0.95) for limit in (0.05, 0.01, 0.001)]
    assert needed == [59, 299, 2995]
    assert power.positives_needed(1.0, confidence=0.95) == 1


@pytest.mark.parametrize("limit", [0.003, 0.02, 0.05, 0.25, 0.7])
def test_one_member_fewer_than_needed_is_too_few(limit: float) -> None:
    n = power.positives_needed(limit, confidence=0.99)
    assert power.zero_hit_bound_rate(n, confidence=0.99) <= limit
    assert n == 1 or power.zero_hit_bound_rate(n - 1, confidence=0.99) > limit


def test_a_limit_of_zero_cannot_be_shown() -> None:
    with pytest.raises(UsageError, match="maxCount: 0"):
        power.positives_needed(0.0, confidence=0.95)


def test_without_hits_the_number_of_nonmembers_changes_nothing() -> None:
    alone = power.zero_hit_bound_rate(80, confidence=0.95)
    for nonmembers in (1, 80, 10_000):
        bound = power.zero_hit_bound_difference(80, nonmembers, confidence=0.95)
        assert bound == alone
        assert bound == stats.rate_difference(0, 80, 0, nonmembers, confidence=0.95).high


def test_nobody_has_no_power() -> None:
    with pytest.raises(InsufficientData):
        power.zero_hit_bound_difference(10, 0, confidence=0.95)
    with pytest.raises(InsufficientData):
        power.pass_probability_auroc(49, 500, limit=0.6, confidence=0.95)


@pytest.mark.parametrize(("m", "n", "limit"), [(60, 90, 0.6), (120, 100, 0.58), (50, 400, 0.55)])
def test_the_power_of_an_auroc_is_that_of_simulated_audits(m: int, n: int, limit: float) -> None:
    rng = np.random.default_rng(1)
    passed = [
        stats.auroc(rng.random(m), rng.random(n), confidence=0.95).high <= limit
        for _ in range(1000)
    ]
    announced = power.pass_probability_auroc(m, n, limit=limit, confidence=0.95)
    # 1,000 audits have a standard error of at most 0.016; the rest is the normal approximation
    assert announced == pytest.approx(np.mean(passed), abs=0.05)


def test_an_auroc_limit_at_chance_hardly_passes_and_one_of_one_always_does() -> None:
    assert power.pass_probability_auroc(500, 500, limit=0.5, confidence=0.95) < 0.06
    assert power.pass_probability_auroc(500, 500, limit=1.0, confidence=0.95) == 1.0
    assert power.pass_probability_auroc(500, 500, limit=0.1, confidence=0.95) == 0.0


def test_the_power_of_an_auroc_difference_is_that_of_simulated_audits() -> None:
    rng = np.random.default_rng(2)
    passed = []
    for _ in range(500):
        inside = stats.auroc(rng.random(100), rng.random(150), confidence=0.95)
        outside = stats.auroc(rng.random(80), rng.random(200), confidence=0.95)
        passed.append(stats.difference(inside, outside).high <= 0.1)
    announced = power.pass_probability_auroc_difference(
        (100, 150), (80, 200), limit=0.1, confidence=0.95
    )
    assert announced == pytest.approx(np.mean(passed), abs=0.06)


def test_the_power_of_a_true_positive_rate_is_that_of_simulated_audits() -> None:
    rng = np.random.default_rng(3)
    passed = [
        stats.tpr_at_fpr(rng.random(300), rng.random(400), fpr=0.05, confidence=0.95).high <= 0.12
        for _ in range(1000)
    ]
    announced = power.pass_probability_tpr(300, 400, limit=0.12, fpr=0.05, confidence=0.95)
    # exact, so only the simulation errs: three standard errors are 0.047
    assert announced == pytest.approx(np.mean(passed), abs=0.047)


def test_a_rate_without_a_lenient_threshold_says_how_many_nonmembers_it_needs() -> None:
    with pytest.raises(InsufficientData) as few:
        power.pass_probability_tpr(100, 5, limit=0.7, fpr=0.5, confidence=0.95)
    # 0.5^n <= 0.025 needs n >= 6
    assert (few.value.needed, few.value.got) == (6, 5)


def test_a_hundred_thousand_patients_are_no_burden() -> None:
    start = time.process_time()
    found = power.pass_probability_difference(
        100_000, 100_000, limit=0.01, base_rate=0.5, confidence=0.95
    )
    assert time.process_time() - start < 10
    # normal approximation: Φ(0.01 / √(0.5/100000) - 1.645) = Φ(2.827)
    assert found == pytest.approx(0.9977, abs=5e-4)


@pytest.mark.parametrize(
    ("sizes", "limit", "base_rate"), [((30, 30), 0.3, 0.05), ((40, 25), 0.4, 0.3)]
)
def test_the_power_of_a_difference_in_differences_is_the_mass_of_all_passing_outcomes(
    sizes: tuple[int, int], limit: float, base_rate: float
) -> None:
    discordance = base_rate * (1 - base_rate)
    found, mass = [], []
    for n in sizes:
        b, c = (grid.ravel() for grid in np.mgrid[: n + 1, : n + 1])
        b, c = b[b + c <= n], c[b + c <= n]
        shares = [discordance, discordance, 1 - 2 * discordance]
        mass.append(multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, shares))
        found.append(paired_limits(b, c, n, confidence=0.95))
    value, low, high = (part[:, None] for part in found[0])
    passes = square_and_add((value, low, high), found[1], largest=2.0)[2] <= limit
    exact = mass[0] @ passes @ mass[1]
    announced = power.pass_probability_difference_in_differences(
        *sizes, limit=limit, base_rate=base_rate, confidence=0.95
    )
    assert exact - 0.006 <= announced <= exact + 1e-9
    assert 0.1 < exact < 0.99


def test_a_difference_in_differences_needs_nonmembers_too() -> None:
    settings = {"confidence": 0.95}
    bound = power.zero_hit_bound_difference_in_differences
    assert bound(100, 50, **settings) == pytest.approx(
        stats.difference_in_differences((0, 0, 100), (0, 0, 50), **settings).high
    )
    # √2 · (1 - 0.05^(1/n)) <= 0.05 needs n >= ln 0.05 / ln(1 - 0.05/√2) = 83.2
    assert bound(84, 84, **settings) <= 0.05 < bound(83, 83, **settings)
    assert power.positives_needed(0.05 / np.sqrt(2), **settings) == 84
    never = power.pass_probability_difference_in_differences(
        1000, 50, limit=0.05, base_rate=0.0, **settings
    )
    assert never == 0.0
    with pytest.raises(InsufficientData):
        bound(10, 0, **settings)


def test_models_that_never_hit_are_cleared_of_a_difference_in_differences() -> None:
    announced = power.pass_probability_difference_in_differences(
        84, 84, limit=0.05, base_rate=0.0, confidence=0.95
    )
    assert announced == pytest.approx(1.0)


def test_the_power_of_a_thousand_paired_patients_takes_seconds() -> None:
    start = time.process_time()
    announced = power.pass_probability_difference_in_differences(
        1000, 1000, limit=0.05, base_rate=0.3, confidence=0.95
    )
    assert time.process_time() - start < 10
    # normal approximation: one difference has variance 2·0.21/1000, two 0.00084;
    # Φ(0.05/0.02898 - 1.645) = Φ(0.080) = 0.532, and Clopper-Pearson costs a little
    assert announced == pytest.approx(0.52, abs=0.02)


@pytest.mark.parametrize(
    ("positives", "negatives", "shortage"),
    [(100, 200, (0, 0)), (99, 500, (1, 0)), (150, 100, (0, 50)), (500, 20, (0, 80))],
)
def test_an_average_precision_says_whom_it_lacks(
    positives: int, negatives: int, shortage: tuple[int, int]
) -> None:
    assert power.auprc_shortage(positives, negatives) == shortage


def test_bounds_after_sequential_sampling_pass_a_little_less_often() -> None:
    confidence = 1 - (1 - stats.SEQUENTIAL_SHARE) * 0.05
    settings = {"limit": 0.05, "base_rate": 0.02}
    full = power.pass_probability_difference(200, 200, confidence=0.95, **settings)
    spent = power.pass_probability_difference(200, 200, confidence=confidence, **settings)
    assert full - 0.03 < spent < full
