"""T2's jobs: continuations of the eligible, or of everybody where a metric ranks patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from checker.attacks.api import Metric
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.families import Sample
from checker.attacks.labels import asked_alone, class_labels, eligible_again, eligible_sample
from checker.attacks.rollouts import rollout_settings
from checker.planning.builder import PlanBuilder
from checker.planning.model import Cell
from checker.planning.protocol import (
    CellJobs,
    DrawnFrom,
    PlannedCell,
    Planning,
    RolloutUse,
    SampleEvidence,
    Work,
)

_Cell = PlannedCell[AttributeDisclosureParams]


class AttributeDisclosurePlanning(Planning[AttributeDisclosureParams]):
    """Asks of the target, and of a reference model where that is subtracted."""

    reads = frozenset({"rollouts"})
    joins_labels = True

    def rollouts(self, params: AttributeDisclosureParams) -> RolloutUse:
        """Say how continuations are drawn, and what q is compared with."""
        settings = rollout_settings(params)
        if not params.estimates_q:
            return RolloutUse(settings, params.threshold)
        fewer = replace(settings, samples=params.estimation_samples)
        return RolloutUse(settings, params.threshold, fewer, params.decision_samples)

    def drawn_from(
        self, params: AttributeDisclosureParams, metric: Metric, *, has_spare: bool
    ) -> DrawnFrom | None:
        """Return the eligible; rankings take everybody."""
        if metric.family.takes_everybody:
            return None
        return DrawnFrom("class", params.horizon_tokens)

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count the eligible."""
        return eligible_sample(builder.label_sets[_labels(builder, cell)], cell.piece)

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add continuations of each model."""
        labels, use = _labels(builder, cell), self.rollouts(cell.params)
        jobs: list[str] = []
        alone = Work()
        for who in cell.models:
            gives_masses = builder.lacks("masses", who=who) is None
            settings = use.of_model(gives_masses=gives_masses)
            if gives_masses and use.may_take_more:
                tested = (settings.alike(), cell.class_name, cell.attacker.name)
                settings = builder.threshold_tests.get(tested, settings)
            jobs += builder.rollouts(labels, settings, attacker=cell.attacker.name, who=who)
            alone += asked_alone(builder.label_sets[labels], cell.piece, settings)
        return CellJobs(sample, labels, jobs, alone=alone)

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count the eligible."""
        assert evidence.labels is not None  # a plan gives every such cell its labels
        return eligible_again(evidence.labels, cell.subgroup)


def _labels(builder: PlanBuilder, cell: _Cell) -> str:
    return class_labels(builder, cell, horizon_tokens=cell.params.horizon_tokens)


PLAN = AttributeDisclosurePlanning()
