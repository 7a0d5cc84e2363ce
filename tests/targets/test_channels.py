"""Sequences keep their channels, and continuations are given those of their rule."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from token_records import ids

from checker.errors import TargetError
from checker.targets import TargetInfo
from checker.targets.channel_guard import guarded
from checker.targets.channels import (
    ChannelRule,
    ChannelTokens,
    also_told,
    channels_of,
    exact_channels,
    resized,
    told_anew,
    told_channels,
    years_older,
)

SIZE = 8


def rule(
    name: str = "a",
    *,
    adds: dict[int, float] | None = None,
    sets: dict[int, float] | None = None,
    **more: Any,
) -> ChannelRule:
    growth, values = np.zeros(SIZE), np.full(SIZE, np.nan)
    for token, number in (adds or {}).items():
        growth[token] = number
    for token, number in (sets or {}).items():
        values[token] = number
    return ChannelRule(name, each=more.pop("each", 0.0), adds=growth, sets=values, **more)


AGE = rule("age", adds={5: 0.4}, year=1.0, timed=True)
PLACE = rule("place", each=1.0)


def sequence(tokens: NDArray[np.int32], *rules: ChannelRule, age: float = 60.9) -> Any:
    values = [
        np.full(len(tokens), age) if one.timed else one.follow(one.start, None, tokens)
        for one in rules
    ]
    return ChannelTokens(tokens, np.stack(values), rules)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (PLACE, [0, 1, 2, 3, 4, 5]),
        (rule(each=1.0, late=True), [0, 1, 2, 3, 4, 5]),
        (rule(adds={4: 1}), [0, 1, 1, 1, 2, 2]),
        (rule(adds={4: 1}, late=True), [0, 0, 1, 1, 1, 2]),
        (rule(adds={4: 1}, start=1, modulo=2), [1, 2, 2, 2, 1, 1]),
        (rule(sets={4: 7}, each=1.0), [0, 7, 8, 9, 7, 8]),
        (rule(sets={4: 7, 1: 3}, late=True), [0, 3, 7, 7, 7, 7]),
    ],
)
def test_a_rule_followed_at_once_and_step_by_step(one: ChannelRule, expected: list[int]) -> None:
    tokens = ids(1, 4, 2, 2, 4, 3)
    assert one.told(one.follow(one.start, None, tokens)).tolist() == expected
    grown = sequence(tokens[:1], one)
    for token in tokens[1:].tolist():
        grown = np.append(grown, token)
    assert told_channels(grown)[one.name].tolist() == expected


def test_what_is_told_is_rounded_and_what_goes_on_is_not() -> None:
    prompt = sequence(ids(1, 2), AGE, PLACE)
    whole = np.concatenate([prompt, ids(5, 3, 5)])
    assert told_channels(whole)["age"].tolist() == [60, 60, 61, 61, 61]
    assert told_channels(whole)["place"].tolist() == [0, 1, 2, 3, 4]
    capped = sequence(ids(1), replace(AGE, most=60.0))
    assert told_channels(np.concatenate([capped, ids(5, 5)]))["age"].tolist() == [60, 60, 60]
    exact = sequence(ids(1), replace(AGE, whole=False))
    assert told_channels(exact)["age"].dtype == np.float32


def test_pieces_keep_their_channels_and_all_else_is_ids() -> None:
    tokens = sequence(ids(1, 2, 3, 4), AGE, PLACE)
    assert told_channels(tokens[1:3])["place"].tolist() == [1, 2]
    assert told_channels(tokens[::-1])["place"].tolist() == [3, 2, 1, 0]
    assert told_channels(tokens[np.array([True, False, True, False])])["place"].tolist() == [0, 2]
    assert int(tokens[2]) == 3
    for other in (tokens + 1, tokens == 2, np.unique(tokens), np.sort(tokens), tokens.max()):
        assert not isinstance(other, ChannelTokens)
    assert told_channels(pickle.loads(pickle.dumps(tokens)))["place"].tolist() == [0, 1, 2, 3]
    assert told_channels(tokens.copy().astype(np.int32))["age"].tolist() == [60] * 4
    parts = np.split(tokens, [1, 3])
    assert [told_channels(part)["place"].tolist() for part in parts] == [[0], [1, 2], [3]]
    assert told_channels(resized(tokens, 6))["place"].tolist() == [0, 1, 2, 3, 0, 1]


def test_a_copy_is_changed_alone() -> None:
    tokens = sequence(ids(1, 2), AGE)
    other = tokens.copy()
    other[0] = 7
    exact_channels(other)[0, 0] = 5.0
    assert tokens.tolist() == [1, 2]
    assert told_channels(tokens)["age"].tolist() == [60, 60]


def test_a_piece_told_anew_counts_from_its_beginning_and_keeps_its_dates() -> None:
    tokens = sequence(ids(1, 2, 3, 4), AGE, PLACE)[2:]
    assert told_channels(told_anew(tokens))["place"].tolist() == [0, 1]
    assert told_channels(told_anew(tokens))["age"].tolist() == [60, 60]
    assert told_channels(years_older(tokens, -2))["age"].tolist() == [58, 58]
    assert told_channels(years_older(tokens, -2))["place"].tolist() == [2, 3]


def test_ids_in_front_have_the_first_values_and_ids_alone_have_none() -> None:
    longer = np.concatenate([ids(7), sequence(ids(1, 2), AGE)])
    assert told_channels(longer)["age"].tolist() == [60, 60, 60]
    assert channels_of(np.concatenate([ids(7), ids(1)])) == ()
    with pytest.raises(ValueError, match="different channels"):
        np.concatenate([sequence(ids(1), AGE), sequence(ids(1), PLACE)])
    with pytest.raises(ValueError, match="1 channels of 2 tokens"):
        ChannelTokens(ids(1, 2), np.zeros((1, 3)), (AGE,))


class Model:
    """Takes ages, and says which verbs were asked."""

    info = TargetInfo("x", SIZE, None, frozenset(), "cpu", "float32", 1, {})

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, sequences: Any, *, progress: Any = None) -> list[Any]:
        self.asked.append("score")
        return list(sequences)

    def verb_to_come(self, prompts: Any) -> list[Any]:
        self.asked.append("verb to come")
        return list(prompts)

    def gain_of_one_pass(self, tokens: Any) -> float:
        self.asked.append("gain")
        return float(len(tokens))


def test_a_model_is_not_asked_without_the_channels_that_are_declared() -> None:
    model: Any = Model()
    unguarded: Any = guarded(model, [], where="m")
    assert unguarded is model
    with pytest.raises(TargetError, match=r"m: the model takes no channel 'age'.*takes none"):
        guarded(model, ["age"], where="m")
    model.info = replace(Model.info, channels=frozenset({"age"}))
    model.info = replace(model.info, required=frozenset({"age"}))
    with pytest.raises(TargetError, match=r"m: the model takes 'age' beside token ids, and"):
        guarded(model, [], where="m")
    guard: Any = guarded(model, ["age"], where="m")
    assert len(guard.score([sequence(ids(1, 2), AGE)])) == 1
    assert not hasattr(guard, "steps")
    lost = [ids(1, 2), sequence(ids(1, 2), PLACE), sequence(ids(1), AGE, age=np.nan)]
    for one in lost:
        with pytest.raises(TargetError, match="channels"):
            guard.score([one])
        with pytest.raises(TargetError, match="channels"):
            guard.verb_to_come([one])
        with pytest.raises(TargetError, match="channels"):
            guard.gain_of_one_pass(one)
    assert model.asked == ["score"]
    assert len(guard.verb_to_come([sequence(ids(1, 2), AGE)])) == 1
    assert guard.gain_of_one_pass(sequence(ids(1, 2), AGE)) == 2
    further = also_told(sequence(ids(1, 2), AGE), "place", np.zeros(2))
    assert len(guard.score([further])) == 1  # one that is tried beside the declared
    with pytest.raises(TargetError, match="channels"):
        guard.score([also_told(ids(1, 2), "place", np.zeros(2))])
