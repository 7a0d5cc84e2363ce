"""What an attacker knows of a patient, as tokens: the prompt π_K(x, A) of METHODS §1.

A prompt is the static prefix the attacker knows, then the events before the cut, without any code
of the class under test. *Removed, not masked*: positions close up, and a time token left with no
event after it goes too. A positive is *eligible* when a definitive or strong code of the class lies
within the horizon behind the cut: a code 2,000 tokens away cannot be reached in 100, and codes
removed from the prompt need never recur.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.policy import ResolvedAttacker
from checker.tokenization import KIND_EVENT, KIND_SPECIAL, KIND_STATIC, KIND_TIME, TokenizedRecords

__all__ = ["DISTINCT_PROMPTS_NEEDED", "Prompts", "build_prompts", "prompt_key"]

DISTINCT_PROMPTS_NEEDED = 0.8
"""Below this share of distinct prompts an excess says nothing (METHODS §1)."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of n patients for one attacker and one class.

    Args:
        tokens: [T] int32, all prompts end to end; prompt i is tokens[offsets[i]:offsets[i + 1]].
        offsets: [n + 1] int64.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        eligible: [n] bool, positive, and such a code lies within the horizon behind the cut.
        promptable: [n] bool, the prompt is not empty and something follows it.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    positive: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    promptable: NDArray[np.bool_]

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


def prompt_key(tokens: NDArray[np.int32]) -> bytes:
    """Return 16 bytes that name a prompt: equal prompts of different patients are one prompt."""
    return hashlib.blake2b(
        np.ascontiguousarray(tokens, dtype="<i4").tobytes(),
        digest_size=16,
        person=b"phigate-prompt",
    ).digest()


def build_prompts(
    records: TokenizedRecords,
    attacker: ResolvedAttacker,
    *,
    fields: tuple[str, ...],
    removed: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    watch: NDArray[np.int32],
    horizon_tokens: int,
) -> Prompts:
    """Build the prompts of one attacker for one class, vectorised over all patients.

    Args:
        records: the tokenized patients.
        attacker: what is known. `events: N` cuts after the first N events of the record; `events:
            all` cuts before the class's first definitive or strong code, so that patients without
            one have no prompt there.
        fields: names of the prefix fields, as `records.field` indexes them.
        removed: [codes] bool, codes of the class in any tier, which leave the prompt.
        counted: [codes] bool, definitive and strong codes of the class, which make a positive.
        watch: ids of the tokens that make a hit. A code that became [UNK] makes its patient
            positive but not eligible: no model could name it.
        horizon_tokens: how far behind the cut a code may lie to be within reach.

    Returns:
        The prompts, in the order of the records.
    """
    n = len(records.offsets) - 1
    row = np.repeat(np.arange(n), np.diff(records.offsets))
    event = _event_of_each_token(records)
    is_event = records.kind == KIND_EVENT
    is_counted = is_event & _flag(counted, records.code)
    first_counted = np.full(n, np.iinfo(np.int32).max, dtype=np.int64)
    np.minimum.at(first_counted, row[is_counted], event[is_counted])
    positive = np.bincount(row[is_counted], minlength=n) > 0
    cut = _cuts(attacker, first_counted)

    streamed = is_event | (records.kind == KIND_TIME)
    before_cut = streamed & (event < cut[row])
    keep_event = before_cut & is_event & ~_flag(removed, records.code)
    keep = _keep_prefix(records, attacker, fields) & ~_flag(removed, records.code)
    keep |= keep_event | _time_with_event(records, keep_event, before_cut)

    after_cut = streamed & ~before_cut
    reach = _rank_within_row(after_cut, row, n)
    within = is_counted & after_cut & (reach < horizon_tokens) & np.isin(records.tokens, watch)
    eligible = np.bincount(row[within], minlength=n) > 0
    lengths = np.bincount(row[keep], minlength=n)
    has_continuation = np.bincount(row[after_cut], minlength=n) > 0
    promptable = (lengths > 0) & has_continuation
    return Prompts(
        tokens=records.tokens[keep],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        positive=positive,
        eligible=eligible & promptable,
        promptable=promptable,
    )


def _flag(mask: NDArray[np.bool_], code: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Look codes up in a mask; tokens without a code (-1) are False."""
    flags = np.zeros(len(code), dtype=np.bool_)
    has_code = code >= 0
    flags[has_code] = mask[code[has_code]]
    return flags


def _event_of_each_token(records: TokenizedRecords) -> NDArray[np.int64]:
    """Give a time token the index of the event it stands before: they are cut together."""
    event = records.event.astype(np.int64)
    time_at = np.flatnonzero(records.kind == KIND_TIME)
    event[time_at] = records.event[time_at + 1]  # a time token always precedes an event's token
    return event


def _starts(records: TokenizedRecords) -> NDArray[np.bool_]:
    """Flag the first token of each patient who has one."""
    starts = np.zeros(len(records.tokens), dtype=np.bool_)
    starts[records.offsets[:-1][np.diff(records.offsets) > 0]] = True
    return starts


def _cuts(attacker: ResolvedAttacker, first_counted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each patient the index of the first event behind the cut."""
    if attacker.events == "all":
        return first_counted
    return np.full_like(first_counted, attacker.events or 0)


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
    if attacker.static == "all" or attacker.events:
        keep |= static
    else:
        last = max((fields.index(name) for name in attacker.static), default=-1)
        keep |= static & (records.field >= 0) & (records.field <= last)
    return keep


def _time_with_event(
    records: TokenizedRecords, keep_event: NDArray[np.bool_], before_cut: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Keep a time token when an event that it dates is kept."""
    is_time = records.kind == KIND_TIME
    # tokens of a patient from one time token up to the next share a number
    group = np.cumsum(is_time | _starts(records))
    survivors = np.bincount(group[keep_event], minlength=int(group[-1]) + 1 if len(group) else 1)
    kept: NDArray[np.bool_] = is_time & before_cut & (survivors[group] > 0)
    return kept


def _rank_within_row(mask: NDArray[np.bool_], row: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Number the True entries of each row from 0; entries that are False get any number."""
    running = np.cumsum(mask) - 1
    counts = np.bincount(row[mask], minlength=n)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank: NDArray[np.int64] = running - before[row]
    return rank
