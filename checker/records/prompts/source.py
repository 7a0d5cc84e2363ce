"""The patients of one split as prompts see them: tokens, places of events and of codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.records.prompts.windows import TrainingWindows, Window
from checker.records.tokenization import KIND_EVENT, EventPositions, TokenizedRecords, Tokenizer

TOKENS_AT_ONCE: Final = 1 << 20
"""What is held beside records and results: some hundred bytes for each of so many tokens."""

Flags = NDArray[np.bool_]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class PromptSource:
    """The n patients of one split, and what their prompts depend on beside attacker and class.

    Args:
        records: the patients as tokens.
        subject_id: [n] int64; with the seed it decides what is drawn for a patient.
        codes: the cohort's dictionary, which `records.code` indexes.
        tokenizer: what made the records.
        seed: of the audit, in [0, 2**63).
        max_length: most tokens that the model sees at once; None where nothing bounds it.
        window: which part of a longer record it was trained on.
    """

    records: TokenizedRecords
    subject_id: NDArray[np.int64]
    codes: Sequence[str]
    tokenizer: Tokenizer
    seed: int
    max_length: int | None = None
    window: Window = "first"

    @cached_property
    def windows(self) -> TrainingWindows:
        """What of each record the model was trained on."""
        return TrainingWindows.of(self.records, max_length=self.max_length, window=self.window)

    @cached_property
    def positions(self) -> EventPositions:
        """Where the events are."""
        return EventPositions.of(self.records)

    @cached_property
    def cut_draws(self) -> NDArray[np.float64]:
        """[n] float64 in [0, 1): where a patient without the class is cut."""
        first = self.draws(np.arange(len(self.records)), np.ones(len(self.records), dtype=np.int64))
        # 53 bits make a float64 in [0, 1) without rounding up to 1
        return np.ldexp((first >> np.uint64(11)).astype(np.float64), -53)

    def draws(self, rows: Positions, counts: Positions) -> NDArray[np.uint64]:
        """Return each patient's first random numbers, end to end: [sum of counts] uint64.

        The first decides his cut, the others belong to his events in order; they depend on the
        seed and the patient only.
        """
        bits = np.random.Philox(key=np.zeros(2, dtype=np.uint64))
        state = bits.state
        drawn = np.empty(int(counts.sum()), dtype=np.uint64)
        ends = np.cumsum(counts)
        subjects = self.subject_id[rows].astype(np.uint64)
        for subject, begin, end in zip(
            subjects.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True
        ):
            # resetting one generator costs a sixth of making a new one
            state["state"] = {
                "counter": np.zeros(4, dtype=np.uint64),
                "key": np.array([self.seed, subject], dtype=np.uint64),
            }
            bits.state = state
            drawn[begin:end] = bits.random_raw(end - begin)
        return drawn


@dataclass(frozen=True, slots=True)
class ClassPlaces:
    """Where the codes of one class stand in the records of one split.

    Args:
        counted: ascending places in `TokenizedRecords.tokens` of definitive and strong codes.
        nameable: of these, the places of tokens that make a hit.
        positive: [n] bool, the patient has such a code.
    """

    counted: Positions
    nameable: Positions
    positive: Flags

    @classmethod
    def of(cls, source: PromptSource, *, counted: Flags, watch: NDArray[np.integer]) -> ClassPlaces:
        """Look a class up; arguments as those of `build_prompts`."""
        records = source.records
        found = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(records.tokens) if counted.any() else 0, TOKENS_AT_ONCE):
            part = slice(start, start + TOKENS_AT_ONCE)
            told = flag(counted, records.code[part]) & (records.kind[part] == KIND_EVENT)
            found.append(np.flatnonzero(told) + start)
        places = np.concatenate(found)
        row = np.searchsorted(records.offsets, places, side="right") - 1
        return cls(
            counted=places,
            nameable=places[np.isin(records.tokens[places], watch)],
            positive=np.bincount(row, minlength=len(records)) > 0,
        )

    def among(self, source: PromptSource, chosen: Flags) -> ClassPlaces:
        """Return where the class stands in the records of the chosen patients alone: [n] bool."""
        offsets = source.records.offsets
        counted, nameable = (
            places[chosen[np.searchsorted(offsets, places, side="right") - 1]]
            for places in (self.counted, self.nameable)
        )
        return ClassPlaces(counted, nameable, self.positive & chosen)


def flag(mask: Flags, code: NDArray[np.int32]) -> Flags:
    """Look codes up in a mask; tokens without a code (-1) are False."""
    return np.append(mask, False)[code]


def blocks(sizes: Positions) -> Iterator[slice]:
    """Cut rows into parts of about `TOKENS_AT_ONCE` tokens, at least one row each."""
    ends = np.cumsum(sizes)
    first, done = 0, 0
    while first < len(sizes):
        last = max(int(np.searchsorted(ends, done + TOKENS_AT_ONCE, side="right")), first + 1)
        yield slice(first, last)
        first, done = last, int(ends[last - 1])
