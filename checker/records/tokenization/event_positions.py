"""Where each event of a patient stands among his tokens: looked up once, for every prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization.records import (
    KIND_EVENT,
    KIND_MARK,
    KIND_SPECIAL,
    KIND_TIME,
    TokenizedRecords,
)


@dataclass(frozen=True, slots=True)
class EventPositions:
    """The E dated events of n patients, in order, and where in `TokenizedRecords.tokens` they are.

    Args:
        token: [E] int32 (int64 from 2³¹ tokens on), where an event's own token stands.
        starts: [E] as `token`, where what belongs to it starts: its time token, say.
        first: [n + 1] int64; patient i has the events first[i] to first[i + 1].
        end: [n] int64, where a patient's tokens end, without EOS.
    """

    token: NDArray[np.integer]
    starts: NDArray[np.integer]
    first: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(cls, records: TokenizedRecords) -> EventPositions:
        """Find the events of patients."""
        is_event = records.kind == KIND_EVENT
        own = is_event.copy()  # a value's token has the number of the event token before it
        own[1:] &= ~is_event[:-1] | (records.event[1:] != records.event[:-1])
        begins = records.offsets[:-1][np.diff(records.offsets) > 0]
        own[begins] = is_event[begins]  # whatever number the patient before ended with
        at = np.flatnonzero(own)
        first = np.searchsorted(at, records.offsets)
        end = records.offsets[1:].copy()
        long = np.diff(records.offsets) > 1  # a record of BOS alone has no EOS
        end[long] -= records.kind[end[long] - 1] == KIND_SPECIAL
        fits = len(records.tokens) < 2**31
        is_between = (records.kind == KIND_TIME) | (records.kind == KIND_MARK)
        others = np.append(-1, np.flatnonzero(~is_between))
        return cls(
            token=at.astype(np.int32) if fits else at,
            starts=(others[np.searchsorted(others, at) - 1] + 1).astype(
                np.int32 if fits else np.int64
            ),
            first=first.astype(np.int64),
            end=end,
        )

    @property
    def size(self) -> NDArray[np.int64]:
        """[n] events of each patient."""
        return np.diff(self.first)

    def begin(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where each patient's event of a number begins, with its time token and marks.

        Args:
            number: [n] >= 0, counted within the patient.

        Returns:
            [n] int64; the end of the patient's tokens where he has no such event.
        """
        at = self.end.copy()
        has = np.flatnonzero(number < self.size)
        event = self.first[has] + number[has]
        at[has] = self.starts[event]
        return at

    def before(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of each patient's events begin before a place of his: [n] int64.

        Args:
            place: [n] in `TokenizedRecords.tokens`.
        """
        found = np.searchsorted(self.token, place.astype(self.token.dtype)).astype(np.int64)
        return np.clip(found, self.first[:-1], self.first[1:]) - self.first[:-1]
