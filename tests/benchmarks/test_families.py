"""Trained models of known truth: what was copied twenty times over is found, and ranked between.

A short version of `benchmarks/families.py`: a sixth of its patients, and of its tests those that
cost little. What all of them say of all its patients is in the benchmark's own output.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.families import (
    EXPECTED,
    FAMILIES,
    Families,
    Number,
    Row,
    generated,
    measure,
    told_apart,
)
from checker.demo.cohort import write_cohort

Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("families")
    write_cohort(folder / "source", seed=1, members=160, nonmembers=160, tuning=50, positives=50)
    study = generated(folder / "source", seed=1)
    study = replace(
        study,
        canaries=20,
        beacons=0,
        samples=4,
        max_tokens=64,
        asked=("T1", "T4"),
        # so few patients let training end too soon for the repeated ones to be learned
        sound=replace(study.sound, until_validated=False, max_epochs=6),
    )
    return measure(Families(folder / "work", study, seed=1))


def one(found: Found, metric: str, attacker: str) -> Row:
    [row] = [r for r in found["rows"] if (r.metric, r.attacker) == (metric, attacker)]
    assert isinstance(row, Row)
    return row


def test_the_partly_memorizing_model_saw_a_tenth_twenty_times(found: Found) -> None:
    """160 members and ten canaries or so: a tenth by lot, for as many passes as sound."""
    trained = found["trained"]
    assert 16 <= trained["partly"]["repeated"] <= 18
    assert trained["sound"]["repeated"] == trained["overtrained"]["repeated"] == 0
    assert trained["partly"]["kept"] == trained["sound"]["kept"]


def test_only_the_overtrained_model_knows_all_its_patients_by_heart(found: Found) -> None:
    trained = found["trained"]
    assert trained["overtrained"]["reached"]
    assert trained["overtrained"]["loss"] < trained["sound"]["loss"] - 1
    assert trained["overtrained"]["validation_loss"] > trained["sound"]["validation_loss"]


def test_records_drawn_from_the_models_set_the_families_apart(found: Found) -> None:
    row = one(found, "excess_extraction", "history")
    assert row.apart, row
    overtrained, partly, sound = (row.numbers[family] for family in FAMILIES)
    assert overtrained is not None
    assert overtrained.verdict == "fail"
    # a tenth was repeated, and what comes out besides is little
    assert partly is not None
    assert 0.03 < partly.value < 0.12
    assert sound is not None
    assert sound.verdict == "pass"


def test_probabilities_rank_the_families(found: Found) -> None:
    assert one(found, "membership_auroc", "record").ranked


def test_no_family_is_audited_in_the_wrong_format_or_against_another_population(
    found: Found,
) -> None:
    for checks in found["checks"].values():
        assert all(checks.values()), checks


# --- when a test tells the families apart ---------------------------------------------------------


def row(test: str, *values: float | None, reach: float = 0.1, bounded: bool = True) -> Row:
    """A metric of the three families, with bounds on both sides or a lower one alone."""
    numbers = {
        family: None
        if value is None
        else Number(value, value - reach, value + reach if bounded else None, 9, "fail", None)
        for family, value in zip(FAMILIES, values, strict=True)
    }
    return Row(test, "m", "record", numbers)


ALL_APART = [row(test, 0.9, 0.5, 0.1) for test in EXPECTED]


def test_a_test_without_a_number_tells_nothing_apart() -> None:
    assert all(told_apart(ALL_APART).values())
    assert set(told_apart(ALL_APART)) == {"T1", "T2", "T4", "T5", "canaries"}
    assert told_apart(ALL_APART[1:])["T1"] is False
    assert told_apart([row("T1", 0.9, None, 0.1)])["T1"] is False


def test_bounds_that_overlap_set_nothing_apart() -> None:
    near = row("T1", 0.9, 0.5, 0.35)
    assert (near.ranked, near.apart) == (True, False)
    assert told_apart([near])["T1"] is False
    # another metric of the same test may do so, and then it is enough that this one ranks them
    assert told_apart([near, row("T1", 0.9, 0.5, 0.1)])["T1"] is True


def test_one_metric_in_the_wrong_order_is_enough_to_tell_nothing() -> None:
    assert told_apart([row("T1", 0.9, 0.5, 0.1), row("T1", 0.5, 0.9, 0.1)])["T1"] is False


def test_what_nothing_bounds_from_above_is_ranked_by_its_lower_bounds() -> None:
    lower = row("canaries", 3.0, 2.0, 1.0, bounded=False)
    assert (lower.ranked, lower.apart) == (True, True)
    assert row("canaries", 3.0, 3.0, 1.0, bounded=False).ranked is False
