"""What a run did and when, line by line, in its folder: for whoever asks later where time went.

The log is no evidence: nothing is judged by it, no digest covers it, and `--fresh` deletes it.
Lines are added as things happen, so after a kill it ends where the run did. It names jobs as the
plan does and is as confidential: no patient, but which records a job took.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from checker.errors import EvidenceError
from checker.planning import Job
from checker.report.wording.plain import plain

LOG_FILE = "log.txt"


class RunLog:
    """Adds lines to a run's log.

    Args:
        run: the run's folder, which is locked.
        clock: the current time.
    """

    def __init__(self, run: Path, *, clock: Callable[[], datetime]) -> None:
        self._path = run / LOG_FILE
        self._clock = clock
        self._begun: dict[str, datetime] = {}

    def say(self, text: str) -> None:
        """Add a line.

        Raises:
            EvidenceError: the folder cannot be written.
        """
        line = f"{self._now():%Y-%m-%dT%H:%M:%SZ} {plain(text)}\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(line)
        except OSError as error:
            raise EvidenceError(
                f"{self._path}: cannot be written: {error.strerror or error}"
            ) from error

    def begin(self, job: Job) -> None:
        """Add that a job begins."""
        self._begun[job.digest] = self._now()
        self.say(f"begins   {_named(job)}")

    def end(self, job: Job, *, how: str = "finished", why: str = "") -> None:
        """Add what became of a job, and how long it took."""
        begun = self._begun.pop(job.digest, None)
        took = "" if begun is None else f" in {(self._now() - begun).total_seconds():.0f} s"
        self.say(f"{how:8} {_named(job)}{took}{f': {why}' if why else ''}")

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC)


def _named(job: Job) -> str:
    return f"{job.digest[:12]} {job.kind}: {job.title}"
