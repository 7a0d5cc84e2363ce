"""What got better or worse between two versions of a model."""

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

from checker.errors import ExitCode
from checker.policy.documents import Limit
from checker.report.comparison import Comparison, compare_reports, strange_side
from checker.report.disclosure_control import for_audience
from checker.report.formats.comparison import (
    ROWS_SHOWN,
    print_comparison,
    render_comparison,
    render_comparison_markdown,
    summary,
)
from checker.report.model import Audience, CellReport, PrerequisiteReport, Report
from checker.report.regression import regressions
from checker.stats.estimate import ReportedEstimate

AS_OF = "2026-11-01T00:00:00+00:00"


def report(*cells: CellReport, model: str = "a" * 64) -> Report:
    made = build.report_of(list(cells), "inconclusive")
    target = made.target.model_copy(update={"model_sha256": model})
    return made.model_copy(update={"target": target})


def disclosed(hits: int, attacker: str = "events-10") -> CellReport:
    return build.disclosure_cell("hiv", attacker, members=(hits, 400), nonmembers=(4, 400))


def compared(before: list[CellReport], after: list[CellReport]) -> Comparison:
    return compare_reports(report(*before), report(*after, model="b" * 64))


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [(200, 20, "better"), (20, 200, "worse"), (40, 48, "no-difference-shown")],
)
def test_a_difference_is_shown_only_where_its_interval_leaves_zero(
    before: int, after: int, direction: str
) -> None:
    (change,) = compared([disclosed(before)], [disclosed(after)]).changes
    assert change.direction == direction
    assert change.difference is not None
    # excess is (hits - 4) / 400, so the difference of the excesses is that of the hits
    assert change.difference.value == pytest.approx((after - before) / 400)
    assert change.difference.low < change.difference.value < (change.difference.high or 0)


def test_what_leaks_more_comes_first_and_nothing_is_left_out() -> None:
    before = [disclosed(20, "events-5"), disclosed(200), disclosed(9, "demographics")]
    after = [disclosed(200, "events-5"), disclosed(20), build.membership_cell(0.5, 0.45, 0.55)]
    found = compared(before, after)
    assert [change.direction for change in found.changes] == ["worse", "better", "new", "gone"]
    assert "1 test leaks more, 1 test leaks less, of 4; of 2 the difference is not" in summary(
        found
    )


def got_worse(before: list[CellReport], after: list[CellReport], *, shared: bool) -> list[str]:
    one, other = report(*before), report(*after, model="b" * 64)
    if shared:
        one, other = (for_audience(each, "shared") for each in (one, other))
    return regressions(compare_reports(one, other), one, other)


@pytest.mark.parametrize("shared", [False, True])
def test_a_pipeline_stops_at_what_got_worse_and_at_what_is_no_longer_asked(shared: bool) -> None:
    reported = disclosed(200, "events-5").model_copy(update={"gating": False})
    quiet = disclosed(3, "events-5").model_copy(update={"gating": False})
    name = "hiv-disclosure/events-10/all"
    assert got_worse([disclosed(3)], [disclosed(200)], shared=shared) == [
        f"{name}: was pass, is fail"
    ]
    assert got_worse([disclosed(3)], [disclosed(18)], shared=shared) == [
        f"{name}: was pass, is inconclusive"
    ]
    assert got_worse([disclosed(100)], [disclosed(300)], shared=shared) == [
        f"{name}: more is told than before"
    ]
    assert got_worse([disclosed(3), quiet], [disclosed(3), reported], shared=shared) == []
    gone = got_worse([disclosed(3), disclosed(4, "events-5")], [disclosed(3)], shared=shared)
    assert gone == ["hiv-disclosure/events-5/all: is no longer asked"]
    for before, after in ((200, 3), (40, 48)):
        assert got_worse([disclosed(before)], [disclosed(after)], shared=shared) == []


CELL = "hiv-disclosure/events-10/all"


def loosened(**changes: Any) -> list[str]:
    """Return what is worse about a failing cell that only its policy or a waiver changed."""
    failing = disclosed(200)
    return got_worse([failing], [failing.model_copy(update=changes)], shared=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gating": False}, "no longer decides"),
        ({"limit": Limit(fail=0.99)}, "its limit was raised"),
        ({"waiver": "for-now"}, "is waived now, by for-now"),
        ({"verdict": "not_applicable"}, "was fail, is not_applicable"),
    ],
)
def test_easier_is_no_way_to_get_better(changes: dict[str, Any], words: str) -> None:
    assert loosened(**changes) == [f"{CELL}: {words}"]


def test_a_limit_that_got_stricter_or_never_changed_is_no_regression() -> None:
    assert loosened() == []
    assert loosened(limit=Limit(fail=0.01)) == []
    assert loosened(limit=Limit(max_count=0, min_n=59)) == []
    never = [
        disclosed(0).model_copy(update={"limit": Limit(max_count=0, min_n=n)}) for n in (299, 59)
    ]
    assert got_worse([never[0]], [never[1]], shared=False) == [f"{CELL}: its limit was raised"]
    assert got_worse([never[1]], [never[0]], shared=False) == []
    waived = disclosed(200).model_copy(update={"waiver": "for-now"})
    assert got_worse([waived], [waived], shared=False) == []


def with_control(report: Report, **changes: Any) -> Report:
    control = report.controls[0].model_copy(update=changes)
    return report.model_copy(update={"controls": [control]})


def between(one: Report, other: Report) -> list[str]:
    return regressions(compare_reports(one, other), one, other)


def test_a_test_that_is_asked_another_way_stops_a_pipeline() -> None:
    one = report(disclosed(200))
    other = with_control(one, params={"samples": 1})
    for before, after in ((one, other), (other, one)):
        shared = (for_audience(before, "shared"), for_audience(after, "shared"))
        for pair in ((before, after), shared):
            assert between(*pair) == [f"{CELL}: cannot be compared: the control has another params"]


def test_another_policy_is_said_once_and_not_of_each_of_its_tests() -> None:
    attackers = ("demographics", "events-5", "events-10", "record")
    one = report(*(disclosed(3, attacker) for attacker in attackers))
    policy = one.policy.model_copy(update={"version": "3.0.0", "sha256": "e" * 64})
    other = report(build.membership_cell(0.5, 0.45, 0.55)).model_copy(update={"policy": policy})
    name = one.policy.name
    assert between(one, other) == [
        f"judged by {name} 3.0.0, and by {name} {one.policy.version} before; is no longer asked:"
        " 4 tests (hiv-disclosure/demographics/all, hiv-disclosure/events-5/all, "
        f"{CELL}, hiv-disclosure/record/all)"
    ]
    # what the model itself does worse is said of each test, whichever policy asks
    worse = report(disclosed(200), disclosed(200, "events-5")).model_copy(update={"policy": policy})
    assert between(one, worse)[:2] == [
        f"{CELL}: was pass, is fail", "hiv-disclosure/events-5/all: was pass, is fail",
    ]  # fmt: skip
    assert len(between(one, worse)) == 3


def test_an_open_test_that_no_longer_blocks_stops_a_pipeline() -> None:
    one = report(disclosed(18))
    assert one.summary.blocked_by == [CELL]
    summary = one.summary.model_copy(update={"blocked_by": [], "exit_code": 0})
    assert between(one, one.model_copy(update={"summary": summary})) == [
        f"{CELL}: is inconclusive and no longer blocks"
    ]
    # and one that passes now, and would not block again
    blocking = with_control(report(disclosed(3)), on_inconclusive="block")
    warning = with_control(report(disclosed(3)), on_inconclusive="warn")
    assert between(blocking, warning) == [
        "hiv-disclosure: no longer blocks where nothing is shown either way"
    ]
    assert between(warning, blocking) == []


def test_further_above_the_limit_is_worse_where_no_number_is_shown() -> None:
    withheld = disclosed(200).model_copy(update={"estimate": None, "withheld": ["estimate"]})
    twice, ten = (withheld.model_copy(update={"times_limit": n}) for n in (2, 10))
    assert got_worse([twice], [ten], shared=False) == [
        f"{CELL}: is shown to be at least 10 times its limit, and was not before"
    ]
    assert got_worse([ten], [twice], shared=False) == []
    assert got_worse([ten], [ten], shared=False) == []


def test_less_confidence_and_fewer_prerequisites_are_worse() -> None:
    one = report(disclosed(3))
    policy = one.policy.model_copy(update={"confidence": one.policy.confidence - 0.05})
    sure = f"{policy.confidence:g}"
    assert between(one, one.model_copy(update={"policy": policy})) == [
        f"bounds hold at {sure} confidence, and held at {one.policy.confidence:g}"
    ]
    agreed = PrerequisiteReport(id="agreed", title="Agreed", verdict="pass", explanation="It is.")
    held = one.model_copy(update={"prerequisites": [agreed]})
    lapsed = agreed.model_copy(update={"verdict": "inconclusive"})
    assert between(held, one) == ["agreed: is no longer presupposed"]
    assert between(one, held) == []
    assert between(held, one.model_copy(update={"prerequisites": [lapsed]})) == [
        "agreed: was pass, is inconclusive"
    ]


def test_a_release_that_is_blocked_now_is_worse_whatever_its_tests_say() -> None:
    one, other = report(disclosed(3)), report(disclosed(3), model="b" * 64)
    allowed = one.model_copy(update={"summary": one.summary.model_copy(update={"exit_code": 0})})
    found = compare_reports(allowed, other)
    assert other.summary.exit_code
    assert regressions(found, allowed, other) == [
        "release was allowed and is blocked now: inconclusive"
    ]


def test_the_summary_counts_verdicts_that_turned_where_numbers_are_withheld() -> None:
    before, after = report(disclosed(200)), report(disclosed(3), model="b" * 64)
    shared = [for_audience(one, "shared") for one in (before, after)]
    verdicts = [one.cells[0].verdict for one in shared]
    assert verdicts == ["fail", "pass"]
    words = summary(compare_reports(*shared))
    assert "of 1 the difference is not known; 1 fail no longer, 1 pass now." in words
    back = summary(compare_reports(*reversed(shared)))
    assert "1 fail now, 1 pass no longer." in back


def sides() -> tuple[Report, Report]:
    before = [disclosed(20, "events-5"), disclosed(200), disclosed(9, "demographics")]
    after = [disclosed(200, "events-5"), disclosed(20), build.membership_cell(0.5, 0.45, 0.55)]
    return report(*before), report(*after, model="b" * 64)


@pytest.mark.parametrize("audience", ["shared", "internal"])
def test_a_comparison_fits_its_later_report_and_no_other(audience: Audience) -> None:
    before, after = (for_audience(one, audience) for one in sides())
    found = compare_reports(before, after)
    assert strange_side(found, after) is None
    assert strange_side(Comparison.model_validate_json(found.to_bytes()), after) is None
    assert strange_side(found, before) is not None
    other = "shared" if audience == "internal" else "internal"
    assert strange_side(found.model_copy(update={"audience": other}), after) is not None
    again = compare_reports(after, after)
    assert strange_side(again, after) is None
    changed = _differing_controls(after)
    assert strange_side(compare_reports(before, changed), changed) is None


def _differing_controls(one: Report) -> Report:
    controls = [c.model_copy(update={"params": {**c.params, "samples": 99}}) for c in one.controls]
    return one.model_copy(update={"controls": controls})


EDITS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("another report", lambda c: c["after"].update(verdict="pass")),
    ("another report", lambda c: c["after"].update(modelSha256="c" * 64)),
    ("otherwise of the cell", lambda c: c["changes"][0]["after"].update(verdict="pass")),
    ("otherwise of the cell", lambda c: c["changes"][0].update(after=None)),
    ("describes the cell", lambda c: c["changes"][0].update(title="Hay fever")),
    ("another difference", lambda c: c["changes"][0]["before"]["estimate"].update(confidence=0.9)),
    ("another difference", lambda c: c["changes"][0]["difference"].update(low=-1.0)),
    ("another difference", lambda c: c["changes"][0].update(direction="better")),
    ("another difference", lambda c: c["changes"][0].update(why="Release is allowed")),
    ("lacks the cell", lambda c: c["changes"].pop(0)),
    ("has a cell twice", lambda c: c["changes"].append(c["changes"][0])),
    ("order", lambda c: c["changes"].reverse()),
    ("cautions", lambda c: c["cautions"].append("Release is allowed.")),
]


@pytest.mark.parametrize(("says", "edit"), EDITS)
def test_what_is_edited_in_a_comparison_is_seen(
    says: str, edit: Callable[[dict[str, Any]], Any]
) -> None:
    before, after = sides()
    document = json.loads(compare_reports(before, after).to_bytes())
    edit(document)
    found = Comparison.model_validate_json(json.dumps(document))
    assert says in (strange_side(found, after) or "")


def test_another_measurement_is_no_difference_of_the_models() -> None:
    before, after = report(disclosed(20)), report(disclosed(200), model="b" * 64)
    controls = [
        one.model_copy(update={"params": {**one.params, "samples": 99}}) for one in after.controls
    ]
    (change,) = compare_reports(before, after.model_copy(update={"controls": controls})).changes
    assert (change.direction, change.difference) == ("not-comparable", None)
    assert change.why == "the control has another params"


def test_a_shared_comparison_tells_no_more_than_the_two_reports() -> None:
    before, after = report(disclosed(200)), report(disclosed(3), model="b" * 64)
    shared = [for_audience(one, "shared") for one in (before, after)]
    (change,) = compare_reports(*shared).changes
    assert (change.direction, change.difference) == ("withheld", None)
    assert change.after is not None
    assert change.after.estimate is None
    with pytest.raises(ValueError, match="shared"):
        compare_reports(before, shared[1])


def test_what_nothing_bounds_from_above_is_never_said_to_have_grown() -> None:
    def epsilon(low: float) -> CellReport:
        number = ReportedEstimate(
            value=low, low=low, high=None, n=400, confidence=0.95, method="made up"
        )
        return build.membership_cell(0.5, 0.45, 0.55).model_copy(update={"estimate": number})

    for before, after in ((0.1, 3.0), (3.0, 0.1)):
        (change,) = compared([epsilon(before)], [epsilon(after)]).changes
        assert change.direction == "no-difference-shown"


def test_one_model_compared_with_itself_is_cautioned_about() -> None:
    found = compare_reports(report(disclosed(20)), report(disclosed(20)))
    assert found.cautions == [
        "Both reports are about the same model: what differs is chance, or the audit."
    ]
    assert {change.direction for change in found.changes} == {"no-difference-shown"}


def test_hostile_words_come_out_as_text() -> None:
    made = report(disclosed(20))
    controls = [
        one.model_copy(update={"title": "<script>alert(1)</script>\x1b[31m\u202eevil"})
        for one in made.controls
    ]
    hostile = made.model_copy(update={"controls": controls})
    found = compare_reports(hostile, hostile)
    page = render_comparison(found)
    assert "<script>" not in page
    assert "\u202e" not in page
    console = Console(width=160, record=True, file=io.StringIO())
    print_comparison(found, console)
    assert "\x1b[31m" not in console.export_text(styles=False)
    now_failing = compare_reports(hostile, hostile.model_copy(update={"cells": []}))
    comment = render_comparison_markdown(now_failing)
    assert "\\<script\\>" in comment
    assert not set("\x1b\u202e") & set(comment)


def test_a_comment_tells_what_changed_and_counts_the_rest() -> None:
    unchanged = render_comparison_markdown(compared([disclosed(200)], [disclosed(200)]))
    assert "|" not in unchanged
    assert "Of 1 no change is shown" in unchanged
    found = compared([disclosed(200), disclosed(40, "events-5")], [disclosed(20)])
    comment = render_comparison_markdown(found)
    assert "leaks less" in comment
    assert "only in the earlier report" in comment
    assert github_flavored_markdown_to_html(comment).count("<tr>") == 1 + 2
    many = found.model_copy(update={"changes": found.changes * 500})
    long = render_comparison_markdown(many)
    assert len(long) < 65_536
    assert f"{2 * 500 - ROWS_SHOWN} more changed" in long


def test_names_in_the_terminal_s_comparison_are_whole() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_comparison(compared([disclosed(200)], [disclosed(20)]), console)
    assert "…" not in console.export_text()


def test_two_runs_are_compared_on_the_command_line(phigate: Command, workspace: Path) -> None:
    for name in ("leaking", "sound"):
        phigate(
            "check", workspace / "policy.yaml", workspace / f"{name}.yaml", "--out",
            workspace / name, "--as-of", AS_OF, "--format", "json",
        )  # fmt: skip
    outcome = phigate(
        "report", workspace / "sound", "--compare", workspace / "leaking", "--audience", "internal"
    )
    assert outcome.code == ExitCode.PASS, outcome.err
    assert "leaks less" in outcome.out
    found = json.loads((workspace / "sound" / "internal" / "comparison.json").read_text())
    changes = {change["id"]: change for change in found["changes"]}
    assert changes["hiv-disclosure/events-10/all"]["direction"] == "better"
    assert changes["membership/record/all"]["difference"]["high"] < 0
    page = (workspace / "sound" / "internal" / "comparison.html").read_text()
    assert "Confidential" in page
    again = phigate("report", workspace / "sound", "--compare", workspace / "leaking", "--json")
    shared = json.loads(again.out)
    assert shared["audience"] == "shared"
    assert (workspace / "sound" / "comparison.html").exists()
    gated = ("report", workspace / "sound", "--compare", workspace / "leaking")
    assert phigate(*gated, "--fail-on-regression").code == ExitCode.PASS
    back = phigate(
        "report", workspace / "leaking", "--compare", workspace / "sound", "--fail-on-regression"
    )
    assert back.code == ExitCode.FAIL
    assert "worse: hiv-disclosure/events-10/all: was pass, is fail" in back.out
    assert "Traceback" not in back.out + back.err
    alone = phigate("report", workspace / "sound", "--fail-on-regression")
    assert alone.code == ExitCode.USAGE
    missing = phigate("report", workspace / "sound", "--compare", workspace / "nowhere")
    assert missing.code == ExitCode.USAGE
    assert "nowhere" in missing.err
