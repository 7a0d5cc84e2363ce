"""What a report may tell whom: the one place where numbers are withheld, before every format.

A report is itself a disclosure. "Three of 95 members with HIV were disclosed" speaks of three
people, and so does anything it can be worked out from: a rate with its n, an exact bound (at a
known n a Clopper-Pearson bound gives the count away), a complement, a difference of two reports.
Verdicts are reached before, from everything, and stand in every report.

A shared report follows four rules, with `minCell` of the policy (11):

*Few.* Where fewer than `minCell` patients were hit, none included, a cell says its verdict, its
limit and on which side of it the interval lies, and no number. Where fewer than `minCell` were not
hit, "nearly all" is all it says.

*Rounded.* All other counts are rounded (`checker.report.disclosure_control.rounding`), rates and
bounds are those of the rounded counts, and what is no share of patients (an AUROC, a distance) is
rounded outward. So the difference of two shared numbers, of one report or of two, is never exact.

*The n behind few.* A verdict and an n can pin a count: a cell that passes at 5 % with n between 59
and 92 had no hit at all. n is withheld with the count, and from all cells about the same class and
subgroup, unless every count from none to `minCell` - 1 would have been judged alike.

*Siblings.* What a subgroup withholds must not follow from the others: the values of a static field
are shown all or none, and a subgroup is withheld where few patients are left outside it.

Planted canaries are nobody, so nothing of theirs is withheld.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from checker.attacks.api import Metric, load_probe
from checker.report.disclosure_control.rounding import Rounding, hits_of, outward
from checker.report.model import (
    AdmissibilityCheck,
    Audience,
    CellReport,
    CellSample,
    EvidenceRef,
    Number,
    Power,
    Provenance,
    Report,
    SamplingReport,
    TargetRef,
    WaiverReport,
)
from checker.report.wording.measures import AT_ANOTHER, age_offset, is_share
from checker.report.wording.numbers import bounds, figure, setting
from checker.report.wording.reasons import reason_words

__all__ = ["for_audience"]

_SHARES = {"rate", "rate-difference", "mean-difference", "set-difference", "tpr"}
"""Families of metrics whose numbers are shares of patients, or of continuations."""

_EXACT = {"clopper-pearson", "square-and-add over clopper-pearson"}
"""Methods that give a share's bounds from its counts alone."""

_STEP = 0.01
_CURVE_STEP = 0.05
_CHANGED = (
    "estimate",
    "members",
    "nonmembers",
    "reported",
    "placebo",
    "p_value",
    "roc",
    "sample",
)

_HOLDS = {True: "This holds.", False: "This does not hold.", None: "This was not decided."}
_SIDES = {
    "within": "The upper bound is within the limit of {}.",
    "beyond": "The lower bound is above the limit of {}.",
    "straddles": "The bounds lie on both sides of the limit of {}.",
}
_CRASHED = "It could not be completed; what went wrong stands in the internal report."
_CEILINGS = {
    "applied": "The cell is shown to be within the ceiling.",
    "void": "The cell is not shown to be within the ceiling, so it blocks.",
}


def for_audience(report: Report, audience: Audience) -> Report:
    """Return a report as an audience may see it.

    Args:
        report: with all its numbers, as `checker.report.assemble` makes it.
        audience: `internal` sees everything, `shared` nothing that could be traced to a few
            patients.

    Raises:
        ValueError: what was withheld from a shared report cannot be had back from it.
    """
    if report.audience == audience:
        return report
    if report.audience == "shared":
        raise ValueError("a shared report does not hold what an internal one shows")
    if report.policy.min_cell == 1:  # the policy has nothing withheld
        return report.model_copy(update={"audience": audience})
    return _Suppressor(report).shared()


@dataclass(frozen=True, slots=True)
class _Patients:
    """What decides which patients a cell is about."""

    attribute_class: str | None
    subgroup: str

    @classmethod
    def of(cls, cell: CellReport) -> _Patients:
        # whatever an attacker knows: those who know the same events ask about the same patients
        return cls(cell.attribute_class, cell.subgroup)

    @property
    def field(self) -> str | None:
        """The static field of whose values the subgroup is one."""
        return _field_of(self.subgroup)


class _Suppressor:
    """One report on its way to a shared one."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.min_cell = report.policy.min_cell
        self.rounding = Rounding(self.min_cell)
        self.few = {cell.id for cell in report.cells if self._is_few(cell)}
        self.hidden = self.few | set(self._told_by_siblings())
        self.silent = self._without_n()

    def shared(self) -> Report:
        """Return what everybody may see."""
        report = self.report
        summary = report.summary
        return report.model_copy(
            update={
                "audience": "shared",
                "cells": [self._cell(cell) for cell in report.cells],
                "target": self._target(report.target),
                "summary": summary.model_copy(update={"sampling": _sampling(summary.sampling)}),
                "waivers": [_waiver(waiver) for waiver in report.waivers],
                "admissibility": [_check(check) for check in report.admissibility],
                "provenance": _provenance(report.provenance),
            }
        )

    # --- what is to be withheld -----------------------------------------------------------------

    def _is_few(self, cell: CellReport) -> bool:
        """Whether some count of a cell is too small for its numbers to be shown at all."""
        if _is_of_canaries(cell):
            return False
        sample = cell.sample
        if sample is not None:
            counts = [sample.members, sample.nonmembers]
            if _metric(cell).takes_everybody:  # ranked against patients without the class
                counts += [sample.members_negative or 0, sample.nonmembers_negative or 0]
            if min(counts) < self.min_cell:
                return True
        if cell.estimate is None or _family(cell) not in _SHARES:
            return False
        if _family(cell) == "tpr":  # its n is that of both splits; hits are members'
            patients = sample.members if sample else 0
            return min(cell.estimate.low, cell.estimate.value) * patients < self.min_cell
        return self.rounding.rate(cell.members or cell.estimate).few

    def _told_by_siblings(self) -> Iterator[str]:
        """Yield the subgroups from which what another one withholds would follow."""
        families: dict[tuple[str, str], list[CellReport]] = defaultdict(list)
        for cell in self.report.cells:
            families[cell.control, cell.attacker].append(cell)
        for family in families.values():
            whole = next((cell for cell in family if cell.subgroup == "all"), None)
            parts = [cell for cell in family if cell.subgroup != "all"]
            told = [
                cell
                for cell in parts
                if cell.id in self.few or (whole is not None and self._leaves_few(whole, cell))
            ]
            fields = {_field_of(cell.subgroup) for cell in told} - {None}
            yield from (cell.id for cell in told)
            yield from (cell.id for cell in parts if _field_of(cell.subgroup) in fields)

    def _leaves_few(self, whole: CellReport, part: CellReport) -> bool:
        """Whether few patients, or few hits, lie in the whole and outside a subgroup."""
        rests: list[float] = []
        for all_of, some in ((whole.members, part.members), (whole.nonmembers, part.nonmembers)):
            if all_of is not None and some is not None:
                rests.append((all_of.n or 0) - (some.n or 0))
                if _family(whole) in _SHARES:
                    rests.append(hits_of(all_of) - hits_of(some))
        if whole.sample is not None and part.sample is not None:
            rests.append(whole.sample.members - part.sample.members)
            rests.append(whole.sample.nonmembers - part.sample.nonmembers)
        return any(rest < self.min_cell for rest in rests)

    def _without_n(self) -> set[_Patients]:
        """Return the patients whose number would pin a count that is withheld.

        The values of a static field add up to all patients, so they are silent together.
        """
        telling = {
            _Patients.of(cell)
            for cell in self.report.cells
            if cell.id in self.hidden and self._n_tells(cell)
        }
        fields = {(one.attribute_class, one.field) for one in telling if one.field}
        wholes = {one.attribute_class for one in telling if one.subgroup == "all"}
        everyone = {_Patients.of(cell) for cell in self.report.cells}
        return telling | {
            one
            for one in everyone
            if one.field is not None
            and ((one.attribute_class, one.field) in fields or one.attribute_class in wholes)
        }

    def _n_tells(self, cell: CellReport) -> bool:
        """Whether only some of the counts from none to `minCell` - 1 fit a cell's verdict."""
        limit, estimate = cell.limit.fail, cell.estimate
        if limit is None or estimate is None:
            return True
        if _family(cell) == "tpr" and cell.sample is not None:
            # half of α goes to the threshold
            found = self.rounding.few_of(
                cell.sample.members, confidence=(1 + estimate.confidence) / 2
            )
        elif estimate.method in _EXACT:
            found = self.rounding.intervals(_rates(cell), confidence=estimate.confidence)
        else:
            return True
        warn = cell.limit.warn
        low, high = found.T
        answers = (low > limit, high <= limit, high > (limit if warn is None else warn))
        return any(answer.any() and not answer.all() for answer in answers)

    # --- what is said instead -------------------------------------------------------------------

    def _cell(self, cell: CellReport) -> CellReport:
        if _is_of_canaries(cell):  # but what keeps it from a verdict may speak of patients
            return cell.model_copy(update={"explanation": self._explanation(cell, ())})
        shown = cell.model_copy(
            update={
                "estimate": None,
                "members": None,
                "nonmembers": None,
                "reported": {},
                "placebo": None,
                "p_value": None,
                "roc": None,  # each of its steps is a patient
                "sample": None,
                "power": Power(can_pass=cell.power.can_pass),
            }
        )
        if cell.id not in self.hidden and _Patients.of(cell) not in self.silent:
            shown = shown.model_copy(
                update={
                    "estimate": self._estimate(cell),
                    "members": self._beside(cell, cell.members),
                    "nonmembers": self._beside(cell, cell.nonmembers),
                    "reported": dict(self._reported(cell)),
                    "sample": self._sample(cell.sample),
                }
            )
        withheld = [name for name in _CHANGED if getattr(cell, name) and not getattr(shown, name)]
        return shown.model_copy(
            update={"withheld": withheld, "explanation": self._explanation(shown, withheld)}
        )

    def _estimate(self, cell: CellReport) -> Number | None:
        number, limit = cell.estimate, cell.limit.fail
        if number is None:
            return None
        if number.method not in _EXACT:
            return self._on_grid(cell, number)
        wide = self.rounding.wide(number, _rates(cell))
        high = number.high if wide.high is None else wide.high
        low = wide.low
        # on which side of the limit the interval lies is said anyway
        if cell.bound_side == "within" and limit is not None and high is not None:
            low, high = min(low, limit), min(high, limit)
        elif cell.bound_side == "beyond" and limit is not None and high is not None:
            low, high = max(low, limit), max(high, limit)
        value = min(max(wide.value, low), wide.value if high is None else high)
        return wide.model_copy(update={"value": value, "low": low, "high": high})

    def _beside(self, cell: CellReport, number: Number | None) -> Number | None:
        """Return the members' or the nonmembers' part, or None where few of them were hit."""
        if number is None:
            return None
        if number == cell.estimate:
            return self._estimate(cell)
        if _family(cell) in _SHARES and self.rounding.rate(number).few:
            return None
        if number.method not in _EXACT:
            return self._on_grid(cell, number)
        return self.rounding.wide(number, [number])

    def _reported(self, cell: CellReport) -> Iterator[tuple[str, Number]]:
        """Yield what stands beside the estimate, but for what counts patients of its own."""
        for name, number in cell.reported.items():
            is_of_curve = age_offset(name) is not None or name.startswith(AT_ANOTHER)
            counts_patients = is_share(name) and not is_of_curve
            if (number.n or 0) >= self.min_cell and not counts_patients:
                shown = outward(number, step=_CURVE_STEP if is_of_curve else _STEP)
                yield name, self._with_rounded_n(shown)

    def _on_grid(self, cell: CellReport, number: Number) -> Number:
        """Round outward to a step that no few patients decide: shares need a wide one."""
        step = _STEP
        if _family(cell) in _SHARES and cell.sample is not None:
            n = cell.sample.rollouts or min(cell.sample.members, cell.sample.nonmembers)
            step *= max(1, math.ceil(self.rounding.unit / max(1, n) / _STEP))
        return self._with_rounded_n(outward(number, step=step))

    def _with_rounded_n(self, number: Number) -> Number:
        n = None if number.n is None else self.rounding.count(number.n)
        return number.model_copy(update={"n": n})

    def _sample(self, sample: CellSample | None) -> CellSample | None:
        if sample is None:
            return None
        return CellSample(
            members=self.rounding.count(sample.members),
            nonmembers=self.rounding.count(sample.nonmembers),
        )

    def _explanation(self, cell: CellReport, withheld: Sequence[str]) -> str:
        """Say in words what the numbers said."""
        if cell.verdict == "error":
            return _CRASHED
        words = []
        if cell.estimate is not None:
            value = figure(cell.estimate.value, cell.metric)
            words.append(f"About {value} ({bounds(cell.estimate, cell.metric)}).")
        if cell.bound_side is not None and cell.limit.fail is not None:
            words.append(_SIDES[cell.bound_side].format(setting(cell.limit.fail, cell.metric)))
        elif cell.verdict == "pass":
            words.append("None was found, among at least as many as the limit asks for.")
        elif cell.verdict == "fail":
            words.append("Some were found, where none may be.")
        if cell.reason is not None:
            words.append(reason_words(cell.reason).meaning)
        if "estimate" in withheld:
            words.append(
                "The numbers are withheld: they could be traced to fewer than"
                f" {self.min_cell} patients."
            )
        return " ".join(words)

    def _target(self, target: TargetRef) -> TargetRef:
        # cells about no class speak of everybody: what pins a count there is the cohort's size
        pins = any(one.attribute_class is None and one.subgroup == "all" for one in self.silent)
        members, nonmembers = (
            None if pins or count is None else self.rounding.count(count)
            for count in (target.members, target.nonmembers)
        )
        return target.model_copy(
            update={
                "members": members,
                "nonmembers": nonmembers,
                "unknown_token_share": round(target.unknown_token_share, 3),
            }
        )


def _rates(cell: CellReport) -> list[Number]:
    """Return the rates that an exact estimate consists of: one, or members' and nonmembers'."""
    if cell.members is not None and cell.nonmembers is not None:
        return [cell.members, cell.nonmembers]
    return [cell.estimate] if cell.estimate is not None else []


def _metric(cell: CellReport) -> Metric:
    found: Metric = load_probe(cell.probe).metrics[cell.metric]
    return found


def _family(cell: CellReport) -> str:
    return _metric(cell).family


def _is_of_canaries(cell: CellReport) -> bool:
    return bool(load_probe(cell.probe).observes == "canaries")


def _field_of(subgroup: str) -> str | None:
    """Return the static field of whose values a subgroup is one, or None.

    >>> _field_of("race=Other"), _field_of("rare_code<=3"), _field_of("age>85"), _field_of("all")
    ('race', None, None, None)
    """
    field, equals, _ = subgroup.partition("=")
    return field if equals and not field.endswith("<") else None


def _sampling(sampling: SamplingReport) -> SamplingReport:
    return sampling.model_copy(
        update={
            "prompts": None,
            "prompts_left_out": None,
            "continuations": None,
            "continuations_left_out": None,
        }
    )


def _waiver(waiver: WaiverReport) -> WaiverReport:
    return waiver.model_copy(
        update={"explanation": _CEILINGS.get(waiver.status, waiver.explanation)}
    )


def _check(check: AdmissibilityCheck) -> AdmissibilityCheck:
    """Say whether a check holds; how many patients spoke against it is nobody's business."""
    number = check.estimate
    if number is not None:
        number = outward(number, step=_STEP).model_copy(update={"n": None})
    return check.model_copy(update={"explanation": _HOLDS[check.holds], "estimate": number})


def _provenance(provenance: Provenance) -> Provenance:
    return provenance.model_copy(
        update={"evidence": [_evidence(entry) for entry in provenance.evidence]}
    )


def _evidence(entry: EvidenceRef) -> EvidenceRef:
    # the titles of these jobs number the records
    title = "token log-probabilities of records" if entry.kind == "scores" else entry.title
    return entry.model_copy(update={"title": title, "rows": None})
