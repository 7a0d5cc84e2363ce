"""What all families have in common: patients, models of known truth, targets, audits, the command.

Patients are those of `wrong_worlds`. The *leaking* model was trained until it repeats the members;
the *sound* one on members and many more patients until another pass would gain little for patients
kept apart. Whatever a row does not bend is true.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.field.told import Loader, Patient, patients_of
from benchmarks.wrong_instruments import Outcome, audited
from benchmarks.wrong_plugins import offer_backends
from benchmarks.wrong_worlds import Size, Split, World
from checker.report.model import Report

Truth = Literal["leaking", "sound"]
PATIENTS = Size(patients=400, further=1600, positives=120, classes=1, score="loss")


@dataclass(frozen=True)
class Row:
    """One way to describe a model.

    Args:
        name: of the row.
        model: which one is audited.
        expected: the verdict that is right; None where anything is but a pass. *Inconclusive*
            instead of *pass* is a lack of power.
        bend: changes the target's document.
        table: changes the loader's table.
        policy: asked instead of the demo's: file of a policy, or the name of one that ships.
    """

    name: str
    model: Truth = "leaking"
    expected: str | None = None
    bend: Callable[[dict[str, Any]], None] | None = None
    table: Callable[[pa.Table], pa.Table] | None = None
    policy: str | None = None


CONTROLS = (Row("leaking", expected="fail"), Row("sound", model="sound", expected="pass"))


@dataclass(frozen=True)
class Taught:
    """What a model is trained on.

    Args:
        truth: which model it is to be.
        sequences: token ids, with channels where the family has any.
        validation: of patients kept apart.
        ids: the vocabulary.
        seed: of weights and order.
        out: folder to save to.
    """

    truth: Truth
    sequences: list[Any]
    validation: list[Any]
    ids: Mapping[str, int]
    seed: int
    out: Path


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Args:
        name: in kebab case.
        loader: returns what tells its patients.
        tokenization: of its targets, beside vocabulary and table.
        train: trains one, and saves it to the folder that it is told.
        model: of its targets, beside the path.
        plugins: backends that answer, by name: module and class.
        facts: static ones that attackers know, of age and sex.
        rows: what is audited.
        files: further files of a target, by name; `MODEL` in them becomes the model's folder.
        enrich: changes the data set's table of a split before anybody reads it.
    """

    name: str
    loader: Callable[[], Loader]
    tokenization: Mapping[str, Any]
    train: Callable[[Taught], None]
    model: Mapping[str, Any] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[str] = ("age", "sex")
    rows: Sequence[Row] = CONTROLS
    files: Mapping[str, Path] = field(default_factory=dict)
    enrich: Callable[[pa.Table], pa.Table] | None = None


@dataclass(frozen=True)
class FieldWorld(World):
    """Patients whose data set a family changes before they are set apart."""

    enrich: Callable[[pa.Table], pa.Table] | None = None

    def _set_patients_apart(self) -> None:
        super()._set_patients_apart()
        if self.enrich is None:
            return
        for shard in sorted((self.folder / "cohort" / "data").rglob("*.parquet")):
            pq.write_table(self.enrich(pq.read_table(shard)), shard)


@dataclass(frozen=True)
class Study:
    """A family's patients, models and audits, in a folder where they are kept."""

    family: Family
    work: Path
    seed: int = 0
    size: Size = PATIENTS

    @cached_property
    def world(self) -> FieldWorld:
        """The patients."""
        place = self.work / self.family.name
        return FieldWorld(place, "trained", self.seed, self.size, enrich=self.family.enrich)

    @cached_property
    def loader(self) -> Loader:
        """The family's loader, which knows everybody's tokens."""
        made = self.family.loader()
        splits: list[Split] = ["train", "held_out", "tuning", "further"]
        made.learn([one for split in splits for one in self.patients(split)])
        return made

    def patients(self, split: Split) -> list[Patient]:
        """The patients of a split; none of one that there is none of."""
        if split == "further" and not self.size.further:
            return []
        return patients_of(self.world.cohort(split))

    def prepare(self) -> None:
        """Write patients, vocabulary and table."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.world.prepare()
        offer_backends(self.world.folder / "plugins", self.family.name, self.family.plugins)
        policy = yaml.safe_load((self.world.folder / "gate.yaml").read_text())
        known = policy["spec"]["attackers"]["demographics"]["knows"]
        known["static"] = list(self.family.facts)
        for control in policy["spec"]["controls"].values():  # who knows less costs as much
            control["limits"].pop("events-5", None)
        (self.world.folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
        audited = [*self.patients("train"), *self.patients("held_out")]
        self.loader.write(self.world.folder / "told", audited)

    def model(self, truth: Truth) -> Path:
        """Return a model, trained if it is not there."""
        path = self.world.folder / truth
        if not path.exists():
            making = path.with_name(f"making-{truth}")
            shutil.rmtree(making, ignore_errors=True)
            splits: list[Split] = ["train"] if truth == "leaking" else ["train", "further"]
            taught = [one for split in splits for one in self.patients(split)]
            apart = self.patients("tuning")[:120]
            self.family.train(
                Taught(
                    truth,
                    self.loader.sequences(taught),
                    self.loader.sequences(apart),
                    self.loader.ids,
                    self.seed,
                    making,
                )
            )
            os.replace(making, path)
        return path

    def target(self, row: Row) -> Path:
        """Write the target of a row into a folder of its own."""
        folder = self.world.folder / "rows" / row.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.model(row.model)
        document: dict[str, Any] = {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": f"{self.family.name}-{row.name}", "version": str(self.seed)},
            "spec": {
                "model": {"path": f"../../{row.model}", "device": "cpu", **self.family.model},
                "tokenization": {
                    "vocabulary": "../../told/vocab.json",
                    "records": "../../told/tokens.parquet",
                    **copy.deepcopy(dict(self.family.tokenization)),
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
        for name, source in self.family.files.items():
            (folder / name).write_text(source.read_text().replace("MODEL", row.model))
        if row.bend is not None:
            row.bend(document)
        if row.table is not None:
            changed = row.table(pq.read_table(self.world.folder / "told/tokens.parquet"))
            pq.write_table(changed, folder / "tokens.parquet")
            document["spec"]["tokenization"]["records"] = "tokens.parquet"
        path = folder / "target.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def measure(self, row: Row) -> tuple[Outcome, dict[str, str]]:
        """Audit a row as `phigate check` would; returns the figures of its cells too."""
        figures: dict[str, str] = {}

        def keep(report: Report) -> None:
            figures.update(figures_of(report))

        policy = self.world.folder / "policy.yaml" if row.policy is None else Path(row.policy)
        outcome = audited(
            row.name,
            self.world,
            lambda: self.target(row),
            policy=policy,
            expected=row.expected,
            judged=keep,
        )
        return outcome, figures


def figures_of(report: Report) -> dict[str, str]:
    """Return the estimate of each cell that has one, with its one-sided bounds of 95 %."""
    found = {}
    for cell in report.cells:
        if (one := cell.estimate) is not None:
            high = "" if one.high is None else f" to {one.high:.3f}"
            found[cell.id] = f"{one.value:.3f} ({one.low:.3f}{high}), {cell.verdict}"
    return found


def is_wrong(outcome: Outcome, leaking: Sequence[str] = ()) -> bool:
    """Whether a row ended otherwise than it must.

    Args:
        outcome: of a row.
        leaking: cells that fail where the leaking model is rightly described: none may pass.
    """
    if outcome.expected == "pass":  # of so few patients a sound one may be left undecided
        return outcome.verdict not in ("pass", "inconclusive")
    if outcome.expected is not None:
        return outcome.verdict != outcome.expected
    return outcome.verdict == "pass" or bool(outcome.passing(leaking))


def run(study: Study, *, only: Sequence[str] = (), out: Path | None = None) -> int:
    """Measure a family's rows, print each, and return how many ended wrongly."""
    study.prepare()
    wrong, leaking = 0, []
    for row in study.family.rows:
        if only and row.name not in only:
            continue
        outcome, figures = study.measure(row)
        if row.name == "leaking":
            leaking = [name for name, (verdict, _) in outcome.cells.items() if verdict == "fail"]
        is_bad = is_wrong(outcome, leaking)
        wrong += is_bad
        line = f"{row.name:<28}{outcome.verdict:<14}{outcome.stage:<8}{outcome.seconds:>6} s"
        print(f"{'WRONG ' if is_bad else ''}{line}  {outcome.reason}", flush=True)
        for name, said in figures.items():
            print(f"    {name:<52}{said}", flush=True)
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(outcome), "figures": figures}) + "\n")
    return wrong


def command(family: Family, description: str | None, arguments: Sequence[str] | None = None) -> int:
    """Run a family from the command line, or from arguments that are left of it."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("field"), help="models are kept here")
    parser.add_argument("--out", type=Path, help="a line of JSON for each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", type=int, default=PATIENTS.patients)
    parser.add_argument("--only", choices=[row.name for row in family.rows], action="append")
    asked = parser.parse_args(arguments)
    size = replace(PATIENTS, patients=asked.patients, further=4 * asked.patients)
    size = replace(size, positives=min(PATIENTS.positives, asked.patients // 2))
    study = Study(family, asked.work, asked.seed, size)
    return 1 if run(study, only=asked.only or (), out=asked.out) else 0
