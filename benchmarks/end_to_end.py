"""A whole audit against a plain one written from the paper's description, and that both agree.

Model: a GPT-2 of six layers, trained for a few epochs on the members (it repeats some of them).
Patients: 200 members and 200 nonmembers of some 200 events (`checker.testing.hospital`). Asked: T1
and T2 for three classes at the levels static, 10, 20 and 50 events, ten continuations of 100 tokens
each, and T4. *Ours* is everything from the files to the report: cohort, tokens, plan, preflight,
comparability, evidence, verdicts. *Plain* is the work of the model and the distances alone
(`paper_audit`, `paper_reference`), on the same prompts and with the same random numbers.

Continuations of T2 are drawn until it is decided who is named (`probabilitySamples`), T1's are all
ten: its distance is a mean over ten, and whether one of them repeats the record is asked of ten.

*As the baselines ask.* The shipped baselines ask T1 whether what follows the prompt comes out word
for word, and read it off the model's scores (`excess_extractable`, windows behind the cut) instead
of drawing. So our audit is done a second time with this in the place of T1's two metrics, from
nothing and in a folder of its own; its cells have the other cells' verdicts, or it is said which
have not.

The plain audit takes the better part of an hour, so by default a sample of its units is measured
(so many patients of each test, class and level, drawn by lot) and the time for all of them follows
from the time a unit of the kind takes; `--whole` does all of them. Half of the sample is measured
before our audit and half after it, so that a machine that is busy for a while is so for both. Times
of CPU are shown too: they depend less on what else the machine does.

T1's distances are taken twice, with phigate's lexical labels and with a text encoder of six layers,
as the paper embeds codes. Each has its own total.

What came of it, as CPU seconds of one thread on a machine shared with others (`--patients 60
--sampled 2`, 1,029 units of which 34 were measured; the encoder's labels in the total):

| | plain | ours | ratio |
|---|---|---|---|
| continuations | 335 | 80 | 4.2 |
| membership | 292 | 1.7 | 167 |
| distances | 496 | 6.3 | 79 |
| preflight, format, other checks, judging | - | 43 | - |
| total | 1,124 | 131 | 8.6 (lexical labels 5.0) |
| total as the baselines ask | 1,124 | 81 | 13.8 (lexical 7.9) |

All 181 continuations compared were equal, and so were all verdicts, distances and scores but for
rounding. Checks cost nearly the same for any number of patients, so for 200 and 200 about 11 and 20
follow. Sixty times is not reached, and cannot be on one thread of a CPU as long as both draw: the
plain way takes ten samples at a time and keeps its keys and values, so that arithmetic and memory
bind it nearly as they bind us. Three fifths of our time are continuations, 49 of the 80 s T1's, of
which there are as many as the plain way has but for what patients share; of the checks' 43 s the
preflight takes 23, and the 18 formats of the prompt 15. In this hospital codes follow no order and
everybody is named with q near one half, so that T2 takes the five draws of ten that it may,
and to count ten decides as much by chance: 11 of 24 outcomes differed. `benchmarks.fewer_samples`
shows verdicts by counting and by few draws where patients are apart.

    python -m benchmarks.end_to_end --out end_to_end.json --folder runs/end-to-end --workers 2

`--folder` keeps the trained model and the data for the next time. `--workers` does our audit once
more, whole and from nothing, on so many workers of one thread each (extra `ray`): small models gain
little from more threads, and jobs do not wait for one another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from benchmarks.paper_audit import PlainAudit, Unit, units_of
from benchmarks.paper_reference import encoder_embedder, lexical_embedder
from benchmarks.simulated_gate import AS_OF
from benchmarks.trajectory_distance import write_encoder
from checker.attacks.api import columns_of
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.rollouts import naming_shares
from checker.attacks.trajectory_memorization.code_labels import _entries
from checker.demo.training import train
from checker.evidence import EvidenceStore, Pseudonyms, tables_by_job
from checker.kinds import score_column
from checker.planning import AuditPlan, Job
from checker.policy import load_target
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.run.executors import choose_executor
from checker.run.prepare import Prepared, prepare
from checker.run.running import run_audit
from checker.run.stored import load_run
from checker.targets import Sampler
from checker.targets.engine.training import Recipe
from checker.testing.hospital import (
    LEVELS,
    SPECIALS,
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_target,
)
from checker.verdict import judge

CONTEXT = 512
EMBEDDERS = ("lexical", "encoder")
SCORED = "baseline"
"""Our audit without draws for T1."""


@dataclass(frozen=True, slots=True)
class Design:
    """How large everything is.

    Args:
        hospital: the patients.
        recipe: of the model's training.
        samples, horizon: of the rollouts.
        sampled: units of each kind that the plain way is measured on.
        encoded: units of each of T1's kinds whose sequences the encoder embeds, too.
        encoder_layers: of the text encoder; it is 64 wide for each.
    """

    hospital: Hospital
    recipe: Recipe
    samples: int = 10
    horizon: int = 100
    sampled: int = 6
    encoded: int = 1
    encoder_layers: int = 6


FULL = Design(
    hospital=Hospital(200, 200, events=200, codes=400, classes=3, prevalence=0.3, seed=5),
    recipe=Recipe(max_epochs=12, learning_rate=2e-3, layers=6, width=128, heads=4),
)
QUICK = Design(
    hospital=Hospital(10, 10, events=90, codes=30, classes=3, prevalence=0.8, seed=5),
    recipe=Recipe(max_epochs=1, learning_rate=2e-3, layers=2, width=32, heads=2),
    samples=3,
    horizon=12,
    sampled=1,
    encoder_layers=1,
)


# --- what both get ------------------------------------------------------------------------------


def write_audit(folder: Path, design: Design) -> dict[str, Any]:
    """Write data, model, encoder, target and policies; what is there already stays.

    Returns:
        What the training says.
    """
    record = folder / "training.json"
    if record.exists():
        return dict(json.loads(record.read_text()))
    write_hospital(folder, design.hospital)
    target = write_target(
        folder / "target.yaml", {"path": "model", "dtype": "float32", "device": "cpu"}
    )
    spec = load_target(target).document.spec
    vocabulary = load_vocabulary(folder / "vocab.json")
    tokenizer = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=folder)
    cohort = load_cohort(spec.data, base=folder)
    texts = [entry.text for entry in _entries(cohort, tokenizer) if entry]
    layers = design.encoder_layers
    write_encoder(folder / "encoder", texts, layers=layers, width=64 * layers)
    records = tokenizer.encode(cohort.members, cohort.codes)
    result = train(
        [np.ascontiguousarray(records.record(i).tokens[:CONTEXT]) for i in range(len(records))],
        vocabulary_size=len(vocabulary.tokens),
        bos_id=vocabulary.ids[SPECIALS["bos"]],
        eos_id=vocabulary.ids[SPECIALS["eos"]],
        pad_id=vocabulary.ids[SPECIALS["pad"]],
        context_length=CONTEXT,
        out=folder / "model",
        seed=0,
        recipe=design.recipe,
    )
    for name in (*EMBEDDERS, SCORED):
        write_policy(folder / f"{name}.yaml", _controls(design, labels=name))
    found = {"epochs": len(result.epochs), "loss": result.epochs[-1].loss}
    record.write_text(json.dumps(found))
    return found


def _controls(design: Design, *, labels: str) -> dict[str, Any]:
    return {
        **(_read_off_scores() if labels == SCORED else _repeated(design, labels=labels)),
        **{
            name: disclosure(name, samples=design.samples, horizon_tokens=design.horizon)
            for name in design.hospital.class_names
        },
        "membership": {
            "title": "T4",
            "probe": "membership-inference",
            "params": {"score": "min-k", "k": 20.0},
            "metric": "membership_auroc",
            "limits": {"record": {"fail": 0.6}},
        },
    }  # fmt: skip


def _repeated(design: Design, *, labels: str) -> dict[str, Any]:
    drawn = {"samples": design.samples, "horizonTokens": design.horizon}
    repeated = {
        "probe": "trajectory-memorization",
        "params": {**drawn, "minRun": min(20, design.horizon), "labels": labels},
        "limits": {level: {"fail": 0.05} for level in LEVELS},
    }
    return {
        "word-for-word": {
            "title": "T1, word for word", "metric": "excess_extraction", **repeated
        },
        "distance": {"title": "T1, distance", "metric": "distance_gap", **repeated},
    }  # fmt: skip


def _read_off_scores() -> dict[str, Any]:
    control = {
        "title": "T1, word for word",
        "probe": "trajectory-memorization",
        "params": {"windows": "cut"},
        "metric": "excess_extractable",
        "limits": {level: {"fail": 0.05} for level in LEVELS},
    }
    return {"word-for-word": control}


# --- ours ---------------------------------------------------------------------------------------


@dataclass
class Stopwatch:
    """Progress that notes what each kind of job takes."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _began: tuple[float, float] = (0.0, 0.0)

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """The run begins."""

    def job(self, job: Job) -> Callable[[int], None]:
        """A job begins."""
        self._began = time.perf_counter(), time.process_time()
        return lambda tokens: None

    def done(self, job: Job) -> None:
        """A job is finished."""
        self.seconds[job.kind] += time.perf_counter() - self._began[0]
        self.cpu_seconds[job.kind] += time.process_time() - self._began[1]

    def note(self, step: str, began: tuple[float, float]) -> None:
        """Note a step beside the jobs."""
        self.seconds[step] += time.perf_counter() - began[0]
        self.cpu_seconds[step] += time.process_time() - began[1]


@dataclass(frozen=True)
class Ours:
    """An audit of ours: what came of it, and what it took."""

    prepared: Prepared
    run: Path
    watch: Stopwatch
    verdicts: dict[str, tuple[str, str | None, float | None]]

    @property
    def plan(self) -> AuditPlan:
        """The plan."""
        return self.prepared.audit.plan


def audit(folder: Path, policy: str, run: Path) -> Ours:
    """Audit from files to verdicts; evidence of an earlier audit in the same run is found again."""
    watch = Stopwatch()
    began = time.perf_counter(), time.process_time()
    prepared = prepare(folder / f"{policy}.yaml", folder / "target.yaml")
    watch.note("prepare", began)
    began, before = (time.perf_counter(), time.process_time()), sum(watch.seconds.values())
    cpu_before = sum(watch.cpu_seconds.values())
    run_audit(
        prepared.audit,
        run=run,
        open_target=prepared.open_target,
        progress=watch,
        command="phigate run",
    )
    jobs_s = sum(watch.seconds.values()) - before
    jobs_cpu_s = sum(watch.cpu_seconds.values()) - cpu_before
    watch.seconds["model, preflight, bookkeeping"] = time.perf_counter() - began[0] - jobs_s
    cpu_s = time.process_time() - began[1] - jobs_cpu_s
    watch.cpu_seconds["model, preflight, bookkeeping"] = cpu_s
    began = time.perf_counter(), time.process_time()
    verdicts = judged(run, evidence_of(run))
    watch.note("judge", began)
    return Ours(prepared, run, watch, verdicts)


def _from_nothing(folder: Path, policy: str) -> Ours:
    run = folder / f"run-{policy}"
    shutil.rmtree(run, ignore_errors=True)
    return audit(folder, policy, run)


def audit_on_workers(folder: Path, run: Path, workers: int) -> dict[str, Any]:
    """Audit with the encoder's labels on workers of one thread each; returns seconds, verdicts."""
    shutil.rmtree(run, ignore_errors=True)
    began = time.perf_counter()
    policy, target = folder / "encoder.yaml", folder / "target.yaml"
    prepared = prepare(policy, target)
    run_audit(
        prepared.audit,
        run=run,
        open_target=prepared.open_target,
        executor=choose_executor(
            "ray",
            partial(prepare, policy.resolve(), target.resolve()),
            address=None,
            workers=workers,
            threads=1,
            notice=print,
        ),
        progress=Stopwatch(),
        command="phigate run",
    )
    verdicts = judged(run, evidence_of(run))
    return {"workers": workers, "seconds": time.perf_counter() - began, "verdicts": verdicts}


def evidence_of(run: Path) -> dict[str, pa.Table]:
    """Return a run's evidence by job."""
    return dict(tables_by_job(EvidenceStore(run, columns_of), load_run(run).manifest))


def judged(
    run: Path, evidence: Mapping[str, pa.Table]
) -> dict[str, tuple[str, str | None, float | None]]:
    """Return each cell's verdict, reason and estimate."""
    whole = load_run(run)
    found = judge(whole.policy, plan=whole.plan, evidence=evidence, as_of=AS_OF)
    return {
        one.cell.id: (
            one.verdict,
            one.reason,
            one.measurement.estimate.value if one.measurement else None,
        )
        for one in found.findings
    }


# --- whether both say the same ------------------------------------------------------------------


@dataclass
class Agreement:
    """How far the plain audit's numbers are from ours, and the verdicts that follow from them.

    Args:
        continuations: how many were compared.
        unequal_continuations: how many differ in any token; of T2's those that ours drew.
        distance: largest difference, by embedder; of units with equal continuations.
        longest_run: how many differ; of the same.
        scores: patients whose scores were compared.
        score_nats: largest difference of loss or Min-K%.
        disclosed: patients and classes whose outcome was compared: of the plain audit whether more
            than half of all continuations hold the class, of ours what its few decide.
        unequal_disclosed: how many differ.
        verdicts_equal: of all cells, with the plain audit's numbers in the place of ours; of T2's
            continuations those that ours drew.
        largest_estimate_deviation: of the cells' estimates, likewise.
    """

    continuations: int = 0
    unequal_continuations: int = 0
    distance: dict[str, float] = field(default_factory=dict)
    longest_run: int = 0
    scores: int = 0
    score_nats: float = 0.0
    disclosed: int = 0
    unequal_disclosed: int = 0
    verdicts_equal: bool = True
    largest_estimate_deviation: float = 0.0


def compare(plain: PlainAudit, ours: Mapping[str, Ours]) -> Agreement:
    """Hold what the plain audit saw against the evidence of ours, and judge it in its place."""
    seen, agreement = plain.seen, Agreement()
    first = ours["lexical"]
    names = Pseudonyms.of_run(first.run)
    evidence = evidence_of(first.run)
    kinds = {job.digest: job.kind for job in first.plan.jobs}

    def patient(unit: Unit) -> str:
        cohort = first.prepared.audit.workload.cohort
        split = cohort.members if unit.is_member else cohort.nonmembers
        return names.of("patient", str(int(split.subject_id[unit.index])).encode())

    drawn = _drawn({k: t for k, t in evidence.items() if kinds[k] == "rollouts"})
    named = _named(first, evidence)
    equal: dict[Unit, bool] = {}
    for unit, theirs in seen.rollouts.items():
        own = drawn[names.of("prompt", unit.key)]
        # of T2's ours has the first, as many as decided
        same = [list(a) == list(b) for a, b in zip(own, theirs, strict=False)]
        agreement.continuations += len(same)
        agreement.unequal_continuations += same.count(False)
        equal[unit] = all(same)
        if unit.kind.startswith("T2"):
            watch = set(first.plan.classes[unit.kind.split()[1]].watch)
            counted = sum(bool(watch & set(map(int, one))) for one in theirs)
            agreement.disclosed += 1
            agreement.unequal_disclosed += named[unit.cell][names.of("prompt", unit.key)] != (
                2 * counted > len(theirs)
            )
    scores = {patient(unit): score for unit, score in seen.score.items()}
    agreement.scores = len(scores)
    scored = {name: table for name, table in evidence.items() if kinds[name] == "scores"}
    for table in scored.values():
        columns = [table[c].to_pylist() for c in ("loss", score_column("min-k", 20))]
        for name, *ours_of in zip(table["patient"].to_pylist(), *columns, strict=True):
            plain_of = scores.pop(name, tuple(ours_of))
            far = [abs(a - b) for a, b in zip(ours_of, plain_of, strict=True)]
            agreement.score_nats = max(agreement.score_nats, *far)
    assert not scores  # every patient of the plain audit is found in ours
    replaced = _replaced_scores(scored, {patient(u): s for u, s in seen.score.items()})
    for label, own_audit in ours.items():
        found = _trajectories(own_audit, evidence_of(own_audit.run))
        apart = [0.0]
        for unit, distance in seen.distance[label].items():
            distance_of_ours, run = found[unit.cell][patient(unit)]
            if equal[unit]:
                apart.append(abs(distance - distance_of_ours))
                agreement.longest_run += run != seen.longest_run[unit]
        agreement.distance[label] = max(apart)
    replaced |= _replaced_rollouts(
        {k: t for k, t in evidence.items() if kinds[k] == "rollouts"},
        {names.of("prompt", unit.key): theirs for unit, theirs in seen.rollouts.items()},
    )
    replaced |= _replaced_trajectories(
        first,
        evidence,
        {
            (unit.cell, patient(unit)): (distance, seen.longest_run[unit])
            for unit, distance in seen.distance["lexical"].items()
        },
    )
    theirs_judged = judged(first.run, evidence | replaced)
    agreement.verdicts_equal = all(
        theirs_judged[cell][:2] == own[:2] for cell, own in first.verdicts.items()
    )
    agreement.largest_estimate_deviation = max(
        abs((theirs_judged[cell][2] or 0.0) - (own[2] or 0.0))
        for cell, own in first.verdicts.items()
    )
    return agreement


def _named(ours: Ours, evidence: Mapping[str, pa.Table]) -> dict[str, dict[str, bool]]:
    """Return by cell of T2 and prompt whether our audit takes its class for named."""
    kinds = {job.digest: job.kind for job in ours.plan.jobs}
    found = {}
    for cell in ours.plan.cells:
        if cell.probe != "attribute-disclosure" or cell.attribute_class is None:
            continue
        params = AttributeDisclosureParams.model_validate(cell.params)
        found[cell.id] = naming_shares(
            [evidence[name] for name in cell.jobs if kinds[name] == "rollouts"],
            ours.plan.classes[cell.attribute_class].watch,
            samples=params.samples,
            estimation_samples=params.estimation_samples,
            decision_samples=params.decision_samples,
            threshold=params.threshold,
        ).above
    return found


def _drawn(tables: Mapping[str, pa.Table]) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = {}
    for table in tables.values():
        own: dict[str, list[list[int]]] = defaultdict(list)
        for prompt, tokens in zip(
            table["prompt"].to_pylist(), table["tokens"].to_pylist(), strict=True
        ):
            own[prompt].append(tokens)
        found |= own
    return found


def _replaced_scores(
    tables: Mapping[str, pa.Table], scores: Mapping[str, tuple[float, float]]
) -> dict[str, pa.Table]:
    replaced = {}
    for name, table in tables.items():
        patients = table["patient"].to_pylist()
        for place, column in enumerate(("loss", score_column("min-k", 20))):
            values = table[column].to_pylist()
            values = [
                scores[p][place] if p in scores else v
                for p, v in zip(patients, values, strict=True)
            ]
            at = table.column_names.index(column)
            table = table.set_column(at, column, pa.array(values, pa.float32()))
        replaced[name] = table
    return replaced


def _replaced_rollouts(
    tables: Mapping[str, pa.Table], drawn: Mapping[str, Sequence[Any]]
) -> dict[str, pa.Table]:
    replaced = {}
    for name, table in tables.items():
        columns = (table[c].to_pylist() for c in ("prompt", "sample", "tokens"))
        tokens = [
            [int(token) for token in drawn[prompt][sample]] if prompt in drawn else own
            for prompt, sample, own in zip(*columns, strict=True)
        ]
        at = table.column_names.index("tokens")
        kind = table.schema.field("tokens").type
        replaced[name] = table.set_column(at, "tokens", pa.array(tokens, kind))
    return replaced


def _trajectories(
    ours: Ours, evidence: Mapping[str, pa.Table]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Return distance and longest run by cell and patient."""
    kinds = {job.digest: job.kind for job in ours.plan.jobs}
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for cell in ours.plan.cells:
        for name in cell.jobs:
            if kinds[name] == "trajectories":
                columns = ("patient", "distance", "longest_run")
                rows = zip(*(evidence[name][c].to_pylist() for c in columns), strict=True)
                found[cell.id] = {patient: (distance, run) for patient, distance, run in rows}
    return found


def _replaced_trajectories(
    ours: Ours,
    evidence: Mapping[str, pa.Table],
    seen: Mapping[tuple[str, str], tuple[float, int]],
) -> dict[str, pa.Table]:
    kinds = {job.digest: job.kind for job in ours.plan.jobs}
    replaced = {}
    for cell in ours.plan.cells:
        for name in cell.jobs:
            own = {patient: found for (where, patient), found in seen.items() if where == cell.id}
            if kinds[name] != "trajectories" or not own:
                continue
            table = evidence[name]
            patients = table["patient"].to_pylist()
            for place, column in enumerate(("distance", "longest_run")):
                values = [
                    own[p][place] if p in own else v
                    for p, v in zip(patients, table[column].to_pylist(), strict=True)
                ]
                at = table.column_names.index(column)
                kind = table.schema.field(column).type
                table = table.set_column(at, column, pa.array(values, kind))
            runs = table["longest_run"].to_numpy() >= cell.params["minRun"]
            at = table.column_names.index("extracted")
            replaced[name] = table.set_column(at, "extracted", pa.array(runs))
    return replaced


# --- the measurement ----------------------------------------------------------------------------


def measure(folder: Path, design: Design, *, whole: bool, workers: int | None) -> dict[str, Any]:
    """Run both audits and return what they took and whether they agree."""
    training = write_audit(folder, design)
    prepared = prepare(folder / "lexical.yaml", folder / "target.yaml")
    workload = prepared.audit.workload
    ids, cohort = workload.tokenizer.vocabulary.ids, workload.cohort
    plain = PlainAudit(
        prepared.audit,
        AutoModelForCausalLM.from_pretrained(folder / "model").eval(),
        embedders={
            "lexical": lexical_embedder(cohort, workload.tokenizer, ()),
            "encoder": encoder_embedder(folder / "encoder", cohort, workload.tokenizer),
        },
        sampler=Sampler(
            temperature=1.0,
            top_p=0.95,
            horizon_tokens=design.horizon,
            seed=prepared.audit.plan.seed,
        ),
        samples=design.samples,
        eos_id=ids[SPECIALS["eos"]],
        pad_id=ids[SPECIALS["pad"]],
    )
    units = units_of(prepared.audit)
    halves = _sample(units, design, whole=whole)
    _warm_up(plain, units)
    _do(plain, halves[0], encoded=design.encoded)
    ours = {}
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    for name in EMBEDDERS:  # the second finds all evidence but the distances
        ours[name] = audit(folder, name, run)
        if name == "lexical":
            shutil.copytree(run, folder / "run-lexical", dirs_exist_ok=True)
            for mine in ("plan.json", "manifest.json"):  # a folder is one plan's; evidence is not
                (run / mine).unlink()
    ours["lexical"] = replace(ours["lexical"], run=folder / "run-lexical")
    ours[SCORED] = _from_nothing(folder, SCORED)
    on_workers = audit_on_workers(folder, folder / "run-workers", workers) if workers else None
    _do(plain, halves[1], encoded=design.encoded)
    steps = [
        dict(zip(("kind", "step", "units", "measured", "seconds", "cpu_seconds"), row, strict=True))
        for row in plain.estimate(units)
    ]
    result = {
        "design": asdict(design),
        "training": training,
        "threads": torch.get_num_threads(),
        "whole": whole,
        "units": len(units),
        "units_measured": sum(map(len, halves)),
        "plan": {
            "cells": len(prepared.audit.plan.cells),
            **prepared.audit.plan.cost.model_dump(by_alias=False),
        },
        "plain": steps,
        "ours": {
            name: {"seconds": own.watch.seconds, "cpu_seconds": own.watch.cpu_seconds}
            for name, own in ours.items()
        },
        "agreement": asdict(compare(plain, {name: ours[name] for name in EMBEDDERS})),
        "scored_cells": len(ours[SCORED].verdicts),
        "scored_unequal": {
            cell: {"drawn": ours["lexical"].verdicts[cell], "scored": own}
            for cell, own in ours[SCORED].verdicts.items()
            if own[0] != ours["lexical"].verdicts[cell][0]
        },
        "verdicts": ours["lexical"].verdicts,
    }
    totals = result["totals"] = _totals(result)
    if on_workers is not None:
        plain_s = totals["encoder"]["seconds"]["plain_total"]
        same = on_workers.pop("verdicts") == ours["encoder"].verdicts
        result["on_workers"] = {
            **on_workers,
            "ratio": plain_s / on_workers["seconds"],
            "verdicts_equal": same,
        }
    return result


def _sample(units: Sequence[Unit], design: Design, *, whole: bool) -> tuple[list[Unit], list[Unit]]:
    """Draw so many units of each kind, and deal them out into two halves."""
    rng = np.random.default_rng(0)
    by_kind: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        by_kind[unit.kind].append(unit)
    halves: tuple[list[Unit], list[Unit]] = ([], [])
    for own in by_kind.values():
        count = len(own) if whole else min(len(own), design.sampled)
        for place, number in enumerate(rng.permutation(len(own))[:count].tolist()):
            halves[place % 2].append(own[number])
    return halves


def _warm_up(plain: PlainAudit, units: Sequence[Unit]) -> None:
    """Do one unit of each test, and forget it: first calls take longer."""
    for test in ("T1", "T2", "T4"):
        first = next((unit for unit in units if unit.kind.startswith(test)), None)
        if first is not None:
            replace(plain, seen=type(plain.seen)()).run([first], embedders=EMBEDDERS)


def _do(plain: PlainAudit, units: Sequence[Unit], *, encoded: int) -> None:
    """Do units; of each kind, the encoder embeds the sequences of the first few only."""
    for unit in units:
        done = plain.seen.count[unit.kind].get("distances, encoder", 0)
        plain.run([unit], embedders=EMBEDDERS if done < encoded else EMBEDDERS[:1])


_OTHER = {"lexical": "encoder", "encoder": "lexical"}


def _totals(result: Mapping[str, Any]) -> dict[str, Any]:
    """Add up both sides by part and by embedder."""
    totals: dict[str, Any] = {}
    for name in EMBEDDERS:
        for unit in ("seconds", "cpu_seconds"):
            plain: defaultdict[str, float] = defaultdict(float)
            for row in result["plain"]:
                step = row["step"]
                if _OTHER[name] in step:
                    continue
                part = {"generate": "continuations", "score": "membership"}.get(step, "distances")
                plain[part] += row[unit]
            own = result["ours"]["lexical"][unit]
            parts = {
                "continuations": own["rollouts"],
                "membership": own["scores"],
                "distances": result["ours"][name][unit]["trajectories"],
            }
            rest = sum(own.values()) - own["rollouts"] - own["scores"] - own["trajectories"]
            ours = {**parts, "everything else": rest}
            totals.setdefault(name, {})[unit] = {
                "plain": dict(plain),
                "ours": ours,
                "plain_total": sum(plain.values()),
                "ours_total": sum(ours.values()),
                "ratio": sum(plain.values()) / sum(ours.values()),
            }
    totals[SCORED] = {
        unit: {
            "ours_total": (own := sum(result["ours"][SCORED][unit].values())),
            **{name: totals[name][unit]["plain_total"] / own for name in EMBEDDERS},
        }
        for unit in ("seconds", "cpu_seconds")
    }
    return totals


def show(result: Mapping[str, Any]) -> None:
    """Print what was measured."""
    how = "all" if result["whole"] else f"{result['units_measured']} of them"
    print(
        f"{result['units']} units of plain work, {how} measured; {result['plan']['cells']} cells,"
        f" {result['plan']['rollout_tokens']:,} rollout tokens"
        f" ({result['plan']['rollout_tokens_unshared']:,} if nothing were shared),"
        f" {result['threads']} threads"
    )
    for name in EMBEDDERS:
        wall, cpu = (result["totals"][name][unit] for unit in ("seconds", "cpu_seconds"))
        print(f"\nlabels: {name}")
        print(f"{'':<18}{'plain, s':>11}{'ours, s':>10}{'ratio':>8}{'ratio of CPU':>14}")
        for part in ("continuations", "membership", "distances", "everything else"):
            theirs, own = wall["plain"].get(part, 0.0), wall["ours"][part]
            ratio = f"{theirs / own:.1f}" if theirs else "-"
            of_cpu = cpu["plain"].get(part, 0.0) / max(cpu["ours"][part], 1e-9)
            last = f"{of_cpu:.1f}" if theirs else "-"
            print(f"{part:<18}{theirs:>11.1f}{own:>10.2f}{ratio:>8}{last:>14}")
        print(
            f"{'total':<18}{wall['plain_total']:>11.1f}{wall['ours_total']:>10.2f}"
            f"{wall['ratio']:>8.1f}{cpu['ratio']:>14.1f}"
        )
    wall, cpu = (result["totals"][SCORED][unit] for unit in ("seconds", "cpu_seconds"))
    unequal = result["scored_unequal"]
    print(
        f"\nas the baselines ask, T1 read off scores: {wall['ours_total']:.1f} s,"
        f" {cpu['ours_total']:.1f} s of CPU; ratio of CPU {cpu['encoder']:.1f} (encoder),"
        f" {cpu['lexical']:.1f} (lexical); verdicts of {result['scored_cells']} cells"
        f" {'equal' if not unequal else f'NOT equal: {unequal}'}"
    )
    if (on := result.get("on_workers")) is not None:
        print(
            f"\non {on['workers']} workers of one thread, encoder's labels: {on['seconds']:.1f} s,"
            f" ratio {on['ratio']:.1f}; verdicts {'equal' if on['verdicts_equal'] else 'NOT equal'}"
        )
    agreement = result["agreement"]
    print(
        f"\n{agreement['continuations']} continuations compared,"
        f" {agreement['unequal_continuations']} unequal; distances apart by at most"
        f" {agreement['distance']['lexical']:.1e} (lexical), {agreement['distance']['encoder']:.1e}"
        f" (encoder); longest runs unequal: {agreement['longest_run']}; scores apart by at most"
        f" {agreement['score_nats']:.1e} nats; {agreement['unequal_disclosed']} of"
        f" {agreement['disclosed']} outcomes unequal; verdicts"
        f" {'equal' if agreement['verdicts_equal'] else 'NOT equal'}, estimates apart by at most"
        f" {agreement['largest_estimate_deviation']:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--folder", type=Path, help="where data and model are kept")
    parser.add_argument("--whole", action="store_true", help="do all of the plain audit")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    parser.add_argument("--patients", type=int, help="of either split, instead of the design's")
    parser.add_argument("--sampled", type=int, help="plain units of each kind")
    parser.add_argument("--workers", type=int, help="once more, on so many workers")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        design = QUICK if arguments.quick else FULL
        if arguments.patients:
            patients = {"members": arguments.patients, "nonmembers": arguments.patients}
            design = replace(design, hospital=replace(design.hospital, **patients))
        if arguments.sampled:
            design = replace(design, sampled=arguments.sampled)
        result = measure(folder, design, whole=arguments.whole, workers=arguments.workers)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(result)


if __name__ == "__main__":
    main()
