"""One job on its way to a table: what it may read, and under which names patients leave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from checker.errors import TargetError
from checker.evidence import Pseudonyms
from checker.plan.model import AuditPlan, Job
from checker.plan.workload import Workload
from checker.targets import Progress, Sampler, TargetModel

__all__ = ["Task", "sampler_of"]


@dataclass(frozen=True)
class Task:
    """A job with all that its execution may depend on.

    Args:
        job: of the plan.
        plan: names the jobs and the seed.
        workload: the patients behind them.
        pseudonyms: the run's key; patients leave the execution under pseudonyms only.
        evidence: tables of the jobs that this one needs, by digest.
        target: the model the job runs on, or None for a job that runs on none.
        advance: called with the number of tokens done since the last call.
    """

    job: Job
    plan: AuditPlan
    workload: Workload
    pseudonyms: Pseudonyms
    evidence: Mapping[str, pa.Table]
    target: TargetModel | None
    advance: Progress

    @property
    def model(self) -> TargetModel:
        """The model the job runs on.

        Raises:
            TargetError: it was not loaded.
        """
        if self.target is None:
            raise TargetError(f"the job '{self.job.title}' needs a model, and none was loaded")
        return self.target

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers of this job: they depend on the seed and the job only."""
        return self.plan.rng_for(f"{self.job.kind} {self.job.digest}")

    def needed(self, kind: str) -> list[pa.Table]:
        """Return the tables of one kind that the job needs, in the plan's order."""
        jobs = {job.digest: job for job in self.plan.jobs}
        return [self.evidence[name] for name in self.job.needs if jobs[name].kind == kind]

    def labels_digest(self) -> str:
        """Return the digest of the label set that the job needs."""
        jobs = {job.digest: job for job in self.plan.jobs}
        return next(name for name in self.job.needs if jobs[name].kind == "labels")

    def patient(self, is_member: bool, index: int) -> str:
        """Return a patient's pseudonym."""
        cohort = self.workload.cohort
        split = cohort.members if is_member else cohort.nonmembers
        return self.pseudonyms.of("patient", str(int(split.subject_id[index])).encode())

    def prompt_name(self, key: bytes) -> str:
        """Return a prompt's keyed digest."""
        return self.pseudonyms.of("prompt", key)


def sampler_of(job: Job) -> Sampler:
    """Return how a job's inputs say that continuations are drawn."""
    return Sampler(
        temperature=job.inputs["temperature"],
        top_p=job.inputs["topP"],
        horizon_tokens=job.inputs["horizonTokens"],
        seed=job.inputs["seed"],
    )
