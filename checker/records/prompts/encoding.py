"""Prompts as tokens: the static prefix, the events that are known, and the gaps between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.policy import ResolvedAttacker
from checker.records.prompts.knowledge import KnownEvents
from checker.records.prompts.source import Flags, Positions, PromptSource, blocks, flag
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    Tokenizer,
    leading_specials,
)


@dataclass(frozen=True, slots=True)
class PromptEncoder:
    """Encodes prompts as tokens.

    Args:
        source: the patients.
        attacker: what is known of their static facts.
        knowledge: which of their events.
        cut: [n] int64, place in the records' tokens where a prompt ends at the latest.
        begins: [n] int64, place there where the events of a prompt begin at the earliest.
        removed: [codes] bool, codes that leave the prompt.
    """

    source: PromptSource
    attacker: ResolvedAttacker
    knowledge: KnownEvents
    cut: Positions
    begins: Positions
    removed: Flags

    @property
    def begins_with_bos(self) -> Flags:
        """[n] bool: whatever is known, there is a token to begin with."""
        records = self.source.records
        has = np.diff(records.offsets) > 0
        has[has] = records.kind[records.offsets[:-1][has]] == KIND_SPECIAL
        return has

    def encode(self, rows: Positions) -> tuple[NDArray[np.int32], Positions]:
        """Return the prompts of some patients, end to end, and how long each is."""
        tokens, lengths = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.int64)]
        span = self.cut[rows] - self.source.records.offsets[rows]
        for part in blocks(span):
            known, own = self._block(rows[part], span[part])
            tokens.append(known)
            lengths.append(own)
        return np.concatenate(tokens), np.concatenate(lengths)

    def _block(self, rows: Positions, span: Positions) -> tuple[NDArray[np.int32], Positions]:
        records = self.source.records
        row = np.repeat(np.arange(len(rows)), span)
        begin = np.cumsum(span) - span
        at = np.arange(len(row)) + np.repeat(records.offsets[rows] - begin, span)
        kind, tokens = records.kind[at], records.tokens[at]
        is_event = kind == KIND_EVENT
        of_class = flag(self.removed, records.code[at])
        keep_event = is_event & ~of_class & (at >= np.repeat(self.begins[rows], span))
        if self.knowledge.pool is not None:
            known, reach = self.knowledge.chosen(rows)
            event = (np.cumsum(reach) - reach)[row[is_event]] + records.event[at[is_event]]
            keep_event[is_event] &= known[event]
        starts = np.zeros(len(row), dtype=np.bool_)
        starts[begin[span > 0]] = True
        keep = leading_specials(kind, begin[span > 0])
        keep |= self._known_facts(kind, records.field[at])
        keep = (keep & ~of_class) | keep_event
        is_time = kind == KIND_TIME
        _keep_times(
            tokens,
            keep,
            keep_event,
            is_time=is_time,
            head=np.flatnonzero(is_time | starts),
            row=row,
            days=records.time_days[at],
            tokenizer=self.source.tokenizer,
        )
        return tokens[keep], np.bincount(row[keep], minlength=len(rows))

    def _known_facts(self, kind: NDArray[np.int8], field: NDArray[np.int16]) -> Flags:
        """Flag the static prefix as far as the attacker needs it.

        A model has not seen a record that lacks a field in the middle: on such a prompt an
        over-trained model that disclosed most members disclosed 2 % of them, and read as safe. A
        field the attacker does not know but that stands before something he does know has few
        values, and he can try them all; the prompt holds the one that is right. Fields behind all
        he knows are left to the model.
        """
        static: Flags = kind == KIND_STATIC
        knows = self.attacker.knows
        if knows.static == "all" or knows.includes_events:
            return static
        fields = self.source.tokenizer.field_names
        last = max((fields.index(name) for name in knows.static or ()), default=-1)
        return static & (field >= 0) & (field <= last)


def _keep_times(
    tokens: NDArray[np.int32],
    keep: Flags,
    keep_event: Flags,
    *,
    is_time: Flags,
    head: Positions,
    row: Positions,
    days: NDArray[np.float32],
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
        is_time: [T].
        head: ascending places where a patient or a later time of his begins; the events of one time
            stand from one head to the next.
        row: [T], whose the tokens are.
        days: [T], when.
        tokenizer: names the gaps.
    """
    group = np.searchsorted(head, np.flatnonzero(keep_event), side="right") - 1
    kept = np.flatnonzero(np.bincount(group, minlength=len(head)))
    first = head[kept]
    follows = np.flatnonzero(row[first[1:]] == row[first[:-1]]) + 1
    keep[first[follows]] = True
    longer = follows[kept[follows] != kept[follows - 1] + 1]
    day = np.where(is_time[first], days[first], 0).astype(np.float64)
    told = tokenizer.gap_tokens(day[longer] - day[longer - 1])
    tokens[first[longer]] = told
    keep[first[longer[told < 0]]] = False  # the model is told no gap of that length
