"""A short version of `benchmarks/splits_by_lot.py`: what the checks cost a sound model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.splits_by_lot import ASSIGNMENTS, measure, read, table


def test_sound_models_of_splits_dealt_by_lot_are_released_in_spite_of_the_checks(
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept.jsonl"
    found = measure([200], keep=kept)
    for assignment in ASSIGNMENTS:
        assert found[200][str(assignment)].but_for_checks
    # few seeds raise an alarm, and this is none of them
    lot = found[200]["random"]
    assert lot.released
    assert lot.alarms == ()
    assert lot.announced is not None
    assert lot.announced > 0.95

    again = measure([200], kept=read(kept), keep=kept)  # it is not audited twice
    assert again == found
    assert len(kept.read_text().splitlines()) == 1
    assert "1 of 1" in table(again)
