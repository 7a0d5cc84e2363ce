"""The cache of an attention model: keys and values, those of a prefix once for all its samples.

However many samples go on from a prompt, the keys and values of its prefix are held once, and a
sequence holds those of its own tokens only. Attention is taken over both parts apart and put
together by their sums of exponentials (Milakov & Gimelshein 2018, "Online normalizer calculation
for softmax"): over a prefix it is one matrix product for all its sequences, so that a step reads a
prompt once and not once per sample. A prefix that another one begins with needs no slot of its own:
its sequences see so much of the other and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from checker.targets import Tokens
from checker.targets.engine.batches import padded
from checker.targets.engine.cache import Capacity, UnsupportedArchitecture, move, prefix_batches
from checker.targets.engine.token_choice import DecodedSequence

ATTENTION = "phigate"
"""Name under which the attention of `SharedPrefixCache` is known to transformers."""

_NEVER = -1e30  # added to a score that must not count; minus infinity would make NaN of empty rows
_HARMLESS = frozenset(
    {"position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states"}
)


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer.

    Those of prefixes are [prefixes, heads, prefix tokens, D], those of sequences [sequences, heads,
    horizon, D].
    """

    is_sliding = False

    def __init__(self, cache: SharedPrefixCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        capacity = self.cache.capacity

        def buffer(like: torch.Tensor, count: int, length: int) -> torch.Tensor:
            return like.new_zeros(count, like.shape[1], length, like.shape[3])

        self.prefix_keys = buffer(key_states, capacity.prefixes, capacity.prefix_tokens)
        self.prefix_values = buffer(value_states, capacity.prefixes, capacity.prefix_tokens)
        self.keys = buffer(key_states, capacity.sequences, capacity.horizon_tokens)
        self.values = buffer(value_states, capacity.sequences, capacity.horizon_tokens)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.cache.reading is not None:
            slots = self.cache.reading
            length = key_states.shape[2]
            self.prefix_keys[slots, :, :length] = key_states
            self.prefix_values[slots, :, :length] = value_states
            return key_states, value_states
        place = self.cache.writing
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


class SharedPrefixCache(Cache):  # type: ignore[misc]  # transformers has no types
    """Keys and values; see the module's docstring.

    Args:
        model: a causal language model whose attention goes through `ATTENTION`.
        capacity: of the buffers.
        read_tokens: padded tokens that are read at once.
        pad_id: stands where a shorter prefix has no token.
    """

    name: ClassVar[str] = "shared prefix"
    shares_prefixes: ClassVar[bool] = True

    def __init__(self, model: Any, capacity: Capacity, *, read_tokens: int, pad_id: int) -> None:
        super().__init__(layer_class_to_replicate=partial(_Layer, self))
        self.capacity = capacity
        self.reading: slice | None = None
        self.writing: int | torch.Tensor = 0
        self._prefixes = 0
        self._model = model
        self._device: torch.device = model.device
        self._read_tokens, self._pad_id = read_tokens, pad_id
        self._prefix_length = torch.zeros(
            capacity.sequences, dtype=torch.int64, device=self._device
        )
        self._arranged = False

    @staticmethod
    def bytes_of(capacity: Capacity, *, unit_bytes: int) -> int:
        """Return the size of the buffers, from what one token's keys and values take."""
        of_prefixes = capacity.prefixes * capacity.prefix_tokens
        return unit_bytes * (of_prefixes + capacity.sequences * capacity.horizon_tokens)

    @property
    def unit_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return sum(b[0, :, 0].nbytes for layer in self.layers for b in (layer.keys, layer.values))

    def read(self, prefixes: Sequence[Tokens]) -> None:
        """Read prefixes into the next free slots; no sequence sees their padding."""
        base = self._model.base_model
        whole = {"logits_to_keep": 1} if base is self._model else {}
        batches = prefix_batches(prefixes, read_tokens=self._read_tokens, pad_id=self._pad_id)
        for _, batch in batches:
            ids, _ = padded(batch, pad_id=self._pad_id, left=False, device=self._device)
            self.reading = slice(self._prefixes, self._prefixes + len(batch))
            base(input_ids=ids, past_key_values=self, use_cache=True, prefix_cache=self, **whole)
            self.reading = None
            self._prefixes += len(batch)
        self._arranged = False

    def move_prefixes(self, sources: list[int], targets: list[int], count: int) -> None:
        buffers = [b for layer in self.layers for b in (layer.prefix_keys, layer.prefix_values)]
        move(buffers, sources, targets)
        self._prefixes = count
        self._arranged = False

    def add_sequences(self, sequences: Sequence[DecodedSequence]) -> None:
        self._arranged = False

    def move_sequences(
        self, sources: list[int], targets: list[int], sequences: Sequence[DecodedSequence]
    ) -> None:
        move([b for layer in self.layers for b in (layer.keys, layer.values)], sources, targets)
        self._arranged = False

    def step(
        self,
        tokens: torch.Tensor,
        sequences: Sequence[DecodedSequence],
        *,
        steps: torch.Tensor,
        known_steps: NDArray[np.int64],
    ) -> torch.Tensor:
        if not self._arranged:
            self._arrange(sequences)
        count = len(sequences)
        self.fed = int(known_steps.max()) + 1
        if (known_steps == known_steps[0]).all():
            self.writing, self.unfed = self.fed - 1, None
            positions = self._prefix_length[:count, None] + (self.fed - 1)
        else:
            after = torch.arange(self.fed, device=self._device) > steps[:, None]
            self.writing, self.unfed = steps, after.to(torch.float32)[:, None, None] * _NEVER
            positions = self._prefix_length[:count, None] + steps[:, None]
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None],
            position_ids=positions,
            # already four-dimensional, so the model hands it on and makes none of its own
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self._device),
            past_key_values=self,
            use_cache=True,
            prefix_cache=self,
        ).logits
        return logits[:, -1]

    def _arrange(self, sequences: Sequence[DecodedSequence]) -> None:
        """Lay sequences out by prefix: [prefixes, most samples of one]; only when some changed."""
        slots_of: list[list[int]] = [[] for _ in range(self._prefixes)]
        for slot, one in enumerate(sequences):
            slots_of[one.prefix_slot].append(slot)
        width = max(map(len, slots_of))
        length = np.array([one.prefix_length for one in sequences], dtype=np.int64)
        grid = np.zeros((self._prefixes, width), dtype=np.int64)
        place = np.empty(len(sequences), dtype=np.int64)
        visible = np.zeros((self._prefixes, width), dtype=np.int64)
        for prefix, slots in enumerate(slots_of):
            grid[prefix, : len(slots)] = slots
            place[slots] = prefix * width + np.arange(len(slots))
            visible[prefix, : len(slots)] = length[slots]
        self.longest = int(length.max(initial=0))
        self.grid, self.place = self._sent(grid), self._sent(place)
        self._prefix_length[: len(sequences)] = self._sent(length)
        seen = np.arange(self.longest) < visible[:, :, None]
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
    prefix_cache: SharedPrefixCache | None = None,
    **extra: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to what the cache holds; without one, or while it reads, as `sdpa` does.

    Args:
        module: the attention layer; its `layer_idx` says which.
        query: [n, heads, 1, D].
        key: of the token just fed; the cache has it.
        value: as `key`.
        attention_mask: not used, the cache knows what each sequence may see.
        scaling: of scores; 1/sqrt(D) where None.
        dropout: none, the model is not trained here.
        prefix_cache: a cache that is stepping.
        extra: what an architecture adds; what changes attention is refused.

    Returns:
        [n, 1, heads, D] and None.

    Raises:
        UnsupportedArchitecture: its attention is not plain causal attention.
    """
    cache = prefix_cache
    if cache is None or cache.reading is not None:
        if cache is not None:
            _refuse_variants(extra)
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **extra
        )
        return output
    layer = cache.layers[module.layer_idx]
    count, heads, _, depth = query.shape
    groups = layer.keys.shape[1]
    query = (query * (depth**-0.5 if scaling is None else scaling)).view(count, groups, -1, depth)
    own = _part(
        query,
        layer.keys[:count, :, : cache.fed],
        layer.values[:count, :, : cache.fed],
        cache.unfed,
    )
    prefixes, samples = cache.grid.shape
    shared_query = query[cache.grid].transpose(1, 2).reshape(prefixes, groups, -1, depth)
    unseen = cache.unseen
    if unseen is not None:  # [prefixes, samples, width] for each of the heads that share keys
        unseen = unseen.repeat_interleave(heads // groups, dim=1)[:, None]
    parts = _part(
        shared_query,
        layer.prefix_keys[:prefixes, :, : cache.longest],
        layer.prefix_values[:prefixes, :, : cache.longest],
        unseen,
    )
    shared = [
        part.view(prefixes, groups, samples, heads // groups, -1)
        .transpose(1, 2)
        .flatten(0, 1)[cache.place]
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
            raise UnsupportedArchitecture(f"attention with {name}")


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
