"""A model compared with itself, before it is asked anything (METHODS §5).

Whether a cache does for a model is decided by the same comparison, on made-up tokens, when the
model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets.protocol import Tokens, TokenScores

PREFLIGHT_TOLERANCE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""Nats by which two ways to the same log-probability may differ. bfloat16 has 8 significant bits:
logits from 16 to 32 are multiples of 1/8, and two kernels may round apart by a few of them."""

_SUM_TOLERANCE = 1e-3
_ROWS, _TOKENS = 8, 64

TeacherForced = Callable[[Sequence[Tokens], Sequence[Tokens]], list[NDArray[np.float32]]]
"""Log-probabilities of given tokens after given prompts, decoded in steps, all together."""


class FullPass(Protocol):
    """A model's passes over whole records, as far as they are compared."""

    is_chunked: bool

    def head_deviation(self, tokens: Tokens) -> float:
        """Return how far logits from chunks of positions are from the model's own, in nats."""
        ...

    def sum_deviation(self, tokens: Tokens) -> float:
        """Return how far next-token probabilities are from summing to one."""
        ...


def preflight(
    sequences: Sequence[Tokens],
    *,
    score: Callable[[Sequence[Tokens]], list[TokenScores]],
    teacher_forced: TeacherForced,
    forward: FullPass,
    context_length: int | None,
    dtype: str,
) -> dict[str, float]:
    """Check a model on the beginnings of a few records.

    Records are decoded step by step through the very path that rollouts take, but with each next
    token forced to be the record's own; the log-probability read on the way must be the one that
    the full pass gives.

    Args:
        sequences: records; those of one token are left out.
        score: full passes.
        teacher_forced: decoding in steps.
        forward: the model's passes.
        context_length: most tokens it can see, or None.
        dtype: it computes in; decides the tolerance.

    Returns:
        Largest deviations, in nats but for the last:
        "cached-decoding": full pass against step-by-step decoding, each record alone;
        "left-padding": records decoded alone against decoded together, with prompts of different
        lengths, of which some begin others, and so whatever padding that takes;
        "batch-composition": full passes alone against together;
        "chunked-head": chunks of positions against the model's own logits;
        "probability-sum": |sum of next-token probabilities - 1|.

    Raises:
        TargetError: one is beyond its tolerance; the message has the numbers.
    """
    records = [sequence[:_TOKENS] for sequence in sequences if len(sequence) > 1][:_ROWS]
    if not records:
        raise TargetError("preflight needs at least one record of two or more tokens")
    # Prompts of different lengths, or there would be no padding to check.
    cuts = [max(1, len(record) // 2 - row) for row, record in enumerate(records)]
    alone = [score([record])[0].logprob for record in records]
    stepped = [
        teacher_forced([record[:cut]], [record[cut:]])[0]
        for record, cut in zip(records, cuts, strict=True)
    ]
    found = {
        "cached-decoding": _apart([a[c - 1 :] for a, c in zip(alone, cuts, strict=True)], stepped),
        "left-padding": decoding_deviation(
            records, cuts, alone, teacher_forced=teacher_forced, context_length=context_length
        ),
        "batch-composition": _apart(alone, [s.logprob for s in score(records)]),
        "chunked-head": (
            max(forward.head_deviation(record) for record in records) if forward.is_chunked else 0.0
        ),
        "probability-sum": max(forward.sum_deviation(record) for record in records),
    }
    for name, value in found.items():
        tolerance = _SUM_TOLERANCE if name == "probability-sum" else PREFLIGHT_TOLERANCE[dtype]
        if not value <= tolerance:
            raise TargetError(
                f"preflight: {name} deviates by {value:.4g}, more than {tolerance:g} in {dtype}; "
                "the model contradicts itself, so nothing measured on it would mean anything"
            )
    return found


def decoding_deviation(
    records: Sequence[Tokens],
    cuts: Sequence[int],
    expected: Sequence[NDArray[np.float32]],
    *,
    teacher_forced: TeacherForced,
    context_length: int | None,
) -> float:
    """Return how far decoding in one batch is from what is expected of each record.

    Every record is decoded from two cuts, so that one prompt of two begins the other.

    Args:
        records: n of two or more tokens.
        cuts: tokens of each record's longer prompt.
        expected: [L - 1] log-probabilities of each record's tokens but the first.
        teacher_forced: decoding in steps.
        context_length: decoding ends where the longest prompt fills it.
    """
    pairs = [(i, cut) for i, whole in enumerate(cuts) for cut in {whole, max(1, whole // 2)}]
    most = max(len(records[i]) - cut for i, cut in pairs)
    if context_length is not None:
        most = min(most, context_length - max(cuts))
    found = teacher_forced(
        [records[i][:cut] for i, cut in pairs],
        [records[i][cut : cut + most] for i, cut in pairs],
    )
    return _apart([expected[i][cut - 1 :] for i, cut in pairs], found)


def _apart(left: Sequence[NDArray[np.float32]], right: Sequence[NDArray[np.float32]]) -> float:
    """Return the largest difference over the positions that both sides have."""
    pairs = zip(left, right, strict=True)
    return max(float(np.abs(a[: len(b)] - b[: len(a)]).max(initial=0.0)) for a, b in pairs)
