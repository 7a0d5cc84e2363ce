"""Prerequisites in words: what must be so whatever was measured, and what the owner declares.

A declaration is repeated as one. Nobody here has read the document that it names.
"""

from __future__ import annotations

from checker.report.model import PrerequisiteReport, Report
from checker.report.wording.plain import plain, shorten
from checker.report.wording.reasons import reason_words
from checker.report.wording.terms import VERDICT_WORDS

DECLARED = "Declared by the owner of the model, not checked by phigate."


def prerequisite_text(one: PrerequisiteReport, *, length: int = 1000) -> str:
    """Return what is declared of a prerequisite and what follows, in a few sentences."""
    said = [plain(one.explanation)]
    if one.reason is not None:
        why = reason_words(one.reason)
        said += [why.meaning, why.next_step]
    return shorten(" ".join(said), length)


def prerequisite_headline(one: PrerequisiteReport, *, length: int = 200) -> str:
    """Return the verdict and what is presupposed."""
    word = VERDICT_WORDS[one.verdict]
    return f"{word[0].upper()}{word[1:]}: {shorten(one.title, length)}"


def unmet(report: Report) -> list[PrerequisiteReport]:
    """Return the prerequisites that keep the model from being released, failures first."""
    found = [one for one in report.prerequisites if one.verdict != "pass"]
    return sorted(found, key=lambda one: one.verdict != "fail")
