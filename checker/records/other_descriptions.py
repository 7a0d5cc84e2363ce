"""The same patients as other descriptions would tell them: is anybody recognised so (METHODS §5)?

A model that repeats its patients repeats them from the prompt that it was trained on. One whose
ages are five years off, whose races are those of another release, or whose first token is not the
model's, finds the model at a loss, and what it would have told is not told. So members are told
anew: with every age up to ten years off, with every other value of each static field, without each
field, without all of them and without any prefix, behind every token that could begin a record,
with one more token between prefix and events, and from a later visit on. A model that has learned
how records generally are hardly cares; one that has learned this patient finds the true telling far
likelier.

Only the beginning of a record is looked at: a patient who is recognised is recognised early.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.records.prompt_format import DECLARED
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_MARK,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    TokenizedRecord,
    TokenizedRecords,
    Tokenizer,
)
from checker.targets.channels import told_anew, years_older

BEGINNING = 32
"""Tokens that are looked at behind the static prefix, or from a later visit on."""

FURTHEST = 256
"""Tokens behind the static prefix within which a later visit must begin to be tried. Further in, a
model may hardly have learned its positions, and would like any telling better than the true one."""

LATER = "from a later visit on"
"""Begins the name of each telling of that kind."""

EVENTS_LEFT = 12
"""Events that a record must have from a later visit on: of fewer, each can weigh too much."""

AGE_SHIFTS = tuple(years for years in range(-10, 11) if years)
VALUES_TRIED = 8
FIRST_TOKENS_TRIED = 6
TIMES_TRIED = 6

TELLINGS_ABOUT = 60
"""So many tellings a record has, of a target with age, two static fields and BOS."""

_BEGINS = re.compile(r"bos|cls|start|begin|sos|^<?s>?$", re.IGNORECASE)
_SPECIAL = re.compile(r"^[\[<(|].*[\])>|]$|endoftext")


@dataclass(frozen=True, slots=True)
class Telling:
    """The beginning of one record under one description.

    Args:
        name: what differs from the declared description, or DECLARED.
        row: number of the record.
        tokens: [n] int32.
        compared: [n] bool, the event tokens whose loss is compared with the declared telling's.
        skipped: how many the declared telling compares before the first of these.
    """

    name: str
    row: int
    tokens: NDArray[np.int32]
    compared: NDArray[np.bool_]
    skipped: int = 0

    def loss(self, logprob: NDArray[np.floating], declared: NDArray[np.floating]) -> float:
        """Return the loss in nats of all that the declared telling compares.

        What this one does not tell counts as it does there.

        Args:
            logprob: [n - 1], of every token but the first.
            declared: of the tokens that the declared telling compares.
        """
        found = logprob[self.compared[1:]]
        left = declared[: self.skipped], declared[self.skipped + len(found) :]
        return -float(np.concatenate([left[0], found, left[1]]).sum(dtype=np.float64))


def tellings(
    records: TokenizedRecords,
    *,
    tokenizer: Tokenizer,
    first_tokens: Sequence[int],
    max_length: int | None,
    window: str = "first",
) -> Iterator[Telling]:
    """Yield each record as it is declared, and then as others would tell it.

    Args:
        records: a few patients under the declared description.
        tokenizer: of the target.
        first_tokens: ids that could stand before every record, in place of the declared BOS, or
            between its prefix and its events.
        max_length: most tokens that the model takes.
        window: which part of a longer record is: "first", "last" or "tiled".
    """
    fields = dict(enumerate(tokenizer.field_names))
    others = {number: _others(records, number, name, tokenizer) for number, name in fields.items()}
    put_in = {f"BOS: {_name(token, tokenizer)}": token for token in first_tokens}
    behind = {
        f"first behind the prefix: {_name(token, tokenizer)}": token
        for token in dict.fromkeys([*first_tokens, *_times(records, tokenizer)])
    }
    for row in range(len(records)):
        record = records.record(row)
        first, compared = _compared(record)
        room = len(record) if max_length is None else max_length
        end, most = min(first + BEGINNING, len(record), room), min(len(record), room)
        if not compared[1:end].any():
            continue
        # later pieces of a record that is cut may be what the model was trained on
        told_whole = window == "first" or most == len(record)
        starts = _later_visits(record, first, most) if told_whole else {}
        seen = max([end, *(min(at + BEGINNING, most) for at in starts)])
        yield Telling(DECLARED, row, record.tokens[:seen], compared[:seen])
        for at, which in starts.items():
            yield from _later(row, record, at, which, first=first, compared=compared[:seen])
        tokens, compared = record.tokens[:end], compared[:end]
        for at in np.flatnonzero(record.field[: len(tokens)] >= 0).tolist():
            number, own = int(record.field[at]), int(tokens[at])
            for title, token in others[number].get(own, []):
                told = _replaced(tokens, at, token)
                if fields[number] == "age":  # in a channel, too
                    told = years_older(told, tokenizer.ages[token] - tokenizer.ages[own])
                yield Telling(title, row, told, compared)
            left = np.delete(np.arange(len(tokens)), at)
            yield Telling(f"without {fields[number]}", row, told_anew(tokens[left]), compared[left])
        begins = int(np.flatnonzero(record.kind == KIND_EVENT)[0])
        for title, gone in _beginnings(record.kind[:begins], record.field[:begins]).items():
            left = np.delete(np.arange(len(tokens)), np.flatnonzero(gone))
            yield Telling(title, row, told_anew(tokens[left]), compared[left])
        for title, token in put_in.items():
            if record.kind[0] == KIND_SPECIAL:
                yield Telling(title, row, _replaced(tokens, 0, token), compared)
            elif max_length is None or len(tokens) < max_length:
                longer, more = _with(token, 0, tokens, compared)
                yield Telling(title, row, longer, more)
        for title, token in behind.items():
            if token != tokens[first] and (first or token not in first_tokens):
                longer, more = _with(token, first, tokens, compared)
                if more[:max_length].any():
                    yield Telling(title, row, longer[:max_length], more[:max_length])


def _beginnings(kind: NDArray[np.int8], field: NDArray[np.int16]) -> dict[str, NDArray[np.bool_]]:
    """Return which tokens before the first event could be missing together, by what is said of it.

    What leaves out a single field is told elsewhere.
    """
    special, static = kind == KIND_SPECIAL, kind == KIND_STATIC
    more = int(static.sum()) > 1 or (static & (field < 0)).any()
    found = {}
    if special.any() and static.any():
        found["without BOS"] = special
        if more:
            found["without static fields"] = static
    if special.any() or more:
        found["without prefix"] = special | static
    if not (special | static).all():
        found["without a break before its events"] = ~(special | static)
    return found


def _later_visits(record: TokenizedRecord, first: int, most: int) -> dict[int, str]:
    """Return first events of visits that a telling could begin with, and which visits these are.

    A visit may begin behind any token between events, or a day later; the first of either are
    tried, and of days the one in the middle and the last.

    Args:
        record: of a patient.
        first: where what follows the prefix begins.
        most: tokens of the record that the model takes.
    """
    events = np.flatnonzero(record.kind[:most] == KIND_EVENT)
    later = events[1 : max(len(events) - EVENTS_LEFT, 1)]
    later = later[later - first <= FURTHEST]
    before = events[: len(later)]
    breaks = later[later - before > 1]
    days = later[record.time_days[later] - record.time_days[before] >= 1]
    starts: dict[int, str] = {}
    for which, places in (
        ("first break", breaks[:1]),
        ("first later day", days[:1]),
        ("middle", days[len(days) // 2 :][:1]),
        ("last", days[-1:]),
    ):
        for at in places.tolist():
            starts.setdefault(at, which)
    return starts


def _later(
    row: int,
    record: TokenizedRecord,
    at: int,
    which: str,
    *,
    first: int,
    compared: NDArray[np.bool_],
) -> Iterator[Telling]:
    """Yield a record from a later visit on, with what stands before its first event and without.

    And both behind the record's prefix and without one.
    """
    own = compared[: at + BEGINNING].copy()
    own[: at + 1] = False  # the first event stands behind something else
    skipped = int(compared[: at + 1].sum())
    if not own.any():
        return
    gap = int(np.flatnonzero(record.kind[:at] == KIND_EVENT)[-1]) + 1
    for begin, how in {gap: ", its break told", at: ""}.items():
        for prefix, whose in ((first, ""), (0, ", without prefix")):
            kept = np.concatenate([np.arange(prefix), np.arange(begin, len(own))])
            title = f"{LATER} ({which}{how}{whose})"
            yield Telling(title, row, told_anew(record.tokens[kept]), own[kept], skipped)


def _times(records: TokenizedRecords, tokenizer: Tokenizer) -> list[int]:
    """Return tokens between events that could stand before the first: shortest and longest gap."""
    gaps = [token for token, _, _ in tokenizer.time_gaps_days]
    seen = Counter(records.tokens[np.isin(records.kind, (KIND_TIME, KIND_MARK))].tolist())
    ranked = dict.fromkeys([*gaps[:1], *gaps[-1:], *(token for token, _ in seen.most_common())])
    return list(ranked)[:TIMES_TRIED]


def _name(token: int, tokenizer: Tokenizer) -> str:
    spelled = tokenizer.vocabulary.tokens
    return (spelled[token] if token < len(spelled) else None) or str(token)


def _others(
    records: TokenizedRecords, number: int, name: str, tokenizer: Tokenizer
) -> dict[int, list[tuple[str, int]]]:
    """Return, for each token of a field, the others that could stand there and what they say."""
    if name == "age":
        of_age = {years: token for token, years in tokenizer.ages.items()}
        return {
            own: [
                (f"age {shift:+d}", of_age[years + shift])
                for shift in AGE_SHIFTS
                if years + shift in of_age
            ]
            for own, years in tokenizer.ages.items()
        }
    counted = Counter(records.tokens[records.field == number].tolist())
    spelled = tokenizer.vocabulary.tokens
    tried = [(f"{name}: {spelled[token]}", token) for token, _ in counted.most_common(VALUES_TRIED)]
    return {own: [(title, token) for title, token in tried if token != own] for own in counted}


def possible_first_tokens(
    tokenizer: Tokenizer, *, unused: Iterable[int], bos_id: int | None
) -> list[int]:
    """Return ids that could begin a record although the target does not say so, likeliest first.

    Args:
        tokenizer: of the target.
        unused: ids that no record of the cohort holds.
        bos_id: BOS as the model's own configuration names it.
    """
    specials = tokenizer.spec.specials
    ids, spelled = tokenizer.vocabulary.ids, tokenizer.vocabulary.tokens
    free = [token for token in unused if token not in tokenizer.ages]
    names = {token: spelled[token] if token < len(spelled) else None for token in free}
    begins = [token for token, name in names.items() if name is not None and _BEGINS.search(name)]
    declared = [ids[name] for name in (specials.unk, specials.pad, specials.eos) if name]
    special = [token for token, name in names.items() if name is not None and _SPECIAL.search(name)]
    nameless = [token for token, name in names.items() if name is None]
    wanted = [] if bos_id is None else [bos_id]
    own = ids[specials.leading[0]] if specials.leading else None
    ranked = dict.fromkeys([*wanted, *begins, *declared, *special, *nameless, *free])
    return [token for token in ranked if token != own][:FIRST_TOKENS_TRIED]


def _compared(record: TokenizedRecord) -> tuple[int, NDArray[np.bool_]]:
    """Return where a record's events begin, and which of its tokens are compared.

    Static codes and the first event are not: what stands before them differs between tellings.
    """
    behind = np.flatnonzero((record.kind != KIND_SPECIAL) & (record.kind != KIND_STATIC))
    compared = record.kind == KIND_EVENT
    compared[np.flatnonzero(compared)[:1]] = False
    return int(behind[0]) if len(behind) else len(record), compared


def _with(
    token: int, at: int, tokens: NDArray[np.int32], compared: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Put one token more into a record."""
    one = np.array([token], dtype=np.int32)
    longer = np.concatenate([tokens[:at], one, tokens[at:]])
    return told_anew(longer), np.insert(compared, at, False)


def _replaced(tokens: NDArray[np.int32], at: int, token: int) -> NDArray[np.int32]:
    changed = tokens.copy()
    changed[at] = token
    return changed
