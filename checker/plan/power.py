"""What a cell's sample can decide, before any model runs (METHODS §6, *Power*)."""

from __future__ import annotations

import math

from checker.attacks.api import Metric
from checker.errors import InsufficientData
from checker.plan.model import CellLimit, CellSample, Power
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.stats import power
from checker.stats.auc import MIN_GROUP
from checker.stats.bootstrap import MIN_SAMPLE
from checker.stats.exposure import MIN_CANARIES
from checker.stats.precision_recall import MIN_CLASS

__all__ = ["cell_power", "comparability_power"]


def cell_power(
    metric: Metric,
    limit: CellLimit,
    sample: CellSample,
    *,
    confidence: float,
    base_rate: float,
    fpr: float | None = None,
    contrast: str = "nonmembers",
) -> Power:
    """Say whether a cell can pass with its sample, how much is missing, and how likely it passes.

    Args:
        metric: decides which bound applies.
        limit: of the cell.
        sample: how many there are.
        confidence: of each bound.
        base_rate: background rate of a hit that the policy assumes.
        fpr: the false-positive rate of a TPR metric.
        contrast: "reference" where a difference in differences is taken.
    """
    share = sample.distinct_prompt_share
    if metric.needs_identifying_prompts and share is not None and share < DISTINCT_PROMPTS_NEEDED:
        return Power(can_pass=False)  # more patients of the same few prompts would not help
    if not metric.can_pass:
        return Power(can_pass=False)
    if limit.max_count is not None:
        return _zero_tolerance(sample, min_n=limit.min_n or 1, confidence=confidence)
    assert limit.fail is not None  # the document layer allows no third form
    if metric.family in {"auroc", "auroc-difference", "tpr"}:
        return _ranking(metric, limit.fail, sample, confidence=confidence, fpr=fpr)
    if metric.family == "set-difference":
        return _repeated(limit.fail, sample, confidence=confidence)
    if metric.family in {"auprc", "auprc-difference", "gap", "bits"}:
        return _bootstrapped(metric, sample)
    if contrast == "reference":
        return _beyond_reference(limit.fail, sample, confidence=confidence, base_rate=base_rate)
    return _counting(metric, limit.fail, sample, confidence=confidence, base_rate=base_rate)


def _zero_tolerance(sample: CellSample, *, min_n: int, confidence: float) -> Power:
    missing = max(0, min_n - sample.members)
    return Power(
        can_pass=missing == 0,
        zero_hit_bound=power.zero_hit_bound_rate(sample.members, confidence=confidence)
        if sample.members
        else None,
        needed_more=missing or None,
    )


def _counting(
    metric: Metric, limit: float, sample: CellSample, *, confidence: float, base_rate: float
) -> Power:
    members, nonmembers = sample.members, sample.nonmembers
    excess = metric.family != "rate"
    needed = power.positives_needed(limit, confidence=confidence)
    missing = max(0, needed - members)
    if members == 0 or (excess and nonmembers == 0):
        return Power(can_pass=False, needed_more=max(missing, 1), base_rate=base_rate)
    if excess:
        bound = power.zero_hit_bound_difference(members, nonmembers, confidence=confidence)
        chance = power.pass_probability_difference(
            members, nonmembers, limit=limit, base_rate=base_rate, confidence=confidence
        )
    else:
        bound = power.zero_hit_bound_rate(members, confidence=confidence)
        chance = power.pass_probability_rate(
            members, limit=limit, base_rate=base_rate, confidence=confidence
        )
    return Power(
        can_pass=bound <= limit,
        zero_hit_bound=bound,
        needed_more=missing or None,
        pass_probability=chance if bound <= limit else 0.0,
        base_rate=base_rate,
    )


def _beyond_reference(
    limit: float, sample: CellSample, *, confidence: float, base_rate: float
) -> Power:
    """Take both models as hitting independently of each other: at worst as likely to pass as so."""
    sizes = sample.members, sample.nonmembers
    # of each group, where both are equally many: the two zero-hit bounds are squared and added
    needed = power.positives_needed(limit / math.sqrt(2), confidence=confidence)
    short, short_others = (max(0, needed - size) for size in sizes)
    if not all(sizes):
        return Power(
            can_pass=False,
            needed_more=short or None,
            needed_more_nonmembers=short_others or None,
            base_rate=base_rate,
        )
    bound = power.zero_hit_bound_difference_in_differences(*sizes, confidence=confidence)
    can_pass = bound <= limit
    chance = power.pass_probability_difference_in_differences(
        *sizes, limit=limit, base_rate=base_rate, confidence=confidence
    )
    return Power(
        can_pass=can_pass,
        zero_hit_bound=bound,
        needed_more=None if can_pass else short or None,
        needed_more_nonmembers=None if can_pass else short_others or None,
        pass_probability=chance,
        base_rate=base_rate,
    )


def _ranking(
    metric: Metric, limit: float, sample: CellSample, *, confidence: float, fpr: float | None
) -> Power:
    """AUROCs and TPRs have no zero-hit bound: they can pass when chance level would."""
    try:
        chance = _chance_level_passes(metric, limit, sample, confidence=confidence, fpr=fpr)
    except InsufficientData as shortage:
        if metric.family == "tpr":
            missing = max(1, shortage.needed - shortage.got)
            return Power(can_pass=False, needed_more_nonmembers=missing)
        return _too_small(sample.members, sample.nonmembers, needed=MIN_GROUP)
    return Power(can_pass=chance > 0, pass_probability=chance)


def _repeated(limit: float, sample: CellSample, *, confidence: float) -> Power:
    """Continuations count, however many patients they come from.

    How often a sound model's continuations equal a run of somebody's record is not known before.
    """
    rollouts = sample.rollouts or 0
    missing = max(0, power.positives_needed(limit, confidence=confidence) - rollouts)
    bound = power.zero_hit_bound_rate(rollouts, confidence=confidence) if rollouts else None
    return Power(
        can_pass=not missing and sample.nonmembers > 0,
        zero_hit_bound=bound,
        needed_more_rollouts=missing or None,
    )


def _bootstrapped(metric: Metric, sample: CellSample) -> Power:
    """Without data nothing is known of the spread, so only whether there are enough can be said."""
    if metric.family.startswith("auprc"):
        short = _too_few_to_rank(sample.members, sample.members_negative or 0)
        other = (sample.nonmembers, sample.nonmembers_negative or 0)
        short_others = _too_few_to_rank(*other) if metric.is_excess else 0
    elif metric.family == "bits":
        short, short_others = (
            max(0, MIN_CANARIES - size) for size in (sample.members, sample.nonmembers)
        )
    else:
        short, short_others = (
            max(0, MIN_SAMPLE - size) for size in (sample.members, sample.nonmembers)
        )
    return Power(
        can_pass=not short and not short_others,
        needed_more=short or None,
        needed_more_nonmembers=short_others or None,
    )


def _too_few_to_rank(positives: int, negatives: int) -> int:
    """Return how many more positives an AUPRC needs, at the least."""
    return max(0, MIN_CLASS - positives, MIN_SAMPLE - positives - negatives)


def _too_small(members: int, nonmembers: int, *, needed: int) -> Power:
    return Power(
        can_pass=False,
        needed_more=max(0, needed - members) or None,
        needed_more_nonmembers=max(0, needed - nonmembers) or None,
    )


def comparability_power(
    members: int, nonmembers: int, *, tolerance: float, confidence: float
) -> Power:
    """Say whether a split of this size can be shown comparable (METHODS §3, *Admissibility* (b)).

    The classifier is fitted on one half of the patients and judged on the other.
    """
    try:
        chance = power.pass_probability_auroc(
            members - members // 2,
            nonmembers - nonmembers // 2,
            limit=0.5 + tolerance,
            confidence=confidence,
        )
    except InsufficientData:
        return _too_small(members, nonmembers, needed=2 * MIN_GROUP)
    return Power(can_pass=chance > 0, pass_probability=chance)


def _chance_level_passes(
    metric: Metric, limit: float, sample: CellSample, *, confidence: float, fpr: float | None
) -> float:
    if metric.family == "tpr":
        return power.pass_probability_tpr(
            sample.members,
            sample.nonmembers,
            limit=limit,
            fpr=fpr if fpr is not None else 0.01,
            confidence=confidence,
        )
    inside = (sample.members, sample.nonmembers)
    if sample.members_negative is not None:  # the class is told from its absence, in each split
        inside = (sample.members, sample.members_negative)
    if metric.family == "auroc-difference":
        outside = (sample.nonmembers, sample.nonmembers_negative or 0)
        return power.pass_probability_auroc_difference(
            inside, outside, limit=limit, confidence=confidence
        )
    return power.pass_probability_auroc(*inside, limit=limit, confidence=confidence)
