"""The throughput benchmark runs what it says it compares; how fast is for the benchmark to say."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.engine_throughput import KINDS, SIZES, measure, table

SIZE = SIZES["test"]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return measure(KINDS, "test", device="cpu", repeats=1)


@pytest.mark.parametrize(
    ("kind", "way"), [("gpt2", "shared prefix"), ("llama", "shared prefix"), ("mamba2", "states")]
)
def test_every_rollout_is_drawn_the_fast_way(measured: dict[str, Any], kind: str, way: str) -> None:
    drawn = measured[kind]["rollouts"]
    assert drawn["decoding"] == way
    assert drawn["tokens_drawn"] == SIZE.prompts * SIZE.samples * SIZE.horizon
    # 4 prompts of 2 samples fit into one batch, so every step has 8 rows
    assert drawn["mean_rows_a_step"] == 8
    assert drawn["tokens_per_s"] > 0
    assert drawn["ratio_to_generate"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_gives_the_numbers_of_one_pass_per_position(
    measured: dict[str, Any], kind: str
) -> None:
    scored = measured[kind]["scoring"]
    assert scored["largest_logprob_deviation_nats"] < 1e-4
    assert scored["largest_min_k_deviation_nats"] < 1e-4


def test_the_bound_of_scoring_is_the_matrix_rate_over_a_tokens_products(
    measured: dict[str, Any],
) -> None:
    # a transformer's layer multiplies each token by 12 d² weights, its head by d V, and attention
    # by 2 n d numbers; a product of as many numbers is twice as many operations
    d, n = SIZE.width, SIZE.context
    a_token = 2 * (SIZE.layers * (12 * d**2 + 2 * n * d) + d * SIZE.vocabulary)
    bound = measured["gpt2"]["scoring"]["arithmetic_bound_tokens_per_s"]
    assert bound == pytest.approx(measured["matmul_flops_per_s"] / a_token, rel=0.05)


def test_profiles_are_shares_and_the_table_has_every_model(measured: dict[str, Any]) -> None:
    for kind in KINDS:
        for profile in (
            measured[kind]["rollouts"]["profile"],
            measured[kind]["rollouts"]["generate_profile"],
            measured[kind]["scoring"]["profile"],
        ):
            assert 0.3 < sum(profile.values()) <= 1.0
    lines = table(measured, KINDS).splitlines()
    assert [line.split()[0] for line in lines[2::2]] == list(KINDS)
