"""Run a plan: which jobs are left, in which order, and what is kept when something stops it.

Kill a run anywhere and start it again: finished jobs are found by their key and not repeated. A
job that fails is recorded, and the others go on; the cells judged from it end in *error*.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from checker.canonical import JsonModel, digest
from checker.errors import EvidenceError, TargetError
from checker.evidence import (
    EvidenceStore,
    Manifest,
    ManifestEntry,
    Pseudonyms,
    RunTimes,
    load_json_file,
    write_atomically,
)
from checker.execution import Execution
from checker.ledger import ATTEMPT_FILE, Attempt, record_attempt
from checker.plan import CompiledAudit, Job, Workload
from checker.targets import TargetModel, Tokens
from checker.verdict import settled_cells

__all__ = ["RunProgress", "run_audit"]

_File = TypeVar("_File", bound=JsonModel)
PREFLIGHT_RECORDS = 8
_EVIDENCE_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


class RunProgress(Protocol):
    """What a run tells whoever watches it."""

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """The run begins: these jobs are left, that many were found finished."""

    def job(self, job: Job) -> Callable[[int], None]:
        """A job begins; returns what to call with the tokens done since the last call."""
        ...

    def done(self, job: Job) -> None:
        """A job is finished."""


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process: two writers would undo each other's manifest."""
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(run / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EvidenceError(f"{run}: another phigate is working in this folder") from error
        yield
    finally:
        os.close(descriptor)


def _clear(run: Path) -> None:
    """Delete a run's evidence, plan, manifest and reports, and nothing that it did not write."""
    try:
        for path in (run / "evidence").glob("*.parquet"):
            if _EVIDENCE_NAME.fullmatch(path.name):
                path.unlink()
        written = ("plan.json", "manifest.json", "run.json", "waivers.json", "report.json")
        for name in (*written, ATTEMPT_FILE, "report.html"):
            (run / name).unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be cleared: {error.strerror or error}") from error


def run_audit(
    audit: CompiledAudit,
    *,
    run: Path,
    open_target: Callable[[], TargetModel],
    open_reference: Callable[[], TargetModel] | None = None,
    progress: RunProgress,
    command: str,
    attempt: Attempt | None = None,
    fresh: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Manifest:
    """Run what is left of a plan and write plan, evidence, manifest and times.

    Args:
        audit: the compiled plan.
        run: the run's folder; made when it is not there.
        open_target: loads the model; called only when a job that needs it is left.
        open_reference: loads the reference model, where the target names one.
        progress: is told what happens.
        command: the command line that repeats the run, for the record.
        attempt: as it was registered in a ledger; kept with the run.
        fresh: forget what an earlier run left in the folder and measure everything anew.
        clock: the current time.

    Returns:
        The manifest, as written.

    Raises:
        EvidenceError: the folder cannot be written, or evidence in it was changed.
        TargetError: the model cannot be loaded or fails preflight.
    """
    with _alone(run):
        if fresh:
            _clear(run)
        openers: dict[str, Callable[[], TargetModel]] = {"target": open_target}
        if open_reference is not None:
            openers["reference"] = open_reference
        runner = _Runner(audit, run, openers, command=command, attempt=attempt, clock=clock)
        return runner.run(progress)


class _Runner:
    def __init__(
        self,
        audit: CompiledAudit,
        run: Path,
        openers: Mapping[str, Callable[[], TargetModel]],
        *,
        command: str,
        attempt: Attempt | None,
        clock: Callable[[], datetime],
    ) -> None:
        self.attempt = attempt
        self.plan = audit.plan
        self.workload = audit.workload
        self.run_folder = run
        self.openers = openers
        self.store = EvidenceStore(run)
        self.clock = clock
        self.earlier = self._earlier("manifest.json", Manifest)
        before = self._earlier("run.json", RunTimes)
        self.times = RunTimes(
            started=_stamp(clock()), command=command, measured=before.measured if before else {}
        )
        write_atomically(run / "plan.json", audit.plan.to_bytes())
        if attempt is not None:
            record_attempt(run, attempt)
        self._write_times()
        self.pseudonyms = Pseudonyms.of_run(run)
        self.execution = Execution(audit.plan, audit.workload, self.pseudonyms)
        self.entries: dict[str, ManifestEntry] = {}
        self.crashed: dict[str, str] = {}
        self.left_out: list[str] = []
        self.tables: dict[str, pa.Table] = {}
        self.environment: dict[str, Any] = {}
        self.preflight: dict[str, float] = {}

    def run(self, progress: RunProgress) -> Manifest:
        """Reuse what is there, run what is not, and keep the manifest up to date throughout."""
        self._reuse(lambda job: not job.depends_on_model)
        models: dict[str, TargetModel] = {}
        if self.earlier is not None:
            # the same environment is assumed first: a finished run never loads the model again
            self.environment = self.earlier.environment
            self.preflight = self.earlier.preflight
            self._reuse(lambda job: job.depends_on_model)
        if any(job.uses_model and not self._is_decided(job) for job in self._left()):
            models = self._open_models()
        left = self._left()
        progress.start(left, reused=len(self.entries))
        for job in left:
            if self._is_decided(job):
                self.left_out.append(job.digest)
                progress.done(job)
            else:
                self._run_one(job, models.get(job.runs_on), progress)
        manifest = self._write_manifest()
        self.times = self.times.model_copy(update={"finished": _stamp(self.clock())})
        self._write_times()
        return manifest

    def _open_models(self) -> dict[str, TargetModel]:
        """Load every model the plan runs on, and forget what another environment measured."""
        used: list[str] = sorted({job.runs_on for job in self.plan.jobs if job.uses_model})
        models = {name: self.openers[name]() for name in reversed(used)}  # the target first
        environment = _environment(models)
        if environment != self.environment:
            self._forget_model_jobs()
            self.environment, self.preflight = environment, {}
            self._reuse(lambda job: job.depends_on_model)
        if not self.preflight:
            records = _preflight_records(self.workload)
            for name, model in models.items():
                prefix = "" if name == "target" else f"{name} "
                found = model.preflight(records)
                self.preflight |= {f"{prefix}{check}": value for check, value in found.items()}
        return models

    def _is_decided(self, job: Job) -> bool:
        """Whether every cell that asks for a batch of rollouts is decided without it."""
        if not self.plan.sequential:
            return False
        asking = [cell for cell in self.plan.cells if job.digest in cell.jobs]
        if not asking:
            return False
        wanted = {name for cell in asking for name in (*cell.jobs, str(cell.labels))}
        drawn = {name: self._table(name) for name in wanted if name in self.entries}
        return {cell.id for cell in asking} <= settled_cells(
            self.plan, drawn, attempt=self.attempt.number if self.attempt else 1
        )

    def _table(self, job: str) -> pa.Table:
        """Return a job's evidence, read once."""
        if job not in self.tables:
            self.tables[job] = self.store.load(self.entries[job])
        return self.tables[job]

    def _run_one(self, job: Job, target: TargetModel | None, progress: RunProgress) -> None:
        advance = progress.job(job)
        try:
            broken = next((name for name in job.needs if name in self.crashed), None)
            if broken is not None:
                raise TargetError(f"it needs what could not be completed: {self.crashed[broken]}")
            needed = {name: self._table(name) for name in job.needs}
            table = self.execution.execute(job, target, evidence=needed, advance=advance)
        except EvidenceError:
            raise
        except TargetError as error:
            self.crashed[job.digest] = str(error)
        except Exception as error:  # a backend's own failure: recorded, and its cells end in error
            self.crashed[job.digest] = f"{type(error).__name__}: {error}"
        else:
            entry = self.store.put(self._key(job), job=job.digest, kind=job.kind, table=table)
            self.entries[job.digest] = entry
            measured = {**self.times.measured, entry.file: _stamp(self.clock())}
            self.times = self.times.model_copy(update={"measured": measured})
            self._write_times()
        self._write_manifest()
        progress.done(job)

    def _left(self) -> list[Job]:
        return [job for job in self.plan.jobs if job.digest not in self.entries]

    def _key(self, job: Job) -> str:
        environment: dict[str, Any] = {}
        if job.depends_on_model:
            environment |= self.environment
        if not job.uses_model or job.needs:
            environment |= {"computed with": _CPU_ENVIRONMENT}
        return digest(
            {
                "job": job.digest,
                "environment": environment,
                "pseudonyms": self.pseudonyms.fingerprint,
            }
        )

    def _reuse(self, chosen: Callable[[Job], bool]) -> None:
        said = {entry.file: entry.sha256 for entry in self.earlier.entries} if self.earlier else {}
        for job in filter(chosen, self._left()):
            entry = self.store.find(self._key(job), job=job.digest, kind=job.kind)
            if entry is None:
                continue
            if said.get(entry.file, entry.sha256) != entry.sha256:
                self.store.load(entry.model_copy(update={"sha256": said[entry.file]}))
            self.entries[job.digest] = entry

    def _forget_model_jobs(self) -> None:
        for job in self.plan.jobs:
            if job.depends_on_model:
                self.entries.pop(job.digest, None)

    def _earlier(self, name: str, model: type[_File]) -> _File | None:
        path = self.run_folder / name
        return load_json_file(path, model) if path.exists() else None

    def _write_times(self) -> None:
        write_atomically(self.run_folder / "run.json", self.times.to_bytes())

    def _write_manifest(self) -> Manifest:
        manifest = Manifest(
            plan_sha256=self.plan.sha256,
            environment=self.environment,
            preflight=self.preflight,
            entries=[
                self.entries[job.digest] for job in self.plan.jobs if job.digest in self.entries
            ],
            crashed=self.crashed,
            left_out=self.left_out,
        )
        write_atomically(self.run_folder / "manifest.json", manifest.to_bytes())
        return manifest


_CPU_ENVIRONMENT = {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "pyarrow")}


def _environment(models: Mapping[str, TargetModel]) -> dict[str, Any]:
    """What the models' numbers depend on beside the job; the reference model's under its name."""
    found: dict[str, Any] = {}
    for name, model in models.items():
        fields = asdict(model.info)
        environment = {
            key: fields[key]
            for key in ("backend", "device", "dtype", "microbatch_tokens", "libraries")
        }
        found |= environment if name == "target" else {name: environment}
    return found


def _preflight_records(workload: Workload) -> list[Tokens]:
    """The first few members' records that can be scored, cut to the model's length."""
    records = workload.members
    usable = np.flatnonzero(np.diff(records.offsets) > 1)[:PREFLIGHT_RECORDS]
    return [records.record(int(i)).tokens[: workload.max_length] for i in usable]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
