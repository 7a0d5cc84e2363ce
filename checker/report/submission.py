"""A submission put into a report, and kept beside it so that `verify` finds it there again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from typing import Annotated

from checker.canonical import JsonModel
from checker.policy.documents import AsJson
from checker.policy.documents.submission import Submission
from checker.report.model import Report, SignatureReport, SubmissionReport
from checker.report.wording.times import instant
from checker.yaml import KeyPath


class SubmissionRecord(JsonModel):
    """`submission.json`: what a report was submitted with, and the digest of its file."""

    schema_version: str = "1"
    document: Annotated[Submission, AsJson]
    sha256: str


def submitted(report: Report, record: SubmissionRecord) -> Report:
    """Return a report with what it is submitted with."""
    spec, head = record.document.spec, record.document.metadata
    return report.model_copy(
        update={
            "submission": SubmissionReport(
                id=head.name,
                version=head.version,
                sha256=record.sha256,
                number=spec.number,
                document_version=spec.document_version,
                replaces=spec.replaces,
                decision=spec.decision,
                signatures=[
                    SignatureReport(
                        role=one.role,
                        name=one.name,
                        on=None if one.on is None else one.on.isoformat(),
                    )
                    for one in spec.signatures
                ],
            )
        }
    )


def unfit(submission: Submission, report: Report, *, today: date) -> Iterator[tuple[KeyPath, str]]:
    """Yield why a decision cannot be about a report, with the place where it says so.

    Args:
        submission: as it was given.
        report: that it is to stand in.
        today: nobody has signed later than this.
    """
    spec = submission.spec
    judged = instant(report.provenance.as_of).astimezone(UTC).date()
    if spec.about is not None and spec.about.verdict != report.verdict:
        yield (
            ("spec", "about", "verdict"),
            f"the decision is about a report that says {spec.about.verdict}, and this one says"
            f" {report.verdict}",
        )
    if spec.about is not None and spec.about.model_sha256 != report.target.model_sha256:
        yield (
            ("spec", "about", "modelSha256"),
            "the decision is about another model than this report, whose files are"
            f" {report.target.model_sha256}",
        )
    for place, one in enumerate(spec.signatures):
        if one.on is not None and not judged <= one.on <= today:
            yield (
                ("spec", "signatures", place, "on"),
                f"{one.on} is not between the day that the report was judged for, {judged}, and"
                f" today, {today}",
            )
