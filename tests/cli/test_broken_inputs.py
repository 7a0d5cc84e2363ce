"""Whatever file is broken, phigate says so in a sentence: the short version of the benchmark."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_files import DEEP, LONG, broken_json, not_utf8

from benchmarks.broken_inputs import KINDS, World, make_world, try_case
from checker.errors import DataError, EvidenceError, TargetError
from checker.evidence import Manifest, load_json_file
from checker.evidence_columns import strange_column
from checker.json_text import MAX_DEPTH, read_json
from checker.policy import load_target
from checker.records.cohort import load_cohort
from checker.records.tokenization import load_vocabulary
from checker.targets.backends.checkpoint import HuggingFaceBackend

CASES = 2
PATIENCE = 120
"""Seconds; a busy machine is slow, and the benchmark is stricter."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("broken") / "world")


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_ends_in_a_sentence(world: World, kind: str) -> None:
    for case in range(CASES):
        outcome, fault = try_case(world, kind, case, seconds=PATIENCE)
        assert fault is None, (outcome, fault)


def test_a_fault_is_seen_as_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> object:
        raise KeyError("a fault of phigate's own")

    monkeypatch.setitem(KINDS, "sound", lambda world, rng: (crash, ()))
    outcome, fault = try_case(world, "sound", 0)
    assert outcome == "fault"
    assert fault is not None
    assert "KeyError" in fault.what


def test_what_is_not_broken_is_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import broken_inputs

    sound = {
        "judged": lambda world, rng: broken_inputs._judged(world),
        "verified": lambda world, rng: broken_inputs._verified(world),
        "planned": lambda world, rng: broken_inputs._plan(world, "checkpoint.yaml"),
    }
    for kind, maker in sound.items():
        monkeypatch.setitem(KINDS, kind, maker)
        assert try_case(world, kind, 0, seconds=PATIENCE) == ("accepted", None)


# --- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1, "a": 2}', "says 'a' twice"),
        (b'{"b": {"a": 1, "c": 2, "a": 1}}', "says 'a' twice"),
        (rb'{"a": "\ud800"}', "half of a surrogate pair"),
        (rb'"\udc00\ud800"', "half of a surrogate pair"),
        (rb'"\ud800\n\udc00"', "half of a surrogate pair"),
        (b"\xff", "not UTF-8"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "1e999"),
        (b"[" + b"9" * 41 + b"]", "41 digits"),
        (b"9" * 5000, "5000 digits"),
        (b"[" * DEEP, f"deeper than {MAX_DEPTH}"),
        (b'{"a":' * DEEP, f"deeper than {MAX_DEPTH}"),
        (b"[1,]", "line 1"),
        (b"", "not valid JSON"),
    ],
)
def test_what_readers_may_differ_on_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_json(content)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]},
        {"text": '😀 \\ud800 [[[{{{ " \\ é\u202e', "long": LONG},
        [[[[1.5, -0.0, 2**63, 10**30, None, True]]]],
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_json_can_say_is_read_as_it_is(value: object, ascii_only: bool) -> None:
    content = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert read_json(content) == value
    assert read_json(b"\xef\xbb\xbf" + content) == value


def test_numbers_that_python_writes_for_models_are_read_where_they_are_meant() -> None:
    # Mamba 2 saves time_step_limit: [0.0, Infinity]
    assert read_json(b"[0.0, Infinity]", infinite=True) == [0.0, float("inf")]


def test_a_report_that_says_two_things_is_refused(world: World, tmp_path: Path) -> None:
    content = (world.folder / "run" / "manifest.json").read_bytes()
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    load_json_file(path, Manifest)
    path.write_bytes(content.replace(b'"salt":', b'"salt": "x",\n  "salt":', 1))
    with pytest.raises(EvidenceError, match="says 'salt' twice"):
        load_json_file(path, Manifest)


def test_the_same_seed_breaks_a_file_the_same_way(world: World) -> None:
    content = (world.folder / "run" / "run.json").read_bytes()
    made = [broken_json(content, np.random.default_rng(i)) for i in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


# --- tables, vocabularies, checkpoints ----------------------------------------------------------


def test_codes_that_are_not_utf8_are_named(world: World, tmp_path: Path) -> None:
    own = world.copy(tmp_path / "own")
    target = load_target(own.folder / "leaking.yaml").document.spec
    load_cohort(target.data, base=own.folder)
    for file, column in (
        ("cohort/data/train/0.parquet", "code"),
        ("cohort/metadata/codes.parquet", "description"),
    ):
        path = own.folder / file
        table = pq.read_table(path)
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, not_utf8(table.num_rows)), path)
        with pytest.raises(DataError, match=f"{column}' holds bytes that are not UTF-8"):
            load_cohort(target.data, base=own.folder)
        pq.write_table(table, path)


def test_half_a_surrogate_pair_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    path.write_text('{"A": 0, "\\ud83d\\ude00": 1}')
    assert load_vocabulary(path).ids == {"A": 0, "😀": 1}
    path.write_text('{"A": 0, "B\\ud800": 1}')
    with pytest.raises(DataError, match="surrogate"):
        load_vocabulary(path)


@pytest.mark.parametrize(
    ("key", "size"),
    [
        ("vocab_size", 10**12),
        ("vocab_size", -1),
        ("n_layer", 100_000),
        ("num_hidden_layers", 10**9),
        ("n_positions", 10**12),
        ("n_embd", 10**15),
        ("n_head", 1e300),
    ],
)
def test_sizes_that_the_weights_cannot_have_are_refused_at_once(
    world: World, tmp_path: Path, key: str, size: float
) -> None:
    own = world.copy(tmp_path / "own")
    model = load_target(own.folder / "checkpoint.yaml").document.spec.model
    HuggingFaceBackend().describe(model, own.folder)
    path = own.folder / "checkpoint" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: size}))
    with pytest.raises(TargetError, match=key):
        HuggingFaceBackend().describe(model, own.folder)


# --- evidence -----------------------------------------------------------------------------------

LABELS = {
    "patient": pa.array(["a", "b"]),
    "member": pa.array([True, False]),
    "positive": pa.array([True, True]),
    "eligible": pa.array([True, False]),
    "prompt": pa.array(["p", None]),
    "subgroups": pa.array([["x"], []], pa.list_(pa.string())),
    "base_score": pa.array([0.5, None], pa.float32()),
}


def test_evidence_as_phigate_writes_it_is_taken() -> None:
    assert strange_column(pa.table(LABELS), kind="labels") is None
    chunks = pa.concat_tables([pa.table(LABELS)] * 3)
    assert strange_column(chunks, kind="labels") is None
    assert strange_column(pa.table(LABELS).slice(0, 0), kind="labels") is None
    # what a plug-in names itself is its own; what it shares is not
    own = {"patient": LABELS["patient"], "score": pa.array(["high", "low"])}
    assert strange_column(pa.table(own), kind="of-a-plugin") is None
    assert strange_column(pa.table({"member": ["yes"]}), kind="of-a-plugin") is not None


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("member", pa.array([1, 0]), "true or false"),
        ("member", pa.array([True, None]), "lacks 1 of 2"),
        ("member", pa.nulls(2), "true or false"),
        ("patient", pa.array([1, 2]), "texts"),
        ("patient", not_utf8(2), "damaged"),
        ("subgroups", pa.array(["x", "y"]), "lists of texts"),
        ("subgroups", pa.array([["x"], None], pa.list_(pa.string())), "lacks 1"),
        ("subgroups", pa.array([["x"], [None]], pa.list_(pa.string())), "gaps"),
        ("base_score", pa.array([0.5, float("nan")], pa.float32()), "not finite"),
        ("base_score", pa.array([0.5, float("inf")], pa.float64()), "not finite"),
        ("base_score", pa.array(["a", "b"]), "numbers"),
    ],
)
def test_evidence_that_holds_something_else_is_not_counted(
    name: str, values: pa.Array, says: str
) -> None:
    said = strange_column(pa.table({**LABELS, name: values}), kind="labels")
    assert said is not None
    assert name in said
    assert says in said


def test_a_column_that_stands_twice_is_refused() -> None:
    table = pa.table(LABELS).append_column("member", pa.array([False, True]))
    assert strange_column(table, kind="labels") == "it has two columns 'member'"
