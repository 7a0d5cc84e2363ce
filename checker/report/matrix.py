"""Attribute class x attacker knowledge: where each verdict stands, for every format that draws it.

Rows are the policy's attribute classes, then a row for each attack that is about none (whole
records, membership, canaries); columns are its attackers, in the policy's order. Only cells over
all patients have a square; a square without a cell is out of the policy's scope, and says so, for
silence reads as compliance.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.attacks.wording import Unit
from checker.report.model import AttackerText, CellReport, Report
from checker.report.wording.measures import probe_words, unit_of
from checker.stats.estimate import ReportedEstimate

SEVERITIES = ("critical", "high", "medium", "low")
WORST_FIRST = ("fail", "error", "inconclusive", "not_applicable", "pass")
_LEAST_SPANS: dict[Unit, tuple[float, float]] = {"auroc": (0.5, 0.6), "bits": (0.0, 2.0)}
"""What a unit's scale shows at the least; others begin at zero and reach a tenth."""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A class, or an attack about none, with one square per attacker; a square may hold several.

    Args:
        title: of the class, or what the attack asks.
        sensitivity: HL7 ActCode, where the policy gives one.
        benign: the class is audited for context only.
        is_class: the row is about an attribute class, not about whole records or membership.
        squares: cells per column; an empty square is out of scope.
    """

    title: str
    sensitivity: str | None
    benign: bool
    is_class: bool
    squares: tuple[tuple[CellReport, ...], ...]

    @property
    def holds_several(self) -> bool:
        """Whether some square holds more than one cell."""
        return any(len(square) > 1 for square in self.squares)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The picture of the report.

    Args:
        columns: attackers, weakest first as the policy lists them.
        rows: attribute classes, then attacks that are about none.
        elsewhere: cells on subgroups, which have no square.
    """

    columns: tuple[AttackerText, ...]
    rows: tuple[MatrixRow, ...]
    elsewhere: tuple[CellReport, ...]

    @property
    def out_of_scope(self) -> int:
        """Number of squares that no control asks for."""
        return sum(not square for row in self.rows for square in row.squares)


def build_matrix(report: Report) -> Matrix:
    """Arrange the report's cells; every cell lands in a square or in `elsewhere`."""
    columns = tuple(report.policy.attackers)
    shown = [cell for cell in report.cells if cell.subgroup == "all"]

    def squares(name: str | None, probe: str | None) -> tuple[tuple[CellReport, ...], ...]:
        return tuple(
            tuple(
                cell
                for cell in shown
                if (cell.attribute_class, cell.attacker) == (name, column.id)
                and probe in {None, cell.probe}
            )
            for column in columns
        )

    rows = [
        MatrixRow(item.title, item.sensitivity, item.benign, True, squares(item.id, None))
        for item in report.policy.attribute_classes
    ]
    for probe in dict.fromkeys(cell.probe for cell in shown if cell.attribute_class is None):
        rows.append(
            MatrixRow(probe_words(probe).row or probe, None, False, False, squares(None, probe))
        )
    placed = {cell.id for row in rows for square in row.squares for cell in square}
    return Matrix(columns, tuple(rows), tuple(c for c in report.cells if c.id not in placed))


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a number stands on the line that all squares of one unit share, in percent of it."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return the place of a number, kept on the line."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def span(self, number: ReportedEstimate) -> str:
        """Return the length of an interval."""
        top = self.high if number.high is None else number.high
        low, high = (min(max(v, self.low), self.high) for v in (number.low, top))
        return f"{100 * max(0.008, (high - low) / (self.high - self.low)):.2f}%"


def scales_of(matrix: Matrix) -> dict[Unit, Scale]:
    """Return one scale for all squares of a unit, so that squares can be compared by eye."""
    ends: dict[Unit, list[float]] = {}
    for cell in (cell for row in matrix.rows for square in row.squares for cell in square):
        unit = unit_of(cell.metric)
        found = ends.setdefault(unit, list(_LEAST_SPANS.get(unit, (0.0, 0.1))))
        found += [limit for limit in (cell.limit.fail, cell.limit.warn) if limit is not None]
        if cell.estimate is not None:
            bound = cell.estimate.high
            found += [cell.estimate.low, cell.estimate.value if bound is None else bound]
    return {
        unit: Scale(min(found), max(found) + 0.04 * (max(found) - min(found)))
        for unit, found in ends.items()
    }


def worst_first(cells: list[CellReport]) -> list[CellReport]:
    """Sort cells: fail before error before inconclusive before pass, deciding ones first in each.

    Within that by severity, then by how many times its limit the estimate is (bits and shares
    compare no other way), then as reported.
    """

    def key(cell: CellReport) -> tuple[int, bool, int, float]:
        severity = SEVERITIES.index(cell.severity) if cell.severity in SEVERITIES else 0
        beyond = 0.0
        if cell.estimate is not None:
            beyond = cell.estimate.value / (cell.limit.fail or 1.0)
        return WORST_FIRST.index(cell.verdict), not cell.gating, severity, -beyond

    return sorted(cells, key=key)
