"""The short version of `benchmarks/calibration.py`: the checker's own error rates."""

from __future__ import annotations

import pytest

from benchmarks.calibration import (
    FAMILIES,
    curtailed_savings,
    sequential_study,
    shared_prompts,
    study,
)
from checker import stats

QUICK = [family for family in FAMILIES if not family.slow]
AUDITS = 200
LEAST_SURE = 0.05
"""Of a wrong verdict, as promised; a test fails where chance alone explains the excess with p below
0.0005, so that over all points of all families a sound instrument is blamed 1 time in 50."""


def beyond_promise(count: int, audits: int) -> bool:
    return stats.rate(count, audits, confidence=0.9995).low > LEAST_SURE


@pytest.mark.parametrize("family", QUICK, ids=lambda family: family.name)
def test_at_the_limit_few_pass_and_few_fail(family) -> None:
    for point in study(family, audits=AUDITS, slow_audits=0, places=["at the limit"], sizes=1):
        for kind, count in point.wrong:
            assert not beyond_promise(count, point.audits), (point, kind)


@pytest.mark.parametrize("name", ["rate-difference", "auroc", "set-difference"])
def test_an_instrument_with_bounds_too_short_is_found_out(name: str) -> None:
    # bounds at 70 % let three in ten pass at the limit, where one in twenty is promised
    family = next(one for one in FAMILIES if one.name == name)
    points = study(
        family, audits=AUDITS, slow_audits=0, places=["at the limit"], sizes=1, confidence=0.7
    )
    assert any(beyond_promise(count, p.audits) for p in points for _, count in p.wrong)


@pytest.mark.parametrize("name", ["rate-difference", "auroc"])
def test_without_a_leak_as_many_pass_as_the_plan_announced(name: str) -> None:
    family = next(one for one in FAMILIES if one.name == name)
    for point in study(family, audits=AUDITS, slow_audits=0, places=["none"], sizes=1):
        assert point.announced is not None
        found = stats.rate(point.passes, point.audits, confidence=0.9995)
        assert found.low - 0.04 <= point.announced <= found.high + 0.04, point


def test_far_beyond_the_limit_nothing_passes() -> None:
    for family in QUICK:
        for point in study(family, audits=40, slow_audits=0, places=["well outside"], sizes=1):
            assert point.passes == 0, point


def test_stopping_early_makes_no_more_errors_and_draws_fewer() -> None:
    for found in sequential_study(audits=100):
        wrong = found.passes if found.truth >= 0.05 else found.fails
        assert not beyond_promise(wrong, found.audits), found
        assert found.drawn <= found.size


def test_patients_who_share_prompts_are_not_counted_one_by_one() -> None:
    for rates in shared_prompts(audits=AUDITS).values():
        assert not beyond_promise(round(rates["by prompt"] * AUDITS), AUDITS)
        assert beyond_promise(round(rates["by patient"] * AUDITS), AUDITS)


def test_where_nothing_hits_half_of_the_continuations_are_saved() -> None:
    # 20 samples, threshold one half: settled once 10 have missed
    assert curtailed_savings()["q = 0.0"] == pytest.approx(0.5)
