"""Average precision: against a slow definition and scikit-learn, at the edges, error rates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from checker import stats
from checker.errors import InsufficientData

Scores = NDArray[np.float64]


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow(positive: Scores, negative: Scores, *, prevalence: float, itself: bool) -> float:
    """Precision at each positive's score, with or without that positive, averaged."""
    found = []
    for i, score in enumerate(positive):
        others = positive if itself else np.delete(positive, i)
        t, f = (others >= score).mean(), (negative >= score).mean()
        weight = t * prevalence + f * (1 - prevalence)
        found.append(t * prevalence / weight if weight else 1.0)
    return float(np.mean(found))


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_the_value_is_the_mean_precision_among_the_others(
    digits: int, prevalence: float | None
) -> None:
    # one digit gives many ties
    positive = rng(1).normal(0.8, 1, 120).round(digits)
    negative = rng(2).normal(0, 1, 190).round(digits)
    share = prevalence or 120 / 310
    estimate = stats.auprc(positive, negative, confidence=0.95, rng=rng(), prevalence=prevalence)
    expected = slow(positive, negative, prevalence=share, itself=False)
    assert estimate.value == pytest.approx(expected)
    assert 0 <= estimate.low < estimate.value < estimate.high <= 1
    assert (estimate.n, estimate.method) == (310, "bca bootstrap")
    # counting each positive itself as well is what scikit-learn does
    truth = np.repeat([1, 0], [120, 190])
    weight = np.repeat([share / 120, (1 - share) / 190], [120, 190])
    theirs = average_precision_score(truth, np.append(positive, negative), sample_weight=weight)
    assert slow(positive, negative, prevalence=share, itself=True) == pytest.approx(theirs)
    assert 0 < theirs - estimate.value < 0.05


def test_scores_without_meaning_have_the_prevalence_on_average() -> None:
    source = rng(3)
    found = [
        stats.auprc(source.random(100), source.random(200), confidence=0.95, rng=source).value
        for _ in range(12)
    ]
    # one value has a standard deviation of 0.026, so three errors of the mean of 12 are 0.023
    assert np.mean(found) == pytest.approx(1 / 3, abs=0.023)


def test_positives_above_all_negatives_still_have_a_lower_bound() -> None:
    # α/3 = 0.01667: recall at least 0.01667^(1/100) = 0.95988, false at most
    # 1 - 0.01667^(1/200) = 0.02026; odds 2, c = 0.04052:
    # 0.95988 - c·ln(1 + 0.95988/c) + 0.04012 · 0.95988/2.95988 = 0.8430
    estimate = stats.auprc(np.arange(100) + 1e6, np.arange(200.0), confidence=0.95, rng=rng())
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.8430, abs=2e-4)
    assert estimate.method == "clopper-pearson at one threshold"


def test_scores_that_are_nearly_all_zero_do_not_trust_resampling() -> None:
    positive, negative = np.zeros(100), np.zeros(200)
    positive[:10], negative[:29] = 0.5, 0.5
    estimate = stats.auprc(positive, negative, confidence=0.95, rng=rng())
    assert estimate.method == "clopper-pearson at one threshold"
    assert estimate.low < 1 / 3 < estimate.high
    # upper: 10 of 100 at α/2 is at most 0.1762, and all 200 nonzero or zero at least
    # 0.025^(1/200) = 0.98172: 0.1762 + 0.8238 / (1 + 2·0.98172) = 0.4542
    assert estimate.high == pytest.approx(0.4542, abs=2e-4)


def test_constant_scores_are_chance() -> None:
    estimate = stats.auprc(np.zeros(150), np.zeros(150), confidence=0.95, rng=rng())
    assert estimate.value == pytest.approx(0.5)
    assert estimate.low < 0.5 < estimate.high


@pytest.mark.parametrize(
    ("positives", "negatives", "needed", "got"),
    [(99, 500, 100, 99), (500, 99, 100, 99), (100, 199, 300, 299)],
)
def test_too_few_of_either_kind_or_together_are_refused(
    positives: int, negatives: int, needed: int, got: int
) -> None:
    with pytest.raises(InsufficientData) as few:
        stats.auprc(np.arange(positives), np.arange(negatives), confidence=0.95, rng=rng())
    found = few.value
    assert (found.needed, found.got, found.reason) == (needed, got, "too-few-patients")


def test_what_is_no_score_or_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.auprc(np.full(150, np.inf), np.zeros(150), confidence=0.95, rng=rng())
    with pytest.raises(ValueError, match="prevalence"):
        stats.auprc(np.arange(150), np.arange(150), confidence=0.95, rng=rng(), prevalence=1.0)


def test_the_same_scores_in_groups_of_unlike_prevalence_differ_only_by_it() -> None:
    positive, negative = rng(1).normal(1, 1, 3000), rng(2).normal(0, 1, 3000)
    inside = (positive[:300], negative[:300])
    outside = (positive[:150], negative[:600])
    settings = {"confidence": 0.95, "prevalence": 0.3}
    found = stats.difference(
        stats.auprc(*inside, rng=rng(), **settings), stats.auprc(*outside, rng=rng(), **settings)
    )
    assert stats.contains(found, 0)
    assert found.method == "square-and-add over bca bootstrap"
    crude = stats.difference(
        stats.auprc(*inside, confidence=0.95, rng=rng()),
        stats.auprc(*outside, confidence=0.95, rng=rng()),
    )
    assert crude.low > 0.1  # 50 % against 20 % of positives


def test_equal_generators_give_equal_bounds_in_any_order_of_patients() -> None:
    positive, negative = rng(1).normal(1, 1, 150), rng(2).normal(0, 1, 150)
    first = stats.auprc(positive, negative, confidence=0.95, rng=rng(7))
    assert stats.auprc(positive[::-1], negative, confidence=0.95, rng=rng(7)) == first


@pytest.mark.parametrize(("hit_share", "audits"), [(0.02, 400), (0.3, 30)])
def test_an_average_precision_at_its_limit_passes_or_fails_in_few_audits(
    hit_share: float, audits: int
) -> None:
    # q of 4 samples is 0 or 1/4 to 1 evenly, in a share s of positives and 0.1 of negatives, so at
    # a level k of 4 t = s·k/4, f = 0.1·k/4 and precision is s/(s + 0.1·2) at every nonzero level,
    # 1/3 at zero: AP = s·s/(s + 0.2) + (1 - s)/3
    source = rng(5)
    limit = hit_share**2 / (hit_share + 0.2) + (1 - hit_share) / 3

    def q(n: int, share: float) -> Scores:
        return (source.random(n) < share) * source.integers(1, 5, n) / 4

    found = [
        stats.auprc(q(110, hit_share), q(350, 0.1), confidence=0.95, rng=source, prevalence=1 / 3)
        for _ in range(audits)
    ]
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / audits)  # 5 % and three standard errors
    assert sum(each.high <= limit for each in found) / audits <= most
    assert sum(each.low > limit for each in found) / audits <= most
