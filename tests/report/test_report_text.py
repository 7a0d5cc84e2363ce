"""The words and numbers of the report: rounding never tells another story than the verdict."""

from __future__ import annotations

import pytest
import report_builder as build

from checker.policy.documents import Limit
from checker.report.wording.cells import limit_words, telling_bound
from checker.report.wording.decision import headline
from checker.report.wording.numbers import NBSP, figure, p_words, setting
from checker.report.wording.plain import named, plain, shorten
from checker.report.wording.times import moment


@pytest.mark.parametrize(
    ("value", "metric", "expected"),
    [
        (0.0367, "excess_disclosure", f"3.7{NBSP}%"),
        (0.61, "disclosure_rate", f"61.0{NBSP}%"),
        (0.0, "disclosure_rate", f"0{NBSP}%"),
        (1.0, "disclosure_rate", f"100{NBSP}%"),
        (0.0004, "disclosure_rate", f"0.04{NBSP}%"),
        (-0.0912, "excess_disclosure", f"−9.1{NBSP}%"),
        (-0.00001, "excess_disclosure", f"0.00{NBSP}%"),
        (0.5123, "membership_auroc", "0.512"),
        (3.4930, "epsilon_lower_bound", "3.493"),
        (0.0367, "somebody_elses_metric", "0.037"),
        (1e30, "exposure_bits", f"1e+30{NBSP}bits"),
        (4.6631, "exposure_bits", f"4.66{NBSP}bits"),
        (0.4183, "distance_gap", "0.418"),
    ],
)
def test_shares_read_as_percentages_and_the_rest_as_decimals(
    value: float, metric: str, expected: str
) -> None:
    assert figure(value, metric) == expected


def test_bounds_are_rounded_away_from_the_estimate() -> None:
    assert figure(0.04121, "disclosure_rate", rounding="up") == f"4.2{NBSP}%"
    assert figure(0.04189, "disclosure_rate", rounding="down") == f"4.1{NBSP}%"
    assert figure(-0.04121, "excess_disclosure", rounding="down") == f"−4.2{NBSP}%"


def test_float_noise_is_no_reason_to_round_up() -> None:
    assert 0.1 + 0.2 > 0.3
    assert figure(0.1 + 0.2, "disclosure_rate", rounding="up") == f"30.0{NBSP}%"


def test_a_bound_is_never_rounded_to_the_other_side_of_its_limit() -> None:
    # a failing lower bound of 5.004 % would round down to the limit itself
    down = figure(0.05004, "disclosure_rate", rounding="down", against=0.05)
    assert down == f"5.004{NBSP}%"
    # a passing upper bound of 4.96 % may be read as the limit: that is still within it
    assert figure(0.0496, "disclosure_rate", rounding="up", against=0.05) == f"5.0{NBSP}%"
    # 4.996 % under a limit of 4.998 % would round up beyond it
    assert figure(0.04996, "disclosure_rate", rounding="up", against=0.04998) == f"4.996{NBSP}%"


def test_limits_read_as_they_were_written() -> None:
    assert setting(0.05, "excess_disclosure") == f"5{NBSP}%"
    assert setting(0.6, "membership_auroc") == "0.6"
    assert setting(0.001, "disclosure_rate") == f"0.1{NBSP}%"
    assert limit_words(Limit(max_count=0, min_n=59), "disclosure_rate") == (
        "none among at least 59"
    )
    assert limit_words(Limit(warn=0.03, fail=0.05), "disclosure_rate") == (
        f"at most 5{NBSP}%, warning above 3{NBSP}%"
    )


def test_times_are_read_in_utc_and_unknown_ones_as_they_are() -> None:
    assert moment("2026-11-23T21:00:00+01:00") == "2026-11-23 20:00 UTC"
    assert moment("last Tuesday") == "last Tuesday"
    assert moment("2026-11-23T21:00:00") == "2026-11-23T21:00:00"


def test_small_p_values_are_not_spelt_out() -> None:
    assert p_words(1.2e-7) == f"p{NBSP}<{NBSP}0.001"
    assert p_words(0.0123) == f"p{NBSP}={NBSP}0.012"


def test_the_bound_shown_is_the_one_the_verdict_rests_on() -> None:
    failing = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    passing = build.disclosure_cell("hiv", "events-5", members=(3, 420), nonmembers=(2, 418))
    between = build.disclosure_cell("hiv", "events-5", members=(93, 240), nonmembers=(71, 233))
    assert (telling_bound(failing) or "").startswith("at least")
    assert (telling_bound(passing) or "").startswith("at most")
    assert (telling_bound(between) or "").startswith("between")


def test_control_and_direction_characters_do_not_survive() -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert plain("a\x1b[31mb\u202ec\u200fd\ufeff") == f"a{mark}[31mb{mark}c{mark}d{mark}"
    assert plain("two\nlines\tand\u2028more") == "two lines and more"
    assert plain("نمی\u200cخواهم") == "نمی\u200cخواهم"  # Persian needs its non-joiner


def test_long_text_is_cut_with_a_sign() -> None:
    assert shorten("x" * 10_000, 20) == "x" * 19 + "…"
    assert shorten("short", 20) == "short"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Severe illness (psychosis)", "Severe illness (psychosis)"),
        ("Severe illness (psychosis, bipolar disorder)", "Severe illness"),
        ("Severe illness (psychosis (any), bipolar)", "Severe illness"),
        ("Illness (type 1) with a stroke (any, ever)", "Illness (type 1) with a stroke"),
        ("Illness (a) or (b) (of any kind or degree)", "Illness (a) or (b)"),
        ("An illness that nobody has ever (closed))", "An illness that nobody has ev…"),
        ("A name that goes on and on and on (really)", "A name that goes on and on an…"),
        ("(psychosis, bipolar disorder, depression)", "(psychosis, bipolar disorder,…"),
        ("Illness (of a kind) that has no brackets last", "Illness (of a kind) that has…"),
    ],
)
def test_a_name_loses_its_brackets_before_its_words(name: str, shown: str) -> None:
    assert named(name, 30) == shown


def test_a_release_that_an_open_question_does_not_block_says_so() -> None:
    report = build.inconclusive_report()
    summary = report.summary.model_copy(update={"exit_code": 0})
    assert headline(report) == "Release is blocked: too little is known"
    assert headline(report.model_copy(update={"summary": summary})) == (
        "Release is allowed, with open questions"
    )
