"""The ways in which an instrument can point past its model: a row each of `wrong_instruments`.

A case takes the rightly described target of a model that leaks, in a folder of its own, and bends
one thing. Whatever is not bent is true, and nothing is declared that could give the bend away: no
sequences of the trainer's, no loss, no list of patients.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from benchmarks.wrong_plugins import OTHER
from benchmarks.wrong_worlds import KINDS, Kind, World
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.testing.simulated import write_simulated
from checker.testing.toy_targets import write_sample

Ids = dict[str, int]


@dataclass
class Draft:
    """A target in the making: rightly described until a case bends it.

    Args:
        world: patients and models.
        folder: of this case; paths in the document are relative to it.
        document: of the target.
    """

    world: World
    folder: Path
    document: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """The body of the document."""
        found: dict[str, Any] = self.document["spec"]
        return found

    @property
    def tokenization(self) -> dict[str, Any]:
        """How records become tokens, as the document says."""
        found: dict[str, Any] = self.spec["tokenization"]
        return found

    @property
    def data(self) -> dict[str, Any]:
        """Which patients, as the document says."""
        found: dict[str, Any] = self.spec["data"]
        return found

    def use(self, model: str) -> None:
        """Audit another of the world's models."""
        self.spec["model"]["path"] = f"../../{self.world.model(model).name}"

    def respell(self, change: Callable[[Ids], Ids]) -> None:
        """Declare a vocabulary that is not the model's."""
        text = json.dumps(change(dict(self.world.ids)))
        (self.folder / "vocab.json").write_text(text)
        self.tokenization["vocabulary"] = "vocab.json"

    def copy_model(self) -> Path:
        """Audit a copy of the model that may be changed."""
        own = self.folder / Path(self.spec["model"]["path"]).name
        source = self.folder / self.spec["model"]["path"]
        if source.is_dir():
            shutil.copytree(source, own)
        else:
            shutil.copyfile(source, own)
        self.spec["model"]["path"] = own.name
        return own

    def rewrite(self, change: Callable[[pa.Table], pa.Table]) -> Path:
        """Audit a copy of the patients of which each shard was changed; returns its folder."""
        cohort = self.folder / "cohort"
        shutil.copytree(self.world.folder / "cohort", cohort)
        for shard in sorted((cohort / meds.data_subdirectory).rglob("*.parquet")):
            pq.write_table(meds.DataSchema.align(change(pq.read_table(shard))), shard)
        self.data["path"] = "cohort"
        return cohort

    def write(self) -> Path:
        """Write the target's document and return its path."""
        path = self.folder / "target.yaml"
        path.write_text(yaml.safe_dump(self.document, sort_keys=False))
        return path


Bend = Callable[[Draft], None]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Args:
        name: in kebab case.
        group: as issue and documentation name it.
        title: what is wrong, in words.
        bend: makes it wrong.
        model: which one is audited.
        policy: which of the world's policies judges it.
        expected: the verdict that is right; None where anything is but a pass.
        inapplicable: by kind, why the case has no meaning for it.
        unseen: why nothing can find it unless something is declared; such a row may pass.
    """

    name: str
    group: str
    title: str
    bend: Bend
    model: str = "leaking"
    policy: str = "gate"
    expected: str | None = None
    inapplicable: Mapping[Kind, str] = field(default_factory=dict)
    unseen: str | None = None


# --- splits and patients --------------------------------------------------------------------------


def as_it_is(_: Draft) -> None:
    """Change nothing."""


def confirmed(draft: Draft) -> None:
    draft.spec["expect"] = {"tokens": "../../sample.parquet"}


def _with_reference(draft: Draft) -> None:
    _refer(draft, f"../../{draft.world.model('reference').name}")
    confirmed(draft)


def _exchanged(draft: Draft) -> None:
    draft.data.update(members="held_out", nonmembers="train")


def _members_of_another_split(draft: Draft) -> None:
    draft.data["members"] = "spare"


def _members_of_another_split_sampled(draft: Draft) -> None:
    _members_of_another_split(draft)
    confirmed(draft)


def _births_missing(draft: Draft) -> None:
    draft.rewrite(lambda table: table.filter(pc.not_equal(table["code"], meds.birth_code)))


def _age_left_out(draft: Draft) -> None:
    _births_missing(draft)
    del draft.tokenization["age"]


def _half_missing(draft: Draft, *, listed: bool) -> None:
    cohort = draft.rewrite(_half_of)
    if listed:
        return
    splits = cohort / meds.subject_splits_filepath
    pq.write_table(_half_of(pq.read_table(splits)), splits)


def _half_of(table: pa.Table) -> pa.Table:
    """Every other patient, by number; splits are dealt by lot, so half of each."""
    return table.filter(pc.equal(pc.bit_wise_and(table["subject_id"], 1), 0))


def _half_of_each_record(draft: Draft) -> None:
    """The first half of each patient's dated events, as of an export that ended too early."""

    def cut(table: pa.Table) -> pa.Table:
        events = np.flatnonzero(table["time"].is_valid().to_numpy())
        subjects = table["subject_id"].to_numpy()[events]
        born = np.array(table["code"].to_pylist(), dtype=object)[events] == meds.birth_code
        _, owner, count = np.unique(subjects, return_inverse=True, return_counts=True)
        first = np.concatenate([[0], count.cumsum()[:-1]])[owner]
        late = (np.arange(len(events)) - first > count[owner] // 2) & ~born
        keep = np.ones(table.num_rows, dtype=np.bool_)
        keep[events[late]] = False
        return table.filter(pa.array(keep))

    draft.rewrite(cut)


def _trained_on_both(draft: Draft) -> None:
    draft.use("both")


# --- vocabulary -----------------------------------------------------------------------------------


def _own(ids: Ids, prefix: str = "") -> list[str]:
    return [token for token in ids if token.startswith(prefix) and not token.startswith("[")]


def _shifted(by: int, prefix: str = "") -> Bend:
    def change(ids: Ids) -> Ids:
        own = _own(ids, prefix)
        return ids | {token: ids[own[(i + by) % len(own)]] for i, token in enumerate(own)}

    return lambda draft: draft.respell(change)


def _shuffled(prefix: str = "") -> Bend:
    def bend(draft: Draft) -> None:
        def change(ids: Ids) -> Ids:
            own = _own(ids, prefix)
            order = np.random.default_rng([draft.world.seed, 3]).permutation(len(own)).tolist()
            return ids | {token: ids[own[i]] for token, i in zip(own, order, strict=True)}

        draft.respell(change)

    return bend


def _confirming_itself(bend: Bend) -> Bend:
    """Let the sample be no loader's: what the wrong description itself makes of the members."""

    def bent(draft: Draft) -> None:
        bend(draft)
        spec = TokenizationSpec.model_validate(draft.tokenization)
        vocabulary = load_vocabulary(draft.folder / str(spec.vocabulary))
        cohort = draft.world.cohort("train")
        records = Tokenizer(spec, vocabulary=vocabulary, base=draft.folder).encode(
            cohort.members, cohort.codes
        )
        write_sample(draft.folder / "sample.parquet", cohort.members.subject_id, records)
        draft.spec["expect"] = {"tokens": "sample.parquet"}

    return bent


# --- the format of a record -----------------------------------------------------------------------


def _special(name: str, token: str | None) -> Bend:
    def bend(draft: Draft) -> None:
        specials = draft.tokenization["specials"]
        for other in [key for key, value in specials.items() if value == token]:
            del specials[other]
        del specials[name]
        if token is not None:
            specials[name] = token

    return bend


def _no_bos_anywhere(draft: Draft) -> None:
    """Nor does the model's own configuration name one."""
    _special("bos", None)(draft)
    own = draft.copy_model()
    config = own / "config.json" if own.is_dir() else own
    content = json.loads(config.read_text())
    content["bos_token_id" if own.is_dir() else "bosTokenId"] = None
    config.write_text(json.dumps(content))
    if own.is_dir():
        (own / "generation_config.json").unlink()


def _eos_is(token: Callable[[Ids], str]) -> Bend:
    return lambda draft: _special("eos", token(dict(draft.world.ids)))(draft)


def _no_time(draft: Draft) -> None:
    del draft.tokenization["time"]


def _other_gaps(draft: Draft) -> None:
    limits = ("7d", "90d", "730d")
    for entry, limit in zip(draft.tokenization["time"], limits, strict=False):
        entry["upTo"] = limit


def _times_rotated(draft: Draft) -> None:
    entries = draft.tokenization["time"]
    tokens = [entry["token"] for entry in entries]
    for entry, token in zip(entries, tokens[1:] + tokens[:1], strict=True):
        entry["token"] = token


def _order(*fields: str) -> Bend:
    return lambda draft: draft.tokenization.update(prefixOrder=list(fields))


def _older(years: int) -> Bend:
    """Births that many years too early, in all records."""

    def change(table: pa.Table) -> pa.Table:
        birth = pc.equal(table["code"], meds.birth_code)
        # a leap year every four: anniversaries stay within a day
        earlier = pc.subtract(table["time"], pa.scalar(timedelta(days=round(365.25 * years))))
        time = pc.if_else(birth, earlier, table["time"])
        return table.set_column(table.column_names.index("time"), "time", time)

    return lambda draft: void(draft.rewrite(change))


def void(_: object) -> None:
    """Drop a result."""


def _redealt(*prefixes: str) -> Bend:
    """Static facts of another release: each is dealt to the patients anew."""

    def bend(draft: Draft) -> None:
        rng = np.random.default_rng([draft.world.seed, 4])

        def change(table: pa.Table) -> pa.Table:
            codes = np.array(table["code"].to_pylist(), dtype=object)
            for prefix in prefixes:
                at = np.flatnonzero([code.startswith(prefix) for code in codes])
                codes[at] = codes[at][rng.permutation(len(at))]
            return table.set_column(
                table.column_names.index("code"), "code", pa.array(codes.tolist(), pa.string())
            )

        draft.rewrite(change)

    return bend


def _spelled_otherwise(draft: Draft) -> None:
    def change(table: pa.Table) -> pa.Table:
        codes = [
            f"RACE//{code.removeprefix('RACE//').title()}" if code.startswith("RACE//") else code
            for code in table["code"].to_pylist()
        ]
        return table.set_column(
            table.column_names.index("code"), "code", pa.array(codes, pa.string())
        )

    draft.rewrite(change)


# --- the model ------------------------------------------------------------------------------------


def _refer(draft: Draft, path: str) -> None:
    draft.spec["reference"] = draft.spec["model"] | {"path": path}


def _reference_is_the_model(draft: Draft) -> None:
    own = draft.folder / "reference"
    source = draft.folder / draft.spec["model"]["path"]
    if source.is_dir():
        shutil.copytree(source, own)
    else:
        shutil.copyfile(source, own)
    _refer(draft, "reference")


def _reference_saved_again(draft: Draft) -> None:
    """The same model in other bytes: weights that differ beyond what anybody could notice."""
    _reference_is_the_model(draft)
    own = draft.folder / "reference"
    if own.is_dir():
        from safetensors.numpy import load_file, save_file

        weights = load_file(own / "model.safetensors")
        shifted = {name: value * np.float32(1 + 1e-6) for name, value in weights.items()}
        save_file(shifted, own / "model.safetensors", metadata={"format": "pt"})
    else:
        content = json.loads(own.read_text())
        for record in content["memorized"]:
            record["weight"] -= 1e-6
        write_simulated(own, **content)


def _overtrained_reference(draft: Draft) -> None:
    _refer(draft, f"../../{draft.world.model('leaking-reference').name}")


def _decoy_weights(draft: Draft) -> None:
    """What lies there is the model that leaks, and what is read is another."""
    own = draft.copy_model()
    shutil.copyfile(draft.world.model("sound") / "model.safetensors", own / "decoy.safetensors")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(
        json.dumps(config | {"transformers_weights": "decoy.safetensors"})
    )


def _second_weights(draft: Draft) -> None:
    own = draft.copy_model()
    shutil.copyfile(draft.world.model("sound") / "model.safetensors", own / "other.safetensors")


def _adapter(draft: Draft) -> None:
    """The base is sound; what is released has an adapter, which is not declared."""
    from safetensors.numpy import save_file

    draft.use("sound")
    own = draft.copy_model()
    config = {"peft_type": "LORA", "base_model_name_or_path": ".", "r": 2, "target_modules": ["c"]}
    (own / "adapter_config.json").write_text(json.dumps(config))
    save_file({"lora": np.zeros((2, 2), np.float32)}, own / "adapter_model.safetensors")


def _omitting(*names: str) -> Bend:
    """Static fields are not declared, and their codes are left out like all undated ones."""

    def bend(draft: Draft) -> None:
        static = {n: glob for n, glob in draft.tokenization["static"].items() if n not in names}
        draft.tokenization.update(static=static, undated="omit")

    return bend


def _cut(length: int, window: str) -> Bend:
    """Records are said to be cut where they were not."""

    def bend(draft: Draft) -> None:
        draft.tokenization.update(maxLength=length, window=window)

    return bend


def _turned_within_a_day(draft: Draft) -> None:
    """Of events of one time those whose codes come last in the alphabet stand first."""
    draft.tokenization["sameTimeFirst"] = ["VISIT*", "PROCEDURE*", "MEDICATION*", "LAB*"]


def _short_gaps_untold(draft: Draft) -> None:
    del draft.tokenization["time"][0]["token"]


def plugin(name: str) -> Bend:
    def bend(draft: Draft) -> None:
        draft.spec["model"]["backend"] = name
        (draft.folder / OTHER).write_text(f"../../{draft.world.model('sound').name}\n")

    return bend


_ONE_FILE: Mapping[Kind, str] = {"table": "a table is one file, and names no other"}

CONTROLS = (
    Case("leaking", "rightly described", "the leaking model", confirmed, expected="fail"),
    Case(
        "sound", "rightly described", "the sound model", confirmed, model="sound", expected="pass"
    ),
    Case(
        "leaking-undeclared",
        "rightly described",
        "the leaking model, without the trainer's sequences",
        as_it_is,
        expected="fail",
    ),
    Case(
        "sound-undeclared",
        "rightly described",
        "the sound model, without the trainer's sequences",
        as_it_is,
        model="sound",
        expected="pass",
    ),
    Case(
        "leaking-with-reference",
        "rightly described",
        "the leaking model beside an honest reference",
        _with_reference,
        policy="reference",
        expected="fail",
    ),
    Case(
        "sound-with-reference",
        "rightly described",
        "the sound model beside an honest reference",
        _with_reference,
        model="sound",
        policy="reference",
        expected="pass",
    ),
)
"""Audits of which the verdict is known; the first of each policy says which cells leak."""

WRONG = (
    Case("splits-exchanged", "splits exchanged", "members and nonmembers exchanged", _exchanged),
    Case("vocabulary-shifted-1", "vocabulary shifted by one", "all ids", _shifted(1)),
    Case("vocabulary-shifted-40", "vocabulary shifted by forty", "all ids", _shifted(40)),
    Case("vocabulary-shuffled", "vocabulary shuffled", "all ids", _shuffled()),
    Case(
        "diagnoses-shuffled", "diagnoses alone shuffled", "ids of diagnoses", _shuffled("DIAGNOSIS")
    ),
    Case(
        "diagnoses-shuffled-confirmed",
        "diagnoses alone shuffled",
        "ids of diagnoses, beside a sample that says the same",
        _confirming_itself(_shuffled("DIAGNOSIS")),
    ),
    Case("no-bos", "BOS wrong", "none declared", _special("bos", None)),
    Case("no-bos-anywhere", "BOS wrong", "none, nor in the configuration", _no_bos_anywhere),
    Case("wrong-bos", "BOS wrong", "another special token", _special("bos", "[UNK]")),
    Case("no-eos", "EOS wrong", "none declared", _special("eos", None)),
    Case("wrong-eos", "EOS wrong", "another special token", _special("eos", "[UNK]")),
    Case(
        "eos-is-a-code",
        "EOS wrong",
        "a code of records",
        _special("eos", "VISIT//OUTPATIENT"),
    ),
    Case("eos-is-a-time", "EOS wrong", "a time token", _special("eos", "TIME//up to a year")),
    Case("no-time", "time tokens wrong", "none declared", _no_time),
    Case("other-gaps", "time tokens wrong", "other limits of the gaps", _other_gaps),
    Case("times-rotated", "time tokens wrong", "tokens rotated", _times_rotated),
    Case("short-gaps-untold", "time tokens wrong", "the first has no token", _short_gaps_untold),
    Case("same-time-turned", "order within a time wrong", "by kind", _turned_within_a_day),
    Case("race-omitted", "static fields left out", "race", _omitting("race")),
    Case("facts-omitted", "static fields left out", "sex and race", _omitting("sex", "race")),
    Case("cut-at-12", "cut where it was not", "the first 12 tokens", _cut(12, "first")),
    Case("last-12", "cut where it was not", "the last 12 tokens", _cut(12, "last")),
    Case("tiled-12", "cut where it was not", "pieces of 12 tokens", _cut(12, "tiled")),
    Case("sex-first", "static order wrong", "sex, race, age", _order("sex", "race", "age")),
    Case("race-before-sex", "static order wrong", "age, race, sex", _order("age", "race", "sex")),
    Case("five-years-older", "ages five years off", "births five years early", _older(5)),
    Case("five-years-younger", "ages five years off", "births five years late", _older(-5)),
    Case(
        "race-redealt", "static fields of another release", "races dealt anew", _redealt("RACE//")
    ),
    Case(
        "facts-redealt",
        "static fields of another release",
        "sexes and races dealt anew",
        _redealt("RACE//", "GENDER//"),
    ),
    Case(
        "race-spelled-otherwise",
        "static fields of another release",
        "RACE//White for RACE//WHITE",
        _spelled_otherwise,
    ),
    Case("births-missing", "births missing", "no birth in the data", _births_missing),
    Case("age-left-out", "births missing", "nor an age declared", _age_left_out),
    Case(
        "half-missing",
        "half the cohort missing",
        "listed in the splits",
        lambda draft: _half_missing(draft, listed=True),
    ),
    Case(
        "half-unlisted",
        "half the cohort missing",
        "nor listed in the splits",
        lambda draft: _half_missing(draft, listed=False),
    ),
    Case(
        "half-of-each-record",
        "half the cohort missing",
        "the later half of each record",
        _half_of_each_record,
    ),
    Case(
        "nonmembers-trained-on", "nonmembers trained on", "trained on both splits", _trained_on_both
    ),
    Case(
        "members-of-another-split",
        "members taken from another split",
        "and the policy asks what the trainer expects",
        _members_of_another_split,
        policy="requiring",
    ),
    Case(
        "members-of-another-split-sampled",
        "members taken from another split",
        "beside the trainer's own sequences",
        _members_of_another_split_sampled,
        policy="requiring",
    ),
    Case(
        "members-of-another-split-unasked",
        "members taken from another split",
        "and the policy asks nothing of the trainer",
        _members_of_another_split,
        unseen="a model knows nothing of patients whom it never saw, and a sound one nothing of"
        " its members: no data tell the two apart",
    ),
    Case(
        "reference-copy",
        "reference a copy",
        "the same files",
        _reference_is_the_model,
        policy="reference",
    ),
    Case(
        "reference-saved-again",
        "reference a copy",
        "in other bytes",
        _reference_saved_again,
        policy="reference",
    ),
    Case(
        "reference-overtrained",
        "an over-trained reference",
        "trained on the members",
        _overtrained_reference,
        policy="reference",
    ),
    Case(
        "decoy-weights",
        "decoy weights",
        "config.json names another file",
        _decoy_weights,
        inapplicable=_ONE_FILE,
    ),
    Case(
        "second-weights",
        "decoy weights",
        "a second file of weights",
        _second_weights,
        inapplicable=_ONE_FILE,
    ),
    Case(
        "undeclared-adapter",
        "an undeclared adapter",
        "beside a sound base",
        _adapter,
        inapplicable=_ONE_FILE,
    ),
    Case("draws-nothing", "plug-ins", "draws nothing", plugin("draws-nothing")),
    Case("draws-noise", "plug-ins", "draws noise", plugin("draws-noise")),
    Case("draws-another", "plug-ins", "draws from another model", plugin("draws-another")),
    Case("scores-another", "plug-ins", "scores another model", plugin("scores-another")),
)
"""What must never end in a pass."""


def draft_of(case: Case, world: World) -> Path:
    """Write a case's target into a folder of its own, anew; returns the target's file."""
    folder = world.folder / "cases" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draft = Draft(world, folder, world.target(case.model))
    case.bend(draft)
    return draft.write()


def reason_inapplicable(case: Case, kind: Kind) -> str | None:
    """Say why a case has no meaning for a kind of model, or None where it has."""
    assert kind in KINDS
    return case.inapplicable.get(kind)
