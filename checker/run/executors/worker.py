"""What runs jobs, wherever it stands: the patients, the models, and one job at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa

from checker.errors import EvidenceError, MissingExtra, PluginError, TargetError
from checker.planning import Job
from checker.records.tokenization import TokenizedRecords
from checker.run.execution import Execution
from checker.targets import Progress, TargetModel, Tokens
from checker.targets.conformance import ConformanceError, Usage, examine

PREFLIGHT_RECORDS = 32
"""Of a model that repeats a tenth of its members, one is among so many with chance 97 %."""

Openers = Mapping[str, Callable[[], TargetModel]]
"""What loads a model, by the name under which jobs run on it: "target" or "reference"."""


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job that may run now.

    Args:
        job: of the plan.
        evidence: tables of the jobs it needs, by digest.
        advance: called with the number of tokens done since the last call.
    """

    job: Job
    evidence: Mapping[str, pa.Table]
    advance: Progress


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: its observations, or one sentence on why there are none."""

    job: Job
    table: pa.Table | None = None
    crash: str = ""


Take = Callable[[Callable[[Job], bool]], ReadyJob | None]
"""Hands out the next job of a kind that may run now, or None where there is none at present; what
may run can change whenever an outcome has been recorded."""


def cpu_environment() -> dict[str, str]:
    """Return what the numbers of jobs that run on no model depend on beside the job."""
    return {name: _version(name) for name in ("numpy", "scipy", "scikit-learn", "pyarrow")}


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # without the extra `audit`: nothing that is kept was made so
        return "not installed"


class Worker:
    """Runs jobs one at a time.

    Args:
        execution: of the plan, with the patients.
        openers: load the models.
    """

    def __init__(self, execution: Execution, openers: Openers) -> None:
        self._execution = execution
        self._openers = openers
        self._models: dict[str, TargetModel] = {}

    def open(self, models: Sequence[str]) -> dict[str, Any]:
        """Load models, the target first, and return what their numbers depend on.

        The reference model's environment stands under its name.

        Raises:
            TargetError: one cannot be loaded.
        """
        environment: dict[str, Any] = {}
        for name in sorted(models, key=lambda name: (name != "target", name)):
            self._models[name] = self._openers[name]()
            fields = asdict(self._models[name].info)
            own = {
                key: fields[key]
                for key in ("backend", "device", "dtype", "microbatch_tokens", "libraries")
            }
            environment |= own if name == "target" else {name: own}
        return environment

    def preflight(self, usage: Usage | None = None) -> dict[str, float]:
        """Check every loaded model against itself; the reference model's checks bear its name.

        Args:
            usage: how long the sequences are that are compared; default: as the plan uses them.

        Raises:
            ConformanceError: a check is beyond its tolerance.
            TargetError: a model fails at it.
        """
        workload, plan = self._execution.workload, self._execution.plan
        drawn = partial(some_records, limit=workload.max_length, most=PREFLIGHT_RECORDS)
        records = drawn(workload.members, rng=plan.rng_for("preflight"))

        def beyond(length: int) -> list[Tokens]:
            rng = plan.rng_for("preflight of long records")
            return drawn(workload.asked[True], rng=rng, longer_than=length)

        usage = usage or usage_of(self._execution)
        found: dict[str, float] = {}
        for name, model in self._models.items():
            prefix = "" if name == "target" else f"{name} "
            try:
                checks = examine(model, records, usage=usage, beyond=beyond)
            except ConformanceError as error:
                failed = {f"{prefix}{check}": value for check, value in error.found.items()}
                raise ConformanceError(
                    f"{prefix}{error}", found=found | failed, check=f"{prefix}{error.check}"
                ) from error
            found |= {f"{prefix}{check}": value for check, value in checks.items()}
        return found

    def run(self, work: ReadyJob) -> Outcome:
        """Run one job; what its model or its data make of it is an outcome, never an exception.

        Raises:
            EvidenceError: evidence was changed or is missing, so that nothing can be relied on.
            MissingExtra: what the job takes is not installed here.
        """
        job = work.job
        try:
            table = self._execution.execute(
                job, self._models.get(job.runs_on), evidence=work.evidence, advance=work.advance
            )
        except (EvidenceError, MissingExtra):
            raise
        except (PluginError, TargetError) as error:
            return Outcome(job, crash=str(error))
        except Exception as error:  # a backend's own failure: recorded, and its cells end in error
            return Outcome(job, crash=f"{type(error).__name__}: {error}")
        return Outcome(job, table)


def some_records(
    records: TokenizedRecords,
    *,
    limit: int | None,
    rng: np.random.Generator,
    most: int,
    longer_than: int = 1,
) -> list[Tokens]:
    """Some records that can be scored, drawn by lot.

    Args:
        records: of all patients who may be drawn.
        limit: tokens that each is cut to, or None.
        rng: draws the lot.
        most: records that are drawn.
        longer_than: tokens, of the records as they are cut; at least 1.
    """
    lengths = np.diff(records.offsets)
    if limit is not None:
        lengths = np.minimum(lengths, limit)
    usable = rng.permutation(np.flatnonzero(lengths > longer_than))[:most]
    return [records.record(int(i)).tokens[:limit] for i in usable]


def usage_of(execution: Execution) -> Usage:
    """How long what the plan asks of its models is."""
    plan, workload = execution.plan, execution.workload
    splits = (workload.members, workload.nonmembers)
    record = max(int(np.diff(split.offsets).max(initial=0)) for split in splits)
    drawn = [
        (max(len(tokens) for _, tokens in prompts), int(job.inputs["horizonTokens"]))
        for job in plan.jobs
        if job.rollout_tokens and (prompts := workload.prompts.get(job.digest))
    ]
    prompt, horizon = max(drawn, key=sum, default=(0, 0))
    eos = plan.target.document.spec.tokenization.specials.eos
    return Usage(
        longest_record=record if workload.max_length is None else min(record, workload.max_length),
        longest_prompt=prompt,
        horizon_tokens=horizon,
        eos_id=workload.tokenizer.vocabulary.ids[eos] if eos else None,
        seed=plan.seed,
    )
