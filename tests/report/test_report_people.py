"""The sentence that stands first in a finding: what happened to whom, and nothing withheld."""

from __future__ import annotations

import re

import pytest
import report_builder as build

from checker.attacks.api import attack_names, load_attack
from checker.policy.documents import Limit
from checker.report.disclosure_control import for_audience
from checker.report.index import ReportIndex
from checker.report.model import CellReport
from checker.report.wording.people import sentence


def said(cell: CellReport, *others: CellReport, shared: bool = True) -> str:
    """Return the sentence on the first cell of a report."""
    report = build.report_of([cell, *others], "inconclusive")
    if shared:
        report = for_audience(report, "shared")
    return sentence(report.cells[0], ReportIndex.of(report), min_cell=11).replace("\u00a0", " ")


def leak(members: tuple[int, int], nonmembers: tuple[int, int] = (0, 80)) -> CellReport:
    return build.disclosure_cell("hiv", "events-10", members=members, nonmembers=nonmembers)


def test_what_is_shown_is_told_of_rounded_numbers() -> None:
    # of 400 every few is judged alike at 5 %, so that numbers stand there
    assert said(leak((170, 400), (90, 400))) == (
        "Of about 400 patients with HIV that the model was trained on, the model told 42.5 %;"
        " of about 400 that it never saw, 22.5 %."
    )
    assert said(leak((171, 400), (3, 400))) == (
        "Of about 400 patients with HIV that the model was trained on, the model told 42.5 %;"
        " of patients it never saw, fewer than 11 in all."
    )
    exact = said(leak((171, 400), (0, 400)), shared=False)
    assert exact.endswith("told 42.8 %; of 400 that it never saw, none.")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        # about 60 of 80 is at least 55 of 84 (65 %, bound 56 %), and none to ten of the others were
        # told: an excess of 39 % or more, by square-and-add
        ((62, 80), "the model told at least 25 in 100 more than of patients it never saw."),
        ((12, 80), "the model told over 5 in 100 more than of patients it never saw."),
        ((0, 80), "the model told at most 5 in 100 more than of patients it never saw."),
    ],
)
def test_what_is_withheld_is_told_by_its_limit(members: tuple[int, int], told: str) -> None:
    whom = "Of the patients with HIV that the model was trained on, "
    passing = build.disclosure_cell("hiv", "events-5", members=(0, 80), nonmembers=(0, 80))
    assert said(leak(members), passing) == whom + told


def test_what_is_open_is_told_as_open_whatever_the_counts() -> None:
    told = {said(leak((hits, n), (0, n))) for hits, n in ((0, 40), (3, 80), (6, 80))}
    assert told == {
        "Not shown either way: whether, of the patients with HIV that the model was trained on, the"
        " model told more than 5 in 100, beyond what it does of patients it never saw."
    }


def test_an_area_is_told_as_a_bet() -> None:
    assert said(build.membership_cell(0.91, 0.89, 0.93)) == (
        "Shown a patient that the model was trained on and one that it never saw, an attacker tells"
        " which is which about 91 times out of 100; guessing is 50."
    )


def test_nothing_measured_and_none_allowed_have_sentences_too() -> None:
    cell = leak((0, 80)).model_copy(
        update={"metric": "disclosure_rate", "limit": Limit(max_count=0, min_n=59)}
    )
    nothing = cell.model_copy(update={"estimate": None, "members": None, "nonmembers": None})
    whom = "Of the patients with HIV that the model was trained on, the model told"
    for verdict, words in (
        ("pass", f"{whom} none."),
        ("fail", f"{whom} one or more."),
        ("error", "Nothing is known of this: the attack did not run to its end."),
        ("not_applicable", "There was nobody whom this could be asked of."),
    ):
        one = nothing.model_copy(update={"verdict": verdict, "bound_side": None})
        assert said(one, shared=False) == words


def test_every_metric_has_a_sentence_whatever_became_of_it() -> None:
    for probe in attack_names():
        for name, metric in load_attack(probe).metrics.items():
            if metric.family is None or not metric.limitable:
                continue
            for verdict in ("pass", "fail", "inconclusive"):
                cell = leak((0, 80)).model_copy(
                    update={"probe": probe, "metric": name, "verdict": verdict, "estimate": None,
                            "members": None, "nonmembers": None}
                )  # fmt: skip
                words = said(cell, shared=False)
                assert re.fullmatch(r"[A-Z].*[^.]\.", words), words
                assert not re.search(r"[{}]|None", words), words
