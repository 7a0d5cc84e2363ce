"""A short version of `benchmarks/splits_by_lot.py`: what the checks cost a sound model."""

from __future__ import annotations

from benchmarks.splits_by_lot import measure


def test_sound_models_of_splits_dealt_by_lot_are_released_in_spite_of_the_checks() -> None:
    found = measure(range(200, 202))
    assert found["audits"] == 2
    for count in found["counts"].values():
        assert count["but for the checks"] == 2
    # each check stops one sound audit of a hundred, and these seeds are none of them
    assert found["counts"]["random"]["released"] == 2
