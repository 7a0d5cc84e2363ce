"""How many members stand out one by one: they score above the nonmembers, beyond what chance gives.

Take the score of the r-th highest of m nonmembers as a threshold. Had none of the n members been
trained on, they and the nonmembers would be exchangeable, and the number Y of members above it
negative hypergeometric, whatever scores look like: beta-binomial with parameters n, r, m - r + 1.
Of the X members who are above it, those who would be without having been trained on are at most
such a Y. So with confidence 1 - α at least X - y are there because they were trained on, where y
is the (1 - α)-quantile of Y; and at most X are, for certain.

The two bounds speak of these members and this score. Nothing is inferred of others. Chance alone
puts r · n / (m + 1) members above the threshold, so that of many members beside few nonmembers all
could be said and nothing shown: then no more are looked at than twice the nonmembers, by lot. What
is found speaks of these alone: of k who stand out of all n, on average k · 2m / n are among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from checker.errors import InsufficientData
from checker.stats.arrays import finite
from checker.stats.beta_binomial import up_to_each
from checker.stats.estimate import Estimate

MIN_MEMBERS = 300
"""Of fewer, a limit of a dozen would be no few."""

MIN_NONMEMBERS = 50
"""Of fewer, hardly any member could be seen to stand out."""

RANKS = (1, 2, 5, 10, 20, 50, 100)
"""Nonmembers from the top, beside whom reports count the members who score higher."""

_TIMES = 2


def looked_at(n: int, m: int) -> int:
    """Return how many of n members are looked at beside m nonmembers."""
    return min(n, max(MIN_MEMBERS, _TIMES * m))


def exposed_members(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, rank: int, confidence: float
) -> Estimate:
    """Estimate how many members score above a nonmember of a rank because they were trained on.

    Args:
        member_scores: [n] finite, higher is more member-like.
        nonmember_scores: [m] finite.
        rank: r, of the nonmember from the top, >= 1.
        confidence: of the lower bound, in (0, 1); the upper one is certain.

    Returns:
        Of the members who are looked at, so many as there are above the threshold, less what
        chance gives on average; `n` are those members. Who ties with the nonmember counts for the
        upper bound alone.

    Raises:
        InsufficientData: fewer than `MIN_MEMBERS` or `MIN_NONMEMBERS` (reasons "too-few-members",
            "too-few-nonmembers").
    """
    members, nonmembers = finite(member_scores), np.sort(finite(nonmember_scores))[::-1]
    m = len(nonmembers)
    _require(len(members), m, rank)
    n = looked_at(len(members), m)
    if n < len(members):
        # by their scores, or whoever numbers the patients anew would draw another lot
        members = _lot(nonmembers).permutation(np.sort(members))[:n]
    threshold = nonmembers[rank - 1]
    above, at_least = int((members > threshold).sum()), int((members >= threshold).sum())
    low = max(0, above - most_by_chance(n, m, rank=rank, confidence=confidence))
    value = max(float(low), above - rank * n / (m + 1))
    return Estimate(value, float(low), float(at_least), n, confidence, "negative hypergeometric")


def most_by_chance(n: int, m: int, *, rank: int, confidence: float) -> int:
    """Return so many of n exchangeable patients that more are seldom above the r-th of m others.

    Args:
        n: patients.
        m: others, at least `rank`.
        rank: r, from the top.
        confidence: with which no more are, in (0, 1).

    >>> most_by_chance(1000, 1000, rank=1, confidence=0.95)
    4
    """
    return min(n, int(np.searchsorted(up_to_each(n, m, rank=rank), confidence)))


@dataclass(frozen=True, slots=True)
class StandingOut:
    """Members above one nonmember.

    Args:
        rank: of the nonmember, from the top.
        above: members who score higher.
        by_chance: how many would on average, had nobody been trained on.
        at_least: so many of them are there because of it, at the confidence asked for, of this rank
            alone: whoever looks at many ranks finds one that is too high.
    """

    rank: int
    above: int
    by_chance: float
    at_least: int


def standing_out(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    ranks: Sequence[int],
    confidence: float,
) -> tuple[StandingOut, ...]:
    """Count the members above nonmembers of several ranks: all of them, whatever their number.

    Args:
        member_scores: [n] finite, higher is more member-like.
        nonmember_scores: [m] finite.
        ranks: from the top, >= 1; those beyond m are left out.
        confidence: of each `at_least`, in (0, 1).
    """
    members, nonmembers = finite(member_scores), np.sort(finite(nonmember_scores))[::-1]
    n, m = len(members), len(nonmembers)
    found = []
    for rank in (rank for rank in ranks if rank <= m):
        above = int((members > nonmembers[rank - 1]).sum())
        most = most_by_chance(n, m, rank=rank, confidence=confidence)
        found.append(StandingOut(rank, above, rank * n / (m + 1), max(0, above - most)))
    return tuple(found)


def ranks_among(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> NDArray[np.int64]:
    """Return each member's rank among the nonmembers: 1 where none of them scores as high, [n]."""
    members, nonmembers = finite(member_scores), np.sort(finite(nonmember_scores))
    ranks: NDArray[np.int64] = 1 + len(nonmembers) - np.searchsorted(nonmembers, members, "left")
    return ranks


def pass_probability_exposed(
    n: int, m: int, *, limit: float, rank: int, exposed: float = 0.0
) -> float:
    """Return the probability that no more than a limit are above the nonmember of a rank.

    Args:
        n: members.
        m: nonmembers.
        limit: on the number of members who are looked at.
        rank: r, from the top, >= 1.
        exposed: so many of them are above it for certain, and the others score like nonmembers.

    Raises:
        InsufficientData: fewer than `MIN_MEMBERS` or `MIN_NONMEMBERS`.
    """
    _require(n, m, rank)
    left = int(np.floor(limit - exposed))
    others = max(0, looked_at(n, m) - int(np.ceil(exposed)))
    return 0.0 if left < 0 else _no_more(left, others, m, rank=rank)


def _lot(nonmembers: NDArray[np.float64]) -> np.random.Generator:
    """Return what deals who is looked at: nobody can know it before the model is there."""
    seed = hashlib.sha256(nonmembers.astype("<f8").tobytes()).digest()
    return np.random.default_rng(int.from_bytes(seed[:16], "big"))


def _no_more(most: int, n: int, m: int, *, rank: int) -> float:
    return 0.0 if most < 0 else float(up_to_each(n, m, rank=rank)[min(most, n)])


def _require(n: int, m: int, rank: int) -> None:
    if n < MIN_MEMBERS:
        raise InsufficientData("members", needed=MIN_MEMBERS, got=n, reason="too-few-members")
    if m < max(MIN_NONMEMBERS, rank):
        needed = max(MIN_NONMEMBERS, rank)
        raise InsufficientData("nonmembers", needed=needed, got=m, reason="too-few-nonmembers")
