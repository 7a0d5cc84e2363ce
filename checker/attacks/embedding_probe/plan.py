"""T3's jobs: frozen embeddings of everybody's prompt, and a classifier fitted on some members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.attacks.embedding_probe import EmbeddingProbeParams
from checker.attacks.families import Sample
from checker.attacks.labels import (
    asked_alone,
    class_labels,
    negatives,
    positive_again,
    too_long_share,
)
from checker.planning.builder import PlanBuilder
from checker.planning.identity import inputs_of
from checker.planning.model import Cell, Job
from checker.planning.protocol import CellJobs, PlannedCell, Planning, SampleEvidence
from checker.planning.workload import SplitLabels

_Cell = PlannedCell[EmbeddingProbeParams]


class EmbeddingPlanning(Planning[EmbeddingProbeParams]):
    """Asks for an embedding of each prompt; the classifier is fitted on the evidence."""

    reads = frozenset({"probe-scores"})
    joins_labels = True

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count who has the class and who has not."""
        found, piece = builder.label_sets[class_labels(builder, cell)], cell.piece
        return Sample(
            members=_positives(found.members, piece.members),
            nonmembers=_positives(found.nonmembers, piece.nonmembers),
            members_negative=negatives(found.members, piece.members),
            nonmembers_negative=negatives(found.nonmembers, piece.nonmembers),
            too_long_share=too_long_share(found, piece),
        )

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add embeddings, and a classifier's scores."""
        labels = class_labels(builder, cell)
        embedded = builder.embeddings(labels, attacker=cell.attacker.name)
        job = builder.job(
            "probe-scores",
            f"a classifier of {cell.class_name} on embeddings",
            {
                **inputs_of(cell.params),
                "subgroups": sorted(builder.slices),
                "seed": builder.seed,
            },
            runs_on="evidence",
            needs=[labels, *embedded],
        )
        alone = asked_alone(builder.label_sets[labels], cell.piece)
        return CellJobs(sample, labels, [*embedded, builder.add(job)], alone=alone)

    def demands(self, job: Job, cell: Cell, *, watch: Sequence[int]) -> Mapping[str, Any]:
        """Return how the classifier is fitted."""
        return cell.params

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count who has the class and who has not."""
        assert evidence.labels is not None  # a plan gives every such cell its labels
        return positive_again(evidence.labels, cell.subgroup)


def _positives(labels: SplitLabels, chosen: NDArray[np.bool_]) -> int:
    return int((labels.positive & labels.promptable & chosen).sum())


PLAN = EmbeddingPlanning()
