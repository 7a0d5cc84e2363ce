"""Every finding of the review of the classes is answered, and each answer is true."""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from benchmarks.class_findings import Answer, read_answers
from checker.codes import ClassMatcher, read_code
from checker.policy.classes import class_matcher
from checker.policy.library import library_classes

REVIEW = Path(__file__).parents[3] / "shared" / "domain" / "class_findings.csv"


@cache
def matchers() -> dict[str, ClassMatcher]:
    return {name: class_matcher(one.document.spec) for name, one in library_classes().items()}


def standings(one: Answer) -> set[str]:
    matcher = matchers()[one.owner]
    texts = [code.replace("+", " ") if one.system == "drug" else code for code in one.checked]
    return {matcher.standing([read_code(one.system, text)], text) or "none" for text in texts}


def test_each_answer_is_what_the_class_makes_of_the_code() -> None:
    untrue = [(one, standings(one)) for one in read_answers() if standings(one) != {one.standing}]
    assert not untrue


def test_what_was_missing_is_there_and_what_was_wrong_is_gone_or_a_reason_is_given() -> None:
    for one in read_answers():
        assert one.answer in {"mended", "answered"}
        assert one.reason or one.answer == "mended", one
        if one.answer == "mended" and one.finding == "missing":
            assert one.standing != "none", one
        if one.finding == "wrong":
            assert one.standing == "none", one
        moved = one.owner not in one.classes.removeprefix("NEW:").split("+")
        assert one.reason or not moved, one


def test_no_finding_of_the_review_is_left_out() -> None:
    if not REVIEW.exists():
        pytest.skip("the review is not beside this checkout")
    with REVIEW.open(encoding="utf-8", newline="") as stream:
        found = Counter(
            (row["class"], row["system"], row["code"], row["what"])
            for row in csv.DictReader(stream)
            for _ in row["class"].split("+")
        )
    answered = Counter(
        (one.classes, str(one.system), one.code, one.finding) for one in read_answers()
    )
    assert answered == found
    assert len(found) == 635


def test_the_answers_are_counted() -> None:
    counted = Counter(one.answer for one in read_answers())
    assert counted == {"mended": 661, "answered": 13}
