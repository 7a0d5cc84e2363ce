"""How long an audit will take, told from how long one took before on the same kind of machine.

A run's record says when each piece of evidence was measured, so the time from one to the next is
what a job took; of jobs side by side, what all of them together took. What kind of job processes
how many tokens a second is a property of the machine and the model, and carries over.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from checker.errors import UsageError
from checker.planning import AuditPlan, Job
from checker.run.stored import Run


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """How long a plan would take at the speed of an earlier run.

    Args:
        seconds: of all jobs one after another, models loaded.
        device: that the earlier run measured on.
        share: of the plan's tokens that are of kinds which the earlier run measured, in [0, 1]; the
            rest is taken to be as fast as all of that run together.
    """

    seconds: float
    device: str
    share: float


def estimate_time(plan: AuditPlan, earlier: Run) -> TimeEstimate:
    """Estimate how long a plan takes.

    Args:
        plan: whose jobs are to be run, all of them.
        earlier: a run on the same machine; its model and its plan may be others.

    Raises:
        UsageError: the earlier run measured too little to tell its speed.
    """
    seconds, tokens = _spent(earlier)
    total = sum(seconds.values())
    if total <= 0 or not sum(tokens.values()):
        raise UsageError(
            f"{earlier.folder}: took too little time to tell its speed; name a longer run"
        )
    rate = sum(tokens.values()) / total
    found, known, everything = 0.0, 0, 0
    for job in plan.jobs:
        work = _work(job)
        everything += work
        own = seconds[job.kind] > 0 and tokens[job.kind] > 0
        known += work if own else 0
        found += work * seconds[job.kind] / tokens[job.kind] if own else work / rate
    device = str(earlier.manifest.environment.get("device", "no model"))
    return TimeEstimate(found, device, known / everything if everything else 1.0)


def _spent(run: Run) -> tuple[dict[str, float], dict[str, int]]:
    """Return by kind of job the seconds that went by and the tokens that were processed."""
    jobs = {job.digest: job for job in run.plan.jobs}
    seconds: defaultdict[str, float] = defaultdict(float)
    tokens: defaultdict[str, int] = defaultdict(int)
    if run.times is None:
        return seconds, tokens
    times = run.times
    begun = datetime.fromisoformat(times.started)
    # what was there before this run began was measured in another, with a pause in between
    measured = sorted(
        (at, entry.job)
        for entry in run.manifest.entries
        if entry.file in times.measured and entry.job in jobs
        if (at := datetime.fromisoformat(times.measured[entry.file])) >= begun
    )
    for at, digest in measured:
        kind = jobs[digest].kind
        seconds[kind] += (at - begun).total_seconds()
        tokens[kind] += _work(jobs[digest])
        begun = at
    return seconds, tokens


def _work(job: Job) -> int:
    """Return what a job's time is taken to grow with: its tokens, and one for a job without any."""
    return max(job.all_tokens, 1)
