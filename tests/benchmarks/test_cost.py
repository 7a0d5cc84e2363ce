"""What one attribute class more costs on the same attackers, to the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cost import HORIZON, SAMPLES, added_by_each, controls
from checker.plan import CompiledAudit
from checker.run.prepare import prepare
from checker.testing.hospital import (
    Hospital,
    write_hospital,
    write_policy,
    write_simulated_target,
)

EACH = SAMPLES * HORIZON
HOSPITAL = Hospital(80, 80, events=80, codes=100, classes=12)
NAMES = HOSPITAL.class_names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("hospital")
    write_hospital(where, HOSPITAL)
    write_simulated_target(where)
    return where


def compiled(folder: Path, classes: int, *tests: str) -> CompiledAudit:
    policy = write_policy(folder / "policy.yaml", controls(NAMES[:classes], tests=tests))
    return prepare(policy, folder / "target.yaml").audit


def prompts(audit: CompiledAudit, name: str | None) -> dict[tuple[str, int], bytes]:
    """By attacker and patient, the prompts of a class, or of T1, which removes nothing."""
    found = {}
    for cell in audit.plan.cells:
        if cell.attribute_class == name:
            labels = audit.workload.labels[str(cell.labels)]
            for patient, key in enumerate([*labels.members.keys, *labels.nonmembers.keys]):
                if key is not None:
                    found[cell.attacker, patient] = key
    return found


def test_a_twelfth_class_adds_nothing_for_prompts_it_removes_nothing_from(folder: Path) -> None:
    eleven, twelve = compiled(folder, 11, "T1", "T2"), compiled(folder, 12, "T1", "T2")
    whole, own = prompts(twelve, None), prompts(twelve, NAMES[11])
    changed = {key for who, key in own.items() if key != whole[who]}
    assert changed < set(own.values())  # it has both kinds
    added = twelve.plan.cost.rollout_tokens - eleven.plan.cost.rollout_tokens
    assert added == EACH * len(changed)
    assert added < 0.05 * eleven.plan.cost.rollout_tokens


def test_where_only_the_eligible_are_asked_a_class_adds_patients_of_no_other_class(
    folder: Path,
) -> None:
    eleven, twelve = compiled(folder, 11, "T2"), compiled(folder, 12, "T2")
    earlier = {key for name in NAMES[:11] for key in prompts(twelve, name).values()}
    whole, own = prompts(compiled(folder, 12, "T1", "T2"), None), prompts(twelve, NAMES[11])
    fresh = set(own.values()) - earlier
    new = {key for who, key in own.items() if key == whole[who]} - earlier
    before = eleven.plan.cost.rollout_tokens
    assert twelve.plan.cost.rollout_tokens - before == EACH * len(fresh)
    # a fifth of the patients have each class, so 0.8 ** 11 = 9 % of them have no earlier one
    assert 0 < len(new) < 0.15 * len(own)
    assert EACH * len(new) < 0.05 * before


def test_the_benchmark_counts_the_same(folder: Path) -> None:
    twelve = compiled(folder, 12, "T2", "T1")
    totals = [compiled(folder, n, "T2").plan.cost.rollout_tokens for n in range(1, 13)]
    rows = added_by_each(twelve, totals, start=0)
    assert [row.name for row in rows] == list(NAMES)
    for row in rows:
        assert row.asked == row.shared + row.changed + row.new
        assert row.added == EACH * (row.changed + row.new)
