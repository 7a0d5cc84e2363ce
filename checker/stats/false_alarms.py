"""How many sound audits each check that must prove a fault may stop: one budget for all of them.

A check that is wrong in one of a hundred sound audits costs a gate one pass of a hundred, and five
of them cost five. Together they may cost two (METHODS §6, *Power*), so that each has a part of one
per cent; a test adds them up. Each share is for the whole audit: a check that is asked cell by cell
splits it among the cells (Bonferroni). What is left of the two per cent is for the comparison of
draws with scores before the audit, at four standard errors.
"""

from __future__ import annotations

from typing import Final

TOTAL: Final = 0.02
"""Sound audits that all checks may stop together."""

SPLITS: Final = 0.002
"""(b) says that a classifier tells splits apart that were dealt by lot."""

LEARNED_SPLITS: Final = 0.001
"""A learned membership score without the model is said to do so."""

BASE_RATES: Final = 0.002
"""(c) says that base rates differ between splits that were dealt by lot."""

REFERENCE: Final = 0.001
"""An honest reference model is said to know the members by its own loss."""

LEARNED_REFERENCE: Final = 0.001
"""It is said to know them by a score that is learned from what it says."""

DIRECTION: Final = 0.003
"""An attack is said to find nonmembers rather than members."""

NAMING: Final = 0.001
"""A model is said to name classes more or less often than its own probabilities say."""

RECOGNISED: Final = 0.002
"""The model is said to know its members better than they are described. A bound by Markov's
inequality, which is hardly ever reached."""

PARTS: Final = 0.002
"""The model is said not to expect the parts of records that it was taught."""

NONMEMBERS: Final = 0.001
"""The model is said to know nonmembers whom it never saw, by what it draws; or by its scores."""

PLACEBO: Final = 0.002
"""Two halves of the nonmembers are said to differ."""

PRIVACY: Final = 0.0005
"""Canaries are said to disprove a guarantee of differential privacy that holds."""

SHARES: Final = {
    "splits": SPLITS,
    "learned-splits": LEARNED_SPLITS,
    "base-rates": BASE_RATES,
    "reference": REFERENCE,
    "learned-reference": LEARNED_REFERENCE,
    "direction": DIRECTION,
    "naming": NAMING,
    "other-descriptions": RECOGNISED,
    "record-parts": PARTS,
    "nonmembers-extracted": NONMEMBERS,
    "nonmembers-spare": NONMEMBERS,
    "placebo": PLACEBO,
    "declared-privacy": PRIVACY,
}
"""By the name that the check has in a plan."""


def base_rate_confidence(*, cells: int) -> float:
    """Return the confidence of either bound of a gap that is to disprove a lot.

    Args:
        cells: in which the question is asked.

    >>> base_rate_confidence(cells=5)
    0.9998
    """
    return 1 - BASE_RATES / (2 * max(cells, 1))
