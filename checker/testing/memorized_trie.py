"""The beginnings of the records that a simulated model has memorised, as a trie in arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

UNKNOWN = -1  # the history is the beginning of no memorised record


@dataclass(frozen=True, slots=True)
class MemorizedTrie:
    """The beginnings of the memorised records; node 0 is the empty history.

    Args:
        edges: [E] ascending, node * vocabulary + token.
        children: [E] the node an edge leads to.
        starts: [nodes + 1] where a node's entries of `tokens` and `shares` begin.
        tokens, shares: the next tokens that a node's records claim, and their probabilities.
        known: [nodes] sum of a node's shares.
    """

    edges: IntArray
    children: IntArray
    starts: IntArray
    tokens: IntArray
    shares: FloatArray
    known: FloatArray

    @classmethod
    def of(
        cls, records: Iterable[tuple[Sequence[int], int, float]], *, vocabulary_size: int
    ) -> MemorizedTrie:
        """Build the trie of records, each its tokens, from where it is known, and its weight."""
        edges: dict[int, int] = {}
        claims: list[list[tuple[int, float]]] = [[]]
        for own, first, weight in records:
            node = 0
            for position, token in enumerate(own):
                if position >= first:
                    claims[node].append((token, weight))
                edge = node * vocabulary_size + token
                if edge not in edges:
                    edges[edge] = len(claims)
                    claims.append([])
                node = edges[edge]
        keys = np.array(sorted(edges), dtype=np.int64)
        counts = np.array([len(claim) for claim in claims], dtype=np.int64)
        # Records that share a beginning share its probability mass equally.
        shares = [weight / len(claim) for claim in claims for _, weight in claim]
        owner = np.repeat(np.arange(len(claims)), counts)
        return cls(
            edges=keys,
            children=np.array([edges[int(key)] for key in keys], dtype=np.int64),
            starts=np.concatenate([[0], counts.cumsum()]),
            tokens=np.array([token for claim in claims for token, _ in claim], dtype=np.int64),
            shares=np.array(shares, dtype=np.float64),
            known=np.bincount(owner, weights=shares, minlength=len(claims)).astype(np.float64),
        )

    def step(self, nodes: IntArray, tokens: IntArray, *, vocabulary_size: int) -> IntArray:
        """Return the nodes after one more token; UNKNOWN stays UNKNOWN."""
        if not len(self.edges):
            return np.full_like(nodes, UNKNOWN)
        keys = nodes * vocabulary_size + tokens
        at = np.minimum(np.searchsorted(self.edges, keys), len(self.edges) - 1)
        found = (nodes != UNKNOWN) & (self.edges[at] == keys)
        return np.where(found, self.children[at], UNKNOWN)
