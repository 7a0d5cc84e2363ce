"""What a sampler gives to given tokens, on models of every kind, by the verb and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import VOCABULARY
from transformers import AutoModelForCausalLM

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import LOGPROB_FLOOR, SampledScores, Sampler, TargetModel, Tokens, TokenScores
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.conformance import ConformanceError, Usage, examine
from checker.targets.sampled_scores import sampled_deviation, sampled_scores
from checker.targets.sampling import shape_probabilities
from checker.testing.simulated import MemorizedRecord, SimulatedModel, SimulatedTarget

LENGTHS = (40, 3, 17, 2, 31)


def some_records(seed: int = 0) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, length).astype(np.int32) for length in LENGTHS]


def opened(folder: Path, **changes: Any) -> TargetModel:
    spec = ModelSpec.model_validate({"path": folder.name, "device": "cpu", **changes})
    return HuggingFaceBackend().open(spec, folder.parent, pad_id=None, eos_id=None)


def by_hand(
    logits: torch.Tensor, record: Tokens, *, temperature: float, top_p: float
) -> tuple[Any, Any]:
    """The sampler's own rule (`checker.targets.sampling`) in float64, token by token."""
    sampler = Sampler(temperature, top_p, horizon_tokens=1, seed=0)
    probabilities = logits.double().softmax(-1).numpy()
    weights = shape_probabilities(probabilities, sampler=sampler)
    shares = weights / weights.sum(axis=1, keepdims=True)
    following = record[1:].astype(np.int64)
    own = shares[np.arange(len(following)), following]
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(own), LOGPROB_FLOOR)
    return logs, probabilities.argmax(axis=1) == following


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 0.95), (1.0, 1.0), (0.5, 0.6), (1.7, 0.9)]
)
@pytest.mark.parametrize("save", [tiny_models.save_gpt2, tiny_models.save_gemma2])
def test_the_verb_is_the_samplers_own_rule(
    tmp_path: Path, save: Any, temperature: float, top_p: float
) -> None:
    folder = save(tmp_path / "model")  # one in chunks of positions, one by its full logits
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = sampled_scores(
        opened(folder), some_records(), temperature=temperature, top_p=top_p, window=3
    )
    outside = 0
    for record, one in zip(some_records(), found, strict=True):
        ids = torch.from_numpy(record.astype(np.int64))[None]
        with torch.inference_mode():
            logits = plain(input_ids=ids).logits[0, :-1].float()
        logs, first = by_hand(logits, record, temperature=temperature, top_p=top_p)
        assert one.logprob.dtype == np.float32
        assert one.logprob == pytest.approx(logs, abs=1e-3)
        assert one.first.tolist() == first.tolist()
        whole, _ = by_hand(logits, record, temperature=temperature, top_p=1.0)
        assert one.whole == pytest.approx(whole, abs=1e-3)
        outside += int((one.logprob == LOGPROB_FLOOR).sum())
    assert (outside > 0) is (top_p < 1)


def test_scores_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    target = opened(tiny_models.save_llama(tmp_path / "model"))
    settings: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95, "window": 3}
    together = sampled_scores(target, some_records(), **settings)
    for record, one in zip(some_records(), together, strict=True):
        (alone,) = sampled_scores(target, [record], **settings)
        assert alone.logprob == pytest.approx(one.logprob, abs=1e-4)
        assert alone.first.tolist() == one.first.tolist()


def test_a_model_that_gives_no_numbers_is_an_error_and_not_impossible(tmp_path: Path) -> None:
    target: Any = opened(tiny_models.save_gpt2(tmp_path / "model"))
    with torch.no_grad():
        target._model.transformer.ln_f.weight[0] = float("nan")
    with pytest.raises(TargetError, match="no numbers"):
        target.score_sampled(some_records(), temperature=1.0, top_p=0.95)


# --- tables --------------------------------------------------------------------------------------

UNIGRAM = [0.5, 0.3, 0.15, 0.05]


def tables(**fields: Any) -> SimulatedTarget:
    return SimulatedTarget(
        SimulatedModel.model_validate({"vocabulary_size": 4, "unigram": UNIGRAM, **fields})
    )


def test_top_p_rules_a_token_out_and_raises_the_others() -> None:
    (found,) = tables().score_sampled(
        [np.array([0, 0, 1, 2, 3], np.int32)], temperature=1.0, top_p=0.9
    )
    # 0.5 and 0.3 sum to 0.8 < 0.9, so 0.15 is kept as well and 0.05 is not
    expected = np.log(np.array([0.5, 0.3, 0.15]) / 0.95)
    assert found.logprob[:3] == pytest.approx(expected, abs=1e-6)
    assert found.logprob[3] == LOGPROB_FLOOR
    assert found.first.tolist() == [True, False, False, False]


def test_of_equal_tokens_greedy_decoding_takes_the_first() -> None:
    target = tables(unigram=[0.1, 0.4, 0.4, 0.1])
    (found,) = target.score_sampled([np.array([0, 1, 2], np.int32)], temperature=1.0, top_p=1.0)
    assert found.first.tolist() == [True, False]
    assert found.logprob[0] == found.logprob[1]


# --- targets that only score and draw -----------------------------------------------------------


class Plugin:
    """A target without the verb, as a plug-in may be."""

    def __init__(self, model: SimulatedTarget) -> None:
        self.model, self.asked = model, 0
        self.info = model.info

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        return self.model.score(sequences, **more)

    def rollout(self, prompts: Sequence[Tokens], **more: Any) -> list[list[Tokens]]:
        self.asked += len(prompts)
        return self.model.rollout(prompts, **more)


class Lying(Plugin):
    """One whose verb says that nothing is ever drawn."""

    def embed(self, sequences: Sequence[Tokens], **more: Any) -> Any:
        return self.model.embed(sequences)

    def score_sampled(self, sequences: Sequence[Tokens], **more: Any) -> list[SampledScores]:
        return [
            SampledScores(
                np.full(len(one) - 1, LOGPROB_FLOOR, np.float32), np.zeros(len(one) - 1, np.bool_)
            )
            for one in sequences
        ]


# token 1 has 0.4 + 0.6 · 0.1 after its history: likely, but not more than one half
RECORD = MemorizedRecord(tokens=[0, 1, 2, 3, 1, 1], first=1, weight=0.36)
WHOLE = np.array(RECORD.tokens, np.int32)
FLAT = [0.25, 0.25, 0.25, 0.25]


def test_without_the_verb_probabilities_are_at_most_what_the_sampler_makes_them() -> None:
    target = tables(memorized=[RECORD], unigram=FLAT)
    (own,) = sampled_scores(target, [WHOLE], temperature=1.0, top_p=0.8, window=3)
    (bound,) = sampled_scores(Plugin(target), [WHOLE], temperature=1.0, top_p=0.8, window=3)  # type: ignore[arg-type]
    assert (bound.logprob >= own.logprob - 1e-6).all()
    assert bound.logprob == pytest.approx(target.score([WHOLE])[0].logprob - np.log(0.8), abs=1e-6)


def test_without_the_verb_greedy_windows_are_drawn() -> None:
    # 0.36 + 0.64 / 4 = 0.52 ranks first for certain; with a weight of 0.3 it is 0.475
    for weight, draws in ((0.36, 0), (0.3, 3)):
        record = RECORD.model_copy(update={"weight": weight})
        target = tables(memorized=[record], unigram=FLAT)
        plugin = Plugin(target)
        (own,) = sampled_scores(target, [WHOLE], temperature=1.0, top_p=1.0, window=3)
        (found,) = sampled_scores(plugin, [WHOLE], temperature=1.0, top_p=1.0, window=3)  # type: ignore[arg-type]
        assert own.first.all()
        assert found.first.all()
        assert plugin.asked == draws


def test_without_the_verb_what_is_not_recited_is_not_said_to_be() -> None:
    # every token is as likely as any, so none is ruled out by its probability
    target = tables(unigram=FLAT)
    plugin = Plugin(target)
    (found,) = sampled_scores(plugin, [WHOLE], temperature=1.0, top_p=1.0, window=3)  # type: ignore[arg-type]
    assert plugin.asked == 3
    assert not found.first.any()  # greedy decoding would write 0 0 0


def test_without_the_verb_another_temperature_cannot_be_read() -> None:
    with pytest.raises(TargetError, match="set temperature: 1"):
        sampled_scores(Plugin(tables()), [WHOLE], temperature=0.7, top_p=1.0, window=3)  # type: ignore[arg-type]


def test_a_verb_that_contradicts_the_scores_is_refused() -> None:
    target = tables(memorized=[RECORD])
    rows = [WHOLE, np.array([0, 0, 1, 0], np.int32)]
    assert sampled_deviation(target, rows, target.score(rows)) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ConformanceError, match="sampled-scores"):
        examine(Lying(target), rows, usage=Usage())


def test_what_a_verb_does_not_say_without_top_p_is_asked_and_what_it_says_is_compared() -> None:
    target, rows = tables(), [np.array([0, 0, 3, 1], np.int32)]
    expected = np.log(np.array([0.5, 0.05, 0.3]))

    class Says(Plugin):
        whole: Any = None

        def score_sampled(self, sequences: Sequence[Tokens], **more: Any) -> list[SampledScores]:
            found = self.model.score_sampled(sequences, **more)
            return [replace(one, whole=self.whole) for one in found]

    says: Any = Says(target)
    (found,) = sampled_scores(says, rows, temperature=1.0, top_p=0.9, window=3)
    assert found.logprob[1] == LOGPROB_FLOOR
    assert found.whole == pytest.approx(expected, abs=1e-6)
    assert sampled_deviation(says, rows, target.score(rows)) == pytest.approx(0, abs=1e-5)
    says.whole = np.full(3, LOGPROB_FLOOR, np.float32)
    assert sampled_deviation(says, rows, target.score(rows)) > 1


def test_a_verb_that_calls_everything_or_nothing_first_is_refused() -> None:
    target = tables()
    rows = [np.array([0, 3, 0, 1], np.int32), np.array([0, 0, 0], np.int32)]
    sure = tables(unigram=[0.97, 0.01, 0.01, 0.01])

    class Ranks(Lying):
        def __init__(self, model: SimulatedTarget, *, first: bool) -> None:
            super().__init__(model)
            self.first = first

        def score_sampled(self, sequences: Sequence[Tokens], **more: Any) -> list[SampledScores]:
            return [
                SampledScores(one.logprob, np.full(len(one.first), self.first))
                for one in self.model.score_sampled(sequences, **more)
            ]

    every: Any = Ranks(target, first=True)
    assert sampled_deviation(every, rows, target.score(rows)) > 1
    none: Any = Ranks(sure, first=False)
    assert sampled_deviation(none, rows, sure.score(rows)) > 0.5
