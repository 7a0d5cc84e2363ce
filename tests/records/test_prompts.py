"""What an attacker knows, as tokens: cuts, removal, eligibility, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meds_builder import Event, Patient, make_records, make_vocabulary
from properties import examples
from scipy.stats import chisquare

from checker.errors import DataError
from checker.policy import ResolvedAttacker
from checker.policy.documents import Knowledge, TokenizationSpec
from checker.records.prompts import Prompts, PromptSource, build_prompts, prompt_key
from checker.records.tokenization import KIND_SPECIAL, KIND_STATIC, Tokenizer

TOKENS = [
    "[BOS]", "[EOS]", "GENDER//F", "RACE//W", "SOON", "LATE", "A", "B", "C", "HIV", "HIV?", "D",
]  # fmt: skip
SPEC = {
    "vocabulary": "vocab.json",
    "specials": {"bos": "[BOS]", "eos": "[EOS]"},
    "static": {"sex": "GENDER//*", "race": "RACE//*"},
    "time": [{"upTo": "7d", "token": "SOON"}, {"token": "LATE"}],
}
# [BOS] GENDER//F RACE//W  A HIV? SOON B LATE C HIV SOON D  [EOS]
#                 events:  0 1         2      3 4        5
STATIC = [("GENDER//F", None), ("RACE//W", None)]
PATIENT = [
    *STATIC,
    ("A", 0), ("HIV?", 0), ("B", 2), ("C", 40), ("HIV", 40), ("D", 41),
]  # fmt: skip


def attacker(
    static: tuple[str, ...] | Literal["all"] = (),
    events: int | Literal["all"] | None = None,
    *,
    random: int = 0,
    last: int = 0,
    code_types: tuple[str, ...] = (),
    tokens: int | None = None,
) -> ResolvedAttacker:
    knows = Knowledge(
        static=static if static == "all" else list(static),
        events=events,
        random=random or None,
        last=last or None,
        code_types=list(code_types) or None,
        tokens=tokens,
    )
    return ResolvedAttacker(
        name="k", title="K", knows=knows, access="samples", gating=True, cites=()
    )


TOKENIZER = Tokenizer(
    TokenizationSpec.model_validate(SPEC),
    vocabulary=make_vocabulary(TOKENS),
    base=None,  # type: ignore[arg-type]
)


def build_all(
    who: ResolvedAttacker,
    patients: Sequence[Patient],
    *,
    horizon: int = 100,
    nameable: bool = True,
    seed: int = 7,
    counted: str = "HIV",
    tokenizer: Tokenizer = TOKENIZER,
    only: list[int] | None = None,
) -> Prompts:
    """Prompts of patients for the class HIV with the proxy HIV?, or of some of the patients."""
    records, codes = make_records(patients)
    if only is not None:
        records = records.select(np.array(only))
    return build_prompts(
        PromptSource(
            tokenizer.encode(records, codes, partial=True),
            subject_id=records.subject_id,
            codes=codes,
            tokenizer=tokenizer,
            seed=seed,
        ),
        who,
        removed=np.array([code.startswith("HIV") and bool(counted) for code in codes]),
        counted=np.array([code == counted for code in codes]),
        watch=np.array([tokenizer.vocabulary.ids["HIV"]] if nameable else [], np.int32),
        horizon_tokens=horizon,
    )


def build(
    who: ResolvedAttacker, patient: Patient = PATIENT, horizon: int = 100, nameable: bool = True
) -> tuple[Prompts, list[str]]:
    prompts = build_all(who, [patient], horizon=horizon, nameable=nameable)
    return prompts, words_of(prompts, 0)


def words_of(prompts: Prompts, index: int) -> list[str]:
    return [TOKENS[i] for i in prompts.prompt(index)]


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (attacker(), ["[BOS]"]),
        (attacker(("sex",)), ["[BOS]", "GENDER//F"]),
        (attacker("all"), ["[BOS]", "GENDER//F", "RACE//W"]),
        # a field before what is known can be tried out; one behind it is left to the model
        (attacker(("race",)), ["[BOS]", "GENDER//F", "RACE//W"]),
        (attacker(("sex",), 1), ["[BOS]", "GENDER//F", "RACE//W", "A"]),
        # the suggestive code leaves the prompt and positions close up
        (attacker("all", 3), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B"]),
        # of the first N tokens, BOS and static facts counted, the events that are whole in them
        (attacker(tokens=3), ["[BOS]", "GENDER//F", "RACE//W"]),
        (attacker(tokens=6), ["[BOS]", "GENDER//F", "RACE//W", "A"]),
        (attacker(tokens=7), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B"]),
        (attacker((), 1, tokens=4), ["[BOS]", "GENDER//F", "RACE//W", "A"]),
        (attacker((), 3, tokens=4), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B"]),
        (attacker((), 1, tokens=7), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B"]),
        # "all" cuts before the class's first definitive code
        (attacker("all", "all"), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B", "LATE", "C"]),
        # the last ones before the class, without its proxy; before the first one stands no gap
        (attacker("all", last=1), ["[BOS]", "GENDER//F", "RACE//W", "C"]),
        (attacker("all", last=2), ["[BOS]", "GENDER//F", "RACE//W", "B", "LATE", "C"]),
        (attacker("all", 1, last=1), ["[BOS]", "GENDER//F", "RACE//W", "A", "LATE", "C"]),
        (
            attacker("all", last=9),
            ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B", "LATE", "C"],
        ),
        # so many are not there before the class: all that are, and C is dated by what is before it
        (attacker(random=9), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B", "LATE", "C"]),
        # nothing but one type of code; A and C are 40 days apart, B has nothing before it
        (attacker(code_types=("A", "[CD]")), ["[BOS]", "GENDER//F", "RACE//W", "A", "LATE", "C"]),
        (attacker(code_types=("B",)), ["[BOS]", "GENDER//F", "RACE//W", "B"]),
        # codes of the class are not told, whatever the glob says; D lies behind the class
        (attacker(code_types=("HIV*", "A", "D")), ["[BOS]", "GENDER//F", "RACE//W", "A"]),
        # what is known adds up
        (
            attacker((), 1, code_types=("C",)),
            ["[BOS]", "GENDER//F", "RACE//W", "A", "LATE", "C"],
        ),
        (
            attacker((), 1, random=1, code_types=("C",)),
            ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B", "LATE", "C"],
        ),
    ],
)
def test_a_prompt_is_what_the_attacker_knows_and_nothing_of_the_class(
    who: ResolvedAttacker, expected: list[str]
) -> None:
    prompts, words = build(who)
    assert words == expected
    assert prompts.promptable.all()


def test_a_time_token_goes_with_the_last_event_that_it_dates() -> None:
    patient = [*STATIC, ("A", 0), ("HIV?", 3), ("B", 50), ("HIV", 60)]
    # A SOON HIV? LATE B: without HIV? nothing stands behind SOON
    assert build(attacker((), 3), patient)[1][3:] == ["A", "LATE", "B"]


def test_a_time_token_stays_while_another_event_of_its_time_does() -> None:
    patient = [*STATIC, ("A", 0), ("HIV?", 3), ("B", 3), ("HIV", 60)]
    assert build(attacker((), 3), patient)[1][3:] == ["A", "SOON", "B"]


def test_a_positive_is_eligible_when_the_class_lies_within_the_horizon() -> None:
    # behind the first event stand HIV? SOON B LATE C HIV: the code is the sixth token
    for horizon, eligible in ((5, False), (6, True)):
        prompts, _ = build(attacker((), 1), horizon=horizon)
        assert prompts.positive.tolist() == [True]
        assert prompts.eligible.tolist() == [eligible]


def test_a_class_that_stands_only_before_the_cut_leaves_nobody_eligible() -> None:
    prompts, _ = build(attacker((), 5))
    assert prompts.positive.tolist() == [True]
    assert prompts.eligible.tolist() == [False]


def test_a_code_that_no_token_of_the_class_names_leaves_nobody_eligible() -> None:
    prompts, _ = build(attacker((), 1), nameable=False)
    assert prompts.positive.tolist() == [True]
    assert prompts.eligible.tolist() == [False]


def test_a_suggestive_code_makes_no_positive() -> None:
    prompts, _ = build(attacker((), 1), [*STATIC, ("A", 0), ("HIV?", 1), ("B", 2)])
    assert prompts.positive.tolist() == [False]


def test_a_record_that_ends_before_the_cut_has_no_prompt() -> None:
    prompts, _ = build(attacker((), 10))
    assert prompts.promptable.tolist() == [False]


def test_equal_prompts_have_one_key_and_different_ones_do_not() -> None:
    first, second = np.array([1, 2, 3], np.int32), np.array([1, 2, 4], np.int32)
    assert prompt_key(first) == prompt_key(first.astype(np.int64))
    assert prompt_key(first) != prompt_key(second)


def test_a_gap_over_what_is_not_told_is_a_longer_one() -> None:
    # 4 + 4 days: SOON twice in the record, but A and C are 8 days apart
    patient = [*STATIC, ("A", 0), ("B", 4), ("C", 8), ("HIV", 8)]
    assert build(attacker((), 3), patient)[1][3:] == ["A", "SOON", "B", "SOON", "C"]
    assert build(attacker(code_types=("A", "C")), patient)[1][3:] == ["A", "LATE", "C"]
    removed = [*STATIC, ("A", 0), ("HIV?", 4), ("C", 8), ("HIV", 8)]
    assert build(attacker((), 3), removed)[1][3:] == ["A", "LATE", "C"]


def test_what_is_not_known_counts_against_the_horizon() -> None:
    # behind B, the last event known, stand LATE C HIV: the code is the third token
    who = attacker(code_types=("A", "B"))
    assert [build(who, horizon=h)[0].eligible.tolist() for h in (2, 3)] == [[False], [True]]
    # nothing known: the code is the ninth token of the record's events
    who = attacker(code_types=("D",))
    assert [build(who, horizon=h)[0].eligible.tolist() for h in (5, 6, 7)] == [
        [False], [False], [True],
    ]  # fmt: skip


def test_a_class_among_the_first_events_is_asked_for_again_behind_them() -> None:
    # HIV C HIV D: whoever knows the first event is asked for the second HIV, behind C
    patient = [*STATIC, ("HIV", 0), ("C", 0), ("HIV", 0), ("D", 0)]
    prompts, words = build(attacker((), 1, code_types=("C", "D")), patient)
    assert words[3:] == ["C"]
    assert prompts.eligible.tolist() == [True]


def test_an_attacker_whose_glob_matches_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"attacker 'k': no code .* matches 'MED//\*'"):
        build(attacker(code_types=("A", "MED//*")))


# --- what is drawn ------------------------------------------------------------------------------

NUMBERED = [f"E{i}" for i in range(30)]
NUMBERED_TOKENIZER = Tokenizer(
    TokenizationSpec.model_validate({"vocabulary": "v", "specials": {"bos": "[BOS]"}}),
    vocabulary=make_vocabulary(["[BOS]", *NUMBERED, "HIV"]),
    base=None,  # type: ignore[arg-type]
)


def numbered(events: int, *, hiv_at: int | None = None) -> Patient:
    """E0, E1, ... a day each, with HIV before the event of that number."""
    patient: list[Event] = [(name, float(day)) for day, name in enumerate(NUMBERED[:events])]
    if hiv_at is not None:
        patient.insert(hiv_at, ("HIV", float(hiv_at)))
    return patient


def known_of(
    who: ResolvedAttacker, patients: Sequence[Patient], **settings: Any
) -> tuple[Prompts, list[list[int]]]:
    """Prompts of numbered patients, and which events each of them holds."""
    prompts = build_all(who, patients, tokenizer=NUMBERED_TOKENIZER, **settings)
    # token 0 is BOS, token i + 1 is event i
    return prompts, [(prompts.prompt(i)[1:] - 1).tolist() for i in range(len(prompts))]


TWO_HUNDRED = [numbered(30, hiv_at=20)] * 200


def test_random_events_are_so_many_in_order_and_before_the_class() -> None:
    prompts, known = known_of(attacker(random=5), TWO_HUNDRED)
    for events in known:
        assert len(events) == 5
        assert events == sorted(set(events))
        assert events[-1] < 20
    assert prompts.eligible.all()
    # each of the 20 events is in a quarter of the prompts but for chance
    assert chisquare(np.bincount(np.concatenate(known), minlength=20)).pvalue > 0.01


def test_random_events_depend_on_seed_and_patient_only() -> None:
    _, known = known_of(attacker(random=5), TWO_HUNDRED)
    assert known_of(attacker(random=5), TWO_HUNDRED)[1] == known
    assert known_of(attacker(random=5), TWO_HUNDRED, seed=8)[1] != known
    assert len({tuple(events) for events in known}) > 150
    # neither on who else is there nor on what the record holds behind the class
    assert known_of(attacker(random=5), TWO_HUNDRED[:3])[1] == known[:3]
    assert known_of(attacker(random=5), [numbered(21, hiv_at=20)] * 200)[1] == known


def test_fewer_random_events_are_among_more_and_other_knowledge_takes_none_away() -> None:
    _, few = known_of(attacker(random=4), TWO_HUNDRED)
    for more in (
        attacker(random=9),
        attacker((), 6, random=4),
        attacker(random=4, code_types=("E1?",)),
    ):
        _, many = known_of(more, TWO_HUNDRED)
        assert all(set(a) <= set(b) for a, b in zip(few, many, strict=True))


def test_random_events_are_others_than_those_known_anyway() -> None:
    _, known = known_of(attacker((), 6, random=4, code_types=("E8",)), TWO_HUNDRED)
    for events in known:
        assert events[:6] == [0, 1, 2, 3, 4, 5]
        assert 8 in events
        assert len(events) == 11


# --- patients without the class -----------------------------------------------------------------


def test_who_lacks_the_class_is_cut_where_those_are_who_have_it() -> None:
    # half the positives' first codes stand at 5, half at 15; a record of 10 events reaches only 5
    positives = [numbered(30, hiv_at=5)] * 100 + [numbered(30, hiv_at=15)] * 100
    short, long = [numbered(10)] * 50, [numbered(30)] * 200
    prompts, known = known_of(attacker("all", "all"), [*positives, *short, *long])
    lengths = np.array([len(events) for events in known])
    assert prompts.promptable.all()
    assert prompts.eligible.tolist() == [True] * 200 + [False] * 250
    assert set(lengths[200:250]) == {5}
    assert set(lengths[250:]) == {5, 15}
    # binomial, 200 draws at one half: 100 ± 3 · 7.07
    assert 79 <= (lengths[250:] == 5).sum() <= 121


@pytest.mark.parametrize("who", [attacker("all", "all"), attacker(random=3)])
def test_nobody_is_compared_where_nobody_has_the_class_or_records_are_too_short(
    who: ResolvedAttacker,
) -> None:
    names_class = [("HIV", 0.0)]  # the data set has the code, as the very first event
    prompts, _ = known_of(who, [numbered(30, hiv_at=8), numbered(8), numbered(9)])
    assert prompts.promptable.tolist() == [True, False, True]
    prompts, _ = known_of(who, [numbered(30), names_class], only=[0])
    assert prompts.promptable.tolist() == [False]


def test_with_no_class_in_question_the_first_half_of_the_record_is_known() -> None:
    for who, expected in (
        (attacker("all", "all"), list(range(15))),
        (attacker(code_types=("E?",)), list(range(10))),
        (attacker((), 10, code_types=("E1?",)), list(range(20))),
    ):
        prompts, known = known_of(who, [numbered(30)], counted="")
        assert known == [expected]
        begin, end = prompts.behind[0]
        assert end - begin == 30 - len(expected)
    _, known = known_of(attacker(random=30), [numbered(30)], counted="")
    assert known == [list(range(15))]


# --- what never stands in a prompt --------------------------------------------------------------

CODES = ["A", "B", "C", "D", "HIV", "HIV?", "LAB", "GENDER//F", "RACE//HIV"]
PROPERTY_TOKENS = ["[BOS]", "[EOS]", "[UNK]", "SOON", "LATE", "Q//1", "Q//2", *CODES]
EVENTS = st.lists(
    st.tuples(st.sampled_from([*CODES, "UNHEARD"]), st.integers(-1, 25), st.floats(0, 9)),
    max_size=14,
)
SELECTIONS = st.builds(
    attacker,
    st.sampled_from([(), ("sex",), ("race",), "all"]),
    st.sampled_from([None, 1, 3, 8, "all"]),
    random=st.sampled_from([0, 1, 3, 20]),
    code_types=st.sampled_from([(), ("A",), ("HIV*", "[AB]"), ("*",)]),
    tokens=st.sampled_from([None, 4, 9]),
)


@pytest.fixture(scope="module")
def bin_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("bins")
    pq.write_table(pa.table({"code": ["LAB"], "edges": [[5.0]]}), folder / "bins.parquet")
    spec = {
        **SPEC,
        "specials": {"bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]"},
        "values": {"bins": "bins.parquet", "token": "Q//{bin}"},
    }
    return Tokenizer(
        TokenizationSpec.model_validate(spec),
        vocabulary=make_vocabulary(PROPERTY_TOKENS),
        base=folder,
    )


@pytest.mark.parametrize(("tokens", "told"), [(5, ["A"]), (6, ["A"]), (7, ["A", "LAB", "Q//2"])])
def test_an_event_whose_value_lies_beyond_the_first_tokens_is_not_known(
    bin_tokenizer: Tokenizer, tokens: int, told: list[str]
) -> None:
    # [BOS] GENDER//F RACE//HIV A SOON LAB Q//2 B [EOS], and a patient without events
    static: list[Event] = [("GENDER//F", None), ("RACE//HIV", None)]
    records, codes = make_records([[*static, ("A", 0.0), ("LAB", 2.0, 7.0), ("B", 2.0)], static])
    encoded = bin_tokenizer.encode(records, codes, partial=True)
    nothing = np.zeros(len(codes), dtype=np.bool_)
    prompts = build_prompts(
        PromptSource(
            encoded, subject_id=records.subject_id, codes=codes, tokenizer=bin_tokenizer, seed=1
        ),
        attacker(tokens=tokens),
        removed=nothing,
        counted=nothing,
        watch=np.array([], dtype=np.int32),
        horizon_tokens=10,
    )
    found = [PROPERTY_TOKENS[i] for i in prompts.prompt(0) if PROPERTY_TOKENS[i] != "SOON"]
    assert found == ["[BOS]", "GENDER//F", "RACE//HIV", *told]
    assert prompts.promptable.tolist() == [True, False]


@examples(50)
@given(events=st.lists(EVENTS, min_size=1, max_size=6), who=SELECTIONS, horizon=st.integers(1, 30))
def test_no_prompt_of_any_selection_tells_the_class_or_what_lies_behind_the_cut(
    bin_tokenizer: Tokenizer,
    events: list[list[tuple[str, int, float]]],
    who: ResolvedAttacker,
    horizon: int,
) -> None:
    patients: list[list[Event]] = [
        # day -1 stands for a code without a time; values make a second token for LAB
        [(c, None if day < 0 else float(day), value) for c, day, value in sorted(own, key=by_day)]
        for own in events
    ]
    patients.append([(code, None if "//" in code else 0.0) for code in [*CODES, "UNHEARD"]])
    records, codes = make_records(patients)
    tokens = bin_tokenizer.encode(records, codes, partial=True)
    removed = np.array(["HIV" in code for code in codes])
    prompts = build_prompts(
        PromptSource(
            tokens, subject_id=records.subject_id, codes=codes, tokenizer=bin_tokenizer, seed=1
        ),
        who,
        removed=removed,
        counted=np.array([code == "HIV" for code in codes]),
        watch=np.array([PROPERTY_TOKENS.index("HIV")]),
        horizon_tokens=horizon,
    )
    of_class = {i for i, token in enumerate(PROPERTY_TOKENS) if "HIV" in token}
    times = {PROPERTY_TOKENS.index("SOON"), PROPERTY_TOKENS.index("LATE")}
    for i in range(len(patients)):
        prompt, record = prompts.prompt(i).tolist(), tokens.record(i)
        assert not of_class & set(prompt)
        assert PROPERTY_TOKENS.index("[EOS]") not in prompt
        begin, end = (prompts.behind[i] - tokens.offsets[i]).tolist()
        told = record.tokens[: begin if end > begin else len(record)]
        plain = [token for token in prompt if token not in times]
        assert is_within(plain, told.tolist())
        # a time token stands between two events: behind the prefix and one event, alone, not last
        prefix = record.tokens[(record.kind == KIND_STATIC) | (record.kind == KIND_SPECIAL)][:-1]
        for place in np.flatnonzero(np.isin(prompt, list(times))).tolist():
            assert place > len(prefix[~np.isin(prefix, list(of_class))])
            assert times.isdisjoint({prompt[place - 1], prompt[place + 1]})
        if prompts.eligible[i]:
            assert PROPERTY_TOKENS.index("HIV") in record.tokens[begin : begin + horizon]


def by_day(event: tuple[str, int, float]) -> int:
    return event[1]


def is_within(part: list[int], whole: list[int]) -> bool:
    """Whether the tokens of one list stand in the other in this order."""
    rest = iter(whole)
    return all(token in rest for token in part)


# --- many patients ------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [attacker(("sex",), 4), attacker((), 2, code_types=("A",))])
def test_many_patients_at_once_give_the_same_as_one_by_one(who: ResolvedAttacker) -> None:
    rng = np.random.default_rng(0)
    words = ["A", "B", "C", "HIV", "HIV?", "D"]
    patients = [
        [("GENDER//F", None), ("RACE//W", None)]
        + [(words[k], float(day)) for day, k in enumerate(np.sort(rng.integers(0, 6, size)))]
        for size in rng.integers(1, 12, 40)
    ]
    together = build_all(who, patients, horizon=3)
    for i in range(len(patients)):
        alone = build_all(who, patients, horizon=3, only=[i])
        if who.knows.chooses_events and not (together.positive[i] and alone.promptable[0]):
            continue  # where he is cut who lacks the class depends on the others
        assert together.prompt(i).tolist() == alone.prompt(0).tolist()
        for name in ("positive", "eligible", "promptable"):
            assert getattr(together, name)[i] == getattr(alone, name)[0]
