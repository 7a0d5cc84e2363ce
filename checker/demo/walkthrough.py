"""The demonstration: an over-trained and a sound model of the same patients, audited alike.

Everything it makes is left in its folder, in the formats users write themselves: the cohort, the
models, both targets, the policy, and a run's folder for each model.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from checker import clock
from checker.demo.cohort import POSITIVES, write_cohort
from checker.demo.reduction import reduce_cohort
from checker.errors import UsageError
from checker.evidence import write_atomically
from checker.planning.classes import unmatched_classes
from checker.policy import load_policy, load_target
from checker.policy.documents import DataSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.report.model import AUDIENCES, Report
from checker.resources import resource
from checker.run.prepare import prepare
from checker.run.running import RunProgress, run_audit
from checker.run.stored import judge_run, load_run, write_reports
from checker.targets import Tokens

MARK = ".phigate-demo"
MODELS = ("overtrained", "sound")
SPECIALS = {"pad": "[PAD]", "bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]"}
STATIC_FIELDS = {"sex": "GENDER//*", "race": "RACE//*"}
OLDEST = 120
SAMPLE = "sample.parquet"
SAMPLED = 40
"""Members whose sequences are written for `expect.tokens`; it asks for 20."""

PATIENTS = 1500
"""Synthetic members, and nonmembers. Of 600 no model can pass: one that beats what follows what in
the nonmembers' records has seen each of so few members so often that they are told apart (AUROC
above 0.7)."""
TIME_BINS: list[dict[str, str]] = [
    {"upTo": "1d", "token": "TIME//up to a day"},
    {"upTo": "30d", "token": "TIME//up to a month"},
    {"upTo": "365d", "token": "TIME//up to a year"},
    {"token": "TIME//over a year"},
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a demonstration is of.

    Args:
        folder: everything is written here.
        seed: of patients and training.
        cohort: a MEDS data set; None for synthetic patients.
        policy: None for the demo policy, cut to what the data set has.
        patients: synthetic ones, members and as many nonmembers.
        positives: of each sensitive class, in either split of the synthetic ones.
        max_patients: of each split, of the user's data set.
        max_tokens: of one record; longer ones are cut.
    """

    folder: Path
    seed: int
    _: KW_ONLY
    cohort: Path | None = None
    policy: Path | None = None
    patients: int = PATIENTS
    positives: int = POSITIVES
    max_patients: int = 500
    max_tokens: int = 128

    @property
    def is_standard(self) -> bool:
        """Whether it is of enough synthetic patients under the demo policy: no wrong verdict."""
        return self.cohort is None and self.policy is None and self.patients >= PATIENTS

    @property
    def is_as_shipped(self) -> bool:
        """Whether these very patients and models were audited before: the end is known."""
        return (
            self.is_standard
            and (self.seed, self.patients, self.positives) == (0, PATIENTS, POSITIVES)
        )  # fmt: skip

    def may_be_open(self, sound: Report) -> bool:
        """Whether too little may be known of the sound model, with other patients than shipped.

        Every model tells its members a little, so that a limit may lie between the bounds. An
        instrument that is broken is another matter.
        """
        return not self.is_as_shipped and _why_open(sound) == {"bounds-straddle-limit"}


def _why_open(report: Report) -> set[str | None]:
    return {cell.reason for cell in report.cells if cell.gating and cell.verdict == "inconclusive"}


@dataclass
class Demonstration:
    """Prepares the patients, trains the models and audits them.

    Args:
        settings: what of.
        say: is told each step, in a sentence.
    """

    settings: Settings
    say: Callable[[str], None]

    @property
    def policy_path(self) -> Path:
        """The policy that both models are judged by."""
        return self.settings.policy or self.settings.folder / "policy.yaml"

    def target_path(self, model: str) -> Path:
        """The target file of one model."""
        return self.settings.folder / f"target-{model}.yaml"

    def run_path(self, model: str) -> Path:
        """The run's folder of one model."""
        return self.settings.folder / f"run-{model}"

    def prepare(self) -> None:
        """Write the cohort, the vocabulary, both targets and the policy.

        Raises:
            DataError: the data set cannot be used.
            DocumentError: the policy asks for nothing that this data set has.
            UsageError: the folder holds something else.
        """
        folder = self.settings.folder
        self._check_sources()
        self._clear()
        if self.settings.cohort is None:
            count = self.settings.patients
            write_cohort(
                folder / "cohort",
                seed=self.settings.seed,
                members=count,
                nonmembers=count,
                positives=self.settings.positives,
            )
        else:
            self._reduce(self.settings.cohort)
        cohort, tuning = self._cohorts()
        self._write_vocabulary(cohort, tuning)
        for model in MODELS:
            self._write_target(model, cohort)
        self._write_sample(cohort)
        if self.settings.policy is None:
            self._write_policy()

    def train(
        self,
        progress: Callable[[str, int, float], None],
        *,
        models: Sequence[str] = MODELS,
    ) -> None:
        """Train models on the members.

        Args:
            progress: called after each epoch with model, epoch and loss in nats a token.
            models: of MODELS, and "reference": one trained on the tuning patients alone.
        """
        from checker.demo import training  # torch is loaded only when a model is really trained

        cohort, tuning = self._cohorts()
        vocabulary = load_vocabulary(self.settings.folder / "vocab.json")
        tokenizer = self._tokenizer()
        sequences = list(self._sequences(tokenizer, cohort))
        validation = list(self._sequences(tokenizer, tuning))
        recipes = {
            "overtrained": training.OVERTRAINED,
            "sound": training.SOUND,
            "reference": training.REFERENCE,
        }
        for model in models:

            def tell(epoch: Any, model: str = model) -> None:
                progress(model, epoch.number, epoch.loss)

            result = training.train(
                validation if model == "reference" else sequences,
                vocabulary_size=len(vocabulary.tokens),
                bos_id=vocabulary.ids[SPECIALS["bos"]],
                eos_id=vocabulary.ids[SPECIALS["eos"]],
                pad_id=vocabulary.ids[SPECIALS["pad"]],
                context_length=self.settings.max_tokens,
                out=self.settings.folder / f"model-{model}",
                seed=self.settings.seed,
                recipe=recipes[model],
                validation=validation if recipes[model].until_validated else (),
                progress=tell,
            )
            last = result.epochs[-1]
            end = "" if result.reached else ", where patience ended before its goal"
            self.say(f"{model}: {last.number} epochs, loss {last.loss:.2f} nats a token{end}")

    def audit(self, model: str, *, progress: RunProgress | None = None) -> Report:
        """Audit one model as `phigate check` would, and write its reports as of now.

        That is when it has been measured: an earlier time would be refused.
        """
        run = self.run_path(model)
        prepared = prepare(self.policy_path, self.target_path(model))
        left_out = prepared.audit.plan.data.tokens_left_out
        if left_out:
            self.say(
                f"{model}: {left_out:,} tokens lie beyond the first {self.settings.max_tokens}"
            )
        arguments = ["phigate", "check", self.policy_path, self.target_path(model), "--out", run]
        run_audit(
            prepared.audit,
            run=run,
            open_target=prepared.open_target,
            open_reference=prepared.open_reference,
            progress=progress,
            command=shlex.join(map(str, arguments)),
        )
        report = judge_run(load_run(run), as_of=clock.current_time().replace(microsecond=0))
        for audience in AUDIENCES:
            write_reports(run, report, formats=("json", "html"), audience=audience)
        return report

    def _check_sources(self) -> None:
        """Read what the user named before anything is deleted, and never delete it."""
        inside = self.settings.folder.resolve()
        for option, path in (
            ("--policy", self.settings.policy),
            ("--cohort", self.settings.cohort),
        ):
            if path is not None and inside in (path.resolve(), *path.resolve().parents):
                raise UsageError(
                    f"{option} {path}: lies in the folder that the demonstration clears; name"
                    " another with --out"
                )
        if self.settings.policy is not None:
            load_policy(self.settings.policy)
        if self.settings.cohort is not None and not self.settings.cohort.is_dir():
            raise UsageError(f"--cohort {self.settings.cohort}: there is no such folder")

    def _clear(self) -> None:
        """Make room for a new demonstration, and never in a folder that holds anything else."""
        folder, mark = self.settings.folder, self.settings.folder / MARK
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is not a folder")
        if folder.is_dir() and any(folder.iterdir()):
            if not mark.exists():
                raise UsageError(f"{folder}: holds other things; name a new folder with --out")
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"{folder}: cannot be cleared: {error.strerror}") from error
        write_atomically(mark, b"This folder was made by `phigate demo`, which may clear it.\n")

    # --- parts ----------------------------------------------------------------------------------

    def _reduce(self, source: Path) -> None:
        left_out = reduce_cohort(
            source,
            self.settings.folder / "cohort",
            max_patients=self.settings.max_patients,
            seed=self.settings.seed,
        )
        self.say(
            f"left out by --max-patients: {left_out.members:,} members and"
            f" {left_out.nonmembers:,} nonmembers"
        )
        if left_out.kept_for_tuning:
            self.say(
                f"{left_out.kept_for_tuning:,} members decide when training ends and are not"
                " trained on, for the data set has no split 'tuning'"
            )

    def _tokenizer(self) -> Tokenizer:
        target = load_target(self.target_path(MODELS[0])).document.spec.tokenization
        vocabulary = load_vocabulary(self.settings.folder / "vocab.json")
        return Tokenizer(target, vocabulary=vocabulary, base=self.settings.folder)

    def _cohorts(self) -> tuple[Cohort, Cohort]:
        """Members with nonmembers, and tuning patients (as the members of a second cohort)."""
        folder = self.settings.folder
        audited = DataSpec(path="cohort", members=meds.train_split, nonmembers=meds.held_out_split)
        tuning = DataSpec(path="cohort", members=meds.tuning_split, nonmembers=meds.held_out_split)
        return load_cohort(audited, base=folder), load_cohort(tuning, base=folder)

    def _write_vocabulary(self, cohort: Cohort, tuning: Cohort) -> None:
        codes = sorted({*cohort.codes, *tuning.codes} - {meds.birth_code})
        ages = [f"AGE//{years}" for years in range(OLDEST + 1)]
        times = [entry["token"] for entry in TIME_BINS]
        tokens = dict.fromkeys([*SPECIALS.values(), *ages, *times, *codes])
        text = json.dumps({token: i for i, token in enumerate(tokens)}, indent=0)
        write_atomically(self.settings.folder / "vocab.json", text.encode())

    def _write_target(self, model: str, cohort: Cohort) -> None:
        prefixes = {code.partition("//")[0] for code in cohort.codes}
        static = {
            field: glob
            for field, glob in STATIC_FIELDS.items()
            if glob.partition("//")[0] in prefixes
        }
        tokenization: dict[str, Any] = {
            "vocabulary": "vocab.json",
            "specials": SPECIALS,
            "static": static,
            "maxLength": self.settings.max_tokens,
            "time": TIME_BINS,
        }
        if meds.birth_code in cohort.codes:
            tokenization["age"] = "AGE//{years}"
        data = {"path": "cohort", "members": "train", "nonmembers": "held_out"}
        if self.settings.cohort is None:
            # one generator made all patients, in no order: it dealt them by lot
            data |= {"assignment": "random", "assignedBy": "phigate demo"}
            data |= {"spare": meds.tuning_split}
        document = {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": f"demo-{model}", "version": str(self.settings.seed)},
            "spec": {
                "model": {"backend": "huggingface", "path": f"model-{model}", "device": "cpu"},
                "tokenization": tokenization,
                "data": data,
                # a model that was stopped early may know less than a table of which token follows
                # which, and then its trainer has to show that these are its tokens
                "expect": {"tokens": SAMPLE},
            },
        }
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_atomically(self.target_path(model), text.encode())

    def _write_sample(self, cohort: Cohort) -> None:
        """Write some of the sequences that training takes, as `expect.tokens` names them."""
        records = self._tokenizer().encode(cohort.members, cohort.codes)
        rows = range(min(SAMPLED, len(records)))
        tokens = [records.record(i).tokens[: self.settings.max_tokens].tolist() for i in rows]
        table = pa.table(
            {
                "subject_id": pa.array(cohort.members.subject_id[: len(rows)].tolist(), pa.int64()),
                "tokens": pa.array(tokens, pa.list_(pa.int32())),
            }
        )
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_atomically(self.settings.folder / SAMPLE, buffer.getvalue().to_pybytes())

    def _sequences(self, tokenizer: Tokenizer, cohort: Cohort) -> Iterator[Tokens]:
        records = tokenizer.encode(cohort.members, cohort.codes)
        for start, end in zip(records.offsets[:-1], records.offsets[1:], strict=True):
            tokens = records.tokens[start:end][: self.settings.max_tokens]
            if len(tokens) > 1:
                yield np.ascontiguousarray(tokens)

    def _write_policy(self) -> None:
        """Copy the demo policy; for the user's data set leave out what it cannot answer."""
        path = self.settings.folder / "policy.yaml"
        source = resource("policies/demo.yaml")
        write_atomically(path, source.read_bytes())
        if self.settings.cohort is None:
            return
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
        self._drop_unknown_fields(document)
        self._drop_empty_classes(document)
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())
        load_policy(path)

    def _drop_unknown_fields(self, document: dict[str, Any]) -> None:
        tokenization = load_target(self.target_path(MODELS[0])).document.spec.tokenization
        known = {*tokenization.static, *(["age"] if tokenization.age else [])}
        for name, attacker in document["spec"]["attackers"].items():
            fields = attacker.get("knows", {}).get("static", [])
            if isinstance(fields, list) and set(fields) - known:
                attacker["knows"]["static"] = [field for field in fields if field in known]
                missing = ", ".join(sorted(set(fields) - known))
                self.say(
                    f"left out of attacker {name}: {missing}, which the data set does not have"
                )

    def _drop_empty_classes(self, document: dict[str, Any]) -> None:
        """Leave out classes that match nothing here, with the controls that need them."""
        folder = self.settings.folder
        cohort, _ = self._cohorts()
        target = load_target(self.target_path(MODELS[0]))
        empty = unmatched_classes(
            load_policy(folder / "policy.yaml"), target, cohort=cohort, tokenizer=self._tokenizer()
        )
        spec = document["spec"]
        classes = spec["attributeClasses"]
        for name in empty:
            del classes[name]
            self.say(f"left out: class {name}, which matches no code of this data set")
        instead = {name: name for name in classes}
        for name, pool in list(classes.items()):
            if "anyOf" not in pool:
                continue
            pool["anyOf"] = [one for one in pool["anyOf"] if one in classes]
            if len(pool["anyOf"]) < 2:  # what is left is asked for by itself
                del classes[name]
                (instead[name],) = pool["anyOf"]
        spec["controls"] = {
            name: control | ({"attributeClass": instead[asked]} if asked else {})
            for name, control in spec["controls"].items()
            if (asked := control.get("attributeClass")) is None or asked in instead
        }
