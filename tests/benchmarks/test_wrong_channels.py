"""A short version of the table of wrong channels: a model that has hardly learned, all tables."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks import aged_training, wrong_channels
from benchmarks.wrong_channels import CASES, AgedWorld, ChannelCase, is_wrong, measure
from benchmarks.wrong_instruments import Outcome
from benchmarks.wrong_worlds import Size
from checker.run.executors import worker

SMALL = Size(patients=60, further=0, positives=24, classes=1, score="loss")
TABLES = [case for case in CASES if case.table and case.expected is None and case.bend is None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> AgedWorld:
    made = AgedWorld(tmp_path_factory.mktemp("channels"), "trained", 0, SMALL)
    with pytest.MonkeyPatch.context() as patched:
        one_epoch = partial(aged_training.train_aged, epochs=1)
        patched.setattr(aged_training, "train_aged", one_epoch)
        made.prepare()
        made.model("leaking")
    return made


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_a_loaders_wrong_channel_is_refused_before_the_model_is_asked(
    world: AgedWorld, case: ChannelCase
) -> None:
    found = measure(case, world)
    assert (found.stage, found.verdict, found.exit) == ("plan", "refused", 4)
    assert "is not what" in found.reason


def test_a_model_that_is_told_ages_is_audited_and_shows_nothing_it_has_not_learned(
    world: AgedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `tests/targets/test_channel_models.py` compares such models with themselves
    monkeypatch.setattr(worker, "examine", lambda *_, **__: {})
    found = measure(CASES[0], world)
    assert (found.stage, found.verdict) == ("judged", "inconclusive")
    assert is_wrong(found)  # of a leaking model that had been trained


def test_a_wrong_row_is_one_that_passes_or_ends_otherwise_than_it_must() -> None:
    def outcome(verdict: str, expected: str | None) -> Outcome:
        return Outcome("x", "trained", 0, "judged", verdict, 0, "", expected=expected)

    assert is_wrong(outcome("pass", None))
    assert is_wrong(outcome("inconclusive", "fail"))
    assert not is_wrong(outcome("fail", None))
    names = {case.name for case in wrong_channels.CASES}
    assert len(names) == len(wrong_channels.CASES)
    for channel in wrong_channels.CHANNELS:  # each zeroed, shifted, of another, of another unit
        for how in ("zeroed", "late", "early", "of-another", "other-unit"):
            assert f"{channel}-{how}" in names
