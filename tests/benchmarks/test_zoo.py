"""The zoo: its table is whole, its truths hold, and its short version is judged rightly."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.wrong_worlds import Size
from benchmarks.zoo import study
from benchmarks.zoo.entries import ENTRIES, LEAKING, POLICIES, SOUND, TRAINED
from benchmarks.zoo.keeping import Zoo, piece, recite
from benchmarks.zoo.study import (
    Outcome,
    forget_other_plan,
    page,
    read,
    run,
    sums,
    write_page,
    wrongs,
)
from checker.testing import offer_simulated_backend

SMALL = Size(patients=120, further=120, positives=40)
PAGE = Path(__file__).parents[2] / "docs/zoo.md"


def verdicts_of(cell: str) -> Counter[str]:
    """How many audits of a cell ended how."""
    found = re.findall(r"(pass|fail|inconclusive|refused)(?: \((\d+)\))?", cell.partition(":")[0])
    return Counter({verdict: int(count or 1) for verdict, count in found})


def measured_lines() -> list[str]:
    """The page's first half; what other tools say of the same models stands behind it."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- what was measured -->")
    return rest.partition("<!-- end -->")[0].splitlines()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    offer_simulated_backend()
    small = Zoo(tmp_path_factory.mktemp("zoo") / "seed-0", "table", 0, SMALL)
    small.prepare()
    return small


def test_there_are_forty_and_each_says_what_is_right_and_why() -> None:
    assert len(ENTRIES) == len(LEAKING) + len(SOUND) + len(TRAINED) >= 40
    assert {entry.kind for entry in TRAINED} == {"gpt2", "llama", "mamba2"}
    assert all(entry.leaks for entry in LEAKING)
    assert not any(entry.leaks for entry in SOUND)
    for entry in ENTRIES.values():
        assert entry.title
        assert entry.why.endswith(".")


def test_what_an_entry_knows_is_what_its_title_says(zoo: Zoo) -> None:
    def best(name: str) -> float:
        know = ENTRIES[name].know
        assert know is not None
        return zoo.oracle_auroc(know)

    assert best("population") == 0.5
    assert best("medicine-tells-all") == pytest.approx(0.5, abs=0.05)
    # what is known of a share of members alone tells half of that share more than chance
    assert best("everybody") > 0.99
    assert best("half") == pytest.approx(0.75, abs=0.05)
    # whole records tell race: only prompts can find what is known where it is not told
    assert best("only-without-race") < 0.6 < best("only-with-race")
    assert best("whispers-three-classes") > 0.51
    for entry in (*LEAKING, *SOUND):
        assert entry.know is not None
        members = [one for one in entry.know(zoo) if one["weight"] > 0]
        assert bool(members) == (not entry.name.startswith("population")), entry.name
        assert all(one["from"] < len(one["tokens"]) for one in members), entry.name


def test_memories_begin_and_end_where_they_should(zoo: Zoo) -> None:
    record = zoo.tokens_of("train")[3]
    told, without = piece(zoo, [3], tokens=6)
    assert told["tokens"] == record[: told["from"] + 6]
    assert without["tokens"] == record[:3] + record[4 : told["from"] + 6]
    assert without["from"] == told["from"] - 1
    (only,) = recite(zoo, [3], race=False)
    assert only["from"] == 3  # before the race would stand
    assert only["tokens"] == record[:3] + record[4:]
    rare, canaries = zoo.having(zoo.rare_ids()), zoo.canaries()
    assert len(rare) == SMALL.patients // 3
    assert len(canaries) == 24


def test_a_leak_that_is_put_in_is_found_and_not_measured_twice(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "zoo.jsonl"
    some = [ENTRIES["half"]]
    outcomes = run(zoo, out, entries=some, columns=["demo"], say=lambda line: None)
    (one,) = outcomes
    assert (one.policy, one.verdict) == ("demo", "fail")
    assert one.cells["told/up-to-the-diagnosis/all"][0] == "fail"
    assert one.oracle == pytest.approx(0.75, abs=0.05)
    with out.open("a") as file:
        file.write('{"entry": "half", "se')  # what a kill leaves
    assert read(out) == outcomes
    monkeypatch.setattr(study, "measure", None)
    assert run(zoo, out, entries=some, columns=["demo"]) == outcomes
    # only what is left of an entry
    monkeypatch.setattr(
        study, "measure",
        lambda entry, zoo, left: [outcome(entry.name, policy, "fail") for policy in left],
    )  # fmt: skip
    more = run(zoo, out, entries=some, columns=["demo", "public"], say=lambda line: None)
    assert [one.policy for one in more] == ["demo", "public"]


def test_a_run_of_another_plan_is_not_judged(tmp_path: Path) -> None:
    run_folder = tmp_path / "public"
    run_folder.mkdir()
    (run_folder / "plan.json").write_bytes(b"{}")
    forget_other_plan(run_folder, b"{}")
    assert run_folder.exists()  # what a kill left is gone on with
    forget_other_plan(run_folder, b'{"seed": 1}')
    assert not run_folder.exists()


def outcome(entry: str, policy: str, verdict: str) -> Outcome:
    return Outcome(entry, 0, policy, verdict)


def test_a_wrong_release_and_a_wrong_failure_are_told() -> None:
    assert wrongs([outcome("half", "demo", "pass")]) == ["half, seed 0: demo says pass"]
    assert wrongs([outcome("population", "gated", "fail")]) == [
        "population, seed 0: gated says fail"
    ]
    assert wrongs([outcome("half", "demo", "inconclusive")]) == []
    first = outcome("one-person", "internal", "fail")
    again = replace(outcome("one-person", "internal", "inconclusive"), seed=1)
    (row,) = (line for line in page([again, first]).splitlines() if "Recites one member " in line)
    said = row.strip("| ").split(" | ")[5]
    assert verdicts_of(said) == {"inconclusive": 1, "fail": 1}
    assert "| demo | 1 of 1" in sums([outcome("half", "demo", "pass")])


def test_tables_are_written_between_the_marks(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "zoo.md"
    copy.write_text(text, encoding="utf-8")
    found = [outcome("half", "demo", "fail")]
    for _ in range(2):
        write_page(copy, found)
    written = copy.read_text(encoding="utf-8")
    assert written.count(page(found)) == 1
    assert written.startswith(text.partition("<!--")[0])
    assert json.loads(json.dumps(asdict(found[0])))["verdict"] == "fail"


def test_the_page_counts_every_release_of_a_leak() -> None:
    titles = {entry.title: entry for entry in ENTRIES.values()}
    assert len(titles) == len(ENTRIES)
    rows = [line.strip("| ").split(" | ") for line in measured_lines() if line.startswith("|")]
    counted = {row[0]: row for row in rows if row[0] in POLICIES}
    shown = [(titles[row[0]], row[4:]) for row in rows if row[0] in titles]
    for place, policy in enumerate(POLICIES):
        said = [own[place] for entry, own in shown if entry.leaks]
        audits = sum((verdicts_of(one) for one in said), Counter[str]())
        released = counted[policy][1].split(" ")
        assert (int(released[0]), int(released[2])) == (audits["pass"], audits.total())


def test_the_page_leaves_no_entry_and_no_policy_out() -> None:
    rows = [line.strip("| ").split(" | ") for line in measured_lines() if line.startswith("|")]
    shown = {row[0]: row[4:] for row in rows}
    for entry in ENTRIES.values():
        assert len(shown[entry.title]) == len(POLICIES), entry.name
        assert all(verdicts_of(said) for said in shown[entry.title]), entry.name


def test_the_page_shows_no_wrong_release() -> None:
    titles = {entry.title: entry for entry in ENTRIES.values()}
    for line in measured_lines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        entry = titles.get(cells[0])
        if entry is None:
            continue
        for policy, said in zip(POLICIES, cells[4:], strict=True):
            wrong = "pass" if entry.leaks else "fail"
            assert not verdicts_of(said)[wrong], (entry.name, policy)
