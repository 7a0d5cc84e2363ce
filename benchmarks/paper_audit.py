"""A plain audit of a plan's cells: T1, T2 and T4, one patient after another.

Part of `benchmarks.end_to_end`. Takes from the plan who is asked what (so that both sides answer
the same questions, and the plain one need not choose its patients) and does everything else by
`benchmarks.paper_reference`: continuations are generated again for every test, class and level,
sequences embedded again for every distance, records scored again for every position. What each step
takes is noted by the kind of unit, so that a sample of the units tells what all of them would take.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from benchmarks.paper_reference import Embed, generate, position_by_position, transport_distance
from checker.attacks.trajectory_memorization.trajectories import TrajectoryReader
from checker.plan import CompiledAudit
from checker.targets import Sampler, Tokens

K_PERCENT = 20


@dataclass(frozen=True, slots=True)
class Unit:
    """One patient in one test.

    Args:
        kind: test, class and level, such as "T2 hiv events-10": units of a kind take alike.
        cell: of the plan; "" for T4, whose scores belong to every cell of the test.
        is_member, index: the patient.
        key: of the prompt; empty for T4.
    """

    kind: str
    cell: str
    is_member: bool
    index: int
    key: bytes = b""


def units_of(audit: CompiledAudit) -> list[Unit]:
    """Return what a plain audit has to do for a plan, in the plan's order."""
    units: list[Unit] = []
    done: set[str] = set()
    for cell in audit.plan.cells:
        if cell.probe == "membership-inference":
            kind = "T4"
        elif cell.probe == "trajectory-memorization":
            kind = f"T1 {cell.attacker}"
        else:
            kind = f"T2 {cell.attribute_class} {cell.attacker}"
        if kind in done:  # metrics of the same observations: even a plain audit takes them once
            continue
        done.add(kind)
        for is_member in (True, False):
            if kind == "T4":
                patients = range(len(audit.workload.split(is_member)))
                units += [Unit(kind, "", is_member, index) for index in patients]
                continue
            own = audit.workload.labels[str(cell.labels)].split(is_member)
            units += [
                Unit(kind, cell.id, is_member, index, key)
                for index in np.flatnonzero(own.eligible).tolist()
                if (key := own.keys[index]) is not None
            ]
    return units


@dataclass
class Seen:
    """What came of the units that were done.

    Args:
        seconds, cpu_seconds: by kind of unit, then by step.
        count: by kind of unit, then by step: how many units that step was done for.
        rollouts: each unit's continuations.
        distance: mean distance of a unit's continuations, by embedder.
        longest_run: of T1's units.
        score: of T4's units, loss and Min-K%.
    """

    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: _table(float))
    cpu_seconds: dict[str, dict[str, float]] = field(default_factory=lambda: _table(float))
    count: dict[str, dict[str, int]] = field(default_factory=lambda: _table(int))
    rollouts: dict[Unit, list[Tokens]] = field(default_factory=dict)
    distance: dict[str, dict[Unit, float]] = field(default_factory=lambda: _table(float))
    longest_run: dict[Unit, int] = field(default_factory=dict)
    score: dict[Unit, tuple[float, float]] = field(default_factory=dict)


def _table(kind: Any) -> Any:
    return defaultdict(lambda: defaultdict(kind))


@dataclass
class PlainAudit:
    """Does units.

    Args:
        audit: whose cells they are.
        model: a loaded causal language model.
        embedders: by name; T1's distances are taken with each.
        sampler: how continuations are drawn.
        samples: of each prompt.
        eos_id, pad_id: of the model.
    """

    audit: CompiledAudit
    model: Any
    embedders: Mapping[str, Embed]
    sampler: Sampler
    samples: int
    eos_id: int
    pad_id: int
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        workload = self.audit.workload
        self._prompts = {key: tokens for job in workload.prompts.values() for key, tokens in job}
        self._labels = {cell.id: str(cell.labels) for cell in self.audit.plan.cells}
        self._reader = TrajectoryReader(workload.tokenizer)

    def run(self, units: Sequence[Unit], *, embedders: Sequence[str]) -> None:
        """Do some units, with distances by some of the embedders."""
        for unit in units:
            if unit.kind == "T4":
                self._score(unit)
                continue
            with self._timed(unit, "generate"):
                drawn = generate(
                    self.model,
                    self._prompts[unit.key],
                    key=int.from_bytes(unit.key[:8], "little"),
                    samples=self.samples,
                    sampler=self.sampler,
                    eos_id=self.eos_id,
                    pad_id=self.pad_id,
                )
            self.seen.rollouts[unit] = drawn
            if unit.kind.startswith("T1"):
                self._compare(unit, drawn, embedders)

    def _compare(self, unit: Unit, drawn: list[Tokens], embedders: Sequence[str]) -> None:
        workload = self.audit.workload
        own = workload.labels[self._labels[unit.cell]].split(unit.is_member)
        start, end = own.behind[unit.index].tolist()
        tokens = workload.split(unit.is_member).tokens[start : min(end, start + self._horizon)]
        with self._timed(unit, "longest run"):
            self.seen.longest_run[unit] = max(
                SequenceMatcher(None, tokens.tolist(), own.tolist(), autojunk=False)
                .find_longest_match()
                .size
                for own in drawn
            )
        truth, others = self._reader.read(tokens), [self._reader.read(own) for own in drawn]
        for name in embedders:
            embed = self.embedders[name]
            with self._timed(unit, f"distances, {name}"):
                vectors = embed(truth.tokens) if len(truth) else None
                found = [transport_distance(truth, vectors, other, embed) for other in others]
            self.seen.distance[name][unit] = float(np.mean(found))

    def _score(self, unit: Unit) -> None:
        record = self.audit.workload.split(unit.is_member).record(unit.index)
        with self._timed(unit, "score"):
            logprobs = position_by_position(self.model, record.tokens)
            lowest = np.sort(logprobs)[: max(1, len(logprobs) * K_PERCENT // 100)]
            self.seen.score[unit] = float(logprobs.mean()), float(lowest.mean())

    @property
    def _horizon(self) -> int:
        return self.sampler.horizon_tokens

    def _timed(self, unit: Unit, step: str) -> _Timer:
        return _Timer(self.seen, unit.kind, step)

    def estimate(self, units: Sequence[Unit]) -> Iterator[tuple[str, str, int, int, float, float]]:
        """Yield what all units would take, by what those that were done took.

        Yields:
            Kind, step, units, units done, seconds and seconds of CPU of all units together.
        """
        total: dict[str, int] = defaultdict(int)
        for unit in units:
            total[unit.kind] += 1
        for kind, steps in self.seen.count.items():
            for step, done in steps.items():
                scale = total[kind] / done
                wall, cpu = self.seen.seconds[kind][step], self.seen.cpu_seconds[kind][step]
                yield kind, step, total[kind], done, wall * scale, cpu * scale


@dataclass
class _Timer:
    seen: Seen
    kind: str
    step: str

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        wall, cpu = self._began
        self.seen.seconds[self.kind][self.step] += time.perf_counter() - wall
        self.seen.cpu_seconds[self.kind][self.step] += time.process_time() - cpu
        self.seen.count[self.kind][self.step] += 1
