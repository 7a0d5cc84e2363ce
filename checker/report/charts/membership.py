"""Membership inference as an ROC curve: whom the attack catches, at the price of how many others.

Both axes are logarithmic, because an accusation is worth something only where few are accused
wrongly (Carlini et al. 2022, arXiv 2112.03570): there guessing is a straight line, and the left
end of the curve, which an AUROC hardly counts, can be seen.
"""

from __future__ import annotations

from checker.report.charts.canvas import Axes, Chart, Margins, draw, dress, write
from checker.report.index import ReportIndex
from checker.report.model import CellReport, Report, RocPoint
from checker.report.palette import INK, MEMBERS, MUTED
from checker.report.wording.measures import probe_words
from checker.report.wording.numbers import figure, setting
from checker.report.wording.plain import shorten

_UNIT = "membership_tpr_at_fpr"
_LEAST = 1e-3


def roc_charts(report: Report) -> list[Chart]:
    """Draw the curve of every attack that ranks patients, once where several cells share it."""
    charts: list[Chart] = []
    seen: set[tuple[tuple[float, float], ...]] = set()
    index = ReportIndex.of(report)
    for cell in report.cells:
        points = cell.roc or []
        key = tuple((point.fpr, point.tpr) for point in points)
        if cell.subgroup != "all" or len(points) < 2 or key in seen:
            continue
        seen.add(key)
        caption = f"{_score(index, cell)}Against {shorten(index.attacker_of(cell), 60)}"
        charts.append(
            _roc(f"roc-{len(charts) + 1}", probe_words(cell.probe).title, caption, points)
        )
    return charts


def _score(index: ReportIndex, cell: CellReport) -> str:
    """Name the score, where the control says which."""
    control = index.controls.get(cell.control)
    score = control.params.get("score") if control is not None else None
    return f"Score: {score}. " if score else ""


def _roc(key: str, title: str, caption: str, points: list[RocPoint]) -> Chart:
    def paint(axes: Axes) -> None:
        left = min(_LEAST, *(point.fpr for point in points))
        places = [point.fpr for point in points]
        # a rate of zero has no place on such an axis: it stands at its lower end
        low = [max(point.low, left) for point in points]
        high = [max(point.high, left) for point in points]
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(left, 1)
        axes.set_ylim(left, 1)
        axes.plot([left, 1], [left, 1], color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        axes.vlines(places, low, high, color=MEMBERS, linewidth=1.2, alpha=0.6)
        axes.plot(places, [max(point.tpr, left) for point in points], color=MEMBERS,
                  linewidth=1.8, marker="o", markersize=5.0, clip_on=False)  # fmt: skip
        dress(axes, grid="both", ticks=None)
        axes.minorticks_off()
        ends = [10.0**power for power in range(-6, 1) if 10.0**power >= left]
        axes.set_xticks(ends, [setting(end, _UNIT) for end in ends])
        axes.set_yticks(ends, [setting(end, _UNIT) for end in ends])
        axes.set_xlabel("nonmembers accused wrongly", color=INK)
        write(axes, "members caught", (0, 1), within=("axes fraction", "axes fraction"),
              aside=(-34, 12))  # fmt: skip
        write(axes, "guessing", (1, 1), within=("axes fraction", "axes fraction"), aside=(6, 0),
              colour=MUTED)  # fmt: skip

    parts = [
        "Share of members caught, with one-sided bounds, by the share of nonmembers accused"
        " wrongly; guessing catches as many as it accuses."
    ]
    parts += [
        f"At {setting(point.fpr, _UNIT)}: {figure(point.tpr, _UNIT)}"
        f" ({figure(point.low, _UNIT, rounding='down')} to"
        f" {figure(point.high, _UNIT, rounding='up')})."
        for point in points
    ]
    description = " ".join(parts)
    svg = draw(paint, key, f"{title}. {caption}", description,
               margins=Margins(left=0.55, right=0.8, top=0.35, bottom=0.55))  # fmt: skip
    return Chart(key, title, caption, description, svg)
