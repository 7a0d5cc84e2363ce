"""Evidence tables as the arrays that probes turn into estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.api import CellEvidence

__all__ = [
    "Clusters",
    "DisclosureObservations",
    "ScoreObservations",
    "booleans",
    "cell_shares",
    "disclosure_observations",
    "hit_shares",
    "in_subgroup",
    "score_column",
    "score_observations",
]


@dataclass(frozen=True, slots=True)
class DisclosureObservations:
    """What n patients' rollouts gave away of one class, for one attacker.

    Args:
        member: [n] bool, in the training data.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        is_eligible: [n] bool, such a code lies within the horizon behind the cut.
        q: [n] float64 in [0, 1], share of the patient's rollouts that hold a code of the class;
            only patients whose prompt was run are here.
        prompt: [n] int64, equal for equal prompts: the prompt is the sampling unit.
        unanswered: patients whose prompt the evidence should answer and does not.
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
    unanswered: int
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


@dataclass(frozen=True, slots=True)
class Clusters:
    """Prompts with the patients who share them: the sampling units (METHODS §1).

    Args:
        q: [k] float64 in [0, 1], one per distinct prompt.
        size: [k] int64, patients with that prompt.
        reference_q: [k] float64, q of the reference model, where one was asked.
    """

    q: NDArray[np.float64]
    size: NDArray[np.int64]
    reference_q: NDArray[np.float64] | None = None

    def counted(self, outcome: NDArray[np.float64]) -> tuple[float, int]:
        """Return hits and patients that carry as much information as the clusters do.

        The rate is over patients; its n is Kish's effective sample size (Σm)² / Σm² for outcomes
        that are equal within a prompt, rounded down. With one patient a prompt it is the number of
        patients, with equally many it is the number of prompts.

        Args:
            outcome: [k] in [0, 1], one per prompt.

        Reference:
            Kish 1965, Survey Sampling, section 5.4 (design effect at intraclass correlation 1).
        """
        patients = int(self.size.sum())
        if patients == 0:
            return 0.0, 0
        n = int(patients**2 // int((self.size**2).sum()))
        return float(outcome @ self.size) / patients * n, n


@dataclass(frozen=True, slots=True)
class ScoreObservations:
    """Membership scores of n patients; higher is more member-like.

    Args:
        member: [n] bool.
        scores: name of the score to [n] float64.
    """

    member: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]
    unanswered: int = 0

    def distinct_prompt_share(self, *, everybody: bool) -> None:
        """Return None: whole records are scored, not prompts."""
        return

    def eligible(self, *, member: bool) -> None:
        """Return None: the estimators ask for enough patients themselves."""
        return

    def base_scores(self) -> None:
        """Return None: no class is in question."""
        return


def in_subgroup(table: pa.Table, subgroup: str) -> NDArray[np.bool_]:
    """Return which rows of a table of patients belong to a subgroup: [rows] bool."""
    inside = np.zeros(table.num_rows, dtype=np.bool_)
    if subgroup == "all":
        inside[:] = True
        return inside
    column = table["subgroups"].combine_chunks()
    wanted = pc.equal(pc.list_flatten(column), subgroup).to_numpy(zero_copy_only=False)
    inside[pc.list_parent_indices(column).to_numpy()[wanted]] = True
    return inside


def hit_shares(
    rollouts: Sequence[pa.Table], watch: Sequence[int], *, samples: int
) -> dict[str, float]:
    """Return for each prompt the share of its first rollouts that hold a watched token.

    Where sampling was curtailed a prompt has fewer rows than `samples`. Its share is then a lower
    bound, on the same side of the threshold as the share of all samples would be: it was stopped
    when that was certain.

    Args:
        rollouts: tables with columns prompt (string), sample (number, from 0) and tokens (list of
            int32), a row a rollout. A prompt may stand in several tables, drawn more often in one
            than in another; the samples that both have are the same.
        watch: token ids of the class.
        samples: rollouts planned for each prompt; further ones, drawn for others, do not count.
    """
    hits: dict[str, float] = {}
    for drawn in rollouts:
        own = pc.less(drawn["sample"], samples)
        table = drawn if pc.all(own).as_py() else drawn.filter(own)
        prompts = table["prompt"].combine_chunks().dictionary_encode()
        lists = table["tokens"].combine_chunks()
        watched = np.isin(pc.list_flatten(lists).to_numpy(), np.asarray(watch, dtype=np.int32))
        hit = np.zeros(table.num_rows, dtype=np.bool_)
        hit[pc.list_parent_indices(lists).to_numpy()[watched]] = True
        index = prompts.indices.to_numpy()
        found = np.bincount(index, weights=hit, minlength=len(prompts.dictionary))
        for prompt, number in zip(prompts.dictionary.to_pylist(), found.tolist(), strict=True):
            hits[prompt] = max(hits.get(prompt, 0.0), number)
    return {prompt: number / samples for prompt, number in hits.items()}


def cell_shares(evidence: CellEvidence, *, reference: bool = False) -> dict[str, float]:
    """Return q by prompt for a cell, computed once for all that ask for the same.

    Args:
        evidence: of a cell whose parameters have `samples`.
        reference: of the reference model instead of the model under audit.
    """
    tables = (evidence.reference if reference else evidence.tables).get("rollouts", ())
    return evidence.once(hit_shares, tables, evidence.watch, samples=evidence.params.samples)


def disclosure_observations(evidence: CellEvidence) -> DisclosureObservations:
    """Join who is who with what was generated.

    Args:
        evidence: labels with columns patient, member, positive, eligible, prompt (None when not
            run), subgroups, base_score; rollouts of the model and, for a contrast with a reference
            model, of that too.
    """
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


def _base_scores(
    labels: pa.Table, inside: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    column = labels["base_score"]
    if column.null_count == len(column):
        return None
    scores = column.to_numpy().astype(np.float64)
    return scores[inside], scores[outside]


def score_column(score: str, k_percent: float) -> str:
    """Return the column of a scores table that holds a score of the lowest k percent of tokens."""
    return f"{score}@{float(k_percent)}"


def score_observations(evidence: CellEvidence) -> ScoreObservations:
    """Put the scores of all jobs together and keep one subgroup.

    With a reference model there is one more score, "reference-ratio": how much more likely than the
    reference model the model finds a record, per token (the log of the ratio, in nats).
    """
    table = pa.concat_tables(evidence.tables["scores"])
    keep = in_subgroup(table, evidence.subgroup)
    columns = {"loss": "loss"} | {
        score: score_column(score, evidence.params.k) for score in ("min-k", "min-k++")
    }
    scores = {
        score: table[column].to_numpy().astype(np.float64)[keep]
        for score, column in columns.items()
    }
    unanswered = 0
    if evidence.reference:
        other = pa.concat_tables(evidence.reference["scores"])
        by_patient = dict(zip(other["patient"].to_pylist(), other["loss"].to_pylist(), strict=True))
        patients = [
            p for p, wanted in zip(table["patient"].to_pylist(), keep, strict=True) if wanted
        ]
        unanswered = sum(patient not in by_patient for patient in patients)
        if not unanswered:
            reference = np.array([by_patient[patient] for patient in patients], dtype=np.float64)
            scores["reference-ratio"] = scores["loss"] - reference
    return ScoreObservations(
        member=booleans(table, "member")[keep], scores=scores, unanswered=unanswered
    )


def booleans(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of a table as [rows] bool."""
    column: NDArray[np.bool_] = table[name].to_numpy().astype(np.bool_)
    return column
