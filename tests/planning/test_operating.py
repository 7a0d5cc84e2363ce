"""What a policy can decide by size: at its own size a plan is itself, and more is no less."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from auditing import THREE_CLASSES, phigate
from command_line import Command

from checker import load_policy, load_target, plan
from checker.planning import AuditPlan
from checker.planning.operating import operating_points, patients_needed, scaled
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED


@pytest.fixture(scope="module")
def planned(simulated_targets: Path) -> AuditPlan:
    return plan(load_policy(THREE_CLASSES), load_target(simulated_targets / "sound.yaml")).plan


def test_a_plan_of_its_own_size_is_itself(planned: AuditPlan) -> None:
    same = scaled(planned, members=planned.data.members, nonmembers=planned.data.nonmembers)
    assert same.release == planned.release
    assert same.cells == planned.cells
    assert same.comparability == planned.comparability


def test_more_patients_can_decide_no_less(planned: AuditPlan) -> None:
    points = operating_points(planned, sizes=(100, 600, 3_000, 30_000))
    assert [point.members for point in points] == [100, 600, 3_000, 30_000]
    for less, more in itertools.pairwise(points):
        assert less.can_pass <= more.can_pass
        assert less.likely <= more.likely
    assert points[0].released == 0.0
    assert points[0].stopped_by
    assert points[-1].likely == points[-1].deciding


def test_fewer_nonmembers_can_decide_no_more(planned: AuditPlan) -> None:
    (even,) = operating_points(planned, sizes=(3_000,), nonmember_share=1.0)
    (few,) = operating_points(planned, sizes=(3_000,), nonmember_share=1 / 9)
    assert few.nonmembers == 333
    assert few.likely <= even.likely
    assert few.can_pass <= even.can_pass


def test_what_a_cell_needs_is_enough_and_one_less_is_not(planned: AuditPlan) -> None:
    needed = {one.cell: one for one in patients_needed(planned.policy.document.spec)}
    cells = {cell.id.removesuffix("/all"): cell for cell in planned.cells}
    compared = 0
    for name, one in needed.items():
        cell = cells[name]
        if one.fewest is None or cell.attribute_class is None:
            continue
        if (cell.sample.distinct_prompt_share or 0.0) < DISTINCT_PROMPTS_NEEDED:
            many = scaled(planned, members=30_000, nonmembers=30_000)
            (again,) = (c for c in many.cells if c.id == cell.id)
            assert not again.power.can_pass  # no number of patients makes shared prompts distinct
            continue
        compared += 1
        for count, passes in ((one.fewest, True), (one.fewest - 1, False)):
            share = count / cell.sample.members
            size = round(planned.data.members * share)
            other = scaled(planned, members=size, nonmembers=size)
            (again,) = (c for c in other.cells if c.id == cell.id)
            if again.sample.members == count:  # sizes are whole patients
                assert again.power.can_pass is passes, (name, count)
    assert compared


def test_the_command_says_both_to_people_and_machines(workspace: Path, phigate: Command) -> None:
    alone = phigate("power", THREE_CLASSES)
    assert alone.code == 0
    assert "hiv-disclosure/events-10" in alone.out
    assert "With --target" in alone.out
    asked = ("power", THREE_CLASSES, "--target", workspace / "sound.yaml", "--members", 300)
    found = json.loads(phigate(*asked, "--members", 3_000, "--json").out)
    assert [one["members"] for one in found["cohorts"]] == [300, 3_000]
    assert {one["cell"] for one in found["cells"]} >= {"hiv-disclosure/events-10"}
    shown = phigate(*asked)
    assert "sound model released" in shown.out
    for outcome in (alone, shown, phigate("limits", THREE_CLASSES)):
        assert "by the base rate that the policy assumes" in outcome.out


def test_sizes_belong_to_a_target() -> None:
    code, out = phigate("power", THREE_CLASSES, "--members", 300)
    assert code == 2
    assert "--target" in out
