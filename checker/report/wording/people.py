"""What was found, in one sentence that a person would say.

"67.9 % of members beyond nonmembers, at least 50.0 %" is exact, and nobody who reads it for the
first time knows what happened to whom. The sentence is made from what a report shows its audience
and from nothing else, so that it tells no more than the numbers, or what stands for them.
"""

from __future__ import annotations

from checker.attacks.wording import MetricWords
from checker.report.index import ReportIndex
from checker.report.model import CellReport
from checker.report.wording.cells import subgroup_words
from checker.report.wording.measures import family_known, measure_of
from checker.report.wording.numbers import NBSP, figure, grouped, setting
from checker.report.wording.plain import named, shorten
from checker.stats.estimate import ReportedEstimate

_NEVER_SAW = "patients it never saw"


def sentence(cell: CellReport, index: ReportIndex, *, min_cell: int) -> str:
    """Return what a cell found, in a sentence without a number that the cell does not show.

    Args:
        cell: as its audience sees it.
        index: of its report.
        min_cell: fewest patients whose number may be said.
    """
    said = _sentence(cell, index, min_cell=min_cell)
    if _is_bound(cell):
        said = f"With {index.level} confidence, {_lowered(said)}"
    if cell.subgroup != "all":
        said = f"Among {shorten(subgroup_words(cell.subgroup), 80)}: {_lowered(said)}"
    return said


def _is_bound(cell: CellReport) -> bool:
    """Whether all that is told is where a bound lies, which is no count of anybody."""
    decided = cell.verdict in {"pass", "fail"}
    return decided and cell.estimate is None and cell.limit.fail is not None


def _sentence(cell: CellReport, index: ReportIndex, *, min_cell: int) -> str:
    if cell.verdict == "error":
        return "Nothing is known of this: the attack did not run to its end."
    if cell.verdict == "not_applicable":
        return "There was nobody whom this could be asked of."
    measure, about = measure_of(cell.metric), _lowered(named(index.class_of(cell), 60))
    if cell.contrast == "reference" or not measure.told:
        return _plainly(cell, measure)
    if "{times}" in measure.told:
        return measure.told.format(about=about, times=_times(cell))
    of_class = f" with {about}" if cell.attribute_class is not None else ""
    size = _size(cell, measure)
    if size is None:
        whether = measure.told.format(size=f"more than {_allowed(cell)}")
        beyond = f", beyond what it does of {_NEVER_SAW}" if _is_excess(measure) else ""
        whom = f"the patients{of_class} that the model was trained on"
        return f"Not shown either way: whether, of {whom}, {whether}{beyond}."
    whom = f"{_many(_asked(cell, measure), index)} patients{of_class} that the model was trained on"
    return f"Of {whom}, {measure.told.format(size=size)}{_beside(cell, measure, min_cell, index)}."


def _size(cell: CellReport, measure: MetricWords) -> str | None:
    """Return of how many it was so, or beyond how many; None where that is open."""
    if cell.estimate is not None:
        return _part(cell.members if cell.members is not None else cell.estimate, cell.metric)
    if cell.verdict not in {"pass", "fail"}:
        return None
    if cell.limit.fail is None:
        return "none" if cell.verdict == "pass" else "one or more"
    more = f" more than of {_NEVER_SAW}" if _is_excess(measure) else ""
    if cell.times_limit is not None:
        return f"at least {_in_100(cell.times_limit * cell.limit.fail, cell.metric)}{more}"
    word = "at most" if cell.verdict == "pass" else "over"
    return f"{word} {_allowed(cell)}{more}"


def _beside(cell: CellReport, measure: MetricWords, min_cell: int, index: ReportIndex) -> str:
    """Return of how many patients it was so that the model never saw, where that is said."""
    if cell.estimate is None or not _is_excess(measure):
        return ""
    if cell.nonmembers is not None:
        whom = f"{_many(cell.nonmembers.n, index)} that it never saw".removeprefix("the ")
        return f"; of {whom}, {_part(cell.nonmembers, cell.metric)}"
    return f"; of {_NEVER_SAW}, fewer than {grouped(min_cell)} in all"


def _asked(cell: CellReport, measure: MetricWords) -> int | None:
    """Return how many members a number is of; None where that is not said."""
    family = family_known(cell.probe, cell.metric)
    if family is not None and family.has_common_n:  # whose n has the nonmembers in it
        return None if cell.sample is None else cell.sample.members
    number = cell.members or (None if _is_excess(measure) else cell.estimate)
    return None if number is None else number.n


def _many(count: int | None, index: ReportIndex) -> str:
    return "the" if count is None else f"{index.about}{grouped(count)}"


def _part(number: ReportedEstimate, metric: str) -> str:
    if number.value == 0:
        return "none"
    return "all" if number.value == 1 else figure(number.value, metric)


def _allowed(cell: CellReport) -> str:
    return "none" if cell.limit.fail is None else _in_100(cell.limit.fail, cell.metric)


def _in_100(value: float, metric: str) -> str:
    """Return a share as "5 in 100": 5 % more than of others could be read as 5 % of theirs."""
    return setting(value, metric).replace(f"{NBSP}%", " in 100")


def _times(cell: CellReport) -> str:
    """Return how often of 100 an attacker is right, for numbers of which 0.5 is guessing."""
    if cell.estimate is not None:
        return f"about {100 * cell.estimate.value:.0f}"
    limit = "" if cell.limit.fail is None else f"{100 * cell.limit.fail:g}"
    return {"pass": f"at most {limit}", "fail": f"more than {limit}"}.get(
        cell.verdict, "an undecided number of"
    )


def _plainly(cell: CellReport, measure: MetricWords) -> str:
    """Return the same of what has no sentence of its own."""
    title = measure.title[:1].upper() + measure.title[1:] + _of_some(cell)
    if cell.estimate is not None:
        return f"{title}: {figure(cell.estimate.value, cell.metric)}."
    limit = None if cell.limit.fail is None else setting(cell.limit.fail, cell.metric)
    found = {"pass": f"at most {limit}", "fail": f"more than {limit}"}.get(cell.verdict)
    return f"{title}: {found if found and limit else 'not shown either way'}."


def _of_some(cell: CellReport) -> str:
    """Return what tells that a number speaks of some of the members and of no others."""
    family = family_known(cell.probe, cell.metric)
    if family is None or not family.counts_patients:
        return ""
    if cell.sample is None:  # withheld, as all numbers of such cells are
        return ", of the members or, where nonmembers are few, of a sample of them"
    is_all = family.looked_at(cell.sample) >= cell.sample.members
    return "" if is_all else ", of a sample of the members"


def _is_excess(measure: MetricWords) -> bool:
    return measure.against == "excess" and measure.unit == "share"


def _lowered(title: str) -> str:
    """Return a title as it stands within a sentence: "Substance use" is lowered, "HIV" is not."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title
