"""Longer studies; each prints a table and writes JSON."""

from checker.testing import offer_simulated_backend

offer_simulated_backend()
