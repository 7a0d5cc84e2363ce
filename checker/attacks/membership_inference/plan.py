"""T4's jobs: everybody's whole record, scored once; and of the learned score all that it takes.

A learned score takes a reference model of phigate's own (`checker.planning.reference_patients`),
features of every record that did not teach it, and a classifier that is fitted on a third of them.
Who is drawn for what is known before any model runs, so that the plan's power is that of the
patients who are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.attacks.api import Metric
from checker.attacks.families import Sample
from checker.attacks.labels import everybody_again
from checker.attacks.membership_inference import STRONGEST, MembershipInferenceParams
from checker.attacks.tables import booleans, in_subgroup
from checker.planning.builder import RECORDS_A_JOB, PlanBuilder
from checker.planning.lots import SHARE, drawn_halves
from checker.planning.model import Cell, Job
from checker.planning.protocol import (
    CellJobs,
    DrawnFrom,
    PlannedCell,
    Planning,
    SampleEvidence,
    Work,
)
from checker.planning.reference_patients import held_back, reference_training

_Cell = PlannedCell[MembershipInferenceParams]

LEARNED = "membership-scores"

TAUGHT_WELL = 4_500
"""Patients of each split from whom a learned score is as strong as from all.

A third, 1,500, are fitted on, for some thirty features; and a third of the nonmembers teaches the
reference, which learns from no more than `TOKENS_A_PASS` of them, some 200 a record."""


@dataclass(frozen=True, slots=True)
class AttackedPatients:
    """Whose records one job of the learned attack scores.

    Args:
        patients: (is member, index), in order.
        fitted: [n] bool, whom the classifier is fitted on; the others are judged.
        half: [n] bool, one of two halves that the placebo tells apart.
    """

    patients: list[tuple[bool, int]]
    fitted: NDArray[np.bool_]
    half: NDArray[np.bool_]


class MembershipPlanning(Planning[MembershipInferenceParams]):
    """Scores records on the target, and on a reference model where the score is a ratio."""

    reads = frozenset({"scores"})

    def drawn_from(
        self, params: MembershipInferenceParams, metric: Metric, *, has_spare: bool
    ) -> DrawnFrom:
        """Return everybody; a learned score needs enough who teach it."""
        if params.score != STRONGEST:
            return DrawnFrom("everybody")
        left = 1 - SHARE
        return DrawnFrom(
            "everybody", judged=(left, left if has_spare else left * left), fewest=TAUGHT_WELL
        )

    def score_percents(self, params: MembershipInferenceParams) -> tuple[float, ...]:
        """Return the share of tokens that Min-K% looks at."""
        return (float(params.k),)

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count everybody who is judged."""
        piece = builder.of_lot(cell.piece)
        members, nonmembers = piece.members, piece.nonmembers
        if cell.params.score == STRONGEST:
            fitted = _fitted(builder)
            members = members & ~fitted[True]
            nonmembers = nonmembers & ~fitted[False] & ~held_back(builder)
        return Sample(members=int(members.sum()), nonmembers=int(nonmembers.sum()))

    def imagined(
        self, params: MembershipInferenceParams, metric: Metric, *, members: int, nonmembers: int
    ) -> Sample:
        """Leave out a third of the nonmembers, and of both those whom the score is fitted on."""
        sample = super().imagined(params, metric, members=members, nonmembers=nonmembers)
        if params.score != STRONGEST:
            return sample
        outside = nonmembers - int(nonmembers * SHARE)
        judged = members - int(members * SHARE), outside - round(outside * SHARE)
        return sample.model_copy(update={"members": judged[0], "nonmembers": judged[1]})

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add the scores of all records, or what the learned score takes."""
        if cell.params.score == STRONGEST:
            return _learned(builder, cell, sample)
        jobs = [job for who in cell.models for job in builder.scores(who=who)]
        return CellJobs(sample, jobs=jobs, alone=_alone(builder, cell, models=len(cell.models)))

    def kinds_read(self, cell: Cell) -> frozenset[str]:
        """Return the scores of records, or those that were learned."""
        return frozenset({LEARNED}) if _is_learned(cell) else self.reads

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count who is judged; of scores everybody, for who has no score is there too."""
        if _is_learned(cell):
            return _judged_again(evidence.tables.get("membership-features", ()), cell.subgroup)
        known = evidence.everybody
        return {} if known is None else everybody_again(known, cell.subgroup)

    def demands(self, job: Job, cell: Cell, *, watch: Sequence[int]) -> Mapping[str, Any]:
        """Return how many references the learned score must have."""
        return {"references": cell.params["references"]} if "references" in job.inputs else {}


def _is_learned(cell: Cell) -> bool:
    return bool(cell.params["score"] == STRONGEST)


def _judged_again(tables: Sequence[pa.Table], subgroup: str) -> dict[str, float]:
    """Count a subgroup's patients on whom the classifier was not fitted."""
    counts = {"members": 0, "nonmembers": 0}
    for table in tables:
        judged = in_subgroup(table, subgroup) & ~booleans(table, "fitted")
        member = booleans(table, "member")
        counts["members"] += int((judged & member).sum())
        counts["nonmembers"] += int((judged & ~member).sum())
    return dict(counts)


def _alone(builder: PlanBuilder, cell: _Cell, *, models: int) -> Work:
    piece = builder.of_lot(cell.piece)
    tokens = sum(
        int(builder.scored_lengths[is_member][chosen].sum())
        for is_member, chosen in ((True, piece.members), (False, piece.nonmembers))
    )
    return Work(tokens).times(models)


def _fitted(builder: PlanBuilder) -> dict[bool, NDArray[np.bool_]]:
    """Return whom the classifier is fitted on: a third of the members, and of the nonmembers left.

    The lot of a third is drawn over all nonmembers and independent of who teaches the reference.
    """
    return builder.drawn("learned score")


def _learned(builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
    """Add references, features and the classifier's scores."""
    count = cell.params.references
    trained = [reference_training(builder, number=number) for number in range(count)]
    declared = "reference" in builder.descriptions and (
        builder.lacks("logprobs", who="reference") is None
    )
    # the reference must not know the members: the judge attacks it by its own loss
    checked = builder.scores(who="reference") if declared else []
    everybody = _everybody(builder)
    lengths = np.array(
        [builder.scored_lengths[who][index] for who, index in everybody.patients], dtype=np.int64
    )
    jobs = [*trained, *checked]
    features = []
    for start in range(0, len(everybody.patients), RECORDS_A_JOB):
        part = slice(start, start + RECORDS_A_JOB)
        chunk = AttackedPatients(
            everybody.patients[part], everybody.fitted[part], everybody.half[part]
        )
        asked = {
            **builder.data_inputs(),
            "first": start,
            "count": len(chunk.patients),
            "window": builder.window,
            "seed": builder.seed,
        }
        records = f"records {start + 1}–{start + len(chunk.patients)}"
        tokens = int(lengths[part].sum())
        beside = []
        if declared:
            job = builder.job(
                "membership-tokens",
                f"token log-probabilities of {records} (reference model)",
                {**asked, **builder.model_inputs("reference")},
                runs_on="reference",
                forward_tokens=tokens,
            )
            builder.job_inputs[job.digest] = chunk
            beside.append(builder.add(job))
        job = builder.job(
            "membership-features",
            f"what models say of {records}, for a learned score",
            {
                **asked,
                **builder.model_inputs(),
                "k": list(builder.score_percents),
                "references": count,
                "subgroups": sorted(builder.slices),
            },
            runs_on="target",
            needs=[*trained, *beside],
            forward_tokens=tokens,
        )
        builder.job_inputs[job.digest] = chunk
        builder.scored[job.digest] = chunk.patients
        features.append(builder.add(job))
        jobs += [*beside, features[-1]]
    learned = builder.job(
        "membership-scores",
        "a membership score learned from a third of the patients",
        {"references": count, "seed": builder.seed},
        runs_on="evidence",
        needs=features,
    )
    models = 2 if declared else 1
    return CellJobs(
        sample,
        jobs=[*jobs, builder.add(learned)],
        alone=_alone(builder, cell, models=models),
    )


def _everybody(builder: PlanBuilder) -> AttackedPatients:
    """Return all members, and all nonmembers who teach no reference."""
    fitted, taught = _fitted(builder), held_back(builder)
    nobody = np.zeros(len(builder.members), dtype=np.bool_)
    half = {
        who: drawn_halves(
            records,
            # the placebo is taught by those who are fitted on, and judged by the others
            np.where(out, 2, fitted[who].astype(np.int64)),
            seed=builder.seed,
            purpose="placebo halves",
        )
        for who, records, out in (
            (True, builder.members, nobody),
            (False, builder.nonmembers, taught),
        )
    }
    patients = [(True, i) for i in range(len(builder.members))]
    patients += [(False, i) for i in np.flatnonzero(~taught).tolist()]
    return AttackedPatients(
        patients,
        np.array([fitted[who][index] for who, index in patients], dtype=np.bool_),
        np.array([half[who][index] for who, index in patients], dtype=np.bool_),
    )


PLAN = MembershipPlanning()
