"""Whether a verdict tells a count: how all counts that are rounded alike would have been judged.

A verdict is a function of the counts, and it is never hidden. Where 15 to 24 hits of about 300 are
shown as about 20 and some of them would pass and others not, a pass says which; where 0 to 10 hits
are one value, a pass at 5 % among about 80 says that there was none. So rounded counts may be shown
only where every one of them would have been judged alike. What a verdict rests on is its family's:

* a share of patients whose bounds follow from counts is judged anew for all counts rounded alike;
* another share (caught at a threshold, of two models, drawn in sequence) is shown on a grid, and no
  limit may lie between the lines that its bounds were rounded to;
* what is no share of patients gives no count away, unless too few were there to be measured at all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.attacks.api import load_attack
from checker.attacks.families import Family
from checker.report.disclosure_control.rounding import Rounding
from checker.report.model import CellReport, Report
from checker.report.wording.decision import level
from checker.stats.estimate import ReportedEstimate
from checker.stats.intervals import clopper_pearson, difference_limits

EXACT = {"clopper-pearson", "square-and-add over clopper-pearson"}
"""Methods that give a share's bounds from its counts alone."""

OF_COUNTS = frozenset(
    {
        "bounds-straddle-limit", "too-few-positives", "too-few-patients", "too-few-members",
        "too-few-nonmembers", "too-few-labels", "horizon-too-short", "no-variation",
        "identifier-not-in-prompt", "class-not-in-data",
    }
)  # fmt: skip
"""Reasons that tell how many there were, or were hit: which one it is says more than a verdict."""

_WHATEVER_THE_COUNTS = {
    "prompt-not-identifying", "capability-missing", "not-run", "probe-crashed", "evidence-too-old",
    "class-not-in-vocabulary",
}  # fmt: skip
_UNLESS_TOO_FEW = {"split-overlap", "near-duplicates"}

_SHORT, _OPEN, _PASS, _WARNED, _BEYOND, _FAIL = range(6)
FACTORS = (10, 5, 2)
"""How many times its limit a failure may be said to exceed at least."""

Codes = NDArray[np.int64]
Corners = tuple[tuple[float, int], ...]
Levels = tuple[float, float]
"""The confidence of the bounds, and that at which a failure is named whatever the others show."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """What the counts of a cell are held against.

    Args:
        limit, warn: of the cell; without a warning both are one.
        levels: of confidence.
        can_pass: its attack can show that nothing leaks.
        zero_hits: it passes only where zero hits would.
    """

    limit: float
    warn: float
    levels: Levels
    can_pass: bool
    zero_hits: bool

    def codes(self, corners: tuple[Corners, ...]) -> Codes:
        """Return what follows for each hits and n of members, and each of nonmembers.

        Shape [members, nonmembers], or [members] of a rate. `may_be` and `surely` read the codes.
        """
        return _judge_at(corners, self, _bounds_at)

    def least_factors(self, corners: tuple[Corners, ...], rounding: Rounding) -> Codes:
        """Return by how many times its limit each would be said to be exceeded; 0 for not at all.

        As `codes` has it. Nothing is said of few hits.
        """
        likely = [[rounding.rate(_share(hits, n)).corners for hits, n in one] for one in corners]
        flat = tuple(tuple(itertools.chain.from_iterable(one)) for one in likely)
        low = _bounds_at(flat, self.levels[0])[0]
        for axis, one in enumerate(likely):
            low = np.minimum.reduceat(low, np.arange(len(one)) * len(one[0]), axis=axis)
        factor = np.select([low >= times * self.limit for times in FACTORS], FACTORS, default=0)
        few = np.array([hits < rounding.min_cell for hits, _ in corners[0]])
        return np.where(few[:, None] if low.ndim > 1 else few, 0, factor).astype(np.int64)

    @staticmethod
    def may_be(verdict: str, *, warned: bool) -> tuple[int, ...]:
        """Return the codes with which a cell may have a verdict, whatever the others show."""
        if verdict == "pass":
            return (_WARNED,) if warned else (_PASS,)
        return (_BEYOND, _FAIL) if verdict == "fail" else (_SHORT, _OPEN, _BEYOND)

    @staticmethod
    def surely(verdict: str, *, warned: bool) -> tuple[int, ...]:
        """Return the codes with which it certainly has it."""
        found = Ruler.may_be(verdict, warned=warned)
        return tuple(code for code in found if code != _BEYOND)


def _share(hits: float, n: int) -> ReportedEstimate:
    return ReportedEstimate(hits / n, 0.0, 1.0, n, 0.95, "clopper-pearson")


class Outcomes:
    """How the cells of a report would have been judged had the counts been others.

    Args:
        report: with all its numbers.
        rounding: of its counts.
    """

    def __init__(self, report: Report, rounding: Rounding) -> None:
        self._rounding = rounding
        self._tests = max(1, sum(cell.limit.fail is not None for cell in report.cells))
        self._confidence = level(report)
        self._ceilings: dict[str, tuple[float, ...]] = {}
        for waiver in report.waivers:
            known = self._ceilings.get(waiver.cell, ())
            self._ceilings[waiver.cell] = (*known, waiver.ceiling)
        self._on_inconclusive = {control.id: control.on_inconclusive for control in report.controls}

    def are_alike(self, cell: CellReport) -> bool:
        """Whether all counts that are rounded like a cell's would have been judged like them."""
        estimate = cell.estimate
        if estimate is None:
            return cell.reason not in OF_COUNTS
        if self.is_fixed(cell):
            return True
        if cell.limit.fail is None:
            return self._verdict_tells_as_much(cell, estimate)
        family = family_of(cell)
        if not family.is_share:
            return cell.reason not in OF_COUNTS - {"bounds-straddle-limit"}
        if estimate.method not in EXACT:
            if not is_few(cell, self._rounding):
                return self._is_far_from_limits(cell, estimate)
            return family.has_common_n and self._few_caught_alike(cell, estimate)
        corners = tuple(self._corners(number) for number in rates_of(cell))
        return all(
            len(set(codes.tolist())) == 1 and (decided or _BEYOND not in codes)
            for codes, decided in self._codes(cell, corners)
        )

    def _verdict_tells_as_much(self, cell: CellReport, estimate: ReportedEstimate) -> bool:
        """Whether n adds nothing to a verdict where none may be: none, or some, of however many.

        A pass says that nobody was hit and a failure that somebody was, whatever n is; but that as
        many were asked as the limit wants must not make the rounded n exact.
        """
        if cell.verdict == "pass":
            least, _ = self._rounding.ends(estimate.n or 0)
            return least - self._rounding.unit >= (cell.limit.min_n or 1)
        return cell.verdict == "fail"

    def few_could_be_any(self, cell: CellReport, n: ReportedEstimate) -> bool:
        """Whether a pass could be one of any few hits among as many members as another cell has."""
        if cell.estimate is None or cell.limit.fail is None or cell.estimate.method not in EXACT:
            return False
        least, most = self._rounding.ends(n.n or 0)
        few = self._few(max(1, least), max(1, most))
        corners = (few, *(self._corners(number) for number in rates_of(cell)[1:]))
        wanted = {_WARNED} if cell.warned else {_PASS}
        return all(set(codes.tolist()) <= wanted for codes, _ in self._codes(cell, corners))

    def times_limit(self, cell: CellReport) -> int | None:
        """Return how many times its limit a failure exceeds at least, for all counts alike.

        Returns:
            2, 5 or 10; None where it may be less, or where that would speak of few.
        """
        estimate, limit = cell.estimate, cell.limit.fail
        if cell.verdict != "fail" or estimate is None or not limit:
            return None
        rates = rates_of(cell)
        if estimate.method not in EXACT or self._rounding.hits(rates[0])[1]:
            return None
        corners = tuple(self._corners(number) for number in rates)
        low = float(_bounds(corners, estimate.confidence)[0].min())
        return next((times for times in FACTORS if low >= times * limit), None)

    def ruler(self, cell: CellReport) -> Ruler:
        """Return what a cell's counts are held against; it has a limit on a share."""
        limit, warn = cell.limit.fail, cell.limit.warn
        assert limit is not None
        confidence = cell.estimate.confidence if cell.estimate is not None else self._confidence
        return Ruler(
            limit,
            limit if warn is None else warn,
            (confidence, 1 - (1 - confidence) / self._tests),
            load_attack(cell.probe).metrics[cell.metric].can_pass,
            family_of(cell).decided_by_zero_hits,
        )

    def tells_more(self, cell: CellReport) -> bool:
        """Whether more than its verdict is said of a cell: what a waiver or the summary tells."""
        return cell.id in self._ceilings or (
            cell.verdict == "inconclusive" and self._blocks_if_beyond(cell)
        )

    def is_fixed(self, cell: CellReport) -> bool:
        """Whether no count could have changed what a report says of a cell."""
        return cell.reason in _WHATEVER_THE_COUNTS and not self._blocks_if_beyond(cell)

    def _blocks_if_beyond(self, cell: CellReport) -> bool:
        """Whether the summary tells of an undecided cell that its lower bound is beyond."""
        default = "block" if cell.subgroup == "all" else "warn"
        return cell.gating and (self._on_inconclusive.get(cell.control) or default) == "warn"

    def _corners(self, number: ReportedEstimate) -> Corners:
        """Return the ends of what hits and n may be.

        Where hits are few the n of the next smaller value belong to it: where the last n that tells
        nothing borders on the first that tells something, n withheld would tell that as well.
        """
        if not self._rounding.hits(number)[1]:
            return self._rounding.rate(number).corners
        least, most = self._rounding.ends(number.n or 0)
        return self._few(max(1, least - self._rounding.unit), max(1, most))

    def _few(self, least: int, most: int) -> Corners:
        return _few_hits(self._rounding.unit, least, most)

    def _codes(
        self, cell: CellReport, corners: tuple[Corners, ...]
    ) -> Iterator[tuple[Codes, bool]]:
        """Yield for each limit what would follow at each corner, and whether Holm leaves it so."""
        ruler = self.ruler(cell)
        only_too_few = cell.reason in _UNLESS_TOO_FEW and not self._blocks_if_beyond(cell)
        for one in (ruler.limit, *self._ceilings.get(cell.id, ())):
            is_limit = one == ruler.limit
            codes = _judged(corners, ruler if is_limit else replace(ruler, limit=one, warn=one))
            if only_too_few:
                codes = np.where(codes == _SHORT, _SHORT, _OPEN)
            # beyond a ceiling is beyond it: nobody corrects waivers for their number
            yield codes, not is_limit

    def _is_far_from_limits(self, cell: CellReport, estimate: ReportedEstimate) -> bool:
        """Whether no limit lies between the lines that a share's bounds are rounded to."""
        if estimate.high is None:
            return False
        if cell.reason in OF_COUNTS - {"bounds-straddle-limit"}:
            return False
        step = grid_step(cell, self._rounding)
        limits = (cell.limit.fail, cell.limit.warn, *self._ceilings.get(cell.id, ()))
        for limit in (one for one in limits if one is not None):
            for bound in (estimate.low, estimate.high):
                line = limit / step
                between = not math.isclose(line, round(line), abs_tol=1e-9)
                if between and math.floor(line) == math.floor(bound / step):
                    return False
        return True

    def _few_caught_alike(self, cell: CellReport, estimate: ReportedEstimate) -> bool:
        """Whether a threshold at which few are caught is judged alike however many they are."""
        n, limit = cell.sample.members if cell.sample else 0, cell.limit.fail
        assert limit is not None
        least, most = self._rounding.ends(n)
        corners = (self._few(max(1, least - self._rounding.unit), max(1, most)),)
        # half of α goes to the threshold
        level = (1 + estimate.confidence) / 2
        levels = level, 1 - (1 - level) / self._tests
        warn = limit if cell.limit.warn is None else cell.limit.warn
        codes = _judged(corners, Ruler(limit, warn, levels, can_pass=True, zero_hits=False))
        return len(set(codes.tolist())) == 1 and _BEYOND not in codes


def few_are_judged_alike(
    limit: float,
    sizes: Sequence[int],
    *,
    confidence: float,
    tests: int,
    rounding: Rounding,
    zero_hits: bool = True,
) -> bool:
    """Whether every few hits among so many patients would be judged alike, before they are known.

    Args:
        limit: of a share of members, or of what exceeds nonmembers.
        sizes: members, and nonmembers where they are subtracted.
        confidence: of each bound.
        tests: how many a failure is corrected for.
        rounding: of the sizes.
        zero_hits: no pass where zero hits would not be one.
    """
    corners = []
    for n in sizes:
        least, most = rounding.ends(n)
        corners.append(_few_hits(rounding.unit, max(1, least - rounding.unit), max(1, most)))
    levels = confidence, 1 - (1 - confidence) / max(1, tests)
    codes = _judged(tuple(corners), Ruler(limit, limit, levels, can_pass=True, zero_hits=zero_hits))
    return len(set(codes.tolist())) == 1 and _BEYOND not in codes


def _few_hits(unit: int, least: int, most: int) -> Corners:
    """Return the ends of none to `unit` hits among so many; all of `unit` is one of them."""
    sizes = sorted({least, most, min(max(unit, least), most)})
    return tuple((float(min(hits, n)), n) for hits in (0, unit) for n in sizes)


@lru_cache(maxsize=20_000)
def _judged(corners: tuple[Corners, ...], ruler: Ruler) -> Codes:
    """Return what follows at each corner, in a row."""
    return _judge_at(corners, ruler, _bounds).ravel()


def _judge_at(corners: tuple[Corners, ...], ruler: Ruler, bounds_of: _BoundsOf) -> Codes:
    """Return what follows at each corner, as `verdict.limits` has it."""
    low, high = bounds_of(corners, ruler.levels[0])
    named, _ = bounds_of(corners, ruler.levels[1])
    limit, short = ruler.limit, np.zeros(low.shape, np.bool_)
    if ruler.zero_hits:
        none = tuple(tuple((0.0, n) for _, n in one) for one in corners)
        short = bounds_of(none, ruler.levels[0])[1] > limit
    codes = np.select(
        [named > limit, low > limit, np.full(low.shape, not ruler.can_pass), short,
         high <= ruler.warn, high <= limit],
        [_FAIL, _BEYOND, _OPEN, _SHORT, _PASS, _WARNED],
        default=_OPEN,
    )  # fmt: skip
    return np.asarray(codes, np.int64)


def _bounds_at(
    corners: tuple[Corners, ...], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and the upper bound at each corner of one rate, or of a difference."""
    (hits, sizes), *others = (np.array(one, dtype=np.float64).T for one in corners)
    if not others:
        return clopper_pearson(hits, sizes, confidence=confidence)
    second, second_sizes = others[0]
    _, low, high = difference_limits(
        hits[:, None], sizes[:, None], second, second_sizes, confidence=confidence
    )
    return low, high


_BoundsOf = Callable[[tuple[Corners, ...], float], tuple[NDArray[np.float64], NDArray[np.float64]]]
_bounds: _BoundsOf = lru_cache(maxsize=20_000)(_bounds_at)


def grid_step(cell: CellReport, rounding: Rounding) -> float:
    """Return how far apart the lines lie that a cell's numbers are rounded to.

    No few patients decide a line: shares need a wide one.
    """
    step = STEP
    if family_of(cell).is_share and cell.sample is not None:
        n = cell.sample.rollouts or min(cell.sample.members, cell.sample.nonmembers)
        step *= max(1, math.ceil(rounding.unit / max(1, n) / STEP))
    return step


STEP = 0.01


def is_few(cell: CellReport, rounding: Rounding) -> bool:
    """Whether a cell's share is of few patients hit, none included; other numbers are none."""
    if cell.estimate is None or not family_of(cell).is_share:
        return False
    if family_of(cell).has_common_n:  # its hits are members'
        patients = cell.sample.members if cell.sample else 0
        return min(cell.estimate.low, cell.estimate.value) * patients < rounding.min_cell
    return rounding.rate(cell.members or cell.estimate).few


def rates_of(cell: CellReport) -> list[ReportedEstimate]:
    """Return the rates that an exact estimate consists of: one, or members' and nonmembers'."""
    if cell.members is not None and cell.nonmembers is not None:
        return [cell.members, cell.nonmembers]
    return [cell.estimate] if cell.estimate is not None else []


def family_of(cell: CellReport) -> Family[Any]:
    """Return the family of a cell's metric."""
    return load_attack(cell.probe).metrics[cell.metric].family
