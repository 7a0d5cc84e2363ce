"""Ray: a cluster of the run's own, or one that is there already; the only module that imports it.

*Patients do not travel.* A worker reads documents, patients and models from the files, as this
process did, and is refused when it compiles another plan from them. So Ray's object store, which
every user of a shared cluster can read and which spills to disk, holds no records; what passes
through it are jobs and the tables of evidence they need and return, under pseudonyms. Their key
goes to each worker in a call, over the network of the cluster: a cluster that others use, or whose
connections are not encrypted (RAY_USE_TLS), is no place for an audit of real patients.

*A cluster of the run's own stays on this machine.* Every port is bound to loopback and asks for a
token drawn for this process (`checker.run.executors.ray_network` sees to both); there is no
dashboard and no usage report; the object store is small, and the session's folder is closed to
others and deleted at the end.

*What Ray says stays in its logs.* It prints what happens to its workers on standard output, where a
report may be awaited; so while a cluster is open, nothing is written there. What a user needs to
know is said by the worker pool, in sentences.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from checker.errors import ExecutorError
from checker.run.executors.ray_network import is_listening, require_cluster

OBJECT_STORE_BYTES = 128 * 2**20
HEAD_EVERY_S, HEAD_TRIES, HEAD_PAUSE_S = 10.0, 3, 2.0
SHORT_PATH = 21  # sockets lie 85 bytes below, and their paths end at 107

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}


class WorkerLost(Exception):
    """A worker's process or machine ended while it was asked for something."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """Something a worker was asked for."""

    ref: Any

    def result(self) -> Any:
        """Return what it gave, waiting for it.

        Raises:
            WorkerLost: the worker ended before.
        """
        try:
            return ray.get(self.ref)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise WorkerLost(_last_line(error)) from error


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """A worker in another process, by what it can be asked for."""

    actor: Any

    def ask(self, method: str, *arguments: Any) -> PendingCall:
        """Ask for something; calls wait their turn."""
        return PendingCall(getattr(self.actor, method).remote(*arguments))

    def ask_now(self, method: str) -> PendingCall:
        """Ask for something that does not wait for the current job."""
        return PendingCall(getattr(self.actor, method).options(concurrency_group="watch").remote())

    def kill(self) -> None:
        """End the worker, whatever it does."""
        ray.kill(self.actor)


class RayCluster:
    """A Ray cluster this process is connected to.

    Attributes:
        address: as the user gave it, or None for a cluster of the run's own.
        cpus, gpus: how many it has, in use or not; the run's own promises no CPUs.
    """

    def __init__(self, address: str | None, *, with_gpus: bool) -> None:
        """Start a cluster on this machine, or join the one at an address.

        Args:
            address: HOST:PORT, or None.
            with_gpus: whether a cluster of the run's own offers this machine's GPUs.

        Raises:
            ExecutorError: it cannot be started or reached.
        """
        self.address = address
        with ExitStack() as stack:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(_terminated_like_interrupted())
            if address is None:
                self._start(stack, with_gpus=with_gpus)
            else:
                require_cluster(address)
                stack.callback(ray.shutdown)
                with _vendor(f"the Ray cluster at {address}"), _sigterm_kept():
                    ray.init(address=address, **_QUIET)
            self._head = ray.get_runtime_context().gcs_address
            self._seen_at = time.monotonic()
            resources = ray.cluster_resources()
            self.cpus, self.gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            self._stack = stack.pop_all()

    def _start(self, stack: ExitStack, *, with_gpus: bool) -> None:
        short = len(tempfile.gettempdir()) < SHORT_PATH
        folder = tempfile.mkdtemp(prefix="phigate-", dir=None if short else "/tmp")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(ray.shutdown)
        where = "a Ray cluster on this machine (a machine that is too busy has none)"
        with _vendor(where), _sigterm_kept():
            ray.init(
                address="local",
                num_cpus=0,  # workers are counted here, and Ray starts none in advance
                num_gpus=None if with_gpus else 0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(Path(folder) / "ray"),  # Ray opens its own folder to everybody
                **_QUIET,
            )
        if any(node["NodeManagerAddress"] not in {"127.0.0.1", "::1"} for node in ray.nodes()):
            raise ExecutorError(
                "Ray would listen on the network, because it was imported before phigate chose"
                " where it runs; run the audit in a process of its own"
            )

    def start_worker(
        self,
        actor_class: Callable[..., Any],
        *arguments: Any,
        threads: int,
        gpus: int,
        environment: Mapping[str, str],
    ) -> WorkerHandle:
        """Ask for a worker; it has a place as soon as one is free.

        Args:
            actor_class: makes the object whose methods the worker can be asked for.
            arguments: of `actor_class`.
            threads: CPUs it takes of a cluster that others use too.
            gpus: GPUs that only it sees.
            environment: variables of its process.
        """
        actor = ray.remote(max_restarts=0, concurrency_groups={"watch": 1})(actor_class)
        placed = actor.options(
            num_cpus=threads if self.address else 0,
            num_gpus=gpus,
            runtime_env={"env_vars": dict(environment)},
        )
        return WorkerHandle(placed.remote(*arguments))

    def check(self) -> None:
        """See whether the head node is still there: Ray itself would end this process without it.

        Raises:
            ExecutorError: it has gone.
        """
        for _ in range(HEAD_TRIES):
            if is_listening(self._head):
                self._seen_at = time.monotonic()
                return
            time.sleep(HEAD_PAUSE_S)
        raise ExecutorError(
            f"the Ray cluster at {self._head} has gone; finished jobs are kept, and the same"
            " command goes on from there"
        )

    def finished(self, calls: Iterable[PendingCall], *, timeout_s: float) -> list[PendingCall]:
        """Return those calls that have ended, waiting for at least one or for the timeout.

        Raises:
            ExecutorError: the cluster has gone.
        """
        if time.monotonic() - self._seen_at > HEAD_EVERY_S:
            self.check()
        by_ref = {call.ref: call for call in calls}
        if not by_ref:
            return []
        with _vendor("the Ray cluster"):
            ready, _ = ray.wait(list(by_ref), timeout=timeout_s)
            if ready:  # one is there: take all that are
                ready, _ = ray.wait(list(by_ref), num_returns=len(by_ref), timeout=0)
        return [by_ref[ref] for ref in ready]

    def close(self) -> None:
        """Leave the cluster; one of the run's own ends, and its folder is deleted."""
        self._stack.close()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, with all that was started, unless somebody does."""
    in_main_thread = threading.current_thread() is threading.main_thread()  # no other may set them
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM while Ray starts, which puts its own there; that would exit."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    try:
        yield
    except SystemExit as leaving:
        if leaving.code == signal.SIGTERM:
            raise KeyboardInterrupt from leaving
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _vendor(what: str) -> Iterator[None]:
    """Turn whatever Ray raises into an ExecutorError; what it cannot do with makes it exit."""
    try:
        yield
    except (Exception, SystemExit) as error:  # vendors raise every class there is
        raise ExecutorError(f"{what} cannot be used: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    """Return what went wrong: Ray puts it behind everything else."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:300] if lines else type(error).__name__
