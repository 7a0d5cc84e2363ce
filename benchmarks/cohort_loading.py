"""From files to a plan: how long it takes, and how much memory.

Writes a made-up MEDS data set (two splits, shards of a million events, 40,000 codes) into a
temporary folder, reads it with `load_cohort` (SHA-256 of every file included), and compiles a plan:
T2 for some classes at four levels, T1 at one, and T4, on a model with a context of 2,048. It is
planned with as many patients as it takes, and with everybody. Each runs in a process of its own, so
that the peak memory is its own.

    python -m benchmarks.cohort_loading --events 60000000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from checker.planning import compile_plan
from checker.policy import load_policy, load_target
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.testing.hospital import (
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_simulated_target,
)
from checker.testing.simulated import SimulatedBackend

CONTEXT = 2048
EVENTS_A_PATIENT = 200


DRAWN = ("auto", "all")
"""How patients are drawn: `sampling.patients`."""


def write_audit(folder: Path, hospital: Hospital) -> None:
    """Write data set, target and a policy for each way of drawing."""
    write_hospital(folder, hospital)
    write_simulated_target(folder, context_length=CONTEXT)
    controls = {
        name: disclosure(name, samples=20, horizon_tokens=100) for name in hospital.class_names
    }
    controls["trajectories"] = {
        "title": "No true continuation may be repeated",
        "probe": "trajectory-memorization",
        "metric": "excess_extraction",
        "limits": {"events-10": {"fail": 0.1}},
    }
    controls["membership"] = {
        "title": "Nobody may tell who was in the training data",
        "probe": "membership-inference",
        "metric": "membership_auroc",
        "limits": {"record": {"fail": 0.6}},
    }
    for drawn in DRAWN:
        sampling = {"sampling": {"patients": drawn}}
        write_policy(folder / f"{drawn}.yaml", controls, parameters=sampling)


def measure(folder: Path, drawn: str, results: Queue[dict[str, Any]]) -> None:
    """Read and plan, and report seconds, seconds of CPU and peak memory of each."""
    steps: list[dict[str, Any]] = []

    def note(step: str, wall_s: float, cpu_s: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        own = {"step": step, "seconds": time.perf_counter() - wall_s, "peak_mb": peak}
        steps.append(own | {"cpu_seconds": time.process_time() - cpu_s})

    target = load_target(folder / "target.yaml")
    policy = load_policy(folder / f"{drawn}.yaml")
    spec = target.document.spec
    vocabulary = load_vocabulary(folder / "vocab.json")
    tokenizer = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=folder)
    description = SimulatedBackend().describe(spec.model, folder)
    start = time.perf_counter(), time.process_time()
    note("start", *start)
    start = time.perf_counter(), time.process_time()
    cohort = load_cohort(spec.data, base=folder)
    note("load", *start)
    start = time.perf_counter(), time.process_time()
    audit = compile_plan(
        policy, target, cohort=cohort, tokenizer=tokenizer, description=description
    )
    note("plan", *start)
    plan = audit.plan
    results.put(
        {
            "patients": len(cohort.members) + len(cohort.nonmembers),
            "events": plan.data.events,
            "drawn": drawn,
            "asked": sum(plan.data.asked),
            "rollout_tokens": plan.cost.rollout_tokens,
            "vocabulary": description.vocabulary_size,
            "cells": len(plan.cells),
            "jobs": len(plan.jobs),
            "steps": steps,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--codes", type=int, default=40_000)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--drawn", nargs="+", choices=DRAWN, default=DRAWN)
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    patients = arguments.events // EVENTS_A_PATIENT
    hospital = Hospital(
        patients // 2,
        patients - patients // 2,
        events=EVENTS_A_PATIENT,
        codes=arguments.codes,
        classes=arguments.classes,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_audit(root, hospital)
        size_mb = sum(path.stat().st_size for path in root.rglob("*.parquet")) / 2**20
        context = multiprocessing.get_context("spawn")
        results: Queue[dict[str, Any]] = context.Queue()
        measured = []
        for drawn in arguments.drawn:
            process = context.Process(target=measure, args=(root, drawn, results))
            process.start()
            measured.append(results.get())
            process.join()
            show(measured[-1], size_mb=size_mb)
    if arguments.out:
        arguments.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def show(found: dict[str, Any], *, size_mb: float) -> None:
    """Print what one way of drawing took."""
    print(
        f"patients: {found['drawn']}. {found['patients']} patients, {found['events']} events"
        f" ({size_mb:.0f} MB of parquet), a vocabulary of {found['vocabulary']}, {found['cells']}"
        f" cells; {found['asked']} asked, {found['jobs']} jobs, {found['rollout_tokens']} tokens\n"
    )
    print(f"{'step':<10}{'seconds':>9}{'of CPU':>9}{'events/s':>14}{'peak RSS, MB':>15}")
    for own in found["steps"]:
        rate = found["events"] / own["seconds"] if own["step"] != "start" else 0
        print(
            f"{own['step']:<10}{own['seconds']:>9.1f}{own['cpu_seconds']:>9.1f}{rate:>14,.0f}"
            f"{own['peak_mb']:>15,.0f}"
        )
    total = [sum(own[name] for own in found["steps"]) for name in ("seconds", "cpu_seconds")]
    print(f"{'all':<10}{total[0]:>9.1f}{total[1]:>9.1f}\n", flush=True)


if __name__ == "__main__":
    main()
