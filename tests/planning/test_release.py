"""What a plan announces of its checks, and of the release of a sound model, is true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import phigate, write_policy
from judging import AS_OF, Bench, policy
from scipy.stats import norm

from benchmarks.release_chance import audits, gap
from checker import stats
from checker.attacks.api import load_attack
from checker.attacks.families import Power, RateDifference, Sample
from checker.cli.plan_table import release_words
from checker.planning import AuditPlan
from checker.planning.checks import FOUND, auroc_found, base_rate_chance
from checker.planning.model import CheckPower
from checker.planning.power import comparability_power
from checker.planning.release import with_prospects
from checker.policy.documents import Limit
from checker.run.prepare import prepare
from checker.stats import false_alarms
from checker.stats.estimate import Estimate
from checker.verdict import judge
from checker.verdict.assignment import Assignment, BaseRates

POWER = Power(can_pass=True, pass_probability=0.9, base_rate=0.02)


def planned(bench: Bench, *, assignment: Assignment | None = "random", **gate: Any) -> AuditPlan:
    """A plan with what it announces; all of its cells pass with chance 0.9 unless they say more."""
    plan = bench.plan
    data = plan.target.document.spec.data.model_copy(update={"assignment": assignment})
    spec = plan.target.document.spec.model_copy(update={"data": data})
    document = plan.target.document.model_copy(update={"spec": spec})
    jobs = [
        job.model_copy(update={"inputs": {"patients": 50}}) if job.kind == "prompt-format" else job
        for job in plan.jobs
    ]
    return with_prospects(
        plan.model_copy(
            update={
                "target": plan.target.model_copy(update={"document": document}),
                "jobs": jobs,
                "comparability": comparability_power(
                    600, 600, assignment=assignment, tolerance=0.1, confidence=0.95
                ),
                "data": plan.data.model_copy(update={"members": 600, "nonmembers": 600}),
                "policy": plan.policy.model_copy(update={"document": policy(**gate)}),
            }
        )
    )


def check(plan: AuditPlan, name: str) -> CheckPower:
    (found,) = (one for one in plan.checks if one.name == name)
    return found


def one_cell(**cell: Any) -> Bench:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 0), n=(120, 120), **{"power": POWER, **cell})
    return bench


# --- the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "drift", "shared"),
    [
        ("random", 0.0, False),
        ("random", 0.0, True),
        ("other", 0.01, False),
        ("other", 0.03, False),
        (None, 0.0, False),
    ],
)
def test_so_many_sound_models_are_released_as_plans_announce(
    assignment: Assignment | None, drift: float, shared: bool
) -> None:
    """The short version of `benchmarks/release_chance.py`."""
    how: Any = {"assignment": assignment, "drift": drift, "shared": shared}
    difference, error = gap(audits(range(25), **how))
    assert abs(difference) <= 2.6 * error  # missed by one of a hundred such tests


def test_a_plan_that_did_not_look_assumes_that_prompts_promise_more() -> None:
    looked = [one.announced for one in audits(range(8), assignment=None)]
    assumed = [one.announced for one in audits(range(8), assignment=None, look=False)]
    assert sum(assumed) < sum(looked)


def test_what_is_subtracted_makes_a_pass_rarer_and_the_plan_says_by_how_much() -> None:
    n = 150
    bench = Bench()
    alone = stats.pass_probability_difference(n, n, limit=0.1, base_rate=0.05, confidence=0.95)
    power = Power(can_pass=True, pass_probability=alone, base_rate=0.05)
    bench.disclosure("hiv", hits=(0, 0), n=(n, n), limit=Limit(fail=0.1), power=power)
    said = base_rate_chance(bench.cells[0], assignment="other", confidence=0.95)
    error, rng, passed = 0.2 * float(np.sqrt(3 / n)), np.random.default_rng(6), 0
    for inside, outside, off in zip(
        rng.binomial(n, 0.05, 2000),
        rng.binomial(n, 0.05, 2000),
        rng.normal(0, error, 2000),
        strict=True,
    ):
        excess = stats.rate_difference(float(inside), n, float(outside), n, confidence=0.95)
        reach = float(norm.ppf(0.95)) * error
        known = Estimate(off, off - reach, off + reach, 2 * n, 0.95, "made up")
        passed += abs(off) <= 0.1 and stats.difference(excess, known).high <= 0.1
    assert said * alone == pytest.approx(passed / 2000, abs=0.03)
    assert said < 0.9


@pytest.mark.parametrize("mean", [False, True])
def test_a_gap_that_is_known_is_subtracted_as_it_is(mean: bool) -> None:
    """Of drifted splits, whose model follows its prompts, as many pass as is said; simulated."""
    n, error, reach = 200, 0.01, 0.01 * float(norm.ppf(0.95))
    limit = 0.05 if mean else 0.1
    chance = stats.pass_probability_mean_less_gap if mean else stats.pass_probability_less_gap
    asked = {"limit": limit, "base_rate": 0.05, "confidence": 0.95, "gap_error": error}
    said = chance(n, n, **asked, gap=0.03, truth=(0.025, 0.005))
    if not mean:
        rng, passed = np.random.default_rng(7), 0
        more = rng.normal(0.025, 0.005, 2000)
        for inside, outside in zip(
            rng.binomial(n, 0.05 + more), rng.binomial(n, 0.05, 2000), strict=True
        ):
            excess = stats.rate_difference(float(inside), n, float(outside), n, confidence=0.95)
            known = Estimate(0.03, 0.03 - reach, 0.03 + reach, 2 * n, 0.95, "made up")
            passed += stats.difference(excess, known).high <= limit
        assert said == pytest.approx(passed / 2000, abs=0.04)
    assert said < chance(n, n, **asked, gap=0.03, truth=(0.0, 0.0))  # the model tells less
    assert chance(n, n, **asked, gap=0.11, truth=(0.11, 0.0)) == 0  # cannot be made up for
    apart = chance(n, n, **asked | {"base_rate": 0.0}, gap=0.0, truth=(0.0, 0.0))
    assert apart > 0.9  # nobody is told of, and the bounds are hardly wider


def test_cells_and_checks_make_up_the_chance() -> None:
    release = planned(one_cell()).release
    assert release is not None
    assert release.cells == pytest.approx(0.9)
    assert release.chance == pytest.approx(0.9 * release.checks)
    splits = (1 - 0.002) ** 2 * (1 - 0.001)  # (b), (c), and whether nonmembers are known
    described = (1 - 0.002) ** 2  # nobody is recognised otherwise, and parts of records
    assert release.checks == pytest.approx(splits * (1 - 0.003) * described, abs=1e-4)
    assert (release.unknown, release.stopped_by) == ([], [])
    assert "is at least 89%" in release_words(release)


def test_a_cell_that_does_not_block_costs_nothing_and_one_that_cannot_pass_all() -> None:
    bench = one_cell()
    bench.disclosure(
        "other", hits=(0, 0), n=(9, 9), power=Power(can_pass=False), on_inconclusive="warn"
    )
    release = planned(bench).release
    assert release is not None
    assert release.cells == pytest.approx(0.9)
    bench.disclosure("third", hits=(0, 0), n=(9, 9), power=Power(can_pass=False))
    release = planned(bench).release
    assert release is not None
    assert (release.chance, release.cells) == (0, 0)
    assert release.stopped_by == ["third/known/all"]
    assert "cannot be released with these patients: third/known/all." in release_words(release)


def test_what_no_plan_can_know_is_not_announced() -> None:
    release = planned(one_cell(power=Power(can_pass=True))).release
    assert release is not None
    assert (release.chance, release.unknown) == (None, ["hiv/known/all"])
    assert "cannot be said: 1 cell is decided" in release_words(release)
    never = planned(one_cell(power=Power(can_pass=True), limit=Limit(max_count=0, min_n=50)))
    assert never.release is not None
    assert never.release.chance is not None  # where nothing leaks there is no hit


def test_a_policy_that_decides_nothing_releases_nothing() -> None:
    release = planned(one_cell(gating=False)).release
    assert release is not None
    assert release.chance == 0


# --- checks that let nothing through --------------------------------------------------------------


def test_too_few_for_two_halves_of_nonmembers_are_announced_and_judged_alike() -> None:
    bench = Bench()
    bench.nonmembers(n=600)
    bench.membership("attack", shift=0.0, n=80, power=POWER)
    plan = planned(bench)
    assert check(plan, "placebo").chance == 0
    assert plan.release is not None
    assert plan.release.stopped_by == ["placebo"]
    (finding,) = judge(policy(), plan=plan, evidence=bench.tables, as_of=AS_OF).findings
    assert finding.verdict == "inconclusive"
    assert "Without a placebo" in finding.explanation


def test_an_expectation_that_is_required_and_missing_stops_everything() -> None:
    plan = planned(one_cell(), requireExpectation=True)
    assert check(plan, "expectation").reason == "expectation-missing"
    assert plan.release is not None
    assert plan.release.stopped_by == ["expectation"]


def test_without_log_probabilities_neither_format_nor_floor_is_shown() -> None:
    bench = one_cell()
    del bench.jobs["prompt-format"]
    plan = planned(bench)
    assert plan.release is not None
    assert plan.release.stopped_by == ["prompt-format", "floor"]


def test_a_copied_record_stops_what_rests_on_the_split() -> None:
    plan = planned(one_cell())
    copied = plan.model_copy(update={"data": plan.data.model_copy(update={"copied": 1})})
    release = with_prospects(copied).release
    assert release is not None
    assert release.stopped_by == ["split-overlap"]


def test_a_floor_of_nothing_is_no_impossibility() -> None:
    plan = planned(one_cell(), assignment=None)
    assert check(plan, "base-rates").chance == 0
    assert check(plan, "base-rates").is_floor
    assert plan.release is not None
    assert plan.release.is_floor
    assert plan.release.stopped_by == []
    assert "is at least 0%, which is underpowered" in release_words(plan.release)


# --- what checks find, and how often they are wrong -----------------------------------------------


@pytest.mark.parametrize("sizes", [(150, 150), (300, 100)])
def test_an_auroc_is_found_as_often_as_is_said(sizes: tuple[int, int]) -> None:
    level = false_alarms.SPLITS
    auroc = auroc_found(*sizes, level=level)
    assert auroc is not None
    rng, shift, found = np.random.default_rng(3), np.sqrt(2) * norm.ppf(auroc), 0
    for _ in range(300):
        inside, outside = rng.normal(shift, 1, sizes[0]), rng.normal(size=sizes[1])
        found += stats.auroc(inside, outside, confidence=1 - level).low > 0.5
    assert found / 300 == pytest.approx(FOUND, abs=0.07)
    assert auroc_found(49, 1000, level=level) is None


def test_a_gap_of_base_rates_is_found_at_least_as_often_as_is_said() -> None:
    plan = planned(one_cell())
    said = check(plan, "base-rates")
    assert said.finds is not None
    assert said.found_chance == FOUND
    metric = load_attack("attribute-disclosure").metrics["excess_disclosure"]
    level = false_alarms.base_rate_confidence(cells=1)
    rng, found = np.random.default_rng(4), 0
    for _ in range(200):
        inside, outside = rng.normal(0.3 + said.finds, 0.2, 120), rng.normal(0.3, 0.2, 120)
        rates = BaseRates("random", (inside, outside), confidence=0.95, proof=level)
        found += rates.objection(limit=0.05, metric=metric, measured=None) is not None
    assert found / 200 >= FOUND - 0.07


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_how_often_a_sound_placebo_misses_is_enumerated(rate: float) -> None:
    family, rng = RateDifference(), np.random.default_rng(5)
    said = family.placebo_misses(Sample(members=10, nonmembers=121), confidence=0.9, base_rate=rate)
    misses = sum(
        not stats.contains(
            stats.placebo_difference(rng.random(121) < rate, confidence=0.9, rng=rng), 0
        )
        for _ in range(1500)
    )
    assert misses / 1500 == pytest.approx(said, abs=0.02)
    assert said <= 0.2
    assert family.placebo_misses(Sample(members=9, nonmembers=1), confidence=0.9, base_rate=0) == 1


def test_checks_that_prove_a_fault_cost_at_most_two_of_a_hundred_together() -> None:
    shares = false_alarms.SHARES
    assert sum(shares.values()) <= false_alarms.TOTAL
    assert max(shares.values()) <= 0.01
    told = {name for name, value in vars(false_alarms).items() if isinstance(value, float)}
    assert len(told) == len(set(told) - {"TOTAL"}) + 1  # and none of them is left out
    assert {vars(false_alarms)[name] for name in told - {"TOTAL"}} == set(shares.values())


def test_every_check_of_a_plan_costs_its_share_and_no_more(
    simulated_targets: Path, tmp_path: Path
) -> None:
    """A learned score, a declared reference, spare patients, a guarantee and canaries."""
    folder = shutil.copytree(simulated_targets, tmp_path / "targets")
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    target["spec"]["data"] |= {"assignment": "random", "assignedBy": "a die", "spare": "tuning"}
    del target["spec"]["expect"]  # which confirms the parts of records
    other = json.loads((folder / "sound.json").read_text())
    other["unigram"] = other["unigram"][::-1]
    (folder / "reference.json").write_text(json.dumps(other))
    target["spec"]["reference"] = {"backend": "simulated", "path": "reference.json"}
    private = {"epsilon": 8.0, "delta": 1e-6, "protects": "patient", "unit": "patient"}
    target["spec"]["study"] = {"training": {"differentialPrivacy": private}}
    (folder / "all.yaml").write_text(yaml.safe_dump(target))
    manifest = tmp_path / "manifest.json"
    phigate("canaries", "make", folder / "all.yaml", "--out", tmp_path / "shard",
            "--manifest", manifest, "--count", 120, "--events", 8, "--seed", 1)  # fmt: skip
    asked: dict[str, dict[str, Any]] = {
        "hiv-disclosure": {"limits": {"events-10": {"fail": 0.1}}},
        "membership": {"params": {"score": "strongest"}, "limits": {"record": {"fail": 0.7}}},
        "loss": {
            "probe": "membership-inference",
            "metric": "membership_auroc",
            "params": {"score": "loss"},
            "limits": {"record": {"fail": 0.7}},
        },
        "canaries": {
            "probe": "canary-exposure",
            "metric": "exposure_bits",
            "params": {"manifest": "manifest.json"},
            "limits": {"record": {"fail": 2.0}},
        },
    }
    plan = prepare(write_policy(tmp_path / "policy.yaml", asked), folder / "all.yaml").plan
    cost = {one.name: 1 - one.chance for one in plan.checks if one.chance < 1}
    assert set(cost) == set(false_alarms.SHARES)
    for name, share in false_alarms.SHARES.items():
        assert cost[name] <= share + 1e-9, name
