"""Nonmembers with a member's record are found before anything is planned, and left out.

Hospitals have near-duplicates: two patients of one check-up programme, or one person under two
numbers. Of a nonmember whose record is nearly a member's, or has the same codes at other times,
nobody can say that the model never saw it, so such nonmembers are not judged; their number is kept,
and where there are too many of them the splits are not what the target says. Who has a member's
codes, times and values is no stranger: one such patient, and the splits are none (METHODS §3,
*Near-duplicates*).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError
from checker.planning.model import rng_for
from checker.records.cohort import Cohort
from checker.records.duplicates import (
    MIN_EVENTS,
    copied_records,
    find_duplicates,
    record_digests,
)
from checker.records.tokenization import Survey, TokenizedRecords, Tokenizer

MOST_SET_ASIDE = 0.5
"""Share of the nonmembers. With more near-duplicates nobody is set aside: no policy can allow so
many, and a split of which next to nothing is left could not even be planned."""

SAME_CODES_ALLOWED = 0.01
"""Share of the nonmembers who may have a member's codes in the same order.

Strangers do: in 60 random splits of 500 to 2,000 Synthea patients at most 0.5 % of the nonmembers
had them. Where patients stand in both splits under other dates, far more do."""


@dataclass(frozen=True, slots=True)
class SplitOverlap:
    """What the two splits have in common.

    Args:
        exact: nonmembers with a member's codes, times and values; they stay, and no excess counts.
        near: further nonmembers whose record nearly equals a member's.
        same_codes: those of `near` whose codes are a member's, in the same order.
        members: all of them.
        nonmembers: all of them, those set aside too.
        compared: nonmembers whose record is long enough to be compared.
        set_aside: [near or 0] int64, subjects that are left out of every cell.
        spare_left_out: spare patients whose record is a member's or a nonmember's, or nearly; they
            are left out too.
    """

    exact: int
    near: int
    same_codes: int
    members: int
    nonmembers: int
    compared: int
    set_aside: NDArray[np.int64]
    spare_left_out: int = 0


@dataclass(frozen=True, slots=True)
class RecordDigests:
    """[n] of 16 bytes for the patients of each split, as `record_digests` makes them."""

    members: NDArray[np.void]
    nonmembers: NDArray[np.void]
    spare: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class ComparedCohort:
    """The patients who are judged, and what was found of the others.

    Args:
        cohort: without those who are set aside; its digest is that of the data set all the same,
            for who they are follows from the data and the tokenization.
        members, nonmembers, spare: what is known of them.
        digests: what names the contents of their records.
        overlap: what the splits had in common.
    """

    cohort: Cohort
    members: Survey
    nonmembers: Survey
    spare: Survey
    digests: RecordDigests
    overlap: SplitOverlap


def compare_splits(cohort: Cohort, *, tokenizer: Tokenizer) -> ComparedCohort:
    """Look at everybody, and set those aside whose record is nearly a member's.

    Raises:
        DataError: of the spare patients nobody is left.
    """
    members = tokenizer.survey(cohort.members, cohort.codes)
    nonmembers = tokenizer.survey(cohort.nonmembers, cohort.codes)
    # any generator gives the same result: it only draws the hash function
    events = members.events
    found = find_duplicates(events, nonmembers.events, rng=rng_for(0, "overlap"))
    digests = [record_digests(own) for own in (cohort.members, cohort.nonmembers, cohort.spare)]
    exact = copied_records(digests[0], digests[1], cohort.nonmembers)
    near = np.setdiff1d(found.nonmember_indices, exact)
    count = len(cohort.nonmembers)
    aside = near if len(near) <= MOST_SET_ASIDE * count else near[:0]
    cohort, spare, spare_kept = _spare(
        cohort,
        tokenizer=tokenizer,
        judged=[*events, *nonmembers.events],
        digests=(np.concatenate(digests[:2]), digests[2]),
    )
    overlap = SplitOverlap(
        exact=len(exact),
        near=len(near),
        same_codes=len(np.setdiff1d(found.exact_indices, exact)),
        members=len(cohort.members),
        nonmembers=count,
        compared=int((np.diff(nonmembers.event_offsets) >= MIN_EVENTS).sum()),
        set_aside=cohort.nonmembers.subject_id[aside],
        spare_left_out=len(digests[2]) - len(spare_kept),
    )
    if len(aside):
        left = tokenizer.survey(cohort.nonmembers.select(aside), cohort.codes, partial=True)
        nonmembers = nonmembers.without(aside, coverage=left.coverage)
        kept = np.setdiff1d(np.arange(count), aside)
        cohort = replace(cohort, nonmembers=cohort.nonmembers.select(kept))
        digests[1] = digests[1][kept]
    named = RecordDigests(digests[0], digests[1], digests[2][spare_kept])
    return ComparedCohort(cohort, members, nonmembers, spare, named, overlap)


def _spare(
    cohort: Cohort,
    *,
    tokenizer: Tokenizer,
    judged: list[NDArray[np.int32]],
    digests: tuple[NDArray[np.void], NDArray[np.void]],
) -> tuple[Cohort, Survey, NDArray[np.int64]]:
    """Leave spare patients out whose record is that of somebody who is judged, or nearly.

    The model may have seen a member's; and what looks like a nonmember to it, because it is one,
    says nothing of whether it has seen him.

    Args:
        cohort: everybody.
        tokenizer: of the target.
        judged: codes of the events of members and nonmembers.
        digests: what names the records of these, and of the spare patients.

    Returns:
        The cohort, what is known of those who stay, and their places among all.
    """
    spare = tokenizer.survey(cohort.spare, cohort.codes)
    if not len(spare):
        return cohort, spare, np.arange(0)
    found = find_duplicates(judged, spare.events, rng=rng_for(0, "overlap"))
    known = np.union1d(copied_records(*digests, cohort.spare), found.nonmember_indices)
    kept = np.setdiff1d(np.arange(len(spare)), known)
    if not len(kept):
        raise DataError(
            "all spare patients (data.spare) have the record of a member or a nonmember, or nearly;"
            " name a split of other patients, on whom the model was not trained"
        )
    if len(known):
        left = tokenizer.survey(cohort.spare.select(known), cohort.codes, partial=True)
        spare = spare.without(known, coverage=left.coverage)
        cohort = replace(cohort, spare=cohort.spare.select(kept))
    return cohort, spare, kept


def patients_of(
    split: TokenizedRecords,
    column: Literal["tokens", "code"],
    *,
    chosen: Callable[[TokenizedRecords], NDArray[np.bool_]],
) -> list[NDArray[np.int32]]:
    """Return each patient's values of one column where the token is chosen, in order."""
    at = np.flatnonzero(chosen(split))
    ends = np.searchsorted(at, split.offsets[1:])
    return np.split(getattr(split, column)[at], ends[:-1])
