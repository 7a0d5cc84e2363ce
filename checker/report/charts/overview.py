"""The matrix at a glance: every verdict as a shape and a word, small enough for the first page."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from checker.report.charts.canvas import Axes, Chart, Margins, draw, wrapped, write
from checker.report.matrix import Matrix, build_matrix, worst_first
from checker.report.model import CellReport, Report
from checker.report.palette import MUTED, VerdictColours, colours_of
from checker.report.wording.cells import verdict_word
from checker.report.wording.plain import named, shorten
from checker.report.wording.terms import OUT_OF_SCOPE

_WIDTH_IN, _NAMES_IN, _ROW_IN = 7.2, 2.1, 0.36
_SHAPES = {"pass": "o", "fail": "8", "inconclusive": "s", "error": "^", "not_applicable": "o"}
"""The shapes that the page gives the verdicts: circle, octagon, square, triangle, ring."""


class _Square(NamedTuple):
    """What a square shows: a verdict, None out of scope, in words and colours."""

    word: str
    verdict: str | None
    gating: bool
    colours: VerdictColours


def overview_chart(report: Report) -> Chart:
    """Draw attribute class x attacker; of a square with several cells, the worst that decides."""
    matrix = build_matrix(report)
    return _drawn(
        tuple(attacker.title for attacker in matrix.columns),
        tuple((row.title, tuple(map(_square, row.squares))) for row in matrix.rows),
        _describe(matrix),
    )


@lru_cache(maxsize=100)  # for whoever renders a report again
def _drawn(
    titles: tuple[str, ...], rows: tuple[tuple[str, tuple[_Square, ...]], ...], description: str
) -> Chart:
    letters = int((_WIDTH_IN - _NAMES_IN) * 72 / 5.2 / len(titles))
    attackers = [wrapped(title, letters, most=6) for title in titles]
    head_in = 0.11 + 10.2 / 72 * max(len(lines) for lines in attackers)

    def paint(axes: Axes) -> None:
        axes.set_xlim(0, len(titles))
        axes.set_ylim(len(rows), 0)
        axes.set_axis_off()
        for place, lines in enumerate(attackers):
            write(axes, lines, (place + 0.05, 0), size=8.5, colour=MUTED,
                  aside=(0, 6 + 10.2 * (len(lines) - 1)))  # fmt: skip
        for place, (title, squares) in enumerate(rows):
            lines = wrapped(named(title, 56), 31, most=2)
            write(axes, lines, (0, place + 0.5), within=("axes fraction", "data"), size=9.0,
                  aside=(-72 * _NAMES_IN + 4, 5.4 * (len(lines) - 1)))  # fmt: skip
            for column, square in enumerate(squares):
                _paint(axes, column, place, square)

    svg = draw(paint, "glance", "Verdicts at a glance", description,
               size=(_WIDTH_IN, head_in + _ROW_IN * len(rows)),
               margins=Margins(left=_NAMES_IN, right=0.0, top=head_in, bottom=0.0))  # fmt: skip
    return Chart("glance", "Verdicts at a glance", "", description, svg)


def _square(cells: tuple[CellReport, ...]) -> _Square:
    cell = _worst(cells)
    if cell is None:
        return _Square(OUT_OF_SCOPE, None, False, colours_of(None))
    word = verdict_word(cell)
    if len(cells) > 1:
        word += f" (worst of {len(cells)})"
    return _Square(word, cell.verdict, cell.gating, colours_of(cell))


def _paint(axes: Axes, column: int, row: int, square: _Square) -> None:
    word, verdict, gating, colours = square
    if verdict is not None:
        axes.fill([column + 0.02, column + 0.97, column + 0.97, column + 0.02],
                  [row + 0.05, row + 0.05, row + 0.95, row + 0.95],
                  color=colours.tint, linewidth=0)  # fmt: skip
        is_ring = verdict == "not_applicable" or not gating
        axes.plot([column + 0.11], [row + 0.5], marker=_SHAPES[verdict], markersize=7.5,
                  color=colours.line, markerfacecolor="none" if is_ring else colours.line,
                  markeredgewidth=1.4)  # fmt: skip
    lines = wrapped(word, 14, most=2)
    write(axes, lines, (column + 0.2, row + 0.5), colour=colours.ink, size=9.0,
          weight="bold" if gating else "normal",
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
