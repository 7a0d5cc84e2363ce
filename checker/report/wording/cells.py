"""A cell in words: its numbers, its limit, its sample, its verdict and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from checker.attacks.families import QFrom
from checker.planning.remedies import SHORTAGES
from checker.policy.documents import Limit
from checker.report.model import CellReport, ControlReport, PrerequisiteReport
from checker.report.wording.audience import is_withheld, side_words
from checker.report.wording.measures import AGAINST, measure_of, probe_words, reports_precision
from checker.report.wording.numbers import figure, grouped, setting, share, upper_bound
from checker.report.wording.plain import plain
from checker.report.wording.reasons import UNDECIDED, Reason, reason_words
from checker.report.wording.remedies import remedy_words
from checker.report.wording.terms import NOT_SHOWN, VERDICT_WORDS
from checker.stats.estimate import ReportedEstimate

Q_FROM: dict[QFrom, str] = {
    "probabilities": "q estimated from how likely each step was to name the class",
    "hits": "q counted from the continuations that name the class",
}


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A row of a finding's table.

    Args:
        title: what the number is.
        number: with its bounds.
        metric: whose unit it is read in.
        limit: what its bounds are compared with; None for all rows but the first.
        role: the estimate itself, a part of it, the placebo, or what is only reported.
    """

    title: str
    number: ReportedEstimate
    metric: str
    limit: float | None = None
    role: Literal["estimate", "part", "placebo", "reported"] = "part"


def number_rows(cell: CellReport) -> list[NumberRow]:
    """Return the numbers of a finding, the estimate first; a part that equals it is left out."""
    if cell.estimate is None:
        return []
    measure, is_twofold = measure_of(cell.metric), cell.contrast == "reference"
    rows = [NumberRow(title_words(cell), cell.estimate, cell.metric, cell.limit.fail, "estimate")]
    for name, number in zip(measure.parts, (cell.members, cell.nonmembers), strict=True):
        if number is None or number == cell.estimate:
            continue
        what = f"{name}: {measure.part}" if measure.part else name
        beyond = ", this model minus the reference" if is_twofold else ""
        rows.append(NumberRow(what + beyond, number, cell.metric))
    if cell.placebo is not None:
        halves = "placebo: two halves of the nonmembers"
        rows.append(NumberRow(halves, cell.placebo, cell.metric, role="placebo"))
    rows += [
        NumberRow(measure_of(name).title, number, name, role="reported")
        for name, number in cell.reported.items()
    ]
    return rows


def memory_words(cell: CellReport) -> str | None:
    """Return why a number speaks of memory and not of medicine, or how far it does.

    None where nothing was measured, or where the two numbers are withheld.
    """
    against, part = measure_of(cell.metric).against, measure_of(cell.metric).part
    if cell.estimate is None or against is None:
        return None
    if against == "members-alone":
        return "not separated here: what the model merely knows of medicine counts as well"
    if against == "excess" and cell.contrast == "nonmembers" and cell.members and cell.nonmembers:
        inside = figure(cell.members.value, cell.metric)
        outside = figure(cell.nonmembers.value, cell.metric)
        return (
            f"{part}: {inside} of members and {outside} of nonmembers; what the model merely knows"
            " of medicine would give both alike"
        )
    if against == "separation":
        return "a model without memory scores members like patients it never saw"
    if against == "perturbation":
        return (
            "a disease does not depend on a year of age: what is named under a member's own age"
            " alone is remembered"
        )
    return None


def limit_words(limit: Limit, metric: str) -> str:
    """Return a limit in words."""
    if limit.max_count is not None:
        return f"none among at least {grouped(limit.min_n or 1)}"
    if limit.fail is None:
        return "no limit"
    words = f"at most {setting(limit.fail, metric)}"
    return words if limit.warn is None else f"{words}, warning above {setting(limit.warn, metric)}"


def telling_bound(cell: CellReport) -> str | None:
    """Return what the verdict rests on: the lower bound of a fail, the upper one of a pass.

    Where the bounds are withheld it says on which side of the limit they lie.
    """
    if cell.estimate is None:
        return side_words(cell)
    limit = cell.limit.fail
    low = figure(cell.estimate.low, cell.metric, rounding="down", against=limit)
    if cell.verdict == "fail" or cell.estimate.high is None:
        return f"at least {low}"
    high = upper_bound(cell.estimate, cell.metric, against=limit)
    return f"at most {high}" if cell.verdict == "pass" else f"between {low} and {high}"


def none_words(cell: CellReport) -> str | None:
    """Return whether a number differs from none, which is not whether it is within its limit."""
    if cell.above_none is None:
        return None
    return "distinguishable from none" if cell.above_none else "not distinguishable from none"


def precision_words(cell: CellReport, control: ControlReport | None) -> str | None:
    """Return how many of those whom the model would name truly have the class.

    A single success is a harm; guesses of which nobody could tell the right one are less. None
    where nobody is named, and where nothing was measured.
    """
    if not reports_precision(cell.probe):
        return None
    number = cell.reported.get("precision")
    if number is not None:
        value = figure(number.value, "precision")
        low = figure(number.low, "precision", rounding="down")
        return f"of those it would name, {value} truly have the class (at least {low})"
    if cell.estimate is None:
        return None
    if control is None or not control.params.get("askEverybody"):
        return "not measured: patients without the class were not asked (askEverybody)"
    return "withheld, or nobody is named" if "reported" in cell.withheld else "nobody is named"


def limit_kept_words(cell: CellReport) -> str | None:
    """Return whether a limit is kept, as a finding of its own; None where nothing was found."""
    if cell.bound_side is not None:
        return {"within": "yes", "beyond": "no", "straddles": "not decided"}[cell.bound_side]
    if cell.limit.max_count is not None and cell.verdict in {"pass", "fail"}:
        return "yes" if cell.verdict == "pass" else "no"
    return None


def verdict_word(cell: CellReport) -> str:
    """Return a cell's verdict as one or two words."""
    if cell.verdict == "pass" and cell.warned:
        return "pass, warned"
    if cell.waiver is not None:
        return f"{VERDICT_WORDS[cell.verdict]}, waived"
    return VERDICT_WORDS[cell.verdict]


def reason_of(cell: CellReport | PrerequisiteReport) -> Reason | None:
    """Return why a cell got its verdict; a reason nobody explained yet is shown as it is."""
    return None if cell.reason is None else reason_words(cell.reason)


def meaning_words(cell: CellReport) -> str | None:
    """Return why a cell got its verdict, unless its explanation has said so in the same words."""
    reason = reason_of(cell)
    return None if reason is None or reason.meaning in cell.explanation else reason.meaning


def title_words(cell: CellReport) -> str:
    """Return what a cell measured."""
    title = measure_of(cell.metric).title
    return f"{title} and a reference model" if cell.contrast == "reference" else title


def counts_words(cell: CellReport) -> str:
    """Return what a cell's number counts, in the few words that fit beside it."""
    counts = measure_of(cell.metric).counts
    return f"{counts} and a reference model" if cell.contrast == "reference" else counts


def contrast_words(control: ControlReport) -> str:
    """Return what a control's number is compared with to tell memory from medicine."""
    against = measure_of(control.metric).against
    if control.contrast == "reference":
        return (
            "a difference in differences: what a reference model, trained without these members,"
            " says of the same patients is subtracted first, then nonmembers from members"
        )
    if against is None:
        return "not stated"
    words = AGAINST[against]
    if control.params.get("score") == "reference-ratio":
        words += "; the score is the ratio to a reference model's likelihood"
    return words


def needs_more(cell: CellReport) -> str | None:
    """Return how much more a cell needs before it can pass at all, or None."""
    if cell.can_only_fail or cell.verdict == "not_applicable" or is_withheld(cell):
        return None  # how much is missing says how much there is
    if cell.attribute_class is not None:
        members, nonmembers = "eligible members", "nonmembers"
    else:
        members, nonmembers = probe_words(cell.probe).counted
    power = cell.power
    if power is None:
        return None
    counts = (
        (power.needed_more, members),
        (power.needed_more_nonmembers, nonmembers),
        (power.needed_more_rollouts, "continuations"),
    )
    parts = [f"{grouped(count)} more {what}" for count, what in counts if count]
    return f"needs {' and '.join(parts)} before it can pass" if parts else None


def next_step(cell: CellReport) -> str | None:
    """Return the one cheapest thing that would decide a cell, or what its reason advises."""
    reason = reason_of(cell)
    if cell.remedy is not None:
        return remedy_words(cell.remedy, who=whom_words(cell))
    advice = reason.advice(gating=cell.gating) if reason is not None else ""
    open_by_numbers = cell.reason in SHORTAGES or cell.reason == UNDECIDED
    if cell.verdict == "inconclusive" and open_by_numbers and (likely := cell.needs.likely):
        # that hangs on the policy alone, and says nothing of who is there: not even whether
        # their records tell the class without any memory
        sound, more = "A model that leaks nothing", ""
        if cell.attribute_class is not None:
            sound = "By the base rate that the policy assumes, a model that leaks nothing"
            more = ", and so do records that tell the class by themselves"
        advice = (
            f"{advice} {sound} likely passes from {grouped(likely)} in each split on; one that"
            f" leaks a little takes more{more}."
        )
    return advice or None


def whom_words(cell: CellReport) -> tuple[str, str]:
    """Return whom a cell may need more of, inside and outside the training data."""
    if cell.attribute_class is not None:
        return "members with the class within reach", "nonmembers with it"
    return probe_words(cell.probe).counted


def sample_words(cell: CellReport) -> str:
    """Return who was there to be measured."""
    sample = cell.sample
    if sample is None or is_withheld(cell):
        return NOT_SHOWN
    counts = {
        name: grouped(count)
        for name in type(sample).model_fields
        if isinstance(count := getattr(sample, name), int)
    }
    own = probe_words(cell.probe).sample(counts)
    if own is not None:
        return own
    words = f"{counts['members']} members, {counts['nonmembers']} nonmembers"
    if cell.attribute_class is None:
        return words
    if sample.members_positive is not None:
        positive = grouped(sample.members_positive), grouped(sample.nonmembers_positive or 0)
        words += f" eligible, of {positive[0]} and {positive[1]} with the class"
    if cell.q_from is not None:
        words += f"; {Q_FROM[cell.q_from]}"
    if sample.distinct_prompt_share is not None:
        words += f"; {share(sample.distinct_prompt_share)} of the prompts are distinct"
    return words


def subgroup_words(subgroup: str) -> str:
    """Return a subgroup in words."""
    if subgroup == "all":
        return "all patients"
    if subgroup == "rare_code":
        return "patients with a rare code"
    if subgroup.startswith("rare_code<="):
        others = plain(subgroup.removeprefix("rare_code<="))
        return f"patients with a code that at most {others} other members have"
    if subgroup.startswith("age>"):
        return f"patients older than {plain(subgroup.removeprefix('age>'))} years"
    return f"patients with {plain(subgroup)}"
