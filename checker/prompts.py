"""What an attacker knows of a patient, as tokens: the prompt π_K(x, A) of METHODS §1.

A prompt is the static prefix the attacker knows, then the events that he knows before the cut,
without any code of the class under test. *Removed, not masked*: positions close up, and a time
token tells the gap to the event that now stands before it. A positive is *eligible* when a
definitive or strong code of the class lies within the horizon behind the cut: a code 2,000 tokens
away cannot be reached in 100, and codes removed from the prompt need never recur.

Where the cut stands:

* `events: N`: behind the first N events, whatever they are.
* `events: all`, `random`, `codeTypes`: these choose among the events before the class's first
  definitive or strong code (the first one behind the N events, where N are known too), because what
  is to be told must still lie ahead. The cut is behind the last event known, not right before the
  code: a model that repeats the record goes on from what it was told, so what the attacker does not
  know in between counts against the horizon.
* A patient without such a code has no first one to cut before. His cut is made where that of a
  positive is: before the event at whose index a randomly drawn positive's first code stands, among
  those whose index his record reaches, as controls of a matched study get an index date. Otherwise
  the length of the prompt alone would tell who has the class, and AUROCs would measure that.
* Where no class is in question, the choice is among the first half of the record, so that there is
  something left to be repeated.

What is drawn depends on the audit's seed, the patient and the event's index only: the random events
of a smaller N are among those of a larger one.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy import ResolvedAttacker
from checker.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    TokenizedRecords,
    Tokenizer,
)

__all__ = ["DISTINCT_PROMPTS_NEEDED", "PromptSource", "Prompts", "build_prompts", "prompt_key"]

DISTINCT_PROMPTS_NEEDED = 0.8
"""Below this share of distinct prompts an excess says nothing (METHODS §1)."""


@dataclass(frozen=True, slots=True)
class PromptSource:
    """The n patients of one split, and what their prompts depend on beside attacker and class.

    Args:
        records: the patients as tokens.
        subject_id: [n] int64; with the seed it decides what is drawn for a patient.
        codes: the cohort's dictionary, which `records.code` indexes.
        tokenizer: what made the records.
        seed: of the audit, in [0, 2**63).
    """

    records: TokenizedRecords
    subject_id: NDArray[np.int64]
    codes: Sequence[str]
    tokenizer: Tokenizer
    seed: int


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of n patients for one attacker and one class.

    Args:
        tokens: [T] int32, all prompts end to end; prompt i is tokens[offsets[i]:offsets[i + 1]].
        offsets: [n + 1] int64.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        eligible: [n] bool, positive, and such a code lies within the horizon behind the cut.
        promptable: [n] bool, the prompt is not empty, the cut is one that can be compared with
            others', and something follows it.
        behind: [n, 2] int64, where in `TokenizedRecords.tokens` what follows the cut begins and
            ends (without EOS); equal where nothing follows.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    positive: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    promptable: NDArray[np.bool_]
    behind: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.offsets) - 1

    def prompt(self, index: int) -> NDArray[np.int32]:
        """Return the tokens of one prompt."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each prompt."""
        return np.diff(self.offsets)

    def with_continuations(self, min_tokens: int) -> Prompts:
        """Return the same prompts, eligible wherever at least `min_tokens` follow the cut."""
        eligible = self.promptable & (np.diff(self.behind, axis=1)[:, 0] >= min_tokens)
        return replace(self, positive=eligible, eligible=eligible)


def prompt_key(tokens: NDArray[np.int32]) -> bytes:
    """Return 16 bytes that name a prompt: equal prompts of different patients are one prompt."""
    return hashlib.blake2b(
        np.ascontiguousarray(tokens, dtype="<i4").tobytes(),
        digest_size=16,
        person=b"phigate-prompt",
    ).digest()


def build_prompts(
    source: PromptSource,
    attacker: ResolvedAttacker,
    *,
    removed: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    watch: NDArray[np.int32],
    horizon_tokens: int,
) -> Prompts:
    """Build the prompts of one attacker for one class, vectorised over all patients.

    Args:
        source: the patients.
        attacker: what is known; see the module's docstring for where that puts the cut.
        removed: [codes] bool, codes of the class in any tier, which leave the prompt.
        counted: [codes] bool, definitive and strong codes of the class, which make a positive;
            all False where no class is in question.
        watch: ids of the tokens that make a hit. A code that became [UNK] makes its patient
            positive but not eligible: no model could name it.
        horizon_tokens: how far behind the cut a code may lie to be within reach.

    Returns:
        The prompts, in the order of the records.

    Raises:
        DataError: one of the attacker's `codeTypes` matches no code of the data set.
    """
    records, n = source.records, len(source.records)
    row = np.repeat(np.arange(n), np.diff(records.offsets))
    events = _Events.of(records, row)
    known, cut, has_cut = _knowledge(source, attacker, events, removed=removed, counted=counted)

    is_event = records.kind == KIND_EVENT
    of_class = _flag(removed, records.code)
    keep_event = is_event.copy()
    keep_event[is_event] = known[events.of_token[is_event]]
    keep_event &= ~of_class
    keep = (_keep_prefix(records, attacker, source.tokenizer.field_names) & ~of_class) | keep_event
    tokens = records.tokens.copy()
    _keep_times(tokens, keep, keep_event, records, row, source.tokenizer)

    streamed = is_event | (records.kind == KIND_TIME)
    after_cut = streamed & (events.number_of_token >= cut[row])
    is_counted = is_event & _flag(counted, records.code)
    reach = _rank_within_row(after_cut, row, n)
    within = is_counted & after_cut & (reach < horizon_tokens) & np.isin(records.tokens, watch)
    lengths = np.bincount(row[keep], minlength=n)
    behind = _spans(after_cut, row, n)
    promptable = has_cut & (lengths > 0) & (behind[:, 1] > behind[:, 0])
    return Prompts(
        tokens=tokens[keep],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        positive=np.bincount(row[is_counted], minlength=n) > 0,
        eligible=(np.bincount(row[within], minlength=n) > 0) & promptable,
        promptable=promptable,
        behind=behind,
    )


# --- what is known ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Events:
    """The E dated events of n patients, in order.

    Args:
        row: [E] int64, number of the patient.
        number: [E] int64, counted from 0 within the patient.
        code: [E] int32, index into the cohort's codes.
        size: [n] int64, events of each patient.
        of_token: [T] int64, which of the E events a token belongs to or dates; -1 for the prefix.
        number_of_token: [T] int64, that event's number within the patient; -1 for the prefix.
    """

    row: NDArray[np.int64]
    number: NDArray[np.int64]
    code: NDArray[np.int32]
    size: NDArray[np.int64]
    of_token: NDArray[np.int64]
    number_of_token: NDArray[np.int64]

    @classmethod
    def of(cls, records: TokenizedRecords, row: NDArray[np.int64]) -> _Events:
        number = records.event.astype(np.int64)
        time_at = np.flatnonzero(records.kind == KIND_TIME)
        number[time_at] = records.event[time_at + 1]  # it stands before the event that it dates
        is_event = records.kind == KIND_EVENT
        own = is_event.copy()  # a value's token has the number of the event token before it
        own[1:] &= ~is_event[:-1] | (number[1:] != number[:-1]) | (row[1:] != row[:-1])
        at = np.flatnonzero(own)
        size = np.bincount(row[at], minlength=len(records))
        start = np.cumsum(size) - size
        of_token = np.where(number >= 0, start[row] + number, -1)
        return cls(row[at], number[at], records.code[at], size, of_token, number)


def _knowledge(
    source: PromptSource,
    attacker: ResolvedAttacker,
    events: _Events,
    *,
    removed: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """Choose what is known: [E] events, [n] first event behind the cut, [n] is there such a cut."""
    first = attacker.events if isinstance(attacker.events, int) else 0
    known = events.number < first
    cut = np.full(len(events.size), first, dtype=np.int64)
    if not attacker.chooses_events:
        return known, cut, np.ones(len(cut), dtype=np.bool_)
    draws = _Draws.of(source, events.size)
    limit = _limits(events, draws, first=first, counted=counted)
    choice = events.number < limit[events.row]
    if attacker.events == "all":
        known |= choice
    else:
        choice &= ~known & ~_flag(removed, events.code)
        of_type = _flag(_matching(attacker, source.codes), events.code)
        known |= choice & of_type
        known |= _least(choice & ~of_type, draws.events, events.row, count=attacker.random or 0)
    np.maximum.at(cut, events.row[known], events.number[known] + 1)
    return known, cut, limit >= 0


def _limits(
    events: _Events, draws: _Draws, *, first: int, counted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return each patient's first event that cannot be known, [n]; -1 where there is no such place.

    Args:
        events: of all patients.
        draws: where a patient without the class is cut.
        first: so many events are known anyway.
        counted: [codes] bool, codes of the class.
    """
    if not counted.any():
        return np.where(events.size > first, first + (events.size - first) // 2, -1)
    told = _flag(counted, events.code) & (events.number >= first)
    never = np.iinfo(np.int64).max
    limit = np.full(len(events.size), never, dtype=np.int64)
    np.minimum.at(limit, events.row[told], events.number[told])
    places = np.sort(limit[limit != never])
    within = np.searchsorted(places, events.size)  # places that a record is long enough for
    drawn = np.minimum((draws.cut * within).astype(np.int64), within - 1)
    compared = np.full_like(limit, -1)
    has_place = within > 0
    compared[has_place] = places[drawn[has_place]]
    return np.where(limit != never, limit, compared)


@dataclass(frozen=True, slots=True)
class _Draws:
    """Random numbers that depend on the seed, the patient and the event's index only.

    Args:
        cut: [n] float64 in [0, 1).
        events: [E] uint64; the events with the smallest are drawn first.
    """

    cut: NDArray[np.float64]
    events: NDArray[np.uint64]

    @classmethod
    def of(cls, source: PromptSource, size: NDArray[np.int64]) -> _Draws:
        raw = [
            np.random.Philox(key=np.array([source.seed, patient], dtype=np.uint64)).random_raw(
                count + 1
            )
            for patient, count in zip(
                source.subject_id.astype(np.uint64).tolist(), size.tolist(), strict=True
            )
        ]
        cut = np.array([bits[0] for bits in raw], dtype=np.uint64)
        events = [bits[1:] for bits in raw] or [np.empty(0, dtype=np.uint64)]
        # 53 bits make a float64 in [0, 1) without rounding up to 1
        return cls(np.ldexp((cut >> np.uint64(11)).astype(np.float64), -53), np.concatenate(events))


def _matching(attacker: ResolvedAttacker, codes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which codes of the dictionary the attacker's globs match: [codes] bool."""
    matching = np.zeros(len(codes), dtype=np.bool_)
    for glob in attacker.code_types:
        match = re.compile(fnmatch.translate(glob)).match
        own = np.array([match(code) is not None for code in codes], dtype=np.bool_)
        if not own.any():  # he would know less than the policy says, and the model look safer
            raise DataError(
                f"attacker '{attacker.name}': no code of the data set matches '{glob}'"
                f"{suggestion(glob, codes)}; check knows.codeTypes"
            )
        matching |= own
    return matching


def _least(
    pool: NDArray[np.bool_],
    priority: NDArray[np.uint64],
    row: NDArray[np.int64],
    *,
    count: int,
) -> NDArray[np.bool_]:
    """Flag each row's `count` entries of smallest priority among those of the pool."""
    chosen = np.zeros_like(pool)
    at = np.flatnonzero(pool)
    at = at[np.lexsort((priority[at], row[at]))]
    rank = np.arange(len(at)) - np.searchsorted(row[at], row[at])
    chosen[at[rank < count]] = True
    return chosen


# --- which tokens that makes --------------------------------------------------------------------


def _keep_prefix(
    records: TokenizedRecords, attacker: ResolvedAttacker, fields: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Keep BOS and the static prefix as far as the attacker needs it; never EOS.

    A model has not seen a record that lacks a field in the middle: on such a prompt an over-trained
    model that disclosed most members disclosed 2 % of them, and read as safe. A field the attacker
    does not know but that stands before something he does know has few values, and he can try them
    all; the prompt holds the one that is right. Fields behind all he knows are left to the model.
    """
    keep: NDArray[np.bool_] = _starts(records) & (records.kind == KIND_SPECIAL)
    static = records.kind == KIND_STATIC
    if attacker.static == "all" or attacker.knows_events:
        keep |= static
    else:
        last = max((fields.index(name) for name in attacker.static), default=-1)
        keep |= static & (records.field >= 0) & (records.field <= last)
    return keep


def _keep_times(
    tokens: NDArray[np.int32],
    keep: NDArray[np.bool_],
    keep_event: NDArray[np.bool_],
    records: TokenizedRecords,
    row: NDArray[np.int64],
    tokenizer: Tokenizer,
) -> None:
    """Keep a time token before the events of each time but the first, and let it tell the gap.

    Where everything of an earlier time is gone, the gap is a longer one than in the record: who
    knows two events knows how far apart they are, and a prompt with the old gaps, or with one
    before its first event, is one that no model was trained on.

    Args:
        tokens: [T], changed in place.
        keep: [T], changed in place.
        keep_event: [T], the events that are kept.
        records: what the tokens are.
        row: [T], whose they are.
        tokenizer: names the gaps.
    """
    is_time = records.kind == KIND_TIME
    # the events of a patient at one time share a number; only his first time has no token
    time = np.cumsum(is_time | _starts(records)) - 1
    kept = np.flatnonzero(np.bincount(time[keep_event]))
    head = np.flatnonzero(is_time | _starts(records))[kept]
    follows = np.flatnonzero(row[head[1:]] == row[head[:-1]]) + 1
    keep[head[follows]] = True
    longer = follows[kept[follows] != kept[follows - 1] + 1]
    day = np.where(is_time[head], records.time_days[head], 0).astype(np.float64)
    tokens[head[longer]] = tokenizer.gap_tokens(day[longer] - day[longer - 1])


def _starts(records: TokenizedRecords) -> NDArray[np.bool_]:
    """Flag the first token of each patient who has one."""
    starts = np.zeros(len(records.tokens), dtype=np.bool_)
    starts[records.offsets[:-1][np.diff(records.offsets) > 0]] = True
    return starts


def _flag(mask: NDArray[np.bool_], code: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Look codes up in a mask; tokens without a code (-1) are False."""
    flags = np.zeros(len(code), dtype=np.bool_)
    has_code = code >= 0
    flags[has_code] = mask[code[has_code]]
    return flags


def _spans(mask: NDArray[np.bool_], row: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return where each row's True entries begin and end, which stand next to each other."""
    at = np.flatnonzero(mask)
    spans = np.zeros((n, 2), dtype=np.int64)
    rows, first, size = np.unique(row[at], return_index=True, return_counts=True)
    spans[rows, 0] = at[first]
    spans[rows, 1] = at[first] + size
    return spans


def _rank_within_row(mask: NDArray[np.bool_], row: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Number the True entries of each row from 0; entries that are False get any number."""
    running = np.cumsum(mask) - 1
    counts = np.bincount(row[mask], minlength=n)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank: NDArray[np.int64] = running - before[row]
    return rank
