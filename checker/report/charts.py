"""Leakage against what the attacker knows, drawn as SVG for the HTML report.

The only module that imports matplotlib. A drawing is made to live inside the page: its colours are
classes that the page's style sheet sets for light and for dark (the attributes beside them are for
readers without it), its text is text, its ids are its own, and it needs no inline style, which the
page's content security policy forbids. Equal reports give equal bytes.
"""

from __future__ import annotations

import io
import textwrap
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from checker.report.model import AttackerText, CellReport, Number, Report
from checker.report.text import bounds, figure, is_share, part_title, plain, shorten

__all__ = ["Chart", "leakage_charts"]

# colours by role: what a reader without the page's style sheet sees, and the class in the page
_ROLES = {
    "#1d2429": "c-ink",
    "#5a636b": "c-muted",
    "#d9d4c8": "c-rule",
    "#b3431e": "c-members",
    "#37708f": "c-nonmembers",
}
INK, MUTED, RULE, MEMBERS, NONMEMBERS = _ROLES
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
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
        title: what is drawn.
        description: everything the drawing shows, in words.
        svg: an `<svg>` element to be put into a page.
    """

    key: str
    title: str
    description: str
    svg: str


def leakage_charts(report: Report) -> list[Chart]:
    """Draw one chart per control and class: members and nonmembers against attacker knowledge.

    Controls whose metric has no parts (membership), or that measured nothing, have no chart.
    """
    charts: list[Chart] = []
    classes = {item.id: item.title for item in report.policy.attribute_classes}
    drawn = [
        (control.attribute_class, control.metric, points)
        for control in report.controls
        if control.attribute_class is not None and (points := _points(report, control.id))
    ]
    top = _highest(points for _, metric, points in drawn if is_share(metric))
    for name, metric, points in drawn:
        title = plain(classes.get(name, name))
        charts.append(_draw(f"chart-{len(charts) + 1}", title, metric, points, top=top))
    return charts


def _highest(groups: Iterable[list[tuple[AttackerText, CellReport]]]) -> float:
    """Return the height that all charts of shares have, so that they can be compared by eye."""
    bounds_drawn = [
        number.high
        for points in groups
        for _, cell in points
        for number in (cell.members, cell.nonmembers)
        if number is not None and number.high is not None
    ]
    return 1.04 * max([0.1, *bounds_drawn])


def _points(report: Report, control: str) -> list[tuple[AttackerText, CellReport]]:
    """Return a control's cells over all patients that have both parts, weakest attacker first."""
    return [
        (attacker, cell)
        for attacker in report.policy.attackers
        for cell in report.cells
        if (cell.control, cell.attacker, cell.subgroup) == (control, attacker.id, "all")
        and cell.members is not None
        and cell.nonmembers is not None
    ]


def _draw(
    key: str,
    title: str,
    metric: str,
    points: list[tuple[AttackerText, CellReport]],
    *,
    top: float,
) -> Chart:
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN))
        canvas.subplots_adjust(left=0.125, right=0.73, top=0.95, bottom=0.24)
        axes = canvas.add_subplot()
        inside = [cell.members for _, cell in points if cell.members is not None]
        outside = [cell.nonmembers for _, cell in points if cell.nonmembers is not None]
        decides = [cell.gating for _, cell in points]
        _series(axes, inside, decides, colour=MEMBERS, marker="o", dashes="-")
        _series(axes, outside, decides, colour=NONMEMBERS, marker="s", dashes=(0, (4, 2)))
        if is_share(metric):
            axes.set_ylim(0, top)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        _dress(axes, [attacker.title for attacker, _ in points])
        _name_series(axes, inside[-1].value, outside[-1].value)
        raw = io.BytesIO()
        with warnings.catch_warnings():
            # a title may hold letters the measuring font lacks; the reader's font will have them
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
            canvas.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    description = _describe(metric, points)
    return Chart(key, title, description, _for_page(raw.getvalue(), key, title, description))


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


def _dress(axes: Axes, attackers: list[str]) -> None:
    """Label the attackers, and leave of the frame only what helps to read."""
    axes.set_xlim(-0.3, len(attackers) - 0.7)
    axes.locator_params(axis="y", nbins=5)
    width = max(9, 36 // len(attackers))
    axes.set_xticks(range(len(attackers)), [""] * len(attackers))
    for place, attacker in enumerate(attackers):
        # line by line: matplotlib would place a block by the widths of a font the page does not use
        for line, text in enumerate(textwrap.wrap(shorten(attacker, 40), width)[:3]):
            axes.annotate(text, (place, 0), xycoords=("data", "axes fraction"),
                          xytext=(0, -16 - 12 * line), textcoords="offset points",
                          ha="center", color=INK)  # fmt: skip
    axes.tick_params(colors=INK, length=0, pad=6)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)


def _describe(metric: str, points: list[tuple[AttackerText, CellReport]]) -> str:
    parts = [
        f"Of members and nonmembers, the {part_title(metric)}, with one-sided bounds, by what the"
        " attacker knows."
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


# --- from a drawing to a part of the page --------------------------------------------------------


def _for_page(raw: bytes, key: str, title: str, description: str) -> str:
    """Turn matplotlib's file into an element that obeys the page (see the module's note)."""
    root = ET.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    used = _references(root)
    for element in root.iter():
        _unstyle(element)
        _own_ids(element, key, used)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("class", "drawing")
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{key}-{tag}"})
        element.text = text
        root.insert(place, element)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode")


def _references(root: ET.Element) -> set[str]:
    """Return the ids that something in the drawing points to."""
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            if value.startswith("url(#"):
                used.add(value[5:-1])
            elif value.startswith("#"):
                used.add(value[1:])
    return used


def _unstyle(element: ET.Element) -> None:
    """Turn an inline style into attributes, and the colours of roles into classes."""
    rules = element.attrib.pop("style", "").split(";")
    style = {
        name.strip(): value.strip()
        for name, colon, value in (rule.partition(":") for rule in rules)
        if colon
    }
    style.pop("font-family", None)  # the page's font
    classes = []
    for name, value in style.items():
        element.set(name, value)
        if name in {"fill", "stroke"} and value in _ROLES:
            classes.append(f"{name}-{_ROLES[value]}")
    if classes:
        element.set("class", " ".join(classes))


def _own_ids(element: ET.Element, key: str, used: set[str]) -> None:
    """Prefix the ids that are pointed to, and drop the others: a page must not repeat an id."""
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{key}-{name}")
    for attribute, value in element.attrib.items():
        if value.startswith("url(#"):
            element.set(attribute, f"url(#{key}-{value[5:]}")
        elif attribute == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.set(attribute, f"#{key}-{value[1:]}")
