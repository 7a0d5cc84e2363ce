"""The family of members who stand out one by one: a number of people, and no share of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from checker import stats
from checker.attacks.families.base import Family, Measurement, Power, Sample
from checker.attacks.families.ranked import SplitAuroc
from checker.errors import InsufficientData

if TYPE_CHECKING:
    from checker.attacks.families.ranked import Scores


@dataclass(frozen=True)
class ExposedMembers(Family["Scores"]):
    """How many members score above a nonmember of a rank because they were trained on.

    A limit is a number of people, whatever the size of the cohort, and so small that it is a few of
    the fewest who are looked at.

    Args:
        rank: of that nonmember from the top, >= 1; an attack with such a metric has a parameter of
            this name.
    """

    rank: int = 1

    name: ClassVar[str] = "exposed-members"
    separates_splits: ClassVar[bool] = True
    needs_identifying_prompts: ClassVar[bool] = False
    counts_patients: ClassVar[bool] = True
    largest: ClassVar[float | None] = 15.0

    @property
    def direction(self) -> Family[Scores] | None:
        """The AUROC of the same scores: a few at the top do not show what is exchanged."""
        return SplitAuroc()

    def with_params(self, params: Any) -> ExposedMembers:
        """Take the rank that a control asks for."""
        return ExposedMembers(params.rank)

    def measure(
        self, members: Scores, nonmembers: Scores | None, *, confidence: float
    ) -> Measurement:
        """Count members above the nonmember, and take off what chance gives."""
        assert nonmembers is not None  # somebody has to be stood out from
        return Measurement(
            stats.exposed_members(members, nonmembers, rank=self.rank, confidence=confidence)
        )

    def looked_at(self, sample: Sample) -> int:
        """Return how many members are looked at: beside few nonmembers a lot of them."""
        return stats.looked_at(sample.members, sample.nonmembers)

    def positives_needed(self, limit: float, *, confidence: float) -> int:
        """Return the fewest who are enough to look at, whatever the limit."""
        return stats.MIN_MEMBERS

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Ask how likely exchangeable members pass."""
        try:
            chance = self._chance(limit, sample)
        except InsufficientData:
            outside = max(stats.MIN_NONMEMBERS, self.rank) - sample.nonmembers
            return Power(
                can_pass=False,
                needed_more=max(0, stats.MIN_MEMBERS - sample.members) or None,
                needed_more_nonmembers=max(0, outside) or None,
            )
        return Power(can_pass=chance > 0, pass_probability=chance)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Take as many members as nonmembers."""
        return self._chance(limit, Sample(members=patients, nonmembers=patients))

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Take so many times the limit who stand out: one more than it is one too many."""
        return self._chance(limit, sample, exposed=times * limit)

    def _chance(self, limit: float, sample: Sample, *, exposed: float = 0.0) -> float:
        return stats.pass_probability_exposed(
            sample.members, sample.nonmembers, limit=limit, rank=self.rank, exposed=exposed
        )
