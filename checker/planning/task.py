"""One job on its way to a table: what it may read, and under which names patients leave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.evidence import Pseudonyms
from checker.planning.model import AuditPlan, Job
from checker.planning.workload import Workload
from checker.targets import Progress, Sampler, TargetModel


@dataclass(frozen=True)
class PatientNames:
    """Under which names patients leave a run, and which subgroups they belong to: found once.

    Args:
        workload: the patients.
        pseudonyms: the run's key.
    """

    workload: Workload
    pseudonyms: Pseudonyms

    @cached_property
    def members(self) -> list[str]:
        """Pseudonyms of the members, in order."""
        return self._names(self.workload.cohort.members.subject_id)

    @cached_property
    def nonmembers(self) -> list[str]:
        """Pseudonyms of the nonmembers, in order."""
        return self._names(self.workload.cohort.nonmembers.subject_id)

    @cached_property
    def everybody(self) -> pa.Array:
        """Pseudonyms of members, then of nonmembers."""
        return pa.array([*self.members, *self.nonmembers], pa.string())

    @cached_property
    def subgroups(self) -> pa.ListArray:
        """The subgroups of members, then of nonmembers, "all" left out."""
        slices = {k: v for k, v in self.workload.slices.items() if k != "all"}
        inside = np.zeros((len(self.everybody), len(slices)), dtype=np.bool_)
        for column, piece in enumerate(slices.values()):
            inside[:, column] = np.concatenate([piece.members, piece.nonmembers])
        ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int32)
        which = np.nonzero(inside)[1].astype(np.int32)
        names = pa.array(list(slices), pa.string()).take(pa.array(which))
        return pa.ListArray.from_arrays(pa.array(ends), names)

    def _names(self, subjects: NDArray[np.int64]) -> list[str]:
        return [self.pseudonyms.of_subject(subject) for subject in subjects.tolist()]


@dataclass(frozen=True)
class Task:
    """A job with all that its execution may depend on.

    Args:
        job: of the plan.
        plan: names the jobs and the seed.
        workload: the patients behind them.
        names: of the run; patients leave the execution under pseudonyms only.
        evidence: tables of the jobs that this one needs, by digest.
        target: the model the job runs on, or None for a job that runs on none.
        advance: called with the number of tokens done since the last call.
    """

    job: Job
    plan: AuditPlan
    workload: Workload
    names: PatientNames
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
    def input(self) -> Any:
        """What the attack handed the job when it was planned."""
        return self.workload.inputs[self.job.digest]

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers of jobs of this kind: they depend on the policy's seed and the kind only.

        Were they of the job's digest, whoever submits a model could name another device or length
        and so draw lots until the model passes. A job that is one of several of its kind asks
        `plan.rng_for` with what tells it from the others.
        """
        return self.plan.rng_for(self.job.kind)

    def needed_jobs(self, kind: str) -> list[Job]:
        """Return the jobs of one kind that the job needs, in the plan's order."""
        jobs = {job.digest: job for job in self.plan.jobs}
        return [jobs[name] for name in self.job.needs if jobs[name].kind == kind]

    def needed(self, kind: str) -> list[pa.Table]:
        """Return the tables of one kind that the job needs, in the plan's order."""
        return [self.evidence[job.digest] for job in self.needed_jobs(kind)]

    def labels_digest(self) -> str:
        """Return the digest of the label set that the job needs."""
        return self.needed_jobs("labels")[0].digest

    def patient(self, is_member: bool, index: int) -> str:
        """Return a patient's pseudonym."""
        return (self.names.members if is_member else self.names.nonmembers)[index]

    def prompt_name(self, key: bytes) -> str:
        """Return a prompt's keyed digest."""
        return self.names.pseudonyms.of("prompt", key)


def sampler_of(job: Job) -> Sampler:
    """Return how a job's inputs say that continuations are drawn."""
    return Sampler(
        temperature=job.inputs["temperature"],
        top_p=job.inputs["topP"],
        horizon_tokens=job.inputs["horizonTokens"],
        seed=job.inputs["seed"],
    )


@dataclass(frozen=True, slots=True)
class Running:
    """How the jobs of an attack's own kinds are run, as its `run` part says.

    Args:
        kinds: by the kind's name, what turns a job into a table with at least the kind's columns.
            Patients leave it under pseudonyms only; rows stand in the order of the cohort, so that
            equal inputs give equal tables.
    """

    kinds: Mapping[str, Callable[[Task], pa.Table]]
