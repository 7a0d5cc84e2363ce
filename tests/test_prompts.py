"""What an attacker knows, as tokens: cuts, removal, eligibility, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from meds_builder import make_records, make_vocabulary

from checker.policy import ResolvedAttacker
from checker.policy.documents import TokenizationSpec
from checker.prompts import Prompts, build_prompts, prompt_key
from checker.tokenization import Tokenizer

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
    static: tuple[str, ...] | str = (), events: int | str | None = None
) -> ResolvedAttacker:
    return ResolvedAttacker(
        name="k", title="K", static=static, events=events, access="samples", gating=True, cites=()
    )  # type: ignore[arg-type]


def build(
    who: ResolvedAttacker, patient=PATIENT, horizon: int = 100, nameable: bool = True
) -> tuple[Prompts, list[str]]:
    records, codes = make_records([patient])
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(SPEC), vocabulary=make_vocabulary(TOKENS), base=None
    )  # type: ignore[arg-type]
    prompts = build_prompts(
        tokenizer.encode(records, codes, partial=True),
        who,
        fields=tokenizer.field_names,
        removed=np.array([code.startswith("HIV") for code in codes]),
        counted=np.array([code == "HIV" for code in codes]),
        watch=np.array([TOKENS.index("HIV")]) if nameable else np.empty(0, int),
        horizon_tokens=horizon,
    )
    return prompts, [TOKENS[i] for i in prompts.prompt(0)]


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
        # "all" cuts before the class's first definitive code
        (attacker("all", "all"), ["[BOS]", "GENDER//F", "RACE//W", "A", "SOON", "B", "LATE", "C"]),
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


def test_many_patients_at_once_give_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    words = ["A", "B", "C", "HIV", "HIV?", "D"]
    patients = [
        [("GENDER//F", None)]
        + [(words[k], float(day)) for day, k in enumerate(np.sort(rng.integers(0, 6, size)))]
        for size in rng.integers(1, 12, 40)
    ]
    records, codes = make_records(patients)
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate({**SPEC, "static": {"sex": "GENDER//*"}}),
        vocabulary=make_vocabulary(TOKENS),
        base=None,  # type: ignore[arg-type]
    )
    settings = {
        "fields": tokenizer.field_names,
        "removed": np.array([code.startswith("HIV") for code in codes]),
        "counted": np.array([code == "HIV" for code in codes]),
        "watch": np.array([TOKENS.index("HIV")]),
        "horizon_tokens": 3,
    }
    who = attacker(("sex",), 4)
    together = build_prompts(tokenizer.encode(records, codes, partial=True), who, **settings)
    for i in range(len(patients)):
        alone = build_prompts(
            tokenizer.encode(records.select(np.array([i])), codes, partial=True), who, **settings
        )
        assert together.prompt(i).tolist() == alone.prompt(0).tolist()
        for name in ("positive", "eligible", "promptable"):
            assert getattr(together, name)[i] == getattr(alone, name)[0]
