"""Jobs on the workers of a Ray cluster.

Where models run on GPUs, a worker with a GPU has one beside it without, for the jobs that ask no
model: they would leave the GPU idle. Elsewhere every worker takes every job.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from checker.errors import ExecutorError, UsageError
from checker.planning import AuditPlan
from checker.run.execution import Execution
from checker.run.executors.ray_cluster import RayCluster
from checker.run.executors.worker import Openers, Outcome, Take
from checker.run.executors.worker_pool import WorkerPool
from checker.run.prepare import Prepared


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Args:
        prepare: reads the documents and the patients; called in every worker, so it and its
            arguments are pickled, and paths in it are absolute.
        address: HOST:PORT of a cluster, or None for one of the run's own on this machine.
        workers: how many; by default one a GPU, or as many as there are CPUs for their threads.
        threads: of each worker.
        notice: is told of lost workers.
    """

    def __init__(
        self,
        prepare: Callable[[], Prepared],
        *,
        address: str | None,
        workers: int | None,
        threads: int,
        notice: Callable[[str], None],
    ) -> None:
        self._prepare = prepare
        self._address = address
        self._workers = workers
        self._threads = threads
        self._notice = notice
        self._cluster: RayCluster | None = None
        self._pool: WorkerPool | None = None

    def open(
        self, execution: Execution, *, openers: Openers, models: Sequence[str]
    ) -> dict[str, Any]:
        """Start or join a cluster and wait for the first worker; others come while it works."""
        device = _device(execution.plan) if models else "cpu"
        self._cluster = RayCluster(self._address, with_gpus=device != "cpu")
        on_gpus = device == "cuda" or (device == "auto" and self._cluster.gpus > 0)
        count = self._count(self._cluster, on_gpus=on_gpus)
        self._pool = WorkerPool(
            self._cluster,
            self._prepare,
            key=execution.pseudonyms.key,
            plan_sha256=execution.plan.sha256,
            models=models,
            threads=self._threads,
            notice=self._notice,
        )
        for _ in range(count):
            self._pool.start_worker(gpu=on_gpus, has_models=True)
        for _ in range(count if on_gpus else 0):
            self._pool.start_worker(gpu=False, has_models=False)
        return dict(self._pool.first().environment)

    def preflight(self) -> dict[str, float]:
        """Return what the first worker's check found; every worker checks its models."""
        assert self._pool is not None  # the protocol: `open` comes first
        return dict(self._pool.first().preflight)

    def run(self, take: Take) -> Iterator[Outcome]:
        if self._pool is None:  # nothing is left to run, only to leave out
            take(lambda job: True)
            return
        yield from self._pool.run(take)

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()
        self._cluster = self._pool = None

    def _count(self, cluster: RayCluster, *, on_gpus: bool) -> int:
        """Return how many workers take jobs that run on a model.

        Raises:
            UsageError: the cluster is too small for as many as were asked for.
            ExecutorError: it is too small for one.
        """
        if on_gpus:
            available, what = cluster.gpus, "GPUs"
        elif self._address is None:
            return self._workers or max(_cpus() // self._threads, 1)
        else:
            available, what = cluster.cpus // self._threads, f"shares of {self._threads} CPUs"
        if not available:
            raise ExecutorError(f"the cluster has no {what}, and a worker needs one")
        if self._workers is not None and self._workers > available:
            raise UsageError(f"--workers {self._workers}: the cluster has {available} {what}")
        return self._workers or available


def _cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(plan: AuditPlan) -> str:
    """Return where the models of a plan run: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        UsageError: a model names one GPU of several; each worker sees only its own.
    """
    spec = plan.target.document.spec
    devices = {model.device for model in (spec.model, spec.reference) if model is not None}
    for device in devices:
        if device.startswith("cuda:") and device != "cuda:0":
            raise UsageError(
                f"model.device {device}: a worker on Ray sees one GPU, its own; write cuda"
            )
    if any(device.startswith("cuda") for device in devices):
        return "cuda"
    return "auto" if "auto" in devices else "cpu"
