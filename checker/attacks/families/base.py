"""What a family of metrics answers, and the values that its answers are made of.

A metric's family is the one object that knows how its numbers behave: how observations become an
estimate with bounds, what zero hits would show, what a sample can decide before any model runs,
which limits make sense, and what a report has to know to withhold counts. Plan, judge, lint and
report ask it and never its name, so that a new family is one class and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

from checker import stats
from checker.canonical import JsonModel

QFrom = Literal["probabilities", "hits"]

if TYPE_CHECKING:  # slow to import, and reading a policy needs it not
    import numpy as np

    from checker.stats.estimate import Estimate

Group = TypeVar("Group")
"""What is observed of one split, as in `.samples`: clusters, ranked patients."""


class Sample(JsonModel):
    """Who is there to be measured.

    For attribute metrics `members` and `nonmembers` are *eligible positives* (the class recurs
    within the horizon of the cut), `*_positive` are all positives and `*_negative` those without
    the class who have a prompt; for membership metrics they are all scored patients and the rest
    is None. `rollouts` counts continuations where they are what is measured. `subgroup_members` are
    all members of the cell's subgroup, whoever can be measured. `too_long_share` are those whose
    prompt leaves the model no room to go on, of all who would have one, where that share is larger.
    `effective_*` are as many patients with prompts of their own as tell as much, where some of the
    eligible share one (METHODS §1, *Shared prompts*); None where none do.
    """

    members: int
    nonmembers: int
    subgroup_members: int | None = None
    rollouts: int | None = None
    members_positive: int | None = None
    nonmembers_positive: int | None = None
    members_negative: int | None = None
    nonmembers_negative: int | None = None
    distinct_prompt_share: float | None = None
    effective_members: int | None = None
    effective_nonmembers: int | None = None
    too_long_share: float | None = None

    @property
    def as_independent(self) -> Sample:
        """The same with as many patients as tell as much by themselves."""
        inside, outside = self.effective_members, self.effective_nonmembers
        update = {
            "members": self.members if inside is None else inside,
            "nonmembers": self.nonmembers if outside is None else outside,
        }
        return self.model_copy(update=update)


class Power(JsonModel):
    """What the plan says before any model runs.

    `zero_hit_bound` is the upper bound that zero hits would give; the cell cannot pass when it lies
    above the limit, and `needed_more` says how many more members (eligible ones, for attribute
    metrics) that would take, `needed_more_nonmembers` how many more nonmembers, and
    `needed_more_rollouts` how many more continuations where these are what is counted.
    `pass_probability` is that of a pass when the true excess is zero and the background rate is
    `base_rate`.
    """

    can_pass: bool
    zero_hit_bound: float | None = None
    needed_more: int | None = None
    needed_more_nonmembers: int | None = None
    needed_more_rollouts: int | None = None
    pass_probability: float | None = None
    base_rate: float | None = None

    @classmethod
    def of_sizes(cls, sample: Sample, *, needed: int) -> Self:
        """Return the power of a sample that only has to have `needed` patients in each split."""
        short, short_others = (
            max(0, needed - size) for size in (sample.members, sample.nonmembers)
        )
        return cls(
            can_pass=not short and not short_others,
            needed_more=short or None,
            needed_more_nonmembers=short_others or None,
        )

    @classmethod
    def short_of(cls, sample: Sample, *, needed: int) -> Self:
        """Return the power of a sample that cannot do without `needed` patients in each split."""
        return cls.of_sizes(sample, needed=needed).model_copy(update={"can_pass": False})


@dataclass(frozen=True, slots=True)
class Measurement:
    """A cell's estimate, and the two parts that an excess is the difference of.

    Args:
        estimate: of the metric.
        members: the members' part, where the metric has parts.
        nonmembers: the nonmembers' part.
        reported: further metrics that are only ever reported, by name.
        q_from: what a patient's q was had from, where there is one: how likely the model was to
            name the class at each step, or the continuations that did.
    """

    estimate: Estimate
    members: Estimate | None = None
    nonmembers: Estimate | None = None
    reported: dict[str, Estimate] = field(default_factory=dict)
    q_from: QFrom | None = None


class Family(ABC, Generic[Group]):
    """Metrics whose numbers behave alike.

    A family without parameters is equal to any other of its class; one with parameters is a frozen
    dataclass. Either can be the key of a cache.

    Attributes:
        name: in words with hyphens, for people who study families; nothing decides by it.
        null_value: what the metric is when nothing leaks, for families with a placebo.
        is_excess: it subtracts what the same attack finds among nonmembers.
        is_paired: its groups hold differences between the model under audit and a reference model.
        separates_splits: it says how well members are told from nonmembers.
        needs_identifying_prompts: it says nothing where many patients share a prompt (METHODS §1).
        takes_everybody: patients without the class are measured too.
        of_patients: False where no patients are counted, so that none make up a subgroup.
        is_share: its numbers are shares of patients, or of continuations, so that with n they give
            a count away.
        counts_patients: its numbers are themselves numbers of patients, so that shared reports
            withhold them.
        has_common_n: the estimate's n is that of both splits, while its hits are members alone.
        largest: a limit cannot lie above it; None where nothing bounds the metric.
        takes_max_count: a policy may demand that it never occurs (`maxCount: 0`).
        counts_hits: "x of n" patients of each split that it looks at give its estimate.
        has_sequence: there are bounds that hold after every patient, so that an audit may stop
            early.
        decided_by_zero_hits: the fewest patients that can pass follow from the limit alone.
        varies_less_than_planned: the plan assumes outcomes that vary most, so that the announced
            probability of a pass is a lower bound.
        shortage_reason: given where too little was measured; None where that depends on the cell.
    """

    name: ClassVar[str]
    null_value: ClassVar[float] = 0.0
    is_excess: ClassVar[bool] = False
    is_paired: ClassVar[bool] = False
    separates_splits: ClassVar[bool] = False
    needs_identifying_prompts: ClassVar[bool] = True
    takes_everybody: ClassVar[bool] = False
    of_patients: ClassVar[bool] = True
    is_share: ClassVar[bool] = False
    counts_patients: ClassVar[bool] = False
    has_common_n: ClassVar[bool] = False
    largest: ClassVar[float | None] = 1.0
    takes_max_count: ClassVar[bool] = False
    counts_hits: ClassVar[bool] = False
    has_sequence: ClassVar[bool] = False
    decided_by_zero_hits: ClassVar[bool] = False
    varies_less_than_planned: ClassVar[bool] = False
    shortage_reason: ClassVar[str | None] = None

    def __eq__(self, other: object) -> bool:
        """Compare by class: what distinguishes two objects of one class is for it to say."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        """Agree with `__eq__`."""
        return hash(type(self))

    @property
    def direction(self) -> Family[Group] | None:
        """The family whose upper bound below its `null_value` means that something is exchanged.

        It measures the same groups. None where nobody knows what chance gives.
        """
        return self if self.is_excess or self.separates_splits else None

    def with_params(self, params: Any) -> Family[Group]:
        """Return the family as an attack with these parameters measures it."""
        return self

    def varying(self, spread: float) -> Family[Group]:
        """Return the family for plans that know how much what is observed varies between patients.

        Args:
            spread: variance as a share of a coin's of the same mean, in [0, 1].
        """
        return self

    @abstractmethod
    def measure(
        self, members: Group, nonmembers: Group | None, *, confidence: float
    ) -> Measurement:
        """Estimate the metric with one-sided bounds at `confidence`.

        Args:
            members: what was observed of them.
            nonmembers: the same of nonmembers; an excess is taken over them, others do not look.
            confidence: of each bound, in (0, 1).

        Raises:
            InsufficientData: too little to estimate from.
        """

    def placebo(
        self, nonmembers: Group, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        """Measure the same between two random halves of the nonmembers, where nothing can differ.

        Returns:
            An estimate whose bounds hold `null_value` unless the instrument is broken for this
            data; None for what compares nothing, or where a half is too small for bounds.

        Raises:
            InsufficientData: there are no halves, so that a pass would go unchecked.
        """
        return None

    def placebo_misses(self, sample: Sample, *, confidence: float, base_rate: float) -> float:
        """Say how likely a sound placebo's bounds miss what chance gives, before any model runs.

        Args:
            sample: of the cell.
            confidence: of each of the two bounds.
            base_rate: background rate of a hit.

        Returns:
            In [0, 1]: what the bounds promise, unless a family knows better; 0 where there is no
            placebo, and 1 where one is asked for and cannot be made.
        """
        has_placebo = type(self).placebo is not Family.placebo
        return 2 * (1 - confidence) if has_placebo else 0.0

    def zero_hit_bound(
        self, found: Measurement, *, confidence: float, partial: bool = False
    ) -> float | None:
        """Return the upper bound that zero hits would give at the n that was measured.

        Args:
            found: gives n.
            confidence: of the bound.
            partial: more patients were planned than have been drawn.

        Returns:
            None for families that count no hits, and where n is not known.
        """
        return None

    def looked_at(self, sample: Sample) -> int:
        """Return of how many members, of those who are there, the measurement speaks."""
        return sample.members

    @abstractmethod
    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        """Say what a sample can decide about a limit, and what it lacks (METHODS §6, *Power*).

        Args:
            limit: on the metric.
            sample: who is there.
            confidence: of each bound.
            base_rate: background rate of a hit that the policy assumes.
        """

    def false_pass(
        self, limit: float, sample: Sample, *, times: float, confidence: float, base_rate: float
    ) -> float | None:
        """Say how likely a model passes that leaks so many times what the limit allows.

        Args:
            limit: on the metric.
            sample: who is there, enough for bounds.
            times: what leaks, over chance, as a multiple of what the limit allows over chance.
            confidence: of each bound.
            base_rate: background rate of a hit.

        Returns:
            In [0, 1], or the most it can be; None for families that cannot say.
        """
        return None

    def positives_needed(self, limit: float, *, confidence: float) -> int:
        """Return the fewest members, and nonmembers where they count, whom zero hits would pass."""
        return stats.positives_needed(limit, confidence=confidence)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        """Return the probability that a sound model passes with a sample of a realistic size.

        Args:
            limit: on the metric.
            positives: patients with the class in each split, where there is one.
            patients: in each split.
            confidence: of each bound.

        Returns:
            In [0, 1]; None where nobody knows before the data.

        Raises:
            InsufficientData: so many would not even give bounds.
        """
        return None


def seeded(seed: int) -> np.random.Generator:
    """Return a generator for resamples that must be the same whenever they are drawn again."""
    import numpy as np

    return np.random.default_rng(seed)
