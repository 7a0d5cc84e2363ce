"""What a target declares of its splits changes what is demanded, and never lets a proven gap by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judging import AS_OF, TARGET, Bench, policy

from checker import stats
from checker.attacks.api import Metric, Observations, load_attack
from checker.attacks.families import Measurement
from checker.planning.checks import base_rate_chance
from checker.plugins import plugin_names
from checker.stats.estimate import Estimate
from checker.verdict import Finding, Judgement, judge
from checker.verdict.assignment import Assignment, BaseRates
from checker.verdict.comparability import base_rate_gap

EVERY: list[Assignment | None] = [None, "random", "other"]
DISCLOSURE = load_attack("attribute-disclosure")


def metric(name: str = "excess_disclosure") -> Metric:
    return DISCLOSURE.metrics[name]


def groups(gap: float, *, n: int = 300, spread: float = 0.1, seed: int = 0) -> Any:
    """Predictions for n members and n nonmembers whose means differ by exactly `gap`."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0.3, spread, (2, n))
    return first - first.mean() + 0.3 + gap, second - second.mean() + 0.3


def base_rates(assignment: Assignment | None, gap: float, **drawn: Any) -> BaseRates:
    return BaseRates(assignment, groups(gap, **drawn), confidence=0.95, proof=0.9995)


def measured(low: float, value: float, high: float, *, n: int = 600) -> Measurement:
    return Measurement(Estimate(value, low, high, n, 0.95, "square-and-add over clopper-pearson"))


def objection(rates: BaseRates, found: Measurement, *, limit: float = 0.05) -> str | None:
    return rates.objection(limit=limit, metric=metric(), measured=found)


PASSING = measured(-0.01, 0.01, 0.03)


def test_chance_alone_is_no_objection_to_a_lot_and_one_where_it_must_be_shown() -> None:
    few = {"n": 40, "spread": 0.2}
    assert objection(base_rates("random", 0.02, **few), PASSING) is None
    assert objection(base_rates(None, 0.02, **few), PASSING) is not None


def test_a_proven_gap_is_an_objection_to_a_lot_too() -> None:
    said = objection(base_rates("random", 0.08), PASSING)
    assert said is not None
    assert "dealt by lot" in said


def test_too_few_to_compare_prove_nothing_and_show_nothing() -> None:
    for assignment in EVERY:
        alone = BaseRates(assignment, (np.array([0.5]), np.array([0.5])), 0.95, 0.9995)
        assert (objection(alone, PASSING) is None) == (assignment == "random")


@pytest.mark.parametrize("assignment", [None, "random"])
def test_a_failure_that_no_gap_explains_stands(assignment: Assignment | None) -> None:
    assert objection(base_rates(assignment, 0.08), measured(0.4, 0.5, 0.6)) is None
    assert objection(base_rates(assignment, 0.08), measured(0.06, 0.1, 0.14)) is not None


# --- subtracting ---------------------------------------------------------------------------------


def test_the_gap_is_subtracted_by_square_and_add_where_the_splits_are_no_lot() -> None:
    rates = base_rates("other", 0.03)
    left = rates.adjusted(PASSING, metric=metric()).estimate
    gap = stats.difference(PASSING.estimate, base_rate_gap(*rates.expected, confidence=0.95))
    assert (left.value, left.low, left.high) == (gap.value, gap.low, gap.high)
    assert left.value == pytest.approx(0.01 - 0.03)
    assert left.high - left.value > PASSING.estimate.high - PASSING.estimate.value
    assert left.n == PASSING.estimate.n
    assert "less the base-rate gap" in left.method


@pytest.mark.parametrize("assignment", [None, "random"])
def test_nothing_is_subtracted_otherwise(assignment: Assignment | None) -> None:
    assert base_rates(assignment, 0.03).adjusted(PASSING, metric=metric()) is PASSING


@pytest.mark.parametrize("name", ["excess_attribute_auroc", "disclosure_rate"])
def test_a_gap_of_shares_is_taken_off_no_other_scale(name: str) -> None:
    rates = base_rates("other", 0.03)
    assert rates.adjusted(PASSING, metric=metric(name)) is PASSING


def test_over_a_reference_the_gap_cancels_and_is_not_subtracted_twice() -> None:
    over = Metric("excess_disclosure", metric().over_reference or metric().family)
    assert base_rates("other", 0.03).adjusted(PASSING, metric=over) is PASSING


def test_a_gap_beyond_the_limit_cannot_be_made_up_for() -> None:
    assert objection(base_rates("other", 0.049), PASSING) is None
    for gap in (0.051, -0.051):
        said = objection(base_rates("other", gap), measured(0.4, 0.5, 0.6))
        assert said is not None
        assert "more than the limit" in said


@pytest.mark.parametrize("truth", [0.05, 0.08])
def test_a_leak_at_the_limit_passes_in_one_of_twenty_beside_a_gap(truth: float) -> None:
    """Members tell `truth` beyond what their prompts promise: 0.04 more than nonmembers'."""
    rng = np.random.default_rng(0)
    passed, audits, n = 0, 1000, 400
    for _ in range(audits):
        promise = [rng.beta(4, 12, n), rng.beta(4 * 0.84, 12.64, n)]
        told = [rng.random(n) < np.clip(promise[0] + truth, 0, 1), rng.random(n) < promise[1]]
        hits = [float(one.sum()) for one in told]
        excess = stats.rate_difference(hits[0], n, hits[1], n, confidence=0.95)
        rates = BaseRates("other", (promise[0], promise[1]), 0.95, 0.9995)
        found = rates.adjusted(Measurement(excess), metric=metric()).estimate
        passed += found.high <= 0.05
    assert passed / audits <= 0.065  # 0.05, and two standard errors of the simulation


# --- the classifier ------------------------------------------------------------------------------


def judged(bench: Bench, assignment: Assignment | None) -> Judgement:
    data = TARGET.spec.data.model_copy(update={"assignment": assignment})
    document = TARGET.model_copy(update={"spec": TARGET.spec.model_copy(update={"data": data})})
    target = bench.plan.target.model_copy(update={"document": document})
    plan = bench.plan.model_copy(update={"target": target})
    return judge(policy(), plan=plan, evidence=bench.tables, as_of=AS_OF)


def only(bench: Bench, assignment: Assignment | None) -> Finding:
    (finding,) = judged(bench, assignment).findings
    return finding


def with_classifier(**made: Any) -> Bench:
    bench = Bench()
    bench.comparable(**made)
    bench.disclosure("hiv", hits=(0, 0), n=(80, 80))
    return bench


@pytest.mark.parametrize(
    ("made", "stopped"),
    [
        ({"n": 40}, {None, "other"}),  # DeLong needs 50 in each group
        ({"n": 60, "shift": 0.08}, {None, "other"}),  # too few to show it, or to disprove it
        ({"n": 400}, set()),
        ({"n": 400, "shift": 0.3}, {None, "other", "random"}),
        ({"n": 400, "shift": -0.3}, set()),  # worse than guessing tells nothing apart
    ],
)
def test_the_classifier_must_prove_a_difference_of_a_lot_only(
    made: dict[str, Any], stopped: set[Assignment | None]
) -> None:
    for assignment in EVERY:
        found = only(with_classifier(**made), assignment)
        expected = "inconclusive" if assignment in stopped else "pass"
        assert found.verdict == expected, (assignment, found)
        if assignment in stopped:
            assert found.reason == "split-not-comparable"


def test_a_classifier_that_was_not_run_supports_no_pass_of_a_lot_either() -> None:
    bench = with_classifier()
    del bench.tables["comparability"]
    assert only(bench, "random").reason == "split-not-comparable"


def test_the_check_repeats_the_declaration_as_one() -> None:
    checks = {check.name: check for check in judged(with_classifier(), "random").checks}
    assert checks["split-not-comparable"].title.startswith("Declared: ")


# --- what the plan announces ---------------------------------------------------------------------


@pytest.mark.parametrize("n", [60, 200, 1300])
@pytest.mark.parametrize("assignment", [None, "other"])
def test_the_plan_announces_how_often_a_gap_stops_a_sound_model(
    assignment: Assignment | None, n: int
) -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 0), n=(n, n))
    announced = base_rate_chance(bench.cells[0], assignment=assignment, confidence=0.95)
    rng = np.random.default_rng(n)
    free = [
        BaseRates(assignment, (rng.normal(0.3, 0.2, n), rng.normal(0.3, 0.2, n)), 0.95, 0.9995)
        for _ in range(400)
    ]
    share = np.mean([objection(one, PASSING) is None for one in free])
    # the plan takes nonmembers to have taught each other all that they promise, as none did here
    assert announced - 0.03 <= share <= announced + 0.25


def test_attacks_that_compare_base_rates_say_so() -> None:
    faces = [load_attack(name) for name in plugin_names("phigate.probes")]
    assert all(face.measuring for face in faces)  # loads what they observe
    compare = {
        kind.__module__.rpartition(".")[0]
        for kind in Observations.__subclasses__()
        if kind.base_scores is not Observations.base_scores
    }
    assert {face.package for face in faces if face.compares_base_rates} == compare & {
        face.package for face in faces
    }
