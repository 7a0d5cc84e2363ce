"""Of one window, what phigate and another tool say, and why they differ where they do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.known_evidence import unknown_nonmembers
from benchmarks.peers.demo import Windows, beside, lira_beside
from benchmarks.peers.demo_asking import CHANCE, QUERIES
from benchmarks.strongest_attack import gaussian_ratio
from checker.stats.estimate import Estimate

SAID = Estimate(0.5, 0.1, 0.9, 4, 0.95, "clopper-pearson")


def seen(rows: list[dict[str, Any]]) -> pa.Table:
    """Patients of whom this is seen, members unless they say otherwise."""
    (plain,) = unknown_nonmembers(1).to_pylist()
    return pa.Table.from_pylist(
        [{**plain, "member": True, "prompt": str(i), **row} for i, row in enumerate(rows)],
        schema=unknown_nonmembers(1).schema,
    )


def test_each_difference_has_its_reason() -> None:
    chances = [0.5, 0.01, 0.2, 0.3, 1e-5, 0.0]
    logs = [math.log(one) if one else -1000.0 for one in chances]
    rows: list[dict[str, Any]] = [
        {"log_probability": logs[0], "telling_log_probability": logs[0]},
        {"log_probability": None, "telling_log_probability": None, "common": 1},
        {"log_probability": logs[2], "telling_log_probability": None},
        {"log_probability": logs[3], "telling_log_probability": logs[3]},
        {"log_probability": logs[4], "telling_log_probability": logs[4], "telling_greedy": True},
        {"log_probability": logs[5], "telling_log_probability": None, "member": False},
    ]
    answers = {
        "probability": chances,
        "discoverable": [1 - (1 - one) ** QUERIES >= CHANCE for one in chances],
    }
    windows = Windows(seen(rows), [], {"members": SAID, "nonmembers": SAID})
    found = beside(windows, answers)
    assert found["chances compared"] == 5
    assert found["largest difference of a chance"] < 1e-12
    assert found["impossible for one alone"] == 0
    members = found["members"]
    assert members["PrivacyGuard"] == pytest.approx(4 / 5)
    assert members["said by both"] == 2
    assert members["PrivacyGuard alone"] == 2
    assert members["of these what anybody would write"] == 1
    assert members["of these not so much likelier than references find it"] == 1
    assert members["here alone"] == members["of these recited greedily"] == 1
    assert found["nonmembers"]["PrivacyGuard"] == 0


def test_a_wrong_chance_shows() -> None:
    rows: list[dict[str, Any]] = [
        {"log_probability": math.log(0.4), "telling_log_probability": None, "member": side}
        for side in (True, False)
    ]
    windows = Windows(seen(rows), [], {"members": SAID, "nonmembers": SAID})
    found = beside(windows, {"probability": [0.4, 0.5], "discoverable": [True, True]})
    assert found["largest difference of a chance"] == pytest.approx(0.1)
    found = beside(windows, {"probability": [0.4, 0.0], "discoverable": [True, False]})
    assert found["impossible for one alone"] == 1


def test_lira_is_the_ratio_of_two_densities() -> None:
    rng = np.random.default_rng(2)
    member = (np.arange(8)[:, None] + np.arange(200)) % 2 == 0
    said = rng.normal(size=(8, 200)) + member
    is_member = np.arange(200) < 100
    own = rng.normal(size=200) + is_member
    ratio = gaussian_ratio(own, said, member)
    inside = np.where(member, said, np.nan)
    assert np.corrcoef(ratio, own)[0, 1] > 0.5
    assert ratio.shape == np.nanmean(inside, axis=0).shape
    feed = {"score_orig": own, "said": said, "member": member, "is_member": is_member}
    found = lira_beside(feed, {"our deviation": 0.7})
    assert found["PrivacyGuard, our deviation"] == 0.7
    assert found["low"] < found["here"] < found["high"]
    assert found["here"] > 0.6
