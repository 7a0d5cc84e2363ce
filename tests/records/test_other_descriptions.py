"""Members told otherwise: every age, value and first token that could be meant is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import meds
import numpy as np
import pytest
from meds_builder import make_records, make_vocabulary

from checker.codes import CodeReader
from checker.policy.documents import TokenizationSpec
from checker.records.other_descriptions import (
    BEGINNING,
    EVENTS_LEFT,
    LATER,
    Telling,
    possible_first_tokens,
    tellings,
)
from checker.records.record_parts import EVENTS, PARTS, KindsOfEvents
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_TIME,
    TokenizedRecord,
    TokenizedRecords,
    Tokenizer,
)

TOKENS = [
    "[PAD]", "[CLS]", "[BOS]", "[UNK]", "[EOS]", *(f"AGE//{n}" for n in range(40)), "GENDER//F",
    "GENDER//M", *(f"C{n}" for n in range(60)), "T", "never seen",
]  # fmt: skip
WOMAN = [
    ("GENDER//F", None), (meds.birth_code, -365.25 * 3 - 100), ("C0", 0.0), ("C1", 0.0),
    ("C2", 9.0),
]  # fmt: skip
MAN = [("GENDER//M", None), (meds.birth_code, -365.25 * 38 - 100), ("C5", 0.0), ("C6", 1.0)]


def tokenized(
    *patients: Any, bos: str | None = "[BOS]", **more: Any
) -> tuple[TokenizedRecords, Tokenizer]:
    specials = {"eos": "[EOS]", "pad": "[PAD]"} | ({"bos": bos} if bos else {})
    spec = {
        "vocabulary": "v", "specials": specials, "static": {"sex": "GENDER//*"},
        "age": "AGE//{years}", "time": [{"token": "T"}],
    }  # fmt: skip
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(spec | more),
        vocabulary=make_vocabulary(TOKENS),
        base=Path(),
    )
    records, codes = make_records(patients)
    return tokenizer.encode(records, codes, partial=True), tokenizer


def told(*patients: Any, max_length: int | None = None, **more: Any) -> list[Telling]:
    records, tokenizer = tokenized(*patients, **more)
    first = [TOKENS.index("[CLS]")]
    return list(tellings(records, tokenizer=tokenizer, first_tokens=first, max_length=max_length))


def spelled(telling: Telling) -> list[str]:
    return [TOKENS[token] for token in telling.tokens.tolist()]


def test_a_record_is_told_with_other_ages_sexes_and_first_tokens_and_without_a_field() -> None:
    found = {one.name: spelled(one) for one in told(WOMAN, MAN) if one.row == 0}
    assert found["declared"] == ["[BOS]", "AGE//3", "GENDER//F", "C0", "C1", "T", "C2", "[EOS]"]
    assert found["age +5"][1] == "AGE//8"
    assert found["age -3"][1] == "AGE//0"
    assert "age -4" not in found  # there is no such age
    assert found["sex: GENDER//M"][:3] == ["[BOS]", "AGE//3", "GENDER//M"]
    assert found["without age"][:2] == ["[BOS]", "GENDER//F"]
    assert found["without sex"][:3] == ["[BOS]", "AGE//3", "C0"]
    assert found["BOS: [CLS]"][:2] == ["[CLS]", "AGE//3"]
    # ages up to ten older, three younger; one other sex; two without; one first token; three that
    # leave out more; two that put one in behind the prefix
    assert len(found) == 1 + 10 + 3 + 1 + 2 + 1 + 3 + 2


def test_a_record_is_told_without_a_prefix_and_with_a_token_more_before_its_events() -> None:
    found = {one.name: spelled(one) for one in told(WOMAN, MAN) if one.row == 0}
    assert found["without BOS"][:3] == ["AGE//3", "GENDER//F", "C0"]
    assert found["without static fields"][:3] == ["[BOS]", "C0", "C1"]
    assert found["without prefix"] == ["C0", "C1", "T", "C2", "[EOS]"]
    for token in ("[CLS]", "T"):
        assert found[f"first behind the prefix: {token}"][2:5] == ["GENDER//F", token, "C0"]
    bare = {one.name for one in told(WOMAN, bos=None, static={}, age=None)}
    between = {"first behind the prefix: T", "first behind the prefix: [CLS]"}
    assert bare == {"declared", "BOS: [CLS]", "without prefix", *between}  # sex has no field


def test_a_telling_in_which_nothing_is_left_to_compare_is_none() -> None:
    found = told(WOMAN, max_length=5)  # whose fifth token is the one event that is compared
    assert len(found) > 10
    assert all(one.compared[1:].any() and len(one.tokens) <= 5 for one in found)


VISITS = [*WOMAN[:4], *((f"C{n}", 0.01 * n if n < 20 else 1.0 * n) for n in range(2, 60))]


def test_a_record_is_told_from_a_later_visit_on_with_its_own_events_compared() -> None:
    (declared, *others) = told(VISITS, MAN, gaps="codes")
    later = {one.name: one for one in others if one.name.startswith(LATER) and one.row == 0}
    wanted = f"{LATER} (first later day, its break told, without prefix)"
    assert spelled(later[wanted])[:3] == ["T", "C20", "T"]
    assert spelled(later[f"{LATER} (first later day)"])[:4] == [
        "[BOS]",
        "AGE//3",
        "GENDER//F",
        "C20",
    ]
    assert {name.partition("(")[2].partition(",")[0].strip(")") for name in later} == {
        "first break", "first later day", "middle", "last",
    }  # fmt: skip
    events = np.array(spelled(declared))[declared.compared].tolist()
    for one in later.values():  # whose events are the declared telling's, from the second on
        own = np.array(spelled(one))[one.compared].tolist()
        assert events[one.skipped :][: len(own)] == own
        assert len(own) >= EVENTS_LEFT


def test_what_a_telling_leaves_out_counts_as_declared() -> None:
    _, *others = told(VISITS, MAN, gaps="codes")
    one = next(one for one in others if one.skipped)
    declared, own = np.full(60, -2.0), np.full(len(one.tokens) - 1, -0.5)
    shared = int(one.compared.sum())
    assert one.loss(own, declared) == pytest.approx(2.0 * (60 - shared) + 0.5 * shared)


def test_later_visits_of_a_record_that_is_cut_are_told_where_its_beginning_is() -> None:
    records, tokenizer = tokenized(VISITS, gaps="codes")
    for window, are in (("first", True), ("last", False), ("tiled", False)):
        found = list(
            tellings(records, tokenizer=tokenizer, first_tokens=[], max_length=50, window=window)
        )
        assert any(one.name.startswith(LATER) for one in found) is are
        assert max(len(one.tokens) for one in found) <= 50


def test_all_tellings_of_a_record_compare_the_same_events() -> None:
    for bos in ("[BOS]", None):
        events = {
            tuple(np.array(spelled(one))[one.compared].tolist())
            for one in told(WOMAN, MAN, bos=bos)
            if one.row == 0
        }
        assert events == {("C1", "C2")}  # the first has nothing but the prefix before it


def test_a_first_token_is_added_where_none_is_declared() -> None:
    found = {one.name: spelled(one) for one in told(WOMAN, bos=None)}
    assert found["declared"][0] == "AGE//3"
    assert found["BOS: [CLS]"][:2] == ["[CLS]", "AGE//3"]


def test_only_the_beginning_is_told_and_never_beyond_the_context() -> None:
    long = [*WOMAN, *((f"C{n}", 20.0 + n) for n in range(60))]
    (other,) = (one for one in told(long) if one.name == "age +5")
    assert len(other.tokens) == 3 + BEGINNING  # behind BOS, age and sex
    for bos in ("[BOS]", None):
        assert max(len(one.tokens) for one in told(long, bos=bos, max_length=20)) == 20


def test_who_has_no_age_or_too_few_events_is_told_no_other() -> None:
    ageless = [event for event in WOMAN if event[0] != meds.birth_code]
    assert not any("age" in one.name for one in told(ageless))
    assert told([("GENDER//F", None), ("C0", 0.0)]) == []


def test_what_may_begin_a_record_is_tried_likeliest_first() -> None:
    _, tokenizer = tokenized(WOMAN)
    unused = [TOKENS.index(name) for name in ("never seen", "[UNK]", "AGE//7", "[CLS]")]
    found = possible_first_tokens(tokenizer, unused=[*unused, 200], bos_id=TOKENS.index("[EOS]"))
    # what the configuration names; what is called like it; declared specials; other special tokens;
    # an id that the vocabulary does not name; the rest. Ages stand elsewhere in a record.
    names = [TOKENS[i] if i < len(TOKENS) else i for i in found]
    assert names == ["[EOS]", "[CLS]", "[PAD]", "[UNK]", 200, "never seen"]
    _, without = tokenized(WOMAN, bos=None)
    unused = [TOKENS.index("[BOS]")]
    assert TOKENS.index("[BOS]") in possible_first_tokens(without, unused=unused, bos_id=None)


def test_the_parts_of_a_record() -> None:
    records, _ = tokenized(WOMAN)
    record = records.record(0)
    parts = {
        name: [TOKENS[token] for token in record.tokens[belongs(record)].tolist()]
        for name, belongs in PARTS.items()
    }
    assert parts == {"static": ["AGE//3", "GENDER//F"], "time": ["T"], "end": ["[EOS]"]}


def test_events_are_told_apart_by_what_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {
        "DIAGNOSIS//ICD//10//B20": "diagnoses", "ICD9CM/042": "diagnoses",
        "LAB//50912//mg": "measurements", "MEDICATION//aspirin": "drugs", "C5": "other events",
    }  # fmt: skip
    record = TokenizedRecord(
        tokens=np.arange(7, dtype=np.int32),
        kind=np.array([KIND_SPECIAL, *[KIND_EVENT] * 5, KIND_TIME], dtype=np.int8),
        event=np.arange(7, dtype=np.int32),
        code=np.array([-1, *range(5), -1], dtype=np.int32),
        field=np.full(7, -1, dtype=np.int16),
        time_days=np.zeros(7, dtype=np.float32),
    )
    kinds = KindsOfEvents(list(codes))
    found = kinds.of(record)
    assert [EVENTS[place] for place in found[1:-1].tolist()] == list(codes.values())
    assert found[[0, -1]].tolist() == [-1, -1]
    # another patient's same codes are not read again
    monkeypatch.setattr(CodeReader, "read_own", None)
    assert np.array_equal(kinds.of(record), found)
