"""Hugging Face models with channels: what is drawn goes on with them, as it is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import VOCABULARY
from transformers import AutoModelForCausalLM, BertConfig

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, TargetModel, Tokens
from checker.targets.adapter import phigate_adapter
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.channel_guard import guarded
from checker.targets.channels import ChannelRule, ChannelTokens, exact_channels, told_channels
from checker.targets.compensator import watch_of
from checker.targets.conformance import ConformanceError, Usage, examine
from checker.targets.engine import channel_decoding
from checker.targets.flight import remote_model

NOTHING = np.full(VOCABULARY, np.nan)
TIMES, VISIT = (20, 21, 22), 5


def rule(name: str, adds: dict[int, float], **more: Any) -> ChannelRule:
    growth = np.zeros(VOCABULARY)
    for token, number in adds.items():
        growth[token] = number
    return ChannelRule(name, each=more.pop("each", 0.0), adds=growth, sets=NOTHING, **more)


AGE = rule("position_ids", {20: 0.3, 21: 1.0, 22: 4.5}, year=1.0, timed=True, most=60)
SEGMENT = rule("token_type_ids", {VISIT: 1}, start=1, modulo=2)
PLACE = rule("position_ids", {}, each=1.0, most=60)
CASES = {
    "gpt2-segments": ("gpt2", (SEGMENT,)),
    "gpt2-ages-and-segments": ("gpt2", (AGE, SEGMENT)),
    "llama-ages": ("llama", (AGE,)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_models.save_gpt2(root / "gpt2")
    tiny_models.save_llama(root / "llama")
    return root


def opened(directory: Path, rules: tuple[ChannelRule, ...]) -> TargetModel:
    spec = ModelSpec(path=directory.name, device="cpu")
    model = HuggingFaceBackend().open(spec, directory.parent, pad_id=0, eos_id=2)
    return guarded(model, [one.name for one in rules], where=directory.name)


def record(length: int, rules: tuple[ChannelRule, ...], *, seed: int) -> ChannelTokens:
    """A record whose dates do not follow the rule, as those of patients do not."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, VOCABULARY, length).astype(np.int32)
    values = [
        2 + np.cumsum(rng.uniform(0, 1.5, length) * np.isin(tokens, TIMES))
        if one.timed
        else one.follow(one.start, None, tokens)
        for one in rules
    ]
    return ChannelTokens(tokens, np.stack(values), rules)


def by_hand(directory: Path, tokens: Tokens) -> np.ndarray[Any, Any]:
    """Log-probabilities of all next tokens, [L, V], by the library alone."""
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    inputs = {
        name: torch.from_numpy(own.astype(np.int64))[None]
        for name, own in told_channels(tokens).items()
    }
    ids = torch.from_numpy(np.asarray(tokens).astype(np.int64))[None]
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
    found: np.ndarray[Any, Any] = logits[0].log_softmax(-1).numpy()
    return found


@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_models_own_under_its_channels(models: Path, case: str) -> None:
    name, rules = CASES[case]
    target = opened(models / name, rules)
    records = [record(length, rules, seed=length) for length in (30, 17)]
    changed = 0.0
    for one, scores in zip(records, target.score(records), strict=True):
        logs = by_hand(models / name, one)
        assert scores.logprob == pytest.approx(
            logs[np.arange(len(one) - 1), one.tolist()[1:]], abs=1e-4
        )
        zeroed = ChannelTokens(np.asarray(one), np.zeros_like(exact_channels(one)), rules)
        found = target.score([zeroed])[0].logprob
        changed = max(changed, float(np.abs(found - scores.logprob).max()))
    assert changed > 0.1


@pytest.mark.parametrize(
    ("case", "cached"),
    [("gpt2-ages-and-segments", True), ("gpt2-ages-and-segments", False), ("llama-ages", True)],
)
def test_a_model_with_channels_conforms(
    models: Path, case: str, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, rules = CASES[case]
    target = opened(models / name, rules)
    own: Any = target
    assert own._keeps_channels([record(20, rules, seed=0)])
    assert not own._keeps_channels([record(8, rules, seed=0)])  # too short to try
    if not cached:
        monkeypatch.setattr(own._model, "_keeps_channels", lambda prompts: False)
    records = [record(length, rules, seed=length) for length in (30, 17, 24, 9)]
    usage = Usage(longest_record=30, longest_prompt=20, horizon_tokens=8, eos_id=2)
    found = examine(target, records, usage=usage)
    for check in ("later-tokens", "batch-composition", "cached-decoding", "left-padding"):
        assert found[check] < 1e-3
    assert found["drawn-against-scored"] < 6


def test_a_continuation_that_keeps_the_channels_of_its_prompt_is_found_out(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened(models / "gpt2", (AGE, SEGMENT))
    records = [record(length, (AGE, SEGMENT), seed=length) for length in (30, 17, 24, 9)]
    rule_of = channel_decoding._OnDevice
    monkeypatch.setattr(rule_of, "step", lambda self, before, last, ids: before)
    with pytest.raises(ConformanceError, match=r"drawn-against-scored|first-tokens"):
        examine(target, records, usage=Usage(longest_prompt=20, horizon_tokens=8, eos_id=2))


def test_what_is_drawn_is_the_same_step_by_step(models: Path) -> None:
    """The first token of each draw, put behind the prompt, leads to the rest of it."""
    rules = (AGE, SEGMENT)
    target = opened(models / "gpt2", rules)
    prompt = record(12, rules, seed=3)
    greedy = Sampler(temperature=1e-4, top_p=1.0, horizon_tokens=12, seed=0)
    (whole,) = target.rollout([prompt], keys=[1], samples=1, sampler=greedy)[0]
    told: Any = prompt
    for token in whole.tolist():
        assert int(by_hand(models / "gpt2", told)[-1].argmax()) == token
        told = np.append(told, token)
    together = target.rollout([prompt[:5], prompt], keys=[9, 1], samples=2, sampler=greedy)
    assert together[1][0].tolist() == whole.tolist()


def test_classes_are_watched_under_the_same_channels(models: Path) -> None:
    rules = (SEGMENT,)
    target: Any = opened(models / "gpt2", rules)
    prompts = [record(length, rules, seed=length) for length in (12, 9)]
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=6, seed=0)
    watch = watch_of([[3, 4], [9]], vocabulary_size=VOCABULARY)
    watched = target.watched_rollout(prompts, keys=[1, 2], samples=1, sampler=sampler, watch=watch)
    drawn = [rows[0].tokens for rows in watched]
    masses = target.masses(prompts, drawn, sampler=sampler, watch=watch)
    for prompt, tokens, own in zip(prompts, drawn, masses, strict=True):
        logs = by_hand(models / "gpt2", np.concatenate([prompt, tokens]))[len(prompt) - 1 :]
        expected = np.exp(logs)[: len(own)] @ watch.T
        assert own == pytest.approx(expected, abs=1e-5)
    assert target.embed(prompts).shape == (2, 32)


@pytest.mark.parametrize("seed", range(20))
def test_a_rule_is_the_same_here_on_the_device_and_at_a_server(seed: int) -> None:
    """Whole numbers, and parts of two that sums of many hold exactly, so that none is rounded."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> Any:
        return rng.integers(-8, 40, shape) / rng.choice([1, 4])

    one = ChannelRule(
        "ages",
        each=float(numbers()),
        adds=numbers(9) * rng.integers(0, 2, 9),
        sets=np.where(rng.random(9) < 0.3, numbers(9), np.nan),
        late=bool(rng.integers(2)),
        start=float(numbers()),
        modulo=None if rng.integers(2) else float(rng.choice([2, 7.5])),
        whole=bool(rng.integers(2)),
        most=None if rng.integers(2) else 30.0,
    )
    ids = rng.integers(0, 9, 30).astype(np.int32)
    prompt = ChannelTokens(ids[:10], one.follow(one.start, None, ids[:10])[None], (one,))
    whole: Any = np.append(prompt, ids[10:])
    on_device = channel_decoding._OnDevice(one, torch.device("cpu"))
    said = json.loads(json.dumps(remote_model._said(one)))
    served = phigate_adapter._rule(said, 9)
    here = exact_channels(prompt)[0, -1:]
    tensor, array = torch.from_numpy(here.copy()), here
    for place in range(10, 30):
        last, new = ids[place - 1 : place].astype(np.int64), ids[place : place + 1].astype(np.int64)
        tensor = on_device.step(tensor, torch.from_numpy(last), torch.from_numpy(new))
        array = served.behind(array, last, new)
        expected, told = exact_channels(whole)[0, place], told_channels(whole)["ages"][place]
        assert tensor.numpy() == pytest.approx([expected], abs=1e-9)
        assert array == pytest.approx([expected], abs=1e-9)
        for own in (on_device.told(tensor).numpy(), served.told(array)):
            assert own.dtype == told_channels(whole)["ages"].dtype
            assert own == pytest.approx([told], abs=1e-6)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "one sequence of 20 tokens does not fit"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), "device-side assert"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "CUBLAS_STATUS_ALLOC_FAILED"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (TypeError("forward() got an unexpected keyword argument"), None),
    ],
)
def test_a_failing_device_is_not_taken_for_a_model_that_keeps_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str | None
) -> None:
    target: Any = opened(models / "gpt2", (SEGMENT,))

    def fail(self: Any) -> Any:
        raise error

    monkeypatch.setattr(channel_decoding._Steps, "logits", fail)
    prompts = [record(20, (SEGMENT,), seed=0)]
    if said is None:
        assert not target._keeps_channels(prompts)
        return
    with pytest.raises(TargetError, match=said):
        target._keeps_channels(prompts)


def test_what_exceeds_the_models_embeddings_is_said(models: Path) -> None:
    far = rule("position_ids", {20: 70}, timed=True)
    target = opened(models / "gpt2", (far,))
    inside = ChannelTokens(np.array([3, 4, 20, 5], np.int32), np.zeros((1, 4)), (far,))
    said = r"is told 70, but its transformer\.wpe knows 0 to 63 only; bound the channel"
    assert len(target.score([inside])) == 1
    with pytest.raises(TargetError, match=said):
        target.score([ChannelTokens(np.asarray(inside), np.full((1, 4), 70.0), (far,))])
    many = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=40, seed=0)
    with pytest.raises(TargetError, match=r"its transformer\.wpe knows 0 to 63"):
        target.rollout([inside], keys=[1], samples=8, sampler=many)
    below = ChannelTokens(np.asarray(inside), np.full((1, 4), -1.0), (far,))
    with pytest.raises(TargetError, match="is told -1, but"):
        target.score([below])
    own: Any = target
    plain: Any = own._model
    plain.score([np.asarray(inside)])
    assert not plain._model.transformer.wpe._forward_pre_hooks  # ids alone are not waited for


def test_a_model_of_one_segment_can_be_told_none(tmp_path: Path) -> None:
    for types in (1, 2):
        directory = tmp_path / f"bert{types}"
        config = BertConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=64, type_vocab_size=types,
            is_decoder=True,
        )  # fmt: skip
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
        spec = ModelSpec(path=directory.name, device="cpu")
        model = HuggingFaceBackend().open(spec, tmp_path, pad_id=0, eos_id=2)
        assert ("token_type_ids" in model.info.channels) is (types == 2)


def test_what_the_model_does_not_take_is_said(models: Path) -> None:
    with pytest.raises(TargetError, match="llama: the model takes no channel 'token_type_ids'"):
        opened(models / "llama", (SEGMENT,))
