"""How often a model without memory would name a class: what tables of tokens say, before any model.

Whoever holds a record up to a diagnosis holds what points to it, and a model that knows no more
than which token follows which names the diagnosis then, of members and of others. How often that
is, and how much it varies between patients, is what an excess drowns in; a policy can only assume
it (`expectedBaseRate`). So `phigate plan` looks: it counts which token follows which in one split
and asks what would follow the prompts of the other (METHODS §6, *Power*). The plan of a run does
not, for nothing that is judged hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from checker.attacks.api import load_attack
from checker.planning import AuditPlan, CompiledAudit
from checker.planning.cells import base_rate_cells, power_in
from checker.planning.classes import pool_watch
from checker.planning.model import Cell, ExpectedRate
from checker.planning.release import with_prospects
from checker.planning.workload import LabelSet
from checker.records.tokenization import TokenizedRecords
from checker.targets import Sampler
from checker.targets.sampling import shape_probabilities

Floats = NDArray[np.float64]
Tokens = NDArray[np.int64]

MOST_TOKENS: Final = 1_000_000
"""Of a split, that are counted; more would tell hardly anything more, and cost time."""


def with_expected_rates(audit: CompiledAudit, plan: AuditPlan) -> AuditPlan:
    """Return a plan whose tests of a class expect what tables say, where that is more than assumed.

    Args:
        audit: with its patients.
        plan: of the audit, with all else that was looked at before.
    """
    asked = [
        cell
        for cell in base_rate_cells(plan)
        if cell.gating
        and cell.labels is not None
        and min(cell.sample.members, cell.sample.nonmembers) > 0
        and {"horizonTokens", "temperature", "topP", "threshold"} <= cell.params.keys()
    ]
    if not asked:
        return plan
    named = _Named(audit, plan)
    rates: dict[str, ExpectedRate] = {}
    for cell in asked:
        found = named.of_cell(cell)
        if found is not None:
            rates[cell.id] = found
    known = plan.model_copy(update={"expected_rates": rates})
    cells = [
        cell.model_copy(update={"power": power_in(known, cell, cell.sample)})
        if cell.id in rates
        else cell
        for cell in plan.cells
    ]
    return with_prospects(known.model_copy(update={"cells": cells}))


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What a table tells behind each token, of one set of tokens a column: [V, k] each.

    Args:
        q: how likely one of the set comes within the horizon.
        expected: second moment of a continuation's compensator, the sum of its steps' chances.
        both: of hit and compensator together.
    """

    q: Floats
    expected: Floats
    both: Floats

    def noise(self, samples: int) -> Floats:
        """Return the variance of a patient's estimate from so many continuations (METHODS §2, T2).

        With M the hit less its compensator X and n the share of the other continuations that hit,
        the estimate is the mean of X + n · M.
        """
        hit = self.q * (1 - self.q)
        if samples < 2:
            return hit
        others = samples - 1
        sums, together = self.expected - self.q**2, self.both - self.q**2
        rest = hit + sums - 2 * together  # the variance of M
        mixed = sums + 2 * self.q * (together - sums) + (self.q**2 + hit / others) * rest
        mixed += (hit - together) ** 2 / others
        # a sum above one is cut, which is not told here
        least: Floats = np.clip(mixed, 0, hit) / samples
        return least


class _Named:
    """What tables name behind the prompts of one audit."""

    def __init__(self, audit: CompiledAudit, plan: AuditPlan) -> None:
        self._work, self._plan = audit.workload, plan
        self._tables: dict[tuple[bool, float, float], sparse.csr_array] = {}
        self._known: dict[tuple[str, int, float, float, int], list[tuple[Floats, Floats]]] = {}

    def of_cell(self, cell: Cell) -> ExpectedRate | None:
        """Return what is expected of a cell's patients; None where nobody has the class."""
        assert cell.labels is not None
        params = cell.params
        shape = int(params["horizonTokens"]), float(params["temperature"]), float(params["topP"])
        estimated = self._estimated(cell)
        key = cell.labels, *shape, estimated
        if key not in self._known:
            told = self._of_labels(cell, self._work.labels[cell.labels], *shape)
            asked = estimated or int(params["samples"])
            self._known[key] = [
                (q, one.noise(asked)[at] if estimated else q * (1 - q) / asked)
                for one, at, q in told
            ]
        labels, piece = self._work.labels[cell.labels], self._work.slices[cell.subgroup]
        chosen = [piece.members[labels.members.eligible]]
        chosen.append(piece.nonmembers[labels.nonmembers.eligible])
        q, noise = (
            np.concatenate([own[i][at] for own, at in zip(self._known[key], chosen, strict=True)])
            for i in (0, 1)
        )
        if not len(q):
            return None
        mean, varies = float(q.mean()), float(q.var() + noise.mean())
        coin = mean * (1 - mean)
        return ExpectedRate(
            mean=mean,
            told=float((q > float(params["threshold"])).mean()),
            spread=min(varies / coin, 1.0) if coin else 0.0,
        )

    def _of_labels(
        self, cell: Cell, labels: LabelSet, horizon: int, temperature: float, top_p: float
    ) -> list[tuple[_Tokens, tuple[Tokens, Tokens], Floats]]:
        """Return what a table of the other split tells of who is eligible, where, and q."""
        found = []
        for is_member in (True, False):
            own, recipe = labels.split(is_member), labels.recipe
            prompts = recipe.build(self._work.sources[is_member], everybody=False)
            eligible = np.flatnonzero(own.eligible)
            last = np.array([prompts.prompt(i)[-1] for i in eligible.tolist()], dtype=np.int64)
            held = np.zeros(len(eligible), np.int64) if own.holds is None else own.holds[eligible]
            kinds, of_whom = np.unique(held, return_inverse=True)
            hits = np.zeros((self._plan.target.vocabulary_size, len(kinds)), dtype=np.bool_)
            for place, holds in enumerate(kinds.tolist()):
                hits[self._watch(cell, labels, holds), place] = True
            told = _told(self._table(not is_member, temperature, top_p), hits, steps=horizon)
            found.append((told, (last, of_whom), told.q[last, of_whom]))
        return found

    def _estimated(self, cell: Cell) -> int:
        """Return from how many continuations q is estimated; 0 where hits are counted."""
        params = load_attack(cell.probe).params.model_validate(cell.params)
        if "masses" not in self._plan.target.capabilities:
            return 0
        if not getattr(params, "estimates_q", False):
            return 0
        return int(getattr(params, "estimation_samples", 0))

    def _watch(self, cell: Cell, labels: LabelSet, holds: int) -> list[int]:
        if not labels.recipe.parts:
            return [int(token) for token in labels.recipe.watch]
        assert cell.attribute_class is not None
        parts = self._plan.classes[cell.attribute_class].parts
        return pool_watch({name: parts[name] for name in labels.recipe.parts}, holds)

    def _table(self, is_member: bool, temperature: float, top_p: float) -> sparse.csr_array:
        key = is_member, temperature, top_p
        if key not in self._tables:
            records = self._work.members if is_member else self._work.nonmembers
            sampler = Sampler(temperature, top_p, horizon_tokens=1, seed=0)
            self._tables[key] = _followers(
                records, size=self._plan.target.vocabulary_size, sampler=sampler
            )
        return self._tables[key]


def _followers(records: TokenizedRecords, *, size: int, sampler: Sampler) -> sparse.csr_array:
    """Return [V, V] how likely each token follows each other, as a sampler would draw it.

    Behind a token that nothing followed nothing is drawn, and what never followed it is not.
    """
    whole = int(np.searchsorted(records.offsets, MOST_TOKENS, side="right")) - 1
    end = int(records.offsets[max(whole, 1)]) if len(records) else 0
    tokens = records.tokens[:end].astype(np.int64)
    follows = np.ones(len(tokens), dtype=np.bool_)
    starts = records.offsets[:-1]
    follows[starts[starts < len(tokens)]] = False
    at = np.flatnonzero(follows)
    pairs, counts = np.unique(tokens[at - 1] * size + tokens[at], return_counts=True)
    before, after = np.divmod(pairs, size)
    shares = np.empty(len(pairs), dtype=np.float64)
    bounds = np.flatnonzero(np.diff(before, prepend=-1, append=-1))
    for begin, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        row = counts[begin:stop] / counts[begin:stop].sum()
        weights = shape_probabilities(row[None], sampler=sampler)[0]
        shares[begin:stop] = weights / weights.sum()
    return sparse.csr_array((shares, (before, after)), shape=(size, size))


def _told(table: sparse.csr_array, hits: NDArray[np.bool_], *, steps: int) -> _Tokens:
    """Return what a table tells of sets of tokens within so many steps behind each token.

    Args:
        table: [V, V] of followers.
        hits: [V, k] the sets.
        steps: at least 1.
    """
    at_once = np.asarray(table @ hits.astype(np.float64))
    q, expected, both = (np.zeros(hits.shape, dtype=np.float64) for _ in range(3))
    for _ in range(steps):  # one step longer each: the step itself, and what follows if it misses
        later, squared, product = (
            np.asarray(table @ np.where(hits, 0.0, known)) for known in (q, expected, both)
        )
        q = at_once + later
        expected = at_once**2 + 2 * at_once * later + squared
        both = at_once * q + product
    return _Tokens(np.clip(q, 0.0, 1.0), expected, both)
