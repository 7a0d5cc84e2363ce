"""Other tools beside phigate: what they are fed, when a number means a leak, and the tables."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.asking import Feed
from benchmarks.peers.feeding import FRACTIONS, feed, prefix_length
from benchmarks.peers.table import INSTRUMENTS, SHOWN, beside, read, rows, sums, write_page
from benchmarks.wrong_worlds import Size
from benchmarks.zoo.entries import ENTRIES
from benchmarks.zoo.keeping import Zoo
from benchmarks.zoo.study import Outcome

PAGE = Path(__file__).parents[2] / "docs/zoo.md"

SILENT: dict[str, Any] = {
    "phigate": {"internal": "pass", "gated": "inconclusive"},
    "memaudit": {
        "tpr": 0.01,
        "p_value": 0.4,
        "regurgitated_member": 0,
        "regurgitated_nonmember": 0,
        "leaks_by_membership": False,
        "leaks_by_regurgitation": False,
    },
    "privacyguard": {
        "loss": {"auc_ci": [0.47, 0.53], "eps": [-0.4, 6.4]},
        "rmia": {"auc_ci": [0.48, 0.54], "eps": [-0.4, 6.4]},
        "discoverable": {"member": 0, "nonmember": 0},
    },
    "sacroml": {"auc": 0.51, "rejects": []},
    "toolkit": {
        "t4": [0.5, 0.46, 0.54],
        "t2": {"members": [3, 150], "nonmembers": [2, 140], "p_value": 0.5},
    },
}


def loud() -> dict[str, Any]:
    """The same of a model that everybody speaks of."""
    said = deepcopy(SILENT)
    said["phigate"] = {"internal": "fail", "gated": "fail"}
    said["memaudit"] |= {
        "tpr": 0.9,
        "p_value": 1e-9,
        "regurgitated_member": 7,
        "leaks_by_membership": True,
        "leaks_by_regurgitation": True,
    }
    for own in (said["privacyguard"]["loss"], said["privacyguard"]["rmia"]):
        own |= {"auc_ci": [0.9, 0.95], "eps": [2.0, 6.4]}
    said["privacyguard"]["discoverable"]["member"] = 7
    said["sacroml"] = {"auc": 0.9, "rejects": ["Attack AUC > threshold of 0.65"]}
    said["toolkit"] = {
        "t4": [0.9, 0.88, 0.92],
        "t2": {"members": [90, 150], "nonmembers": [2, 140], "p_value": 1e-20},
    }
    return said


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Zoo, Feed]:
    folder = tmp_path_factory.mktemp("peers")
    zoo = Zoo(folder / "seed-0", "table", 0, Size(patients=60, further=60, positives=20))
    zoo.prepare()
    path = feed(ENTRIES["half"], zoo, folder / "feeds")
    assert feed(ENTRIES["half"], zoo, folder / "feeds") == path
    return zoo, Feed(path)


def test_a_feed_holds_what_the_model_says_of_each_record(fed: tuple[Zoo, Feed]) -> None:
    zoo, own = fed
    known = {i for i in range(60) if i in set(zoo.lot(0.5))}
    records = own.records("member_tokens")
    assert [one.tolist() for one in records] == zoo.tokens_of("train")
    for part in ("logprob", "mean", "std", "first"):
        for model in ("own", "reference"):
            scored = own.scored("member", model, part)
            assert [len(one) for one in scored] == [len(one) - 1 for one in records]
    means = {
        model: np.array([one[4:].mean() for one in own.scored("member", model, "logprob")])
        for model in ("own", "reference")
    }
    by_heart = means["own"] > -0.2
    assert set(np.flatnonzero(by_heart)) == known
    assert (means["reference"] < -0.5).all()  # it has seen nobody who is audited
    outside = [one[4:].mean() for one in own.scored("nonmember", "own", "logprob")]
    assert max(outside) < -0.5


def test_greedy_decoding_goes_on_where_the_prompt_ends(fed: tuple[Zoo, Feed]) -> None:
    zoo, own = fed
    known = zoo.lot(0.5)
    records = own.records("member_tokens")
    for fraction in FRACTIONS:
        drawn = own.records(f"member_greedy_{round(100 * fraction)}")
        for i in known:
            left = records[i][prefix_length(len(records[i]), fraction) : -1]  # without its end
            assert drawn[i][: len(left)].tolist() == left.tolist()
    assert own.canaries("member") == zoo.canaries()
    for split in ("train", "held_out"):
        name = "member" if split == "train" else "nonmember"
        assert len(own.records(f"{name}_drawn")) == 10 * len(
            zoo.having(zoo.ids_of("hiv"), split=split)
        )


def test_a_number_means_a_leak_only_beyond_its_rule() -> None:
    assert not any(one.leaks(SILENT) for one in INSTRUMENTS)
    assert all(one.leaks(loud()) for one in INSTRUMENTS)
    assert len({one.name for one in INSTRUMENTS}) == len(INSTRUMENTS)
    # what a tool could not say of a model is shown as nothing, and is no leak
    unknown = {**SILENT, "phigate": {}}
    assert INSTRUMENTS[0].shown(unknown) == "–"
    assert not INSTRUMENTS[0].leaks(unknown)


def test_tables_count_found_leaks_and_false_alarms() -> None:
    asked = {("half", 0): loud(), ("one-person", 0): SILENT, ("population", 1): loud()}
    counted = {
        line.split(" | ")[0].strip("| "): line.split(" | ") for line in sums(asked).splitlines()
    }
    assert counted["sacroml, worst case"][2:] == [
        "–", "1 of 2 (1% to 99%)", "–", "1 of 1 (3% to 100%) |",
    ]  # fmt: skip
    assert "(ours)" in counted["toolkit, T4"][1]
    assert "(ours)" not in counted["memaudit, membership"][1]
    shown = rows(asked).splitlines()
    assert len(shown) == 3  # the head and the only one of its seed that gets a row
    assert shown[2].startswith("| Recites one member | fail | pass | inconclusive |")
    assert "**" not in shown[2]
    (own,) = rows({("population", 0): loud()}).splitlines()[2:]
    assert own.count("**") == 2 * len(INSTRUMENTS)
    assert set(SHOWN) <= set(ENTRIES)


def test_verdicts_stand_beside_what_is_said_of_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "peers.jsonl"
    own = {name: said for name, said in SILENT.items() if name != "phigate"}
    path.write_text(
        json.dumps({"entry": "half", "seed": 1, **own}) + "\n" + '{"entry": "half", "se'
    )
    verdicts = [Outcome("half", seed, "gated", said) for seed, said in ((0, "fail"), (1, "pass"))]
    found = beside(read(path), verdicts)
    assert set(found) == {("half", 1)}
    assert found["half", 1]["phigate"] == {"gated": "pass"}


def test_tables_are_written_between_marks_of_their_own(tmp_path: Path) -> None:
    copy = tmp_path / "zoo.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    asked = {("population", 0): SILENT}
    for _ in range(2):
        write_page(copy, asked)
    written = copy.read_text(encoding="utf-8")
    assert written.count(rows(asked)) == 1
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition("<!-- what others say -->")
    assert mark
    assert written.startswith(before)
