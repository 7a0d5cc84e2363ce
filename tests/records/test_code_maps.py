"""The institution's own maps fill parent codes, and classes find by them what they could not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Command
from meds_builder import write_meds

SYNTHEA = Path(__file__).parents[3] / "shared" / "data" / "synthea"

PATIENTS = [
    [("CONDITION//SNOMED//111111", 0.0), ("LAB//17", 1.0)],
    [("CONDITION//SNOMED//222222", 0.0), ("DX//HOUSE//9", 1.0)],
    [("ICD10CM/I10", 0.0)],
    [("DX//HOUSE//8", 0.0)],
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_meds(
        tmp_path / "data",
        {"train": PATIENTS[:2], "held_out": PATIENTS[2:]},
        descriptions={"LAB//17": "made up"},
    )


def written(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


FEW = ("--policy", "paper-t1-t6@1")
"""A policy of four classes, which are matched sooner than the library's thirty."""


def mapped(phigate: Command, data: Path, *maps: Path, classes: Sequence[str] = FEW) -> Any:
    options = [part for one in maps for part in ("--map", one)]
    outcome = phigate("classes", "map", data, *options, *classes, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def parents(data: Path, file: str = "metadata/codes.mapped.parquet") -> dict[str, Any]:
    rows = pq.read_table(data / file).to_pylist()
    return {row["code"]: (row["parent_codes"], row["approximate_parent_codes"]) for row in rows}


def caught(phigate: Command, target: Path, name: str) -> dict[str, str]:
    outcome = phigate("classes", "coverage", target, "--class", name, *FEW, "--json")
    assert outcome.code == 0, outcome.err
    (found,) = json.loads(outcome.out)["classes"]
    return {one["code"]["code"]: one["standing"] for one in found["caught"]}


def target(folder: Path, codes: str = "metadata/codes.mapped.parquet") -> Path:
    path = folder / "target.yaml"
    path.write_text(
        f"""\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {{name: made-up, version: "1"}}
spec:
  model: {{path: model}}
  tokenization: {{vocabulary: vocab.json}}
  data: {{path: data, codes: "{codes}"}}
""",
        encoding="utf-8",
    )
    return path


# --- a dictionary -------------------------------------------------------------------------------


def test_a_dictionary_is_followed_through_codes_of_the_house(
    phigate: Command, data: Path, tmp_path: Path
) -> None:
    dictionary = written(
        tmp_path / "map.csv",
        [
            "code,parent,relation",
            "DX//HOUSE//9,DX//HOUSE//10,",
            "DX//HOUSE//10,ICD10CM/B20,exact",
            "SNOMED/111111,ICD10CM/F20.9,approximate",
            "never seen,ICD10CM/C50.9,",
        ],
    )
    done = mapped(phigate, data, dictionary)
    assert (done["needing"], done["mapped"], done["exactly"]) == (5, 2, 1)
    assert done["share"] == 2 / 5
    assert [one["code"] for one in done["unmapped"]] == [
        "CONDITION//SNOMED//222222",
        "DX//HOUSE//8",
        "LAB//17",
    ]
    assert done["patients"]["hiv"] == {"before": 0, "after": 1}
    assert done["patients"]["mental-health-serious"] == {"before": 0, "after": 1}
    table = parents(data)
    assert table["DX//HOUSE//9"] == (["DX//HOUSE//10", "ICD10CM/B20"], None)
    assert table["CONDITION//SNOMED//111111"] == (None, ["ICD10CM/F209"])
    # what is exact counts in full, what is near is strong at most
    path = target(tmp_path)
    assert caught(phigate, path, "hiv") == {"DX//HOUSE//9": "definitive"}
    assert caught(phigate, path, "mental-health-serious") == {"CONDITION//SNOMED//111111": "strong"}
    shown = phigate("classes", "coverage", path, "--class", "hiv", *FEW).out
    assert "through ICD10CM/B20" in " ".join(shown.split())


def test_nothing_is_overwritten_and_the_old_table_stays(
    phigate: Command, data: Path, tmp_path: Path
) -> None:
    old = (data / "metadata" / "codes.parquet").read_bytes()
    dictionary = written(tmp_path / "map.csv", ["code,parent", "DX//HOUSE//9,ICD10CM/B20"])
    mapped(phigate, data, dictionary)
    first = (data / "metadata" / "codes.mapped.parquet").read_bytes()
    again = phigate("classes", "map", data, "--map", dictionary, *FEW)
    assert again.code == 2
    assert "is there already, and is never overwritten" in again.err
    usual = phigate("classes", "map", data, "--map", dictionary, "--out", "metadata/codes.parquet")
    assert usual.code == 2
    outside = phigate("classes", "map", data, "--map", dictionary, "--out", "../codes.parquet")
    assert outside.code == 2
    assert "leads out of the data set" in outside.err
    assert (data / "metadata" / "codes.parquet").read_bytes() == old
    assert (data / "metadata" / "codes.mapped.parquet").read_bytes() == first
    assert pq.read_table(data / "metadata" / "codes.mapped.parquet")["description"].to_pylist()[
        list(parents(data)).index("LAB//17")
    ] == "made up"  # fmt: skip


def test_a_second_map_adds_to_the_first(phigate: Command, data: Path, tmp_path: Path) -> None:
    first = written(tmp_path / "first.csv", ["code,parent", "DX//HOUSE//9,ICD10CM/B20"])
    second = written(tmp_path / "second.csv", ["code,parent", "DX//HOUSE//8,ICD10CM/F10.20"])
    mapped(phigate, data, first)
    options = ("--map", second, "--out", "metadata/further.parquet", *FEW)
    assert phigate("classes", "map", target(tmp_path), *options).code == 0
    table = parents(data, "metadata/further.parquet")
    assert table["DX//HOUSE//9"][0] == ["ICD10CM/B20"]
    assert table["DX//HOUSE//8"][0] == ["ICD10CM/F1020"]


def test_a_map_in_circles_ends(phigate: Command, data: Path, tmp_path: Path) -> None:
    rows = ["code,parent", "DX//HOUSE//8,DX//HOUSE//9", "DX//HOUSE//9,DX//HOUSE//8"]
    done = mapped(phigate, data, written(tmp_path / "map.csv", rows))
    assert done["patients"]["hiv"] == {"before": 0, "after": 0}


# --- reference sets -----------------------------------------------------------------------------

HEADING = "\t".join(
    ["id", "active", "referencedComponentId", "mapRule", "mapTarget", "mapCategoryId"]
)


def test_a_reference_set_is_exact_only_where_nothing_else_has_to_be_known(
    phigate: Command, data: Path, tmp_path: Path
) -> None:
    rows = [
        HEADING,
        "a\t1\t111111\tTRUE\tB20\t447637006",
        "b\t1\t222222\tIFA 445518008 | Age |\tF20.9\t447639009",
        "c\t1\t222222\tOTHERWISE TRUE\tF10.2?\t447637006",
        "d\t0\t222222\tTRUE\tC50.9\t447637006",
        "e\t1\t222222\tTRUE\t\t447638001",
    ]
    done = mapped(phigate, data, written(tmp_path / "refset.txt", rows))
    assert (done["maps"][0]["rows"], done["maps"][0]["used"]) == (5, 3)
    table = parents(data)
    assert table["CONDITION//SNOMED//111111"] == (["ICD10CM/B20"], None)
    assert table["CONDITION//SNOMED//222222"] == (["ICD10CM/F102"], ["ICD10CM/F209"])


def test_a_simple_reference_set_is_only_near(phigate: Command, data: Path, tmp_path: Path) -> None:
    rows = ["active\treferencedComponentId\tmapTarget", "1\t111111\tB20"]
    mapped(phigate, data, written(tmp_path / "simple.txt", rows))
    assert parents(data)["CONDITION//SNOMED//111111"] == (None, ["ICD10CM/B20"])


# --- OMOP ---------------------------------------------------------------------------------------

CONCEPTS = {
    1: ("SNOMED", "111111"),
    2: ("SNOMED", "333333"),  # holds 1
    3: ("SNOMED", "444444"),  # holds 2
    4: ("ICD10CM", "F10.20"),  # mapped onto 2
    5: ("ICD10CM", "C80.1"),  # mapped onto 3
    6: ("SNOMED", "222222"),
    7: ("ICD10CM", "F20.9"),  # mapped onto 6
    8: ("House", "9"),
    9: ("ICD9CM", "042"),
}
STEPS = [
    (1, 2, "Is a"),
    (2, 3, "Is a"),
    (2, 4, "Mapped from"),
    (3, 5, "Mapped from"),
    (6, 7, "Mapped from"),
    (8, 9, "Maps to"),
    (1, 6, "Has finding site"),
]


def vocabulary(
    folder: Path, steps: Sequence[tuple[object, ...]] = STEPS, *, delimiter: str = "\t"
) -> Path:
    folder.mkdir(exist_ok=True)
    concepts = [("concept_id", "concept_name", "vocabulary_id", "concept_code", "invalid_reason")]
    concepts += [(str(i), "", name, code, "") for i, (name, code) in CONCEPTS.items()]
    written(folder / "CONCEPT.csv", [delimiter.join(row) for row in concepts])
    rows = [("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason")]
    rows += [(*(str(one) for one in step), "")[:4] for step in steps]  # type: ignore[misc]
    return written(folder / "CONCEPT_RELATIONSHIP.csv", [delimiter.join(row) for row in rows])


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_omop_is_followed_upwards_and_back_to_icd_from_the_nearest(
    phigate: Command, data: Path, tmp_path: Path, delimiter: str
) -> None:
    done = mapped(phigate, data, vocabulary(tmp_path / "omop", delimiter=delimiter))
    assert (done["maps"][0]["rows"], done["maps"][0]["used"]) == (7, 6)
    table = parents(data)
    # what a concept *is* is exact; ICD is mapped onto concepts, and the way back is only near
    assert table["CONDITION//SNOMED//111111"] == (
        ["SNOMED/333333", "SNOMED/444444"],
        ["ICD10CM/F1020"],  # of the nearest concept that has any, and not of what holds that
    )
    assert table["CONDITION//SNOMED//222222"] == (None, ["ICD10CM/F209"])
    assert table["DX//HOUSE//9"] == (["ICD9CM/042"], None)
    assert done["throughBroader"] == 1
    assert done["patients"]["hiv"]["after"] == 1
    assert done["patients"]["sud-alcohol"]["after"] == 1


def test_a_dictionary_leads_into_omop(phigate: Command, data: Path, tmp_path: Path) -> None:
    dictionary = written(tmp_path / "map.csv", ["code,parent", "DX//HOUSE//8,SNOMED/222222"])
    mapped(phigate, data, dictionary, vocabulary(tmp_path / "omop"))
    assert parents(data)["DX//HOUSE//8"] == (["SNOMED/222222"], ["ICD10CM/F209"])


def test_what_omop_withdrew_is_not_followed(phigate: Command, data: Path, tmp_path: Path) -> None:
    path = vocabulary(tmp_path / "omop")
    path.write_text(path.read_text().replace("8\t9\tMaps to\t", "8\t9\tMaps to\tD"))
    mapped(phigate, data, path)
    assert parents(data)["DX//HOUSE//9"] == (None, None)


# --- what is wrong with a map -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["a,b", "1,2"], "line 1: the columns a, b … are of no map that phigate knows"),
        ([""], "is empty; a map begins with the names of its columns"),
        (["code,parent"], "holds no rows below its heading"),
        (["code,parent", "A,ICD10CM/B20", "B"], "line 3: 1 columns, not 2"),
        (["code,parent", "A,"], "line 2: has no parent"),
        (["code,parent", ",ICD10CM/B20"], "line 2: has no code"),
        (["code,parent", "A,A"], "line 2: 'A' is its own parent"),
        (
            ["code,parent,relation", "A,ICD10CM/B20,roughly"],
            "line 2: relation 'roughly' is neither exact nor approximate",
        ),
        (["code,parent", '"A,ICD10CM/B20'], "line 2: unexpected end of data"),
        ([HEADING, "a\t1\tx\tTRUE\tB20\t1"], "line 2: 'X' is no identifier of SNOMED CT"),
        ([HEADING, "a\t1\t111111\tTRUE\t20\t1"], "line 2: '20' is no code of ICD-10-CM"),
        (["concept_id_1,concept_id_2,relationship_id", "1,2,Is a"], "needs CONCEPT.csv beside it"),
    ],
)
def test_a_map_that_is_none_is_a_sentence_with_its_line(
    phigate: Command, data: Path, tmp_path: Path, rows: Sequence[str], sentence: str
) -> None:
    path = written(tmp_path / "map.csv", rows)
    outcome = phigate("classes", "map", data, "--map", path, *FEW)
    assert outcome.code == 4
    assert f"{path}: " in outcome.err
    assert sentence in outcome.err
    assert not (data / "metadata" / "codes.mapped.parquet").exists()


@pytest.mark.parametrize("content", [b"code,parent\n\xff,ICD10CM/B20\n", b"\x00\x00"])
def test_bytes_that_are_no_text_are_a_sentence(
    phigate: Command, data: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes(content)
    outcome = phigate("classes", "map", data, "--map", path, *FEW)
    assert outcome.code == 4
    assert f"{path}: " in outcome.err


def test_omop_with_words_for_numbers_is_a_sentence(
    phigate: Command, data: Path, tmp_path: Path
) -> None:
    path = vocabulary(tmp_path / "omop", [("one", 2, "Is a")])
    outcome = phigate("classes", "map", data, "--map", path, *FEW)
    assert outcome.code == 4
    assert "is no table of OMOP's" in outcome.err


@pytest.mark.parametrize("codes", ["../codes.parquet", "/codes.parquet"])
def test_a_target_s_table_of_codes_lies_in_its_data_set(
    phigate: Command, data: Path, tmp_path: Path, codes: str
) -> None:
    outcome = phigate("validate", target(tmp_path, codes))
    assert outcome.code == 2
    assert "spec.data.codes" in outcome.err
    assert "leads out of the data set" in outcome.err


def test_a_target_s_table_that_is_not_there_is_a_sentence(
    phigate: Command, data: Path, tmp_path: Path
) -> None:
    outcome = phigate("classes", "coverage", target(tmp_path, "metadata/other.parquet"), *FEW)
    assert outcome.code == 4
    assert "there is no such file; check data.codes" in outcome.err


@pytest.mark.parametrize("column", ["parent_codes", "description"])
def test_another_table_may_only_add_to_the_usual_one(
    phigate: Command, tmp_path: Path, column: str
) -> None:
    """Else a target could hide a disease whose codes only their parents or titles tell."""
    root = write_meds(
        tmp_path / "data",
        {"train": PATIENTS[:2], "held_out": PATIENTS[2:]},
        descriptions={"DX//HOUSE//9": "made up"},
        parents={"DX//HOUSE//9": ["ICD10CM/B20"]},
    )
    written_map = written(tmp_path / "map.csv", ["code,parent", "DX//HOUSE//8,ICD10CM/F10.20"])
    mapped(phigate, root, written_map)
    assert caught(phigate, target(tmp_path), "hiv") == {"DX//HOUSE//9": "definitive"}
    path = root / "metadata" / "codes.mapped.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    nothing = pa.nulls(table.num_rows, table.schema.field(column).type)
    pq.write_table(table.set_column(place, column, nothing), path)
    outcome = phigate("classes", "coverage", target(tmp_path), *FEW)
    assert outcome.code == 4
    assert "says less, or something else, than metadata/codes.parquet of 1 codes" in outcome.err
    assert "such as DX//HOUSE//9; another table may only add to it" in outcome.err


# --- Synthea, with a map made for the test ------------------------------------------------------

MEANT: Mapping[str, str] = {
    "alzheimer": "G30.9",
    "tubal pregnancy": "O00.1",
    "pregnan": "O26.90",
    "miscarriage": "O03.9",
    "blighted ovum": "O02.0",
    "preeclampsia": "O14.90",
    "eclampsia": "O15.9",
    "cancer": "C80.1",
    "malignant": "C80.1",
    "carcinoma": "C80.1",
    "opioid abuse": "F11.10",
    "overdose": "T50.901A",
    "alcoholism": "F10.20",
    "suicid": "T14.91",
    "epilepsy": "G40.909",
    "seizure": "R56.9",
    "smokes": "F17.210",
    "depression": "F32.9",
    "attention deficit": "F90.9",
    "stress disorder": "F43.10",
    "obes": "E66.9",
}
"""What a coder of the house would write for words in a title; the first that fits is taken."""


def test_synthea_with_a_map_of_its_own(phigate: Command, tmp_path: Path) -> None:
    if not SYNTHEA.exists():
        pytest.skip("synthea is not beside this checkout")
    root = tmp_path / "synthea"
    (root / "metadata").mkdir(parents=True)
    (root / "data").symlink_to(SYNTHEA / "data")
    for path in (SYNTHEA / "metadata").iterdir():
        (root / "metadata" / path.name).symlink_to(path)
    table = pq.read_table(root / "metadata" / "codes.parquet")
    rows = ["code,parent,relation"]
    for row in table.to_pylist():
        if row["code"].startswith("CONDITION//SNOMED"):
            title = (row["description"] or "").casefold()
            code = next((code for word, code in MEANT.items() if word in title), None)
            if code and "suspected" not in title and "history" not in title:
                rows.append(f"{row['code']},ICD10CM/{code},approximate")
    done = mapped(phigate, root, written(tmp_path / "map.csv", rows), classes=())
    assert pa.types.is_list(pq.read_schema(root / done["codes"]).field("parent_codes").type)
    changed = {n: (p["before"], p["after"]) for n, p in done["patients"].items()}
    # Synthea's own drugs are found without a map, its diagnoses only with one
    assert {name: pair for name, pair in changed.items() if pair[0] != pair[1]} == {
        "cancer": (60, 123),
        "dementia": (58, 80),
        "epilepsy": (0, 37),
        "mental-health-common": (9, 37),
        "obesity": (0, 178),
        "pregnancy-loss-infertility": (0, 115),
        "reproductive-other": (74, 208),
        "sud-alcohol": (0, 5),
        "sud-opioid-drug": (0, 4),
        "suicidality": (0, 1),
    }
