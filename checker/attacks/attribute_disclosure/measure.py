"""T2: the share of eligible positives whose class most continuations name.

A patient counts as disclosed when q, the share of naming continuations, exceeds the threshold.
q also ranks patients: AUROC and average precision ask how well it tells eligible positives from
patients without the class. A positive whose code lies beyond the horizon is neither. Precision and
recall at the threshold are reported beside every metric that they can be computed for.

Where a control takes its excess over a reference model, the same patients are asked of both models
and what the reference tells is subtracted patient by patient, members and nonmembers alike: the
difference in differences of METHODS §3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Measurement, Measuring, Observations
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.rollouts import Clusters, cell_shares
from checker.attacks.tables import booleans, in_subgroup
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate
from checker.stats.paired import difference_in_differences, paired_difference
from checker.stats.precision_recall import auprc, auprc_difference

_RANKINGS = {
    "attribute_auroc",
    "excess_attribute_auroc",
    "attribute_auprc",
    "excess_attribute_auprc",
}
"""Metrics that rank patients by q instead of asking who is beyond the threshold."""

_Score = Callable[[NDArray[np.float64], float], NDArray[np.float64]]
"""Takes shares and the threshold to outcomes in [0, 1]."""

_RESAMPLING_SEED = 2
"""Of the bootstrap: equal observations give equal bounds, at whichever confidence."""


@dataclass(frozen=True, slots=True)
class DisclosureObservations(Observations):
    """What n patients' rollouts gave away of one class, for one attacker.

    Args:
        member: [n] bool, in the training data.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        is_eligible: [n] bool, such a code lies within the horizon behind the cut.
        q: [n] float64 in [0, 1], share of the patient's rollouts that hold a code of the class;
            only patients whose prompt was run are here.
        prompt: [n] int64, equal for equal prompts: the prompt is the sampling unit.
        base: probability of the class that a predictor fitted on nonmembers gives from the same
            prompts, for all eligible members and all eligible nonmembers, or None where it was not
            computed.
        partial: not all prompts were drawn, because what was drawn may decide already.
        reference_q: [n] float64, the same share in the reference model's rollouts, where one was
            asked.
    """

    member: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    is_eligible: NDArray[np.bool_]
    q: NDArray[np.float64]
    prompt: NDArray[np.int64]
    base: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    partial: bool = False
    reference_q: NDArray[np.float64] | None = None

    def eligible(self, *, member: bool) -> int:
        """Return how many eligible positives of one split were asked."""
        return int((self.is_eligible & (self.member == member)).sum())

    def base_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return what a model-free predictor expects for eligible members and nonmembers."""
        return self.base

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Share of distinct prompts in the split where it is lower; None when there are no prompts.

        Args:
            everybody: of all patients; otherwise of the eligible positives only.
        """
        chosen = np.ones_like(self.is_eligible) if everybody else self.is_eligible
        shares = [
            len(np.unique(prompts)) / len(prompts)
            for member in (True, False)
            if len(prompts := self.prompt[chosen & (self.member == member)])
        ]
        return min(shares, default=None)

    def clusters(self, *, member: bool) -> Clusters:
        """Return the eligible patients of one split, put together by prompt."""
        chosen = self.is_eligible & (self.member == member)
        _, first, size = np.unique(self.prompt[chosen], return_index=True, return_counts=True)
        order = np.argsort(first)
        at = first[order]
        reference = None if self.reference_q is None else self.reference_q[chosen][at]
        return Clusters(self.q[chosen][at], size[order], reference)


class AttributeDisclosureMeasuring(Measuring[DisclosureObservations, AttributeDisclosureParams]):
    """Takes shares of naming continuations."""

    def observations(self, evidence: CellEvidence) -> DisclosureObservations:
        """Join the labels with what was generated."""
        labels = evidence.labels
        assert labels is not None  # the plan gives every such cell its labels
        shares = cell_shares(evidence)
        others = cell_shares(evidence, reference=True) if evidence.reference else None
        prompts = labels["prompt"].to_pylist()
        asked = in_subgroup(labels, evidence.subgroup)
        asked &= np.array([p is not None for p in prompts], dtype=np.bool_)
        answered = [p in shares and (others is None or p in others) for p in prompts]
        keep = asked & np.array(answered, dtype=np.bool_)
        kept = [prompt for prompt, wanted in zip(prompts, keep, strict=True) if wanted]
        numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(kept))}
        member, eligible = booleans(labels, "member"), booleans(labels, "eligible")
        return DisclosureObservations(
            member=member[keep],
            positive=booleans(labels, "positive")[keep],
            is_eligible=eligible[keep],
            q=np.array([shares[prompt] for prompt in kept], dtype=np.float64),
            prompt=np.array([numbers[prompt] for prompt in kept], dtype=np.int64),
            unanswered=0 if evidence.partial else int(asked.sum() - keep.sum()),
            base=_base_scores(labels, asked & eligible & member, asked & eligible & ~member),
            partial=evidence.partial,
            reference_q=None
            if others is None
            else np.array([others[prompt] for prompt in kept], dtype=np.float64),
        )

    def measure(
        self,
        metric: str,
        observations: DisclosureObservations,
        *,
        params: AttributeDisclosureParams,
        confidence: float,
    ) -> Measurement:
        """Estimate one of the metrics; patients who share a prompt are one sampling unit.

        Where not all patients were drawn the bounds are those of a confidence sequence.
        """
        reported = _at_threshold(observations, params.threshold, confidence=confidence)
        if metric in _RANKINGS:
            return replace(_ranking(metric, observations, confidence=confidence), reported=reported)
        score = _mean_q if metric == "excess_mean_q" else _disclosed
        groups = [observations.clusters(member=is_member) for is_member in (True, False)]
        if metric != "disclosure_rate" and observations.reference_q is not None:
            gaps = [_discordant(clusters, score, params.threshold) for clusters in groups]
            return replace(_beyond_reference(*gaps, confidence=confidence), reported=reported)
        inside, outside = (
            clusters.counted(score(clusters.q, params.threshold)) for clusters in groups
        )
        rate, subtract = (
            (stats.sequential_rate, stats.sequential_difference)
            if observations.partial
            else (stats.rate, stats.rate_difference)
        )
        members = _rate(rate, inside, "eligible members", confidence=confidence)
        if metric == "disclosure_rate":
            return Measurement(members, members=members, reported=reported)
        nonmembers = _rate(rate, outside, "eligible nonmembers", confidence=confidence)
        difference = subtract(*inside, *outside, confidence=confidence)
        return Measurement(difference, members, nonmembers, reported)

    def placebo(
        self,
        metric: str,
        observations: DisclosureObservations,
        *,
        params: AttributeDisclosureParams,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Compare two random halves of the nonmembers.

        None where the metric compares nothing, or where a half would be too small for its bounds.
        """
        if metric in _RANKINGS and metric.startswith("excess_"):
            return _placebo_ranking(metric, observations, confidence=confidence, rng=rng)
        if metric not in {"excess_disclosure", "excess_mean_q"}:
            return None
        score = _mean_q if metric == "excess_mean_q" else _disclosed
        outside = observations.clusters(member=False)
        if outside.reference_q is not None:
            return _placebo_beyond_reference(
                outside, score, threshold=params.threshold, confidence=confidence, rng=rng
            )
        outcomes = score(outside.q, params.threshold)
        return stats.placebo_difference(outcomes, confidence=confidence, rng=rng)


def _base_scores(
    labels: pa.Table, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    column = labels["base_score"]
    if column.null_count == len(column):
        return None
    scores = column.to_numpy().astype(np.float64)
    return scores[inside], scores[outside]


def _disclosed(q: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    return (q > threshold).astype(np.float64)


def _mean_q(q: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    return q


def _discordant(
    clusters: Clusters, score: _Score, threshold: float, *, chosen: NDArray[np.bool_] | None = None
) -> tuple[float, float, int]:
    """Return hits of the target alone, of the reference alone, and patients, of some prompts."""
    assert clusters.reference_q is not None  # callers ask first
    wanted = np.ones(len(clusters.size), dtype=np.bool_) if chosen is None else chosen
    some = Clusters(clusters.q[wanted], clusters.size[wanted])
    gap = score(some.q, threshold) - score(clusters.reference_q[wanted], threshold)
    target, n = some.counted(np.maximum(gap, 0))
    reference, _ = some.counted(np.maximum(-gap, 0))
    return target, reference, n


def _beyond_reference(
    members: tuple[float, float, int],
    nonmembers: tuple[float, float, int],
    *,
    confidence: float,
) -> Measurement:
    for (*_, n), who in ((members, "eligible members"), (nonmembers, "eligible nonmembers")):
        if n == 0:
            raise InsufficientData(who, needed=1, got=0)
    return Measurement(
        difference_in_differences(members, nonmembers, confidence=confidence),
        paired_difference(*members, confidence=confidence),
        paired_difference(*nonmembers, confidence=confidence),
    )


def _placebo_beyond_reference(
    outside: Clusters,
    score: _Score,
    *,
    threshold: float,
    confidence: float,
    rng: np.random.Generator,
) -> Estimate:
    half = np.zeros(len(outside.size), dtype=np.bool_)
    half[rng.permutation(len(half))[: len(half) // 2]] = True
    first, second = (
        _discordant(outside, score, threshold, chosen=chosen) for chosen in (half, ~half)
    )
    return _beyond_reference(first, second, confidence=confidence).estimate


def _rate(
    rate: Callable[..., Estimate], counted: tuple[float, int], what: str, *, confidence: float
) -> Estimate:
    hits, n = counted
    if n == 0:
        raise InsufficientData(what, needed=1, got=0)
    return rate(hits, n, confidence=confidence)


def _ranking(
    metric: str, observations: DisclosureObservations, *, confidence: float
) -> Measurement:
    """Take q of eligible positives against q of patients without the class, in each split."""
    rank, subtract = _rankers(metric, observations, confidence=confidence)
    inside = rank(observations.member)
    if not metric.startswith("excess_"):
        return Measurement(inside, members=inside)
    outside = rank(~observations.member)
    return Measurement(subtract(inside, outside), inside, outside)


def _rankers(
    metric: str, observations: DisclosureObservations, *, confidence: float
) -> tuple[Callable[[NDArray[np.bool_]], Estimate], Callable[[Estimate, Estimate], Estimate]]:
    """Return what ranks some of the patients, and what subtracts two of its estimates."""
    eligible, without, q = observations.is_eligible, ~observations.positive, observations.q
    if metric in {"attribute_auroc", "excess_attribute_auroc"}:

        def rank(chosen: NDArray[np.bool_]) -> Estimate:
            return stats.auroc(q[chosen & eligible], q[chosen & without], confidence=confidence)

        return rank, stats.auroc_difference
    # precision depends on how common positives are: one share for all groups, that of all patients
    both = int(eligible.sum()), int(without.sum())
    prevalence = both[0] / sum(both) if all(both) else None

    def rank_precisely(chosen: NDArray[np.bool_]) -> Estimate:
        return auprc(
            q[chosen & eligible],
            q[chosen & without],
            confidence=confidence,
            rng=np.random.default_rng(_RESAMPLING_SEED),
            prevalence=prevalence,
        )

    return rank_precisely, auprc_difference


def _placebo_ranking(
    metric: str,
    observations: DisclosureObservations,
    *,
    confidence: float,
    rng: np.random.Generator,
) -> Estimate | None:
    rank, subtract = _rankers(metric, observations, confidence=confidence)
    outside = rng.permutation(np.flatnonzero(~observations.member))
    halves = np.zeros((2, len(observations.member)), dtype=np.bool_)
    halves[0, outside[::2]] = halves[1, outside[1::2]] = True
    try:
        first, second = map(rank, halves)
    except InsufficientData:
        return None
    return subtract(first, second)


def _at_threshold(
    observations: DisclosureObservations, threshold: float, *, confidence: float
) -> dict[str, Estimate]:
    """Return recall, and precision where members without the class were asked too.

    Recall is the share of eligible members that are named, precision the share of named members
    that have the class, within the horizon or not.
    """
    reported = {}
    clusters = observations.clusters(member=True)
    hits, n = clusters.counted(_disclosed(clusters.q, threshold))
    if n:
        reported["recall"] = stats.rate(hits, n, confidence=confidence)
    inside = observations.member
    named = inside & (observations.q > threshold)
    if named.any() and (inside & ~observations.positive).any():
        prompts = observations.prompt[named]
        _, which, size = np.unique(prompts, return_inverse=True, return_counts=True)
        share = np.bincount(which, weights=observations.positive[named]) / size
        hits, n = Clusters(share, size).counted(share)
        reported["precision"] = stats.rate(hits, n, confidence=confidence)
    return reported


MEASURE = AttributeDisclosureMeasuring()
