"""The report as SARIF 2.1.0 (OASIS Standard with Errata 01): whole, and as GitHub ingests it.

Whole, every cell is a result, with the kind that says its verdict: *pass*, *fail*, *open* for
inconclusive, *notApplicable*. Only a failure has a level. An attack that crashed is no result but a
notification of the tool.

GitHub ignores kinds and notifications and shows whatever is a result; an alert whose result is
missing from the next upload counts as fixed. So that subset holds what failed and what stayed open,
an attack that crashed among the latter, with levels: *error* where the release is blocked,
*warning* for a failure that does not block, *note* for the rest. Where no cell blocks the release
and something else does, such as a waiver that does not hold, one result says so. Its limits are
those of "SARIF support for code scanning" in GitHub's documentation.

A rule is a control, and a result lies on the control's line in the policy's file. Many results lie
on one line, which GitHub would take for one alert: the fingerprint is of the cell, not of the line.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from pydantic.alias_generators import to_camel

from checker.canonical import digest
from checker.errors import ExitCode
from checker.report.formats.api import ReportFormat, filled
from checker.report.index import ReportIndex
from checker.report.model import (
    CellReport,
    ControlReport,
    PrerequisiteReport,
    Report,
    WaiverReport,
)
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.decision import decision_words, headline
from checker.report.wording.findings import (
    PROSE,
    TITLE,
    FindingText,
    control_words,
    finding_texts,
    ranked_texts,
    waiver_words,
)
from checker.report.wording.measures import measure_of
from checker.report.wording.plain import plain, shorten
from checker.report.wording.prerequisites import (
    DECLARED,
    prerequisite_headline,
    prerequisite_text,
    unmet,
)
from checker.report.wording.terms import WAIVER_STATUS
from checker.report.wording.times import instant
from checker.stats.estimate import ReportedEstimate

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
KINDS = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "open",
    "not_applicable": "notApplicable",
}
GITHUB_RESULTS = 5000
"""GitHub shows no more results of a run, and refuses 25,000; the worst come first."""

DESCRIPTION = 480
"""Characters of a rule's descriptions; GitHub cuts at 1024, and braces are doubled."""

RELEASE = "release"
"""The rule of what blocks the release without being a cell."""

# a waiver that applies, or whose time has not come, needs no notification
_WAIVER_LEVELS = {"void": "warning", "unused": "error", "expired": "error", "refused": "error"}


def render_sarif(report: Report) -> dict[str, Any]:
    """Return the whole report: a result for each cell that was not kept from one by a crash."""
    texts = finding_texts(report)
    place = _Places(report)
    results = [
        filled(
            {
                **_result(report, text, place),
                "kind": KINDS[text.cell.verdict],
                "level": _level(text) if text.cell.verdict == "fail" else "none",
                "attachments": place.evidence_of(text.cell),
                "properties": _cell_properties(text),
            }
        )
        | {"suppressions": _suppressions(text)}
        for text in texts
        if text.cell.verdict in KINDS
    ]
    results += [
        {
            **_prerequisite_result(report, one, place),
            "kind": KINDS[one.verdict],
            "level": "error" if one.verdict == "fail" else "none",
            "suppressions": [],
        }
        for one in report.prerequisites
    ]
    run = _run(report, texts, place, results)
    run["artifacts"] = place.artifacts
    run["properties"] = _run_properties(report)
    return _log(run)


def render_sarif_github(report: Report) -> dict[str, Any]:
    """Return what GitHub can show: what failed and what stayed open, the worst first."""
    texts, place = finding_texts(report), _Places(report)
    ranked = ranked_texts(report)
    chosen = [text for text in ranked if text.cell.verdict not in {"pass", "not_applicable"}]
    chosen.sort(key=lambda text: not text.blocks)
    results = [
        {
            **_result(report, text, place),
            "level": _level(text),
            "suppressions": _suppressions(text),
        }
        for text in chosen
    ]
    results = [
        *(
            {**_prerequisite_result(report, one, place), "level": "error", "suppressions": []}
            for one in unmet(report)
        ),
        *results,
    ]
    run = _run(report, texts, place, results[:GITHUB_RESULTS])
    told = any(text.blocks for text in chosen) or bool(unmet(report))
    if report.summary.exit_code != ExitCode.PASS and not told:
        run["tool"]["driver"]["rules"].append(_release_rule())
        run["results"] = [_release_result(report, place), *run["results"]]
    if report.audience == "internal":
        run["properties"] = {"confidential": CONFIDENTIAL}
    return _log(run)


def _log(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _run(
    report: Report,
    texts: Sequence[FindingText],
    place: _Places,
    results: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    policy, target = report.policy, report.target
    version = _name(report.provenance.phigate_version)
    return {
        "tool": {
            "driver": {
                "name": "phigate",
                "version": version,
                # a package URL: an absolute address of this very version, wherever it was got from
                "informationUri": f"pkg:pypi/phigate@{quote(version, safe='')}",
                "rules": [
                    *(_rule(report, control) for control in report.controls),
                    *(_prerequisite_rule(one) for one in report.prerequisites),
                ],
            }
        },
        "automationDetails": {
            "id": f"phigate/{_part(policy.name)}/{_part(target.name)}/"
            f"{_part(report.provenance.as_of)}",
            "description": _message(
                f"{headline(report)}: {_name(target.name)} {_name(target.version)}, judged by"
                f" {_name(policy.name)} {_name(policy.version)}."
            ),
        },
        "invocations": [_invocation(report, texts, place)],
        "results": results,
    }


def _invocation(report: Report, texts: Sequence[FindingText], place: _Places) -> dict[str, Any]:
    """Say how the audit went; an attack that crashed and a waiver that does not hold stand here."""
    provenance, summary = report.provenance, report.summary
    crashes = [
        {
            "level": "error" if text.blocks else "warning",
            "message": _message(text.text),
            "associatedRule": _rule_of(text.cell, place, ("id", "index")),
            "locations": [place.of(text.cell)],
        }
        for text in texts
        if text.cell.verdict not in KINDS
    ]
    waivers = [
        {"level": _WAIVER_LEVELS[waiver.status], "message": _message(_waiver_text(waiver))}
        for waiver in report.waivers
        if waiver.status in _WAIVER_LEVELS
    ]
    incomplete = summary.exit_code in {ExitCode.USAGE, ExitCode.INCOMPLETE}
    return {
        "executionSuccessful": not incomplete,
        "exitCode": summary.exit_code,
        "exitCodeDescription": shorten(decision_words(report), PROSE),
    } | filled(
        {
            "startTimeUtc": _utc(provenance.started),
            "endTimeUtc": _utc(provenance.finished),
            "toolExecutionNotifications": crashes,
            "toolConfigurationNotifications": waivers,
        }
    )


def _rule(report: Report, control: ControlReport) -> dict[str, Any]:
    meaning = control.rationale or measure_of(control.metric).meaning or control.title
    words = control_words(report, control)
    return {
        "id": _name(control.id),
        "shortDescription": _message(shorten(control.title, DESCRIPTION)),
        "fullDescription": _message(shorten(meaning, DESCRIPTION)),
        "help": _message(*(f"{name}: {text}" for name, text in words)),
        "defaultConfiguration": {
            "level": "error" if control.severity in report.policy.fail_on else "warning"
        },
        "properties": {
            "tags": ["privacy", "memorization", _name(control.probe), _name(control.severity)],
            "severity": _name(control.severity),
        },
    }


def _prerequisite_name(one: PrerequisiteReport) -> str:
    return f"prerequisite/{_name(one.id)}"


def _prerequisite_rule(one: PrerequisiteReport) -> dict[str, Any]:
    """Return a prerequisite as a rule; nothing suppresses what breaks it."""
    return {
        "id": _prerequisite_name(one),
        "shortDescription": _message(shorten(one.title, DESCRIPTION)),
        "fullDescription": _message(shorten(one.rationale or one.title, DESCRIPTION)),
        "help": _message(DECLARED),
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["privacy"]},
    }


def _prerequisite_result(report: Report, one: PrerequisiteReport, place: _Places) -> dict[str, Any]:
    index = len(report.controls) + [other.id for other in report.prerequisites].index(one.id)
    name = _prerequisite_name(one)
    return {
        "ruleId": name,
        "ruleIndex": index,
        "message": _message(f"{prerequisite_headline(one)}. {prerequisite_text(one)} {DECLARED}"),
        "locations": [place.at(None, name)],
        "partialFingerprints": _fingerprints(
            digest([report.policy.name, report.target.name, name])
        ),
    }


def _release_rule() -> dict[str, Any]:
    return {
        "id": RELEASE,
        "shortDescription": {"text": "The release must be allowed"},
        "fullDescription": {
            "text": "The release is blocked by something else than a single finding."
        },
        "help": {"text": "See the full report; a waiver that does not hold has to be withdrawn."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["privacy"]},
    }


def _release_result(report: Report, place: _Places) -> dict[str, Any]:
    waivers = [_waiver_text(one) for one in report.waivers if one.status in _WAIVER_LEVELS]
    said = [f"{headline(report)}.", shorten(decision_words(report), PROSE)]
    return {
        "ruleId": RELEASE,
        "ruleIndex": len(report.controls) + len(report.prerequisites),
        "message": _message(" ".join([*said, *waivers])),
        "locations": [place.at(None, RELEASE)],
        "partialFingerprints": _fingerprints(
            digest([report.policy.name, report.target.name, RELEASE])
        ),
        "level": "error",
        "suppressions": [],
    }


def _waiver_text(waiver: WaiverReport) -> str:
    status = WAIVER_STATUS[waiver.status].removesuffix(": withdraw it")
    explanation = shorten(waiver.explanation, PROSE)
    return f"The waiver of {_name(waiver.cell)} is {status}. {explanation} {waiver_words(waiver)}"


def _fingerprints(name: str) -> dict[str, str]:
    """Return a result's name; the second form is the only one that GitHub looks for."""
    return {"phigateCell/v1": name, "primaryLocationLineHash": f"{name[:16]}:1"}


def _result(report: Report, text: FindingText, place: _Places) -> dict[str, Any]:
    """Return what both forms of a result have in common."""
    cell = text.cell
    name = digest([report.policy.name, report.target.name, cell.id])
    return {
        **_rule_of(cell, place, ("ruleId", "ruleIndex")),
        "message": _message(text.text),
        "locations": [place.of(cell)],
        "partialFingerprints": _fingerprints(name),
    }


def _rule_of(cell: CellReport, place: _Places, keys: tuple[str, str]) -> dict[str, Any]:
    """Return which rule a cell belongs to, under the keys for its id and its number."""
    return filled(
        dict(zip(keys, (_name(cell.control), place.rules.get(cell.control)), strict=True))
    )


def _level(text: FindingText) -> str:
    if text.blocks:
        return "error"
    return "warning" if text.cell.verdict == "fail" else "note"


def _suppressions(text: FindingText) -> list[dict[str, Any]]:
    """Return the waiver; SARIF wants the field in all results of a run or in none."""
    waiver = text.waiver
    if waiver is None:
        return []
    return [
        {
            "kind": "external",
            "status": "accepted",
            "justification": waiver_words(waiver),
            "properties": {
                "waiver": _name(waiver.id),
                "sha256": _name(waiver.sha256),
                "expiresOn": _name(waiver.expires_on),
            },
        }
    ]


def _cell_properties(text: FindingText) -> dict[str, Any]:
    cell = text.cell
    return filled(
        {
            "cell": _name(cell.id),
            **_named(cell, "verdict", "warned", "reason"),
            "blocks": text.blocks,
            **_named(cell, "gating", "severity", "attribute_class", "attacker", "subgroup"),
            **_named(cell, "probe", "metric", "contrast"),
            "estimate": _number(cell.estimate),
            "limit": filled(cell.limit.model_dump(mode="json")),
            "boundSide": cell.bound_side,
            "withheld": [_name(name) for name in cell.withheld],
        }
    )


def _named(cell: CellReport, *fields: str) -> dict[str, Any]:
    """Return fields of a cell under their names in JSON."""
    values = {to_camel(field): getattr(cell, field) for field in fields}
    return {name: _name(one) if isinstance(one, str) else one for name, one in values.items()}


def _number(number: ReportedEstimate | None) -> dict[str, Any] | None:
    if number is None:
        return None
    return filled({**asdict(number), "method": _name(number.method)})


def _run_properties(report: Report) -> dict[str, Any]:
    policy, target = report.policy, report.target
    return filled(
        {
            "audience": report.audience,
            "confidential": CONFIDENTIAL if report.audience == "internal" else None,
            "verdict": report.verdict,
            "asOf": _name(report.provenance.as_of),
            "policy": {
                "name": _name(policy.name),
                "version": _name(policy.version),
                "sha256": _name(policy.sha256),
            },
            "target": {
                "name": _name(target.name),
                "version": _name(target.version),
                "modelSha256": _name(target.model_sha256),
            },
            "planSha256": _name(report.provenance.plan_sha256),
            "manifestSha256": _name(report.provenance.manifest_sha256),
        }
    )


class _Places:
    """Where things are: rules by number, the policy's file, and the files of the evidence."""

    def __init__(self, report: Report) -> None:
        self.rules = {control.id: index for index, control in enumerate(report.controls)}
        self._controls = {control.id: control for control in report.controls}
        self._policy = _policy_uri(report)
        # the policy's file is the first of the artifacts, so that evidence begins at one
        self._evidence = ReportIndex.of(report).evidence
        self.artifacts = [
            _artifact(self._policy, report.policy.sha256, role="policy"),
            *(
                _artifact(_uri(one.file), one.sha256, role="attachment")
                for one in report.provenance.evidence
            ),
        ]

    def of(self, cell: CellReport) -> dict[str, Any]:
        """Return where a cell's control stands."""
        return self.at(self._controls.get(cell.control), cell.id)

    def at(self, control: ControlReport | None, name: str) -> dict[str, Any]:
        """Return where a control stands, or the policy's first line, for something of a name."""
        file = self._policy
        if control is not None and control.file is not None:
            file = _uri(control.file)
        line = control.line if control is not None and control.line is not None else 1
        return {
            "physicalLocation": {
                "artifactLocation": {"uri": file},
                # GitHub needs all four; how long the line is, the report does not know
                "region": {"startLine": line, "startColumn": 1, "endLine": line, "endColumn": 2},
            },
            "logicalLocations": [{"fullyQualifiedName": _name(name)}],
        }

    def evidence_of(self, cell: CellReport) -> list[dict[str, Any]]:
        """Return the files that a cell's numbers were counted from."""
        found = [
            self._evidence[job] for job in dict.fromkeys(cell.evidence) if job in self._evidence
        ]
        return [
            {
                "description": _message(shorten(title, TITLE)),
                "artifactLocation": {
                    "uri": self.artifacts[place]["location"]["uri"],
                    "index": place,
                },
            }
            for place, title in found
        ]


def _artifact(uri: str, sha256: str, *, role: str) -> dict[str, Any]:
    return {"location": {"uri": uri}, "roles": [role], "hashes": {"sha-256": _name(sha256)}}


def _policy_uri(report: Report) -> str:
    """Return where the policy lies, as its command said it; folders are not in the plan.

    An absolute path says nothing to another machine, so then, and where the command does not name
    the file or names two of this name, it is the file's name alone.
    """
    name = report.policy.file or report.policy.name
    try:
        words = shlex.split(report.provenance.command)
    except ValueError:  # an apostrophe that somebody put into the file of the report
        words = []
    given = {
        str(path)
        for path in map(PurePosixPath, words)
        if path.name == name and not path.is_absolute() and ".." not in path.parts
    }
    return _uri(given.pop() if len(given) == 1 else name)


def _uri(path: str) -> str:
    """Return a relative reference in which nothing but slashes means anything."""
    return quote(_name(path).lstrip("/").encode(), safe="/")


def _name(text: str) -> str:
    """Return a name from outside."""
    return shorten(text, TITLE)


def _part(text: str) -> str:
    """Return one part of an id whose parts are divided by slashes."""
    return _name(text).replace("/", "-")


def _utc(stamp: str | None) -> str | None:
    return None if stamp is None else f"{instant(stamp):%Y-%m-%dT%H:%M:%SZ}"


def _message(*paragraphs: str) -> dict[str, str]:
    """Return text as SARIF's message strings mean it (§3.11).

    A brace begins a placeholder unless it is doubled, and `[text](address)` is a link: it is taken
    apart, for outside of a link's text a backslash is a backslash.
    """
    return {"text": "\n".join(_inert(plain(one)) for one in paragraphs)}


def _inert(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}").replace("](", "] (")


SARIF = ReportFormat.of_json("report.sarif", render_sarif)
SARIF_GITHUB = ReportFormat.of_json("report.github.sarif", render_sarif_github)
