"""The pool of workers of a run on a cluster: started, assigned jobs, replaced when they are lost.

Each worker holds the patients and the models, and runs one job at a time. All must find what this
process found (the same plan, the same libraries) and what the first of them found (the same
device); one that does not ends the run, for evidence would depend on who measured it.

A worker that is lost, with its process or its machine, is replaced, and its job is run again. A job
that ends `MOST_LOSSES` workers is taken to do so itself: it ends as a crash, and the cells judged
from it in *error*.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from checker.errors import ExecutorError, PhigateError
from checker.evidence import Pseudonyms
from checker.planning import Job
from checker.run.execution import Execution
from checker.run.executors.ray_cluster import PendingCall, RayCluster, WorkerHandle, WorkerLost
from checker.run.executors.worker import Outcome, ReadyJob, Take, Worker, cpu_environment
from checker.run.prepare import Prepared
from checker.version import PHIGATE_VERSION

MOST_LOSSES = 3
POLL_S = 0.25
PLACE_TIMEOUT_S = 600.0

_SOFTWARE = {"phigate": PHIGATE_VERSION, **cpu_environment()}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker found when it got ready."""

    plan_sha256: str
    software: Mapping[str, str]
    environment: Mapping[str, Any]
    preflight: Mapping[str, float]


class WorkerActor:
    """What runs in a worker's process (an actor, in Ray's words).

    Args:
        prepare: reads the documents and the patients.
    """

    def __init__(self, prepare: Callable[[], Prepared]) -> None:
        self._prepare = prepare
        self._worker: Worker | None = None
        self._at: tuple[str, int] = "", 0

    def get_ready(self, key: bytes, models: Sequence[str]) -> WorkerReport | str:
        """Read the files and load models, or say in a sentence why that cannot be done."""
        try:
            prepared = self._prepare()
            openers = {"target": prepared.open_target}
            if prepared.open_reference is not None:
                openers["reference"] = prepared.open_reference
            audit = prepared.audit
            execution = Execution(audit.plan, audit.workload, Pseudonyms(key))
            self._worker = Worker(execution, openers)
            environment = self._worker.open(models)
            preflight = self._worker.preflight()
        except PhigateError as error:
            return str(error)
        return WorkerReport(audit.plan.sha256, _SOFTWARE, environment, preflight)

    def run(self, job: Job, evidence: Mapping[str, pa.Table]) -> Outcome:
        """Run one job."""
        assert self._worker is not None  # it is asked to get ready first
        self._at = job.digest, 0
        return self._worker.run(ReadyJob(job, evidence, self._advance))

    def at(self) -> tuple[str, int]:
        """Return the digest of the current job, and how many of its tokens are done."""
        return self._at

    def _advance(self, tokens: int) -> None:
        job, done = self._at
        self._at = job, done + tokens


@dataclass(slots=True, eq=False)
class _PooledWorker:
    """A worker as this process sees it: it gets ready, idles, or works on a job.

    Args:
        handle: of the worker.
        gpu: whether it has a GPU.
        has_models: whether it takes jobs that run on a model.
        call: what it was asked to do, or None when it idles.
        place: what tells that it has a place in the cluster, or None once it has told.
        assigned: the current job, if any.
        progress: what tells how far it has come, where that was asked.
    """

    handle: WorkerHandle
    gpu: bool
    has_models: bool
    call: PendingCall | None
    place: PendingCall | None
    assigned: ReadyJob | None = None
    progress: PendingCall | None = None


class WorkerPool:
    """The workers of one run.

    Args:
        cluster: where they stand.
        prepare: reads the documents and the patients, in every worker.
        key: of the run's pseudonyms.
        plan_sha256: of the plan that every worker must compile.
        models: names of those that jobs run on.
        threads: of each worker.
        notice: is told of lost workers.
    """

    def __init__(
        self,
        cluster: RayCluster,
        prepare: Callable[[], Prepared],
        *,
        key: bytes,
        plan_sha256: str,
        models: Sequence[str],
        threads: int,
        notice: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._prepare = prepare
        self._key = key
        self._plan_sha256 = plan_sha256
        self._models = tuple(models)
        self._threads = threads
        self._notice = notice
        self._workers: list[_PooledWorker] = []
        self._again: deque[ReadyJob] = deque()
        self._told: dict[str, int] = {}
        self._losses: Counter[str] = Counter()
        self._failed_starts = 0
        self._place_by = 0.0
        self._first: WorkerReport | None = None

    def start_worker(self, *, gpu: bool, has_models: bool) -> None:
        """Ask the cluster for one more worker.

        Args:
            gpu: it has a GPU of its own.
            has_models: it loads the models and takes every job; otherwise those that need none.
        """
        handle = self._cluster.start_worker(
            WorkerActor,
            self._prepare,
            threads=self._threads,
            gpus=int(gpu),
            environment=dict.fromkeys(_THREADS, str(self._threads)),
        )
        call = handle.ask("get_ready", self._key, self._models if has_models else ())
        self._workers.append(_PooledWorker(handle, gpu, has_models, call, handle.ask_now("at")))
        self._place_by = time.monotonic() + PLACE_TIMEOUT_S

    def first(self) -> WorkerReport:
        """Wait for the first worker with models, and return what it found."""
        while self._first is None:
            list(self._await())  # no worker has a job, so there are no outcomes
        return self._first

    def run(self, take: Take) -> Iterator[Outcome]:
        """Give out jobs until none is left, and yield what becomes of each.

        Raises:
            EvidenceError: evidence was changed or is missing.
            ExecutorError: no worker is left, or one found something else than the others.
        """
        while True:
            # those who take every job last: when they get none, nothing at all may run now
            for worker in sorted(self._workers, key=lambda one: one.has_models):
                if worker.call is None:
                    self._assign(worker, take)
            at_work = any(worker.assigned for worker in self._workers)
            can_all = any(worker.call is None and worker.has_models for worker in self._workers)
            if can_all and not at_work:
                return
            yield from self._await()

    # --- assigning jobs -------------------------------------------------------------------------

    def _assign(self, worker: _PooledWorker, take: Take) -> None:
        work = self._next_job(worker, take)
        if work is not None:
            worker.assigned = work
            worker.call = worker.handle.ask("run", work.job, work.evidence)

    def _next_job(self, worker: _PooledWorker, take: Take) -> ReadyJob | None:
        """Return a job for a worker: what was lost comes first, then what only some can do."""
        for lost in self._again:
            if worker.has_models or not lost.job.uses_model:
                self._again.remove(lost)
                return lost
        if not worker.has_models:
            return take(lambda job: not job.uses_model)
        on_gpu = take(lambda job: job.uses_model) if worker.gpu else None
        return on_gpu or take(lambda job: True)

    # --- what comes back ------------------------------------------------------------------------

    def _await(self) -> Iterator[Outcome]:
        """Wait a moment for the first call that ends, and yield the outcomes of jobs."""
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        for call in self._cluster.finished(calls, timeout_s=POLL_S):
            worker = calls[call]
            try:
                result = call.result()
            except WorkerLost as loss:
                yield from self._replace(worker, str(loss))
                continue
            worker.call, worker.place, worker.progress = None, None, None
            if worker.assigned is None:
                self._admit(worker, result)
            else:
                worker.assigned = None
                yield result
        self._follow()
        self._check_places()

    def _admit(self, worker: _PooledWorker, found: WorkerReport | str) -> None:
        """Let a worker begin, if it found what the others found."""
        if isinstance(found, str):
            raise ExecutorError(f"a worker could not get ready: {found}")
        self._failed_starts = 0
        if found.software != _SOFTWARE:
            theirs = ", ".join(f"{name} {value}" for name, value in found.software.items())
            ours = ", ".join(f"{name} {value}" for name, value in _SOFTWARE.items())
            raise ExecutorError(f"a worker has {theirs}, but here are {ours}; install the same")
        if found.plan_sha256 != self._plan_sha256:
            raise ExecutorError(
                "a worker compiled another plan: its policy, target, model or patients are not the"
                " files that are here"
            )
        if worker.has_models:
            if self._first is None:
                self._first = found
            if found.environment != self._first.environment:
                raise ExecutorError(
                    f"a worker would run the model on {dict(found.environment)}, the first one runs"
                    f" it on {dict(self._first.environment)}; what they measure may differ"
                )

    def _replace(self, worker: _PooledWorker, loss: str) -> Iterator[Outcome]:
        """Start another worker for a lost one, and see to it that its job is run again."""
        self._cluster.check()
        self._workers.remove(worker)
        worker.handle.kill()
        if worker.assigned is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_LOSSES:
                raise ExecutorError(
                    f"workers end while they read the patients and load the model: {loss}. Each"
                    " needs memory for both; try fewer (--workers)"
                )
        else:
            job = worker.assigned.job
            self._losses[job.digest] += 1
            losses = self._losses[job.digest]
            if losses < MOST_LOSSES:
                self._notice(f"a worker was lost at '{job.title}', which is run again")
                self._again.append(worker.assigned)
            else:
                yield Outcome(
                    job,
                    crash=f"it ended each of the {losses} processes it was run in; a process that"
                    " needs more memory than there is ends like that",
                )
        self.start_worker(gpu=worker.gpu, has_models=worker.has_models)

    # --- while they work ------------------------------------------------------------------------

    def _follow(self) -> None:
        """Pass on how far the workers have come."""
        asked = {m.progress: m for m in self._workers if m.progress is not None}
        for call in self._cluster.finished(asked, timeout_s=0):
            worker = asked[call]
            worker.progress = None
            try:
                job, done = call.result()
            except WorkerLost:  # the job's own call says so too
                continue
            if worker.assigned is not None and worker.assigned.job.digest == job:
                told = self._told.get(job, 0)  # by a worker that was lost, perhaps
                worker.assigned.advance(max(done - told, 0))
                self._told[job] = max(done, told)
        for worker in self._workers:
            if worker.assigned is not None and worker.progress is None:
                worker.progress = worker.handle.ask_now("at")

    def _check_places(self) -> None:
        """Give up when no worker gets a place in the cluster."""
        asked = {m.place: m for m in self._workers if m.place is not None}
        for call in self._cluster.finished(asked, timeout_s=0):
            asked[call].place = None
        if all(m.place for m in self._workers) and time.monotonic() > self._place_by:
            raise ExecutorError(
                f"no worker has come up within {PLACE_TIMEOUT_S:.0f} seconds; the cluster's CPUs or"
                " GPUs are in use, or its nodes cannot start a process"
            )
