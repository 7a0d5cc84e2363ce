"""Who may read a report, and what is said where a number is withheld from this audience.

Which numbers a shared report withholds is not decided here: `disclosure_control.suppression` has
taken them out before any format sees the report. Silence reads as "there was nothing", so wherever
a number is missing for the audience's sake, the report says that it is, and why.
"""

from __future__ import annotations

from checker.report.model import CellReport, Report
from checker.report.wording.numbers import grouped, setting

CONFIDENTIAL = "Confidential: for the audit team"

_FIELDS = {
    "estimate": "the estimate and its bounds",
    "members": "the members' part",
    "nonmembers": "the nonmembers' part",
    "placebo": "the placebo",
    "reported": "what is only reported",
    "p_value": "the p-value",
    "sample": "how many patients there were",
    "roc": "the ROC curve",
    "standing_out": "how many stand out",
    "power": "whether there were enough patients to pass",
}


def banner(report: Report) -> tuple[str, str]:
    """Return what stands above everything: who may read the report, and what it leaves out."""
    if report.audience == "internal":
        return (
            CONFIDENTIAL,
            "It shows the numbers of small groups of patients too. Do not pass it on.",
        )
    if report.policy.min_cell == 1:
        return "Shared report", "The policy has no number withheld."
    return (
        "Shared report",
        "To protect patients, their numbers are rounded, and whatever could be traced to fewer than"
        f" {report.policy.min_cell} of them is withheld; every verdict rests on the full numbers.",
    )


def running_line(report: Report) -> str:
    """Return what stands on every printed page."""
    if report.audience == "internal":
        return CONFIDENTIAL
    if report.policy.min_cell == 1:
        return "Shared report"
    return (
        "Shared report: what could be traced to fewer than"
        f" {report.policy.min_cell} patients is withheld"
    )


def patients(report: Report, count: int | None, whom: str) -> str:
    """Return how many of the cohort there are, which a shared report has rounded, or withholds."""
    if count is None:
        return f"a number withheld here of {whom}"
    about = "about " if report.audience == "shared" and report.policy.min_cell > 1 else ""
    return f"{about}{grouped(count)} {whom}"


def is_withheld(cell: CellReport) -> bool:
    """Whether so few patients stand behind a cell that even how many were asked is not said."""
    return cell.sample is None or cell.reason == "subgroup-too-small"


def side_words(cell: CellReport, *, counts: str = "") -> str | None:
    """Return how large a number is at least or at most, where that is all that is said of it.

    Args:
        cell: whose numbers may be withheld.
        counts: what it counts, to stand behind the number.
    """
    limit = cell.limit.fail
    if limit is None or cell.bound_side is None:
        return None
    what = f" {counts}" if counts else ""
    if cell.times_limit is not None:
        least = setting(cell.times_limit * limit, cell.metric)
        return f"at least {least}{what}, {cell.times_limit} times the limit or more"
    if cell.bound_side == "straddles":
        return "limit between the bounds"
    word = "at most" if cell.bound_side == "within" else "over"
    return f"{word} {setting(limit, cell.metric)}{what}"


def withheld_words(cell: CellReport) -> str | None:
    """Return that a cell's numbers are withheld, which `banner` gives the reason for; else None."""
    return "exact numbers withheld" if "estimate" in cell.withheld else None


def withheld_fields(cell: CellReport) -> str | None:
    """Return which numbers of a cell are withheld, in words; None where none are."""
    if not cell.withheld:
        return None
    *rest, last = (_FIELDS.get(field, field) for field in cell.withheld)
    return f"{', '.join(rest)} and {last}" if rest else last
