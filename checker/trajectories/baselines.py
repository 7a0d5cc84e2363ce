"""What a distance means: how far trajectories that know nothing of the patient are from the truth.

*random*: tokens drawn independently, each as often as it stands in nonmembers' records, time tokens
too. *most frequent codes*: the commonest codes of nonmembers, each once, commonest first, with no
time passing. Nonmembers' counts, because what the training taught is in question. Both are as long
as the truth, so that they are wrong by their codes and never by their length, which makes them
harder to beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.tokenization import KIND_EVENT, KIND_TIME, TokenizedRecords
from checker.trajectories.reading import Trajectory, TrajectoryReader

__all__ = ["Baselines"]


@dataclass(frozen=True, slots=True)
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
        if not len(self.tokens):
            return self.reader.read(self.tokens)
        at = np.searchsorted(self.cumulative, rng.random(length), side="right")
        return self.reader.read(self.tokens[np.minimum(at, len(self.tokens) - 1)])

    def most_frequent(self, length: int) -> Trajectory:
        """Return the `length` most frequent codes, fewer where there are no more."""
        codes = self.reader.read(self.tokens)
        days = None if codes.days is None else np.zeros(min(length, len(codes)))
        return Trajectory(codes.tokens[:length], days)
