"""How much faster two single-threaded Ray workers are than one serial run with one thread.

The audit is that of `three_classes.yaml` on synthetic patients and a random GPT-2 whose jobs take
ten seconds and more. Serial run and Ray run alternate, each in a process of its own as a user
would start it, under one pseudonym key; their manifests must be equal to the byte. Ray runs on a
cluster of its own on this machine, started and ended within the run. Two ratios are given: of the
whole run, and from its first job to its last, for starting Ray takes as long however long an audit
is. What the jobs themselves take says what the machine had to spare: with two workers at work on
two idle cores each job takes about as long as alone.

    python benchmarks/ray_scaling.py --out ray.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from checker.planning import Job
from checker.run.executors import choose_executor
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.testing.toy_targets import write_targets

NAMES = ("serial", "ray")
LONG_S = 10.0
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Watch:
    """Progress that notes how long each job takes, and when the first begins and the last ends."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.jobs: list[dict[str, Any]] = []
        self.first = self.last = 0.0

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """Note that the run begins."""
        self.first = time.perf_counter()

    def job(self, job: Job) -> Callable[[int], None]:
        """Note that a job begins."""
        self.begun[job.digest] = time.perf_counter()
        return lambda tokens: None

    def done(self, job: Job) -> None:
        """Note that a job ends."""
        self.last = time.perf_counter()
        seconds = self.last - self.begun[job.digest]
        self.jobs.append({"title": job.title, "kind": job.kind, "seconds": seconds})


def write_inputs(folder: Path, *, layers: int, width: int, samples: int) -> None:
    """Write patients, a model of random weights, its target and the policy."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config

    write_targets(folder, seed=0)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=128,
        n_layer=layers,
        n_embd=width,
        n_head=max(1, width // 64),
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    target["spec"]["model"] = {"path": "model", "device": "cpu", "dtype": "float32"}
    (folder / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    usual = Path(__file__).with_name("three_classes.yaml")
    policy = yaml.safe_load(usual.read_text(encoding="utf-8"))
    for control in policy["spec"]["controls"].values():
        if "samples" in control.get("params", {}):
            control["params"]["samples"] = samples
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))


def run(name: str, folder: Path, *, workers: int, out: Path) -> None:
    """Run the audit in this process and write what it took."""
    out.mkdir()
    (out / "pseudonym.key").write_text("0" * 64)
    read = partial(prepare, folder / "policy.yaml", folder / "target.yaml")
    began = time.perf_counter()
    prepared = read()
    on_ray = {"workers": workers, "threads": 1} if name == "ray" else {}
    watch = Watch()
    run_audit(
        prepared.audit,
        run=out,
        open_target=prepared.open_target,
        executor=choose_executor(name, read, notice=print, **on_ray),  # type: ignore[arg-type]
        progress=watch,
        command="benchmark",
    )
    took = {
        "whole_s": time.perf_counter() - began,
        "jobs_s": watch.last - watch.first,
        "jobs": watch.jobs,
    }
    (out / "took.json").write_text(json.dumps(took))


def measure(name: str, folder: Path, *, workers: int, out: Path) -> dict[str, Any]:
    """Run the audit in a process of its own; says how busy others kept the machine meanwhile."""
    ours_before, all_before = os.times(), _busy_s()
    command = [sys.executable, __file__, "--run", name, "--folder", str(folder), "--out", str(out)]
    load = os.getloadavg()[0]
    subprocess.run([*command, "--workers", str(workers)], check=True, env=os.environ | THREADS)
    ours_after, all_after = os.times(), _busy_s()
    took: dict[str, Any] = json.loads((out / "took.json").read_text())
    long = [job["seconds"] for job in took["jobs"] if job["seconds"] >= LONG_S]
    return took | {
        "name": name,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "cpu_s": ours_after[2] + ours_after[3] - ours_before[2] - ours_before[3],
        "machine_cpu_s": all_after - all_before,
        "long_jobs": len(long),
        "long_jobs_share": sum(long) / sum(job["seconds"] for job in took["jobs"]),
        "manifest": (out / "manifest.json").read_text(),
    }


def _busy_s() -> float:
    """Seconds that all CPUs of this machine have been busy, whoever kept them so."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--run", choices=NAMES, help="one run, in a process of its own")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.folder, workers=arguments.workers, out=arguments.out)
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(
            folder, layers=arguments.layers, width=arguments.width, samples=arguments.samples
        )
        print(f"{'run':8}{'whole s':>10}{'jobs s':>10}{'jobs':>6}{'≥10 s':>6}{'load':>12}")
        for number in range(arguments.repeats):
            for executor in NAMES:
                out = folder / f"{executor}-{number}"
                took = measure(executor, folder, workers=arguments.workers, out=out)
                runs.append(took)
                print(
                    f"{executor:8}{took['whole_s']:10.1f}{took['jobs_s']:10.1f}"
                    f"{len(took['jobs']):6}{took['long_jobs']:6}"
                    f"{took['load_before']:6.1f}{took['load_after']:6.1f}",
                    flush=True,
                )
    equal = len({took.pop("manifest") for took in runs}) == 1
    medians = {
        f"{executor}_{key}": float(np.median([t[key] for t in runs if t["name"] == executor]))
        for executor in NAMES
        for key in ("whole_s", "jobs_s")
    }
    result = {
        "settings": {k: v for k, v in vars(arguments).items() if isinstance(v, int)},
        "cores": len(os.sched_getaffinity(0)),
        **medians,
        "ratio_whole": medians["serial_whole_s"] / medians["ray_whole_s"],
        "ratio_jobs": medians["serial_jobs_s"] / medians["ray_jobs_s"],
        "manifests_equal": equal,
        "runs": runs,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for key in (*medians, "ratio_whole", "ratio_jobs", "manifests_equal"):
        value = result[key]
        print(f"{key:20}{value:10.2f}" if isinstance(value, float) else f"{key:20}{value!s:>10}")
    if not equal:
        raise SystemExit("the executors left different evidence")


if __name__ == "__main__":
    main()
