"""What the HTML report draws: leakage against what the attacker knows, and the perturbation curve.

The only module that imports matplotlib; `checker.report.drawing` makes its files a part of the
page. Equal reports give equal bytes. Charts of one metric's unit share an axis only where they can
be compared by eye: shares with shares.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from checker.report.drawing import INK, MEMBERS, MUTED, NONMEMBERS, RULE, for_page
from checker.report.measures import age_offset, is_share, measure_of, probe_words
from checker.report.model import AttackerText, CellReport, ControlReport, Number, Report
from checker.report.numbers import bounds, figure, setting
from checker.report.plain import plain, shorten

__all__ = ["Chart", "leakage_charts", "perturbation_charts"]

_WIDTH_IN, _HEIGHT_IN = 3.9, 2.9
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


def leakage_charts(report: Report) -> list[Chart]:
    """Draw one chart per control: members and nonmembers against attacker knowledge.

    Controls whose metric has no two parts (membership, canaries), or that measured nothing, have no
    chart.
    """
    drawn = [(control, found) for control in report.controls if (found := _points(report, control))]
    ends = _ends(found for control, found in drawn if is_share(control.metric))
    return [
        _leakage(f"chart-{place}", _title(report, control), control, found, ends=ends)
        for place, (control, found) in enumerate(drawn, start=1)
    ]


def perturbation_charts(report: Report) -> list[Chart]:
    """Draw how often the class is named when the age in the prompt is changed, a chart per cell."""
    charts: list[Chart] = []
    controls = {control.id: control for control in report.controls}
    attackers = {attacker.id: attacker.title for attacker in report.policy.attackers}
    for cell in report.cells:
        curve = sorted(
            (years, number)
            for name, number in cell.reported.items()
            if (years := age_offset(name)) is not None
        ) if cell.subgroup == "all" else []  # fmt: skip
        if len(curve) > 1:
            control = controls[cell.control]
            title = _title(report, control)
            caption = f"Against {shorten(attackers.get(cell.attacker, cell.attacker), 60)}"
            threshold = control.params.get("threshold")
            charts.append(
                _age_curve(f"curve-{len(charts) + 1}", title, caption, curve, threshold=threshold)
            )
    return charts


def _title(report: Report, control: ControlReport) -> str:
    classes = {item.id: item.title for item in report.policy.attribute_classes}
    if control.attribute_class is None:
        return probe_words(control.probe).title
    return plain(classes.get(control.attribute_class, control.attribute_class))


def _ends(groups: Iterable[list[tuple[AttackerText, CellReport]]]) -> tuple[float, float]:
    """Return the ends of the axis that all charts of shares have, to be compared by eye."""
    ends = [
        end
        for points in groups
        for _, cell in points
        for number in (cell.members, cell.nonmembers)
        if number is not None
        for end in (number.low, _top(number))
    ]
    low, high = min([0.0, *ends]), max([0.1, *ends])
    return (1.04 * low, 1.04 * high)


def _points(report: Report, control: ControlReport) -> list[tuple[AttackerText, CellReport]]:
    """Return a control's cells over all patients that have both parts, weakest attacker first."""
    return [
        (attacker, cell)
        for attacker in report.policy.attackers
        for cell in report.cells
        if (cell.control, cell.attacker, cell.subgroup) == (control.id, attacker.id, "all")
        and cell.members is not None
        and cell.nonmembers is not None
    ]


def _leakage(
    key: str,
    title: str,
    control: ControlReport,
    points: list[tuple[AttackerText, CellReport]],
    *,
    ends: tuple[float, float],
) -> Chart:
    metric, measure = control.metric, measure_of(control.metric)
    inside = [cell.members for _, cell in points if cell.members is not None]
    outside = [cell.nonmembers for _, cell in points if cell.nonmembers is not None]
    decides = [cell.gating for _, cell in points]

    def draw(axes: Axes) -> None:
        _series(axes, inside, decides, colour=MEMBERS, marker="o", dashes="-")
        _series(axes, outside, decides, colour=NONMEMBERS, marker="s", dashes=(0, (4, 2)))
        if is_share(metric):
            axes.set_ylim(*ends)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        _dress(axes)
        _name_attackers(axes, [attacker.title for attacker, _ in points])
        _name_series(axes, inside[-1].value, outside[-1].value)

    what = measure.part or measure.title
    if control.contrast == "reference":
        what += ", this model minus the reference"
    description = _describe(metric, what, points)
    svg = _drawn(draw, key, title, description, right=0.73)
    return Chart(key, title, what[:1].upper() + what[1:], description, svg)


def _age_curve(
    key: str,
    title: str,
    caption: str,
    curve: list[tuple[int, Number]],
    *,
    threshold: float | None,
) -> Chart:
    """Draw the mean share of naming continuations over the years by which the age was changed."""
    metric = "recall"  # any share of patients: only its unit is asked for

    def draw(axes: Axes) -> None:
        years, numbers = [place for place, _ in curve], [number for _, number in curve]
        lows, highs = [n.low for n in numbers], [_top(n) for n in numbers]
        if threshold is not None:
            axes.axhline(threshold, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        axes.fill_between(years, lows, highs, color=MEMBERS, alpha=0.16, linewidth=0)
        axes.vlines(years, lows, highs, color=MEMBERS, linewidth=1.2)
        axes.plot(years, [n.value for n in numbers], color=MEMBERS, linewidth=1.8, marker="o")
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        _dress(axes)
        # one and two years lie too close for a label each
        shown = [place for place in years if abs(place) not in {1}]
        axes.set_xticks(
            shown, [f"{place:+d}".replace("-", "−") if place else "own" for place in shown]
        )
        axes.set_xlabel("years added to the age", color=INK)

    parts = [
        "Mean share of the continuations that name the class, over the disclosed members, by the"
        " years added to the age in the prompt, with one-sided bounds."
    ]
    parts += [
        f"{_years(place)}: {figure(number.value, metric)} ({bounds(number, metric)})."
        for place, number in curve
    ]
    if threshold is not None:
        parts.append(f"Disclosed is who is beyond {setting(threshold, metric)}.")
    description = " ".join(parts)
    svg = _drawn(draw, key, f"{title}. {caption}", description, right=0.95)
    return Chart(key, title, caption, description, svg)


def _years(offset: int) -> str:
    if offset == 0:
        return "Own age, drawn afresh"
    return (
        f"{abs(offset)} year{'s' if abs(offset) > 1 else ''} {'older' if offset > 0 else 'younger'}"
    )


def _drawn(
    draw: Callable[[Axes], None], key: str, title: str, description: str, *, right: float
) -> str:
    """Draw on fresh axes and return the element for the page."""
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN))
        canvas.subplots_adjust(left=0.125, right=right, top=0.95, bottom=0.24)
        draw(canvas.add_subplot())
        raw = io.BytesIO()
        with warnings.catch_warnings():
            # a title may hold letters the measuring font lacks; the reader's font will have them
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
            canvas.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    return for_page(raw.getvalue(), key, title, description)


def _series(
    axes: Axes,
    numbers: list[Number],
    decides: list[bool],
    *,
    colour: str,
    marker: str,
    dashes: str | tuple[float, tuple[float, ...]],
) -> None:
    """Draw one group: a line with a band through what decides, hollow points for the rest."""
    deciding = [(place, n) for place, n in enumerate(numbers) if decides[place]]
    reported = [(place, n) for place, n in enumerate(numbers) if not decides[place]]
    if len(deciding) > 1:
        lows, highs = [n.low for _, n in deciding], [_top(n) for _, n in deciding]
        places = [place for place, _ in deciding]
        axes.fill_between(places, lows, highs, color=colour, alpha=0.16, linewidth=0)
    for points, filled in ((deciding, True), (reported, False)):
        places, values = [place for place, _ in points], [n.value for _, n in points]
        lows, highs = [n.low for _, n in points], [_top(n) for _, n in points]
        # the two groups' bars stand side by side, or one would hide the other
        aside = [place + (-0.025 if marker == "o" else 0.025) for place in places]
        axes.vlines(aside, lows, highs, color=colour, linewidth=1.2)
        axes.plot(aside, values, color=colour, linestyle=dashes if filled else "none",
                  linewidth=1.8, marker=marker, markersize=6.0,
                  markerfacecolor=colour if filled else "none")  # fmt: skip


def _top(number: Number) -> float:
    """Return where an interval ends: at the value where nothing bounds it from above."""
    return number.value if number.high is None else number.high


def _name_series(axes: Axes, members: float, nonmembers: float) -> None:
    """Write each group's name beside its last point, apart where the points are close."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    middle = (members + nonmembers) / 2
    if abs(members - nonmembers) < gap:
        sign = 1 if members >= nonmembers else -1
        members, nonmembers = middle + sign * gap / 2, middle - sign * gap / 2
    for name, height, colour in (
        ("members", members, MEMBERS),
        ("nonmembers", nonmembers, NONMEMBERS),
    ):
        axes.annotate(
            name,
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )


def _name_attackers(axes: Axes, attackers: list[str]) -> None:
    axes.set_xlim(-0.3, len(attackers) - 0.7)
    width = max(9, 36 // len(attackers))
    axes.set_xticks(range(len(attackers)), [""] * len(attackers))
    for place, attacker in enumerate(attackers):
        # line by line: matplotlib would place a block by the widths of a font the page does not use
        for line, text in enumerate(textwrap.wrap(shorten(attacker, 40), width)[:3]):
            axes.annotate(text, (place, 0), xycoords=("data", "axes fraction"),
                          xytext=(0, -16 - 12 * line), textcoords="offset points",
                          ha="center", color=INK)  # fmt: skip


def _dress(axes: Axes) -> None:
    """Leave of the frame only what helps to read."""
    axes.locator_params(axis="y", nbins=5)
    axes.tick_params(colors=INK, length=0, pad=6)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)


def _describe(metric: str, what: str, points: list[tuple[AttackerText, CellReport]]) -> str:
    parts = [
        f"Of members and nonmembers, the {what}, with one-sided bounds, by what the attacker knows."
    ]
    for attacker, cell in points:
        assert cell.members is not None  # _points left the others out
        assert cell.nonmembers is not None
        parts.append(
            f"{shorten(attacker.title)}: members {figure(cell.members.value, metric)}"
            f" ({bounds(cell.members, metric)}), nonmembers {figure(cell.nonmembers.value, metric)}"
            f" ({bounds(cell.nonmembers, metric)})."
        )
    return " ".join(parts)
