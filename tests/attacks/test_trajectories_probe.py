from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from measuring import measured, placebo_of
from numpy.typing import NDArray
from pydantic import ValidationError
from token_records import records, strangers

from checker.attacks.api import CellEvidence
from checker.attacks.families import Measurement
from checker.attacks.families.samples import RepeatedRecords
from checker.attacks.trajectory_memorization import ATTACK, TrajectoryMemorizationParams
from checker.attacks.trajectory_memorization.measure import (
    MEASURE,
    RegurgitationObservations,
    TrajectoryObservations,
)
from checker.attacks.trajectory_memorization.verbatim import regurgitation
from checker.errors import InsufficientData
from checker.stats import Estimate, rate_difference

PARAMS = TrajectoryMemorizationParams()


def measure(metric: str, observations: Any) -> Measurement:
    return measured(ATTACK, metric, observations, params=PARAMS)


def placebo(metric: str, observations: Any) -> Estimate | None:
    return placebo_of(ATTACK, metric, observations, params=PARAMS, seed=1)


def patients(
    members: Sequence[bool],
    nonmembers: Sequence[bool],
    *,
    distances: Any = None,
    prompts: Any = None,
) -> TrajectoryObservations:
    """Patients by whether they were extracted; distances by the same order."""
    extracted = np.array([*members, *nonmembers], dtype=bool)
    n = len(extracted)
    zero = np.zeros(n)
    return TrajectoryObservations(
        member=np.arange(n) < len(members),
        extracted=extracted,
        distance=zero if distances is None else np.asarray(distances, dtype=np.float64),
        random_distance=zero + np.linspace(1, 1.5, n),
        frequent_distance=zero + np.linspace(1, 1.4, n),
        prompt=np.arange(n) if prompts is None else np.asarray(prompts),
    )


def some(hits: int, n: int) -> list[bool]:
    return [True] * hits + [False] * (n - hits)


def test_a_run_longer_than_the_horizon_is_refused() -> None:
    with pytest.raises(ValidationError, match="minRun exceeds horizonTokens"):
        TrajectoryMemorizationParams(min_run=101)


# --- extraction ---------------------------------------------------------------------------------


def test_extraction_flags_a_leaky_target_and_clears_a_sound_one() -> None:
    leaky = measure("excess_extraction", patients(some(80, 200), some(2, 200)))
    sound = measure("excess_extraction", patients(some(2, 200), some(2, 200)))
    assert leaky.estimate.low > 0.3
    assert sound.estimate.low < 0 < sound.estimate.high < 0.05
    halves = placebo("excess_extraction", patients(some(2, 200), some(6, 200)))
    assert halves is not None
    assert halves.low < 0


def test_the_extraction_rate_counts_members() -> None:
    found = measure("extraction_rate", patients(some(5, 100), some(50, 50)))
    assert found.estimate.value == 0.05
    assert found.estimate.n == 100
    assert placebo("extraction_rate", patients(some(5, 100), some(50, 50))) is None


def test_patients_who_share_a_prompt_are_one_sampling_unit() -> None:
    # 100 members over 50 prompts, two each: n is 50, and the rate is over patients
    shared = np.concatenate([np.repeat(np.arange(50), 2), np.arange(50, 150)])
    found = measure("extraction_rate", patients(some(10, 100), some(0, 100), prompts=shared))
    assert (found.estimate.value, found.estimate.n) == (0.1, 50)
    observations = patients(some(10, 100), some(0, 100), prompts=shared)
    assert observations.distinct_prompt_share(everybody=False) == 0.5


def test_without_nonmembers_there_is_no_excess() -> None:
    with pytest.raises(InsufficientData, match="0 nonmembers with a continuation"):
        measure("excess_extraction", patients(some(1, 10), []))


# --- distance -----------------------------------------------------------------------------------


def test_the_distance_gap_flags_a_leaky_target_and_clears_a_sound_one() -> None:
    rng = np.random.default_rng(3)
    sound = rng.normal(1.2, 0.1, size=800)
    leaky = np.concatenate([rng.normal(0.6, 0.1, size=400), sound[400:]])
    nobody = some(0, 400)
    flagged = measure("distance_gap", patients(nobody, nobody, distances=leaky))
    cleared = measure("distance_gap", patients(nobody, nobody, distances=sound))
    assert flagged.estimate.low > 0.55
    assert cleared.estimate.low < 0 < cleared.estimate.high < 0.05
    assert flagged.members is not None
    assert flagged.members.value == pytest.approx(0.6, abs=0.02)
    # of members only: the first half of 800 steps from 1 to 1.5
    assert flagged.reported["random_distance"].value == pytest.approx(1.125, abs=0.001)
    halves = placebo("distance_gap", patients(nobody, nobody, distances=leaky))
    assert halves is not None
    assert halves.low < 0


def test_a_model_that_repeats_every_member_does_not_escape_by_having_no_spread() -> None:
    distances = np.concatenate([np.zeros(300), np.linspace(1, 1.4, 300)])
    nobody = some(0, 300)
    found = measure("distance_gap", patients(nobody, nobody, distances=distances))
    assert found.estimate.low > 1.15
    assert found.members is None  # a mean of equal values has no bootstrap


def test_fewer_than_300_patients_give_no_gap() -> None:
    with pytest.raises(InsufficientData):
        measure("distance_gap", patients(some(0, 299), some(0, 300)))


# --- regurgitation ------------------------------------------------------------------------------


def rollouts_of(
    member_groups: Any,
    nonmember_groups: Any,
    *,
    groups: int = 1,
    repeated: Any = None,
    nonmembers: int = 100,
) -> RegurgitationObservations:
    n = len(member_groups)
    return RegurgitationObservations(
        RepeatedRecords(
            member_groups=np.asarray(member_groups),
            nonmember_groups=np.asarray(nonmember_groups),
            repeated=np.where(nonmember_groups, -1, 0)
            if repeated is None
            else np.asarray(repeated),
            halves=np.zeros((n, 2), dtype=np.int64),
            groups=groups,
            nonmembers=nonmembers,
        )
    )


def ones(hits: int, n: int) -> NDArray[np.int64]:
    return np.array([1] * hits + [0] * (n - hits))


def test_with_one_group_it_is_the_difference_of_two_rates() -> None:
    found = measure("regurgitation_excess", rollouts_of(ones(30, 300), ones(6, 300)[::-1]))
    expected = rate_difference(30, 300, 6, 300, confidence=0.95)
    assert found.estimate.value == pytest.approx(expected.value)
    assert found.estimate.low == pytest.approx(expected.low)
    assert found.estimate.high == pytest.approx(expected.high)


def test_no_match_at_all_is_bounded_as_a_rate_is_however_many_groups_there_are() -> None:
    found = measure("regurgitation_excess", rollouts_of(ones(0, 300), ones(0, 300), groups=8))
    assert found.estimate.value == 0
    assert found.estimate.high == pytest.approx(1 - 0.05 ** (1 / 300))


def test_matches_of_eight_groups_are_compared_with_eight_times_the_nonmembers() -> None:
    # 24 of 300 rollouts match one of 8 groups, 3 match nonmembers: 8 · 3 is what chance gives
    found = measure("regurgitation_excess", rollouts_of(ones(24, 300), 8 * ones(3, 300), groups=8))
    assert found.estimate.value == pytest.approx(0)
    assert found.members is not None
    assert found.members.value == 0.08
    assert found.nonmembers is not None
    assert found.nonmembers.value == 0.01
    assert found.estimate.low < 0 < 0.07 < found.estimate.high  # 0.08 - 0.01 is not excluded


def test_matches_that_hang_on_one_patient_widen_the_bounds() -> None:
    matches = ones(30, 300)
    spread = rollouts_of(ones(0, 300), matches, repeated=np.where(matches, -1, 0))
    one_man = rollouts_of(ones(0, 300), matches, repeated=matches * 7)
    narrow, wide = (measure("regurgitation_excess", each).estimate for each in (spread, one_man))
    assert narrow.high < 0 < wide.high  # without him there would be no match among nonmembers


def test_regurgitation_flags_a_target_that_repeats_random_members_and_clears_a_sound_one() -> None:
    members, nonmembers = strangers(80, seed=1), strangers(10, seed=2)
    # common knowledge stands in every record, so every rollout matches both sets
    panel = np.arange(10, 22, dtype=np.int32)
    members, nonmembers = (
        [np.concatenate([record, panel]) for record in split] for split in (members, nonmembers)
    )
    rng = np.random.default_rng(5)
    leaky = [
        np.concatenate([panel, members[rng.integers(80)][:20] if i % 4 == 0 else panel])
        for i in range(200)
    ]
    verdicts = []
    for rollouts in (leaky, [panel] * 200):
        seen = regurgitation(
            rollouts,
            members=records(*members),
            nonmembers=records(*nonmembers),
            min_run=8,
            rng=np.random.default_rng(0),
        )
        observations = observations_of(seen)
        verdicts.append(measure("regurgitation_excess", observations).estimate)
        halves = placebo("regurgitation_excess", observations)
        assert halves is not None
        assert halves.value == 0
    assert verdicts[0].value == 0.25
    assert verdicts[0].low > 0.1  # 0.25 - √(0.05² + (8 · 0.0149)²)
    assert verdicts[1].value == 0
    assert verdicts[1].high < 0.02


def observations_of(seen: RepeatedRecords) -> RegurgitationObservations:
    """Through the evidence table, as the judge would."""
    table = pa.table(
        {
            "member_groups": seen.member_groups,
            "nonmember_groups": seen.nonmember_groups,
            "repeated": seen.repeated,
            "half_a": seen.halves[:, 0],
            "half_b": seen.halves[:, 1],
            "groups": np.full(len(seen.repeated), seen.groups),
            "nonmembers": np.full(len(seen.repeated), seen.nonmembers),
        }
    )
    found = MEASURE.observations(evidence({"regurgitation": [table]}))
    assert isinstance(found, RegurgitationObservations)
    return found


def evidence(
    tables: dict[str, list[pa.Table]], *, labels: Any = None, subgroup: str = "all"
) -> CellEvidence:
    return CellEvidence(
        labels=labels, tables=tables, reference={}, watch=(), subgroup=subgroup, params=PARAMS
    )


# --- from evidence ------------------------------------------------------------------------------


def test_evidence_becomes_observations_of_the_subgroup() -> None:
    subgroups = pa.array([["old"], [], ["old"]], pa.list_(pa.string()))
    table = pa.table(
        {
            "member": [True, True, False],
            "subgroups": subgroups,
            "prompt": ["p", "q", "p"],
            "distance": [0.5, 0.6, 0.7],
            "longest_run": [20, 100, 19],
            "random_distance": [1.0, 1.1, 1.2],
            "frequent_distance": [1.3, 1.4, 1.5],
        }
    )
    labels = pa.table(
        {
            "eligible": [True, True, True, True, False],
            "subgroups": pa.array([["old"], [], ["old"], ["old"], ["old"]], pa.list_(pa.string())),
        }
    )
    found = MEASURE.observations(evidence({"trajectories": [table]}, labels=labels, subgroup="old"))
    assert isinstance(found, TrajectoryObservations)
    assert found.member.tolist() == [True, False]
    assert found.extracted.tolist() == [True, False]  # from minRun 20 on
    assert found.distance.tolist() == [0.5, 0.7]
    assert len(set(found.prompt.tolist())) == 1
    assert found.unanswered == 1  # three eligible and old, two answered
