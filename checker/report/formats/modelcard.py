"""The findings for a Hugging Face model card: `model-index` metadata, and a section to put into it.

The file is a card of its own: what stands between the two `---` goes into the metadata of the
model's README, the rest below it. Programs read the value of a metric as a number, so a cell that
has none, or none that this audience may see, is no metric; what was left out would read as if
nothing had been found, so its verdict stands beside them, by cell.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from checker.report.formats.api import ReportFormat, filled
from checker.report.formats.markdown import (
    audience_lines,
    decision_lines,
    matrix_lines,
    not_proof_lines,
    prerequisite_lines,
    waiver_lines,
)
from checker.report.formats.markdown_syntax import escape, table
from checker.report.model import Report
from checker.report.wording.cells import title_words
from checker.report.wording.findings import (
    FindingText,
    finding_texts,
    found_words,
    ranked_texts,
    source_words,
)
from checker.report.wording.plain import plain, shorten
from checker.report.wording.terms import ACCESS
from checker.stats.estimate import ReportedEstimate

TASK = {"type": "other", "name": "Leakage audit"}
SHORT = 80
LONG = 240


def render_model_card(report: Report) -> str:
    """Return metadata and section, ending in a newline."""
    metadata = yaml.safe_dump(
        {"model-index": model_index(report)},
        sort_keys=False,
        allow_unicode=True,
        width=10**9,  # a folded line could begin with anything
    )
    parts = [
        audience_lines(report),
        [f"## {TASK['name']}"],
        decision_lines(report, level=3),
        prerequisite_lines(report, level=3),
        matrix_lines(report, level=3),
        _findings(report),
        waiver_lines(report, level=3),
        _attackers(report),
        _basis(report),
        not_proof_lines(report),
    ]
    section = "\n\n".join("\n".join(lines) for lines in parts if lines)
    return f"---\n{metadata}---\n\n{section}\n"


def model_index(report: Report) -> list[dict[str, Any]]:
    """Return the findings as Hugging Face's `model-index`: one task and data set, many metrics."""
    target, texts = report.target, finding_texts(report)
    without = {
        shorten(text.cell.id, LONG): text.verdict for text in texts if text.cell.estimate is None
    }
    return [
        {
            "name": shorten(target.name, LONG),
            "results": [
                {
                    "task": dict(TASK),
                    "dataset": {
                        "name": shorten(target.data_set, LONG),
                        "type": _slug(target.data_set),
                        "args": filled(
                            {
                                "members": shorten(target.members_split, SHORT),
                                "nonmembers": shorten(target.nonmembers_split, SHORT),
                                "verdict": report.verdict,
                                "without_number": without,
                            }
                        ),
                    },
                    "metrics": [
                        _metric(text, number)
                        for text in texts
                        if (number := text.cell.estimate) is not None
                    ],
                }
            ],
        }
    ]


def _metric(text: FindingText, number: ReportedEstimate) -> dict[str, Any]:
    cell = text.cell
    name = f"{title_words(cell)}: {text.about}, {text.attacker}, {text.patients}"
    return {
        "type": shorten(cell.metric, SHORT),
        "name": shorten(name, LONG),
        "value": number.value,
        "args": filled(
            {
                "cell": shorten(cell.id, LONG),
                "verdict": text.verdict,
                "decides": cell.gating,
                "limit": cell.limit.fail,
                "lower_bound": number.low,
                "upper_bound": number.high,
                "confidence": number.confidence,
                "n": number.n,
                "bound_side": cell.bound_side,
                "withheld": [plain(field) for field in cell.withheld],
            }
        ),
    }


def _findings(report: Report) -> list[str]:
    rows = [_row(text) for text in ranked_texts(report)]
    head = ["Verdict", "Requirement", "Attacker, patients", "Found"]
    return ["### Findings", "", *table(head, rows)] if rows else []


def _row(text: FindingText) -> list[str]:
    verdict = f"**{escape(text.verdict)}**"
    if not text.cell.gating:
        verdict += ", reported only"
    return [
        verdict,
        _short(text.requirement, LONG),
        f"{_short(text.attacker)}, {_short(text.patients)}",
        _short(found_words(text.cell), LONG),
    ]


def _attackers(report: Report) -> list[str]:
    lines = ["### Attackers", ""]
    for one in report.policy.attackers:
        access = ACCESS.get(one.access, one.access)
        lines.append(
            f"* **{_short(one.title)}** knows {_short(one.knows, LONG)} and {_short(access, LONG)}"
        )
    return lines if report.policy.attackers else []


def _basis(report: Report) -> list[str]:
    """Return what the limits and attacks rest on, and how to check the findings."""
    provenance, policy = report.provenance, report.policy
    cited = [one.id for one in policy.citations]
    lines = ["### Basis", ""]
    lines += [f"* {_short(words, LONG)}" for words in source_words(report, cited)]
    digests = (
        ("policy", policy.sha256),
        ("model", report.target.model_sha256),
        ("plan", provenance.plan_sha256),
        ("evidence", provenance.manifest_sha256),
    )
    lines += [f"* SHA-256 of the {name}: {_short(value)}" for name, value in digests]
    lines.append(f"* Audited with phigate {_short(provenance.phigate_version)}")
    return lines


def _slug(text: str) -> str:
    """Return a text as an identifier of lower-case words."""
    return re.sub(r"[^a-z0-9]+", "-", plain(text).lower()).strip("-")[:SHORT] or "unnamed"


def _short(text: object, length: int = SHORT) -> str:
    return escape(shorten(text, length))


MODEL_CARD = ReportFormat.of_text("report.modelcard.md", render_model_card)
