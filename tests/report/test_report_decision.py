"""The first page: what was decided, why, and under which conditions."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape

import pytest
import report_builder as build

from checker.report.disclosure_control import for_audience
from checker.report.formats.html import render_html
from checker.report.model import ApprovalText, Report, WaiverReport
from checker.report.wording.decision import (
    alike_words,
    basis_words,
    conditions,
    count_words,
    decides_nothing,
    deciding_tests,
    headline,
    least_words,
    reasons_title,
)
from checker.report.wording.findings import waiver_condition


def test_a_blocked_release_names_each_requirement_once_worst_first() -> None:
    found = deciding_tests(build.failing_report())
    assert [one.cell.id for one in found] == [
        "hiv-disclosure/events-10/all",
        "substance-use-disclosure/events-10/all",
        "hypertension-disclosure/events-10/all",
        "membership/record/all",
    ]
    # 104 of 142 members and 6 of 139 nonmembers: 0.7324 - 0.0432 = 0.6892; L = 0.6892 -
    # ((0.7324 - 0.6644)² + (0.0834 - 0.0432)²)^0.5 = 0.610 by Clopper-Pearson at 0.05
    assert found[0].found == (
        "68.9 % of members beyond nonmembers, at least 61.0 % with 95 % confidence;"
        " allowed: at most 5 %"
    ).replace(" %", "\u00a0%")
    assert alike_words(found[0]) == "Worst of 2 tests; both fail."
    assert alike_words(found[2]) == "Worst of 2 tests; 1 of 2 fail."


@pytest.mark.parametrize(
    ("make", "title"),
    [
        (build.failing_report, "How bad it is"),
        (build.passing_report, "How much may leak"),
        (build.inconclusive_report, "What is not known"),
        (build.showing_report, "What was found"),
    ],
)
def test_what_was_found_stands_under_the_question_it_answers(
    make: Callable[[], Report], title: str
) -> None:
    assert reasons_title(make()) == title


def test_a_size_that_is_withheld_is_said_to_be_a_least_one() -> None:
    cells = [
        build.disclosure_cell("hiv", attacker, members=(hits, 80), nonmembers=(0, 80))
        for attacker, hits in (("events-5", 3), ("events-10", 60))
    ]
    found = build.report_of(cells, "fail")
    assert least_words(deciding_tests(found)) is None
    words = least_words(deciding_tests(for_audience(found, "shared")))
    assert words is not None
    assert words.startswith("“Over” and “at least” may be far more:")
    assert "few patients" not in words  # a number may be withheld because another is
    # where every number is shown, or nothing failed, there is nothing to say
    assert least_words(deciding_tests(build.passing_report())) is None


def test_an_allowed_release_names_what_came_closest_to_its_limit() -> None:
    found = deciding_tests(build.passing_report())
    # AUROC at most 0.546 of 0.6 fills 91 % of its limit
    assert found[0].cell.control == "membership"
    assert {one.cell.verdict for one in found} == {"pass"}
    assert all("at most" in one.found for one in found)
    assert alike_words(found[1]) == "Closest of 2 tests; both pass."


def test_what_is_open_says_why_and_what_is_missing() -> None:
    found = deciding_tests(build.inconclusive_report())
    shown = next(one for one in found if one.cell.reason == "too-few-positives")
    assert "too few patients with the class" in shown.found
    assert "needs 21 more eligible members before it can pass" in shown.found
    assert alike_words(shown).endswith("both stay open.")


def test_a_withheld_reason_says_the_side_and_no_number() -> None:
    (first, *_) = [
        one for one in deciding_tests(build.shared(build.passing_report())) if one.of > 1
    ]
    assert first.found == (
        "at most 5\u00a0% of members beyond nonmembers; allowed: at most 5\u00a0%;"
        " exact numbers withheld"
    )
    assert alike_words(first) == "Both tests pass."


def test_the_basis_explains_members_and_nonmembers() -> None:
    words = basis_words(build.failing_report())
    assert "2\u00a0400 patients it was trained on (members)" in words
    assert "2\u00a0380 patients of the same source it never saw (nonmembers)" in words
    cells = [build.every_verdict_report().cells[2]]  # one that crashed
    assert basis_words(build.report_of(cells, "error")) == "Nothing could be measured."


def test_what_is_counted_is_said() -> None:
    words = count_words(build.failing_report())
    assert words.endswith("These 7 decide; 3 more are reported and do not.")
    assert count_words(build.report_of([build.membership_cell(0.52, 0.49, 0.55)], "pass")) == (
        "A test is one requirement against one attacker. This one decides."
    )


def test_a_pass_is_tied_to_use_model_warnings_and_review() -> None:
    report = build.passing_report()
    cells = [report.cells[3].model_copy(update={"warned": True}), *report.cells[4:]]
    said = conditions(report.model_copy(update={"cells": cells}))
    assert said[0] == "It holds for publishing the weights, and for no other use."
    assert "these model files alone" in said[1]
    assert said[2] == "Passed with a warning, to be watched: 1 of the tests that decide."
    assert said[-2] == "The policy is to be reviewed by 2027-10-01."
    assert said[-1].startswith("Attempt unknown: no ledger was kept")


def test_a_block_says_what_would_lift_it() -> None:
    said = conditions(build.failing_report())
    assert said[0].startswith("The model may not be released under this policy until a new audit")
    assert len(said) == 3
    assert said[-1].startswith("Attempt unknown: no ledger was kept")


def test_what_is_open_and_does_not_block_is_no_pass() -> None:
    report = build.inconclusive_report()
    summary = report.summary.model_copy(update={"exit_code": 0, "blocked_by": []})
    said = conditions(report.model_copy(update={"summary": summary}))
    # four cells with too few patients, and membership, whose bounds straddle the limit
    assert "Left open, and by the policy no obstacle: 5 of the tests that decide." in said[2]


def test_a_waiver_is_a_condition_with_its_end_and_its_safeguards() -> None:
    report = build.passing_report()
    waiver = WaiverReport(
        id="w", version="1", sha256=build.digest(3), cell="membership/record/all",
        metric="membership_auroc", status="applied", explanation="It holds.", ceiling=0.62,
        justification="Shared under contract.", compensating_controls=["access is logged"],
        requester="A", approvals=[ApprovalText(name="B", role="IRB", on="2026-11-01")],
        ticket="T-1", starts_on="2026-11-01", expires_on="2027-01-31",
    )  # fmt: skip
    assert waiver_condition(waiver) == (
        "of membership/record/all accepted up to 0.62 AUROC, 0.5 is chance; from 2026-11-01 to the"
        " end of 2027-01-31 (UTC); approved by B (IRB, 2026-11-01); requested by A; ticket T-1;"
        " meanwhile: access is logged"
    )
    page = unescape(render_html(report.model_copy(update={"waivers": [waiver]})))
    assert page.count(waiver_condition(waiver)) == 1
    # and not as a condition of its own besides
    told = conditions(report.model_copy(update={"waivers": [waiver]}))
    assert not [one for one in told if "access is logged" in one]


def test_a_policy_that_only_shows_says_so_and_what_was_found() -> None:
    report = build.showing_report()
    failed = [cell for cell in report.cells if cell.verdict == "fail"]
    assert headline(report) == (
        f"No release is decided here: {len(failed)} of {len(report.cells)} tests are beyond a limit"
    )
    assert count_words(report).endswith(f"None of these decides; {len(report.cells)} are reported.")
    found = deciding_tests(report)
    assert {one.cell.control for one in found} == {cell.control for cell in failed}
    assert {one.cell.verdict for one in found} == {"fail"}
    assert conditions(report)[0].startswith("Whatever is found, this policy lets nothing through")


def test_a_policy_that_only_shows_still_asks_for_its_prerequisites() -> None:
    report = build.presupposing_report()
    summary = report.summary.model_copy(update={"gating_cells": 0, "blocked_by": []})
    shows = report.model_copy(update={"summary": summary, "verdict": "inconclusive"})
    unmet = [one for one in shows.prerequisites if one.verdict != "pass"]
    assert unmet
    assert not decides_nothing(shows)
    assert headline(shows).startswith("Release is blocked")


@pytest.mark.parametrize("marked", [True, False])
def test_the_ladder_explains_no_marks_that_it_does_not_have(marked: bool) -> None:
    report = build.failing_report()
    if not marked:
        none = {"members": None, "nonmembers": None}
        cells = [cell.model_copy(update=none) for cell in report.cells]
        report = report.model_copy(update={"cells": cells})
    assert ("nonmembers</span>, where they may be shown" in render_html(report)) == marked
