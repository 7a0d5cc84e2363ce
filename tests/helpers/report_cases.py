"""The reports that each format is tried on, with the names the tests show."""

from __future__ import annotations

from functools import cache

import report_builder as build
from hostile import HOSTILE, poisoned

from checker.plugins import BUILT_IN
from checker.report.disclosure_control import for_audience
from checker.report.model import Report

PLAIN = (
    "every verdict", "every verdict, shared", "failing", "failing, shared", "passing",
    "inconclusive", "refused waiver", "prerequisites",
)  # fmt: skip
POISONED = tuple(f"poisoned: {kind}" for kind in HOSTILE)
CASES = (*PLAIN, *POISONED)

PAPER = frozenset(name for name in BUILT_IN["phigate.reports"] if name.endswith("pdf"))
"""Laid out from pages that are tested, with tests of their own: each takes seconds."""

ALIKE = frozenset(
    name
    for name in BUILT_IN["phigate.reports"]
    if name.startswith("annex-") and not name.startswith("annex-edpb")
)
"""Annexes that differ from the first in their questions alone."""


@cache
def case(name: str) -> Report:
    """Return a report by its name."""
    if name.startswith("poisoned: "):
        return poisoned(case("prerequisites"), HOSTILE[name.removeprefix("poisoned: ")])
    if name.endswith(", shared"):
        return for_audience(case(name.removesuffix(", shared")), "shared")
    return {
        "every verdict": build.every_verdict_report,
        "failing": build.failing_report,
        "passing": build.passing_report,
        "inconclusive": build.inconclusive_report,
        "refused waiver": build.refused_waiver_report,
        "prerequisites": build.presupposing_report,
    }[name]()
