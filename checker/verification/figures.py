"""The figures that a report takes from its plan: do the evidence and the documents bear them out?

A report is put together again from plan, manifest and evidence and compared byte by byte
(`judging`), so what is left to doubt are the plan's own figures. Whatever the evidence, the jobs or
the plan's documents say of one is compared here; what nothing in a run can contradict is named, so
that nobody takes it for compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from checker.attacks.api import columns_of
from checker.attacks.tables import booleans
from checker.canonical import digest
from checker.evidence import EvidenceStore, ManifestEntry
from checker.planning import AuditPlan, Job
from checker.planning.identity import identity
from checker.planning.model import DataSnapshot
from checker.planning.nonmembers import SPARE, SPARE_TABLES
from checker.run.stored import Run
from checker.verification.depths import strange_depths
from checker.verification.samples import strange_patients, strange_samples
from checker.verification.statement import Statement

NOT_COMPARED = (
    "the data set's name, its events, tokens and unknown codes, how many codes stand for a class,"
    " how many of those who were not asked lack it, how many tokens the attacks look at, which"
    " codes were taken out of prompts or tell a class without being of it, what the target"
    " declares of how its patients were dealt and of what its trainer expects, the size of the"
    " vocabulary and the context, the digests of the policy's and the target's files, titles of"
    " jobs, and what was noted of the environment and of the preflight"
)
"""What a report says and nothing in its run could contradict."""


def check_figures(run: Run) -> Iterator[Statement]:
    """Compare the plan's figures with evidence, jobs and documents.

    Raises:
        EvidenceError: evidence is missing or was changed.
    """
    evidence = _Evidence(run)
    wrong = [
        *_documents(run.plan),
        *_entries(run),
        *_split_sizes(run.plan, evidence),
        *_near_duplicates(run.plan, evidence),
        *_spare(run.plan, evidence.of),
        *strange_samples(run.plan, evidence.of),
        *strange_depths(run.plan, evidence.of),
        *strange_patients(run.plan, evidence.of),
    ]
    for text in wrong[:5]:
        yield Statement(False, f"plan.json: {text}")
    if not wrong:
        yield Statement(True, "the plan's figures are those of its evidence, jobs and documents")
    yield Statement(None, f"nothing in the run can contradict: {NOT_COMPARED}")


class _Evidence:
    """A run's tables, each read once."""

    def __init__(self, run: Run) -> None:
        self._store = EvidenceStore(run.folder, columns_of)
        self._entries: Mapping[str, ManifestEntry] = {
            entry.job: entry for entry in run.manifest.entries
        }
        self._tables: dict[str, pa.Table] = {}

    def of(self, job: str) -> pa.Table | None:
        """Return a job's table, or None where it has none."""
        if job not in self._entries:
            return None
        if job not in self._tables:
            self._tables[job] = self._store.load(self._entries[job])
        return self._tables[job]


def _documents(plan: AuditPlan) -> Iterator[str]:
    """Yield in what jobs were run on other data or another model than the target describes."""
    target = plan.target.document.spec
    of = plan.target
    models = {
        "target": (target.model, of.model_sha256, of.backend),
        "reference": (target.reference, of.reference_sha256, of.reference_backend),
    }
    for job in plan.jobs:
        asked = _described(job, models)
        asked["data"], asked["splits"] = plan.data.sha256, identity(target.data)
        asked["kind"], asked["codeSystems"] = job.kind, identity(target.code_systems)
        asked["window"] = target.tokenization.window
        if job.needs:
            asked["needs"] = job.needs
        if job.runs_on in models and job.inputs.get("backend") != asked.pop("backend", None):
            yield f"the backend of job {job.digest[:12]} is not what the plan says"
        for name, value in asked.items():
            if name in job.inputs and job.inputs[name] != value:
                yield f"{name} of job {job.digest[:12]} is not what the plan says"
    removed: dict[str, Any] = {}
    for job in plan.jobs_of("labels"):
        codes = job.inputs.get("removed")
        if removed.setdefault(digest(job.inputs.get("codes")), codes) != codes:
            yield f"job {job.digest[:12]} takes other codes out of prompts than others of its class"
    for name, found in plan.classes.items():
        described = plan.policy.document.spec.attribute_classes.get(name)
        if described is None or found.title != described.title:
            yield f"the class {name} is not called what its policy calls it"
    data, cost = plan.data, plan.cost
    if data.events and round(data.unknown_events / data.events, 9) != round(data.unknown_share, 9):
        yield "the share of unknown events is not that of its counts"
    if cost.forward_tokens != sum(job.forward_tokens for job in plan.jobs):
        yield "its cost in tokens forward is not the sum of its jobs'"
    if cost.rollout_tokens != sum(job.rollout_tokens for job in plan.jobs):
        yield "its cost in generated tokens is not the sum of its jobs'"


def _described(job: Job, models: Mapping[str, tuple[Any, str | None, Any]]) -> dict[str, Any]:
    if job.runs_on not in models:
        return {}
    document, sha256, backend = models[job.runs_on]
    if document is None:
        return {"model": None}
    return {"model": sha256, "loaded": identity(document), "backend": backend}


def _entries(run: Run) -> Iterator[str]:
    """Yield in what the manifest speaks of other jobs than the plan's."""
    kinds = {job.digest: job.kind for job in run.plan.jobs}
    for entry in run.manifest.entries:
        if kinds.get(entry.job) != entry.kind:
            yield f"has no {entry.kind} job {entry.job[:12]}, which the manifest has evidence of"


def _split_sizes(plan: AuditPlan, evidence: _Evidence) -> Iterator[str]:
    """Yield a split whose size is not that of the evidence, which counts everybody twice over."""
    for job in plan.jobs:
        table = evidence.of(job.digest)
        if table is None:
            continue
        sizes = _COUNTED.get(job.kind, _everybody)(plan.data)
        for split, size in zip(("members", "nonmembers"), sizes, strict=True):
            found = _SIZES[job.kind](table, split) if job.kind in _SIZES else [size]
            if found != [size]:
                yield f"says {size} {split}, and the evidence ({job.kind}) has {found}"


def _near_duplicates(plan: AuditPlan, evidence: _Evidence) -> Iterator[str]:
    """Yield in what the plan counts other near-duplicates than the evidence names."""
    job = plan.job("overlap")
    table = evidence.of(job.digest) if job else None
    for row in [] if table is None else table.to_pylist():
        found = row["near"], row["same_codes"], len(row["set_aside"])
        planned = plan.data.near_duplicates, plan.data.same_codes, plan.data.set_aside
        if planned != found:
            yield (
                f"says {planned[0]} near-duplicates, {planned[1]} of the same codes, {planned[2]}"
                f" set aside, and the evidence has {found[0]}, {found[1]} and {found[2]}"
            )


def _compared_size(table: pa.Table, split: str) -> list[int]:
    """Of the nonmembers those who are judged: the records of all were compared."""
    aside = [len(row) if split == "nonmembers" else 0 for row in table["set_aside"].to_pylist()]
    return [count - left for count, left in zip(table[split].to_pylist(), aside, strict=True)]


def _listed_size(table: pa.Table, split: str) -> list[int]:
    return [int((booleans(table, "member") == (split == "members")).sum())]


def _everybody(data: DataSnapshot) -> tuple[int, int]:
    return data.members, data.nonmembers


_COUNTED: dict[str, Callable[[DataSnapshot], tuple[int, int]]] = {"labels": lambda data: data.asked}
"""Kinds of jobs whose evidence counts those who are asked, of everybody."""

_SIZES: dict[str, Callable[[pa.Table, str], list[int]]] = {
    "overlap": _compared_size,
    "labels": _listed_size,
}
"""Kinds of jobs whose evidence counts everybody."""


def _spare(plan: AuditPlan, of: Callable[[str], pa.Table | None]) -> Iterator[str]:
    """Yield that spare patients are not as many as they are elsewhere; of some there is no score.

    In tables stand those whom the model scored: with fewer these would find nothing.
    """
    job, tables = plan.job(SPARE), plan.job(SPARE_TABLES)
    table = None if job is None else of(job.digest)
    beside = None if tables is None else of(tables.digest)
    if table is not None and table.num_rows > plan.data.spare:
        yield f"says {plan.data.spare} spare patients, and {table.num_rows} were scored"
    of_model = [one for one in plan.jobs_of("scores") if one.runs_on == "target"]
    scores = [found for one in of_model if (found := of(one.digest)) is not None]
    if table is None or beside is None or len(scores) != len(of_model):
        return
    scored = table.num_rows, sum(int((~booleans(one, "member")).sum()) for one in scores)
    told = int(booleans(beside, "spare").sum())
    found = told, beside.num_rows - told
    if found != scored:
        yield (
            f"of {scored[0]} spare patients and {scored[1]} nonmembers who were scored, {found[0]}"
            f" and {found[1]} stand in tables"
        )
