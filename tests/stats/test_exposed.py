"""Members who stand out one by one: exact bounds, whatever scores look like."""

from __future__ import annotations

import ast
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom

from benchmarks.exposed_members import WORLDS, World, tally
from checker import stats
from checker.attacks.families import ExposedMembers, Sample
from checker.errors import InsufficientData
from checker.stats.exposed import looked_at


def count_above(members: tuple[int, ...], total: int, rank: int) -> int:
    """How many of the places that members have are above the rank-th place of the others."""
    others = [place for place in range(total) if place not in members]
    return sum(place < others[rank - 1] for place in members)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_chance_is_that_of_all_assignments_alike(rank: int) -> None:
    n, m = 4, 5
    counts = [count_above(places, n + m, rank) for places in combinations(range(n + m), n)]
    assert len(counts) == comb(n + m, n)
    for confidence in (0.5, 0.9, 0.95, 0.99):
        most = stats.most_by_chance(n, m, rank=rank, confidence=confidence)
        shares = [np.mean([one <= limit for one in counts]) for limit in (most - 1, most)]
        assert shares[0] < confidence <= shares[1] + 1e-12


@pytest.mark.parametrize(("n", "m", "rank"), [(300, 50, 1), (1000, 500, 7), (20000, 15000, 3)])
def test_chance_is_a_beta_binomial(n: int, m: int, rank: int) -> None:
    whole = betabinom(n, rank, m - rank + 1)
    for confidence in (0.5, 0.95, 0.975, 0.999):
        most = stats.most_by_chance(n, m, rank=rank, confidence=confidence)
        assert whole.cdf(most - 1) < confidence <= whole.cdf(most)
    for limit in (0, 5, 15):
        found = stats.pass_probability_exposed(n, m, limit=limit, rank=rank)
        asked = betabinom(looked_at(n, m), rank, m - rank + 1)
        assert found == pytest.approx(asked.cdf(limit), rel=1e-9)
    assert stats.pass_probability_exposed(n, m, limit=n, rank=rank) == 1.0
    assert stats.pass_probability_exposed(n, m, limit=2, rank=rank, exposed=3) == 0.0


def test_the_bounds_are_what_is_above_and_that_less_chance() -> None:
    members, nonmembers = np.arange(400.0), np.arange(400.0) - 30.5
    found = stats.exposed_members(members, nonmembers, rank=2, confidence=0.95)
    # the second highest nonmember has 367.5: above it are the members from 368 to 399
    assert found.high == 32
    assert found.low == 32 - stats.most_by_chance(400, 400, rank=2, confidence=0.95)
    assert found.value == pytest.approx(32 - 2 * 400 / 401)
    assert found.n == 400


def test_ties_count_against_a_pass_and_never_for_a_failure() -> None:
    members, nonmembers = np.ones(400), np.ones(300)
    found = stats.exposed_members(members, nonmembers, rank=1, confidence=0.95)
    assert (found.low, found.value, found.high) == (0, 0, 400)


def test_beside_few_nonmembers_no_more_are_looked_at_than_twice_as_many() -> None:
    assert looked_at(600, 300) == 600
    assert looked_at(601, 300) == 600
    assert looked_at(5000, 60) == 300
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(size=5000), rng.normal(size=200)
    found = stats.exposed_members(members, nonmembers, rank=1, confidence=0.95)
    assert found.n == 400
    assert found == stats.exposed_members(members, nonmembers, rank=1, confidence=0.95)
    # patients who are numbered anew are dealt alike
    for _ in range(5):
        again = rng.permutation(members)
        assert found == stats.exposed_members(again, nonmembers, rank=1, confidence=0.95)
    # whom it falls on is known from no other model's scores
    high = np.where(np.arange(5000) % 10 == 0, 9.0, members)
    counts = {
        stats.exposed_members(high, nonmembers + shift, rank=1, confidence=0.95).high
        for shift in (0, 1e-9, 2e-9, 3e-9)
    }
    assert len(counts) > 1


@pytest.mark.parametrize(
    ("n", "m", "reason"),
    [(299, 500, "too-few-members"), (0, 500, "too-few-members"), (300, 49, "too-few-nonmembers")],
)
def test_of_few_nothing_is_said(n: int, m: int, reason: str) -> None:
    with pytest.raises(InsufficientData) as refused:
        stats.exposed_members(np.zeros(n), np.zeros(m), rank=2, confidence=0.95)
    assert refused.value.reason == reason
    power = ExposedMembers(2).power(
        12, Sample(members=n, nonmembers=m), confidence=0.95, base_rate=0.0
    )
    assert not power.can_pass
    assert power.needed_more or power.needed_more_nonmembers


def test_the_plan_announces_what_exchangeable_members_get() -> None:
    family, sample = ExposedMembers(2), Sample(members=500, nonmembers=400)
    announced = family.power(8, sample, confidence=0.95, base_rate=0.0).pass_probability
    rng = np.random.default_rng(4)
    passed = [
        family.measure(rng.normal(size=500), rng.normal(size=400), confidence=0.95).estimate.high
        <= 8
        for _ in range(1500)
    ]
    assert announced == pytest.approx(np.mean(passed), abs=0.03)
    # one more than are allowed is one too many, whatever chance does
    found = family.false_pass(8, sample, times=9 / 8, confidence=0.95, base_rate=0.0)
    assert found == 0.0


@pytest.mark.parametrize("world", WORLDS, ids=lambda one: one.title)
def test_in_no_world_is_told_wrongly_more_often_than_agreed(world: World) -> None:
    found = tally(world, sizes=(667, 444), limit=12, rank=2, audits=150)
    assert found.false_pass == 0
    assert found.false_fail <= 0.1  # 0.05 is agreed; more than 15 of 150 in 0.1 % of such tests
    if world.memorized == 0.05:  # also beside a nonmember who is above everybody
        assert found.failed == 1


def test_one_odd_nonmember_hides_all_from_the_first_rank_alone() -> None:
    world = next(one for one in WORLDS if one.odd)
    assert tally(world, sizes=(667, 444), limit=12, rank=1, audits=20).passed == 1
    assert tally(world, sizes=(667, 444), limit=12, rank=2, audits=20).failed == 1


def test_no_part_of_scipy_is_loaded_before_it_is_used() -> None:
    """Linting a policy reads limits of every family, and `scipy.stats` takes longer than that."""
    for module in Path(stats.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] != "scipy", module.name
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names if one.name.startswith("scipy.")]
                assert not names, module.name
