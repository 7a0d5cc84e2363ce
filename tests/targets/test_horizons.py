"""Continuations that end with the context are the beginnings of longer ones."""

from __future__ import annotations

import numpy as np
import pytest

from checker.errors import TargetError
from checker.targets import Sampler, Tokens
from checker.targets.horizons import continue_within
from checker.testing.simulated import SimulatedModel, SimulatedTarget

V = 12


def model(context_length: int) -> SimulatedTarget:
    rng = np.random.default_rng(0)
    rows = {token: dict(enumerate(rng.dirichlet(np.ones(V)).tolist())) for token in range(V)}
    own = SimulatedModel(
        vocabulary_size=V,
        context_length=context_length,
        transitions=rows,
        capabilities=frozenset({"samples"}),
    )
    return SimulatedTarget(own, eos_id=2)


PROMPTS = [np.arange(n, dtype=np.int32) % V for n in (3, 9, 5, 9, 14)]
SAMPLER = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=10, seed=4)


def drawn(target: SimulatedTarget, max_length: int | None) -> list[list[Tokens]]:
    return continue_within(
        target.rollout,
        PROMPTS,
        keys=[11, 12, 13, 14, 15],
        samples=6,
        sampler=SAMPLER,
        max_length=max_length,
    )


def test_each_prompt_goes_on_as_far_as_there_is_room() -> None:
    whole, cut = drawn(model(64), None), drawn(model(15), 15)
    for prompt, longer, shorter in zip(PROMPTS, whole, cut, strict=True):
        room = min(10, 15 - len(prompt))
        assert [row.tolist() for row in shorter] == [row[:room].tolist() for row in longer]
    assert max(len(row) for row in cut[4]) == 1
    assert max(len(row) for row in cut[0]) == 10


def test_who_asks_for_more_is_told_a_prompt_s_own_number() -> None:
    asked: dict[int, int] = {}

    def more(number: int, rows: list[Tokens]) -> int:
        asked[number] = len(rows)
        return 2 if len(rows) == 6 and number in (1, 4) else 0

    found = continue_within(
        model(15).rollout, PROMPTS, keys=[11, 12, 13, 14, 15], samples=6, sampler=SAMPLER,
        max_length=15, more=more,
    )  # fmt: skip
    assert [len(rows) for rows in found] == [6, 8, 6, 6, 8]
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_a_prompt_without_room_is_refused_by_the_target() -> None:
    with pytest.raises(TargetError, match="14"):
        drawn(model(14), 14)
