"""A small data set of records that follow no order, and simulated targets over it.

A model that gives each code its frequency knows all there is to know, so whatever else it says of
somebody it remembers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from auditing import Audit, audit
from meds_builder import FIRST_SUBJECT, Patient, write_meds

from checker.testing.simulated import write_simulated

EVENTS, CODES = 14, 25
TEMPLATE = tuple(f"ROUTINE//{number}" for number in range(6))
SPECIALS = ("[PAD]", "[BOS]", "[EOS]")
SEXES = ("GENDER//F", "GENDER//M")


@dataclass(frozen=True)
class World:
    """A cohort, its vocabulary, and what stands in everybody's record as tokens."""

    folder: Path
    ids: dict[str, int]
    members: list[list[int]]
    nonmembers: list[list[int]]
    unigram: np.ndarray[Any, Any]

    def target(self, name: str, *, spare: Any = None, **model: Any) -> Path:
        """Write a target over these patients.

        Args:
            name: of the target and of its files.
            spare: as `data.spare` says it.
            model: fields of the simulated model; by default it remembers nobody.
        """
        write_simulated(
            self.folder / f"{name}.json",
            vocabulary_size=len(self.ids),
            context_length=64,
            **{"unigram": self.unigram.tolist(), **model},
        )
        spec = {
            "model": {"backend": "simulated", "path": f"{name}.json"},
            "tokenization": {
                "vocabulary": "vocab.json",
                "specials": {"pad": "[PAD]", "bos": "[BOS]", "eos": "[EOS]"},
                "static": {"sex": "GENDER//*"},
            },
            "expect": {"tokens": "sample.parquet"},
            "data": {"path": "cohort", "assignment": "random", "assignedBy": "the test"}
            | ({} if spare is None else {"spare": spare}),
        }
        document = {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": name, "version": "1"},
            "spec": spec,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path


def patients(
    rng: np.random.Generator, count: int, *, routine: Sequence[str] = (), short: int = 0
) -> list[Patient]:
    """Draw records of codes that follow no order; some may hold a routine, the first be short.

    One code is every fifth, so that greedy decoding would write nothing else.
    """
    shares = np.full(CODES, 0.8 / (CODES - 1))
    shares[0] = 0.2
    found: list[Patient] = []
    for number in range(count):
        length = 3 if number < short else EVENTS
        codes = [f"DX//{code:02d}" for code in rng.choice(CODES, length, p=shares)]
        codes[2:2] = routine
        sex = SEXES[int(rng.integers(2))]
        found.append([(sex, None), *((code, day) for day, code in enumerate(codes))])
    return found


def write_world(
    folder: Path, members: list[Patient], nonmembers: list[Patient], tuning: Sequence[Patient] = ()
) -> World:
    """Write a data set of up to three splits, and its vocabulary."""
    splits = {"train": members, "held_out": nonmembers, "tuning": tuning}
    write_meds(folder / "cohort", {name: own for name, own in splits.items() if own})
    codes = [f"DX//{code:02d}" for code in range(CODES)]
    ids = {token: i for i, token in enumerate([*SPECIALS, *SEXES, *codes, *TEMPLATE])}
    (folder / "vocab.json").write_text(json.dumps(ids))
    inside, outside = (
        [[1, *(ids[event[0]] for event in one), 2] for one in split]
        for split in (members, nonmembers)
    )
    # nothing else shows that tokens are right which a model gives no more than their frequency
    sample = {
        "subject_id": pa.array(range(FIRST_SUBJECT, FIRST_SUBJECT + 40), pa.int64()),
        "tokens": pa.array(inside[:40], pa.list_(pa.int32())),
    }
    pq.write_table(pa.table(sample), folder / "sample.parquet")
    counts = np.full(len(ids), 0.01)
    for record in inside:
        np.add.at(counts, record[1:], 1)
    return World(folder, ids, inside, outside, counts / counts.sum())


def checked(
    world: World,
    target: Path,
    controls: Mapping[str, Any],
    *,
    attackers: Mapping[str, Any],
    run: str,
) -> Audit:
    """Audit a target under some controls, each by its name."""
    document = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "small-world", "version": "1"},
        "spec": {
            "context": "public-weights",
            "attackers": dict(attackers),
            "controls": {name: {"title": name, **one} for name, one in controls.items()},
        },
    }
    policy = world.folder / f"{run}-policy.yaml"
    policy.write_text(yaml.safe_dump(document, sort_keys=False))
    return audit(policy, target, world.folder / run)
