"""How data spell codes: what is read, and what is named because it only looks like a code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker.codes import ClassMatcher, CodeReader

HIV = ClassMatcher(
    [
        ("icd10cm", "definitive", ["B20"]),
        ("icd9cm", "definitive", ["042"]),
        ("snomed", "definitive", ["86406008"]),
        ("loinc", "strong", ["25836-8"]),
        ("hcpcs", "strong", ["H0020", "99213"]),
    ]
)


def read(spelling: str) -> list[tuple[str, str]]:
    return [(one.system, one.code) for one in CodeReader().read(spelling)]


@pytest.mark.parametrize(
    ("spelling", "system", "code"),
    [
        ("ICD10CM//B20", "icd10cm", "B20"),
        ("ICD10CM/10//B20", "icd10cm", "B20"),
        ("ICD10CM//2024//B20", "icd10cm", "B20"),
        ("ICD10//10.0//b20", "icd10cm", "B20"),
        ("  icd-10-cm // b20  ", "icd10cm", "B20"),
        ("DIAGNOSIS/ICD10CM/B20", "icd10cm", "B20"),
        ("Diagnosis//icd//10.0// B20", "icd10cm", "B20"),
        ("DIAGNOSIS//ICD//10-CM//B20", "icd10cm", "B20"),
        ("ICD10CM:B20", "icd10cm", "B20"),
        ("http://hl7.org/fhir/sid/icd-10-cm|B20", "icd10cm", "B20"),
        ("http://snomed.info/sct/86406008", "snomed", "86406008"),
        ("http://loinc.org|25836-8", "loinc", "25836-8"),
        ("SNOMED/86406008.0 |Human immunodeficiency virus infection|", "snomed", "86406008"),
        ("LOINC//25836-8.0", "loinc", "25836-8"),
        ("ICD9CM/9.0//042", "icd9cm", "042"),
        ("ICD9CM/V08", "icd9cm", "V08"),
        ("ICD10CM/B20.", "icd10cm", "B20"),
        ("CPT4/99213-25", "hcpcs", "99213"),
        ("HCPCS//H0020-HG", "hcpcs", "H0020"),
        ("PROCEDURE//ICD//10//210093", "icd10pcs", "0210093"),  # seven characters, always
        ("PROCEDURE//ICD//10.0//210093.0", "icd10pcs", "0210093"),
    ],
)
def test_a_code_is_found_however_it_is_spelled(spelling: str, system: str, code: str) -> None:
    assert read(spelling) == [(system, code)]


@pytest.mark.parametrize(
    ("spelling", "told"),
    [
        ("ICD10CM/B2\uff10", "U+FF10 FULLWIDTH DIGIT ZERO"),
        ("ICD10CM/\uff2220", "U+FF22 FULLWIDTH LATIN CAPITAL LETTER B"),
        ("ICD10CM/\u041220", "U+0412 CYRILLIC CAPITAL LETTER VE"),
        ("ICD9CM/\u0660\u0664\u0662", "U+0660 ARABIC-INDIC DIGIT ZERO"),
        ("\uff29\uff23\uff2410CM/B20", "U+FF29 FULLWIDTH LATIN CAPITAL LETTER I"),
        ("\u0131CD10CM/B20", "U+0131 LATIN SMALL LETTER DOTLESS I"),
        ("ICD10CM/B20\r", "U+000D"),
        ("ICD10CM/B20\x00", "U+0000"),
        ("ICD10CM/B20\u200b", "U+200B ZERO WIDTH SPACE"),
        ("ICD10CM/B20\u00a0", "U+00A0 NO-BREAK SPACE"),
    ],
)
def test_what_only_looks_like_a_code_is_named_and_never_matched(spelling: str, told: str) -> None:
    reader = CodeReader()
    assert reader.read(spelling) == ()
    assert HIV.standing(reader.read(spelling), spelling) is None
    claim = reader.claim(spelling)
    assert claim is not None
    assert (claim.problem, claim.kind) == ("malformed", "diagnoses")
    assert told in claim.detail
    assert [HIV.standing([one], "") for one in reader.candidates(spelling)] == ["definitive"]


@pytest.mark.parametrize(
    ("spelling", "system"),
    [
        ("ICD10CM/F10-F19", "icd10cm"),  # a block is no code
        ("DIAGNOSIS//ICD//10//042", "icd10cm"),
        ("HCPCS//Endocrine system", "hcpcs"),
        ("PROCEDURE//SNOMED//34552-0", "snomed"),
        ("SNOMED/8.6406008e+07", "snomed"),
        ("PROCEDURE//ICD//10//10A0", "icd10pcs"),
        ("LOINC/25836", "loinc"),
    ],
)
def test_a_text_that_is_no_code_of_its_system_is_not_read(spelling: str, system: str) -> None:
    claim = CodeReader().claim(spelling)
    assert read(spelling) == []
    assert claim is not None
    assert claim.problem == "malformed"
    assert system in claim.detail


@pytest.mark.parametrize(
    ("spelling", "vocabulary", "kind"),
    [
        ("DIAGNOSIS//ICD//11//1C62", "ICD 11", "diagnoses"),
        ("DIAGNOSIS//ICD//B20", "ICD", "diagnoses"),  # of which revision?
        ("ICD10_B20", "ICD10", "diagnoses"),
        ("READ//A788.", "READ", "diagnoses"),
        ("DX//HIV", "DX", "diagnoses"),
        ("OPCS4/M01", "OPCS4", "procedures"),
        ("MEDICATION//NDC//00378-5505", "NDC", "drugs"),
        ("NPU/NPU01685", "NPU", "measurements"),
        ("http://hl7.org/fhir/sid/ndc|00378-5505", "ndc", "drugs"),
        ("CVX/08", "CVX", None),
        ("IMMUNIZATION//CVX//08", "CVX", None),
    ],
)
def test_a_vocabulary_that_is_not_read_is_named(
    spelling: str, vocabulary: str, kind: str | None
) -> None:
    claim = CodeReader().claim(spelling)
    assert claim is not None
    assert (claim.vocabulary, claim.kind, claim.problem) == (vocabulary, kind, "unread")


@pytest.mark.parametrize(
    "spelling",
    [
        "LAB//50940//mg/dL",
        "PROCEDURE//START//229586",
        "DRG//APR//364//OTHER SKIN, SUBCUTANEOUS TISSUE & RELATED PROCEDURES",
        "TRANSFER_TO//admit//Med/Surg",
        "TRANSFER_TO//OPS//3",
        "NOTE//READ//yes",
        "MEDICATION//NDC//Raltegravir",
        "BMI (kg/m2)",
        "MEDS_BIRTH",
        "INFUSION_START//220862",
        "",
    ],
)
def test_a_hospitals_own_items_claim_no_vocabulary(spelling: str) -> None:
    assert CodeReader().claim(spelling) is None


def test_a_drug_is_read_by_a_name_in_its_description_whatever_its_number() -> None:
    reader = CodeReader()
    spelling = "MEDICATION//NDC//00378-5505"
    assert reader.claim(spelling, description="Raltegravir 400 MG") is None
    assert reader.claim(spelling, description="500 mg tab") is not None


def test_a_declared_spelling_that_fits_no_code_leaves_the_built_in_reading() -> None:
    reader = CodeReader([("DIAGNOSIS//ICD//10//{code}", "icd10pcs"), ("X{code}", "icd10cm")])
    assert [tuple(one) for one in reader.read("DIAGNOSIS//ICD//10//B20")] == [("icd10cm", "B20")]
    assert [tuple(one) for one in reader.read("XB20")] == [("icd10cm", "B20")]
    claim = reader.claim("XHIV")
    assert claim is not None
    assert claim.problem == "malformed"


@given(st.text(max_size=30))
def test_no_text_is_a_crash_or_a_code_by_accident(text: str) -> None:
    reader = CodeReader(codes=[text, f"ICD9CM/{text}"])
    for spelling in (text, f"ICD10CM/{text}", f"ICD9CM/{text}", f"SNOMED/{text}", f"{text}//B20"):
        for system, code in reader.read(spelling):
            assert system == "drug" or code.isascii()
        reader.claim(spelling)
        reader.candidates(spelling)
