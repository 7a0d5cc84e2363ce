"""Lines on which numbers of one unit stand, so that the squares of the matrix compare by eye."""

from __future__ import annotations

from dataclasses import dataclass

from checker.report.matrix import Matrix
from checker.report.model import Number
from checker.report.wording.measures import Unit, unit_of

__all__ = ["Scale", "scales_of"]

_LEAST_SPANS: dict[Unit, tuple[float, float]] = {"auroc": (0.5, 0.6), "bits": (0.0, 2.0)}
"""What a unit's scale shows at the least; others begin at zero and reach a tenth."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a number stands on the line that all squares of one unit share, in percent of it."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return the place of a number, kept on the line."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def span(self, number: Number) -> str:
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
