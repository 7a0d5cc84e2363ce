"""How much is computed at once.

Batches are fixed on a CPU and found from the device's memory elsewhere.

What is found depends on the device's whole memory and the model, not on how much happens to be
free: equal devices give equal batches, and equal batches equal bytes. Only a batch that does not
fit at all is halved.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

import torch

MICROBATCH_TOKENS = 16_384
"""Tokens of one scoring batch on a CPU, padding included."""

_ROLLOUT_FACTOR = 4  # decoding is bound by its steps, so a rollout batch may hold more tokens
_CPU_BYTES = 1 << 30
_LOGITS = {"cpu": 1 << 23, "cuda": 1 << 29}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MOST_KEPT = 1 << 25  # glibc keeps no larger block than 32 MiB
_MOST_TOKENS = 1 << 18  # of a scoring batch; larger ones are no faster
_TRIAL_TOKENS = 4096


def microbatch_tokens(
    device: torch.device, *, length: int, run: Callable[[int, int], object]
) -> int:
    """Return how many tokens one scoring batch may hold.

    On a GPU a trial batch says what a token takes, and the batch takes half of what the model
    leaves; rounded down to a power of two.

    Args:
        device: of the model, which is loaded.
        length: tokens of a trial sequence.
        run: runs a forward pass over so many sequences of so many tokens.
    """
    if device.type != "cuda":
        return MICROBATCH_TOKENS
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    rows = max(1, _TRIAL_TOKENS // length)
    run(rows, length)
    taken = (torch.cuda.max_memory_allocated(device) - before) / (rows * length)
    fitting = int(_left(device) / 2 / max(taken, 1.0))
    power = 1 << max(10, fitting.bit_length() - 1)
    return min(power, _MOST_TOKENS)


def cache_bytes(device: torch.device) -> int:
    """Return how many bytes the cache of a rollout batch may take."""
    return _CPU_BYTES if device.type != "cuda" else _left(device) // 2


def rollout_tokens(device: torch.device, *, microbatch: int) -> int:
    """Return how many tokens a rollout batch may hold, beside the bound on its bytes."""
    return microbatch * _ROLLOUT_FACTOR if device.type != "cuda" else 1 << 62


def logits_at_once(device: torch.device) -> int:
    """Return how many logits the rows of a rollout batch may have together.

    On a CPU no more than the allocator keeps at hand (see `keep_freed_memory`).
    """
    return _LOGITS[device.type]


def keep_freed_memory(device: torch.device) -> None:
    """Keep what is freed for the next tensor, where tensors live in the memory of the host.

    A model's step makes and frees the same temporaries over and over. glibc gives large ones back
    to the system each time, which has to find and clear every page anew: a fourth of a rollout's
    time. Elsewhere than under glibc nothing is changed.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MOST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _left(device: torch.device) -> int:
    """Return the device's memory without what the model takes."""
    total: int = torch.cuda.get_device_properties(device).total_memory
    return total - torch.cuda.memory_allocated(device)
