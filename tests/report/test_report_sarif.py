"""SARIF, checked with the schema of OASIS, and the part of it that GitHub ingests."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import report_builder as build
from report_cases import CASES, PLAIN, case

from checker.report.formats import sarif
from checker.report.formats.sarif import SARIF, SARIF_GITHUB
from checker.report.model import Report

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "schemas" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema_rs.Draft4Validator(SCHEMA, validate_formats=True)
FORMATS = {"sarif": SARIF, "sarif-github": SARIF_GITHUB}


@cache
def log(name: str, form: str = "sarif") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FORMATS[form].render(case(name)))
    return found


def run_of(name: str, form: str = "sarif") -> dict[str, Any]:
    runs: list[dict[str, Any]] = log(name, form)["runs"]
    (run,) = runs
    return run


def results(name: str, form: str = "sarif") -> dict[str, dict[str, Any]]:
    """Results by the id of their cell."""
    return {
        one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: one
        for one in run_of(name, form)["results"]
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_the_log_fits_the_schema_of_oasis(name: str, form: str) -> None:
    errors = [f"{e.instance_path}: {e.message}" for e in VALIDATOR.iter_errors(log(name, form))]
    assert errors == []


def test_the_schema_can_tell_a_log_that_does_not_fit() -> None:
    changes: list[dict[str, Any]] = [
        {"version": "2.0.0"},
        {"runs": [{}]},
        {"runs": [{**run_of("passing"), "results": [{"message": {"text": "x"}, "kind": "bad"}]}]},
    ]
    for change in changes:
        assert not VALIDATOR.is_valid({**log("passing"), **change})


def test_each_verdict_has_its_kind_and_only_a_failure_has_a_level() -> None:
    found = results("every verdict")
    kinds = {cell: (one["kind"], one["level"]) for cell, one in found.items()}
    assert kinds == {
        "hiv-disclosure/events-5/all": ("fail", "error"),
        "hiv-disclosure/events-10/all": ("pass", "none"),  # with a warning
        "substance-use-disclosure/events-10/all": ("notApplicable", "none"),
        "hypertension-disclosure/events-10/all": ("fail", "warning"),  # waived
        "hiv-disclosure/events-5/rare_code": ("open", "none"),
        "hypertension-disclosure/events-5/all": ("pass", "none"),
        "membership/record/all": ("pass", "none"),
    }
    assert "Pass, warned" in found["hiv-disclosure/events-10/all"]["message"]["text"]


def test_an_attack_that_crashed_is_a_notification_and_no_result() -> None:
    crashed = "substance-use-disclosure/events-5/all"
    assert crashed not in results("every verdict")
    (invocation,) = run_of("every verdict")["invocations"]
    (note,) = invocation["toolExecutionNotifications"]
    assert note["level"] == "error"
    assert note["message"]["text"].startswith("Error: ")
    assert "The attack stopped after 12 of 38 prompts." in note["message"]["text"]
    assert note["associatedRule"]["id"] == "substance-use-disclosure"
    assert run_of("passing")["invocations"][0].keys().isdisjoint({"toolExecutionNotifications"})


def test_whether_the_audit_could_be_completed_is_that_of_the_exit_code() -> None:
    for name, successful in (
        ("failing", True), ("passing", True), ("inconclusive", True), ("refused waiver", False),
    ):  # fmt: skip
        (invocation,) = run_of(name)["invocations"]
        assert invocation["exitCode"] == case(name).summary.exit_code
        assert invocation["executionSuccessful"] is successful
        assert invocation["endTimeUtc"] == "2026-11-23T18:31:40Z"


def test_a_waiver_is_an_accepted_suppression_with_its_justification() -> None:
    found = results("every verdict")
    (suppression,) = found["hypertension-disclosure/events-10/all"]["suppressions"]
    assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
    assert "Recipients sign that they do not try" in suppression["justification"]
    assert "to the end of 2027-01-31" in suppression["justification"]
    # a waiver that is void suppresses nothing, and the field is in all results or in none
    assert found["hiv-disclosure/events-5/all"]["suppressions"] == []
    assert all("suppressions" in one for one in found.values())


def test_a_waiver_that_does_not_hold_is_an_error_of_configuration() -> None:
    (note,) = run_of("refused waiver")["invocations"][0]["toolConfigurationNotifications"]
    assert note["level"] == "error"
    assert (
        "The waiver of membership/record/all is refused. It names another model."
        in (note["message"]["text"])
    )
    (void,) = run_of("every verdict")["invocations"][0]["toolConfigurationNotifications"]
    assert void["level"] == "warning"


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_lies_on_its_control_s_line_of_the_policy(form: str) -> None:
    for one in results("failing", form).values():
        place = one["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "policy.yaml"}
        assert (place["region"]["startLine"], place["region"]["endLine"]) == (41, 41)


@pytest.mark.parametrize(
    ("command", "uri"),
    [
        ("phigate check policies/release.yaml target.yaml --out R", "policies/release.yaml"),
        ("phigate check ./policies/release.yaml target.yaml --out R", "policies/release.yaml"),
        ("phigate check 'our policies/release.yaml' t.yaml --out R", "our%20policies/release.yaml"),
        # a folder of this machine says nothing to another
        ("phigate check /home/me/release.yaml target.yaml --out R", "release.yaml"),
        ("phigate check ../release.yaml target.yaml --out R", "release.yaml"),
        ("phigate check a/release.yaml b/release.yaml --out R", "release.yaml"),
        ("phigate check 'unfinished", "release.yaml"),
        ("", "release.yaml"),
    ],
)
def test_the_policy_is_where_the_command_said(command: str, uri: str) -> None:
    report = case("passing")
    changed = report.model_copy(
        update={
            "policy": report.policy.model_copy(update={"file": "release.yaml"}),
            "provenance": report.provenance.model_copy(update={"command": command}),
        }
    )
    (run,) = json.loads(SARIF.render(changed))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == uri
    assert run["artifacts"][0]["location"]["uri"] == uri


def test_an_inherited_control_lies_in_the_file_it_was_inherited_from() -> None:
    report = case("passing")
    parent = report.controls[0].model_copy(update={"file": "hospital-baseline.yaml", "line": 7})
    changed = report.model_copy(update={"controls": [parent, *report.controls[1:]]})
    (run,) = json.loads(SARIF.render(changed))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "hospital-baseline.yaml"
    assert place["region"]["startLine"] == 7


@pytest.mark.parametrize("form", FORMATS)
def test_a_rule_is_a_control_and_says_what_it_is(form: str) -> None:
    rules = run_of("every verdict", form)["tool"]["driver"]["rules"]
    report = case("every verdict")
    assert [rule["id"] for rule in rules] == [control.id for control in report.controls]
    for rule, control in zip(rules, report.controls, strict=True):
        assert rule["shortDescription"]["text"] == control.title
        assert rule["fullDescription"]["text"] == control.rationale
        assert "What would fix it: Retrain with de-duplicated records" in rule["help"]["text"]
        assert "(evidence" in rule["help"]["text"]
    for one in run_of("every verdict", form)["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]


def test_a_result_leads_to_the_files_of_its_evidence() -> None:
    report, run = case("failing"), run_of("failing")
    files = {entry.job: entry for entry in report.provenance.evidence}
    cell = report.cells[1]
    attached = results("failing")[cell.id]["attachments"]
    expected = [files[job] for job in cell.evidence if job in files]
    assert expected
    assert [one["artifactLocation"]["uri"] for one in attached] == [one.file for one in expected]
    for one, entry in zip(attached, expected, strict=True):
        artifact = run["artifacts"][one["artifactLocation"]["index"]]
        assert artifact["location"]["uri"] == entry.file
        assert artifact["hashes"] == {"sha-256": entry.sha256}


@pytest.mark.parametrize("form", FORMATS)
def test_no_two_results_have_one_fingerprint_and_a_new_run_keeps_them(form: str) -> None:
    def fingerprints(report: Report) -> dict[str, str]:
        (run,) = json.loads(FORMATS[form].render(report))["runs"]
        return {
            one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: one[
                "partialFingerprints"
            ]["primaryLocationLineHash"]
            for one in run["results"]
        }

    first = fingerprints(case("failing"))
    assert len(set(first.values())) == len(first) > 5
    assert all(re.fullmatch(r"[0-9a-f]{16}:1", one) for one in first.values())
    # other numbers, another day, another version of model and policy: the same alert
    report = case("failing")
    cells = [
        build.disclosure_cell("hiv", "events-5", members=(70, 150), nonmembers=(5, 140)),
        *report.cells[2:],
    ]
    later = report.model_copy(
        update={
            "cells": cells,
            "provenance": report.provenance.model_copy(
                update={"as_of": "2027-01-01T00:00:00+00:00", "manifest_sha256": "0" * 64}
            ),
            "target": report.target.model_copy(update={"version": "2027-01"}),
        }
    )
    again = fingerprints(later)
    assert again == {cell: first[cell] for cell in again}


# --- what GitHub ingests ------------------------------------------------------------------------


def test_github_gets_what_failed_or_stayed_open_worst_first() -> None:
    run = run_of("every verdict", "sarif-github")
    found = [
        (one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], one["level"])
        for one in run["results"]
    ]
    assert found == [
        ("hiv-disclosure/events-5/all", "error"),
        # GitHub shows no notification, and would take a missing result for a fixed one
        ("substance-use-disclosure/events-5/all", "error"),
        ("hiv-disclosure/events-5/rare_code", "error"),
        ("hypertension-disclosure/events-10/all", "warning"),
    ]
    assert all("kind" not in one for one in run["results"])


def test_what_does_not_block_is_no_error_to_github() -> None:
    # reported only, and inconclusive: three cells of demographics
    levels = [one["level"] for one in run_of("passing", "sarif-github")["results"]]
    assert levels == ["note", "note", "note"]
    texts = [one["message"]["text"] for one in run_of("passing", "sarif-github")["results"]]
    assert all("reported only and does not block" in text for text in texts)


@pytest.mark.parametrize("name", CASES)
def test_the_limits_of_github_are_kept(name: str) -> None:
    run = run_of(name, "sarif-github")
    for rule in run["tool"]["driver"]["rules"]:
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
        assert len(rule["properties"]["tags"]) <= 10
    for one in run["results"]:
        assert one["level"] in {"error", "warning", "note"}
        assert one["message"]["text"]
        assert len(one["locations"]) == 1
        region = one["locations"][0]["physicalLocation"]["region"]
        assert region.keys() == {"startLine", "startColumn", "endLine", "endColumn"}
        assert re.fullmatch(r"[0-9a-f]+:1", one["partialFingerprints"]["primaryLocationLineHash"])


def test_what_blocks_without_a_cell_is_an_alert_of_its_own() -> None:
    run = run_of("refused waiver", "sarif-github")
    rules = run["tool"]["driver"]["rules"]
    alerts = [one for one in run["results"] if one["level"] == "error"]
    assert [rules[one["ruleIndex"]]["id"] for one in alerts] == ["release"]
    text = alerts[0]["message"]["text"]
    assert text.startswith("Release is blocked: a waiver does not hold. ")
    assert "The waiver of membership/record/all is refused. It names another model." in text


@pytest.mark.parametrize("name", CASES)
def test_github_sees_an_error_exactly_where_the_release_is_blocked(name: str) -> None:
    levels = {one["level"] for one in run_of(name, "sarif-github")["results"]}
    assert ("error" in levels) == (case(name).summary.exit_code != 0)


def test_github_gets_no_more_results_than_it_shows_and_the_worst_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sarif.GITHUB_RESULTS == 5_000
    monkeypatch.setattr(sarif, "GITHUB_RESULTS", 50)
    report = case("failing")
    fail = report.cells[1]
    many = [fail.model_copy(update={"id": f"{fail.id}-{n}"}) for n in range(52)]
    notes = [report.cells[0].model_copy(update={"id": f"note-{n}"}) for n in range(10)]
    blocked = report.summary.model_copy(update={"blocked_by": [cell.id for cell in many]})
    written = SARIF_GITHUB.render(
        report.model_copy(update={"cells": [*notes, *many], "summary": blocked})
    )
    (run,) = json.loads(written)["runs"]
    assert [one["level"] for one in run["results"]] == ["error"] * 50
    # a hundred times as many stay below ten megabytes, before they are compressed
    assert 100 * len(written) < 10_000_000


# --- hostile text -------------------------------------------------------------------------------


def messages(value: Any) -> list[str]:
    """Every message string of a log (§3.11, §3.12)."""
    if isinstance(value, list):
        return [text for item in value for text in messages(item)]
    if not isinstance(value, dict):
        return []
    found = [text for inner in value.values() for text in messages(inner)]
    return [*found, value["text"]] if isinstance(value.get("text"), str) else found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_no_message_holds_a_placeholder_or_a_link(name: str, form: str) -> None:
    for text in messages(log(name, form)):
        assert not re.search(r"(?<!\{)(\{\{)*\{(?!\{)", text), text[:200]
        assert not re.search(r"(?<!\})(\}\})*\}(?!\})", text), text[:200]
        assert "](" not in text


def test_a_placeholder_and_a_link_would_be_found() -> None:
    assert re.search(r"(?<!\{)(\{\{)*\{(?!\{)", "see {0}")
    assert not re.search(r"(?<!\{)(\{\{)*\{(?!\{)", "see {{0}}")
    assert messages({"a": [{"message": {"text": "one"}}], "help": {"text": "two"}}) == [
        "one", "two",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_uri_is_relative_and_means_only_a_path(name: str) -> None:
    uris = re.findall(r'"uri": "([^"]*)"', json.dumps(log(name)))
    assert uris
    for uri in uris:
        assert re.fullmatch(r"[A-Za-z0-9._~%-]+(/[A-Za-z0-9._~%-]*)*", uri), uri


@pytest.mark.parametrize("name", PLAIN)
def test_the_category_of_an_upload_is_policy_and_target(name: str) -> None:
    details = run_of(name)["automationDetails"]["id"]
    assert details == "phigate/general-hospital-release/ehr-gpt/2026-11-23T20:00:00+00:00"
