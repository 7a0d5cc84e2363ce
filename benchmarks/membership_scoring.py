"""How much faster one forward pass per record is than one per position, and that both agree.

Membership inference (T4) needs the log-probability of every token of a record. The plain way calls
the model once per position on the prefix before it, without a cache; `TargetModel.score` reads all
positions from one pass. Both run here in one process, on the same random GPT-2 and the same
records, so only their ratio is meant to be compared between machines. The scores behind the
verdicts, loss and Min-K% (Shi et al. 2024, arXiv 2310.16789; k = 20), must agree.

    python benchmarks/membership_scoring.py --out scoring.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.utils import logging as transformers_logging

from benchmarks.paper_reference import position_by_position
from checker.policy.documents import ModelSpec
from checker.targets import TargetModel, Tokens
from checker.targets.backends.checkpoint import HuggingFaceBackend

LAYERS, WIDTH, HEADS, VOCABULARY = 4, 256, 4, 1000
K_PERCENT = 20
REPEATS = 3  # of our way; the plain way takes long enough to be timed once


def save_model(directory: Path, *, length: int) -> None:
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=length,
        n_layer=LAYERS,
        n_embd=WIDTH,
        n_head=HEADS,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)


def min_k(logprobs: NDArray[Any]) -> float:
    lowest = np.sort(logprobs)[: max(1, len(logprobs) * K_PERCENT // 100)]
    return float(lowest.mean())


def measure(target: TargetModel, model: Any, records: list[Tokens]) -> dict[str, Any]:
    target.score(records[:1])
    position_by_position(model, records[0][:8])
    began = time.perf_counter()
    plain = [position_by_position(model, record) for record in records]
    plain_s = time.perf_counter() - began
    ours_s = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ours = [scores.logprob for scores in target.score(records)]
        ours_s.append(time.perf_counter() - began)
    pairs = list(zip(plain, ours, strict=True))
    return {
        "records": len(records),
        "length_tokens": len(records[0]),
        "device": target.info.device,
        "dtype": target.info.dtype,
        "threads": torch.get_num_threads(),
        "libraries": target.info.libraries,
        "position_by_position_s": plain_s,
        "one_pass_s": float(np.median(ours_s)),
        "ratio": plain_s / float(np.median(ours_s)),
        "largest_loss_deviation_nats": max(abs(float(a.mean() - b.mean())) for a, b in pairs),
        "largest_min_k_deviation_nats": max(abs(min_k(a) - min_k(b)) for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="one pass per record against one per position")
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--records", type=int, default=16)
    parser.add_argument("--length", type=int, default=256, help="tokens of a record")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    rng = np.random.default_rng(0)
    records = [
        rng.integers(0, VOCABULARY, arguments.length).astype(np.int32)
        for _ in range(arguments.records)
    ]
    with tempfile.TemporaryDirectory() as directory:
        save_model(Path(directory) / "model", length=arguments.length)
        spec = ModelSpec(path="model", device=arguments.device, dtype="float32")
        target = HuggingFaceBackend().open(spec, Path(directory), pad_id=None, eos_id=None)
        model = AutoModelForCausalLM.from_pretrained(Path(directory) / "model").eval()
        result = measure(target, model.to(arguments.device), records)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, value in result.items():
        if not isinstance(value, dict):
            print(f"{name:32} {value:.6g}" if isinstance(value, float) else f"{name:32} {value}")


if __name__ == "__main__":
    main()
