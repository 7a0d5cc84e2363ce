"""T5's jobs: the eligible members' continuations, and those of the disclosed again, perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.attacks.api import Metric
from checker.attacks.families import Sample
from checker.attacks.identifier_perturbation import IdentifierPerturbationParams
from checker.attacks.identifier_perturbation.perturbed_prompts import variants_at_most
from checker.attacks.labels import asked_alone, class_labels, eligible_again, eligible_sample
from checker.attacks.rollouts import rollout_settings
from checker.planning.builder import PlanBuilder
from checker.planning.identity import inputs_of
from checker.planning.model import Cell, Job
from checker.planning.protocol import (
    CellJobs,
    DrawnFrom,
    PlannedCell,
    Planning,
    RolloutUse,
    SampleEvidence,
    Work,
)
from checker.planning.subgroups import Slice

_Cell = PlannedCell[IdentifierPerturbationParams]


class PerturbationPlanning(Planning[IdentifierPerturbationParams]):
    """Asks members alone; whom it asks again depends on what was drawn first."""

    reads = frozenset({"rollouts"})
    joins_labels = True

    def rollouts(self, params: IdentifierPerturbationParams) -> RolloutUse:
        """Say how continuations are drawn, and what q is compared with."""
        return RolloutUse(rollout_settings(params), params.threshold)

    def drawn_from(
        self, params: IdentifierPerturbationParams, metric: Metric, *, has_spare: bool
    ) -> DrawnFrom:
        """Return the eligible."""
        return DrawnFrom("class", params.horizon_tokens)

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count the eligible."""
        return eligible_sample(builder.label_sets[_labels(builder, cell)], cell.piece)

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add continuations, and those of changed prompts."""
        labels, settings, params = (
            _labels(builder, cell),
            rollout_settings(cell.params),
            cell.params,
        )
        found, name = builder.label_sets[labels], cell.attacker.name
        rollouts = builder.rollouts(labels, settings, attacker=name)
        if not rollouts:  # nobody can be asked, so nobody can be asked again
            return CellJobs(sample, labels, [], alone=asked_alone(found, cell.piece, settings))

        def once_more(chosen: NDArray[np.bool_]) -> Work:
            # who is disclosed is not known yet: at most every eligible member is
            nobody = np.zeros_like(found.nonmembers.eligible)
            members = Slice("eligible members", found.members.eligible & chosen, nobody)
            variants = variants_at_most(params.identifiers)
            return asked_alone(found, members, settings).times(variants)

        everybody = once_more(np.ones_like(found.members.eligible))
        job = builder.job(
            "perturbations",
            f"{name}'s prompts with age, sex or race changed",
            {
                **builder.data_inputs(),
                **builder.model_inputs(),
                **inputs_of(params),
                "watch": builder.ranks[cell.class_name].watch,
                "seed": builder.seed,
            },
            runs_on="target",
            needs=[labels, *rollouts],
            forward_tokens=everybody.forward,
            rollout_tokens=everybody.rollout,
        )
        alone = asked_alone(found, cell.piece, settings) + once_more(cell.piece.members)
        return CellJobs(sample, labels, [*rollouts, builder.add(job)], alone=alone)

    def demands(self, job: Job, cell: Cell, *, watch: Sequence[int]) -> Mapping[str, Any]:
        """Return how the class is drawn, and what is changed."""
        return {"watch": watch, **cell.params}

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count the eligible."""
        assert evidence.labels is not None  # a plan gives every such cell its labels
        return eligible_again(evidence.labels, cell.subgroup)


def _labels(builder: PlanBuilder, cell: _Cell) -> str:
    return class_labels(builder, cell, horizon_tokens=cell.params.horizon_tokens)


PLAN = PerturbationPlanning()
