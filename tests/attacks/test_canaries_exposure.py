"""Canary exposure: what a model that memorised shows, what a sound one does, what a bound is."""

from __future__ import annotations

import math
from pathlib import Path

import measuring
import numpy as np
import pyarrow as pa
import pytest
from canary_builder import opened, settings, write_target
from numpy.typing import NDArray
from scipy.stats import binom

from checker.attacks.api import CellEvidence
from checker.attacks.canary_exposure import ATTACK, CanaryExposureParams
from checker.attacks.canary_exposure.making import make_canaries
from checker.attacks.canary_exposure.measure import (
    MEASURE,
    CanaryObservations,
)
from checker.attacks.canary_exposure.planted import PlantedCanaries, open_canaries
from checker.attacks.canary_exposure.run import score_canaries
from checker.errors import InsufficientData
from checker.stats import gaussian_epsilon
from checker.stats.epsilon import epsilon_p_value
from checker.stats.estimate import Estimate
from checker.stats.exposure import exposures_bits, mean_exposure, null_exposure_bits
from checker.testing.simulated import MemorizedRecord, SimulatedModel, SimulatedTarget

LIMIT_BITS = 2.0


def parameters(**changes: object) -> CanaryExposureParams:
    return CanaryExposureParams.model_validate({"manifest": "manifest.json", **changes})


def observed(
    included: NDArray[np.bool_], score: NDArray[np.float64], beacons: list[float] | None = None
) -> CanaryObservations:
    return CanaryObservations(included, score, np.array(beacons or [], dtype=np.float64))


def measured(metric: str, observations: CanaryObservations, **params: object) -> Estimate:
    found = measuring.measured(ATTACK, metric, observations, params=parameters(**params))
    return found.estimate


# --- simulated targets --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlantedCanaries, int]:
    """Four hundred canaries with ten beacons, as the model is asked; and the vocabulary's size."""
    folder = tmp_path_factory.mktemp("planted")
    path = write_target(folder / "target")
    document, cohort, rules = opened(path)
    make_canaries(
        document.spec,
        base=path.parent,
        settings=settings(count=400, beacons=10),
        out=folder / "shard",
        manifest=folder / "manifest.json",
    )
    found = open_canaries(folder / "manifest.json", cohort=cohort, tokenizer=rules, max_length=None)
    return found, len(rules.vocabulary.ids)


def audited(
    planted: tuple[PlantedCanaries, int], *, share: float, beacons: bool = True
) -> CanaryObservations:
    """Ask a target that repeats a share of the included canaries, and perhaps the beacons."""
    canaries, size = planted
    rng = np.random.default_rng(3)
    known = canaries.included & ~canaries.beacon & (rng.random(len(canaries)) < share)
    known |= canaries.beacon & beacons
    population = rng.dirichlet(np.ones(size))
    model = SimulatedModel.model_validate(
        {
            "vocabulary_size": size,
            "unigram": population.tolist(),
            "memorized": [
                MemorizedRecord(tokens=canaries.sequences[i].tolist(), first=4, weight=0.6)
                for i in np.flatnonzero(known).tolist()
            ],
        }
    )
    table = score_canaries(canaries, SimulatedTarget(model))
    return MEASURE.observations(evidence(table))


def evidence(
    *tables: pa.Table, reference: pa.Table | None = None, **params: object
) -> CellEvidence:
    return CellEvidence(
        labels=None,
        tables={"canaries": list(tables)},
        reference={} if reference is None else {"canaries": [reference]},
        watch=[],
        subgroup="all",
        params=parameters(**params),
    )


def test_a_target_that_memorised_its_canaries_is_flagged(
    planted: tuple[PlantedCanaries, int],
) -> None:
    observations = audited(planted, share=1.0)
    assert measured("exposure_bits", observations).low > LIMIT_BITS
    assert measured("epsilon_lower_bound", observations).low > 2
    assert MEASURE.detection(observations, confidence=0.95).shown


def test_a_target_that_kept_only_what_stood_there_many_times_is_cleared(
    planted: tuple[PlantedCanaries, int],
) -> None:
    observations = audited(planted, share=0.0)
    assert measured("exposure_bits", observations).high < LIMIT_BITS
    assert measured("epsilon_lower_bound", observations).low < 0.5
    found = MEASURE.detection(observations, confidence=0.95)
    assert found.shown
    assert found.explanation.startswith("The 10 beacons score above those left out (AUROC 1.000)")


def test_partly_memorised_canaries_stand_between(planted: tuple[PlantedCanaries, int]) -> None:
    exposures = [
        measured("exposure_bits", audited(planted, share=share)).value
        for share in (0.0, 0.1, 0.5, 1.0)
    ]
    assert exposures == sorted(exposures)
    assert exposures[1] - exposures[0] > 0.3


def test_a_model_that_never_saw_the_shard_is_not_taken_for_a_sound_one(
    planted: tuple[PlantedCanaries, int],
) -> None:
    observations = audited(planted, share=0.0, beacons=False)
    assert measured("exposure_bits", observations).high < LIMIT_BITS  # and yet:
    found = MEASURE.detection(observations, confidence=0.95)
    assert not found.shown
    assert "do not tell the 10 beacons (AUROC" in found.explanation


# --- exposure -----------------------------------------------------------------------------------


def test_nothing_memorised_is_not_zero_bits() -> None:
    # two twins: ranks 1, 2, 3 give log2(3) - (0 + 1 + 1.58496) / 3 = 1.58496 - 0.86165
    assert null_exposure_bits(2) == pytest.approx(0.72331, abs=1e-5)
    assert null_exposure_bits(500) == pytest.approx(1.4311, abs=1e-4)
    assert null_exposure_bits(10**7) == pytest.approx(math.log2(math.e), abs=1e-5)
    rng = np.random.default_rng(1)
    bits = [exposures_bits(rng.random(50), rng.random(60)).mean() for _ in range(2000)]
    # one canary's exposure varies by about 1.4 bits, so 100,000 correlated ones by about 0.006
    assert np.mean(bits) == pytest.approx(null_exposure_bits(60), abs=0.02)


def test_equal_scores_share_their_ranks() -> None:
    # one twin above, two equal: ranks 2, 3, 4 of 5: log2(5) - (1 + 1.58496 + 2) / 3
    assert exposures_bits([2.0], [1.0, 2.0, 2.0, 3.0])[0] == pytest.approx(0.79361, abs=1e-5)
    # scores that say nothing at all are worth what chance is
    assert exposures_bits(np.zeros(3), np.zeros(9)) == pytest.approx(null_exposure_bits(9))


def test_the_bounds_miss_the_truth_as_seldom_as_they_say() -> None:
    rng = np.random.default_rng(2)
    truth = null_exposure_bits(80)
    estimates = [
        mean_exposure(rng.random(60), rng.random(80), confidence=0.8, seed=i) for i in range(24)
    ]
    # at most 20 % on each side: P[Bin(24, 0.2) > 12] = 0.0004
    assert sum(e.low > truth for e in estimates) <= 12
    assert sum(e.high < truth for e in estimates) <= 12
    # and they are no wider than they need to be: another truth is often missed
    assert sum(e.low > truth - 0.4 for e in estimates) > 12
    assert sum(e.high < truth + 0.4 for e in estimates) > 12


def test_canaries_that_all_rank_first_are_bounded_too() -> None:
    found = mean_exposure(np.full(500, 9.0), np.zeros(500), confidence=0.95)
    assert found.value == found.high == pytest.approx(math.log2(501))
    # The share of scores above the best of 500 twins is known to be below 3 / 500 with confidence
    # 0.95: at a mean of 3 twins above, the mean log-rank is Σ log2(1 + k) Poisson(3)[k] = 1.87.
    # One further canary of exposure 0 among 501 costs another 9 / 501 on average.
    assert found.low == pytest.approx(math.log2(501) - 1.87 - 0.02, abs=0.05)
    assert found.low > LIMIT_BITS


def test_scores_that_are_all_equal_decide_nothing_beyond_chance() -> None:
    found = mean_exposure(np.zeros(500), np.zeros(500), confidence=0.95)
    assert found.value == pytest.approx(null_exposure_bits(500))
    assert found.low < found.value < found.high < LIMIT_BITS


def test_higher_confidence_means_wider_bounds_until_nothing_is_decided() -> None:
    rng = np.random.default_rng(4)
    planted, left_out = rng.normal(size=120) + 1, rng.normal(size=130)
    nine, five, beyond = (
        mean_exposure(planted, left_out, confidence=c) for c in (0.9, 0.95, 1 - 1e-9)
    )
    assert five.low < nine.low < nine.value < nine.high < five.high
    assert (beyond.low, beyond.high) == (0.0, math.log2(131))
    assert mean_exposure(planted, left_out, confidence=0.9) == nine


def test_too_few_canaries_on_one_side_of_the_coin_is_said() -> None:
    included = np.arange(200) < 160
    with pytest.raises(InsufficientData) as caught:
        measured("exposure_bits", observed(included, np.arange(200.0)))
    assert (caught.value.reason, caught.value.got) == ("too-few-canaries", 40)


# --- epsilon ------------------------------------------------------------------------------------


def guessed(wrong: int) -> CanaryObservations:
    """A thousand canaries, every other one included; of the extreme hundred, `wrong` are not."""
    included = np.arange(1000) % 2 == 1
    included[:50], included[950:] = False, True
    included[:wrong] = True
    return observed(included, np.arange(1000.0))


def test_the_bound_is_that_of_the_method() -> None:
    # METHODS §4, reference values: (m, r, v, δ) = (1000, 100, 100, 0) and (1000, 100, 95, 1e-5)
    found = measured("epsilon_lower_bound", guessed(0), delta=0.0, guessShare=0.1)
    assert found.low == pytest.approx(3.4930, abs=1e-3)
    assert found.method == "one training run, 100 of 100 guesses right, pre-registered"
    found = measured("epsilon_lower_bound", guessed(5), delta=1e-5, guessShare=0.1)
    assert found.low == pytest.approx(2.1652, abs=1e-3)
    assert "95 of 100 guesses right" in found.method
    assert found.low < found.value < found.high == math.inf


def test_a_bound_from_below_never_passes() -> None:
    assert not ATTACK.metrics["epsilon_lower_bound"].can_pass
    assert ATTACK.metrics["exposure_bits"].can_pass


def test_guesses_on_equal_scores_do_not_look_at_the_coins() -> None:
    rng = np.random.default_rng(6)
    right = []
    for _ in range(40):
        included = rng.random(500) < 0.5
        found = measured("epsilon_lower_bound", observed(included, np.zeros(500)), guessShare=1.0)
        right.append(int(found.method.split(", ")[1].split()[0]))
    # 40 · 500 fair guesses: 250 each, the mean ± 4 standard deviations of √(125 / 40) = 1.8
    assert np.mean(right) == pytest.approx(250, abs=7.2)


@pytest.mark.parametrize("selection", ["pre-registered", "split"])
def test_neither_way_to_choose_the_guesses_inflates_the_bound(selection: str) -> None:
    # A randomised response of ε = 1: each score names the coin with probability q, else the other,
    # so the number of right guesses is binomial and the bound may exceed 1 in 5 % of audits.
    epsilon, audits, m = 1.0, 60, 400
    q = 1 / (1 + math.exp(-epsilon))
    rng = np.random.default_rng(7)
    beyond, best = 0, 0
    for _ in range(audits):
        included = rng.random(m) < 0.5
        said = np.where(rng.random(m) < q, included, ~included)
        score = np.where(said, 1.0, -1.0) * rng.random(m)
        found = measured(
            "epsilon_lower_bound",
            observed(included, score),
            delta=0.0,
            thresholdSelection=selection,
        )
        beyond += found.low > epsilon
        best += exceeds_after_the_fact(included, score, epsilon=epsilon)
    assert beyond <= binom.ppf(0.999, audits, 0.05)
    # The control: choosing the number of guesses by its outcome does exceed what may be.
    assert best > binom.ppf(0.999, audits, 0.05)


def exceeds_after_the_fact(
    included: NDArray[np.bool_], score: NDArray[np.float64], *, epsilon: float
) -> bool:
    """Whether some number of guesses refutes an ε at confidence 0.95."""
    order = np.argsort(score)
    low, high = np.cumsum(~included[order]), np.cumsum(included[order[::-1]])
    return any(
        epsilon_p_value(
            epsilon,
            correct=int(low[k - 1] + high[k - 1]),
            guesses=2 * k,
            canaries=len(score),
            delta=0.0,
        )
        < 0.05
        for k in range(1, len(score) // 2 + 1, 2)
    )


def test_splitting_finds_what_a_fixed_share_misses() -> None:
    rng = np.random.default_rng(8)
    included = rng.random(2000) < 0.5
    score = rng.normal(size=2000) + np.where(included & (rng.random(2000) < 0.05), 20, 0)
    score -= np.where(~included & (rng.random(2000) < 0.05), 20, 0)
    fixed, split = (
        measured(
            "epsilon_lower_bound",
            observed(included, score),
            guessShare=1.0,
            thresholdSelection=selection,
        ).low
        for selection in ("pre-registered", "split")
    )
    assert split > fixed + 0.5


# --- what must be found -------------------------------------------------------------------------


def test_beacons_or_canaries_must_be_found_and_chance_is_not_finding() -> None:
    rng = np.random.default_rng(9)
    included = rng.random(400) < 0.5
    blind = rng.normal(size=400)
    seen = blind + 1.0 * included
    top, usual = [5.0] * 10, rng.normal(size=10).tolist()

    def shown(score: NDArray[np.float64], beacons: list[float]) -> tuple[bool, str]:
        found = MEASURE.detection(observed(included, score, beacons), confidence=0.95)
        return found.shown, found.explanation

    assert shown(blind, top) == (
        True,
        "The 10 beacons score above those left out (AUROC 1.000).",
    )
    assert shown(seen, usual)[0]
    assert shown(seen, [])[0]
    assert not shown(blind, usual)[0]
    is_found, text = shown(blind, [])
    assert not is_found
    assert "has no beacons, which a working attack would find" in text
    assert not shown(np.zeros(400), [0.0] * 10)[0]
    assert not shown(-seen, [-5.0] * 10)[0]  # a score that is turned round finds nothing


def test_each_kind_of_canaries_must_be_found() -> None:
    rng = np.random.default_rng(11)
    included, natural = rng.random(400) < 0.5, np.arange(400) % 2 == 1
    kinds = np.arange(10) % 2 == 1
    usual, top = rng.normal(size=10), np.full(10, 5.0)

    def shown(beacons: NDArray[np.float64]) -> tuple[bool, str]:
        one = CanaryObservations(included, rng.normal(size=400), beacons, natural, kinds)
        found = MEASURE.detection(one, confidence=0.95)
        return found.shown, found.explanation

    assert shown(top)[0]
    is_found, text = shown(np.where(kinds, top, usual))
    assert not is_found
    assert "5 implausible beacons" in text
    assert "natural" not in text
    assert "5 natural beacons" in shown(np.where(kinds, usual, top))[1]


def of_two_kinds(
    included: NDArray[np.bool_],
    natural: NDArray[np.bool_],
    score: NDArray[np.float64],
    beacon: NDArray[np.bool_],
) -> CanaryObservations:
    canary = pa.array(np.arange(len(score)), pa.int32())
    columns = {"included": included, "beacon": beacon, "natural": natural, "score": score}
    return MEASURE.observations(evidence(pa.table({"canary": canary, **columns})))


def test_kinds_that_a_model_finds_unlike_are_compared_without_the_coins() -> None:
    """Natural canaries are likelier by far, included or not: raw scores would hide the coin."""
    rng, m, beacons = np.random.default_rng(12), 600, 10
    natural = rng.random(m + beacons) < 0.5
    beacon = np.arange(m + beacons) >= m
    included = (rng.random(m + beacons) < 0.5) | beacon
    score = rng.normal(size=m + beacons) * np.where(natural, 1, 4) + np.where(natural, 30, 0)
    score += included * np.where(natural, 1.5, 6)
    one, raw = of_two_kinds(included, natural, score, beacon), observed(included[:m], score[:m])
    assert measured("epsilon_lower_bound", one).low > measured("epsilon_lower_bound", raw).low + 0.2
    # whichever way the coins fell, the scores are the same
    other = of_two_kinds(~included | beacon, natural, score, beacon)
    assert other.score.tolist() == one.score.tolist()
    for own in (one.score[natural[:m]], one.score[~natural[:m]]):
        assert np.median(own) == pytest.approx(0, abs=1e-9)
        assert np.median(np.abs(own)) == pytest.approx(1)


def test_bounds_hold_for_canaries_of_two_kinds() -> None:
    """A Gaussian mechanism of known epsilon, told of two kinds at different levels."""
    rng, beyond, audits = np.random.default_rng(13), 0, 100
    truth = gaussian_epsilon(1.0, delta=1e-5)
    natural, nobody = np.arange(400) % 2 == 1, np.zeros(400, dtype=np.bool_)
    for _ in range(audits):
        included = rng.random(400) < 0.5
        score = (included + rng.normal(size=400)) * np.where(natural, 1, 3) + 20 * natural
        told = of_two_kinds(included, natural, score, nobody)
        beyond += measured("epsilon_lower_bound", told).low > truth
    assert beyond <= binom.ppf(0.95, audits, 0.05)


def test_a_blind_attack_is_taken_for_a_working_one_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(10)
    found = 0
    for _ in range(150):
        included = rng.random(200) < 0.5
        observations = observed(included, rng.normal(size=200), rng.normal(size=10).tolist())
        found += MEASURE.detection(observations, confidence=0.95).shown
    assert found <= binom.ppf(0.999, 150, 0.05)


def test_a_coin_needs_no_placebo() -> None:
    observations = observed(np.arange(4) < 2, np.zeros(4))
    for metric in ATTACK.metrics:
        assert measuring.placebo_of(ATTACK, metric, observations, params=parameters()) is None


# --- evidence -----------------------------------------------------------------------------------


def table(canary: list[int], score: list[float]) -> pa.Table:
    return pa.table(
        {
            "canary": pa.array(canary, pa.int32()),
            "included": [i != 1 for i in canary],
            "beacon": [i == 3 for i in canary],
            "natural": [False] * len(canary),
            "score": pa.array(score, pa.float64()),
        }
    )


def test_evidence_is_read_in_the_manifests_order_and_beacons_apart() -> None:
    found = MEASURE.observations(evidence(table([3, 1], [-0.5, -2.0]), table([0, 2], [-1.0, -3.0])))
    assert found.included.tolist() == [True, False, True]
    assert found.score.tolist() == [-1, -2, -3]
    assert found.beacon_score.tolist() == [-0.5]
    assert found.planted.tolist() == [-1, -3]
    assert found.left_out.tolist() == [-2]


def test_a_reference_model_is_subtracted_canary_by_canary() -> None:
    own, other = table([0, 1, 2, 3], [-1, -2, -3, -0.5]), table([3, 2, 1, 0], [-1, -1, -1, -4])
    params = {"score": "reference-ratio"}
    assert parameters(**params).needs_reference
    assert not parameters().needs_reference
    found = MEASURE.observations(evidence(own, reference=other, **params))
    assert found.score.tolist() == [3, -1, -2]
    assert found.beacon_score.tolist() == [0.5]


def test_scores_are_mean_log_probabilities_in_the_manifests_order(
    planted: tuple[PlantedCanaries, int],
) -> None:
    canaries, size = planted
    target = SimulatedTarget(SimulatedModel.model_validate({"vocabulary_size": size}))
    found = score_canaries(canaries, target)
    assert found["canary"].to_pylist() == list(range(410))
    assert found["beacon"].to_pylist() == [False] * 400 + [True] * 10
    assert found["included"].to_pylist() == canaries.included.tolist()
    assert found["score"].to_numpy() == pytest.approx(-math.log(size), rel=1e-6)
    assert canaries.tokens == sum(map(len, canaries.sequences))


def test_the_manifest_is_the_one_parameter_that_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="manifest"):
        CanaryExposureParams.model_validate({})
    params = parameters()
    assert (params.delta, params.guess_share, params.score) == (1e-5, 0.2, "loss")
    assert params.threshold_selection == "pre-registered"
