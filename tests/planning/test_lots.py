"""Halves of a group by lot are halves of it, whoever else is in the data."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from token_records import records

from checker.planning.lots import drawn_halves


def halves(groups: NDArray[np.int64], *, seed: int = 1) -> NDArray[np.bool_]:
    patients = records(*([number, number % 7] for number in range(len(groups))))
    return drawn_halves(patients, groups, seed=seed, purpose="test")


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_are_two_halves_of_fifty(seed: int) -> None:
    groups = np.repeat([0, 1, 2], [50, 100, 31])
    half = halves(groups, seed=seed)
    assert [int(half[groups == group].sum()) for group in (0, 1, 2)] == [25, 50, 16]


def test_it_is_a_lot_of_the_seed_and_of_nobody_elses_group() -> None:
    groups = np.repeat([0, 1], 100)
    assert np.array_equal(halves(groups), halves(groups))
    assert not np.array_equal(halves(groups), halves(groups, seed=2))
    others = np.where(groups == 0, 0, np.arange(200))
    assert np.array_equal(halves(groups)[:100], halves(others)[:100])
    assert 10 < halves(groups)[:50].sum() < 40  # not the first who come
