"""T1, trajectory memorization: does the model write down what truly happened next?

Tonekaboni et al. (arXiv 2510.12950), test T1: from what the attacker knows the model draws S
continuations, and their distance to the true one is taken
(`checker.attacks.trajectory_memorization.distance`). A low distance alone is skill as much as
memory, so phigate reports how much lower it is for members than for nonmembers, and beside it what
chance gives. Extraction is the stricter question (Carlini et al. 2021, arXiv 2012.07805): does a
continuation repeat `minRun` true tokens in a row?

Where a prompt identifies nobody there is no true continuation to hold against, and the question
becomes whose records the continuations repeat at all: `regurgitation_excess`. Its sampling unit is
the rollout, because the distinct prompts of such an attacker are all he has and no sample.

*How regurgitation is bounded.* Members stand in G groups, each as large as the set of nonmembers it
is held against (`checker.attacks.trajectory_memorization.verbatim`). B is the share of rollouts
that repeat a group, and D the mean share that repeat nonmembers as against one group. What a model
without memory of its members would score for B lies between D (its matches always fall upon the
same rollouts) and G · D (never), by Bonferroni's inequalities. So the upper bound is that of B - D
and the lower one that of B - G · D. The value is the sum of the groups' differences, which is
unbiased. (Its own bounds would not do: zero hits among n rollouts would bound it by G times as
much as B.)

Two things are drawn at random: rollouts, which square-and-add over Clopper-Pearson limits takes
care of, and which patients are in a set, which it does not. Where many runs are common property
that is most of the error: with pieces of 226 further Synthea patients as rollouts, a model that
memorized nobody, such bounds alone excluded zero in 31 % of 150 draws instead of 10 %. A jackknife
over the nonmembers adds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtri

from checker import stats
from checker.attacks.api import Access, CellEvidence, Measurement, Metric, Observes, Params, Probe
from checker.attacks.observations import Clusters, booleans, in_subgroup
from checker.errors import InsufficientData
from checker.stats.bootstrap import (
    MIN_SAMPLE,
    bootstrap,
    bootstrap_mean,
    bootstrap_mean_difference,
)
from checker.stats.estimate import Estimate

__all__ = [
    "RegurgitationObservations",
    "TrajectoryMemorization",
    "TrajectoryMemorizationParams",
    "TrajectoryObservations",
]

_SEED: Final = 20251012
"""Of the resamples. One for all: bounds must be monotone in the confidence they are asked for."""

_METHOD: Final = "square-and-add over clopper-pearson and a jackknife over patients"


class TrajectoryMemorizationParams(Params):
    """Parameters of `trajectory-memorization`."""

    samples: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="continuations a prompt")
    horizon_tokens: Annotated[int, Field(ge=1)] = Field(
        100, description="continuations, drawn and true, are cut to this many tokens"
    )
    min_run: Annotated[int, Field(ge=1)] = Field(
        20, description="extracted from so many true tokens in a row on"
    )
    labels: Annotated[str, Field(min_length=1)] = Field(
        "lexical",
        description="how alike codes are: 'lexical' (their words and hierarchy), or the folder of a"
        " local sentence-transformers model",
    )
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95

    @model_validator(mode="after")
    def _run_fits_horizon(self) -> TrajectoryMemorizationParams:
        if self.min_run > self.horizon_tokens:
            raise ValueError("minRun exceeds horizonTokens: no continuation could be that long")
        return self


@dataclass(frozen=True, slots=True)
class TrajectoryObservations:
    """How near n patients' continuations came to what truly followed.

    Only patients with at least `minRun` true tokens behind the prompt are here.

    Args:
        member: [n] bool.
        extracted: [n] bool, a continuation repeats `minRun` true tokens in a row.
        distance: [n] float64 >= 0, mean distance of the patient's continuations.
        random_distance: [n] float64, of tokens drawn by their frequency.
        frequent_distance: [n] float64, of the most frequent codes.
        prompt: [n] int64, equal for equal prompts.
        unanswered: patients whom the evidence should speak of and does not.
    """

    member: NDArray[np.bool_]
    extracted: NDArray[np.bool_]
    distance: NDArray[np.float64]
    random_distance: NDArray[np.float64]
    frequent_distance: NDArray[np.float64]
    prompt: NDArray[np.int64]
    unanswered: int = 0

    def eligible(self, *, member: bool) -> int:
        """Return how many patients of one split were measured."""
        return int((self.member == member).sum())

    def base_scores(self) -> None:
        """Return None: no class is in question."""
        return

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Share of distinct prompts in the split where it is lower; None without patients."""
        shares = [
            len(np.unique(prompts)) / len(prompts)
            for member in (True, False)
            if len(prompts := self.prompt[self.member == member])
        ]
        return min(shares, default=None)

    def extractions(self, *, member: bool) -> tuple[float, int]:
        """Return hits and effective number of patients of one split, clustered by prompt."""
        chosen = self.member == member
        _, row, size = np.unique(self.prompt[chosen], return_inverse=True, return_counts=True)
        share = np.bincount(row, weights=self.extracted[chosen], minlength=len(size)) / size
        return Clusters(share, size).counted(share)


@dataclass(frozen=True, slots=True)
class RegurgitationObservations:
    """Whose records R rollouts repeat; columns as in `verbatim.Regurgitation`."""

    member_groups: NDArray[np.int64]
    nonmember_groups: NDArray[np.int64]
    repeated: NDArray[np.int64]
    halves: NDArray[np.int64]
    groups: int
    nonmembers: int
    unanswered: int = 0

    def eligible(self, *, member: bool) -> None:
        """Return None: rollouts count here, not patients."""
        return

    def base_scores(self) -> None:
        """Return None: no class is in question."""
        return

    def distinct_prompt_share(self, *, everybody: bool) -> None:
        """Return None: it means as much where all share one prompt."""
        return


class TrajectoryMemorization(Probe):
    """How near continuations come to the truth, and whose records they repeat."""

    name: ClassVar[str] = "trajectory-memorization"
    title: ClassVar[str] = "Trajectory memorization"
    paper_test: ClassVar[str | None] = "T1"
    access: ClassVar[Access] = "samples"
    observes: ClassVar[Observes] = "trajectories"
    needs_attribute_class: ClassVar[bool] = False
    needs_whole_record: ClassVar[bool] = False
    params_type: ClassVar[type[Params]] = TrajectoryMemorizationParams
    metrics: ClassVar[dict[str, Metric]] = {
        metric.name: metric
        for metric in (
            Metric("extraction_rate", "members extracted word for word", "rate"),
            Metric(
                "excess_extraction",
                "members extracted word for word beyond nonmembers",
                "rate-difference",
            ),
            Metric(
                "regurgitation_excess",
                "continuations that repeat members' records beyond nonmembers'",
                "set-difference",
                identifying_prompts=False,
                of_patients=False,
            ),
            Metric(
                "distance_gap",
                "how much nearer to the truth continuations are for members than for nonmembers",
                "gap",
                unit="distance",
                largest=2.0,
            ),
            Metric(
                "random_distance",
                "distance of random tokens to the truth of members",
                "gap",
                limitable=False,
                unit="distance",
                largest=2.0,
            ),
            Metric(
                "frequent_distance",
                "distance of the most frequent codes to the truth of members",
                "gap",
                limitable=False,
                unit="distance",
                largest=2.0,
            ),
        )
    }

    @classmethod
    def observations(
        cls, evidence: CellEvidence
    ) -> TrajectoryObservations | RegurgitationObservations:
        """Take one subgroup's patients, or everybody's rollouts."""
        if "regurgitation" in evidence.tables:
            return _regurgitation_observations(pa.concat_tables(evidence.tables["regurgitation"]))
        return _trajectory_observations(evidence)

    @classmethod
    def measure(
        cls,
        metric: str,
        observations: TrajectoryObservations | RegurgitationObservations,
        *,
        params: TrajectoryMemorizationParams,
        confidence: float,
    ) -> Measurement:
        """Estimate one of the metrics."""
        if isinstance(observations, RegurgitationObservations):
            return _regurgitation_excess(observations, confidence=confidence)
        if metric == "distance_gap":
            return _distance_gap(observations, confidence=confidence)
        inside = observations.extractions(member=True)
        members = _rate(inside, "members with a continuation", confidence=confidence)
        if metric == "extraction_rate":
            return Measurement(members, members=members)
        outside = observations.extractions(member=False)
        nonmembers = _rate(outside, "nonmembers with a continuation", confidence=confidence)
        excess = stats.rate_difference(*inside, *outside, confidence=confidence)
        return Measurement(excess, members, nonmembers)

    @classmethod
    def placebo(
        cls,
        metric: str,
        observations: TrajectoryObservations | RegurgitationObservations,
        *,
        params: TrajectoryMemorizationParams,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Compare two random halves of the nonmembers; None where the metric compares nothing."""
        if isinstance(observations, RegurgitationObservations):
            return _halves_difference(observations, confidence=confidence)
        outside = ~observations.member
        if metric == "excess_extraction":
            outcomes = observations.extracted[outside].astype(np.float64)
            return stats.placebo_difference(outcomes, confidence=confidence, rng=rng)
        if metric == "distance_gap":
            shuffled = rng.permutation(observations.distance[outside])
            half = len(shuffled) // 2
            return bootstrap(
                _gap,
                (shuffled[:half], shuffled[half:]),
                confidence=confidence,
                rng=rng,
                min_sample=MIN_SAMPLE // 2,  # halves of as many nonmembers as the gap asks for
            )
        return None


# --- from evidence ------------------------------------------------------------------------------


def _trajectory_observations(evidence: CellEvidence) -> TrajectoryObservations:
    table = pa.concat_tables(evidence.tables["trajectories"])
    keep = in_subgroup(table, evidence.subgroup)
    column = {
        name: table[name].to_numpy().astype(np.float64)[keep]
        for name in ("distance", "longest_run", "random_distance", "frequent_distance")
    }
    prompts = table["prompt"].combine_chunks().dictionary_encode().indices.to_numpy()
    unanswered = 0
    if evidence.labels is not None and not evidence.partial:
        wanted = in_subgroup(evidence.labels, evidence.subgroup)
        wanted &= booleans(evidence.labels, "eligible")
        unanswered = int(wanted.sum() - keep.sum())
    return TrajectoryObservations(
        member=booleans(table, "member")[keep],
        extracted=column["longest_run"] >= evidence.params.min_run,
        distance=column["distance"],
        random_distance=column["random_distance"],
        frequent_distance=column["frequent_distance"],
        prompt=prompts.astype(np.int64)[keep],
        unanswered=unanswered,
    )


def _regurgitation_observations(table: pa.Table) -> RegurgitationObservations:
    if table.num_rows == 0:
        raise InsufficientData("continuations", needed=1, got=0)
    return RegurgitationObservations(
        member_groups=table["member_groups"].to_numpy().astype(np.int64),
        nonmember_groups=table["nonmember_groups"].to_numpy().astype(np.int64),
        repeated=table["repeated"].to_numpy().astype(np.int64),
        halves=np.stack([table[name].to_numpy() for name in ("half_a", "half_b")], axis=1),
        groups=int(table["groups"][0].as_py()),
        nonmembers=int(table["nonmembers"][0].as_py()),
    )


# --- estimates ----------------------------------------------------------------------------------


def _rate(counted: tuple[float, int], what: str, *, confidence: float) -> Estimate:
    hits, n = counted
    if n == 0:
        raise InsufficientData(what, needed=1, got=0)
    return stats.rate(hits, n, confidence=confidence)


def _distance_gap(observations: TrajectoryObservations, *, confidence: float) -> Measurement:
    inside = observations.member

    def rng() -> np.random.Generator:
        return np.random.default_rng(_SEED)

    gap = bootstrap_mean_difference(
        observations.distance[~inside],
        observations.distance[inside],
        confidence=confidence,
        rng=rng(),
    )
    members, nonmembers, random, frequent = (
        _mean_where_it_varies(values, confidence=confidence, rng=rng())
        for values in (
            observations.distance[inside],
            observations.distance[~inside],
            observations.random_distance[inside],
            observations.frequent_distance[inside],
        )
    )
    baselines = {"random_distance": random, "frequent_distance": frequent}
    return Measurement(gap, members, nonmembers, {k: v for k, v in baselines.items() if v})


def _gap(first: NDArray[np.float64], second: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(first.mean(axis=axis) - second.mean(axis=axis))


def _mean_where_it_varies(
    values: NDArray[np.float64], *, confidence: float, rng: np.random.Generator
) -> Estimate | None:
    """Estimate a mean that stands beside the gap; None where there is nothing to resample."""
    try:
        return bootstrap_mean(values, confidence=confidence, rng=rng)
    except InsufficientData:
        return None


def _regurgitation_excess(
    observations: RegurgitationObservations, *, confidence: float
) -> Measurement:
    """Bound the share of rollouts that repeat members, what chance gives taken off."""
    n, groups = len(observations.member_groups), observations.groups
    repeats, chance = observations.member_groups, observations.nonmember_groups / groups
    members = stats.rate(float((repeats > 0).sum()), n, confidence=confidence)
    nonmembers = stats.rate(float(chance.sum()), n, confidence=confidence)
    spread = _spread_of_sets(
        observations.repeated, chance, patients=observations.nonmembers, confidence=confidence
    )
    most = members.value - nonmembers.value
    least = members.value - groups * nonmembers.value
    above = math.hypot(members.high - members.value, nonmembers.value - nonmembers.low)
    below = math.hypot(members.value - members.low, groups * (nonmembers.high - nonmembers.value))
    unbiased = float(repeats.mean()) - groups * nonmembers.value
    excess = Estimate(
        min(max(unbiased, least, -1.0), most),
        max(least - math.hypot(below, spread * math.sqrt(groups * (groups + 1))), -1.0),
        min(most + math.hypot(above, spread * math.sqrt(groups + 1)), 1.0),
        n,
        confidence,
        _METHOD,
    )
    return Measurement(excess, members, nonmembers)


def _halves_difference(observations: RegurgitationObservations, *, confidence: float) -> Estimate:
    """Bound the same difference between two halves of the nonmembers."""
    n = len(observations.halves)
    first, second = observations.halves.T
    halves = [
        stats.rate(float((half != 0).sum()), n, confidence=confidence) for half in (first, second)
    ]
    spread = math.hypot(
        *(
            _spread_of_sets(
                half,
                np.ones(n),
                patients=max(observations.nonmembers // 2, 1),
                confidence=confidence,
            )
            for half in (first, second)
        )
    )
    value = halves[0].value - halves[1].value
    below = math.hypot(halves[0].value - halves[0].low, halves[1].high - halves[1].value)
    above = math.hypot(halves[0].high - halves[0].value, halves[1].value - halves[1].low)
    return Estimate(
        value,
        max(value - math.hypot(below, spread), -1.0),
        min(value + math.hypot(above, spread), 1.0),
        n,
        confidence,
        _METHOD,
    )


def _spread_of_sets(
    repeated: NDArray[np.int64],
    weight: NDArray[np.float64],
    *,
    patients: int,
    confidence: float,
) -> float:
    """Return how far a set's share may lie from that of other sets of as many patients.

    The delete-one jackknife: without its k-th patient the set would lose the rollouts that repeat
    him alone.

    Args:
        repeated: [R] who is repeated, as in `Regurgitation`.
        weight: [R] in [0, 1], what a rollout adds to the share.
        patients: in the set.
        confidence: of one bound.
    """
    alone = repeated > 0
    lost = np.bincount(repeated[alone], weights=weight[alone]) / len(repeated)
    variance = (patients - 1) / patients * (float(lost @ lost) - float(lost.sum()) ** 2 / patients)
    return float(ndtri(confidence)) * math.sqrt(max(variance, 0.0))
