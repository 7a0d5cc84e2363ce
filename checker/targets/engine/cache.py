"""What a model keeps of what it has read, while it decodes: each prefix once, each sample apart.

A *prefix* is a prompt's tokens but the last; a *sequence* is one sample that goes on from a prefix.
Both live in the slots of buffers that are allocated once. The slot of one that leaves is taken by
the last one, so that the living always stand at the front, and a view of the front is what the
model sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from checker.targets import Tokens
from checker.targets.engine.token_choice import DecodedSequence


class UnsupportedArchitecture(Exception):
    """A cache does not do for the model; never leaves `checker.targets`."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a cache can hold: so many prefixes and sequences, of at most so many tokens."""

    prefixes: int
    sequences: int
    prefix_tokens: int
    horizon_tokens: int


class DecodingCache(Protocol):
    """What the decoding loop asks of a cache."""

    name: ClassVar[str]
    shares_prefixes: ClassVar[bool]
    """Whether a prefix needs no slot of its own where a longer one begins with it."""

    def __init__(
        self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int
    ) -> None: ...

    def read(self, prefixes: Sequence[Tokens]) -> None:
        """Read prefixes, the longest first, into the next free slots."""
        ...

    def move_prefixes(self, sources: list[int], targets: list[int], count: int) -> None:
        """Move prefixes to the slots of those that left, and keep the first `count`."""
        ...

    def add_sequences(self, sequences: Sequence[DecodedSequence]) -> None:
        """Start sequences, behind those that are there."""
        ...

    def move_sequences(
        self, sources: list[int], targets: list[int], sequences: Sequence[DecodedSequence]
    ) -> None:
        """Move sequences to the slots of those that are done; `sequences` stay, in their order."""
        ...

    def step(
        self,
        tokens: torch.Tensor,
        sequences: Sequence[DecodedSequence],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        """Feed each sequence one token.

        Args:
            tokens: [n] int64.
            sequences: all n, in the order of their slots.
            steps: [n] int64, how many tokens each was fed before.
            known_steps: the same on the host, where nothing has to be waited for.

        Returns:
            Logits of the next token, [n, V].
        """
        ...

    @property
    def unit_bytes(self) -> int:
        """Bytes of what `bytes_of` counts, one token or one state; known once it has read."""
        ...

    @staticmethod
    def bytes_of(capacity: Capacity, *, unit_bytes: int) -> int:
        """Return the size of the buffers."""
        ...


def prefix_batches(
    prefixes: Sequence[Tokens], *, read_tokens: int, pad_id: int
) -> Iterator[tuple[slice, list[Tokens]]]:
    """Yield which prefixes to read at once, and their tokens; one of none is read as padding."""
    start = 0
    while start < len(prefixes):
        width = max(1, len(prefixes[start]))  # the longest come first
        part = slice(start, min(start + max(1, read_tokens // width), len(prefixes)))
        filler = np.array([pad_id], dtype=np.int32)
        yield part, [prefix if len(prefix) else filler for prefix in prefixes[part]]
        start = part.stop


def move(buffers: Sequence[torch.Tensor], sources: list[int], targets: list[int]) -> None:
    """Move the contents of slots, in each of some buffers."""
    if sources:
        slots = torch.tensor([sources, targets], device=buffers[0].device)
        for buffer in buffers:
            buffer[slots[1]] = buffer[slots[0]]
