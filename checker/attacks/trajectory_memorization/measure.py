"""T1: how near continuations come to the truth, and how much further than for nonmembers.

Distances are those of `.distance`, repeated runs those of `.verbatim`; how regurgitation is bounded
is told in `checker.attacks.families.repeated`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.attacks.api import CellEvidence, Measuring, Metric, Observations
from checker.attacks.families import Gap
from checker.attacks.families.samples import Clusters, RepeatedRecords
from checker.attacks.tables import booleans, in_subgroup
from checker.attacks.trajectory_memorization import TrajectoryMemorizationParams
from checker.attacks.trajectory_memorization.extraction import (
    ExtractionObservations,
    extractable_group,
    extraction_observations,
    tallies,
)
from checker.errors import InsufficientData
from checker.planning.extraction import KIND as EXTRACTION
from checker.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class TrajectoryObservations(Observations):
    """How near n patients' continuations came to what truly followed.

    Only patients with at least `minRun` true tokens behind the prompt are here.

    Args:
        member: [n] bool.
        extracted: [n] bool, a continuation repeats `minRun` true tokens in a row.
        distance: [n] float64 >= 0, mean distance of the patient's continuations.
        random_distance: [n] float64, of tokens drawn by their frequency.
        frequent_distance: [n] float64, of the most frequent codes.
        prompt: [n] int64, equal for equal prompts.
    """

    member: NDArray[np.bool_]
    extracted: NDArray[np.bool_]
    distance: NDArray[np.float64]
    random_distance: NDArray[np.float64]
    frequent_distance: NDArray[np.float64]
    prompt: NDArray[np.int64]

    def eligible(self, *, member: bool) -> int:
        """Return how many patients of one split were measured."""
        return int((self.member == member).sum())

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Share of distinct prompts in the split where it is lower; None without patients."""
        shares = [
            len(np.unique(prompts)) / len(prompts)
            for member in (True, False)
            if len(prompts := self.prompt[self.member == member])
        ]
        return min(shares, default=None)


@dataclass(frozen=True, slots=True)
class RegurgitationObservations(Observations):
    """Whose records R rollouts repeat."""

    records: RepeatedRecords


_Observations = TrajectoryObservations | RegurgitationObservations | ExtractionObservations


class TrajectoryMeasuring(Measuring[_Observations, TrajectoryMemorizationParams]):
    """Takes distances and runs of patients, whose records rollouts repeat, or likely windows."""

    def observations(self, evidence: CellEvidence) -> _Observations:
        """Take one subgroup's patients, or everybody's rollouts."""
        if "regurgitation" in evidence.tables:
            return _regurgitation_observations(pa.concat_tables(evidence.tables["regurgitation"]))
        if EXTRACTION in evidence.tables:
            return extraction_observations(evidence)
        return _trajectory_observations(evidence)

    def group(
        self,
        metric: Metric,
        observations: _Observations,
        *,
        member: bool,
        params: TrajectoryMemorizationParams,
    ) -> Clusters | NDArray[np.float64] | RepeatedRecords:
        """Return extractions by prompt or distances of one split, or what rollouts repeat."""
        if isinstance(observations, RegurgitationObservations):
            return observations.records
        if isinstance(observations, ExtractionObservations):
            return extractable_group(observations, member=member, params=params)
        chosen = observations.member == member
        if metric.outcome == "distance":
            distance: NDArray[np.float64] = observations.distance[chosen]
            return distance
        return Clusters.by_prompt(
            observations.extracted[chosen],
            observations.prompt[chosen],
            of=f"{'members' if member else 'nonmembers'} with a continuation",
        )

    def reported(
        self,
        metric: Metric,
        observations: _Observations,
        *,
        params: TrajectoryMemorizationParams,
        confidence: float,
    ) -> dict[str, Estimate]:
        """Return beside a distance what chance would give, beside windows how likely they are."""
        if isinstance(observations, ExtractionObservations):
            return dict(tallies(observations, params=params, confidence=confidence))
        if metric.outcome != "distance" or isinstance(observations, RegurgitationObservations):
            return {}
        inside = observations.member
        found = {
            "random_distance": Gap().mean(
                observations.random_distance[inside], confidence=confidence
            ),
            "frequent_distance": Gap().mean(
                observations.frequent_distance[inside], confidence=confidence
            ),
        }
        return {name: estimate for name, estimate in found.items() if estimate is not None}


# --- from evidence ------------------------------------------------------------------------------


def _trajectory_observations(evidence: CellEvidence) -> TrajectoryObservations:
    table = pa.concat_tables(evidence.tables["trajectories"])
    keep = in_subgroup(table, evidence.subgroup)
    column = {
        name: table[name].to_numpy().astype(np.float64)[keep]
        for name in ("distance", "longest_run", "random_distance", "frequent_distance")
    }
    prompts = table["prompt"].combine_chunks().dictionary_encode().indices.to_numpy()
    unanswered = 0
    if evidence.labels is not None and not evidence.partial:
        wanted = in_subgroup(evidence.labels, evidence.subgroup)
        wanted &= booleans(evidence.labels, "eligible")
        unanswered = int(wanted.sum() - keep.sum())
    return TrajectoryObservations(
        member=booleans(table, "member")[keep],
        extracted=column["longest_run"] >= evidence.params.min_run,
        distance=column["distance"],
        random_distance=column["random_distance"],
        frequent_distance=column["frequent_distance"],
        prompt=prompts.astype(np.int64)[keep],
        unanswered=unanswered,
    )


def _regurgitation_observations(table: pa.Table) -> RegurgitationObservations:
    if table.num_rows == 0:
        raise InsufficientData("continuations", needed=1, got=0)
    return RegurgitationObservations(
        RepeatedRecords(
            member_groups=table["member_groups"].to_numpy().astype(np.int64),
            nonmember_groups=table["nonmember_groups"].to_numpy().astype(np.int64),
            repeated=table["repeated"].to_numpy().astype(np.int64),
            halves=np.stack([table[name].to_numpy() for name in ("half_a", "half_b")], axis=1),
            groups=int(table["groups"][0].as_py()),
            nonmembers=int(table["nonmembers"][0].as_py()),
        )
    )


MEASURE = TrajectoryMeasuring()
