"""Within the limit is not nothing, and nothing found is no anonymity: every format says both."""

from __future__ import annotations

import io
import json

import pytest
from report_builder import (
    disclosure_cell,
    failing_report,
    membership_cell,
    passing_report,
    report_of,
    shared,
)
from rich.console import Console

from checker.policy.documents import Limit
from checker.report.claims import above_none, anonymity_words, none_value
from checker.report.disclosure_control.shared import for_audience
from checker.report.formats.console import print_report
from checker.report.formats.html import render_html
from checker.report.formats.markdown import render_markdown
from checker.report.formats.modelcard import render_model_card
from checker.report.model import Report
from checker.report.wording.cells import limit_kept_words, none_words
from checker.report.wording.decision import above_none_words, not_proof


def on_console(report: Report) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=400))
    return stream.getvalue()


def test_a_pass_certainly_above_chance_says_both() -> None:
    # the demo's sound model: AUROC 0.590 (0.563 to 0.617) under a limit of 0.70
    cell = membership_cell(
        0.590, 0.563, 0.617, limit=Limit(fail=0.70), verdict="pass", bound_side="within"
    )
    (cell,) = report_of([cell], "pass").cells
    assert (cell.verdict, cell.above_none) == ("pass", True)
    assert limit_kept_words(cell) == "yes"
    assert none_words(cell) == "distinguishable from none"


@pytest.mark.parametrize(("low", "differs"), [(0.5, False), (0.4999, False), (0.5001, True)])
def test_an_auroc_differs_from_none_where_its_lower_bound_is_above_a_half(
    low: float, differs: bool
) -> None:
    cell = membership_cell(0.52, low, 0.55)
    assert none_value(cell) == 0.5
    assert above_none(cell) is differs


def test_an_excess_differs_from_none_where_its_lower_bound_is_above_nothing() -> None:
    # 40 of 400 against 4 of 400: a difference whose lower bound is above 0 and below the limit
    cell = disclosure_cell("hiv", "events-5", members=(40, 400), nonmembers=(4, 400))
    assert none_value(cell) == 0.0
    assert above_none(cell) is True
    equal = disclosure_cell("hiv", "events-5", members=(6, 420), nonmembers=(5, 418))
    assert above_none(equal) is False


def test_what_knows_no_none_says_nothing() -> None:
    for metric in ("membership_tpr_at_fpr", "exposure_bits", "of_a_plug_in"):
        cell = membership_cell(0.52, 0.51, 0.55).model_copy(update={"metric": metric})
        assert above_none(cell) is None


def test_a_shared_report_says_it_of_what_it_shows_and_of_no_withheld_pass() -> None:
    report = passing_report()
    told = for_audience(report, "shared")
    for cell in told.cells:
        assert cell.above_none == above_none(cell)
        if cell.estimate is None and cell.verdict == "pass":
            assert cell.above_none is None
    assert any(cell.above_none is None for cell in told.cells)


def test_a_shared_failure_without_numbers_still_says_that_something_was_found() -> None:
    told = for_audience(failing_report(), "shared")
    assert all(cell.above_none for cell in told.cells if cell.verdict == "fail")


def test_the_sentence_names_the_loosest_limit_of_each_kind() -> None:
    cells = [
        disclosure_cell("hiv", "events-5", members=(3, 420), nonmembers=(3, 418)),
        disclosure_cell("hiv", "events-10", members=(3, 420), nonmembers=(3, 418)),
        membership_cell(0.5, 0.48, 0.52),
    ]
    cells[1] = cells[1].model_copy(update={"limit": Limit(fail=0.33)})
    words = anonymity_words(cells)
    assert "up to 33\N{NO-BREAK SPACE}%" in words
    assert "the model stays personal data" in words
    assert "0.6" in words  # of the AUROC, on another scale
    advisory = [cells[1].model_copy(update={"gating": False})]
    assert "33" not in anonymity_words(advisory)  # it lets nothing pass


def test_a_policy_that_tolerates_nothing_claims_no_anonymity_either() -> None:
    cell = disclosure_cell("hiv", "events-5", members=(0, 420), nonmembers=(0, 418))
    nothing = cell.model_copy(update={"limit": Limit(max_count=0, min_n=299)})
    assert anonymity_words([nothing]).startswith("No claim of anonymity is made")
    assert "stays personal data" in anonymity_words([nothing])


@pytest.mark.parametrize("made", [passing_report, failing_report])
def test_every_human_format_says_that_the_model_stays_personal_data(made: object) -> None:
    report: Report = made()  # type: ignore[operator]
    for one in (report, shared(report), for_audience(report, "shared")):
        assert "stays personal data" in not_proof(one)
        for text in (render_html(one), render_markdown(one), render_model_card(one)):
            assert "stays personal data" in text
        assert "stays personal data" in on_console(one)
        assert "personal data" in json.loads(one.to_bytes())["summary"]["notClaimed"]


def test_every_human_format_says_whether_a_number_differs_from_none() -> None:
    report = failing_report()
    for text in (render_html(report), render_markdown(report), render_model_card(report)):
        assert "istinguishable from none" in text
    assert "distinguishable from none" in on_console(report)


def test_the_first_page_counts_passing_tests_that_found_something() -> None:
    cell = membership_cell(0.590, 0.563, 0.617, limit=Limit(fail=0.70), verdict="pass")
    report = report_of([cell], "pass")
    words = above_none_words(report)
    assert words is not None
    assert "1 of the 1 that pass" in words
    assert words in render_html(report)
    assert above_none_words(report_of([membership_cell(0.5, 0.48, 0.52)], "pass")) is None
