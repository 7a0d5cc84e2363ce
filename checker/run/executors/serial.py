"""Jobs one after another, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from checker.run.execution import Execution
from checker.run.executors.worker import Openers, Outcome, Take, Worker


class SerialExecutor:
    """Runs jobs one after another, in the order they are handed out."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def open(
        self, execution: Execution, *, openers: Openers, models: Sequence[str]
    ) -> dict[str, Any]:
        self._worker = Worker(execution, openers)
        return self._worker.open(models)

    def preflight(self) -> dict[str, float]:
        return self._open_worker.preflight()

    def run(self, take: Take) -> Iterator[Outcome]:
        while (work := take(lambda job: True)) is not None:
            yield self._open_worker.run(work)

    def close(self) -> None:
        self._worker = None

    @property
    def _open_worker(self) -> Worker:
        assert self._worker is not None  # the protocol: `open` comes first
        return self._worker
