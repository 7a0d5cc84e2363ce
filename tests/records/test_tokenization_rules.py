"""Rules that models of the field need: bins that spell their tokens, gaps without any, and more"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from meds_builder import Patient, make_records, make_vocabulary

from checker.errors import DataError
from checker.policy import ResolvedAttacker
from checker.policy.documents import Knowledge, TokenizationSpec
from checker.records.prompts import PromptSource, build_prompts
from checker.records.tokenization import TokenizedRecords, Tokenizer, load_vocabulary

TOKENS = ["[CLS]", "[BOS]", "[EOS]", "GENDER//F", "T//short", "T//long", "A", "B", "LAB", "LAB//lo"]
TIME = [{"upTo": "1d"}, {"upTo": "7d", "token": "T//short"}, {"token": "T//long"}]


def tokenizer(base: Path = Path(), **spec: Any) -> Tokenizer:
    return Tokenizer(
        TokenizationSpec.model_validate({"vocabulary": "unused", **spec}),
        vocabulary=make_vocabulary(TOKENS),
        base=base,
    )


def words(rules: Tokenizer, encoded: TokenizedRecords, i: int = 0) -> list[str]:
    return [rules.vocabulary.tokens[token] or "" for token in encoded.record(i).tokens]


def test_several_leading_specials_stand_before_every_record_and_prompt() -> None:
    rules = tokenizer(specials={"bos": ["[CLS]", "[BOS]"], "eos": "[EOS]"}, time=TIME)
    patients: list[Patient] = [
        [("GENDER//F", None), ("A", 0), ("B", 0.5), ("A", 9)],
        [("B", 1)],
    ]
    records, codes = make_records(patients)
    encoded = rules.encode(records, codes)
    assert words(rules, encoded) == [
        *("[CLS]", "[BOS]", "GENDER//F", "A", "B", "T//long", "A", "[EOS]")
    ]
    assert words(rules, encoded, 1) == ["[CLS]", "[BOS]", "B", "[EOS]"]
    source = PromptSource(encoded, records.subject_id, codes, rules, seed=1)
    knows = Knowledge.model_validate({"static": "all", "events": 1})
    nothing = np.zeros(len(codes), dtype=np.bool_)
    attacker = ResolvedAttacker("a", "An attacker", knows, "samples", gating=True, cites=())
    prompts = build_prompts(
        source,
        attacker,
        removed=nothing,
        counted=nothing,
        watch=np.empty(0, dtype=np.int32),
        horizon_tokens=5,
    )
    assert [TOKENS[t] for t in prompts.prompt(0)] == ["[CLS]", "[BOS]", "GENDER//F", "A"]


def test_a_gap_without_a_token_is_told_in_none_and_one_made_longer_in_its_own() -> None:
    rules = tokenizer(time=TIME)
    assert rules.gap_tokens(np.array([0.5, 2.0, 30.0])).tolist() == [-1, 4, 5]
    assert [token for token, _, _ in rules.time_gaps_days] == [4, 5]
    encoded = rules.encode(*make_records([[("A", 0), ("B", 0.25), ("A", 3)]]))
    assert words(rules, encoded) == ["A", "B", "T//short", "A"]


def test_undated_events_may_be_left_out() -> None:
    patient = [("GENDER//F", None), ("A", None), ("B", 0)]
    for spec, expected in (
        ({}, ["GENDER//F", "A", "B"]),
        ({"undated": "omit"}, ["B"]),
        ({"undated": "omit", "static": {"sex": "GENDER//*"}}, ["GENDER//F", "B"]),
    ):
        rules = tokenizer(**spec)
        assert words(rules, rules.encode(*make_records([patient]))) == expected


def bins_file(folder: Path, tokens: Any) -> Path:
    table = pa.table(
        {
            "code": ["LAB"],
            "edges": pa.array([[1.0, 2.0]], pa.list_(pa.float64())),
            "tokens": pa.array([tokens]),
        }
    )
    pq.write_table(table, folder / "bins.parquet")
    return folder


def test_bins_may_spell_their_tokens_and_one_without_is_counted(tmp_path: Path) -> None:
    bins_file(tmp_path, ["LAB//lo", None, "LAB//hi"])
    rules = tokenizer(tmp_path, values={"bins": "bins.parquet"})
    patient: Patient = [("LAB", 0, 0.5), ("LAB", 1, 1.0), ("LAB", 2, 5.0), ("LAB", 3)]
    encoded = rules.encode(*make_records([patient]), partial=True)
    assert words(rules, encoded) == ["LAB//lo", "LAB"]
    assert encoded.coverage.counts == {"LAB, bin 2": 1, "LAB//hi": 1}
    assert rules.token_code(TOKENS.index("LAB//lo")) == "LAB"


@pytest.mark.parametrize(
    ("tokens", "spec", "message"),
    [
        (["LAB//lo"], {}, "'LAB' has 2 edges, so 3 bins, but 1 tokens"),
        ([1, 2], {}, "'LAB' has 2 edges, so 3 bins, but 2 tokens"),
        (["a", "b", "c"], {"token": "{code}//{bin}"}, "remove one of them"),
    ],
)
def test_tokens_that_do_not_fit_the_bins_are_refused(
    tmp_path: Path, tokens: Any, spec: Any, message: str
) -> None:
    bins_file(tmp_path, tokens)
    with pytest.raises(DataError, match=message):
        tokenizer(tmp_path, values={"bins": "bins.parquet", **spec})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", '["[PAD]", "A", "B"]'),
        ("vocab.csv", "token,id,count\n[PAD],0,9\nA,1,3\nB,2,1\n"),
        ("vocab.csv", "id,code\n0,[PAD]\n1,A\n2,B\n"),
    ],
)
def test_vocabularies_come_as_lists_and_tables_too(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert load_vocabulary(tmp_path / name).ids == {"[PAD]": 0, "A": 1, "B": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "has the columns 'token' and 'id'"),
        ("token,id\nA,x\n", "should give each token an integer id, not 'x'"),
        ("token,id\nA\n", "should give each token an integer id, not ''"),
        ("token,id\nA,1\nA,2\n", "'A' is listed twice"),
    ],
)
def test_a_table_that_is_no_vocabulary_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "vocab.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_vocabulary(tmp_path / "vocab.csv")


def prompts_of(
    rules: Tokenizer, patients: Any, *, removed: str, events: int | str = "all"
) -> list[list[str]]:
    """Return prompts with a class removed that nobody has, so that all of each record is known."""
    records, codes = make_records(patients)
    encoded = rules.encode(records, codes, partial=True)
    source = PromptSource(encoded, records.subject_id, codes, rules, seed=1)
    knows = Knowledge.model_validate({"static": "all", "events": events})
    is_removed = np.array([code == removed for code in codes])
    prompts = build_prompts(
        source,
        ResolvedAttacker("a", "An attacker", knows, "samples", gating=True, cites=()),
        removed=is_removed,
        counted=np.zeros(len(codes), dtype=np.bool_),
        watch=np.empty(0, dtype=np.int32),
        horizon_tokens=5,
    )
    return [[TOKENS[t] for t in prompts.prompt(i)] for i in range(len(prompts))]


def test_gaps_between_all_events_are_told_where_none_of_a_time_has_a_token() -> None:
    patient = [("NEVER", 0), ("A", 2), ("NEVER", 4), ("LAB", 30), ("B", 30), ("A", 33), ("B", 35)]
    rules = tokenizer(time=TIME, gaps="all")
    encoded = rules.encode(*make_records([patient]), partial=True)
    expected = [
        "T//short",
        "A",
        "T//short",
        "T//long",
        "LAB",
        "B",
        "T//short",
        "A",
        "T//short",
        "B",
    ]
    assert words(rules, encoded) == expected
    assert encoded.event[encoded.event >= 0].tolist() == [0, 1, 2, 3, 4]
    assert encoded.coverage.unknown == 2
    kept = tokenizer(time=TIME)
    assert words(kept, kept.encode(*make_records([patient]), partial=True)) == [
        *("A", "T//long", "LAB", "B", "T//short", "A", "T//short", "B")
    ]


def test_gaps_may_be_told_between_codes_that_are_known_by_another_bin(tmp_path: Path) -> None:
    bins_file(tmp_path, ["LAB//lo", None, "LAB//hi"])
    rules = tokenizer(tmp_path, time=TIME, gaps="codes", values={"bins": "bins.parquet"})
    patient: Patient = [("A", 0), ("LAB", 3, 1.5), ("NEVER", 20), ("B", 22), ("LAB", 40, 0.0)]
    encoded = rules.encode(*make_records([patient]), partial=True)
    expected = ["A", "T//short", "T//long", "B", "T//long", "LAB//lo"]
    assert words(rules, encoded) == expected
    assert rules.retells_gaps


def test_a_prompt_repeats_the_record_and_leaves_out_the_class_as_the_trainer_did() -> None:
    patient = [("NEVER", 0), ("A", 2), ("NEVER", 4), ("LAB", 30), ("B", 33), ("A", 34), ("B", 40)]
    rules = tokenizer(time=TIME, gaps="all")
    whole = words(rules, rules.encode(*make_records([patient]), partial=True))
    first_four = whole[: whole.index("B") + 1]
    assert prompts_of(rules, [patient], removed="none of them", events=3) == [first_four]
    # of a code that leaves, the time still goes by: as of one that the vocabulary lacks
    without_lab = [token for token in first_four if token != "LAB"]
    assert prompts_of(rules, [patient], removed="LAB", events=3) == [without_lab]
    kept = tokenizer(time=TIME)
    assert prompts_of(kept, [patient], removed="LAB", events=3) == [["A", "T//long", "B"]]
