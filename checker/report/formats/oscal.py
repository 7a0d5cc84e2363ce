"""The report as OSCAL assessment results 1.2.1, for systems of governance, risk and compliance.

A cell is an observation (method TEST), a control is a finding, and a waiver is an accepted risk.
OSCAL knows *satisfied* and *not-satisfied* and nothing between: only a pass satisfies, and what is
inconclusive, not applicable or stopped by an error is not satisfied for the reason *other*, with
the verdict itself as a property. A waiver changes none of that.

Identifiers are UUIDs of version 5, made from digests, so that the same run keeps them. The plan and
the evidence are resources with their SHA-256; `import-ap` points to the plan.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from checker.canonical import digest, sha256_hex
from checker.report.formats.api import ReportFormat, filled
from checker.report.formats.markdown_syntax import escape_markup
from checker.report.model import (
    CellReport,
    ControlReport,
    PrerequisiteReport,
    Report,
    TargetRef,
    WaiverReport,
)
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.decision import decision_words, headline, not_proof
from checker.report.wording.declared import assignment_words
from checker.report.wording.findings import (
    PROSE,
    TITLE,
    FindingText,
    control_words,
    finding_texts,
    source_words,
    waiver_words,
)
from checker.report.wording.plain import shorten
from checker.report.wording.prerequisites import (
    DECLARED,
    prerequisite_headline,
    prerequisite_text,
)
from checker.report.wording.sources import scope_words
from checker.report.wording.standing import standing_words
from checker.report.wording.terms import VERDICT_WORDS
from checker.report.wording.times import instant
from checker.stats.estimate import ReportedEstimate

VERSION = "1.2.1"
NAMESPACE = "urn:phigate:oscal:1"
"""Qualifies the names of our properties; OSCAL's own have none."""

_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,99}")
_REASONS = {"pass": "pass", "fail": "fail"}


def render_oscal(report: Report) -> dict[str, Any]:
    """Return the document."""
    return {"assessment-results": _Document(report).content()}


class _Document:
    """One report as OSCAL, with the identifiers of its parts."""

    def __init__(self, report: Report) -> None:
        provenance = report.provenance
        self.report = report
        self.texts = finding_texts(report)
        self.run = digest([provenance.plan_sha256, provenance.manifest_sha256, provenance.as_of])
        self.as_of = instant(provenance.as_of)
        self.finished = instant(provenance.finished) if provenance.finished else self.as_of
        self.started = instant(provenance.started) if provenance.started else self.finished
        self.evidence = {entry.job: entry for entry in provenance.evidence}
        self.citations = {one.id: one for one in report.policy.citations}

    def id_of(self, kind: str, *name: str) -> str:
        """Return the identifier of a part of this run."""
        return _uuid(self.run, kind, *name)

    def content(self) -> dict[str, Any]:
        """Return the whole of it."""
        report, policy, target = self.report, self.report.policy, self.report.target
        result, resources = self._result(), self._resources()
        # what no observation and no finding rests on is the whole result's: all is linked
        plan = self.id_of("plan")
        linked = {plan, *_linked(result)}
        others = [one for one in resources if one["uuid"] not in linked]
        links = [
            {"href": f"#{one['uuid']}", "rel": "reference" if "citation" in one else "evidence"}
            for one in others
        ]
        if links:
            result["links"] = links
        return {
            "uuid": _uuid("report", sha256_hex(report.to_bytes())),
            "metadata": {
                "title": _line(
                    f"Leakage audit of {target.name} {target.version} under"
                    f" {policy.name} {policy.version}"
                ),
                "last-modified": self.as_of.isoformat(),
                "version": _value(f"{policy.version}-{self.run[:12]}"),
                "oscal-version": VERSION,
                "props": _props(
                    {
                        "audience": report.audience,
                        "confidential": CONFIDENTIAL if report.audience == "internal" else None,
                        "policy-owner": policy.owner,
                        "phigate-version": report.provenance.phigate_version,
                    }
                ),
                "remarks": " ".join(
                    [
                        *standing_words(report),
                        not_proof(
                            report, local=[_line(name) for name in target.local_vocabularies]
                        ),
                    ]
                ),
            },
            "import-ap": {
                "href": f"#{plan}",
                "remarks": "The audit plan that phigate compiled from the policy: plan.json.",
            },
            "local-definitions": {
                "objectives-and-methods": [
                    *(self._objective(one) for one in report.controls),
                    *(_presupposed(one) for one in report.prerequisites),
                ]
            },
            "results": [result],
            "back-matter": {"resources": resources},
        }

    def _objective(self, control: ControlReport) -> dict[str, Any]:
        return {
            "control-id": _token(control.id),
            "parts": [
                {
                    "id": _objective_id(control),
                    "name": "assessment-objective",
                    "title": _line(control.title),
                    "prose": _prose(
                        *(f"{name}: {text}" for name, text in control_words(self.report, control))
                    ),
                }
            ],
        }

    def _result(self) -> dict[str, Any]:
        report, summary = self.report, self.report.summary
        risks = [self._risk(text, text.waiver) for text in self.texts if text.waiver is not None]
        return filled(
            {
                "uuid": self.id_of("result"),
                "title": _line(headline(report)),
                "description": _prose(
                    decision_words(report),
                    summary.release_statement,
                    summary.multiplicity_statement,
                ),
                "start": self.started.isoformat(),
                "end": max(self.started, self.finished).isoformat(),
                "props": _props(
                    {
                        "verdict": report.verdict,
                        "exit-code": summary.exit_code,
                        "policy-sha256": report.policy.sha256,
                        "model-sha256": report.target.model_sha256,
                        "waived-until": summary.waived_until,
                    }
                ),
                "local-definitions": self._components(),
                "reviewed-controls": {
                    "control-selections": [
                        {
                            "include-controls": [
                                {"control-id": _token(name)}
                                for name in (
                                    *(control.id for control in report.controls),
                                    *(_prerequisite_id(one) for one in report.prerequisites),
                                )
                            ]
                        }
                    ]
                },
                "observations": [
                    *(self._observation(text) for text in self.texts),
                    *(self._declaration(one) for one in report.prerequisites),
                ],
                "risks": risks,
                "findings": [
                    *(self._finding(control) for control in report.controls),
                    *(self._prerequisite(one) for one in report.prerequisites),
                ],
            }
        )

    def _components(self) -> dict[str, Any]:
        """Return the model that was audited, and the tool that did it."""
        target, version = self.report.target, self.report.provenance.phigate_version
        model = {
            "uuid": self.id_of("model"),
            "type": "software",
            "title": _line(f"{target.name} {target.version}"),
            "description": _prose(
                f"The model under audit; its patients are {target.data_set}, members"
                f" {target.members_split}, nonmembers {target.nonmembers_split}."
                + _declared(target)
            ),
            "props": _props({"sha256": target.model_sha256, "backend": target.backend}),
            "status": {"state": "under-development"},
        }
        tool = {
            "uuid": self.id_of("tool"),
            "type": "software",
            "title": _line(f"phigate {version}"),
            "description": "The tool that ran the attacks and judged the evidence.",
            "status": {"state": "operational"},
        }
        return {
            "components": [model],
            "assessment-assets": {
                "components": [tool],
                "assessment-platforms": [
                    {
                        "uuid": self.id_of("platform"),
                        "title": "phigate",
                        "uses-components": [{"component-uuid": self.id_of("tool")}],
                    }
                ],
            },
        }

    def _observation(self, text: FindingText) -> dict[str, Any]:
        cell = text.cell
        return filled(
            {
                "uuid": self.id_of("observation", cell.id),
                "title": _line(text.headline),
                "description": _prose(*text.sentences),
                "props": _props(_cell_properties(text)),
                "methods": ["TEST"],
                "types": ["control-objective"],
                "origins": [{"actors": [{"type": "tool", "actor-uuid": self.id_of("tool")}]}],
                "subjects": [{"subject-uuid": self.id_of("model"), "type": "component"}],
                "relevant-evidence": [
                    {
                        "href": f"#{self.id_of('evidence', job)}",
                        "description": _prose(self.evidence[job].title),
                    }
                    for job in dict.fromkeys(cell.evidence)
                    if job in self.evidence
                ],
                "collected": self.finished.isoformat(),
            }
        )

    def _declaration(self, one: PrerequisiteReport) -> dict[str, Any]:
        """Return what the owner says of a prerequisite, as what somebody was asked."""
        return filled(
            {
                "uuid": self.id_of("declaration", one.id),
                "title": _line(prerequisite_headline(one)),
                "description": _prose(prerequisite_text(one), DECLARED),
                "props": _props(
                    {
                        "declared-on": one.declared_on,
                        "declared-by": one.declared_by,
                        "document": one.document,
                        "document-sha256": one.document_sha256,
                    }
                ),
                "methods": ["INTERVIEW"],
                "types": ["control-objective"],
                "subjects": [{"subject-uuid": self.id_of("model"), "type": "component"}],
                "collected": self.as_of.isoformat(),
            }
        )

    def _prerequisite(self, one: PrerequisiteReport) -> dict[str, Any]:
        met = one.verdict == "pass"
        return filled(
            {
                "uuid": self.id_of("prerequisite", one.id),
                "title": _line(one.title),
                "description": _prose(prerequisite_text(one)),
                "props": _props({"verdict": one.verdict, "blocks-release": not met}),
                "links": [
                    {"href": f"#{self.id_of('citation', name)}", "rel": "reference"}
                    for name in dict.fromkeys(one.citations)
                    if name in self.citations
                ],
                "target": {
                    "type": "objective-id",
                    "target-id": f"{_token(_prerequisite_id(one))}_obj",
                    "title": _line(one.title),
                    "status": {
                        "state": "satisfied" if met else "not-satisfied",
                        "reason": _REASONS.get(one.verdict, "other"),
                        "remarks": DECLARED,
                    },
                },
                "related-observations": [{"observation-uuid": self.id_of("declaration", one.id)}],
            }
        )

    def _risk(self, text: FindingText, waiver: WaiverReport) -> dict[str, Any]:
        """Return a waiver as what it is: a risk that somebody accepted until a day."""
        cell = text.cell
        return filled(
            {
                "uuid": self.id_of("risk", cell.id),
                "title": _line(f"{text.requirement} ({text.attacker}; {text.patients})"),
                "description": _prose(*text.sentences),
                "statement": _prose(waiver_words(waiver)),
                "props": _props(
                    {"waiver": waiver.id, "waiver-sha256": waiver.sha256, "ticket": waiver.ticket}
                ),
                "status": "deviation-approved",
                "mitigating-factors": [
                    {
                        "uuid": self.id_of("mitigation", cell.id, str(place)),
                        "description": _prose(measure),
                    }
                    for place, measure in enumerate(waiver.compensating_controls)
                ],
                # a waiver lasts to the end of its day (POLICY.md)
                "deadline": instant(f"{waiver.expires_on}T23:59:59+00:00").isoformat(),
                "related-observations": [{"observation-uuid": self.id_of("observation", cell.id)}],
            }
        )

    def _finding(self, control: ControlReport) -> dict[str, Any]:
        texts = [text for text in self.texts if text.cell.control == control.id]
        waived = [text for text in texts if text.waiver is not None]
        remedies = "; ".join(control.remediation) if control.verdict != "pass" else ""
        return filled(
            {
                "uuid": self.id_of("finding", control.id),
                "title": _line(control.title),
                "description": _prose(*(text.headline for text in texts)),
                "props": _props(
                    {
                        "verdict": control.verdict.replace("_", "-"),
                        "blocks-release": control.blocks,
                        "severity": control.severity,
                        "enforcement": control.enforcement,
                        "waived": ", ".join(text.cell.id for text in waived) or None,
                    }
                ),
                "links": [
                    {"href": f"#{self.id_of('citation', name)}", "rel": "reference"}
                    for name in dict.fromkeys(control.citations)
                    if name in self.citations
                ],
                "target": _target(control),
                "related-observations": [
                    {"observation-uuid": self.id_of("observation", text.cell.id)} for text in texts
                ],
                "related-risks": [
                    {"risk-uuid": self.id_of("risk", text.cell.id)} for text in waived
                ],
                "remarks": _prose(f"What would fix it: {remedies}") if remedies else None,
            }
        )

    def _resources(self) -> list[dict[str, Any]]:
        """Return the files that everything rests on, and the sources that are cited."""
        provenance = self.report.provenance
        files = [
            ("plan", "", "Audit plan", "plan.json", provenance.plan_sha256),
            ("manifest", "", "Manifest of the evidence", "manifest.json",
             provenance.manifest_sha256),
            *(
                ("evidence", one.job, one.title, one.file, one.sha256)
                for one in provenance.evidence
            ),
        ]  # fmt: skip
        resources: list[dict[str, Any]] = [
            {
                "uuid": self.id_of(kind, *([name] if name else [])),
                "title": _line(title),
                "rlinks": [
                    {
                        "href": _reference(file),
                        "hashes": [{"algorithm": "SHA-256", "value": _value(sha256)}],
                    }
                ],
            }
            for kind, name, title, file, sha256 in files
        ]
        for name, citation in self.citations.items():
            words = source_words(self.report, [name])[0]
            resource: dict[str, Any] = {
                "uuid": self.id_of("citation", name),
                "title": _line(citation.title),
                "citation": {"text": _line(words)},
            }
            said = [one for one in (scope_words(citation), citation.note) if one]
            if said:
                resource["remarks"] = _prose(". ".join(said))
            resources.append(resource)
        return resources


def _linked(part: Any) -> Iterator[str]:
    """Yield the identifiers that a part of a document points to by `href`."""
    if isinstance(part, dict):
        href = part.get("href")
        if isinstance(href, str) and href.startswith("#"):
            yield href[1:]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _linked(one)


def _prerequisite_id(one: PrerequisiteReport) -> str:
    return f"prerequisite-{one.id}"


def _presupposed(one: PrerequisiteReport) -> dict[str, Any]:
    """Return what a prerequisite demands, as the objective of a control."""
    token = _token(_prerequisite_id(one))
    return {
        "control-id": token,
        "parts": [
            {
                "id": f"{token}_obj",
                "name": "assessment-objective",
                "title": _line(one.title),
                "prose": _prose(one.rationale or one.title),
            }
        ],
    }


def _target(control: ControlReport) -> dict[str, Any]:
    """Return whether a control's objective is satisfied."""
    word = VERDICT_WORDS[control.verdict]
    return {
        "type": "objective-id",
        "target-id": _objective_id(control),
        "title": _line(control.title),
        "status": {
            "state": "satisfied" if control.verdict == "pass" else "not-satisfied",
            "reason": _REASONS.get(control.verdict, "other"),
            "remarks": f"The worst verdict among the deciding tests is: {word}.",
        },
    }


def _cell_properties(text: FindingText) -> dict[str, Any]:
    cell, number = text.cell, text.cell.estimate
    properties: dict[str, Any] = {
        "cell": cell.id,
        "verdict": cell.verdict.replace("_", "-"),
        "warned": cell.warned or None,
        "reason": cell.reason,
        "blocks-release": text.blocks,
        "deciding": cell.gating,
        **_named(cell, "waiver", "severity", "attribute_class", "attacker", "subgroup"),
        **_named(cell, "probe", "metric", "contrast"),
        "limit": cell.limit.fail,
        "warning-limit": cell.limit.warn,
        "allowed-occurrences": cell.limit.max_count,
        "bound-side": cell.bound_side,
        "withheld": ", ".join(cell.withheld) or None,
    }
    if number is not None:
        properties |= {"value": number.value, "lower-bound": number.low, "upper-bound": number.high}
        properties |= _named(number, "n", "confidence", "method")
    return properties


def _named(item: CellReport | ReportedEstimate, *fields: str) -> dict[str, Any]:
    return {field.replace("_", "-"): getattr(item, field) for field in fields}


# --- OSCAL's data types -------------------------------------------------------------------------


def _uuid(*name: str) -> str:
    return str(uuid.uuid5(_UUIDS, digest(list(name))))


def _objective_id(control: ControlReport) -> str:
    return f"{_token(control.id)}_obj"


def _token(name: str) -> str:
    """Return a name as a token; one that is none is told from its like by a digest."""
    if _TOKEN.fullmatch(name):
        return name
    return f"_{re.sub('[^A-Za-z0-9._-]', '_', name)[:60]}-{digest(name)[:12]}"


def _value(value: object) -> str:
    """Return a string that neither is empty nor has space at its ends."""
    return shorten(value, PROSE).strip() or "-"


def _props(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "ns": NAMESPACE,
            "value": {True: "yes", False: "no"}[value]
            if isinstance(value, bool)
            else _value(value),
        }
        for name, value in values.items()
        if value is not None
    ]


def _line(text: str) -> str:
    """Return a line of OSCAL's Markdown."""
    return escape_markup(shorten(text, 3 * TITLE)) or "-"


def _declared(target: TargetRef) -> str:
    """Say how patients came to their splits, where the target does."""
    if target.assignment is None:
        return ""
    return f" Declared, not checked: {assignment_words(target.assignment, target.assigned_by)}."


def _prose(*paragraphs: str) -> str:
    return "\n\n".join(_line(one) for one in paragraphs if one) or "-"


def _reference(path: str) -> str:
    """Return a path as a relative reference."""
    return quote(shorten(path, TITLE).lstrip("/").encode(), safe="/")


OSCAL = ReportFormat.of_json("report.oscal.json", render_oscal)
