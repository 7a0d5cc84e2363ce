"""The probability that a class is named, from hits and compensators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from checker.stats.naming import naming_probabilities


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
