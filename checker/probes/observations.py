"""Evidence tables as the arrays that probes turn into estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
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
        base_score: [n] float64, probability of the class that a predictor fitted on nonmembers
            gives from the same prompt, or None where it was not computed.
    """

    member: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    q: NDArray[np.float64]
    prompt: NDArray[np.int64]
    base_score: NDArray[np.float64] | None

    @property
    def distinct_prompt_share(self) -> float | None:
        """Share of distinct prompts among the eligible, or None when there are none."""
        prompts = self.prompt[self.eligible]
        return len(np.unique(prompts)) / len(prompts) if len(prompts) else None

    def units(self, *, member: bool) -> NDArray[np.float64]:
        """Return q of each distinct prompt among the eligible of one split."""
        chosen = self.eligible & (self.member == member)
        _, first = np.unique(self.prompt[chosen], return_index=True)
        distinct: NDArray[np.float64] = self.q[chosen][np.sort(first)]
        return distinct


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
    keep = in_subgroup(labels, subgroup) & np.array([p in shares for p in prompts], dtype=np.bool_)
    kept = [prompt for prompt, wanted in zip(prompts, keep, strict=True) if wanted]
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(kept))}
    base = labels["base_score"]
    return DisclosureObservations(
        member=_booleans(labels, "member")[keep],
        positive=_booleans(labels, "positive")[keep],
        eligible=_booleans(labels, "eligible")[keep],
        q=np.array([shares[prompt] for prompt in kept], dtype=np.float64),
        prompt=np.array([numbers[prompt] for prompt in kept], dtype=np.int64),
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
