"""How many sound audits each check that must prove a fault may stop: one budget for all of them.

A check that is wrong in one of a hundred sound audits costs a gate one pass of a hundred, and five
of them cost five. Together they may cost two (METHODS §6, *Power*), so that each has a part of one
per cent. Its share is for the whole audit: a check that is asked cell by cell splits it among the
cells (Bonferroni).
"""

from __future__ import annotations

SPLITS = 0.003
"""(b) says that a classifier tells splits apart that were dealt by lot."""

BASE_RATES = 0.003
"""(c) says that base rates differ between splits that were dealt by lot."""

REFERENCE = 0.003
"""An honest reference model is said to know the members."""

DIRECTION = 0.005
"""An attack is said to find nonmembers rather than members."""

NAMING = 0.001
"""A model is said to name classes more or less often than its own probabilities say."""

DESCRIPTION = 0.01
"""The model is said to know its members, or parts of records, better than they are described. A
bound by Markov's inequality, which is hardly ever reached."""

NONMEMBERS = 0.002
"""The model is said to know nonmembers whom it never saw: by what it draws, or by its scores."""

PLACEBO = 0.003
"""Two halves of the nonmembers are said to differ."""


def base_rate_confidence(*, cells: int) -> float:
    """Return the confidence of either bound of a gap that is to disprove a lot.

    Args:
        cells: in which the question is asked.

    >>> base_rate_confidence(cells=5)
    0.9997
    """
    return 1 - BASE_RATES / (2 * max(cells, 1))
