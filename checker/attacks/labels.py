"""Planning with labels: who can be asked, how many they are, and what asking them costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.attacks.families import Sample
from checker.planning.builder import PlanBuilder
from checker.planning.protocol import PlannedCell, Work
from checker.planning.sharing import RolloutSettings
from checker.planning.subgroups import Slice
from checker.planning.workload import LabelSet, SplitLabels


def class_labels(builder: PlanBuilder, cell: PlannedCell[Any], *, horizon_tokens: int = 1) -> str:
    """Return the job that says who has a cell's class, and with which prompt each is asked."""
    return builder.class_labels(
        cell.class_name,
        cell.attacker,
        horizon_tokens=horizon_tokens,
        everybody=cell.metric.family.takes_everybody,
    )


def eligible_sample(labels: LabelSet, piece: Slice) -> Sample:
    """Count the eligible of a slice, and beside them who has the class and who does not."""
    inside = labels.members.eligible & piece.members
    outside = labels.nonmembers.eligible & piece.nonmembers
    shares = [
        len(set(keys)) / len(keys)
        for keys in (
            _keys_at(labels.members.keys, inside),
            _keys_at(labels.nonmembers.keys, outside),
        )
        if keys
    ]
    return Sample(
        members=int(inside.sum()),
        nonmembers=int(outside.sum()),
        members_positive=int((labels.members.positive & piece.members).sum()),
        nonmembers_positive=int((labels.nonmembers.positive & piece.nonmembers).sum()),
        members_negative=negatives(labels.members, piece.members),
        nonmembers_negative=negatives(labels.nonmembers, piece.nonmembers),
        distinct_prompt_share=min(shares, default=None),
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


def _keys_at(keys: list[bytes | None], chosen: NDArray[np.bool_]) -> list[bytes]:
    return [key for i in np.flatnonzero(chosen) if (key := keys[i]) is not None]
