"""The report as JUnit XML, in the dialect of Jenkins' `junit-10.xsd`: a suite per control.

A pipeline that reads only this file must come to the same decision as one that reads the exit code:
there is a failure or an error exactly where the release is blocked. So a cell that does not pass
and does not block (waived, reported only, or inconclusive where the policy only warns) is skipped,
with its verdict in the message; and where the release is blocked by no cell, as by a waiver that
does not hold, a suite of its own says so.

The dialect knows no `skipped` on `<testsuites>`, no `<properties>` inside a case and no more than
three decimals of a second. How long a single cell took is not known, for cells share what is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from checker.errors import ExitCode
from checker.report.formats.api import ReportFormat
from checker.report.model import ControlReport, PrerequisiteReport, Report
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.cells import reason_of
from checker.report.wording.decision import decision_words, headline
from checker.report.wording.findings import (
    TITLE,
    FindingText,
    control_words,
    finding_texts,
    found_words,
)
from checker.report.wording.plain import shorten
from checker.report.wording.prerequisites import (
    DECLARED,
    prerequisite_headline,
    prerequisite_text,
)
from checker.report.wording.times import instant

RED = ("failure", "error")


def render_junit(report: Report) -> bytes:
    """Return the file, UTF-8 with an XML declaration."""
    suites = _suites(report)
    policy, target = report.policy, report.target
    name = (
        f"phigate: {target.name} {target.version}, judged by {policy.name} {policy.version}:"
        f" {headline(report)}"
    )
    if report.audience == "internal":
        name = f"{CONFIDENTIAL}. {name}"
    root = ET.Element("testsuites", {"name": shorten(name, 3 * TITLE)})
    if (seconds := _seconds(report)) is not None:
        root.set("time", f"{seconds:.3f}")
    for kind in ("tests", "failures", "errors"):
        root.set(kind, str(sum(int(suite.attrib[kind]) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _suites(report: Report) -> list[ET.Element]:
    texts = finding_texts(report)
    suites = [
        _suite(
            report,
            f"{shorten(control.id, TITLE)}: {shorten(control.title, TITLE)}",
            [_case(text) for text in texts if text.cell.control == control.id],
            properties=_properties(report, control),
        )
        for control in report.controls
    ]
    if report.prerequisites:
        cases = [_prerequisite(one) for one in report.prerequisites]
        suites.insert(0, _suite(report, "prerequisites", cases, properties=[]))
    is_red = any(case.find(kind) is not None for suite in suites for case in suite for kind in RED)
    if report.summary.exit_code != ExitCode.PASS and not is_red:
        suites.insert(0, _suite(report, "release", [_decision(report)], properties=[]))
    return suites


def _suite(
    report: Report,
    name: str,
    cases: Sequence[ET.Element],
    *,
    properties: Iterable[tuple[str, str]],
) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        {
            "name": name,
            "tests": str(len(cases)),
            "failures": _count(cases, "failure"),
            "errors": _count(cases, "error"),
            "skipped": _count(cases, "skipped"),
            "timestamp": instant(report.provenance.as_of).isoformat(),
        },
    )
    if properties:
        facts = ET.SubElement(suite, "properties")
        for key, value in properties:
            ET.SubElement(facts, "property", {"name": key, "value": value})
    suite.extend(cases)
    return suite


def _count(cases: Iterable[ET.Element], kind: str) -> str:
    return str(sum(case.find(kind) is not None for case in cases))


def _properties(report: Report, control: ControlReport) -> list[tuple[str, str]]:
    confidential = [("Confidential", CONFIDENTIAL)] if report.audience == "internal" else []
    return [*confidential, *control_words(report, control)]


def _case(text: FindingText) -> ET.Element:
    cell = text.cell
    control, name = cell.control, cell.id.removeprefix(f"{cell.control}/")
    case = ET.Element(
        "testcase", {"name": shorten(name, TITLE), "classname": shorten(control, TITLE)}
    )
    if (outcome := _outcome(text)) is not None:
        kind, type_ = outcome
        element = ET.SubElement(case, kind, {"type": type_, "message": _message(text)})
        element.text = "\n".join(text.sentences)
    else:
        ET.SubElement(case, "system-out").text = "\n".join(text.sentences)
    return case


def _outcome(text: FindingText) -> tuple[str, str] | None:
    """Return the element that says what became of a cell, and its type; None for a pass."""
    verdict = text.cell.verdict
    if verdict == "pass":
        return None
    if text.waiver is not None:
        return "skipped", "waived"
    if not text.blocks:
        return "skipped", verdict
    return ("failure" if verdict == "fail" else "error"), verdict


def _message(text: FindingText) -> str:
    """Return the line that a list of tests shows."""
    reason = reason_of(text.cell)
    parts = [text.verdict, reason.short if reason else None, found_words(text.cell)]
    if text.waiver is not None:
        name = shorten(text.waiver.id, TITLE)
        parts.append(f"waiver {name} until the end of {text.waiver.expires_on} (UTC)")
    elif not text.cell.gating:
        parts.append("reported only")
    return shorten("; ".join(part for part in parts if part), 2 * TITLE)


def _prerequisite(one: PrerequisiteReport) -> ET.Element:
    """Return the case of a prerequisite: red unless it is declared to hold."""
    case = ET.Element("testcase", {"name": shorten(one.id, TITLE), "classname": "prerequisites"})
    text = f"{prerequisite_headline(one)}. {prerequisite_text(one)} {DECLARED}"
    if one.verdict == "pass":
        ET.SubElement(case, "system-out").text = text
        return case
    kind = "failure" if one.verdict == "fail" else "error"
    message = shorten(prerequisite_headline(one), 2 * TITLE)
    element = ET.SubElement(case, kind, {"type": one.verdict, "message": message})
    element.text = text
    return case


def _decision(report: Report) -> ET.Element:
    """Return the case that is red because the release is blocked and no cell blocks it."""
    case = ET.Element("testcase", {"name": "decision", "classname": "release"})
    words = shorten(headline(report), 2 * TITLE)
    error = ET.SubElement(case, "error", {"type": report.verdict, "message": words})
    waivers = [
        f"{waiver.id} of {waiver.cell}: {waiver.status}; {waiver.explanation}"
        for waiver in report.waivers
        if waiver.status != "applied"
    ]
    said = [decision_words(report), *waivers]
    error.text = "\n".join(shorten(one, 3 * TITLE) for one in said)
    return case


def _seconds(report: Report) -> float | None:
    """Return how long the audit took, where that is known."""
    times = report.provenance
    if times.started is None or times.finished is None:
        return None
    return max(0.0, (instant(times.finished) - instant(times.started)).total_seconds())


JUNIT = ReportFormat("report.junit.xml", render_junit)
