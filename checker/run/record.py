"""What a run has kept so far: evidence by key, what crashed, what was left out, and when.

A job's evidence is named by its key, the digest of the job, the environment it was measured in and
the pseudonyms' key; a run that asks for the same key again finds it finished. The manifest is
written whenever something is settled, so that a run can be stopped anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from checker.attacks.api import columns_of
from checker.canonical import JsonModel, digest, sha256_hex
from checker.evidence import (
    EvidenceStore,
    Manifest,
    ManifestEntry,
    Pseudonyms,
    RunTimes,
    load_json_file,
    write_atomically,
)
from checker.ledger import Attempt, record_attempt
from checker.planning import AuditPlan, Job
from checker.run.executors import cpu_environment

_JsonFile = TypeVar("_JsonFile", bound=JsonModel)


class RunRecord:
    """The evidence, manifest and times of one run under way.

    What an earlier run left in the folder is reused at once, on the assumption that the models'
    environment is the same; `adopt` corrects it when it is not.

    Args:
        plan: what is run; it is written.
        run: the run's folder, locked by this process.
        command: the command line that repeats the run.
        attempt: as it was registered in a ledger, or None; it is kept with the run.
        clock: the current time.

    Raises:
        EvidenceError: the folder cannot be written, or evidence in it was changed.
    """

    def __init__(
        self,
        plan: AuditPlan,
        *,
        run: Path,
        command: str,
        attempt: Attempt | None,
        clock: Callable[[], datetime],
    ) -> None:
        self.plan = plan
        self.attempt = 1 if attempt is None else attempt.number
        self._run = run
        self._clock = clock
        self._store = EvidenceStore(run, columns_of)
        self._earlier = self._load("manifest.json", Manifest)
        before = self._load("run.json", RunTimes)
        self._times = RunTimes(
            started=self._now(), command=command, measured=before.measured if before else {}
        )
        content = plan.to_bytes()
        self._plan_sha256 = sha256_hex(content)
        write_atomically(run / "plan.json", content, mode=0o600)
        if attempt is not None:
            record_attempt(run, attempt)
        self._write_times()
        self.pseudonyms = Pseudonyms.of_run(run)
        self.environment: dict[str, Any] = {}
        self.preflight: dict[str, float] = {}
        self._entries: dict[str, ManifestEntry] = {}
        self._crashed: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._tables: dict[str, pa.Table] = {}
        if self._earlier is not None:
            # the same environment is assumed first: a finished run never loads the model again
            self.environment, self.preflight = self._earlier.environment, self._earlier.preflight
        self._reuse(lambda job: self._earlier is not None or not job.depends_on_model)

    # --- what is there --------------------------------------------------------------------------

    @property
    def finished(self) -> int:
        """How many of the plan's jobs have evidence."""
        return len(self._entries)

    def is_settled(self, job: str) -> bool:
        """Whether a job has evidence, could not be completed or was left out."""
        return job in self._entries or job in self._crashed or job in self._left_out

    def crash(self, job: str) -> str | None:
        """Return why a job could not be completed, or None."""
        return self._crashed.get(job)

    def tables(self, jobs: list[str]) -> dict[str, pa.Table]:
        """Return the evidence of those jobs that have any.

        Raises:
            EvidenceError: a file is missing or was changed.
        """
        return {job: self._table(job) for job in jobs if job in self._entries}

    def _table(self, job: str) -> pa.Table:
        if job not in self._tables:
            table = self._store.load(self._entries[job])
            if not self.plan.sequential:
                return table
            self._tables[job] = table  # asked for again after every batch of its cells
        return self._tables[job]

    # --- what becomes of jobs -------------------------------------------------------------------

    def adopt(self, environment: Mapping[str, Any]) -> None:
        """Take over the models' environment; what another one measured is measured anew.

        Raises:
            EvidenceError: evidence under the new keys was changed.
        """
        if environment == self.environment:
            return
        for job in self.plan.jobs:
            if job.depends_on_model:
                self._entries.pop(job.digest, None)
                self._tables.pop(job.digest, None)
        self.environment, self.preflight = dict(environment), {}
        self._reuse(lambda job: job.depends_on_model)

    def keep(self, job: Job, table: pa.Table) -> None:
        """Store a finished job's observations.

        Raises:
            EvidenceError: the folder cannot be written.
        """
        # a digest of a few small numbers would give them away, and digests stand in reports
        salt = {"salt": self.pseudonyms.of("salt", job.digest.encode())}
        salted = table.replace_schema_metadata({**(table.schema.metadata or {}), **salt})
        # the time comes first: a run killed in between must not leave evidence of unknown age
        key = self._key(job)
        measured = {**self._times.measured, self._store.file(key): self._now()}
        self._times = self._times.model_copy(update={"measured": dict(sorted(measured.items()))})
        self._write_times()
        entry = self._store.put(key, job=job.digest, kind=job.kind, table=salted)
        self._entries[job.digest] = entry
        self.write_manifest()

    def give_up(self, job: Job, crash: str) -> None:
        """Record why a job could not be completed."""
        self._crashed[job.digest] = crash
        self.write_manifest()

    def leave_out(self, job: Job) -> None:
        """Record that no cell needs a job any more."""
        self._left_out.add(job.digest)

    def finish(self) -> Manifest:
        """Write the manifest and when the run ended."""
        manifest = self.write_manifest()
        self._times = self._times.model_copy(update={"finished": self._now()})
        self._write_times()
        return manifest

    def write_manifest(self) -> Manifest:
        """Write what is settled so far, in the plan's order whatever the order of work."""
        order = [job.digest for job in self.plan.jobs]
        manifest = Manifest(
            salt=self.pseudonyms.of("salt", b"manifest"),
            plan_sha256=self._plan_sha256,
            environment=self.environment,
            preflight=self.preflight,
            entries=[self._entries[job] for job in order if job in self._entries],
            crashed={job: self._crashed[job] for job in order if job in self._crashed},
            left_out=[job for job in order if job in self._left_out],
        )
        write_atomically(self._run / "manifest.json", manifest.to_bytes(), mode=0o600)
        return manifest

    # --- keys and files -------------------------------------------------------------------------

    def _key(self, job: Job) -> str:
        environment: dict[str, Any] = {}
        if job.depends_on_model:
            environment |= self.environment
        if not job.uses_model or job.needs:
            environment |= {"computed with": cpu_environment()}
        return digest(
            {
                "job": job.digest,
                "environment": environment,
                "pseudonyms": self.pseudonyms.fingerprint,
            }
        )

    def _reuse(self, chosen: Callable[[Job], bool]) -> None:
        said = (
            {entry.file: entry.sha256 for entry in self._earlier.entries} if self._earlier else {}
        )
        for job in self.plan.jobs:
            if job.digest in self._entries or not chosen(job):
                continue
            entry = self._store.find(self._key(job), job=job.digest, kind=job.kind)
            if entry is None:
                continue
            if said.get(entry.file, entry.sha256) != entry.sha256:
                self._store.load(entry.model_copy(update={"sha256": said[entry.file]}))
            self._entries[job.digest] = entry

    def _load(self, name: str, model: type[_JsonFile]) -> _JsonFile | None:
        path = self._run / name
        return load_json_file(path, model) if path.exists() else None

    def _write_times(self) -> None:
        write_atomically(self._run / "run.json", self._times.to_bytes(), mode=0o600)

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="seconds")
