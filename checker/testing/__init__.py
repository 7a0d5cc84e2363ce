"""Targets of known truth, for tests, benchmarks and plug-in authors."""
