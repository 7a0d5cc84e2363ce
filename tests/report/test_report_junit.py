"""JUnit XML, checked with Jenkins' schema, and against the exit code it must agree with."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import report_builder as build
from lxml import etree
from report_cases import CASES, case

from checker.report.formats.junit import JUNIT
from checker.report.model import Report

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "schemas" / "junit-10.xsd"))
# nothing is fetched, and an entity that somebody smuggled in stays what it is
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)


def parsed(report: Report) -> etree._Element:
    return etree.fromstring(JUNIT.render(report), PARSER)


@cache
def root_of(name: str) -> etree._Element:
    return parsed(case(name))


def outcomes(root: etree._Element) -> dict[str, str]:
    """What became of each case, as "element: type"."""
    found = {}
    for one in root.iter("testcase"):
        name = f"{one.get('classname')}/{one.get('name')}"
        inner = [child for child in one if child.tag != "system-out"]
        found[name] = "; ".join(f"{child.tag}: {child.get('type')}" for child in inner) or "pass"
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_file_fits_the_schema_of_jenkins(name: str) -> None:
    assert SCHEMA.validate(root_of(name)), SCHEMA.error_log.last_error


@pytest.mark.parametrize(
    "broken",
    [
        "<testsuites skipped='1'/>",
        "<testsuites time='1.2345'/>",
        "<testsuites><testsuite name='s' tests='1' failures='0' errors='0'><testcase name='c'>"
        "<properties/></testcase></testsuite></testsuites>",
        "<testsuites><testcase name='c'/></testsuites>",
    ],
)
def test_the_schema_can_tell_a_file_that_does_not_fit(broken: str) -> None:
    assert not SCHEMA.validate(etree.fromstring(broken))


def test_a_suite_is_a_control_and_a_case_is_a_cell() -> None:
    report, root = case("every verdict"), root_of("every verdict")
    suites = root.findall("testsuite")
    assert [suite.get("name").split(": ")[0] for suite in suites] == [c.id for c in report.controls]
    assert suites[0].get("name") == "hiv-disclosure: The model must not tell a member's HIV status"
    assert sorted(outcomes(root)) == sorted(cell.id for cell in report.cells)


def test_each_verdict_has_its_element() -> None:
    assert outcomes(root_of("every verdict")) == {
        "hiv-disclosure/events-5/all": "failure: fail",
        "hiv-disclosure/events-10/all": "pass",  # with a warning
        "hiv-disclosure/events-5/rare_code": "error: inconclusive",
        "substance-use-disclosure/events-5/all": "error: error",
        "substance-use-disclosure/events-10/all": "skipped: not_applicable",
        "hypertension-disclosure/events-10/all": "skipped: waived",
        "hypertension-disclosure/events-5/all": "pass",
        "membership/record/all": "pass",
    }


def test_a_waived_cell_says_its_verdict_and_its_waiver() -> None:
    (waived,) = root_of("every verdict").xpath("//skipped[@type='waived']")
    assert waived.get("message").startswith("fail, waived; ")
    assert waived.get("message").endswith("waiver waiver-2026-04 until the end of 2027-01-31 (UTC)")
    assert "Recipients sign that they do not try" in waived.text


def test_an_inconclusive_cell_says_why_and_what_to_do() -> None:
    for error in root_of("inconclusive").xpath("//error[@type='inconclusive']"):
        assert error.get("message").startswith("inconclusive; ")
    (few, *_) = root_of("inconclusive").xpath("//error[contains(@message, 'too few patients')]")
    assert "This test needs 21 more eligible members before it can pass." in few.text
    assert "Audit on more patients with the class" in few.text


@pytest.mark.parametrize("name", CASES)
def test_the_counts_are_those_of_the_cases(name: str) -> None:
    root = root_of(name)
    elements = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in root.findall("testsuite"):
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        for count, tag in elements.items():
            assert int(suite.get(count)) == len(suite.findall(f"testcase/{tag}"))
    for count in ("tests", "failures", "errors"):
        assert int(root.get(count)) == sum(int(s.get(count)) for s in root.findall("testsuite"))
    assert root.get("skipped") is None


@pytest.mark.parametrize("name", CASES)
def test_a_reader_of_this_file_decides_as_the_exit_code_does(name: str) -> None:
    red = root_of(name).xpath("count(//failure | //error)")
    assert (red > 0) == (case(name).summary.exit_code != 0)


def test_a_cell_that_does_not_block_does_not_turn_the_pipeline_red() -> None:
    report = case("inconclusive")
    # the policy only warns: the same findings, and nothing blocks
    warned = report.model_copy(
        update={"summary": report.summary.model_copy(update={"exit_code": 0, "blocked_by": []})}
    )
    root = parsed(warned)
    assert root.xpath("//failure | //error") == []
    skipped = root.xpath("//skipped[@type='inconclusive']")
    assert len(skipped) == 5  # four have too few patients, and one interval holds its limit
    assert all("It does not block the release." in one.text for one in skipped)
    # and what is reported only says so where a list of tests is read
    (shown, *_) = root_of("passing").xpath("//skipped[@type='inconclusive']")
    assert shown.get("message").endswith("; reported only")


def test_what_blocks_without_a_cell_has_a_suite_of_its_own() -> None:
    root = root_of("refused waiver")
    suite = root.findall("testsuite")[0]
    assert suite.get("name") == "release"
    (error,) = root.xpath("//error")
    assert error.get("message") == "Release is blocked: a waiver does not hold"
    assert "waiver-2026-06 of membership/record/all: refused; It names another model." in error.text
    assert root_of("failing").findall("testsuite")[0].get("name").startswith("hiv-disclosure: ")


def test_times_have_three_decimals_and_are_left_out_where_none_is_known() -> None:
    # from 18:02:11 to 18:31:40
    assert root_of("failing").get("time") == "1769.000"
    report = build.failing_report()
    unknown = report.provenance.model_copy(update={"started": None})
    root = parsed(report.model_copy(update={"provenance": unknown}))
    assert root.get("time") is None
    assert SCHEMA.validate(root)
    backwards = report.provenance.model_copy(
        update={"started": report.provenance.finished, "finished": report.provenance.started}
    )
    assert parsed(report.model_copy(update={"provenance": backwards})).get("time") == "0.000"


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("poisoned")])
def test_hostile_text_makes_no_element(name: str) -> None:
    harmless, hostile = root_of("prerequisites"), root_of(name)
    assert [one.tag for one in hostile.iter()] == [one.tag for one in harmless.iter()]
    assert [sorted(one.attrib) for one in hostile.iter()] == [
        sorted(one.attrib) for one in harmless.iter()
    ]
    assert hostile.getroottree().docinfo.doctype == ""


def test_hostile_text_can_still_be_read() -> None:
    _, first, *_ = root_of("poisoned: script").findall("testsuite")  # behind the prerequisites
    title = first.get("name") or ""
    assert title.endswith("status<script>alert(1)</script>")
    assert not re.search("<script", JUNIT.render(case("poisoned: script")).decode())
