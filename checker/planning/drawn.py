"""Who is asked for what, drawn by lot: the draw itself, as jobs and label sets read it.

Patients of a split stand in one order that is drawn by lot from their records, the policy's seed
and the model's files. The first so many of all are *the lot*, who stand for everybody; the first so
many of those a label set is about are asked for it. A longer draw begins like a shorter one, so
that a policy that takes more patients finds what was measured already (METHODS §6, *Patients by
need*).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from checker.canonical import digest
from checker.planning.subgroups import Slice
from checker.records.cohort import Cohort

Flags = NDArray[np.bool_]


class LabelKey(NamedTuple):
    """What a label set is about, as cells ask for it: `PlanBuilder.class_labels`."""

    class_name: str | None
    attacker: str
    horizon_tokens: int
    min_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class AskedFor:
    """Whom of one split a label set asks.

    Args:
        patients: [p] int64, places in the whole split of those it is about (all who have the class,
            say), in the order of the lot as far as they are drawn.
        of: how many there are in the whole split, at least p.
        shared: [p] float64, how many of all of them share the patient's prompt; NaN where he has
            none.
    """

    patients: NDArray[np.int64]
    of: int
    shared: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom of one split of the plan a label set asks.

    Args:
        asked: [n] bool.
        share: [n] float64, what share of those like him was drawn; NaN of who is not asked.
        shared: [n] float64, as in `AskedFor`; None where the label set itself can count it.
    """

    asked: Flags
    share: NDArray[np.float64]
    shared: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class DrawnSplit:
    """Whom of one split a plan looks at.

    Args:
        patients: [n] int64, their places in the whole split: the lot first, and then who was drawn
            for a label set alone. In the split's own order where no lot leaves anybody out.
        rank: [n] int64, their places in the order of the lot.
        lot: how many of them stand for everybody.
        whole: patients of the split.
    """

    patients: NDArray[np.int64]
    rank: NDArray[np.int64]
    lot: int
    whole: int

    @classmethod
    def of_all(cls, count: int, *, order: NDArray[np.int64] | None = None) -> DrawnSplit:
        """Return everybody, in the split's own order; `order` is that of the lot."""
        everybody = np.arange(count, dtype=np.int64)
        rank = everybody if order is None else ranks_of(order)
        return cls(everybody, rank, count, count)

    @property
    def is_whole(self) -> bool:
        """Whether nobody was left out of the lot."""
        return self.lot == self.whole

    def places(self, patients: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where patients of the whole split, all of them drawn, stand in this one."""
        where = np.full(self.whole, -1, dtype=np.int64)
        where[self.patients] = np.arange(len(self.patients))
        return where[patients]


@dataclass(frozen=True, slots=True)
class Draw:
    """Whom a plan looks at.

    Args:
        splits: members under True, nonmembers under False.
        spare: of the spare patients; they are asked by nobody but the lot.
        seed: of the policy.
        model: digest of its files.
        asked: by label set, whom of each split it asks; who is not there asks the lot.
        every_member: all members are drawn, for tests that nobody may fail: those beside the lot
            are asked by these alone.
    """

    splits: Mapping[bool, DrawnSplit]
    spare: DrawnSplit
    seed: int
    model: str
    asked: Mapping[LabelKey, Mapping[bool, AskedFor]] = field(default_factory=dict)
    every_member: bool = False

    @classmethod
    def of_all(
        cls,
        cohort: Cohort,
        *,
        seed: int,
        model: str,
        orders: Mapping[bool, NDArray[np.int64]] | None = None,
    ) -> Draw:
        """Return a draw whose lot leaves nobody out; `orders` are those of the lot."""
        sizes = {True: len(cohort.members), False: len(cohort.nonmembers)}
        splits = {
            side: DrawnSplit.of_all(size, order=orders[side] if orders else None)
            for side, size in sizes.items()
        }
        return cls(splits, DrawnSplit.of_all(len(cohort.spare)), seed, model)

    @property
    def is_whole(self) -> bool:
        """Whether the lot is everybody."""
        return self.spare.is_whole and all(split.is_whole for split in self.splits.values())

    def lot_inputs(self) -> dict[str, object]:
        """Return what a job depends on that looks at the lot; nothing where it is everybody."""
        if self.is_whole:
            return {}
        sizes = [self.splits[True].lot, self.splits[False].lot, self.spare.lot]
        return {"lot": {"seed": self.seed, "model": self.model, "patients": sizes}}

    def asked_inputs(self, key: LabelKey) -> dict[str, object]:
        """Return what a label set's job depends on beside: whom it asks of those it is about."""
        found = self.asked.get(key)
        if found is None or (self.is_whole and not self._leaves_out(found)):
            return {}
        counts = {
            "members" if side else "nonmembers": [len(own.patients), own.of]
            for side, own in found.items()
        }
        return {"drawn": {"seed": self.seed, "model": self.model, **counts}}

    def chosen(
        self, key: LabelKey, is_member: bool, *, positive: Flags, everybody: bool
    ) -> Chosen | None:
        """Return whom of one split a label set asks; None where nobody was left out.

        Args:
            key: of the label set.
            is_member: which split.
            positive: [n] bool, who of those who were drawn has the class.
            everybody: those without the class are asked like those who have it: all of the lot.
        """
        split, found = self.splits[is_member], self.asked.get(key)
        if found is None or everybody:
            if all(one.is_whole for one in self.splits.values()):
                return None
            share = self._shares_of_lot(split)
            return Chosen(~np.isnan(share), share, None)
        if self.is_whole and not self._leaves_out(found):
            return None
        own = found[is_member]
        share = self._shares_of_lot(split)
        # of those it is about the lot holds more or fewer than are asked
        share[positive if key.min_tokens is None else slice(None)] = np.nan
        at = split.places(own.patients)
        share[at] = len(own.patients) / max(own.of, 1)
        shared = np.full(len(share), np.nan)
        shared[at] = own.shared
        return Chosen(~np.isnan(share), share, shared)

    @staticmethod
    def _leaves_out(found: Mapping[bool, AskedFor]) -> bool:
        return any(len(own.patients) < own.of for own in found.values())

    @staticmethod
    def _shares_of_lot(split: DrawnSplit) -> NDArray[np.float64]:
        share = np.full(len(split.patients), np.nan)
        share[: split.lot] = split.lot / max(split.whole, 1)
        return share

    def of(self, piece: Slice) -> Slice:
        """Return a subgroup of everybody among those who were drawn."""
        return Slice(
            piece.name,
            piece.members[self.splits[True].patients],
            piece.nonmembers[self.splits[False].patients],
        )


def ranks_of(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each patient in an order: the inverse of a permutation, [n] int64."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def lot_order(digests: NDArray[np.void], *, seed: int, model: str) -> NDArray[np.int64]:
    """Return all patients of a split in an order drawn by lot: [n] int64, a permutation.

    It hangs on what their records hold (`checker.records.duplicates.record_digests`), on the seed
    and on the model, not on how patients are numbered, and one patient more or less moves nobody
    else. Seeds stand in policies that everybody reads: were they all, whoever trains a model could
    see to it that it repeats only those who will not be asked.

    Args:
        digests: [n] of 16 bytes.
        seed: of the policy.
        model: digest of its files.
    """
    key = bytes.fromhex(digest([seed, model, "patients by need"]))
    drawn = b"".join(
        hashlib.blake2b(own, digest_size=8, key=key).digest() for own in digests.tolist()
    )
    return np.argsort(np.frombuffer(drawn, dtype=">u8"), kind="stable").astype(np.int64)
