"""What stands in for `scipy.stats` where loading it would take longer than a command."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp, ttest_rel

from checker.stats.binomial import chances, support
from checker.stats.student import t_test

NEGLIGIBLE = 1e-10


@pytest.mark.parametrize("n", [1, 7, 300, 20_000])
@pytest.mark.parametrize("p", [0.0, 1e-4, 0.03, 0.5, 0.97, 1.0])
def test_hits_that_matter_and_their_chances_are_scipy_s(n: int, p: float) -> None:
    hits = support(n, p, p, negligible=NEGLIGIBLE)
    first, last = max(binom.ppf(NEGLIGIBLE, n, p), 0), min(binom.isf(NEGLIGIBLE, n, p), n)
    assert (hits[0], hits[-1]) == (first, last)
    assert chances(hits, n, p) == pytest.approx(binom.pmf(hits, n, p), rel=1e-10)
    assert chances(hits, n, p).sum() == pytest.approx(1.0, abs=3 * NEGLIGIBLE)


def test_more_hits_than_patients_are_impossible() -> None:
    found = chances([[0], [3]], np.array([[2, 4]]), 0.25)
    assert found == pytest.approx(binom.pmf([[0], [3]], [[2, 4]], 0.25))
    assert found[1, 0] == 0


def test_between_two_rates_all_hits_of_either_are_kept() -> None:
    hits = support(200, 0.1, 0.4, negligible=NEGLIGIBLE)
    assert hits[0] == support(200, 0.1, 0.1, negligible=NEGLIGIBLE)[0]
    assert hits[-1] == support(200, 0.4, 0.4, negligible=NEGLIGIBLE)[-1]


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.3])
def test_a_t_test_is_scipy_s(shift: float) -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(shift, 1, 40), rng.normal(0, 1, 40)
    paired = ttest_rel(one, other, alternative="greater").pvalue
    assert t_test(one - other) == pytest.approx(paired, rel=1e-12)
    assert t_test(one, two_sided=True) == pytest.approx(ttest_1samp(one, 0.0).pvalue, rel=1e-12)
