"""What a report shows its audience: the one place where numbers are withheld, before every format.

A report is itself a disclosure. "Three of 95 members with HIV were disclosed" speaks of three
people, and so does anything it can be worked out from: a rate with its n, an exact bound (at a
known n a Clopper-Pearson bound gives the count away), a complement, a difference of two reports.
Verdicts are reached before, from everything, and stand in every report.

A suppressed cell (`disclosure_control.suppression`) says its verdict, its limit and what follows
from these two: at most the limit, or more than it, and how many times where that speaks of no few.
Nothing else may stand there that depends on a count: on which side of the limit an undecided
interval lies, whether there were enough patients to pass at all, whether it was the patients or
their outcomes that left it undecided, which of its numbers there were. Two of those said, a limit's
neighbour passed, and the count behind both is known.

All other counts are rounded (`disclosure_control.rounding`), rates and bounds are those of the
rounded counts, and what is no share of patients (an AUROC, a distance) is rounded outward. So the
difference of two shared numbers, of one report or of two, is never exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from checker.attacks.families import Sample
from checker.planning.remedies import Remedy
from checker.report.claims import with_claims
from checker.report.disclosure_control.command import shared_command
from checker.report.disclosure_control.outcomes import (
    EXACT,
    OF_COUNTS,
    STEP,
    family_of,
    grid_step,
    rates_of,
)
from checker.report.disclosure_control.rounding import Rounding, outward
from checker.report.disclosure_control.suppression import Suppression, is_of_canaries
from checker.report.model import (
    Audience,
    BoundSide,
    CellReport,
    EvidenceRef,
    PolicyRef,
    Provenance,
    Report,
    SamplingReport,
    StudyReport,
    TargetRef,
    TokenShares,
    WaiverReport,
)
from checker.report.wording.decision import level
from checker.report.wording.measures import is_share, measure_of
from checker.report.wording.numbers import bounds, figure, level_text, setting
from checker.report.wording.reasons import UNDECIDED, reason_words
from checker.stats.estimate import ReportedEstimate
from checker.verdict.checks import AdmissibilityCheck

_CURVE_STEP = 0.05
_NEVER_SHOWN = ("placebo", "p_value", "roc", "standing_out", "power", "stopped_early")
_OF_A_CELL = ("estimate", "members", "nonmembers", "reported", *_NEVER_SHOWN, "sample")
"""Of what is withheld wherever it might be, so that the list does not tell what there was."""

_TELLING = OF_COUNTS | {"exceeds-uncorrected"}  # that there were hits at all

_HOLDS = {True: "This holds.", False: "This does not hold.", None: "This was not decided."}
_SIDES = {
    "within": "The upper bound is within the limit of {}.",
    "beyond": "The lower bound is above the limit of {}.",
    "straddles": "The bounds lie on both sides of the limit of {}.",
}
_MANY_TIMES = "It is shown to be at least {}, {} times the limit."
_ALL_MEASURED = (
    "Naming the tests that fail is another claim: a test is named a failure only if it is beyond"
    " its limit after Holm's correction over all tests that were measured, so that with {}"
    " confidence none is named wrongly."
)
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
        self._representative = _representatives(report.provenance.evidence)

    def made(self) -> Report:
        """Return what everybody may see."""
        report = self.report
        summary = report.summary
        return report.model_copy(
            update={
                "audience": "shared",
                "policy": _policy(report.policy),
                "cells": [self._cell(cell) for cell in report.cells],
                "ranked_by": None,
                "target": self._target(report.target),
                "study": _study(report.study),
                "summary": summary.model_copy(
                    update={
                        "sampling": _sampling(summary.sampling),
                        "multiplicity_statement": _ALL_MEASURED.format(level_text(level(report))),
                    }
                ),
                "waivers": [_waiver(waiver) for waiver in report.waivers],
                "admissibility": [self._check(check) for check in report.admissibility],
                "provenance": self._provenance(report.provenance),
            }
        )

    def _cell(self, cell: CellReport) -> CellReport:
        return with_claims(self._shown(cell))  # from what is shown, so that it adds nothing

    def _shown(self, cell: CellReport) -> CellReport:
        evidence = self._first(cell.evidence)
        if is_of_canaries(cell):  # but what keeps it from a verdict may speak of patients
            return cell.model_copy(
                update={"evidence": evidence, "explanation": self._explanation(cell)}
            )
        nothing = dict.fromkeys(_OF_A_CELL) | {"reported": {}, "remedy": _remedy(cell)}
        if self.suppression.covers(cell):
            shown = cell.model_copy(update={**nothing, **self._withheld(cell)})
        else:
            shown = cell.model_copy(
                update={
                    **nothing,
                    "estimate": self._estimate(cell),
                    "members": self._beside(cell, cell.members),
                    "nonmembers": self._beside(cell, cell.nonmembers),
                    "reported": dict(self._reported(cell)),
                    "sample": self._sample(cell.sample),
                }
            )
            withheld = [name for name in _OF_A_CELL if self._is_gone(cell, shown, name)]
            shown = shown.model_copy(update={"withheld": withheld})
        return shown.model_copy(
            update={"evidence": evidence, "explanation": self._explanation(shown)}
        )

    def _withheld(self, cell: CellReport) -> dict[str, Any]:
        """Return what is said of a cell without its numbers: what its verdict says, no more."""
        if cell.estimate is None and cell.reason not in OF_COUNTS:  # nothing was to be measured
            return {"withheld": ["power", "sample"]}
        sides: dict[str, BoundSide] = {"pass": "within", "fail": "beyond"}
        return {
            "reason": UNDECIDED if cell.reason in _TELLING else cell.reason,
            "bound_side": None if cell.limit.fail is None else sides.get(cell.verdict),
            "times_limit": self.suppression.times_limit(cell),
            "withheld": [name for name in _OF_A_CELL if self._could_have(cell, name)],
        }

    def _could_have(self, cell: CellReport, name: str) -> bool:
        """Whether cells with such a metric and verdict have a number, whatever their counts."""
        family = family_of(cell)
        if name == "p_value":
            return cell.verdict == "fail"
        if name in {"roc", "standing_out"}:
            return family.separates_splits
        if name in {"nonmembers", "placebo"}:
            return family.is_excess
        return name != "stopped_early"

    def _is_gone(self, cell: CellReport, shown: CellReport, name: str) -> bool:
        """Whether a number is withheld of a cell that shows others."""
        if cell.estimate is None:
            return name == "power"
        if name in _NEVER_SHOWN:
            return self._could_have(cell, name)
        return bool(getattr(cell, name)) and not getattr(shown, name)

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
            if measure_of(name).shown_rounded:
                # of a part of the patients it would tell of the others, who are not looked at here
                shown = self._of_its_own(number) if cell.subgroup == "all" else None
                if shown is not None:
                    yield name, shown
            elif (number.n or 0) >= self.min_cell and not (is_share(name) and of_patients):
                shown = outward(number, step=STEP if of_patients else _CURVE_STEP)
                yield name, self._with_rounded_n(shown)

    def _of_its_own(self, number: ReportedEstimate) -> ReportedEstimate | None:
        """Say a share of other patients than the estimate's, or None where few of them were hit.

        That nearly all were is one value, all included, as of every rate.
        """
        few = (number.n or 0) < self.min_cell or self.rounding.rate(number).few
        if few or number.method not in EXACT:
            return None
        return self.rounding.wide(number, [number])

    def _on_grid(self, cell: CellReport, number: ReportedEstimate) -> ReportedEstimate:
        """Round outward to a step that no few patients decide."""
        return self._with_rounded_n(outward(number, step=grid_step(cell, self.rounding)))

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

    def _explanation(self, cell: CellReport) -> str:
        """Say in words what the numbers said."""
        if cell.verdict == "error":
            return _CRASHED
        words = []
        if cell.estimate is not None:
            value = figure(cell.estimate.value, cell.metric)
            words.append(f"About {value} ({bounds(cell.estimate, cell.metric)}).")
        if cell.bound_side is not None and cell.limit.fail is not None:
            words.append(_SIDES[cell.bound_side].format(setting(cell.limit.fail, cell.metric)))
            if cell.times_limit is not None:
                least = setting(cell.times_limit * cell.limit.fail, cell.metric)
                words.append(_MANY_TIMES.format(least, cell.times_limit))
        elif cell.verdict == "pass":
            words.append("None was found, among at least as many as the limit asks for.")
        elif cell.verdict == "fail":
            words.append("Some were found, where none may be.")
        if cell.reason is not None:
            words.append(reason_words(cell.reason).meaning)
        if "estimate" in cell.withheld:
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
                "token_shares": _token_shares(target.token_shares),
            }
        )

    def _check(self, check: AdmissibilityCheck) -> AdmissibilityCheck:
        """Say whether a check holds, and withhold of how many patients that is known."""
        number = check.estimate
        if number is not None:
            number = replace(outward(number, step=STEP), n=None)
        evidence = tuple(self._first(check.evidence))
        return replace(check, explanation=_HOLDS[check.holds], estimate=number, evidence=evidence)

    def _provenance(self, provenance: Provenance) -> Provenance:
        listed = {self._representative.get(entry.job) for entry in provenance.evidence}
        return provenance.model_copy(
            update={
                "command": shared_command(provenance.command),
                "evidence": [_evidence(one) for one in provenance.evidence if one.job in listed],
            }
        )

    def _first(self, jobs: Iterable[str]) -> list[str]:
        """Return the first job of each kind and title: how many there are counts patients."""
        return list(dict.fromkeys(self._representative.get(job, job) for job in jobs))


def _representatives(entries: Sequence[EvidenceRef]) -> dict[str, str]:
    """Return by job the first that is of its kind and has its title."""
    first: dict[tuple[str, str], str] = {}
    return {one.job: first.setdefault((one.kind, _title(one)), one.job) for one in entries}


def _remedy(cell: CellReport) -> Remedy | None:
    """Keep of what would decide a cell what follows from documents, and says nothing of counts."""
    if cell.remedy is None or not cell.remedy.is_public:
        return None
    return cell.remedy.without_numbers()


def _policy(policy: PolicyRef) -> PolicyRef:
    """Withhold how many codes of a class there are, and whom of it nobody reaches.

    A patient may have the only code. That more than a few are out of reach is said.
    """
    gone = {"codes_in_data": None, "depth": None}
    classes = [one.model_copy(update=gone) for one in policy.attribute_classes]
    return policy.model_copy(update={"attribute_classes": classes})


def _token_shares(shares: TokenShares | None) -> TokenShares | None:
    """Keep what depends on windows alone: which tokens are told counts those who have a class."""
    if shares is None or not shares.by_windows:
        return None
    beyond = round(shares.beyond, 2)
    return TokenShares(continued=None, scored=None, beyond=beyond, by_windows=True)


_PATIENTS_COUNTED = ("patients", "tokens")
"""Of what is declared of training: a second number of patients would sharpen the rounded one."""


def _study(study: StudyReport) -> StudyReport:
    """Return what the owner declares, but for exact numbers of patients and of their tokens."""
    gone = [name for name in _PATIENTS_COUNTED if getattr(study.training, name) is not None]
    training = study.training.model_copy(update=dict.fromkeys(gone))
    return study.model_copy(
        update={"training": training, "withheld": [f"training.{name}" for name in gone]}
    )


def _sampling(sampling: SamplingReport) -> SamplingReport:
    return sampling.model_copy(
        update={
            "members": None,
            "nonmembers": None,
            "prompts": None,
            "prompts_left_out": None,
            "continuations": None,
            "continuations_left_out": None,
            "continuations_not_needed": None,
            "cells_stopped_early": None,
        }
    )


def _waiver(waiver: WaiverReport) -> WaiverReport:
    return waiver.model_copy(
        update={"explanation": _CEILINGS.get(waiver.status, waiver.explanation)}
    )


_RECORDS = re.compile(r"(?<=\brecords) \d+\N{EN DASH}\d+")
"""Which records a job is about, in its title."""


def _title(entry: EvidenceRef) -> str:
    return _RECORDS.sub("", entry.title)


def _evidence(entry: EvidenceRef) -> EvidenceRef:
    return entry.model_copy(update={"title": _title(entry), "rows": None})
