"""What a verdict does not claim: whether a number differs from none, and whether anybody is safe.

*Within the limit* and *distinguishable from none* are two findings. A membership AUROC of 0.59 with
a lower bound of 0.56 passes a limit of 0.70, and is certainly above chance; read alone, the pass
sounds as if nothing had been found. And no limit that lets a model tell something of somebody makes
it anonymous, which European guidance asks for every person (EDPB Opinion 28/2024, paragraph 43).
"""

from __future__ import annotations

from collections.abc import Iterable

from checker.planning.model import BaseCell
from checker.report.model import CellReport
from checker.report.wording.cells import counts_words, limit_words
from checker.report.wording.measures import family_known, unit_of


def none_value(cell: BaseCell) -> float | None:
    """Return what a cell's metric is where nothing leaks; None where nobody knows.

    It is 0 for a share of members and for an excess, and 0.5 for an AUROC.
    """
    family = family_known(cell.probe, cell.metric)
    if family is None:  # a report may have been written elsewhere
        return None
    if family.direction == family:
        return family.null_value
    if family.counts_patients:
        return 0.0
    counts_members = family.is_share and family.of_patients and not family.separates_splits
    return 0.0 if counts_members and not family.is_excess else None


def above_none(cell: CellReport) -> bool | None:
    """Whether a cell's number is shown to be more than what a model gives that leaks nothing.

    Only what the report shows is looked at, its bounds and its verdict, so that it tells nothing
    beyond them.

    Returns:
        None where the numbers are withheld and the verdict does not say it, and where nobody knows
        what none is.
    """
    none = none_value(cell)
    if none is None:
        return None
    if cell.verdict == "fail" and (cell.limit.max_count is not None or cell.limit.allowed >= none):
        return True
    return None if cell.estimate is None else cell.estimate.low > none


def with_claims(cell: CellReport) -> CellReport:
    """Return a cell that says whether its number differs from none."""
    return cell.model_copy(update={"above_none": above_none(cell)})


def anonymity_words(cells: Iterable[CellReport]) -> str:
    """Return the sentence that no report goes without: a pass is no claim of anonymity.

    Args:
        cells: of the report; the loosest limits of those that decide are named, a kind of number
            each.
    """
    loosest: dict[str, CellReport] = {}
    for cell in cells:
        tolerated = cell.limit.fail is not None and cell.limit.fail > (none_value(cell) or 0.0)
        if cell.gating and tolerated:
            known = loosest.setdefault(unit_of(cell.metric), cell)
            if cell.limit.allowed > known.limit.allowed:
                loosest[unit_of(cell.metric)] = cell
    if not loosest:
        return (
            "No claim of anonymity is made: what was not found among so many may be true of others."
            " The model stays personal data."
        )
    allowed = ", and ".join(_allowed(cell) for cell in loosest.values())
    return (
        f"No claim of anonymity is made: this policy allows {allowed}. That is more than"
        " insignificant for every person, so the model stays personal data."
    )


def _allowed(cell: CellReport) -> str:
    limit = limit_words(cell.limit, cell.metric).partition(",")[0].removeprefix("at most ")
    return f"up to {limit} {counts_words(cell)}"
