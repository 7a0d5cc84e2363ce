"""The prompts of one attacker for one class, and who can be asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from checker.policy import ResolvedAttacker
from checker.records.prompts.encoding import PromptEncoder
from checker.records.prompts.knowledge import KnownEvents
from checker.records.prompts.source import ClassPlaces, Flags, Positions, PromptSource
from checker.targets.channels import told_channels

DISTINCT_PROMPTS_NEEDED = 0.8
"""Below this share of distinct prompts an excess says nothing (METHODS §1)."""

TOO_LONG_ALLOWED = 0.05
"""Beyond this share of prompts that leave the model no room, who is left is another population."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of n patients for one attacker and one class.

    Args:
        tokens: [T] int32, all prompts end to end; prompt i is tokens[offsets[i]:offsets[i + 1]].
        offsets: [n + 1] int64; a prompt that was not asked for takes no place.
        positive: [n] bool, the record holds a definitive or strong code of the class.
        eligible: [n] bool, positive, and such a code lies within the horizon behind the cut.
        promptable: [n] bool, the prompt is not empty, leaves the model room to go on, the cut is
            one that can be compared with others', and something follows it that the model was
            trained on.
        too_long: [n] bool, not promptable because what is known leaves the model no room.
        behind: [n, 2] int64, where in `TokenizedRecords.tokens` what follows the cut begins and
            ends (without EOS, and within the window that the model was trained on); equal where
            nothing follows.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    positive: Flags
    eligible: Flags
    promptable: Flags
    too_long: Flags
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

    def among(self, chosen: Flags) -> Prompts:
        """Return the same prompts, of which only the chosen patients' can be asked: [n] bool."""
        return replace(
            self,
            positive=self.positive & chosen,
            eligible=self.eligible & chosen,
            promptable=self.promptable & chosen,
            too_long=self.too_long & chosen,
        )

    def with_continuations(self, min_tokens: int) -> Prompts:
        """Return the same prompts, eligible wherever at least `min_tokens` follow the cut."""
        eligible = self.promptable & (np.diff(self.behind, axis=1)[:, 0] >= min_tokens)
        return replace(self, positive=eligible, eligible=eligible)


def prompt_key(tokens: NDArray[np.int32]) -> bytes:
    """Return 16 bytes that name a prompt: equal prompts of different patients are one prompt.

    Equal are those of which a model is told the same, in all of its channels.
    """
    told = [np.ascontiguousarray(tokens, dtype="<i4").tobytes()]
    told += [
        np.ascontiguousarray(values, dtype="<f8").tobytes()
        for _, values in sorted(told_channels(tokens).items())
    ]
    return hashlib.blake2b(b"".join(told), digest_size=16, person=b"phigate-prompt").digest()


def build_prompts(
    source: PromptSource,
    attacker: ResolvedAttacker,
    *,
    removed: Flags,
    counted: Flags,
    watch: NDArray[np.int32],
    horizon_tokens: int,
    standing: ClassPlaces | None = None,
    asked: Literal["all", "promptable", "eligible"] = "all",
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
        standing: where the class stands, where that was looked up before.
        asked: whose prompts are wanted; who is what is told of all.

    Returns:
        The prompts, in the order of the records.

    Raises:
        DataError: one of the attacker's `codeTypes` matches no code of the data set.
    """
    if standing is None:
        standing = ClassPlaces.of(source, counted=counted, watch=watch)
    knowledge = KnownEvents.of(source, attacker, standing, removed=removed, counted=counted)
    everybody = np.arange(len(source.records))
    cut = _seen(source, attacker, source.positions.begin(knowledge.cuts(everybody)), standing)
    end = source.positions.end
    told = np.append(standing.nameable, np.iinfo(np.int64).max)
    next_told = told[np.searchsorted(standing.nameable, cut)]
    begins, ends, piece = _window(source, attacker, cut=cut, next_told=next_told)
    within = cut >= piece
    cut = np.where(begins < ends, np.maximum(cut, begins), cut)
    follows = knowledge.is_comparable & (cut < end) & (begins < ends)
    end = np.minimum(end, ends)
    within &= next_told < np.minimum(cut + horizon_tokens, end)

    encoder = PromptEncoder(source, attacker, knowledge, cut, begins, removed)
    promptable = follows & (cut < end)
    without_bos = np.flatnonzero(promptable & ~encoder.begins_with_bos)
    promptable[without_bos] = encoder.encode(without_bos)[1] > 0
    room = _room(source, encoder, promptable)
    end = np.minimum(end, cut + np.maximum(room, 0))
    too_long = follows & ((cut >= ends) | (room < 1))
    promptable &= ~too_long
    eligible = within & promptable & (next_told < end)
    wanted = {"promptable": promptable, "eligible": eligible}.get(asked)
    rows = everybody if wanted is None else np.flatnonzero(wanted)
    tokens, own = encoder.encode(rows)
    lengths = np.zeros(len(everybody), dtype=np.int64)
    lengths[rows] = own
    return Prompts(
        tokens=tokens,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        positive=standing.positive,
        eligible=eligible,
        promptable=promptable,
        too_long=too_long,
        behind=np.where((cut < end)[:, None], np.stack([cut, end], axis=1), 0),
    )


def _seen(
    source: PromptSource, attacker: ResolvedAttacker, cut: Positions, standing: ClassPlaces
) -> Positions:
    """Return the cuts, [n], moved on where a model saw nothing of what follows them.

    Of a record whose last part alone was learned, that part follows the static facts: who knows no
    event asks there, and who knows all that comes before asks where the class next stands there.
    """
    seen_from = source.windows.seen_from
    if not attacker.knows.includes_events:
        return np.maximum(cut, seen_from)
    if attacker.knows.events != "all":
        return cut
    told = np.append(standing.counted, np.iinfo(np.int64).max)
    next_told = told[np.searchsorted(standing.counted, seen_from)]
    moved = (cut < seen_from) & (next_told < source.positions.end)
    number = np.zeros(len(cut), dtype=np.int64)
    number[moved] = source.records.event[next_told[moved]]
    return np.where(moved, np.maximum(source.positions.begin(number), seen_from), cut)


def _window(
    source: PromptSource, attacker: ResolvedAttacker, *, cut: Positions, next_told: Positions
) -> tuple[Positions, Positions, Positions]:
    """Return where what is known of what the model learned in one piece begins and ends, [n] each.

    A record in pieces was learned in pieces. Who knows all that comes before is told the piece that
    holds the class, from its beginning. Whoever knows the first events is at the first piece. Who
    knows single events knows no piece, so that only what follows has to be of one.

    Returns:
        Where events may be known from, where the piece ends, and where it begins.
    """
    records = source.records
    knows = attacker.knows
    if not knows.chooses_events:
        at = records.offsets[:-1].astype(np.int64)
        begins, ends = source.windows.around(
            at if knows.includes_events else source.windows.seen_from
        )
        return begins, ends, begins
    is_told = next_told < source.positions.end
    begins, ends = source.windows.around(np.where(is_told, next_told, cut))
    if knows.events == "all":
        return begins, ends, np.minimum(begins, cut)  # he is told the piece from its beginning
    return np.where(begins < ends, records.offsets[:-1], begins), ends, begins


def _room(source: PromptSource, encoder: PromptEncoder, asked: Flags) -> Positions:
    """Return how many tokens the model can go on for after each prompt: [n], a bound from below.

    What is known is at most what stands between the window's beginning and the cut; only where that
    leaves the model too little are the prompts made to see how long they are.
    """
    most = np.iinfo(np.int64).max
    room = np.full(len(asked), most // 2, dtype=np.int64)
    if source.max_length is None:
        return room
    windows = source.windows
    begin = np.maximum(encoder.begins, source.records.offsets[:-1])
    longest = windows.prefix + np.maximum(encoder.cut - begin, 0)
    room = source.max_length - longest
    unsure = np.flatnonzero(asked & (encoder.cut + room < source.positions.end))
    room[unsure] = source.max_length - encoder.encode(unsure)[1]
    return room
