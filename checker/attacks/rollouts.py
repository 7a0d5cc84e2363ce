"""Continuations: how they are drawn, and what they give away by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.api import CellEvidence
from checker.kinds import compensator_column
from checker.planning.sharing import RolloutSettings
from checker.stats.naming import naming_probabilities
from checker.stats.naming_side import ThresholdTest


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


@dataclass(frozen=True, slots=True)
class NamingShares:
    """How often a class is named behind each prompt.

    Args:
        q: by prompt, in [0, 1].
        above: of prompts of which that is decided, whether q exceeds the threshold.
        estimated: from how likely the sampler was to name it at each step; otherwise counted.
    """

    q: dict[str, float]
    above: dict[str, bool]
    estimated: bool


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
        prompts, index, hit, _ = _hits(drawn, watch, samples=samples)
        found = np.bincount(index, weights=hit, minlength=len(prompts))
        for prompt, number in zip(prompts, found.tolist(), strict=True):
            hits[prompt] = max(hits.get(prompt, 0.0), number)
    return {prompt: number / samples for prompt, number in hits.items()}


def counted_shares(
    rollouts: Sequence[pa.Table], watch: Sequence[int], *, samples: int, threshold: float
) -> NamingShares:
    """Return the shares of `hit_shares`, and which of them exceed a threshold."""
    shares = hit_shares(rollouts, watch, samples=samples)
    above = {prompt: share > threshold for prompt, share in shares.items()}
    return NamingShares(shares, above, estimated=False)


def naming_shares(
    rollouts: Sequence[pa.Table],
    watch: Sequence[int],
    *,
    samples: int,
    estimation_samples: int,
    decision_samples: int,
    threshold: float,
) -> NamingShares:
    """Return for each prompt how likely its continuations are to hold a watched token.

    Estimated by compensators where every table has them (`checker.stats.naming`), else counted: one
    cell compares only what was measured alike. An estimate takes as many continuations of each
    prompt; whether it exceeds the threshold is decided by as many as that takes
    (`checker.stats.naming_side`).

    Args:
        rollouts: as `hit_shares` takes them.
        watch: token ids of the class.
        samples: rollouts planned for each prompt where they are counted.
        estimation_samples: those that an estimate takes; a prompt of which fewer were drawn has
            none.
        decision_samples: the most that decide whether an estimate exceeds the threshold.
        threshold: in (0, 1).
    """
    column = compensator_column(watch)
    if not rollouts or any(column not in drawn.column_names for drawn in rollouts):
        return counted_shares(rollouts, watch, samples=samples, threshold=threshold)
    shares: dict[str, float] = {}
    above: dict[str, bool] = {}
    for drawn in rollouts:
        prompts, hits, expected = hits_by_prompt(drawn, watch, most=decision_samples)
        test = ThresholdTest(threshold, estimation_samples, decision_samples)
        decisions = test.decide(hits, expected)
        first = slice(0, estimation_samples)
        whole = ~np.isnan(expected[:, first]).any(axis=1)
        whole &= expected.shape[1] >= estimation_samples
        group = np.repeat(np.arange(int(whole.sum())), estimation_samples)
        q = naming_probabilities(hits[whole, first].ravel(), expected[whole, first].ravel(), group)
        names = np.array(prompts, dtype=object)
        shares.update(zip(names[whole].tolist(), q.tolist(), strict=True))
        settled = decisions.after > 0
        above.update(zip(names[settled].tolist(), decisions.above[settled].tolist(), strict=True))
    return NamingShares(shares, above, estimated=True)


def hits_by_prompt(
    drawn: pa.Table, watch: Sequence[int], *, most: int
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.float64]]:
    """Put the first rollouts of each prompt side by side.

    Args:
        drawn: as in `hit_shares`, with the compensators of the class.
        watch: token ids of the class.
        most: rollouts of a prompt that count.

    Returns:
        k prompts; [k, d] bool, whether a rollout named the class; [k, d] its compensators, NaN
        where a prompt has fewer than d, which is at most `most`.
    """
    prompts, index, hit, table = _hits(drawn, watch, samples=most)
    number = table["sample"].to_numpy()
    shape = (len(prompts), int(number.max(initial=-1)) + 1)
    hits = np.zeros(shape, dtype=np.bool_)
    expected = np.full(shape, np.nan)
    hits[index, number] = hit
    expected[index, number] = table[compensator_column(watch)].to_numpy()
    return prompts, hits, expected


def hits_and_compensators(
    drawn: pa.Table, watch: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Return which of a table's rollouts named a class, and its compensators: [R] each.

    Args:
        drawn: as in `hit_shares`.
        watch: token ids of the class.

    Returns:
        None where the class was not watched while these were drawn.
    """
    column = compensator_column(watch)
    if column not in drawn.column_names:
        return None
    _, _, hit, table = _hits(drawn, watch, samples=None)
    return hit, table[column].to_numpy().astype(np.float64)


def _hits(
    drawn: pa.Table, watch: Sequence[int], *, samples: int | None
) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_], pa.Table]:
    """Return what a table's first rollouts of each prompt named.

    Returns:
        k prompts; [R] int64 in [0, k), which prompt; [R] bool, whether it was a hit; the R rows.
    """
    table = drawn
    if samples is not None and not pc.all(own := pc.less(drawn["sample"], samples)).as_py():
        table = drawn.filter(own)
    prompts = table["prompt"].combine_chunks().dictionary_encode()
    lists = table["tokens"].combine_chunks()
    watched = np.isin(pc.list_flatten(lists).to_numpy(), np.asarray(watch, dtype=np.int32))
    hit = np.zeros(table.num_rows, dtype=np.bool_)
    hit[pc.list_parent_indices(lists).to_numpy()[watched]] = True
    index = prompts.indices.to_numpy().astype(np.int64)
    return prompts.dictionary.to_pylist(), index, hit, table


def cell_shares(
    evidence: CellEvidence, *, watch: Sequence[int] | None = None, reference: bool = False
) -> dict[str, float]:
    """Return q by prompt for a cell, computed once for all that ask for the same.

    Args:
        evidence: of a cell whose parameters have `samples`.
        watch: token ids that make a hit; default: those of the cell.
        reference: of the reference model instead of the model under audit.
    """
    tables = (evidence.reference if reference else evidence.tables).get("rollouts", ())
    watched = evidence.watch if watch is None else watch
    return evidence.once(hit_shares, tables, watched, samples=evidence.params.samples)


def cell_naming(
    evidence: CellEvidence, *, watch: Sequence[int] | None = None, reference: bool = False
) -> NamingShares:
    """Return q by prompt for a cell that takes q for a probability, computed once for all.

    Args:
        evidence: of a cell whose parameters say whether, and from how many samples, q is estimated.
        watch: token ids that make a hit; default: those of the cell.
        reference: of the reference model instead of the model under audit.
    """
    params = evidence.params
    if not params.estimates_q:
        return cell_counted(evidence, watch=watch, reference=reference)
    tables = (evidence.reference if reference else evidence.tables).get("rollouts", ())
    return evidence.once(
        naming_shares,
        tables,
        evidence.watch if watch is None else watch,
        samples=params.samples,
        estimation_samples=params.estimation_samples,
        decision_samples=params.decision_samples,
        threshold=params.threshold,
    )


def cell_counted(
    evidence: CellEvidence, *, watch: Sequence[int] | None = None, reference: bool = False
) -> NamingShares:
    """Return the same for a cell that counts hits; arguments as in `cell_naming`."""
    return evidence.once(
        counted_shares,
        (evidence.reference if reference else evidence.tables).get("rollouts", ()),
        evidence.watch if watch is None else watch,
        samples=evidence.params.samples,
        threshold=evidence.params.threshold,
    )
