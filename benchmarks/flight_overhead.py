"""What it costs to ask a model behind a server, against the same model in this process.

A model of the demo's shape with random weights is asked in both ways in turn, in pairs, and what
counts is the median of the pairs' ratios, of processor time: of both sides together, so that a busy
machine changes little. The wire is measured by itself too: a model that says at once what the real
one said is asked through it, both sides in this process, and its processor time is given as a share
of the model's own. Rollouts are drawn and watched as disclosure does it, with samples added until a
test has decided, so that each prompt is asked about several times; scores are of whole records.

    OMP_NUM_THREADS=1 python -m benchmarks.flight_overhead --out flight.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from checker.policy.documents import ModelSpec
from checker.targets import Sampler, TargetModel
from checker.targets.adapter.phigate_adapter import TOKEN_VARIABLE, Server
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.compensator import watch_of
from checker.targets.flight.backend import FlightBackend

SCRIPT = """\
import sys
from pathlib import Path
import phigate_adapter
from checker.policy.documents import ModelSpec
from checker.targets.backends.checkpoint import HuggingFaceBackend

class Deferred:
    spec = ModelSpec(path="model")
    info = HuggingFaceBackend().describe(spec, Path())
    def begin(self, *, pad_id, eos_id):
        return HuggingFaceBackend().open(self.spec, Path(), pad_id=pad_id, eos_id=eos_id)

phigate_adapter.serve(Deferred(), files="model")
"""
VOCABULARY, CONTEXT, EOS = 260, 256, 2


def measure(*, layers: int, width: int, prompts: int, repeats: int) -> dict[str, Any]:
    """Return seconds of the processor of each way and the median ratio, by what is asked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=width,
            n_layer=layers,
            n_head=4,
            bos_token_id=1,
            eos_token_id=EOS,
        )
        GPT2LMHeadModel(config).save_pretrained(folder / "model")
        (folder / "serve.py").write_text(SCRIPT, encoding="utf-8")
        options = {"command": [sys.executable, "serve.py"]}
        ids = {"pad_id": 0, "eos_id": EOS}
        here = HuggingFaceBackend().open(ModelSpec(path="model"), folder, **ids)
        served = ModelSpec(backend="flight", path="model", options=options)
        there = FlightBackend().open(served, folder, **ids)
        rng = np.random.default_rng(0)
        starts = [rng.integers(3, VOCABULARY, 30).astype(np.int32) for _ in range(prompts)]
        records = [rng.integers(3, VOCABULARY, CONTEXT).astype(np.int32) for _ in range(prompts)]
        watch = watch_of([[5, 6, 7], [8]], vocabulary_size=VOCABULARY)
        sampler = Sampler(temperature=1.0, top_p=0.95, horizon_tokens=100, seed=1)

        def draw(model: Any) -> Any:
            drawn = model.watched_rollout(
                starts,
                keys=range(prompts),
                samples=4,
                sampler=sampler,
                watch=watch,
                more=lambda _, drawn: 4 if len(drawn) < 20 else 0,
            )
            return [
                (one.tokens.tobytes(), one.expected.tobytes()) for rows in drawn for one in rows
            ]

        def score(model: TargetModel) -> Any:
            return [one.logprob.tobytes() for one in model.score(records)]

        asked: dict[str, Callable[[Any], Any]] = {"rollouts": draw, "scores": score}
        found = {name: _compare(ask, here, there, repeats) for name, ask in asked.items()}
        said = _Replay(here, records)
        os.environ[TOKEN_VARIABLE] = "of a benchmark, in one process"
        server = Server(said, files=folder / "model", token=os.environ[TOKEN_VARIABLE])
        threading.Thread(target=server.work, daemon=True).start()
        joined = ModelSpec(backend="flight", options={"location": server.location})
        wire = FlightBackend().open(joined, folder, **ids)
        for name, ask in asked.items():
            own = min(_spent(ask, said.recording) for _ in range(2))
            found[name]["processor time of the wire, share"] = round(_spent(ask, wire) / own, 4)
        server.close()
        return found


class _Replay:
    """Says at once what a model said when it was asked through `recording`."""

    def __init__(self, model: Any, records: Any) -> None:
        self.info, self._model = model.info, model
        self.drawn: list[list[Any]] = []
        self.scores = model.score(records)

    @property
    def recording(self) -> Any:
        return SimpleNamespace(score=self._model.score, watched_rollout=self._record)

    def _record(self, prompts: Any, **given: Any) -> Any:
        self.drawn = self._model.watched_rollout(prompts, **given)
        return self.drawn

    def score(self, sequences: Any, *, progress: Any = None) -> Any:
        return self.scores

    def watched_rollout(self, prompts: Any, *, samples: int, more: Any, **given: Any) -> Any:
        for number, whole in enumerate(self.drawn):
            done = samples
            while further := more(number, whole[:done]):
                done += further
        return self.drawn


def _processor_time() -> float:
    """Return the seconds that this process and those it started, which run, have computed."""
    started = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in started]
    ticks = sum(int(one[11]) + int(one[12]) for one in stats)  # in user and in kernel mode
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _spent(ask: Callable[[Any], Any], model: Any) -> float:
    start = time.process_time()
    ask(model)
    return time.process_time() - start


def _compare(ask: Callable[[Any], Any], here: Any, there: Any, repeats: int) -> dict[str, Any]:
    same = ask(here) == ask(there)  # and both are warm
    seconds: dict[str, list[float]] = {"here": [], "there": []}
    for number in range(repeats):
        pair = [("here", here), ("there", there)]
        for name, model in pair if number % 2 else reversed(pair):
            start = _processor_time()
            ask(model)
            seconds[name].append(_processor_time() - start)
    ratios = np.array(seconds["there"]) / np.array(seconds["here"])
    return {
        "same to the byte": same,
        "seconds in this process": round(float(np.median(seconds["here"])), 3),
        "seconds behind a server": round(float(np.median(seconds["there"])), 3),
        "ratio": round(float(np.median(ratios)), 3),
        "ratios": [round(float(one), 3) for one in sorted(ratios)],
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(
        layers=given.layers, width=given.width, prompts=given.prompts, repeats=given.repeats
    )
    text = json.dumps(found, indent=2)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
