"""A small data set and target to draw canaries from, with everything a tokenization can have.

Each patient has codes of one of two halves of the inventory only, so that a record with codes of
both is no patient's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from meds_builder import Event, write_meds

from checker.attacks.canary_exposure.manifest import CanarySettings
from checker.policy import load_target
from checker.policy.documents import AuditTarget
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary

SPECIALS = {"bos": "[BOS]", "eos": "[EOS]", "pad": "[PAD]", "unk": "[UNK]"}
TIME = [{"upTo": "30d", "token": "T//30d"}, {"token": "T//more"}]
TOKENIZATION = {
    "vocabulary": "vocab.json",
    "specials": SPECIALS,
    "static": {"sex": "GENDER//*", "race": {"codes": "RACE//*", "take": "last"}},
    "age": "AGE//{years}",
    "time": TIME,
    "values": {"bins": "bins.parquet"},
}
HALVES = ([f"DX//A{i}" for i in range(20)], [f"DX//B{i}" for i in range(20)])
LAB = "LAB//K"
UNSPOKEN = "DX//RARE"
"""A code that the vocabulary lacks."""


def patient(number: int, rng: np.random.Generator) -> list[Event]:
    """A patient with an undated sex, a dated race, a lab value, and codes of one half."""
    start = float(rng.integers(0, 300))
    events: list[Event] = [
        (f"GENDER//{'FM'[number % 2]}", None),
        ("MEDS_BIRTH", -365.25 * float(rng.integers(20, 70))),
        (f"RACE//{('WHITE', 'BLACK')[number % 3 == 0]}", start),
    ]
    half = HALVES[number % 2]
    for step in range(20):
        start += float(rng.integers(0, 60))
        events.append((half[rng.integers(len(half))], start))
        if step % 4 == 0:
            events.append((LAB, start, float(rng.integers(1, 9))))
    if number == 0:
        events.append((UNSPOKEN, start))
    events.append(("MEDS_DEATH", start + 1))
    return events


def write_target(folder: Path, *, patients: int = 30, **changes: object) -> Path:
    """Write the data set, its vocabulary and bins, and a target; return the target's file.

    Args:
        folder: made when it is not there.
        patients: in each of the splits train and held_out; tuning has five.
        changes: to the tokenization; None leaves a key out.
    """
    rng = np.random.default_rng(1)
    sizes = {"train": patients, "held_out": patients, "tuning": 5}
    splits = {name: [patient(i, rng) for i in range(size)] for name, size in sizes.items()}
    write_meds(folder / "data", splits, descriptions={LAB: "Potassium"}, parents={LAB: ["LAB"]})
    pq.write_table(pa.table({"code": [LAB], "edges": [[3.0, 5.0]]}), folder / "bins.parquet")
    tokens = [*SPECIALS.values(), *(bin["token"] for bin in TIME)]
    tokens += [f"AGE//{years}" for years in range(100)]
    tokens += ["GENDER//F", "GENDER//M", "RACE//WHITE", "RACE//BLACK", "MEDS_DEATH"]
    tokens += [*HALVES[0], *HALVES[1], LAB, *(f"{LAB}//Q{bin}" for bin in (1, 2, 3))]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    rules = TOKENIZATION | changes
    document = {
        "apiVersion": "phigate/v1",
        "kind": "AuditTarget",
        "metadata": {"name": "made-up", "version": "1"},
        "spec": {
            "model": {"backend": "simulated", "path": "not-yet-trained.json"},
            "tokenization": {k: v for k, v in rules.items() if v is not None},
            "data": {"path": "data"},
        },
    }
    path = folder / "target.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def opened(path: Path) -> tuple[AuditTarget, Cohort, Tokenizer]:
    """Read a target, its patients and its tokenization."""
    target, base = load_target(path).document, path.parent
    rules = target.spec.tokenization
    vocabulary = load_vocabulary(base / rules.vocabulary)
    cohort = load_cohort(target.spec.data, base=base)
    return target, cohort, Tokenizer(rules, vocabulary=vocabulary, base=base)


def settings(seed: int = 1, **changes: Any) -> CanarySettings:
    """A hundred canaries of eight events, and three beacons four times each."""
    return CanarySettings(
        seed=seed, **({"count": 100, "events": 8, "beacons": 3, "repeats": 4} | changes)
    )
