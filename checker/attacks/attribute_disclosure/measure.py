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
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Measuring, Metric, Observations
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.families import Measurement
from checker.attacks.families.samples import Clusters, Ranked
from checker.attacks.rollouts import NamingShares, cell_counted, cell_naming
from checker.attacks.tables import booleans, in_subgroup
from checker.stats.estimate import Estimate

_Watch = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DisclosureObservations(Observations):
    """What n patients' rollouts gave away of one class, for one attacker.

    Args:
        member: [n] bool, in the training data.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        is_eligible: [n] bool, such a code lies within the horizon behind the cut.
        q: [n] float64 in [0, 1], how likely a continuation of the patient's prompt is to hold a
            code of the class; only patients whose prompt was run are here.
        above: [n] bool, whether q exceeds the threshold; where q is estimated, by as many
            continuations as it takes to tell, which may be more than q is estimated from.
        prompt: [n] int64, equal for equal prompts: the prompt is the sampling unit. In a pool too,
            where q may differ between its patients: what is drawn from it is the same.
        base: probability of the class that a predictor fitted on nonmembers gives from the same
            prompts, for all eligible members and all eligible nonmembers, or None where it was not
            computed.
        estimated: q was had from how likely the sampler was to name the class at each step;
            otherwise by counting the rollouts that did.
        partial: not all prompts were drawn, because what was drawn may decide already.
        reference_q, reference_above: the same of the reference model, where one was asked.
    """

    member: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    is_eligible: NDArray[np.bool_]
    q: NDArray[np.float64]
    above: NDArray[np.bool_]
    prompt: NDArray[np.int64]
    base: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    partial: bool = False
    estimated: bool = False
    reference_q: NDArray[np.float64] | None = None
    reference_above: NDArray[np.bool_] | None = None

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

    def by_prompt(
        self, outcome: NDArray[np.float64], *, member: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the mean outcome and the number of patients of each prompt of one split.

        Only eligible patients count. Arrays are [k], prompts in the order of their first patient.

        Args:
            outcome: [n], one per patient.
            member: of which split.
        """
        chosen = self.is_eligible & (self.member == member)
        own = outcome[chosen]
        _, first, row, size = np.unique(
            self.prompt[chosen], return_index=True, return_inverse=True, return_counts=True
        )
        # exactly the value that patients share, where they share one
        beyond = np.bincount(row, weights=own - own[first][row], minlength=len(size))
        value = own[first] + beyond / np.maximum(size, 1)
        order = np.argsort(first)
        return value[order], size[order]


class AttributeDisclosureMeasuring(Measuring[DisclosureObservations, AttributeDisclosureParams]):
    """Takes shares of naming continuations."""

    def observations(self, evidence: CellEvidence) -> DisclosureObservations:
        """Join the labels with what was generated."""
        labels = evidence.labels
        assert labels is not None  # the plan gives every such cell its labels
        prompts, watches = labels["prompt"].to_pylist(), _watches(labels, evidence)
        asked = in_subgroup(labels, evidence.subgroup)
        # the model has no word for what some have: nobody can be asked whether it tells them
        asked &= np.array(
            [p is not None and bool(w) for p, w in zip(prompts, watches, strict=True)],
            dtype=np.bool_,
        )
        questions = [
            (prompt, watch) if wanted else None
            for prompt, watch, wanted in zip(prompts, watches, asked, strict=True)
        ]
        own = _answers(questions, evidence)
        others = _answers(questions, evidence, reference=True) if evidence.reference else own
        keep = np.array(
            [
                one is not None
                and all(
                    one[0] in (found[one[1]].above if evidence.decides_side else found[one[1]].q)
                    for found in (own, others)
                )
                for one in questions
            ],
            dtype=np.bool_,
        )
        kept = [one for one, wanted in zip(questions, keep, strict=True) if one and wanted]
        numbers = {
            prompt: number for number, prompt in enumerate(dict.fromkeys(one[0] for one in kept))
        }
        member, eligible = booleans(labels, "member"), booleans(labels, "eligible")
        return DisclosureObservations(
            member=member[keep],
            positive=booleans(labels, "positive")[keep],
            is_eligible=eligible[keep],
            q=_q(kept, own),
            above=_above(kept, own, evidence),
            prompt=np.array([numbers[prompt] for prompt, _ in kept], dtype=np.int64),
            unanswered=0 if evidence.partial else int(asked.sum() - keep.sum()),
            base=_base_scores(labels, asked & eligible & member, asked & eligible & ~member),
            partial=evidence.partial,
            estimated=bool(own) and all(one.estimated for one in own.values()),
            reference_q=_q(kept, others) if evidence.reference else None,
            reference_above=_above(kept, others, evidence) if evidence.reference else None,
        )

    def group(
        self,
        metric: Metric,
        observations: DisclosureObservations,
        *,
        member: bool,
        params: AttributeDisclosureParams,
    ) -> Clusters | Ranked:
        """Return outcomes of eligible patients by prompt, or all patients ranked by q."""
        if metric.outcome == "ranking":
            return _ranked(observations, member=member)
        of_model, of_reference = _OUTCOMES[metric.outcome]
        value = of_model(observations)
        if metric.family.is_paired:
            value = value - of_reference(observations)
        value, size = observations.by_prompt(value, member=member)
        who = f"eligible {'members' if member else 'nonmembers'}"
        return Clusters(value, size, who, observations.partial)

    def measure(
        self,
        metric: Metric,
        observations: DisclosureObservations,
        *,
        params: AttributeDisclosureParams,
        confidence: float,
    ) -> Measurement:
        """Measure, and say what q was had from."""
        found = super().measure(metric, observations, params=params, confidence=confidence)
        return replace(found, q_from="probabilities" if observations.estimated else "hits")

    def reported(
        self,
        metric: Metric,
        observations: DisclosureObservations,
        *,
        params: AttributeDisclosureParams,
        confidence: float,
    ) -> dict[str, Estimate]:
        """Return recall, and precision where members without the class were asked too.

        Recall is the share of eligible members that are named, precision the share of named members
        that have the class, within the horizon or not.
        """
        found = {}
        disclosed = observations.above.astype(np.float64)
        value, size = observations.by_prompt(disclosed, member=True)
        if len(size):
            recall = Clusters(value, size)
            found["recall"] = stats.rate(*recall.counted(), confidence=confidence)
        inside = observations.member
        named = inside & observations.above
        if named.any() and (inside & ~observations.positive).any():
            precision = Clusters.by_prompt(observations.positive[named], observations.prompt[named])
            found["precision"] = stats.rate(*precision.counted(), confidence=confidence)
        return found


def _watches(labels: pa.Table, evidence: CellEvidence) -> list[_Watch]:
    """Return what makes a hit for each patient: [n]; of a pool, the classes that he has."""
    if not evidence.parts:
        return [tuple(evidence.watch)] * labels.num_rows
    found: dict[tuple[str, ...], _Watch] = {}
    rows = [tuple(held or ()) for held in labels["holds"].to_pylist()]
    for held in dict.fromkeys(rows):
        tokens = {token for name in held for token in evidence.parts.get(name, ())}
        found[held] = tuple(sorted(tokens))
    return [found[held] for held in rows]


_Question = tuple[str, _Watch]


def _answers(
    questions: list[_Question | None], evidence: CellEvidence, *, reference: bool = False
) -> dict[_Watch, NamingShares]:
    """Return what is known by prompt for each set of tokens that is asked for.

    One cell compares only what was measured alike: all of it is estimated, or all of it counted.
    """
    watches = dict.fromkeys(one[1] for one in questions if one is not None)
    found = {watch: cell_naming(evidence, watch=watch, reference=reference) for watch in watches}
    if all(one.estimated for one in found.values()):
        return found
    return {watch: cell_counted(evidence, watch=watch, reference=reference) for watch in watches}


def _q(questions: list[_Question], found: dict[_Watch, NamingShares]) -> NDArray[np.float64]:
    return np.array([found[watch].q[prompt] for prompt, watch in questions], dtype=np.float64)


def _above(
    questions: list[_Question], found: dict[_Watch, NamingShares], evidence: CellEvidence
) -> NDArray[np.bool_]:
    """Return what the tests decided: [n]; where nobody asked for one, what the estimate says."""
    threshold = evidence.params.threshold
    answers = [(found[watch], prompt) for prompt, watch in questions]
    decided = [one.above.get(prompt, one.q[prompt] > threshold) for one, prompt in answers]
    return np.array(decided, dtype=np.bool_)


def _base_scores(
    labels: pa.Table, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    column = labels["base_score"]
    if column.null_count == len(column):
        return None
    scores = column.to_numpy().astype(np.float64)
    return scores[inside], scores[outside]


def _numbers(values: NDArray[Any] | None) -> NDArray[np.float64]:
    assert values is not None  # the plan asks the reference model too
    return values.astype(np.float64)


_Outcome = Callable[[DisclosureObservations], NDArray[np.float64]]
_OUTCOMES: Final[dict[str, tuple[_Outcome, _Outcome]]] = {
    "disclosed": (lambda one: _numbers(one.above), lambda one: _numbers(one.reference_above)),
    "q": (lambda one: one.q, lambda one: _numbers(one.reference_q)),
}
"""What takes observations to outcomes in [0, 1], of the model and of the reference model."""


def _ranked(observations: DisclosureObservations, *, member: bool) -> Ranked:
    """Rank eligible positives and patients without the class by q."""
    eligible, without = observations.is_eligible, ~observations.positive
    # precision depends on how common positives are: one share for all groups, that of all patients
    both = int(eligible.sum()), int(without.sum())
    split = observations.member == member
    return Ranked(
        observations.q[split],
        eligible[split],
        without[split],
        prevalence=both[0] / sum(both) if all(both) else None,
    )


MEASURE = AttributeDisclosureMeasuring()
