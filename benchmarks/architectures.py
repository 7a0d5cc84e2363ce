"""Every causal architecture of transformers, tiny and at 200 tokens: read rightly, or refused.

Windows, chunks of attention and switches of rotary positions lie inside the 200 tokens wherever a
configuration has such a thing. A model that opens is compared with itself by the checks of every
audit, and its steps are compared here, independently, with one whole pass for each position: none
may differ by more than 1e-3 nats.

    python -m benchmarks.architectures [NAME ...] [--out table.json]

Without names all that transformers maps to a causal language model are tried. One that cannot be
made tiny from its configuration's own names is listed as not tried, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.conformance import Usage, examine
from checker.targets.engine.huggingface import HuggingFaceTarget

VOCABULARY = 40
LENGTHS = (200, 120, 64, 50)
"""Of the records that each is compared on, in tokens."""
HORIZON = 20
MOST_PARAMETERS = 3_000_000
TOLERANCE = 1e-3

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "max_position_embeddings": 256, "n_positions": 256, "n_ctx": 256,
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32, "dim": 32,
    "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48, "decoder_ffn_dim": 48, "d_inner": 64,
    "encoder_ffn_dim": 48, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2,
    "encoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "kv_channels": 8, "rotary_dim": 8, "embedding_size": 32, "lru_width": 32,
    "num_local_experts": 2, "num_experts": 2, "n_routed_experts": 2, "num_experts_per_tok": 1,
    "n_shared_experts": 1, "moe_num_experts": 2, "state_size": 8, "context_length": 256,
    "sliding_window": 96, "attention_window_size": 96, "attention_chunk_size": 96,
    "window_size": 96, "chunk_size": 32, "attention_hidden_size": 32, "q_lora_rank": 8,
    "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "use_cache": True,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
    "init_std": 0.2, "is_decoder": True, "mamba_n_heads": 4, "mamba_d_head": 16,
    "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 32, "time_step_rank": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "shared_intermediate_size": 48, "global_attn_every_n_layers": 2,
}  # fmt: skip
"""By the names that configurations use; each architecture takes those that it has."""

EXTRA: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "phi3": {
        "original_max_position_embeddings": 96,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
    },
    "bloom": {"num_attention_heads": 4},
}
"""What an architecture needs beside, or what brings its switches inside the length."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One architecture.

    Args:
        name: as configurations spell it.
        outcome: "works", "refused" or "not tried".
        decoding: how it is decoded; empty where it does not work.
        worst: largest deviation of a step from one whole pass a position, in nats.
        reason: why it is refused, or was not tried.
        seconds: that it took.
    """

    name: str
    outcome: str
    decoding: str = ""
    worst: float | None = None
    reason: str = ""
    seconds: float = 0.0


def try_architecture(
    name: str, *, lengths: Sequence[int] = LENGTHS, horizon: int = HORIZON
) -> Tried:
    """Make, save, open, examine and compare one architecture.

    Args:
        name: as configurations spell it.
        lengths: tokens of each record, the longest first.
        horizon: tokens of each continuation.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            _save(name, Path(folder))
        except Exception as error:  # configurations and models raise every class there is
            text = " ".join(str(error).split())[:160]
            return Tried(name, "not tried", reason=f"{type(error).__name__}: {text}")
        found = _examine(name, Path(folder), lengths=lengths, horizon=horizon)
    return Tried(**{**asdict(found), "seconds": round(time.perf_counter() - begun, 1)})


def _save(name: str, folder: Path) -> None:
    kind = CONFIG_MAPPING[name]
    known = kind()
    shape = {key: value for key, value in SHAPE.items() if hasattr(known, key)}
    config = kind(**{**shape, **EXTRA.get(name, {})})
    with torch.device("meta"):
        count = AutoModelForCausalLM.from_config(config).num_parameters()
    if count > MOST_PARAMETERS:
        raise ValueError(f"{count:,} parameters at the smallest that was tried")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).eval().save_pretrained(folder)


def _examine(name: str, folder: Path, *, lengths: Sequence[int], horizon: int) -> Tried:
    rng = np.random.default_rng(0)
    records = [rng.integers(3, VOCABULARY, n).astype(np.int32) for n in lengths]
    longest, cut = lengths[0], lengths[0] * 3 // 4
    usage = Usage(longest_record=longest, longest_prompt=longest - horizon, horizon_tokens=horizon)
    spec = ModelSpec.model_validate({"path": str(folder), "device": "cpu"})
    try:
        target = HuggingFaceBackend().open(spec, Path("/"), pad_id=0, eos_id=None)
        assert isinstance(target, HuggingFaceTarget)
        examine(target, records, usage=usage)
        record = records[0]
        (steps,) = target.steps([record[:cut]], [record[cut:]])
    except TargetError as error:
        return Tried(name, "refused", reason=str(error).replace(str(folder), "…")[:400])
    own = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.from_numpy(record.astype(np.int64))
    with torch.inference_mode():
        whole = [
            float(own(ids[None, :i]).logits[0, -1].float().log_softmax(-1)[ids[i]])
            for i in range(cut, longest)
        ]
    worst = float(np.abs(steps - np.array(whole)).max())
    outcome = "works" if worst <= TOLERANCE else "WRONG"
    return Tried(name, outcome, decoding=target.decoding, worst=worst)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print to themselves."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def main() -> None:
    """Try architectures, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tried = []
    for name in asked.names or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        one = try_architecture(name)
        tried.append(one)
        worst = "" if one.worst is None else f"{one.worst:.1e}"
        print(f"{name:28} {one.outcome:10} {one.decoding:14} {worst:8} {one.reason}", flush=True)
        if asked.out is not None:
            asked.out.write_text(json.dumps([asdict(t) for t in tried], indent=1))
    if any(one.outcome == "WRONG" for one in tried):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
