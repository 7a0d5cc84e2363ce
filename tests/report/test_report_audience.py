"""A shared report: what is withheld says so, and why, wherever a number would have stood."""

from __future__ import annotations

import io
import re
from functools import cache
from html import unescape

import pytest
import report_builder as build
from rich.console import Console

from checker.report.charts import leakage_charts, power_charts, roc_charts
from checker.report.formats.console import print_report
from checker.report.formats.html import render_html
from checker.report.model import Report
from checker.report.wording import audience
from checker.report.wording.audience import side_words, withheld_words
from checker.report.wording.cells import telling_bound
from checker.report.wording.numbers import bounds

NAMES = ("failing", "passing", "every_verdict")


@cache
def shared_report(name: str) -> Report:
    return build.shared(getattr(build, f"{name}_report")())


@cache
def page_of(report_name: str) -> str:
    return render_html(shared_report(report_name))


def words_of(page: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def squares_of(page: str) -> list[str]:
    matrix = page[page.index('<table class="matrix"') : page.index('<section id="findings"')]
    found = re.findall(r'<div class="square [^"]*">(.*?)</div>', matrix, re.DOTALL)
    return [words_of(square) for square in found]


def test_an_internal_report_says_confidential_on_every_page() -> None:
    page = render_html(build.failing_report())
    words = words_of(page)
    assert "Confidential: for the audit team. It shows the numbers of small groups" in words
    # printed by browsers that know margin boxes, and as a fixed line by the one that does not
    assert '@page { @top-center { content: "Confidential: for the audit team"; } }' in page
    assert '<p class="running" aria-hidden="true">Confidential: for the audit team</p>' in page


def test_a_shared_report_says_in_a_sentence_what_is_withheld_and_why() -> None:
    page = page_of("failing")
    assert "onfidential: for the audit team" not in page
    assert (
        "Shared report. To protect patients, their numbers are rounded, and whatever could be"
        " traced to fewer than 11 of them is withheld; every verdict rests on the full numbers."
    ) in words_of(page)
    line = "Shared report: what could be traced to fewer than 11 patients is withheld"
    assert f'@page {{ @top-center {{ content: "{line}"; }} }}' in page


def test_a_policy_that_has_nothing_withheld_is_not_said_to_withhold() -> None:
    report = shared_report("passing")
    policy = report.policy.model_copy(update={"min_cell": 1})
    banner = audience.banner(report.model_copy(update={"policy": policy}))
    assert banner == ("Shared report", "The policy has no number withheld.")


def test_a_withheld_square_says_verdict_side_and_limit_in_words() -> None:
    # 3 and 6 of 420 members: every disclosure cell of the sound model is withheld
    squares = [square for square in squares_of(page_of("passing")) if "pass " in square]
    held = [square for square in squares if "exact numbers withheld" in square]
    assert len(held) == 6
    for square in held:
        assert "at most 5 %" in square.replace("\u00a0", " ")
        assert "limit 5" in square
        assert not re.search(r"\d\.\d", square), "a number that was withheld"


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ("within", "at most 5\u00a0%"),
        ("beyond", "over 5\u00a0%"),
        ("straddles", "limit between the bounds"),
    ],
)
def test_each_side_has_its_words(side: str, words: str) -> None:
    cell = shared_report("passing").cells[3].model_copy(update={"bound_side": side})
    assert telling_bound(cell) == side_words(cell) == words


def test_a_cell_that_measured_nothing_is_not_said_to_be_withheld() -> None:
    crashed = next(c for c in shared_report("every_verdict").cells if c.verdict == "error")
    assert withheld_words(crashed) is None
    assert telling_bound(crashed) is None


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_withheld_cell_is_in_the_page(name: str) -> None:
    whole = getattr(build, f"{name}_report")()
    words = words_of(page_of(name))
    for cell, told in zip(whole.cells, shared_report(name).cells, strict=True):
        if "estimate" not in told.withheld:
            continue
        for number in (cell.estimate, cell.members):
            assert number is not None
            assert bounds(number, cell.metric) not in words


@pytest.mark.parametrize("name", NAMES)
def test_nothing_reads_as_none(name: str) -> None:
    assert not re.search(r"\b(None|nan|Undefined)\b", words_of(page_of(name)))


def test_a_finding_names_what_it_does_not_tell() -> None:
    words = words_of(page_of("failing"))
    assert "the placebo and the p-value: that could be traced to fewer than 11 patients" in words
    assert "about 142 members, 139 nonmembers" in words


def test_the_roc_curve_is_told_only_as_bounds() -> None:
    assert roc_charts(build.failing_report())
    assert roc_charts(shared_report("failing")) == []
    words = words_of(page_of("failing"))
    assert "The curve itself is withheld from a shared report" in words
    assert "0.913" in words  # the AUROC itself stands where it stood


def test_charts_leave_out_what_is_withheld() -> None:
    # nine of 74 members by demographics alone: only events-5 and events-10 are left
    chart = leakage_charts(shared_report("failing"))[0]
    assert "Data broker" not in chart.description
    assert "Neighbor" in chart.description
    whole, told = (
        power_charts(report)[0].description
        for report in (build.failing_report(), shared_report("failing"))
    )
    assert "Data broker: 74 eligible members; 299 for a pass at all" in whole
    assert "Data broker: the number is withheld; 299 for a pass at all" in told


def test_numbers_of_patients_are_about_or_withheld() -> None:
    words = words_of(page_of("passing"))
    assert "on about 2 400 patients it was trained on (members)" in words
    assert "a number withheld here of patients of the same source it never saw" in words
    assert "withheld" in words[words.index("The manifest's entries") :]


def test_the_terminal_tells_a_withheld_cell_as_the_page_does() -> None:
    out = io.StringIO()
    print_report(shared_report("passing"), Console(file=out, width=220))
    words = re.sub(r"[\s│]+", " ", out.getvalue())
    assert "at most 5" in words
    assert "exact numbers withheld" in words
    assert "Shared report. To protect patients" in words
    assert "None" not in words
