"""The matrix at a glance: every verdict as a shape and a word, small enough for the first page."""

from __future__ import annotations

from checker.report.charts.canvas import Axes, Chart, Margins, draw, wrapped, write
from checker.report.matrix import Matrix, build_matrix, worst_first
from checker.report.model import CellReport, Report
from checker.report.palette import MUTED, colours_of
from checker.report.wording.cells import verdict_word
from checker.report.wording.plain import shorten
from checker.report.wording.terms import OUT_OF_SCOPE

_WIDTH_IN, _NAMES_IN, _ROW_IN = 7.2, 2.1, 0.36
_SHAPES = {"pass": "o", "fail": "8", "inconclusive": "s", "error": "^", "not_applicable": "o"}
"""The shapes that the page gives the verdicts: circle, octagon, square, triangle, ring."""


def overview_chart(report: Report) -> Chart:
    """Draw attribute class x attacker; of a square with several cells, the worst that decides."""
    matrix = build_matrix(report)
    rows, columns = len(matrix.rows), len(matrix.columns)
    letters = int((_WIDTH_IN - _NAMES_IN) * 72 / 5.2 / columns)
    attackers = [wrapped(attacker.title, letters, most=6) for attacker in matrix.columns]
    head_in = 0.11 + 10.2 / 72 * max(len(lines) for lines in attackers)

    def paint(axes: Axes) -> None:
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        axes.set_axis_off()
        for place, lines in enumerate(attackers):
            write(axes, lines, (place + 0.05, 0), size=8.5, colour=MUTED,
                  aside=(0, 6 + 10.2 * (len(lines) - 1)))  # fmt: skip
        for place, row in enumerate(matrix.rows):
            lines = wrapped(row.title, 31, most=2)
            write(axes, lines, (0, place + 0.5), within=("axes fraction", "data"), size=9.0,
                  aside=(-72 * _NAMES_IN + 4, 5.4 * (len(lines) - 1)))  # fmt: skip
            for column, square in enumerate(row.squares):
                _square(axes, column, place, square)

    description = _describe(matrix)
    svg = draw(paint, "glance", "Verdicts at a glance", description,
               size=(_WIDTH_IN, head_in + _ROW_IN * rows),
               margins=Margins(left=_NAMES_IN, right=0.0, top=head_in, bottom=0.0))  # fmt: skip
    return Chart("glance", "Verdicts at a glance", "", description, svg)


def _square(axes: Axes, column: int, row: int, cells: tuple[CellReport, ...]) -> None:
    cell = _worst(cells)
    colours = colours_of(cell)
    if cell is not None:
        axes.fill([column + 0.02, column + 0.97, column + 0.97, column + 0.02],
                  [row + 0.05, row + 0.05, row + 0.95, row + 0.95],
                  color=colours.tint, linewidth=0)  # fmt: skip
        is_ring = cell.verdict == "not_applicable" or not cell.gating
        axes.plot([column + 0.11], [row + 0.5], marker=_SHAPES[cell.verdict], markersize=7.5,
                  color=colours.line, markerfacecolor="none" if is_ring else colours.line,
                  markeredgewidth=1.4)  # fmt: skip
    word = OUT_OF_SCOPE if cell is None else verdict_word(cell)
    if len(cells) > 1:
        word += f" (worst of {len(cells)})"
    weight = "bold" if cell is not None and cell.gating else "normal"
    lines = wrapped(word, 14, most=2)
    write(axes, lines, (column + 0.2, row + 0.5), colour=colours.ink, size=9.0, weight=weight,
          aside=(0, 5.4 * (len(lines) - 1)))  # fmt: skip


def _worst(cells: tuple[CellReport, ...]) -> CellReport | None:
    """Return what a square comes to: the worst of what decides, or of all where nothing does."""
    deciding = [cell for cell in cells if cell.gating] or list(cells)
    return worst_first(deciding)[0] if deciding else None


def _describe(matrix: Matrix) -> str:
    parts = ["The verdicts by what leaks and by attacker."]
    for row in matrix.rows:
        told = []
        for attacker, cells in zip(matrix.columns, row.squares, strict=True):
            cell = _worst(cells)
            word = OUT_OF_SCOPE if cell is None else verdict_word(cell)
            note = "" if cell is None or cell.gating else ", reported only"
            told.append(f"{shorten(attacker.title, 60)}: {word}{note}")
        parts.append(f"{shorten(row.title)}: {'; '.join(told)}.")
    return " ".join(parts)
