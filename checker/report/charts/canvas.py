"""Draw with matplotlib: the only module that imports it.

A chart is a function that paints on fresh axes; what comes back is an element for the page, made so
by `checker.report.charts.svg`. Equal charts give equal bytes: the salt of ids is fixed, no date is
written, and text stays text, so that no font decides where a line ends.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes as Axes  # for the charts, which import no matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from checker.report.charts.svg import for_page
from checker.report.palette import INK, MUTED, RULE
from checker.report.wording.plain import shorten
from checker.stats.estimate import ReportedEstimate

WIDTH_IN, HEIGHT_IN = 3.9, 3.0
_POINTS_PER_INCH = 72
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "phigate",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.0,
    "font.family": ["DejaVu Sans"],
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and what it says in words.

    Args:
        key: unique among the charts of a report; prefixes the drawing's ids.
        title: what it is about.
        caption: what is drawn, in a few words.
        description: everything the drawing shows, in words.
        svg: an `<svg>` element to be put into a page.
    """

    key: str
    title: str
    caption: str
    description: str
    svg: str


@dataclass(frozen=True, slots=True)
class Margins:
    """Room around the axes, in inches: for what is written beside and below them."""

    left: float = 0.49
    right: float = 1.05
    top: float = 0.15
    bottom: float = 0.8


def draw(
    paint: Callable[[Axes], None],
    key: str,
    title: str,
    description: str,
    *,
    size: tuple[float, float] = (WIDTH_IN, HEIGHT_IN),
    margins: Margins = Margins(),
) -> str:
    """Paint on fresh axes and return the element for the page.

    Args:
        paint: draws on the axes it is given.
        key: prefixes the drawing's ids.
        title: what is drawn.
        description: everything the drawing shows, in words.
        size: width and height in inches.
        margins: what of it the axes leave free.
    """
    width, height = size
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size)
        figure.subplots_adjust(
            left=margins.left / width,
            right=1 - margins.right / width,
            top=1 - margins.top / height,
            bottom=margins.bottom / height,
        )
        paint(figure.add_subplot())
        raw = io.BytesIO()
        with warnings.catch_warnings():
            # a title may hold letters the measuring font lacks; the reader's font will have them
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
            figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    return for_page(raw.getvalue(), key, title, description)


def dress(axes: Axes, *, grid: str = "y", ticks: int | None = 5) -> None:
    """Leave of the frame only what helps to read."""
    if ticks is not None:
        axes.locator_params(axis="y", nbins=ticks)
    axes.tick_params(which="both", colors=INK, length=0, pad=6)
    axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)


def read_as_shares(axes: Axes, low: float, high: float) -> None:
    """Let the upright axis run over shares, read as percentages."""
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def write(
    axes: Axes,
    lines: str | Sequence[str],
    place: tuple[float, float],
    *,
    within: tuple[str, str] = ("data", "data"),
    aside: tuple[float, float] = (0.0, 0.0),
    align: str = "left",
    colour: str = INK,
    size: float = 10.0,
    weight: str = "normal",
) -> None:
    """Write lines beside a place.

    Line by line: matplotlib would place a block by the widths of a font the page does not use.

    Args:
        axes: what to write on.
        lines: one, or several below each other.
        place: where, in the coordinates that `within` names for each axis.
        within: "data" or "axes fraction", for each axis.
        aside: of the first line's place, in points.
        align: left, center or right of the place.
        colour: of the ink.
        size: in points.
        weight: normal or bold.
    """
    for line, words in enumerate([lines] if isinstance(lines, str) else lines):
        axes.annotate(
            words,
            place,
            xycoords=within,
            xytext=(aside[0], aside[1] - 1.2 * size * line),
            textcoords="offset points",
            color=colour,
            size=size,
            weight=weight,
            ha=align,
            va="center",
            annotation_clip=False,
        )


def wrapped(text: str, letters: int, *, most: int) -> list[str]:
    """Return text as at most so many lines of so many letters, with an ellipsis where it is cut."""
    lines = textwrap.wrap(shorten(text, 200), max(letters, 6))
    if len(lines) > most:
        lines = [*lines[: most - 1], textwrap.shorten(" ".join(lines[most - 1 :]), letters,
                                                      placeholder="…")]  # fmt: skip
    return lines


def name_columns(axes: Axes, names: Sequence[str], *, inches: float, most: int = 5) -> None:
    """Write names below the places 0, 1, ... of the level axis, wrapped to the room there is."""
    axes.set_xlim(-0.3, len(names) - 0.7)
    letters = max(9, int(inches * _POINTS_PER_INCH / 5.2 / len(names)))
    axes.set_xticks(range(len(names)), [""] * len(names))
    for place, name in enumerate(names):
        lines = wrapped(name, letters, most=most)
        write(axes, lines, (place, 0), within=("data", "axes fraction"), aside=(0, -12),
              align="center", size=9.0)  # fmt: skip


def top(number: ReportedEstimate) -> float:
    """Return where an interval ends: at the value where nothing bounds it from above."""
    return number.value if number.high is None else number.high
