"""The decoding loop: what is fed to the model, step by step, until every sample is done.

A prompt's prefix, all its tokens but the last, is read once into the cache. Each of its samples is
a sequence that is fed that last token and then what is chosen. Sequences that end, by the
end-of-sequence token or the horizon, leave, and those that wait take their slots, so the batch
stays full (continuous batching: Yu et al. 2022, "Orca"). Nothing is copied to the host while they
run: every CHECK_EVERY steps one copy says which have ended.

A batch that does not fit into memory is halved. Sequences that are done stay done; the others start
again, and as a draw depends on seed, key, sample and step alone, they come out the same.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from checker.errors import TargetError
from checker.targets import Progress, Tokens
from checker.targets.engine.batches import OUT_OF_MEMORY
from checker.targets.engine.cache import Capacity, DecodingCache
from checker.targets.engine.loading import vendor
from checker.targets.engine.token_choice import DecodedSequence, TokenChoice

CHECK_EVERY = 8
"""Steps between two looks at what has ended; half of it is what a sequence that ends wastes."""

_SAMPLES_AT_ONCE = 64  # of one prefix, so that one prompt of many samples does not fill all slots
_SPARE_PREFIXES = 1.5  # those whose last samples are still running, beside those of a full batch


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be.

    Args:
        tokens: of all prefixes and sequences together.
        cache_bytes: of the cache's buffers.
        unit_bytes: as in `DecodingCache`.
        read_tokens: padded tokens that are read at once.
        sequences: at most so many, so that their logits stay small.
    """

    tokens: int
    cache_bytes: int
    unit_bytes: int
    read_tokens: int
    sequences: int


class DecodingRequest:
    """Which samples of which prompts are wanted, and what came of those that are done.

    Args:
        prompts: n arrays of at least one id.
        samples: of each prompt.
        horizon_tokens: of each sample.
        more: called with a prompt's number and all that came of it so far whenever its samples are
            done; returns how many more are wanted.
        progress: is told `horizon_tokens` for every sample done.
    """

    def __init__(
        self,
        prompts: Sequence[Tokens],
        *,
        samples: int,
        horizon_tokens: int,
        more: Callable[[int, list[Any]], int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.prompts, self.horizon_tokens = prompts, horizon_tokens
        self._wanted = [samples] * len(prompts)
        self._done: list[dict[int, Any]] = [{} for _ in prompts]
        self._more, self._progress = more, progress

    def sequences(self, prompt: int, *, since: int = 0) -> list[DecodedSequence]:
        """Return the samples that are wanted of a prompt, from a number on."""
        length = len(self.prompts[prompt]) - 1
        return [DecodedSequence(prompt, i, length) for i in range(since, self._wanted[prompt])]

    def finish(self, sequence: DecodedSequence, result: Any) -> list[DecodedSequence]:
        """Take a sample's result; return what is wanted now as well."""
        prompt = sequence.prompt
        done, before = self._done[prompt], self._wanted[prompt]
        done[sequence.sample] = result
        if self._progress is not None:
            self._progress(self.horizon_tokens)
        if self._more is not None and len(done) == before:
            self._wanted[prompt] += self._more(prompt, [done[i] for i in range(before)])
        return self.sequences(prompt, since=before)

    def results(self) -> list[list[Any]]:
        """Return each prompt's results, in the order of its samples."""
        return [[done[i] for i in range(len(done))] for done in self._done]


@dataclass(slots=True)
class _Prefix:
    """What is read once, and the samples that go on from it or from a part of it."""

    tokens: Tokens
    waiting: deque[DecodedSequence] = field(default_factory=deque)
    running: int = 0


def decode(
    request: DecodingRequest,
    choice: TokenChoice,
    *,
    prompts: Sequence[int],
    cache: type[DecodingCache],
    make_cache: Callable[[Capacity, int], DecodingCache],
    limits: BatchLimits,
    device: torch.device,
    doing: str,
) -> None:
    """Decode all that is wanted.

    Args:
        request: takes the results.
        choice: of what sequences are fed.
        prompts: numbers of those that are continued.
        cache: says how large buffers are, and whether prefixes share a slot.
        make_cache: makes one of some capacity that reads so many padded tokens at once.
        limits: of a batch.
        device: of the model.
        doing: what is done, for errors.

    Raises:
        TargetError: a single sample does not fit into the device's memory, or the model fails.
    """
    waiting = deque(_prefixes(request, prompts, share=cache.shares_prefixes))
    horizon, read_tokens, most = request.horizon_tokens, limits.read_tokens, limits.sequences
    while waiting:
        waiting = deque(sorted(waiting, key=lambda prefix: -len(prefix.tokens)))
        capacity = _capacity(waiting, horizon, limits=limits, bytes_of=cache.bytes_of, most=most)
        loop = None
        with contextlib.suppress(torch.OutOfMemoryError), vendor(doing), torch.inference_mode():
            choice.allocate(capacity.sequences, device=device)
            loop = _Loop(
                request, choice, make_cache(capacity, read_tokens), capacity, device, waiting
            )
            loop.run()
            return
        if loop is not None:
            loop.give_back()
        del loop
        # Only here are the batch's tensors, which the traceback held, free to be given back.
        torch.cuda.empty_cache()
        if capacity.sequences == 1:
            longest = max(len(prefix.tokens) for prefix in waiting) + 1
            raise TargetError(
                f"{doing} one sequence of {longest + horizon} tokens {OUT_OF_MEMORY} {device}; "
                "free memory or shorten the prompt or the horizon"
            )
        most, read_tokens = capacity.sequences // 2, read_tokens // 2


def _prefixes(request: DecodingRequest, prompts: Sequence[int], *, share: bool) -> list[_Prefix]:
    """Return the prefixes to read, with the samples that go on from each."""
    own = {prompt: request.prompts[prompt][:-1].astype(np.int32) for prompt in prompts}
    # Big-endian, so that bytes are ordered like ids: what begins with a prefix follows it.
    spelled = {prompt: tokens.astype(">i4").tobytes() for prompt, tokens in own.items()}
    order = sorted(own, key=lambda prompt: (spelled[prompt], prompt))
    prefixes: list[_Prefix] = []
    last = b""
    for prompt in reversed(order):
        covered = last.startswith(spelled[prompt]) if share else last == spelled[prompt]
        if not prefixes or not covered:
            prefixes.append(_Prefix(own[prompt]))
            last = spelled[prompt]
        prefixes[-1].waiting.extend(request.sequences(prompt))
    return [prefix for prefix in prefixes if prefix.waiting]


def _capacity(
    prefixes: deque[_Prefix],
    horizon: int,
    *,
    limits: BatchLimits,
    bytes_of: Callable[..., int],
    most: int,
) -> Capacity:
    """Return the largest capacity within the limits and `most` sequences, at least of one.

    Of the prefixes the longest comes first.
    """
    width = max(1, len(prefixes[0].tokens))
    wanted = sum(len(prefix.waiting) for prefix in prefixes)
    at_once = sum(min(len(prefix.waiting), _SAMPLES_AT_ONCE) for prefix in prefixes)
    per_prefix = at_once / len(prefixes)

    def of(sequences: int) -> Capacity:
        needed = min(len(prefixes), int(sequences / per_prefix * _SPARE_PREFIXES))
        return Capacity(max(1, needed), sequences, width, horizon)

    def fits(sequences: int) -> bool:
        capacity = of(sequences)
        tokens = capacity.prefixes * width + sequences * horizon
        taken = bytes_of(capacity, unit_bytes=limits.unit_bytes)
        return tokens <= limits.tokens and taken <= limits.cache_bytes

    low, high = 1, max(1, min(wanted, most))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return of(low)


class _Loop:
    """One cache's worth of prefixes and sequences; both lists are in the order of the slots."""

    def __init__(
        self,
        request: DecodingRequest,
        choice: TokenChoice,
        cache: DecodingCache,
        capacity: Capacity,
        device: torch.device,
        waiting: deque[_Prefix],
    ) -> None:
        self._request, self._choice, self._cache = request, choice, cache
        self._capacity, self._waiting = capacity, waiting
        self._prefixes: list[_Prefix] = []
        self._sequences: list[DecodedSequence] = []
        self._fed = torch.zeros(capacity.sequences, dtype=torch.int64, device=device)
        self._steps = torch.zeros(capacity.sequences, dtype=torch.int64, device=device)
        # the same on the host, known without asking the device
        self._known_steps = np.zeros(capacity.sequences, dtype=np.int64)

    def run(self) -> None:
        while self._waiting or self._prefixes:
            self._admit()
            most = int(self._known_steps[: len(self._sequences)].max())
            for _ in range(min(CHECK_EVERY, self._capacity.horizon_tokens - most)):
                self._step()
            self._retire()

    def give_back(self) -> None:
        """Let everything that is not done wait again, in front of what waits already."""
        for one in self._sequences:
            self._prefixes[one.prefix_slot].waiting.appendleft(one)
        for prefix in reversed(self._prefixes):
            prefix.running = 0
            if prefix.waiting:
                self._waiting.appendleft(prefix)

    def _admit(self) -> None:
        """Fill free slots, first with further samples of prefixes that were read before."""
        free = self._capacity.sequences - len(self._sequences)
        fresh: list[DecodedSequence] = []
        for slot in range(len(self._prefixes)):
            fresh += self._take(slot, free - len(fresh))
        known = len(self._prefixes)
        most = self._capacity.prefixes
        while self._waiting and len(fresh) < free and len(self._prefixes) < most:
            self._prefixes.append(self._waiting.popleft())
            fresh += self._take(len(self._prefixes) - 1, free - len(fresh))
        slots = slice(len(self._sequences), len(self._sequences) + len(fresh))
        self._sequences += fresh  # first of all, or a lack of memory below would lose them
        if len(self._prefixes) > known:
            self._cache.read([prefix.tokens for prefix in self._prefixes[known:]])
        if not fresh:
            return
        self._choice.add(fresh, at=slots.start)
        self._cache.add_sequences(fresh)
        last = np.array([self._request.prompts[one.prompt][-1] for one in fresh], dtype=np.int64)
        self._fed[slots] = torch.from_numpy(last).to(self._fed.device)
        self._steps[slots] = 0
        self._known_steps[slots] = 0

    def _take(self, slot: int, free: int) -> list[DecodedSequence]:
        prefix = self._prefixes[slot]
        count = min(len(prefix.waiting), _SAMPLES_AT_ONCE - prefix.running, free)
        taken = [prefix.waiting.popleft() for _ in range(count)]
        for one in taken:
            one.prefix_slot = slot
        prefix.running += count
        return taken

    def _step(self) -> None:
        running = slice(len(self._sequences))
        fed, steps, known = self._fed[running], self._steps[running], self._known_steps[running]
        logits = self._cache.step(fed, self._sequences, steps=steps, known_steps=known)
        self._fed[running] = self._choice.choose(logits, steps)
        steps += 1
        known += 1

    def _retire(self) -> None:
        """Let sequences leave that are done, and then the prefixes that none needs any more."""
        count = len(self._sequences)
        done = self._known_steps[:count] == self._capacity.horizon_tokens
        gone = np.flatnonzero(done | self._choice.ended(count)).tolist()
        if not gone:
            return
        for slot, result in zip(gone, self._choice.results(gone), strict=True):
            one = self._sequences[slot]
            prefix = self._prefixes[one.prefix_slot]
            prefix.running -= 1
            prefix.waiting.extend(self._request.finish(one, result))
        sources, targets = _refill(self._sequences, gone)
        self._cache.move_sequences(sources, targets, self._sequences)
        source = torch.tensor(sources, dtype=torch.int64, device=self._fed.device)
        target = torch.tensor(targets, dtype=torch.int64, device=self._fed.device)
        for column in (self._fed, self._steps):
            column[target] = column[source]
        self._known_steps[targets] = self._known_steps[sources]
        self._choice.move(source, target)
        self._drop_prefixes()

    def _drop_prefixes(self) -> None:
        unneeded = [i for i, one in enumerate(self._prefixes) if not (one.running or one.waiting)]
        if not unneeded:
            return
        sources, targets = _refill(self._prefixes, unneeded)
        moved = dict(zip(sources, targets, strict=True))
        for one in self._sequences:
            one.prefix_slot = moved.get(one.prefix_slot, one.prefix_slot)
        self._cache.move_prefixes(sources, targets, len(self._prefixes))


def _refill(items: list[Any], gone: list[int]) -> tuple[list[int], list[int]]:
    """Fill the slots of those who left with the last of those who stay, and cut the list.

    Returns:
        From where to where others moved.
    """
    kept = len(items) - len(gone)
    left = set(gone)
    targets = [slot for slot in gone if slot < kept]
    sources = [slot for slot in range(kept, len(items)) if slot not in left]
    for source, target in zip(sources, targets, strict=True):
        items[target] = items[source]
    del items[kept:]
    return sources, targets
