"""Which jobs may run next: those whose needs are settled, in the plan's order.

A job is *settled* when it is finished, could not be completed, or was left out. Every job waits for
those it needs. A batch of rollouts that a cell may be decided without waits too, for all that comes
before it in its cells: so whether it is left out depends on the plan and the evidence alone, never
on which of several workers was faster, and every executor leaves the manifest that a serial run
leaves. What that costs is that such a cell's batches run one after another; other cells' jobs fill
the workers meanwhile.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Mapping

import pyarrow as pa

from checker.planning import AuditPlan, Cell, Job
from checker.planning.cells import may_stop_early, metric_of
from checker.verdict import settled_cells


class Schedule:
    """The order of a plan's jobs, and which of them may run now.

    Args:
        plan: the plan.
        is_settled: whether a job, by its digest, was settled in an earlier run.
        attempt: number of the attempt at this release, which decides how sure is sure enough.
    """

    def __init__(
        self, plan: AuditPlan, *, is_settled: Callable[[str], bool], attempt: int = 1
    ) -> None:
        self._plan = plan
        self._attempt = attempt
        self._jobs = {job.digest: job for job in plan.jobs}
        self._place = {job.digest: place for place, job in enumerate(plan.jobs)}
        self._asking: dict[str, list[Cell]] = defaultdict(list)
        for cell in plan.cells:
            for name in cell.jobs:
                self._asking[name].append(cell)
        left = [name for name in self._jobs if not is_settled(name)]
        before = self._before()
        self._waits = {name: {one for one in before[name] if not is_settled(one)} for name in left}
        self._waiting: dict[str, list[str]] = defaultdict(list)
        for name, others in self._waits.items():
            for other in others:
                self._waiting[other].append(name)
        self._ready = [self._place[name] for name in left if not self._waits[name]]

    def take(self, chosen: Callable[[Job], bool]) -> Job | None:
        """Take the first chosen job that may run now, or None where there is none at present."""
        for index, place in enumerate(self._ready):
            job = self._plan.jobs[place]
            if chosen(job):
                del self._ready[index]
                return job
        return None

    def settle(self, name: str) -> None:
        """Say that a job that was taken is settled; what waited for it may run."""
        for other in self._waiting.pop(name, ()):
            self._waits[other].discard(name)
            if not self._waits[other]:
                insort(self._ready, self._place[other])

    def is_superfluous(
        self, job: Job, tables: Callable[[list[str]], Mapping[str, pa.Table]]
    ) -> bool:
        """Whether every cell that asks for a batch of rollouts is decided without it.

        Args:
            job: of the plan.
            tables: returns the evidence of those jobs that have any.
        """
        if not self._may_be_left_out(job.digest):
            return False
        asking = self._asking[job.digest]
        wanted = dict.fromkeys(name for cell in asking for name in (*cell.jobs, str(cell.labels)))
        drawn = tables(list(wanted))
        settled = settled_cells(self._plan, drawn, attempt=self._attempt)
        return {cell.id for cell in asking} <= settled

    def _may_be_left_out(self, name: str) -> bool:
        asking = self._asking[name]
        return bool(asking) and all(self._may_stop_early(cell) for cell in asking)

    def _may_stop_early(self, cell: Cell) -> bool:
        return may_stop_early(metric_of(cell), cell.limit, sequential=self._plan.sequential)

    def _before(self) -> dict[str, set[str]]:
        """Return what each job waits for, as far as it is not waited for through another job."""
        before = {job.digest: set(job.needs) for job in self._plan.jobs}
        if not self._plan.sequential:
            return before
        for cell in self._plan.cells:
            since = {cell.labels} if cell.labels else set()
            for name in sorted(cell.jobs, key=self._place.__getitem__):
                if self._may_be_left_out(name):
                    before[name] |= since
                    since = set()
                since.add(name)
        return before
