from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meds_builder import DAY_ZERO, Patient, make_records, make_vocabulary

from checker.errors import DataError
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    TokenizedRecords,
    Tokenizer,
    check_fits,
    load_vocabulary,
)
from checker.records.tokenization.values import load_bins

DATA = Path(__file__).parents[3] / "shared" / "data"

FRAME = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "T//1d", "T//7d", "T//7d+"]
AGES = [f"AGE//{years}" for years in range(100)]
SEXES = ["GENDER//F", "GENDER//M"]
RACES = ["RACE//WHITE", "RACE//BLACK"]
CODES = ["A", "B", "C", "LAB"]
TIME = [{"upTo": "1d", "token": "T//1d"}, {"upTo": "1w", "token": "T//7d"}, {"token": "T//7d+"}]
FULL = {
    "vocabulary": "unused",
    "specials": {"bos": "[BOS]", "eos": "[EOS]", "pad": "[PAD]"},
    "static": {"sex": "GENDER//*", "race": {"codes": "RACE//*", "take": "last"}},
    "age": "AGE//{years}",
    "time": TIME,
}
BORN = ("MEDS_BIRTH", -365.25 * 40)  # 1979-12-31 or so: 40 years old on 2020-01-01


def tokenizer(
    spec: Mapping[str, Any] | None = None,
    *,
    tokens: Sequence[str] = (*FRAME, *AGES, *SEXES, *RACES, *CODES),
    base: Path = Path(),
) -> Tokenizer:
    return Tokenizer(
        TokenizationSpec.model_validate({"vocabulary": "unused", **(spec or {})}),
        vocabulary=make_vocabulary(tokens),
        base=base,
    )


def words(rules: Tokenizer, encoded: TokenizedRecords, i: int = 0) -> list[str]:
    tokens = rules.vocabulary.tokens
    return [tokens[t] for t in encoded.record(i).tokens]


def quantiles_file(folder: Path, rows: Any, names: Sequence[str] = ("0.5", "0.25")) -> str:
    """Write what MEDS-transforms' `fit_vocabulary_indices` leaves of quantiles; any order."""
    fields = [pa.field(f"values/quantile/{name}", pa.float32()) for name in names]
    quantiles = [
        None if values is None else {field.name: v for field, v in zip(fields, values, strict=True)}
        for values in rows.values()
    ]
    table = pa.table(
        {"code": list(rows), "values/quantiles": pa.array(quantiles, pa.struct(fields))}
    )
    pq.write_table(table, folder / "codes.parquet")
    return "codes.parquet"


def bins_file(folder: Path, edges: Any) -> str:
    table = pa.table(
        {"code": list(edges), "edges": pa.array(list(edges.values()), pa.list_(pa.float64()))}
    )
    pq.write_table(table, folder / "bins.parquet")
    return "bins.parquet"


# --- sequences ----------------------------------------------------------------------------------


def test_a_whole_sequence_is_laid_out_as_declared() -> None:
    rules = tokenizer(FULL)
    patient = [
        ("GENDER//F", None),
        ("RACE//WHITE", None),
        BORN,
        ("A", 0),
        ("RACE//BLACK", 0.5),  # dated, but of a static field: the last one counts
        ("B", 1),
        ("C", 1),
        ("A", 8.5),
        ("B", 8.75),
        ("C", 100),
    ]
    encoded = rules.encode(*make_records([patient]))
    record = encoded.record(0)
    #            gaps: A→B 1 day, C→A 7.5 days, A→B 6 hours, B→C 91.25 days
    expected = [
        "[BOS]", "AGE//40", "GENDER//F", "RACE//BLACK",
        "A", "T//1d", "B", "C", "T//7d+", "A", "T//1d", "B", "T//7d+", "C", "[EOS]",
    ]  # fmt: skip
    assert words(rules, encoded) == expected
    e, t, s, x = KIND_EVENT, KIND_TIME, KIND_STATIC, KIND_SPECIAL
    assert record.kind.tolist() == [x, s, s, s, e, t, e, e, t, e, t, e, t, e, x]
    assert record.event.tolist() == [-1, -1, -1, -1, 0, -1, 1, 2, -1, 3, -1, 4, -1, 5, -1]
    assert record.field.tolist() == [-1, 0, 1, 2] + [-1] * 11
    assert record.time_days.tolist() == pytest.approx(
        [0, 0, 0, 0, 0, 1, 1, 1, 8.5, 8.5, 8.75, 8.75, 100, 100, 0]
    )
    codes = make_records([patient])[1]
    spelled = [codes[c] if c >= 0 else None for c in record.code]
    assert spelled[:5] == [None, None, "GENDER//F", "RACE//BLACK", "A"]
    assert spelled[5:8] == [None, "B", "C"]
    assert rules.field_names == ("age", "sex", "race")
    assert encoded.static_values == {"sex": ("F",), "race": ("BLACK",)}
    assert encoded.coverage.events == 6


def test_codes_that_already_are_tokens_need_no_rules() -> None:
    rules = tokenizer()
    patient = [("GENDER//F", None), ("A", 0), ("B", 30)]
    encoded = rules.encode(*make_records([patient]))
    assert words(rules, encoded) == ["GENDER//F", "A", "B"]
    assert encoded.record(0).kind.tolist() == [KIND_STATIC, KIND_EVENT, KIND_EVENT]
    assert encoded.record(0).field.tolist() == [-1, -1, -1]
    assert rules.field_names == ()


def test_the_birth_is_an_event_unless_an_age_is_declared() -> None:
    patient = [("MEDS_BIRTH", -5), ("A", 0)]
    without = tokenizer({"time": TIME}, tokens=[*FRAME, "MEDS_BIRTH", "A"])
    encoded = without.encode(*make_records([patient]))
    assert words(without, encoded) == ["MEDS_BIRTH", "T//7d", "A"]
    assert encoded.record(0).time_days.tolist() == [0, 5, 5]
    with_age = tokenizer({"time": TIME, "age": "AGE//{years}"})
    assert words(with_age, with_age.encode(*make_records([patient]))) == ["AGE//0", "A"]


def test_patients_without_events_or_facts_have_short_sequences() -> None:
    rules = tokenizer(FULL)
    encoded = rules.encode(
        *make_records([[], [("A", 0)], [BORN], [("GENDER//M", None), ("RACE//WHITE", None)], []])
    )
    assert [words(rules, encoded, i) for i in range(5)] == [
        ["[BOS]", "[EOS]"],
        ["[BOS]", "A", "[EOS]"],
        ["[BOS]", "[EOS]"],  # a birth and nothing after it: no age to tell
        ["[BOS]", "GENDER//M", "RACE//WHITE", "[EOS]"],
        ["[BOS]", "[EOS]"],
    ]
    assert encoded.age_years.tolist() == [-1, -1, -1, -1, -1]
    assert encoded.static_values["sex"] == (None, None, None, "M", None)


def test_the_prefix_order_is_the_one_declared() -> None:
    rules = tokenizer({**FULL, "prefixOrder": ["race", "sex", "age"]})
    patient = [("GENDER//F", None), ("RACE//WHITE", None), BORN, ("A", 0)]
    encoded = rules.encode(*make_records([patient]))
    assert words(rules, encoded)[1:4] == ["RACE//WHITE", "GENDER//F", "AGE//40"]
    assert encoded.record(0).field.tolist() == [-1, 0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    ("gap_days", "token"),
    [(1e-6, "T//1d"), (1, "T//1d"), (1.001, "T//7d"), (7, "T//7d"), (7.001, "T//7d+")],
)
def test_a_gap_belongs_to_the_first_bin_that_reaches_it(gap_days: float, token: str) -> None:
    rules = tokenizer({"time": TIME})
    encoded = rules.encode(*make_records([[("A", 0), ("B", gap_days)]]))
    assert words(rules, encoded) == ["A", token, "B"]


@pytest.mark.parametrize(
    ("birth", "event", "years"),
    [
        ("1980-06-15", "2020-06-14", 39),  # the day before the birthday
        ("1980-06-15", "2020-06-15", 40),
        ("1980-02-29", "2021-02-28", 40),
        ("1980-02-29", "2021-03-01", 41),
        ("1931-12-31", "2020-12-30", 88),
        ("2020-06-15", "2020-01-01", 0),  # before birth
    ],
)
def test_ages_are_completed_years(birth: Any, event: Any, years: int) -> None:
    rules = tokenizer({"age": "AGE//{years}"})
    day = {
        name: float((datetime.fromisoformat(date) - DAY_ZERO).days)
        for name, date in (("birth", birth), ("event", event))
    }
    patient = sorted([("MEDS_BIRTH", day["birth"]), ("A", day["event"])], key=lambda e: e[1])
    encoded = rules.encode(*make_records([patient]))
    assert words(rules, encoded)[0] == f"AGE//{years}"
    assert encoded.age_years.tolist() == [years]


def test_the_age_token_tells_the_first_event_and_age_years_the_last() -> None:
    rules = tokenizer({"age": "AGE//{years}"})
    encoded = rules.encode(*make_records([[BORN, ("A", 10), ("B", 3650)]]))
    assert words(rules, encoded)[0] == "AGE//40"
    assert encoded.age_years.tolist() == [49]  # ten days and nine birthdays later


# --- values -------------------------------------------------------------------------------------


def test_a_value_becomes_the_bin_of_its_code(tmp_path: Path) -> None:
    spec = {"values": {"bins": bins_file(tmp_path, {"LAB": [0.7, 1.2, 3], "OTHER": [1]})}}
    quantiles = [f"LAB//Q{i}" for i in range(1, 5)]
    rules = tokenizer(spec, tokens=["LAB", "A", *quantiles], base=tmp_path)
    values = [-1, 0.7, 1.0, 1.2, 2.9, 3, 1e9]
    patient: Patient = [*(("LAB", 0, v) for v in values), ("LAB", 0), ("A", 0, 5)]
    encoded = rules.encode(*make_records([patient]))
    # an edge belongs to the bin above it; no value, no bin; no edges, no bin
    assert words(rules, encoded) == [
        "LAB//Q1", "LAB//Q2", "LAB//Q2", "LAB//Q3", "LAB//Q3", "LAB//Q4", "LAB//Q4", "LAB", "A",
    ]  # fmt: skip
    assert len(set(encoded.record(0).code[:8].tolist())) == 1


def test_a_bin_with_a_token_of_its_own_follows_its_code(tmp_path: Path) -> None:
    spec = {"values": {"bins": bins_file(tmp_path, {"LAB": [1, 2]}), "token": "Q{bin}"}}
    rules = tokenizer(
        {**spec, "time": TIME}, tokens=[*FRAME, "LAB", "A", "Q1", "Q2", "Q3"], base=tmp_path
    )
    encoded = rules.encode(*make_records([[("LAB", 0, 1.5), ("LAB", 2), ("LAB", 3, 9), ("A", 3)]]))
    assert words(rules, encoded) == ["LAB", "Q2", "T//7d", "LAB", "T//1d", "LAB", "Q3", "A"]
    record = encoded.record(0)
    assert record.event.tolist() == [0, 0, -1, 1, -1, 2, 2, 3]
    assert record.kind.tolist() == [3, 3, 2, 3, 2, 3, 3, 3]
    assert record.code.tolist() == [1, 1, -1, 1, -1, 1, 1, 0]
    assert [rules.token_code(rules.vocabulary.ids[t]) for t in ("LAB", "Q1", "Q3")] == [
        "LAB",
        None,
        None,
    ]


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=0, max_size=12).map(sorted),
    st.lists(st.floats(-120, 120, width=32), min_size=1, max_size=30),
)
def test_bins_are_those_of_numpy(
    tmp_path_factory: pytest.TempPathFactory, edges: Any, values: Any
) -> None:
    folder = tmp_path_factory.mktemp("bins")
    spec = {"values": {"bins": bins_file(folder, {"A": [0], "LAB": edges, "Z": [1]})}}
    tokens = ["LAB", *(f"LAB//Q{i}" for i in range(1, len(edges) + 2))]
    rules = tokenizer(spec, tokens=tokens, base=folder)
    encoded = rules.encode(*make_records([[("LAB", 0, v) for v in values]]))
    expected = np.digitize(np.array(values, np.float32), np.array(edges, np.float32)) + 1
    assert words(rules, encoded) == [f"LAB//Q{i}" for i in expected]


# --- unknown codes ------------------------------------------------------------------------------

MANY = [("A", d) for d in range(60)]


def test_an_unknown_code_is_left_out_with_its_time_token_and_counted() -> None:
    rules = tokenizer({"time": TIME})
    encoded = rules.encode(*make_records([[*MANY[:30], ("X", 30), ("B", 40)]]))
    assert words(rules, encoded)[-3:] == ["A", "T//7d+", "B"]  # the gap between kept events: 11 d
    assert encoded.record(0).event[-1] == 30
    assert (encoded.coverage.events, encoded.coverage.unknown) == (32, 1)
    assert encoded.coverage.commonest == (("X", 1),)


def test_an_unknown_code_becomes_the_declared_unknown_token() -> None:
    rules = tokenizer({"time": TIME, "specials": {"unk": "[UNK]"}})
    encoded = rules.encode(*make_records([[*MANY[:30], ("X", 30), ("B", 40)]]))
    assert words(rules, encoded)[-4:] == ["T//1d", "[UNK]", "T//7d+", "B"]
    assert encoded.coverage.unknown == 1
    assert encoded.coverage.unknown_share == 1 / 32


@pytest.mark.parametrize("specials", [{}, {"unk": "[UNK]"}])
def test_too_many_unknown_events_are_refused_with_the_commonest(specials: dict[str, str]) -> None:
    rules = tokenizer({"specials": specials})
    patient = [*MANY[:18], ("X", 70), ("X", 71), ("Y", 72)]
    with pytest.raises(DataError, match=r"lacks 14.3% of the 21 events.*'X' \(2\), 'Y' \(1\)"):
        rules.encode(*make_records([patient]))
    assert rules.encode(*make_records([patient]), partial=True).coverage.unknown == 3
    assert rules.variant().encode(*make_records([patient])).coverage.unknown == 3


def test_one_in_twenty_unknown_events_is_just_allowed() -> None:
    rules = tokenizer()
    assert rules.encode(*make_records([[*MANY[:19], ("X", 99)]])).coverage.unknown_share == 0.05


def test_an_unknown_bin_is_counted_under_its_token(tmp_path: Path) -> None:
    spec = {"values": {"bins": bins_file(tmp_path, {"LAB": [1]})}}
    rules = tokenizer(spec, tokens=["A", "LAB//Q1"], base=tmp_path)
    patient: Patient = [*MANY, ("LAB", 70, 0.5), ("LAB", 70, 5), ("LAB", 70)]
    coverage = rules.encode(*make_records([patient])).coverage
    assert coverage.counts == {"LAB//Q2": 1, "LAB": 1}


def test_coverage_adds_up() -> None:
    rules = tokenizer()
    one = rules.encode(*make_records([[*MANY, ("X", 60)]])).coverage
    two = rules.encode(*make_records([[*MANY, ("W", 60), ("X", 61)]])).coverage
    both = one + two
    assert (both.events, both.unknown, both.commonest) == (123, 3, (("X", 2), ("W", 1)))


def test_prefix_tokens_that_the_vocabulary_lacks_are_refused() -> None:
    rules = tokenizer({"age": "AGE//{years}", "static": {"sex": "GENDER//*"}})
    old = [("GENDER//F", None), ("MEDS_BIRTH", -365.25 * 105), ("A", 0)]
    with pytest.raises(DataError, match=r"token of 'age' \(such as 'AGE//10[45]'\) for 100.0%"):
        rules.encode(*make_records([old]))
    other = [("GENDER//X", None), BORN, ("A", 0)]
    with pytest.raises(DataError, match=r"'sex' \(such as 'GENDER//X'\).*did you mean 'GENDER//"):
        rules.encode(*make_records([other]))
    encoded = rules.encode(*make_records([other]), partial=True)
    assert words(rules, encoded) == ["AGE//40", "A"]


# --- rules that cannot be meant -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"specials": {"bos": "[B0S]"}}, r"specials.bos.*'\[B0S\]'; did you mean '\[BOS\]'\?"),
        ({"time": [{"token": "T//8d"}]}, r"time: the vocabulary has no token 'T//8d'; did you"),
        ({"time": [{"upTo": "1d", "token": "T//1d"}]}, "must not have an 'upTo'"),
        ({"time": [{"token": "T//1d"}, {"token": "T//7d"}]}, "must have an 'upTo'"),
        ({"time": [TIME[1], TIME[0], TIME[2]]}, "'upTo: 1d' is not above the one before"),
        ({"age": "AGE//50"}, "must hold {years} once"),
        ({"age": "YEARS//{years}"}, "no token like 'YEARS//{years}'"),
        ({"static": {"sex": "GENDER//*"}, "prefixOrder": ["sx"]}, "'sx' is not declared; did you"),
        ({"static": {"sex": "GENDER//*"}, "prefixOrder": []}, "'sex' is missing"),
        ({"static": {"sex": "G*"}, "prefixOrder": ["sex", "sex"]}, "is named twice"),
        ({"values": {"bins": "nowhere.parquet"}}, "nowhere.parquet: there is no such file"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(
    spec: Mapping[str, Any] | None, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        tokenizer(spec)


def test_static_fields_that_match_nothing_or_overlap_are_refused() -> None:
    data = make_records([[("GENDER//F", None), ("A", 0)]])
    with pytest.raises(DataError, match="no code of the data set matches 'SEX//\\*'"):
        tokenizer({"static": {"sex": "SEX//*"}}).encode(*data)
    with pytest.raises(DataError, match="'GENDER//F' belongs to two static fields"):
        tokenizer({"static": {"sex": "GENDER//*", "all": "*"}}).encode(*data)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"code": ["A"], "edge": [[1.0]]}, "no column 'edges'"),
        ({"code": ["A"], "edges": [[2.0, 1.0]]}, "edges of 'A' are not ascending"),
        ({"code": ["A", "A"], "edges": [[1.0], [1.0]]}, "'A' is listed twice"),
        ({"code": ["A"], "edges": ["x"]}, "does not hold lists of numbers"),
    ],
)
def test_bins_that_are_none_are_refused(tmp_path: Path, table: Any, sentence: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "bins.parquet")
    with pytest.raises(DataError, match=sentence):
        tokenizer({"values": {"bins": "bins.parquet"}}, base=tmp_path)


# --- variants -----------------------------------------------------------------------------------


def test_variants_deviate_in_one_thing_and_leave_the_declared_format_alone() -> None:
    rules = tokenizer(FULL)
    data = make_records([[("GENDER//F", None), ("RACE//WHITE", None), BORN, ("A", 0)]])
    declared = words(rules, rules.encode(*data))
    older = words(rules, rules.variant(age_shift=1).encode(*data))
    assert older == ["[BOS]", "AGE//41", *declared[2:]]
    order = ["sex", "race", "age"]
    turned = rules.variant(prefix_order=order)
    assert words(rules, turned.encode(*data))[1:4] == ["GENDER//F", "RACE//WHITE", "AGE//40"]
    assert turned.field_names == tuple(order)
    beyond = words(rules, rules.variant(age_shift=80).encode(*data))
    assert beyond == ["[BOS]", *declared[2:]]  # AGE//120 is no token
    assert words(rules, rules.encode(*data)) == declared


# --- tokens as codes ----------------------------------------------------------------------------


def test_tokens_are_read_back_as_the_codes_they_stand_for(tmp_path: Path) -> None:
    spec = {**FULL, "values": {"bins": bins_file(tmp_path, {"LAB": [1]})}}
    tokens = [*FRAME, *AGES, *SEXES, *RACES, *CODES, "LAB//Q1", "LAB//Q2", "A//Q1"]
    rules = tokenizer(spec, tokens=tokens, base=tmp_path)
    codes = dict(zip(tokens, rules.vocabulary_codes(), strict=True))
    assert {codes[t] for t in ("[PAD]", "[BOS]", "[EOS]", "T//1d", "AGE//7")} == {None}
    assert codes["A"] == "A"
    assert codes["GENDER//F"] == "GENDER//F"
    assert codes["LAB//Q1"] == codes["LAB//Q2"] == "LAB"
    assert codes["A//Q1"] == "A//Q1"  # A has no bins: it is a code of this name
    assert rules.token_code(len(tokens)) is None
    assert rules.token_code(-1) is None


EVENTS = st.lists(
    st.tuples(st.sampled_from([*CODES, "X"]), st.integers(0, 9), st.sampled_from([0.5, 5.0])),
    max_size=15,
).map(lambda events: sorted(events, key=lambda event: event[1]))
STATICS = st.lists(
    st.sampled_from([("GENDER//F", None), ("RACE//BLACK", None), ("B", None)]), max_size=3
)


@given(st.lists(st.tuples(STATICS, EVENTS), min_size=1, max_size=6))
def test_order_offsets_and_codes_survive(patients: Any) -> None:
    rules = tokenizer(FULL).variant()
    # the dictionary must hold the static fields, whoever has them
    full = [[*s, *e] for s, e in patients] + [[("GENDER//M", None), ("RACE//WHITE", None)]]
    records, codes = make_records(full)
    encoded = rules.encode(records, codes)
    assert encoded.offsets[0] == 0
    assert encoded.offsets[-1] == len(encoded.tokens)
    assert (np.diff(encoded.offsets) >= 2).all()
    tokens = rules.vocabulary.tokens
    for i, (_, events) in enumerate(patients):
        record = encoded.record(i)
        is_event = record.kind == KIND_EVENT
        known = [event for event in events if event[0] != "X"]
        assert [tokens[t] for t in record.tokens[is_event]] == [event[0] for event in known]
        assert [codes[c] for c in record.code[is_event]] == [event[0] for event in known]
        assert [rules.token_code(int(t)) for t in record.tokens[is_event]] == [
            event[0] for event in known
        ]
        assert record.event[is_event].tolist() == list(range(len(known)))
        days = [event[1] - known[0][1] for event in known]
        assert record.time_days[is_event].tolist() == days
        at = np.flatnonzero(record.kind == KIND_TIME)
        assert (record.kind[at + 1] == KIND_EVENT).all()
        assert len(at) == len({event[1] for event in known}) - bool(known)
        assert tokens[record.tokens[0]] == "[BOS]"
        assert tokens[record.tokens[-1]] == "[EOS]"
        one = rules.encode(records.select(np.array([i])), codes)
        assert one.tokens.tolist() == record.tokens.tolist()


# --- vocabularies -------------------------------------------------------------------------------


def vocab_file(folder: Path, content: Any, name: str = "vocab.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_three_kinds_of_vocabulary_say_the_same(tmp_path: Path) -> None:
    table = pa.table({"code": ["A", "B", "C"], "code/vocab_index": [1, 2, None]})
    pq.write_table(table, tmp_path / "codes.parquet")
    tokenizer_json = {
        "added_tokens": [{"id": 2, "content": "B"}],
        "model": {"type": "WordLevel", "vocab": {"A": 1}, "unk_token": "A"},
    }
    paths = [
        vocab_file(tmp_path, {"A": 1, "B": 2}),
        vocab_file(tmp_path, tokenizer_json, "tokenizer.json"),
        tmp_path / "codes.parquet",
    ]
    for path in paths:
        vocabulary = load_vocabulary(path)
        assert dict(vocabulary.ids) == {"A": 1, "B": 2}
        assert vocabulary.tokens == [None, "A", "B"]  # a gap is no error
        assert len(vocabulary.sha256) == 64


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"A": 1, "B": 1}, "tokens 'A' and 'B' have the same id 1"),
        ({"A": -1}, "'A' has the negative id -1"),
        ('{"A": 1, "A": 2}', "token 'A' is listed twice"),
        ({"A": "1"}, "should give each token an integer id, not '1' to 'A'"),
        ({"A": True}, "should give each token an integer id"),
        ({"A": 1.5}, "should give each token an integer id"),
        ("true", "not a JSON object"),
        (["A", 1], "should give each token an integer id, not 1 to 1"),
        (["A", "A"], "token 'A' is listed twice"),
        ("A B C", "neither parquet nor valid JSON"),
        ({}, "is empty"),
        ({"model": {"type": "BPE", "vocab": {}}}, "type BPE, which splits codes"),
        ({"model": {"type": "WordLevel"}}, "no object 'model.vocab'"),
        (
            {"model": {"vocab": {"A": 1}}, "added_tokens": [{"id": 2, "content": "A"}]},
            "token 'A' has the ids 1 and 2",
        ),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    path = vocab_file(tmp_path, content)
    with pytest.raises(DataError, match=sentence) as caught:
        load_vocabulary(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_or_wrong_vocabulary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: there is no such vocabulary"):
        load_vocabulary(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_vocabulary(tmp_path)
    pq.write_table(pa.table({"code": ["A"]}), tmp_path / "codes.parquet")
    with pytest.raises(DataError, match="no column 'code/vocab_index'"):
        load_vocabulary(tmp_path / "codes.parquet")
    whole = (tmp_path / "codes.parquet").read_bytes()
    (tmp_path / "codes.parquet").write_bytes(whole[:50])
    with pytest.raises(DataError, match="not a whole parquet file"):
        load_vocabulary(tmp_path / "codes.parquet")


def test_a_vocabulary_larger_than_the_model_is_refused() -> None:
    vocabulary = make_vocabulary(["A", "B", "C"])
    check_fits(vocabulary, 3)
    check_fits(vocabulary, 64)
    with pytest.raises(DataError, match="token 'C' has the id 2, but the model has 2 ids"):
        check_fits(vocabulary, 2)


# --- real data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["synthea", "mimic_iv_demo"])
def test_real_records_are_tokenized_without_loss(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not beside this checkout")
    cohort = load_cohort(DataSpec(path=name), base=DATA)
    ages = [f"AGE//{years}" for years in range(120)]
    rules = tokenizer(
        {
            "specials": {"bos": "[BOS]", "eos": "[EOS]"},
            "static": {"sex": "GENDER//*"},
            "age": "AGE//{years}",
            "time": TIME,
        },
        tokens=[*FRAME, *ages, *cohort.codes],
    )
    encoded = rules.encode(cohort.members, cohort.codes)
    assert encoded.coverage.unknown == 0
    consumed = [i for i, c in enumerate(cohort.codes) if c.startswith(("GENDER//", "MEDS_BIRTH"))]
    kept = ~np.isin(cohort.members.code, consumed)
    from_codes = (encoded.code >= 0) & (encoded.field < 0)
    np.testing.assert_array_equal(encoded.code[from_codes], cohort.members.code[kept])
    assert (np.diff(encoded.offsets) >= 4).all()
    assert set(encoded.static_values["sex"]) <= {"F", "M", "FEMALE", "MALE"}
    assert (encoded.age_years >= 0).all()
    assert (encoded.age_years < 120).all()


def test_the_quantiles_of_meds_transforms_are_edges(tmp_path: Path) -> None:
    rows = {"LAB": [3.0, 1.0], "DX": None, "A": [None, None]}
    found, _ = load_bins(tmp_path / quantiles_file(tmp_path, rows))
    assert {code: edges.tolist() for code, edges in found.items()} == {"LAB": [1.0, 3.0]}


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        ({"LAB": [3.0, 2.0]}, ("0.25", "0.5"), "the edges of 'LAB' are not ascending"),
        ({"LAB": [None, 2.0]}, ("0.25", "0.5"), "the edges of 'LAB' are not ascending finite"),
        ({"LAB": [1.0, 2.0]}, ("0.25", "mean"), "is no struct of 'values/quantile/P'"),
    ],
)
def test_quantiles_that_are_no_edges_are_refused(
    tmp_path: Path, rows: Any, names: Sequence[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_bins(tmp_path / quantiles_file(tmp_path, rows, names))
