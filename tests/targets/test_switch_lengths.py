"""Windows, chunks and positions that switch are compared beyond the lengths where they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import VOCABULARY
from transformers import AutoModelForCausalLM, GenerationMixin, Phi3ForCausalLM

from checker.errors import PhigateWarning
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, Tokens, conformance
from checker.targets.backends.checkpoint import HuggingFaceBackend, _switch_lengths
from checker.targets.compensator import watch_of
from checker.targets.conformance import ConformanceError, Usage, examine
from checker.targets.engine import huggingface, scoring
from checker.targets.engine.huggingface import HuggingFaceTarget

SHORT = Usage(longest_record=60, longest_prompt=40, horizon_tokens=12)
LONG = Usage(longest_record=110, longest_prompt=100, horizon_tokens=12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_models.save_phimoe(root / "phimoe")
    tiny_models.save_longrope(root / "longrope")
    tiny_models.save_bert(root / "bert")
    return root


def opened(directory: Path) -> HuggingFaceTarget:
    spec = ModelSpec(path=directory.name, device="cpu")
    target = HuggingFaceBackend().open(spec, directory.parent, pad_id=None, eos_id=None)
    assert isinstance(target, HuggingFaceTarget)
    return target


def plain(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory).eval()


def unaware(directory: Path) -> HuggingFaceTarget:
    """The same model, of whose configuration nothing was read."""
    return HuggingFaceTarget(
        plain(directory),
        vocabulary_size=VOCABULARY,
        context_length=128,
        pad_id=None,
        eos_id=None,
    )


def records(*lengths: int) -> list[Tokens]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, VOCABULARY, length).astype(np.int32) for length in lengths]


def next_logprobs(model: Any, record: Tokens, *, cut: int) -> list[float]:
    """Log-probability of each token from a cut on: one pass over what stands before it."""
    ids = torch.from_numpy(record.astype(np.int64))
    with torch.inference_mode():
        return [
            float(model(ids[None, :place]).logits[0, -1].log_softmax(-1)[ids[place]])
            for place in range(cut, len(ids))
        ]


@pytest.mark.parametrize(("cut", "length"), [(70, 95), (95, 105), (40, 52)])
def test_steps_across_a_window_that_only_the_mask_knows_are_right(
    models: Path, cut: int, length: int
) -> None:
    target = opened(models / "phimoe")
    assert (target.decoding, target.cached_tokens) == ("shared prefix", 79)
    (record,) = records(length)
    (found,) = target.steps([record[:cut]], [record[cut:]])
    expected = next_logprobs(plain(models / "phimoe"), record, cut=cut)
    assert np.abs(found - expected).max() < 1e-4


def test_a_window_is_audited_on_either_side_of_it(models: Path) -> None:
    for usage in (SHORT, LONG):
        found = examine(opened(models / "phimoe"), records(110, 64, 50), usage=usage)
        assert found["cached-decoding"] < 1e-4


def test_a_window_that_no_configuration_names_is_found_at_the_longest_prompt(models: Path) -> None:
    target = unaware(models / "phimoe")
    assert target.cached_tokens is None
    examine(target, records(60, 60), usage=SHORT)  # where it is not in use, nothing is wrong
    with pytest.raises(ConformanceError, match=r"cached-decoding deviates by \d.* one pass over"):
        examine(target, records(110, 64), usage=LONG)


def test_a_record_whose_positions_switch_is_read_as_it_is_drawn(models: Path) -> None:
    target = opened(models / "longrope")
    assert target.info.switch_lengths == {"original_max_position_embeddings": 80}
    assert (target.cached_tokens, target.decoding_beyond) == (79, "generate")
    long, short = records(110, 60)
    scores = [one.logprob for one in target.score([long, short])]  # one batch
    sampled = [one.logprob for one in target.score_sampled([long], temperature=1.0, top_p=1.0)]
    model = plain(models / "longrope")
    for found, record in zip([*scores, *sampled], [long, short, long], strict=True):
        assert np.abs(found - next_logprobs(model, record, cut=1)).max() < 1e-4
    for cut in (40, 72, 79, 80, 81, 95):  # beside prompts that cross elsewhere, or never do
        pairs = [(long, cut), (long, cut - 5), (short, 30)]
        steps = target.steps([one[:n] for one, n in pairs], [one[n:] for one, n in pairs])
        for (record, n), found in zip(pairs, steps, strict=True):
            assert np.abs(found - next_logprobs(model, record, cut=n)).max() < 1e-4
    expected = next_logprobs(model, long, cut=70)
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=40, seed=0)
    watch = watch_of([[int(token)] for token in long[70:]], vocabulary_size=VOCABULARY)
    (masses,) = target.masses([long[:70]], [long[70:]], sampler=sampler, watch=watch)
    assert np.abs(masses[range(40), range(40)] - np.exp(expected)).max() < 1e-5


def test_a_rope_switch_is_audited_on_either_side_and_across(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened(models / "longrope")
    monkeypatch.setattr(target, "gain_of_one_pass", lambda tokens: 0.0)  # random weights
    for usage in (SHORT, LONG):
        found = examine(target, records(110, 64, 95, 50), usage=usage)
        assert max(found["record-length"], found["cached-decoding"], found["left-padding"]) < 1e-3


def test_a_switch_too_far_off_to_be_tried_is_refused_only_where_it_is_in_use(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "_LONGEST_TRIAL", 79)
    target = opened(models / "longrope")
    assert (target.cached_tokens, target.switches) == (79, ())
    examine(target, records(60, 64, 50), usage=SHORT)
    named = r"record-length .* names original_max_position_embeddings 80"
    with pytest.raises(ConformanceError, match=named):
        examine(target, records(110, 64, 95, 50), usage=LONG)


def test_preflight_never_makes_all_logits_of_a_long_record(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened(models / "longrope")
    monkeypatch.setitem(scoring._CHUNK_LOGITS, "cpu", 16 * VOCABULARY)
    made: list[int] = []
    target._model.get_output_embeddings().register_forward_hook(
        lambda layer, inputs, logits: made.append(logits.numel() // logits.shape[-1])
    )
    target.preflight(records(64))
    assert max(made) == 64  # what is compared with the model's own
    (long,) = records(110)
    assert target.gain_of_one_pass(long) != 0.0
    monkeypatch.setitem(conformance._OWN_TOLERANCE, "one-pass", 9.0)  # random weights
    assert "one-pass" in examine(target, [long, *records(50)], usage=LONG)
    assert max(made) < 79  # the shorter of the two passes; steps give a token each of many rows


def test_where_no_memory_does_each_token_takes_a_whole_pass(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as architectures do that have such positions and do not read anew where they switch
    keeps = GenerationMixin.prepare_inputs_for_generation
    monkeypatch.setattr(Phi3ForCausalLM, "prepare_inputs_for_generation", keeps)
    with pytest.warns(PhigateWarning, match=r"whole passes beyond 79 tokens, so each token"):
        target = opened(models / "longrope")
    assert (target.decoding, target.decoding_beyond) == ("shared prefix", "whole passes")
    (record,) = records(100)
    (found,) = target.steps([record[:70]], [record[70:]])
    expected = next_logprobs(plain(models / "longrope"), record, cut=70)
    assert np.abs(found - expected).max() < 1e-4


def test_a_model_that_one_pass_knows_better_than_it_draws_is_refused(models: Path) -> None:
    target, model = opened(models / "longrope"), plain(models / "longrope")
    with torch.inference_mode():
        # weights are random, so of some records one pass knows more and of others less
        long = max(records(*[110] * 8), key=target._forward.gain_of_one_pass)
        ids = torch.from_numpy(long.astype(np.int64))
        one_pass = model(ids[None]).logits[0].log_softmax(-1)[range(79), ids[1:80]]
    drawn = next_logprobs(model, long, cut=1)[:79]
    gain = float(one_pass.mean()) - np.mean(drawn)
    assert gain > 0.25
    with torch.inference_mode():
        assert target._forward.gain_of_one_pass(long) == pytest.approx(gain, abs=1e-4)
        assert target._forward.gain_of_one_pass(long[:80]) == 0.0
    refused = r"one-pass deviates by .* knows its beginning"
    with pytest.raises(ConformanceError, match=refused):
        examine(target, [long], usage=LONG)
    # of a few records by lot none may come to the switch
    short = records(*[60] * 8)
    assert "one-pass" not in examine(target, short, usage=LONG)
    with pytest.raises(ConformanceError, match=refused):
        examine(target, short, usage=LONG, beyond=lambda length: [long] if length == 80 else [])
    # where the audit cuts it before the switch, it is none that crosses
    found = examine(target, short, usage=SHORT, beyond=lambda length: [long])
    assert "one-pass" not in found


def test_each_switch_has_records_of_its_own_and_all_of_them_are_compared(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened(models / "phimoe")
    compared: list[tuple[int, int]] = []
    switches = (60, 80)

    def gain(tokens: Tokens) -> float:
        end = max(one for one in switches if one < len(tokens))
        compared.append((end, len(tokens)))
        return float("nan") if end == 80 else 0.0

    monkeypatch.setattr(HuggingFaceTarget, "switches", switches)
    monkeypatch.setattr(target, "gain_of_one_pass", gain)
    monkeypatch.setattr(conformance, "_LONG_TOKENS", 64)  # what other checks may take is no bound
    with pytest.raises(ConformanceError, match="one-pass deviates by nan"):
        examine(target, records(50, 90, 70, 110, 127), usage=LONG)
    assert compared == [(60, 80), (60, 70), (60, 80), (60, 80), (80, 90), (80, 110), (80, 112)]


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 2.0},
        {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64},
        {"rope_type": "dynamic", "factor": 2.0},
        {
            "rope_type": "llama3",
            "factor": 2.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda scaling: str(scaling["rope_type"]),
)
def test_scaled_positions_share_prefixes_at_all_lengths(
    tmp_path: Path, scaling: dict[str, Any]
) -> None:
    tiny_models.save_llama(tmp_path / "model", context=128, rope=scaling)
    target = opened(tmp_path / "model")
    assert (target.cached_tokens, target.decoding) == (None, "shared prefix")
    found = examine(target, records(110, 64, 50), usage=LONG)
    assert found["cached-decoding"] < 1e-4


def test_a_masked_language_model_is_refused_as_one(models: Path) -> None:
    with pytest.raises(ConformanceError, match=r"later-tokens .* not a causal model"):
        examine(opened(models / "bert"), records(60, 50), usage=SHORT)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({"sliding_window": 96}, {"sliding_window": 96}),
        (
            {"attention_chunk_size": 32, "chunk_size": 8},
            {"attention_chunk_size": 32, "chunk_size": 8},
        ),
        (
            {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 64}},
            {"original_max_position_embeddings": 64},
        ),
        ({"attention_window": [16, 32]}, {"attention_window": 16, "attention_window (32)": 32}),
        ({"window_size": 256, "max_window_layers": 28}, {"max_window_layers": 28}),
        ({"use_sliding_window": True, "sliding_window": None, "num_local_experts": 8}, {}),
        ({"sliding_window": 4096, "sliding_window_pattern": 1}, {}),
    ],
)
def test_a_configuration_s_lengths_below_the_context_are_read(
    shape: dict[str, Any], found: dict[str, int]
) -> None:
    assert _switch_lengths({**shape, "hidden_size": 64}, context_length=128) == found
