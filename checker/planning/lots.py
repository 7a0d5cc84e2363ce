"""Lots that a learned attack draws: who teaches, who is fitted on, who is judged.

A lot is a keyed digest of the record itself, under the policy's seed. Neither the target's fields
nor the order or the numbers of its patients change it, so that whoever submits a model cannot draw
again until the attack is weak; and one patient more or less moves nobody else.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from checker.canonical import digest
from checker.records.tokenization import TokenizedRecords

SHARE = 1 / 3


def lot(records: TokenizedRecords, *, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return all patients in an order drawn by lot.

    Args:
        records: n patients as tokens.
        seed: of the policy.
        purpose: what is drawn for; other purposes give independent orders.

    Returns:
        [n] int64, a permutation. Equal records stand side by side, so that a cut has them on one
        side, but for the two at the cut.
    """
    key = bytes.fromhex(digest([seed, purpose]))
    tokens, offsets = records.tokens, records.offsets.tolist()
    drawn = [
        hashlib.blake2b(tokens[start:end].tobytes(), digest_size=8, key=key).digest()
        for start, end in pairwise(offsets)
    ]
    numbers = np.array([int.from_bytes(one, "big") for one in drawn], dtype=np.uint64)
    return np.argsort(numbers, kind="stable").astype(np.int64)


def drawn_share(
    records: TokenizedRecords, *, seed: int, purpose: str, share: float
) -> NDArray[np.bool_]:
    """Return who is among the first by lot: [n] bool, a share of them rounded down."""
    chosen = np.zeros(len(records), dtype=np.bool_)
    chosen[lot(records, seed=seed, purpose=purpose)[: int(len(records) * share)]] = True
    return chosen


def drawn_halves(
    records: TokenizedRecords, groups: NDArray[np.int64], *, seed: int, purpose: str
) -> NDArray[np.bool_]:
    """Return who is in the first half of a group by lot, which is never smaller than the other.

    A lot over everybody would leave each group as many as chance has it, and a group that the plan
    calls large enough with a half that is not.

    Args:
        records: n patients as tokens.
        groups: [n] the number of each patient's group.
        seed: of the policy.
        purpose: what is drawn for.

    Returns:
        [n] bool, of k patients of a group ⌈k / 2⌉ are true.
    """
    order = lot(records, seed=seed, purpose=purpose)
    chosen = np.zeros(len(records), dtype=np.bool_)
    for group in np.unique(groups):
        own = order[groups[order] == group]
        chosen[own[: len(own) - len(own) // 2]] = True
    return chosen
