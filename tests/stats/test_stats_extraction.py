"""The likeliest window of a record, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from checker.stats.extraction import IMPOSSIBLE, BestWindow, least_log_probability, windows_of

RARE = np.full(6, math.log(0.01))  # two tokens of it: 1e-4, which is not below 1e-4
LIKELY = [0.9, 0.5, 0.8, 0.9, 0.2, 0.7]


def looked(shares: list[float], *references: Any, **changes: Any) -> BestWindow:
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(np.array(shares)), IMPOSSIBLE).astype(np.float32)
    settings: dict[str, Any] = {"length": 3, "begin": 1, **changes}
    counted = {"common": settings.pop("common", 1e-4), "gain": settings.pop("gain", -math.inf)}
    first = settings.pop("first", np.zeros(len(shares), dtype=np.bool_))
    return windows_of([logs], first, references or (RARE,), **settings).best(**counted)


def test_the_likeliest_window_is_the_product_of_its_tokens() -> None:
    found = looked(LIKELY)
    # windows: .9·.5·.8, .5·.8·.9, .8·.9·.2, .9·.2·.7
    assert found.windows == 4
    assert found.log_probability == pytest.approx(math.log(0.36))
    assert not found.greedy


def test_windows_begin_where_they_may() -> None:
    assert looked(LIKELY, begin=3).log_probability == pytest.approx(math.log(0.8 * 0.9 * 0.2))
    assert looked(LIKELY, begin=4).windows == 1


def test_a_token_that_is_never_drawn_makes_its_windows_impossible_and_no_other() -> None:
    found = looked([0.9, 0.5, 0.0, 0.9, 0.2, 0.7])
    assert found.log_probability == pytest.approx(math.log(0.9 * 0.2 * 0.7))
    assert looked([0.0, 0.5, 0.0, 0.9, 0.0, 0.7]).log_probability == IMPOSSIBLE


def test_of_a_window_the_sampler_counts_that_makes_it_likeliest() -> None:
    with np.errstate(divide="ignore"):
        cut, whole = (
            np.maximum(np.log(shares), IMPOSSIBLE).astype(np.float32)
            for shares in (np.array([0.9, 0.8, 0.0, 1.0]), np.array([0.8, 0.7, 0.04, 0.9]))
        )
    found = windows_of([cut, whole], np.zeros(4, np.bool_), [RARE[:4]], length=2, begin=1)
    assert np.exp(found.chances) == pytest.approx([0.72, 0.028, 0.036], rel=1e-5)


def test_what_anybody_would_write_does_not_count() -> None:
    everybody = RARE.copy()
    everybody[:4] = math.log(0.1)  # the first two windows: 1e-3
    found = looked(LIKELY, everybody)
    assert (found.windows, found.common) == (4, 2)
    assert found.log_probability == pytest.approx(math.log(0.8 * 0.9 * 0.2))
    assert looked(LIKELY, np.zeros(6)) == BestWindow(4, 4, None, False)


def test_of_several_references_the_likeliest_decides() -> None:
    first, second = RARE.copy(), RARE.copy()
    first[:3], second[3:] = math.log(0.5), math.log(0.5)
    assert looked(LIKELY, first).common == 2  # .5³ and .5²·.01
    assert looked(LIKELY, first, second).common == 4


def test_a_common_window_is_not_recited_either() -> None:
    first = np.array([True, True, True, False, False, False])
    assert looked(LIKELY, first=first).greedy
    assert not looked(LIKELY, np.zeros(6), first=first).greedy
    assert not looked(LIKELY, first=~first & (np.arange(6) < 5)).greedy  # two in a row


@pytest.mark.parametrize("length", [7, 12])
def test_a_record_shorter_than_the_window_has_none(length: int) -> None:
    assert looked(LIKELY, length=length) == BestWindow()
    assert looked(LIKELY, length=6).windows == 1


def test_pieces_of_one_record_are_put_together() -> None:
    one, other = BestWindow(3, 1, -2.0, False), BestWindow(2, 2, None, True)
    assert one | other == other | one == BestWindow(5, 3, -2.0, True)
    assert BestWindow() | BestWindow() == BestWindow()


def test_the_least_probability_is_hayes_and_others() -> None:
    # 1 − (1 − p)^n ≥ 0.5 with n = 1000: p = 1 − 0.5^(1/1000)
    least = least_log_probability(queries=1000, chance=0.5)
    assert math.exp(least) == pytest.approx(1 - 0.5 ** (1 / 1000), rel=1e-9)
    assert least_log_probability(queries=1, chance=0.9) == pytest.approx(math.log(0.9))
    # far out, where 1 − p is 1 to the last digit
    tiny = math.exp(least_log_probability(queries=10**18, chance=0.5))
    assert tiny == pytest.approx(math.log(2) * 1e-18, rel=1e-6)


def test_sums_stay_exact_beside_impossible_tokens() -> None:
    shares = [0.0] * 5000 + [0.9, 0.5, 0.8]
    found = looked(shares, np.full(5003, math.log(0.01)))
    assert found.log_probability == pytest.approx(math.log(0.36), abs=1e-6)


def test_a_window_must_be_so_much_likelier_than_to_whoever_never_saw_the_patient() -> None:
    reference = np.full(6, math.log(0.04))  # 6.4e-5 a window, which not anybody would write
    best = 0.36 / 6.4e-5  # of .9·.5·.8 and .5·.8·.9; the others are .144 and .126
    for gain, left in ((best * 0.99, 0.36), (best * 1.01, None), (0.130 / 6.4e-5, 0.36)):
        found = looked(LIKELY, reference, gain=math.log(gain))
        assert found.log_probability == (None if left is None else pytest.approx(math.log(left)))
        assert found.common == 0  # what is too near to a reference is still nothing common
    # what greedy decoding recites must be told from skill too
    recited = np.ones(6, dtype=np.bool_)
    assert looked(LIKELY, reference, first=recited, gain=math.log(0.130 / 6.4e-5)).greedy
    assert not looked(LIKELY, reference, first=recited, gain=math.log(best * 1.01)).greedy
