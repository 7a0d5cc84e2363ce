"""CHAI's Applied Model Card, checked with its draft schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from lxml import etree
from report_cases import CASES, PLAIN, case

from checker.policy.documents.study import Study
from checker.report.formats.applied_model_card import (
    APPLIED_MODEL_CARD,
    NAMESPACE,
    UNDECLARED,
    render_applied_model_card,
)
from checker.report.model import StudyReport

XSD = Path(__file__).parents[1] / "schemas" / "chai-applied-model-card-0.2.xsd"
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
NAMES = {"m": NAMESPACE}


@cache
def schema() -> etree.XMLSchema:
    """CHAI's schema without the signature that a card may have, whose own schema is elsewhere."""
    tree = etree.parse(XSD)
    for one in tree.xpath("//*[local-name()='import' or @ref='ds:Signature']"):
        one.getparent().remove(one)
    return etree.XMLSchema(tree)


@cache
def card(name: str) -> etree._Element:
    return etree.fromstring(render_applied_model_card(case(name)), PARSER)


def text(root: etree._Element, path: str) -> str:
    return str(root.findtext("/".join(f"m:{part}" for part in path.split("/")), "", NAMES))


@pytest.mark.parametrize("name", CASES)
def test_the_card_fits_the_schema(name: str) -> None:
    assert schema().validate(card(name)), schema().error_log.last_error


def test_the_schema_can_tell_a_card_that_does_not_fit() -> None:
    broken = etree.fromstring(render_applied_model_card(case("passing")), PARSER)
    broken.remove(broken[-1])
    assert not schema().validate(broken)


@pytest.mark.parametrize("name", PLAIN)
def test_every_cell_is_a_result_with_its_verdict_and_json(name: str) -> None:
    path = "m:KeyMetrics/m:SafetyReliability/m:Results/m:MetricResult"
    results = card(name).findall(path, NAMES)
    found = [json.loads(one.findtext("m:ValueJson", "", NAMES)) for one in results]
    assert [one["cell"] for one in found] == [cell.id for cell in case(name).cells]
    for one, cell in zip(found, case(name).cells, strict=True):
        assert ("value" in one) == (cell.estimate is not None)
        assert one["verdict"]
    others = card(name).findall("m:KeyMetrics/m:FairnessEquity//m:ValueJson", NAMES)
    assert [one.text for one in others] == ["null"]


def test_what_the_study_declares_is_told_and_the_rest_is_said_to_be_missing() -> None:
    bare = case("passing").model_copy(update={"study": StudyReport()})
    root = etree.fromstring(APPLIED_MODEL_CARD.render(bare), PARSER)
    assert text(root, "UsesAndDirections/IntendedUseAndWorkflow") == UNDECLARED
    study = StudyReport.model_validate(
        Study.model_validate(
            {
                "intendedUse": "Readmission",
                "sponsor": "General [Hospital](x)",
                "data": {"consent": "waived"},
            }
        ).model_dump()
    )
    root = etree.fromstring(
        APPLIED_MODEL_CARD.render(bare.model_copy(update={"study": study})), PARSER
    )
    assert schema().validate(root)
    assert text(root, "UsesAndDirections/IntendedUseAndWorkflow") == "Readmission"
    assert text(root, "Resources/PatientConsentOrDisclosure") == "waived"
    assert "\\[Hospital\\]" in text(root, "BasicInfo/ModelDeveloper")  # and makes no link
    assert "Release is" in text(root, "ReleaseInfo/ReleaseStage")
