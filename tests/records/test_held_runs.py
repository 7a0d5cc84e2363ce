"""Runs of tokens that several patients hold, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import token_records

from checker.records.held_runs import LOOKED_AT, HeldRuns
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_TIME,
    TokenizedRecord,
    TokenizedRecords,
)

LENGTH = 4
PANEL = [90, 91, 92, 93, 94]
"""Two runs of four."""

TIME = 99


def record(tokens: Sequence[int]) -> TokenizedRecord:
    whole = records([tokens])
    return whole.record(0)


def records(rows: Sequence[Sequence[int]]) -> TokenizedRecords:
    made = token_records.records(*rows)
    return replace(made, kind=np.where(made.tokens == TIME, KIND_TIME, KIND_EVENT).astype(np.int8))


def own(seed: int, count: int = 30) -> list[int]:
    """Events that nobody else has in this order."""
    return [int(code) for code in np.random.default_rng(seed).integers(0, 80, count)]


def held(
    members: Sequence[Sequence[int]], asked: Sequence[int], *, number: int | None, most: int = 10**6
) -> list[bool]:
    found = HeldRuns.of(
        records(members), length=LENGTH, rng=np.random.default_rng(0), most_tokens=most
    )
    tokens = np.array(asked, dtype=np.int32)
    windows = np.ones(len(tokens) - LENGTH + 1, dtype=np.bool_)
    return [bool(one) for one in found.held(tokens, windows, record=record(asked), own=number)]


def test_from_the_third_holder_on_a_window_is_nobodys() -> None:
    members = [[*own(i), *PANEL, *own(i + 100)] for i in range(3)] + [own(7)]
    at = [31, 32, 33, 34]  # the first of the five begins the run
    assert np.flatnonzero(held(members, members[1], number=1)).tolist() == at
    assert not any(held(members[:2], members[1], number=1))
    # a stranger is the third with two others
    stranger = [*own(8), *PANEL]
    assert np.flatnonzero(held(members[:2], stranger, number=None)).tolist() == at
    assert not any(held(members[:1], stranger, number=None))
    # twice in one's own record, or in another's, is no further holder
    twice = [[*own(i), *PANEL, *own(i + 50), *PANEL] for i in range(2)]
    assert not any(held(twice, twice[0], number=0))


@pytest.mark.parametrize("change", ["same", "little", "later", "longer"])
def test_one_person_under_several_numbers_is_one_holder(change: str) -> None:
    first = [*own(1), *PANEL]
    again = {
        "same": first,
        "little": [*first[:10], 81, *first[10:]],
        "later": [TIME, *first[:5], TIME, *first[5:]],
        "longer": [*own(2, 60), *first],  # a record that quotes another whole
    }[change]
    members = [first, again, first[:], [*own(3), *PANEL]]
    assert not any(held(members, first, number=0))
    # who is like neither: with one more there are three
    assert held([*members, [*own(4), *PANEL]], first, number=0)[31:] == [True] * 4
    # the others may not be each other's doubles either
    assert not any(held([first, again, own(5)], [*own(6), *PANEL], number=None))


def test_only_windows_that_are_asked_for_are_looked_up() -> None:
    members = [[*own(i), *PANEL] for i in range(3)]
    found = HeldRuns.of(records(members), length=LENGTH, rng=np.random.default_rng(0))
    tokens = np.array(members[0], dtype=np.int32)
    asked = np.zeros(len(tokens) - LENGTH + 1, dtype=np.bool_)
    asked[31] = True
    assert found.held(tokens, asked, record=record(members[0]), own=0)[31:].tolist() == [
        False,
        True,
        True,
        True,
    ]


def test_of_many_doubles_no_more_are_compared_than_a_few() -> None:
    first = [*own(1), *PANEL]
    doubles = [[*first, 80 + i % 5] for i in range(LOOKED_AT + 2)]
    others = [[*own(i, 20), *PANEL] for i in (2, 3)]  # shorter, so they come last
    assert not any(held([first, *doubles, *others], first, number=0))
    assert any(held([first, *doubles[:3], *others], first, number=0))


def test_no_more_tokens_are_kept_than_asked_for() -> None:
    members = [[*own(i), *PANEL] for i in range(10)]
    found = HeldRuns.of(
        records(members), length=LENGTH, rng=np.random.default_rng(0), most_tokens=3 * 35
    )
    assert len(found.known) == 2
    assert len(found.place) == 2 * 3
    assert not any(held(members, members[0], number=0, most=35))


def test_records_without_a_window_hold_nothing() -> None:
    assert held([[1, 2], [3]], own(1), number=None) == [False] * 30
    assert not any(held([[TIME] * 6] * 4, [TIME] * 6, number=0))
