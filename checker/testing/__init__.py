"""Targets of known truth and made-up data sets, for tests, benchmarks and plug-in authors.

* `simulated`: a language model made of tables, whose leakage is known exactly;
* `toy_targets`: a synthetic cohort with a leaking and a sound simulated target;
* `hospital`: made-up patients of any number, for what depends on size.
"""
