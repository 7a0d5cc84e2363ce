"""Whom a class leaves out because the model has no token for what they have.

A patient is asked for a class only where a code of his could be named. Where the vocabulary lacks
some codes of the class, for rarity or because a target leaves them out, the class is measured on
the others, and its verdict reads as if it spoke of all. So those who are left out are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.planning.classes import ClassRanks
from checker.records.code_census import EXAMPLES
from checker.records.cohort import Cohort
from checker.records.tokenization import Records, Tokenizer


@dataclass(frozen=True, slots=True)
class Untold:
    """Patients of a class whom nobody asks, for no token names what they have.

    Args:
        codes: of the class, as the data set spells them, that no token names; a few, commonest
            first.
        patients: members and nonmembers who have these alone.
        of: members and nonmembers who have the class.
    """

    codes: tuple[str, ...] = ()
    patients: int = 0
    of: int = 0


def untold(found: ClassRanks, cohort: Cohort, tokenizer: Tokenizer) -> Untold:
    """Return whom a class leaves out; a pool leaves out whom its classes leave out.

    Args:
        found: the class against data and vocabulary.
        cohort: members and nonmembers.
        tokenizer: of the target.
    """
    place = {code: i for i, code in enumerate(cohort.codes)}
    spelled, told = tokenizer.vocabulary_codes(), tokenizer.told_codes
    named = np.zeros(len(cohort.codes), dtype=np.bool_)
    for token in found.watch:
        own = told.get(token) or {spelled[token]}
        named[[place[code] for code in own if code in place]] = True
    splits = (cohort.members, cohort.nonmembers)
    events = sum(np.bincount(one.code, minlength=len(cohort.codes)) for one in splits)
    lost = np.flatnonzero(found.counted & ~named & (np.asarray(events) > 0))
    if found.is_absent or not len(lost):
        return Untold()
    lost = lost[np.argsort(-np.asarray(events)[lost], kind="stable")]
    patients, of = 0, 0
    for records in splits:
        has = _who(records, found.counted)
        patients += len(np.setdiff1d(has, _who(records, found.counted & named)))
        of += len(has)
    return Untold(tuple(cohort.codes[i] for i in lost[:EXAMPLES].tolist()), patients, of)


def _who(records: Records, codes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return who has one of these codes: ascending places."""
    at = np.flatnonzero(codes[records.code])
    return np.unique(np.searchsorted(records.offsets, at, side="right") - 1)
