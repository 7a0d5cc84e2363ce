"""Parts of a record: static prefix, time tokens, end, and the events of each kind (METHODS §5).

Which event follows which a model may tell as well under wrong time tokens, behind a wrong first
token or with another end; but those tokens themselves it then finds unlikely. And among all events
those of one kind may be few enough to be lost: where its diagnoses alone are not the model's, a
model of laboratory tests writes the rest as it should.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from checker.codes import CodeReader, Kind, kind_of
from checker.records.tokenization import KIND_EVENT, KIND_SPECIAL, KIND_TIME, TokenizedRecord


def _static(record: TokenizedRecord) -> NDArray[np.bool_]:
    return np.greater_equal(record.field, 0)


def _time(record: TokenizedRecord) -> NDArray[np.bool_]:
    return np.equal(record.kind, KIND_TIME)


def _end(record: TokenizedRecord) -> NDArray[np.bool_]:
    """EOS, which stands last if it is declared; BOS, which stands first, is never predicted."""
    last = np.zeros(len(record), dtype=np.bool_)
    last[1:] = record.kind[1:] == KIND_SPECIAL
    return last


PARTS: Mapping[str, Callable[[TokenizedRecord], NDArray[np.bool_]]] = {
    "static": _static,
    "time": _time,
    "end": _end,
}
"""By name, which tokens of a record belong to a part: [n] bool."""

EVENTS: Final = (*get_args(Kind), "other events")
"""The kinds of events, which are parts too; but these must beat how often each token occurs."""


PIECES: Final = "pieces"
"""Name of what is told behind the static prefix alone, though the model could see more."""


class KindsOfEvents:
    """Of which kind events are, by their codes; each code is read once for all patients.

    Args:
        codes: the cohort's dictionary.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        self._codes, self._reader = codes, CodeReader()
        self._places = np.full(len(codes), -1, dtype=np.int8)  # of codes that were not read yet

    def of(self, record: TokenizedRecord) -> NDArray[np.int8]:
        """Return of which kind each token's event is: [n] int8, a place in `EVENTS`, or -1.

        Args:
            record: one patient's tokens.
        """
        found = np.full(len(record), -1, dtype=np.int8)
        is_event = (record.kind == KIND_EVENT) & (record.code >= 0)
        own = record.code[is_event]
        for code in np.unique(own[self._places[own] < 0]).tolist():
            self._places[code] = self._read(self._codes[code])
        found[is_event] = self._places[own]
        return found

    def _read(self, code: str) -> int:
        system = next((one.system for one in self._reader.read_own(code)), None)
        kind = kind_of(code, system)
        return EVENTS.index(kind) if kind is not None else len(EVENTS) - 1
