"""The decoding loop: what is fed to the model, step by step, until every sample is done.

A prompt's beginning, all its tokens but the last, is read once into a seat. Each of its samples is
a row that is fed that last token and then what is chosen. Rows that end, by the end-of-sequence
token or the horizon, leave, and rows that wait take their place, so the batch stays full. Nothing
crosses from the device while rows run: every CHECK_EVERY steps one copy says which have ended.

What a row is fed is chosen by a `Choice`: `Sampling` draws, `Forcing` feeds given tokens and keeps
their log-probabilities, which is how preflight goes through this very loop.

A batch that does not fit into memory is halved. Rows that are done stay done; the others start
again, and as a draw depends on seed, key, sample and step alone, they come out the same.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets import LOGPROB_FLOOR, Progress, Sampler, Tokens
from checker.targets.engine.batches import NO_ROOM
from checker.targets.engine.drawing import draw
from checker.targets.engine.loading import vendor
from checker.targets.engine.memories import Capacity, Memory, Row
from checker.targets.engine.sampling import cut_at, uniforms

__all__ = ["CHECK_EVERY", "Choice", "Forcing", "Limits", "More", "Sampling", "Work", "decode"]

CHECK_EVERY = 8
"""Steps between two looks at which rows have ended; half of it is what a row that ends wastes."""

_LANES = 64  # rows of one seat at a time, so that one prompt of many samples does not fill all
_SPARE_SEATS = 1.5  # seats whose last rows are still running, beside those of a full batch

More = Callable[[int, list[Tokens]], int]


class Choice(Protocol):
    """Chooses what each row is fed next, and keeps what comes of it."""

    @property
    def eos_id(self) -> int | None:
        """What ends a row, or None where only the horizon does."""
        ...

    def allot(self, rows: int, *, device: torch.device) -> None:
        """Make room for rows."""
        ...

    def add(self, rows: Sequence[Row], *, at: int) -> None:
        """Take up rows from slot `at` on."""
        ...

    def leave(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Move rows to where others left."""
        ...

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return what the first n rows are fed next: [n] int64, from logits [n, V] and steps."""
        ...

    def ended(self, count: int) -> NDArray[np.bool_]:
        """Return which of the first rows need no more steps; the one copy from the device."""
        ...

    def results(self, slots: list[int]) -> list[NDArray[Any]]:
        """Return what came of the rows in some slots."""
        ...


class Sampling:
    """Draws tokens by counter-based uniforms.

    Args:
        keys: one for each prompt.
        sampler: how to draw.
        eos_id: ends a row; None means that only the horizon does.
    """

    def __init__(self, keys: Sequence[int], *, sampler: Sampler, eos_id: int | None) -> None:
        self._keys, self._sampler, self.eos_id = keys, sampler, eos_id

    def allot(self, rows: int, *, device: torch.device) -> None:
        """Make room for rows."""
        shape = (rows, self._sampler.horizon_tokens)
        self._numbers = torch.zeros(shape, dtype=torch.float64, device=device)
        self._tokens = torch.zeros(shape, dtype=torch.int32, device=device)
        self._ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._sound = torch.ones((), dtype=torch.bool, device=device)

    def add(self, rows: Sequence[Row], *, at: int) -> None:
        """Take up rows, each with the uniforms of its prompt's key and its sample."""
        draws = [(self._keys[row.prompt], row.sample) for row in rows]
        numbers = torch.from_numpy(uniforms(draws, sampler=self._sampler))
        self._numbers[at : at + len(rows)] = numbers.to(self._numbers.device, non_blocking=True)
        self._ended[at : at + len(rows)] = False

    def leave(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Move rows to where others left."""
        for column in (self._numbers, self._tokens, self._ended):
            column[targets] = column[sources]

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Draw one token for each row."""
        count, step = len(logits), steps[:, None]
        tokens, sound = draw(
            logits,
            self._numbers[:count].gather(1, step)[:, 0],
            temperature=self._sampler.temperature,
            top_p=self._sampler.top_p,
        )
        self._sound &= sound
        self._tokens[:count].scatter_(1, step, tokens[:, None].to(torch.int32))
        if self.eos_id is not None:
            self._ended[:count] |= tokens == self.eos_id
        return tokens

    def ended(self, count: int) -> NDArray[np.bool_]:
        """Return which of the first rows have drawn the end-of-sequence token.

        Raises:
            TargetError: logits were no numbers.
        """
        if not bool(self._sound):
            raise TargetError(
                "the model gives next-token logits that are no numbers; try dtype: float32"
            )
        found: NDArray[np.bool_] = self._ended[:count].cpu().numpy()
        return found

    def results(self, slots: list[int]) -> list[NDArray[Any]]:
        """Return the tokens of some rows, up to the first end-of-sequence token."""
        drawn: NDArray[np.int32] = self._tokens[slots].cpu().numpy()
        return cut_at(drawn, eos_id=self.eos_id)


class Forcing:
    """Feeds given tokens and keeps the log-probability of each.

    Args:
        tokens: for each prompt what follows it, [at most horizon] ids.
        horizon_tokens: how many are fed at most.
    """

    eos_id: int | None = None

    def __init__(self, tokens: Sequence[Tokens], *, horizon_tokens: int) -> None:
        self._forced = np.zeros((len(tokens), horizon_tokens), dtype=np.int64)
        for line, row in zip(self._forced, tokens, strict=True):
            line[: len(row[:horizon_tokens])] = row[:horizon_tokens]

    def allot(self, rows: int, *, device: torch.device) -> None:
        """Make room for rows."""
        shape = (rows, self._forced.shape[1])
        self._tokens = torch.zeros(shape, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(shape, dtype=torch.float32, device=device)

    def add(self, rows: Sequence[Row], *, at: int) -> None:
        """Take up rows, each with its prompt's tokens."""
        forced = torch.from_numpy(self._forced[[row.prompt for row in rows]])
        self._tokens[at : at + len(rows)] = forced.to(self._tokens.device)

    def leave(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Move rows to where others left."""
        for column in (self._tokens, self._logprobs):
            column[targets] = column[sources]

    def choose(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return the forced tokens."""
        count, step = len(logits), steps[:, None]
        forced = self._tokens[:count].gather(1, step)
        logs = logits.float().log_softmax(-1).clamp_(min=LOGPROB_FLOOR)
        self._logprobs[:count].scatter_(1, step, logs.gather(1, forced))
        return forced[:, 0]

    def ended(self, count: int) -> NDArray[np.bool_]:
        """Return that none has: forced rows run to the horizon."""
        return np.zeros(count, dtype=np.bool_)

    def results(self, slots: list[int]) -> list[NDArray[Any]]:
        """Return the log-probabilities of some rows' tokens."""
        found: NDArray[np.float32] = self._logprobs[slots].cpu().numpy()
        return list(found)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a batch may be.

    Args:
        tokens: of all beginnings and rows together.
        bytes_: of the memory's buffers.
        per_token: bytes that one token, or one state, takes in them.
        read_tokens: padded tokens that are read at once.
        rows: at most so many, so that their logits stay small.
    """

    tokens: int
    bytes_: int
    per_token: int
    read_tokens: int
    rows: int


@dataclass(slots=True)
class _Seat:
    """A beginning that is to be read, and the samples that go on from it."""

    beginning: Tokens
    waiting: deque[Row] = field(default_factory=deque)
    running: int = 0


class Work:
    """Which samples of which prompts are to be run, and what came of those that are done.

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
        more: More | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.prompts, self.horizon_tokens = prompts, horizon_tokens
        self._wanted = [samples] * len(prompts)
        self._done: list[dict[int, NDArray[Any]]] = [{} for _ in prompts]
        self._more, self._progress = more, progress

    def wanted(self, prompt: int) -> range:
        """Return the numbers of the samples that are wanted of a prompt."""
        return range(self._wanted[prompt])

    def finish(self, prompt: int, sample: int, result: NDArray[Any]) -> range:
        """Take a sample's result; return the numbers of the samples that are wanted now as well."""
        done, before = self._done[prompt], self._wanted[prompt]
        done[sample] = result
        if self._progress is not None:
            self._progress(self.horizon_tokens)
        if self._more is not None and len(done) == before:
            self._wanted[prompt] += self._more(prompt, [done[i] for i in range(before)])
        return range(before, self._wanted[prompt])

    def results(self) -> list[list[NDArray[Any]]]:
        """Return each prompt's results, in the order of its samples."""
        return [[done[i] for i in range(len(done))] for done in self._done]


def decode(
    work: Work,
    choice: Choice,
    *,
    make: Callable[[Capacity, int], Memory],
    shares_beginnings: bool,
    measure: Callable[..., int],
    limits: Limits,
    device: torch.device,
    doing: str,
) -> None:
    """Run all that `work` wants.

    Args:
        work: takes the results.
        choice: of what rows are fed.
        make: a memory of some capacity that reads so many padded tokens at once.
        shares_beginnings: whether that memory seats a prompt with a longer one.
        measure: gives the size of that memory's buffers.
        limits: of a batch.
        device: of the model.
        doing: what is done, for errors.

    Raises:
        TargetError: a single sample does not fit into the device's memory, or the model fails.
    """
    seats = deque(_seats(work, share=shares_beginnings))
    horizon, read_tokens, most = work.horizon_tokens, limits.read_tokens, None
    while seats:
        seats = deque(sorted(seats, key=lambda seat: -len(seat.beginning)))
        capacity = _capacity(seats, horizon, limits=limits, measure=measure, most=most)
        loop = None
        with contextlib.suppress(torch.OutOfMemoryError), vendor(doing), torch.inference_mode():
            choice.allot(capacity.rows, device=device)
            loop = _Loop(work, choice, make(capacity, read_tokens), capacity, device, seats)
            loop.run()
            return
        if loop is not None:
            loop.give_back()
        del loop
        # Only here are the batch's tensors, which the traceback held, free to be given back.
        torch.cuda.empty_cache()
        if capacity.rows == 1:
            longest = max(len(seat.beginning) for seat in seats) + 1
            raise TargetError(
                f"{doing} one sequence of {longest + horizon} tokens {NO_ROOM} {device}; "
                "free memory or shorten the prompt or the horizon"
            )
        most, read_tokens = capacity.rows // 2, read_tokens // 2


def _seats(work: Work, *, share: bool) -> list[_Seat]:
    """Return the beginnings to read, with the rows that go on from each."""
    beginnings = [prompt[:-1].astype(np.int32) for prompt in work.prompts]
    # Big-endian, so that bytes are ordered like ids: what begins with a beginning follows it.
    spelled = [beginning.astype(">i4").tobytes() for beginning in beginnings]
    order = sorted(range(len(beginnings)), key=lambda prompt: (spelled[prompt], prompt))
    seats: list[_Seat] = []
    last = b""
    for prompt in reversed(order):
        begins = last.startswith(spelled[prompt]) if share else last == spelled[prompt]
        if not seats or not begins:
            seats.append(_Seat(beginnings[prompt]))
            last = spelled[prompt]
        start = len(beginnings[prompt])
        seats[-1].waiting.extend(Row(prompt, s, -1, start) for s in work.wanted(prompt))
    return [seat for seat in seats if seat.waiting]


def _capacity(
    seats: deque[_Seat],
    horizon: int,
    *,
    limits: Limits,
    measure: Callable[..., int],
    most: int | None,
) -> Capacity:
    """Return the largest capacity within the limits and `most` rows, at least one row.

    Of the seats the one with the longest beginning comes first.
    """
    width = max(1, len(seats[0].beginning))
    lanes = sum(min(len(seat.waiting), _LANES) for seat in seats) / len(seats)
    rows_in_all = sum(len(seat.waiting) for seat in seats)

    def of(rows: int) -> Capacity:
        spare = min(len(seats), int(rows / lanes * _SPARE_SEATS))
        return Capacity(max(1, spare), rows, width, horizon)

    def fits(rows: int) -> bool:
        capacity = of(rows)
        tokens = capacity.seats * width + rows * horizon
        held = measure(capacity, per_token=limits.per_token)
        return tokens <= limits.tokens and held <= limits.bytes_

    low, high = 1, max(1, min(rows_in_all, limits.rows, rows_in_all if most is None else most))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return of(low)


class _Loop:
    """One memory's worth of seats and rows; the order of `rows` is that of the slots."""

    def __init__(
        self,
        work: Work,
        choice: Choice,
        memory: Memory,
        capacity: Capacity,
        device: torch.device,
        queue: deque[_Seat],
    ) -> None:
        self._work, self._choice, self._memory = work, choice, memory
        self._capacity, self._queue = capacity, queue
        self._seats: list[_Seat] = []
        self._rows: list[Row] = []
        self._fed = torch.zeros(capacity.rows, dtype=torch.int64, device=device)
        self._steps = torch.zeros(capacity.rows, dtype=torch.int64, device=device)
        self._taken = np.zeros(capacity.rows, dtype=np.int64)  # the same, known without asking

    def run(self) -> None:
        while self._queue or self._seats:
            self._admit()
            left = self._capacity.horizon - int(self._taken[: len(self._rows)].max())
            for _ in range(min(CHECK_EVERY, left)):
                self._step()
            self._retire()

    def give_back(self) -> None:
        """Let everything that is not done wait again, in front of what waits already."""
        for row in self._rows:
            self._seats[row.seat].waiting.appendleft(Row(row.prompt, row.sample, -1, row.start))
        for seat in reversed(self._seats):
            seat.running = 0
            if seat.waiting:
                self._queue.appendleft(seat)

    def _admit(self) -> None:
        """Fill free slots: first with further rows of the seats there are, then of new ones."""
        room = self._capacity.rows - len(self._rows)
        fresh: list[Row] = []
        for number, seat in enumerate(self._seats):
            fresh += self._take(seat, number, room - len(fresh))
        seated = len(self._seats)
        while self._queue and len(fresh) < room and len(self._seats) < self._capacity.seats:
            self._seats.append(self._queue.popleft())
            fresh += self._take(self._seats[-1], len(self._seats) - 1, room - len(fresh))
        slots = slice(len(self._rows), len(self._rows) + len(fresh))
        self._rows += fresh  # first of all, or a lack of memory below would lose them
        if len(self._seats) > seated:
            self._memory.seat([seat.beginning for seat in self._seats[seated:]])
        if not fresh:
            return
        self._choice.add(fresh, at=slots.start)
        self._memory.add_rows(fresh)
        last = np.array([self._work.prompts[row.prompt][-1] for row in fresh], dtype=np.int64)
        self._fed[slots] = torch.from_numpy(last).to(self._fed.device)
        self._steps[slots] = 0
        self._taken[slots] = 0

    def _take(self, seat: _Seat, number: int, room: int) -> list[Row]:
        count = min(len(seat.waiting), _LANES - seat.running, room)
        taken = [seat.waiting.popleft() for _ in range(count)]
        for row in taken:
            row.seat = number
        seat.running += count
        return taken

    def _step(self) -> None:
        count = len(self._rows)
        fed, steps, taken = self._fed[:count], self._steps[:count], self._taken[:count]
        logits = self._memory.step(fed, self._rows, steps=steps, known_steps=taken)
        self._fed[:count] = self._choice.choose(logits, steps)
        steps += 1
        taken += 1

    def _retire(self) -> None:
        """Let rows leave that are done, and then the seats that no row needs any more."""
        count = len(self._rows)
        done = self._taken[:count] == self._capacity.horizon
        gone = np.flatnonzero(done | self._choice.ended(count)).tolist()
        if not gone:
            return
        for slot, result in zip(gone, self._choice.results(gone), strict=True):
            row = self._rows[slot]
            seat = self._seats[row.seat]
            seat.running -= 1
            further = self._work.finish(row.prompt, row.sample, result)
            seat.waiting.extend(Row(row.prompt, sample, -1, row.start) for sample in further)
        sources, targets = _refill(self._rows, gone)
        self._memory.leave_rows(sources, targets, self._rows)
        source = torch.tensor(sources, dtype=torch.int64, device=self._fed.device)
        target = torch.tensor(targets, dtype=torch.int64, device=self._fed.device)
        for column in (self._fed, self._steps):
            column[target] = column[source]
        self._taken[targets] = self._taken[sources]
        self._choice.leave(source, target)
        self._unseat()

    def _unseat(self) -> None:
        empty = [i for i, seat in enumerate(self._seats) if not seat.running and not seat.waiting]
        if not empty:
            return
        sources, targets = _refill(self._seats, empty)
        renamed = dict(zip(sources, targets, strict=True))
        for row in self._rows:
            row.seat = renamed.get(row.seat, row.seat)
        self._memory.leave_seats(sources, targets, len(self._seats))


def _refill(items: list[Any], gone: list[int]) -> tuple[list[int], list[int]]:
    """Fill the places of those who left with the last of those who stay, and cut the list.

    Returns:
        From where to where others moved.
    """
    kept = len(items) - len(gone)
    left = set(gone)
    targets = [place for place in gone if place < kept]
    sources = [place for place in range(kept, len(items)) if place not in left]
    for source, target in zip(sources, targets, strict=True):
        items[target] = items[source]
    del items[kept:]
    return sources, targets
