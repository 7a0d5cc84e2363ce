"""What a model remembers while it decodes: each prompt's beginning once, each sample's own part.

A *seat* is a prompt whose beginning the model has read; a *row* is one sample that goes on from a
seat. Seats and rows live in buffers that are allocated once: whoever leaves is replaced by the last
one, so the living always stand at the front, and a view of the front is what the model sees.

`SharedPrefix` is for attention. The keys and values of a prompt are held once, however many samples
go on from it, and a sample holds those of its own tokens only. Attention is taken over both parts
apart and put together by their sums of exponentials (Milakov & Gimelshein 2018, "Online normalizer
calculation for softmax"): over a prompt's part it is one matrix product for all its samples, so
that a step reads a prompt once and not once per sample. A prompt that is the beginning of another
sits in the other's seat and sees only its own part.

`States` is for models whose memory has one size whatever was read (Mamba): a seat is the state at
the end of a prompt's beginning, a row starts from a copy of it. Rows of prompts of all lengths
decode together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from checker.targets import Tokens
from checker.targets.engine.batches import padded

__all__ = ["ATTENTION", "Capacity", "Memory", "Row", "SharedPrefix", "States", "Unsuited"]

ATTENTION = "phigate"
"""Name under which `SharedPrefix`'s attention is known to transformers."""

_NEVER = (
    -1e30
)  # added to a score that must not count; minus infinity would make NaN of an empty row
_CACHE_NAMES = ("past_key_values", "cache_params")
_HARMLESS = frozenset(
    {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states"}
)


class Unsuited(Exception):
    """This memory does not fit the model; never leaves `checker.targets`."""


@dataclass(slots=True)
class Row:
    """One sample on its way.

    Args:
        prompt: which prompt it continues.
        sample: which of the prompt's samples it is.
        seat: where its prompt's beginning is.
        start: tokens of the prompt but the last, which is what the row is fed first.
    """

    prompt: int
    sample: int
    seat: int
    start: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a memory can hold.

    Args:
        seats, rows: at most.
        width: tokens of the longest beginning.
        horizon: tokens that a row is fed at most.
    """

    seats: int
    rows: int
    width: int
    horizon: int


class Memory(Protocol):
    """What the decoding loop asks of a memory."""

    shares_beginnings: ClassVar[bool]
    """Whether a prompt can sit in the seat of a longer one that begins with it."""

    def __init__(
        self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int
    ) -> None: ...

    def seat(self, beginnings: Sequence[Tokens]) -> None:
        """Read beginnings, each of 0 to `width` tokens, into the next free seats."""
        ...

    def leave_seats(self, sources: list[int], targets: list[int], count: int) -> None:
        """Move seats to where others left, and keep the first `count`."""
        ...

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Start rows, behind those that are there."""
        ...

    def leave_rows(self, sources: list[int], targets: list[int], rows: Sequence[Row]) -> None:
        """Move rows to where others left; `rows` are those that stay, in their new order."""
        ...

    def step(
        self,
        tokens: torch.Tensor,
        rows: Sequence[Row],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        """Feed each row one token.

        Args:
            tokens: [n] int64.
            rows: all n, in the order of their slots.
            steps: [n] int64, how many tokens each was fed before.
            known_steps: the same on the host, where nothing has to be waited for.

        Returns:
            Logits of the next token, [n, V].
        """
        ...

    @property
    def per_token(self) -> int:
        """Bytes that one token, or one state, takes; known once something was read."""
        ...

    @staticmethod
    def bytes_of(capacity: Capacity, *, per_token: int) -> int:
        """Return the size of the buffers, from what one token or state takes."""
        ...


def _move(buffers: Sequence[torch.Tensor], sources: list[int], targets: list[int]) -> None:
    if not sources:
        return
    places = torch.tensor([sources, targets], device=buffers[0].device)
    for buffer in buffers:
        buffer[places[1]] = buffer[places[0]]


# --- attention ------------------------------------------------------------------------------------


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer: [seats, heads, width, D] and [rows, heads, horizon, D]."""

    is_sliding = False

    def __init__(self, memory: SharedPrefix) -> None:
        super().__init__()
        self.memory = memory
        self.read: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        capacity = self.memory.capacity

        def buffer(like: torch.Tensor, count: int, length: int) -> torch.Tensor:
            return like.new_zeros(count, like.shape[1], length, like.shape[3])

        self.seat_keys = buffer(key_states, capacity.seats, capacity.width)
        self.seat_values = buffer(value_states, capacity.seats, capacity.width)
        self.keys = buffer(key_states, capacity.rows, capacity.horizon)
        self.values = buffer(value_states, capacity.rows, capacity.horizon)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.memory.reading is not None:
            seats = self.memory.reading
            length = key_states.shape[2]
            self.seat_keys[seats, :, :length] = key_states
            self.seat_values[seats, :, :length] = value_states
            return key_states, value_states
        place = self.memory.writing
        if isinstance(place, int):
            self.keys[: len(key_states), :, place] = key_states[:, :, 0]
            self.values[: len(value_states), :, place] = value_states[:, :, 0]
        else:
            rows = torch.arange(len(place), device=place.device)
            self.keys[rows, :, place] = key_states[:, :, 0]
            self.values[rows, :, place] = value_states[:, :, 0]
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0  # positions are given with every call

    def get_max_length(self) -> int:
        return -1

    @property
    def buffers(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Those of seats, and those of rows."""
        return [self.seat_keys, self.seat_values], [self.keys, self.values]


class SharedPrefix(Cache):  # type: ignore[misc]  # transformers has no types
    """Keys and values; see the module's docstring.

    Args:
        model: a causal language model whose attention goes through `ATTENTION`.
        capacity: of the buffers.
        read_tokens: padded tokens that are read at once.
        pad_id: stands where a shorter beginning has no token.
    """

    shares_beginnings: ClassVar[bool] = True

    def __init__(self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int) -> None:
        super().__init__(layer_class_to_replicate=partial(_Layer, self))
        self.capacity = capacity
        self.reading: slice | None = None
        self.writing: int | torch.Tensor = 0
        self.seats = 0
        self._model = model
        self._device: torch.device = model.device
        self._read_tokens, self._pad_id = read_tokens, pad_id
        self._lengths: list[int] = []
        self._start = torch.zeros(capacity.rows, dtype=torch.int64, device=self._device)
        self._arranged = False

    @staticmethod
    def bytes_of(capacity: Capacity, *, per_token: int) -> int:
        """Return the size of the buffers, from what one token's keys and values take."""
        return per_token * (capacity.seats * capacity.width + capacity.rows * capacity.horizon)

    @property
    def per_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return sum(b[0, :, 0].nbytes for layer in self.layers for b in layer.buffers[1])

    def seat(self, beginnings: Sequence[Tokens]) -> None:
        """Read beginnings into the next free seats."""
        at = 0
        while at < len(beginnings):
            width = max(1, len(beginnings[at]))  # the longest come first
            batch = beginnings[at : at + max(1, self._read_tokens // width)]
            # a beginning of no tokens is read as a pad that no row sees
            rows = [b if len(b) else np.array([self._pad_id], dtype=np.int32) for b in batch]
            ids, _ = padded(rows, pad_id=self._pad_id, left=False, device=self._device)
            self.reading = slice(self.seats, self.seats + len(batch))
            self._read(ids)
            self.reading = None
            self.seats += len(batch)
            self._lengths += [len(b) for b in batch]
            at += len(batch)
        self._arranged = False

    def _read(self, ids: torch.Tensor) -> None:
        base = self._model.base_model
        whole = {"logits_to_keep": 1} if base is self._model else {}
        base(input_ids=ids, past_key_values=self, use_cache=True, memory=self, **whole)

    def leave_seats(self, sources: list[int], targets: list[int], count: int) -> None:
        """Move seats to where others left."""
        _move([b for layer in self.layers for b in layer.buffers[0]], sources, targets)
        for a, b in zip(sources, targets, strict=True):
            self._lengths[b] = self._lengths[a]
        del self._lengths[count:]
        self.seats = count
        self._arranged = False

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Start rows; they need no room but their own."""
        self._arranged = False

    def leave_rows(self, sources: list[int], targets: list[int], rows: Sequence[Row]) -> None:
        """Move rows to where others left."""
        _move([b for layer in self.layers for b in layer.buffers[1]], sources, targets)
        self._arranged = False

    def step(
        self,
        tokens: torch.Tensor,
        rows: Sequence[Row],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        """Feed each row one token, behind those it was fed before."""
        if not self._arranged:
            self._arrange(rows)
        self.fed = int(known_steps.max()) + 1
        if (known_steps == known_steps[0]).all():
            self.writing, self.unfed = self.fed - 1, None
            positions = self._start[: len(rows), None] + (self.fed - 1)
        else:
            after = torch.arange(self.fed, device=self._device) > steps[:, None]
            self.writing, self.unfed = steps, after.to(torch.float32)[:, None, None] * _NEVER
            positions = self._start[: len(rows), None] + steps[:, None]
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None],
            position_ids=positions,
            # already four-dimensional, so the model hands it on and makes none of its own
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self._device),
            past_key_values=self,
            use_cache=True,
            memory=self,
        ).logits
        return logits[:, -1]

    def _arrange(self, rows: Sequence[Row]) -> None:
        """Lay rows out by seats: what changes only when rows come or go."""
        lanes: list[list[int]] = [[] for _ in range(self.seats)]
        for slot, row in enumerate(rows):
            lanes[row.seat].append(slot)
        width = max(map(len, lanes))
        grid = np.zeros((self.seats, width), dtype=np.int64)
        place = np.empty(len(rows), dtype=np.int64)
        start = np.zeros((self.seats, width), dtype=np.int64)
        for seat, slots in enumerate(lanes):
            grid[seat, : len(slots)] = slots
            place[slots] = seat * width + np.arange(len(slots))
            start[seat, : len(slots)] = [rows[slot].start for slot in slots]
        self.longest = max((row.start for row in rows), default=0)
        self.grid, self.place = self._sent(grid), self._sent(place)
        self._start[: len(rows)] = self._sent(np.array([row.start for row in rows], dtype=np.int64))
        seen = np.arange(self.longest) < start[:, :, None]
        self.unseen = None if seen.all() else self._sent(np.where(seen, 0.0, _NEVER).astype("f4"))
        self._arranged = True

    def _sent(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    memory: SharedPrefix | None = None,
    **extra: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to what `memory` holds; without one, or while it reads, as `sdpa` does.

    Args:
        module: the attention layer; its `layer_idx` says which.
        query: [n, heads, 1, D].
        key: of the token just fed; the memory has it.
        value: as `key`.
        attention_mask: not used, the memory knows what each row may see.
        scaling: of scores; 1/sqrt(D) where None.
        dropout: none, the model is not trained here.
        memory: a memory that is stepping.
        extra: what an architecture adds; what changes attention is refused.

    Returns:
        [n, 1, heads, D] and None.

    Raises:
        Unsuited: the architecture's attention is not plain causal attention.
    """
    if memory is None or memory.reading is not None:
        if memory is not None:
            _refuse_variants(extra)
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **extra
        )
        return output
    layer = memory.layers[module.layer_idx]
    count, heads, _, depth = query.shape
    groups = layer.keys.shape[1]
    query = (query * (depth**-0.5 if scaling is None else scaling)).view(count, groups, -1, depth)
    own = _part(
        query,
        layer.keys[:count, :, : memory.fed],
        layer.values[:count, :, : memory.fed],
        memory.unfed,
    )
    seats, lanes = memory.grid.shape
    shared_query = query[memory.grid].transpose(1, 2).reshape(seats, groups, -1, depth)
    unseen = memory.unseen
    if unseen is not None:  # [seats, lanes, width] for each of the heads that share keys
        unseen = unseen.repeat_interleave(heads // groups, dim=1)[:, None]
    parts = _part(
        shared_query,
        layer.seat_keys[:seats, :, : memory.longest],
        layer.seat_values[:seats, :, : memory.longest],
        unseen,
    )
    shared = [
        part.view(seats, groups, lanes, heads // groups, -1)
        .transpose(1, 2)
        .flatten(0, 1)[memory.place]
        for part in parts
    ]
    most = torch.maximum(own[2], shared[2])
    scale_own, scale_shared = (own[2] - most).exp_(), (shared[2] - most).exp_()
    total = own[1] * scale_own + shared[1] * scale_shared
    mixed = (own[0] * scale_own + shared[0] * scale_shared) / total
    return mixed.to(query.dtype).view(count, 1, heads, -1), None


def _part(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return attention over some keys, not yet divided by its sum, that sum, and the largest score.

    Args:
        query: [b, heads, q, D], scaled.
        key: [b, heads, k, D].
        value: [b, heads, k, D].
        bias: added to the scores, or None.
    """
    if not key.shape[2]:
        nothing = query.new_zeros(*query.shape[:3], value.shape[3], dtype=torch.float32)
        return nothing, nothing[..., :1], nothing[..., :1] + _NEVER
    scores = torch.matmul(query, key.transpose(-1, -2)).float()
    if bias is not None:
        scores += bias
    most = scores.amax(-1, keepdim=True)
    weights = scores.sub_(most).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.matmul(weights.to(value.dtype), value).float(), total, most


def _refuse_variants(extra: dict[str, Any]) -> None:
    for name, value in extra.items():
        if name not in _HARMLESS and value is not None and value is not False:
            raise Unsuited(f"attention with {name}")


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


# --- states ---------------------------------------------------------------------------------------


class States:
    """States of one size; see the module's docstring.

    Args:
        model: a causal language model all of whose layers are recurrent.
        capacity: of the buffers.
        read_tokens: padded tokens that are read at once.
        pad_id: stands, masked, to the left of a shorter beginning.
    """

    shares_beginnings: ClassVar[bool] = False

    def __init__(self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int) -> None:
        self.capacity = capacity
        self.seats = 0
        self.rows = 0
        self._model = model
        self._device: torch.device = model.device
        self._read_tokens, self._pad_id = read_tokens, pad_id
        self._cache: Any = None
        self._name = ""
        self._seat_states: list[torch.Tensor] = []
        self._row_states: list[torch.Tensor] = []

    @staticmethod
    def bytes_of(capacity: Capacity, *, per_token: int) -> int:
        """Return the size of the buffers, from what one state takes."""
        return per_token * (capacity.seats + capacity.rows)

    @property
    def per_token(self) -> int:
        """Bytes of one state in all layers."""
        return sum(buffer[0].nbytes for buffer in self._row_states)

    def seat(self, beginnings: Sequence[Tokens]) -> None:
        """Read beginnings into the next free seats."""
        at = 0
        while at < len(beginnings):
            width = max(1, len(beginnings[at]))  # the longest come first
            batch = beginnings[at : at + max(1, self._read_tokens // width)]
            rows = [b if len(b) else np.array([self._pad_id], dtype=np.int32) for b in batch]
            ids, real = padded(rows, pad_id=self._pad_id, left=True, device=self._device)
            empty = [not len(b) for b in batch]
            states = self._read(ids, real)
            for state, buffer in zip(states, self._seat_states, strict=True):
                kept = buffer[self.seats : self.seats + len(batch)]
                kept.copy_(state)
                if any(empty):
                    kept[torch.tensor(empty, device=self._device)] = 0.0
            self.seats += len(batch)
            at += len(batch)

    def _read(self, ids: torch.Tensor, real: torch.Tensor) -> list[torch.Tensor]:
        base = self._model.base_model
        mask = None if bool(real.all()) else real.long()
        output = base(input_ids=ids, attention_mask=mask, use_cache=True)
        name = next((n for n in _CACHE_NAMES if getattr(output, n, None) is not None), None)
        cache = None if name is None else getattr(output, name)
        if name is None or not isinstance(cache, Cache) or not all(cache.is_linear):
            raise Unsuited("memory that grows with what is read")
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
                (self.capacity.seats, self._seat_states),
                (self.capacity.rows, self._row_states),
            ):
                buffers += [state.new_zeros(count, *state.shape[1:]) for state in states]
        return states

    def leave_seats(self, sources: list[int], targets: list[int], count: int) -> None:
        """Move seats to where others left."""
        _move(self._seat_states, sources, targets)
        self.seats = count

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Start rows with copies of their seats' states."""
        seats = torch.tensor([row.seat for row in rows], device=self._device)
        for seat, buffer in zip(self._seat_states, self._row_states, strict=True):
            buffer[self.rows : self.rows + len(rows)] = seat[seats]
        self.rows += len(rows)

    def leave_rows(self, sources: list[int], targets: list[int], rows: Sequence[Row]) -> None:
        """Move rows to where others left."""
        _move(self._row_states, sources, targets)
        self.rows = len(rows)

    def step(
        self,
        tokens: torch.Tensor,
        rows: Sequence[Row],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        """Feed each row one token; the states change in place, however many came before."""
        front = iter([buffer[: len(rows)] for buffer in self._row_states])
        for layer in self._cache.layers:
            for kind in (layer.conv_states, layer.recurrent_states):
                for index, state in kind.items():
                    if state is not None:
                        kind[index] = next(front)
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None], use_cache=True, **{self._name: self._cache}
        ).logits
        return logits[:, -1]
