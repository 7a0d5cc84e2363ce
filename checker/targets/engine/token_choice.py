"""Which token each sequence is fed next: one that is drawn, or one that is given.

`SampledTokens` draws, and `WatchedTokens` sums meanwhile how likely classes were to be named.
`TeacherForcing` feeds given tokens and keeps their log-probabilities, which is how preflight goes
through the very loop that rollouts take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets import LOGPROB_FLOOR, Sampler, Tokens, Watch, WatchedRollout
from checker.targets.compensator import MOST
from checker.targets.engine.drawing import WatchedClasses, draw_watched
from checker.targets.sampling import cut_at, uniforms


@dataclass(slots=True)
class DecodedSequence:
    """One sample of a prompt, while it is decoded.

    Args:
        prompt: number of the prompt that it continues.
        sample: its number among the prompt's samples.
        prefix_length: tokens of the prompt but the last, which is what it is fed first.
        prefix_slot: where the cache holds its prefix; -1 while it waits.
    """

    prompt: int
    sample: int
    prefix_length: int
    prefix_slot: int = -1


class TokenChoice(Protocol):
    """Chooses what each sequence is fed next, and keeps what comes of it, by slot."""

    @property
    def eos_id(self) -> int | None:
        """What ends a sequence, or None where only the horizon does."""
        ...

    def allocate(self, slots: int, *, device: torch.device) -> None:
        """Allocate buffers for so many sequences."""
        ...

    def add(self, sequences: Sequence[DecodedSequence], *, at: int) -> None:
        """Take up sequences from slot `at` on."""
        ...

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Move sequences to the slots of those that are done."""
        ...

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return what the first n slots are fed next: [n] int64, from logits [n, V] and steps."""
        ...

    def ended(self, count: int) -> NDArray[np.bool_]:
        """Return which of the first slots need no more steps; the one copy from the device."""
        ...

    def results(self, slots: list[int]) -> Sequence[Any]:
        """Return what came of the sequences in some slots."""
        ...


class SampledTokens:
    """Draws tokens by counter-based uniforms.

    Args:
        keys: one for each prompt.
        sampler: how to draw.
        eos_id: ends a sequence; None means that only the horizon does.
    """

    def __init__(self, keys: Sequence[int], *, sampler: Sampler, eos_id: int | None) -> None:
        self._keys, self._sampler, self.eos_id = keys, sampler, eos_id

    def allocate(self, slots: int, *, device: torch.device) -> None:
        shape = (slots, self._sampler.horizon_tokens)
        self._uniforms = torch.zeros(shape, dtype=torch.float64, device=device)
        self._tokens = torch.zeros(shape, dtype=torch.int32, device=device)
        self._ended = torch.zeros(slots, dtype=torch.bool, device=device)
        self._are_numbers = torch.ones((), dtype=torch.bool, device=device)

    def add(self, sequences: Sequence[DecodedSequence], *, at: int) -> None:
        draws = [(self._keys[one.prompt], one.sample) for one in sequences]
        drawn = torch.from_numpy(uniforms(draws, sampler=self._sampler))
        slots = slice(at, at + len(sequences))
        self._uniforms[slots] = drawn.to(self._uniforms.device, non_blocking=True)
        self._ended[slots] = False

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        for column in (self._uniforms, self._tokens, self._ended):
            column[targets] = column[sources]

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return self._draw(logits, steps, None)[0]

    def _draw(
        self, logits: torch.Tensor, steps: torch.Tensor, classes: WatchedClasses | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Draw for the first slots; return tokens, and how likely each class was to be drawn."""
        count, step = len(logits), steps[:, None]
        tokens, are_numbers, masses = draw_watched(
            logits,
            self._uniforms[:count].gather(1, step)[:, 0],
            temperature=self._sampler.temperature,
            top_p=self._sampler.top_p,
            classes=classes,
        )
        self._are_numbers &= are_numbers
        self._tokens[:count].scatter_(1, step, tokens[:, None].to(torch.int32))
        if self.eos_id is not None:
            self._ended[:count] |= tokens == self.eos_id
        return tokens, masses

    def ended(self, count: int) -> NDArray[np.bool_]:
        """Return which of the first slots have drawn the end-of-sequence token.

        Raises:
            TargetError: logits were no numbers.
        """
        if not bool(self._are_numbers):
            raise TargetError(
                "the model gives next-token logits that are no numbers; try dtype: float32"
            )
        found: NDArray[np.bool_] = self._ended[:count].cpu().numpy()
        return found

    def results(self, slots: list[int]) -> Sequence[Any]:
        drawn: NDArray[np.int32] = self._tokens[slots].cpu().numpy()
        return cut_at(drawn, eos_id=self.eos_id)


class WatchedTokens(SampledTokens):
    """Draws tokens, and sums how likely each class was to be named (`targets.compensator`).

    What is drawn is what `SampledTokens` draws.

    Args:
        keys, sampler, eos_id: as `SampledTokens` takes them.
        watch: [C, V], the classes.
    """

    def __init__(
        self, keys: Sequence[int], *, sampler: Sampler, eos_id: int | None, watch: Watch
    ) -> None:
        super().__init__(keys, sampler=sampler, eos_id=eos_id)
        self._watch = watch

    def allocate(self, slots: int, *, device: torch.device) -> None:
        super().allocate(slots, device=device)
        self._classes = WatchedClasses(self._watch, device=device)
        shape = (slots, len(self._watch))
        self._sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self._waits = torch.zeros(shape, dtype=torch.bool, device=device)
        self._counts = torch.zeros(shape, dtype=torch.bool, device=device)

    def add(self, sequences: Sequence[DecodedSequence], *, at: int) -> None:
        super().add(sequences, at=at)
        slots = slice(at, at + len(sequences))
        self._sums[slots] = 0.0
        self._waits[slots] = True
        self._counts[slots] = False

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        super().move(sources, targets)
        for column in (self._sums, self._waits, self._counts):
            column[targets] = column[sources]

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        count = len(logits)
        # what is fed behind the end, until the end is noticed, names nothing
        running = ~self._ended[:count, None]
        tokens, masses = self._draw(logits, steps, self._classes)
        assert masses is not None  # classes were asked for
        hits = self._classes.named_by(tokens)
        sums, waits, counts = (column[:count] for column in (self._sums, self._waits, self._counts))
        counts |= sums + masses > MOST
        sums += torch.where(waits & running, torch.where(counts, hits.double(), masses), 0.0)
        waits &= ~(hits & running)
        return tokens

    def results(self, slots: list[int]) -> Sequence[WatchedRollout]:
        sums: NDArray[np.float32] = self._sums[slots].cpu().numpy().astype(np.float32)
        return [WatchedRollout(*pair) for pair in zip(super().results(slots), sums, strict=True)]


class TeacherForcing:
    """Feeds given tokens and keeps the log-probability of each.

    Args:
        tokens: for each prompt what follows it, [at most horizon] ids.
        horizon_tokens: how many are fed at most.
    """

    eos_id: int | None = None

    def __init__(self, tokens: Sequence[Tokens], *, horizon_tokens: int) -> None:
        self._given = np.zeros((len(tokens), horizon_tokens), dtype=np.int64)
        for line, row in zip(self._given, tokens, strict=True):
            line[: len(row[:horizon_tokens])] = row[:horizon_tokens]

    def allocate(self, slots: int, *, device: torch.device) -> None:
        shape = (slots, self._given.shape[1])
        self._tokens = torch.zeros(shape, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(shape, dtype=torch.float32, device=device)

    def add(self, sequences: Sequence[DecodedSequence], *, at: int) -> None:
        given = torch.from_numpy(self._given[[one.prompt for one in sequences]])
        self._tokens[at : at + len(sequences)] = given.to(self._tokens.device)

    def move(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        for column in (self._tokens, self._logprobs):
            column[targets] = column[sources]

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        count, step = len(logits), steps[:, None]
        given = self._tokens[:count].gather(1, step)
        logs = logits.float().log_softmax(-1).clamp_(min=LOGPROB_FLOOR)
        self._logprobs[:count].scatter_(1, step, logs.gather(1, given))
        return given[:, 0]

    def ended(self, count: int) -> NDArray[np.bool_]:
        return np.zeros(count, dtype=np.bool_)

    def results(self, slots: list[int]) -> Sequence[Any]:
        found: NDArray[np.float32] = self._logprobs[slots].cpu().numpy()
        return list(found)
