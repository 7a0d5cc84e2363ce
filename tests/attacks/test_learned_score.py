"""T4's learned score by its parts: features, learner, and how several references are believed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from checker.attacks.membership_inference.features import (
    TokenColumns,
    attack_features,
    blind_features,
    classic_scores,
    mixture,
)
from checker.attacks.membership_inference.learner import learned_scores
from checker.errors import InsufficientData
from checker.stats import auroc, scores

Columns = dict[str, NDArray[np.float64]]


def columns(*records: list[float], first: bool | None = True, std: float = 1.0) -> TokenColumns:
    """Records with these log-probabilities, under a model that expects -2 of every token."""
    logprob = np.concatenate([np.array(one, np.float64) for one in records])
    return TokenColumns(
        logprob,
        np.full(len(logprob), -2.0),
        np.full(len(logprob), std),
        None if first is None else logprob > -1.0,
        np.concatenate([[0], np.cumsum([len(one) for one in records])]).astype(np.int64),
    )


# --- features -----------------------------------------------------------------------------------


def test_each_feature_is_what_its_name_says() -> None:
    target = columns([-1.0, -2.0, -3.0, -6.0, -0.5], [-4.0, -4.0, -4.0, -4.0])
    reference = columns([-2.0, -2.0, -2.0, -2.0, -2.0], [-3.0, -5.0, -3.0, -5.0])
    found = attack_features(target, {"own": reference}, percents=[40.0])
    assert found["logprob.mean"].tolist() == [-2.5, -4.0]
    assert found["logprob.q50"].tolist() == [-2.0, -4.0]
    # of 5 tokens the 20 % quantile is the second lowest: (5 - 1) * 0.2 = 0.8 between the lowest two
    assert found["logprob.q20"][0] == pytest.approx(-6.0 + 0.8 * 3.0)
    # quarters of 5 tokens begin at 0, 1, 2, 3
    assert [found[f"logprob.quarter{i}"][0] for i in (1, 2, 3, 4)] == [-1.0, -2.0, -3.0, -3.25]
    assert found["z.mean"].tolist() == [-0.5, -2.0]
    assert found["min-k.40.0"].tolist() == [-4.5, -4.0]
    assert found["ranked-first"].tolist() == [0.2, 0.0]
    assert found["gain.own.mean"].tolist() == [-0.5, 0.0]
    # of the first record's errors, -1, -2, -3 and -6, the shifts are 1, 0, -1 and -4
    assert found["error-zone.own"][0] == pytest.approx(1 / 6)
    assert found["error-zone.own"][1] == 0.5
    assert found["information.own.mean"].tolist() == [-0.5, 0.0]


def test_a_record_of_one_token_has_every_feature() -> None:
    target, reference = columns([-3.0], [-1.5, -0.2]), columns([-2.0], [-1.0, -1.0])
    found = attack_features(target, {"own": reference}, percents=[20.0])
    found |= blind_features({"own": reference}, percents=[20.0])
    assert all(np.isfinite(values).all() and len(values) == 2 for values in found.values())
    assert found["logprob.quarter1"][0] == found["logprob.q95"][0] == -3.0


def test_scores_of_many_records_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    records = [(-rng.exponential(2.0, rng.integers(1, 40))).tolist() for _ in range(30)]
    target = columns(*records, std=0.7)
    found = classic_scores(target, {}, percents=[20.0])
    for i, one in enumerate(records):
        assert found["loss"][i] == pytest.approx(scores.loss(one))
        assert found["min-k@20.0"][i] == pytest.approx(scores.min_k(one, k_percent=20))
        expected = scores.min_k_plus_plus(one, [-2.0] * len(one), [0.7] * len(one), k_percent=20)
        assert found["min-k++@20.0"][i] == pytest.approx(expected)


def test_what_a_model_does_not_say_is_left_out_and_not_made_up() -> None:
    silent = TokenColumns(np.array([-1.0, -2.0]), None, None, None, np.array([0, 2]))
    found = attack_features(silent, {"own": silent}, percents=[20.0])
    assert not any(name.startswith(("z", "min-k++", "ranked", "error", "infor")) for name in found)
    assert found["gain.own.mean"].tolist() == [0.0]


def test_no_feature_of_the_blind_learner_hangs_on_the_target() -> None:
    reference = columns([-2.0, -1.0, -3.0], [-3.0, -5.0])
    names = blind_features({"own": reference}, percents=[20.0])
    assert all(name.startswith("own.") for name in names)


def test_several_references_are_believed_equally() -> None:
    both = mixture([columns([np.log(0.5)]), columns([np.log(0.1)])])
    assert both.logprob.tolist() == [pytest.approx(np.log(0.3))]


# --- learner ------------------------------------------------------------------------------------


def drawn(
    n: int, *, shift: float, seed: int, width: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """n members and n nonmembers; members are higher by `shift` in every second feature."""
    rng = np.random.default_rng(seed)
    member = np.arange(2 * n) < n
    features = rng.standard_normal((2 * n, width))
    features[:, ::2] += shift * member[:, None]
    return features, member, rng.random(2 * n) < 1 / 3


def test_a_learned_score_finds_what_no_feature_alone_shows() -> None:
    features, member, fitted = drawn(600, shift=0.4, seed=1)
    found = learned_scores(features, member, fitted)
    judged = member[~fitted]
    together = auroc(found[judged], found[~judged], confidence=0.95)
    alone = auroc(features[~fitted & member, 0], features[~fitted & ~member, 0], confidence=0.95)
    # six features of shift 0.4 make one of 0.4·√6 = 0.98: Φ(0.98/√2) = 0.756, against 0.611
    assert together.value == pytest.approx(0.756, abs=0.035)
    assert together.low > alone.high


def test_equal_features_give_equal_scores_to_the_last_bit() -> None:
    features, member, fitted = drawn(200, shift=0.2, seed=2)
    first, second = (learned_scores(features, member, fitted) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_few_absurd_scores_do_not_blind_the_attack() -> None:
    """A target that calls a token of a few records impossible hides nothing of the others."""
    features, member, fitted = drawn(400, shift=0.5, seed=3)
    plain = learned_scores(features, member, fitted)
    odd = features.copy()
    odd[::40] = -1e6
    found = learned_scores(odd, member, fitted)
    usual = ~np.isin(np.flatnonzero(~fitted), np.arange(0, 800, 40))
    assert np.corrcoef(plain[usual], found[usual])[0, 1] > 0.9


def test_a_model_that_shifts_its_scores_by_patient_does_not_hide() -> None:
    """Members stand out in a tenth of their tokens; a shift of whole records hides their loss."""
    rng = np.random.default_rng(0)
    n, length = 600, 40
    member = np.arange(2 * n) < n
    easy = -rng.gamma(2, 1, (2 * n, length))
    known = member[:, None] & (rng.random((2 * n, length)) < 0.1)
    shifted = easy + rng.normal(0, 0.3, easy.shape) + 1.5 * known + rng.normal(0, 3, (2 * n, 1))
    target = columns(*shifted.tolist())
    own = columns(*(easy + rng.normal(0, 0.3, easy.shape)).tolist())
    loss = classic_scores(target, {}, percents=[])["loss"]
    assert auroc(loss[member], loss[~member], confidence=0.95).low < 0.53
    features = attack_features(target, {"own": own}, percents=[20.0])
    fitted = rng.random(2 * n) < 1 / 3
    found = learned_scores(np.stack(list(features.values()), axis=1), member, fitted)
    judged = member[~fitted]
    assert auroc(found[judged], found[~judged], confidence=0.95).low > 0.8


def test_features_that_say_nothing_tell_nothing() -> None:
    _, member, fitted = drawn(50, shift=0.0, seed=4)
    assert not learned_scores(np.ones((100, 3)), member, fitted).any()


def test_a_constant_feature_changes_no_score() -> None:
    features, member, fitted = drawn(60, shift=0.3, seed=5)
    more = np.concatenate([features, np.full((120, 2), 7.0)], axis=1)
    same = learned_scores(features, member, fitted)
    assert np.array_equal(learned_scores(more, member, fitted), same)


def test_too_few_to_learn_from_are_a_shortage_and_no_score() -> None:
    features, member, _ = drawn(60, shift=0.3, seed=6)
    fitted = np.zeros(120, np.bool_)
    fitted[:40] = True  # members alone
    with pytest.raises(InsufficientData, match="0 nonmembers to learn from"):
        learned_scores(features, member, fitted)


def test_a_feature_that_is_no_number_is_an_error_and_no_guess() -> None:
    features, member, fitted = drawn(60, shift=0.3, seed=7)
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        learned_scores(features, member, fitted)
