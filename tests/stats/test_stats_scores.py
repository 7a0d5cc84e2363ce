"""Membership scores of one record; higher is more member-like."""

from __future__ import annotations

import numpy as np
import pytest

from checker.errors import InsufficientData
from checker.stats import scores


def test_min_k_averages_the_lowest_fifth_rounded_down() -> None:
    # 14 tokens: ⌊14·20/100⌋ = 2, the lowest two are -9 and -6
    logprobs = np.array([-1, -9, -2, -6, *[-0.5] * 10], dtype=np.float32)
    assert scores.min_k(logprobs, k_percent=20) == -7.5


def test_min_k_takes_at_least_one_token_and_at_most_all() -> None:
    assert scores.min_k([-1.0, -3.0], k_percent=20) == -3.0
    assert scores.min_k([-1.0, -3.0], k_percent=100) == scores.loss([-1.0, -3.0]) == -2.0


def test_min_k_plus_plus_standardises_before_it_chooses() -> None:
    # z = (-5 + 4)/2 = -0.5 and (-1 - 0)/0.25 = -4: the second is the lowest, though likelier
    assert scores.min_k_plus_plus([-5, -1], [-4, 0], [2, 0.25], k_percent=50) == -4.0


def test_a_certain_token_is_no_evidence_and_an_impossible_one_stays_a_number() -> None:
    assert scores.min_k_plus_plus([0.0], [0.0], [0.0], k_percent=20) == 0.0
    # -1000 over the floor of 0.001 nats
    assert scores.min_k_plus_plus([-1000.0], [0.0], [0.0], k_percent=20) == pytest.approx(-1e6)


def test_a_memorised_record_scores_above_an_unseen_one() -> None:
    seen, unseen = np.full(30, -0.1), np.full(30, -3.0)
    assert scores.loss(seen) > scores.loss(unseen)
    assert scores.min_k(seen, k_percent=20) > scores.min_k(unseen, k_percent=20)


def test_a_record_without_scored_tokens_has_no_score() -> None:
    with pytest.raises(InsufficientData) as empty:
        scores.loss([])
    assert empty.value.reason == "empty-records"


def test_a_share_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="k_percent"):
        scores.min_k([-1.0], k_percent=0)
