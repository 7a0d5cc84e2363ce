"""The shipped attribute classes: what they say, what they match, and the traps they avoid."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from auditing import three_classes

from checker.canonical import digest
from checker.codes import (
    ClassMatcher,
    CodeSystem,
    read_code,
)
from checker.errors import DocumentError
from checker.planning.identity import identity
from checker.policy import load_policy, parse_documents
from checker.policy.class_review import codes_digest
from checker.policy.classes import class_matcher
from checker.policy.library import (
    library_class,
    library_classes,
    library_names,
    older_references,
)

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
EXPANSION = SHARED / "domain" / "class_code_expansion_icd.csv"
TABLES = SHARED / "data" / "code_tables"
OURS = {"control_common_chronic": "common-chronic"}
"""Where a class is called otherwise than in the draft ("control" means something else here)."""

Code = tuple[str, str]


DRAFT = [
    "hiv",
    "sti-non-hiv",
    "viral-hepatitis",
    "sud-alcohol",
    "sud-opioid-drug",
    "tobacco",
    "mental-health-serious",
    "mental-health-common",
    "suicidality",
    "reproductive-abortion",
    "reproductive-other",
    "sexual-assault-dv",
    "sickle-cell",
    "genetic-disease",
    "genetic-test-family-history",
    "gender-identity",
    "dementia",
    "developmental-disability",
    "cancer",
    "common-chronic",
    "routine-labs",
    "demographics",
]
"""Classes of the first draft, of which all have a version 1."""

ADDED = [
    "sexual-behaviour-orientation",
    "pregnancy-loss-infertility",
    "justice-involvement",
    "social-circumstances",
    "eating-disorder",
    "obesity",
    "epilepsy",
    "tuberculosis",
]


@cache
def matchers() -> dict[str, ClassMatcher]:
    """Version 1 of each class of the draft, which the expansion was made of."""
    return {
        name: class_matcher(library_class(f"library/{name}@1").document.spec)
        for name in sorted(DRAFT)
    }


def standing(name: str, system: CodeSystem, code: str) -> str | None:
    return matchers()[name].standing([read_code(system, code)], code)


@cache
def expansion() -> dict[str, dict[Code, str]]:
    if not EXPANSION.exists():
        pytest.skip("the expanded classes are not beside this checkout")
    classes: dict[str, dict[Code, str]] = defaultdict(dict)
    with EXPANSION.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            name = OURS.get(row["class"], row["class"].replace("_", "-"))
            classes[name][row["system"], row["code_undotted"]] = row["tier"]
    return classes


# --- what the files say -------------------------------------------------------------------------


def test_the_library_holds_the_classes_of_the_draft_and_eight_more() -> None:
    assert library_names() == sorted([*DRAFT, *ADDED])
    assert len(library_names()) == 30


def test_superseded_versions_stay_and_only_codes_make_a_new_one() -> None:
    """A class whose codes did not change needs no second version; all others keep the first."""
    older = {reference.removeprefix("library/") for reference in older_references()}
    newest = {name: one.document.metadata.version for name, one in library_classes().items()}
    assert older == {f"{name}@1" for name, version in newest.items() if version[0] == "2"}
    assert {n for n in DRAFT if newest[n][0] == "1"} == {
        "demographics",
        "routine-labs",
        "suicidality",
    }
    for reference in older_references():
        document = library_class(reference).document
        assert f"library/{document.metadata.name}@{document.metadata.version[0]}" == reference
        later = library_classes()[document.metadata.name].document.spec
        assert identity(document.spec) != identity(later)
    # all of them together, as 0.3.0 shipped them: what a policy measures by them does not change
    codes = {
        reference: codes_digest(library_class(reference).document.spec)
        for reference in (older_references())
    }
    assert digest(codes) == "807f64090bc7831244f7b548ca0dd2c648d67cd7f2e2c4aa722d166ec171cfdc"


@pytest.mark.parametrize("name", library_names())
def test_a_class_says_who_it_is_where_it_comes_from_and_that_nobody_signed_it_off(
    name: str,
) -> None:
    document = library_classes()[name].document
    assert document.metadata.name == name
    assert document.spec.review.status == "draft"
    assert "No clinician" in (document.spec.review.note or "")
    assert document.spec.traps
    assert document.spec.words
    benign = name in {"common-chronic", "routine-labs"}
    assert document.spec.benign is benign


@pytest.mark.parametrize("name", library_names())
def test_no_class_ships_codes_that_are_not_ours_to_ship(name: str) -> None:
    spec = library_classes()[name].document.spec
    for part in (spec.codes, spec.proxies, spec.exclude):
        for one in part:
            assert one.system not in {"snomed", "rxnorm"}
            if one.system == "hcpcs":  # level I is CPT: five digits, or four and a letter
                assert all(value[0].isalpha() for value in one.values)


def test_the_notice_names_every_class_with_codes_of_loinc() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "LOINC is copyright" in notice
    for name, one in library_classes().items():
        spec = one.document.spec
        systems = {part.system for part in spec.codes} | {part.system for part in spec.proxies}
        if "loinc" in systems:
            assert f"policies/library/{name}.yaml" in notice


def test_hl7_codes_are_active_ones() -> None:
    folder = SHARED / "domain" / "hl7"
    if not folder.exists():
        pytest.skip("the HL7 code systems are not beside this checkout")
    with (folder / "v3-ActCode_InformationSensitivityPolicy.csv").open(encoding="utf-8") as stream:
        active = {row["code"] for row in csv.DictReader(stream) if row["status"] == "active"}
    for one in library_classes().values():
        spec = one.document.spec
        assert {*filter(None, [spec.sensitivity]), *spec.also_sensitive} <= active
        assert spec.confidentiality is not None
        assert spec.sensitivity not in spec.also_sensitive


def test_citations_not_seen_are_marked_to_be_confirmed() -> None:
    cited = {
        name: citation
        for one in library_classes().values()
        for name, citation in one.document.spec.citations.items()
    }
    assert "to be confirmed" in (cited["hipaa-genetic-information"].note or "").lower()
    assert not any("repro" in name for name in cited)  # the federal rule was vacated


# --- what the files match -----------------------------------------------------------------------


@pytest.mark.parametrize("dotted", [False, True], ids=["undotted", "dotted"])
def test_every_code_of_the_expansion_matches_its_class_and_tier(dotted: bool) -> None:
    wrong, checked = [], 0
    for name, codes in expansion().items():
        for (system, code), tier in codes.items():
            places = {"icd10cm": 3, "icd9cm": 4 if code[0] == "E" else 3, "icd9proc": 2}
            place = places.get(system, len(code))
            spelled = f"{code[:place]}.{code[place:]}" if dotted and len(code) > place else code
            found = standing(name, system, spelled)  # type: ignore[arg-type]
            checked += 1
            if found != tier:
                wrong.append((name, system, spelled, tier, found))
    assert not wrong
    assert checked == 6683


def test_procedures_of_detoxification_from_both_are_in_both_classes() -> None:
    shared = [
        code
        for system, code in expansion()["sud-alcohol"]
        if system == "icd9proc" and ("icd9proc", code) in expansion()["sud-opioid-drug"]
    ]
    assert sorted(shared) == ["9467", "9468", "9469"]


@pytest.mark.parametrize(
    ("name", "system", "code", "expected"),
    [
        ("hiv", "atc", "J05AE30", None),  # COVID-19, inside a group of HIV drugs
        ("hiv", "drug", "nirmatrelvir / ritonavir", None),
        ("hiv", "drug", "Nirmatrelvir-Ritonavir (Paxlovid)", None),
        ("hiv", "atc", "J05AR03", "proxy"),  # prevention, when alone
        ("hiv", "drug", "Emtricitabine-Tenofovir (Truvada)", "proxy"),
        ("hiv", "drug", "emtricitabine, rilpivirine and tenofovir", "strong"),
        ("hiv", "icd9cm", "042", "definitive"),
        ("hiv", "icd9cm", "42", None),
        ("hiv", "icd9cm", "420.0", None),
        ("hiv", "icd9proc", "04.2", None),
        ("sickle-cell", "icd10cm", "D57.3", "exposure"),  # the trait
        ("sickle-cell", "icd10cm", "D57.1", "definitive"),
        ("mental-health-serious", "drug", "Prochlorperazine", None),
        ("mental-health-serious", "atc", "N05AB04", None),
        ("mental-health-serious", "atc", "N05AD08", None),
        ("mental-health-serious", "atc", "N05AH03", "proxy"),
        ("sud-opioid-drug", "icd10cm", "T40.2X5A", None),  # the adverse effect of a prescription
        ("sud-opioid-drug", "icd10cm", "T40.2X6A", None),
        ("sud-opioid-drug", "icd10cm", "T40.2X1A", "suggestive"),
        ("sud-opioid-drug", "icd10cm", "Z79.891", "suggestive"),  # never counts
        ("sud-opioid-drug", "icd9cm", "305.1", None),  # tobacco, in the middle of a range
        ("cancer", "icd10cm", "C44.91", None),
    ],
)
def test_the_traps_of_the_draft_are_avoided(
    name: str, system: CodeSystem, code: str, expected: str | None
) -> None:
    assert standing(name, system, code) == expected


# --- references ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("library/hiw@1", "the library has no class 'hiw'; did you mean 'library/hiv@1'?"),
        ("library/hiv@3", "ships library/hiv@1 and library/hiv@2, not @3"),
        ("library/hiv", "write library/hiv@2"),
        ("hiv", "'hiv' is no reference to a class; write library/hiv@2"),
        ("library/../demo@1", "write library/NAME@N"),
        ("library/demographics@2", "ships library/demographics@1, not @2"),
        ("library/zzz@1", "`phigate classes list` shows all"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_sentence(reference: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="library") as caught:
        library_class(reference)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what a class must not say ------------------------------------------------------------------

CLASS = """\
apiVersion: phigate/v1
kind: AttributeClassLibrary
metadata: {name: gout, version: "1.0.0"}
spec:
  title: Gout
  codes:
    - {system: icd10cm, tier: definitive, values: ["M10"], exclude: ["M10.2"]}
  exclude:
    - {system: drug, values: [colchicine+probenecid]}
  proxies:
    - {system: drug, values: [allopurinol]}
  traps:
    - {system: icd10cm, code: "M10.2", expect: none, why: made up}
  sources:
    - {systems: [icd10cm, drug], title: Made up}
  review: {status: draft, by: nobody}
"""


def problems(old: str, new: str) -> list[str]:
    assert CLASS.count(old) == 1
    with pytest.raises(DocumentError) as caught:
        parse_documents(CLASS.replace(old, new), file="gout.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_class_of_one_s_own_is_read() -> None:
    (gout,) = parse_documents(CLASS, file="gout.yaml")
    assert gout.document.spec.title == "Gout"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "expect: none",
            "expect: strong",
            "gout.yaml:13:7: spec.traps[0]: the class falls into this trap: icd10cm 'M10.2' is"
            " 'none', but 'strong' is expected",
        ),
        (
            'code: "M10.2"',
            'code: "10.2"',
            "gout.yaml:13:25: spec.traps[0].code: '10.2' is not a code of icd10cm, which has a"
            " letter and up to six more characters",
        ),
        (
            'exclude: ["M10.2"]',
            'exclude: ["M12"]',
            "gout.yaml:7:70: spec.codes[0].exclude[0]: 'M12' is excluded, but no value covers it",
        ),
        (
            "[allopurinol]",
            "[allopurinol, Allopurinol]",
            "gout.yaml:11:44: spec.proxies[0].values[1]: the code 'Allopurinol' stands here twice,"
            " first as proxies",
        ),
        (
            "[colchicine+probenecid]",
            "[colchicine+]",
            "gout.yaml:9:31: spec.exclude[0].values[0]: 'colchicine+' is not a drug name or a"
            " combination 'name+name'",
        ),
        (
            "systems: [icd10cm, drug]",
            "systems: [icd10cm]",
            "gout.yaml:11:8: spec.proxies[0].system: no source is named for codes of drug; add one"
            " to sources",
        ),
    ],
)
def test_what_a_class_must_not_say_is_told_at_its_line(old: str, new: str, problem: str) -> None:
    assert problem in problems(old, new)


def test_a_policy_s_own_class_can_say_all_that_a_library_class_can(tmp_path: Path) -> None:
    policy = three_classes()
    marker = "    common-chronic:\n"
    assert policy.count(marker) == 1
    own = """\
    gout:
      title: Gout
      confidentiality: R
      codes:
        - {system: icd10cm, tier: definitive, values: ["M10"], exclude: ["M10.2"]}
      exclude: [{system: drug, values: [probenecid], why: made up}]
      proxies: [{system: drug, values: [allopurinol], why: made up}]
      traps: [{system: drug, code: allopurinol 100 mg, expect: proxy, why: made up}]
"""
    path = tmp_path / "policy.yaml"
    path.write_text(policy.replace(marker, own + marker), encoding="utf-8")
    gout = class_matcher(load_policy(path).document.spec.attribute_classes["gout"])
    assert gout.standing([read_code("icd10cm", "M10.9")], "") == "definitive"
    assert gout.standing([read_code("icd10cm", "M10.2")], "") is None
    assert gout.standing([read_code("drug", "allopurinol with probenecid")], "") is None


def test_what_is_measured_changes_with_exclusions_and_not_with_what_is_said_of_them() -> None:
    (before,) = parse_documents(CLASS, file="gout.yaml")
    (noted,) = parse_documents(
        CLASS.replace("[allopurinol]}", "[allopurinol], why: also stones}"), file="gout.yaml"
    )
    (wider,) = parse_documents(
        CLASS.replace("colchicine+probenecid", "colchicine"), file="gout.yaml"
    )
    assert identity(before.document.spec) == identity(noted.document.spec)
    assert identity(before.document.spec) != identity(wider.document.spec)


def test_every_system_of_the_types_can_be_matched() -> None:
    for system in get_args(CodeSystem):
        assert read_code(system, "x").system == system
