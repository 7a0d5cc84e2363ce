"""Variants of a declared prompt format: the declared one should suit the model best (METHODS §5).

In a prototype an over-trained model that disclosed 38 of 49 members disclosed none when BOS was
missing or age stood after sex, and every other check still held. So the model's loss on members is
compared between the declared format and its likely mistakes: no BOS (or one too few), the static
prefix in another order, age off by one, events turned around. The loss is taken over the same
events in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    Records,
    TokenizedRecord,
    TokenizedRecords,
    Tokenizer,
    leading_specials,
)
from checker.targets.channels import (
    ChannelRule,
    also_told,
    channel_values,
    channels_of,
    told_anew,
    with_channel,
)

DECLARED = "declared"
PREFIX_ORDERS = 5
NO_CHANNEL = ("nothing", "another patient's")
"""What a channel is replaced by to see whether the model heeds it at all."""

OTHER_UNITS = (24.0, 7.0, 30.4375, 365.25, 1 / 24, 1 / 7, 1 / 30.4375, 1 / 365.25)
POSITION_UNITS = {"day": 1.0, "week": 7.0, "year": 365.25}
"""Days of what positions may count from a patient's first event."""

SEGMENTS = "token_type_ids"
"""What the library calls the input that says which of two segments a token is in."""

FORMAT_PATIENTS_NEEDED = 30
"""With fewer, "no variant is better" would be said of nearly any format."""


@dataclass(frozen=True, slots=True)
class FormatVariant:
    """n records in one format.

    Args:
        name: "declared", or what deviates.
        sequences: n arrays of token ids.
        compared: n boolean arrays; True on the tokens whose loss is compared.
    """

    name: str
    sequences: list[NDArray[np.int32]]
    compared: list[NDArray[np.bool_]]


def format_variants(
    records: Records,
    codes: Sequence[str],
    *,
    tokenizer: Tokenizer,
    bos_id: int | None,
    max_length: int | None,
    positions: int | None = None,
    segments: bool = False,
) -> Iterator[FormatVariant]:
    """Yield the declared format and its variants.

    Args:
        records: a few members.
        codes: the cohort's dictionary.
        tokenizer: of the target.
        bos_id: BOS as the model's own configuration names it, for targets that declare none.
        max_length: most tokens of a sequence. Records are cut before anything is turned around, so
            that all variants hold the same events.
        positions: of a model that can be told positions, how many there are; None where it takes
            none, or the target says what it is told. Some models are trained on ages or dates in
            their place.
        segments: whether the model can be told segments, and the target says none. GPT-2 adds an
            embedding for each, so that the first of them is another thing than none.
    """
    declared = tokenizer.encode(records, codes, partial=True)
    streamed = [
        _streamed(record)[: None if max_length is None else max_length - 1 - _prefix(record).size]
        for record in map(declared.record, range(len(declared)))
    ]
    kept = [positions.size for positions in streamed]

    def variant(name: str, split: TokenizedRecords, **change: bool | int | None) -> FormatVariant:
        pieces = [_sequence(split.record(i), kept[i], **change) for i in range(len(kept))]  # type: ignore[arg-type]
        return FormatVariant(name, [p[0] for p in pieces], [p[1] for p in pieces])

    yield variant(DECLARED, declared)
    yield variant("events reversed", declared, reverse=True)
    if len(declared.kind) and declared.kind[0] == KIND_SPECIAL:
        yield variant("no BOS", declared, drop_bos=True)
    elif bos_id is not None:
        yield variant("BOS added", declared, add_bos=bos_id)
    fields = tokenizer.field_names
    orders = (order for order in permutations(fields) if order != fields)
    for order in islice(orders, PREFIX_ORDERS):
        other = tokenizer.variant(prefix_order=list(order))
        yield variant(f"order {', '.join(order)}", other.encode(records, codes))
    if "age" in fields:
        for shift in (-1, 1):
            other = tokenizer.variant(age_shift=shift)
            yield variant(f"age {shift:+d}", other.encode(records, codes))
    yield from _other_channels(variant(DECLARED, declared))
    days = [
        record.time_days[np.concatenate([_prefix(record), places])].astype(np.float64)
        for record, places in zip(map(declared.record, range(len(kept))), streamed, strict=True)
    ]
    found = variant(DECLARED, declared)
    if positions is not None:
        for unit, length in POSITION_UNITS.items():
            dated = [np.minimum(own // length, positions - 1) for own in days]
            yield _also_told(f"positions by {unit}", found, "position_ids", dated)
    if segments:
        yield _also_told("one segment", found, SEGMENTS, [np.zeros(len(own)) for own in days])
        for name, seen in (("day", [own // 1.0 for own in days]), ("time", days)):
            visits = [np.cumsum(np.diff(own, prepend=own[:1]) != 0) for own in seen]
            for first in (0, 1):
                told = [(own + first) % 2.0 for own in visits]
                yield _also_told(f"segments by {name} from {first}", found, SEGMENTS, told)


def _also_told(
    name: str, declared: FormatVariant, channel: str, values: Sequence[NDArray[np.float64]]
) -> FormatVariant:
    """Tell the model one thing more beside the same ids."""
    told = [
        also_told(tokens, channel, own)
        for tokens, own in zip(declared.sequences, values, strict=True)
    ]
    return FormatVariant(name, told, declared.compared)


def variants_at_most(tokenizer: Tokenizer) -> int:
    """Return how many formats are compared, the declared one included, where a model takes all.

    Before it is loaded nobody knows whether it can be told positions and segments.
    """
    fields, told = tokenizer.field_names, {rule.name for rule in tokenizer.channels}
    count = 3 + min(PREFIX_ORDERS, math.factorial(len(fields)) - 1)  # reversed, and of BOS
    count += 2 if "age" in fields else 0
    count += sum(4 + (len(OTHER_UNITS) if rule.timed else 0) for rule in tokenizer.channels)
    count += 0 if "position_ids" in told else len(POSITION_UNITS)
    return count + (0 if SEGMENTS in told else 5)


def channel_variant(channel: str, how: str) -> str:
    """Return the name of a variant that tells one channel otherwise."""
    return f"channel {channel}: {how}"


def _other_channels(declared: FormatVariant) -> Iterator[FormatVariant]:
    """Yield the same ids with each channel told otherwise, within what is told of these patients.

    In a way that makes no sense (`NO_CHANNEL`), and in ways that a wrong description would have.
    """
    sequences = [one for one in declared.sequences if len(one)]
    for rule in channels_of(sequences[0]) if sequences else ():
        own = [channel_values(tokens, rule.name) for tokens in declared.sequences]
        seen = np.concatenate(own)
        low, high = float(seen.min()), float(seen.max())

        def told(
            name: str, values: Sequence[NDArray[np.float64]], rule: ChannelRule = rule
        ) -> FormatVariant:
            changed = [
                with_channel(tokens, rule.name, np.clip(one, low, high))  # noqa: B023
                for tokens, one in zip(declared.sequences, values, strict=True)
            ]
            return FormatVariant(channel_variant(rule.name, name), changed, declared.compared)

        yield told(NO_CHANNEL[0], [np.zeros_like(one) for one in own])
        others = [*own[1:], *own[:1]]
        yield told(
            NO_CHANNEL[1],
            [
                other[np.minimum(np.arange(len(one)), len(other) - 1)] if len(other) else one
                for one, other in zip(own, others, strict=True)
            ],
        )
        yield told("one token late", [np.append(one[:1], one[:-1]) for one in own])
        yield told("one token early", [np.append(one[1:], one[-1:]) for one in own])
        for times in OTHER_UNITS if rule.timed else ():
            yield told(f"times {times:g}", [one * times for one in own])


def _prefix(record: TokenizedRecord) -> NDArray[np.int64]:
    """Positions of the static tokens and of BOS, which stands first if it is there."""
    begins = np.zeros(1 if len(record) else 0, dtype=np.int64)
    leading = (record.kind == KIND_STATIC) | leading_specials(record.kind, begins)
    return np.flatnonzero(leading)


def _streamed(record: TokenizedRecord) -> NDArray[np.int64]:
    """Positions of event and time tokens."""
    return np.flatnonzero((record.kind != KIND_SPECIAL) & (record.kind != KIND_STATIC))


def _sequence(
    record: TokenizedRecord,
    kept: int,
    *,
    reverse: bool = False,
    drop_bos: bool = False,
    add_bos: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Put one record together from its prefix and the first `kept` tokens of its events."""
    prefix, stream = _prefix(record), _streamed(record)[:kept]
    compared = record.kind == KIND_EVENT
    # the first event and, turned around, the last may have nothing before them to be predicted
    # from: no variant is compared on either
    events = stream[compared[stream]]
    compared[events[[0, -1]] if events.size else []] = False
    if drop_bos:
        prefix = prefix[record.kind[prefix] != KIND_SPECIAL]
    order = np.concatenate([prefix, stream[::-1] if reverse else stream])
    tokens, mask = record.tokens[order], compared[order]
    if add_bos is not None:
        tokens = told_anew(np.concatenate([np.array([add_bos], dtype=np.int32), tokens]))
        mask = np.concatenate([[False], mask])
    return tokens, mask
