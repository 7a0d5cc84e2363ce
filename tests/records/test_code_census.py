"""What of a cohort's codes is not read is counted, and too much of it is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds_builder import Patient, write_meds

from checker.codes import CodeSystem
from checker.errors import DataError
from checker.policy.documents import CodeSystemSpec, DataSpec
from checker.records.code_census import (
    ClaimedCodes,
    CodeCensus,
    check_census,
    cohort_reader,
    take_census,
)
from checker.records.cohort import load_cohort


def census(
    root: Path,
    patients: list[Patient],
    *,
    systems: list[tuple[str, CodeSystem]] | None = None,
    descriptions: dict[str, str] | None = None,
    parents: dict[str, list[str]] | None = None,
) -> CodeCensus:
    write_meds(
        root,
        {"train": patients, "held_out": [[("VISIT", 0)]]},
        descriptions=descriptions,
        parents=parents,
    )
    cohort = load_cohort(DataSpec(path=root.name), base=root.parent)
    specs = [CodeSystemSpec(match=match, system=system) for match, system in systems or []]
    return take_census(cohort, cohort_reader(specs, cohort))


def only(found: CodeCensus) -> ClaimedCodes:
    (one,) = found.claims
    return one


def diagnoses(read: int, unread: int) -> list[Patient]:
    return [
        [("ICD10CM/I10", day) for day in range(read)],
        [("READ//A788.", day) for day in range(unread)],
    ]


def test_events_and_patients_of_an_unread_vocabulary_are_counted(tmp_path: Path) -> None:
    patients: list[Patient] = [
        [("READ//A788.", 0), ("READ//A789.", 1), ("READ//A788.", 2)],
        [("READ//A788.", 0), ("LAB//7", 1)],
        [("ICD10CM/B20", 0)],
    ]
    found = census(tmp_path / "made", patients)
    assert only(found) == ClaimedCodes(
        "READ", "diagnoses", "unread", "", 2, 4, 2, ("READ//A788.", "READ//A789.")
    )
    assert found.events == {"diagnoses": 5, "procedures": 0, "drugs": 0, "measurements": 1}


def test_one_in_twenty_may_be_unread_and_more_may_not(tmp_path: Path) -> None:
    check_census(census(tmp_path / "few", diagnoses(19, 1)))
    with pytest.raises(DataError) as caught:
        check_census(census(tmp_path / "many", diagnoses(37, 2)))
    told = str(caught.value)
    assert "2 of 39 events of diagnoses are in codes that phigate does not read" in told
    assert "READ (1 codes, 2 events of 1 patients, such as READ//A788.)" in told
    assert "codeSystems" in told
    assert "parent_codes" in told


def test_each_kind_is_counted_for_itself(tmp_path: Path) -> None:
    # a thousand laboratory values must not outvote the diagnoses
    lab: Patient = [(f"LAB//{item}", item) for item in range(1000)]
    with pytest.raises(DataError, match="2 of 12 events of diagnoses"):
        check_census(census(tmp_path / "made", [lab, *diagnoses(10, 2)]))


def test_a_hospitals_own_items_are_no_unread_vocabulary(tmp_path: Path) -> None:
    items = ("LAB//50940//UNK", "PROCEDURE//START//229586", "DRG//APR//364", "INFUSION_START//1")
    found = census(tmp_path / "made", [[(item, 0) for item in items]])
    assert found.claims == ()
    assert found.events["measurements"] == 1
    assert found.events["procedures"] == 1


def test_parents_drug_names_and_declarations_make_codes_read(tmp_path: Path) -> None:
    patient: Patient = [("READ//A788.", 0), ("MEDICATION//NDC//00378-5505", 1), ("DX-B20", 2)]
    found = census(
        tmp_path / "made",
        [patient],
        systems=[("DX-{code}", "icd10cm")],
        descriptions={"MEDICATION//NDC//00378-5505": "Raltegravir 400 MG"},
        parents={"READ//A788.": ["CTV3//X1"], "CTV3//X1": ["ICD10CM/B20"]},
    )
    assert found.claims == ()


def test_what_a_target_calls_local_is_told_and_not_refused(tmp_path: Path) -> None:
    found = census(tmp_path / "made", diagnoses(1, 9), systems=[("READ//{code}", "local")])
    assert (only(found).problem, only(found).events) == ("declared", 9)
    check_census(found)


def test_lost_zeros_are_refused_with_an_example(tmp_path: Path) -> None:
    lost: Patient = [("ICD9CM/42", 0), ("ICD9CM/7054", 1), ("ICD9CM/25000", 2)]
    kept: Patient = [("ICD9CM/25000", day) for day in range(90)]  # one in twenty is no measure here
    with pytest.raises(DataError, match=r"lost their leading zeros: ICD9CM/… \(icd9cm\) \(2 codes"):
        check_census(census(tmp_path / "made", [lost, kept]))
    parents = {"ICD9CM/42": ["ICD9CM/042"], "ICD9CM/7054": ["ICD9CM/070.54"]}
    check_census(census(tmp_path / "mended", [lost, kept], parents=parents))


def test_zeros_that_could_be_restored_are_told(tmp_path: Path) -> None:
    found = census(
        tmp_path / "made", [[("ICD9CM/42.0", 0), ("ICD9CM/70.54", 1), ("ICD9CM/V08", 2)]]
    )
    assert (only(found).problem, only(found).codes) == ("restored", 2)
    check_census(found)


def with_systems(root: Path, rows: list[tuple[str, str | None]]) -> CodeCensus:
    """Count a cohort whose data name the system of a code in a column of its own."""
    write_meds(
        root,
        {"train": [[(code, day) for day, (code, _) in enumerate(rows)]], "held_out": [[("V", 0)]]},
    )
    shard = root / "data" / "train" / "0.parquet"
    systems = pa.array([system for _, system in rows], pa.string())
    pq.write_table(pq.read_table(shard).append_column("code_system", systems), shard)
    cohort = load_cohort(DataSpec(path=root.name), base=root.parent)
    return take_census(cohort, cohort_reader([], cohort))


def test_a_column_of_systems_is_read(tmp_path: Path) -> None:
    found = with_systems(
        tmp_path / "made", [("B20", "ICD10CM"), ("A788.", "READ"), ("50940", None), ("V08", "ICD9")]
    )
    assert (only(found).vocabulary, only(found).examples) == ("READ", ("A788.",))
    assert found.events["diagnoses"] == 3
    lost = with_systems(tmp_path / "lost", [(code, "ICD9CM") for code in ("42", "7054", "25000")])
    assert lost.lost == ("ICD9CM/",)
    with pytest.raises(DataError, match="lost their leading zeros"):
        check_census(lost)


def test_a_column_of_systems_that_is_no_text_is_none(tmp_path: Path) -> None:
    root = write_meds(tmp_path / "made", {"train": [[("B20", 0)]], "held_out": [[("V", 0)]]})
    shard = root / "data" / "train" / "0.parquet"
    numbers = pa.array([44_819_533], pa.int64())
    pq.write_table(pq.read_table(shard).append_column("code_system", numbers), shard)
    assert load_cohort(DataSpec(path=root.name), base=root.parent).parents == ((), ())
