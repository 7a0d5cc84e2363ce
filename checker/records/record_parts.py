"""Parts of a record beside its events: static prefix, time tokens, end (METHODS §5).

Which event follows which a model may tell as well under wrong time tokens, behind a wrong first
token or with another end; but those tokens themselves it then finds unlikely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import KIND_SPECIAL, KIND_TIME, TokenizedRecord


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
