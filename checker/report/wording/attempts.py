"""Which attempt at a release a report is of, in words, and the level its bounds are held at."""

from __future__ import annotations

from checker.report.model import Report
from checker.report.wording.numbers import setting

__all__ = ["attempt_words", "level", "level_words"]


def level(report: Report) -> float:
    """Return the confidence that every bound of a report is held at, each one-sided, in (0, 1)."""
    attempt = report.provenance.attempt
    return report.policy.confidence if attempt is None else attempt.confidence


def level_words(report: Report) -> str:
    """Return the level as a percentage with all its digits: 95 %, 97.5 %, 98.75 %."""
    return _percent(level(report))


def attempt_words(report: Report) -> str:
    """Return a sentence or two on which attempt it is, and what follows from that."""
    attempt = report.provenance.attempt
    if attempt is None:
        return (
            "Attempt unknown: no ledger was kept, so nobody can tell from this report how often"
            " this model was audited before. It was judged as at a first attempt."
        )
    entry = f"ledger entry {attempt.ledger_entry[:12]}…"
    if attempt.number == 1:
        return (
            "This is the first attempt to release this model under this policy, by the"
            f" institution's ledger ({entry})."
        )
    return (
        f"This is attempt {attempt.number} to release this model under this policy, by the"
        f" institution's ledger ({entry}). So that trying again on other patients does not make a"
        f" pass likelier by chance, every bound is held at {level_words(report)} instead of"
        f" {_percent(report.policy.confidence)}."
    )


def _percent(fraction: float) -> str:
    return setting(fraction, "precision")
