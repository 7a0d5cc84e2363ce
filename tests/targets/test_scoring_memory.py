"""Scoring holds chunks of positions, never the whole of [records, length, vocabulary]."""

from __future__ import annotations

import subprocess
import sys

# One layer of width 16, so that nothing but the logits can be large. Only the operating system
# knows what torch allocates, and only its peak: hence a process of its own. Linux gives a new
# process its parent's `ru_maxrss`, here that of all tests before, so there the peak of the process
# itself is read.
SETTING = """
import resource, sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, GPT2Config
from checker.targets import Sampler
from checker.targets.engine.huggingface import HuggingFaceTarget

torch.set_num_threads(1)
config = GPT2Config(
    vocab_size=40_000, n_positions=2048, n_embd=16, n_layer=1, n_head=1, bos_token_id=0,
    eos_token_id=0,
)
model = AutoModelForCausalLM.from_config(config)
target = HuggingFaceTarget(
    model, vocabulary_size=40_000, context_length=2048, pad_id=None, eos_id=None
)
records = list(np.random.default_rng(0).integers(0, 40_000, (4, 2048)).astype(np.int32))
target.score([records[0][:32]])

def peak():
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

before = peak()
"""
SCORED = "target.score(records)"
WHOLE = """
with torch.inference_mode():
    model(torch.from_numpy(np.stack(records).astype(np.int64))).logits.sum()
"""
BOUND = 640 << 20


def test_scoring_four_records_takes_less_than_half_of_their_logits() -> None:
    # Four times 2,048 * 40,000 logits of 4 bytes are 1.3 GB. Scoring makes 17 MB at a time and took
    # 11 to 120 MB in most runs, and up to 370 where the allocator's heap came to lie in pieces.
    work = f"{SETTING}{SCORED}\nscored = peak()\n{WHOLE}\nprint(scored - before, peak() - before)"
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", work], capture_output=True, text=True, check=True
    )
    scored, whole = map(int, output.stdout.split())
    assert scored < BOUND < whole
