"""Estimates that carry their uncertainty; every bound is one-sided at the policy's confidence.

Patients are the sampling unit (METHODS §4). `intervals` has rates and their differences, `paired`
those of two outcomes of the same patients, `betting` means of values in [0, 1] and `naming` the
probability that a class is named, `auc` and `precision_recall` what ranks patients, `exposed` who
stands out of them and `beta_binomial` how many would by chance, `bootstrap` means of any scale,
`jackknife` what hangs on the choice of a set, `exposure` what canaries show in bits, `epsilon` and
`gaussian_dp` what they say of differential privacy, `sequential` bounds for stopping early,
`multiplicity` what many cells need, `power` what a sample can decide before any model runs,
`scores` what a record's log-probabilities say of membership.
Nothing here reads files, draws unseeded numbers or knows of policies.

Modules are imported when a name of theirs is first used, and they take SciPy's parts through
`scipy`, which loads each when it is first used: a policy is checked without `scipy.stats`, which
takes longer to load than the check.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checker.stats.auc import MIN_GROUP, auroc, roc, tpr_at_fpr
    from checker.stats.betting import (
        bounded_mean,
        bounded_mean_difference,
        means_needed,
        pass_probability_mean_difference,
        pass_probability_mean_less_gap,
        zero_bound_mean,
    )
    from checker.stats.bootstrap import MIN_SAMPLE, bootstrap_mean, bootstrap_mean_difference
    from checker.stats.epsilon import epsilon_lower_bound
    from checker.stats.estimate import Estimate
    from checker.stats.exposed import (
        MIN_MEMBERS,
        MIN_NONMEMBERS,
        StandingOut,
        exposed_members,
        looked_at,
        most_by_chance,
        pass_probability_exposed,
        ranks_among,
        standing_out,
    )
    from checker.stats.exposure import MIN_CANARIES, mean_exposure
    from checker.stats.gaussian_dp import gaussian_epsilon, gaussian_mu_lower_bound
    from checker.stats.intervals import clopper_pearson, difference, rate, rate_difference
    from checker.stats.jackknife import jackknife_reach
    from checker.stats.multiplicity import (
        attempt_confidence,
        contains,
        holm,
        p_value,
        placebo_confidence,
        placebo_difference,
    )
    from checker.stats.naming import naming_probabilities
    from checker.stats.paired import difference_in_differences, discordant, paired_difference
    from checker.stats.power import (
        auprc_shortage,
        difference_misses_zero,
        pass_probability_auroc,
        pass_probability_auroc_difference,
        pass_probability_difference,
        pass_probability_difference_in_differences,
        pass_probability_less_gap,
        pass_probability_rate,
        pass_probability_tpr,
        positives_needed,
        zero_hit_bound_difference,
        zero_hit_bound_difference_in_differences,
        zero_hit_bound_rate,
    )
    from checker.stats.precision_recall import MIN_CLASS, auprc
    from checker.stats.sequential import SEQUENTIAL_SHARE, sequential_difference, sequential_rate

_NAMES = {
    "auc": "MIN_GROUP auroc roc tpr_at_fpr",
    "betting": (
        "bounded_mean bounded_mean_difference means_needed pass_probability_mean_difference "
        "pass_probability_mean_less_gap zero_bound_mean"
    ),
    "bootstrap": "MIN_SAMPLE bootstrap_mean bootstrap_mean_difference",
    "epsilon": "epsilon_lower_bound",
    "estimate": "Estimate",
    "exposed": "MIN_MEMBERS MIN_NONMEMBERS exposed_members looked_at most_by_chance"
    " pass_probability_exposed ranks_among standing_out StandingOut",
    "exposure": "MIN_CANARIES mean_exposure",
    "gaussian_dp": "gaussian_epsilon gaussian_mu_lower_bound",
    "intervals": "clopper_pearson difference rate rate_difference",
    "jackknife": "jackknife_reach",
    "multiplicity": (
        "attempt_confidence contains holm p_value placebo_confidence placebo_difference"
    ),
    "naming": "naming_probabilities",
    "paired": "difference_in_differences discordant paired_difference",
    "power": (
        "auprc_shortage difference_misses_zero "
        "pass_probability_auroc pass_probability_auroc_difference "
        "pass_probability_difference pass_probability_difference_in_differences "
        "pass_probability_less_gap pass_probability_rate pass_probability_tpr positives_needed "
        "zero_hit_bound_difference zero_hit_bound_difference_in_differences "
        "zero_hit_bound_rate"
    ),
    "precision_recall": "MIN_CLASS auprc",
    "sequential": "SEQUENTIAL_SHARE sequential_difference sequential_rate",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "MIN_CANARIES",
    "MIN_CLASS",
    "MIN_GROUP",
    "MIN_MEMBERS",
    "MIN_NONMEMBERS",
    "MIN_SAMPLE",
    "SEQUENTIAL_SHARE",
    "Estimate",
    "StandingOut",
    "attempt_confidence",
    "auprc",
    "auprc_shortage",
    "auroc",
    "bootstrap_mean",
    "bootstrap_mean_difference",
    "bounded_mean",
    "bounded_mean_difference",
    "clopper_pearson",
    "contains",
    "difference",
    "difference_in_differences",
    "difference_misses_zero",
    "discordant",
    "epsilon_lower_bound",
    "exposed_members",
    "gaussian_epsilon",
    "gaussian_mu_lower_bound",
    "holm",
    "jackknife_reach",
    "looked_at",
    "mean_exposure",
    "means_needed",
    "most_by_chance",
    "naming_probabilities",
    "p_value",
    "paired_difference",
    "pass_probability_auroc",
    "pass_probability_auroc_difference",
    "pass_probability_difference",
    "pass_probability_difference_in_differences",
    "pass_probability_exposed",
    "pass_probability_less_gap",
    "pass_probability_mean_difference",
    "pass_probability_mean_less_gap",
    "pass_probability_rate",
    "pass_probability_tpr",
    "placebo_confidence",
    "placebo_difference",
    "positives_needed",
    "ranks_among",
    "rate",
    "rate_difference",
    "roc",
    "sequential_difference",
    "sequential_rate",
    "standing_out",
    "tpr_at_fpr",
    "zero_bound_mean",
    "zero_hit_bound_difference",
    "zero_hit_bound_difference_in_differences",
    "zero_hit_bound_rate",
]

if not TYPE_CHECKING:  # a type checker would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        """Import what is asked for."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__} has no attribute '{name}'")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
