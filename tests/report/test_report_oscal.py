"""OSCAL assessment results, checked with NIST's schema and the models of compliance-trestle."""

from __future__ import annotations

import json
import re
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import report_builder as build
from report_cases import CASES, PLAIN, case

from checker.report.formats.oscal import OSCAL
from checker.report.model import Report

# the schema's patterns use \p, which Python's own validator does not know
SCHEMA = json.loads(
    (Path(__file__).parents[1] / "schemas" / "oscal-assessment-results-1.2.1.json").read_text(
        encoding="utf-8"
    )
)
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA, validate_formats=True)


def written(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OSCAL.render(report))
    return found


@cache
def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = written(case(name))["assessment-results"]
    return found


def result_of(name: str) -> dict[str, Any]:
    results: list[dict[str, Any]] = document(name)["results"]
    (result,) = results
    return result


def props(part: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in part["props"]}


@pytest.mark.parametrize("name", CASES)
def test_the_document_fits_the_schema_of_nist(name: str) -> None:
    errors = VALIDATOR.iter_errors({"assessment-results": document(name)})
    assert [f"{error.instance_path}: {error.message}" for error in errors] == []


def test_the_schema_can_tell_a_document_that_does_not_fit() -> None:
    whole = document("every verdict")
    changes: list[dict[str, Any]] = [
        {"uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},  # version 1
        {"results": []},
        {"import-ap": {}},
        {"metadata": {**whole["metadata"], "last-modified": "2026-11-23T20:00:00"}},  # no offset
        {"metadata": {**whole["metadata"], "props": [{"name": "two words", "value": "x"}]}},
    ]
    for change in changes:
        assert not VALIDATOR.is_valid({"assessment-results": {**whole, **change}}), change


@pytest.mark.parametrize("name", CASES)
def test_the_models_of_compliance_trestle_read_it(name: str, tmp_path: Path) -> None:
    from trestle.oscal import OSCAL_VERSION_REGEX
    from trestle.oscal.assessment_results import AssessmentResults

    path = tmp_path / "report.oscal.json"
    path.write_bytes(OSCAL.render(case(name)))
    read = AssessmentResults.oscal_read(path)
    assert isinstance(read, AssessmentResults)
    # the models take any version for a string; which ones they are made for stands beside them
    assert re.match(OSCAL_VERSION_REGEX, read.metadata.oscal_version.root.root)
    report, result = case(name), read.results[0]
    presupposed = len(report.prerequisites)
    assert len(result.observations or []) == len(report.cells) + presupposed
    assert len(result.findings or []) == len(report.controls) + presupposed


def test_the_models_of_compliance_trestle_refuse_what_is_no_assessment(tmp_path: Path) -> None:
    from trestle.common.err import TrestleError
    from trestle.oscal.assessment_results import AssessmentResults

    whole = document("passing")
    path = tmp_path / "report.oscal.json"
    changes: list[dict[str, Any]] = [
        {"results": [{}]},
        {"metadata": {**whole["metadata"], "last-modified": "2026-11-23T20:00:00"}},
        {"unknown": 1},
    ]
    for change in changes:
        path.write_text(json.dumps({"assessment-results": {**whole, **change}}), encoding="utf-8")
        with pytest.raises(TrestleError):
            AssessmentResults.oscal_read(path)


def test_a_cell_is_an_observation_made_by_a_test() -> None:
    report = case("every verdict")
    observations = result_of("every verdict")["observations"]
    assert [props(one)["cell"] for one in observations] == [cell.id for cell in report.cells]
    for one in observations:
        assert one["methods"] == ["TEST"]
        assert one["collected"] == "2026-11-23T18:31:40+00:00"
    numbers = props(observations[0])
    # 61 of 142 members and 4 of 139 nonmembers
    assert float(numbers["value"]) == pytest.approx(61 / 142 - 4 / 139)
    assert numbers["n"] == str(142 + 139)
    assert numbers["limit"] == "0.05"


def test_a_control_is_a_finding_that_only_a_pass_satisfies() -> None:
    report = case("every verdict")
    findings = {
        one["target"]["target-id"]: (one["target"]["status"], props(one))
        for one in result_of("every verdict")["findings"]
    }
    assert {name: (s["state"], s["reason"]) for name, (s, _) in findings.items()} == {
        "hiv-disclosure_obj": ("not-satisfied", "fail"),
        "substance-use-disclosure_obj": ("not-satisfied", "other"),
        "hypertension-disclosure_obj": ("not-satisfied", "fail"),  # waived, and it stays a fail
        "membership_obj": ("satisfied", "pass"),
    }
    assert findings["substance-use-disclosure_obj"][1]["verdict"] == "error"
    assert findings["hypertension-disclosure_obj"][1]["blocks-release"] == "no"
    assert len(findings) == len(report.controls)


@pytest.mark.parametrize("verdict", ["inconclusive", "not_applicable", "error"])
def test_what_is_not_known_is_not_satisfied_for_another_reason(verdict: str) -> None:
    report = case("passing")
    control = report.controls[0].model_copy(update={"verdict": verdict})
    content = written(report.model_copy(update={"controls": [control]}))
    (finding,) = content["assessment-results"]["results"][0]["findings"]
    assert finding["target"]["status"]["state"] == "not-satisfied"
    assert finding["target"]["status"]["reason"] == "other"
    assert props(finding)["verdict"] == verdict.replace("_", "-")


def test_a_waiver_is_an_accepted_risk_with_a_deadline() -> None:
    result = result_of("every verdict")
    (risk,) = result["risks"]
    assert risk["status"] == "deviation-approved"
    assert risk["deadline"] == "2027-01-31T23:59:59+00:00"
    assert [one["description"] for one in risk["mitigating-factors"]] == [
        "Gated agreement", "Yearly audit of the recipients",
    ]  # fmt: skip
    linked = [
        one["target"]["target-id"]
        for one in result["findings"]
        if {"risk-uuid": risk["uuid"]} in one.get("related-risks", [])
    ]
    assert linked == ["hypertension-disclosure_obj"]
    assert "risks" not in result_of("passing")


@pytest.mark.parametrize("name", PLAIN)
def test_every_reference_arrives(name: str) -> None:
    whole = document(name)
    defined = re.findall(r'"uuid": "([^"]+)"', json.dumps(whole))
    assert len(set(defined)) == len(defined)
    used = re.findall(r'"(?:[a-z]+-uuid)": "([^"]+)"', json.dumps(whole))
    used += re.findall(r'"href": "#([^"]+)"', json.dumps(whole))
    assert used
    assert set(used) <= set(defined)
    resources = {one["uuid"] for one in whole["back-matter"]["resources"]}
    assert resources <= set(used)  # a resource that nothing links is lost on its reader
    controls = {one["control-id"] for one in whole["local-definitions"]["objectives-and-methods"]}
    (selection,) = result_of(name)["reviewed-controls"]["control-selections"]
    assert {one["control-id"] for one in selection["include-controls"]} == controls


def test_the_plan_is_what_is_imported_and_files_have_their_digests() -> None:
    report, whole = case("failing"), document("failing")
    resources = {one["uuid"]: one for one in whole["back-matter"]["resources"]}
    plan = resources[whole["import-ap"]["href"].removeprefix("#")]
    assert plan["rlinks"] == [
        {
            "href": "plan.json",
            "hashes": [{"algorithm": "SHA-256", "value": report.provenance.plan_sha256}],
        }
    ]
    cell = report.cells[1]
    entries = {entry.job: entry for entry in report.provenance.evidence}
    expected = [entries[job].file for job in cell.evidence if job in entries]
    found = [
        resources[one["href"].removeprefix("#")]["rlinks"][0]["href"]
        for one in result_of("failing")["observations"][1]["relevant-evidence"]
    ]
    assert found == expected != []


def test_identifiers_are_of_version_five_and_belong_to_the_run() -> None:
    def uuids(report: Report) -> list[str]:
        return re.findall(r'"uuid": "([^"]+)"', OSCAL.render(report).decode())

    report = case("failing")
    assert {uuid.UUID(one).version for one in uuids(report)} == {5}
    assert uuids(report) == uuids(build.failing_report())
    later = report.provenance.model_copy(update={"as_of": "2026-11-24T20:00:00+00:00"})
    assert not set(uuids(report)) & set(uuids(report.model_copy(update={"provenance": later})))


def test_a_time_without_an_offset_gets_one() -> None:
    report = case("passing")
    bare = report.provenance.model_copy(
        update={"as_of": "2026-11-23T20:00:00", "started": None, "finished": None}
    )
    content = written(report.model_copy(update={"provenance": bare}))
    assert VALIDATOR.is_valid(content)
    result = content["assessment-results"]["results"][0]
    assert result["start"] == result["end"] == "2026-11-23T20:00:00+00:00"


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("see [x](javascript:y)", r"see \[x\](javascript:y)"),
        ("<b>fail</b>", r"\<b\>fail\</b\>"),
        ("{{ insert: param, x }}", r"\{\{ insert: param, x \}\}"),
        ("two\nlines", "two lines"),
        ("  ", "-"),
    ],
)
def test_a_title_is_no_markup(title: str, shown: str) -> None:
    report = case("passing")
    control = report.controls[0].model_copy(update={"title": title})
    content = written(report.model_copy(update={"controls": [control]}))
    assert VALIDATOR.is_valid(content)
    (finding,) = content["assessment-results"]["results"][0]["findings"]
    assert finding["title"] == shown


def test_a_name_that_is_no_token_becomes_one_of_its_own() -> None:
    report = case("passing")
    names = ["two words", "two-words", "two_words", "2", "é", "x" * 10_000, "x" * 10_001]
    controls = [report.controls[0].model_copy(update={"id": name}) for name in names]
    content = written(report.model_copy(update={"controls": controls}))
    assert VALIDATOR.is_valid(content)
    objectives = content["assessment-results"]["local-definitions"]["objectives-and-methods"]
    tokens = [one["control-id"] for one in objectives]
    assert len(set(tokens)) == len(tokens)
    assert tokens[1:3] == ["two-words", "two_words"]
