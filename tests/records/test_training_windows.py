"""Records longer than the context: what a model was trained on is what it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from meds_builder import Patient, make_records, make_vocabulary
from token_records import records as token_records

from checker.planning.workload import record_windows
from checker.policy import ResolvedAttacker
from checker.policy.documents import Knowledge, TokenizationSpec
from checker.records.prompts import Prompts, PromptSource, build_prompts
from checker.records.prompts.windows import TrainingWindows, Window
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    TokenizedRecords,
    Tokenizer,
)

WINDOWS: tuple[Window, ...] = ("first", "last", "tiled")
CODES = [f"E{number}" for number in range(60)]
TOKENS = ["[BOS]", "[EOS]", "GENDER//F", *CODES, "HIV"]
TOKENIZER = Tokenizer(
    TokenizationSpec.model_validate(
        {
            "vocabulary": "vocab.json",
            "specials": {"bos": "[BOS]", "eos": "[EOS]"},
            "static": {"sex": "GENDER//*"},
        }
    ),
    vocabulary=make_vocabulary(TOKENS),
    base=None,  # type: ignore[arg-type]
)
PREFIX = ["[BOS]", "GENDER//F"]


def patient(before: int, behind: int = 3) -> Patient:
    """So many events, HIV, and so many more; each at a day of its own."""
    codes = [*CODES[:before], "HIV", *CODES[before : before + behind]]
    return [("GENDER//F", None), *((code, day) for day, code in enumerate(codes))]


def build(
    patients: list[Patient],
    *,
    max_length: int | None,
    window: Window = "first",
    horizon: int = 100,
    **knows: Any,
) -> Prompts:
    who = ResolvedAttacker(
        name="k",
        title="K",
        knows=Knowledge(static="all", **knows),
        access="samples",
        gating=True,
        cites=(),
    )
    records, codes = make_records(patients)
    is_hiv = np.array([code == "HIV" for code in codes])
    return build_prompts(
        PromptSource(
            TOKENIZER.encode(records, codes, partial=True),
            subject_id=records.subject_id,
            codes=codes,
            tokenizer=TOKENIZER,
            seed=3,
            max_length=max_length,
            window=window,
        ),
        who,
        removed=is_hiv,
        counted=is_hiv,
        watch=np.array([TOKENIZER.vocabulary.ids["HIV"]], dtype=np.int32),
        horizon_tokens=horizon,
    )


def words(prompts: Prompts, index: int = 0) -> list[str]:
    return [TOKENS[i] for i in prompts.prompt(index)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("prefix", [1, 3, 9])
def test_each_place_lies_in_the_window_that_scoring_cuts(window: Window, prefix: int) -> None:
    for length in (prefix, 10, 12, 13, 30, 47):
        if length < prefix:
            continue
        tokens = np.arange(length, dtype=np.int32) + 1000 * np.int32(prefix)
        kind = np.full(length, KIND_EVENT, dtype=np.int8)
        kind[:prefix] = KIND_STATIC
        kind[0] = KIND_SPECIAL
        own = token_records(tokens)
        one = TokenizedRecords(**{**vars_of(own), "kind": kind})
        windows = TrainingWindows.of(one, max_length=12, window=window)
        pieces = [
            set(piece.tolist())
            for piece, _ in record_windows(tokens, kind, max_length=12, window=window)
        ]
        for place in range(min(prefix, 6), length):
            (begin,), (end,) = windows.around(np.array([place]))
            holding = [piece for piece in pieces if int(tokens[place]) in piece]
            assert (begin < end) == bool(holding), (length, place)
            if holding:
                assert begin <= place < end
                said = set(tokens[begin:end].tolist())
                assert said <= holding[0]
                assert holding[0] - said <= set(tokens[: min(prefix, 6)].tolist())


def vars_of(records: TokenizedRecords) -> dict[str, Any]:
    return {name: getattr(records, name) for name in TokenizedRecords.__dataclass_fields__}


def test_without_a_bound_every_record_is_one_piece() -> None:
    prompts = build([patient(40)], max_length=None, events="all")
    assert words(prompts) == [*PREFIX, *CODES[:40]]
    assert prompts.eligible.tolist() == [True]


def test_who_knows_all_is_told_the_piece_that_the_class_is_in() -> None:
    # 2 of the prefix and 18 events in the first piece; E18 to E35 in the second, E36 in the third
    for before, told in ((10, CODES[:10]), (25, CODES[18:25]), (40, CODES[36:40])):
        prompts = build([patient(before)], max_length=20, window="tiled", events="all")
        assert words(prompts) == [*PREFIX, *told], before
        assert prompts.eligible.tolist() == [True]
    at_the_beginning = build([patient(18)], max_length=20, window="tiled", events="all")
    assert words(at_the_beginning) == PREFIX


def test_a_class_that_the_model_was_never_trained_on_is_not_asked_for() -> None:
    prompts = build([patient(10), patient(25)], max_length=20, window="first", events="all")
    assert prompts.positive.tolist() == [True, True]
    assert prompts.eligible.tolist() == prompts.promptable.tolist() == [True, False]
    assert not prompts.too_long.any()  # what he knows is not what keeps him from asking
    # of 2 + 29 + EOS tokens the last 18 are seen: E11 to E24, HIV, E25 to E27, EOS
    last = build([patient(3, 25), patient(25)], max_length=20, window="last", events="all")
    assert last.eligible.tolist() == [False, True]
    assert words(last, 1) == [*PREFIX, *CODES[12:25]]


def test_a_continuation_ends_where_the_piece_or_the_context_does() -> None:
    whole = build([patient(10, 30)], max_length=None, events=4)
    cut = build([patient(10, 30)], max_length=20, window="first", events=4)
    (begin, end), (same, sooner) = whole.behind[0].tolist(), cut.behind[0].tolist()
    assert same == begin
    assert end - begin == 37  # E4 to E9, HIV, and thirty more
    assert sooner - same == 14  # six tokens are known, and twenty fit
    assert cut.with_continuations(14).eligible.tolist() == [True]
    assert cut.with_continuations(15).eligible.tolist() == [False]


def test_what_lies_beyond_the_context_is_out_of_reach_however_long_the_horizon() -> None:
    for window in WINDOWS[::2]:
        prompts = build([patient(17), patient(18)], max_length=20, window=window, events=4)
        assert prompts.eligible.tolist() == [True, False], window
        assert prompts.promptable.tolist() == [True, True]


def test_first_events_that_fill_the_context_leave_no_room() -> None:
    prompts = build([patient(30)], max_length=20, window="tiled", events=18)
    assert prompts.too_long.tolist() == [True]
    assert not prompts.promptable.any()
    fits = build([patient(30)], max_length=20, window="tiled", events=17)
    assert fits.promptable.tolist() == [True]
    assert len(words(fits)) == 19


def test_scattered_events_may_come_from_pieces_before() -> None:
    prompts = build([patient(25)], max_length=20, window="tiled", code_types=["E1", "E2"])
    assert words(prompts) == [*PREFIX, "E1", "E2"]
    assert not prompts.eligible.any()  # the model never saw what follows E2 and HIV in one piece
    last = build([patient(25)], max_length=20, window="tiled", last=9)
    assert words(last) == [*PREFIX, *CODES[16:25]]
    assert last.eligible.tolist() == [True]


def test_nobody_is_promised_more_room_than_there_is() -> None:
    rng = np.random.default_rng(5)
    patients = [patient(int(rng.integers(0, 50)), int(rng.integers(0, 9))) for _ in range(60)]
    for window in WINDOWS:
        for knows in ({"events": "all"}, {"events": 12}, {"last": 5}, {"random": 7}):
            prompts = build(patients, max_length=16, window=window, **knows)
            room = 16 - prompts.lengths
            follows = np.diff(prompts.behind, axis=1)[:, 0]
            assert (room[prompts.promptable] >= 1).all()
            assert (follows[prompts.promptable] <= room[prompts.promptable]).all()
            assert not (prompts.too_long & prompts.promptable).any()
            assert (prompts.promptable | ~prompts.eligible).all()


def test_what_follows_single_events_has_to_be_of_one_piece() -> None:
    # E17 is the last event of the first piece, and HIV stands behind E19 in the second
    crosses = build([patient(20)], max_length=20, window="tiled", code_types=["E17"])
    assert words(crosses) == [*PREFIX, "E17"]
    assert crosses.promptable.tolist() == crosses.eligible.tolist() == [True]  # at the border
    crosses = build([patient(20)], max_length=20, window="tiled", code_types=["E16"])
    assert words(crosses) == [*PREFIX, "E16"]
    assert crosses.promptable.tolist() == [True]
    assert crosses.eligible.tolist() == [False]


def test_who_knows_no_event_asks_for_the_last_part_where_it_alone_was_learned() -> None:
    # of 2 + 29 + EOS tokens the last 18 are seen, from E12 on
    found = build([patient(25), patient(3, 25), patient(5)], max_length=20, window="last")
    assert [words(found, i) for i in range(3)] == [PREFIX] * 3
    assert found.eligible.tolist() == [True, False, True]
    near = build([patient(25)], max_length=20, window="last", horizon=13)
    assert near.eligible.tolist() == [False]  # E12 to E24 come before
    assert build([patient(25)], max_length=20, window="last", horizon=14).eligible.tolist() == [
        True
    ]


def test_a_class_that_comes_again_in_the_last_part_is_asked_for_there() -> None:
    again = [*patient(3, 25), ("HIV", 40), ("E1", 41)]
    found = build([again], max_length=20, window="last", events="all")
    # of 2 + 29 + 2 + EOS tokens the last 18: E13 to E27, HIV, E1, EOS
    assert found.eligible.tolist() == [True]
    assert words(found) == [*PREFIX, *CODES[13:28]]
    assert found.behind[0, 1] - found.behind[0, 0] == 2


@pytest.mark.parametrize("window", WINDOWS)
def test_a_record_is_cut_in_the_middle_of_what_was_learned(window: Window) -> None:
    records, codes = make_records([[("GENDER//F", None), *((c, i) for i, c in enumerate(CODES))]])
    nothing = np.zeros(len(codes), dtype=np.bool_)
    who = ResolvedAttacker(
        name="k",
        title="K",
        knows=Knowledge(static="all", events="all"),
        access="samples",
        gating=True,
        cites=(),
    )
    prompts = build_prompts(
        PromptSource(
            TOKENIZER.encode(records, codes, partial=True),
            subject_id=records.subject_id,
            codes=codes,
            tokenizer=TOKENIZER,
            seed=3,
            max_length=20,
            window=window,
        ),
        who,
        removed=nothing,
        counted=nothing,
        watch=np.empty(0, dtype=np.int32),
        horizon_tokens=5,
    )
    assert prompts.promptable.tolist() == [True]
    told = {"first": CODES[:9], "last": CODES[43:51], "tiled": CODES[18:30]}[window]
    assert words(prompts) == [*PREFIX, *told]
