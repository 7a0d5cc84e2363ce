"""Several runs in a row: what grows by steps too small to be shown, and what cannot be hidden."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_builder as build
from cmarkgfm import github_flavored_markdown_to_html
from command_line import Command
from rich.console import Console

from checker.report.charts.trend import CHARTS_SHOWN, trend_charts
from checker.report.disclosure_control import for_audience
from checker.report.formats.trend import (
    cautions,
    print_trend,
    render_trend,
    render_trend_markdown,
    trend_summary,
)
from checker.report.model import Audience, CellReport, Report
from checker.report.trend import Trend, strange_trend, trend_of

CREEPING = (6, 13, 20, 28)
"""Hits of 400 in one run after the other: no step is shown, the whole is."""


def disclosed(hits: int, attacker: str = "events-10") -> CellReport:
    return build.disclosure_cell("hiv", attacker, members=(hits, 400), nonmembers=(4, 400))


def runs(*cells: list[CellReport], audience: Audience = "internal") -> list[Report]:
    made = []
    for place, own in enumerate(cells):
        report = build.report_of(own, "inconclusive")
        target = {"model_sha256": "abcdef"[place] * 64, "version": f"1.{place}"}
        as_of = {"as_of": f"2026-0{place + 1}-01T00:00:00+00:00"}
        report = report.model_copy(
            update={
                "target": report.target.model_copy(update=target),
                "provenance": report.provenance.model_copy(update=as_of),
            }
        )
        made.append(for_audience(report, audience))
    return made


def creeping(audience: Audience = "internal") -> list[Report]:
    return runs(*([disclosed(hits), disclosed(2, "events-5")] for hits in CREEPING),
                audience=audience)  # fmt: skip


def test_what_no_step_shows_the_two_ends_do() -> None:
    trend = trend_of(creeping())
    assert [step.count("worse") for step in trend.steps] == [0, 0, 0]
    assert trend.overall.count("worse") == 1
    first, second = trend.rows()
    assert (first.told.attacker, second.told.attacker) == ("events-10", "events-5")
    assert [one.version for one in trend.reports] == ["1.0", "1.1", "1.2", "1.3"]
    values = [point.estimate.value for point in first.points if point and point.estimate]
    assert values == pytest.approx([(hits - 4) / 400 for hits in CREEPING])
    assert "4 runs of" in trend_summary(trend)
    assert "From the first to the last: 1 test leaks more" in trend_summary(trend)


def test_a_verdict_that_turned_stands_above_what_stayed_where_numbers_are_withheld() -> None:
    cells = ([disclosed(2, "events-5"), disclosed(hits)] for hits in (3, 30, 60))
    first, second = trend_of(runs(*cells, audience="shared")).rows()
    assert [first.told.attacker, second.told.attacker] == ["events-10", "events-5"]
    assert first.told.direction == "withheld"
    assert [point.verdict for point in first.points if point] == ["pass", "inconclusive", "fail"]
    assert first.points[0] is not None
    assert first.points[0].estimate is None


def test_a_test_that_only_some_runs_asked_is_kept_with_its_gaps() -> None:
    trend = trend_of(runs([disclosed(3)], [disclosed(3), disclosed(9, "events-5")], [disclosed(3)]))
    (between,) = [row for row in trend.rows() if not row.is_whole]
    assert [point is None for point in between.points] == [True, False, True]
    for text in (render_trend(trend), render_trend_markdown(trend)):
        assert "only in runs between" in text
    gone = trend_of(runs([disclosed(3), disclosed(9, "events-5")], [disclosed(3)], [disclosed(3)]))
    (row,) = [one for one in gone.rows() if one.told.attacker == "events-5"]
    assert (row.told.direction, row.points[1:]) == ("gone", (None, None))


def test_what_was_asked_another_way_is_no_part_of_a_row() -> None:
    first, *later = runs([disclosed(3)], [disclosed(20)], [disclosed(60)])
    control = first.controls[0].model_copy(update={"params": {"samples": 1}})
    trend = trend_of([first.model_copy(update={"controls": [control]}), *later])
    (row,) = trend.rows()
    assert [point is None for point in row.points] == [True, False, False]
    assert row.told.direction == "not-comparable"


def test_fewer_than_three_or_two_audiences_are_no_trend() -> None:
    with pytest.raises(ValueError, match="two are a comparison"):
        trend_of(creeping()[:2])
    with pytest.raises(ValueError, match="a shared report"):
        trend_of([*creeping()[:2], creeping("shared")[2]])


def test_the_order_and_another_model_are_cautioned_against() -> None:
    one, other, last = creeping()[:3]
    assert cautions(trend_of([one, other, last])) == []
    assert any("not in the order" in text for text in cautions(trend_of([other, one, last])))
    named = last.model_copy(update={"target": last.target.model_copy(update={"name": "another"})})
    assert any("different names" in text for text in cautions(trend_of([one, other, named])))
    same = last.model_copy(update={"target": one.target})
    assert any("the same model" in text for text in cautions(trend_of([one, other, same])))


def test_pictures_are_of_what_was_measured_twice_and_say_all_in_words() -> None:
    charts = trend_charts(trend_of(creeping()))
    assert len(charts) == 2
    for version in ("1.0", "1.3"):
        assert f"{version}, 2026-0" in charts[0].description
    assert "limit 5" in charts[0].description
    assert trend_charts(trend_of(creeping("shared"))) == []
    many = [[disclosed(3, f"events-{place}") for place in range(9)] for _ in range(3)]
    assert len(trend_charts(trend_of(runs(*many)))) == CHARTS_SHOWN


@pytest.mark.parametrize("audience", ["internal", "shared"])
def test_every_form_names_every_run_and_its_audience(audience: Audience) -> None:
    trend = trend_of(creeping(audience))
    told = io.StringIO()
    print_trend(trend, Console(file=told, width=200))
    page, comment = render_trend(trend), render_trend_markdown(trend)
    # pictures stand in the table's order, which is not that of what leaks most
    assert ("What got worse first, over the runs" in page) is bool(trend_charts(trend))
    assert "leaks most" not in page
    for one in trend.reports:
        for text in (page, comment, told.getvalue()):
            assert one.version in text
    assert ("Confidential" in page) is (audience == "internal")
    assert ("Confidential" in comment) is (audience == "internal")
    assert "<table>" in github_flavored_markdown_to_html(comment)
    assert page == render_trend(Trend.model_validate_json(trend.to_bytes()))


def edited(trend: Trend, change: Callable[[Any], object]) -> Trend:
    held = json.loads(trend.to_bytes())
    change(held)
    return Trend.model_validate(held)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["steps"].pop(0), "does not begin with one report"),
        (lambda t: t["steps"].pop(1), "says two things of one report"),
        (lambda t: t["steps"][-1]["after"].update(version="9"), "another report"),
        (lambda t: t["overall"]["after"].update(verdict="pass"), "another report"),
        (lambda t: t["overall"]["before"].update(verdict="pass"), "does not begin"),
        (lambda t: t["steps"][1]["before"].update(verdict="pass"), "says two things"),
        (
            lambda t: t["steps"][0]["changes"][0]["after"].update(verdict="pass", limit=0.9),
            "says two things",
        ),
        (lambda t: t["steps"][0]["changes"][0].update(direction="better"), "another difference"),
        (lambda t: t["overall"]["changes"].pop(0), "lacks the cell"),
        (lambda t: t.update(audience="shared"), "another audience"),
    ],
)
def test_what_is_edited_in_a_trend_is_seen(change: Callable[[Any], object], words: str) -> None:
    reports = creeping()
    trend = trend_of(reports)
    assert strange_trend(trend, reports[-1]) is None
    found = strange_trend(edited(trend, change), reports[-1])
    assert found is not None
    assert words in found


def stored(folder: Path, report: Report) -> Path:
    folder.mkdir()
    (folder / "report.json").write_bytes(report.to_bytes())
    return folder


def test_a_pipeline_stops_at_what_crept_up_since_the_first_run(
    phigate: Command, tmp_path: Path
) -> None:
    first, second, third, last = (
        stored(tmp_path / f"run-{place}", report) for place, report in enumerate(creeping("shared"))
    )
    old = ("--compare", first, "--compare", second, "--compare", third)
    done = phigate("report", last, *old)
    assert done.code == 0, done.err
    assert {path.name for path in last.iterdir()} == {
        "report.json", "trend.html", "trend.md", "trend.json"
    }  # fmt: skip
    stopped = phigate("report", last, *old, "--fail-on-regression")
    assert stopped.code == 1
    assert "(since the first run)" in stopped.out
    twice = phigate("report", last, "--compare", first, "--compare", first)
    assert (twice.code, "named twice" in twice.err) == (2, True)
    itself = phigate("report", last, "--compare", first, "--compare", last)
    assert (itself.code, "named twice" in itself.err) == (2, True)
    data = json.loads(phigate("report", last, *old, "--json").out)
    assert len(data["steps"]) == 3
