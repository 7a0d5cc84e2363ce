"""What the calibration study found: error rates with bounds, as text, JSON and a figure.

Part of `benchmarks.calibration`. Also says which demands of METHODS §7 are not met.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.known_truths import TRUTHS
from checker import stats

CONFIDENCE: Final = 0.95
ENUMERATED_AT_MOST: Final = 0.051
UPPER_AT_MOST: Final = 0.07
POWER_WITHIN: Final = 0.04
VERDICTS: Final = ("pass", "inconclusive", "fail")


@dataclass(frozen=True, slots=True)
class Point:
    """What came of many audits of one target.

    Args:
        family, size, setting: of its design.
        truth_name, truth, limit: how far it leaks.
        counts: audits by verdict.
        announced: power that the plan announces, where it does and nothing leaks.
        at_least: it is a lower bound here (`Design.at_least`).
        drawn: mean share of the planned patients that were drawn.
        judged: audits that the whole judge was given as well.
        objected: reasons for which it did not reach the same verdict but inconclusive.
        contradicted: how often it reached another verdict for any other reason.
    """

    family: str
    size: str
    setting: str
    truth_name: str
    truth: float
    limit: float
    counts: dict[str, int]
    announced: float | None = None
    at_least: bool = False
    drawn: float = 1.0
    judged: int = 0
    objected: dict[str, int] | None = None
    contradicted: int = 0

    @property
    def audits(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def share(self, verdict: str) -> float:
        """Share of audits with a verdict."""
        return self.counts[verdict] / self.audits

    def upper(self, verdict: str) -> float:
        """Exact upper 95 % bound of that share."""
        return stats.rate(self.counts[verdict], self.audits, confidence=CONFIDENCE).high

    @property
    def false(self) -> list[str]:
        """Verdicts that are errors here; at the limit both are."""
        far = TRUTHS[self.truth_name]
        return ["pass"] * (far >= 1) + ["fail"] * (far <= 1)

    @property
    def off_power(self) -> float | None:
        """By how much more audits pass than the plan announces."""
        return None if self.announced is None else self.share("pass") - self.announced


@dataclass(frozen=True, slots=True)
class Study:
    """Everything found."""

    points: list[Point]
    sequential: list[Point]
    enumerated: list[dict[str, Any]]
    shared: list[dict[str, Any]]
    curtailed: list[dict[str, float]]
    short_cuts: dict[str, float]
    seconds: dict[str, float]

    @property
    def unmet(self) -> list[str]:
        """Demands that are not met, one sentence each."""
        missed = [
            f"{row['family']}: false {kind} {row[f'false_{kind}']:.2%} at {row[f'false_{kind}_at']}"
            for row in self.enumerated
            for kind in ("pass", "fail")
            if row[f"false_{kind}"] > ENUMERATED_AT_MOST
        ]
        for word, points in (("", self.points), ("sequential ", self.sequential)):
            for point in points:
                name = f"{word}{point.family}, {point.size}, {point.setting}, {point.truth_name}"
                missed += [
                    f"{name}: {point.share(verdict):.2%} {verdict}, at most"
                    f" {point.upper(verdict):.2%} where {UPPER_AT_MOST:.0%} is allowed"
                    for verdict in point.false
                    if point.upper(verdict) > UPPER_AT_MOST
                ]
                missed += [f"{name}: the judge contradicts it"] * bool(point.contradicted)
                off = point.off_power
                if off is not None and _is_off(point, off):
                    missed.append(
                        f"{name}: {point.share('pass'):.1%} pass, {point.announced:.1%} announced"
                    )
        missed += [
            f"shared prompts, {row['metric']}, {row['prompts']}: {row['by_prompt']:.2%} pass"
            for row in self.shared
            if row["upper"] > UPPER_AT_MOST
        ]
        missed += [f"curtailed at q {row['q']}" for row in self.curtailed if row["changed"] > 1e-9]
        return missed


def _is_off(point: Point, off: float) -> bool:
    if point.at_least:
        return off < -POWER_WITHIN
    # stopping early adds passes of cells that are clear anyway
    return abs(off) > POWER_WITHIN if point.drawn == 1 else off < -POWER_WITHIN


_HEAD: Final = (
    f"{'family':<17}{'size':<20}{'setting':<25}"
    + "".join(f"{name:>21}" for name in TRUTHS)
    + f"{'false pass':>14}{'false fail':>14}{'power':>8}{'plan':>7}"
)


def line(row: Sequence[Point]) -> str:
    """One design: pass/inconclusive/fail in percent at each truth, and the worst error rates."""
    first = row[0]
    cells = "".join(
        f"{' / '.join(f'{100 * point.share(verdict):.1f}' for verdict in VERDICTS):>21}"
        for point in row
    )
    errors = ""
    for verdict in ("pass", "fail"):
        worst = max((p for p in row if verdict in p.false), key=lambda p: p.counts[verdict])
        errors += f"{f'{worst.share(verdict):.2%}<{worst.upper(verdict):.1%}':>14}"
    plan = "-" if first.announced is None else f"{first.announced:.1%}"
    drawn = (
        ""
        if min(p.drawn for p in row) == 1
        else "   drawn " + ", ".join(f"{p.drawn:.0%}" for p in row)
    )
    return (
        f"{first.family:<17}{first.size:<20}{first.setting:<25}{cells}{errors}"
        f"{first.share('pass'):>8.1%}{plan:>7}{drawn}"
    )


def _rows(points: Sequence[Point]) -> list[str]:
    step = len(TRUTHS)
    return [line(points[i : i + step]) for i in range(0, len(points), step)]


def text(found: Study) -> str:
    """Return the study as a table."""
    judged = sum(p.judged for p in (*found.points, *found.sequential))
    objected: Counter[str] = Counter()
    for point in (*found.points, *found.sequential):
        objected.update(point.objected or {})
    contradicted = sum(p.contradicted for p in (*found.points, *found.sequential))
    audits = sum(p.audits for p in found.points)
    parts = [
        "Exactly, at the limit, over a grid",
        *(
            f"  {row['family']:<17}{row['points']:>5} points: false pass {row['false_pass']:.2%}"
            f" ({row['false_pass_at']}), false fail {row['false_fail']:.2%}"
            f" ({row['false_fail_at']})"
            for row in found.enumerated
        ),
        "",
        f"By simulation, {audits} audits: pass / inconclusive / fail in percent at each truth; the"
        " worst error rate < its exact 95 % upper bound; at no leak, the share that passes and"
        " what is announced",
        _HEAD,
        *_rows(found.points),
        "",
        "With sequential stopping; share of the planned patients drawn, by truth",
        _HEAD,
        *_rows(found.sequential),
        "",
        "300 positives over 120 prompts at the limit: false passes by the bounds alone (the judge"
        " calls any excess inconclusive where under 80 % of the prompts are distinct)",
        *(
            f"  {row['metric']:<18} background {row['background']:<5.0%} {row['prompts']:<26}"
            f" by prompt {row['by_prompt']:>6.2%} (at most {row['upper']:.1%}),"
            f" by patient {row['by_patient']:>6.2%}"
            for row in found.shared
        ),
        "",
        "Curtailed sampling of 20 rollouts, threshold 0.5: share of rollouts spared",
        "  " + ", ".join(f"q {row['q']:g}: {row['saved']:.0%}" for row in found.curtailed),
        "",
        f"The whole judge on {judged} of the audits: {contradicted} contradicted; made inconclusive"
        f" by {dict(objected) or 'nothing'}.",
        "Remembered draws, bounds off by at most "
        + ", ".join(f"{family} {gap:.1e}" for family, gap in found.short_cuts.items()),
        "Seconds: " + ", ".join(f"{name} {spent:.0f}" for name, spent in found.seconds.items()),
        "",
        *(found.unmet or ["All demands are met."]),
    ]
    return "\n".join(parts) + "\n"


def as_json(found: Study) -> str:
    """Return the study as JSON, with an exact interval for every share."""

    def of(point: Point) -> dict[str, Any]:
        shares = {}
        for verdict in VERDICTS:
            interval = stats.rate(point.counts[verdict], point.audits, confidence=CONFIDENCE)
            shares[verdict] = [interval.value, interval.low, interval.high]
        return {**asdict(point), "shares": shares, "errors": point.false}

    document = {
        "confidence": CONFIDENCE,
        "points": [of(point) for point in found.points],
        "sequential": [of(point) for point in found.sequential],
        "enumerated": found.enumerated,
        "shared_prompts": found.shared,
        "curtailed": found.curtailed,
        "short_cuts": found.short_cuts,
        "seconds": found.seconds,
        "unmet": found.unmet,
    }
    return json.dumps(document, indent=2) + "\n"


def draw_figure(found: Study, path: Path) -> None:
    """Draw shares of pass and fail against the truth, a panel a family, with exact intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    families = list(dict.fromkeys(point.family for point in found.points))
    columns = min(4, len(families))
    rows = -(-len(families) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    far = list(TRUTHS.values())
    for axis, family in zip(axes.flat, families, strict=False):
        mine = [point for point in found.points if point.family == family]
        for start in range(0, len(mine), len(far)):
            row = mine[start : start + len(far)]
            for verdict, colour in (("pass", "#37708f"), ("fail", "#b3431e")):
                bounds = [stats.rate(p.counts[verdict], p.audits, confidence=0.975) for p in row]
                value = np.array([b.value for b in bounds])
                reach = [value - [b.low for b in bounds], [b.high for b in bounds] - value]
                axis.errorbar(far, value, yerr=reach, color=colour, lw=1, capsize=2, alpha=0.8)
        axis.axvline(1, color="#5a636b", lw=0.8)
        axis.axhline(0.05, color="#5a636b", lw=0.8, ls=":")
        axis.set_title(family, fontsize=10)
        axis.set_ylim(-0.02, 1.02)
    for axis in axes.flat[len(families) :]:
        axis.set_visible(False)
    figure.suptitle(
        "Shares of pass (blue) and fail (red) against the truth, 0 no leak, 1 the limit; the rest"
        " is inconclusive", fontsize=10,
    )  # fmt: skip
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
