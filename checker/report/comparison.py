"""Two reports side by side: what got better or worse between two versions of a model.

Cells are matched by their id. Of two estimates the difference is taken with square-and-add bounds
over their own intervals (Zou & Donner 2008, as for every difference here); a cell is *worse* when
the whole interval lies above zero, *better* when it lies below, and otherwise no difference is
shown, however far apart the two values look. Of a large cohort each model has its own lot of
patients. Of a small one everybody is asked, so that the same patients stand behind both runs, and
the bounds, which take the two as independent, are on the safe side.

Both reports are compared as their audience may see them: a difference of two shared reports tells
no more than the two tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from checker.canonical import JsonModel
from checker.report.model import Audience, BoundSide, CellReport, Report
from checker.stats.estimate import ReportedEstimate
from checker.stats.intervals import square_and_add
from checker.verdict import Verdict

Direction = Literal[
    "worse", "better", "no-difference-shown", "withheld", "not-comparable", "new", "gone"
]
"""How a cell changed; `withheld` and `not-comparable` say why there is no difference."""

_ORDER: tuple[Direction, ...] = (
    "worse",
    "better",
    "no-difference-shown",
    "withheld",
    "not-comparable",
    "new",
    "gone",
)

_CONFIDENCES = "The two were judged at different confidence."
_FIELDS = ("probe", "metric", "contrast", "attribute_class", "params")
_ATTACKERS = "the attacker knows something else"
UNMEASURED = "one of the two was not measured"


class ComparedCell(JsonModel):
    """A cell in one of the reports."""

    verdict: Verdict
    bound_side: BoundSide | None
    estimate: ReportedEstimate | None
    limit: float | None
    waived: bool


class CellChange(JsonModel):
    """How a cell changed.

    `difference` is the later minus the earlier estimate (higher is leakier), with one-sided bounds
    at the lower of the two confidences; None where one of them is not to be had.
    """

    id: str
    control: str
    title: str
    attribute_class: str | None
    attacker: str
    subgroup: str
    metric: str
    direction: Direction
    why: str | None = None
    before: ComparedCell | None
    after: ComparedCell | None
    difference: ReportedEstimate | None = None


class ComparedReport(JsonModel):
    """One of the two reports: which model, under which policy, with which verdict."""

    target: str
    version: str
    model_sha256: str
    policy: str
    policy_version: str
    policy_sha256: str
    data_set: str
    verdict: str
    as_of: str


class Comparison(JsonModel):
    """Two reports, cell by cell, worst changes first; `cautions` say what else is different."""

    schema_version: Literal["1"] = "1"
    audience: Audience
    before: ComparedReport
    after: ComparedReport
    cautions: list[str]
    changes: list[CellChange]

    def count(self, direction: Direction) -> int:
        """Return how many cells went this way."""
        return sum(change.direction == direction for change in self.changes)


def compare_reports(before: Report, after: Report) -> Comparison:
    """Compare two reports of one audience.

    Args:
        before: of the earlier model.
        after: of the later one.

    Raises:
        ValueError: one is shared and the other internal.
    """
    if before.audience != after.audience:
        raise ValueError("a shared report can only be compared with a shared one")
    earlier = {cell.id: cell for cell in before.cells}
    later = {cell.id: cell for cell in after.cells}
    titles = {
        control.id: control.title for report in (before, after) for control in report.controls
    }
    differing = _measured_differently(before, after)
    changes = [
        _change(earlier.get(name), later.get(name), titles=titles, differing=differing)
        for name in dict.fromkeys([*later, *earlier])
    ]
    return Comparison(
        audience=after.audience,
        before=_compared_report(before),
        after=_compared_report(after),
        cautions=[
            *_cautions(_compared_report(before), _compared_report(after)),
            *([_CONFIDENCES] if before.policy.confidence != after.policy.confidence else []),
        ],
        changes=sorted(changes, key=lambda change: _ORDER.index(change.direction)),
    )


def _measured_differently(before: Report, after: Report) -> dict[str, str]:
    """Return the controls that mean another measurement in the two reports, and why."""
    earlier = {control.id: control for control in before.controls}
    differing = {}
    for control in after.controls:
        other = earlier.get(control.id)
        if other is None:
            continue
        for field in _FIELDS:
            if getattr(control, field) != getattr(other, field):
                differing[control.id] = _another(field)
                break
    knows = {attacker.id: attacker.knows for attacker in before.policy.attackers}
    for attacker in after.policy.attackers:
        if knows.get(attacker.id, attacker.knows) != attacker.knows:
            differing[f"/{attacker.id}"] = _ATTACKERS
    return differing


def _another(field: str) -> str:
    return f"the control has another {field.replace('_', ' ')}"


def _change(
    before: CellReport | None,
    after: CellReport | None,
    *,
    titles: dict[str, str],
    differing: dict[str, str],
) -> CellChange:
    cell = after or before
    assert cell is not None  # names come from one of the two
    why = differing.get(cell.control) or differing.get(f"/{cell.attacker}")
    difference = None
    direction: Direction
    if before is None or after is None:
        direction = "new" if before is None else "gone"
    elif why is not None:
        direction = "not-comparable"
    elif before.estimate is None or after.estimate is None:
        is_withheld = "estimate" in {*before.withheld, *after.withheld}
        direction = "withheld" if is_withheld else "not-comparable"
        why = None if is_withheld else UNMEASURED
    else:
        difference = _difference(before.estimate, after.estimate)
        direction = _direction(difference)
    return CellChange(
        id=cell.id,
        control=cell.control,
        title=titles.get(cell.control, cell.control),
        attribute_class=cell.attribute_class,
        attacker=cell.attacker,
        subgroup=cell.subgroup,
        metric=cell.metric,
        direction=direction,
        why=why,
        before=_compared_cell(before),
        after=_compared_cell(after),
        difference=difference,
    )


def _difference(before: ReportedEstimate, after: ReportedEstimate) -> ReportedEstimate:
    """Subtract the earlier estimate from the later one, as if they were independent."""
    tops = [number.value if number.high is None else number.high for number in (after, before)]
    value, low, high = square_and_add(
        (after.value, after.low, tops[0]), (before.value, before.low, tops[1]), largest=float("inf")
    )
    # what nothing bounds from above has no upper bound here, and as a subtrahend no lower one
    unbounded = after.high is None
    return ReportedEstimate(
        value=float(value),
        low=float(low) if before.high is not None else min(float(value), 0.0),
        high=None if unbounded else float(high),
        n=None,
        confidence=min(before.confidence, after.confidence),
        method="square-and-add over both estimates",
    )


def _direction(difference: ReportedEstimate) -> Direction:
    if difference.low > 0:
        return "worse"
    if difference.high is not None and difference.high < 0:
        return "better"
    return "no-difference-shown"


def _compared_cell(cell: CellReport | None) -> ComparedCell | None:
    if cell is None:
        return None
    return ComparedCell(
        verdict=cell.verdict,
        bound_side=cell.bound_side,
        estimate=cell.estimate,
        limit=cell.limit.fail,
        waived=cell.waiver is not None,
    )


def _compared_report(report: Report) -> ComparedReport:
    return ComparedReport(
        target=report.target.name,
        version=report.target.version,
        model_sha256=report.target.model_sha256,
        policy=report.policy.name,
        policy_version=report.policy.version,
        policy_sha256=report.policy.sha256,
        data_set=report.target.data_set,
        verdict=report.verdict,
        as_of=report.provenance.as_of,
    )


def _cautions(before: ComparedReport, after: ComparedReport) -> Iterator[str]:
    """Say what is different beside the model."""
    if before.model_sha256 == after.model_sha256:
        yield "Both reports are about the same model: what differs is chance, or the audit."
    if before.policy_sha256 != after.policy_sha256:
        yield (
            f"The policies differ ({before.policy} {before.policy_version} and"
            f" {after.policy} {after.policy_version}): limits may not be the same."
        )
    if before.data_set != after.data_set:
        yield (
            f"The patients differ ({before.data_set} and {after.data_set}): a difference may be"
            " theirs."
        )


# --- held against one of the reports ------------------------------------------------------------


def strange_side(found: Comparison, after: Report) -> str | None:
    """Say in what a comparison does not fit the later of its two reports, or None where it fits.

    Args:
        found: as it was read back.
        after: the report that it says is the later one.

    Returns:
        The end of a sentence about the comparison.
    """
    if found.audience != after.audience or found.after != _compared_report(after):
        return "speaks of another report than this one"
    cautions = list(_cautions(found.before, found.after))
    if found.cautions not in (cautions, [*cautions, _CONFIDENCES]):
        return "cautions against something else than the two reports differ in"
    cells = {cell.id: cell for cell in after.cells}
    changes = {change.id: change for change in found.changes}
    titles = {control.id: control.title for control in after.controls}
    for name in dict.fromkeys([*cells, *changes]):
        cell, change = cells.get(name), changes.get(name)
        if change is None:
            return f"lacks the cell {name}"
        if change.after != _compared_cell(cell):
            return f"says otherwise of the cell {name} than this report"
        if cell is None and (change.direction, change.difference) != ("gone", None):
            return f"does not say that the cell {name} is gone"
        if cell is not None and _as_told(change) != _as_reported(cell, titles):
            return f"describes the cell {name} otherwise than this report"
    return strange_inside(found)


def strange_inside(found: Comparison) -> str | None:
    """Say in what a comparison contradicts itself, whatever it compares, or None."""
    if len({change.id for change in found.changes}) < len(found.changes):
        return "has a cell twice"
    for change in found.changes:
        if not _follows(change):
            return f"has another difference for the cell {change.id} than its two estimates have"
    order = [_ORDER.index(change.direction) for change in found.changes]
    return None if order == sorted(order) else "is not in its order"


def _as_told(change: CellChange) -> tuple[str | None, ...]:
    return (
        change.control, change.title, change.attribute_class, change.attacker, change.subgroup,
        change.metric,
    )  # fmt: skip


def _as_reported(cell: CellReport, titles: dict[str, str]) -> tuple[str | None, ...]:
    title = titles.get(cell.control, cell.control)
    return (
        cell.control, title, cell.attribute_class, cell.attacker, cell.subgroup, cell.metric
    )  # fmt: skip


def _follows(change: CellChange) -> bool:
    """Whether direction, difference and reason are those of the two sides that are told."""
    known: set[str | None] = {UNMEASURED, _ATTACKERS, *map(_another, _FIELDS)}
    reasons = {"not-comparable": known, "new": known | {None}, "gone": known | {None}}
    if change.why not in reasons.get(change.direction, {None}):
        return False
    if change.before is None or change.after is None:
        new = "new" if change.before is None else "gone"
        return (change.direction, change.difference) == (new, None)
    if change.before.estimate is None or change.after.estimate is None:
        return change.difference is None and change.direction in ("withheld", "not-comparable")
    if change.direction == "not-comparable":
        return change.difference is None and change.why is not None
    difference = _difference(change.before.estimate, change.after.estimate)
    return (change.direction, change.difference) == (_direction(difference), difference)
