"""Estimates that carry their uncertainty; every bound is one-sided at the policy's confidence.

Patients are the sampling unit (METHODS §4). `intervals` has rates and their differences, `paired`
those of two outcomes of the same patients, `auc` and `precision_recall` what ranks patients,
`bootstrap` means of any scale, `epsilon` what canaries say of differential privacy, `sequential`
bounds for stopping early, `multiplicity` what many cells need, `power` what a sample can decide
before any model runs, `scores` what a record's log-probabilities say of membership. Nothing here
reads files, draws unseeded numbers or knows of policies.
"""

from checker.stats.auc import auroc, auroc_difference, roc, tpr_at_fpr
from checker.stats.bootstrap import bootstrap_mean, bootstrap_mean_difference
from checker.stats.epsilon import epsilon_lower_bound
from checker.stats.estimate import Estimate
from checker.stats.intervals import clopper_pearson, rate, rate_difference
from checker.stats.multiplicity import (
    attempt_confidence,
    contains,
    holm,
    p_value,
    placebo_confidence,
    placebo_difference,
)
from checker.stats.paired import difference_in_differences, discordant, paired_difference
from checker.stats.precision_recall import auprc, auprc_difference
from checker.stats.sequential import SEQUENTIAL_SHARE, sequential_difference, sequential_rate

__all__ = [
    "SEQUENTIAL_SHARE",
    "Estimate",
    "attempt_confidence",
    "auprc",
    "auprc_difference",
    "auroc",
    "auroc_difference",
    "bootstrap_mean",
    "bootstrap_mean_difference",
    "clopper_pearson",
    "contains",
    "difference_in_differences",
    "discordant",
    "epsilon_lower_bound",
    "holm",
    "p_value",
    "paired_difference",
    "placebo_confidence",
    "placebo_difference",
    "rate",
    "rate_difference",
    "roc",
    "sequential_difference",
    "sequential_rate",
    "tpr_at_fpr",
]
