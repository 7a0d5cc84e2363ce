"""T4's jobs: everybody's whole record, scored once."""

from __future__ import annotations

from collections.abc import Mapping

from checker.attacks.families import Sample
from checker.attacks.labels import everybody_again
from checker.attacks.membership_inference import MembershipInferenceParams
from checker.planning.builder import PlanBuilder
from checker.planning.model import Cell
from checker.planning.protocol import CellJobs, PlannedCell, Planning, SampleEvidence, Work

_Cell = PlannedCell[MembershipInferenceParams]


class MembershipPlanning(Planning[MembershipInferenceParams]):
    """Scores records on the target, and on a reference model where the score is a ratio."""

    reads = frozenset({"scores"})

    def score_percents(self, params: MembershipInferenceParams) -> tuple[float, ...]:
        """Return the share of tokens that Min-K% looks at."""
        return (float(params.k),)

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count everybody."""
        piece = cell.piece
        return Sample(members=int(piece.members.sum()), nonmembers=int(piece.nonmembers.sum()))

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add the scores of all records."""
        jobs = [job for who in cell.models for job in builder.scores(who=who)]
        tokens = sum(
            int(builder.scored_lengths[is_member][chosen].sum())
            for is_member, chosen in ((True, cell.piece.members), (False, cell.piece.nonmembers))
        )
        return CellJobs(sample, jobs=jobs, alone=Work(tokens).times(len(cell.models)))

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count everybody, in the labels of any other cell: who has no score is there too."""
        known = evidence.everybody
        return {} if known is None else everybody_again(known, cell.subgroup)


PLAN = MembershipPlanning()
