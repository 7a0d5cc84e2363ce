"""On which side of a threshold q lies: how often that is wrong, and what it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from checker.stats.naming import naming_probabilities
from checker.stats.naming_side import Decisions, ThresholdTest, sums_so_far

HALF = ThresholdTest(0.5, first=3, most=10)

outcomes = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.booleans()).map(
        lambda one: (one[0], one[1] + (one[0] and one[2]))
    ),
    min_size=2,
    max_size=20,
)
"""What a continuation can come to: a hit, and a compensator that is at most 1 beyond it."""


def bare(hits: NDArray[np.bool_], test: ThresholdTest = HALF) -> Decisions:
    """Decide by hits that were due where they came, as where a model repeats records: [k, d]."""
    return test.decide(hits, hits.astype(np.float64))


@given(outcomes)
def test_the_sums_are_those_of_the_estimate(drawn: list[tuple[bool, float]]) -> None:
    hits, expected = (np.array(column) for column in zip(*drawn, strict=True))
    for d, found in enumerate(sums_so_far(hits, expected).tolist(), start=1):
        q = naming_probabilities(hits[:d], expected[:d], np.zeros(d, dtype=np.int64))
        assert found / d == pytest.approx(float(q[0]), abs=1e-9)


@given(outcomes, st.sampled_from([0.1, 0.5, 0.8]))
def test_what_is_drawn_later_changes_no_decision(
    drawn: list[tuple[bool, float]], threshold: float
) -> None:
    """So a table that has more than a prompt needs says the same, and anybody can count again."""
    test = ThresholdTest(threshold, first=2, most=20)
    hits, expected = (np.array(column)[None] for column in zip(*drawn, strict=True))
    whole = test.decide(hits, expected)
    after = int(whole.after[0])
    if after:
        least = test.decide(hits[:, :after], expected[:, :after])
        assert (least.above[0], least.after[0]) == (whole.above[0], after)
        assert not any(test.decide(hits[:, :d], expected[:, :d]).after[0] for d in range(1, after))
    assert after in (0, *test.looks)


def test_what_is_not_drawn_decides_nothing() -> None:
    expected = np.array([[0.01, 0.02, np.nan], [0.01, 0.02, 0.0]])
    found = HALF.decide(np.zeros((2, 3), dtype=np.bool_), expected)
    assert found.after.tolist() == [0, 3]
    nothing = HALF.decide(np.zeros((0, 0), dtype=np.bool_), np.zeros((0, 0)))
    assert nothing.after.tolist() == []


def test_the_last_one_decides() -> None:
    hits = np.tile([True, False], 5)[None]
    assert bare(hits).after.tolist() == [10]
    assert not bare(hits).above[0]  # one half does not exceed one half
    hits[0, 9] = True
    assert (bare(hits).above[0], bare(hits).after[0]) == (True, 10)


@pytest.mark.parametrize(
    ("q", "above", "draws"),
    [(0.02, 0.0, 3.1), (0.15, 0.0016, 3.8), (0.3, 0.049, 5.1), (0.7, 0.82, 6.9), (0.9, 0.995, 5.0)],
)
def test_hits_alone_are_told_apart_better_than_by_estimating_from_four(
    q: float, above: float, draws: float
) -> None:
    """Where nothing but hits says anything, which is where a model that leaks is."""
    hits = np.random.default_rng(round(100 * q)).random((40_000, 20)) < q
    found = bare(hits)
    assert found.above.mean() == pytest.approx(above, abs=0.005)
    assert found.after.mean() < draws
    wrong = [abs(float(share) - (q > 0.5)) for share in (found.above.mean(), binom.sf(2, 4, q))]
    assert wrong[0] <= 0.62 * wrong[1]


def test_what_was_due_is_seen_where_hits_say_little() -> None:
    """Steps that name the class with the same small chance: q is 0.15, and a hit was not due."""
    rng = np.random.default_rng(5)
    a_step = 1 - 0.85 ** (1 / 16)
    first = rng.geometric(a_step, size=(20_000, 20))
    hits, expected = first <= 16, a_step * np.minimum(first, 16)
    found = HALF.decide(hits, expected)
    assert found.above.mean() < 6e-4
    assert found.after.mean() < 3.3
    four = naming_probabilities(
        hits[:, :4].ravel(), expected[:, :4].ravel(), np.repeat(np.arange(20_000), 4)
    )
    assert (four > 0.5).mean() > 0.008  # which made one of eighty patients by chance


def test_rare_and_nearly_certain_thresholds_are_asked_by_odds() -> None:
    for threshold, q, above in ((0.1, 0.02, 0.03), (0.1, 0.4, 0.97), (0.9, 0.7, 0.03)):
        test = ThresholdTest(threshold, first=3, most=20)
        hits = np.random.default_rng(9).random((5_000, 20)) < q
        share = bare(hits, test).above.mean()
        assert share < above if above < 0.5 else share > above
