"""The leakage ladder: what each attacker gets out, the more they know, against the limit.

One row a test, the least knowing attacker first, all on one scale of shares of patients. A row
shows the interval that its verdict rests on, and members and nonmembers where they are shown.
Where a report withholds numbers it shows what is said instead: from nothing up to the limit, from a
bound onwards, or open. A row without a bar, with the name of a class, runs across the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from checker.report.charts.canvas import Axes, Chart, Margins, draw, top, wrapped, write
from checker.report.index import ReportIndex
from checker.report.matrix import worst_first
from checker.report.model import CellReport, Report
from checker.report.palette import INK, MEMBERS, MUTED, NONMEMBERS, RULE, colours_of
from checker.report.wording.audience import side_words
from checker.report.wording.cells import title_words, verdict_word
from checker.report.wording.measures import is_share, measure_of
from checker.report.wording.numbers import bounds, figure, setting
from checker.report.wording.plain import named, shorten

CLASSES_SHOWN, ROWS_SHOWN = 3, 9
_WIDTH_IN, _SAID_IN, _HEAD_IN, _TITLE_IN = 7.2, 1.75, 0.3, 0.23


class _Room(NamedTuple):
    """What a row has for its name.

    Args:
        inches: wide.
        row: inches that a test is high.
        letters: of a line.
        lines: at most.
        size: of the letters, in points.
    """

    inches: float
    row: float
    letters: int
    lines: int
    size: float


_SHORT, _LONG = _Room(2.0, 0.25, 30, 1, 8.5), _Room(2.6, 0.3, 42, 2, 7.7)


@dataclass(frozen=True, slots=True)
class _Rung:
    """A row: a test, or the title of the class whose tests follow."""

    title: str
    cell: CellReport | None


def ladder_chart(report: Report) -> Chart | None:
    """Draw the classes that leak most, a row per test; None where no share was asked about one."""
    rungs = _rungs(report)
    if not rungs:
        return None
    cells = [rung.cell for rung in rungs if rung.cell is not None]
    low, high = _ends(cells)
    names = [rung.title for rung in rungs if rung.cell is not None]
    room = _SHORT if max(map(len, names)) <= _SHORT.letters else _LONG
    rows = [room.row if rung.cell is not None else _TITLE_IN for rung in rungs]
    # upright, the axis counts inches
    places = [sum(rows[:at]) + row / 2 for at, row in enumerate(rows)]

    def paint(axes: Axes) -> None:
        axes.set_xlim(low, high)
        axes.set_ylim(sum(rows), 0)
        axes.set_yticks([])
        axes.xaxis.tick_top()
        axes.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10])
        axes.tick_params(colors=MUTED, length=0, pad=2, labelsize=8.5)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.spines[:].set_visible(False)
        for place, rung in zip(places, rungs, strict=True):
            _name(axes, place, rung, room)
            if rung.cell is not None:
                # no line runs through the title of a class
                axes.vlines(axes.get_xticks(), place - room.row / 2, place + room.row / 2,
                            color=RULE, linewidth=0.8, zorder=0)  # fmt: skip
                _draw(axes, place, rung.cell, ends=(low, high))

    description = _describe(report, rungs)
    height = _HEAD_IN + sum(rows) + 0.02
    margins = Margins(left=room.inches, right=_SAID_IN, top=_HEAD_IN, bottom=0.02)
    svg = draw(
        paint, "ladder", "Leakage ladder", description, size=(_WIDTH_IN, height), margins=margins
    )
    return Chart("ladder", "Leakage ladder", "", description, svg)


def _rungs(report: Report) -> list[_Rung]:
    """Return the rows: classes with the worst test first, their attackers in the policy's order."""
    shown = [
        cell
        for cell in worst_first(report.cells)
        if cell.subgroup == "all"
        and cell.attribute_class is not None
        and is_share(cell.metric)
        and cell.limit.fail is not None
        and cell.verdict in {"pass", "fail", "inconclusive"}
    ]
    index, order = ReportIndex.of(report), [one.id for one in report.policy.attackers]
    rungs: list[_Rung] = []
    for name in list(dict.fromkeys(cell.control for cell in shown))[:CLASSES_SHOWN]:
        own = [cell for cell in shown if cell.control == name]
        worst = sorted(
            own[:ROWS_SHOWN],
            key=lambda cell: order.index(cell.attacker) if cell.attacker in order else len(order),
        )
        if rungs and len(rungs) + 1 + len(worst) > ROWS_SHOWN + CLASSES_SHOWN:
            break
        rungs.append(_Rung(_title(own, shown, index), None))
        rungs += [_Rung(named(index.attacker_of(cell), 78), cell) for cell in worst]
    return rungs


def _title(own: list[CellReport], shown: list[CellReport], index: ReportIndex) -> str:
    """Return what a block is about: its class, what was asked of it where that is not one thing.

    Args:
        own: the block's tests, the worst first.
        shown: those of all blocks.
        index: of the report.
    """
    one = own[0]
    title = named(index.class_of(one), 90)
    if any(c.attribute_class == one.attribute_class and c.control != one.control for c in shown):
        title = f"{named(title, 50)}: {shorten(title_words(one), 50)}"
    left_out = len(own) - ROWS_SHOWN
    return f"{title} (the worst {ROWS_SHOWN} of {len(own)})" if left_out > 0 else title


def _ends(cells: list[CellReport]) -> tuple[float, float]:
    ends = [0.0, 0.2]
    for cell in cells:
        limit = cell.limit.fail or 0.0
        ends += [limit * 1.6, 1.3 * limit * (cell.times_limit or 1)]
        if cell.estimate is not None:
            ends += [cell.estimate.low, top(cell.estimate)]
        ends += [n.value for n in (cell.members, cell.nonmembers) if n is not None]
    return max(-0.2, min(ends)), min(1.0, 1.04 * max(ends))


def _name(axes: Axes, place: float, rung: _Rung, room: _Room) -> None:
    is_class = rung.cell is None
    letters, most, size = (110, 1, 8.5) if is_class else (room.letters, room.lines, room.size)
    lines = wrapped(rung.title, letters, most=most)
    aside = -72 * room.inches + (4 if is_class else 12), 0.6 * size * (len(lines) - 1)
    write(axes, lines, (0, place), within=("axes fraction", "data"), aside=aside, size=size,
          weight="bold" if is_class else "normal",
          colour=INK if is_class or (rung.cell and rung.cell.gating) else MUTED)  # fmt: skip


def _draw(axes: Axes, place: float, cell: CellReport, *, ends: tuple[float, float]) -> None:
    limit, colours = cell.limit.fail or 0.0, colours_of(cell)
    bar: tuple[float, float] | None = None
    if cell.estimate is not None:
        bar = cell.estimate.low, top(cell.estimate)
    elif cell.verdict == "pass":
        bar = max(0.0, ends[0]), limit
    elif cell.verdict == "fail":
        bar = limit * (cell.times_limit or 1), ends[1]
    if bar is None:
        axes.hlines(place, max(0.0, ends[0]), ends[1], color=colours.line, linewidth=1.2,
                    linestyle=(0, (1, 3)))  # fmt: skip
    else:
        is_open = cell.estimate is None and cell.verdict == "fail"
        low, high = (min(max(end, ends[0]), ends[1]) for end in bar)
        axes.barh(place, high - low, left=low, height=0.13, color=colours.line, linewidth=0,
                  alpha=0.35 if cell.gating else 0.18)  # fmt: skip
        if is_open:
            axes.plot([ends[1]], [place], marker=">", markersize=6, color=colours.line,
                      clip_on=False)  # fmt: skip
    if cell.estimate is not None:
        axes.plot([cell.estimate.value], [place], marker="|", markersize=9, markeredgewidth=2.2,
                  color=colours.ink, clip_on=False)  # fmt: skip
    for number, colour, marker in (
        (cell.nonmembers, NONMEMBERS, "s"),
        (cell.members, MEMBERS, "o"),
    ):
        if number is not None:
            axes.plot([number.value], [place], marker=marker, markersize=5.5, color=colour,
                      clip_on=False)  # fmt: skip
    axes.vlines(limit, place - 0.1, place + 0.1, color=INK, linewidth=1.6)
    write(axes, wrapped(_said(cell), 30, most=1), (1, place), within=("axes fraction", "data"),
          aside=(10, 0), size=8.5, colour=colours.ink,
          weight="bold" if cell.gating else "normal")  # fmt: skip


def _said(cell: CellReport) -> str:
    """Return the verdict and how large it is, in the room that there is beside a row."""
    size = None
    if cell.estimate is not None:
        size = figure(cell.estimate.value, cell.metric)
    elif (side := side_words(cell)) is not None:
        size = side.partition(",")[0]
    word = verdict_word(cell)
    return word if size is None else f"{word}: {size}"


def _describe(report: Report, rungs: list[_Rung]) -> str:
    parts = ["What each attacker gets out, the least knowing first, against the limit."]
    for rung in rungs:
        cell = rung.cell
        if cell is None:
            parts.append(f"{rung.title}.")
            continue
        told = [_said(cell), measure_of(cell.metric).counts]
        if cell.estimate is not None:
            told.append(bounds(cell.estimate, cell.metric))
        for name, number in (("members", cell.members), ("nonmembers", cell.nonmembers)):
            if number is not None:
                told.append(f"{name} {figure(number.value, cell.metric)}")
        told.append(f"limit {setting(cell.limit.fail or 0.0, cell.metric)}")
        parts.append(f"{rung.title}: {', '.join(told)}.")
    return " ".join(parts)
