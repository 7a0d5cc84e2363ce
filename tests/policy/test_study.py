"""What a target says of its study: read as it stands, and repeated in reports."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_builder as build
import yaml

from checker.errors import DocumentError
from checker.policy import load_target
from checker.policy.documents import Study
from checker.report.disclosure_control import for_audience
from checker.report.model import Report, StudyReport

STARTER = Path(__file__).parents[2] / "policies" / "starter" / "target.yaml"


def target(study: object) -> str:
    document = yaml.safe_load(STARTER.read_text())
    document["spec"]["study"] = study
    return yaml.safe_dump(document)


def test_a_study_is_read_as_it_was_written() -> None:
    said = {"protocol": "HS 41", "data": {"legalBasis": "§25"}, "expert": {"expires": "2027-11-01"}}
    study = load_target(Path("t.yaml"), text=target(said)).document.spec.study
    assert study.protocol == "HS 41"
    assert study.data.legal_basis == "§25"
    assert study.expert.expires is not None
    assert study.title is None


@pytest.mark.parametrize(
    ("study", "place", "words"),
    [
        ({"protcol": "HS 41"}, "spec.study", "did you mean 'protocol'"),
        ({"title": "  "}, "spec.study.title", "2000 characters"),
        ({"title": "x" * 2001}, "spec.study.title", "2000 characters"),
        ({"data": None}, "spec.study.data", ""),
        ({"training": {"patients": 0}}, "spec.study.training.patients", "1"),
        ({"training": {"differentialPrivacy": {"epsilon": 8}}}, "spec.study.training", "delta"),
        (
            {
                "training": {
                    "differentialPrivacy": {
                        "epsilon": 8,
                        "delta": 1e-6,
                        "unit": "patient",
                        "protects": "patients",
                    }
                }
            },
            "spec.study.training.differentialPrivacy.protects",
            "patient",
        ),
        ({"expert": {"expires": "soon"}}, "spec.study.expert.expires", "2026-10-01"),
    ],
)
def test_what_says_nothing_is_refused_where_it_stands(
    study: object, place: str, words: str
) -> None:
    with pytest.raises(DocumentError) as refused:
        load_target(Path("t.yaml"), text=target(study))
    problem = refused.value.problems[0]
    assert (problem.path or "").startswith(place)
    assert problem.line is not None
    assert words in problem.message


def test_a_report_repeats_it_and_a_shared_one_without_exact_numbers() -> None:
    study = Study.model_validate_json(
        '{"protocol": "HS 41", "training": {"patients": 1843, "tokens": 99071, "epochs": 3}}'
    )
    report = build.failing_report().model_copy(update={"study": StudyReport(**dict(study))})
    shared = for_audience(report, "shared")
    assert shared.study.protocol == "HS 41"
    assert shared.study.training.epochs == 3
    assert shared.study.withheld == ["training.patients", "training.tokens"]
    assert b"1843" not in shared.to_bytes()
    assert b"99071" not in shared.to_bytes()
    assert Report.model_validate_json(shared.to_bytes()) == shared
    assert Report.model_validate_json(report.to_bytes()) == report
