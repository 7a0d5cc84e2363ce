"""Planning with labels: who can be asked, how many they are, and what asking them costs.

What was counted for the plan can be counted again from the labels that were kept as evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.families import Sample
from checker.attacks.tables import booleans, in_subgroup
from checker.planning.builder import PlanBuilder
from checker.planning.protocol import PlannedCell, Work
from checker.planning.sharing import RolloutSettings
from checker.planning.subgroups import Slice
from checker.planning.workload import LabelSet, SplitLabels
from checker.records.prompts.shared import distinct_share


def class_labels(builder: PlanBuilder, cell: PlannedCell[Any], *, horizon_tokens: int = 1) -> str:
    """Return the job that says who has a cell's class, and with which prompt each is asked."""
    return builder.class_labels(
        cell.class_name,
        cell.attacker,
        horizon_tokens=horizon_tokens,
        everybody=cell.metric.family.takes_everybody or cell.params.asks_everybody,
    )


def eligible_sample(labels: LabelSet, piece: Slice) -> Sample:
    """Count the eligible of a slice, and beside them who has the class and who does not."""
    inside = labels.members.eligible & piece.members
    outside = labels.nonmembers.eligible & piece.nonmembers
    shares = [
        share
        for split, chosen in ((labels.members, inside), (labels.nonmembers, outside))
        if (share := _distinct(split, chosen)) is not None
    ]
    return Sample(
        members=int(inside.sum()),
        nonmembers=int(outside.sum()),
        members_positive=int((labels.members.positive & piece.members).sum()),
        nonmembers_positive=int((labels.nonmembers.positive & piece.nonmembers).sum()),
        members_negative=negatives(labels.members, piece.members),
        nonmembers_negative=negatives(labels.nonmembers, piece.nonmembers),
        distinct_prompt_share=min(shares, default=None),
        effective_members=_effective(_keys_at(labels.members.keys, inside)),
        effective_nonmembers=_effective(_keys_at(labels.nonmembers.keys, outside)),
        too_long_share=too_long_share(labels, piece),
    )


def too_long_share(labels: LabelSet, piece: Slice) -> float | None:
    """Return the share of prompts that leave the model no room, of the split that has more.

    None where no prompt does.
    """
    shares = [
        float((split.too_long & chosen).sum() / max(1, asked.sum()))
        for split, chosen in (
            (labels.members, piece.members),
            (labels.nonmembers, piece.nonmembers),
        )
        if (asked := (split.too_long | split.promptable) & chosen).any()
    ]
    return max(shares, default=0.0) or None


def negatives(labels: SplitLabels, chosen: NDArray[np.bool_]) -> int:
    """Count the chosen patients of a split who have a prompt and not the class."""
    return int((labels.promptable & ~labels.positive & chosen).sum())


def asked_alone(labels: LabelSet, piece: Slice, settings: RolloutSettings | None = None) -> Work:
    """Return what it costs to ask every patient of a slice by himself, and to draw from it."""
    lengths = np.concatenate(
        [labels.members.length[piece.members], labels.nonmembers.length[piece.nonmembers]]
    )
    each = settings.tokens if settings is not None else 0
    return Work(int(lengths.sum()), int((lengths > 0).sum()) * each)


def _effective(prompts: Sequence[object]) -> int | None:
    """Return Kish's effective number of some patients' prompts; None where none is shared."""
    sizes = Counter(prompts).values()
    if len(sizes) == len(prompts):
        return None
    return len(prompts) ** 2 // sum(size**2 for size in sizes)


def _distinct(labels: SplitLabels, chosen: NDArray[np.bool_]) -> float | None:
    """Return how many distinct prompts the chosen have for each, of a draw all whom they are of."""
    if labels.shared is not None:
        return distinct_share(labels.shared[chosen])
    keys = _keys_at(labels.keys, chosen)
    return len(set(keys)) / len(keys) if keys else None


def _keys_at(keys: list[bytes | None], chosen: NDArray[np.bool_]) -> list[bytes]:
    return [key for i in np.flatnonzero(chosen) if (key := keys[i]) is not None]


# --- counted again ------------------------------------------------------------------------------


def labelled_again(labels: pa.Table, subgroup: str) -> dict[str, float]:
    """Count who has the class in a subgroup, and who lacks it where the labels say so.

    Returns:
        Fields of `Sample`.
    """
    promptable = _promptable(labels)
    positive = booleans(labels, "positive")
    counts: dict[str, float] = {}
    for split, chosen in _splits(labels, subgroup):
        if split == "members":
            counts["subgroup_members"] = int(chosen.sum())
        counts[f"{split}_positive"] = int((chosen & positive).sum())
        if promptable is not None:
            counts[f"{split}_negative"] = int((chosen & promptable & ~positive).sum())
    return counts


def eligible_again(labels: pa.Table, subgroup: str) -> dict[str, float]:
    """Count what `eligible_sample` counted."""
    eligible = booleans(labels, "eligible")
    counts = labelled_again(labels, subgroup)
    shares = []
    for split, chosen in _splits(labels, subgroup):
        counts[split] = int((chosen & eligible).sum())
        prompts = labels["prompt"].filter(pa.array(chosen & eligible)).drop_null().to_pylist()
        if (effective := _effective(prompts)) is not None:
            counts[f"effective_{split}"] = effective
        share = distinct_again(labels, chosen & eligible)
        if share is not None:
            shares.append(share)
    if shares:
        counts["distinct_prompt_share"] = min(shares)
    return counts


def distinct_again(labels: pa.Table, chosen: NDArray[np.bool_]) -> float | None:
    """Return how many distinct prompts some rows of labels have for each, or None without any.

    Of a draw it is those of all from whom they were drawn.
    """
    own = labels.filter(pa.array(chosen & labels["prompt"].is_valid().to_numpy()))
    if not own.num_rows:
        return None
    if "shared" in own.column_names:
        return distinct_share(own["shared"].to_numpy())
    return float(pc.count_distinct(own["prompt"]).as_py() / own.num_rows)


def distinct_of_all(labels: pa.Table, subgroup: str, *, everybody: bool) -> float | None:
    """Return the share of distinct prompts among all from whom a label set's patients were drawn.

    Args:
        labels: of a cell.
        subgroup: of the cell.
        everybody: of all patients; otherwise of the eligible positives only.

    Returns:
        Of the split where it is lower; None where nobody was left out, or nobody has a prompt.
    """
    if "shared" not in labels.column_names:
        return None
    eligible = np.ones(labels.num_rows, np.bool_) if everybody else booleans(labels, "eligible")
    shares = [distinct_again(labels, own & eligible) for _, own in _splits(labels, subgroup)]
    return min((share for share in shares if share is not None), default=None)


def positive_again(labels: pa.Table, subgroup: str) -> dict[str, float]:
    """Count a sample that is made up of all who have the class and can be asked."""
    counts = labelled_again(labels, subgroup)
    asked = booleans(labels, "positive") & labels["prompt"].is_valid().to_numpy()
    return counts | {name: int((own & asked).sum()) for name, own in _splits(labels, subgroup)}


def everybody_again(labels: pa.Table, subgroup: str) -> dict[str, float]:
    """Count a subgroup's patients, whatever else the labels say of them."""
    counts: dict[str, float] = {name: int(own.sum()) for name, own in _splits(labels, subgroup)}
    return {**counts, "subgroup_members": counts["members"]}


def _splits(labels: pa.Table, subgroup: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    member, inside = booleans(labels, "member"), in_subgroup(labels, subgroup)
    yield "members", inside & member
    yield "nonmembers", inside & ~member


def _promptable(labels: pa.Table) -> NDArray[np.bool_] | None:
    """Return who has a prompt; None where the table does not say it of those who were not asked.

    A base score was computed for everybody who has one. Where everybody was asked, those without
    the class are too, and who was not has none.
    """
    scored: NDArray[np.bool_] = labels["base_score"].is_valid().to_numpy()
    if scored.any():
        return scored
    asked: NDArray[np.bool_] = labels["prompt"].is_valid().to_numpy()
    return asked if (asked & ~booleans(labels, "eligible")).any() else None
