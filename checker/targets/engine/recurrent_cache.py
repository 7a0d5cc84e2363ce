"""The cache of a recurrent model: states of one size, whatever was read (Mamba).

A prefix is the state at its end, and a sequence starts from a copy of it. Sequences of prompts of
all lengths decode together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache

from checker.targets import Tokens
from checker.targets.engine.batches import padded
from checker.targets.engine.cache import Capacity, UnsupportedArchitecture, move, prefix_batches
from checker.targets.engine.token_choice import DecodedSequence

_CACHE_NAMES = ("past_key_values", "cache_params")


class RecurrentStateCache:
    """States of one size; see the module's docstring.

    Args:
        model: a causal language model all of whose layers are recurrent.
        capacity: of the buffers.
        read_tokens: padded tokens that are read at once.
        pad_id: stands, masked, to the left of a shorter prefix.
    """

    name: ClassVar[str] = "states"
    shares_prefixes: ClassVar[bool] = False

    def __init__(self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int) -> None:
        self._capacity = capacity
        self._prefixes = self._sequences = 0
        self._model = model
        self._device: torch.device = model.device
        self._read_tokens, self._pad_id = read_tokens, pad_id
        self._cache: Any = None
        self._name = ""
        self._prefix_states: list[torch.Tensor] = []
        self._states: list[torch.Tensor] = []

    @staticmethod
    def bytes_of(capacity: Capacity, *, unit_bytes: int) -> int:
        return unit_bytes * (capacity.prefixes + capacity.sequences)

    @property
    def unit_bytes(self) -> int:
        return sum(buffer[0].nbytes for buffer in self._states)

    def read(self, prefixes: Sequence[Tokens]) -> None:
        """Read prefixes into the next free slots; after one of no tokens the state is zero."""
        batches = prefix_batches(prefixes, read_tokens=self._read_tokens, pad_id=self._pad_id)
        for part, batch in batches:
            ids, real = padded(batch, pad_id=self._pad_id, left=True, device=self._device)
            empty = [not len(prefix) for prefix in prefixes[part]]
            states = self._states_after(ids, real)
            slots = slice(self._prefixes, self._prefixes + len(batch))
            for state, buffer in zip(states, self._prefix_states, strict=True):
                buffer[slots] = state
                if any(empty):
                    buffer[slots][torch.tensor(empty, device=self._device)] = 0.0
            self._prefixes += len(batch)

    def _states_after(self, ids: torch.Tensor, real: torch.Tensor) -> list[torch.Tensor]:
        base = self._model.base_model
        mask = None if bool(real.all()) else real.long()
        output = base(input_ids=ids, attention_mask=mask, use_cache=True)
        name = next((n for n in _CACHE_NAMES if getattr(output, n, None) is not None), None)
        cache = None if name is None else getattr(output, name)
        if name is None or not isinstance(cache, Cache) or not all(cache.is_linear):
            raise UnsupportedArchitecture("a cache that grows with what is read")
        states = [
            state
            for layer in cache.layers
            for kind in (layer.conv_states, layer.recurrent_states)
            for state in kind.values()
            if state is not None
        ]
        if self._cache is None:
            self._cache, self._name = cache, name
            for count, buffers in (
                (self._capacity.prefixes, self._prefix_states),
                (self._capacity.sequences, self._states),
            ):
                buffers += [state.new_zeros(count, *state.shape[1:]) for state in states]
        return states

    def move_prefixes(self, sources: list[int], targets: list[int], count: int) -> None:
        move(self._prefix_states, sources, targets)
        self._prefixes = count

    def add_sequences(self, sequences: Sequence[DecodedSequence]) -> None:
        slots = torch.tensor([one.prefix_slot for one in sequences], device=self._device)
        for prefix_state, state in zip(self._prefix_states, self._states, strict=True):
            state[self._sequences : self._sequences + len(sequences)] = prefix_state[slots]
        self._sequences += len(sequences)

    def move_sequences(
        self, sources: list[int], targets: list[int], sequences: Sequence[DecodedSequence]
    ) -> None:
        move(self._states, sources, targets)
        self._sequences = len(sequences)

    def step(
        self,
        tokens: torch.Tensor,
        sequences: Sequence[DecodedSequence],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        """Feed each sequence one token; the states change in place, however many came before."""
        front = iter([buffer[: len(sequences)] for buffer in self._states])
        for layer in self._cache.layers:
            for kind in (layer.conv_states, layer.recurrent_states):
                for index, state in kind.items():
                    if state is not None:
                        kind[index] = next(front)
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None], use_cache=True, **{self._name: self._cache}
        ).logits
        return logits[:, -1]
