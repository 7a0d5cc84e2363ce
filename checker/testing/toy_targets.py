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
import yaml

from checker.demo.cohort import write_cohort
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import KIND_STATIC, Tokenizer, load_vocabulary
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
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
