"""How each kind of job becomes a table of observations.

Patients leave this package under pseudonyms only. Rows stand in the order of the cohort, so equal
inputs give equal tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from checker.attacks.api import columns_of, owner_of
from checker.errors import PluginError
from checker.evidence import Pseudonyms
from checker.planning.model import AuditPlan, Job
from checker.planning.task import PatientNames, Running, Task
from checker.planning.workload import Workload
from checker.run import (
    cohort_jobs,
    description_jobs,
    extraction_jobs,
    model_jobs,
    reference_jobs,
    spare_patients,
)
from checker.targets import Progress, TargetModel

SHARED_JOBS: Mapping[str, Callable[[Task], pa.Table]] = {
    "labels": cohort_jobs.labels,
    "overlap": cohort_jobs.overlap,
    "comparability": cohort_jobs.comparability,
    "spare-tables": spare_patients.spare_tables,
    "rollouts": model_jobs.rollouts,
    "scores": model_jobs.scores,
    "spare-scores": model_jobs.spare_scores,
    "extraction": extraction_jobs.extraction,
    "prompt-format": model_jobs.prompt_format,
    "other-descriptions": description_jobs.other_descriptions,
    "record-parts": description_jobs.record_parts,
    "expected-tokens": cohort_jobs.expected_tokens,
    "expected-loss": model_jobs.expected_loss,
    "embeddings": model_jobs.embeddings,
    "reference-training": reference_jobs.reference_training,
}
"""What runs the kinds of `checker.kinds`; those of one attack are run by the attack."""


@dataclass(frozen=True)
class Execution:
    """Executes the jobs of one plan.

    Args:
        plan: names the jobs and the seed.
        workload: the patients behind them.
        pseudonyms: the run's key.
    """

    plan: AuditPlan
    workload: Workload
    pseudonyms: Pseudonyms

    @cached_property
    def names(self) -> PatientNames:
        """The patients' pseudonyms and subgroups, found once for all jobs."""
        return PatientNames(self.workload, self.pseudonyms)

    def execute(
        self,
        job: Job,
        target: TargetModel | None,
        *,
        evidence: Mapping[str, pa.Table],
        advance: Progress,
    ) -> pa.Table:
        """Run one job.

        Args:
            job: of the plan.
            target: the model it runs on; None will do for jobs that run on none.
            evidence: tables of the jobs it needs, by digest.
            advance: called with the number of tokens done since the last call.

        Raises:
            PluginError: nothing that is installed runs jobs of its kind, or what runs them gives no
                table with the kind's columns.
        """
        task = Task(
            job=job,
            plan=self.plan,
            workload=self.workload,
            names=self.names,
            evidence=evidence,
            target=target,
            advance=advance,
        )
        return _checked(_job_function(job.kind)(task), job.kind)


def _checked(table: Any, kind: str) -> pa.Table:
    """Return what a job observed, or refuse it before it is kept and every judgement stumbles."""
    if not isinstance(table, pa.Table):
        name = type(table).__name__
        raise PluginError(f"jobs of kind '{kind}' return {name}, not a pyarrow Table")
    if missing := sorted(set(columns_of(kind)) - set(table.column_names)):
        raise PluginError(f"what a job of kind '{kind}' observed lacks the column '{missing[0]}'")
    return table


def _job_function(kind: str) -> Callable[[Task], pa.Table]:
    if kind in SHARED_JOBS:
        return SHARED_JOBS[kind]
    attack = owner_of(kind)
    jobs = attack.part("run", Running).kinds
    if kind not in jobs:
        raise PluginError(f"attack '{attack.name}' does not run its own jobs of kind '{kind}'")
    return jobs[kind]
