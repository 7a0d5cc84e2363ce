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
from checker.attacks.tables import booleans, in_subgroup
from checker.evidence import EvidenceStore, ManifestEntry
from checker.planning import AuditPlan, Cell, Job
from checker.planning.extraction import KIND as EXTRACTION
from checker.planning.identity import identity
from checker.planning.nonmembers import SPARE
from checker.run.stored import Run
from checker.verification.statement import Statement

NOT_COMPARED = (
    "the data set's name, its events, tokens and unknown codes, how many codes stand for a class,"
    " how many patients lack it, the size of the vocabulary and the context, the digests of the"
    " policy's and the target's files, titles of jobs, and what was noted of the environment and of"
    " the preflight"
)
"""What a report says and nothing in its run could contradict."""

_LABELLED = ("attribute-disclosure", "identifier-perturbation", "trajectory-memorization")
"""Attacks that count, of each split, the eligible of a cell's labels."""


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
        *(text for cell in run.plan.cells for text in _sample(cell, evidence)),
        *(text for cell in run.plan.cells for text in _looked_at(cell, run.plan, evidence)),
        *_spare(run.plan, evidence),
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
    models = {
        "target": (target.model, plan.target.model_sha256),
        "reference": (target.reference, plan.target.reference_sha256),
    }
    for job in plan.jobs:
        asked = _described(job, models)
        asked["data"], asked["splits"] = plan.data.sha256, identity(target.data)
        asked["kind"] = job.kind
        if job.needs:
            asked["needs"] = job.needs
        for name, value in asked.items():
            if name in job.inputs and job.inputs[name] != value:
                yield f"{name} of job {job.digest[:12]} is not what the plan says"
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


def _described(job: Job, models: Mapping[str, tuple[Any, str | None]]) -> dict[str, Any]:
    if job.runs_on not in models:
        return {}
    document, sha256 = models[job.runs_on]
    if document is None:
        return {"model": None}
    return {"model": sha256, "loaded": identity(document)}


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
        for split, size in (("members", plan.data.members), ("nonmembers", plan.data.nonmembers)):
            found = _SIZES[job.kind](table, split) if job.kind in _SIZES else [size]
            if found != [size]:
                yield f"says {size} {split}, and the evidence ({job.kind}) has {found}"


def _counted_size(table: pa.Table, split: str) -> list[int]:
    counts: list[int] = table[split].to_pylist()
    return counts


def _listed_size(table: pa.Table, split: str) -> list[int]:
    return [int((booleans(table, "member") == (split == "members")).sum())]


_SIZES: dict[str, Callable[[pa.Table, str], list[int]]] = {
    "overlap": _counted_size,
    "labels": _listed_size,
}
"""Kinds of jobs whose evidence counts everybody."""


def _sample(cell: Cell, evidence: _Evidence) -> Iterator[str]:
    """Yield the counts of a cell's sample that its labels do not bear out."""
    table = evidence.of(cell.labels) if cell.labels is not None else None
    if table is None:
        return
    for name, found in _counts(cell, table).items():
        said = getattr(cell.sample, name)
        if said is not None and said != found:
            yield f"{name} of {cell.id} is {said}, and its labels have {found}"


def _looked_at(cell: Cell, plan: AuditPlan, evidence: _Evidence) -> Iterator[str]:
    """Yield the sizes of a sample that are not how many the cell's jobs looked at in the model."""
    jobs = {job.digest: job for job in plan.jobs}
    asked = [name for name in cell.jobs if name in jobs and jobs[name].kind == EXTRACTION]
    tables = [table for name in asked if (table := evidence.of(name)) is not None]
    if not asked or len(tables) < len(asked):
        return
    for split in ("members", "nonmembers"):
        found = sum(
            int(
                (
                    in_subgroup(t, cell.subgroup) & (booleans(t, "member") == (split == "members"))
                ).sum()
            )
            for t in tables
        )
        if getattr(cell.sample, split) != found:
            said = getattr(cell.sample, split)
            yield f"{split} of {cell.id} is {said}, and {found} were looked at"


def _spare(plan: AuditPlan, evidence: _Evidence) -> Iterator[str]:
    """Yield that there are fewer spare patients than were scored; of some there is no score."""
    job = plan.job(SPARE)
    table = None if job is None else evidence.of(job.digest)
    if table is not None and table.num_rows > plan.data.spare:
        yield f"says {plan.data.spare} spare patients, and {table.num_rows} were scored"


def _counts(cell: Cell, table: pa.Table) -> dict[str, int]:
    """Count what a sample counts, among those whom a cell's labels speak of."""
    member, inside = booleans(table, "member"), in_subgroup(table, cell.subgroup)
    positive, eligible = booleans(table, "positive"), booleans(table, "eligible")
    counts = {"subgroup_members": int((inside & member).sum())}
    for split, chosen in (("members", inside & member), ("nonmembers", inside & ~member)):
        counts[f"{split}_positive"] = int((chosen & positive).sum())
        if cell.probe in _LABELLED:
            counts[split] = int((chosen & eligible).sum())
    return counts
