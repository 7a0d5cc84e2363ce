"""What the jobs of a plan work on, in memory: it holds patients and is never written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.codes import CodeSystem
from checker.planning.classes import ClassRanks
from checker.planning.overlap import SplitOverlap
from checker.planning.subgroups import Slice
from checker.policy import ResolvedAttacker
from checker.records.cohort import Cohort
from checker.records.prompts import ClassPlaces, Prompts, PromptSource, build_prompts
from checker.records.tokenization import KIND_SPECIAL, KIND_STATIC, TokenizedRecords, Tokenizer
from checker.targets import Tokens
from checker.targets.channels import told_anew


@dataclass(frozen=True, slots=True)
class SplitLabels:
    """Who is what among the n patients of one split, and which prompt each is asked with.

    Args:
        positive, eligible, promptable, too_long, behind: as in `Prompts`.
        length: [n] int64, tokens of a prompt that will be run, else 0.
        keys: 16 bytes for a prompt that will be run and None for one that will not.
        holds: [n] int64, of a pool which of its classes the patient has, a bit each in the order of
            their names; None where no pool is asked for.
        drawn: [n] float64, what share of those like the patient was drawn, NaN of who is not asked;
            None where nobody was left out.
        shared: [n] float64, how many of the whole split have the patient's prompt, NaN where he has
            none; None where nobody was left out.
    """

    positive: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    promptable: NDArray[np.bool_]
    too_long: NDArray[np.bool_]
    behind: NDArray[np.int64]
    length: NDArray[np.int64]
    keys: list[bytes | None]
    holds: NDArray[np.int64] | None = None
    drawn: NDArray[np.float64] | None = None
    shared: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class PromptRecipe:
    """How the prompts of one class, attacker and horizon are made.

    They are made again where they are needed again: all prompts of all classes and attackers would
    fill the memory.

    Args:
        attacker: what is known.
        removed, counted, watch, horizon_tokens: as in `build_prompts`.
        min_tokens: where not None, eligible is who has so many tokens behind the cut, whatever they
            are.
        parts: names of the pool's classes, sorted; none where no pool is asked for.
    """

    attacker: ResolvedAttacker
    removed: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    watch: NDArray[np.int32]
    horizon_tokens: int
    min_tokens: int | None = None
    parts: tuple[str, ...] = ()

    @classmethod
    def of_class(
        cls, ranks: ClassRanks, attacker: ResolvedAttacker, *, horizon_tokens: int
    ) -> PromptRecipe:
        """Return how prompts are made where a class is asked for."""
        return cls(
            attacker,
            removed=ranks.removed,
            counted=ranks.counted,
            watch=np.array(ranks.watch, dtype=np.int32),
            horizon_tokens=horizon_tokens,
            parts=tuple(ranks.parts),
        )

    @classmethod
    def of_records(
        cls, attacker: ResolvedAttacker, *, n_codes: int, horizon_tokens: int, min_tokens: int
    ) -> PromptRecipe:
        """Return how they are made where whatever follows counts: nothing is removed."""
        nothing = np.zeros(n_codes, dtype=np.bool_)
        return cls(
            attacker,
            removed=nothing,
            counted=nothing,
            watch=np.empty(0, dtype=np.int32),
            horizon_tokens=horizon_tokens,
            min_tokens=min_tokens,
        )

    def build(
        self, source: PromptSource, *, everybody: bool, standing: ClassPlaces | None = None
    ) -> Prompts:
        """Build the prompts of a split: of everybody who has one, or of the eligible."""
        eligible_only = not everybody and self.min_tokens is None
        prompts = build_prompts(
            source,
            self.attacker,
            removed=self.removed,
            counted=self.counted,
            watch=self.watch,
            horizon_tokens=self.horizon_tokens,
            standing=standing,
            asked="eligible" if eligible_only else "promptable",
        )
        return prompts if self.min_tokens is None else prompts.with_continuations(self.min_tokens)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels for one class, attacker and horizon, and how the prompts are made."""

    members: SplitLabels
    nonmembers: SplitLabels
    recipe: PromptRecipe

    def split(self, is_member: bool) -> SplitLabels:
        """Return the patients of one split."""
        return self.members if is_member else self.nonmembers


@dataclass(frozen=True, slots=True)
class Workload:
    """The patients and prompts behind a plan's job digests.

    Args:
        cohort: everybody who was drawn, members and nonmembers apart, those of the lot first.
        tokenizer: what made tokens of them.
        members, nonmembers: the lot as tokens, who stand for everybody.
        asked: everybody who was drawn as tokens, members under True.
        sources: the patients as prompts see them, members under True.
        slices: the subgroups in use, by name.
        labels: by job digest.
        prompts: by job digest, the distinct prompts of a rollouts job with their keys.
        scored: by job digest, the patients of a scores job: (is member, index) in order.
        inputs: by job digest, what an attack handed its own job when it was planned.
        max_length: most tokens of one sequence.
        window: which part of a longer record is scored: "first", "last" or "tiled".
        code_systems: how the data set spells codes, as (glob with {code}, system).
        bos_id: BOS as the model's own configuration names it, where that is a token it knows.
        overlap: what the splits had in common, and who was set aside for it.
        spare: patients the model never saw who are not judged, as tokens.
    """

    cohort: Cohort
    tokenizer: Tokenizer
    members: TokenizedRecords
    nonmembers: TokenizedRecords
    asked: dict[bool, TokenizedRecords]
    sources: dict[bool, PromptSource]
    slices: dict[str, Slice]
    labels: dict[str, LabelSet]
    prompts: dict[str, list[tuple[bytes, Tokens]]]
    scored: dict[str, list[tuple[bool, int]]]
    inputs: dict[str, Any]
    max_length: int | None
    window: str
    code_systems: tuple[tuple[str, CodeSystem], ...]
    bos_id: int | None
    overlap: SplitOverlap
    spare: TokenizedRecords

    def split(self, is_member: bool) -> TokenizedRecords:
        """Return the tokens of all members, or nonmembers, who were drawn."""
        return self.asked[is_member]

    def scored_pieces(
        self, patients: Sequence[tuple[bool, int]]
    ) -> Iterator[tuple[int, Tokens, int]]:
        """Yield what a model is asked to score whole records.

        Args:
            patients: (is member, index) each.

        Yields:
            Whose piece it is, as a place among `patients`; its tokens, at least two; and the first
            position that is scored.
        """
        for number, (is_member, index) in enumerate(patients):
            record = self.split(is_member)
            at = slice(record.offsets[index], record.offsets[index + 1])
            for tokens, first in self.pieces_of(record.tokens[at], record.kind[at]):
                yield number, tokens, first

    def pieces_of(self, tokens: Tokens, kind: NDArray[np.int8]) -> list[tuple[Tokens, int]]:
        """Return the pieces of a record that are scored: windows of at least two tokens."""
        windows = record_windows(tokens, kind, max_length=self.max_length, window=self.window)
        return [(piece, first) for piece, first in windows if len(piece) > 1]

    def subgroups_of(self, is_member: bool, index: int) -> list[str]:
        """Return the names of the slices a patient belongs to, "all" left out."""
        return [
            name
            for name, piece in self.slices.items()
            if name != "all" and (piece.members if is_member else piece.nonmembers)[index]
        ]


def scored_tokens(
    records: TokenizedRecords, *, max_length: int | None, window: str
) -> NDArray[np.int64]:
    """Return for each record how many tokens the model processes when it is scored."""
    lengths = np.diff(records.offsets)
    if max_length is None or window == "tiled":
        return lengths
    return np.minimum(lengths, max_length)


def record_windows(
    tokens: Tokens, kind: NDArray[np.int8], *, max_length: int | None, window: str
) -> Iterator[tuple[Tokens, int]]:
    """Yield the pieces of a record that fit the model, each with the first position to score.

    `first` and `last` keep one piece; `tiled` covers the whole record. Every piece but the first
    starts with the record's static prefix, which conditions and is not scored again.

    Args:
        tokens: [L] int32.
        kind: [L] int8, as in TokenizedRecords.
        max_length: most tokens of a piece; None keeps the record whole.
        window: "first", "last" or "tiled".
    """
    prefix_length, pieces = later_pieces(kind, max_length=max_length, window=window)
    if window != "last" or not pieces:
        yield tokens[:max_length], 1
    for start, end in pieces:
        piece = told_anew(np.concatenate([tokens[:prefix_length], tokens[start:end]]))
        if len(piece) > 1:  # a token without any context has no conditional probability
            yield piece, 1 if window == "last" else max(prefix_length, 1)


def later_pieces(
    kind: NDArray[np.int8], *, max_length: int | None, window: str
) -> tuple[int, list[tuple[int, int]]]:
    """Return which parts of a record are scored behind its static prefix alone.

    Args:
        kind: [L] int8, as in TokenizedRecords.
        max_length: most tokens of a piece; None keeps the record whole.
        window: "first", "last" or "tiled".

    Returns:
        Tokens of the prefix, and where each part begins and ends; none where the record is whole or
        told from its beginning alone.
    """
    count = len(kind)
    if max_length is None or count <= max_length or window == "first":
        return 0, []
    streamed = np.flatnonzero((kind != KIND_SPECIAL) & (kind != KIND_STATIC))
    prefix_length = int(streamed[0]) if len(streamed) else 0
    prefix_length = min(prefix_length, max_length // 2)  # a prefix must leave room for events
    room = max_length - prefix_length
    starts = [count - room] if window == "last" else range(max_length, count, room)
    return prefix_length, [(start, min(start + room, count)) for start in starts]
