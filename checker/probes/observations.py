"""Evidence tables as the arrays that probes turn into estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "Clusters",
    "DisclosureObservations",
    "ScoreObservations",
    "disclosure_observations",
    "hit_shares",
    "in_subgroup",
    "score_observations",
]


@dataclass(frozen=True, slots=True)
class DisclosureObservations:
    """What n patients' rollouts gave away of one class, for one attacker.

    Args:
        member: [n] bool, in the training data.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        eligible: [n] bool, such a code lies within the horizon behind the cut.
        q: [n] float64 in [0, 1], share of the patient's rollouts that hold a code of the class;
            only patients whose prompt was run are here.
        prompt: [n] int64, equal for equal prompts: the prompt is the sampling unit.
        unanswered: patients whose prompt the evidence should answer and does not.
        base_score: [n] float64, probability of the class that a predictor fitted on nonmembers
            gives from the same prompt, or None where it was not computed.
    """

    member: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    q: NDArray[np.float64]
    prompt: NDArray[np.int64]
    base_score: NDArray[np.float64] | None
    unanswered: int

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Share of distinct prompts in the split where it is lower; None when there are no prompts.

        Args:
            everybody: of all patients; otherwise of the eligible positives only.
        """
        chosen = np.ones_like(self.eligible) if everybody else self.eligible
        shares = [
            len(np.unique(prompts)) / len(prompts)
            for member in (True, False)
            if len(prompts := self.prompt[chosen & (self.member == member)])
        ]
        return min(shares, default=None)

    def clusters(self, *, member: bool) -> Clusters:
        """Return the eligible patients of one split, put together by prompt."""
        chosen = self.eligible & (self.member == member)
        _, first, size = np.unique(self.prompt[chosen], return_index=True, return_counts=True)
        order = np.argsort(first)
        return Clusters(self.q[chosen][first[order]], size[order])


@dataclass(frozen=True, slots=True)
class Clusters:
    """Prompts with the patients who share them: the sampling units (METHODS §1).

    Args:
        q: [k] float64 in [0, 1], one per distinct prompt.
        size: [k] int64, patients with that prompt.
    """

    q: NDArray[np.float64]
    size: NDArray[np.int64]

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


def hit_shares(rollouts: Sequence[pa.Table], watch: Sequence[int]) -> dict[str, float]:
    """Return for each prompt the share of its rollouts that hold a watched token.

    Args:
        rollouts: tables with columns prompt (string) and tokens (list of int32), a row a rollout.
        watch: token ids of the class.
    """
    shares: dict[str, float] = {}
    for table in rollouts:
        prompts = table["prompt"].combine_chunks().dictionary_encode()
        lists = table["tokens"].combine_chunks()
        watched = np.isin(pc.list_flatten(lists).to_numpy(), np.asarray(watch, dtype=np.int32))
        hit = np.zeros(table.num_rows, dtype=np.bool_)
        hit[pc.list_parent_indices(lists).to_numpy()[watched]] = True
        index = prompts.indices.to_numpy()
        size = len(prompts.dictionary)
        share = np.bincount(index, weights=hit, minlength=size) / np.bincount(index, minlength=size)
        shares |= dict(zip(prompts.dictionary.to_pylist(), share.tolist(), strict=True))
    return shares


def disclosure_observations(
    labels: pa.Table, shares: dict[str, float], *, subgroup: str
) -> DisclosureObservations:
    """Join who is who with what was generated.

    Args:
        labels: columns patient, member, positive, eligible, prompt (None when not run), subgroups,
            base_score.
        shares: q by prompt, as `hit_shares` returns it.
        subgroup: whose rows to keep.
    """
    prompts = labels["prompt"].to_pylist()
    inside = in_subgroup(labels, subgroup)
    asked = inside & np.array([p is not None for p in prompts], dtype=np.bool_)
    keep = asked & np.array([p in shares for p in prompts], dtype=np.bool_)
    kept = [prompt for prompt, wanted in zip(prompts, keep, strict=True) if wanted]
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(kept))}
    base = labels["base_score"]
    return DisclosureObservations(
        member=_booleans(labels, "member")[keep],
        positive=_booleans(labels, "positive")[keep],
        eligible=_booleans(labels, "eligible")[keep],
        q=np.array([shares[prompt] for prompt in kept], dtype=np.float64),
        prompt=np.array([numbers[prompt] for prompt in kept], dtype=np.int64),
        unanswered=int(asked.sum() - keep.sum()),
        base_score=None
        if base.null_count == len(base)
        else base.to_numpy().astype(np.float64)[keep],
    )


def score_observations(tables: Sequence[pa.Table], *, subgroup: str) -> ScoreObservations:
    """Put the scores of all jobs together and keep one subgroup."""
    table = pa.concat_tables(tables)
    keep = in_subgroup(table, subgroup)
    return ScoreObservations(
        member=_booleans(table, "member")[keep],
        scores={
            name: table[name].to_numpy().astype(np.float64)[keep]
            for name in ("loss", "min-k", "min-k++")
        },
    )


def _booleans(table: pa.Table, name: str) -> NDArray[np.bool_]:
    column: NDArray[np.bool_] = table[name].to_numpy().astype(np.bool_)
    return column
