"""Rollouts read each prompt once, keep their batches full, and draw what a plain loop draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import CONTEXT, VOCABULARY
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from checker.errors import TargetError
from checker.targets import Sampler, Tokens
from checker.targets.engine.decoding import CHECK_EVERY
from checker.targets.engine.huggingface import HuggingFaceTarget
from checker.targets.sampling import cut_at, shape_probabilities, uniforms

ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "gpt2": tiny_models.save_gpt2,
    "llama": tiny_models.save_llama,
    "gemma2": tiny_models.save_gemma2,
    "mamba": tiny_models.save_mamba,
    "mamba2": tiny_models.save_mamba2,
}
WAYS = {
    "gpt2": "shared prefix",
    "llama": "shared prefix",
    "gemma2": "generate",  # caps attention scores, which is no plain attention
    "mamba": "states",
    "mamba2": "states",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, save in ARCHITECTURES.items():
        save(root / name)
    return root


def plain(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory).eval()


def wrapped(model: Any, **changes: Any) -> HuggingFaceTarget:
    settings = {
        "vocabulary_size": VOCABULARY,
        "context_length": None if getattr(model, "_is_stateful", False) else CONTEXT,
        "pad_id": None,
        "eos_id": None,
    }
    return HuggingFaceTarget(model, **(settings | changes))


def records(*lengths: int) -> list[Tokens]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCABULARY, length).astype(np.int32) for length in lengths]


def sampler(**changes: float) -> Sampler:
    settings = {"temperature": 1.0, "top_p": 0.9, "horizon_tokens": 20, "seed": 3} | changes
    return Sampler(**settings)  # type: ignore[arg-type]


def as_lists(rollouts: list[list[Tokens]]) -> list[list[list[int]]]:
    return [[row.tolist() for row in rows] for rows in rollouts]


def plain_loop(
    model: Any, prompt: Tokens, *, key: int, sample: int, how: Sampler, eos_id: int | None
) -> list[int]:
    """Draw one continuation with nothing but full passes and the reference sampler."""
    numbers = uniforms([(key, sample)], sampler=how)[0]
    ids = prompt.astype(np.int64).tolist()
    for number in numbers:
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1].double()
        weights = shape_probabilities(logits.softmax(-1).numpy()[None], sampler=how)[0]
        mass = weights.cumsum()
        ids.append(int(np.searchsorted(mass, number * mass[-1], side="right")))
    drawn = np.array([ids[len(prompt) :]], dtype=np.int32)
    kept: list[int] = cut_at(drawn, eos_id=eos_id)[0].tolist()
    return kept


@contextmanager
def watched(model: Any) -> Iterator[list[tuple[int, int]]]:
    """Note the shape, rows by tokens, of everything the model is fed."""
    shapes: list[tuple[int, int]] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(
        lambda _, arguments: shapes.append(tuple(arguments[0].shape))
    )
    yield shapes
    hook.remove()


def row_steps(shapes: list[tuple[int, int]]) -> int:
    """Count the tokens fed in steps of one per row."""
    return sum(rows for rows, length in shapes if length == 1)


def tokens_read(shapes: list[tuple[int, int]]) -> int:
    """Count the tokens read at once, padding included."""
    return sum(rows * length for rows, length in shapes if length > 1)


# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("eos_id", [None, 2])
def test_rollouts_are_those_of_a_plain_loop(models: Path, name: str, eos_id: int | None) -> None:
    model = plain(models / name)
    target = wrapped(plain(models / name), eos_id=eos_id)
    assert target.decoding == WAYS[name]
    prompts, keys = records(9, 1, 14), [11, 12, 2**64 - 1]
    found = target.rollout(prompts, keys=keys, samples=2, sampler=sampler())
    expected = [
        [
            plain_loop(model, prompt, key=key, sample=sample, how=sampler(), eos_id=eos_id)
            for sample in range(2)
        ]
        for prompt, key in zip(prompts, keys, strict=True)
    ]
    assert as_lists(found) == expected


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2"])
def test_a_batch_kept_full_draws_what_single_rows_draw(models: Path, name: str) -> None:
    prompts = records(9, 4, 4, 12, 1, 30, 7)
    prompts += [prompts[3][:5], prompts[5][:29], prompts[3]]  # beginnings, and one twice
    keys = list(range(len(prompts)))
    one = wrapped(plain(models / name), eos_id=2, microbatch_tokens=1)
    few = wrapped(plain(models / name), eos_id=2, microbatch_tokens=60)
    all_ = wrapped(plain(models / name), eos_id=2)
    drawn = [
        as_lists(target.rollout(prompts, keys=keys, samples=4, sampler=sampler()))
        for target in (one, few, all_)
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({len(row) for rows in drawn[0] for row in rows}) > 5  # rows did end at all times


def test_more_samples_of_a_prompt_than_run_at_once_are_drawn_in_turn(models: Path) -> None:
    target = wrapped(plain(models / "gpt2"))
    (whole,) = target.rollout(records(6), keys=[5], samples=150, sampler=sampler(horizon_tokens=3))
    (first,) = target.rollout(records(6), keys=[5], samples=10, sampler=sampler(horizon_tokens=3))
    assert len(whole) == 150
    assert as_lists([whole[:10]]) == as_lists([first])


# --- what it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2"])
def test_a_prompt_is_read_once_for_all_its_samples(models: Path, name: str) -> None:
    model = plain(models / name)
    target = wrapped(model)
    with watched(model) as shapes:
        target.rollout(records(17), keys=[1], samples=12, sampler=sampler(horizon_tokens=5))
    # the last of 17 tokens is the first that rows are fed
    assert [shape for shape in shapes if shape[1] > 1] == [(1, 16)]
    assert [shape for shape in shapes if shape[1] == 1] == [(12, 1)] * 5


def test_a_prompt_that_begins_another_is_not_read_again(models: Path) -> None:
    model = plain(models / "gpt2")
    target = wrapped(model)
    (longest,) = records(31)
    nested = [longest[:6], longest, longest[:16]]
    with watched(model) as shapes:
        drawn = target.rollout(nested, keys=[1, 2, 3], samples=4, sampler=sampler())
    assert tokens_read(shapes) == 30
    for prompt, key, rows in zip(nested, [1, 2, 3], drawn, strict=True):
        alone = target.rollout([prompt], keys=[key], samples=4, sampler=sampler())
        assert as_lists([rows]) == as_lists(alone)


def test_rows_that_end_make_room_for_others(models: Path) -> None:
    model = plain(models / "llama")
    target = wrapped(model, eos_id=2, microbatch_tokens=100)
    prompts, keys = records(*[8] * 12), list(range(12))
    with watched(model) as shapes:
        drawn = target.rollout(prompts, keys=keys, samples=3, sampler=sampler())
    lengths = [min(len(row) + 1, 20) for rows in drawn for row in rows]
    assert sum(lengths) < 0.8 * 36 * 20  # many did end early
    # a row is fed until the next look at which have ended, and none waits for the longest
    assert row_steps(shapes) <= sum(-(-n // CHECK_EVERY) * CHECK_EVERY for n in lengths)
    assert max(rows for rows, length in shapes if length == 1) < 36
    full = [rows for rows, length in shapes if length == 1]
    assert np.mean(full[: len(full) // 2]) > 0.8 * max(full)


WAITING = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal"}


class Synchronisations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Counts what would make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.count: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], list) else [])
        )
        self.count += int(by_mask or name in WAITING)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2"])
def test_steps_do_not_wait_for_the_device(models: Path, name: str) -> None:
    target = wrapped(plain(models / name))

    def waits(horizon: int) -> int:
        with Synchronisations() as seen:
            target.rollout(
                records(8, 5), keys=[1, 2], samples=2, sampler=sampler(horizon_tokens=horizon)
            )
        count: int = seen.count
        return count

    short, long = waits(CHECK_EVERY), waits(5 * CHECK_EVERY)
    assert long - short == 4  # one look every CHECK_EVERY steps, and nothing else
    # The control: what is counted is what a step that waits would do.
    with Synchronisations() as seen, torch.inference_mode():
        values = torch.ones(3)
        assert bool(values.sum() > 0)
        assert values[values > 0].sum().item() == 3.0
    assert seen.count == 3


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "mamba2", "gemma2"])
def test_a_rollout_batch_that_does_not_fit_is_halved_without_losing_work(
    models: Path, name: str
) -> None:
    prompts, keys = records(9, 4, 12, 5, 8), [1, 2, 3, 4, 5]
    settings: dict[str, Any] = {"keys": keys, "samples": 3, "sampler": sampler()}
    expected = as_lists(wrapped(plain(models / name)).rollout(prompts, **settings))
    model = plain(models / name)
    target = wrapped(model)
    steps = 0

    def refuse(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        nonlocal steps
        steps += 1
        if arguments[0].shape[0] > 4 and steps > 6:  # some steps in, not at the start
            raise torch.OutOfMemoryError("no room for five")

    model.get_input_embeddings().register_forward_pre_hook(refuse)
    done: list[int] = []
    found = target.rollout(prompts, **settings, progress=done.append)
    assert as_lists(found) == expected
    assert sum(done) == 5 * 3 * 20


def test_one_sample_that_does_not_fit_is_an_error(models: Path) -> None:
    model = plain(models / "gpt2")
    target = wrapped(model)

    def refuse(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        raise torch.OutOfMemoryError("no room at all")

    model.transformer.wte.register_forward_pre_hook(refuse)
    message = "generating one sequence of 29 tokens does not fit into the memory of cpu"
    with pytest.raises(TargetError, match=message):
        target.rollout(records(9, 4), keys=[1, 2], samples=2, sampler=sampler())


# --- drawing as many as it takes ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mamba2"])
def test_samples_asked_for_later_are_those_a_larger_number_would_have_drawn(
    models: Path, name: str
) -> None:
    prompts, keys = records(9, 4, 12), [1, 2, 3]
    target = wrapped(plain(models / name), eos_id=2)
    whole = as_lists(target.rollout(prompts, keys=keys, samples=7, sampler=sampler()))
    asked: list[tuple[int, int]] = []

    def more(prompt: int, drawn: list[Tokens]) -> int:
        asked.append((prompt, len(drawn)))
        assert as_lists([drawn]) == [whole[prompt][: len(drawn)]]
        return {0: 0, 1: 2 if len(drawn) < 6 else 0, 2: 5 if len(drawn) < 7 else 0}[prompt]

    done: list[int] = []
    found = target.rollout(
        prompts, keys=keys, samples=2, sampler=sampler(), more=more, progress=done.append
    )
    assert as_lists(found) == [whole[0][:2], whole[1][:6], whole[2][:7]]
    assert sorted(asked) == [(0, 2), (1, 2), (1, 4), (1, 6), (2, 2), (2, 7)]
    assert sum(done) == (2 + 6 + 7) * 20
