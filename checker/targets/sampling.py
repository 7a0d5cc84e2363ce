"""Which random numbers a rollout uses, and how they become tokens.

A draw must depend on the audit's seed, the prompt's key, the sample's number and the step, and on
nothing else: not on the batch, its order, or what was drawn before it. A counter-based generator
gives that (Philox: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
Its key is (seed, prompt key), the top word of its counter the sample, so that streams never meet.

A uniform is turned into a token by the inverse of the distribution function *in the order of the
vocabulary*, not by rank: where two prompts differ a little, equal uniforms then mostly give equal
tokens, which is what comparing perturbed prompts under common random numbers relies on (METHODS
§2, T5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from checker.targets import Sampler


def uniforms(draws: Sequence[tuple[int, int]], *, sampler: Sampler) -> NDArray[np.float64]:
    """Return the uniforms of a set of rollouts.

    Args:
        draws: n pairs of prompt key and sample number, each in [0, 2**64).
        sampler: its seed, in [0, 2**64), and its horizon.

    Returns:
        [n, horizon_tokens] float64 in [0, 1). A longer horizon only appends columns.
    """
    bits = np.random.Philox(key=np.zeros(2, dtype=np.uint64))
    state = bits.state
    rows: NDArray[np.uint64] = np.empty((len(draws), sampler.horizon_tokens), dtype=np.uint64)
    for row, (key, sample) in enumerate(draws):
        # Resetting one generator costs a sixth of making a new one.
        state["state"] = {
            "counter": np.array([0, 0, 0, sample], dtype=np.uint64),
            "key": np.array([sampler.seed, key], dtype=np.uint64),
        }
        bits.state = state
        rows[row] = bits.random_raw(sampler.horizon_tokens)
    # NumPy promises the stream of raw bits across versions, but not that of Generator.random.
    return np.ldexp((rows >> np.uint64(11)).astype(np.float64), -53)


def shape_probabilities(
    probabilities: NDArray[np.float64], *, sampler: Sampler
) -> NDArray[np.float64]:
    """Apply temperature and top-p.

    Args:
        probabilities: [n, V], rows sum to one.
        sampler: its temperature and top_p.

    Returns:
        [n, V] weights that need not sum to one; tokens with equal probability at the edge of top-p
        are all kept.
    """
    weights = probabilities
    if sampler.temperature != 1.0:
        # Relative to the largest, because p ** (1 / T) underflows for small T.
        weights = (weights / weights.max(axis=1, keepdims=True)) ** (1.0 / sampler.temperature)
    if sampler.top_p < 1.0:
        weights = weights / weights.sum(axis=1, keepdims=True)
        ranked = np.sort(weights, axis=1)[:, ::-1]
        inside = ranked.cumsum(axis=1) - ranked < sampler.top_p
        least = np.where(inside, ranked, np.inf).min(axis=1, keepdims=True)
        weights = np.where(weights < least, 0.0, weights)
    return weights


def cut_at(rows: NDArray[np.int32], *, eos_id: int | None) -> list[NDArray[np.int32]]:
    """Return each row of [n, H] without its first `eos_id` and what follows it."""
    if eos_id is None:
        return list(rows)
    hits = rows == eos_id
    ends = np.where(hits.any(axis=1), hits.argmax(axis=1), rows.shape[1])
    return [row[:end] for row, end in zip(rows, ends, strict=True)]
