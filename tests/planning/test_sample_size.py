"""How many patients would decide a cell: compared with published and enumerated numbers."""

from __future__ import annotations

import pytest

from checker.attacks.api import load_attack
from checker.planning.sample_size import LIKELY, sample_needed
from checker.policy.documents import Limit
from checker.stats import power


def needed(
    probe: str, metric: str, limit: float, *, base_rate: float = 0.02
) -> tuple[int | None, int | None]:
    return sample_needed(
        load_attack(probe).metrics[metric],
        Limit(fail=limit),
        confidence=0.95,
        base_rate=base_rate,
    )


@pytest.mark.parametrize(("limit", "fewest"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_the_fewest_are_those_of_the_zero_hit_bound(limit: float, fewest: int) -> None:
    # METHODS §4: smallest n for which 0 hits give U <= τ
    assert needed("attribute-disclosure", "excess_disclosure", limit)[0] == fewest


def test_the_likely_number_is_where_a_sound_model_passes_four_times_of_five() -> None:
    # METHODS §6, background 0.02 and τ = 5 %: 100 give 0.60, 150 give 0.82
    _, likely = needed("attribute-disclosure", "excess_disclosure", 0.05)
    assert likely is not None
    assert 100 < likely < 150

    def chance(n: int) -> float:
        return power.pass_probability_difference(n, n, limit=0.05, base_rate=0.02, confidence=0.95)

    assert chance(likely - 1) < LIKELY <= chance(likely)


def test_what_no_number_can_do_is_none() -> None:
    # a rate whose background lies above its limit never passes
    assert needed("attribute-disclosure", "disclosure_rate", 0.01)[1] is None
    # an attack that can only fail passes with nobody
    assert needed("identifier-perturbation", "memorized_share", 0.1) == (None, None)


def test_what_is_not_known_before_the_data_is_none() -> None:
    fewest, likely = needed("canary-exposure", "exposure_bits", 3.0)
    assert (fewest, likely) == (50, None)


def test_a_ranking_needs_halves_of_fifty_and_more_for_tighter_limits() -> None:
    fewest, likely = needed("membership-inference", "membership_auroc", 0.6)
    assert fewest == 100  # nonmembers: or there is no placebo, and no pass
    assert likely is not None
    tighter = needed("membership-inference", "membership_auroc", 0.55)[1]
    assert tighter is not None
    assert tighter > 3 * likely  # the spread falls with the square root of n


def test_where_nothing_may_occur_the_policy_says_how_many() -> None:
    metric = load_attack("attribute-disclosure").metrics["disclosure_rate"]
    limit = Limit(max_count=0, min_n=77)
    assert sample_needed(metric, limit, confidence=0.95, base_rate=0.02) == (77, None)
