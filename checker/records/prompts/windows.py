"""Which part of a long record a model was trained on, and so may be asked to continue.

A record longer than the model's context was cut into windows (METHODS §1, *Long records*), and what
lies in none of them the model has never seen: a patient whose diagnosis stands there can leak
nothing, and counted among those who could he would hide the others. Nor does a model know a prompt
that runs across two windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import KIND_SPECIAL, KIND_STATIC, TokenizedRecords

Window = Literal["first", "last", "tiled"]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingWindows:
    """The windows of n records, as `checker.planning.workload.record_windows` cuts them.

    Args:
        begins: [n] int64, where in `TokenizedRecords.tokens` each record begins.
        lengths: [n] int64, tokens of each record.
        prefix: [n] int64, tokens of the static prefix that every window begins with.
        max_length: most tokens of a window; None where records are never cut.
        window: which windows there are.
    """

    begins: Positions
    lengths: Positions
    prefix: Positions
    max_length: int | None
    window: Window

    @classmethod
    def of(
        cls, records: TokenizedRecords, *, max_length: int | None, window: Window
    ) -> TrainingWindows:
        """Find the static prefixes."""
        lengths = np.diff(records.offsets)
        n = len(lengths)
        streamed = (records.kind != KIND_SPECIAL) & (records.kind != KIND_STATIC)
        places = np.append(np.flatnonzero(streamed), len(streamed))
        first = places[np.searchsorted(places, records.offsets[:-1])]
        prefix = np.where(first < records.offsets[1:], first - records.offsets[:-1], 0)
        if max_length is not None:
            prefix = np.minimum(prefix, max_length // 2)
        return cls(
            begins=records.offsets[:-1].astype(np.int64),
            lengths=lengths.astype(np.int64).reshape(n),
            prefix=prefix.astype(np.int64),
            max_length=max_length,
            window=window,
        )

    @property
    def seen_from(self) -> Positions:
        """[n] int64, the first place that some window holds, the static prefix left out."""
        if self.max_length is None or self.window != "last":
            return self.begins.copy()
        size = self.max_length - self.prefix
        return self.begins + np.where(self.lengths > self.max_length, self.lengths - size, 0)

    @property
    def seen_to(self) -> Positions:
        """[n] int64, the place behind the last one that some window holds."""
        if self.max_length is None or self.window != "first":
            return self.begins + self.lengths
        return self.begins + np.minimum(self.lengths, self.max_length)

    def around(self, places: Positions) -> tuple[Positions, Positions]:
        """Return where the window that holds a place begins and ends, for each record.

        Args:
            places: [n] int64 in `TokenizedRecords.tokens`.

        Returns:
            Two [n] int64, places in `TokenizedRecords.tokens`; equal where no window holds it. The
            static prefix, which every window begins with, is not counted.
        """
        ends = self.begins + self.lengths
        if self.max_length is None:
            return self.begins.copy(), ends
        at = places - self.begins
        size = self.max_length - self.prefix
        if self.window == "first":
            begin = np.zeros_like(at)
            end = np.full_like(at, self.max_length)
        elif self.window == "last":
            begin = self.lengths - size
            end = self.lengths.copy()
        else:
            later = np.maximum(at - self.max_length, 0) // size
            is_first = at < self.max_length
            begin = np.where(is_first, 0, self.max_length + later * size)
            end = np.where(is_first, self.max_length, begin + size)
        fits = self.lengths <= self.max_length
        begin, end = np.where(fits, 0, begin), np.where(fits, self.lengths, end)
        holds = (begin <= at) & (at < end)
        begin, end = self.begins + begin, np.minimum(self.begins + end, ends)
        return begin, np.where(holds, end, begin)
