"""The charts: equal reports give equal bytes, and each says in words all that it draws."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import report_builder as build

from checker import load_policy
from checker.report import palette
from checker.report.charts import (
    Chart,
    characteristics_charts,
    ladder_chart,
    leakage_charts,
    overview_chart,
    people_charts,
    perturbation_charts,
    power_charts,
    roc_charts,
)
from checker.report.model import Report, SampleNeeds

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def every_chart(report: Report) -> list[Chart]:
    return [
        overview_chart(report),
        *leakage_charts(report),
        *people_charts(report),
        *roc_charts(report),
        *perturbation_charts(report),
        *power_charts(report),
    ]


@pytest.fixture(scope="module")
def report() -> Report:
    """A failing report, one cell of which has a perturbation curve."""
    failing = build.failing_report()
    curve = {
        "q unchanged": build.rate(80, 100),
        **{f"q at age {years:+d}": build.rate(10, 100) for years in (-5, -1, 1, 5)},
    }
    first, *rest = failing.cells
    return failing.model_copy(
        update={"cells": [first.model_copy(update={"reported": curve}), *rest]}
    )


@pytest.fixture(scope="module")
def charts(report: Report) -> list[Chart]:
    return every_chart(report)


def test_drawing_twice_gives_equal_bytes(report: Report, charts: list[Chart]) -> None:
    assert every_chart(report) == charts
    assert len({chart.key for chart in charts}) == len(charts) == 13


def test_every_drawing_has_its_words_as_title_and_description(charts: list[Chart]) -> None:
    for chart in charts:
        root = ET.fromstring(chart.svg)
        assert root.get("role") == "img"
        title, said = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert said is not None
        assert root.get("aria-labelledby") == f"{title.get('id')} {said.get('id')}"
        assert title.text
        assert said.text == chart.description


def test_a_drawing_obeys_the_page(charts: list[Chart]) -> None:
    for chart in charts:
        assert "style=" not in chart.svg, "an inline style, which the content policy forbids"
        assert "<style" not in chart.svg
        ids = re.findall(r'\bid="([^"]+)"', chart.svg)
        assert all(name.startswith(f"{chart.key}-") for name in ids)
        assert "<text" in chart.svg, "text is text, not outlines"


def test_colours_are_roles_with_a_colour_for_readers_without_the_style_sheet(
    charts: list[Chart],
) -> None:
    style = (ROOT / "reports" / "static" / "report.css").read_text(encoding="utf-8")
    for chart in charts:
        for element in ET.fromstring(chart.svg).iter():
            for name in ("fill", "stroke"):
                colour = element.get(name)
                if colour is None or colour == "none":
                    continue
                role = palette.ROLES[colour]
                assert f"{name}-{role}" in (element.get("class") or "").split()
                assert f".{name}-{role} {{ {name}: var(--{role}); }}" in style


def test_the_palette_is_that_of_the_style_sheet() -> None:
    style = (ROOT / "reports" / "static" / "report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", style.partition("@media")[0]))
    for colour, role in palette.ROLES.items():
        if role != "paper":  # on a screen it is not quite white
            assert light[role] == colour, role


def test_the_glance_tells_every_square(report: Report) -> None:
    words = overview_chart(report).description
    assert "HIV: Data broker: inconclusive, reported only; Neighbor: fail; Relative" in words
    assert words.count("out of scope") == 6  # 4 rows x 4 attackers, 10 cells
    waived = overview_chart(build.every_verdict_report()).description
    assert "Relative or employer: pass, warned" in waived
    assert "Relative or employer: fail, waived" in waived


def test_the_roc_tells_whom_is_caught_at_which_price() -> None:
    (chart,) = roc_charts(build.failing_report())
    assert "Score: min-k." in chart.caption
    # an AUROC of 0.913 parts two normals by 1.923; at 1 %: Φ(Φ⁻¹(0.01) + 1.923) = 0.3436, so 206
    # of 600; Clopper-Pearson at 0.05 gives 0.3113 to 0.3767
    assert "At 1 %: 34.3 % (31.1 % to 37.7 %)." in chart.description.replace("\u00a0", " ")


def test_two_cells_of_one_score_share_a_curve() -> None:
    report = build.failing_report()
    twin = report.cells[-1].model_copy(update={"id": "twin", "metric": "membership_tpr_at_fpr"})
    assert len(roc_charts(report.model_copy(update={"cells": [*report.cells, twin]}))) == 1


def test_power_tells_what_there_is_and_what_would_decide() -> None:
    charts = power_charts(build.inconclusive_report())
    assert charts[0].caption == "How many eligible members would decide"
    assert (
        "Neighbor: 38 eligible members; 59 for a pass at all, about 146 for a likely one."
        in charts[0].description
    )


def test_power_has_no_row_for_what_nobody_knows() -> None:
    report = build.inconclusive_report()
    cells = [cell.model_copy(update={"needs": SampleNeeds()}) for cell in report.cells]
    assert power_charts(report.model_copy(update={"cells": cells})) == []


def test_the_perturbation_curve_tells_every_offset(report: Report) -> None:
    (chart,) = perturbation_charts(report)
    assert "Own age, drawn afresh: 80.0" in chart.description
    assert "5 years younger: 10.0" in chart.description


def test_a_shipped_policys_report_draws_what_it_can_decide(report: Report) -> None:
    assert characteristics_charts(report) == []  # of a policy that is nobody's
    shipped = load_policy("baseline-public-weights@2")
    meta = shipped.document.metadata
    known = {"name": meta.name, "version": meta.version, "sha256": shipped.sha256}
    named = report.model_copy(update={"policy": report.policy.model_copy(update=known)})
    short, coded = characteristics_charts(named)
    assert (short.title, coded.title) == ("Short records", "Coded and raw records")
    # 5,000 members and 5,000 nonmembers, and what is said stands in the drawing's own words
    described = coded.description.replace("\u00a0", " ")
    assert "10 000 patients 89 % (14 of 14)" in described
    assert "at twice a limit: at most 0" in described
    assert "abortion" in described
    assert coded.description in coded.svg
    other = named.policy.model_copy(update={"sha256": "0" * 64})
    assert characteristics_charts(named.model_copy(update={"policy": other})) == []


def test_a_ladder_keeps_the_worst_and_says_what_it_leaves_out() -> None:
    # who knows most comes last in the policy, and is who gets most out
    made = build.disclosure_cell("hiv", "events-5", members=(0, 400), nonmembers=(0, 400))
    worst = build.disclosure_cell("hiv", "events-10", members=(300, 400), nonmembers=(0, 400))
    attackers = [f"a{place}" for place in range(12)]
    cells = [
        (worst if place >= 10 else made).model_copy(update={"id": f"x/{name}", "attacker": name})
        for place, name in enumerate(attackers)
    ]
    report = build.report_of(cells, "fail")
    some = report.policy.attackers[0]
    known = [some.model_copy(update={"id": name, "title": f"Knows {name}"}) for name in attackers]
    report = report.model_copy(
        update={"policy": report.policy.model_copy(update={"attackers": known})}
    )
    chart = ladder_chart(report)
    assert chart is not None
    assert "HIV (the worst 9 of 12)." in chart.description
    told = re.findall(r"Knows (a\d+): (\w+)", chart.description)
    assert [name for name, _ in told] == [*attackers[:7], "a10", "a11"]
    assert [verdict for _, verdict in told[-2:]] == ["fail", "fail"]


def test_names_that_need_two_lines_have_them_in_a_ladder() -> None:
    made = build.disclosure_cell("hiv", "events-10", members=(300, 400), nonmembers=(0, 400))
    report = build.report_of([made], "fail")
    whole = "A neighbour who also knows the first five events of the record"
    [asked] = [one for one in report.policy.attackers if one.id == made.attacker]
    known = asked.model_copy(update={"title": whole})
    policy = report.policy.model_copy(update={"attackers": [known]})
    chart = ladder_chart(report.model_copy(update={"policy": policy}))
    assert chart is not None
    written = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    assert whole in " ".join(one.strip() for one in written)


def test_two_tests_of_one_class_are_told_apart_in_a_ladder() -> None:
    made = build.disclosure_cell("hiv", "events-10", members=(200, 400), nonmembers=(0, 400))
    other = made.model_copy(
        update={"id": "y/events-10/all", "control": "y", "metric": "disclosure_rate"}
    )
    chart = ladder_chart(build.report_of([made, other], "fail"))
    assert chart is not None
    heads = re.findall(r"HIV: [^.:]+", chart.description)
    assert len(set(heads)) == 2, chart.description
    single = ladder_chart(build.report_of([made], "fail"))
    assert single is not None
    assert "HIV." in single.description


def test_a_hundred_patients_are_drawn_of_what_is_shown_and_of_nothing_else() -> None:
    report = build.failing_report()
    charts = people_charts(report)
    failing = {c.control for c in report.cells if c.verdict == "fail" and c.members is not None}
    assert len(charts) == len(failing) == 3
    for chart in charts:
        paths = list(ET.fromstring(chart.svg).iter(f"{SVG}path"))
        marks = [len(one.attrib["d"].split("z")) - 1 for one in paths]
        assert sum(marks) == 200
        drawn = re.findall(r"of 100 [a-z ]+, (\d+) marked", chart.description)
        coloured = [
            count
            for count, one in zip(marks, paths, strict=True)
            if one.attrib["class"] != "fill-rule"
        ]
        assert coloured == [int(count) for count in drawn if int(count)]
    hidden = report.model_copy(
        update={
            "cells": [
                cell.model_copy(update={"members": None, "nonmembers": None})
                for cell in report.cells
            ]
        }
    )
    assert people_charts(hidden) == []
