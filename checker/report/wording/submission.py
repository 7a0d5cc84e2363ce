"""Who answers for a report: its number, what it is about, who decided, and who has yet to sign.

All of it is what the owner of the model and those who decide wrote down; nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from checker.report.model import Report, SignatureReport
from checker.report.wording.plain import plain, shorten
from checker.report.wording.standing import class_standing, policy_standing

UNSIGNED = (
    SignatureReport(role="Prepared by"),
    SignatureReport(role="Privacy or data protection officer"),
    SignatureReport(role="For those who decide about the release"),
)
"""The lines of a report that was submitted with none."""

ENTERED = "As entered by those who submit the report; it changes no verdict."


def signatures(report: Report) -> list[SignatureReport]:
    """Return the lines to sign, signed or not."""
    submission = report.submission
    return list(submission.signatures) if submission and submission.signatures else list(UNSIGNED)


def signed_words(report: Report) -> str:
    """Return who is entered as having signed, or that nobody is, in a sentence."""
    signed = [one for one in signatures(report) if one.on is not None]
    if not signed:
        return "Nobody has signed this report."
    names = ", ".join(f"{plain(one.name or '')} ({plain(one.role)}, {one.on})" for one in signed)
    missing = len(signatures(report)) - len(signed)
    lines = "one line to sign is" if missing == 1 else f"{missing} lines to sign are"
    rest = f"; {lines} empty" if missing else ""
    return f"Entered as signed by {names}{rest}."


def is_draft(report: Report) -> bool:
    """Whether policy, classes or report lack the hand of somebody who answers for them."""
    asked = {control.attribute_class for control in report.controls}
    classes = [one for one in report.policy.attribute_classes if one.id in asked]
    return (
        not report.policy.adopted
        or any(one.review != "reviewed" for one in classes)
        or any(one.on is None for one in signatures(report))
    )


def standing_lines(report: Report) -> list[str]:
    """Return what stands under the verdict: who adopted, signed off and, as entered, signed."""
    said = (policy_standing(report), class_standing(report), signed_words(report))
    return [one for one in said if one]


def source_words(report: Report) -> str:
    """Return who says what a report says: a program, by limits that somebody set."""
    owner = report.policy.owner
    return (
        "The program phigate, which attacked the model and held what it found against the limits of"
        " the policy; no person judged it. Accountable for the policy:"
        f" {shorten(owner, 160) if owner else 'nobody is named'}."
    )


def study_rows(report: Report) -> list[tuple[str, str]]:
    """Return what a board asks of the study and the report, as far as somebody wrote it down."""
    return [(name, value) for name, value in _rows(report) if value]


def _rows(report: Report) -> Iterator[tuple[str, str | None]]:
    study, submission = report.study, report.submission
    if submission is not None:
        number = [submission.number, submission.document_version and "version "
                  f"{submission.document_version}"]  # fmt: skip
        yield "Document", ", ".join(one for one in number if one)
        yield "Replaces", submission.replaces
    yield "Study", study.title
    yield "Protocol", study.protocol
    yield "Principal investigator", study.principal_investigator
    yield "Sponsor", study.sponsor
    yield "Site", study.site
    yield "Contact", study.contact
    source = [study.data.source, study.data.period]
    yield "Data", "; ".join(one for one in source if one)
    yield "Legal basis", study.data.legal_basis
    yield "Recipients", study.release.recipients
    yield "Intended use", study.intended_use
    yield "Retention", study.governance.retention
