"""The report in a terminal."""

from __future__ import annotations

import io
import re

import pytest
import report_builder as build
from rich.console import Console

from checker.report.disclosure_control import for_audience
from checker.report.formats.console import print_report
from checker.report.model import Report


def printed(report: Report, *, colours: bool = False, width: int = 110) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=colours, color_system="standard" if colours else None
    )
    print_report(report, console, location="RUN/report.html")
    return out.getvalue()


def test_a_failing_report_says_the_decision_the_matrix_and_the_worst_finding() -> None:
    words = printed(build.failing_report())
    assert "Release is blocked: a limit is exceeded" in words
    assert "out of scope" in words
    assert "✗ fail  The model must not tell a member's HIV status" in words
    assert "at least 32.1\u00a0%" in words
    assert "Retrain with de-duplicated records" in words
    assert "Full report: RUN/report.html" in words


def test_a_passing_report_shows_what_was_only_reported() -> None:
    words = printed(build.passing_report())
    assert "Release is allowed by this policy" in words
    assert "Many patients share what this attacker knows" in words


def test_a_finding_says_once_why_it_is_open() -> None:
    words = printed(for_audience(build.passing_report(), "shared"), width=2_000)
    shown = words.count("\n? inconclusive  ")
    assert shown == 3
    assert words.count("Many patients share what this attacker knows") == shown


def test_an_open_report_says_how_many_more_patients_it_needs() -> None:
    assert "needs 21 more eligible members" in printed(build.inconclusive_report())


def test_a_withheld_cell_says_on_which_side_of_the_limit_it_lies() -> None:
    fail = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    words = printed(build.report_of([build.suppressed(fail)], "fail"))
    assert "over 5 %; exact numbers withheld" in " ".join(words.split()).lower()
    assert "40.1" not in words


def test_every_verdict_is_a_word() -> None:
    words = printed(build.every_verdict_report())
    for word in ("pass", "fail, waived", "pass, warned", "error", "not applicable", "inconclusive"):
        assert word in words


@pytest.mark.parametrize(
    "payload",
    [
        "[bold red]fail[/]",
        "[link=file:///etc]x[/link]",
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\u202e",
        "\r",
    ],
)
def test_hostile_text_neither_styles_nor_drives_the_terminal(payload: str) -> None:
    report = build.failing_report()
    controls = [c.model_copy(update={"title": payload + c.title}) for c in report.controls]
    attackers = [a.model_copy(update={"title": payload + a.title}) for a in report.policy.attackers]
    policy = report.policy.model_copy(update={"attackers": attackers})
    words = printed(
        report.model_copy(update={"controls": controls, "policy": policy}), colours=True
    )
    plain_words = re.sub(r"\x1b\[[0-9;]*m", "", words)  # what rich itself wrote
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", plain_words)
    if payload.startswith("["):
        assert payload in plain_words.replace("\n", "")


def test_a_narrow_terminal_and_endless_titles_still_print() -> None:
    report = build.failing_report()
    controls = [c.model_copy(update={"title": "x" * 10_000}) for c in report.controls]
    words = printed(report.model_copy(update={"controls": controls}), width=60)
    assert len(words) < 20_000
    assert max(map(len, words.splitlines())) <= 60
