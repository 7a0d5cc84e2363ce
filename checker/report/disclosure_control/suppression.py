"""Which numbers of a report are suppressed, so that none speaks of a few patients.

*Primary suppression.* Where fewer than `minCell` patients were hit, none included, a cell's numbers
are withheld: zero is suppressed like one to ten, or its absence would give it away.

*Secondary suppression.* What a subgroup withholds must not follow from the others: the values of a
static field are shown all or none, and a subgroup is withheld where few patients, or few hits, are
left outside it.

*What verdicts tell.* Limits are a public ruler held against counts: a cell that passes at 5 % with
n between 59 and 92 had no hit at all, and two limits have a bound between them. Verdicts stay. So
all cells about the patients of one class, whatever their limit, metric and attacker, are taken
together: unless each would have been judged alike for every count rounded alike
(`disclosure_control.outcomes`), all their numbers are withheld, n with them.

Canaries are no patients, and nothing of theirs is suppressed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from checker.attacks.api import load_attack
from checker.report.disclosure_control.outcomes import Outcomes, family_of, is_few
from checker.report.disclosure_control.rounding import Rounding, hits_of
from checker.report.disclosure_control.sizes import Sizes
from checker.report.model import CellReport, Report


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
        self._cells = [cell for cell in report.cells if not is_of_canaries(cell)]
        self._min_cell = report.policy.min_cell
        self._rounding = Rounding(self._min_cell)
        self._outcomes = Outcomes(report, self._rounding)
        self._primary = {cell.id for cell in self._cells if self._is_few(cell)}
        self._suppressed = self._primary | set(self._secondary())
        self._without_n = self._patients_without_n()
        self._sizes = Sizes(
            self._cells, self._outcomes, self._rounding, most=self._known_sizes(report)
        )

    def _known_sizes(self, report: Report) -> tuple[int | None, int | None]:
        """Return the fewest members and nonmembers that what is said of their number leaves."""
        target = report.target
        members, nonmembers = (
            None if count is None or self.covers_cohort_size else self._rounding.ends(count)[0]
            for count in (target.members, target.nonmembers)
        )
        return members, nonmembers

    def covers(self, cell: CellReport) -> bool:
        """Whether a cell's numbers are withheld, or its n and with it all numbers."""
        return cell.id in self._suppressed or _Patients.of(cell) in self._without_n

    @property
    def covers_cohort_size(self) -> bool:
        """Whether the numbers of members and nonmembers would pin a count that is withheld."""
        # cells about no class are about everybody, so that their n is the cohort's size
        return any(one.attribute_class is None and one.subgroup == "all" for one in self._without_n)

    def times_limit(self, cell: CellReport) -> int | None:
        """Return how many times its limit a failure exceeds at least, whose numbers are withheld.

        None where that would tell a count (`disclosure_control.sizes`).
        """
        return self._sizes.of(cell)

    def _is_few(self, cell: CellReport) -> bool:
        """Whether some count of a cell is too small for its numbers to be shown at all."""
        measured = cell.estimate.n if cell.estimate is not None else None
        if self._few_were_asked(cell) or (measured is not None and measured < self._min_cell):
            return True
        return is_few(cell, self._rounding)

    def _few_were_asked(self, cell: CellReport) -> bool:
        sample = cell.sample
        if sample is None:
            return False
        counts = [sample.members, sample.nonmembers]
        if family_of(cell).takes_everybody:  # ranked against patients without the class
            counts += [sample.members_negative or 0, sample.nonmembers_negative or 0]
        return min(counts) < self._min_cell

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
        """Return the patients whose number would pin a count, by what is said of some cell.

        The values of a static field add up to all patients, so they are withheld together. Whoever
        all patients of a class are, each of its subgroups is part of them.
        """
        telling = [
            cell
            for cell in self._cells
            if self._few_were_asked(cell) or not self._outcomes.are_alike(cell)
        ]
        pinned = {_Patients.of(cell) for cell in telling}
        pinned |= {
            _Patients(cell.attribute_class, "all")
            for cell in telling
            if cell.subgroup != "all" and self._whole_tells(cell)
        }
        fields = {(one.attribute_class, one.field) for one in pinned if one.field}
        wholes = {one.attribute_class for one in pinned if one.subgroup == "all"}
        everyone = {_Patients.of(cell) for cell in self._cells}
        return pinned | {
            one
            for one in everyone
            if one.attribute_class in wholes
            or (one.field is not None and (one.attribute_class, one.field) in fields)
        }

    def _whole_tells(self, part: CellReport) -> bool:
        """Whether a subgroup passes and no more patients than the class has leave fewer counts."""
        if part.verdict != "pass":
            return False
        wholes = (
            cell.members
            for cell in self._cells
            if (cell.attribute_class, cell.subgroup) == (part.attribute_class, "all")
            and cell.members is not None
        )
        return not all(self._outcomes.few_could_be_any(part, whole) for whole in wholes)


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
