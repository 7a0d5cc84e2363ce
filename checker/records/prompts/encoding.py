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
    KIND_MARK,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    Tokenizer,
    leading_specials,
)
from checker.targets.channels import all_told_anew


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
        keep = leading_specials(kind, begin[span > 0])
        keep |= self._known_facts(kind, records.field[at])
        keep = (keep & ~of_class) | keep_event
        _keep_between(
            tokens,
            keep,
            keep_event,
            kind=kind,
            left_out=is_event & ~of_class & ~keep_event,
            row=row,
            days=records.time_days[at],
            tokenizer=self.source.tokenizer,
        )
        lengths = np.bincount(row[keep], minlength=len(rows))
        return all_told_anew(tokens[keep], lengths), lengths

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


def _keep_between(
    tokens: NDArray[np.int32],
    keep: Flags,
    keep_event: Flags,
    *,
    kind: NDArray[np.int8],
    left_out: Flags,
    row: Positions,
    days: NDArray[np.float32],
    tokenizer: Tokenizer,
) -> None:
    """Keep what stands between events that are kept: time tokens and marks of the record's form.

    Between neighbours all of it stays. Where events in between are gone, the gap is a longer one
    than in the record: who knows two events knows how far apart they are, and a prompt with the old
    gaps, or with one before its first event, is one that no model was trained on. So the last time
    token between them tells the whole gap, where the trainer would have told it so, or where the
    attacker never knew the events in between. Where the trainer told the time of every event, kept
    or not, all time tokens stay around codes of the class.

    Args:
        tokens: [T], changed in place.
        keep: [T], changed in place.
        keep_event: [T], the events that are kept.
        kind: [T], one of the KIND constants.
        left_out: [T], events that are not known, though not of the class.
        row: [T], whose the tokens are.
        days: [T], when.
        tokenizer: names the gaps.
    """
    kept = np.flatnonzero(keep_event)
    between = np.flatnonzero((kind == KIND_TIME) | (kind == KIND_MARK))
    if not len(kept) or not len(between):
        return
    events = np.append(0, np.cumsum(kind == KIND_EVENT))
    unknown = np.append(0, np.cumsum(left_out))
    before = np.append(-1, kept[:-1])
    is_first = np.append(True, row[kept[1:]] != row[kept[:-1]])
    begin = np.where(is_first, np.searchsorted(row, row[kept]), before + 1)
    gone = events[kept] - events[begin]  # events of the record that stand there and leave
    is_whole = gone == 0
    stays = ~is_first & (unknown[kept] == unknown[begin])
    if tokenizer.retells_gaps:
        stays[:] = False
    following = np.searchsorted(kept, between)
    inside = following < len(kept)
    between, following = between[inside], following[inside]
    own = row[between] == row[kept[following]]
    between, following = between[own], following[own]
    all_stay = (is_whole | stays)[following]
    keep[between[all_stay]] = True
    _tell_gaps(
        tokens,
        keep,
        kept,
        between[~all_stay & (kind[between] == KIND_TIME)],
        is_first=is_first,
        days=days.astype(np.float64),
        tokenizer=tokenizer,
    )
    # without a rule for gaps of any length, what stands right before an event belongs to it
    if not tokenizer.tells_gaps:
        last_event = np.append(-1, np.flatnonzero(kind == KIND_EVENT))
        previous = last_event[np.searchsorted(last_event, kept) - 1]
        belongs = ~all_stay & (between > previous[following])
        # of a prompt's first event it begins behind the gap, which nobody is told
        last_time = np.append(-1, np.flatnonzero(kind == KIND_TIME))
        behind = last_time[np.searchsorted(last_time, kept) - 1]
        belongs &= ~is_first[following] | (between > behind[following])
        keep[between[belongs]] = True


def _tell_gaps(
    tokens: NDArray[np.int32],
    keep: Flags,
    kept: Positions,
    times: Positions,
    *,
    is_first: Flags,
    days: NDArray[np.float64],
    tokenizer: Tokenizer,
) -> None:
    """Let the last of some time tokens between two kept events tell the gap between these."""
    if not tokenizer.tells_gaps:
        return
    following = np.searchsorted(kept, times)
    last = np.append(following[1:] != following[:-1], True)[: len(times)]
    times, following = times[last], following[last]
    later = ~is_first[following]
    times, following = times[later], following[later]
    gap = days[kept[following]] - days[kept[following - 1]]
    told = tokenizer.gap_tokens(gap)
    tokens[times] = told
    keep[times] = (told >= 0) & (gap > 0)  # some gaps the model is told nothing of
