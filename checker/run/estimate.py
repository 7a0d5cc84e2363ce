"""How long an audit will take, told from an earlier one on such a machine, or by a measurement.

A run's record says when each piece of evidence was measured, so the time from one to the next is
what a job took; of jobs side by side, what all of them together took. What kind of job processes
how many tokens a second is a property of the machine and the model, and carries over. A measurement
asks the model itself for a few seconds: to score more and more records, and to continue more and
more prompts, until one call takes long enough to tell.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from checker.errors import UsageError
from checker.planning import AuditPlan, CompiledAudit, Job
from checker.planning.task import sampler_of
from checker.run.executors.worker import some_records
from checker.run.stored import Run
from checker.targets import TargetModel

LONG_ENOUGH_S = 2.0
"""Seconds of a call that tell a model's speed; shorter ones tell what it takes to begin."""

_MOST = 512
_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """How long a plan would take at the speed that was seen.

    Args:
        seconds: of all jobs one after another, models loaded.
        device: that the speed was seen on.
        share: of the plan's tokens that are of kinds whose speed was seen, in [0, 1]; the rest is
            taken to be as fast as all of them together, or as scoring.
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


def measure_time(
    audit: CompiledAudit, model: TargetModel, *, clock: Callable[[], float] = time.perf_counter
) -> TimeEstimate:
    """Ask a model for a few seconds, and estimate how long a plan takes at its speed.

    What trains a small model of the checker's own is taken to be as fast as scoring, and so are
    continuations of prompts that only the run finds.

    Args:
        audit: the plan, and the records and prompts that its jobs ask the model with.
        model: the one under audit; a reference model is taken to be as fast.
        clock: seconds of any origin.

    Raises:
        TargetError: the model fails at it.
    """
    jobs, workload = audit.plan.jobs, audit.workload
    work = sum(job.all_tokens for job in jobs)
    drawn = sum(job.rollout_tokens for job in jobs)
    asked = [job for job in jobs if job.rollout_tokens and workload.prompts.get(job.digest)]
    seconds = 0.0
    if asked:
        most = max(asked, key=lambda job: job.rollout_tokens)
        prompts = [tokens for _, tokens in workload.prompts[most.digest]]
        sampler = sampler_of(most)

        def draw(count: int) -> int:
            model.rollout(prompts[:count], keys=range(count), samples=_SAMPLES, sampler=sampler)
            return count * _SAMPLES * sampler.horizon_tokens

        seconds += drawn / _rate(draw, most=min(len(prompts), _MOST), clock=clock)
    others = work - (drawn if asked else 0)
    rng = audit.plan.rng_for("measurement")
    records = some_records(workload.members, limit=workload.max_length, rng=rng, most=_MOST)
    if others and records:

        def score(count: int) -> int:
            model.score(records[:count])
            return sum(map(len, records[:count]))

        seconds += others / _rate(score, most=len(records), clock=clock)
    seen = sum(job.forward_tokens for job in jobs) + (drawn if asked else 0)
    return TimeEstimate(seconds, model.info.device, seen / work if work else 1.0)


def _rate(run: Callable[[int], int], *, most: int, clock: Callable[[], float]) -> float:
    """Return tokens a second of the first call that takes long enough, or of the largest."""
    count = 1
    while True:
        begun = clock()
        tokens = run(count)
        took = clock() - begun
        if took >= LONG_ENOUGH_S or count >= most:
            return tokens / max(took, 1e-9)
        count = min(2 * count, most)


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
