"""Drugs as hospitals write them: brands, salts, strengths, routes, cut-off labels, abbreviations.

`drug_spellings.csv` was written from how orders, labels and lists of drugs look, and not from the
classes: at first sight the classes read 396 of 397 ordinary spellings rightly, and 9 of 34 that are
cut off or abbreviated. `also` names further classes in which the drug has the same standing.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from checker.codes import ClassMatcher, read_code
from checker.policy.classes import class_matcher
from checker.policy.library import library_classes

SPELLINGS = Path(__file__).parent / "drug_spellings.csv"
ENOUGH = 0.97


@cache
def rows() -> list[dict[str, str]]:
    with SPELLINGS.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@cache
def matchers() -> dict[str, ClassMatcher]:
    return {name: class_matcher(one.document.spec) for name, one in library_classes().items()}


@cache
def standings(text: str) -> dict[str, str]:
    reading = read_code("drug", text)
    found = {name: one.standing([reading], text) for name, one in matchers().items()}
    return {name: standing for name, standing in found.items() if standing}


def meant(row: dict[str, str]) -> set[str]:
    return {name for name in (row["class"], *row["also"].split(";")) if name}


def test_spellings_of_hospitals_are_in_the_right_class_and_tier() -> None:
    assert len({row["text"] for row in rows()}) == len(rows()) >= 300
    wrong = [
        (row["text"], standings(row["text"]))
        for row in rows()
        if any(standings(row["text"]).get(name, "none") != row["standing"] for name in meant(row))
        or (not meant(row) and standings(row["text"]))
    ]
    assert 1 - len(wrong) / len(rows()) >= ENOUGH, wrong
    # abbreviations that mean several things are left alone
    assert [text for text, _ in wrong] == ["Li2CO3 300 mg cap", "VPA 500 mg BID", "LEV 1000 mg IV"]


def test_no_spelling_is_of_a_class_that_it_has_nothing_to_do_with() -> None:
    """A proxy of another class only leaves the prompt; every other standing needs a row."""
    for row in rows():
        strangers = {
            name: standing
            for name, standing in standings(row["text"]).items()
            if standing != "proxy" and name not in meant(row)
        }
        assert not strangers, row["text"]


def test_every_class_that_names_drugs_has_spellings() -> None:
    named = {
        name
        for name, one in library_classes().items()
        if any(
            part.system == "drug" for part in (*one.document.spec.codes, *one.document.spec.proxies)
        )
    }
    spelled = {row["class"] for row in rows()}
    # misoprostol and HIV prophylaxis are proxies of these, and spelled out under others
    assert named - spelled <= {"eating-disorder"}
