"""Run what is left of a plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from checker import clock as machine
from checker.errors import EvidenceError, PhigateWarning
from checker.evidence import Manifest
from checker.extras import require_extra
from checker.ledger import Attempt
from checker.planning import CompiledAudit, Job
from checker.run.belonging import check_belongs, is_left_behind
from checker.run.exclusions import write_exclusions
from checker.run.execution import Execution
from checker.run.executors import Executor, Openers, ReadyJob, SerialExecutor
from checker.run.exposures import write_exposures
from checker.run.folder import clear_folder, locked_folder
from checker.run.log import RunLog
from checker.run.record import RunRecord
from checker.run.schedule import Schedule
from checker.targets import TargetModel
from checker.targets.conformance import ConformanceError
from checker.version import PHIGATE_VERSION

_TOOK = "took the folder of an audit that had measured nothing"


class RunProgress(Protocol):
    """What a run reports of its progress; several jobs may be under way at a time."""

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """The run begins: these jobs are left, that many were found finished."""

    def job(self, job: Job) -> Callable[[int], None]:
        """A job begins; returns what to call with the tokens done since the last call."""
        ...

    def done(self, job: Job) -> None:
        """A job is finished, or left out without having begun."""


class _Unwatched:
    """The progress of a run that nobody watches."""

    def start(self, jobs: list[Job], *, reused: int) -> None:
        pass

    def job(self, job: Job) -> Callable[[int], None]:
        return lambda tokens: None

    def done(self, job: Job) -> None:
        pass


def run_audit(
    audit: CompiledAudit,
    *,
    run: Path,
    open_target: Callable[[], TargetModel],
    open_reference: Callable[[], TargetModel] | None = None,
    executor: Executor | None = None,
    progress: RunProgress | None = None,
    command: str,
    attempt: Attempt | None = None,
    fresh: bool = False,
    clock: Callable[[], datetime] = lambda: machine.current_time(),
) -> Manifest:
    """Run what is left of a plan and write plan, evidence, manifest and times.

    Args:
        audit: the compiled plan.
        run: the run's folder; made when it is not there.
        open_target: loads the model; called only when a job that needs it is left.
        open_reference: loads the reference model, where the target names one.
        executor: where jobs run; by default one after another in this process. It is closed.
        progress: is told what happens; by default nobody is.
        command: the command line that repeats the run, for the record.
        attempt: as it was registered in a ledger; kept with the run.
        fresh: forget what an earlier run left in the folder and measure everything anew.
        clock: the current time.

    Returns:
        The manifest, as written.

    Raises:
        EvidenceError: the folder cannot be written, is another run's that has measured something,
            or holds anything else, or evidence in it was changed.
        TargetError: the model cannot be loaded or fails preflight.
        MissingExtra: what is left takes a package that is not installed.
        ExecutorError: there is nowhere to run, or nowhere any more; finished jobs are kept.
    """
    openers: dict[str, Callable[[], TargetModel]] = {"target": open_target}
    if open_reference is not None:
        openers["reference"] = open_reference
    check_belongs(run, audit.plan, fresh=fresh)
    with locked_folder(run):
        check_belongs(run, audit.plan, fresh=fresh)  # another may have begun it meanwhile
        took = not fresh and is_left_behind(run, audit.plan)
        if took:
            warnings.warn(f"{run}: {_TOOK}", PhigateWarning, stacklevel=2)
        if fresh or took:
            clear_folder(run)
        record = RunRecord(audit.plan, run=run, command=command, attempt=attempt, clock=clock)
        executor = executor or SerialExecutor()
        log = RunLog(run, clock=clock)
        log.say(f"phigate {PHIGATE_VERSION}: {command}")
        if took:
            log.say(_TOOK)
        try:
            _open(executor, audit, record, openers)
            _run_left(executor, record, progress or _Unwatched(), log)
        except BaseException as error:
            # why it ended matters more than that a full disk takes no line about it
            with suppress(EvidenceError):
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, KeyboardInterrupt):
                    why = "by a signal"  # the name of its class tells nobody anything
                kept = f"{record.finished} of {len(audit.plan.jobs)} jobs kept"
                log.say(f"stopped: {why}; {kept}")
            raise
        finally:
            executor.close()
        log.say(f"all {len(audit.plan.jobs)} jobs are settled")
        manifest = record.finish()
        compared = [job.digest for job in audit.plan.jobs_of("overlap")]
        write_exclusions(run, plan=audit.plan, evidence=record.tables(compared))
        write_exposures(run, plan=audit.plan, tables=lambda job: record.tables([job]).get(job))
        return manifest


def _open(executor: Executor, audit: CompiledAudit, record: RunRecord, openers: Openers) -> None:
    """Get an executor ready for what is left, with models only where a job runs on one."""
    plan = audit.plan
    schedule = Schedule(plan, is_settled=record.is_settled, attempt=record.attempt)

    def is_left(job: Job) -> bool:
        return not record.is_settled(job.digest) and not schedule.is_superfluous(job, record.tables)

    on_models = any(is_left(job) for job in plan.jobs if job.uses_model)
    if not on_models and not any(is_left(job) for job in plan.jobs if not job.uses_model):
        return
    # attackers learn, whatever the model is: a plug-in's needs no PyTorch, but this
    require_extra("audit", "measuring", only=("sklearn", "threadpoolctl"))
    models = sorted({job.runs_on for job in plan.jobs if job.uses_model}) if on_models else []
    if any(is_left(job) for job in plan.jobs if job.training_tokens):
        # said now, and not after hours of a plug-in's model that takes none of it
        require_extra("audit", "training the reference model of this audit")
    execution = Execution(plan, audit.workload, record.pseudonyms)
    environment = executor.open(execution, openers=openers, models=models)
    if models:
        record.adopt(environment)
        try:
            record.preflight |= executor.preflight()
        except ConformanceError as error:
            record.preflight |= error.found
            record.write_manifest()
            raise


def _run_left(executor: Executor, record: RunRecord, progress: RunProgress, log: RunLog) -> None:
    """Run what is left, and keep the manifest up to date throughout."""
    schedule = Schedule(record.plan, is_settled=record.is_settled, attempt=record.attempt)
    left = [job for job in record.plan.jobs if not record.is_settled(job.digest)]
    progress.start(left, reused=record.finished)
    log.say(f"{len(left)} jobs to run, {record.finished} found finished")

    def settle(job: Job) -> None:
        schedule.settle(job.digest)
        progress.done(job)

    def take(chosen: Callable[[Job], bool]) -> ReadyJob | None:
        while (job := schedule.take(chosen)) is not None:
            broken = next((crash for name in job.needs if (crash := record.crash(name))), None)
            if schedule.is_superfluous(job, record.tables):
                record.leave_out(job)
                log.end(job, how="left out")
            elif broken is not None:
                record.give_up(job, f"it needs what could not be completed: {broken}")
                log.end(job, how="given up", why="it needs what could not be completed")
            else:
                log.begin(job)
                return ReadyJob(job, record.tables(job.needs), progress.job(job))
            settle(job)
        return None

    for outcome in executor.run(take):
        if outcome.table is None:
            record.give_up(outcome.job, outcome.crash)
            log.end(outcome.job, how="crashed", why=outcome.crash)
        else:
            record.keep(outcome.job, outcome.table)
            log.end(outcome.job)
        settle(outcome.job)
