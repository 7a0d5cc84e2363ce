"""How many patients would decide a cell, whatever a cohort has (METHODS §6, *Power*).

The plan's power says what the sample that is there can decide. This asks the other way round, and
so depends on nothing but the policy: the answer may stand in a report that says nothing of n.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from checker.attacks.api import Metric
from checker.attacks.families import Power, Sample
from checker.planning.power import cell_power
from checker.policy.documents import Limit

LIKELY = 0.8
"""The probability of a pass, if nothing leaks, from which a cell does not count as underpowered."""

_LARGEST = 100_000


@cache  # many cells of a policy ask for the same metric and limit
def sample_needed(
    metric: Metric,
    limit: Limit,
    *,
    confidence: float,
    base_rate: float,
    likely: float = LIKELY,
) -> tuple[int | None, int | None]:
    """Return the fewest members that can pass a cell, and about how many are likely to.

    As many nonmembers are assumed, and as many patients without the class, where these count. Where
    a pass takes a placebo, it can be made of so many.

    Args:
        metric: as the control measures it.
        limit: of the cell.
        confidence: of each bound.
        base_rate: background rate of a hit that the policy assumes.
        likely: the probability of a pass from which it counts as likely.

    Returns:
        Both counts; None where 100,000 are not enough, or where nobody knows before the data. The
        second is found by halving, though the probability of a pass does not rise smoothly: a few
        more or less may do as well.
    """

    def alike(n: int) -> Sample:
        return Sample(
            members=n, nonmembers=n, rollouts=n, members_negative=n, nonmembers_negative=n
        )

    def power_of(n: int) -> Power:
        return cell_power(metric, limit, alike(n), confidence=confidence, base_rate=base_rate)

    def has_placebo(n: int) -> bool:
        family = metric.family
        if not metric.rests_on_split:
            return True
        return family.placebo_misses(alike(n), confidence=confidence, base_rate=base_rate) < 1

    fewest = least(lambda n: power_of(n).can_pass and has_placebo(n), start=1)
    if fewest is None:
        return None, None
    enough = least(lambda n: (power_of(n).pass_probability or 0.0) >= likely, start=fewest)
    return fewest, enough


def least(is_enough: Callable[[int], bool], *, start: int) -> int | None:
    """Return the least number that is enough, if all greater ones are, by doubling and halving."""
    low, high = start - 1, start
    while not is_enough(high):
        if high >= _LARGEST:
            return None
        low, high = high, min(2 * high, _LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
