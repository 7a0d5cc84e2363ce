"""Continuations: how they are drawn, and what they give away by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from checker.attacks.api import CellEvidence
from checker.planning.sharing import RolloutSettings


class DrawingParams(Protocol):
    """Parameters of an attack that draws continuations."""

    @property
    def samples(self) -> int: ...  # noqa: D102

    @property
    def horizon_tokens(self) -> int: ...  # noqa: D102

    @property
    def temperature(self) -> float: ...  # noqa: D102

    @property
    def top_p(self) -> float: ...  # noqa: D102


def rollout_settings(params: DrawingParams) -> RolloutSettings:
    """Return how an attack's parameters say that continuations are drawn."""
    return RolloutSettings(
        samples=params.samples,
        horizon_tokens=params.horizon_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
    )


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
