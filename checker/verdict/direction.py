"""Which way an effect points: what looks worse than chance is no pass (METHODS §3, *Direction*).

A leak makes members stand out, and nothing that a sound model does makes nonmembers stand out.
Where an attack finds nonmembers rather than members beyond chance, the splits were exchanged, or
the reference model was trained on the members: an over-trained model whose splits were exchanged
had a membership AUROC of "at most 0.010", far within every limit.

What is wrong then is wrong for others too. Exchanged splits are exchanged in every cell that looks
at patients of either, and a reference that knows the members knows them in every cell that asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from checker import stats
from checker.attacks.api import load_attack
from checker.attacks.families import Family
from checker.errors import InsufficientData
from checker.planning.cells import metric_of
from checker.planning.model import AuditPlan, Cell
from checker.stats import false_alarms
from checker.verdict.checks import AdmissibilityCheck
from checker.verdict.finding import Finding

REASON = "worse-than-chance"

_LOOKED_AT = 0.99
"""The correction asks for more than this, so where this bound says nothing none will."""


def chance_p_value(cell: Cell, observations: Any, *, error_share: float) -> float | None:
    """Return the least α at which a cell's upper bound lies below what chance gives.

    Args:
        cell: of the plan.
        observations: of the cell, from its attack.
        error_share: the part of an error that the bounds may spend (METHODS §6, *Sequential
            stopping*).

    Returns:
        p in (0, 1]; None for metrics without a direction, and where too little was observed.
    """
    metric = metric_of(cell)
    if metric.family.direction is None or not metric.can_pass:
        return None
    attack = load_attack(cell.probe)
    params = attack.params.model_validate(cell.params)
    try:
        members, nonmembers = (
            attack.measuring.group(metric, observations, member=member, params=params)
            for member in (True, False)
        )
        return p_below_chance(metric.family, members, nonmembers, error_share=error_share)
    except InsufficientData:
        return None


def p_below_chance(
    family: Family[Any], members: Any, nonmembers: Any, *, error_share: float = 1.0
) -> float | None:
    """Return the least α at which a family's upper bound lies below what chance gives.

    Args:
        family: of a metric.
        members: what was observed of them, as the family takes it.
        nonmembers: the same of nonmembers.
        error_share: the part of an error that the bounds may spend.

    Returns:
        p in (0, 1], 1 where a bound at 99 % is not below chance; None for families without a
        direction.

    Raises:
        InsufficientData: too little to estimate from.
    """
    pointing = family.direction
    if pointing is None:
        return None

    def below(confidence: float) -> float:
        """By how much the upper bound lies below chance; falls as the confidence rises."""
        spent = 1 - error_share * (1 - confidence)
        high = pointing.measure(members, nonmembers, confidence=spent).estimate.high
        return float(pointing.null_value - high)

    return stats.p_value(below, limit=0.0) if below(_LOOKED_AT) > 0 else 1.0


@dataclass(frozen=True)
class Direction:
    """Cells that look worse than chance, and which others that speaks against.

    Args:
        tested: how many cells have a direction.
        own: by cell, what it says of itself.
        splits: a cell that shows that the splits cannot be what the target says.
        reference: a cell that shows the same of the reference model.
    """

    tested: int = 0
    own: Mapping[str, str] = field(default_factory=dict)
    splits: str | None = None
    reference: str | None = None
    asks_reference: frozenset[str] = frozenset()

    def objection(self, cell: Cell) -> str | None:
        """Say why a cell is no pass, or None where nothing speaks against it."""
        if cell.id in self.own:
            return self.own[cell.id]
        if self.splits is not None and _looks_at_patients(cell):
            return (
                f"In {self.splits} the attack finds nonmembers rather than members, so the members"
                " of this audit are not the patients that the model was trained on."
            )
        if self.reference is not None and cell.id in self.asks_reference:
            return (
                f"In {self.reference} the reference model knows more of the members than the model"
                " under audit, so it has seen them and cannot be what is compared with."
            )
        return None

    def beyond_ceiling(self, cell: Cell) -> str | None:
        """Say why no waiver's ceiling bounds a cell, or None where nothing speaks against it."""
        objection = self.objection(cell)
        if objection is None:
            return None
        return f"The cell is not shown to be within the ceiling, so it blocks: {objection}"

    def apply(self, finding: Finding) -> Finding:
        """Return a finding that is no pass where it looks worse than chance, or rests on it."""
        if finding.verdict != "pass":
            return finding
        objection = self.objection(finding.cell)
        if objection is None:
            return finding
        return replace(
            finding, verdict="inconclusive", reason=REASON, explanation=objection, warned=False
        )

    def checks(self) -> list[AdmissibilityCheck]:
        """Return the check as a report shows it; none where no cell has a direction."""
        if not self.tested:
            return []
        title = "No attack finds nonmembers rather than members"
        if self.own:
            many = f"{len(self.own)} of {self.tested} cells look worse than chance:"
            text = f"{many} {', '.join(self.own)}."
        else:
            text = f"None of {self.tested} cells looks worse than chance."
        return [AdmissibilityCheck(REASON, title, not self.own, text)]


def direction_of(plan: AuditPlan, findings: Sequence[Finding]) -> Direction:
    """Correct all cells' directions for their number (Holm), and say what follows.

    Args:
        plan: whose cells were judged.
        findings: with `chance_p_value` of each cell that has a direction.
    """
    runs_on = {job.digest: job.runs_on for job in plan.jobs}
    asks = frozenset(
        cell.id for cell in plan.cells if any(runs_on.get(job) == "reference" for job in cell.jobs)
    )
    return corrected(findings, asks_reference=asks)


def corrected(findings: Sequence[Finding], *, asks_reference: frozenset[str]) -> Direction:
    """Correct directions for their number (Holm), and say what follows for other cells.

    Args:
        findings: with `chance_p_value` of each cell that has a direction.
        asks_reference: ids of cells that are judged from what a reference model says.
    """
    asks = asks_reference
    pointed = [(one, p) for one in findings if (p := one.chance_p_value) is not None]
    wrong = stats.holm([p for _, p in pointed], alpha=false_alarms.DIRECTION)
    worse = [finding for (finding, _), is_wrong in zip(pointed, wrong, strict=True) if is_wrong]
    between = [one.cell for one in worse if _compares_splits(one.cell)]
    return Direction(
        tested=len(pointed),
        own={one.cell.id: _sentence(one, tested=len(pointed)) for one in worse},
        splits=next((cell.id for cell in between if cell.id not in asks), None),
        reference=next((cell.id for cell in between if cell.id in asks), None),
        asks_reference=asks,
    )


def _compares_splits(cell: Cell) -> bool:
    family = metric_of(cell).family.direction
    return family is not None and (family.is_excess or family.separates_splits)


def _looks_at_patients(cell: Cell) -> bool:
    """Whether it matters who the members are: not for canaries, which are nobody."""
    family = metric_of(cell).family
    return load_attack(cell.probe).measures_patients or family.is_excess


def _sentence(finding: Finding, *, tested: int) -> str:
    measurement = finding.measurement
    assert measurement is not None  # what has a direction was measured
    estimate = measurement.estimate
    shown = f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
    after = f"also after correction for {tested} cells"
    if not _compares_splits(finding.cell):
        return f"{shown}: the ranking is worse than chance, {after}."
    return f"{shown}: the attack finds nonmembers rather than members, {after}."
