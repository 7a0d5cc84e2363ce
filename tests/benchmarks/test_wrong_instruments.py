"""A short version of the table of wrong instruments: few rows, one seed, tables only."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import wrong_instruments
from benchmarks.wrong_instruments import CASES, Outcome, read, run, table, wrongs
from benchmarks.wrong_worlds import Size

SMALL = Size(patients=200, further=0, positives=80, classes=1, score="loss")
ROWS = (
    "leaking", "sound", "times-rotated", "five-years-older", "diagnoses-shuffled-confirmed",
    "last-12",
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    folder = tmp_path_factory.mktemp("wrong")
    out = folder / "wrong.jsonl"
    return out, run(folder / "work", out, seeds=[0], kinds=["table"], only=ROWS, size=SMALL)


def test_rightly_described_the_leak_fails_and_the_sound_passes(
    measured: tuple[Path, list[Outcome]],
) -> None:
    verdicts = {one.case: one.verdict for one in measured[1]}
    assert (verdicts["leaking"], verdicts["sound"]) == ("fail", "pass")


def test_no_leak_passes_under_a_wrong_description(measured: tuple[Path, list[Outcome]]) -> None:
    assert len(measured[1]) == len(ROWS)
    assert wrongs(measured[1]) == []
    found = {one.case: one for one in measured[1]}
    # these passed before it was asked whether members are recognised under other descriptions
    older = found["five-years-older"].cells
    assert {verdict for verdict, _ in older.values()} == {"inconclusive"}
    assert ("inconclusive", "attack-not-shown-to-work") in older.values()
    # and these before events were compared kind by kind, whatever a sample confirms
    shuffled = found["diagnoses-shuffled-confirmed"].cells
    assert set(shuffled.values()) == {("inconclusive", "attack-not-shown-to-work")}
    # nor was it asked whether the model knows records better uncut
    assert ("inconclusive", "attack-not-shown-to-work") in found["last-12"].cells.values()


def test_what_was_measured_is_read_and_not_measured_again(
    measured: tuple[Path, list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, outcomes = measured
    with out.open("a") as file:
        file.write('{"case": "sound", "ki')  # what a kill leaves
    assert read(out) == outcomes
    monkeypatch.setattr(wrong_instruments, "measure", None)
    again = run(out.parent / "work", out, seeds=[0], kinds=["table"], only=ROWS, size=SMALL)
    assert again == outcomes
    assert table(again).count("\n") == 1 + len(ROWS)


def outcome(case: str, verdict: str, **cells: str) -> Outcome:
    found: dict[str, tuple[str, str | None]] = {name: (cells[name], None) for name in cells}
    expected = CASES[case].expected
    return Outcome(case, "table", 0, "judged", verdict, 0, "", cells=found, expected=expected)


def test_a_pass_is_told_of_the_audit_and_of_any_cell_that_leaks() -> None:
    control = outcome("leaking", "fail", one="fail", two="inconclusive")
    assert wrongs([control, outcome("no-bos", "fail", one="fail", two="pass")]) == []
    told = wrongs([control, outcome("no-bos", "fail", one="pass", two="pass")])
    assert told == ["no-bos, table, seed 0: cells that leak pass: one"]
    told = wrongs([control, outcome("no-bos", "pass", one="pass")])
    assert told[0] == "no-bos, table, seed 0: the audit passes"
    assert len(told) == 2
    assert wrongs([outcome("sound", "inconclusive")]) == [
        "sound, table, seed 0: inconclusive and not pass: "
    ]


def test_every_row_of_the_issue_is_there() -> None:
    groups = {case.group for case in CASES.values() if case.expected is None}
    assert groups >= {
        "splits exchanged", "vocabulary shifted by one", "vocabulary shifted by forty",
        "vocabulary shuffled", "diagnoses alone shuffled", "BOS wrong", "EOS wrong",
        "time tokens wrong", "static order wrong", "ages five years off",
        "static fields of another release", "births missing", "half the cohort missing",
        "nonmembers trained on", "members taken from another split", "reference a copy",
        "an over-trained reference", "decoy weights", "an undeclared adapter", "plug-ins",
        "a window beyond 64 tokens", "a chunk beyond 64 tokens", "a rope switch beyond 64 tokens",
        "a rope switch within records", "static fields left out", "cut where it was not",
        "order within a time wrong",
    }  # fmt: skip
