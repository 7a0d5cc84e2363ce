"""`phigate classes`: what there is, what a class says, what codes are, what a data set holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from auditing import three_classes
from command_line import Command
from meds_builder import write_meds

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

POLICY_CLASS = """\
    gout:
      title: Gout
      words: [gouty]
      codes:
        - {system: icd10cm, tier: definitive, values: ["M10.0-M10.2", "M1A"], exclude: ["M10.1"]}
        - {system: atc, tier: strong, values: ["M04AA"]}
      exclude: [{system: drug, values: [probenecid]}]
      proxies: [{system: drug, values: [colchicine, allopurinol]}]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    text = three_classes()
    marker = "    common-chronic:\n"
    assert text.count(marker) == 1
    path = tmp_path / "policy.yaml"
    path.write_text(text.replace(marker, POLICY_CLASS + marker), encoding="utf-8")
    return path


@pytest.fixture
def gouty(tmp_path: Path) -> Path:
    """Four patients; the first two are trained on."""
    first = [
        ("ICD10CM/M10.00", 0.0),
        ("ICD10CM/M10.00", 1.0),
        ("DRUG//Allopurinol 100 mg", 1.0),
        ("LAB//uric acid", 2.0),
    ]
    second = [("ICD10CM/M10.9", 0.0), ("ICD10CM/M10.1", 1.0), ("LAB//uric acid", 2.0)]
    third = [("DRUG//colchicine and probenecid", 0.0), ("ICD10CM/I10", 1.0)]
    fourth = [("LAB//allopurinol level", 0.0), ("NOTE//1", 1.0)]
    return write_meds(
        tmp_path / "data",
        {"train": [first, second], "held_out": [third, fourth]},
        descriptions={"NOTE//1": "Gouty tophus seen", "ICD10CM/M10.9": "Gout, unspecified"},
    )


def answer(outcome: Any) -> Any:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# --- list and show ------------------------------------------------------------------------------


def test_the_list_names_all_shipped_classes(phigate: Command) -> None:
    rows = answer(phigate("classes", "list", "--json"))
    assert len(rows) == 30
    hiv = next(row for row in rows if row["name"] == "hiv")
    assert hiv["sensitivity"] == "HIV"
    assert hiv["confidentiality"] == "R"
    assert hiv["review"] == "draft"
    table = phigate("classes", "list").out
    assert all(row["name"] in table for row in rows)


def test_the_classes_of_a_policy_are_listed_too(phigate: Command, policy: Path) -> None:
    rows = answer(phigate("classes", "list", "--policy", policy, "--json"))
    values = {row["name"]: row["values"] for row in rows}
    assert values["gout"] == {
        "definitive": 2,
        "strong": 1,
        "suggestive": 0,
        "exposure": 0,
        "proxy": 2,
    }


def test_a_class_is_shown_with_everything_it_says(phigate: Command) -> None:
    shown = phigate("classes", "show", "sickle-cell").out
    for part in ("D57; not D57.3", "exposure", "hydroxyurea", "SICKLE CELL", "No clinician",
                 "ICD-10-CM, fiscal year 2026", "The trait is not the disease."):  # fmt: skip
        assert part in shown
    spec = answer(phigate("classes", "show", "sickle-cell", "--json"))
    assert spec["codes"][0]["exclude"] == ["D57.3"]
    assert spec["review"]["status"] == "draft"


def test_a_superseded_version_is_shown_too(phigate: Command, tmp_path: Path) -> None:
    first = answer(phigate("classes", "show", "sickle-cell@1", "--json"))
    second = answer(phigate("classes", "show", "sickle-cell@2", "--json"))
    assert second["codes"] == answer(phigate("classes", "show", "sickle-cell", "--json"))["codes"]
    assert first["codes"] != second["codes"]
    patient = [("ICD10CM/D57.1", 0.0)]
    data = write_meds(tmp_path / "data", {"train": [patient], "held_out": [patient]})
    (found,) = coverage(phigate, data, "--class", "sickle-cell@1")["classes"]
    assert (found["name"], found["patients"]) == ("sickle-cell@1", 2)
    assert phigate("classes", "review", "sickle-cell@1", "--data", data).code == 0
    outcome = phigate("classes", "show", "sickle-cell@7")
    assert outcome.code == 2
    assert "ships library/sickle-cell@1 and library/sickle-cell@2, not @7" in outcome.err


def test_an_unknown_class_gets_a_suggestion(phigate: Command, policy: Path) -> None:
    outcome = phigate("classes", "show", "sickle-sell")
    assert outcome.code == 2
    assert "the library has no class 'sickle-sell'; did you mean 'sickle-cell'?" in outcome.err
    outcome = phigate("classes", "coverage", policy, "--policy", policy, "--class", "goat")
    assert outcome.code == 2
    assert "has no class 'goat'; did you mean 'gout'?" in outcome.err


# --- match --------------------------------------------------------------------------------------


def test_a_bare_code_is_read_in_every_system_whose_shape_it_has(phigate: Command) -> None:
    # 94.61 is rehabilitation for alcohol as a procedure and a burn as a diagnosis
    found = answer(phigate("classes", "match", "94.61", "--json"))
    assert [(one["system"], list(one["classes"])) for one in found] == [
        ("icd9proc", ["sud-alcohol"])
    ]
    (diagnosis,) = answer(phigate("classes", "match", "94.61", "--system", "icd9cm", "--json"))
    assert diagnosis["classes"] == {}


def test_codes_spellings_and_drugs_are_matched(phigate: Command) -> None:
    found = answer(
        phigate(
            "classes", "match", "042", "ICD10CM/F10.20", "J05AE30", "Naltrexone 50 mg", "--json"
        )
    )
    assert [one["text"] for one in found] == [
        "042",
        "ICD10CM/F10.20",
        "J05AE30",
        "Naltrexone 50 mg",
    ]
    assert found[0]["classes"] == {"hiv": {"standing": "definitive", "values": ["042"]}}
    assert found[1]["classes"] == {"sud-alcohol": {"standing": "definitive", "values": ["F10"]}}
    assert found[2]["classes"] == {}
    assert found[2]["excluded"] == {"hiv": ["J05AE30"]}
    assert {name: one["standing"] for name, one in found[3]["classes"].items()} == {
        "sud-alcohol": "proxy",
        "sud-opioid-drug": "proxy",
    }


def test_a_code_of_no_class_says_so(phigate: Command) -> None:
    outcome = phigate("classes", "match", "I11.0", "42")
    assert outcome.code == 0
    assert outcome.out.count("no class") == 2


@pytest.mark.parametrize("code", ["", " "])
def test_an_empty_code_is_refused(phigate: Command, code: str) -> None:
    outcome = phigate("classes", "match", "B20", code)
    assert outcome.code == 2
    assert "an empty code belongs to no class" in outcome.err


def test_an_unknown_system_gets_a_suggestion(phigate: Command) -> None:
    outcome = phigate("classes", "match", "B20", "--system", "icd10")
    assert outcome.code == 2
    assert "there is no code system 'icd10'; did you mean 'icd10cm'?" in outcome.err


# --- coverage -----------------------------------------------------------------------------------


def coverage(phigate: Command, data: Path, *options: object) -> Any:
    return answer(phigate("classes", "coverage", data, *options, "--json"))


def test_coverage_counts_what_a_class_catches(phigate: Command, policy: Path, gouty: Path) -> None:
    found = coverage(phigate, gouty, "--policy", policy, "--class", "gout")
    assert (found["patients"], found["events"]) == (4, 11)
    assert found["systems"] == {"icd10cm": 4, "drug": 2}
    (gout,) = found["classes"]
    caught = {one["code"]["code"]: one for one in gout["caught"]}
    assert list(caught) == ["ICD10CM/M10.00", "DRUG//Allopurinol 100 mg"]
    assert caught["ICD10CM/M10.00"]["standing"] == "definitive"
    assert caught["ICD10CM/M10.00"]["code"]["events"] == 2
    assert caught["ICD10CM/M10.00"]["code"]["patients"] == 1
    assert caught["DRUG//Allopurinol 100 mg"]["standing"] == "proxy"
    # only the first patient has a definitive or strong code, and the others' codes are excluded
    assert (gout["patients"], gout["patients_any"]) == (1, 1)
    assert [code["code"] for code in gout["excluded"]] == [
        "DRUG//colchicine and probenecid",
        "ICD10CM/M10.1",
    ]


def test_coverage_names_values_that_never_match_and_systems_that_are_not_there(
    phigate: Command, policy: Path, gouty: Path
) -> None:
    (gout,) = coverage(phigate, gouty, "--policy", policy, "--class", "gout")["classes"]
    assert gout["unmatched"] == {"icd10cm": ["M1A"], "drug": ["colchicine"]}
    assert gout["absent"] == ["atc"]


def test_coverage_shows_near_misses_and_why(phigate: Command, policy: Path, gouty: Path) -> None:
    (gout,) = coverage(phigate, gouty, "--policy", policy, "--class", "gout")["classes"]
    near = [(one["code"]["code"], one["kind"], one["hint"]) for one in gout["near_misses"]]
    assert near == [
        ("LAB//allopurinol level", "drug", "allopurinol"),
        ("NOTE//1", "word", "gouty"),
        ("ICD10CM/M10.9", "family", "M10"),
    ]


def test_a_near_miss_that_another_class_catches_comes_last_with_its_name(
    phigate: Command, tmp_path: Path
) -> None:
    patient = [("ICD10CM/F32.9", 0.0), ("ICD10CM/F32.9", 1.0), ("LAB//lithium", 1.0)]
    data = write_meds(tmp_path / "data", {"train": [patient], "held_out": [patient]})
    (serious, _) = coverage(
        phigate, data, "--class", "mental-health-serious", "--class", "mental-health-common"
    )["classes"]
    near = [(one["code"]["code"], one["elsewhere"]) for one in serious["near_misses"]]
    assert near == [("LAB//lithium", []), ("ICD10CM/F32.9", ["mental-health-common"])]


def test_near_misses_of_one_class_name_the_others_that_catch_them(
    phigate: Command, tmp_path: Path
) -> None:
    patient = [("ICD10CM/C50.9", 0.0), ("ICD10CM/Z80.3", 1.0)]
    root = write_meds(
        tmp_path / "data",
        {"train": [patient], "held_out": [patient]},
        descriptions={"ICD10CM/Z80.3": "Family history of malignant neoplasm of breast"},
    )
    (cancer,) = coverage(phigate, root, "--class", "cancer")["classes"]
    (near,) = cancer["near_misses"]
    assert near["elsewhere"] == ["genetic-test-family-history"]


def test_near_misses_find_what_version_1_missed(phigate: Command, tmp_path: Path) -> None:
    """A hospital's own numbers, by the words of their titles."""
    titles = {
        "reproductive-other": ["Classical cesarean section", "Tubal ligation, bilateral",
                               "Transfer of fertilized ovum", "Placenta previa"],
        "sud-alcohol": ["Ambulatory detoxification"],
        "sud-opioid-drug": ["Ambulatory detoxification", "Narcotic counseling"],
        "mental-health-serious": ["Electroconvulsive therapy"],
        "pregnancy-loss-infertility": ["Stillbirth certificate", "Blighted sac"],
        "justice-involvement": ["Seen in jail"],
    }  # fmt: skip
    numbered = {
        title: f"LOCAL//{number}"
        for number, title in enumerate(dict.fromkeys(t for own in titles.values() for t in own))
    }
    patient = [(code, float(number)) for number, code in enumerate(numbered.values())]
    data = write_meds(
        tmp_path / "data",
        {"train": [patient], "held_out": [patient]},
        descriptions={code: title for title, code in numbered.items()},
    )
    wanted = [part for name in titles for part in ("--class", name)]
    for found in coverage(phigate, data, *wanted)["classes"]:
        near = {one["code"]["code"] for one in found["near_misses"]}
        assert {numbered[title] for title in titles[found["name"]]} <= near


def test_a_number_in_a_word_is_meant_as_it_is(phigate: Command, tmp_path: Path) -> None:
    patient = [("LAB//1", 0.0), ("LAB//2", 1.0)]
    data = write_meds(
        tmp_path / "data",
        {"train": [patient], "held_out": [patient]},
        descriptions={"LAB//1": "CD4 count", "LAB//2": "CD45"},
    )
    (hiv,) = coverage(phigate, data, "--class", "hiv")["classes"]
    assert [one["code"]["code"] for one in hiv["near_misses"]] == ["LAB//1"]


def test_coverage_for_people_is_cut_and_says_so(
    phigate: Command, policy: Path, gouty: Path
) -> None:
    shown = phigate("classes", "coverage", gouty, "--policy", policy, "--class", "gout")
    assert shown.code == 0
    for part in ("gout: Gout: 1 patients count", "excluded: ICD10CM/M10.1",
                 "no code here matches (icd10cm): M1A", "the data set has no codes of atc",
                 "family M10", "keep it with the data"):  # fmt: skip
        assert part in shown.out
    patient = [(f"ICD10CM/B20.{i}", float(i)) for i in range(10)]
    data = write_meds(gouty.parent / "many", {"train": [patient], "held_out": [patient]})
    cut = phigate("classes", "coverage", data, "--class", "hiv").out
    assert "and 2 more codes that it catches; --all shows them" in cut
    assert "B20.9" in phigate("classes", "coverage", data, "--class", "hiv", "--all").out


def test_coverage_shows_what_is_not_read_and_what_it_may_be(
    phigate: Command, tmp_path: Path
) -> None:
    patient = [
        ("ICD9CM/42", 0.0),
        ("ICD9CM/25000", 1.0),
        ("ICD10CM/B2\uff10", 2.0),
        ("READ//1", 3.0),
    ]
    data = write_meds(tmp_path / "data", {"train": [patient], "held_out": [patient]})
    shown = phigate("classes", "coverage", data, "--class", "hiv")
    assert shown.code == 0
    for part in ("ICD9CM/…: ICD-9 codes have lost their leading zeros", "READ: not read: 1 codes",
                 "2 events of 2 patients, such as READ//1", "could be 042", "could be B20",
                 "U+FF10 FULLWIDTH DIGIT ZERO", "hiv: HIV infection"):  # fmt: skip
        assert part in shown.out
    (hiv,) = coverage(phigate, data, "--class", "hiv")["classes"]
    assert hiv["patients"] == 0
    assert [(one["code"]["code"], one["kind"]) for one in hiv["near_misses"]] == [
        ("ICD10CM/B2\uff10", "spelling"),
        ("ICD9CM/42", "spelling"),
    ]


def test_coverage_tells_the_way_to_an_ancestor(phigate: Command, tmp_path: Path) -> None:
    patient = [("LOCAL//1", 0.0), ("ICD10CM/B20", 1.0)]
    data = write_meds(
        tmp_path / "data",
        {"train": [patient], "held_out": [patient]},
        parents={"LOCAL//1": ["LOCAL//2"], "LOCAL//2": ["ICD10CM/B20"]},
    )
    (hiv,) = coverage(phigate, data, "--class", "hiv")["classes"]
    ways = {one["code"]["code"]: one["through"] for one in hiv["caught"]}
    assert ways["LOCAL//1"] == ["LOCAL//2", "ICD10CM/B20"]
    assert ways["ICD10CM/B20"] == []
    shown = phigate("classes", "coverage", data, "--class", "hiv").out
    assert "through LOCAL//2 > ICD10CM/B20" in " ".join(shown.split())


def test_coverage_reads_a_target_with_its_own_spellings(phigate: Command, tmp_path: Path) -> None:
    patient = [("DX:B20", 0.0)]
    write_meds(tmp_path / "data", {"a": [patient], "b": [patient]})
    target = tmp_path / "target.yaml"
    target.write_text(
        """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: made-up, version: "1"}
spec:
  model: {path: model}
  tokenization: {vocabulary: vocab.json}
  codeSystems: [{match: "DX:{code}", system: icd10cm}]
  data: {path: data, members: a, nonmembers: b}
"""
    )
    (hiv,) = coverage(phigate, target, "--class", "hiv")["classes"]
    assert hiv["patients"] == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nothing", "there is no such file"), ("policy.yaml", "but an AuditTarget belongs here")],
)
def test_what_is_no_data_set_is_a_sentence(
    phigate: Command, policy: Path, name: str, sentence: str
) -> None:
    outcome = phigate("classes", "coverage", policy.parent / name)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_a_folder_that_is_no_data_set_is_a_sentence(phigate: Command, tmp_path: Path) -> None:
    outcome = phigate("classes", "coverage", tmp_path)
    assert outcome.code == 4
    assert "it is not MEDS" in outcome.err


# --- real spellings -----------------------------------------------------------------------------


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not beside this checkout")
    return DATA / name


def claims(found: Any) -> set[tuple[str, str, int]]:
    """Return what is not read of a data set, and see that an audit would accept it."""
    unread = [one for one in found["claims"] if one["kind"] is not None]
    assert sum(one["events"] for one in unread) < 0.05 * found["events"]
    assert found["lost"] == found["suspect"] == []
    return {(one["vocabulary"], one["problem"], one["events"]) for one in found["claims"]}


def test_coverage_of_the_mimic_iv_demo(phigate: Command) -> None:
    found = coverage(phigate, real("mimic_iv_demo"))
    classes = {one["name"]: one for one in found["classes"]}
    assert found["patients"] == 90  # 51 trained on, 39 held out
    assert claims(found) == {("HCPCS//… (hcpcs)", "malformed", 49)}  # the ETL writes words there
    hiv = {one["code"]["code"]: one["standing"] for one in classes["hiv"]["caught"]}
    assert hiv["DIAGNOSIS//ICD//9//V08"] == "definitive"
    assert hiv["MEDICATION//Raltegravir//Administered"] == "strong"
    assert classes["hiv"]["patients"] == 2
    # laboratory tests are numbered in MIMIC-IV: a value names each that gives the class away
    assert hiv["LAB//51654//log10 copies/mL"] == "strong"
    assert hiv["LAB//51131//#/uL"] == "suggestive"
    assert hiv["LAB//53153//UNK"] == "exposure"
    seen = [*classes["hiv"]["near_misses"], *classes["hiv"]["caught"]]
    assert not any("CD45" in (one["code"]["description"] or "") for one in seen)
    assert classes["routine-labs"]["patients"] == 90
    # and screens for drugs are ordered for so many that they are left to be looked at
    near = {one["code"]["code"] for one in classes["sud-opioid-drug"]["near_misses"]}
    assert "LAB//51079//UNK" in near
    # payment groups and wards give a diagnosis away in their names
    groups = {one["code"]["code"] for one in classes["cancer"]["caught"]}
    assert {
        "DRG//APR//690//ACUTE LEUKEMIA",
        "DRG//HCFA//180//RESPIRATORY NEOPLASMS W MCC",
    } <= groups
    assert not any("NON-MALIGNANCY" in code or "EXCEPT MALIG" in code for code in groups)
    excluded = {one["code"] for one in classes["sickle-cell"]["excluded"]}
    assert any("EXC SICKLE CELL" in code for code in excluded)
    assert classes["sickle-cell"]["patients"] == 0


def test_coverage_of_synthea_without_snomed_content(phigate: Command) -> None:
    found = coverage(phigate, real("synthea"))
    # vaccines are counted among nothing that an audit asks for; one LOINC code calls itself SNOMED
    assert claims(found) == {
        ("CVX", "unread", 18_222),
        ("PROCEDURE//SNOMED//… (snomed)", "malformed", 65),
    }
    classes = {one["name"]: one for one in found["classes"]}
    assert classes["routine-labs"]["patients"] > 500
    # diagnoses are in SNOMED CT, which is not shipped: of 113 with cancer, those with drugs
    assert classes["cancer"]["patients"] == 60
    near = {one["code"]["code"] for one in classes["cancer"]["near_misses"]}
    assert "CONDITION//SNOMED//254637007" in near
