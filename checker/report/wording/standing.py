"""Who stands behind a policy and its classes: drafts say that they are drafts.

A limit that a committee argued about and one that researchers thought up look alike in a table, and
so do a class that a clinician read and one that nobody did. So the first page says which it was.
"""

from __future__ import annotations

from checker.report.model import AttributeClassText, Report
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import plain, shorten

CLASSES_SHOWN = 8


def policy_standing(report: Report) -> str:
    """Return who adopted the policy, or that it is a draft, in a sentence."""
    policy = report.policy
    who = None if policy.adopted_by is None else shorten(policy.adopted_by, 200)
    if policy.adopted:
        return f"The policy was adopted by {who}."
    if who is None:
        return "The policy is a draft: it names nobody who adopted it."
    return (
        f"The policy is a draft: what it says of its adoption ({who}) is not of version"
        f" {shorten(policy.version, 40)} as of today."
    )


def class_standing(report: Report) -> str | None:
    """Return which of the audited classes are drafts, in a sentence or two; None without classes.

    A pool is what its classes are, so those are counted.
    """
    asked = {control.attribute_class for control in report.controls}
    classes = [one for one in report.policy.attribute_classes if one.id in asked]
    if not classes:
        return None
    drafts = [one for one in classes if one.review != "reviewed"]
    many = len(classes)
    if not drafts:
        whole = (
            "The attribute class was"
            if many == 1
            else f"All {grouped(many)} attribute classes were"
        )
        return f"{whole} signed off as audited."
    if len(drafts) == many:
        whole = (
            "The attribute class is a draft"
            if many == 1
            else f"All {grouped(many)} attribute classes are drafts"
        )
        return f"{whole}: nobody signed off the codes that were looked for{_changed(drafts)}."
    names = ", ".join(shorten(one.title, 60) for one in drafts[:CLASSES_SHOWN])
    more = (
        f" and {grouped(len(drafts) - CLASSES_SHOWN)} more" if len(drafts) > CLASSES_SHOWN else ""
    )
    return (
        f"Of {grouped(many)} attribute classes {grouped(len(drafts))} are drafts that nobody signed"
        f" off as audited: {names}{more}{_changed(drafts)}."
    )


def standing_words(report: Report) -> list[str]:
    """Return all that is to be said of who stands behind what the report rests on."""
    return [one for one in (policy_standing(report), class_standing(report)) if one]


def review_words(one: AttributeClassText) -> str:
    """Return who signed a class off, or that it is a draft."""
    if one.review == "reviewed" and one.reviewed_by is not None:
        return f"signed off by {plain(one.reviewed_by)}"
    if one.review == "changed":
        return (
            f"draft: signed off once ({plain(one.reviewed_by or '')}), and its codes are others now"
        )
    return "signed off" if one.review == "reviewed" else "draft"


def _changed(drafts: list[AttributeClassText]) -> str:
    changed = sum(one.review == "changed" for one in drafts)
    if not changed:
        return ""
    return f" ({grouped(changed)} of them once, with other codes)"
