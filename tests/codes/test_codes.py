from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from checker.codes import (
    RANK_DEFINITIVE,
    RANK_EXPOSURE,
    RANK_NONE,
    RANK_PROXY,
    RANK_STRONG,
    ClassMatcher,
    ClassRule,
    CodeReader,
    CodeSystem,
    Reading,
    find_matches,
    parse_value,
)

SHARED = Path(__file__).parents[3] / "shared"
MIMIC = SHARED / "data" / "mimic_iv_demo"


# --- spellings that other programs leave -------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "reading"),
    [
        ("SNOMED/86406008.0", ("snomed", "86406008")),  # pandas: an integer beside missing values
        ("SNOMED//86406008 |Human immunodeficiency virus infection|", ("snomed", "86406008")),
        ("SNOMED/86406008.0 |HIV|", ("snomed", "86406008")),
        ("RxNorm/190521.0", ("rxnorm", "190521")),
        ("LOINC//25836-8.0", ("loinc", "25836-8")),
        ("DIAGNOSIS//ICD//10.0//B20", ("icd10cm", "B20")),
        ("DIAGNOSIS//ICD//9.0//042", ("icd9cm", "042")),
        ("PROCEDURE//ICD//10.0//10A07ZZ", ("icd10pcs", "10A07ZZ")),
    ],
)
def test_a_code_is_read_as_programs_leave_it(spelling: str, reading: Any) -> None:
    assert CodeReader().read(spelling) == (Reading(*reading),)


def test_an_icd_code_keeps_the_zeros_behind_its_dot() -> None:
    assert CodeReader().read("ICD10CM/Z71.0")[0].code == "Z710"
    assert CodeReader().read("ICD9CM/250.00")[0].code == "25000"


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "value", "code", "expected"),
    [
        ("icd10cm", "F10", "F10.20", True),
        ("icd10cm", "f10.2", "F1020", True),
        ("icd10cm", "F10", "F1", False),
        ("icd10cm", "F10-F16", "F16.10", True),
        ("icd10cm", "F10-F16", "F17.200", False),
        ("icd10cm", "C70-C7B", "C7A.00", True),  # letters sort behind digits within a category
        ("icd9cm", "042", "042", True),
        ("icd9cm", "042", "42", False),
        ("icd9cm", "042", "4290", False),
        ("icd9cm", "E950-E959", "E9538", True),
        ("icd10pcs", "10A0", "10A07ZZ", True),
        ("icd10cm", "T40.[15789]?[14]", "T40.1X1A", True),
        ("icd10cm", "T40.[15789]?[14]", "T401X4", True),
        ("icd10cm", "T40.[15789]?[14]", "T40.2X1A", False),
        ("icd10cm", "T40.[15789]?[14]", "T40.1X5A", False),  # an adverse effect
        ("icd10cm", "T40.[15789]?[14]", "T40.1X", False),  # the character that decides is missing
        ("icd10cm", "t3[6-9].?2x", "T36.02XA", True),
        ("icd10cm", "C[0-9]", "C7A.00", True),
        ("icd9cm", "1[4-9]?", "140.9", True),
        ("icd9cm", "1[4-9]?", "139.9", False),
        ("icd9proc", "94.61", "9461", True),
        ("icd9proc", "94.6", "94.61", True),
        ("icd9proc", "94.61", "946.1", True),  # dots carry no meaning, systems do
        ("icd9proc", "00.66", "66", False),
        ("atc", "J05AE", "J05AE30", True),
        ("atc", "J05AE30", "j05ae30", True),
        ("atc", "J05AE30", "J05AE", False),
        ("atc", "R07AX30-R07AX33", "R07AX32", True),
        ("snomed", "44054006", "44054006", True),
        ("snomed", "44054006", "440540061", False),
        ("loinc", "718-7", "718-7", True),
        ("rxnorm", "197320", "1973200", False),
        ("hcpcs", "h0020", "H0020", True),
        ("drug", "naltrexone", "NALTREXONE 50 mg tablet", True),
        ("drug", "naltrexone", "methylnaltrexone 12 mg", False),
        ("drug", "buprenorphine+naloxone", "Naloxone 2 MG / Buprenorphine 8 MG Film", True),
        ("drug", "buprenorphine+naloxone", "Buprenorphine 8 MG", False),
        ("drug", "haloperidol decanoate", "Haloperidol Decanoate 100 MG/ML", True),
        ("drug", "haloperidol decanoate", "decanoate of haloperidol", False),
        ("drug", "mifepristone 200 mg", "mifepristone 200MG oral tablet", True),
        ("drug", "lithium 5 mg", "lithium 2.5 mg", False),
        ("local", "DRG//*HIV*", "DRG//HCFA//977//HIV W COMPLICATION", True),
        ("local", "DRG//*hiv*", "DRG//HCFA//977//HIV W COMPLICATION", False),
    ],
)
def test_a_value_matches_what_its_system_says(
    system: CodeSystem, value: str, code: str, expected: Any
) -> None:
    assert parse_value(system, value).matches(code) is expected


@pytest.mark.parametrize(
    ("system", "value", "sentence"),
    [
        ("icd10cm", "re:^C[0-9]", "regular expression"),
        ("icd10cm", "F10*", "a prefix needs no '\\*'"),
        ("icd10cm", "T40.[15", "'\\[' cannot stand in it"),
        ("icd10cm", "T40.[5-1]", "the span 5-1 ends before it begins"),
        ("icd10cm", "T40.[]1", "no list of characters"),
        ("icd10cm", "T40.[!1]", "no list of characters"),
        ("icd10cm", "T40.(1|5)?", "'\\(' cannot stand in it"),
        ("icd10cm", "T40.1?1?1", "8 places; icd10cm has 7"),
        ("icd10cm", "[0-9]4", "matches no code of icd10cm"),
        ("icd9cm", "?[A-Z]1", "matches no code of icd9cm"),
        ("icd9proc", "4.61", "lost its leading zeros"),
        ("icd9proc", "94.611", "not a prefix of icd9proc"),
        ("atc", "J05AE3", "not a prefix of atc"),
        ("atc", "5JAE", "not a prefix of atc"),
        ("icd10cm", "F10-F1", "equally long"),
        ("icd10cm", "F16-F10", "ends before it begins"),
        ("icd10cm", "123", "not a prefix of icd10cm"),
        ("icd9cm", "B20", "not a prefix of icd9cm"),
        ("icd9cm", "42.1", "lost its leading zeros"),
        ("icd9cm", "E95-V10", "different kinds"),
        ("icd9cm", "999-E10", "different kinds"),
        ("snomed", "B20", "not a code of snomed"),
        ("loinc", "7187", "not a code of loinc"),
        ("rxnorm", "19*", "globs need system 'local'"),
        ("hcpcs", "H002", "not a code of hcpcs"),
        ("drug", "naltrexone+", "not a drug name"),
        ("drug", "50", "not a drug name"),
        ("local", "  ", "empty"),
        ("local", "*", "matches whatever a data set holds"),
        ("local", "?*", "matches whatever a data set holds"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(
    system: CodeSystem, value: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_value(system, value)
    assert "\n" not in str(caught.value)


@given(st.from_regex(r"[A-Z][0-9][0-9A-Z]{1,5}", fullmatch=True), st.integers(1, 7))
def test_every_prefix_of_a_code_matches_it_dotted_or_not(code: str, length: int) -> None:
    pattern = parse_value("icd10cm", code[:length])
    assert pattern.matches(code)
    assert pattern.matches(f"{code[:3]}.{code[3:]}")


def test_a_glob_with_many_stars_does_not_backtrack() -> None:
    pattern = parse_value("local", "*a" * 30 + "b")
    started = time.process_time()
    assert not pattern.matches("a" * 5000)
    assert time.process_time() - started < 1


# --- readings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("DIAGNOSIS//ICD//10//F1020", [("icd10cm", "F1020")]),
        ("DIAGNOSIS//ICD//9//042", [("icd9cm", "042")]),
        ("PROCEDURE//ICD//10//10A07ZZ", [("icd10pcs", "10A07ZZ")]),
        ("PROCEDURE//ICD//9//9465", [("icd9proc", "9465")]),  # volume 3: no diagnosis
        ("DIAGNOSIS//ICD9CM//042", [("icd9cm", "042")]),
        ("DIAGNOSIS//ICD9CM//491.20, J44.9", [("icd9cm", "49120"), ("icd10cm", "J449")]),
        ("DIAGNOSIS//ICD9CM//E950.0", [("icd9cm", "E9500")]),
        ("DIAGNOSIS//ICD9CM//E11.9", [("icd10cm", "E119")]),  # ICD-9 E codes have three digits
        ("DIAGNOSIS//ICD10CM//B20", [("icd10cm", "B20")]),
        ("CONDITION//SNOMED//44054006", [("snomed", "44054006")]),
        ("ENCOUNTER//AMB//SNOMED//185349003", [("snomed", "185349003")]),
        ("OBS//LOINC//8462-4", [("loinc", "8462-4")]),
        ("LAB//LOINC//718-7//g/dL", [("loinc", "718-7")]),
        ("HCPCS//H0020", [("hcpcs", "H0020")]),
        ("ATC/J05AE30", [("atc", "J05AE30")]),
        ("ICD9Proc/94.61", [("icd9proc", "9461")]),
        ("PROCEDURE//ICD9CM//94.61", [("icd9proc", "9461")]),
        ("ICD10CM/B20", [("icd10cm", "B20")]),
        ("ICD9CM/042", [("icd9cm", "042")]),
        ("SNOMED/5602001", [("snomed", "5602001")]),
        ("LOINC/718-7", [("loinc", "718-7")]),
        ("RxNorm/197320", [("rxnorm", "197320")]),
        ("HCPCS/H0020", [("hcpcs", "H0020")]),
        ("RxNorm//197320", [("rxnorm", "197320")]),
        ("icd10cm//f10.20", [("icd10cm", "F1020")]),
        ("LAB//50940//UNK", []),
        ("Blood Pressure", []),
        ("MEDS_BIRTH", []),
        ("", []),
    ],
)
def test_built_in_spellings_are_read(spelling: str, expected: Any) -> None:
    assert [tuple(reading) for reading in CodeReader().read(spelling)] == expected


@pytest.mark.parametrize(
    ("spelling", "description", "drug"),
    [
        ("MEDICATION//Emtricitabine-Tenofovir (Truvada)//Administered", None, "tenofovir"),
        ("MEDICATION//START//Naltrexone", None, "naltrexone"),
        ("MEDICATION//RXNORM//1000126", "1 ML naltrexone 380 MG Injection", "naltrexone"),
        ("RxNorm/197320", "efavirenz 600 MG Oral Tablet", "efavirenz"),
        ("INFUSION_START//220862", "Lithium", "lithium"),
    ],
)
def test_drugs_are_read_from_medications_and_their_descriptions(
    spelling: str, description: str, drug: str
) -> None:
    readings = CodeReader().read(spelling, description=description)
    assert ClassMatcher([("drug", "strong", [drug])]).standing(readings, spelling) == "strong"


@pytest.mark.parametrize(
    "spelling", ["ALLERGY//RXNORM//7052", "LAB//51000//mg/dL", "DIAGNOSIS//ICD//10//Z880"]
)
def test_a_drug_that_is_only_spoken_of_is_not_taken(spelling: str) -> None:
    readings = CodeReader().read(spelling, description="Allergy to lithium")
    assert ClassMatcher([("drug", "strong", ["lithium"])]).standing(readings, spelling) is None


def test_parents_are_read_like_spellings() -> None:
    readings = CodeReader().read("LOCAL//4711", parents=["ICD10CM/B20", "SNOMED/86406008"])
    assert readings == (Reading("icd10cm", "B20"), Reading("snomed", "86406008"))


def test_a_targets_own_spelling_comes_before_the_built_in_ones() -> None:
    reader = CodeReader([("DX-*:{code}", "icd9cm"), ("SNOMED//{code}//local", "local")])
    assert reader.read("DX-MAIN:042.0") == (Reading("icd9cm", "0420"),)
    assert reader.read("SNOMED//44054006//local") == (Reading("local", "44054006"),)
    assert reader.read("SNOMED//44054006") == (Reading("snomed", "44054006"),)


@pytest.mark.parametrize("match", ["ICD//*", "{code}//{code}"])
def test_a_spelling_without_one_place_for_the_code_is_refused(match: str) -> None:
    with pytest.raises(ValueError, match="once"):
        CodeReader([(match, "icd10cm")])


# --- classes ------------------------------------------------------------------------------------


def _ranks(
    matchers: dict[str, ClassMatcher], spellings: Sequence[str], **columns: Any
) -> dict[str, NDArray[np.int8]]:
    found = find_matches(
        matchers,
        spellings,
        reader=CodeReader(),
        descriptions=columns.get("descriptions", [None] * len(spellings)),
        parents=columns.get("parents", [()] * len(spellings)),
    )
    return {name: matches.ranks for name, matches in found.items()}


def test_the_strongest_tier_counts_and_classes_do_not_mix() -> None:
    matchers = {
        "hiv": ClassMatcher(
            [("icd10cm", "exposure", ["Z"]), ("icd10cm", "definitive", ["Z21", "B20"])]
        ),
        "sud": ClassMatcher([("icd10cm", "strong", ["F10-F16"]), ("local", "strong", ["DRG//*"])]),
    }
    spellings = ["ICD10CM/Z21", "ICD10CM/Z114", "ICD10CM/F120", "ICD10CM/I10", "DRG//1"]
    ranks = _ranks(matchers, spellings)
    assert ranks["hiv"].tolist() == [RANK_DEFINITIVE, RANK_EXPOSURE, 0, 0, 0]
    assert ranks["sud"].tolist() == [RANK_NONE, 0, RANK_STRONG, 0, RANK_STRONG]
    assert ranks["hiv"].dtype == np.int8
    for name, matcher in matchers.items():
        for spelling, rank in zip(spellings, ranks[name], strict=True):
            tier = matcher.standing(CodeReader().read(spelling), spelling)
            expected = {None: 0, "exposure": 2, "suggestive": 3, "strong": 4, "definitive": 5}
            assert expected[tier] == rank


def test_a_large_dictionary_is_matched_with_many_classes_in_little_time() -> None:
    spellings = [f"DIAGNOSIS//ICD//10//{c}{i:04d}" for c in "ABCDE" for i in range(4000)]
    matchers = {
        f"class-{k}": ClassMatcher(
            [("icd10cm", "definitive", [f"A{k:02d}-A99", "B20"]), ("drug", "strong", ["lithium"])]
        )
        for k in range(24)
    }
    started = time.process_time()
    ranks = _ranks(matchers, spellings)
    assert time.process_time() - started < 5  # about 0.5 s on an idle core
    # A00xx..A39xx exist, so class k matches the 40 - k categories from A{k} on, 100 codes each;
    # B20 stands for the 100 codes B2000..B2099
    assert int((ranks["class-7"] > 0).sum()) == 33 * 100 + 100


# --- exclusions and proxies ---------------------------------------------------------------------


def test_an_exclusion_of_a_rule_takes_codes_out_of_that_rule_only() -> None:
    matcher = ClassMatcher(
        [
            ClassRule("icd10cm", "definitive", ["D57"], ["D57.3"]),
            ClassRule("icd10cm", "exposure", ["D57.3"]),
        ]
    )
    assert matcher.standing([Reading("icd10cm", "D5700")], "") == "definitive"
    assert matcher.standing([Reading("icd10cm", "D573")], "") == "exposure"


def test_an_exclusion_of_the_class_wins_over_every_rule() -> None:
    matcher = ClassMatcher(
        [
            ClassRule("atc", "definitive", ["J05AE", "J05AE30"]),
            ClassRule("atc", "proxy", ["J05"]),
            ClassRule("atc", "excluded", ["J05AE30"]),
        ]
    )
    assert matcher.standing([Reading("atc", "J05AE08")], "") == "definitive"
    assert matcher.standing([Reading("atc", "J05AB01")], "") == "proxy"
    assert matcher.standing([Reading("atc", "J05AE30")], "") is None
    assert [p.value for p in matcher.excluding([Reading("atc", "J05AE30")], "")] == ["J05AE30"]


def test_a_product_that_is_excluded_by_its_identifier_is_not_brought_back_by_its_name() -> None:
    matcher = ClassMatcher(
        [ClassRule("drug", "strong", ["ritonavir"]), ClassRule("atc", "excluded", ["J05AE30"])]
    )
    spelling = "MEDICATION//Ritonavir"
    plain = CodeReader().read(spelling)
    mapped = CodeReader().read(spelling, parents=["ATC/J05AE30"])
    assert matcher.standing(plain, spelling) == "strong"
    assert matcher.standing(mapped, spelling) is None


def test_icd_codes_that_share_a_field_are_judged_one_by_one() -> None:
    matcher = ClassMatcher([ClassRule("icd9cm", "definitive", ["282"], ["282.5"])])
    for spelling, expected in [
        ("DIAGNOSIS//ICD9CM//282.5", None),
        ("DIAGNOSIS//ICD9CM//282.5, 282.60", "definitive"),
    ]:
        assert matcher.standing(CodeReader().read(spelling), spelling) == expected


def test_an_excluded_spelling_is_excluded_whatever_it_reads_as() -> None:
    matcher = ClassMatcher(
        [
            ClassRule("icd10cm", "definitive", ["B20"]),
            ClassRule("local", "excluded", ["*//RULED OUT"]),
        ]
    )
    for spelling, expected in [
        ("DIAGNOSIS//ICD//10//B20", "definitive"),
        ("DIAGNOSIS//ICD//10//B20//RULED OUT", None),
    ]:
        assert matcher.standing(CodeReader().read(spelling), spelling) == expected


def test_a_proxy_is_weaker_than_every_tier_and_more_than_nothing() -> None:
    matchers = {
        "hiv": ClassMatcher(
            [("drug", "proxy", ["tenofovir"]), ("drug", "exposure", ["emtricitabine"])]
        )
    }
    spellings = ["DRUG//tenofovir", "DRUG//emtricitabine tenofovir", "DRUG//aspirin"]
    assert _ranks(matchers, spellings)["hiv"].tolist() == [RANK_PROXY, RANK_EXPOSURE, RANK_NONE]


def test_values_that_match_nothing_are_named_and_exclusions_are_not_among_them() -> None:
    rules = [
        ClassRule("icd10cm", "strong", ["B20", "Z21"], ["B20.9"]),
        ClassRule("atc", "excluded", ["L"]),
    ]
    found = find_matches(
        {"hiv": ClassMatcher(rules)},
        ["ICD10CM/B20"],
        reader=CodeReader(),
        descriptions=[None],
        parents=[()],
    )
    assert found["hiv"].unmatched == ["Z21"]


def test_real_spellings_of_hiv_and_substance_use_are_found() -> None:
    import pyarrow.parquet as pq

    path = MIMIC / "metadata" / "codes.parquet"
    if not path.exists():
        pytest.skip("the MIMIC-IV demo is not beside this checkout")
    table = pq.read_table(path).to_pydict()
    matchers = {
        "hiv": ClassMatcher([("icd10cm", "definitive", ["B20", "Z21"]),
                             ("icd9cm", "definitive", ["042", "V08"])]),
        "lab": ClassMatcher([("local", "exposure", ["LAB//*"])]),
        "nicotine": ClassMatcher([("drug", "strong", ["nicotine"])]),
    }  # fmt: skip
    ranks = _ranks(matchers, table["code"], descriptions=table["description"])
    hits = {n: [c for c, r in zip(table["code"], ranks[n], strict=True) if r] for n in matchers}
    assert {"DIAGNOSIS//ICD//10//B20", "DIAGNOSIS//ICD//10//Z21"} <= set(hits["hiv"])
    assert all(code.startswith("DIAGNOSIS//ICD//") for code in hits["hiv"])
    assert len(hits["lab"]) == 1900
    assert hits["nicotine"]
    assert all("icotine" in code for code in hits["nicotine"])
