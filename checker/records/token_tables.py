"""What a model must beat: tables of how often tokens occur and follow each other (METHODS §5).

Unigram and bigram tables are fitted on the tokens of nonmembers under the declared tokenization. A
model that was trained on such records knows more than they do, whoever its members were; under a
vocabulary that is not its own it knows less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import TokenizedRecords
from checker.records.tokenization.records import slices_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TokenTables:
    """Unigram and bigram probabilities with Witten and Bell's smoothing.

    With c counts of what was seen, N tokens and T distinct ones among a vocabulary of V:

        p(w) = (c(w) + T / V) / (N + T)
        p(w | h) = (c(h, w) + T(h) · p(w)) / (c(h) + T(h)),

    T(h) being the distinct tokens seen behind h; behind what was never seen p(w | h) is p(w).

    Args:
        unigram: [V] float64, p(w).
        pairs: [k] int64, ascending, h · V + w of each pair that was seen.
        counts: [k] int64, c(h, w).
        seen: [V] int64, c(h).
        kinds: [V] int64, T(h).

    Reference:
        Witten and Bell 1991, IEEE Trans. Inf. Theory 37:1085, method C.
    """

    unigram: Floats
    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]
    seen: NDArray[np.int64]
    kinds: NDArray[np.int64]

    @classmethod
    def fitted(
        cls,
        records: TokenizedRecords,
        *,
        vocabulary_size: int,
        chosen: NDArray[np.integer] | None = None,
    ) -> TokenTables:
        """Count what follows what in each record; its first token follows nothing.

        Args:
            records: whole records, each from its first token.
            vocabulary_size: V, above every token.
            chosen: places of the records that count; default: all.
        """
        tokens, offsets = records.tokens, records.offsets
        if chosen is not None:
            at, offsets = slices_of(offsets, chosen)
            tokens = tokens[at]
        tokens = tokens.astype(np.int64)
        follows = np.ones(len(tokens), dtype=np.bool_)
        starts = offsets[:-1]
        follows[starts[starts < len(tokens)]] = False
        at = np.flatnonzero(follows)
        counts = np.bincount(tokens[at], minlength=vocabulary_size)
        total, distinct = len(at), int((counts > 0).sum())
        base = np.full(vocabulary_size, 1 / vocabulary_size)
        unigram = (counts + distinct * base) / (total + distinct) if total else base
        pairs, pair_counts = np.unique(
            tokens[at - 1] * vocabulary_size + tokens[at], return_counts=True
        )
        first = pairs // vocabulary_size
        return cls(
            unigram=unigram,
            pairs=pairs,
            counts=pair_counts.astype(np.int64),
            seen=np.bincount(first, weights=pair_counts, minlength=vocabulary_size).astype(
                np.int64
            ),
            kinds=np.bincount(first, minlength=vocabulary_size).astype(np.int64),
        )

    def unigram_loss(self, tokens: NDArray[np.int32]) -> Floats:
        """Return -log p(w) of each token behind the first: [n - 1] float64, in nats."""
        loss: Floats = -np.log(self.unigram[tokens[1:]])
        return loss

    def bigram_loss(self, tokens: NDArray[np.int32]) -> Floats:
        """Return -log p(w | h) of each token behind the first: [n - 1] float64, in nats."""
        before, after = tokens[:-1].astype(np.int64), tokens[1:].astype(np.int64)
        share = self.unigram[after]
        if not len(self.pairs):
            return -np.log(share)
        wanted = before * len(self.unigram) + after
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        count = np.where(self.pairs[place] == wanted, self.counts[place], 0)
        seen, kinds = self.seen[before], self.kinds[before]
        known = seen > 0
        mixed = (count + kinds * share) / np.where(known, seen + kinds, 1)
        loss: Floats = -np.log(np.where(known, mixed, share))
        return loss

    def losses(
        self, tokens: NDArray[np.int32], *, compared: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Return the mean unigram and bigram loss of a sequence over its compared tokens, in nats.

        Args:
            tokens: [n].
            compared: [n], True for at least one token behind the first.
        """
        mask = compared[1:]
        found = self.unigram_loss(tokens)[mask].mean(), self.bigram_loss(tokens)[mask].mean()
        return float(found[0]), float(found[1])
