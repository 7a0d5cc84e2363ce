from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds_builder import FIRST_SUBJECT, Event, Patient, events_table, write_meds, write_splits

from checker.errors import DataError
from checker.policy.documents import DataSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import STATIC_TIME, Records

DATA = Path(__file__).parents[3] / "shared" / "data"

ANNA: list[Event] = [
    ("GENDER//F", None),
    ("MEDS_BIRTH", -7000),
    ("DX//A", 0),
    ("LAB//X", 1.5, 7.25),
]
BERT: list[Event] = [("GENDER//M", None), ("DX//B", 3)]
CARL: list[Event] = [("DX//A", 1), ("DX//C", 1), ("DX//A", 2)]
DORA: list[Event] = [("DX//D", 5)]
SPLITS: dict[str, Sequence[Patient]] = {"train": [ANNA, BERT], "tuning": [DORA], "held_out": [CARL]}


def load(root: Path, **spec: Any) -> Cohort:
    return load_cohort(DataSpec(path=root.name, **spec), base=root.parent)


def spelled(cohort: Cohort, records: Records) -> list[list[Event]]:
    """Return (code, day or None, value or None) of every patient."""
    patients = []
    for i in range(len(records)):
        events = []
        for e in range(records.offsets[i], records.offsets[i + 1]):
            static = records.time_us[e] == STATIC_TIME
            day = None if static else (records.time_us[e] / 86_400e6) - 18_262  # 2020-01-01
            value = records.value[e]
            event = cohort.codes[records.code[e]], day
            events.append(event if np.isnan(value) else (*event, float(value)))
        patients.append(events)
    return patients


def refused(root: Path, **spec: Any) -> str:
    """Return the message, after checking that it names no subject."""
    with pytest.raises(DataError) as caught:
        load(root, **spec)
    message = str(caught.value)
    assert str(FIRST_SUBJECT)[:6] not in message
    return message


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_members_and_nonmembers_are_read_in_either_layout(
    tmp_path: Path, layout: Literal["folders", "flat"]
) -> None:
    cohort = load(write_meds(tmp_path / "made", SPLITS, layout=layout))
    assert spelled(cohort, cohort.members) == [ANNA, BERT]
    assert spelled(cohort, cohort.nonmembers) == [CARL]
    assert cohort.members.subject_id.tolist() == [FIRST_SUBJECT, FIRST_SUBJECT + 1]
    assert cohort.name == "made-up 1"


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_spare_patients_are_read_from_their_splits(
    tmp_path: Path, layout: Literal["folders", "flat"]
) -> None:
    splits = {**SPLITS, "later": [BERT, CARL]}
    root = write_meds(tmp_path / "made", splits, layout=layout)
    plain = load(root)
    assert len(plain.spare) == 0
    for spare, patients in (("tuning", [DORA]), (["later", "tuning"], [BERT, CARL, DORA])):
        cohort = load(root, spare=spare)
        assert spelled(cohort, cohort.spare) == patients
        assert spelled(cohort, cohort.members) == [ANNA, BERT]
        assert cohort.sha256 != plain.sha256


def test_a_spare_split_without_patients_is_refused(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", {**SPLITS, "later": []})
    assert "there is no split 'later'" in refused(root, spare="later")


def test_columns_have_the_types_they_promise(tmp_path: Path) -> None:
    members = load(write_meds(tmp_path / "made", SPLITS)).members
    assert len(members) == 2
    assert [a.dtype for a in (members.subject_id, members.offsets, members.code)] == [
        np.int64,
        np.int64,
        np.int32,
    ]
    assert members.time_us.dtype == np.int64
    assert members.value.dtype == np.float32


def test_folders_decide_only_where_no_splits_are_written(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, with_splits=False)
    assert spelled(load(root), load(root).nonmembers) == [CARL]
    # the table says otherwise, and the table is what MEDS calls the splits
    write_splits(root, [(FIRST_SUBJECT + i, s) for i, s in enumerate(["held_out", "train"])])
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [BERT]
    assert spelled(cohort, cohort.nonmembers) == [ANNA]


def test_shards_may_be_nested_and_empty(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, with_splits=False)
    deep = root / "data" / "train" / "site" / "1.parquet"
    deep.parent.mkdir()
    pq.write_table(events_table({5: DORA}), deep)
    empty = pa.table({"subject_id": [], "time": [], "code": []})  # without rows types mean nothing
    pq.write_table(empty, root / "data" / "train" / "2.parquet")
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [ANNA, BERT, DORA]


def test_codes_that_are_only_described_follow_those_that_occur(tmp_path: Path) -> None:
    root = write_meds(
        tmp_path / "made",
        {"train": [[("B", 0)]], "held_out": [[("A", 0)]]},
        descriptions={"A": "first", "0": "of a patient in no split"},
        parents={"0": ["ICD10CM/B20"]},
    )
    cohort = load(root)
    assert cohort.codes == ("A", "B", "0")
    assert cohort.descriptions == ("first", None, "of a patient in no split")
    assert cohort.parents == ((), (), ("ICD10CM/B20",))


def test_every_file_is_digested_and_a_change_changes_the_cohort(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    before = load(root)
    for name, sha256 in before.files.items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == sha256
    assert set(before.files) == {
        "metadata/dataset.json",
        "metadata/codes.parquet",
        "metadata/subject_splits.parquet",
        *(f"data/{split}/0.parquet" for split in SPLITS),
    }
    assert load(root).sha256 == before.sha256
    swapped = load(root, members="held_out", nonmembers="train")
    assert swapped.sha256 != before.sha256
    pq.write_table(events_table({5: DORA}), root / "data" / "train" / "1.parquet")
    assert load(root).sha256 != before.sha256


@pytest.mark.parametrize(
    "time",
    [
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("ns"),
        pa.timestamp("us", tz="UTC"),
    ],
)
def test_other_units_types_and_row_groups_are_tolerated(tmp_path: Path, time: Any) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "train" / "0.parquet"
    table = pq.read_table(path)
    schema = pa.schema(
        [
            ("subject_id", pa.int32()),
            ("time", time),
            ("code", pa.large_string()),
            ("numeric_value", pa.float64()),
        ]
    )
    pq.write_table(table.cast(schema), path, row_group_size=2)
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [ANNA, BERT]


def test_dictionary_codes_and_a_missing_value_column_are_tolerated(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "held_out" / "0.parquet"
    table = pq.read_table(path).drop_columns(["numeric_value"])
    codes = table["code"].dictionary_encode()
    pq.write_table(table.set_column(2, "code", codes), path, row_group_size=1)
    cohort = load(root)
    assert spelled(cohort, cohort.nonmembers) == [CARL]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.dictionary(pa.int16(), pa.large_string())])
def test_text_and_numbers_are_read_in_whichever_form_they_are_stored(
    tmp_path: Path, kind: Any
) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "train" / "0.parquet"
    table = pq.read_table(path)
    table = table.set_column(2, "code", table["code"].cast(kind))
    value = table["numeric_value"].cast(pa.decimal128(9, 2))
    pq.write_table(table.set_column(3, "numeric_value", value), path)
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [ANNA, BERT]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_are_midnights(tmp_path: Path, kind: Any) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "held_out" / "0.parquet"
    table = pq.read_table(path)
    dates = pa.array(table["time"].cast(pa.date32(), safe=False).to_pylist(), kind)
    pq.write_table(table.set_column(1, "time", dates), path)
    cohort = load(root)
    assert spelled(cohort, cohort.nonmembers) == [CARL]


def test_numbers_of_patients_may_be_decimal_and_splits_any_kind_of_text(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat")
    for path, column, kind in (
        (root / "data" / "0.parquet", "subject_id", pa.decimal128(20, 0)),
        (root / "metadata" / "subject_splits.parquet", "split", pa.string_view()),
    ):
        table = pq.read_table(path)
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, table[column].cast(kind)), path)
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [ANNA, BERT]


def test_a_link_to_nowhere_and_files_of_another_ending_are_told_as_such(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, with_splits=False)
    shard = root / "data" / "train" / "0.parquet"
    shard.rename(shard.with_suffix(".PARQUET"))
    assert len(load(root).members) == 2
    shard.with_suffix(".PARQUET").rename(shard.with_suffix(".zstd"))
    assert refused(root) == f"{shard.parent}: holds no files that end in .parquet"
    shard.symlink_to("nowhere")
    assert "is a link that leads nowhere" in refused(root)


def test_an_older_meds_is_named_with_what_lifts_it(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat")
    shard, splits = root / "data" / "0.parquet", root / "metadata" / "subject_splits.parquet"
    table = pq.read_table(shard)
    names = {"subject_id": "patient_id"}
    older = table.rename_columns([names.get(name, name) for name in table.column_names])
    pq.write_table(older, shard)
    message = refused(root)
    assert "as MEDS 0.3.0 has it; rename the column to 'subject_id' in all files" in message
    rows = older.drop_columns(["patient_id"]).to_pylist()
    pq.write_table(pa.table({"patient_id": [1], "events": [rows]}), shard)
    assert "as MEDS 0.1 and 0.2 have it; convert the source anew" in refused(root)
    shutil.rmtree(root)
    root = write_meds(tmp_path / "made", SPLITS, with_splits=False)
    listed = pa.table({"patient_id": [1], "split": ["train"]})
    pq.write_table(listed, splits.with_name("patient_splits.parquet"))
    assert "where MEDS 0.3.0 has the splits; rename it to metadata/subject_splits" in refused(root)


def test_bookkeeping_of_other_tools_is_no_data_and_links_are_followed(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat")
    data = root / "data"
    for name in ("_delta_log/10.checkpoint.parquet", "_temporary/0.parquet", ".part/0.parquet"):
        (data / name).parent.mkdir()
        pq.write_table(pa.table({"txn": [1]}), data / name)
    (tmp_path / "elsewhere").mkdir()
    (data / "0.parquet").rename(tmp_path / "elsewhere" / "0.parquet")
    (data / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    cohort = load(root)
    assert spelled(cohort, cohort.members) == [ANNA, BERT]
    assert list(cohort.files)[-1] == "data/linked/0.parquet"


def test_a_folder_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat")
    shard = root / "data" / "0.parquet"
    content = shard.read_bytes()
    shard.unlink()
    shard.mkdir()
    (shard / "part-0.parquet").write_bytes(content)
    assert spelled(load(root), load(root).members) == [ANNA, BERT]


def test_several_rows_of_one_code_are_joined(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    rows = {
        "code": ["DX//A", "DX//A", "DX//A"],
        "description": [None, "of A", "also of A"],
        "parent_codes": pa.array([["ICD10CM/B20"], None, ["ICD10CM/B20", "LOCAL//1"]]),
    }
    pq.write_table(pa.table(rows), root / "metadata" / "codes.parquet")
    cohort = load(root)
    at = cohort.codes.index("DX//A")
    assert cohort.descriptions[at] == "of A"
    assert cohort.parents[at] == ("ICD10CM/B20", "LOCAL//1")


@pytest.mark.parametrize(
    "parents",
    [
        pa.array([["ICD10CM/B20", "LOCAL//1"], None, []], pa.list_(pa.large_string())),
        pa.array([["ICD10CM/B20", "LOCAL//1"], None, None], pa.list_(pa.string_view())),
        pa.array([["ICD10CM/B20", "LOCAL//1"], None, None], pa.list_(pa.string(), 2)),
        pa.array([["ICD10CM/B20", "LOCAL//1"], None, [None]], pa.large_list(pa.string())),
        pa.array(["['ICD10CM/B20' 'LOCAL//1']", None, "[]"]),  # an array of NumPy as a text
        pa.array(['["ICD10CM/B20", "LOCAL//1"]', None, ""]),
    ],
)
def test_parents_are_read_whatever_they_were_written_as(tmp_path: Path, parents: Any) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    rows = {"code": ["DX//A", "DX//B", "DX//C"], "parent_codes": parents}
    pq.write_table(pa.table(rows), root / "metadata" / "codes.parquet")
    cohort = load(root)
    known = dict(zip(cohort.codes, cohort.parents, strict=True))
    assert known["DX//A"] == ("ICD10CM/B20", "LOCAL//1")
    assert known["DX//B"] == known["DX//C"] == ()


def test_a_single_parent_may_be_a_text(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    rows = {"code": ["DX//A", "DX//A"], "parent_codes": ["ICD10CM/B20", "LOCAL//1"]}
    pq.write_table(pa.table(rows), root / "metadata" / "codes.parquet")
    cohort = load(root)
    assert cohort.parents[cohort.codes.index("DX//A")] == ("ICD10CM/B20", "LOCAL//1")


@pytest.mark.parametrize("text", ["[ICD10CM/B20]", "['ICD10CM/B20'", "[1, 2]"])
def test_a_text_that_is_no_list_of_parents_is_refused(tmp_path: Path, text: str) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    pq.write_table(
        pa.table({"code": ["DX//A"], "parent_codes": [text]}), root / "metadata" / "codes.parquet"
    )
    assert "no list of codes" in refused(root)


def test_selected_patients_keep_their_events_in_the_order_asked_for(tmp_path: Path) -> None:
    cohort = load(write_meds(tmp_path / "made", {**SPLITS, "train": [ANNA, BERT, DORA]}))
    chosen = cohort.members.select(np.array([2, 0]))
    assert spelled(cohort, chosen) == [DORA, ANNA]
    assert len(cohort.members.select(np.array([], dtype=np.int64))) == 0


# --- what is refused ----------------------------------------------------------------------------


def test_a_missing_folder_and_one_that_is_not_meds_are_told_apart(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")
    (tmp_path / "made").mkdir()
    assert "no folder 'data'" in refused(tmp_path / "made")
    (tmp_path / "made" / "data").mkdir()
    assert "no parquet files" in refused(tmp_path / "made")


def test_a_missing_split_names_the_splits_there_are(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    message = refused(root, nonmembers="heldout")
    assert "no split 'heldout'; did you mean 'held_out'?" in message
    assert "'held_out', 'train', 'tuning'" in message


def test_loose_shards_without_splits_are_refused(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat", with_splits=False)
    assert "'0.parquet' lies in no split's folder" in refused(root)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    write_splits(root, [(FIRST_SUBJECT, "train"), (1, "held_out")])
    assert "'held_out' holds no patients; no data is never zero risk" in refused(root)


def test_splits_that_were_drawn_from_other_data_are_refused_with_counts(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, layout="flat")
    listed = [(FIRST_SUBJECT, "train"), (2, "train"), (3, "train"), (4, "tuning")]
    write_splits(root, [*listed, (FIRST_SUBJECT + 3, "held_out"), (5, "held_out")])
    message = refused(root)
    assert (
        "2 of the 3 subjects listed as 'train' and 1 of the 2 subjects listed as 'held" in message
    )
    assert "2 subjects of the data are in no split" in message


def test_a_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    (root / "data" / "train" / "again").symlink_to(root / "data", target_is_directory=True)
    assert "is the same folder as" in refused(root)


def test_one_split_cannot_be_both(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    assert "both 'train'" in refused(root, nonmembers="train")


def test_a_subject_in_two_splits_is_refused_by_row(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    write_splits(root, [(FIRST_SUBJECT, "train"), (9, "tuning"), (FIRST_SUBJECT, "held_out")])
    assert "row 3 puts a subject into a second split" in refused(root)


def test_a_subject_in_two_folders_is_refused_by_place(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS, with_splits=False)
    path = root / "data" / "train" / "1.parquet"
    pq.write_table(events_table({9: DORA, FIRST_SUBJECT + 3: CARL}), path)
    message = refused(root)
    assert "1.parquet: its subject no. 2 is in both splits, 'train' and 'held_out'" in message


def test_a_subject_in_two_shards_is_refused(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    pq.write_table(events_table({FIRST_SUBJECT: DORA}), root / "data" / "train" / "1.parquet")
    message = refused(root)
    assert "1.parquet: is not MEDS: its subject no. 1 has events in" in message


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([(1, ("A", 0)), (2, ("A", 0)), (1, ("A", 1))], "its subject no. 3 has events earlier"),
        ([(1, ("A", 0)), (2, ("A", 1)), (2, ("A", 0))], "not sorted by time for its subject no. 2"),
        ([(1, ("A", 0)), (1, ("A", None))], "without a time stand behind .* subject no. 1"),
    ],
)
def test_broken_order_is_refused_by_place(tmp_path: Path, events: Any, sentence: str) -> None:
    root = write_meds(tmp_path / "made", {"train": [DORA], "held_out": [CARL]}, with_splits=False)
    table = pa.concat_tables(events_table({subject: [event]}) for subject, event in events)
    pq.write_table(table, root / "data" / "train" / "0.parquet")
    with pytest.raises(DataError, match=sentence):
        load(root)


def test_disorder_among_patients_of_no_interest_is_none_of_ours(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", {**SPLITS, "tuning": [[("A", 1), ("A", 0)]]})
    assert len(load(root).members) == 2


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("subject_id", None, "no column 'subject_id'"),
        ("time", None, "no column 'time'"),
        ("code", None, "no column 'code'"),
        ("subject_id", pa.array(["1"] * 3), "'subject_id' holds string where integer belongs"),
        ("time", pa.array([1, 2, 3]), "'time' holds int64 where timestamp belongs"),
        ("code", pa.array([1, 2, 3]), "'code' holds int64 where string belongs"),
        ("numeric_value", pa.array(["1"] * 3), "'numeric_value' holds string where number belongs"),
        ("code", pa.array(["A", None, "B"]), "row 2 has no 'code'"),
        ("subject_id", pa.array([1, 1, None]), "row 3 has no 'subject_id'"),
    ],
)
def test_columns_that_are_not_meds_are_named_with_the_file(
    tmp_path: Path, column: str, values: Any, sentence: str
) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "held_out" / "0.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    table = table.remove_column(place)
    pq.write_table(table if values is None else table.add_column(place, column, values), path)
    message = refused(root)
    assert sentence in message
    assert message.startswith(str(path))


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "train" / "0.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(root).startswith(f"{path}: is not a whole parquet file")


def test_a_corrupt_page_is_named(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "train" / "0.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    assert refused(root).startswith(f"{path}: is not a whole parquet file")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", SPLITS)
    path = root / "data" / "train" / "0.parquet"
    path.chmod(0)
    assert refused(root).startswith(f"{path}: cannot be read")


# --- real data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "members", "nonmembers", "codes"),
    [("synthea", 1042, 808, 704), ("mimic_iv_demo", 51, 39, 7035)],
)
def test_real_data_sets_are_read_as_their_readme_counts_them(
    name: str, members: int, nonmembers: int, codes: int
) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not beside this checkout")
    cohort = load(DATA / name)
    assert (len(cohort.members), len(cohort.nonmembers)) == (members, nonmembers)
    assert len(cohort.codes) == codes
    counted = {}
    for split, records in (("train", cohort.members), ("held_out", cohort.nonmembers)):
        table = pq.read_table(DATA / name / "data" / split / "0.parquet")
        counted[split] = table.num_rows
        assert len(records.code) == table.num_rows
        assert records.offsets[-1] == table.num_rows
        assert [cohort.codes[i] for i in records.code[:500]] == table["code"][:500].to_pylist()
    assert meds.birth_code in cohort.codes
