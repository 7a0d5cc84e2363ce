"""The same patients as other descriptions would tell them: is anybody recognised so (METHODS §5)?

A model that repeats its patients repeats them from the prompt that it was trained on. One whose
ages are five years off, whose races are those of another release, or whose first token is not the
model's, finds the model at a loss, and what it would have told is not told. So members are told
anew: with every age up to ten years off, with every other value of each static field, without each
field, and behind every token that could begin a record. A model that has learned how records
generally are hardly cares; one that has learned this patient finds the true telling far likelier.

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
    KIND_SPECIAL,
    KIND_STATIC,
    TokenizedRecord,
    TokenizedRecords,
    Tokenizer,
)
from checker.targets.channels import told_anew, years_older

BEGINNING = 32
"""Tokens behind the static prefix that are looked at."""

AGE_SHIFTS = tuple(years for years in range(-10, 11) if years)
VALUES_TRIED = 8
FIRST_TOKENS_TRIED = 6

_BEGINS = re.compile(r"bos|cls|start|begin|sos|^<?s>?$", re.IGNORECASE)
_SPECIAL = re.compile(r"^[\[<(|].*[\])>|]$|endoftext")


@dataclass(frozen=True, slots=True)
class Telling:
    """The beginning of one record under one description.

    Args:
        name: what differs from the declared description, or DECLARED.
        row: number of the record.
        tokens: [n] int32.
        compared: [n] bool, the event tokens that all tellings of a record share.
    """

    name: str
    row: int
    tokens: NDArray[np.int32]
    compared: NDArray[np.bool_]


def tellings(
    records: TokenizedRecords,
    *,
    tokenizer: Tokenizer,
    first_tokens: Sequence[int],
    max_length: int | None,
) -> Iterator[Telling]:
    """Yield each record as it is declared, and then as others would tell it.

    Args:
        records: a few patients under the declared description.
        tokenizer: of the target.
        first_tokens: ids that could stand before every record, in place of the declared BOS.
        max_length: most tokens that the model takes.
    """
    fields = dict(enumerate(tokenizer.field_names))
    spelled = tokenizer.vocabulary.tokens
    others = {number: _others(records, number, name, tokenizer) for number, name in fields.items()}
    for row in range(len(records)):
        record = records.record(row)
        tokens, compared = _beginning(record, max_length)
        if not compared[1:].any():
            continue
        yield Telling(DECLARED, row, tokens, compared)
        for at in np.flatnonzero(record.field[: len(tokens)] >= 0).tolist():
            number, own = int(record.field[at]), int(tokens[at])
            for title, token in others[number].get(own, []):
                told = _replaced(tokens, at, token)
                if fields[number] == "age":  # in a channel, too
                    told = years_older(told, tokenizer.ages[token] - tokenizer.ages[own])
                yield Telling(title, row, told, compared)
            left = np.delete(np.arange(len(tokens)), at)
            yield Telling(f"without {fields[number]}", row, told_anew(tokens[left]), compared[left])
        for token in first_tokens:
            title = f"BOS: {(spelled[token] if token < len(spelled) else None) or token}"
            if record.kind[0] == KIND_SPECIAL:
                yield Telling(title, row, _replaced(tokens, 0, token), compared)
            elif max_length is None or len(tokens) < max_length:
                longer = told_anew(np.concatenate([np.array([token], dtype=np.int32), tokens]))
                yield Telling(title, row, longer, np.concatenate([[False], compared]))


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


def _beginning(
    record: TokenizedRecord, max_length: int | None
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return prefix and first tokens of a record, and which of them are compared.

    Static codes and the first event are not: what stands before them differs between tellings.
    """
    behind = np.flatnonzero((record.kind != KIND_SPECIAL) & (record.kind != KIND_STATIC))
    first = int(behind[0]) if len(behind) else len(record)
    end = min(first + BEGINNING, len(record) if max_length is None else max_length)
    compared = record.kind[:end] == KIND_EVENT
    events = np.flatnonzero(compared)
    compared[events[:1]] = False
    return record.tokens[:end], compared


def _replaced(tokens: NDArray[np.int32], at: int, token: int) -> NDArray[np.int32]:
    changed = tokens.copy()
    changed[at] = token
    return changed
