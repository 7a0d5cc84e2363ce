"""Hugging Face checkpoints are described without torch and measured as a plain loop would."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.stats import chisquare
from tiny_models import CONTEXT, VOCABULARY
from transformers import AutoModelForCausalLM

from checker.errors import PhigateWarning, TargetError
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, TargetModel, Tokens
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.conformance import Usage, examine
from checker.targets.engine.attention_cache import SharedPrefixCache
from checker.targets.engine.generating import Way
from checker.targets.engine.huggingface import HuggingFaceTarget

ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "gpt2": tiny_models.save_gpt2,
    "llama": tiny_models.save_llama,
    "gemma2": tiny_models.save_gemma2,
    "mamba": tiny_models.save_mamba,
    "mamba2": tiny_models.save_mamba2,
}
LENGTHS = (40, 3, 17, 2, 31, 17)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, save in ARCHITECTURES.items():
        save(root / name)
    return root


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    """A GPT-2 checkpoint that a test may spoil."""
    return Path(shutil.copytree(models / "gpt2", tmp_path / "gpt2"))


def opened(directory: Path, *, eos_id: int | None = None, pad_id: int | None = None) -> TargetModel:
    spec = ModelSpec(path=directory.name, device="cpu")
    return HuggingFaceBackend().open(spec, directory.parent, pad_id=pad_id, eos_id=eos_id)


def described(directory: Path) -> Any:
    return HuggingFaceBackend().describe(ModelSpec(path=directory.name), directory.parent)


def plain(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory).eval()


def wrapped(model: Any, *, eos_id: int | None = None, **changes: Any) -> HuggingFaceTarget:
    settings = {
        "vocabulary_size": VOCABULARY,
        "context_length": CONTEXT,
        "pad_id": None,
        "eos_id": eos_id,
    }
    return HuggingFaceTarget(model, **(settings | changes))


def records(*lengths: int) -> list[Tokens]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCABULARY, length).astype(np.int32) for length in lengths]


def sampler(**changes: float) -> Sampler:
    settings = {"temperature": 1.0, "top_p": 1.0, "horizon_tokens": 8, "seed": 3} | changes
    return Sampler(**settings)  # type: ignore[arg-type]


def one_position_at_a_time(model: Any, sequence: Tokens) -> NDArray[np.float64]:
    """Log-probability of every token after the first: one forward pass over each prefix."""
    ids = torch.from_numpy(sequence.astype(np.int64))
    logs = []
    with torch.inference_mode():
        for position in range(1, len(ids)):
            logits = model(ids[None, :position]).logits[0, -1].double()
            logs.append(float(logits.log_softmax(-1)[ids[position]]))
    return np.array(logs)


def next_token_probabilities(model: Any, prompt: Tokens) -> NDArray[np.float64]:
    with torch.inference_mode():
        logits = model(torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1]
    probabilities: NDArray[np.float64] = logits.double().softmax(-1).numpy()
    return probabilities


def min_k(logprobs: NDArray[Any], percent: int = 20) -> float:
    lowest = np.sort(logprobs)[: max(1, len(logprobs) * percent // 100)]
    return float(lowest.mean())


def as_lists(rollouts: list[list[Tokens]]) -> list[list[list[int]]]:
    return [[row.tolist() for row in rows] for rows in rollouts]


# --- scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_pass_scores_equal_one_position_at_a_time(models: Path, name: str) -> None:
    model = plain(models / name)
    sequences = records(*LENGTHS)
    for sequence, scores in zip(sequences, opened(models / name).score(sequences), strict=True):
        expected = one_position_at_a_time(model, sequence)
        assert scores.logprob.dtype == np.float32
        assert scores.logprob.shape == expected.shape
        assert np.abs(scores.logprob - expected).max() < 1e-4
        assert scores.logprob.mean() == pytest.approx(expected.mean(), abs=1e-4)
        assert min_k(scores.logprob) == pytest.approx(min_k(expected), abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_mean_and_spread_are_those_of_the_full_distribution(models: Path, name: str) -> None:
    (sequence,) = records(12)
    (scores,) = opened(models / name).score([sequence])
    for position in range(11):
        p = next_token_probabilities(plain(models / name), sequence[: position + 1])
        mean = float((p * np.log(p)).sum())
        std = float(np.sqrt((p * (np.log(p) - mean) ** 2).sum()))
        assert scores.mean[position] == pytest.approx(mean, abs=1e-4)
        assert scores.std[position] == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_score_does_not_depend_on_its_batch(models: Path, name: str) -> None:
    sequences = records(*LENGTHS)
    target = opened(models / name)
    together = target.score(sequences)
    small = wrapped(plain(models / name), microbatch_tokens=50).score(sequences)
    for index, sequence in enumerate(sequences):
        alone = target.score([sequence])[0].logprob
        assert np.abs(together[index].logprob - alone).max() < 1e-4
        assert np.abs(small[index].logprob - alone).max() < 1e-4


def test_capped_logits_are_noticed_and_not_chunked(models: Path) -> None:
    # Gemma 2 caps logits after the output embeddings, so those alone would give other scores;
    # that the right ones come out is asserted above, that the short way would fail is this:
    model = plain(models / "gemma2")
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        chunked = model.lm_head(model.model(ids).last_hidden_state).log_softmax(-1)
        full = model(ids).logits.log_softmax(-1)
    assert (chunked - full).abs().max() > 0.1
    assert examine(opened(models / "gemma2"), records(12), usage=Usage())["chunked-head"] == 0.0


def test_progress_counts_every_token_once(models: Path) -> None:
    done: list[int] = []
    target = wrapped(plain(models / "gpt2"), microbatch_tokens=50)
    target.score(records(*LENGTHS), progress=done.append)
    assert sum(done) == sum(LENGTHS)
    assert len(done) > 1
    done.clear()
    target.rollout(records(4, 5), keys=[1, 2], samples=3, sampler=sampler(), progress=done.append)
    assert sum(done) == 2 * 3 * 8


def test_a_batch_that_does_not_fit_is_halved_without_losing_work(models: Path) -> None:
    sequences = records(*LENGTHS)
    expected = [scores.logprob for scores in opened(models / "gpt2").score(sequences)]
    model = plain(models / "gpt2")

    def refuse(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        if arguments[0].shape[0] > 2:
            raise torch.OutOfMemoryError("no room for three")

    model.transformer.wte.register_forward_pre_hook(refuse)
    done: list[int] = []
    found = wrapped(model).score(sequences, progress=done.append)
    assert sum(done) == sum(LENGTHS)
    for scores, logprob in zip(found, expected, strict=True):
        assert np.abs(scores.logprob - logprob).max() < 1e-4


def test_one_sequence_that_does_not_fit_is_an_error(models: Path) -> None:
    model = plain(models / "gpt2")

    def refuse(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        if arguments[0].shape[1] > 20:
            raise torch.OutOfMemoryError("no room at all")

    model.transformer.wte.register_forward_pre_hook(refuse)
    with pytest.raises(TargetError, match="scoring one sequence of 40 tokens does not fit"):
        wrapped(model).score(records(40, 10))


def test_a_model_without_numbers_is_an_error(models: Path) -> None:
    model = plain(models / "gpt2")
    target = wrapped(model)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(torch.nan)
    with pytest.raises(TargetError, match="no numbers"):
        target.score(records(5))
    with pytest.raises(TargetError, match="no numbers"):
        target.rollout(records(5), keys=[1], samples=1, sampler=sampler())


# --- rollouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_rollout_depends_on_key_and_sample_and_not_on_the_batch(models: Path, name: str) -> None:
    target = opened(models / name)
    prompts = records(9, 4, 4, 12)
    keys = [11, 12, 2**64 - 1, 14]
    together = as_lists(target.rollout(prompts, keys=keys, samples=5, sampler=sampler(top_p=0.9)))
    backwards = target.rollout(
        prompts[::-1], keys=keys[::-1], samples=2, sampler=sampler(top_p=0.9)
    )
    assert as_lists(backwards)[::-1] == [rows[:2] for rows in together]
    tiny = wrapped(
        plain(models / name), context_length=target.info.context_length, microbatch_tokens=10
    )
    assert (
        as_lists(tiny.rollout(prompts, keys=keys, samples=5, sampler=sampler(top_p=0.9)))
        == together
    )
    for changed in (sampler(top_p=0.9, seed=4), sampler(top_p=0.9)):
        new_keys = keys if changed.seed == 4 else [key - 5 for key in keys]
        other = target.rollout(prompts, keys=new_keys, samples=5, sampler=changed)
        assert as_lists(other) != together


def test_a_longer_horizon_continues_the_same_draws(models: Path) -> None:
    target = opened(models / "llama")
    short = target.rollout(records(5), keys=[1], samples=4, sampler=sampler(horizon_tokens=4))
    long = target.rollout(records(5), keys=[1], samples=4, sampler=sampler(horizon_tokens=9))
    assert [row[:4].tolist() for row in long[0]] == [row.tolist() for row in short[0]]


def frequencies(target: TargetModel, prompt: Tokens, settings: Sampler) -> NDArray[np.int64]:
    drawn = target.rollout([prompt], keys=[21], samples=3000, sampler=settings)[0]
    return np.bincount([int(row[0]) for row in drawn], minlength=VOCABULARY)


def fits(observed: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """Return the chi-square p-value, with the tokens of fewer than five expected put together."""
    counts = expected * observed.sum()
    rare = counts < 5
    bins = [np.append(values[~rare], values[rare].sum()) for values in (observed, counts)]
    if bins[1][-1] == 0:
        bins = [values[:-1] for values in bins]
    return float(chisquare(bins[0], bins[1] * (bins[0].sum() / bins[1].sum())).pvalue)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_rollouts_occur_as_often_as_the_softmax_says(models: Path, name: str) -> None:
    (prompt,) = records(6)
    observed = frequencies(opened(models / name), prompt, sampler(horizon_tokens=1))
    model = plain(models / name)
    assert fits(observed, next_token_probabilities(model, prompt)) > 0.001
    # The control: the distribution after another prompt is told apart.
    assert fits(observed, next_token_probabilities(model, prompt[:-1])) < 1e-9


def test_temperature_and_top_p_shape_what_is_drawn(models: Path) -> None:
    (prompt,) = records(6)
    target = opened(models / "gpt2")
    plainly = next_token_probabilities(plain(models / "gpt2"), prompt)
    hot = plainly ** (1 / 2.0)
    hot /= hot.sum()
    observed = frequencies(target, prompt, sampler(horizon_tokens=1, temperature=2.0))
    assert fits(observed, hot) > 0.001
    assert fits(observed, plainly) < 1e-9

    order = np.argsort(-hot)
    count = int(np.searchsorted(hot[order].cumsum(), 0.7)) + 1  # smallest set with mass 0.7
    kept = np.zeros_like(hot)
    kept[order[:count]] = hot[order[:count]]
    observed = frequencies(target, prompt, sampler(horizon_tokens=1, temperature=2.0, top_p=0.7))
    assert observed[kept == 0].sum() == 0
    assert fits(observed, kept / kept.sum()) > 0.001
    assert 1 < count < VOCABULARY


def test_eos_cuts_a_rollout_only_where_it_is_declared(models: Path) -> None:
    # The checkpoint's own configuration names 2 as end of sequence; only the caller's word counts.
    prompts = records(5, 9)
    whole = opened(models / "gpt2").rollout(prompts, keys=[1, 2], samples=20, sampler=sampler())
    assert {len(row) for rows in whole for row in rows} == {8}
    assert any(2 in row for rows in whole for row in rows)
    cut = opened(models / "gpt2", eos_id=2, pad_id=0).rollout(
        prompts, keys=[1, 2], samples=20, sampler=sampler()
    )
    expected = [
        [row[: row.tolist().index(2)].tolist() if 2 in row else row.tolist() for row in rows]
        for rows in whole
    ]
    assert as_lists(cut) == expected


def test_generation_settings_of_the_checkpoint_do_not_leak_in(models: Path, copied: Path) -> None:
    settings: dict[str, Any] = {
        "temperature": 0.01,
        "repetition_penalty": 9.0,
        "eos_token_id": 2,
        "top_k": 1,
    }
    settings |= {"do_sample": True, "num_beams": 3, "suppress_tokens": [5], "max_new_tokens": 2}
    (copied / "generation_config.json").write_text(json.dumps(settings))
    arguments: dict[str, Any] = {"keys": [1], "samples": 10, "sampler": sampler()}
    expected = opened(models / "gpt2").rollout(records(5), **arguments)
    assert as_lists(opened(copied).rollout(records(5), **arguments)) == as_lists(expected)


def test_prompt_and_horizon_beyond_the_context_are_refused(models: Path) -> None:
    target = opened(models / "gpt2")
    with pytest.raises(TargetError, match=r"needs 60 [+] 8 tokens, but the context holds 64"):
        target.rollout(records(60), keys=[1], samples=1, sampler=sampler())
    assert target.rollout(records(56), keys=[1], samples=1, sampler=sampler())
    with pytest.raises(TargetError, match="holds token 23, but ids run from 0 to 22"):
        target.score([np.array([1, 23], dtype=np.int32)])


# --- embeddings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "width"), [("gpt2", 32), ("llama", 32), ("mamba", 16)])
def test_embeddings_are_the_last_hidden_state_at_the_last_token(
    models: Path, name: str, width: int
) -> None:
    sequences = records(7, 1, 20)
    embedded = opened(models / name).embed(sequences)
    assert embedded.shape == (3, width)
    assert embedded.dtype == np.float32
    model = plain(models / name)
    for sequence, row in zip(sequences, embedded, strict=True):
        with torch.inference_mode():
            ids = torch.from_numpy(sequence.astype(np.int64))[None]
            expected = model.base_model(ids).last_hidden_state[0, -1].numpy()
        assert np.abs(row - expected).max() < 1e-4


# --- preflight ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_preflight_clears_a_sound_target(models: Path, name: str) -> None:
    found = examine(opened(models / name), records(*LENGTHS, 64, 64), usage=Usage())
    in_nats = {
        "later-tokens",
        "record-length",
        "cached-decoding",
        "left-padding",
        "batch-composition",
        "sampled-scores",
        "chunked-head",
        "probability-sum",
    }
    in_errors = {"end-of-record", "drawn-against-scored", "first-tokens", "repetition"}
    assert set(found) == in_nats | in_errors | {"same-key", "batch-draws", "watched-classes"}
    assert found["watched-classes"] < 1e-5  # probabilities
    assert max(found[name] for name in in_nats) < 1e-3
    assert max(found[name] for name in in_errors) < 4
    assert found["same-key"] == 0.0


def lose_positions(model: Any) -> None:
    """Put every token that is fed alone one place too early."""

    def earlier(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (places,) = arguments
        return ((places - 1).clamp(min=0),) if places.shape[-1] == 1 else arguments

    model.transformer.wpe.register_forward_pre_hook(earlier)


def test_preflight_flags_steps_that_lose_positions(models: Path) -> None:
    model = plain(models / "gpt2")
    target = wrapped(model)
    lose_positions(model)
    with pytest.raises(TargetError, match=r"preflight: cached-decoding deviates by \d"):
        examine(target, records(*LENGTHS), usage=Usage())


def test_a_model_that_loses_positions_is_drawn_from_by_whole_passes(models: Path) -> None:
    # Broken before it is loaded: no memory suits it, and what has none loses nothing.
    model = plain(models / "gpt2")
    lose_positions(model)
    with pytest.warns(PhigateWarning, match=r"each token is drawn by a pass over all"):
        target = wrapped(model)
    assert target.decoding == "whole passes"
    found = examine(target, records(*LENGTHS), usage=Usage(horizon_tokens=8))
    assert found["cached-decoding"] < 1e-4


def test_preflight_flags_rows_that_see_what_is_not_theirs(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened(models / "llama")
    arrange = SharedPrefixCache._arrange

    def unmasked(self: SharedPrefixCache, rows: Any) -> None:
        arrange(self, rows)
        self.unseen = None

    monkeypatch.setattr(SharedPrefixCache, "_arrange", unmasked)
    with pytest.raises(TargetError, match=r"preflight: left-padding deviates by \d"):
        examine(target, records(*LENGTHS), usage=Usage())


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_preflight_flags_a_state_that_takes_in_padding(models: Path, name: str) -> None:
    model = plain(models / name)
    target = wrapped(model, context_length=None)

    def unmask(_: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        return arguments, keywords | {"attention_mask": None}

    model.backbone.register_forward_pre_hook(unmask, with_kwargs=True)
    with pytest.raises(TargetError, match=r"preflight: left-padding deviates by \d"):
        examine(target, records(*LENGTHS), usage=Usage())


def test_a_model_that_sees_its_padding_is_given_none_and_flagged_with_it(models: Path) -> None:
    model = plain(models / "gemma2")
    prepare = model.prepare_inputs_for_generation

    @functools.wraps(prepare)  # generate reads the signature
    def broken(*arguments: Any, **keywords: Any) -> Any:
        return prepare(*arguments, **keywords) | {"attention_mask": None}

    model.prepare_inputs_for_generation = broken
    target = wrapped(model)
    found = examine(target, records(*LENGTHS), usage=Usage(horizon_tokens=8))
    assert found["left-padding"] < 1e-4
    target._way = Way("padded")
    with pytest.raises(TargetError, match=r"preflight: left-padding deviates by \d"):
        examine(target, records(*LENGTHS), usage=Usage())


@pytest.mark.filterwarnings("ignore:steps that keep:checker.errors.PhigateWarning")
def test_preflight_flags_a_score_that_depends_on_the_batch(models: Path) -> None:
    model = plain(models / "gpt2")

    def mix(_: Any, arguments: Any, output: Any) -> Any:
        if output.last_hidden_state.shape[0] > 1 and output.past_key_values is None:
            output.last_hidden_state = output.last_hidden_state + 0.1
        return output

    model.transformer.register_forward_hook(mix)
    with pytest.raises(TargetError, match=r"preflight: batch-composition deviates by \d"):
        examine(wrapped(model), records(*LENGTHS), usage=Usage())


def test_preflight_needs_a_record(models: Path) -> None:
    with pytest.raises(TargetError, match="at least one record"):
        examine(opened(models / "gpt2"), records(1), usage=Usage())


# --- checkpoints --------------------------------------------------------------------------------


def test_a_description_names_files_and_digests(models: Path) -> None:
    description = described(models / "gpt2")
    assert (description.vocabulary_size, description.context_length) == (VOCABULARY, CONTEXT)
    assert description.bos_token_id == 1
    weights = (models / "gpt2" / "model.safetensors").read_bytes()
    assert set(description.files) == {
        path.name for path in (models / "gpt2").iterdir()
    }  # whatever save_pretrained wrote
    assert description.files["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert description.sha256 != described(models / "llama").sha256
    assert described(models / "mamba").context_length is None


def test_info_says_what_the_numbers_were_computed_with(models: Path) -> None:
    info = opened(models / "gpt2").info
    assert (info.device, info.dtype, info.microbatch_tokens) == ("cpu", "float32", 16_384)
    assert set(info.libraries) == {"numpy", "torch", "transformers"}


def test_a_sharded_checkpoint_is_read_whole(models: Path, tmp_path: Path) -> None:
    plain(models / "gpt2").save_pretrained(tmp_path / "gpt2", max_shard_size="20KB")
    description = described(tmp_path / "gpt2")
    assert "model.safetensors.index.json" in description.files
    assert len(description.files) > 3
    (scores,) = opened(tmp_path / "gpt2").score(records(9))
    (expected,) = opened(models / "gpt2").score(records(9))
    assert scores.logprob.tolist() == expected.logprob.tolist()
    missing = sorted((tmp_path / "gpt2").glob("*.safetensors"))[0]
    missing.unlink()
    with pytest.raises(TargetError, match=f"{missing.name}: this shard is missing"):
        described(tmp_path / "gpt2")


def test_a_nested_text_configuration_is_read(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    nested = {"text_config": config, "architectures": config["architectures"]}
    (copied / "config.json").write_text(json.dumps(nested))
    assert described(copied).context_length == CONTEXT


def spoil_weights(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def spoil_header(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0this is no json!")


def only_pickle(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def adapter_only(directory: Path) -> None:
    (directory / "config.json").rename(directory / "adapter_config.json")


def adapter_too(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")


def broken_config(directory: Path) -> None:
    (directory / "config.json").write_text("{'vocab_size': 3}")


def edited_config(directory: Path, **changes: Any) -> None:
    config = json.loads((directory / "config.json").read_text()) | changes
    (directory / "config.json").write_text(json.dumps(config))


def custom_code(directory: Path) -> None:
    edited_config(directory, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})


def no_vocabulary(directory: Path) -> None:
    edited_config(directory, vocab_size=None)


def escaping_index(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    index = {"weight_map": {"wte": "../elsewhere.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_weights, r"model\.safetensors: is cut short"),
        (spoil_header, r"model\.safetensors: is cut short or no safetensors file"),
        (only_pickle, r"only pickled weights \(pytorch_model\.bin\).*save_pretrained"),
        (no_weights, r"no weights; expected model\.safetensors"),
        (no_config, r"no config\.json"),
        (adapter_only, "holds an adapter, not a model; name it as model.adapter"),
        (adapter_too, "name that as model.adapter"),
        (broken_config, r"config\.json: is not valid JSON"),
        (custom_code, "trustRemoteCode: true"),
        (no_vocabulary, "vocab_size is missing"),
        (escaping_index, "no safetensors file of this directory"),
    ],
)
def test_a_checkpoint_that_cannot_be_audited_is_refused_in_a_sentence(
    copied: Path, spoil: Callable[[Path], None], message: str
) -> None:
    assert described(copied)
    spoil(copied)
    for attempt in (described, opened):
        with pytest.raises(TargetError, match=message) as caught:
            attempt(copied)
        assert str(caught.value).startswith(str(copied))


def test_a_name_on_the_hub_is_not_fetched(tmp_path: Path) -> None:
    spec = ModelSpec(path="openai-community/gpt2")
    with pytest.raises(TargetError, match="local directories only"):
        HuggingFaceBackend().describe(spec, tmp_path)
    with pytest.raises(TargetError, match=r"no such directory; model\.path is relative"):
        HuggingFaceBackend().describe(ModelSpec(path="./absent"), tmp_path)


def test_custom_code_is_part_of_the_identity_where_it_may_run(copied: Path) -> None:
    custom_code(copied)
    (copied / "modeling_evil.py").write_text("raise SystemExit\n")
    spec = ModelSpec(path=copied.name, trust_remote_code=True)
    description = HuggingFaceBackend().describe(spec, copied.parent)
    assert "modeling_evil.py" in description.files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "lacks weights that its architecture needs"),
        ({"n_layer": 1}, "has weights that its architecture does not use"),
        ({"n_positions": 32}, "loading the model failed"),
        ({"model_type": "no-such-architecture"}, "loading the model failed"),
    ],
)
def test_weights_that_do_not_fit_the_architecture_are_refused(
    copied: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    edited_config(copied, **change)
    with pytest.raises(TargetError, match=message):
        opened(copied)
    assert capfd.readouterr().err == ""


def with_tensors(directory: Path, more: dict[str, torch.Tensor]) -> Path:
    weights = directory / "model.safetensors"
    save_file({**load_file(weights), **more}, weights, metadata={"format": "pt"})
    return directory


def constants(size: int = CONTEXT, score: float = -1e4) -> dict[str, torch.Tensor]:
    """What early versions of transformers saved with a GPT-2 of two layers."""
    found: dict[str, torch.Tensor] = {}
    for layer in range(2):
        name = f"transformer.h.{layer}.attn"
        found[f"{name}.bias"] = torch.ones(1, 1, size, size, dtype=torch.uint8).tril()
        found[f"{name}.masked_bias"] = torch.tensor(score)
    return found


def test_constants_of_old_gpt2_checkpoints_are_no_weights(models: Path, copied: Path) -> None:
    sequences = records(*LENGTHS)
    found = opened(with_tensors(copied, constants())).score(sequences)
    for ours, theirs in zip(found, opened(models / "gpt2").score(sequences), strict=True):
        assert np.array_equal(ours.logprob, theirs.logprob)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"transformer.h.0.attn.bias": torch.ones(1, 1, CONTEXT, CONTEXT)},
            r"attn\.bias is not the constant .* other attention",
        ),
        ({"transformer.h.1.attn.bias": torch.ones(CONTEXT)}, r"attn\.bias is not the constant"),
        (constants(score=-1.0), r"attn\.masked_bias is not the constant"),
        (
            {"transformer.h.0.attn.masked_bias": torch.full((3,), -1e4)},
            r"attn\.masked_bias is not the constant",
        ),
        ({**constants(), "transformer.h.0.attn.extra": torch.zeros(3)}, r"attn\.extra, 1 in all"),
        ({"transformer.h.0.mlp.bias": torch.zeros(3)}, r"does not use \(transformer\.h\.0\.mlp"),
    ],
)
def test_what_else_is_left_over_is_refused(
    copied: Path, more: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(TargetError, match=message):
        opened(with_tensors(copied, more))


def test_only_gpt2_has_such_constants(models: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(models / "llama", tmp_path / "llama"))
    name = "transformer.h.0.attn.masked_bias"
    with pytest.raises(TargetError, match="weights that its architecture does not use"):
        opened(with_tensors(copied, {name: torch.tensor(-1e4)}))


def test_loading_and_running_is_quiet(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = opened(models / "mamba")
    target.rollout(records(5, 3), keys=[1, 2], samples=2, sampler=sampler())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_missing_device_is_named(models: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    spec = ModelSpec(path="gpt2", device="cuda")
    with pytest.raises(TargetError, match=r"model\.device is cuda, but torch sees 0 CUDA devices"):
        HuggingFaceBackend().open(spec, models, pad_id=None, eos_id=None)
