"""T1's jobs: everybody's continuations compared with the true ones or all records, or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from checker.attacks.api import Metric
from checker.attacks.families import Sample
from checker.attacks.labels import asked_alone, eligible_again, eligible_sample
from checker.attacks.rollouts import rollout_settings
from checker.attacks.tables import booleans, in_subgroup
from checker.attacks.trajectory_memorization import OF_EXTRACTION, TrajectoryMemorizationParams
from checker.attacks.trajectory_memorization.code_labels import LEXICAL, labels_identity
from checker.attacks.trajectory_memorization.extraction import (
    EXTRACTABLE,
    extraction_cell,
    extraction_sample,
)
from checker.planning.builder import PlanBuilder
from checker.planning.cells import metric_of
from checker.planning.extraction import KIND as EXTRACTION
from checker.planning.identity import identity, inputs_of
from checker.planning.lots import SHARE
from checker.planning.model import Cell, Job
from checker.planning.protocol import (
    CellJobs,
    DrawnFrom,
    PlannedCell,
    Planning,
    RolloutUse,
    SampleEvidence,
    folder_of,
)

_Cell = PlannedCell[TrajectoryMemorizationParams]


class TrajectoryPlanning(Planning[TrajectoryMemorizationParams]):
    """Asks everybody who has a continuation, whatever it holds."""

    reads = frozenset({"trajectories", "regurgitation"})
    joins_labels = True

    def rollouts(self, params: TrajectoryMemorizationParams) -> RolloutUse:
        """Say how continuations are drawn; all of them count."""
        return RolloutUse(rollout_settings(params))

    def drawn_from(
        self, params: TrajectoryMemorizationParams, metric: Metric, *, has_spare: bool
    ) -> DrawnFrom | None:
        """Return who has a continuation, or a window; whose records are repeated asks all."""
        if metric.outcome == EXTRACTABLE:
            if params.windows == "any":
                return DrawnFrom("everybody", min_events=params.length, beside_lot=True)
            return DrawnFrom("records", params.length, params.length)
        if not metric.family.of_patients:
            return None
        return DrawnFrom("records", params.horizon_tokens, _min_tokens(metric, params))

    def path(self, params: TrajectoryMemorizationParams) -> str | None:
        """Return the folder of the model that says how alike codes are."""
        return None if params.labels == LEXICAL else params.labels

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count who has a continuation, or a window."""
        if cell.metric.outcome == EXTRACTABLE:
            return extraction_sample(builder, cell)
        return eligible_sample(builder.label_sets[_labels(builder, cell)], cell.piece)

    def imagined(
        self, params: TrajectoryMemorizationParams, metric: Metric, *, members: int, nonmembers: int
    ) -> Sample:
        """Leave out the nonmembers who teach a reference, or count continuations."""
        sample = super().imagined(params, metric, members=members, nonmembers=nonmembers)
        if metric.outcome == EXTRACTABLE:
            left = nonmembers - int(nonmembers * SHARE)
            return sample.model_copy(update={"nonmembers": left})
        if metric.family.of_patients:
            return sample
        asked = params.samples * (members + nonmembers)
        return sample.model_copy(update={"rollouts": asked})

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add continuations and what compares them, or what reads extraction off scores."""
        if cell.metric.outcome == EXTRACTABLE:
            return extraction_cell(builder, cell, sample)
        labels, settings = _labels(builder, cell), rollout_settings(cell.params)
        params, name = cell.params, cell.attacker.name
        rollouts = builder.rollouts(labels, settings, attacker=name)
        if cell.metric.family.of_patients:
            kind, title = "trajectories", f"{name}'s continuations against the true ones"
            folder = folder_of(builder.policy, cell.control_name, params.labels)
            labelled = {
                "labels": {
                    "from": params.labels,
                    "identity": labels_identity(params.labels, base=folder),
                    "codeSystems": identity(builder.target.document.spec.code_systems),
                },
            }
        else:
            asked = builder.distinct_prompts(labels)
            sample = sample.model_copy(update={"rollouts": asked * params.samples})
            kind, title = "regurgitation", f"whose records {name}'s continuations repeat"
            folder, labelled = None, {}
        job = builder.job(
            kind,
            title,
            {
                **builder.data_inputs(),
                **inputs_of(params, without=["labels", *OF_EXTRACTION]),
                **labelled,
                "subgroups": sorted(builder.slices),
                "seed": builder.seed,
            },
            runs_on="evidence",
            needs=[labels, *rollouts],
        )
        builder.job_inputs[job.digest] = folder
        alone = asked_alone(builder.label_sets[labels], cell.piece, settings)
        return CellJobs(sample, labels, [*rollouts, builder.add(job)], alone=alone)

    def demands(self, job: Job, cell: Cell, *, watch: Sequence[int]) -> Mapping[str, Any]:
        """Return what is compared with what."""
        left_out = {"labels", *OF_EXTRACTION}
        return {name: value for name, value in cell.params.items() if name not in left_out}

    def kinds_read(self, cell: Cell) -> frozenset[str]:
        """Return what was compared, or what was read off scores."""
        return frozenset({EXTRACTION}) if _is_extraction(cell) else self.reads

    def needs_labels(self, cell: Cell) -> bool:
        """Return whether patients were asked anything: scores are of everybody."""
        return not _is_extraction(cell)

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count the eligible, and their continuations where these are what is measured."""
        if _is_extraction(cell):
            return _looked_at(evidence.tables[EXTRACTION], cell.subgroup)
        assert evidence.labels is not None  # a plan gives every such cell its labels
        counts = eligible_again(evidence.labels, cell.subgroup)
        for table in evidence.tables.get("regurgitation", ()):
            counts["rollouts"] = table.num_rows
        return counts


def _is_extraction(cell: Cell) -> bool:
    return metric_of(cell).outcome == EXTRACTABLE


def _looked_at(tables: Sequence[pa.Table], subgroup: str) -> dict[str, float]:
    """Count a subgroup's patients of whom windows were read."""
    member = np.concatenate([booleans(one, "member") for one in tables])
    inside = np.concatenate([in_subgroup(one, subgroup) for one in tables])
    return {"members": int((inside & member).sum()), "nonmembers": int((inside & ~member).sum())}


def _labels(builder: PlanBuilder, cell: _Cell) -> str:
    return builder.record_labels(
        cell.attacker,
        horizon_tokens=cell.params.horizon_tokens,
        min_tokens=_min_tokens(cell.metric, cell.params),
        of_all=not cell.metric.family.of_patients,
    )


def _min_tokens(metric: Metric, params: TrajectoryMemorizationParams) -> int:
    """Return how much must follow: a run has its length, and any continuation a distance."""
    return 1 if metric.outcome == "distance" else params.min_run


PLAN = TrajectoryPlanning()
