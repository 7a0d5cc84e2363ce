"""The jobs of canary exposure: planted patients and their twins that were left out, scored once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from checker.attacks.api import Metric
from checker.attacks.canary_exposure import CanaryExposureParams
from checker.attacks.canary_exposure.planted import PlantedCanaries, open_canaries
from checker.attacks.families import Sample
from checker.attacks.tables import booleans
from checker.planning.builder import PlanBuilder
from checker.planning.model import Cell
from checker.planning.protocol import (
    CellJobs,
    DrawnFrom,
    PlannedCell,
    Planning,
    SampleEvidence,
    Work,
)
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer

_Cell = PlannedCell[CanaryExposureParams]


class CanaryPlanning(Planning[CanaryExposureParams]):
    """Scores the records of the auditor's manifest; a cell's `file` is its `PlantedCanaries`.

    It is None where a token table stands in place of rules, which has no records of canaries.
    """

    reads = frozenset({"canaries"})

    def path(self, params: CanaryExposureParams) -> str:
        """Return the manifest."""
        return params.manifest

    def read(
        self, path: Path, *, cohort: Cohort, tokenizer: Tokenizer, max_length: int | None
    ) -> PlantedCanaries | None:
        """Read the manifest; None where the target's records cannot be made of made-up patients."""
        if not tokenizer.makes_records:
            return None
        return open_canaries(path, cohort=cohort, tokenizer=tokenizer, max_length=max_length)

    def drawn_from(
        self, params: CanaryExposureParams, metric: Metric, *, has_spare: bool
    ) -> DrawnFrom:
        """Return nobody: canaries are no patients."""
        return DrawnFrom("nobody")

    def sample(self, builder: PlanBuilder, cell: _Cell) -> Sample:
        """Count the planted and those left out."""
        planted: PlantedCanaries | None = cell.file
        if planted is None:
            return Sample(members=0, nonmembers=0)
        drawn = planted.included[~planted.beacon]
        return Sample(members=int(drawn.sum()), nonmembers=int((~drawn).sum()))

    def jobs(self, builder: PlanBuilder, cell: _Cell, sample: Sample) -> CellJobs:
        """Add the scores of every canary, by each model."""
        planted: PlantedCanaries | None = cell.file
        if planted is None:
            return CellJobs(sample, missing="records of made-up patients")
        jobs = []
        for who in cell.models:
            by_whom = "" if who == "target" else " (reference model)"
            job = builder.job(
                "canaries",
                f"token log-probabilities of {len(planted)} canaries{by_whom}",
                {
                    **builder.model_inputs(who),
                    "manifest": planted.sha256,
                    "tokenization": builder.tokenizer.sha256,
                },
                runs_on=who,
                forward_tokens=planted.tokens,
            )
            builder.job_inputs[job.digest] = planted
            jobs.append(builder.add(job))
        return CellJobs(sample, jobs=jobs, alone=Work(planted.tokens).times(len(jobs)))

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count the planted and those left out."""
        table = evidence.tables["canaries"][0]
        drawn, planted = ~booleans(table, "beacon"), booleans(table, "included")
        return {
            "members": int((drawn & planted).sum()),
            "nonmembers": int((drawn & ~planted).sum()),
        }


PLAN = CanaryPlanning()
