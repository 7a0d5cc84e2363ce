"""Estimates that carry their uncertainty; every bound is one-sided at the policy's confidence.

Patients are the sampling unit (METHODS §4). `intervals` has rates and their differences, `auc` what
ranks patients, `multiplicity` what many cells need, `power` what a sample can decide before any
model runs, `scores` what a record's log-probabilities say of membership. Nothing here reads files,
draws unseeded numbers or knows of policies.
"""

from checker.stats.auc import auroc, auroc_difference, tpr_at_fpr
from checker.stats.estimate import Estimate
from checker.stats.intervals import clopper_pearson, rate, rate_difference
from checker.stats.multiplicity import (
    contains,
    holm,
    p_value,
    placebo_confidence,
    placebo_difference,
)

__all__ = [
    "Estimate",
    "auroc",
    "auroc_difference",
    "clopper_pearson",
    "contains",
    "holm",
    "p_value",
    "placebo_confidence",
    "placebo_difference",
    "rate",
    "rate_difference",
    "tpr_at_fpr",
]
