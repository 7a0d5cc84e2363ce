"""Which numbers of a report are suppressed, so that none speaks of a few patients.

*Primary suppression.* Where fewer than `minCell` patients were hit, none included, a cell's numbers
are withheld: zero is suppressed like one to ten, or its absence would give it away.

*Secondary suppression.* What a subgroup withholds must not follow from the others: the values of a
static field are shown all or none, and a subgroup is withheld where few patients, or few hits, are
left outside it.

*The n behind few.* A verdict and an n can pin a count: a cell that passes at 5 % with n between 59
and 92 had no hit at all. n is withheld with the count, and from all cells about the same class and
subgroup, unless every count from none to `minCell` - 1 would have been judged alike.

Canaries are no patients, and nothing of theirs is suppressed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from checker.attacks.api import load_attack
from checker.attacks.families import Family
from checker.report.disclosure_control.rounding import Rounding, hits_of
from checker.report.model import CellReport, Report
from checker.stats.estimate import ReportedEstimate

EXACT = {"clopper-pearson", "square-and-add over clopper-pearson"}
"""Methods that give a share's bounds from its counts alone."""


@dataclass(frozen=True, slots=True)
class _Patients:
    """What decides which patients a cell is about."""

    attribute_class: str | None
    subgroup: str

    @classmethod
    def of(cls, cell: CellReport) -> _Patients:
        # whatever an attacker knows: those who know the same events ask about the same patients
        return cls(cell.attribute_class, cell.subgroup)

    @property
    def field(self) -> str | None:
        """The static field of whose values the subgroup is one."""
        return _field_of(self.subgroup)


class Suppression:
    """What a shared report of these cells withholds.

    Args:
        report: with all its numbers.
    """

    def __init__(self, report: Report) -> None:
        self._cells = report.cells
        self._min_cell = report.policy.min_cell
        self._rounding = Rounding(self._min_cell)
        self._primary = {cell.id for cell in report.cells if self._is_few(cell)}
        self._suppressed = self._primary | set(self._secondary())
        self._without_n = self._patients_without_n()

    def covers(self, cell: CellReport) -> bool:
        """Whether a cell's numbers are withheld, or its n and with it all numbers."""
        return cell.id in self._suppressed or _Patients.of(cell) in self._without_n

    @property
    def covers_cohort_size(self) -> bool:
        """Whether the numbers of members and nonmembers would pin a count that is withheld."""
        # cells about no class are about everybody, so that their n is the cohort's size
        return any(one.attribute_class is None and one.subgroup == "all" for one in self._without_n)

    def _is_few(self, cell: CellReport) -> bool:
        """Whether some count of a cell is too small for its numbers to be shown at all."""
        if is_of_canaries(cell):
            return False
        sample = cell.sample
        if sample is not None:
            counts = [sample.members, sample.nonmembers]
            if family_of(cell).takes_everybody:  # ranked against patients without the class
                counts += [sample.members_negative or 0, sample.nonmembers_negative or 0]
            if min(counts) < self._min_cell:
                return True
        if cell.estimate is None or not family_of(cell).is_share:
            return False
        if family_of(cell).has_common_n:  # its hits are members'
            patients = sample.members if sample else 0
            return min(cell.estimate.low, cell.estimate.value) * patients < self._min_cell
        return self._rounding.rate(cell.members or cell.estimate).few

    def _secondary(self) -> Iterator[str]:
        """Yield the subgroups that are withheld, or from which what they withhold would follow."""
        siblings: dict[tuple[str, str], list[CellReport]] = defaultdict(list)
        for cell in self._cells:
            siblings[cell.control, cell.attacker].append(cell)
        for group in siblings.values():
            whole = next((cell for cell in group if cell.subgroup == "all"), None)
            parts = [cell for cell in group if cell.subgroup != "all"]
            withheld = [
                cell
                for cell in parts
                if cell.id in self._primary or (whole is not None and self._leaves_few(whole, cell))
            ]
            fields = {_field_of(cell.subgroup) for cell in withheld} - {None}
            yield from (cell.id for cell in withheld)
            yield from (cell.id for cell in parts if _field_of(cell.subgroup) in fields)

    def _leaves_few(self, whole: CellReport, part: CellReport) -> bool:
        """Whether few patients, or few hits, lie in the whole and outside a subgroup."""
        rests: list[float] = []
        for all_of, some in ((whole.members, part.members), (whole.nonmembers, part.nonmembers)):
            if all_of is not None and some is not None:
                rests.append((all_of.n or 0) - (some.n or 0))
                if family_of(whole).is_share:
                    rests.append(hits_of(all_of) - hits_of(some))
        if whole.sample is not None and part.sample is not None:
            rests.append(whole.sample.members - part.sample.members)
            rests.append(whole.sample.nonmembers - part.sample.nonmembers)
        return any(rest < self._min_cell for rest in rests)

    def _patients_without_n(self) -> set[_Patients]:
        """Return the patients whose number would pin a count that is withheld.

        The values of a static field add up to all patients, so they are withheld together.
        """
        pinned = {
            _Patients.of(cell)
            for cell in self._cells
            if cell.id in self._suppressed and self._n_pins_count(cell)
        }
        fields = {(one.attribute_class, one.field) for one in pinned if one.field}
        wholes = {one.attribute_class for one in pinned if one.subgroup == "all"}
        everyone = {_Patients.of(cell) for cell in self._cells}
        return pinned | {
            one
            for one in everyone
            if one.field is not None
            and ((one.attribute_class, one.field) in fields or one.attribute_class in wholes)
        }

    def _n_pins_count(self, cell: CellReport) -> bool:
        """Whether only some of the counts from none to `minCell` - 1 fit a cell's verdict."""
        limit, estimate = cell.limit.fail, cell.estimate
        if limit is None or estimate is None:
            return True
        if family_of(cell).has_common_n and cell.sample is not None:
            # half of α goes to the threshold
            found = self._rounding.few_of(
                cell.sample.members, confidence=(1 + estimate.confidence) / 2
            )
        elif estimate.method in EXACT:
            found = self._rounding.intervals(rates_of(cell), confidence=estimate.confidence)
        else:
            return True
        warn = cell.limit.warn
        low, high = found.T
        answers = (low > limit, high <= limit, high > (limit if warn is None else warn))
        return any(answer.any() and not answer.all() for answer in answers)


def rates_of(cell: CellReport) -> list[ReportedEstimate]:
    """Return the rates that an exact estimate consists of: one, or members' and nonmembers'."""
    if cell.members is not None and cell.nonmembers is not None:
        return [cell.members, cell.nonmembers]
    return [cell.estimate] if cell.estimate is not None else []


def family_of(cell: CellReport) -> Family[Any]:
    """Return the family of a cell's metric."""
    return load_attack(cell.probe).metrics[cell.metric].family


def is_of_canaries(cell: CellReport) -> bool:
    """Whether a cell is about planted canaries."""
    return not load_attack(cell.probe).measures_patients


def _field_of(subgroup: str) -> str | None:
    """Return the static field of whose values a subgroup is one, or None.

    >>> _field_of("race=Other"), _field_of("rare_code<=3"), _field_of("age>85"), _field_of("all")
    ('race', None, None, None)
    """
    field, equals, _ = subgroup.partition("=")
    return field if equals and not field.endswith("<") else None
