"""The age-perturbation curve: how often the class is named when the age in the prompt changes."""

from __future__ import annotations

from checker.attacks.identifier_perturbation.words import age_offset
from checker.report.charts.canvas import Axes, Chart, Margins, draw, dress, read_as_shares, top
from checker.report.index import ReportIndex
from checker.report.model import Report
from checker.report.palette import INK, MEMBERS, MUTED
from checker.report.wording.numbers import bounds, figure, setting
from checker.report.wording.plain import shorten
from checker.stats.estimate import ReportedEstimate

_UNIT = "recall"  # any share of patients: only its unit is asked for


def perturbation_charts(report: Report) -> list[Chart]:
    """Draw the curve of every cell over all patients that has one."""
    charts: list[Chart] = []
    index = ReportIndex.of(report)
    for cell in report.cells:
        curve = sorted(
            (years, number)
            for name, number in cell.reported.items()
            if (years := age_offset(name)) is not None
        ) if cell.subgroup == "all" else []  # fmt: skip
        if len(curve) > 1:
            control = index.controls[cell.control]
            charts.append(
                _age_curve(
                    f"curve-{len(charts) + 1}",
                    index.class_of(control),
                    f"Against {shorten(index.attacker_of(cell), 60)}",
                    curve,
                    threshold=control.params.get("threshold"),
                )
            )
    return charts


def _age_curve(
    key: str,
    title: str,
    caption: str,
    curve: list[tuple[int, ReportedEstimate]],
    *,
    threshold: float | None,
) -> Chart:
    def paint(axes: Axes) -> None:
        years, numbers = [place for place, _ in curve], [number for _, number in curve]
        lows, highs = [n.low for n in numbers], [top(n) for n in numbers]
        if threshold is not None:
            axes.axhline(threshold, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        axes.fill_between(years, lows, highs, color=MEMBERS, alpha=0.16, linewidth=0)
        axes.vlines(years, lows, highs, color=MEMBERS, linewidth=1.2)
        axes.plot(years, [n.value for n in numbers], color=MEMBERS, linewidth=1.8, marker="o",
                  clip_on=False)  # fmt: skip
        read_as_shares(axes, 0, 1.04)
        dress(axes)
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
        f"{_years(place)}: {figure(number.value, _UNIT)} ({bounds(number, _UNIT)})."
        for place, number in curve
    ]
    if threshold is not None:
        parts.append(f"Disclosed is who is beyond {setting(threshold, _UNIT)}.")
    description = " ".join(parts)
    svg = draw(paint, key, f"{title}. {caption}", description, margins=Margins(right=0.2))
    return Chart(key, title, caption, description, svg)


def _years(offset: int) -> str:
    if offset == 0:
        return "Own age, drawn afresh"
    return (
        f"{abs(offset)} year{'s' if abs(offset) > 1 else ''} {'older' if offset > 0 else 'younger'}"
    )
