"""Bounds for Gaussian noise: those of the method, never beyond a truth that is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.canary_epsilon import tally
from checker import stats
from checker.errors import InsufficientData
from checker.stats.gaussian_dp import LARGEST_MU, refutes_gaussian


def needed(mu: float, correct: int, guesses: int, canaries: int, confidence: float) -> float:
    """The recursion of arXiv 2410.22235, algorithm 3, written as it stands there."""
    alpha = (1 - confidence) * guesses / canaries
    h, r = np.zeros(correct + 1), np.zeros(correct + 1)
    r[correct] = alpha * correct / guesses
    h[correct] = alpha * (guesses - correct) / guesses
    for i in range(correct - 1, -1, -1):
        h[i] = max(h[i + 1], norm.cdf(norm.ppf(min(1, r[i + 1])) - mu))
        r[i] = r[i + 1] + i / (guesses - i) * (h[i] - h[i + 1])
    return float(r[0] + h[0])


def test_a_bound_is_where_the_recursion_needs_all_the_probability_there_is() -> None:
    for correct, guesses, canaries in (
        (95, 100, 1000),
        (60, 80, 80),
        (7, 10, 500),
        (140, 200, 300),
    ):
        mu = stats.gaussian_mu_lower_bound(
            correct, guesses=guesses, canaries=canaries, confidence=0.95
        )
        if mu == 0:
            assert needed(1e-6, correct, guesses, canaries, 0.95) <= guesses / canaries
            continue
        assert needed(mu - 1e-6, correct, guesses, canaries, 0.95) > guesses / canaries
        assert needed(mu + 1e-6, correct, guesses, canaries, 0.95) <= guesses / canaries


def test_more_right_guesses_and_less_confidence_refute_more() -> None:
    def bound(correct: int, confidence: float) -> float:
        return stats.gaussian_mu_lower_bound(
            correct, guesses=100, canaries=400, confidence=confidence
        )

    bounds = [bound(correct, 0.95) for correct in range(50, 101, 5)]
    assert bounds == sorted(bounds)
    assert bounds[0] == 0 < bounds[4] < bounds[-1] < LARGEST_MU
    assert bound(80, 0.99) < bound(80, 0.95) < bound(80, 0.5)
    with pytest.raises(InsufficientData):
        refutes_gaussian(1.0, correct=0, guesses=0, canaries=10, confidence=0.95)


def test_an_epsilon_is_where_the_gaussian_mechanism_has_the_delta() -> None:
    for mu, delta in product((0.1, 1.0, 3.0), (1e-6, 1e-3)):
        epsilon = stats.gaussian_epsilon(mu, delta=delta)
        reached = norm.cdf(-epsilon / mu + mu / 2) - np.exp(epsilon) * norm.cdf(
            -epsilon / mu - mu / 2
        )
        assert reached == pytest.approx(delta, rel=1e-5)
    assert stats.gaussian_epsilon(0.0, delta=1e-5) == 0
    assert stats.gaussian_epsilon(1e-4, delta=1e-3) == 0
    assert stats.gaussian_epsilon(LARGEST_MU, delta=1e-12) == 50.0


@pytest.mark.parametrize(("share", "noise"), [(0.2, 2.0), (0.2, 0.5), (1.0, 1.0)])
def test_neither_bound_exceeds_a_known_epsilon_more_often_than_promised(
    share: float, noise: float
) -> None:
    """A short version of `benchmarks/canary_epsilon.py`."""
    found = tally(audits=300, canaries=300, share=share, noise=noise)
    assert found.at_most(found.beyond) <= 0.05
    assert found.at_most(found.beyond_gaussian) <= 0.05
    # and the one for Gaussian noise, which this is, comes nearer to the truth
    assert 0 < found.mean < found.mean_gaussian < found.truth
