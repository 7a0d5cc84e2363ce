"""The toolkit's definitions, written down anew, against phigate's where both mean the same."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from tiny_models import VOCABULARY, save_gpt2
from transformers import AutoModelForCausalLM

from benchmarks.paper_figures import log_probabilities, paired_difference
from benchmarks.paper_reference import (
    position_by_position,
    toolkit_attribute,
    toolkit_clock,
    toolkit_min_k,
    toolkit_share,
    toolkit_transport,
)
from checker import stats
from checker.attacks.trajectory_memorization.distance import transport_distance
from checker.stats.scores import min_k


@pytest.mark.parametrize("sizes", [(1, 1), (7, 12), (30, 30), (40, 3), (5, 0)])
@pytest.mark.parametrize("timed", [True, False])
def test_equal_cosines_and_clock_give_equal_distances(sizes: tuple[int, int], timed: bool) -> None:
    rng = np.random.default_rng(sum(sizes))
    cosine = rng.uniform(-0.2, 1.0, sizes)
    clocks = (np.sort(rng.random(sizes[0])), np.sort(rng.random(sizes[1]))) if timed else None
    ours = transport_distance(cosine, clocks)
    assert toolkit_transport(cosine, clocks) == pytest.approx(ours, abs=1e-9)


def test_the_toolkit_s_clock_counts_on_and_knows_six_tokens_of_time() -> None:
    codes = ["TIME//10-20", "A", "TIME//0", "TIME//1", "TIME//2", "TIME//a year", "B"]
    assert toolkit_clock(codes) == pytest.approx([0.1, 0.1, 0.3, 0.7, 1.6, 3.1, 3.1])


def test_min_20_percent_is_the_mean_of_the_least_likely_fifth() -> None:
    likely = np.array([0.5, 0.1, 0.9, 0.8, 0.2, 0.7, 0.6, 0.3, 0.4, 0.95, 0.99])  # 11 // 5 = 2
    assert toolkit_min_k(likely, least=0.0) == pytest.approx(np.log([0.1, 0.2]).mean())
    assert toolkit_min_k(np.array([0.0])) == pytest.approx(np.log(1e-10))
    # a record of probable tokens looks likelier with improbable padding left out
    padded = np.append(likely, np.full(20, 1e-9))
    assert toolkit_min_k(padded) < toolkit_min_k(likely) - 10


def test_short_continuations_name_nothing_and_a_ranking_is_the_usual_one() -> None:
    short, long = np.array([7], dtype=np.int32), np.array([7] * 10, dtype=np.int32)
    assert toolkit_share([short, long, np.zeros(12, np.int32)], [7]) == pytest.approx(1 / 3)
    rng = np.random.default_rng(3)
    has_class = np.arange(200) < 80
    share = rng.normal(0.3 + 0.2 * has_class, 0.2).clip(0, 1).round(1).astype(np.float64)
    found = toolkit_attribute(has_class, share)
    assert found["auroc"] == pytest.approx(
        stats.auroc(share[has_class], share[~has_class], confidence=0.95).value
    )
    named = share > 0.5
    assert found["precision"] == pytest.approx(has_class[named].mean())
    assert found["recall"] == pytest.approx(named[has_class].mean())


def test_definitions_agree_in_float64_and_rounding_is_what_is_left(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_gpt2(tmp_path)).eval()
    exact = copy.deepcopy(model).double()
    tokens = np.random.default_rng(0).integers(3, VOCABULARY, 40).astype(np.int32)
    told = toolkit_min_k(np.exp(position_by_position(exact, tokens)), least=0.0)
    assert abs(min_k(log_probabilities(exact, tokens), k_percent=20) - told) < 1e-12
    single = toolkit_min_k(np.exp(position_by_position(model, tokens)), least=0.0)
    assert 1e-12 < abs(single - told) < 1e-4


def test_a_paired_difference_has_the_chance_of_both_rankings_in_it() -> None:
    rng = np.random.default_rng(1)
    has_class = np.arange(300) < 60
    truth = has_class * 1.0 + rng.normal(size=300)
    noisy, alike = (truth + spread * rng.normal(size=300) for spread in (3.0, 1e-9))
    same = paired_difference(has_class, truth, alike, draws=50)
    assert same["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    worse = paired_difference(has_class, truth, noisy, draws=200)
    assert worse["auroc"]["low"] > 0
    tied = noisy.round(0)
    found = paired_difference(has_class, truth, tied, draws=2)
    first, second = (toolkit_attribute(has_class, one) for one in (truth, tied))
    for name in ("auroc", "auprc"):
        assert found[name]["value"] == pytest.approx(first[name] - second[name])
    assert worse["auprc"]["low"] < worse["auprc"]["value"] < worse["auprc"]["high"]
