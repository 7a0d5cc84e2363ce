"""A class is signed off for the codes that were read, and for no others."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from command_line import Command

from checker.errors import DocumentError
from checker.planning.identity import identity
from checker.policy import load_policy, parse_documents
from checker.policy.class_review import codes_digest, review_state
from checker.policy.library import library_classes
from checker.policy.lint import lint

ROOT = Path(__file__).parents[2]

CLASS = """\
apiVersion: phigate/v1
kind: AttributeClassLibrary
metadata: {name: gout, version: "2.0.0"}
spec:
  title: Gout
  codes:
    - {system: icd10cm, tier: definitive, values: ["M10", "M1A"], exclude: ["M10.2"]}
  proxies:
    - {system: drug, values: [allopurinol, colchicine]}
  sources:
    - {systems: [icd10cm, drug], title: Made up}
  review: {status: reviewed, by: nobody}
  reviewed:
    by: Dr. M. Okafor
    role: rheumatologist
    date: 2026-10-01
    version: "2.0.0"
    sha256: "SHA"
"""

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: mine, version: "1.0.0"}
spec:
  extends: [{ref: "demo@2"}]
  attributeClasses:
    gout:
      use: ./gout.yaml
"""


def signed(text: str = CLASS) -> str:
    """The class with the digest of its codes, as the sheet tells it."""
    draft = text.replace("status: reviewed", "status: draft").partition("  reviewed:")[0]
    (gout,) = parse_documents(draft, file="gout.yaml")
    return text.replace("SHA", codes_digest(gout.document.spec))


def refused(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse_documents(text, file="gout.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_class_that_was_signed_off_is_reviewed() -> None:
    (gout,) = parse_documents(signed(), file="gout.yaml")
    assert review_state(gout.document.spec) == "reviewed"
    assert not lint([gout], on=date(2026, 11, 1))


def test_what_is_said_of_codes_and_their_order_are_not_signed() -> None:
    (gout,) = parse_documents(signed(), file="gout.yaml")
    turned = signed().replace('"M10", "M1A"', '"M1A", "M10"').replace("Gout\n", "Gout and more\n")
    (other,) = parse_documents(turned, file="gout.yaml")
    assert review_state(other.document.spec) == "reviewed"
    assert identity(gout.document.spec) != identity(other.document.spec)  # order is kept there


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"M10", "M1A"', '"M10", "M1A", "M11"', "other codes were signed off than stand here"),
        ('exclude: ["M10.2"]', "exclude: []", "other codes were signed off than stand here"),
        ("colchicine", "probenecid", "other codes were signed off than stand here"),
        ("tier: definitive", "tier: strong", "other codes were signed off than stand here"),
        (
            'metadata: {name: gout, version: "2.0.0"}',
            'metadata: {name: gout, version: "3.0.0"}',
            "version 2.0.0 was signed off, and this is 3.0.0",
        ),
        ("status: reviewed", "status: draft", "this says draft, though `reviewed` beside it"),
    ],
)
def test_a_class_that_changed_since_is_refused(old: str, new: str, problem: str) -> None:
    text = signed()
    assert text.count(old) == 1
    (found,) = refused(text.replace(old, new))
    assert found.startswith("gout.yaml:")
    assert problem in found


def test_reviewed_without_a_signature_is_refused() -> None:
    (found,) = refused(CLASS.partition("  reviewed:")[0])
    assert "spec.review.status" in found
    assert "'reviewed' needs `reviewed` beside it" in found


def test_a_signature_of_tomorrow_is_warned_of() -> None:
    (gout,) = parse_documents(signed(), file="gout.yaml")
    (warning,) = lint([gout], on=date(2026, 9, 1))
    assert "spec.reviewed.date" in str(warning)
    assert "it was signed off on 2026-10-01; 2026-09-01 is earlier" in str(warning)


def test_a_policy_takes_the_signature_along_and_loses_it_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "gout.yaml").write_text(signed(), encoding="utf-8")
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    taken = load_policy(path).document
    assert review_state(taken.spec.attribute_classes["gout"]) == "reviewed"
    # the policy as resolved holds it too, so that a report can show it
    held = taken.resolved.spec.attribute_classes["gout"].reviewed
    assert held is not None
    assert held.by == "Dr. M. Okafor"
    more = "      codes:\n        - {system: local, tier: definitive, values: [GOUT]}\n"
    path.write_text(POLICY + more, encoding="utf-8")
    added = load_policy(path)
    assert review_state(added.document.spec.attribute_classes["gout"]) == "changed"
    (warning,) = (w for w in lint([added], on=date(2026, 11, 1)) if "reviewed" in w.path)
    assert "signed other codes off than the class has now" in warning.message
    note = "      notes: [Read it well.]\n"
    path.write_text(POLICY + note, encoding="utf-8")
    assert review_state(load_policy(path).document.spec.attribute_classes["gout"]) == "reviewed"


def test_a_pool_is_as_reviewed_as_its_classes(tmp_path: Path) -> None:
    (tmp_path / "gout.yaml").write_text(signed(), encoding="utf-8")
    path = tmp_path / "policy.yaml"
    again = "    again:\n      use: ./gout.yaml\n"
    pools = """\
    both: {title: Both, anyOf: [gout, again]}
    odd: {title: Odd, anyOf: [gout, virus]}
"""
    virus = '    virus: {use: "library/hiv@2"}\n'
    path.write_text(POLICY + again + virus + pools, encoding="utf-8")
    classes = load_policy(path).document.spec.attribute_classes
    assert review_state(classes["both"], classes) == "reviewed"
    assert review_state(classes["odd"], classes) == "draft"


def test_no_shipped_class_is_signed_off() -> None:
    for one in library_classes().values():
        assert review_state(one.document.spec) == "draft"


# --- the sheet ----------------------------------------------------------------------------------


def test_the_sheet_holds_what_is_to_be_read_and_signed(phigate: Command, tmp_path: Path) -> None:
    titles = tmp_path / "titles.txt"
    titles.write_text("F5000 Anorexia nervosa\nF502  Bulimia nervosa\nR630 Anorexia\n")
    options = ("review", "eating-disorder", "--titles", f"icd10cm={titles}")
    shown = phigate("classes", *options)
    assert shown.code == 0, shown.err
    for part in ("( ) │ icd10cm │ F5000", "Bulimia nervosa", "It is not", "icd10cm R63.0",
                 "Open questions", "Signature:", "draft: nobody has signed it off"):  # fmt: skip
        assert part in shown.out
    assert "R630" not in shown.out
    sheet = json.loads(phigate("classes", *options, "--json").out)
    spec = library_classes()["eating-disorder"].document.spec
    assert sheet["sha256"] == codes_digest(spec)
    assert sheet["sha256"] in shown.out
    assert [row["code"] for row in sheet["codes"]["definitive"]] == [
        "F5000",
        "F502",
        "307.1",
        "307.5",
    ]


def test_the_sheet_counts_in_a_data_set(phigate: Command, tmp_path: Path) -> None:
    from meds_builder import write_meds

    patient = [("ICD10CM/F50.2", 0.0), ("LAB//7", 1.0)]
    data = write_meds(
        tmp_path / "data",
        {"train": [patient], "held_out": [patient]},
        descriptions={"LAB//7": "Binge drinking score"},
    )
    outcome = phigate("classes", "review", "eating-disorder", "--data", data, "--json")
    assert outcome.code == 0, outcome.err
    sheet = json.loads(outcome.out)
    assert sheet["data"]["patients"] == 2
    assert {"system": "icd10cm", "code": "F50", "title": "", "patients": 2} in (
        sheet["codes"]["definitive"]
    )
    assert any("Binge drinking score (word binge)" in one for one in sheet["questions"])


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--titles", "icd10cm"), 2, "write SYSTEM=FILE"),
        (("--titles", "icd10=titles.txt"), 4, "cannot be read"),
        (("--titles", "icd10=EMPTY"), 4, "holds no titles"),
        (("--titles", "icd10=README.md"), 2, "there is no code system 'icd10'"),
    ],
)
def test_titles_that_are_none_are_a_sentence(
    phigate: Command, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "README.md").write_text("A title\n")
    given = [one.replace("=", f"={tmp_path}/") for one in options]
    outcome = phigate("classes", "review", "hiv", *given)
    assert (outcome.code, sentence in outcome.err) == (code, True), outcome.err


def test_a_pool_is_reviewed_class_by_class(phigate: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    pool = """\
    virus: {use: "library/hiv@2"}
    alcohol: {use: "library/sud-alcohol@2"}
    odd: {title: Odd, anyOf: [virus, alcohol]}
"""
    policy.write_text(POLICY.partition("    gout:")[0] + pool)
    outcome = phigate("classes", "review", "odd", "--policy", policy)
    assert outcome.code == 2
    assert "'odd' is a pool; review its classes: virus, alcohol" in outcome.err
