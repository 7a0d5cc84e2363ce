"""What a distance means: how far trajectories that know nothing of the patient are from the truth.

*random*: tokens drawn independently, each as often as it stands in nonmembers' records, time tokens
too. *most frequent codes*: the commonest codes of nonmembers, each once, commonest first, with no
time passing. Nonmembers' counts, because what the training taught is in question. Both are as long
as the truth, so that they are wrong by their codes and never by their length, which makes them
harder to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from checker.attacks.trajectory_memorization.trajectories import Trajectory, TrajectoryReader
from checker.records.tokenization import KIND_EVENT, KIND_TIME, TokenizedRecords


@dataclass(frozen=True)
class Baselines:
    """How often tokens occur.

    Args:
        tokens: [k] int32, distinct tokens of events and times, commonest first.
        cumulative: [k] float64, ascending to 1: their shares, summed up.
        reader: of the target.
    """

    tokens: NDArray[np.int32]
    cumulative: NDArray[np.float64]
    reader: TrajectoryReader

    @classmethod
    def of(cls, nonmembers: TokenizedRecords, *, reader: TrajectoryReader) -> Baselines:
        """Count the tokens behind the prefixes of nonmembers."""
        streamed = (nonmembers.kind == KIND_EVENT) | (nonmembers.kind == KIND_TIME)
        tokens, counts = np.unique(nonmembers.tokens[streamed], return_counts=True)
        order = np.lexsort((tokens, -counts))
        cumulative = np.cumsum(counts[order], dtype=np.float64)
        return cls(tokens[order], cumulative / max(counts.sum(), 1), reader)

    def random(self, length: int, *, rng: np.random.Generator) -> Trajectory:
        """Draw a trajectory of `length` tokens, those that set the clock included."""
        return self.reader.read(self.random_tokens([length], rng=rng)[0])

    def random_tokens(
        self, lengths: Sequence[int], *, rng: np.random.Generator
    ) -> list[NDArray[np.int32]]:
        """Draw sequences of such lengths, one after the other."""
        if not len(self.tokens):
            return [self.tokens] * len(lengths)
        drawn = rng.random(sum(lengths))
        at = np.minimum(np.searchsorted(self.cumulative, drawn, side="right"), len(self.tokens) - 1)
        return np.split(self.tokens[at], np.cumsum(lengths)[:-1])

    @cached_property
    def _codes(self) -> Trajectory:
        return self.reader.read(self.tokens)

    def most_frequent(self, length: int) -> Trajectory:
        """Return the `length` most frequent codes, fewer where there are no more."""
        codes = self._codes
        days = None if codes.days is None else np.zeros(min(length, len(codes)))
        return Trajectory(codes.tokens[:length], days)
