"""Channels of records: made of dates and rules, and held against what the loader wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_tables import table_of
from meds_builder import make_records, make_vocabulary
from numpy.typing import NDArray

from checker.errors import DataError, DocumentError
from checker.policy import ResolvedAttacker, load_target
from checker.policy.documents import Knowledge, TokenizationSpec
from checker.records.prompt_format import format_variants
from checker.records.prompts import PromptSource, build_prompts, prompt_key
from checker.records.sample import compare_sample, read_sample
from checker.records.tokenization import Records, TokenizedRecords, Tokenizer, make_tokenizer
from checker.records.tokenization.tokenizer import spec_of
from checker.targets.channels import (
    ChannelTokens,
    channels_of,
    exact_channels,
    told_channels,
)

TOKENS = [
    "[PAD]", "[BOS]", "[EOS]", "T//week", "T//long", "GENDER//F", "A", "B", "C",
    *(f"AGE//{years}" for years in range(60)),
]  # fmt: skip
CHANNELS: dict[str, Any] = {
    "ages": {"time": {"since": "birth", "unit": "1d"}},
    "visits": {"adds": {"T//*": 1}, "modulo": 2},
    "positions": {"each": 1},
}
RULES: dict[str, Any] = {
    "vocabulary": "unused",
    "specials": {"bos": "[BOS]", "eos": "[EOS]"},
    "static": {"sex": "GENDER//*"},
    "age": "AGE//{years}",
    "time": [{"upTo": "1d"}, {"upTo": "7d", "token": "T//week"}, {"token": "T//long"}],
    "channels": CHANNELS,
}
BORN = -20 * 365.25


def ruled(**spec: Any) -> Tokenizer:
    rules = TokenizationSpec.model_validate({**RULES, **spec})
    return Tokenizer(rules, vocabulary=make_vocabulary(TOKENS), base=Path())


def world(count: int = 40) -> tuple[Records, tuple[str, ...]]:
    rng = np.random.default_rng(3)
    patients: list[Any] = []
    for _ in range(count):
        day = 0.0
        events: list[Any] = [("GENDER//F", None), ("MEDS_BIRTH", -365.0 * int(rng.integers(1, 50)))]
        for _ in range(9):
            day += float(rng.choice([0.0, 0.25, 3.0, 90.0]))
            events.append((str(rng.choice(["A", "B", "C"])), day))
        patients.append(events)
    return make_records(patients)


def encoded(tokenizer: Tokenizer, *patients: Any) -> list[dict[str, list[float]]]:
    records, codes = make_records(list(patients))
    found = tokenizer.encode(records, codes, partial=True)
    return [
        {name: own.tolist() for name, own in told_channels(found.record(i).tokens).items()}
        for i in range(len(found))
    ]


PATIENT = [
    ("GENDER//F", None), ("MEDS_BIRTH", BORN), ("A", 0), ("B", 0.5), ("C", 4), ("A", 100.5),
]  # fmt: skip
# [BOS] AGE sex A B week C long A [EOS]


def test_rules_give_each_token_its_numbers() -> None:
    (found,) = encoded(ruled(), PATIENT)
    assert found == {
        "ages": [7305, 7305, 7305, 7305, 7305, 7309, 7309, 7405, 7405, 7405],
        "visits": [0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        "positions": list(range(10)),
    }


@pytest.mark.parametrize(
    ("time", "more", "expected"),
    [
        ({"unit": "1y"}, {}, [20, 20, 20, 20, 20, 20, 20, 20, 20, 20]),
        ({"unit": "1d", "since": "first"}, {}, [0, 0, 0, 0, 0, 4, 4, 100, 100, 100]),
        ({"unit": "1d", "since": "first"}, {"takesEffect": "after"},
         [0, 0, 0, 0, 0, 0, 4, 4, 100, 100]),
        ({"unit": "1d", "front": "zero"}, {"most": 7400},
         [0, 0, 0, 7305, 7305, 7309, 7309, 7400, 7400, 7400]),
        ({"unit": "1d", "since": "first"}, {"whole": False},
         [0, 0, 0, 0, 0.5, 4, 4, 100.5, 100.5, 100.5]),
    ],
)  # fmt: skip
def test_time_is_told_as_the_target_says(
    time: dict[str, Any], more: dict[str, Any], expected: list[float]
) -> None:
    (found,) = encoded(ruled(channels={"ages": {"time": time, **more}}), PATIENT)
    assert found["ages"] == expected


def test_drawn_time_tokens_add_the_middle_of_their_gaps_or_what_the_target_says() -> None:
    records, codes = make_records([PATIENT])
    drawn = np.array([TOKENS.index("T//week"), TOKENS.index("A"), TOKENS.index("T//long")])
    for adds, expected in (({}, [4, 4, 11]), ({"T//long": 30}, [4, 4, 34])):
        spec = {"time": {"since": "first", "unit": "1d"}, "adds": adds}
        tokens = ruled(channels={"ages": spec}).encode(records, codes, partial=True).tokens
        told = told_channels(np.concatenate([tokens[:4], drawn]))["ages"]
        assert told[4:].tolist() == expected  # (1 + 7) / 2, and where the last bin begins


def test_numbers_are_each_patients_own() -> None:
    other = [("GENDER//F", None), ("MEDS_BIRTH", -10.0), ("A", 0), ("A", 3)]
    nobody = [("GENDER//F", None), ("MEDS_BIRTH", -10.0)]
    first, second, third = encoded(ruled(), PATIENT, other, nobody)
    assert first["ages"][0] == 7305
    assert second["ages"] == [10, 10, 10, 10, 13, 13, 13]
    assert second["positions"] == list(range(7))
    assert third["ages"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("rule", "is_refused"),
    [
        ({"adds": {"T//week": 3, "T//long": 90}}, False),
        ({"adds": {"T//*": 0}}, False),  # the trainer's generation lets no time pass
        ({"adds": {"T//long": 30}}, False),
        ({"adds": {"*": 400}}, True),
        ({"adds": {"T//long": 5000}}, True),
        ({"adds": {"A": 5}}, True),  # hardly ever drawn or not, no time passes there
        ({"sets": {"C": 36500}}, True),
        ({"each": 30}, True),
        ({"adds": {"T//long": 5000}, "takesEffect": "after"}, True),
        ({"adds": {"T//week": 3, "T//long": 90}, "takesEffect": "after"}, False),
    ],
)
def test_what_is_drawn_goes_on_as_time_does_in_records(
    rule: dict[str, Any], is_refused: bool
) -> None:
    ages = {"ages": {"time": {"since": "birth", "unit": "1d"}, **rule}}
    tokenizer = ruled(channels=ages)
    if is_refused:
        with pytest.raises(DataError, match=r"channels\.ages: adds, sets and each let time go on"):
            tokenizer.encode(*world())
    else:
        tokenizer.encode(*world())


def test_ids_beyond_the_vocabulary_let_no_time_pass() -> None:
    """A loader's table may hold some; by a rule they change nothing."""
    ages = {"ages": {"time": {"since": "birth", "unit": "1d"}, "adds": {"T//week": 3}}}
    tokenizer = ruled(channels=ages)
    found = tokenizer.encode(*world())
    rules = channels_of(found.tokens)
    ids = np.where(np.asarray(found.tokens) == 6, len(TOKENS) + 30, np.asarray(found.tokens))
    tokens = ChannelTokens(ids.astype(np.int32), exact_channels(found.tokens), rules)
    tokenizer._channels.check_steps(tokens, found.offsets)


def test_who_has_no_birth_has_no_age() -> None:
    with pytest.raises(DataError, match=r"channels\.ages: counts from birth, and 1 of 2 patients"):
        encoded(ruled(), PATIENT, [("GENDER//F", None), ("A", 0)])


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ({"visits": {"adds": {"[VS]": 1}}}, r"channels\.visits\.adds: no token matches '\[VS\]'"),
        ({"ages": {"time": {"unit": "999y"}}}, "tells every token of these patients the same, 0"),
        ({"kinds": {"sets": {"*": 3}}}, "the same, 3"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(channels: dict[str, Any], said: str) -> None:
    records, codes = world()
    for partial in (False, True):  # as a plan surveys everybody, and then makes some
        with pytest.raises(DataError, match=said):
            ruled(channels=channels).encode(records, codes, partial=partial)
    if "tells" in said or "same" in said:
        few = records.select(np.arange(3))
        assert len(ruled(channels=channels).encode(few, codes, partial=True)) == 3


# --- a loader's own -------------------------------------------------------------------------------


def loaders(rules: Tokenizer, records: Records, codes: tuple[str, ...]) -> pa.Table:
    found = rules.encode(records, codes)
    table = table_of(found, records, codes)
    for name, own in told_channels(found.tokens).items():
        table = table.append_column(name, pa.array(own))
    return table


def made(folder: Path, table: pa.Table, channels: dict[str, Any] | None = None) -> Tokenizer:
    pq.write_table(table, folder / "tokens.parquet")
    spec = {name: RULES[name] for name in ("vocabulary", "specials", "static", "age")}
    spec |= {"records": "tokens.parquet", "channels": CHANNELS if channels is None else channels}
    return make_tokenizer(
        TokenizationSpec.model_validate(spec), vocabulary=make_vocabulary(TOKENS), base=folder
    )


def test_a_loaders_numbers_are_taken_where_dates_and_rules_give_them(tmp_path: Path) -> None:
    records, codes = world()
    rules = ruled()
    found = made(tmp_path, loaders(rules, records, codes)).encode(records, codes)
    expected = told_channels(rules.encode(records, codes).tokens)
    for name, own in told_channels(found.tokens).items():
        assert np.array_equal(own, expected[name]), name


def shifted(by: int) -> Callable[..., NDArray[Any]]:
    def change(own: NDArray[Any], subject: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.roll(subject, by) == subject, np.roll(own, by), own)

    return change


def of_another(own: NDArray[Any], subject: NDArray[Any]) -> NDArray[Any]:
    starts = np.flatnonzero(np.append(True, subject[1:] != subject[:-1]))
    parts = np.split(own, starts[1:])
    pairs = zip(parts, [*parts[1:], parts[0]], strict=True)
    return np.concatenate([np.resize(other, len(part)) for part, other in pairs])


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(
    "change",
    [
        lambda own, _: np.zeros_like(own),
        shifted(1),
        shifted(-1),
        of_another,
        lambda own, _: own // 7,
        lambda own, _: own + 1,
    ],
)
def test_a_loaders_wrong_numbers_are_refused(
    tmp_path: Path, name: str, change: Callable[..., NDArray[Any]]
) -> None:
    records, codes = world()
    table = loaders(ruled(), records, codes)
    wrong = change(table[name].to_numpy(), table["subject_id"].to_numpy())
    assert not np.array_equal(wrong, table[name].to_numpy())
    table = table.set_column(table.column_names.index(name), name, pa.array(wrong))
    tokenizer = made(tmp_path, table)
    with pytest.raises(DataError, match=f"column '{name}' is not what .* give"):
        tokenizer.encode(records, codes)


def test_what_a_loader_tells_before_the_first_date_is_its_own(tmp_path: Path) -> None:
    records, codes = world()
    table = loaders(ruled(), records, codes)
    front = np.array([kind in ("special", "static") for kind in table["kind"].to_pylist()])
    ages = np.where(front, 0, table["ages"].to_numpy())
    table = table.set_column(table.column_names.index("ages"), "ages", pa.array(ages))
    found = made(tmp_path, table).encode(records, codes)
    assert told_channels(found.tokens)["ages"].tolist() == ages.tolist()


def test_every_column_is_declared_and_every_channel_a_column(tmp_path: Path) -> None:
    records, codes = world()
    table = loaders(ruled(), records, codes)
    with pytest.raises(
        DataError, match=r"column 'positions'.* tokenization\.channels does not say"
    ):
        made(tmp_path, table, {n: CHANNELS[n] for n in ("ages", "visits")})
    with pytest.raises(DataError, match="has no column 'visits', or two"):
        made(tmp_path, table.drop(["visits"]))
    nulls = pa.array([None, *table["ages"].to_pylist()[1:]])
    with pytest.raises(DataError, match="column 'ages' has rows without a number"):
        made(tmp_path, table.set_column(table.column_names.index("ages"), "ages", nulls))


def test_a_sample_holds_the_channels_too(tmp_path: Path) -> None:
    records, codes = world(3)
    found = ruled().encode(records, codes, partial=True)
    rows = [found.record(i).tokens for i in range(3)]
    columns = {"subject_id": records.subject_id.tolist(), "tokens": [r.tolist() for r in rows]}
    told = [told_channels(tokens) for tokens in rows]
    columns |= {name: [one[name].tolist() for one in told] for name in CHANNELS}

    def compared(**changed: Any) -> tuple[int, int, int, int]:
        pq.write_table(pa.table({**columns, **changed}), tmp_path / "sample.parquet")
        sample = read_sample(tmp_path / "sample.parquet", channels=tuple(CHANNELS))
        nobody = records.subject_id[:0], found.first(0)
        one = compare_sample(
            sample, {True: (records.subject_id, found), False: nobody}, max_length=None
        )
        return one.compared, one.different, one.place, one.position

    assert compared() == (3, 0, 0, 0)
    late = [told[0]["ages"].tolist(), told[1]["ages"].tolist(), told[2]["ages"].tolist()]
    late[1][4] += 1
    assert compared(ages=late) == (3, 1, 2, 5)
    with pytest.raises(DataError, match="row 2 has not one 'ages' for each"):
        compared(ages=[late[0], late[1][:-1], late[2]])
    del columns["visits"]
    with pytest.raises(DataError, match=r"no column 'visits'; tokenization\.channels"):
        compared()


def test_of_many_hours_one_more_is_another_place(tmp_path: Path) -> None:
    records, codes = world(3)
    time = {"time": {"since": "birth", "unit": "1h"}}
    found = ruled(channels={"ages": time}).encode(records, codes, partial=True)
    rows = [found.record(i).tokens for i in range(3)]
    told = [told_channels(tokens)["ages"] for tokens in rows]
    assert min(ages[-1] for ages in told) > 20000

    def different(ages: list[NDArray[Any]]) -> int:
        columns = {"subject_id": records.subject_id.tolist(), "tokens": [r.tolist() for r in rows]}
        columns["ages"] = [one.tolist() for one in ages]
        pq.write_table(pa.table(columns), tmp_path / "sample.parquet")
        sample = read_sample(tmp_path / "sample.parquet", channels=("ages",))
        splits = {True: (records.subject_id, found)}
        return compare_sample(sample, splits, max_length=None).different

    assert different(told) == 0
    assert different([told[0], told[1] + 1, told[2]]) == 1


# --- prompts and variants -------------------------------------------------------------------------


def test_a_prompt_keeps_its_dates_and_counts_anew() -> None:
    records, codes = make_records([PATIENT, PATIENT])
    rules = ruled()
    source = PromptSource(
        rules.encode(records, codes, partial=True), records.subject_id, codes, rules, seed=1
    )
    prompts = build_prompts(
        source,
        ResolvedAttacker(
            "a", "An attacker", Knowledge.model_validate({"static": "all", "events": "all"}),
            "samples", gating=True, cites=(),
        ),
        removed=np.isin(codes, ["C"]),
        counted=np.isin(codes, ["C"]),
        watch=np.array([TOKENS.index("C")], dtype=np.int32),
        horizon_tokens=5,
    )  # fmt: skip
    prompt = prompts.prompt(0)
    assert [TOKENS[token] for token in prompt] == [
        "[BOS]", "AGE//20", "GENDER//F", "A", "B"
    ]  # fmt: skip
    assert told_channels(prompt)["ages"].tolist() == [7305] * 5
    assert told_channels(prompt)["positions"].tolist() == list(range(5))
    assert prompt_key(prompt) == prompt_key(prompts.prompt(1))
    older = [*PATIENT[:1], ("MEDS_BIRTH", BORN - 3.0), *PATIENT[2:]]
    records, codes = make_records([older])
    other = rules.encode(records, codes, partial=True).tokens[:5]
    assert other.tolist() == prompt.tolist()
    assert prompt_key(other) != prompt_key(prompt)


def test_every_channel_is_tried_otherwise() -> None:
    records, codes = world(5)
    rules = ruled()
    variants = {
        one.name: one
        for one in format_variants(records, codes, tokenizer=rules, bos_id=None, max_length=None)
    }
    declared = variants["declared"]
    for name in CHANNELS:
        for how in ("nothing", "another patient's", "one token late", "one token early"):
            one = variants[f"channel {name}: {how}"]
            assert [t.tolist() for t in one.sequences] == [t.tolist() for t in declared.sequences]
            told, true = (
                np.concatenate([told_channels(t)[name] for t in v.sequences])
                for v in (one, declared)
            )
            assert true.min() <= told.min() <= told.max() <= true.max()
            if (name, how) != ("positions", "another patient's"):
                assert not np.array_equal(told, true), (name, how)
    assert "channel ages: times 7" in variants
    assert "channel visits: times 7" not in variants
    older, true = (
        told_channels(variants[name].sequences[0])["ages"] for name in ("age +1", "declared")
    )
    assert ((older - true) == 365).all() or ((older - true) == 366).any()


def test_positions_by_date_are_tried_where_the_model_can_be_told_some() -> None:
    records, codes = make_records([PATIENT])
    rules = ruled(channels={})
    settings: dict[str, Any] = {"tokenizer": rules, "bos_id": None, "max_length": None}
    assert not [
        one.name for one in format_variants(records, codes, **settings) if "positions" in one.name
    ]
    found = {
        one.name: told_channels(one.sequences[0])["position_ids"].tolist()
        for one in format_variants(records, codes, positions=90, **settings)
        if "positions" in one.name
    }
    # [BOS] AGE sex A B week C long A, without EOS
    assert found == {
        "positions by day": [0, 0, 0, 0, 0, 4, 4, 89, 89],
        "positions by week": [0, 0, 0, 0, 0, 0, 0, 14, 14],
        "positions by year": [0] * 9,
    }


def test_segments_are_tried_beside_what_is_declared() -> None:
    records, codes = make_records([PATIENT])
    for channels in ({}, {"visits": CHANNELS["visits"]}):
        rules = ruled(channels=channels)
        settings: dict[str, Any] = {"tokenizer": rules, "bos_id": None, "max_length": None}
        variants = list(format_variants(records, codes, segments=True, **settings))
        declared = told_channels(variants[0].sequences[0])
        found = {}
        for one in variants:
            told = told_channels(one.sequences[0])
            if "token_type_ids" in told:
                found[one.name] = told.pop("token_type_ids").tolist()
                assert {n: v.tolist() for n, v in told.items()} == {
                    n: v.tolist() for n, v in declared.items()
                }
        # [BOS] AGE sex A B week C long A, without EOS; B is half a day later than A
        assert found == {
            "one segment": [0] * 9,
            "segments by day from 0": [0, 0, 0, 0, 0, 1, 1, 0, 0],
            "segments by day from 1": [1, 1, 1, 1, 1, 0, 0, 1, 1],
            "segments by time from 0": [0, 0, 0, 0, 1, 0, 0, 1, 1],
            "segments by time from 1": [1, 1, 1, 1, 0, 1, 1, 0, 0],
        }


def test_digests_know_of_channels_and_targets_without_any_are_as_before() -> None:
    assert ruled().sha256 != ruled(channels={}).sha256
    assert "channels" not in spec_of(ruled(channels={}).spec)


def test_a_target_says_what_a_channel_cannot_be(tmp_path: Path) -> None:
    text = """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: t, version: "1"}
spec:
  model: {path: model}
  data: {path: data}
  tokenization:
    vocabulary: vocab.json
    channels:
      ages: {time: {unit: 0d}, each: 1}
      visits: {modulo: 2}
      Bad-Name: {each: 1}
"""
    path = tmp_path / "target.yaml"
    path.write_text(text)
    with pytest.raises(DocumentError, match="Bad-Name"):
        load_target(path)
    path.write_text(text.replace("      Bad-Name: {each: 1}\n", ""))
    with pytest.raises(DocumentError) as caught:
        load_target(path)
    said = str(caught.value)
    assert "counts time has no 'each'" in said
    assert "a unit is longer than nothing" in said
    assert "tells every token the same" in said


def test_records_of_nobody_have_no_channels() -> None:
    found = ruled(static={}).encode(Records.of_nobody(), (), partial=True)
    assert isinstance(found, TokenizedRecords)
    assert len(found.tokens) == 0
