"""A model that was trained on dates in place of positions is not passed when nobody says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tiny_models

from checker.policy.documents import ModelSpec
from checker.records.prompt_format import SEGMENTS
from checker.run.model_jobs import MOST_POSITIONS, _positions, _takes_segments
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.channels import ChannelTokens, channel_values, told_rule


def task(channels: frozenset[str], *, context: int | None, declared: tuple[str, ...] = ()) -> Any:
    info = SimpleNamespace(channels=channels, context_length=context)
    tokenizer = SimpleNamespace(channels=[told_rule(name) for name in declared])
    return SimpleNamespace(
        model=SimpleNamespace(info=info), workload=SimpleNamespace(tokenizer=tokenizer)
    )


def test_positions_are_tried_where_a_model_takes_them_and_the_target_is_silent() -> None:
    takes = frozenset({"position_ids", "token_type_ids"})
    assert _positions(task(takes, context=64)) == 64
    assert _positions(task(takes, context=None)) == MOST_POSITIONS
    assert _positions(task(takes, context=64, declared=("token_type_ids",))) == 64
    assert _positions(task(takes, context=64, declared=("position_ids",))) is None
    assert _positions(task(frozenset(), context=64)) is None


def test_a_models_own_positions_are_those_of_its_places(tmp_path: Path) -> None:
    """What a variant tells reaches the model, and places tell it nothing new."""
    directory = tiny_models.save_gpt2(tmp_path / "gpt2")
    model = HuggingFaceBackend().open(
        ModelSpec(path="gpt2", device="cpu"), directory.parent, pad_id=None, eos_id=None
    )
    tokens = np.array([1, 5, 9, 4, 4, 17], dtype=np.int32)
    plain = model.score([tokens])[0].logprob
    for values, same in ((np.arange(6.0), True), (np.array([0.0, 0, 3, 3, 9, 9]), False)):
        told = ChannelTokens(tokens, values[None], (told_rule("position_ids"),))
        found = model.score([told])[0].logprob
        assert np.allclose(found, plain, atol=1e-5) is same


class Told:
    """A model whose scores hang on the segments that it is told."""

    info = SimpleNamespace(
        channels=frozenset({SEGMENTS}), dtype="float32", vocabulary_size=tiny_models.VOCABULARY
    )

    def __init__(self, *, looks_ahead: bool) -> None:
        self.looks_ahead = looks_ahead

    def score(self, sequences: Any) -> list[Any]:
        """A token knows all of its segment, or what stands before it."""
        found = []
        for tokens in sequences:
            segment = channel_values(tokens, SEGMENTS)
            known = [
                (tokens * (segment == one)).sum() if self.looks_ahead else one for one in segment
            ]
            found.append(SimpleNamespace(logprob=-np.array(known[:-1], dtype=np.float64)))
        return found


def test_segments_are_tried_of_a_model_that_does_not_look_ahead_by_them(tmp_path: Path) -> None:
    tokens = np.array([1, 5, 9, 4, 4, 17], dtype=np.int32)
    members = SimpleNamespace(
        offsets=np.array([0, 6]), record=lambda _: SimpleNamespace(tokens=tokens)
    )

    def tried(model: Any, *declared: str) -> bool:
        tokenizer = SimpleNamespace(channels=[told_rule(name) for name in declared])
        workload = SimpleNamespace(tokenizer=tokenizer, members=members, max_length=None)
        asked: Any = SimpleNamespace(model=model, workload=workload)
        return _takes_segments(asked)

    assert tried(Told(looks_ahead=False))
    assert not tried(Told(looks_ahead=False), SEGMENTS)
    assert not tried(Told(looks_ahead=True))
    for name, save, takes in (
        ("gpt2", tiny_models.save_gpt2, True),
        ("llama", tiny_models.save_llama, False),
    ):
        directory = save(tmp_path / name)
        spec = ModelSpec(path=name, device="cpu")
        model = HuggingFaceBackend().open(spec, directory.parent, pad_id=None, eos_id=None)
        assert tried(model) is takes
