"""How many times its limit a failure without numbers exceeds, where that tells of no few.

"Above the limit" is true of 6 % and of 74 %. What a board can be told is a factor: at least 2, 5 or
10 times, if every count that is rounded alike gives that much, and more than few were hit.

Beside cells that passed a factor tells nothing of them: few of any number pass among enough
patients. Beside cells that are *open* it can: that 11 hits or more are below five times a limit of
1 % says that there are many patients, and of many a cell with none hit would not be open. So there
a factor stands only if, in a search over numbers of patients and hits, every few count that the
verdicts leave open for any attacker goes together with the same verdicts and the same factors, and
also with the same verdicts and none: then neither the factor nor its absence rules a count out.
Whether it does is worked out from what everybody may see, never from the counts themselves.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from checker.report.disclosure_control.outcomes import (
    EXACT,
    OF_COUNTS,
    Codes,
    Corners,
    Outcomes,
    Ruler,
    family_of,
)
from checker.report.disclosure_control.rounding import Rounding
from checker.report.model import CellReport
from checker.stats.intervals import clopper_pearson

_NUMBERS = (11, 12, 13, 15, 18, 20, 25, 30, 40, 50, 75, 110, 150, 220, 300, 400, 650, 1200, 2400)
_OTHERS = (12, 40, 80, 150, 400, 2400)
"""How many members and nonmembers there may be in the worlds that are searched."""

_SHARES = (0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_ABOVE_FEW = (1, 4, 9, 15, 30)

_COUNTED = OF_COUNTS | {"exceeds-uncorrected", None}
"""Reasons that follow from counts alone, so that a search over counts finds them."""

Bits = NDArray[np.bool_]
Most = tuple[int | None, int | None]


class Sizes:
    """The factors of a report's failures.

    Args:
        cells: about patients.
        outcomes: how they would have been judged otherwise.
        rounding: of their counts.
        most: how many members and nonmembers there are, as the report says; None where it does not.
    """

    def __init__(
        self,
        cells: Sequence[CellReport],
        outcomes: Outcomes,
        rounding: Rounding,
        *,
        most: Most = (None, None),
    ) -> None:
        self._outcomes, self._rounding, self._most = outcomes, rounding, most
        by_class: dict[str | None, list[CellReport]] = defaultdict(list)
        for cell in cells:
            if family_of(cell).is_share and not outcomes.is_fixed(cell):
                by_class[cell.attribute_class].append(cell)
        self._times: dict[str, int] = {}
        for own in by_class.values():
            self._times |= self._of_class(own)

    def of(self, cell: CellReport) -> int | None:
        """Return how many times its limit a failure exceeds at least; None where that is unsaid."""
        return self._times.get(cell.id)

    def _of_class(self, cells: list[CellReport]) -> dict[str, int]:
        found = {
            one.id: self._outcomes.times_limit(one)
            for one in _strictest(
                cell for cell in cells if cell.verdict == "fail" and cell.limit.fail is not None
            )
        }
        said = {name: size for name, size in found.items() if size is not None}
        if not said:
            return {}
        if all(cell.verdict in {"pass", "fail"} for cell in cells):
            return said if len(said) == len(found) else {}
        if not all(self._can_be_searched(cell) for cell in cells):
            return {}
        tests = tuple(
            _Test(
                cell.attacker,
                self._outcomes.ruler(cell),
                family_of(cell).is_excess,
                cell.verdict,
                cell.warned,
                found.get(cell.id, -1),
            )
            for cell in cells
        )
        return said if _leaves_all(tests, self._rounding, self._most) else {}

    def _can_be_searched(self, cell: CellReport) -> bool:
        """Whether a cell's verdict follows from its two counts, as the search has them."""
        by_method = cell.estimate is None or cell.estimate.method in EXACT
        return (
            by_method
            and cell.attribute_class is not None
            and cell.subgroup == "all"
            and cell.contrast == "nonmembers"
            and not family_of(cell).has_common_n
            and cell.limit.fail is not None
            and cell.reason in _COUNTED
            and not self._outcomes.tells_more(cell)
        )


def _strictest(failures: Iterator[CellReport]) -> Iterator[CellReport]:
    """Yield of each measurement one cell: two limits' factors would have its bound between them."""
    kept: dict[tuple[str, ...], CellReport] = {}
    for cell in sorted(failures, key=lambda one: one.limit.fail or 0.0):
        kept.setdefault((cell.attacker, cell.subgroup, cell.metric, cell.contrast), cell)
    yield from kept.values()


@dataclass(frozen=True, slots=True)
class _Test:
    """What everybody may see of a cell.

    Args:
        attacker: tests of one ask with the same hits.
        ruler: what its counts are held against.
        is_excess: nonmembers are subtracted.
        verdict, warned: what became of it.
        factor: that it would be said to exceed its limit by, None for none; -1 where none ever is.
    """

    attacker: str
    ruler: Ruler
    is_excess: bool
    verdict: str
    warned: bool
    factor: int | None


@lru_cache(maxsize=2_000)
def _leaves_all(tests: tuple[_Test, ...], rounding: Rounding, most: Most) -> bool:
    """Whether factors, and that none are said, leave every few count that the verdicts leave."""
    search = _Search(tests, rounding, most)
    silent = {test: None if test.factor != -1 else -1 for test in tests}
    return all(search.leaves_all(said) for said in ({t: t.factor for t in tests}, silent))


class _Search:
    """Worlds of a class: so many members and nonmembers, and how many of each are hit by whom.

    Arrays are [members' numbers, their hits, nonmembers' numbers, their hits].
    """

    def __init__(self, tests: tuple[_Test, ...], rounding: Rounding, most: Most) -> None:
        self._tests, self._rounding = tests, rounding
        self._few = rounding.unit
        numbers = {*_NUMBERS, *_first_passes(tests, self._few)}
        self._members = [self._hits(n) for n in _up_to(most[0], numbers)]
        self._others = [self._hits(n) for n in _up_to(most[1], _OTHERS)]
        self._codes = {test: self._shaped(test.ruler.codes(self._corners(test))) for test in tests}
        self._factors = {
            test: self._shaped(test.ruler.least_factors(self._corners(test), rounding))
            for test in tests
            if test.factor != -1
        }

    def leaves_all(self, said: dict[_Test, int | None]) -> bool:
        """Whether every few count that goes with the verdicts goes with these factors too."""
        attackers = dict.fromkeys(test.attacker for test in self._tests)
        everywhere: Bits = np.ones((len(self._members), len(self._others)), np.bool_)
        may = {name: self._may_be(name) for name in attackers}
        sure = {name: self._surely(name, said) for name in attackers}
        for name in attackers:
            others = [other for other in attackers if other != name]
            around = np.logical_and.reduce([everywhere, *(_somehow(may[one]) for one in others)])
            within = np.logical_and.reduce([everywhere, *(_somehow(sure[one]) for one in others)])
            told = any((factor or -1) > 0 for test, factor in said.items() if test.attacker == name)
            # few hits of the one who may exceed by a factor have none, whatever else is known
            alone = {test.attacker for test in self._factors} == {name}
            for few in range(self._few + 1):
                # and where he does exceed by one, his hits are not few
                pairs = (
                    [] if told or alone else [(may[name][:, few].any(2), sure[name][:, few].any(2))]
                )
                pairs.append((may[name][..., few].any(1), sure[name][..., few].any(1)))
                if any((one & around).any() and not (two & within).any() for one, two in pairs):
                    return False
        return True

    def _hits(self, n: int) -> Corners:
        few = [float(min(hits, n)) for hits in range(self._few + 1)]
        more = [float(min(self._few + hits, n)) for hits in _ABOVE_FEW]
        shares = [max(float(min(self._few + 1, n)), float(round(share * n))) for share in _SHARES]
        return tuple((hits, n) for hits in (*few, *more, *shares))

    def _corners(self, test: _Test) -> tuple[Corners, ...]:
        sides = [self._members, self._others] if test.is_excess else [self._members]
        return tuple(tuple(itertools.chain.from_iterable(side)) for side in sides)

    def _shaped(self, found: Codes) -> Codes:
        hits = len(self._members[0])
        if found.ndim == 1:  # nonmembers make no difference
            found = np.repeat(found[:, None], len(self._others) * hits, axis=1)
        return found.reshape(len(self._members), hits, len(self._others), hits)

    def _may_be(self, attacker: str) -> Bits:
        """Where the verdicts of an attacker's tests may be what they are."""
        return self._where(attacker, Ruler.may_be)

    def _surely(self, attacker: str, said: dict[_Test, int | None]) -> Bits:
        """Where they certainly are, with these factors."""
        found = self._where(attacker, Ruler.surely)
        for test, factors in self._factors.items():
            if test.attacker == attacker:
                found = found & (factors == (said[test] or 0))
        return found

    def _where(self, attacker: str, codes_of: Callable[..., tuple[int, ...]]) -> Bits:
        found = [
            np.isin(self._codes[test], codes_of(test.verdict, warned=test.warned))
            for test in self._tests
            if test.attacker == attacker
        ]
        return np.asarray(np.logical_and.reduce(found), np.bool_)


def _up_to(most: int | None, numbers: Iterable[int]) -> list[int]:
    kept = sorted(one for one in numbers if most is None or one <= most)
    return kept or [min(numbers)]


def _somehow(worlds: Bits) -> Bits:
    """Where it is so for some hits: [members' numbers, nonmembers' numbers]."""
    return np.asarray(worlds.any((1, 3)), np.bool_)


def _first_passes(tests: Sequence[_Test], few: int) -> Iterator[int]:
    """Yield the fewest patients among whom so many hits keep a limit, and one less.

    There what goes with a verdict begins and ends.
    """
    n = np.arange(few + 2, 6_000)
    for limit in {limit for test in tests for limit in (test.ruler.limit, test.ruler.warn)}:
        for hits in range(few + 1):
            _, high = clopper_pearson(hits, n, confidence=tests[0].ruler.levels[0])
            if (high <= limit).any():
                least = int(n[np.argmax(high <= limit)])
                yield from (least - 1, least)
