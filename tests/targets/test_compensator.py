"""Compensators: had while drawing or by one pass later, the same, and right on known models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_models
from numpy.typing import NDArray
from tiny_models import CONTEXT, VOCABULARY
from transformers import AutoModelForCausalLM

from checker.targets import Sampler, TargetModel, Tokens, WatchedRollout
from checker.targets.compensator import (
    compensators,
    later_compensators,
    watch_of,
    watched_rollouts,
)
from checker.targets.engine.huggingface import HuggingFaceTarget
from checker.testing.simulated import SimulatedModel, SimulatedTarget

SAVED = {
    "gpt2": tiny_models.save_gpt2,  # prefixes are shared
    "mamba2": tiny_models.save_mamba2,  # states
    "gemma2": tiny_models.save_gemma2,  # the library's own `generate`
}
SETS = [[3], [5, 6, 7, 8, 9, 10, 11, 12], [0, 20]]  # 20 ends a record, and so names nothing


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HuggingFaceTarget]:
    root = tmp_path_factory.mktemp("models")
    found = {}
    for name, save in SAVED.items():
        model = AutoModelForCausalLM.from_pretrained(save(root / name)).eval()
        context = None if getattr(model, "_is_stateful", False) else CONTEXT
        found[name] = HuggingFaceTarget(
            model, vocabulary_size=VOCABULARY, context_length=context, pad_id=None, eos_id=20
        )
    return found


def prompts(count: int) -> list[Tokens]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, VOCABULARY, 3 + i % 4).astype(np.int32) for i in range(count)]


def sampler(**changes: float) -> Sampler:
    settings: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "horizon_tokens": 12, "seed": 3}
    return Sampler(**(settings | changes))


def drawn(
    model: TargetModel, asked: list[Tokens], *, how: Sampler, samples: int = 3
) -> list[list[WatchedRollout]]:
    watch = watch_of(SETS, vocabulary_size=model.info.vocabulary_size)
    return watched_rollouts(
        model, asked, keys=range(len(asked)), samples=samples, sampler=how, watch=watch
    )


def flat(rows: list[list[WatchedRollout]]) -> NDArray[np.float32]:
    return np.array([one.expected for own in rows for one in own])


# --- one number, two ways -----------------------------------------------------------------------


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("settings", [{"top_p": 1.0}, {"top_p": 0.9, "temperature": 0.7}])
def test_a_class_looked_for_later_has_the_numbers_of_one_watched_while_drawing(
    models: dict[str, HuggingFaceTarget], name: str, settings: dict[str, float]
) -> None:
    model, asked, how = models[name], prompts(4), sampler(**settings)
    found = drawn(model, asked, how=how)
    plain = model.rollout(asked, keys=range(4), samples=3, sampler=how)
    assert [[one.tokens.tolist() for one in rows] for rows in found] == [
        [row.tolist() for row in rows] for rows in plain
    ]
    lengths = {len(one.tokens) for rows in found for one in rows}
    assert 12 in lengths
    assert min(lengths) < 12  # some records end on the way
    later = later_compensators(
        model,
        [asked[i] for i, rows in enumerate(plain) for _ in rows],
        [row for rows in plain for row in rows],
        sampler=how,
        watch=watch_of(SETS, vocabulary_size=VOCABULARY),
    )
    np.testing.assert_allclose(flat(found), np.array(later), atol=1e-5)
    assert flat(found).max() > 0.1


def test_compensators_do_not_depend_on_the_batch(models: dict[str, HuggingFaceTarget]) -> None:
    model, asked = models["gpt2"], prompts(6)
    whole = drawn(model, asked, how=sampler(), samples=8)
    watch = watch_of(SETS, vocabulary_size=VOCABULARY)
    for i, prompt in enumerate(asked):
        (alone,) = watched_rollouts(
            model, [prompt], keys=[i], samples=3, sampler=sampler(), watch=watch
        )
        assert [one.tokens.tolist() for one in alone] == [
            one.tokens.tolist() for one in whole[i][:3]
        ]
        np.testing.assert_allclose(flat([alone]), flat([whole[i][:3]]), atol=1e-5)
    again = drawn(model, asked, how=sampler(), samples=8)
    assert flat(again).tobytes() == flat(whole).tobytes()  # equal batches, equal bytes


class OnlyMasses:
    """A model that says how likely steps are, and cannot sum while it draws."""

    def __init__(self, model: SimulatedTarget) -> None:
        self.rollout, self.masses, self.info = model.rollout, model.masses, model.info


def test_a_model_that_only_scores_steps_gives_the_same_and_stops_where_it_is_told() -> None:
    model = table(0.2)
    asked, how = [np.array([0], dtype=np.int32)] * 3, sampler()
    watch = watch_of([[1]], vocabulary_size=4)

    def more(prompt: int, known: list[WatchedRollout]) -> int:
        assert all(one.expected.shape == (1,) for one in known)
        return 2 if len(known) < 3 + prompt else 0

    def ask(one: Any) -> list[list[WatchedRollout]]:
        return watched_rollouts(
            one, asked, keys=range(3), samples=2, sampler=how, watch=watch, more=more
        )

    own, by_scoring = ask(model), ask(OnlyMasses(model))
    assert [len(rows) for rows in own] == [4, 4, 6]
    for rows, others in zip(own, by_scoring, strict=True):
        assert [one.tokens.tolist() for one in rows] == [one.tokens.tolist() for one in others]
    assert flat(own).tobytes() == flat(by_scoring).tobytes()


# --- what it is ---------------------------------------------------------------------------------


def table(chance: float, *, end: float = 0.0) -> SimulatedTarget:
    """Every token is of the class 1 with one probability, and 3 ends the record."""
    rest = 1 - chance - end
    model = SimulatedModel(vocabulary_size=4, unigram=[0.0, chance, rest, end])
    return SimulatedTarget(model, eos_id=3)


def test_the_sum_stops_at_the_class_the_end_and_the_horizon() -> None:
    """A step has mass 0.1, so a continuation has a tenth for every step up to where it stops."""
    (rows,) = watched_rollouts(
        table(0.1, end=0.1), [np.array([0], dtype=np.int32)], keys=[7], samples=200,
        sampler=sampler(top_p=1.0, horizon_tokens=8),
        watch=watch_of([[1]], vocabulary_size=4),
    )  # fmt: skip
    for one in rows:
        hits = np.flatnonzero(one.tokens == 1)
        steps = hits[0] + 1 if len(hits) else min(len(one.tokens) + 1, 8)
        assert one.expected[0] == pytest.approx(0.1 * steps, abs=1e-6)
    assert len({len(one.tokens) for one in rows}) > 5


def test_what_would_exceed_one_is_counted_from_there_on() -> None:
    masses, watch = np.full((6, 1), 0.3), watch_of([[1]], vocabulary_size=3)
    for at, expected in [(0, 0.3), (2, 0.9), (3, 0.9 + 1), (5, 0.9 + 1)]:
        tokens = np.full(6, 2, dtype=np.int32)
        tokens[at] = 1
        assert compensators(masses, tokens, watch=watch)[0] == pytest.approx(expected)
    never = compensators(masses, np.full(6, 2, dtype=np.int32), watch=watch)
    assert never[0] == pytest.approx(0.9)


@pytest.mark.parametrize("top_p", [0.95, 1.0])
def test_the_masses_are_those_of_the_sampler_after_top_p(top_p: float) -> None:
    """Top-p keeps the two likeliest of 0.9, 0.06, 0.04, and so a rare class is never drawn."""
    model = SimulatedTarget(SimulatedModel(vocabulary_size=3, unigram=[0.9, 0.06, 0.04]))
    prompt, row = np.array([0], dtype=np.int32), np.zeros(5, dtype=np.int32)
    watch = watch_of([[1], [2]], vocabulary_size=3)
    (found,) = model.masses(
        [prompt], [row], sampler=sampler(top_p=top_p, horizon_tokens=5), watch=watch
    )
    expected = [0.06 / 0.96, 0.0] if top_p < 1 else [0.06, 0.04]
    np.testing.assert_allclose(found, np.tile(expected, (5, 1)))
