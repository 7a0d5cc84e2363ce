"""The study of q in short: unbiased where counting is, and cheaper where it matters."""

from __future__ import annotations

import pytest

from benchmarks.naming import CHANCES, TOP_P, WAYS, patients_needed, sides, study_of, truth
from checker.targets import Sampler


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chance", CHANCES)
def test_q_is_estimated_without_bias_and_never_above_one(way: str, chance: float) -> None:
    for top_p in TOP_P:
        for row in study_of(way, chance, top_p=top_p, rollouts=4000, samples=(2, 4)):
            assert row.is_unbiased
            assert row.standard_error < 0.011  # so that a bias of a few points would be seen


def test_counting_takes_far_more_continuations_where_a_class_is_rarely_named() -> None:
    for way in ("steadily", "at once"):
        (rare,) = study_of(way, 0.01, top_p=1.0, rollouts=8000, samples=(4,))
        assert rare.saved is not None
        assert rare.saved > 50
        (likely,) = study_of(way, 0.9, top_p=1.0, rollouts=8000, samples=(4,))
        assert likely.saved is not None
        assert likely.saved > 0.8


def test_sides_of_a_threshold_are_told_as_by_counting_twenty_from_a_fraction_of_the_draws() -> None:
    for side in sides(rollouts=8000, chances=(0.1, 0.9)):
        assert side.tested == pytest.approx(side.counted, abs=0.01)
        assert side.draws < (4.2 if side.q < 0.5 else 7.2)


def test_top_p_changes_the_truth_and_the_estimate_alike() -> None:
    """Top-p cuts off a tail of 4 %: what was named of the rest is named 1/0.96 times as often."""
    known = {
        top_p: truth("at once", 0.1, sampler=Sampler(1.0, top_p, horizon_tokens=16, seed=1)).q
        for top_p in TOP_P
    }
    assert known[1.0] == pytest.approx(0.096)
    assert known[0.95] == pytest.approx(0.1)


def test_as_many_patients_are_needed_as_the_methods_say() -> None:
    assert 65 <= patients_needed(0.05, mean=0.02, spread=0.01, audits=10) <= 85
    assert 90 <= patients_needed(0.05, mean=0.1, spread=0.1, audits=10) <= 140
