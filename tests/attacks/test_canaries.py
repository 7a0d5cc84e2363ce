"""Canaries: well-formed, implausible, decided by a coin, and refused when they were not."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from canary_builder import HALVES, LAB, UNSPOKEN, opened, settings, write_target
from command_line import Command
from meds_builder import Patient, make_vocabulary, write_meds

from checker.attacks.canary_exposure.drawing import Steps, draw_canaries
from checker.attacks.canary_exposure.making import make_canaries
from checker.attacks.canary_exposure.manifest import (
    Canary,
    CanaryEvents,
    CanaryManifest,
    coin,
    load_manifest,
    refuse_non_randomised,
)
from checker.attacks.canary_exposure.planted import open_canaries
from checker.errors import DataError, DocumentError, UsageError
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import KIND_EVENT, Tokenizer

FIRST = 900_000_000


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def made(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard `shard` and its manifest `manifest.json`; read only."""
    folder = tmp_path_factory.mktemp("made")
    make(target, folder)
    return folder


def make(target: Path, folder: Path, **changes: int) -> CanaryManifest:
    document, _, _ = opened(target)
    return make_canaries(
        document.spec,
        base=target.parent,
        settings=settings(**changes),
        out=folder / "shard",
        manifest=folder / "manifest.json",
    )


def draw(target: Path, **changes: int) -> tuple[tuple[Canary, ...], list[CanaryEvents]]:
    """Draw canaries; return them, and all records, those of beacons too."""
    _, cohort, rules = opened(target)
    canaries, beacons = draw_canaries(
        cohort, rules, settings=settings(**changes), first_subject=FIRST
    )
    return canaries, [one.record for one in canaries] + [one.record for one in beacons]


# --- what canaries are --------------------------------------------------------------------------


def test_every_event_and_fact_of_a_canary_has_a_token(target: Path, made: Path) -> None:
    _, cohort, rules = opened(target)
    planted = open_canaries(made / "manifest.json", cohort=cohort, tokenizer=rules, max_length=None)
    words = [
        [rules.vocabulary.tokens[token] or "" for token in sequence]
        for sequence in planted.sequences
    ]
    assert len(words) == 103
    for own in words:
        assert own[0] == "[BOS]"
        assert own[1].startswith("AGE//")
        assert own[2].startswith("GENDER//")
        assert own[3].startswith("RACE//")
        assert own[-1] == "[EOS]"
        events = [word for word in own[4:-1] if not word.startswith("T//")]
        assert len(events) == 8
        assert all(word.startswith(("DX//", "LAB//K//Q")) for word in events)
        assert "[UNK]" not in own
    everything = {word for own in words for word in own}
    assert everything >= {*HALVES[0], *HALVES[1], "LAB//K//Q1", "LAB//K//Q3", "T//30d", "T//more"}


def test_codes_stand_together_that_no_patient_has_together(target: Path) -> None:
    _, records = draw(target)
    both = [
        {code[4] for code in record.codes if code.startswith("DX//")} >= {"A", "B"}
        for record in records
    ]
    # of eight codes drawn evenly, all from one half is 2 · 0.5^8 = 1 %
    assert np.mean(both) > 0.9


def test_natural_canaries_go_from_code_to_code_as_two_patients_did(target: Path) -> None:
    _, cohort, rules = opened(target)
    takers: dict[tuple[str, str], set[int]] = {}
    for split in (cohort.members, cohort.nonmembers):
        for i, (start, end) in enumerate(zip(split.offsets[:-1], split.offsets[1:], strict=True)):
            own = [cohort.codes[c] for c in split.code[start + 3 : end]]
            for step in itertools.pairwise(own):
                takers.setdefault(step, set()).add(int(split.subject_id[i]))
    canaries, beacons = draw_canaries(
        cohort, rules, settings=settings(count=200, beacons=4, events=12, natural=0.5),
        first_subject=FIRST,
    )  # fmt: skip
    assert sum(one.natural for one in canaries) == 100
    assert sum(one.natural for one in beacons) == 2
    shared = {True: 0, False: 0}
    drawn = [(one.record, one.natural) for one in canaries]
    drawn += [(one.record, one.natural) for one in beacons]
    for record, natural in drawn:
        events = record.codes[3:]
        ends = (events[:4], events[8:])
        steps = [step for own in ends for step in itertools.pairwise(own)]
        taken = sum(len(takers.get(step, ())) > 1 for step in steps)
        shared[natural] += taken
        if natural:  # of six steps a walk may begin anew, where nobody goes on
            assert taken >= 2
    # of steps that are drawn evenly hardly any is one that two patients took
    assert shared[True] > 3 * shared[False]
    middles = {code for one in canaries if one.natural for code in one.record.codes[7:11]}
    assert middles >= {*HALVES[0], *HALVES[1]}
    # in which order the kinds stand tells nothing, and a coin decides within each
    places = [i for i, one in enumerate(canaries) if one.natural]
    assert 70 < np.mean(places) < 130
    for kind in (True, False):
        assert 30 <= sum(one.included for one in canaries if one.natural is kind) <= 70


@pytest.mark.parametrize("patients", [2, 40])
def test_no_natural_canary_goes_far_as_one_patient_alone_did(patients: int) -> None:
    """Each step is one that two took, and further than two steps no run is one patient's."""
    rng = np.random.default_rng(patients)
    codes = np.arange(100, 130, dtype=np.int32)
    told = rng.choice(codes, size=60 * patients, p=np.arange(30, 0, -1) / 465)
    who = np.repeat(np.arange(patients), 60)
    takers: dict[tuple[int, ...], set[int]] = {}
    for i in range(patients):
        own = (told[who == i] - 100).tolist()
        for size in range(2, 14):
            for at in range(len(own) - size + 1):
                takers.setdefault(tuple(own[at : at + size]), set()).add(i)
    steps = Steps.of(codes, told, who)
    taken, walks = 0, 200
    for _ in range(walks):
        walk = steps.walk(12, rng=rng).tolist()
        assert len(walk) == 12
        taken += sum(len(takers.get(step, ())) > 1 for step in itertools.pairwise(walk))
        for size in range(4, 13):
            runs = (tuple(walk[at : at + size]) for at in range(12 - size + 1))
            assert not any(len(takers.get(run, ())) == 1 for run in runs)
    assert taken > (4 if patients == 2 else 8) * walks


def test_where_each_walk_is_one_patients_that_is_said() -> None:
    own = np.tile(np.arange(2, dtype=np.int32), 20)
    codes = np.arange(3, dtype=np.int32)
    told, who = np.append(own, [0, 1, 0]), np.append(np.zeros(40, np.int64), [1, 1, 1])
    with pytest.raises(DataError, match="too few patients take the same steps"):
        Steps.of(codes, told, who).walk(12, rng=np.random.default_rng(0))


def test_each_kind_has_a_beacon(target: Path) -> None:
    _, cohort, rules = opened(target)

    def natural_beacons(beacons: int, natural: float) -> int:
        _, own = draw_canaries(
            cohort, rules, settings=settings(count=20, beacons=beacons, natural=natural),
            first_subject=FIRST,
        )  # fmt: skip
        return sum(one.natural for one in own)

    assert [natural_beacons(2, share) for share in (0, 0.1, 0.5, 0.9, 1)] == [0, 1, 1, 1, 2]
    assert [natural_beacons(1, share) for share in (0, 1)] == [0, 1]
    assert natural_beacons(0, 0.5) == 0
    with pytest.raises(DataError, match="two kinds need a beacon each"):
        natural_beacons(1, 0.5)


def test_without_a_step_that_two_patients_took_none_is_natural(target: Path) -> None:
    _, cohort, rules = opened(target)
    one, nobody = (cohort.members.select(np.arange(count)) for count in (1, 0))
    cohort = replace(cohort, members=one, nonmembers=nobody)
    with pytest.raises(DataError, match="no step from one code to the next"):
        draw_canaries(cohort, rules, settings=settings(count=20, natural=0.5), first_subject=FIRST)


def test_codes_are_drawn_evenly_and_never_those_without_a_token_or_of_death(target: Path) -> None:
    _, records = draw(target, count=600)
    dated = [code for record in records for code in record.codes[3:]]
    counts = {code: dated.count(code) for code in set(dated)}
    assert set(counts) == {*HALVES[0], *HALVES[1], LAB}
    assert UNSPOKEN not in counts
    # 603 · 8 / 41 = 118 each, ± 5 standard deviations of √118 = 10.9
    assert all(abs(count - 118) < 55 for count in counts.values())


def test_a_canary_holds_no_patients_dates_and_stays_within_the_time_of_the_data(
    target: Path,
) -> None:
    _, cohort, _ = opened(target)
    _, records = draw(target)
    birth = cohort.codes.index(meds.birth_code)
    known = {
        (int(b), int(f))
        for split in (cohort.members, cohort.nonmembers)
        for b, f in zip(
            split.time_us[split.code == birth], split.time_us[split.offsets[:-1] + 2], strict=True
        )
    }
    latest = max(cohort.members.time_us.max(), cohort.nonmembers.time_us.max())
    own = [
        (record.times_us[record.codes.index(meds.birth_code)], record.times_us[3])
        for record in records
    ]
    assert not known.intersection(own)
    assert all(record.times_us[-1] <= latest for record in records)
    assert all(birth is not None and first is not None and birth < first for birth, first in own)


def test_equal_seeds_draw_equal_canaries_and_others_do_not(target: Path) -> None:
    first, again, other = (draw(target, seed=seed)[0] for seed in (4, 4, 5))
    assert first == again
    assert not {one.record for one in first} & {one.record for one in other}


def test_a_fair_coin_decides_each_canary_on_its_own() -> None:
    records = [CanaryEvents(codes=("A",), times_us=(i,), values=(None,)) for i in range(2000)]
    included = np.array([coin(record, seed=1) for record in records])
    # ± 3.3 standard deviations of √(2000 / 4) = 22.4
    assert abs(included.sum() - 1000) < 74
    assert abs((included[1:] != included[:-1]).sum() - 999.5) < 74


def test_subject_ids_tell_nothing_and_collide_with_nobody(target: Path, made: Path) -> None:
    manifest = load_manifest(made / "manifest.json")
    ids = manifest.subject_ids
    assert len(set(ids)) == 112  # 100 canaries and 3 · 4 beacons
    everybody = pq.read_table(target.parent / "data" / meds.subject_splits_filepath)
    assert not set(ids) & set(everybody["subject_id"].to_pylist())
    included = [one.included for one in manifest.canaries]
    place = np.argsort(np.argsort(ids[:100]))
    # mean rank of about 50 included of 100: 49.5, standard deviation √(101 · 50 / (12 · 50)) = 2.9
    assert abs(place[included].mean() - 49.5) < 12


def test_without_an_age_or_a_token_for_it_there_is_no_birth(tmp_path: Path) -> None:
    _, records = draw(write_target(tmp_path, age=None))
    assert all(meds.birth_code not in record.codes for record in records)


def test_canaries_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    target = write_target(tmp_path, maxLength=12)
    # BOS, age, sex, race, 8 events, EOS: 13 without any time token
    with pytest.raises(DataError, match=r"8 events has 1[3-9] tokens, but .*Length is 12; ask for"):
        draw(target, count=40)
    assert draw(target, count=40, events=4)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        # 2^4 different records of four events
        (
            ["A", "B"],
            r"of 23 canaries only 1[0-6] that differ .* from 2 dated codes; ask for fewer",
        ),
        (["A"], "data set 'made-up 1' has fewer than two dated codes that the vocabulary knows"),
    ],
)
def test_too_few_codes_for_so_many_canaries_are_named(
    tmp_path: Path, codes: list[str], message: str
) -> None:
    patients = [[(code, day) for day, code in enumerate(codes)], [(codes[0], 0)]]
    write_meds(tmp_path / "data", {"train": patients, "held_out": patients})
    cohort = load_cohort(DataSpec(path="data"), base=tmp_path)
    spec = TokenizationSpec(vocabulary="vocab")
    rules = Tokenizer(spec, vocabulary=make_vocabulary(codes), base=tmp_path)
    with pytest.raises(DataError, match=message):
        draw_canaries(cohort, rules, settings=settings(count=20, events=4), first_subject=FIRST)


def test_a_vocabulary_of_other_data_is_named(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(target.parent, folder)
    ids = json.loads((folder / "vocab.json").read_text())
    kept = [token for token in ids if not token.startswith("DX//")]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(kept)}))
    with pytest.raises(DataError, match=r"the vocabulary lacks .* of the \d+ events"):
        draw(folder / "target.yaml")


# --- the files ----------------------------------------------------------------------------------


def test_the_shard_holds_the_included_ones_and_each_beacon_many_times(made: Path) -> None:
    manifest = load_manifest(made / "manifest.json")
    content = (made / "shard/data/train/canaries.parquet").read_bytes()
    table = pq.read_table(pa.BufferReader(content))
    meds.DataSchema.validate(table)
    expected = {one.subject_id: one.record for one in manifest.canaries if one.included}
    expected |= {s: one.record for one in manifest.beacons for s in one.subject_ids}
    assert len(expected) == manifest.included + 12
    assert set(table["subject_id"].to_pylist()) == set(expected)
    for subject, record in expected.items():
        rows = table.filter(pa.compute.equal(table["subject_id"], subject))
        assert tuple(rows["code"].to_pylist()) == record.codes
        assert tuple(rows["time"].cast(pa.int64()).to_pylist()) == record.times_us
        assert tuple(rows["numeric_value"].to_pylist()) == record.values
    assert hashlib.sha256(content).hexdigest() == manifest.shard_sha256
    meds.SubjectSplitSchema.validate(pq.read_table(made / "shard" / meds.subject_splits_filepath))
    codes = pq.read_table(made / "shard" / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(codes)
    assert {"code": LAB, "description": "Potassium", "parent_codes": ["LAB"]} in codes.to_pylist()


@pytest.mark.parametrize("with_splits", [True, False])
def test_the_shard_loads_together_with_the_data_set(
    target: Path, made: Path, tmp_path: Path, with_splits: bool
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(target.parent / "data", whole)
    shutil.copytree(made / "shard/data", whole / "data", dirs_exist_ok=True)
    if with_splits:
        parts = [
            pq.read_table(root / meds.subject_splits_filepath) for root in (whole, made / "shard")
        ]
        splits = pa.concat_tables(part.cast(parts[0].schema) for part in parts)
        pq.write_table(splits, whole / meds.subject_splits_filepath)
    else:
        (whole / meds.subject_splits_filepath).unlink()
    cohort = load_cohort(DataSpec(path="whole"), base=tmp_path)
    planted = load_manifest(made / "manifest.json").included + 12
    assert (len(cohort.members), len(cohort.nonmembers)) == (30 + planted, 30)
    _, _, rules = opened(target)
    tokens = rules.encode(cohort.members, cohort.codes)
    unknown = rules.vocabulary.ids["[UNK]"]
    assert (tokens.tokens[tokens.kind == KIND_EVENT] == unknown).sum() == 1  # patient 0's


def test_the_manifest_is_for_the_auditor_only(made: Path) -> None:
    path = made / "manifest.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    left_out = [one for one in load_manifest(path).canaries if not one.included]
    shard = b"".join(file.read_bytes() for file in (made / "shard").rglob("*") if file.is_file())
    assert not any(str(one.subject_id).encode() in shard for one in left_out)
    readme = (made / "shard/README.txt").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in readme
    assert "split 'train'" in readme
    assert "112" not in readme


@pytest.mark.parametrize(
    ("out", "manifest", "message"),
    [
        ("shard", "shard/manifest.json", "lies in the shard's folder"),
        ("shard", "data/manifest.json", "lies in the data set's folder"),
        ("data/shard", "manifest.json", "must lie apart from the data set"),
        (".", "elsewhere/manifest.json", "is there already and not an empty folder"),
        ("shard", "vocab.json", "is there already; name a new manifest"),
        ("vocab.json/shard", "manifest.json", "were not written"),
    ],
)
def test_files_go_only_where_they_may(
    target: Path, tmp_path: Path, phigate: Command, out: str, manifest: str, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(target.parent, folder)
    before = sorted(folder.rglob("*"))
    found = phigate(
        "canaries", "make", folder / "target.yaml",
        "--out", folder / out, "--manifest", folder / manifest, "--events", 8,
    )  # fmt: skip
    assert found.code == 2
    assert message in found.err
    assert sorted(folder.rglob("*")) == before


def test_the_command_writes_both_and_draws_a_seed_when_none_is_given(
    target: Path, tmp_path: Path, phigate: Command
) -> None:
    seeds = set()
    for name in ("one", "two"):
        found = phigate(
            "canaries", "make", target, "--count", 60, "--events", 8, "--beacons", 0,
            "--out", tmp_path / name / "shard", "--manifest", tmp_path / name / "manifest.json",
        )  # fmt: skip
        assert found.code == 0
        manifest = load_manifest(tmp_path / name / "manifest.json")
        assert f"{manifest.included} of 60 canaries, to train on with split 'train'" in found.out
        assert manifest.beacons == ()
        seeds.add(manifest.settings.seed)
    assert len(seeds) == 2
    again = phigate(
        "canaries", "make", target,
        "--out", tmp_path / "one/shard", "--manifest", tmp_path / "new.json",
    )  # fmt: skip
    assert (again.code, "is there already" in again.err) == (2, True)


def test_more_subjects_than_ids_are_left_is_an_error(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(target.parent, folder)
    table = pa.table(
        {
            "subject_id": pa.array([2**63 - 5], pa.int64()),
            "time": pa.array([None], pa.timestamp("us")),
            "code": ["GENDER//F"],
            "numeric_value": pa.array([None], pa.float32()),
        }
    )
    pq.write_table(table, folder / "data/data/train/1.parquet")
    with pytest.raises(DataError, match="leaves none for canaries"):
        make(folder / "target.yaml", tmp_path)


# --- reading a manifest -------------------------------------------------------------------------


def changed(made: Path, folder: Path, change: object) -> Path:
    """Write the manifest once more, after `change(value)`."""
    value = json.loads((made / "manifest.json").read_text())
    change(value)  # type: ignore[operator]
    path = folder / "changed.json"
    path.write_text(json.dumps(value))
    return path


def test_a_manifest_from_before_there_were_natural_ones_is_read(
    target: Path, tmp_path: Path
) -> None:
    written = make(target, tmp_path)

    def older(value: dict[str, Any]) -> None:
        del value["settings"]["natural"]
        for one in (*value["canaries"], *value["beacons"]):
            del one["natural"]

    assert load_manifest(changed(tmp_path, tmp_path, older)) == written


def test_a_manifest_is_read_as_it_was_written(target: Path, tmp_path: Path) -> None:
    written = make(target, tmp_path)
    read = load_manifest(tmp_path / "manifest.json")
    assert read == written
    assert read.sha256 == written.sha256
    assert read.data_sha256 == opened(target)[1].sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"kind": "CanaryManifest",\n  "seed" 3}', ":2:10: is not valid JSON"),
        (b'{"kind": "\xff"}', "byte 11 is not UTF-8"),
        (b"[" * 100_000, "nests deeper than"),
        (b"[1, 2]", "is no manifest of canaries"),
        (b'{"kind": "AuditPlan"}', "name the file that `phigate canaries make` wrote"),
        (b'{"kind": "CanaryManifest"}', "shardSha256: Field required"),
    ],
)
def test_what_is_no_manifest_is_said_with_its_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"m\.json: there is no such file"):
        load_manifest(tmp_path / "m.json")
    with pytest.raises(DocumentError, match="this is a folder"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["canaries"][2].update(included="yes"), "canaries[2].included: "),
        (lambda v: v["canaries"][1]["record"]["codes"].pop(), "canaries[1].record: codes, times"),
        (lambda v: v["canaries"][1]["record"]["timesUs"].reverse(), "timesUs must be ascending"),
        (lambda v: v["canaries"].pop(), "settings announce 100 canaries, but there are 99"),
        (lambda v: v["beacons"].pop(), "settings announce 3 beacons, but there are 2"),
        (
            lambda v: v["canaries"][3].update(subjectId=v["canaries"][4]["subjectId"]),
            "a subject id stands in it twice",
        ),
        (
            lambda v: v["canaries"][3].update(record=v["canaries"][4]["record"]),
            "a record stands in it twice",
        ),
        (lambda v: v.update(schemaVersion="2"), "schemaVersion: "),
        (lambda v: v.update(note="hi"), "note: "),
    ],
)
def test_a_manifest_that_contradicts_itself_is_said_with_the_place(
    made: Path, tmp_path: Path, change: object, message: str
) -> None:
    path = changed(made, tmp_path, change)
    with pytest.raises(DocumentError) as caught:
        load_manifest(path)
    assert message in str(caught.value)


# --- inclusion that was no coin flip ------------------------------------------------------------


def test_the_coins_can_be_thrown_again(made: Path) -> None:
    manifest = load_manifest(made / "manifest.json")
    refuse_non_randomised(manifest)
    seed = manifest.settings.seed
    assert [coin(one.record, seed=seed) for one in manifest.canaries] == [
        one.included for one in manifest.canaries
    ]


def test_the_coin_of_a_record_never_changes() -> None:
    record = CanaryEvents(codes=("A", "B"), times_us=(None, 5), values=(None, 1.5))
    # HMAC-SHA-256, key "phigate canary coin SEED", of
    # {"codes":["A","B"],"timesUs":[null,5],"values":[null,1.5]}, as `openssl dgst -hmac` gives it;
    # the first byte's last bit
    assert [coin(record, seed=seed) for seed in range(6)] == COINS


COINS = [True, False, True, False, False, False]


def test_a_share_that_coins_do_not_give_is_refused(made: Path, tmp_path: Path) -> None:
    def include_all(value: dict[str, list[dict[str, bool]]]) -> None:
        for one in value["canaries"]:
            one["included"] = True

    path = changed(made, tmp_path, include_all)
    with pytest.raises(DataError, match="100 of 100 canaries are included, which fair coins do"):
        load_manifest(path)


def test_one_coin_turned_over_is_refused(made: Path, tmp_path: Path) -> None:
    def turn(value: dict[str, list[dict[str, bool]]]) -> None:
        value["canaries"][7]["included"] ^= True

    path = changed(made, tmp_path, turn)
    with pytest.raises(DataError, match=r"for 1 of 100 canaries, the first of them canaries\[7\]"):
        load_manifest(path)


def test_another_seed_and_another_order_are_no_way_round(made: Path, tmp_path: Path) -> None:
    path = changed(made, tmp_path, lambda value: value["settings"].update(seed=2))
    with pytest.raises(DataError, match="no longer, a coin flip"):
        load_manifest(path)
    # coins belong to the records: their order decides nothing, so sorting patients cannot help
    manifest = load_manifest(made / "manifest.json")
    backwards = manifest.model_copy(update={"canaries": manifest.canaries[::-1]})
    refuse_non_randomised(backwards)


def test_a_list_of_ordinary_patients_is_refused(target: Path, made: Path) -> None:
    _, cohort, _ = opened(target)
    manifest = load_manifest(made / "manifest.json")
    patients = [
        Canary(
            subject_id=int(split.subject_id[i]),
            included=split is cohort.members,
            record=record_of(split, cohort.codes, i),
        )
        for split in (cohort.members, cohort.nonmembers)
        for i in range(30)
    ]
    listed = manifest.model_copy(update={"canaries": tuple(patients)})
    with pytest.raises(DataError, match="never a list of patients"):
        refuse_non_randomised(listed)


def record_of(split: object, codes: tuple[str, ...], i: int) -> CanaryEvents:
    records = split.select(np.array([i]))  # type: ignore[attr-defined]
    times = [None if t == np.iinfo(np.int64).min else t for t in records.time_us.tolist()]
    values = [None if np.isnan(v) else v for v in records.value.tolist()]
    own = tuple(codes[c] for c in records.code.tolist())
    return CanaryEvents(codes=own, times_us=tuple(times), values=tuple(values))


# --- for an audit -------------------------------------------------------------------------------


def test_canaries_among_the_audited_patients_are_refused(
    target: Path, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(target.parent / "data", tmp_path / "whole")
    shutil.copytree(made / "shard/data", tmp_path / "whole/data", dirs_exist_ok=True)
    (tmp_path / "whole" / meds.subject_splits_filepath).unlink()
    cohort = load_cohort(DataSpec(path="whole"), base=tmp_path)
    with pytest.raises(
        DataError, match=r"of its subjects stand in the audited splits .* data\.path"
    ):
        open_canaries(
            made / "manifest.json", cohort=cohort, tokenizer=opened(target)[2], max_length=None
        )


def test_a_patient_under_another_name_is_refused(target: Path, made: Path, tmp_path: Path) -> None:
    manifest = load_manifest(made / "manifest.json")
    record = manifest.canaries[0].record
    spare: Patient = [
        (code, None if time is None else time / 86_400e6 - 18_262)  # days from 1970 to 2020
        for code, time in zip(record.codes, record.times_us, strict=True)
    ]
    target_of = opened(target)
    patients: list[Patient] = [[("GENDER//F", None), ("RACE//WHITE", 0), ("DX//A1", 0)], spare]
    write_meds(tmp_path / "other", {"train": patients[:1], "held_out": patients[1:]})
    cohort = load_cohort(DataSpec(path="other"), base=tmp_path)
    with pytest.raises(DataError, match="1 of its records are those of ordinary patients"):
        open_canaries(
            made / "manifest.json", cohort=cohort, tokenizer=target_of[2], max_length=None
        )


def test_another_tokenization_or_a_shorter_context_is_refused(
    target: Path, made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(target.parent, folder)
    ids = json.loads((folder / "vocab.json").read_text())
    del ids["DX//A3"]
    (folder / "vocab.json").write_text(json.dumps(ids))
    _, cohort, other = opened(folder / "target.yaml")
    path = made / "manifest.json"
    with pytest.raises(DataError, match=r"such as 'DX//A3' .* made for another tokenization"):
        open_canaries(path, cohort=cohort, tokenizer=other, max_length=None)
    with pytest.raises(DataError, match="a sequence holds at most 12; plant canaries of fewer"):
        open_canaries(path, cohort=cohort, tokenizer=opened(target)[2], max_length=12)


def test_places_are_checked_before_anything_is_drawn(target: Path, tmp_path: Path) -> None:
    make(target, tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        make(target, tmp_path)
