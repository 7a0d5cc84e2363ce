"""An open test says what would decide it, and what it says is true by the plan's own power."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_builder as build
from auditing import phigate
from report_cases import PAPER

from checker.attacks.families import Sample
from checker.planning import AuditPlan, Cell
from checker.planning.cells import metric_of, planned_power
from checker.planning.reference_patients import spare_needed
from checker.planning.remedies import CHEAPEST, Remedy, remedy, undecided
from checker.planning.sample_size import LIKELY
from checker.plugins import BUILT_IN, load_plugin
from checker.report.disclosure_control import for_audience
from checker.report.formats.api import ReportFormat
from checker.report.model import Report
from checker.report.wording.cells import next_step
from checker.report.wording.decision import decision_words
from checker.report.wording.remedies import cheapest_words, remedy_words
from checker.run.prepare import prepare
from checker.stats.estimate import ReportedEstimate
from checker.testing.hospital import (
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_simulated_target,
)

HOSPITAL = Hospital(260, 260, events=40, codes=120, classes=2, prevalence=0.3, recurrence=0.05)
WHO = ("positives", "nonmembers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("hospital")
    write_hospital(where, HOSPITAL)
    write_simulated_target(where, context_length=256)
    return where


def told(levels: tuple[str, ...], *, limit: float = 0.05, horizon: int = 20) -> dict[str, Any]:
    found = disclosure("hiv", samples=4, horizon_tokens=horizon, levels=levels)
    return {**found, "limits": {level: {"fail": limit} for level in levels}}


def planned(
    folder: Path, controls: Mapping[str, Any], *, assignment: str = "random", **parameters: Any
) -> AuditPlan:
    target = (folder / "target.yaml").read_text()
    declared = folder / f"{assignment}.yaml"
    declared.write_text(target.replace("path: meds", f"path: meds\n    assignment: {assignment}"))
    policy = write_policy(folder / "policy.yaml", dict(controls), parameters=parameters)
    return prepare(policy, declared if assignment != "none" else folder / "target.yaml").plan


def of(plan: AuditPlan, name: str) -> tuple[Cell, Remedy | None]:
    (cell,) = (cell for cell in plan.cells if cell.attacker == name)
    return cell, remedy(plan, cell, undecided(plan, cell))


def chance_with(plan: AuditPlan, cell: Cell, members: int, nonmembers: int) -> float:
    power = planned_power(
        metric_of(cell),
        cell.limit,
        Sample(members=members, nonmembers=nonmembers),
        sequential=False,
        confidence=plan.confidence,
        base_rate=plan.policy.document.spec.parameters.expected_base_rate,
    )
    return power.pass_probability or 0.0


def test_so_many_more_patients_make_a_pass_likely(folder: Path) -> None:
    plan = planned(folder, {"hiv": told(("record",))})
    cell, found = of(plan, "record")
    assert (cell.power.pass_probability or 0) < LIKELY
    assert found is not None
    assert found.kind == "patients"
    assert found.members
    assert found.nonmembers
    sizes = cell.sample.members + found.members, cell.sample.nonmembers + found.nonmembers
    assert sizes[0] == sizes[1]
    assert found.chance == pytest.approx(chance_with(plan, cell, *sizes))
    assert found.chance is not None
    assert found.chance >= LIKELY
    assert chance_with(plan, cell, *(int(0.9 * size) for size in sizes)) < LIKELY
    assert found.times is not None
    assert min(cell.sample.members, cell.sample.nonmembers) * found.times >= sizes[0]
    words = remedy_words(found, who=WHO)
    assert f"{found.members:,} more positives and {found.nonmembers:,} more nonmembers" in words


def test_patients_who_are_there_are_asked_first(folder: Path) -> None:
    few = planned(folder, {"hiv": told(("record",), limit=0.15)}, sampling={"patients": 20})
    cell, found = of(few, "record")
    assert found is not None
    assert found.kind == "ask"
    everybody = planned(
        folder, {"hiv": told(("record",), limit=0.15)}, sampling={"patients": "all"}
    )
    assert found.members == pytest.approx(everybody.cells[0].sample.members, rel=0.1)
    assert (everybody.cells[0].power.pass_probability or 0) >= LIKELY
    assert "sampling.patients: all" in remedy_words(found, who=WHO)
    assert cell.sample.members == 20


def test_another_attacker_who_reaches_more_is_named(folder: Path) -> None:
    plan = planned(folder, {"hiv": told(("events-20", "record"), limit=0.15, horizon=4)})
    cell, found = of(plan, "events-20")
    assert undecided(plan, cell) == "horizon-too-short"
    assert found is not None
    assert (found.kind, found.attacker) == ("attacker", "record")
    other, none = of(plan, "record")
    assert (found.members, found.chance) == (other.sample.members, other.power.pass_probability)
    assert none is None
    alone = planned(folder, {"hiv": told(("events-20",), limit=0.15, horizon=4)})
    cell, found = of(alone, "events-20")
    assert found is not None
    assert (found.kind, found.attacker) == ("attacker", None)
    assert found.members == cell.sample.members_positive
    assert "events: all" in remedy_words(found, who=WHO)


def test_spare_patients_are_asked_for_where_they_free_enough_nonmembers(folder: Path) -> None:
    control = {
        "title": "Nobody may tell who was in the training data",
        "probe": "membership-inference",
        "metric": "membership_auroc",
    }
    kinds = {}
    for limit in (0.58, 0.55):
        plan = planned(folder, {"in": {**control, "limits": {"record": {"fail": limit}}}})
        cell, found = of(plan, "record")
        assert found is not None
        kinds[limit] = found.kind
        if found.kind == "spare":
            assert found.nonmembers == cell.sample.nonmembers * 3 // 2
            assert found.members == spare_needed(plan.data.nonmembers) > 50
            assert "data.spare" in remedy_words(found, who=WHO)
    assert kinds == {0.58: "spare", 0.55: "patients"}


def test_splits_of_unknown_origin_are_to_be_declared(folder: Path) -> None:
    plan = planned(folder, {"hiv": told(("record",), limit=0.2)}, assignment="none")
    (cell,) = plan.cells
    assert remedy(plan, cell, "split-not-comparable") == Remedy(kind="declare")
    by_lot = planned(folder, {"hiv": told(("record",), limit=0.2)})
    assert remedy(by_lot, by_lot.cells[0], "split-not-comparable") is None  # it was proved
    by_date = planned(folder, {"hiv": told(("record",), limit=0.08)}, assignment="other")
    found = remedy(by_date, by_date.cells[0], "split-not-comparable")
    assert found is not None
    assert found.kind == "patients"
    assert (found.times or 0) > 1


def test_bounds_around_the_limit_shrink_with_the_root_of_the_number(folder: Path) -> None:
    plan = planned(folder, {"hiv": told(("record",), limit=0.2)})
    (cell,) = plan.cells
    assert (cell.power.pass_probability or 0) >= LIKELY
    n = cell.sample.members
    measured = ReportedEstimate(0.12, 0.02, 0.24, n, 0.95, "square-and-add")
    found = remedy(plan, cell, "bounds-straddle-limit", measured)
    assert found is not None
    goal = n + (found.members or 0)
    # (0.24 - 0.12) / (0.20 - 0.12): half as wide again as there is room
    assert goal == pytest.approx(n * 2.25, abs=2)
    # on it, by rounding beside it, or so near that only tens of millions would tell
    for value in (0.2, float(np.nextafter(0.2, 0.0)), 0.1999):
        on_it = ReportedEstimate(value, 0.1, 0.3, n, 0.95, "square-and-add")
        assert remedy(plan, cell, "bounds-straddle-limit", on_it) is None


@pytest.mark.parametrize(
    "reason", ["capability-missing", "class-not-in-data", "placebo-failed", "not-run", None]
)
def test_what_no_number_mends_has_none(folder: Path, reason: str | None) -> None:
    plan = planned(folder, {"hiv": told(("record",))})
    assert remedy(plan, plan.cells[0], reason) is None


# --- in words -----------------------------------------------------------------------------------

REMEDIES = [
    Remedy(kind="declare"),
    Remedy(kind="expect"),
    Remedy(kind="ask", members=80, nonmembers=90, chance=0.857),
    Remedy(kind="attacker", attacker="record", members=80, nonmembers=90, chance=0.9),
    Remedy(kind="spare", members=50, nonmembers=170, chance=0.9),
    Remedy(kind="patients", members=120, nonmembers=110, times=2.6, chance=0.81),
]


def test_every_remedy_has_a_sentence_and_a_price() -> None:
    assert [one.kind for one in REMEDIES] == list(CHEAPEST)
    sentences = [remedy_words(one, who=WHO) for one in REMEDIES]
    assert len(set(sentences)) == len(sentences)
    assert all(one.endswith(".") for one in sentences)
    assert "85 %" in sentences[2]  # nobody is promised more than there is
    assert "about 2.6 times as many patients" in sentences[5]


def test_the_headline_names_what_costs_least() -> None:
    assert cheapest_words([]) is None
    assert cheapest_words([None]) is None
    words = cheapest_words([REMEDIES[5], None, REMEDIES[2], REMEDIES[2]])
    assert words == (
        "Cheapest next step: ask everybody (parameters.sampling.patients: all)."
        " 2 of the 4 tests that are open wait for that."
    )
    larger = REMEDIES[5].model_copy(update={"times": 3.1})
    assert "about 3.1 times as many" in (cheapest_words([REMEDIES[5], larger]) or "")
    assert (cheapest_words([larger, larger]) or "").endswith(
        "All 2 tests that are open wait for that."
    )
    huge = larger.model_copy(update={"times": 31.7})  # of which tenths say nothing
    unknown = larger.model_copy(update={"times": None})  # of whom there is nobody yet
    assert "at least about 32 times as many" in (cheapest_words([huge, unknown]) or "")


def remedied(found: Remedy) -> Report:
    report = build.inconclusive_report()
    cells = [
        cell.model_copy(update={"remedy": found}) if cell.verdict == "inconclusive" else cell
        for cell in report.cells
    ]
    return report.model_copy(update={"cells": cells})


@pytest.mark.parametrize("name", sorted({*BUILT_IN["phigate.reports"]} - PAPER))
def test_each_format_says_what_to_do(name: str) -> None:
    found: ReportFormat = load_plugin("phigate.reports", name)
    report = remedied(REMEDIES[5])
    text = found.render(report).decode("utf-8")
    said = '"times": 2.6' if name == "json" else "about 2.6 times as many patients"
    assert said in " ".join(text.replace("\\n", " ").split())


def test_a_shared_report_says_nothing_that_hangs_on_who_is_there() -> None:
    texts = set()
    for found in (REMEDIES[2], REMEDIES[3], REMEDIES[4], REMEDIES[5]):
        report = for_audience(remedied(found), "shared")
        assert {cell.remedy for cell in report.cells} == {None}
        texts.add(decision_words(report) + str([next_step(cell) for cell in report.cells]))
    (text,) = texts
    assert "internal report" in text
    public = for_audience(remedied(REMEDIES[0]), "shared")
    assert "data.assignment" in decision_words(public)


def test_a_failure_is_no_question_of_numbers() -> None:
    failing = build.failing_report()
    assert decision_words(failing) == failing.summary.decision


# --- on the command line ------------------------------------------------------------------------


def test_plan_and_explain_say_what_it_takes(folder: Path) -> None:
    write_policy(folder / "policy.yaml", {"hiv": told(("record",))})
    code, said = phigate("plan", folder / "policy.yaml", folder / "target.yaml")
    words = " ".join(said.split())
    assert code == 0, said
    assert "more positives" in words
    code, said = phigate("explain", folder / "policy.yaml", "hiv", "--all")
    assert code == 0, said
    assert "hiv/record" in said
    assert "to pass likely" in " ".join(said.split())


def test_a_class_that_nobody_can_find_says_what_to_do_once(folder: Path) -> None:
    absent = {name: disclosure(name, samples=4, horizon_tokens=20, levels=("events-10",))
              for name in ("hiv", "cancer", "asthma")}  # fmt: skip
    plan = planned(folder, absent)  # of whom the data set has nobody but the first
    reasons = {cell.control: undecided(plan, cell) for cell in plan.cells}
    assert reasons["cancer"] == reasons["asthma"] == "class-not-in-data"
    _, out = phigate("plan", folder / "policy.yaml", folder / "random.yaml")
    said = " ".join(out.split())
    assert "for no code of this data set stands for them: cancer, asthma." in said
    assert "cancer/events-10/all and 1 more: See how its codes are spelled" in said
