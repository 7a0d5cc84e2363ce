"""Is a run's evidence an answer to what its plan asks? Kinds, columns, counts and patients alike.

A table can be sound by itself (`checker.evidence_columns`, `checker.evidence_rows`) and answer
something else than its job: continuations of fewer prompts than were asked, scores without the
column of one k, another job's patients. Whoever judges it would stumble over it late, or count it
for what it is not. So each table is held against its job's inputs, and tables of one plan against
each other, before anything is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.attacks.rollouts import hits_by_prompt
from checker.errors import EvidenceError
from checker.evidence import Manifest
from checker.evidence_columns import KINDS
from checker.kinds import OF_A_DRAW, compensator_column, score_column
from checker.planning import AuditPlan, Job
from checker.records.prompt_format import DECLARED
from checker.stats.naming_side import ThresholdTest


def check_answers(plan: AuditPlan, manifest: Manifest, tables: Mapping[str, pa.Table]) -> None:
    """Check that each table of a run is what its job asks for.

    Args:
        plan: names the jobs.
        manifest: names the tables' files.
        tables: by job digest, as they were loaded.

    Raises:
        EvidenceError: one is not.
    """
    jobs = {job.digest: job for job in plan.jobs}
    seen: set[str] = set()
    for entry in manifest.entries:
        job = jobs.get(entry.job)
        if job is None or job.kind != entry.kind or entry.job in seen:
            raise EvidenceError(
                f"manifest.json: names {entry.file} as the answer to a job of kind '{entry.kind}'"
                f" that the plan does not have once ({entry.job[:12]})"
            )
        seen.add(entry.job)
        for strange in _strange(job, tables[entry.job], plan):
            raise EvidenceError(
                f"{entry.file}: is no answer to its job ({job.kind} {job.digest[:12]}): {strange}"
            )
    files = {entry.job: entry.file for entry in manifest.entries}
    answered = [job for job in plan.jobs if job.digest in tables]
    for kind in dict.fromkeys(job.kind for job in answered):
        alike = [job for job in plan.jobs_of(kind) if job.digest in tables]
        for job in alike[1:]:
            for strange in _unlike(alike[0], job, tables):
                raise EvidenceError(
                    f"{files[job.digest]}: does not fit {files[alike[0].digest]}: {strange}"
                )


# --- a table and its job ------------------------------------------------------------------------


def _strange(job: Job, table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    check = _CHECKS.get(job.kind)
    if check is not None:
        try:
            yield from check(job.inputs, table, plan)
        except (KeyError, TypeError) as error:  # the plan itself was written by somebody else
            yield f"the job says nothing that could be compared ({type(error).__name__}: {error})"


def _rollouts(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    yield from _prompts(inputs, table, plan)
    watched = [compensator_column(watch) for watch in inputs.get("watch", ())]
    if missing := [name for name in watched if name not in table.column_names]:
        yield f"it lacks {missing[0]}"
    drawn = pc.value_counts(table["prompt"]).field("counts").to_numpy()
    samples = inputs["samples"]
    if "thresholdTest" in inputs:
        yield from _drawn_until_decided(inputs, table)
    elif len(drawn) and (
        drawn.max() > samples or (drawn.min() < samples and "curtailed" not in inputs)
    ):
        yield f"it has {drawn.min()} to {drawn.max()} samples of a prompt, and {samples} were asked"
    lengths = pc.list_value_length(table["tokens"])
    if len(lengths) and pc.max(lengths).as_py() > inputs["horizonTokens"]:
        yield f"a continuation is longer than its horizon of {inputs['horizonTokens']} tokens"
    tokens = pc.list_flatten(table["tokens"])
    if len(tokens) and pc.max(tokens).as_py() >= plan.target.vocabulary_size:
        yield f"it holds the token {pc.max(tokens).as_py()}, which the vocabulary does not have"


def _drawn_until_decided(inputs: Mapping[str, Any], table: pa.Table) -> Iterator[str]:
    """Count again how many samples each prompt must have, from the samples themselves."""
    asked = inputs["thresholdTest"]
    wanted: NDArray[np.int64] | None = None
    for test in asked["tests"]:
        _, hits, expected = hits_by_prompt(table, test["watch"], most=inputs["samples"])
        after = ThresholdTest.of(test).decide(hits, expected).after
        # what is not decided must have more than it has
        own = np.where(after > 0, np.maximum(after, asked["first"]), inputs["samples"] + 1)
        wanted = own if wanted is None else np.maximum(wanted, own)
    drawn = pc.value_counts(table["prompt"]).field("counts").to_numpy()
    if wanted is not None and (drawn != wanted).any():
        number = int((drawn != wanted).sum())
        yield (
            f"of {number} prompts it has another number of samples than it takes to tell on which"
            " side of the threshold they are"
        )


def _prompts(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    asked = pc.count_distinct(table["prompt"]).as_py()
    if asked != inputs["count"]:
        yield f"it speaks of {asked} prompts, and {inputs['count']} were asked"


def _scores(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    wanted = [score_column(name, k) for k in inputs["k"] for name in ("min-k", "min-k++")]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        yield f"it lacks {missing[0]}"
    if table.num_rows > inputs["count"]:
        yield f"it scores {table.num_rows} patients, and {inputs['count']} were asked"


def _labels(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    everybody = sum(plan.data.asked)
    if table.num_rows != everybody:
        yield f"it speaks of {table.num_rows} patients, and the plan of {everybody}"
    is_drawn = "drawn" in inputs or plan.data.lot != (plan.data.members, plan.data.nonmembers)
    if any((name in table.column_names) != is_drawn for name in OF_A_DRAW):
        yield "it does not say who was drawn of whom, or nobody was left out"
        return
    pool = (inputs.get("codes") or {}).get("anyOf")
    if (pool is None) != (table["holds"].null_count == table.num_rows) and table.num_rows:
        yield "it does not say who has which class of a pool, or there is no pool"
        return
    named = set(pc.unique(pc.list_flatten(table["holds"].combine_chunks())).to_pylist())
    if strange := sorted(named - set(pool or ()), key=str):
        yield f"it says who has '{strange[0]}', which is no class of the pool"


def _prompt_format(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    missing = [name for name in inputs.get("tables", ()) if name not in table.column_names]
    if missing:
        yield f"it lacks {missing[0]}"
        return
    declared = table.filter(pc.equal(table["variant"], DECLARED))
    if any(declared[name].null_count for name in inputs.get("tables", ())):
        yield "it lacks the losses of the tables"
    yield from _patients(inputs, declared, plan)


def _patients(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    if table.num_rows > inputs["patients"]:
        yield f"it speaks of {table.num_rows} patients, and {inputs['patients']} were asked"


def _overlap(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    if table["members"][0].as_py() != plan.data.members:
        yield f"it compares {table['members'][0]} members, and the plan has {plan.data.members}"


def _perturbations(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    if pc.any(pc.not_equal(table["samples"], inputs["samples"])).as_py():
        yield f"it draws another number of samples than {inputs['samples']}"


def _trajectories(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    repeats = pc.greater_equal(table["longest_run"], inputs["minRun"])
    if pc.any(pc.not_equal(repeats, table["extracted"])).as_py():
        yield "it calls extracted what is no run of minRun tokens"


def _regurgitation(inputs: Mapping[str, Any], table: pa.Table, plan: AuditPlan) -> Iterator[str]:
    if table.num_rows and pc.max(table["sample"]).as_py() >= inputs["samples"]:
        yield f"it speaks of more than {inputs['samples']} samples of a prompt"


_Check = Callable[[Mapping[str, Any], pa.Table, AuditPlan], Iterator[str]]
_CHECKS: Final[Mapping[str, _Check]] = {
    "rollouts": _rollouts,
    "embeddings": _prompts,
    "scores": _scores,
    "labels": _labels,
    "prompt-format": _prompt_format,
    "expected-loss": _patients,
    "overlap": _overlap,
    "perturbations": _perturbations,
    "trajectories": _trajectories,
    "regurgitation": _regurgitation,
}


# --- tables of one kind -------------------------------------------------------------------------


def _unlike(first: Job, job: Job, tables: Mapping[str, pa.Table]) -> Iterator[str]:
    one, other = tables[first.digest], tables[job.digest]
    if job.kind in KINDS:
        first_columns, columns = (
            # what is named by a k or a class, or of a draw, is what its own job asks for
            {f.name: f.type for f in table.schema if not ("@" in f.name or f.name in OF_A_DRAW)}
            for table in (one, other)
        )
        if list(first_columns.items()) != list(columns.items()):
            names = [
                name
                for name in dict.fromkeys([*first_columns, *columns])
                if first_columns.get(name) != columns.get(name)
            ]
            yield f"they differ in {', '.join(names) or 'the order of their columns'}"
            return
    for name in _LISTED.get(job.kind, ()):
        # two manifests have canaries of their own
        if first.inputs.get("manifest") == job.inputs.get("manifest") and one[name] != other[name]:
            yield f"they differ in {name}, of which each lists the same"


_LISTED: Final[Mapping[str, tuple[str, ...]]] = {
    "labels": ("patient", "member", "subgroups"),
    "canaries": ("included", "beacon", "natural"),
}
"""Columns that are the same in all tables of a kind, row by row."""
