"""Patients, models and documents that `wrong_instruments` bends: one folder a kind and seed.

Two kinds of model, of which the truth is known. A *trained* one is a small GPT-2: over-trained
until it repeats its members, or stopped in time (`checker.demo.training`) and taught from more
patients than are audited: of 600 alone it remembers enough that the ratio to a reference tells them
with an AUROC of 0.70, which is the policy's limit. A *table* follows which
token follows which among tuning patients, so that it is no worse than a table of nonmembers, and
the leaking one repeats half of its members from the fourth token on (`checker.testing.simulated`).
Models are made when they are first asked for and kept.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from benchmarks import THREE_CLASSES
from checker.demo.cohort import SENSITIVE_CLASSES, write_cohort
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import TokenizedRecords, Tokenizer, load_vocabulary
from checker.targets import Tokens
from checker.testing.simulated import write_simulated
from checker.testing.toy_targets import write_sample

Kind = Literal["trained", "table"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Split = Literal["train", "held_out", "tuning", "spare", "further"]
SPLITS: tuple[Split, ...] = get_args(Split)

LENGTHS = {"window": 72, "chunk": 72, "rope": 120, "crossed": 96, "whole": 96}
"""By architectures of `long_models`, which loads torch: tokens of the window and of a chunk, and
up to which positions do not switch. That is beyond all records, or at the length of one in two."""

SHAPES = tuple(LENGTHS)

SPECIALS = {"pad": "[PAD]", "bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]"}
STATIC = {"sex": "GENDER//*", "race": "RACE//*"}
TIME: list[dict[str, str]] = [
    {"upTo": "1d", "token": "TIME//up to a day"},
    {"upTo": "30d", "token": "TIME//up to a month"},
    {"upTo": "365d", "token": "TIME//up to a year"},
    {"token": "TIME//over a year"},
]
OLDEST = 120
CONTEXT = 128
LONG_HORIZON = 12
SHARE_MEMORIZED = 0.5
WEIGHT = 0.95
FIRST = 4
"""Tokens of a record that a table has to see before it goes on: BOS, age, sex and race."""

Sequences = list[Tokens]


@dataclass(frozen=True, slots=True)
class Size:
    """How many patients: as many nonmembers as members, and twice as many that are neither.

    Args:
        patients: of each of the four splits that are audited, or compared with.
        further: patients whom a sound trained model has learned from beside the members.
        positives: of each sensitive class in each split.
        classes: how many of the sensitive classes are asked for.
        score: of membership; None for the policy's own, which trains a model and needs as many
            patients as there are by default.
        events: fewest and most of a record; None for the demo's. With longer ones there is one
            policy, `long`, whose attacker is told the record up to the class.
    """

    patients: int = 600
    further: int = 2400
    positives: int = 80
    classes: int = 3
    score: str | None = None
    events: tuple[int, int] | None = None


LONG = Size(patients=400, further=1200, positives=140, classes=1, score="loss", events=(70, 80))
"""Records of about 100 tokens, for models that are other ones beyond 64."""

_EVENTS_BEFORE = 52
"""Sensitive codes of long records stand behind so many events, which are more than 64 tokens."""


@dataclass(frozen=True)
class World:
    """The patients of one seed, and the models of one kind that were made of them.

    Args:
        folder: everything is kept here.
        kind: of the models.
        seed: of patients, training and what is memorized.
        size: of the cohort.
    """

    folder: Path
    kind: Kind
    seed: int
    size: Size = Size()

    def prepare(self) -> None:
        """Write cohort, vocabulary, the trainer's sample and the policies, unless they are there.

        The vocabulary is written last: a folder that has one is whole.
        """
        if (self.folder / "vocab.json").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        longer: dict[str, Any] = {}
        if self.size.events is not None:
            longer = {"events": self.size.events, "known": _EVENTS_BEFORE}
        write_cohort(
            self.folder / "cohort",
            seed=self.seed,
            members=self.size.patients,
            nonmembers=self.size.patients,
            tuning=2 * self.size.patients + self.size.further,
            positives=self.size.positives,
            **longer,
        )
        self._set_patients_apart()
        for name, policy in policies(self.size).items():
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
        splits = SPLITS if self.size.further else SPLITS[:-1]
        codes = {code for split in splits for code in self._codes(split)}
        tokens = dict.fromkeys(
            [
                *SPECIALS.values(),
                *(f"AGE//{years}" for years in range(OLDEST + 1)),
                *(entry["token"] for entry in TIME),
                *sorted(codes - {meds.birth_code}),
            ]
        )
        self._write("vocab.json", json.dumps({token: i for i, token in enumerate(tokens)}))
        members = self.cohort("train").members
        write_sample(self.folder / "sample.parquet", members.subject_id, self.records("train"))

    def target(self, model: str) -> dict[str, Any]:
        """Return the document of a rightly described target, for a folder two levels below."""
        backend = "huggingface" if self.kind == "trained" else "simulated"
        return {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": f"{self.kind}-{model}", "version": str(self.seed)},
            "spec": {
                "model": {
                    "backend": backend,
                    "path": f"../../{self.model(model).name}",
                    "device": "cpu",
                },
                "tokenization": {
                    "vocabulary": "../../vocab.json",
                    "specials": dict(SPECIALS),
                    "static": dict(STATIC),
                    "age": "AGE//{years}",
                    "maxLength": CONTEXT,
                    "time": [dict(entry) for entry in TIME],
                },
                "data": {
                    "path": "../../cohort",
                    "members": "train",
                    "nonmembers": "held_out",
                    "assignment": "random",
                    "assignedBy": "the generator of these patients",
                },
            },
        }

    # --- models -----------------------------------------------------------------------------------

    def model(self, name: str) -> Path:
        """Return a model, made if it is not there.

        Args:
            name: `leaking` and `sound` were trained on the members, `both` leaks members and
                nonmembers, `reference` saw tuning patients alone, `leaking-reference` is another
                one that repeats the members. Before a hyphen may stand an architecture of
                `long_models`, which is made for `leaking` and `sound`.
        """
        path = self.folder / (f"{name}.json" if self.kind == "table" else name)
        if not path.exists():
            making = path.with_name(f"making-{path.name}")
            if making.is_dir():
                shutil.rmtree(making)
            if self.kind == "table":
                self._write_table(making, name)
            else:
                self._train(making, name)
            os.replace(making, path)
        return path

    def _train(self, out: Path, name: str) -> None:
        from checker.demo import training  # torch is loaded only where a model is trained

        shape, _, plain = name.partition("-")
        name = plain if shape in SHAPES else name
        leaks = name in ("leaking", "both", "leaking-reference")
        others: dict[str, tuple[Split, ...]] = {
            "both": ("train", "held_out"),
            "reference": ("tuning",),
            "sound": ("train", "further"),
        }
        taught = others.get(name, ("train",))
        sequences = [one for split in taught for one in self.sequences(split)]
        kept_apart = self.sequences("held_out" if name == "reference" else "tuning")
        sound = training.SOUND
        if self.size.events is not None:  # the longer records are, the sooner their loss tells
            sound = replace(sound, least_gain=0.25)
        make = None
        if shape in SHAPES:
            from benchmarks.long_models import untrained
            from checker.targets.engine.training import SpecialIds

            make = partial(
                untrained,
                shape,
                vocabulary_size=len(self.ids),
                specials=SpecialIds(*(self.ids[SPECIALS[one]] for one in ("bos", "eos", "pad"))),
                context_length=CONTEXT,
            )
        training.train(
            sequences,
            vocabulary_size=len(self.ids),
            bos_id=self.ids[SPECIALS["bos"]],
            eos_id=self.ids[SPECIALS["eos"]],
            pad_id=self.ids[SPECIALS["pad"]],
            context_length=CONTEXT,
            out=out,
            seed=self.seed + (1000 if name.endswith("reference") else 0),
            recipe=training.OVERTRAINED if leaks else sound,
            validation=() if leaks else kept_apart[:120],
            make=make,
        )

    def _write_table(self, out: Path, name: str) -> None:
        # tables of the population, which have seen neither members nor nonmembers
        tuning = self.sequences("tuning")
        taught = tuning[: len(tuning) // 2] if name.endswith("reference") else tuning
        known: dict[str, tuple[Split, ...]] = {
            "both": ("train", "held_out"),
            "leaking": ("train",),
            "leaking-reference": ("train",),
        }
        write_simulated(
            out,
            vocabulary_size=len(self.ids),
            context_length=CONTEXT,
            **population_tables(taught, size=len(self.ids)),
            memorized=[one for split in known.get(name, ()) for one in self._memorized(split)],
            bos_token_id=self.ids[SPECIALS["bos"]],
        )

    def _memorized(self, split: Split) -> list[dict[str, Any]]:
        """Half of the patients, drawn by lot, with race and without: an attacker may not know it.

        The leaking reference repeats the same patients as the model does.
        """
        sequences = self.sequences(split)
        rng = np.random.default_rng([self.seed, 1])
        chosen = rng.permutation(len(sequences))[: round(SHARE_MEMORIZED * len(sequences))]
        race = FIRST - 1
        found = []
        for tokens in (sequences[i].tolist() for i in chosen.tolist()):
            for one in (tokens, tokens[:race] + tokens[race + 1 :]):
                found.append({"tokens": one, "from": FIRST, "weight": WEIGHT})
        return found

    # --- patients ---------------------------------------------------------------------------------

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """The true vocabulary."""
        found: dict[str, int] = json.loads((self.folder / "vocab.json").read_text())
        return found

    def cohort(self, split: Split) -> Cohort:
        """One split, as the members of a cohort."""
        other = "train" if split == "held_out" else "held_out"
        return load_cohort(
            DataSpec(path="cohort", members=split, nonmembers=other), base=self.folder
        )

    def records(self, split: Split) -> TokenizedRecords:
        """A split's patients as the trainer's data loader makes them."""
        spec = self.target_tokenization
        tokenizer = Tokenizer(
            spec, vocabulary=load_vocabulary(self.folder / "vocab.json"), base=self.folder
        )
        cohort = self.cohort(split)
        return tokenizer.encode(cohort.members, cohort.codes)

    @property
    def target_tokenization(self) -> TokenizationSpec:
        """The true description of how records become tokens."""
        return TokenizationSpec.model_validate(
            {
                "vocabulary": "vocab.json",
                "specials": SPECIALS,
                "static": STATIC,
                "age": "AGE//{years}",
                "time": TIME,
            }
        )

    def sequences(self, split: Split) -> Sequences:
        """A split's token sequences."""
        records = self.records(split)
        return [np.ascontiguousarray(records.record(i).tokens) for i in range(len(records))]

    def subjects(self, split: Split) -> NDArray[np.int64]:
        """A split's patients by number."""
        return self.cohort(split).members.subject_id

    def _codes(self, split: Split) -> Sequence[str]:
        return self.cohort(split).codes

    def _set_patients_apart(self) -> None:
        """Deal those who are neither members nor nonmembers: nothing is made of `spare` ones."""
        path = self.folder / "cohort" / meds.subject_splits_filepath
        listed = pq.read_table(path)
        split = np.array(listed["split"].to_pylist(), dtype=object)
        apart = np.flatnonzero(split == meds.tuning_split)
        order = np.random.default_rng([self.seed, 2]).permutation(apart)
        split[order[: self.size.patients]] = "spare"
        split[order[self.size.patients :][: self.size.further]] = "further"
        table = listed.set_column(1, "split", pa.array(split.tolist(), pa.string()))
        pq.write_table(meds.SubjectSplitSchema.align(table), path)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / f"making-{name}"
        path.write_text(text)
        os.replace(path, self.folder / name)


def population_tables(sequences: Iterable[Tokens], *, size: int) -> dict[str, Any]:
    """Which token follows which: Witten and Bell's smoothing, as the floor has it.

    Args:
        sequences: records of whom a model without memory learned.
        size: of the vocabulary.
    """
    counts = np.zeros((size, size))
    for tokens in sequences:
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
    alone = counts.sum(axis=0) + 0.01
    alone /= alone.sum()
    rows = {}
    for token in np.flatnonzero(counts.any(axis=1)).tolist():
        kinds, seen = (counts[token] > 0).sum(), counts[token].sum()
        row = (counts[token] + kinds * alone) / (seen + kinds)
        rows[token] = dict(enumerate((row / row.sum()).tolist()))
    return {"unigram": alone.tolist(), "transitions": rows}


def policies(size: Size) -> dict[str, dict[str, Any]]:
    """Return that of three classes, one with demands on the target, and one that asks a reference.

    What decides nothing is left out: attackers who know age and sex alone, and the benign class.
    Of long records there is one policy.
    """
    policies = {}
    for name in ("gate", "requiring", "reference") if size.events is None else ("long",):
        document = yaml.safe_load(THREE_CLASSES.read_text(encoding="utf-8"))
        document["metadata"]["name"] = name
        asked = [f"{name}-disclosure" for name in SENSITIVE_CLASSES[: size.classes]]
        controls = document["spec"]["controls"]
        controls = {name: controls[name] for name in (*asked, "membership")}
        document["spec"]["controls"] = controls
        for control in controls.values():
            control["limits"] = {
                attacker: limit
                for attacker, limit in control["limits"].items()
                if attacker != "demographics"
            }
        if size.score is not None:
            controls["membership"]["params"] = {"score": size.score}
        document["spec"]["parameters"]["sampling"] = {"curtailed": True}
        policies[name] = document
    if size.events is not None:
        for control_name in asked:
            controls[control_name]["limits"] = {"record": {"fail": 0.05}}
            controls[control_name]["params"]["horizonTokens"] = LONG_HORIZON
        del document["spec"]["attackers"]["events-5"], document["spec"]["attackers"]["events-10"]
        return policies
    policies["requiring"]["spec"]["gate"]["requireExpectation"] = True
    spec = policies["reference"]["spec"]
    known = spec["controls"]
    spec["controls"] = {
        "hiv-beyond-reference": {
            **known["hiv-disclosure"],
            "contrast": "reference",
            "limits": {"events-10": {"fail": 0.1}},
        },
        "membership-beyond-reference": {
            **known["membership"],
            "params": {"score": "reference-ratio"},
        },
    }
    return policies
