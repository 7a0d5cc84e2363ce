"""Drafts say draft, on the first page: the policy, and the classes that were looked for."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest
from report_builder import failing_report
from rich.console import Console

from checker.policy.documents.elements import PolicyMetadata
from checker.report.formats.console import print_report
from checker.report.formats.html import render_html
from checker.report.formats.markdown import render_markdown
from checker.report.formats.modelcard import render_model_card
from checker.report.formats.oscal import OSCAL
from checker.report.model import Report
from checker.report.wording.standing import class_standing, policy_standing, review_words

TODAY = date(2026, 11, 1)


def metadata(**adopted: Any) -> PolicyMetadata:
    whole = {"by": "Committee", "on": "2026-10-01", "version": "2.0"} | adopted
    return PolicyMetadata.model_validate({"name": "p", "version": "2.0", "adopted": whole})


@pytest.mark.parametrize(
    ("adopted", "holds"),
    [({}, True), ({"on": "2026-11-01"}, True), ({"on": "2026-11-02"}, False),
     ({"version": "1.0"}, False)],
)  # fmt: skip
def test_only_this_version_is_adopted_and_only_from_its_day(
    adopted: dict[str, Any], holds: bool
) -> None:
    assert metadata(**adopted).is_adopted(as_of=TODAY) is holds
    assert not PolicyMetadata(name="p", version="2.0").is_adopted(as_of=TODAY)


def reviewed(*states: str, **policy: Any) -> Report:
    report = failing_report()
    classes = [
        one.model_copy(update={"review": state, "reviewed_by": "Dr. M. Okafor"})
        for one, state in zip(report.policy.attribute_classes, states, strict=True)
    ]
    changed = report.policy.model_copy(update={"attribute_classes": classes, **policy})
    return report.model_copy(update={"policy": changed})


def test_what_nobody_stands_behind_is_called_a_draft_in_every_human_format() -> None:
    report = failing_report()
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=400))
    for text in (
        render_html(report),
        render_markdown(report),
        render_model_card(report),
        OSCAL.render(report).decode(),
        stream.getvalue(),
    ):
        assert "The policy is a draft: it names nobody who adopted it" in text
        assert "All 3 attribute classes are drafts" in text


def test_an_adoption_of_another_version_is_shown_as_that() -> None:
    report = reviewed("draft", "draft", "draft", adopted_by="Committee, version 1.0")
    assert "is a draft: what it says of its adoption" in policy_standing(report)
    held = reviewed("draft", "draft", "draft", adopted=True, adopted_by="Committee")
    assert policy_standing(held) == "The policy was adopted by Committee."


def test_which_classes_are_drafts_is_named_and_what_changed_since_is_one() -> None:
    words = class_standing(reviewed("reviewed", "changed", "draft"))
    assert words is not None
    assert words.startswith("Of 3 attribute classes 2 are drafts that nobody signed off as audited")
    assert "(1 of them once, with other codes)" in words
    assert class_standing(reviewed("reviewed", "reviewed", "reviewed")) == (
        "All 3 attribute classes were signed off as audited."
    )
    states = reviewed("reviewed", "changed", "draft").policy.attribute_classes
    assert [review_words(one).partition(":")[0] for one in states] == [
        "signed off by Dr. M. Okafor", "draft", "draft",
    ]  # fmt: skip
