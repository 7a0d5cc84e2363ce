"""The plan says whether splits can be shown alike to the learner without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from auditing import phigate, write_policy, write_variant

from checker.planning.checks import check_powers
from checker.planning.learned_splits import comparability_chance, learned_splits
from checker.run.prepare import prepare


def test_more_patients_show_more_surely_that_nothing_differs() -> None:
    few, some, many = (
        comparability_chance(n, n, tolerance=0.1, confidence=0.95) for n in (40, 100, 1000)
    )
    assert few == 0.0  # no bounds at all
    assert 0.0 < some < 0.9
    assert many > 0.999


@pytest.mark.parametrize(
    ("assignment", "worst"), [(None, "membership/record/all"), ("random", None)]
)
def test_the_plan_lists_it_for_the_cells_that_learn_and_for_no_other(
    workspace: Path, assignment: str | None, worst: str | None
) -> None:
    data = {"path": "cohort"}
    if assignment is not None:
        data |= {"assignment": assignment, "assignedBy": "the data office"}
    target = write_variant(workspace / "sound.yaml", "declared", data=data)
    controls: dict[str, dict[str, Any]] = {"membership": {"params": {}}, "classic": {
        "probe": "membership-inference", "params": {"score": "loss"},
        "metric": "membership_auroc", "limits": {"record": {"fail": 0.7}},
    }}  # fmt: skip
    policy = write_policy(workspace / "asked.yaml", controls)
    plan = prepare(policy, target).plan
    found = learned_splits(plan, plan.cells)
    assert (found.cells, found.worst) == (1, worst)
    assert found.chance > 0.8
    assert [check.cells for check in check_powers(plan) if check.name == "splits"] == [1]
    code, said = phigate("plan", policy, target)
    assert code == 0
    assert found.title in " ".join(said.split())
