"""Attribute class x attacker knowledge: where each verdict stands, for every format that draws it.

Rows are the policy's attribute classes, then membership; columns are its attackers, in the policy's
order. Only cells over all patients have a square; a square without a cell was not tested, and says
so, because silence reads as compliance.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.report.model import AttackerText, CellReport, Report

__all__ = ["SEVERITIES", "Matrix", "MatrixRow", "build_matrix", "worst_first"]

SEVERITIES = ("critical", "high", "medium", "low")
_VERDICTS = ("fail", "error", "inconclusive", "not_applicable", "pass")


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """An attribute class, or membership, with one square per attacker; a square may hold several.

    Args:
        title: of the class.
        sensitivity: HL7 ActCode, where the policy gives one.
        benign: the class is audited for context only.
        membership: the row is about who was in the training data, not about a class.
        squares: cells per column; an empty square was not tested.
    """

    title: str
    sensitivity: str | None
    benign: bool
    membership: bool
    squares: tuple[tuple[CellReport, ...], ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The picture of the report.

    Args:
        columns: attackers, weakest first as the policy lists them.
        rows: attribute classes, then membership.
        elsewhere: cells on subgroups, which have no square.
    """

    columns: tuple[AttackerText, ...]
    rows: tuple[MatrixRow, ...]
    elsewhere: tuple[CellReport, ...]

    @property
    def not_tested(self) -> int:
        """Number of squares that no control asks for."""
        return sum(not square for row in self.rows for square in row.squares)


def build_matrix(report: Report) -> Matrix:
    """Arrange the report's cells; every cell lands in a square or in `elsewhere`."""
    columns = tuple(report.policy.attackers)
    shown = [cell for cell in report.cells if cell.subgroup == "all"]

    def squares(name: str | None) -> tuple[tuple[CellReport, ...], ...]:
        return tuple(
            tuple(c for c in shown if c.attribute_class == name and c.attacker == column.id)
            for column in columns
        )

    rows = [
        MatrixRow(item.title, item.sensitivity, item.benign, False, squares(item.id))
        for item in report.policy.attribute_classes
    ]
    if any(cell.attribute_class is None for cell in shown):
        title = "Membership: was this patient in the training data?"
        rows.append(MatrixRow(title, None, False, True, squares(None)))
    placed = {cell.id for row in rows for square in row.squares for cell in square}
    return Matrix(columns, tuple(rows), tuple(c for c in report.cells if c.id not in placed))


def worst_first(cells: list[CellReport]) -> list[CellReport]:
    """Sort cells: fail before error before inconclusive before pass, deciding ones first in each.

    Within that by severity, then by how far the estimate lies above the limit, then as reported.
    """

    def key(cell: CellReport) -> tuple[int, bool, int, float]:
        severity = SEVERITIES.index(cell.severity) if cell.severity in SEVERITIES else 0
        beyond = 0.0
        if cell.estimate is not None:
            beyond = cell.estimate.value - (cell.limit.fail or 0.0)
        return _VERDICTS.index(cell.verdict), not cell.gating, severity, -beyond

    return sorted(cells, key=key)
