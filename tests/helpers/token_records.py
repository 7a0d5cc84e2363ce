"""Tokenized records of which only the tokens matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import Coverage, TokenizedRecords

Tokens = NDArray[np.int32]


def ids(*tokens: int) -> Tokens:
    """Return token ids as a target hands them out."""
    return np.array(tokens, dtype=np.int32)


def records(*patients: Sequence[int] | Tokens) -> TokenizedRecords:
    """Return whole records."""
    tokens = np.concatenate([ids(), *(np.asarray(p, dtype=np.int32) for p in patients)])
    nothing = np.zeros(len(tokens), dtype=np.int32)
    return TokenizedRecords(
        tokens=tokens,
        offsets=np.cumsum([0, *map(len, patients)]).astype(np.int64),
        kind=nothing.astype(np.int8),
        event=nothing,
        code=nothing,
        field=nothing.astype(np.int16),
        time_days=nothing.astype(np.float32),
        age_years=np.zeros(len(patients), dtype=np.float32),
        static_values={},
        coverage=Coverage(0, 0, {}),
    )


def strangers(n: int, length: int = 30, *, seed: int, low: int = 1000) -> list[Tokens]:
    """Return records of tokens that hardly ever repeat by chance."""
    rng = np.random.default_rng(seed)
    return [rng.integers(low, low + 100_000, size=length).astype(np.int32) for _ in range(n)]
