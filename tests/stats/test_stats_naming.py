"""The probability that a class is named, from hits and compensators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from checker.stats.naming import is_estimate_settled, naming_probabilities, settled_estimate


def one(hits: ArrayLike, expected: ArrayLike) -> float:
    """The estimate of a single prompt."""
    group = np.zeros(len(np.array(hits)), dtype=np.int64)
    found = naming_probabilities(np.array(hits, np.bool_), np.array(expected, np.float64), group)
    return float(found[0])


def test_what_is_never_named_has_the_mean_of_its_compensators() -> None:
    assert one([0, 0, 0, 0], [0.1, 0.3, 0.0, 0.2]) == pytest.approx(0.15)


def test_what_is_always_named_has_one() -> None:
    assert one([1, 1, 1], [0.2, 1.7, 0.9]) == 1.0


def test_one_continuation_is_a_hit_or_none() -> None:
    assert one([1], [0.2]) == 1.0
    assert one([0], [0.7]) == 0.0


def test_a_hit_is_corrected_by_how_much_of_it_was_due() -> None:
    """Of 3 one hit, weights 1 - n_s: 1 for the hit, 1/2 for the others.

    (1 - 1 · (1 - 0.4)) + (0 + 0.5 · 0.2) + (0 + 0.5 · 0.6) = 0.8 of 3.
    """
    assert one([1, 0, 0], [0.4, 0.2, 0.6]) == pytest.approx(0.8 / 3)


def test_prompts_are_estimated_apart_in_any_order() -> None:
    hits = np.array([0, 1, 0, 1], dtype=np.bool_)
    found = naming_probabilities(hits, np.array([0.1, 0.5, 0.3, 0.9]), np.array([1, 0, 1, 0]))
    np.testing.assert_allclose(found, [1.0, 0.2])


# what a continuation can come to: a hit, and a compensator that is at most 1 beyond it
outcomes = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.booleans()).map(
        lambda one: (one[0], one[1] + (one[0] and one[2]))
    ),
    min_size=2,
    max_size=8,
)


@given(outcomes)
def test_no_patient_has_less_than_nothing_or_more_than_one(drawn: list[tuple[bool, float]]) -> None:
    hits, expected = (np.array(column) for column in zip(*drawn, strict=True))
    weight = 1 - (hits.sum() - hits) / (len(hits) - 1)
    exact = float((hits - weight * (hits - expected)).mean())  # before it is clipped
    assert -1e-9 <= exact <= 1 + 1e-9
    assert one(hits.tolist(), expected.tolist()) == pytest.approx(exact, abs=1e-9)


@given(outcomes, st.integers(1, 7), st.sampled_from([0.2, 0.5, 0.8]))
def test_what_is_settled_stays_on_its_side_of_the_threshold(
    drawn: list[tuple[bool, float]], known: int, threshold: float
) -> None:
    hits, expected = (np.array(column) for column in zip(*drawn, strict=True))
    first, total = slice(0, min(known, len(hits))), len(hits)
    if not is_estimate_settled(hits[first], expected[first], samples=total, threshold=threshold):
        return
    least = float(np.minimum(hits[first], expected[first]).sum())
    so_far = settled_estimate(least, total) if known < total else one(hits, expected)
    # a sum that equals the threshold may fall on either side by its last digit
    whole = one(hits.tolist(), expected.tolist())
    assert (whole > threshold) == (so_far > threshold) or abs(whole - threshold) < 1e-9


def test_a_prompt_is_settled_as_soon_as_nothing_can_change_it() -> None:
    named = np.ones(3, dtype=np.bool_)
    assert is_estimate_settled(named, np.ones(3), samples=4, threshold=0.5)  # 3 of 4 are there
    assert not is_estimate_settled(named[:2], np.ones(2), samples=4, threshold=0.5)
    nothing = np.zeros(15, dtype=np.bool_)
    for drawn, settled in ((14, False), (15, True)):
        # five that are left can add 10 of 20 at most, six more than that
        assert settled is is_estimate_settled(
            nothing[:drawn], np.zeros(drawn), samples=20, threshold=0.5
        )


def test_the_estimate_has_the_mean_that_counting_has() -> None:
    """Steps of mass 0.3, six of them: 1 - 0.7^6 = 0.8824; the fourth step would exceed one."""
    rng = np.random.default_rng(3)
    steps = rng.random((60_000, 6)) < 0.3
    hits: NDArray[np.bool_] = np.asarray(steps.any(axis=1))
    first = np.where(hits, steps.argmax(axis=1), 6)
    expected = np.where(first < 3, 0.3 * (first + 1), 0.9 + hits)
    found = naming_probabilities(hits, expected, np.repeat(np.arange(15_000), 4))
    assert found.mean() == pytest.approx(1 - 0.7**6, abs=4 * found.std() / 15_000**0.5)
    assert found.std() < 1.1 * hits.reshape(-1, 4).mean(axis=1).std()
