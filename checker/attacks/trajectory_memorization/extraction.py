"""Extraction as a probability: the cell's jobs, and from their evidence to who is extractable."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Observations
from checker.attacks.families import Sample
from checker.attacks.families.samples import Clusters
from checker.attacks.labels import eligible_sample
from checker.attacks.tables import booleans, in_subgroup
from checker.attacks.trajectory_memorization import TrajectoryMemorizationParams
from checker.planning.builder import PlanBuilder
from checker.planning.cells import decides
from checker.planning.extraction import (
    KIND,
    ExtractionSettings,
    extraction_jobs,
    has_window,
    looked_at,
)
from checker.planning.protocol import CellJobs, PlannedCell, Work
from checker.planning.reference_patients import held_back, reference_training
from checker.planning.workload import scored_tokens
from checker.policy import resolve_attacker
from checker.stats.estimate import Estimate
from checker.stats.extraction import IMPOSSIBLE, least_log_probability

_Cell = PlannedCell[TrajectoryMemorizationParams]

EXTRACTABLE: Final = "extractable"
"""The outcome of metrics of extraction as a probability."""

LEVELS: Final = {"windows_above_1e_1": 1e-1, "windows_above_1e_2": 1e-2, "windows_above_1e_3": 1e-3,
                 "windows_above_1e_4": 1e-4}  # fmt: skip
"""Numbers that stand beside a metric: how many members have a window that is so likely."""

WORST: Final = "worst_window"
RARELY: Final = "extractable_of_the_rarest"


@dataclass(frozen=True, slots=True)
class ExtractionObservations(Observations):
    """How likely the best window of n patients is to come out.

    Args:
        member: [n] bool.
        log_probability: [n] float64 nats, of windows that not anybody would write; minus infinity
            where there is none or none is drawn.
        greedy: [n] bool, such a window is recited greedily.
        telling_log_probability, telling_greedy: the same of those that count, because the model
            finds them so much likelier than whoever never saw the patient.
        rare_log_probability, rare_greedy: the same of windows that hardly anybody would write.
        sequence: [n] int64, equal where the same tokens were scored: one sampling unit.
    """

    member: NDArray[np.bool_]
    log_probability: NDArray[np.float64]
    greedy: NDArray[np.bool_]
    telling_log_probability: NDArray[np.float64]
    telling_greedy: NDArray[np.bool_]
    rare_log_probability: NDArray[np.float64]
    rare_greedy: NDArray[np.bool_]
    sequence: NDArray[np.int64]

    def eligible(self, *, member: bool) -> int:
        """Return how many patients of one split were measured."""
        return int((self.member == member).sum())

    def extractable(self, params: TrajectoryMemorizationParams) -> NDArray[np.bool_]:
        """Return who can be extracted with the attacker's queries, or greedily: [n] bool."""
        return _extractable(self.telling_log_probability, self.telling_greedy, params)

    def rarely_extractable(self, params: TrajectoryMemorizationParams) -> NDArray[np.bool_]:
        """Return of whom a window comes out that hardly anybody would write: [n] bool."""
        return _extractable(self.rare_log_probability, self.rare_greedy, params)


def _extractable(
    logs: NDArray[np.float64], greedy: NDArray[np.bool_], params: TrajectoryMemorizationParams
) -> NDArray[np.bool_]:
    least = least_log_probability(queries=params.queries, chance=params.chance)
    found: NDArray[np.bool_] = logs >= least
    return found | greedy if params.greedy else found


# --- planning -----------------------------------------------------------------------------------


def extraction_sample(builder: PlanBuilder, cell: _Cell) -> Sample:
    """Count who has a window: behind the attacker's cut, or anywhere."""
    labels, piece = _labels(builder, cell), cell.piece
    if labels is not None:
        # whether prompts are shared does not matter: each is asked for its own patient's tokens
        found = builder.label_sets[labels]
        asked = found.nonmembers.eligible & piece.nonmembers & ~held_back(builder)
        sample = eligible_sample(found, piece)
        alone = ("distinct_prompt_share", "effective_members", "effective_nonmembers")
        return sample.model_copy(update={**dict.fromkeys(alone), "nonmembers": int(asked.sum())})
    own = _with_windows(builder, cell)
    outside = own[False] & ~held_back(builder)
    return Sample(members=int(own[True].sum()), nonmembers=int(outside.sum()))


def extraction_cell(builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
    """Add what reads extraction off the model's scores."""
    if builder.lacks("logprobs") is not None:
        missing = "log-probabilities, which extraction as a probability is read from"
        return CellJobs(sample, missing=missing)
    labels = _labels(builder, cell)
    jobs = extraction_jobs(
        builder,
        settings_of(cell.params),
        labels=labels,
        attacker=cell.attacker.name,
        references=[reference_training(builder)],
        every_member=_takes_every_member(builder, cell),
    )
    return CellJobs(sample, labels, jobs, alone=Work(_cost(builder, cell, labels)))


def settings_of(params: TrajectoryMemorizationParams) -> ExtractionSettings:
    """Return what a control's parameters look for."""
    return ExtractionSettings(
        length=params.length,
        windows=params.windows,
        temperature=params.temperature,
        top_p=params.top_p,
    )


def _labels(builder: PlanBuilder, cell: _Cell) -> str | None:
    if settings_of(cell.params).windows == "any":
        return None
    length = cell.params.length
    return builder.record_labels(cell.attacker, horizon_tokens=length, min_tokens=length)


def _takes_every_member(builder: PlanBuilder, cell: _Cell) -> bool:
    """Whether these windows are looked for in members beside the lot: nobody may have one.

    Whoever looks for the same windows reads the same jobs, whatever his limit is.
    """
    if not builder.draw.every_member:
        return False
    spec, wanted = builder.policy.document.spec, settings_of(cell.params)
    return wanted.windows == "any" and any(
        limit.fail is None and decides(spec, control, resolve_attacker(spec, name))
        for control in spec.controls.values()
        if (control.probe, control.metric) == (cell.control.probe, cell.control.metric)
        and settings_of(TrajectoryMemorizationParams.model_validate(control.params)) == wanted
        for name, limit in control.limits.items()
    )


def _with_windows(builder: PlanBuilder, cell: _Cell) -> dict[bool, NDArray[np.bool_]]:
    """Return who of a cell's patients has a window somewhere, members under True."""
    every, found = _takes_every_member(builder, cell), {}
    for side, chosen in ((True, cell.piece.members), (False, cell.piece.nonmembers)):
        records = looked_at(builder, side, every_member=every)
        has_one = has_window(builder, records, length=cell.params.length)
        found[side] = has_one & chosen[: len(records)]
    return found


def _cost(builder: PlanBuilder, cell: _Cell, labels: str | None) -> int:
    """Return how many tokens the model reads for this cell alone."""
    total = 0
    if labels is None:
        for side, asked in _with_windows(builder, cell).items():
            lengths = scored_tokens(
                builder.asked[side], max_length=builder.max_length, window=builder.window
            )
            total += int(lengths[: len(asked)][asked].sum())
        return total
    for side, chosen in ((True, cell.piece.members), (False, cell.piece.nonmembers)):
        found = builder.label_sets[labels].split(side)
        asked = chosen & found.eligible
        total += int((found.length[asked] + cell.params.length).sum())
    return total


# --- measuring ----------------------------------------------------------------------------------


def extraction_observations(evidence: CellEvidence) -> ExtractionObservations:
    """Take one subgroup's patients."""
    table = pa.concat_tables(evidence.tables[KIND])
    keep = in_subgroup(table, evidence.subgroup)
    found = read_extraction(table.filter(pa.array(keep)))
    if evidence.labels is None:
        return found
    # of nonmembers those who taught the reference are not asked
    wanted = in_subgroup(evidence.labels, evidence.subgroup)
    wanted &= booleans(evidence.labels, "eligible") & booleans(evidence.labels, "member")
    return replace(found, unanswered=int(wanted.sum() - found.member.sum()))


def read_extraction(table: pa.Table) -> ExtractionObservations:
    """Read tables of extraction jobs."""
    logs, telling, rare = (
        table[name].fill_null(-np.inf).to_numpy().astype(np.float64)
        for name in ("log_probability", "telling_log_probability", "rare_log_probability")
    )
    sequences = table["prompt"].combine_chunks().dictionary_encode().indices.to_numpy()
    return ExtractionObservations(
        member=booleans(table, "member"),
        log_probability=np.where(logs <= IMPOSSIBLE, -np.inf, logs),
        greedy=booleans(table, "greedy"),
        telling_log_probability=np.where(telling <= IMPOSSIBLE, -np.inf, telling),
        telling_greedy=booleans(table, "telling_greedy"),
        rare_log_probability=np.where(rare <= IMPOSSIBLE, -np.inf, rare),
        rare_greedy=booleans(table, "rare_greedy"),
        sequence=sequences.astype(np.int64),
    )


def extractable_group(
    observations: ExtractionObservations, *, member: bool, params: TrajectoryMemorizationParams
) -> Clusters:
    """Return who of one split can be extracted."""
    chosen = observations.member == member
    return Clusters.by_prompt(
        observations.extractable(params)[chosen],
        observations.sequence[chosen],
        of=f"{'members' if member else 'nonmembers'} with a window",
    )


def tallies(
    observations: ExtractionObservations,
    *,
    params: TrajectoryMemorizationParams,
    confidence: float,
) -> Iterator[tuple[str, Estimate]]:
    """Yield how many members have a window of each likelihood, and that of the likeliest."""
    logs = observations.log_probability[observations.member]
    n = len(logs)
    if not n:
        return
    for name, level in LEVELS.items():
        yield name, stats.rate(int((logs >= math.log(level)).sum()), n, confidence=confidence)
    rare = int(observations.rarely_extractable(params)[observations.member].sum())
    yield RARELY, stats.rate(rare, n, confidence=confidence)
    worst = math.exp(float(logs.max()))
    yield WORST, Estimate(worst, worst, worst, n, confidence, "largest")
