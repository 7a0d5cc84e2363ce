"""What a shipped policy can decide: the chance of a release by how many patients there are."""

from __future__ import annotations

from collections.abc import Sequence

from checker.planning.characteristics import (
    CharacteristicPoint,
    Characteristics,
    characteristics_of_file,
)
from checker.report.charts.canvas import Axes, Chart, Margins, draw, dress, read_as_shares, write
from checker.report.model import Report
from checker.report.palette import INK, MEMBERS, MUTED, NONMEMBERS
from checker.report.wording.numbers import grouped, share

_WIDTH_IN, _HEIGHT_IN = 3.9, 2.9
_LINES = {"even": (MEMBERS, "-", "o"), "90:10": (NONMEMBERS, (0, (4, 2)), "s")}
_MARKS = {"even": "●", "90:10": "■"}
_NAMES = {"even": "as many nonmembers", "90:10": "nine members to one"}

Curve = list[CharacteristicPoint]


def characteristics_charts(report: Report) -> list[Chart]:
    """Draw what the report's policy can decide, if it is one that phigate ships as it is.

    One chart for each kind of records; kinds that are decided alike share one.
    """
    policy = report.policy
    found = characteristics_of_file(policy.name, policy.version, sha256=policy.sha256)
    if found is None:
        return []
    return [
        _chart(f"characteristics-{place}", found, names)
        for place, names in enumerate(_alike(found), start=1)
    ]


def _alike(found: Characteristics) -> list[list[str]]:
    """Put kinds of records together of which the same is true."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in found.cohorts:
        told = [one.model_dump(exclude={"cohort"}) for one in found.points if one.cohort == name]
        groups.setdefault(tuple(map(str, told)), []).append(name)
    return list(groups.values())


def _chart(key: str, found: Characteristics, names: Sequence[str]) -> Chart:
    curves = {
        split: [one for one in found.points if (one.cohort, one.split) == (names[0], split)]
        for split in _LINES
    }
    title = f"{' and '.join(names).capitalize()} records"
    twice = [one.released_at_twice for curve in curves.values() for one in curve]
    most = max((chance for chance in twice if chance is not None), default=None)

    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        sizes = [one.patients for one in curves["even"]]
        for split, curve in curves.items():
            colour, dashes, marker = _LINES[split]
            axes.plot(sizes, [one.released or 0.0 for one in curve], color=colour, marker=marker,
                      linestyle=dashes, linewidth=1.8, markersize=4.5, clip_on=False)  # fmt: skip
        if most is not None:
            axes.axhline(most, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)))
        read_as_shares(axes, 0.0, 1.0)
        dress(axes)
        axes.minorticks_off()
        axes.set_xticks(sizes, [_short(size) for size in sizes])
        axes.set_xlabel("patients, members and nonmembers together", color=INK)
        write(axes, "a model that leaks nothing is released", (0, 1),
              within=("axes fraction", "axes fraction"), aside=(-30, 14))  # fmt: skip
        # curves rise from the lower left to the upper right: this corner is free
        for row, split in enumerate(curves):
            write(axes, f"{_MARKS[split]} {_NAMES[split]}", (1, 0.3 - 0.12 * row),
                  within=("axes fraction", "axes fraction"), aside=(-4, 0),
                  colour=_LINES[split][0], align="right")  # fmt: skip

    description = " ".join(
        [
            "Chance that a model that leaks nothing and is rightly described is released, by how"
            " many patients there are; and how many of the tests that must pass can.",
            *(f"{_NAMES[split].capitalize()}: {_told(curve)}." for split, curve in curves.items()),
            "" if most is None else f"A model at twice a limit: at most {share(most)}.",
            f"Too few patients only warn of {', '.join(found.only_warn)}." * bool(found.only_warn),
        ]
    ).strip()
    svg = draw(paint, key, title, description, size=(_WIDTH_IN, _HEIGHT_IN),
               margins=Margins(left=0.55, right=0.3, top=0.42, bottom=0.55))  # fmt: skip
    caption = "; ".join(found.cohorts[name].partition(": ")[2] for name in names)
    return Chart(key, title, caption, description, svg)


def _told(curve: Curve) -> str:
    return ", ".join(
        f"{grouped(one.patients)} patients {_chance(one.released)}"
        f" ({one.can_pass} of {one.deciding})"
        for one in curve
    )


def _chance(released: float | None) -> str:
    return "unknown" if released is None else share(round(released, 2))


def _short(size: int) -> str:
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)
