"""A synthetic cohort and two targets of known truth for it: one leaks, the other does not.

The *leaking* target repeats a random half of its members from what an attacker at 10 events knows,
with probability 0.95 a token. The *sound* one follows the population's token frequencies and
nothing else, so whatever an audit finds in it is chance.
"""

from __future__ import annotations

import json
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from checker.demo.cohort import write_cohort
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import (
    KIND_STATIC,
    TokenizedRecords,
    Tokenizer,
    load_vocabulary,
)
from checker.testing.simulated import MemorizedRecord, write_simulated

TARGETS = ("leaking", "sound")
SPECIALS = {"bos": "[BOS]", "eos": "[EOS]", "pad": "[PAD]", "unk": "[UNK]"}
TOKENIZATION = {
    "vocabulary": "vocab.json",
    "specials": SPECIALS,
    "static": {"sex": "GENDER//*", "race": "RACE//*"},
    "age": "AGE//{years}",
}
SHARE_MEMORIZED = 0.5
WEIGHT = 0.95


def write_targets(folder: Path, *, seed: int) -> None:
    """Write a cohort, its vocabulary, and a leaking and a sound target for it.

    Args:
        folder: gets `cohort/`, `vocab.json`, and for each of TARGETS a model (`.json`) and its
            document (`.yaml`).
        seed: of the patients and of which of them the leaking target repeats.
    """
    write_cohort(folder / "cohort", seed=seed)
    write_models(folder, seed=seed)


def write_models(folder: Path, *, seed: int) -> None:
    """Write the vocabulary and the targets of a cohort that is there, as `write_targets` does.

    Args:
        folder: holds `cohort/`.
        seed: of which members the leaking target repeats.
    """
    data = DataSpec(path="cohort", members=meds.train_split, nonmembers=meds.held_out_split)
    cohort = load_cohort(data, base=folder)
    ages = [f"AGE//{years}" for years in range(121)]
    tokens = [*SPECIALS.values(), *ages, *sorted(set(cohort.codes) - {meds.birth_code})]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(TOKENIZATION),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    records = tokenizer.encode(cohort.members, cohort.codes)
    counts = np.bincount(records.tokens, minlength=len(tokens)) + 0.01
    counts[records.tokens[0]] = 0.01  # BOS starts records and never follows
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(records))[: round(SHARE_MEMORIZED * len(records))]
    race = tokenizer.field_names.index("race")
    memorized = []
    for i in chosen.tolist():
        record = records.record(i)
        unasked = ~((record.kind == KIND_STATIC) & (record.field == race))
        for sequence in (record.tokens, record.tokens[unasked]):  # with and without race
            memorized.append(
                MemorizedRecord(tokens=tuple(sequence.tolist()), first=4, weight=WEIGHT)
            )
    write_sample(folder / "sample.parquet", cohort.members.subject_id, records)
    for name in TARGETS:
        write_simulated(
            folder / f"{name}.json",
            vocabulary_size=len(tokens),
            context_length=128,
            unigram=(counts / counts.sum()).tolist(),
            memorized=memorized if name == "leaking" else (),
        )
        target = {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": name, "version": str(seed)},
            "spec": {
                "model": {"backend": "simulated", "path": f"{name}.json"},
                "tokenization": TOKENIZATION,
                "data": {"path": "cohort"},
                "expect": {"tokens": "sample.parquet"},
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(target, sort_keys=False))


def write_sample(
    path: Path, subject_id: NDArray[np.int64], records: TokenizedRecords, *, patients: int = 40
) -> None:
    """Write the sequences that a model was made of, as `expect.tokens` names them.

    A simulated model that knows no more than how often tokens occur is no better than a table of
    them, so that its tokens have to be shown to be right.

    Args:
        path: of the file.
        subject_id: [n] int64.
        records: of these patients, whole sequences.
        patients: the first so many.
    """
    rows = range(min(patients, len(records)))
    table = pa.table(
        {
            "subject_id": pa.array([int(subject_id[i]) for i in rows], pa.int64()),
            "tokens": pa.array(
                [records.record(i).tokens.tolist() for i in rows], pa.list_(pa.int32())
            ),
        }
    )
    pq.write_table(table, path)
