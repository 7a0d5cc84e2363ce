"""What is said of a cell, and what follows from all that is said: findings and the judgement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from checker.attacks.families import Measurement
from checker.errors import ExitCode
from checker.planning.model import Cell
from checker.policy.prerequisites import PrerequisiteFinding
from checker.policy.waivers import WaiverUse
from checker.stats.estimate import Estimate
from checker.stats.exposed import StandingOut
from checker.verdict.checks import AdmissibilityCheck

Verdict = Literal["pass", "fail", "inconclusive", "not_applicable", "error"]

_UNSEEN_BY_OUTCOME = {"subgroup-too-small", "no-variation", "identifier-not-in-prompt"}
"""Why a cell has no number that might have been named a failure, had its patients come out
otherwise. Were it left out of the correction, that would hang on outcomes, and protect nobody."""

_WORST_FIRST: tuple[Verdict, ...] = ("fail", "error", "inconclusive", "pass", "not_applicable")


@dataclass(frozen=True, slots=True)
class Finding:
    """A cell's verdict, with what it rests on.

    Args:
        cell: what was demanded, of whom.
        verdict: pass, fail, inconclusive, not_applicable or error.
        reason: kebab case; None for a pass or a fail.
        explanation: one sentence with the numbers.
        warned: passed, but the upper bound is above the warning limit.
        measurement: the estimate and its parts, where there is one.
        placebo: the same between two halves of the nonmembers.
        p_value: the least α at which the lower bound is above the limit.
        chance_p_value: the least α at which the upper bound is below what chance gives, where the
            metric has a direction.
        waiver: the name of the waiver that keeps it from blocking; the verdict stays.
        roc: true-positive rate by false-positive rate, where the attack ranks patients.
        standing_out: how many members score above single nonmembers, where it does.
    """

    cell: Cell
    verdict: Verdict
    explanation: str
    reason: str | None = None
    warned: bool = False
    measurement: Measurement | None = None
    placebo: Estimate | None = None
    p_value: float | None = None
    chance_p_value: float | None = None
    waiver: str | None = None
    roc: tuple[tuple[float, Estimate], ...] = ()
    standing_out: tuple[StandingOut, ...] = ()

    @property
    def is_tested(self) -> bool:
        """Whether it is one of the cells that naming failures is corrected for (Holm)."""
        could_have_failed = self.measurement is not None or self.reason in _UNSEEN_BY_OUTCOME
        return could_have_failed and self.cell.limit.fail is not None

    @property
    def is_beyond_limit(self) -> bool:
        """Whether the lower bound is above the limit, whatever keeps it from being named a fail."""
        limit = self.cell.limit.fail
        return bool(
            self.measurement and limit is not None and self.measurement.estimate.low > limit
        )

    @property
    def blocks(self) -> bool:
        """Whether this finding alone keeps the model from being released."""
        if not self.cell.gating or self.waiver is not None:
            return False
        if self.verdict in {"fail", "error"} or self.is_beyond_limit:
            return True
        return self.verdict == "inconclusive" and self.cell.on_inconclusive == "block"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from all findings.

    Args:
        verdict: fail, error, inconclusive or pass, in this order of precedence.
        findings: one per cell, in the plan's order.
        checks: what every excess rests on.
        waivers: what became of each waiver, in the order given.
        confidence: the level that bounds were held at, each one-sided: the policy's, or the
            attempt's.
        prerequisites: what the target declares of what the policy presupposes.
    """

    verdict: Literal["pass", "fail", "inconclusive", "error"]
    findings: tuple[Finding, ...]
    checks: tuple[AdmissibilityCheck, ...]
    waivers: tuple[WaiverUse, ...]
    confidence: float
    prerequisites: tuple[PrerequisiteFinding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """The process's exit code; a waiver that does not hold is an invalid document."""
        errors = [f for f in self.findings if f.blocks and f.verdict == "error"]
        if self.verdict == "error" and not errors:
            return ExitCode.USAGE
        return {
            "pass": ExitCode.PASS,
            "fail": ExitCode.FAIL,
            "inconclusive": ExitCode.INCONCLUSIVE,
            "error": ExitCode.INCOMPLETE,
        }[self.verdict]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that counts when several are put together; none is not_applicable."""
    return min(verdicts, key=_WORST_FIRST.index, default="not_applicable")


def overall_verdict(
    findings: Sequence[Finding],
    *,
    waiver_errors: bool = False,
    prerequisites: Sequence[PrerequisiteFinding] = (),
) -> Literal["pass", "fail", "inconclusive", "error"]:
    """Return what follows from all findings: fail, error, inconclusive or pass, in this order.

    A policy of which no deciding cell passed, or was waived, is not passed.

    Args:
        findings: one per cell.
        waiver_errors: some waiver has to be withdrawn or mended first.
        prerequisites: each of which must hold too; nobody can waive one.
    """
    blocking = [finding for finding in findings if finding.blocks]
    verdicts: set[str] = {finding.verdict for finding in blocking}
    verdicts |= {one.verdict for one in prerequisites}
    if "fail" in verdicts:
        return "fail"
    if "error" in verdicts or waiver_errors:
        return "error"
    if blocking or "inconclusive" in verdicts:
        return "inconclusive"
    if not any(f.cell.gating and (f.verdict == "pass" or f.waiver) for f in findings):
        return "inconclusive"
    return "pass"
