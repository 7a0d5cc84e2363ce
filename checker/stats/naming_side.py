"""Is a class more likely to be named than a threshold? As many continuations as that takes.

Who asks only on which side of a threshold q lies asks little of most patients and much of a few:
after four continuations the estimate of a patient of q = 0.15 is above one half once in a hundred,
and eighty such patients make one by chance, which at a limit of 5 % is no pass. So continuations
are drawn until Wald's sequential probability ratio test (1945, Ann. Math. Stat. 16:117) has
decided, or as many as the policy allows are there; then the estimate itself is compared.

The test is between odds of q that lie `ODDS_APART` below and above those of the threshold (0.3 and
0.7 for one half), with errors of 5 % (`TOLD_WRONGLY`) and 20 % (`MISSED`). For hits it takes the
estimate's sum (`checker.stats.naming`): where nothing but hits says anything (a model that repeats
records once it has taken the first step) it is just that, and where compensators say more the sum
varies less than hits do. Steps are large, so that both errors are smaller than that, and they fall
fast with the distance: a sound model has many patients who could be told by chance.

A draw does not depend on how many there will be, so the continuations of a prompt alone say how
many it must have, and anybody can count that again. An estimate that stops where it looks clear is
biased; means and rankings therefore take the first continuations, of which every prompt has as
many (METHODS §2, *T2, attribute disclosure*).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from checker.stats.arrays import FloatArray

ODDS_APART: Final = 7 / 3
"""Factor between the odds of the threshold and those of either hypothesis."""

TOLD_WRONGLY: Final = 0.05
"""How often the test takes the lower hypothesis for the higher one, at most and about."""

MISSED: Final = 0.2
"""The same of the higher one."""


@dataclass(frozen=True, slots=True)
class ThresholdTest:
    """Whether q exceeds a threshold.

    Args:
        threshold: in (0, 1).
        first: continuations of every prompt, at least 2; the test looks at no fewer.
        most: continuations of a prompt, at least `first`.
    """

    threshold: float
    first: int
    most: int

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Self:
        """Return the test that a job's inputs describe."""
        return cls(float(inputs["threshold"]), int(inputs["first"]), int(inputs["most"]))

    @property
    def looks(self) -> list[int]:
        """After how many continuations the test looks, in order.

        After each one at first, and later after a quarter more, so that the few prompts that stay
        undecided do not hold up a batch many times.

        >>> ThresholdTest(0.5, first=3, most=20).looks
        [3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 20]
        """
        found = [self.first]
        while found[-1] < self.most:
            found.append(min(self.most, found[-1] + max(1, found[-1] // 4)))
        return found

    def next_look(self, done: int) -> int:
        """Return after how many continuations to look again, where `done` decide nothing."""
        return next((look for look in self.looks if look > done), self.most)

    def decide(self, hits: NDArray[np.bool_], compensators: FloatArray) -> Decisions:
        """Say what the continuations that were drawn of each prompt decide.

        Args:
            hits: [k, d], of continuations in the order of their numbers.
            compensators: [k, d] in [0, 2]; NaN of those that were not drawn, which come last.
        """
        sums = sums_so_far(hits, compensators)
        odds = self.threshold / (1 - self.threshold)
        low, high = (1 / (1 + 1 / (odds * apart)) for apart in (1 / ODDS_APART, ODDS_APART))
        told = math.log((1 - MISSED) / TOLD_WRONGLY)
        missed = math.log(MISSED / (1 - TOLD_WRONGLY))
        above = np.zeros(len(sums), dtype=np.bool_)
        after = np.zeros(len(sums), dtype=np.int64)
        for look in self.looks:
            if look > sums.shape[1]:
                break
            own = sums[:, look - 1]
            ratio = own * math.log(high / low) + (look - own) * math.log((1 - high) / (1 - low))
            if look < self.most:
                now = (after == 0) & ((ratio >= told) | (ratio <= missed))
                above[now] = ratio[now] > 0
            else:
                now = (after == 0) & ~np.isnan(own)
                above[now] = own[now] > self.threshold * self.most
            after[now] = look
        return Decisions(above, after)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a test says of k prompts.

    Args:
        above: [k] bool, whether q exceeds the threshold; False of those that are not decided.
        after: [k] int64, by so many of the first continuations it is decided; 0 where more have to
            be drawn.
    """

    above: NDArray[np.bool_]
    after: NDArray[np.int64]


def sums_so_far(hits: NDArray[np.bool_], compensators: FloatArray) -> FloatArray:
    """Return d times the estimate from the first d continuations, for each d.

    The estimate is that of `checker.stats.naming`. With A hits, B the sum of all compensators and C
    that of the hits', the sum there is B + (A (A - B) - A + C) / (d - 1). Of one continuation it is
    whether that one hit.

    Args:
        hits: [..., D].
        compensators: [..., D] in [0, 2]; NaN makes all sums NaN from there on.

    Returns:
        [..., D] float64; the d-th in [0, d], but for rounding.

    >>> sums_so_far(np.array([True, False, False]), np.array([0.4, 0.2, 0.6])).round(3).tolist()
    [1.0, 0.4, 0.8]
    """
    n = hits.astype(np.float64)
    a, b, c = (np.cumsum(x, axis=-1) for x in (n, compensators, n * compensators))
    others = np.maximum(np.arange(n.shape[-1]), 1)
    found: FloatArray = b + (a * (a - b) - a + c) / others
    found[..., :1] = n[..., :1]
    return found
