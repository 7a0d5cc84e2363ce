"""Families of how well a score ranks patients: AUROC, true-positive rate, average precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from checker import stats
from checker.attacks.families.base import Family, Measurement, Power, Sample, seeded
from checker.errors import InsufficientData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from checker.attacks.families.samples import Ranked
    from checker.stats.estimate import Estimate

Scores: TypeAlias = "NDArray[np.float64]"

_RESAMPLING_SEED = 2
"""Of the bootstrap: equal observations give equal bounds, at whichever confidence."""


class Auroc(Family["Ranked"]):
    """How well members with the class are told from members without it; 0.5 is chance."""

    name: ClassVar[str] = "auroc"
    null_value: ClassVar[float] = 0.5
    takes_everybody: ClassVar[bool] = True

    @property
    def direction(self) -> Family[Ranked] | None:
        """Itself: who has the class is not ranked below who has not."""
        return self

    def rank(self, group: Ranked, *, confidence: float) -> Estimate:
        """Return how well one split is ranked."""
        return stats.auroc(group.positives, group.negatives, confidence=confidence)

    def measure(
        self, members: Ranked, nonmembers: Ranked | None = None, *, confidence: float
    ) -> Measurement:
        """Rank the members."""
        inside = self.rank(members, confidence=confidence)
        return Measurement(inside, members=inside)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """An AUROC has no zero-hit bound: it can pass when chance level would."""
        try:
            chance = stats.pass_probability_auroc(
                sample.members, sample.members_negative or 0, limit=limit, confidence=confidence
            )
        except InsufficientData:
            return Power.short_of(sample, needed=stats.MIN_GROUP)
        return Power(can_pass=chance > 0, pass_probability=chance)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Take as many of each kind as there are patients: the most that can be hoped for."""
        return stats.pass_probability_auroc(patients, patients, limit=limit, confidence=confidence)


class _RankedDifference(Family["Ranked"]):
    """What ranks each split, subtracted; goes before the class whose `rank` it takes."""

    null_value: ClassVar[float] = 0.0
    is_excess: ClassVar[bool] = True

    if TYPE_CHECKING:

        def rank(self, group: Ranked, *, confidence: float) -> Estimate: ...

    def measure(
        self, members: Ranked, nonmembers: Ranked | None = None, *, confidence: float
    ) -> Measurement:
        """Rank each split and subtract."""
        assert nonmembers is not None  # an excess is taken over somebody
        inside, outside = (self.rank(one, confidence=confidence) for one in (members, nonmembers))
        return Measurement(stats.difference(inside, outside), inside, outside)

    def placebo(
        self, nonmembers: Ranked, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Subtract what ranks two halves; None where a half is too small for bounds."""
        first, second = nonmembers.halves(rng)
        try:
            return self.measure(first, second, confidence=confidence).estimate
        except InsufficientData:
            return None


class AurocDifference(_RankedDifference, Auroc):
    """The same beyond nonmembers; 0 is no difference."""

    name: ClassVar[str] = "auroc-difference"

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Ask how likely a difference passes where neither split is ranked better than chance."""
        try:
            chance = stats.pass_probability_auroc_difference(
                (sample.members, sample.members_negative or 0),
                (sample.nonmembers, sample.nonmembers_negative or 0),
                limit=limit,
                confidence=confidence,
            )
        except InsufficientData:
            return Power.short_of(sample, needed=stats.MIN_GROUP)
        return Power(can_pass=chance > 0, pass_probability=chance)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Take the same number of positives in both splits."""
        groups = positives, patients
        return stats.pass_probability_auroc_difference(
            groups, groups, limit=limit, confidence=confidence
        )


class SplitAuroc(Family["Scores"]):
    """How well a score tells members from nonmembers; 0.5 is chance."""

    name: ClassVar[str] = "auroc"
    null_value: ClassVar[float] = 0.5
    separates_splits: ClassVar[bool] = True
    needs_identifying_prompts: ClassVar[bool] = False

    def measure(
        self, members: Scores, nonmembers: Scores | None, *, confidence: float
    ) -> Measurement:
        """Rank members against nonmembers."""
        assert nonmembers is not None  # somebody has to be told from them
        return Measurement(stats.auroc(members, nonmembers, confidence=confidence))

    def placebo(
        self, nonmembers: Scores, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Tell one half of the nonmembers from the other: 0.5 but for chance."""
        if len(nonmembers) < 2:
            raise InsufficientData("nonmembers", needed=2, got=len(nonmembers))
        shuffled = rng.permutation(nonmembers)
        half = len(nonmembers) // 2
        return stats.auroc(shuffled[:half], shuffled[half:], confidence=confidence)

    def placebo_misses(self, sample: Sample, *, confidence: float, base_rate: float) -> float:
        """Either half must be large enough for an AUROC."""
        return 1.0 if sample.nonmembers < 2 * stats.MIN_GROUP else 2 * (1 - confidence)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """An AUROC has no zero-hit bound: it can pass when chance level would."""
        try:
            chance = stats.pass_probability_auroc(
                sample.members, sample.nonmembers, limit=limit, confidence=confidence
            )
        except InsufficientData:
            return Power.short_of(sample, needed=stats.MIN_GROUP)
        return Power(can_pass=chance > 0, pass_probability=chance)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Take as many members as nonmembers."""
        return stats.pass_probability_auroc(patients, patients, limit=limit, confidence=confidence)

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Take so many times the distance from chance."""
        return stats.pass_probability_auroc(
            sample.members,
            sample.nonmembers,
            limit=limit,
            confidence=confidence,
            truth=min(0.5 + times * (limit - 0.5), 1.0),
        )


@dataclass(frozen=True)
class TruePositiveRate(Family["Scores"]):
    """The share of members caught at a price of so many nonmembers accused.

    Args:
        fpr: the false-positive rate, in (0, 1); an attack with such a metric has a parameter of
            this name.
    """

    fpr: float = 0.01

    name: ClassVar[str] = "tpr"
    separates_splits: ClassVar[bool] = True
    needs_identifying_prompts: ClassVar[bool] = False
    is_share: ClassVar[bool] = True
    has_common_n: ClassVar[bool] = True

    @property
    def direction(self) -> Family[Scores] | None:
        """The AUROC of the same scores: so rare a catch is too seldom to be rarer than chance."""
        return SplitAuroc()

    def with_params(self, params: Any) -> TruePositiveRate:
        """Take the false-positive rate that a control asks for."""
        return TruePositiveRate(params.fpr)

    def measure(
        self, members: Scores, nonmembers: Scores | None, *, confidence: float
    ) -> Measurement:
        """Count members beyond a threshold that nonmembers bound."""
        assert nonmembers is not None  # somebody has to be told from them
        return Measurement(
            stats.tpr_at_fpr(members, nonmembers, fpr=self.fpr, confidence=confidence)
        )

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Ask how likely members who score like nonmembers pass."""
        try:
            chance = self._chance(
                sample.members, sample.nonmembers, limit=limit, confidence=confidence
            )
        except InsufficientData as shortage:
            missing = max(1, shortage.needed - shortage.got)
            return Power(can_pass=False, needed_more_nonmembers=missing)
        return Power(can_pass=chance > 0, pass_probability=chance)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Take as many members as nonmembers."""
        return self._chance(patients, patients, limit=limit, confidence=confidence)

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Take members of whom so many are found at the false-positive rate itself."""
        return stats.pass_probability_tpr(
            sample.members,
            sample.nonmembers,
            limit=limit,
            fpr=self.fpr,
            confidence=confidence,
            truth=min(times * limit, 1.0),
        )

    def _chance(self, members: int, nonmembers: int, *, limit: float, confidence: float) -> float:
        return stats.pass_probability_tpr(
            members, nonmembers, limit=limit, fpr=self.fpr, confidence=confidence
        )


class AveragePrecision(Family["Ranked"]):
    """How precisely members with the class are ranked; chance gives the share who have it."""

    name: ClassVar[str] = "auprc"
    takes_everybody: ClassVar[bool] = True

    def rank(self, group: Ranked, *, confidence: float) -> Estimate:
        """Return how precisely one split is ranked."""
        return stats.auprc(
            group.positives,
            group.negatives,
            confidence=confidence,
            rng=seeded(_RESAMPLING_SEED),
            prevalence=group.prevalence,
        )

    def measure(
        self, members: Ranked, nonmembers: Ranked | None = None, *, confidence: float
    ) -> Measurement:
        """Rank the members."""
        inside = self.rank(members, confidence=confidence)
        return Measurement(inside, members=inside)

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Say whether there are enough; the spread is not known before the data."""
        inside = sample.members, sample.members_negative or 0
        return Power(can_pass=not any(stats.auprc_shortage(*inside)), needed_more=_lacking(*inside))


class AveragePrecisionDifference(_RankedDifference, AveragePrecision):
    """The same beyond nonmembers; 0 is no difference."""

    name: ClassVar[str] = "auprc-difference"

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Say whether there are enough in both splits."""
        inside = sample.members, sample.members_negative or 0
        outside = sample.nonmembers, sample.nonmembers_negative or 0
        return Power(
            can_pass=not any((*stats.auprc_shortage(*inside), *stats.auprc_shortage(*outside))),
            needed_more=_lacking(*inside),
            needed_more_nonmembers=_lacking(*outside),
        )


def _lacking(positives: int, negatives: int) -> int | None:
    """Return how many more positives alone would do, at the least; None where none are short."""
    return max(0, stats.MIN_CLASS - positives, stats.MIN_SAMPLE - positives - negatives) or None
