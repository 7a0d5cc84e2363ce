"""The findings as an Applied Model Card of the Coalition for Health AI, draft schema 0.2 (XML).

The card describes a whole product; an audit knows a part of it. What the target declares of its
study is told in its place, what nobody declared is said to be that, and is for the developer to
fill in. The leakage stands under safety, every cell with its verdict; usefulness and fairness are
not what an audit of leakage measures, and the schema wants a result of each, which is null.

Texts are Markdown and the bibliography is BibTeX, as the schema's documentation asks:
https://github.com/coalition-for-health-ai/mc-schema (seen as of 2025-10-28).
"""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

from checker.report.formats.api import ReportFormat, filled
from checker.report.formats.markdown_syntax import escape_markup
from checker.report.model import CellReport, CitationText, Report
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.decision import decision_words, headline, not_proof
from checker.report.wording.findings import PROSE, TITLE, FindingText, finding_texts, found_words
from checker.report.wording.plain import plain, shorten
from checker.report.wording.sources import basis_words

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
UNDECLARED = "Not declared to the audit; for the developer to fill in."
UNMEASURED = "Not measured by an audit of leakage; for the developer to fill in."

Tree = dict[str, "str | Tree | list[Tree]"]
"""Elements by name, in the order of the schema; a list repeats one."""


def render_applied_model_card(report: Report) -> bytes:
    """Return the file, UTF-8 with an XML declaration."""
    root = ET.Element("AppliedModelCard", {"xmlns": NAMESPACE})
    if report.audience == "internal":
        root.append(ET.Comment(f" {CONFIDENTIAL} "))
    _fill(root, _card(report))
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _fill(parent: ET.Element, tree: Tree) -> None:
    for name, value in tree.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                _fill(ET.SubElement(parent, name), one)
            else:
                ET.SubElement(parent, name).text = one


def _card(report: Report) -> Tree:
    target, study, provenance = report.target, report.study, report.provenance
    splits = f"members {target.members_split}, nonmembers {target.nonmembers_split}"
    sha256 = f"SHA-256 of the model {target.model_sha256}, of the policy {report.policy.sha256}"
    audit = (
        f"Audited with phigate {provenance.phigate_version}, judged as of {provenance.as_of};"
        f" SHA-256 of the plan {provenance.plan_sha256}, of the evidence"
        f" {provenance.manifest_sha256}"
    )
    local = [shorten(plain(name), TITLE) for name in target.local_vocabularies]
    return {
        "BasicInfo": {
            "ModelName": _said(target.name),
            "ModelDeveloper": _said(study.sponsor),
            "DeveloperContact": _said(study.contact),
        },
        "ReleaseInfo": {
            "ReleaseStage": _said(f"Before release. {headline(report)}."),
            "ReleaseDate": UNDECLARED,
            "ReleaseVersion": _said(target.version),
            "GlobalAvailability": _said(study.release.recipients),
        },
        "ModelSummary": {
            "Summary": _said(decision_words(report)),
            "Keywords": {"Keyword": "leakage audit"},
        },
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": _said(study.intended_use),
            "PrimaryIntendedUsers": _said(study.release.recipients),
            "HowToUse": _said(study.release.terms),
            "TargetedPatientPopulation": _said(study.data.selection),
            "CautionedOutOfScopeSettings": UNDECLARED,
        },
        "Warnings": {
            "KnownRisksAndLimitations": _said(
                not_proof(report, local=local), study.governance.residual_risk
            ),
            "KnownBiasesOrEthicalConsiderations": _said(
                study.ethics.harms, study.ethics.communities
            ),
            "ClinicalRiskLevel": UNDECLARED,
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": "Probabilities of what comes next in a patient's record",
                "ModelType": _said(
                    f"Model of event sequences, opened by the backend {target.backend}; vocabulary"
                    f" of {target.vocabulary_size} tokens"
                ),
                "InputDataSource": _said(target.data_set, study.data.source),
                "OutputAndInputDataTypes": "Tokens of coded events in the order of time",
                "DevelopmentDataCharacterization": _said(
                    splits, study.data.period, study.data.selection, study.training.other_data
                ),
                "BiasMitigationApproaches": UNDECLARED,
                "OngoingMaintenance": _said(study.governance.retests),
                "Security": _said(study.release.safeguards),
                "Transparency": _said(sha256),
            },
            "TransparencyInformation": {
                "FundingSource": _said(study.sponsor),
                "StakeholdersConsulted": _said(study.governance.reviews),
            },
        },
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": _unmeasured(),
            "FairnessEquity": _unmeasured(),
            "SafetyReliability": _leakage(report, tested=f"{target.data_set}: {splits}"),
        },
        "Resources": {
            "EvaluationReferences": _said(audit),
            "PeerReviewedPublications": UNDECLARED,
            "PatientConsentOrDisclosure": _said(study.data.consent),
        },
        "Bibliography": "\n".join(_entry(one) for one in report.policy.citations),
    }


def _leakage(report: Report, *, tested: str) -> Tree:
    policy, texts = report.policy, finding_texts(report)
    results: list[Tree] = [
        {"Label": _label(text), "ValueJson": _value(text.cell, text.verdict)} for text in texts
    ]
    return {
        "MetricGoal": _said(
            f"No more of the patients it was trained on may leak from the model than the policy"
            f" {policy.name} {policy.version} allows"
        ),
        "Results": {"MetricResult": results or [_no_result()]},
        "Interpretation": _said(report.summary.decision, report.summary.release_statement),
        "TestType": "Attacks on the model, members of the training data compared with nonmembers",
        "TestingDataDescription": _said(tested),
        "ValidationProcessAndJustification": _said(report.summary.multiplicity_statement),
    }


def _unmeasured() -> Tree:
    fields = ("MetricGoal", "Results", "Interpretation", "TestType", "TestingDataDescription")
    tree: Tree = dict.fromkeys((*fields, "ValidationProcessAndJustification"), UNMEASURED)
    return tree | {"Results": {"MetricResult": _no_result()}}


def _no_result() -> Tree:
    return {"Label": "not measured", "ValueJson": "null"}


def _label(text: FindingText) -> str:
    named = f"{text.about}, {text.attacker}, {text.patients}"
    said = f"{text.requirement} ({named}): {text.verdict}"
    return ". ".join(escape_markup(shorten(one, PROSE)) for one in (said, found_words(text.cell)))


def _value(cell: CellReport, verdict: str) -> str:
    """Return what was found as JSON; where this audience may see no number, without one."""
    number = cell.estimate
    found = {} if number is None else {
        "value": number.value, "low": number.low, "high": number.high,
        "confidence": number.confidence, "n": number.n,
    }  # fmt: skip
    named = {"cell": shorten(cell.id, TITLE), "metric": shorten(cell.metric, TITLE)}
    return json.dumps(
        filled({**named, "verdict": verdict, "limit": cell.limit.fail, **found}),
        ensure_ascii=True, allow_nan=False,
    )  # fmt: skip


def _said(*texts: str | None) -> str:
    """Return texts from outside as Markdown that does nothing, or that nobody declared any."""
    said = [escape_markup(shorten(one, PROSE)) for one in texts if one]
    return "; ".join(said) or UNDECLARED


def _entry(citation: CitationText) -> str:
    """Return a source as BibTeX, in which its own words open and close nothing."""
    key = re.sub(r"[^A-Za-z0-9-]", "-", shorten(citation.id, TITLE))
    title, note = _quoted(citation.title), _quoted(basis_words(citation))
    return f"@misc{{{key}, title = {{{title}}}, note = {{{note}}}}}"


def _quoted(text: str) -> str:
    return re.sub(r"[\\{}$%#@&~^_]", " ", shorten(text, PROSE))


APPLIED_MODEL_CARD = ReportFormat("report.chai.xml", render_applied_model_card)
