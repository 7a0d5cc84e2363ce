"""Numbers as people read them, rounded so that none tells another story than the verdict.

An upper bound is rounded up, a lower bound down, and both get more digits where a rounded bound
would seem to lie on the other side of the limit.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from checker.attacks.wording import Unit
from checker.report.wording.measures import unit_of
from checker.stats.estimate import ReportedEstimate

NBSP = "\N{NO-BREAK SPACE}"
MAX_DECIMALS = 8
READABLE = 1e12
SMALLEST_P = 0.001

Rounding = Literal["nearest", "up", "down"]
_MODES = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}
_SUFFIX: dict[Unit, str] = {"share": f"{NBSP}%", "bits": f"{NBSP}bits"}


def figure(
    value: float,
    metric: str,
    *,
    rounding: Rounding = "nearest",
    against: float | None = None,
) -> str:
    """Return a number for reading: shares as percentages, bits as bits, others as decimals.

    Args:
        value: as in the report; shares are fractions.
        metric: decides the unit.
        rounding: "up" for upper bounds and "down" for lower ones, so that neither gets tighter.
        against: a limit; more digits are shown until the rounded number lies on the side of it, or
            on it, where the true one does.
    """
    unit = unit_of(metric)
    suffix = _SUFFIX.get(unit, "")
    if abs(value) >= READABLE:
        return f"{value:g}{suffix}"
    exact = _exact(value, unit=unit)
    other = None if against is None else _exact(against, unit=unit)
    rounded = exact
    for decimals in range(_decimals(exact, unit), MAX_DECIMALS + 1):
        rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding=_MODES[rounding])
        if other is None or _same_side(rounded, exact, other):
            break
    digits = f"{rounded:f}".replace("-", "−")
    if rounded == 0:
        digits = digits.removeprefix("−")
    if unit == "share" and value in {0.0, 1.0}:
        digits = digits.removesuffix(".0")
    return digits + suffix


def upper_bound(number: ReportedEstimate, metric: str, *, against: float | None = None) -> str:
    """Return an upper bound for reading, or "none" where nothing bounds the number from above."""
    if number.high is None:
        return "none"
    return figure(number.high, metric, rounding="up", against=against)


def bounds(number: ReportedEstimate, metric: str, *, against: float | None = None) -> str:
    """Return both bounds of an estimate, as "1.2 % to 4.1 %"."""
    low = figure(number.low, metric, rounding="down", against=against)
    if number.high is None:
        return f"{low} or more"
    return f"{low} to {upper_bound(number, metric, against=against)}"


def setting(value: float, metric: str) -> str:
    """Return a number that somebody chose (a limit, a confidence) as they would write it."""
    unit = unit_of(metric)
    return f"{_exact(value, unit=unit).normalize():f}{_SUFFIX.get(unit, '')}"


def share(value: float) -> str:
    """Return a fraction as a percentage, with a decimal where it has one."""
    return setting(round(value, 3), "precision")


def p_words(p_value: float) -> str:
    """Return a p-value for reading; the exact one stands in `report.json`."""
    return (
        f"p{NBSP}={NBSP}{p_value:.2g}" if p_value >= SMALLEST_P else f"p{NBSP}<{NBSP}{SMALLEST_P}"
    )


def grouped(count: int | None) -> str:
    """Return a count with its thousands set apart by a space that does not break."""
    if count is None:
        return "withheld"
    return f"{count:,}".replace(",", NBSP)


def _exact(value: float, *, unit: Unit) -> Decimal:
    """Return a number as people would write it: 0.1 + 0.2 is 0.3, and rounds up to 0.3."""
    return Decimal(f"{value:.12g}").scaleb(2 if unit == "share" else 0)


def _decimals(exact: Decimal, unit: Unit) -> int:
    """Return how many decimals a number of a unit has at the least."""
    if unit == "share":
        return 1 if abs(exact) >= Decimal("0.1") or exact == 0 else 2
    return {"people": 0, "bits": 2}.get(unit, 3)


def _same_side(rounded: Decimal, exact: Decimal, limit: Decimal) -> bool:
    """Whether rounding kept the number beyond the limit, or within it (equality is within)."""
    return (rounded > limit) == (exact > limit)


def level_text(confidence: float) -> str:
    """Return a confidence in (0, 1) with all its digits, as statements on all tests write it.

    >>> level_text(0.975)
    '97.5%'
    """
    return f"{100 * confidence:.10g}%"
