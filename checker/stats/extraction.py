"""Extraction as a probability: how likely a model is to emit a record's next tokens word for word.

For a window of m tokens p_z is the product of the probabilities with which the sampler draws each
of them, given all tokens before: the chance that one query emits them. After n queries they have
come out with probability 1 − (1 − p_z)^n, and a record is (n, p)-discoverable when that is at least
p (Hayes et al. 2024, arXiv 2410.19482). No sampling is needed to know it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

IMPOSSIBLE = -1000.0
"""Nats: at or below it a token is never drawn, and neither is a window that holds it."""


@dataclass(frozen=True, slots=True)
class BestWindow:
    """The windows of one patient that count.

    Args:
        windows: how many were looked at.
        common: how many of them anybody would write, which count for nothing.
        log_probability: log p_z of the likeliest window that counts, nats, IMPOSSIBLE where none of
            them is ever drawn; None where none counts.
        greedy: whether greedy decoding recites one that counts.
    """

    windows: int = 0
    common: int = 0
    log_probability: float | None = None
    greedy: bool = False

    def __or__(self, other: BestWindow) -> BestWindow:
        """Return the best of both, of two pieces of one record."""
        known = [one for one in (self.log_probability, other.log_probability) if one is not None]
        return BestWindow(
            self.windows + other.windows,
            self.common + other.common,
            max(known, default=None),
            self.greedy or other.greedy,
        )


@dataclass(frozen=True, slots=True)
class Windows:
    """Every window of one sequence, W of them.

    Args:
        chances: [W] log p_z, nats, IMPOSSIBLE where it is never drawn.
        told: [R, W] the same of each reference, R >= 1.
        recited: [W] whether greedy decoding recites it.
    """

    chances: Floats
    told: Floats
    recited: NDArray[np.bool_]

    def best(
        self, *, common: float, gain: float = -math.inf, references: int | None = None
    ) -> BestWindow:
        """Return what the windows that count come to.

        Args:
            common: a window that a reference gives at least this probability counts for nothing.
            gain: nats by which the model must find a window likelier than every reference does.
            references: only the first so many decide; all by default.
        """
        if not len(self.chances):
            return BestWindow()
        likeliest = self.told[:references].max(axis=0)
        rare = likeliest < math.log(common)
        counts = rare & (self.chances - likeliest >= gain)
        return BestWindow(
            windows=len(self.chances),
            common=int((~rare).sum()),
            log_probability=float(self.chances[counts].max()) if counts.any() else None,
            greedy=bool((self.recited & counts).any()),
        )


def windows_of(
    logprobs: Sequence[NDArray[np.float32]],
    first: NDArray[np.bool_],
    references: Sequence[Floats],
    *,
    length: int,
    begin: int,
) -> Windows:
    """Look at every window of one sequence of L tokens.

    Args:
        logprobs: each [L - 1], log-probability of each token but the first under one of the
            samplers that may be used, one or more; the one that makes a window likeliest counts.
        first: [L - 1] whether greedy decoding takes it.
        references: each [L - 1], the same of models that never saw the patient; the one that finds
            a window likeliest decides whether anybody would write it.
        length: m, tokens of a window.
        begin: place of the first token that a window may hold, >= 1.
    """
    starts = np.arange(begin - 1, len(first) - length + 1)
    logs = np.stack(logprobs).astype(np.float64)
    count = len(logs)
    sums = _sums(np.concatenate([logs, logs <= IMPOSSIBLE, [first], references]), starts, length)
    chances, never = sums[:count], sums[count : 2 * count]
    return Windows(
        chances=np.where(never > 0, IMPOSSIBLE, np.maximum(chances, IMPOSSIBLE)).max(axis=0),
        told=sums[2 * count + 1 :],
        recited=sums[2 * count] == length,
    )


def least_log_probability(*, queries: int, chance: float) -> float:
    """Return the least log p_z with which a window is (n, p)-discoverable, in nats.

    Args:
        queries: n.
        chance: p, in (0, 1).

    >>> round(math.exp(least_log_probability(queries=1000, chance=0.5)), 6)
    0.000693
    >>> least_log_probability(queries=1, chance=0.5) == math.log(0.5)
    True
    """
    return math.log(-math.expm1(math.log1p(-chance) / queries))


def _sums(values: Floats, starts: NDArray[np.int64], length: int) -> Floats:
    """Return each row's sum of each window: exact to about 1e-9, a token is worth 1000 at most."""
    total = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    found: Floats = total[:, starts + length] - total[:, starts]
    return found
