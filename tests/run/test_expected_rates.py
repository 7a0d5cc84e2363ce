"""What tables say of a model without memory is what such a model tells, and what its plan is of."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import audit, phigate
from rich.console import Console
from scipy import sparse
from small_world import CODES, World, write_world

from checker.cli.plan_table import _print_varying
from checker.errors import ExitCode
from checker.planning import AuditPlan, Cell
from checker.planning.cells import expected_in, power_in
from checker.planning.model import ExpectedRate
from checker.planning.remedies import remedy, undecided
from checker.run.expected_rates import _Named, _told
from checker.run.foreseen import foreseen
from checker.run.prepare import Prepared, prepare
from checker.stats.betting import _reach_and_spread

N, FOLLOWS = 160, 0.6
HERALD, TOLD = "ROUTINE//0", f"DX//{CODES - 1:02d}"


# q, and the error of its estimate from four continuations as `benchmarks/naming.py` drew it, of a
# class that comes with the same chance at every step, and of one that comes at once or never
DRAWN = [(0.01, 0.004, 0.004), (0.1, 0.039, 0.041), (0.5, 0.165, 0.162), (0.9, 0.156, 0.140)]


@pytest.mark.parametrize(("q", "steadily", "at_once"), DRAWN)
def test_a_table_tells_what_its_continuations_would(
    q: float, steadily: float, at_once: float
) -> None:
    hazard = 1 - (1 - q) ** (1 / 100)
    table = sparse.csr_array(np.array([[1 - hazard, hazard], [0.0, 0.0]]))
    told = _told(table, np.array([[False], [True]]), steps=100)
    assert told.q[0, 0] == pytest.approx(q)
    # where nearly all hit the sums are cut, and the estimate is taken for no worse than counting
    assert np.sqrt(told.noise(4)[0, 0]) == pytest.approx(steadily, abs=0.007 if q > 0.5 else 0.001)
    table = sparse.csr_array(np.array([[0.0, q, 1 - q], [0.0] * 3, [0.0, 0.0, 1.0]]))
    told = _told(table, np.array([[False], [True], [False]]), steps=100)
    assert told.q[:, 0].tolist() == pytest.approx([q, 0.0, 0.0])
    assert np.sqrt(told.noise(4)[0, 0]) == pytest.approx(at_once, abs=0.0015)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A code that six in ten who get it have the class after, and nobody else has."""
    rng = np.random.default_rng(5)

    def patients() -> list[Any]:
        found = []
        for number in range(N):
            codes = [f"DX//{code:02d}" for code in rng.integers(CODES - 1, size=10)]
            codes[6] = HERALD
            if number < FOLLOWS * N:
                codes[7] = TOLD
            sex = ("GENDER//F", "GENDER//M")[number % 2]
            found.append([(sex, None), *((code, day) for day, code in enumerate(codes))])
        return found

    return write_world(tmp_path_factory.mktemp("world"), patients(), patients())


def policy(world: World, limit: float) -> Path:
    told = {
        "title": "told",
        "attributeClass": "told",
        "probe": "attribute-disclosure",
        "params": {"samples": 20, "horizonTokens": 8},
        "limits": {"holder": {"fail": limit}},
    }
    document = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "told", "version": "1"},
        "spec": {
            "context": "public-weights",
            "attackers": {
                "holder": {"title": "holder", "knows": {"static": ["sex"], "events": "all"}}
            },
            "attributeClasses": {
                "told": {
                    "title": "told",
                    "codes": [{"system": "local", "tier": "definitive", "values": [TOLD]}],
                }
            },
            "controls": {
                "mean": told | {"metric": "excess_mean_q"},
                "told": told | {"metric": "excess_disclosure"},
            },
        },
    }
    path = world.folder / f"policy-{limit}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def table(world: World) -> dict[int, dict[int, float]]:
    """Which token follows which among the members."""
    counts = np.zeros((len(world.ids), len(world.ids)))
    for record in world.members:
        np.add.at(counts, (record[:-1], record[1:]), 1.0)
    rows = np.flatnonzero(counts.any(axis=1)).tolist()
    return {row: dict(enumerate((counts[row] / counts[row].sum()).tolist())) for row in rows}


@pytest.fixture(scope="module")
def target(world: World) -> Path:
    path = world.target("table", transitions=table(world))
    document = yaml.safe_load(path.read_text())
    document["spec"]["codeSystems"] = [{"match": "DX//{code}", "system": "local"}]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def looked(prepared: Prepared) -> tuple[AuditPlan, dict[str, Cell]]:
    plan = foreseen(prepared.audit)
    return plan, {cell.control: cell for cell in plan.cells}


def test_a_plan_expects_what_a_table_of_the_patients_tells(world: World, target: Path) -> None:
    prepared = prepare(policy(world, 0.06), target)
    plan, cells = looked(prepared)
    assert prepared.plan.expected_rates == {}  # a run's plan is the same wherever it is compiled
    rate = plan.expected_rates[cells["mean"].id]
    assert FOLLOWS < rate.mean < 0.8  # what heralds it may come again
    assert rate.told == 1.0
    assumed = {cell.control: cell.power.pass_probability for cell in prepared.plan.cells}
    assert assumed["mean"] is not None
    found = cells["mean"].power
    assert found.base_rate == rate.mean
    assert found.pass_probability is not None
    assert found.pass_probability < 0.5 < 0.9 < assumed["mean"]
    # and the model that is such a table tells so much of members and of others
    run = audit(policy(world, 0.06), target, run=world.folder / "run")
    members, nonmembers = (run.cell("mean")[side]["value"] for side in ("members", "nonmembers"))
    assert (members + nonmembers) / 2 == pytest.approx(rate.mean, abs=0.05)
    value, high = (run.cell("mean")["estimate"][side] for side in ("value", "high"))
    # and varies between patients as much as was expected, by which the bound is as wide
    there = int(FOLLOWS * N), rate.mean
    reach, _ = _reach_and_spread(there, there, confidence=0.95, spread=rate.spread)
    assert high - value == pytest.approx(reach, rel=0.15)


def test_remedies_and_release_are_of_what_is_expected(world: World, target: Path) -> None:
    prepared = prepare(policy(world, 0.06), target)
    plan, cells = looked(prepared)
    cell = cells["mean"]
    assert undecided(prepared.plan, prepared.plan.cells[0]) is None
    assert undecided(plan, cell) == "too-few-positives"
    step = remedy(plan, cell, "too-few-positives")
    assert step is not None
    assert step.members is not None
    assert step.members > 50
    assert plan.release is not None
    assert prepared.plan.release is not None
    assert plan.release.chance == pytest.approx(
        (cell.power.pass_probability or 0) * (cells["told"].power.pass_probability or 0)
        * plan.release.checks
    )  # fmt: skip
    code, said = phigate("plan", policy(world, 0.06), target)
    assert code == ExitCode.PASS
    told = " ".join(said.split())
    assert "a bigram table (which token follows which) would already name the class:" in told
    # of whom all are told nobody more can be: what the policy assumes leaves the smaller chance
    assert "told/holder/all 100%" not in told
    assert "mean/holder/all 7" in told
    assert "(the policy assumes 2%)" in told


def test_what_is_counted_of_many_is_not_who_stands_first(
    world: World, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the class stands before who has not, as after years of better coding."""
    prepared = prepare(policy(world, 0.06), target)
    herald, told = world.ids[HERALD], world.ids[TOLD]
    shares = []
    for most in (10**6, len(world.members[0]) * N // 2):
        monkeypatch.setattr("checker.run.expected_rates.MOST_TOKENS", most)
        table = _Named(prepared.audit, prepared.plan)._table(True, 1.0, 1.0)
        shares.append(float(table[herald, told]))
    assert shares[0] == pytest.approx(FOLLOWS)
    assert shares[1] == pytest.approx(FOLLOWS, abs=0.15)
    assert shares[1] != shares[0]


@pytest.mark.parametrize("counted", [True, False])
def test_fewer_continuations_vary_more_whichever_cell_is_asked_first(
    world: World, target: Path, counted: bool
) -> None:
    prepared = prepare(policy(world, 0.06), target)
    known = prepared.plan.target
    told = [one for one in known.capabilities if not counted or one != "masses"]
    plan = prepared.plan.model_copy(
        update={"target": known.model_copy(update={"capabilities": told})}
    )
    (many,) = (cell for cell in plan.cells if cell.control == "mean")
    few = many.model_copy(update={"params": many.params | {"samples": 2}})
    spreads = []
    for order in ((many, few), (few, many)):
        named = _Named(prepared.audit, plan)
        found = {cell.params["samples"]: named.of_cell(cell) for cell in order}
        assert None not in found.values()
        spreads.append([found[samples].spread for samples in (20, 2)])  # type: ignore[union-attr]
    assert spreads[0] == spreads[1]
    assert spreads[0][1] > spreads[0][0]


@pytest.mark.parametrize(
    ("rate", "taken"),
    [
        (ExpectedRate(mean=0.019, told=0.02, spread=0.95), True),  # all or nothing
        (ExpectedRate(mean=0.019, told=0.02, spread=0.05), False),
        (ExpectedRate(mean=0.03, told=0.02, spread=0.0), False),  # higher, and nobody varies
        (ExpectedRate(mean=0.05, told=0.02, spread=0.1), True),
    ],
)
def test_a_plan_announces_the_smaller_chance_of_both(
    world: World, target: Path, rate: ExpectedRate, taken: bool
) -> None:
    plan = prepare(policy(world, 0.06), target).plan
    (mean,) = (cell for cell in plan.cells if cell.control == "mean")
    known = plan.model_copy(update={"expected_rates": {mean.id: rate}})
    assumed = plan.policy.document.spec.parameters.expected_base_rate
    metric, base_rate = expected_in(known, mean)
    assert base_rate == (rate.mean if taken else assumed)
    assert getattr(metric.family, "spread", None) == (rate.spread if taken else None)
    found, before = (power_in(one, mean, mean.sample).pass_probability for one in (known, plan))
    assert found is not None
    assert before is not None
    assert found < before - 0.02 if taken else found == before
    screen = Console(file=StringIO(), width=200)
    _print_varying(known, screen)
    said = "the chances of mean/holder/all are of that" in screen.file.getvalue()  # type: ignore[attr-defined]
    assert said == (taken and rate.mean < assumed)
