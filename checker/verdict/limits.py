"""A cell's numbers compared with its limit, as if nothing spoke against them.

What may keep a number from counting, such as a split that is not comparable, is asked in
`cell_judge`.
"""

from __future__ import annotations

import math

from checker.attacks.families import Measurement
from checker.planning.cells import metric_of
from checker.planning.model import Cell
from checker.stats.estimate import Estimate
from checker.verdict.finding import Finding


def compare_with_limit(
    cell: Cell, measurement: Measurement, *, confidence: float, partial: bool = False
) -> Finding:
    """Judge a cell by its numbers alone: its bounds, and what zero hits would give at this n.

    Args:
        cell: with its limit and metric.
        measurement: what was found, or made up for a policy test.
        confidence: of the bounds.
        partial: more patients are planned than have been drawn.
    """
    estimate, limit = measurement.estimate, cell.limit
    shown = _shown(estimate)
    if limit.max_count is not None:
        return _zero_tolerance(cell, measurement)
    assert limit.fail is not None  # the document layer allows no third form
    metric = metric_of(cell)
    if estimate.low > limit.fail:
        text = f"{shown}: the lower bound is above the limit of {limit.fail:g}."
        return Finding(cell, "fail", text, measurement=measurement)
    if not metric.can_pass:
        text = (
            f"{shown}: not shown to be above the limit of {limit.fail:g}; this attack can show a"
            " leak, never its absence."
        )
        return Finding(cell, "inconclusive", text, "cannot-show-absence", measurement=measurement)
    zero_hits = metric.family.zero_hit_bound(measurement, confidence=confidence, partial=partial)
    if zero_hits is not None and zero_hits > limit.fail:
        text = (
            f"{shown}: even zero hits among so few would leave an upper bound of {zero_hits:.3f},"
            f" above the limit of {limit.fail:g}."
        )
        reason = shortage_reason(cell, confidence=estimate.confidence)
        return Finding(cell, "inconclusive", text, reason, measurement=measurement)
    if estimate.high <= limit.fail:
        warned = limit.warn is not None and estimate.high > limit.warn
        text = f"{shown}: the upper bound is within the limit of {limit.fail:g}."
        if warned:
            text += f" It is above the warning limit of {limit.warn:g}."
        return Finding(cell, "pass", text, warned=warned, measurement=measurement)
    text = f"{shown}: the bounds lie on both sides of the limit of {limit.fail:g}."
    return Finding(cell, "inconclusive", text, "bounds-straddle-limit", measurement=measurement)


def _shown(estimate: Estimate) -> str:
    if math.isinf(estimate.high):
        return f"at least {estimate.low:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _zero_tolerance(cell: Cell, measurement: Measurement) -> Finding:
    """Judge what may never occur: any hit fails, and a pass needs enough patients."""
    estimate, min_n = measurement.estimate, cell.limit.min_n or 1
    if estimate.value > 0:
        # of patients who share prompts one is less than one hit, and must not round to none
        hits = estimate.value * estimate.n
        found = f"{hits:.0f}" if math.isclose(hits, round(hits)) else f"{estimate.value:.2%}"
        text = f"{found} of {estimate.n} were found, where none may be."
        return Finding(cell, "fail", text, measurement=measurement)
    if not metric_of(cell).can_pass:
        text = f"None among {estimate.n}; this attack can show a leak, never its absence."
        return Finding(cell, "inconclusive", text, "cannot-show-absence", measurement=measurement)
    if estimate.n < min_n:
        text = f"None among {estimate.n}, but the limit asks for at least {min_n}."
        return Finding(cell, "inconclusive", text, "too-few-positives", measurement=measurement)
    text = f"None among {estimate.n}; the upper bound is {estimate.high:.4f}."
    return Finding(cell, "pass", text, measurement=measurement)


def shortage_reason(cell: Cell, *, confidence: float) -> str:
    """Name what is short: patients, patients with the class, or the horizon that hides them."""
    family = metric_of(cell).family
    if family.shortage_reason is not None:
        return family.shortage_reason
    if cell.attribute_class is None:
        return "too-few-patients"
    if cell.limit.fail is None:
        needed = cell.limit.min_n or 1
    else:
        needed = family.positives_needed(cell.limit.fail, confidence=confidence)
    positives = [
        count
        for count in (cell.sample.members_positive, cell.sample.nonmembers_positive)
        if count is not None
    ]
    return "horizon-too-short" if min(positives, default=0) >= needed else "too-few-positives"
