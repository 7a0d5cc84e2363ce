"""What of a token sequence is a trajectory: codes of events, and when they happened.

A continuation that a model wrote has no dates, only time tokens, so the true one is read through
its time tokens too: a word-for-word repetition is then at distance 0. A time token adds the middle
of the gaps it stands for to the clock; the last one, whose gaps have no upper end, adds their lower
end. Time tokens set the clock and are no events: moved like codes they would count time twice, and
being every second token of many records, would make any two of them look alike. Special tokens,
ages, static fields and separate value tokens name no event's code and are left out likewise.

A target that declares no `time` has no clock, and its trajectories have no times.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.policy.documents import StaticField
from checker.records.tokenization import Tokenizer

_ONLY_GAP_DAYS: Final = 1.0
"""Of a target whose one time token stands for every gap: any number does, see `distance`."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The n events of a continuation.

    Args:
        tokens: [n] int32, ids of tokens that stand for events.
        days: [n] float64, days from the prompt's end to each event, ascending; None where the
            model has no time tokens.
    """

    tokens: NDArray[np.int32]
    days: NDArray[np.float64] | None

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.tokens)


class TrajectoryReader:
    """Reads token sequences as trajectories.

    Args:
        tokenizer: the target's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        gaps = tokenizer.time_gaps_days
        # one entry more than there are ids: a model may score ids that no token has
        self._is_event = np.array([*_event_tokens(tokenizer), False], dtype=np.bool_)
        self._gap_days = np.zeros(len(self._is_event))
        for token, above, up_to in gaps:
            middle = (above or _ONLY_GAP_DAYS) if up_to is None else (above + up_to) / 2
            self._gap_days[token] = middle
        self._has_clock = bool(gaps)

    def read(self, tokens: NDArray[np.int32]) -> Trajectory:
        """Return the events of a token sequence, with times counted from its beginning.

        Args:
            tokens: [L] int32 ids >= 0; ids beyond the vocabulary are no events.
        """
        return self.read_all([tokens])[0]

    def read_all(self, sequences: Sequence[NDArray[np.int32]]) -> list[Trajectory]:
        """Read several sequences; takes memory as all of them padded to the longest.

        Args:
            sequences: as those of `read`.
        """
        if not sequences:
            return []
        lengths = np.array([len(tokens) for tokens in sequences], dtype=np.int64)
        real = np.arange(lengths.max()) < lengths[:, None]
        nothing = len(self._is_event) - 1
        tokens = np.full(real.shape, nothing, dtype=np.int32)
        tokens[real] = np.concatenate(sequences)
        known = np.minimum(tokens, nothing)
        kept = self._is_event[known]
        ends = np.cumsum(kept.sum(axis=1))[:-1]
        events = np.split(tokens[kept], ends)
        if not self._has_clock:
            return [Trajectory(own, None) for own in events]
        days = np.split(np.cumsum(self._gap_days[known], axis=1)[kept], ends)
        return [Trajectory(*own) for own in zip(events, days, strict=True)]


def _event_tokens(tokenizer: Tokenizer) -> Sequence[bool]:
    """Say of each id whether its token stands for a code outside the prefix."""
    globs = [
        entry.codes if isinstance(entry, StaticField) else entry
        for entry in tokenizer.spec.static.values()
    ]
    return [
        code is not None and not any(fnmatch.fnmatchcase(code, glob) for glob in globs)
        for code in tokenizer.vocabulary_codes()
    ]
