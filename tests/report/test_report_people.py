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
from checker.stats.estimate import ReportedEstimate


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
    ("members", "nonmembers", "whom"),
    [(900, 500, ""), (1_000, 500, ""), (9_040, 500, ", of a sample of the members")],
)
def test_a_number_of_people_among_a_sample_is_told_as_one(
    members: int, nonmembers: int, whom: str
) -> None:
    cell = build.membership_cell(0.517, 0.488, 0.546)
    assert cell.sample is not None
    found = ReportedEstimate(3.5, 0.0, 7.0, min(members, 1_000), 0.95, "negative hypergeometric")
    sample = cell.sample.model_copy(update={"members": members, "nonmembers": nonmembers})
    changed = {"metric": "exposed_members", "limit": Limit(fail=12.0), "verdict": "pass"}
    cell = cell.model_copy(update={**changed, "reason": None, "estimate": found, "sample": sample})
    assert said(cell, shared=False) == f"Members who stand out one by one{whom}: 4."
    # outside, how many members there are is withheld
    shared = (
        " stand out one by one, of the members or, where nonmembers are few, of a sample of them"
    )
    assert said(cell).endswith(f"{shared}: at most 12.")


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
    whom = "With 95 % confidence, of the patients with HIV that the model was trained on, "
    passing = build.disclosure_cell("hiv", "events-5", members=(0, 80), nonmembers=(0, 80))
    assert said(leak(members), passing) == whom + told


def test_a_share_of_members_is_not_told_of_both_splits() -> None:
    cell = build.membership_cell(0.3, 0.2, 0.4, metric="membership_tpr_at_fpr", limit=Limit(fail=1))
    assert (cell.estimate and cell.estimate.n, cell.sample and cell.sample.members) == (1200, 600)
    assert said(cell, shared=False) == (
        "Of 600 patients that the model was trained on, an attacker who accuses few others wrongly"
        " recognizes 30.0 %."
    )
    unknown = cell.model_copy(update={"sample": None})
    assert said(unknown, shared=False).startswith("Of the patients that the model")


def test_a_part_of_the_patients_is_not_told_as_all_of_them() -> None:
    old = leak((171, 400), (0, 400)).model_copy(update={"subgroup": "age>89"})
    assert said(old, shared=False).startswith(
        "Among patients older than 89 years: of 400 patients with HIV that the model was trained"
        " on, the model told 42.8 %"
    )
    withheld = leak((62, 80)).model_copy(
        update={"subgroup": "rare_code", "estimate": None, "members": None, "nonmembers": None}
    )
    assert said(withheld, shared=False).startswith(
        "Among patients with a rare code: with 95 % confidence, of the patients with HIV that"
    )
    area = build.membership_cell(0.91, 0.89, 0.93, subgroup="age>89")
    assert said(area).startswith("Among patients older than 89 years: shown a patient that")


def test_a_bound_is_told_as_a_bound_at_the_level_of_its_report() -> None:
    area = build.membership_cell(0.91, 0.89, 0.93).model_copy(update={"estimate": None})
    assert said(area, shared=False).startswith("With 95 % confidence, shown a patient that")
    number = leak((62, 80)).model_copy(
        update={"metric": "of-a-house", "probe": "house", "estimate": None, "members": None}
    )
    assert said(number, shared=False) == "With 95 % confidence, of-a-house: more than 0.05."
    assert "confidence" not in said(leak((171, 400), (0, 400)), shared=False)


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
