"""Tokens per second of rollouts and scoring, against plain ways and against the hardware.

For models of GPT-2, Llama and Mamba2 type with random weights:

* rollouts against transformers' `generate`, which samples with its own top-p, left-padded, prompts
  sorted by length, at the best of several batch sizes;
* scoring against one forward pass per position (as `benchmarks/membership_scoring.py` has it);
* both as a share of a bound measured in the same run: the rate of a large matrix product over the
  floating-point operations of a token's matrix products (counted by torch), and for rollouts also
  the rate of a large copy over the bytes a step has to move: the weights once, each prompt's keys
  and values once, each row's own, or each row's state in and out. The bound is the slower of the
  two. Elementwise work counts for nothing, so no real model reaches it.

Ways that are compared run one after the other, several times, and ratios are medians of pairs: on
a busy machine seconds mean little and ratios something. A profile says where the time goes.

    python benchmarks/engine_throughput.py --out engine.json
    python benchmarks/engine_throughput.py --out engine.json --device cuda --size 120m
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    Mamba2Config,
)
from transformers.utils import logging as transformers_logging

from benchmarks.membership_scoring import min_k
from benchmarks.paper_reference import position_by_position
from checker.targets import Sampler, Tokens
from checker.targets.engine.huggingface import HuggingFaceTarget

TOP_P = 0.95
SHOWN_OPERATIONS = 8


@dataclass(frozen=True, slots=True)
class Size:
    """How large models and work are."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    prompts: int
    shortest: int
    longest: int
    samples: int
    horizon: int
    records: int
    plain_records: int
    generate_rows: tuple[int, ...]
    matmul: int
    copied_bytes: int


SIZES = {
    "test": Size(2, 32, 2, 50, 64, 4, 4, 20, 2, 6, 3, 1, (2, 8), 64, 1 << 16),
    "tiny": Size(
        6, 256, 4, 2000, 512, 32, 20, 220, 10, 100, 32, 2, (10, 20, 40, 80), 1024, 1 << 28
    ),
    "120m": Size(
        12, 768, 12, 40_000, 2048, 256, 50, 600, 10, 100, 256, 1, (64, 256, 1024), 8192, 1 << 32
    ),
}
KINDS = ("gpt2", "llama", "mamba2")


def make_model(kind: str, size: Size, *, device: str, seed: int = 0) -> Any:
    """Return a model with random weights, in the number format its device is audited in."""
    configs: dict[str, Callable[[], Any]] = {
        "gpt2": lambda: GPT2Config(
            vocab_size=size.vocabulary,
            n_positions=size.context,
            n_embd=size.width,
            n_layer=size.layers,
            n_head=size.heads,
            bos_token_id=0,
            eos_token_id=0,
        ),
        "llama": lambda: LlamaConfig(
            vocab_size=size.vocabulary,
            max_position_embeddings=size.context,
            hidden_size=size.width,
            intermediate_size=size.width * 8 // 3,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=max(1, size.heads // 2),
        ),
        # two layers for each of a transformer's, as in the published models
        "mamba2": lambda: Mamba2Config(
            vocab_size=size.vocabulary,
            hidden_size=size.width,
            num_hidden_layers=2 * size.layers,
            expand=2,
            head_dim=2 * size.width // size.heads,
            num_heads=size.heads,
            state_size=64,
            n_groups=1,
            chunk_size=64,
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(configs[kind]())
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return model.to(device=device, dtype=dtype).eval()


def wrap(model: Any, kind: str, size: Size) -> HuggingFaceTarget:
    return HuggingFaceTarget(
        model,
        vocabulary_size=size.vocabulary,
        context_length=None if kind == "mamba2" else size.context,
        pad_id=None,
        eos_id=None,
    )


# --- the hardware -------------------------------------------------------------------------------


def seconds(run: Callable[[], Any], *, device: str) -> float:
    """Time one run; a GPU is waited for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matmul_rate(size: Size, *, device: str, dtype: torch.dtype, repeats: int = 5) -> float:
    """Return floating-point operations per second of a large matrix product."""
    a = torch.randn(size.matmul, size.matmul, device=device, dtype=dtype)
    seconds(lambda: a @ a, device=device)
    times = [seconds(lambda: a @ a, device=device) for _ in range(repeats)]
    return 2 * size.matmul**3 / float(np.median(times))


def copy_rate(size: Size, *, device: str, repeats: int = 5) -> float:
    """Return bytes per second, read and written, of a large copy."""
    a = torch.zeros(size.copied_bytes // 4, device=device)
    b = torch.empty_like(a)
    seconds(lambda: b.copy_(a), device=device)
    times = [seconds(lambda: b.copy_(a), device=device) for _ in range(repeats)]
    return 2 * a.nbytes / float(np.median(times))


def attention_operations(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Return the operations of attention, from shapes [..., length, D] of what goes in.

    All of them, as torch counts a GPU's: those that a causal mask spares are not taken off.
    """
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def operations(run: Callable[[], Any]) -> int:
    """Return the floating-point operations of all matrix products and convolutions."""
    # torch knows what attention takes on a GPU, and counts nothing for that on a CPU
    cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={cpu: attention_operations}) as counter:
        run()
    return int(counter.get_total_flops())


def moved_bytes_per_step(
    model: Any, kind: str, size: Size, *, rows: float, prefixes: float, prompt_tokens: float
) -> float:
    """Return what one step of a batch has to read and write at least."""
    weights = sum(p.nbytes for p in model.parameters())
    item = next(model.parameters()).element_size()
    if kind == "mamba2":
        config = model.config
        state = config.num_heads * config.head_dim * config.state_size
        conv = (config.expand * config.hidden_size + 2 * config.state_size) * config.conv_kernel
        return float(weights + rows * config.num_hidden_layers * (state + conv) * item * 2)
    heads = getattr(model.config, "num_key_value_heads", size.heads)
    per_token = 2 * size.layers * heads * (size.width // size.heads) * item
    return float(weights + per_token * (prefixes * prompt_tokens + rows * size.horizon / 2))


# --- rollouts -----------------------------------------------------------------------------------


def some_tokens(lengths: Any, *, vocabulary: int, seed: int) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, int(n)).astype(np.int32) for n in lengths]


def some_prompts(size: Size) -> list[Tokens]:
    lengths = np.random.default_rng(0).integers(size.shortest, size.longest + 1, size.prompts)
    return some_tokens(lengths, vocabulary=size.vocabulary, seed=1)


@torch.inference_mode()
def plain_generate(model: Any, prompts: list[Tokens], size: Size, *, rows: int) -> int:
    """Continue every prompt `samples` times with `generate`; return the tokens it gave."""
    flat = sorted((p for p in prompts for _ in range(size.samples)), key=len, reverse=True)
    config = GenerationConfig(
        max_new_tokens=size.horizon,
        do_sample=True,
        temperature=1.0,
        top_p=TOP_P,
        top_k=0,
        pad_token_id=0,
        eos_token_id=None,
    )
    total = 0
    for start in range(0, len(flat), rows):
        batch = flat[start : start + rows]
        width = len(batch[0])
        ids = torch.zeros(len(batch), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for line, real, prompt in zip(ids, mask, batch, strict=True):
            line[width - len(prompt) :] = torch.from_numpy(prompt)
            real[width - len(prompt) :] = 1
        produced = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
        total += produced[:, width:].numel()
    return total


def measure_rollouts(
    kind: str, size: Size, *, device: str, repeats: int, rates: dict[str, float]
) -> dict[str, Any]:
    model = make_model(kind, size, device=device)
    target = wrap(make_model(kind, size, device=device), kind, size)
    prompts = some_prompts(size)
    how = Sampler(temperature=1.0, top_p=TOP_P, horizon_tokens=size.horizon, seed=0)
    tokens = size.prompts * size.samples * size.horizon

    def ours() -> list[list[Tokens]]:
        return target.rollout(prompts, keys=range(size.prompts), samples=size.samples, sampler=how)

    steps: list[int] = []
    hook = target._model.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: steps.append(given[0].shape[0]) if given[0].shape[1] == 1 else None
    )
    drawn = ours()
    hook.remove()
    scanned = {
        rows: tokens
        / seconds(partial(plain_generate, model, prompts, size, rows=rows), device=device)
        for rows in size.generate_rows
    }
    best = max(scanned, key=lambda rows: scanned[rows])
    pairs = [
        (
            seconds(ours, device=device),
            seconds(lambda: plain_generate(model, prompts, size, rows=best), device=device),
        )
        for _ in range(repeats)
    ]
    ours_s, plain_s = np.median(np.array(pairs), axis=0).tolist()
    rows = float(np.mean(steps))
    few = some_prompts(size)[:2]
    counted = operations(
        lambda: target.rollout(few, keys=range(2), samples=size.samples, sampler=how)
    )
    arithmetic_s = counted / (2 * size.samples * size.horizon) / rates["matmul_flops_per_s"]
    moved = moved_bytes_per_step(
        model,
        kind,
        size,
        rows=rows,
        prefixes=rows / size.samples,
        prompt_tokens=float(np.mean([len(p) for p in prompts])),
    )
    bandwidth_s = moved / rows / rates["copy_bytes_per_s"]
    bound = 1 / max(arithmetic_s, bandwidth_s)
    return {
        "decoding": target.decoding,
        "prompts": size.prompts,
        "prompt_tokens": [min(map(len, prompts)), max(map(len, prompts))],
        "samples": size.samples,
        "horizon_tokens": size.horizon,
        "tokens_drawn": sum(len(row) for rows_ in drawn for row in rows_),
        "mean_rows_a_step": rows,
        "tokens_per_s": tokens / ours_s,
        "generate_tokens_per_s_by_rows": {str(k): v for k, v in scanned.items()},
        "generate_rows": best,
        "generate_tokens_per_s": tokens / plain_s,
        "ratio_to_generate": float(np.median([plain / own for own, plain in pairs])),
        "arithmetic_bound_tokens_per_s": 1 / arithmetic_s,
        "bandwidth_bound_tokens_per_s": 1 / bandwidth_s,
        "share_of_bound": tokens / ours_s / bound,
        "profile": where_time_goes(ours),
        "generate_profile": where_time_goes(
            lambda: plain_generate(model, prompts[: max(1, best // size.samples)], size, rows=best)
        ),
    }


# --- scoring ------------------------------------------------------------------------------------


def measure_scoring(
    kind: str, size: Size, *, device: str, repeats: int, rates: dict[str, float]
) -> dict[str, Any]:
    model = make_model(kind, size, device=device)
    target = wrap(make_model(kind, size, device=device), kind, size)
    lengths = [size.context] * size.records
    records = some_tokens(lengths, vocabulary=size.vocabulary, seed=2)
    few = records[: size.plain_records]
    target.score(few)
    times, plain_times = [], []
    plain: list[Any] = []
    for _ in range(repeats):
        times.append(seconds(lambda: target.score(records), device=device))
    plain_times.append(
        seconds(lambda: plain.extend(position_by_position(model, r) for r in few), device=device)
    )
    tokens_per_s = sum(lengths) / float(np.median(times))
    plain_per_s = size.plain_records * size.context / plain_times[0]
    ours = [scores.logprob for scores in target.score(few)]
    counted = operations(lambda: target.score(few)) / (len(few) * size.context)
    return {
        "records": size.records,
        "length_tokens": size.context,
        "tokens_per_s": tokens_per_s,
        "position_by_position_tokens_per_s": plain_per_s,
        "ratio_to_position_by_position": tokens_per_s / plain_per_s,
        "largest_logprob_deviation_nats": max(
            float(np.abs(a - b).max()) for a, b in zip(plain, ours, strict=True)
        ),
        "largest_min_k_deviation_nats": max(
            abs(min_k(a) - min_k(b)) for a, b in zip(plain, ours, strict=True)
        ),
        "arithmetic_bound_tokens_per_s": rates["matmul_flops_per_s"] / counted,
        "share_of_bound": tokens_per_s * counted / rates["matmul_flops_per_s"],
        "profile": where_time_goes(lambda: target.score(records)),
    }


def where_time_goes(run: Callable[[], Any]) -> dict[str, float]:
    """Return the operations that take most time, and the share of each."""
    activities = [ProfilerActivity.CPU]
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        run()
    times = {
        event.key: float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in recorded.key_averages()
    }
    total = sum(times.values())
    most = sorted(times, key=lambda key: -times[key])[:SHOWN_OPERATIONS]
    return {key.removeprefix("aten::"): times[key] / total for key in most}


def measure(
    kinds: tuple[str, ...],
    size_name: str,
    *,
    device: str,
    repeats: int,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Measure one kind after the other; `keep` is given what is there after each."""
    size = SIZES[size_name]
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    rates = {
        "matmul_flops_per_s": matmul_rate(size, device=device, dtype=dtype),
        "copy_bytes_per_s": copy_rate(size, device=device),
    }
    found: dict[str, Any] = {
        "size": size_name,
        "device": device,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        **rates,
    }
    for kind in kinds:
        model = make_model(kind, size, device=device)
        info = wrap(model, kind, size).info
        found["libraries"], found["device_name"] = info.libraries, info.device
        found[kind] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "microbatch_tokens": info.microbatch_tokens,
            "rollouts": measure_rollouts(kind, size, device=device, repeats=repeats, rates=rates),
            "scoring": measure_scoring(kind, size, device=device, repeats=repeats, rates=rates),
        }
        keep(found)
    return found


def table(found: dict[str, Any], kinds: tuple[str, ...]) -> str:
    lines = [
        f"{found['device_name']}, {found['dtype']}, {found['threads']} threads: "
        f"{found['matmul_flops_per_s'] / 1e9:.0f} GFLOP/s, "
        f"{found['copy_bytes_per_s'] / 1e9:.1f} GB/s",
        f"{'':8} {'':14} {'tokens/s':>12} {'plain way':>12} {'ratio':>8} {'of bound':>9}",
    ]
    for kind in kinds:
        drawn, scored = found[kind]["rollouts"], found[kind]["scoring"]
        lines += [
            f"{kind:8} {'rollouts':14} {drawn['tokens_per_s']:12.0f}"
            f" {drawn['generate_tokens_per_s']:12.0f} {drawn['ratio_to_generate']:8.2f}"
            f" {drawn['share_of_bound']:9.1%}",
            f"{'':8} {'scoring':14} {scored['tokens_per_s']:12.0f}"
            f" {scored['position_by_position_tokens_per_s']:12.0f}"
            f" {scored['ratio_to_position_by_position']:8.1f} {scored['share_of_bound']:9.1%}",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="tokens per second of rollouts and scoring")
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--models", default=",".join(KINDS), help="of " + ", ".join(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    kinds = tuple(arguments.models.split(","))

    def keep(found: dict[str, Any]) -> None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    found = measure(
        kinds, arguments.size, device=arguments.device, repeats=arguments.repeats, keep=keep
    )
    print(table(found, kinds))


if __name__ == "__main__":
    main()
