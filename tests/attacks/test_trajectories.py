from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meds_builder import Patient, make_records, make_vocabulary
from numpy.typing import NDArray
from scipy import sparse

from checker.attacks.trajectory_memorization.chance_distances import Baselines
from checker.attacks.trajectory_memorization.code_labels import LabelVectors
from checker.attacks.trajectory_memorization.continuations import (
    ComparedContinuations,
    compare_continuations,
)
from checker.attacks.trajectory_memorization.distance import (
    trajectory_distances,
    transport_distance,
)
from checker.attacks.trajectory_memorization.trajectories import Trajectory, TrajectoryReader
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization import TokenizedRecords, Tokenizer
from checker.targets import Tokens

FRAME = ["[PAD]", "[BOS]", "[EOS]", "T//1d", "T//7d", "T//7d+", "AGE//50", "GENDER//F"]
CODES = ["A", "B", "C", "D"]
A, B, C, D = range(len(FRAME), len(FRAME) + 4)
DAY, WEEK, LONGER = 3, 4, 5
TIME = [{"upTo": "1d", "token": "T//1d"}, {"upTo": "1w", "token": "T//7d"}, {"token": "T//7d+"}]
SPEC = {
    "vocabulary": "unused",
    "specials": {"bos": "[BOS]", "eos": "[EOS]", "pad": "[PAD]"},
    "static": {"sex": "GENDER//*"},
    "age": "AGE//{years}",
}
LIKE_THEMSELVES = LabelVectors(sparse.csr_array(np.eye(len(FRAME) + 4)))  # other codes: cosine 0


def tokenizer(**spec: Any) -> Tokenizer:
    return Tokenizer(
        TokenizationSpec.model_validate({**SPEC, **spec}),
        vocabulary=make_vocabulary([*FRAME, *CODES]),
        base=Path(),
    )


def ids(*tokens: int) -> Tokens:
    return np.array(tokens, dtype=np.int32)


def trajectory(*tokens: int, days: Sequence[float] | None = None) -> Trajectory:
    return Trajectory(ids(*tokens), None if days is None else np.array(days, dtype=np.float64))


def days_of(found: Trajectory) -> list[float]:
    assert found.days is not None
    days: list[float] = found.days.tolist()
    return days


@pytest.fixture(scope="module")
def reader() -> TrajectoryReader:
    return TrajectoryReader(tokenizer(time=TIME))


# --- what a trajectory is -----------------------------------------------------------------------


def test_time_tokens_set_the_clock_and_are_no_events(reader: TrajectoryReader) -> None:
    found = reader.read(ids(DAY, A, WEEK, B, C, LONGER, D))
    assert found.tokens.tolist() == [A, B, C, D]
    # the middle of 0 to 1 day, then of 1 to 7 days, then the lower end of "over 7 days"
    assert days_of(found) == [0.5, 4.5, 4.5, 11.5]


def test_specials_ages_static_fields_and_unknown_ids_are_no_events(
    reader: TrajectoryReader,
) -> None:
    found = reader.read(ids(1, FRAME.index("AGE//50"), FRAME.index("GENDER//F"), A, 2, 0, 500))
    assert found.tokens.tolist() == [A]


def test_without_time_tokens_there_are_no_times() -> None:
    assert TrajectoryReader(tokenizer()).read(ids(A, B)).days is None


def test_a_single_time_token_counts_steps() -> None:
    reader = TrajectoryReader(tokenizer(time=[{"token": "T//1d"}]))
    assert days_of(reader.read(ids(DAY, A, DAY, DAY, B))) == [1, 3]


# --- the distance -------------------------------------------------------------------------------


def test_the_cost_of_a_pair_is_dissimilarity_times_one_plus_the_time_between() -> None:
    times = (np.array([0.25]), np.array([0.75]))
    # (1 - 0.6) · (1 + 0.5)
    assert transport_distance(np.array([[0.6]]), times) == pytest.approx(0.6)
    assert transport_distance(np.array([[0.6]]), None) == pytest.approx(0.4)


def test_padding_costs_two_with_times_and_one_without() -> None:
    cosine = np.array([[1.0, 0.0, 0.0]])
    times = (np.zeros(1), np.zeros(3))
    assert transport_distance(cosine, times) == pytest.approx((0 + 2 + 2) / 3)
    assert transport_distance(cosine, None) == pytest.approx((0 + 1 + 1) / 3)


def test_nothing_said_is_as_far_as_anything_can_be_and_two_silences_are_alike() -> None:
    assert transport_distance(np.empty((4, 0)), (np.zeros(4), np.empty(0))) == 2
    assert transport_distance(np.empty((0, 0)), None) == 0


def test_the_cheapest_assignment_is_taken_not_the_one_in_order() -> None:
    # in order (1 - 0) + (1 - 0) over 2; crossed (1 - 0.9) + (1 - 0.7) over 2
    assert transport_distance(np.array([[0.0, 0.9], [0.7, 0.0]]), None) == pytest.approx(0.2)


def test_times_count_as_fractions_of_the_longer_span() -> None:
    truth = trajectory(A, B, days=[0, 5])
    other = trajectory(A, C, days=[0, 10])
    # A to A costs nothing; B at 0.5 to C at 1 costs 1 · (1 + 0.5); the mean of two
    found = trajectory_distances(truth, [other], labels=LIKE_THEMSELVES)
    assert found.tolist() == pytest.approx([0.75])


def test_the_unit_of_time_changes_nothing() -> None:
    truth, other = trajectory(A, B, days=[1, 2]), trajectory(B, C, days=[3, 8])
    in_hours = [
        trajectory(*t.tokens, days=[24 * day for day in days_of(t)]) for t in (truth, other)
    ]
    found = trajectory_distances(truth, [other], labels=LIKE_THEMSELVES)
    assert trajectory_distances(in_hours[0], in_hours[1:], labels=LIKE_THEMSELVES) == pytest.approx(
        found
    )


def test_a_repetition_is_at_distance_zero() -> None:
    truth = trajectory(A, B, C, days=[0, 0, 4])
    assert trajectory_distances(truth, [truth], labels=LIKE_THEMSELVES).tolist() == [0]


def test_time_counts_only_where_codes_differ() -> None:
    truth, late = trajectory(A, B, days=[0, 1]), trajectory(A, B, days=[0, 9])
    wrong = trajectory(A, C, days=[0, 9])
    found = trajectory_distances(truth, [late, wrong], labels=LIKE_THEMSELVES)
    # (1 - 1) · (1 + 8/9) = 0: the penalty multiplies a dissimilarity; then 1 · (1 + 8/9) over 2
    assert found.tolist() == pytest.approx([0, 17 / 18])


def test_distances_lie_between_nought_and_two_and_do_not_depend_on_direction() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        first, second = (
            trajectory(*rng.integers(A, D + 1, size=n), days=sorted(rng.random(n)))
            for n in rng.integers(1, 8, size=2)
        )
        there = trajectory_distances(first, [second], labels=LIKE_THEMSELVES)[0]
        back = trajectory_distances(second, [first], labels=LIKE_THEMSELVES)[0]
        assert 0 <= there <= 2
        assert there == pytest.approx(back)


def emd2(
    cosine: NDArray[np.float64], times: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> float:
    """The definition of METHODS §2 by a general solver: both sides padded, uniform weights."""
    ot = pytest.importorskip("ot", reason="POT, the solver to compare with, is not installed")
    n = max(cosine.shape)
    cost = np.full((n, n), 1.0 if times is None else 2.0)
    real = 1 - cosine
    if times is not None:
        real = real * (1 + np.abs(times[0][:, None] - times[1]))
    cost[: cosine.shape[0], : cosine.shape[1]] = real
    weights = np.full(n, 1 / n)
    return float(ot.emd2(weights, weights, cost))


@pytest.mark.parametrize("timed", [False, True])
def test_the_distance_is_that_of_a_general_transport_solver(
    timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in ("PYTORCH", "JAX", "TENSORFLOW", "CUPY"):
        monkeypatch.setenv(f"POT_BACKEND_DISABLE_{backend}", "1")
    rng = np.random.default_rng(11)
    sizes = [*itertools.product((1, 2, 7, 30), repeat=2), (100, 83), (64, 100)]
    for a, b in sizes:
        cosine = rng.uniform(-1, 1, size=(a, b))
        times = (rng.exponential(size=a), rng.exponential(size=b)) if timed else None
        assert transport_distance(cosine, times) == pytest.approx(emd2(cosine, times), abs=1e-9)


# --- baselines ----------------------------------------------------------------------------------


def nonmembers(rules: Tokenizer, patients: Sequence[Patient]) -> TokenizedRecords:
    records, codes = make_records(patients)
    return rules.encode(records, codes)


def test_the_most_frequent_codes_come_once_each_and_commonest_first(
    reader: TrajectoryReader,
) -> None:
    rules = tokenizer(time=TIME)
    seen = nonmembers(rules, [[("B", 0), ("A", 1), ("B", 2), ("GENDER//F", None)], [("C", 0)]])
    baselines = Baselines.of(seen, reader=reader)
    assert baselines.most_frequent(2).tokens.tolist() == [B, A]  # A and C once each: by id
    assert baselines.most_frequent(9).tokens.tolist() == [B, A, C]
    assert days_of(baselines.most_frequent(2)) == [0, 0]


def test_random_tokens_come_as_often_as_nonmembers_have_them(reader: TrajectoryReader) -> None:
    rules = tokenizer(time=TIME)
    # per patient three A and one B at one moment: no time token, GENDER is not streamed
    seen = nonmembers(rules, [[("GENDER//F", None), *[("A", 0)] * 3, ("B", 0)]] * 5)
    drawn = Baselines.of(seen, reader=reader).random(20_000, rng=np.random.default_rng(3))
    # 0.75 ± 4 standard errors of 0.0031
    assert (drawn.tokens == A).mean() == pytest.approx(0.75, abs=0.013)
    assert set(drawn.tokens.tolist()) == {A, B}


# --- comparing continuations --------------------------------------------------------------------


def compared(
    truths: list[Tokens], rollouts: list[list[Tokens]], *, horizon: int = 100, seed: int = 0
) -> ComparedContinuations:
    rules = tokenizer(time=TIME)
    reader = TrajectoryReader(rules)
    days = [(code, day) for day, code in enumerate("ABCDABCD")]
    seen = nonmembers(rules, [[("GENDER//F", None), *days]] * 3)
    return compare_continuations(
        truths,
        rollouts,
        horizon_tokens=horizon,
        reader=reader,
        labels=LIKE_THEMSELVES,
        baselines=Baselines.of(seen, reader=reader),
        rng=np.random.default_rng(seed),
    )


def test_a_model_that_writes_down_the_truth_is_flagged_and_one_that_guesses_is_cleared() -> None:
    rng = np.random.default_rng(8)
    truths = [rng.choice([A, B, C, D, DAY], size=30).astype(np.int32) for _ in range(20)]
    guesses = [[rng.choice([A, B, C, D, DAY], size=30).astype(np.int32)] for _ in range(20)]
    knows, sound = compared(truths, [[truth] for truth in truths]), compared(truths, guesses)
    assert knows.distance.tolist() == [0] * 20
    assert knows.longest_run.tolist() == [30] * 20
    assert (knows.random_distance > 0).all()
    assert (knows.frequent_distance > 0).all()
    assert sound.longest_run.max() < 15
    assert sound.distance.mean() > 0.5 * sound.random_distance.mean()


def test_a_patients_distance_is_the_mean_and_its_run_the_longest() -> None:
    truth = ids(A, B, C)
    found = compared([truth], [[truth, ids(D, D, D), ids(D, B, C)]])
    # 0; all wrong: 3 / 3; one of three wrong: 1 / 3; no time token, so no time passes
    assert found.distance.tolist() == pytest.approx([(0 + 1 + 1 / 3) / 3])
    assert found.longest_run.tolist() == [3]


def test_both_sides_are_cut_to_the_horizon() -> None:
    found = compared([ids(A, B, C, D)], [[ids(A, B, D, D)]], horizon=2)
    assert found.distance.tolist() == [0]
    assert found.longest_run.tolist() == [2]


def test_equal_seeds_give_equal_baselines() -> None:
    truths = [ids(A, B, C, D)] * 5
    first, again = (compared(truths, [[truth] for truth in truths], seed=4) for _ in range(2))
    assert first.random_distance.tolist() == again.random_distance.tolist()


def test_a_patient_without_a_continuation_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one drawn"):
        compared([ids(A)], [[]])
    with pytest.raises(ValueError, match="true continuation"):
        compared([ids()], [[ids(A)]])


def test_importing_trajectories_loads_no_torch() -> None:
    module = "checker.attacks.trajectory_memorization.continuations"
    code = f"import sys, {module}; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.stdout.strip() == "False"
