"""Windows, chunks and positions that switch are compared beyond the lengths where they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import VOCABULARY
from transformers import AutoModelForCausalLM

from checker.policy.documents import ModelSpec
from checker.targets import Tokens
from checker.targets.backends.checkpoint import HuggingFaceBackend, _switch_lengths
from checker.targets.conformance import ConformanceError, Usage, examine
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


def test_positions_that_switch_are_refused_only_where_they_do(models: Path) -> None:
    target = opened(models / "longrope")
    assert target.info.switch_lengths == {"original_max_position_embeddings": 80}
    examine(target, records(60, 50), usage=SHORT)
    with pytest.raises(ConformanceError, match=r"record-length .* how long the record goes on"):
        examine(target, records(110, 64), usage=LONG)


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
