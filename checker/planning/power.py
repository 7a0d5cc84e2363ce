"""What a cell's sample can decide, before any model runs (METHODS §6, *Power*)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from checker import stats
from checker.attacks.api import Metric
from checker.attacks.families import Power, Sample
from checker.errors import InsufficientData
from checker.policy.documents import Limit
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED, TOO_LONG_ALLOWED
from checker.stats.false_alarms import SPLITS


def prompts_too_long(sample: Sample) -> bool:
    """Whether so many prompts fill the context that those who are left are others (METHODS §1)."""
    return (sample.too_long_share or 0.0) > TOO_LONG_ALLOWED


@lru_cache(maxsize=10_000)  # classes and attackers of a policy ask the same of the same numbers
def cell_power(
    metric: Metric, limit: Limit, sample: Sample, *, confidence: float, base_rate: float
) -> Power:
    """Say whether a cell can pass with its sample, how much is missing, and how likely it passes.

    Args:
        metric: as the control measures it.
        limit: of the cell.
        sample: how many there are.
        confidence: of each bound.
        base_rate: background rate of a hit that the policy assumes, where the metric knows none.
    """
    if prompts_too_long(sample):
        return Power(can_pass=False)
    share = sample.distinct_prompt_share
    if metric.needs_identifying_prompts and share is not None and share < DISTINCT_PROMPTS_NEEDED:
        return Power(can_pass=False)  # more patients of the same few prompts would not help
    if not metric.can_pass:
        return Power(can_pass=False)
    if metric.sound_rate is not None:
        base_rate = metric.sound_rate
    if metric.family.is_share and metric.family.of_patients:
        sample = sample.as_independent  # whoever shares a prompt shares what becomes of it
    if limit.fail is None:
        power = _zero_tolerance(sample, min_n=limit.min_n or 1, confidence=confidence)
        if metric.sound_rate is None or not power.can_pass:
            return power
        # nobody may be hit, and each is with this chance
        chance = (1 - metric.sound_rate) ** sample.members
        return power.model_copy(update={"pass_probability": chance, "base_rate": base_rate})
    return metric.family.power(limit.fail, sample, confidence=confidence, base_rate=base_rate)


def _zero_tolerance(sample: Sample, *, min_n: int, confidence: float) -> Power:
    missing = max(0, min_n - sample.members)
    return Power(
        can_pass=missing == 0,
        zero_hit_bound=stats.zero_hit_bound_rate(sample.members, confidence=confidence)
        if sample.members
        else None,
        needed_more=missing or None,
    )


def comparability_power(
    members: int,
    nonmembers: int,
    *,
    assignment: Literal["random", "other"] | None,
    tolerance: float,
    confidence: float,
) -> Power:
    """Say whether a split of this size can be shown comparable (METHODS §3, *Admissibility* (b)).

    The classifier is fitted on one half of the patients and judged on the other. Splits that were
    dealt by lot need not be shown comparable: what is left is the chance of a false alarm.
    """
    if assignment == "random":
        return Power(can_pass=True, pass_probability=1 - SPLITS)
    try:
        chance = stats.pass_probability_auroc(
            members - members // 2,
            nonmembers - nonmembers // 2,
            limit=0.5 + tolerance,
            confidence=confidence,
        )
    except InsufficientData:
        sample = Sample(members=members, nonmembers=nonmembers)
        return Power.short_of(sample, needed=2 * stats.MIN_GROUP)
    return Power(can_pass=chance > 0, pass_probability=chance)
