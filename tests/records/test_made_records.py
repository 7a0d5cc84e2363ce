"""Records that a trainer's own loader made stand in for rules, event by event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_tables import table_of, to_table
from meds_builder import FIRST_SUBJECT, Patient, make_records, make_vocabulary

from checker.attacks.api import load_attack
from checker.codes import RANK_STRONG
from checker.errors import DataError, DocumentError
from checker.planning.classes import of_parts
from checker.planning.protocol import planning_of
from checker.policy import ResolvedAttacker, load_target
from checker.policy.documents import Knowledge, TokenizationSpec
from checker.records.prompts import PromptSource, build_prompts
from checker.records.tokenization import (
    KIND_MARK,
    KIND_SPECIAL,
    MadeRecords,
    Records,
    Tokenizer,
    make_tokenizer,
)

RULES: dict[str, Any] = {
    "vocabulary": "unused",
    "specials": {"bos": "[BOS]", "eos": "[EOS]"},
    "static": {"sex": "GENDER//*", "race": "RACE//*"},
    "age": "AGE//{years}",
}
TIME = [{"upTo": "1d"}, {"upTo": "7d", "token": "T//week"}, {"token": "T//long"}]
TOKENS = [
    "[PAD]", "[BOS]", "[EOS]", "T//week", "T//long", "GENDER//F", "GENDER//M", "RACE//W",
    "A", "B", "C", "[VS]", "[VE]", "3-B20", "3-Z72", "//0", "//5",
    *(f"AGE//{years}" for years in range(60)),
]  # fmt: skip
SHARED = ("specials", "static", "age")


def world(count: int = 60) -> tuple[Records, tuple[str, ...]]:
    rng = np.random.default_rng(5)
    patients: list[Patient] = []
    for number in range(count):
        day = 0.0
        events: list[Any] = [
            (f"GENDER//{'FM'[number % 2]}", None),
            ("RACE//W", None),
            ("MEDS_BIRTH", -365.25 * int(rng.integers(1, 50)) - 1),
        ]
        for _ in range(int(rng.integers(2, 8))):
            day += float(rng.choice([0.0, 0.25, 3.0, 90.0]))
            events.append((str(rng.choice(["A", "B", "C"])), day))
        patients.append(events)
    return make_records(patients)


def made(folder: Path, table: pa.Table, **spec: Any) -> Tokenizer:
    pq.write_table(table, folder / "tokens.parquet")
    return make_tokenizer(
        TokenizationSpec.model_validate(
            {"vocabulary": "unused", "records": "tokens.parquet", **spec}
        ),
        vocabulary=make_vocabulary(TOKENS),
        base=folder,
    )


def ruled(**spec: Any) -> Tokenizer:
    rules = TokenizationSpec.model_validate({**RULES, **spec})
    return Tokenizer(rules, vocabulary=make_vocabulary(TOKENS), base=Path())


def prompts_of(
    rules: Tokenizer,
    records: Records,
    codes: tuple[str, ...],
    *,
    removed: Sequence[str] = (),
    **knows: Any,
) -> list[list[str]]:
    encoded = rules.encode(records, codes, partial=True)
    source = PromptSource(encoded, records.subject_id, codes, rules, seed=1)
    prompts = build_prompts(
        source,
        ResolvedAttacker(
            "a",
            "An attacker",
            Knowledge.model_validate({"static": "all", **knows}),
            "samples",
            gating=True,
            cites=(),
        ),
        removed=np.isin(codes, removed),
        counted=np.zeros(len(codes), dtype=np.bool_),
        watch=np.empty(0, dtype=np.int32),
        horizon_tokens=5,
    )
    return [[TOKENS[t] for t in prompts.prompt(i)] for i in range(len(prompts))]


def test_a_table_of_what_rules_make_is_what_they_make(tmp_path: Path) -> None:
    records, codes = world()
    rules = ruled(time=TIME)
    expected = rules.encode(records, codes)
    shared = {name: RULES[name] for name in SHARED}
    tokenizer = made(tmp_path, table_of(expected, records, codes), **shared)
    found = tokenizer.encode(records, codes)
    for name in ("tokens", "offsets", "kind", "event", "code", "field", "time_days", "age_years"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.static_values == expected.static_values
    assert (found.coverage.events, found.coverage.unknown) == (expected.coverage.events, 0)
    assert tokenizer.field_names == rules.field_names
    variants: list[dict[str, Any]] = [{"prefix_order": ["race", "age", "sex"]}, {"age_shift": 1}]
    for variant in variants:
        one, other = (t.variant(**variant).encode(records, codes) for t in (rules, tokenizer))
        assert np.array_equal(one.tokens, other.tokens)
    some = records.select(np.array([7, 2, 40]))
    assert np.array_equal(
        tokenizer.encode(some, codes, partial=True).tokens,
        rules.encode(some, codes, partial=True).tokens,
    )


@pytest.mark.parametrize(
    "knows", [{"events": 3}, {"events": "all"}, {"last": 2}, {"random": 2}, {"events": 1}]
)
@pytest.mark.parametrize("removed", [(), ("A",)])
def test_prompts_are_those_of_the_rules_with_gaps_as_the_table_teaches_them(
    tmp_path: Path, knows: dict[str, Any], removed: Sequence[str]
) -> None:
    records, codes = world()
    rules = ruled(time=TIME)
    table = table_of(rules.encode(records, codes), records, codes)
    tokenizer = made(tmp_path, table, **{name: RULES[name] for name in SHARED})
    assert tokenizer.tells_gaps
    gaps = np.array([0.3, 3.0, 90.0, 400.0])
    assert tokenizer.gap_tokens(gaps).tolist() == rules.gap_tokens(gaps).tolist()
    expected = prompts_of(rules, records, codes, removed=removed, **knows)
    assert prompts_of(tokenizer, records, codes, removed=removed, **knows) == expected


# --- what no rules say --------------------------------------------------------------------------


def visits() -> tuple[Records, tuple[str, ...], list[dict[str, Any]]]:
    """Visits with a beginning and an end, and a code in two tokens."""
    records, codes = make_records(
        [[("A", 0), ("Z72.0", 0), ("B", 30), ("C", 30)], [("B20", 5), ("Z72.5", 9)]]
    )
    spelled = {"Z72.0": ["3-Z72", "//0"], "Z72.5": ["3-Z72", "//5"], "B20": ["3-B20"]}
    rows: list[dict[str, Any]] = []

    def add(
        subject: int, token: str, kind: str, event: int | None = None, code: str | None = None
    ) -> None:
        at = None if event is None else int(records.time_us[event])
        rows.append(
            {
                "subject_id": FIRST_SUBJECT + subject,
                "token": TOKENS.index(token),
                "event": event,
                "kind": kind,
                "code": code,
                "time": at,
            }
        )

    of_subjects: list[list[tuple[int, ...]]] = [[(0, 1), (2, 3)], [(4,), (5,)]]
    for subject, groups in enumerate(of_subjects):
        add(subject, "[BOS]", "special")
        for number, group in enumerate(groups):
            if number:
                add(subject, "T//week", "time")
                add(subject, "T//long", "time")
            add(subject, "[VS]", "visit")
            for event in group:
                code = codes[records.code[event]]
                for token in spelled.get(code, [code]):
                    add(subject, token, "code", event, code)
            add(subject, "[VE]", "visit")
        add(subject, "[EOS]", "special")
    return records, codes, rows


def test_codes_in_several_tokens_and_marks_are_told_apart(tmp_path: Path) -> None:
    records, codes, rows = visits()
    tokenizer = made(tmp_path, to_table(rows), specials={"bos": "[BOS]", "eos": "[EOS]"})
    encoded = tokenizer.encode(records, codes)
    first = encoded.record(0)
    assert [TOKENS[t] for t in first.tokens] == [
        *("[BOS]", "[VS]", "A", "3-Z72", "//0", "[VE]", "T//week", "T//long"),
        *("[VS]", "B", "C", "[VE]", "[EOS]"),
    ]
    assert first.event.tolist() == [-1, -1, 0, 1, 1, -1, -1, -1, -1, 2, 3, -1, -1]
    assert (first.kind == KIND_MARK).sum() == 4
    assert [first.kind[0], first.kind[-1]] == [KIND_SPECIAL, KIND_SPECIAL]
    assert isinstance(tokenizer, MadeRecords)
    spelled = dict(zip(TOKENS, tokenizer.vocabulary_codes(), strict=True))
    assert (spelled["3-B20"], spelled["//0"], spelled["3-Z72"]) == ("B20", "Z72.0", None)
    assert tokenizer.told_codes[TOKENS.index("3-Z72")] == {"Z72.0", "Z72.5"}
    assert not tokenizer.tells_gaps  # two time tokens in a row: nobody knows how gaps add up


def test_an_event_leaves_a_prompt_with_all_of_its_tokens(tmp_path: Path) -> None:
    records, codes, rows = visits()
    tokenizer = made(tmp_path, to_table(rows), specials={"bos": "[BOS]", "eos": "[EOS]"})
    whole, _ = prompts_of(tokenizer, records, codes, events=3)
    assert whole == [
        *("[BOS]", "[VS]", "A", "3-Z72", "//0", "[VE]", "T//week", "T//long", "[VS]", "B")
    ]
    without, _ = prompts_of(tokenizer, records, codes, removed=["Z72.0"], events=3)
    assert without == ["[BOS]", "[VS]", "A", "[VE]", "T//week", "T//long", "[VS]", "B"]
    first, _ = prompts_of(tokenizer, records, codes, removed=["A", "Z72.0"], events=3)
    assert first == ["[BOS]", "[VS]", "B"]  # no gap before the first event that is known


def test_a_prompt_ends_where_what_belongs_to_the_next_event_begins(tmp_path: Path) -> None:
    records, codes, rows = visits()
    tokenizer = made(tmp_path, to_table(rows), specials={"bos": "[BOS]", "eos": "[EOS]"})
    source = PromptSource(
        tokenizer.encode(records, codes), records.subject_id, codes, tokenizer, seed=1
    )
    begin = source.positions.begin(np.array([2, 1]))
    # the end of the visit before, the time that goes by and the beginning of the next
    assert [TOKENS[t] for t in source.records.tokens[begin[0] : begin[0] + 5]] == [
        *("[VE]", "T//week", "T//long", "[VS]", "B")
    ]


# --- tables that are wrong ----------------------------------------------------------------------


def changed(table: pa.Table, column: str, values: Any) -> pa.Table:
    place = table.column_names.index(column)
    field = table.schema.field(column)
    return table.set_column(place, column, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["event"]), "has no column 'event'"),
        (
            lambda t: t.append_column("age_days", pa.array([0.0] * len(t))),
            "column 'age_days', which would go to the model beside the ids",
        ),
        (lambda t: t.slice(0, 0), "holds no tokens"),
        (lambda t: changed(t, "token", [-1] * len(t)), "ids are 0 or more"),
        (lambda t: changed(t, "token", [900] * len(t)), "for which the vocabulary has no name"),
        (lambda t: changed(t, "kind", [None] * len(t)), "rows without 'kind'"),
        (
            lambda t: t.take([*range(1, len(t)), 0]),
            "stand in two places; write them together",
        ),
        (lambda t: changed(t, "event", [None] * len(t)), "is of kind 'code' and names no event"),
        (
            lambda t: changed(t, "event", [e and 12 for e in t["event"].to_pylist()]),
            "tokens of an event stand in two places",
        ),
        (
            lambda t: changed(t, "code", [c and f"X{c}" for c in t["code"].to_pylist()]),
            "codes are none of the data set's, such as 'X",
        ),
        (
            lambda t: changed(t, "subject_id", [s + 1 for s in t["subject_id"].to_pylist()]),
            "has no tokens of 1 of 60 patients",
        ),
        (
            lambda t: t.filter(pa.array([k != "special" for k in t["kind"].to_pylist()])),
            r"only 0\.0% of its records begin with the token",
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    records, codes = world()
    rules = ruled(time=TIME)
    table = change(table_of(rules.encode(records, codes), records, codes))
    with pytest.raises(DataError, match=message):
        made(tmp_path, table, specials=RULES["specials"]).encode(records, codes)


def test_records_of_other_patients_are_noticed(tmp_path: Path) -> None:
    records, codes = world()
    table = table_of(ruled(time=TIME).encode(records, codes), records, codes)
    tokenizer = made(tmp_path, table, specials=RULES["specials"])
    turned = replace(records, subject_id=np.roll(records.subject_id, 1))
    with pytest.raises(DataError, match="events have a code that their patient's record does not"):
        tokenizer.encode(turned, codes)


def cut_short(table: pa.Table) -> pa.Table:
    """Leave out each patient's later half, as a loader does that cuts to a context."""
    event = [-1 if e is None else e for e in table["event"].to_pylist()]
    return table.filter(pa.array([e < 12 for e in event]))


def unnamed(table: pa.Table) -> pa.Table:
    """Leave the code out of every other row that tells 'A'."""
    codes = [
        None if code == "A" and row % 2 else code
        for row, code in enumerate(table["code"].to_pylist())
    ]
    return changed(table, "code", codes)


@pytest.mark.parametrize("change", [cut_short, unnamed])
def test_events_that_are_missing_of_codes_that_are_told_are_an_error(
    tmp_path: Path, change: Any
) -> None:
    records, codes = world()
    table = table_of(ruled(time=TIME).encode(records, codes), records, codes)
    tokenizer = made(tmp_path, change(table), static=RULES["static"], age=RULES["age"])
    with pytest.raises(DataError, match=r"nothing of \d+\.\d% of the events whose codes it tells"):
        tokenizer.encode(records, codes)


def test_codes_that_a_loader_leaves_out_altogether_are_counted(tmp_path: Path) -> None:
    records, codes = world()
    table = table_of(ruled(time=TIME).encode(records, codes), records, codes)
    table = table.filter(pa.array([code != "C" for code in table["code"].to_pylist()]))
    tokenizer = made(tmp_path, table, static=RULES["static"], age=RULES["age"])
    coverage = tokenizer.encode(records, codes).coverage
    assert set(coverage.counts) == {"C"}
    assert coverage.unknown == (records.code == codes.index("C")).sum()


def test_a_field_that_stands_nowhere_is_refused(tmp_path: Path) -> None:
    records, codes = world()
    table = table_of(ruled(time=TIME).encode(records, codes), records, codes)
    with pytest.raises(DataError, match="no token of kind 'static' is of the field 'tongue'"):
        made(tmp_path, table, static={"tongue": "LANGUAGE//*"})


def test_rules_beside_a_table_are_refused_where_they_stand(tmp_path: Path) -> None:
    text = """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: a, version: "1", owner: b}
spec:
  model: {path: ./model}
  tokenization:
    vocabulary: v.json
    records: t.parquet
    time: [{token: T}]
  data: {path: ./cohort}
"""
    (tmp_path / "target.yaml").write_text(text)
    with pytest.raises(DocumentError, match=r":9:5: .*is what the table .* says; remove time or"):
        load_target(tmp_path / "target.yaml")


@pytest.mark.parametrize(
    ("of_class", "watched"),
    [
        ({"Z72.0", "Z72.5"}, {"3-Z72", "//0", "//5"}),  # all that the shared part tells is of it
        ({"Z72.0"}, {"//0"}),
        ({"B20"}, {"3-B20"}),
    ],
)
def test_a_part_of_several_codes_is_a_hit_where_all_of_them_are_of_the_class(
    tmp_path: Path, of_class: set[str], watched: set[str]
) -> None:
    ranks, place, tokenizer = ranked(tmp_path, of_class, lambda rows: rows)
    is_of = [code in of_class for code in tokenizer.vocabulary_codes()]
    alone = np.where(is_of, RANK_STRONG, 0).astype(np.int8)
    found = of_parts("a-class", ranks, alone, place, tokenizer)
    assert {TOKENS[token] for token in np.flatnonzero(found)} == watched


def test_a_code_without_a_part_of_its_class_s_own_is_an_error(tmp_path: Path) -> None:
    def shared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        five, zero = TOKENS.index("//5"), TOKENS.index("//0")
        return [{**row, "token": zero} if row["token"] == five else row for row in rows]

    ranks, place, tokenizer = ranked(tmp_path, {"Z72.0"}, shared)
    nothing = np.zeros(len(TOKENS), dtype=np.int8)
    with pytest.raises(DataError, match=r"1 codes of class 'a-class' \(such as 'Z72.0'\) are told"):
        of_parts("a-class", ranks, nothing, place, tokenizer)


def ranked(folder: Path, of_class: set[str], change: Any) -> tuple[Any, dict[str, int], Tokenizer]:
    """Return ranks of the codes, where these are, and a table's tokenizer."""
    _, codes, rows = visits()
    tokenizer = made(folder, to_table(change(rows)))
    ranks = np.array([RANK_STRONG if code in of_class else 0 for code in codes], dtype=np.int8)
    return ranks, {code: i for i, code in enumerate(codes)}, tokenizer


def test_canaries_are_not_read_where_their_records_cannot_be_made(tmp_path: Path) -> None:
    _, _, rows = visits()
    tokenizer = made(tmp_path, to_table(rows))
    planning = planning_of(load_attack("canary-exposure"))
    nowhere = tmp_path / "no-manifest.json"
    cohort: Any = None
    found = planning.read(nowhere, cohort=cohort, tokenizer=tokenizer, max_length=None)
    assert found is None  # the cells end inconclusive, capability-missing
    assert ruled().makes_records
