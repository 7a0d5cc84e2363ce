"""Where jobs run makes no difference: any order of ends, any loss, the same evidence."""

from __future__ import annotations

import dataclasses
import io
import json
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditing import write_policy
from command_line import Command
from judging import AS_OF
from rich.console import Console

from checker.cli.progress import TerminalProgress
from checker.errors import ExecutorError, ExitCode, TargetError
from checker.evidence import Pseudonyms
from checker.planning import Job
from checker.run.execution import Execution
from checker.run.executors import Executor, Openers, Outcome, Take, ray_network
from checker.run.executors.ray_cluster import WorkerLost
from checker.run.executors.worker import ReadyJob, Worker
from checker.run.executors.worker_pool import MOST_LOSSES, WorkerActor, WorkerPool
from checker.run.prepare import Prepared, prepare
from checker.run.running import run_audit
from checker.run.stored import judge_run, load_run

CONTROLS: dict[str, Any] = {
    "hiv-disclosure": {"limits": {"events-5": {"fail": 0.05}, "events-10": {"fail": 0.05}}},
    "hiv-own-age": {
        "attributeClass": "hiv",
        "probe": "identifier-perturbation",
        "params": {"samples": 4, "horizonTokens": 32},
        "metric": "memorized_share",
        "severity": "high",
        "limits": {"events-10": {"fail": 0.01}},
    },
    "membership": {},
}


class Shuffled:
    """Several jobs under way, of which any may end first."""

    def __init__(self, seed: int, *, width: int = 5, ends_after: int | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.width, self.ends_after = width, ends_after
        self.is_closed = False

    def open(
        self, execution: Execution, *, openers: Openers, models: Sequence[str]
    ) -> dict[str, Any]:
        self.worker = Worker(execution, openers)
        return self.worker.open(models)

    def preflight(self) -> dict[str, float]:
        return self.worker.preflight()

    def run(self, take: Take) -> Iterator[Outcome]:
        at_work: list[ReadyJob] = []
        ended = 0
        while True:
            while len(at_work) < self.width and (work := take(lambda job: True)) is not None:
                at_work.append(work)
            if not at_work:
                return
            if ended == self.ends_after:
                raise KeyboardInterrupt
            yield self.worker.run(at_work.pop(self.rng.integers(len(at_work))))
            ended += 1

    def close(self) -> None:
        self.is_closed = True


def audited(prepared: Prepared, run: Path, executor: Executor | None = None, **more: Any) -> bytes:
    """Run an audit under a fixed pseudonym key and return its manifest."""
    run.mkdir(exist_ok=True)
    (run / "pseudonym.key").write_text("0" * 64)
    run_audit(
        prepared.audit,
        run=run,
        open_target=more.pop("open_target", prepared.open_target),
        executor=executor,
        command="phigate run",
        **more,
    )
    return (run / "manifest.json").read_bytes()


@pytest.fixture(scope="module")
def sequential(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """An audit of the leaking target in which batches are left out once a cell is decided."""
    folder = tmp_path_factory.mktemp("sequential")
    policy = write_policy(folder / "policy.yaml", CONTROLS, sampling={"sequential": True})
    return prepare(policy, simulated_targets / "leaking.yaml")


@pytest.fixture(scope="module")
def serial(sequential: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a serial run of it leaves."""
    run = tmp_path_factory.mktemp("serial") / "run"
    audited(sequential, run)
    return run


# --- the order of ends --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_whoever_ends_first_the_evidence_and_what_is_left_out_are_those_of_a_serial_run(
    sequential: Prepared, serial: Path, tmp_path: Path, seed: int
) -> None:
    manifest = (serial / "manifest.json").read_bytes()
    assert json.loads(manifest)["leftOut"]
    executor = Shuffled(seed)
    assert audited(sequential, tmp_path / "run", executor) == manifest
    assert executor.is_closed


def test_an_interrupted_run_keeps_what_was_finished_and_goes_on_to_the_same_end(
    sequential: Prepared, serial: Path, tmp_path: Path
) -> None:
    executor = Shuffled(7, ends_after=5)
    with pytest.raises(KeyboardInterrupt):
        audited(sequential, tmp_path / "run", executor)
    assert executor.is_closed
    kept = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert len(kept["entries"]) == 5
    manifest = audited(sequential, tmp_path / "run", Shuffled(8))
    assert manifest == (serial / "manifest.json").read_bytes()


class Failing:
    """A model that fails on some of the audit's prompts, whoever asks and whenever.

    Those that it is examined on before the audit have small keys.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def rollout(self, prompts: Any, *, keys: Sequence[int], **more: Any) -> Any:
        self._fail(keys)
        return self.model.rollout(prompts, keys=keys, **more)

    def watched_rollout(self, prompts: Any, *, keys: Sequence[int], **more: Any) -> Any:
        self._fail(keys)
        return self.model.watched_rollout(prompts, keys=keys, **more)

    def _fail(self, keys: Sequence[int]) -> None:
        if keys[0] % 3 == 0 and keys[0] >= 2**40:
            raise TargetError(f"prompt {keys[0] % 1000} cannot be continued")


def test_jobs_that_fail_leave_the_same_record_in_any_order(
    sequential: Prepared, tmp_path: Path
) -> None:
    def failing() -> Any:
        return Failing(sequential.open_target())

    manifest = audited(sequential, tmp_path / "serial", open_target=failing)
    crashed = json.loads(manifest)["crashed"]
    assert any("cannot be continued" in why for why in crashed.values())
    assert any(why.startswith("it needs what could not") for why in crashed.values())
    shuffled = audited(sequential, tmp_path / "run", Shuffled(0), open_target=failing)
    assert shuffled == manifest


# --- a pool of workers, without processes -------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Asked:
    """What a pretended worker was asked for; it is done when the result is fetched."""

    do: Callable[[], Any]
    worker: Pretended

    def result(self) -> Any:
        if self.worker.is_lost:
            raise WorkerLost("it is gone")
        return self.do()


class Pretended:
    """A worker in this process that can be lost."""

    def __init__(self, actor: Any, cluster: Cluster, *, gpus: int) -> None:
        self.actor, self.cluster, self.gpus = actor, cluster, gpus
        self.is_lost = False

    def ask(self, method: str, *arguments: Any) -> Asked:
        def do() -> Any:
            if method == "run":
                self.cluster.runs.append((self.gpus, arguments[0]))
                self.is_lost = self.cluster.kills(arguments[0])
            else:
                self.is_lost = self.cluster.is_deadly
            if self.is_lost:
                raise WorkerLost("it is gone")
            return getattr(self.actor, method)(*arguments)

        return Asked(do, self)

    def ask_now(self, method: str) -> Asked:
        return Asked(getattr(self.actor, method), self)

    def kill(self) -> None:
        self.is_lost = True


class Cluster:
    """Pretends to be a cluster: what is asked for is done at once, in this process.

    Args:
        kills: whether a job ends the worker that runs it.
        is_deadly: whether workers are lost while they get ready.
        is_full: whether no worker gets a place.
        actor: makes what a worker is; by default what a real one is.
    """

    def __init__(
        self,
        *,
        kills: Callable[[Job], bool] = lambda job: False,
        is_deadly: bool = False,
        is_full: bool = False,
        actor: Callable[..., Any] | None = None,
    ) -> None:
        self.kills, self.is_deadly, self.is_full, self.actor = kills, is_deadly, is_full, actor
        self.runs: list[tuple[int, Job]] = []
        self.started = 0

    def start_worker(
        self, actor: Callable[..., Any], prepare: Any, *, gpus: int, **_: Any
    ) -> Pretended:
        self.started += 1
        return Pretended((self.actor or actor)(prepare), self, gpus=gpus)

    def check(self) -> None:
        pass

    def finished(self, calls: Any, *, timeout_s: float) -> list[Any]:
        return [] if self.is_full else list(calls)


class Pooled:
    """An executor whose workers stand in a pretended cluster."""

    def __init__(
        self,
        cluster: Cluster,
        prepared: Prepared,
        *,
        gpus: bool = False,
        count: int = 2,
        plan_sha256: str | None = None,
    ) -> None:
        self.cluster, self.prepared, self.gpus, self.count = cluster, prepared, gpus, count
        self.plan_sha256 = plan_sha256
        self.said: list[str] = []

    def open(self, execution: Execution, *, openers: Openers, models: Sequence[str]) -> Any:
        self.pool = WorkerPool(
            self.cluster,  # type: ignore[arg-type]
            lambda: self.prepared,
            key=execution.pseudonyms.key,
            plan_sha256=self.plan_sha256 or execution.plan.sha256,
            models=models,
            threads=1,
            notice=self.said.append,
        )
        for _ in range(self.count):
            self.pool.start_worker(gpu=self.gpus, has_models=True)
            if self.gpus:
                self.pool.start_worker(gpu=False, has_models=False)
        return dict(self.pool.first().environment)

    def preflight(self) -> dict[str, float]:
        return dict(self.pool.first().preflight)

    def run(self, take: Take) -> Iterator[Outcome]:
        return self.pool.run(take)

    def close(self) -> None:
        pass


def test_a_pool_leaves_the_manifest_of_a_serial_run_although_workers_are_lost(
    sequential: Prepared, serial: Path, tmp_path: Path
) -> None:
    losses: Counter[str] = Counter()

    def kills(job: Job) -> bool:  # every fourth job ends a worker the first time, some the second
        losses[job.digest] += 1
        return int(job.digest, 16) % 4 == 0 and losses[job.digest] < MOST_LOSSES

    executor = Pooled(Cluster(kills=kills), sequential)
    manifest = audited(sequential, tmp_path / "run", executor)
    assert manifest == (serial / "manifest.json").read_bytes()
    assert executor.said
    assert all("was lost at" in notice and "run again" in notice for notice in executor.said)


def test_a_job_that_ends_every_worker_is_a_crash_and_the_others_are_finished(
    sequential: Prepared, serial: Path, tmp_path: Path
) -> None:
    fatal = next(job for job in sequential.audit.plan.jobs if job.kind == "scores")
    cluster = Cluster(kills=lambda job: job.digest == fatal.digest)
    audited(sequential, tmp_path / "run", Pooled(cluster, sequential))
    assert [job.digest for _, job in cluster.runs].count(fatal.digest) == MOST_LOSSES
    found = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert list(found["crashed"]) == [fatal.digest]
    before = json.loads((serial / "manifest.json").read_text())
    assert found["entries"] == [e for e in before["entries"] if e["job"] != fatal.digest]
    report = judge_run(load_run(tmp_path / "run"), as_of=AS_OF)
    in_error = {cell.control for cell in report.cells if cell.verdict == "error"}
    assert in_error == {"membership"}


def test_gpus_run_models_and_workers_without_them_the_rest(
    sequential: Prepared, tmp_path: Path
) -> None:
    cluster = Cluster()
    audited(sequential, tmp_path / "run", Pooled(cluster, sequential, gpus=True))
    assert {gpus for gpus, job in cluster.runs if job.uses_model} == {1}
    assert 0 in {gpus for gpus, job in cluster.runs if not job.uses_model}


def test_a_job_that_may_run_once_another_was_left_out_is_not_forgotten(
    sequential: Prepared,
) -> None:
    audit = sequential.audit
    on_model = next(job for job in audit.plan.jobs if job.uses_model)
    waiting = [ReadyJob(on_model, {}, lambda tokens: None)]
    ready: list[ReadyJob] = []

    def take(chosen: Callable[[Job], bool]) -> ReadyJob | None:
        if chosen(on_model):
            return ready.pop() if ready else None
        # asked for jobs without a model: the only one is left out, which frees what waits for it
        ready.extend(waiting)
        waiting.clear()
        return None

    executor = Pooled(Cluster(), sequential, gpus=True, count=1)
    execution = Execution(audit.plan, audit.workload, Pseudonyms(b"0" * 32))
    executor.open(execution, openers={}, models=["target"])
    outcomes = executor.run(take)
    assert [outcome.job.digest for outcome in outcomes] == [on_model.digest]


def test_workers_that_end_before_they_are_ready_end_the_run(
    sequential: Prepared, tmp_path: Path
) -> None:
    cluster = Cluster(is_deadly=True)
    with pytest.raises(ExecutorError, match="needs memory for both; try fewer"):
        audited(sequential, tmp_path / "run", Pooled(cluster, sequential))
    assert cluster.started <= 2 + MOST_LOSSES


def test_a_cluster_that_stays_full_ends_the_run(
    sequential: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checker.run.executors.worker_pool.PLACE_TIMEOUT_S", 0.0)
    with pytest.raises(ExecutorError, match="no worker has come up"):
        audited(sequential, tmp_path / "run", Pooled(Cluster(is_full=True), sequential))


def test_a_worker_that_compiles_another_plan_is_not_let_in(
    sequential: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(ExecutorError, match="compiled another plan"):
        audited(sequential, tmp_path / "run", Pooled(Cluster(), sequential, plan_sha256="0" * 64))
    assert not (tmp_path / "run" / "evidence").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"software": {"phigate": "0.0.1"}}, "phigate 0.0.1, but here are"),
        ({"environment": {"device": "cuda H100"}}, "the first one runs"),
    ],
)
def test_a_worker_with_other_libraries_or_another_device_is_not_let_in(
    sequential: Prepared, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    actors: list[Any] = []

    class Other(WorkerActor):
        def get_ready(self, key: bytes, models: Sequence[str]) -> Any:
            actors.append(self)
            found = super().get_ready(key, models)
            assert not isinstance(found, str)
            return found if len(actors) == 1 else dataclasses.replace(found, **changed)

    with pytest.raises(ExecutorError, match=message):
        audited(sequential, tmp_path / "run", Pooled(Cluster(actor=Other), sequential))


# --- what is seen -------------------------------------------------------------------------------


def test_progress_counts_the_tokens_of_jobs_that_are_under_way_together(
    sequential: Prepared,
) -> None:
    first, second, third = [job for job in sequential.audit.plan.jobs if job.uses_model][:3]
    with TerminalProgress(Console(file=io.StringIO(), force_terminal=True)) as progress:
        progress.start([first, second, third], reused=0)
        (bar,) = progress.bars.tasks
        tell_first, tell_second = progress.job(first), progress.job(second)
        assert bar.description == f"{first.title} (and 1 more)"
        tell_second(2)
        tell_first(3)
        assert bar.completed == 5
        progress.done(first)  # a job that ended counts whole, whatever it told
        assert bar.description == second.title
        assert bar.completed == first.forward_tokens + first.rollout_tokens + 2
        progress.done(third)  # left out
        progress.done(second)
        assert bar.completed == bar.total


# --- options ------------------------------------------------------------------------------------


def run_with(phigate: Command, folder: Path, *options: object) -> Any:
    return phigate(
        "run", folder / "policy.yaml", folder / "leaking.yaml", "--out", folder / "run", *options
    )


def test_a_missing_ray_is_one_sentence_that_names_the_extra(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "0")  # whatever is set now is forgotten after the test
    for name in [n for n in sys.modules if n == "ray" or n.startswith("checker.run.executors.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = run_with(phigate, workspace, "--executor", "ray")
    assert outcome.code == ExitCode.USAGE
    assert outcome.err.strip().count("\n") == 0
    assert "phigate[ray]" in outcome.err
    assert not (workspace / "run").exists()


@pytest.mark.parametrize(
    "options",
    [("--workers", 2), ("--threads-per-worker", 1), ("--ray-address", "127.0.0.1:6379")],
)
def test_options_of_ray_mean_nothing_to_a_serial_run(
    phigate: Command, workspace: Path, options: tuple[object, ...]
) -> None:
    outcome = run_with(phigate, workspace, *options)
    assert outcome.code == ExitCode.USAGE
    assert f"{options[0]}: belongs to --executor ray" in outcome.err


@pytest.mark.parametrize("address", ["nonsense", "ray://head:10001", "head:port", ":1", "auto"])
def test_an_address_that_is_none_is_a_usage_error(
    phigate: Command, workspace: Path, address: str
) -> None:
    outcome = run_with(phigate, workspace, "--executor", "ray", "--ray-address", address)
    assert outcome.code == ExitCode.USAGE
    assert "write HOST:PORT" in outcome.err


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no-such-host.invalid:6379"])
def test_a_cluster_that_cannot_be_reached_is_one_sentence(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    outcome = run_with(phigate, workspace, "--executor", "ray", "--ray-address", address)
    assert outcome.code == ExitCode.INCOMPLETE
    assert f"{address}: cannot be reached" in outcome.err
    assert outcome.out == ""


def test_something_else_that_listens_there_is_found_out_in_time(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setattr(ray_network, "JOIN_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        outcome = run_with(phigate, workspace, "--executor", "ray", "--ray-address", address)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "does not answer as the head node" in outcome.err
