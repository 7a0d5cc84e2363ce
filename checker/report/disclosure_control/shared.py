"""What a report shows its audience: the one place where numbers are withheld, before every format.

A report is itself a disclosure. "Three of 95 members with HIV were disclosed" speaks of three
people, and so does anything it can be worked out from: a rate with its n, an exact bound (at a
known n a Clopper-Pearson bound gives the count away), a complement, a difference of two reports.
Verdicts are reached before, from everything, and stand in every report.

A suppressed cell (`disclosure_control.suppression`) says its verdict, its limit and on which side
of it the interval lies, and no number. All other counts are rounded
(`disclosure_control.rounding`), rates and bounds are those of the rounded counts, and what is no
share of patients (an AUROC, a distance) is rounded outward. So the difference of two shared
numbers, of one report or of two, is never exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from checker.attacks.families import Power, Sample
from checker.report.disclosure_control.command import shared_command
from checker.report.disclosure_control.rounding import Rounding, outward
from checker.report.disclosure_control.suppression import (
    EXACT,
    Suppression,
    family_of,
    is_of_canaries,
    rates_of,
)
from checker.report.model import (
    Audience,
    CellReport,
    EvidenceRef,
    Provenance,
    Report,
    SamplingReport,
    TargetRef,
    WaiverReport,
)
from checker.report.wording.measures import is_share, measure_of
from checker.report.wording.numbers import bounds, figure, setting
from checker.report.wording.reasons import reason_words
from checker.stats.estimate import ReportedEstimate
from checker.verdict.checks import AdmissibilityCheck

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
    "applied": "The test is shown to be within the ceiling.",
    "void": "The test is not shown to be within the ceiling, so it blocks.",
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
        command = shared_command(report.provenance.command)
        provenance = report.provenance.model_copy(update={"command": command})
        return report.model_copy(update={"audience": audience, "provenance": provenance})
    return _SharedReport(report).made()


class _SharedReport:
    """The making of a shared report out of one with all its numbers."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.min_cell = report.policy.min_cell
        self.rounding = Rounding(self.min_cell)
        self.suppression = Suppression(report)

    def made(self) -> Report:
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

    def _cell(self, cell: CellReport) -> CellReport:
        if is_of_canaries(cell):  # but what keeps it from a verdict may speak of patients
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
        if not self.suppression.covers(cell):
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

    def _estimate(self, cell: CellReport) -> ReportedEstimate | None:
        number, limit = cell.estimate, cell.limit.fail
        if number is None:
            return None
        if number.method not in EXACT:
            return self._on_grid(cell, number)
        wide = self.rounding.wide(number, rates_of(cell))
        high = number.high if wide.high is None else wide.high
        low = wide.low
        # on which side of the limit the interval lies is said anyway
        if cell.bound_side == "within" and limit is not None and high is not None:
            low, high = min(low, limit), min(high, limit)
        elif cell.bound_side == "beyond" and limit is not None and high is not None:
            low, high = max(low, limit), max(high, limit)
        value = min(max(wide.value, low), wide.value if high is None else high)
        return replace(wide, value=value, low=low, high=high)

    def _beside(self, cell: CellReport, number: ReportedEstimate | None) -> ReportedEstimate | None:
        """Return the members' or the nonmembers' part, or None where few of them were hit."""
        if number is None:
            return None
        if number == cell.estimate:
            return self._estimate(cell)
        if family_of(cell).is_share and self.rounding.rate(number).few:
            return None
        if number.method not in EXACT:
            return self._on_grid(cell, number)
        return self.rounding.wide(number, [number])

    def _reported(self, cell: CellReport) -> Iterator[tuple[str, ReportedEstimate]]:
        """Yield what stands beside the estimate, but for what counts patients of its own."""
        for name, number in cell.reported.items():
            of_patients = measure_of(name).of_patients
            if (number.n or 0) >= self.min_cell and not (is_share(name) and of_patients):
                shown = outward(number, step=_STEP if of_patients else _CURVE_STEP)
                yield name, self._with_rounded_n(shown)

    def _on_grid(self, cell: CellReport, number: ReportedEstimate) -> ReportedEstimate:
        """Round outward to a step that no few patients decide: shares need a wide one."""
        step = _STEP
        if family_of(cell).is_share and cell.sample is not None:
            n = cell.sample.rollouts or min(cell.sample.members, cell.sample.nonmembers)
            step *= max(1, math.ceil(self.rounding.unit / max(1, n) / _STEP))
        return self._with_rounded_n(outward(number, step=step))

    def _with_rounded_n(self, number: ReportedEstimate) -> ReportedEstimate:
        n = None if number.n is None else self.rounding.count(number.n)
        return replace(number, n=n)

    def _sample(self, sample: Sample | None) -> Sample | None:
        if sample is None:
            return None
        return Sample(
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
        members, nonmembers = (
            None
            if self.suppression.covers_cohort_size or count is None
            else self.rounding.count(count)
            for count in (target.members, target.nonmembers)
        )
        return target.model_copy(
            update={
                "members": members,
                "nonmembers": nonmembers,
                "unknown_token_share": round(target.unknown_token_share, 3),
            }
        )


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
    """Say whether a check holds, and withhold of how many patients that is known."""
    number = check.estimate
    if number is not None:
        number = replace(outward(number, step=_STEP), n=None)
    return replace(check, explanation=_HOLDS[check.holds], estimate=number)


def _provenance(provenance: Provenance) -> Provenance:
    return provenance.model_copy(
        update={
            "command": shared_command(provenance.command),
            "evidence": [_evidence(entry) for entry in provenance.evidence],
        }
    )


_TITLES = {
    "scores": "token log-probabilities of records",
    "extraction": "how likely pieces of records are to be repeated word for word",
}
"""Of kinds of jobs whose own titles number the records."""


def _evidence(entry: EvidenceRef) -> EvidenceRef:
    title = _TITLES.get(entry.kind, entry.title)
    return entry.model_copy(update={"title": title, "rows": None})
