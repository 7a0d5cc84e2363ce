"""Which runs of tokens do several patients hold word for word? Such a run is nobody's alone.

An order set is written in one order into every record that has it. Where no nonmember happens to
have it, tables of nonmembers call it rare, and a model that learned it from a hundred others looks
as if it recited one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.records.duplicates import NEAR_DUPLICATE, shingles
from checker.records.ngrams import MOST_TOKENS
from checker.records.tokenization import KIND_EVENT, TokenizedRecord, TokenizedRecords

RUN: Final = 12
"""Tokens of a run, of longer windows too: an order set is shorter than some windows, and all those
count that hold its end and what a model may well write behind it."""

HOLDERS: Final = 3
"""Patients who hold a run, whoever is asked about among them, from whom on it is nobody's alone."""

LOOKED_AT: Final = 16
"""Of the holders of one run, those with the longest records: of more who are all like one another
the run is said to be somebody's own."""

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class HeldRuns:
    """The runs of m tokens that at least two of many patients hold.

    Args:
        length: m.
        records: of whom.
        multipliers: [m] of the hash; runs of equal hash are compared token by token.
        known: [k] ascending, hashes of the runs.
        begin: [k + 1] where each one's places begin.
        place: where a run stands in the records' tokens, once for each patient, those with the
            longest records first.
    """

    length: int
    records: TokenizedRecords
    multipliers: Hashes
    known: Hashes
    begin: Integers
    place: Integers

    @classmethod
    def of(
        cls,
        records: TokenizedRecords,
        *,
        length: int,
        rng: np.random.Generator,
        most_tokens: int = MOST_TOKENS,
    ) -> HeldRuns:
        """Find the runs.

        Args:
            records: of patients.
            length: m, tokens of a run.
            rng: draws whose runs are counted, where they are more than are counted, and the hash.
            most_tokens: that are looked at, at least one record; 100 bytes each meanwhile.
        """
        lengths = np.diff(records.offsets)
        drawn = rng.permutation(len(lengths))
        enough = int(np.searchsorted(np.cumsum(lengths[drawn]), most_tokens, side="right"))
        chosen = drawn[: max(enough, 1)]
        chosen = chosen[np.lexsort((chosen, -lengths[chosen]))]
        multipliers = rng.integers(2**64, size=length, dtype=np.uint64) | np.uint64(1)
        count = np.maximum(lengths[chosen] - length + 1, 0)
        rank = np.repeat(np.arange(len(chosen), dtype=np.int32), count)
        inside = np.arange(len(rank)) - np.repeat(np.cumsum(count) - count, count)
        place = records.offsets[chosen][rank] + inside
        hashes = _hashed(records.tokens, multipliers, place)
        order = np.argsort(hashes, kind="stable")
        hashes, place, rank = hashes[order], place[order], rank[order]
        once = np.ones(len(hashes), dtype=np.bool_)  # of each patient
        once[1:] = (hashes[1:] != hashes[:-1]) | (rank[1:] != rank[:-1])
        known, which, often = np.unique(hashes[once], return_inverse=True, return_counts=True)
        several = often > 1
        return cls(
            length=length,
            records=records,
            multipliers=multipliers,
            known=known[several],
            begin=np.concatenate([[0], np.cumsum(often[several])]),
            place=place[once][several[which]],
        )

    def held(
        self,
        tokens: NDArray[np.int32],
        asked: NDArray[np.bool_],
        *,
        record: TokenizedRecord,
        own: int | None,
    ) -> NDArray[np.bool_]:
        """Return which tokens stand in a run that two others hold, neither this patient again.

        But for the first token of it: whether a run begins is no matter of who holds it.
        Two patients count as one where four fifths of the runs of five events of one stand in the
        other's record too: one person under two numbers, or a record that another quotes whole.

        Args:
            tokens: [L].
            asked: [L - m + 1] which of its runs are looked up.
            record: the patient's.
            own: his number among the patients whose runs were counted, None for anybody else.

        Returns:
            [L] bool.
        """
        found = np.zeros(len(tokens), dtype=np.bool_)
        if not asked.any() or not len(self.known):
            return found
        text = np.asarray(tokens)
        hashes = _hashed(text, self.multipliers, np.arange(len(asked)))
        at = np.minimum(np.searchsorted(self.known, hashes), len(self.known) - 1)
        told: dict[tuple[int, ...], bool] = {}
        for i in np.flatnonzero(asked & (self.known[at] == hashes)).tolist():
            places = self.place[self.begin[at[i]] : self.begin[at[i] + 1]][: LOOKED_AT + 1]
            window = text[i : i + self.length]
            runs = self.records.tokens[places[:, None] + np.arange(self.length)]
            whose = np.searchsorted(self.records.offsets, places, side="right") - 1
            others = tuple(whose[(runs == window).all(axis=1) & (whose != own)].tolist())
            if others not in told:
                told[others] = len(others) >= HOLDERS - 1 and self._differ(record, others)
            if told[others]:
                found[i + 1 : i + self.length] = True
        return found

    def _differ(self, record: TokenizedRecord, others: tuple[int, ...]) -> bool:
        """Whether there are two of others who are like neither this patient nor each other."""
        kept = [_of_events(record)]
        for one in others:
            own = _of_events(self.records.record(one))
            if not any(_alike(own, had) for had in kept):
                kept.append(own)
            if len(kept) == HOLDERS:
                return True
        return False


def _of_events(record: TokenizedRecord) -> set[bytes]:
    return shingles(record.tokens[record.kind == KIND_EVENT])


def _alike(first: set[bytes], second: set[bytes]) -> bool:
    return len(first & second) >= NEAR_DUPLICATE * min(len(first), len(second))


def _hashed(tokens: NDArray[np.int32], multipliers: Hashes, place: Integers) -> Hashes:
    """Return a hash of the run that begins at each of some places."""
    hashes = np.zeros(len(place), dtype=np.uint64)
    for further, one in enumerate(multipliers):
        hashes += one * tokens[place + further].astype(np.uint64)
    return hashes
