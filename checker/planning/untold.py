"""Whom a class leaves out because no token of the model tells what they have.

A patient is asked for a class only where a code of his could be named. Where the vocabulary lacks
some codes of the class, for rarity or because a target leaves them out, the class is measured on
the others, and its verdict reads as if it spoke of all. So those who are left out are counted.

Where a table of records stands in for rules, a token that no record has tells nothing, whatever its
spelling: a table may leave a code out of which the vocabulary has a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.planning.classes import ClassRanks
from checker.planning.overlap import ComparedCohort
from checker.records.code_census import EXAMPLES
from checker.records.tokenization import STATIC_TIME, Records, Survey, Tokenizer


@dataclass(frozen=True, slots=True)
class Untold:
    """Patients of a class whom nobody asks, for no token tells what they have.

    Args:
        codes: of the class, as the data set spells them, that no token tells; a few, commonest
            first.
        patients: members and nonmembers who have these alone.
        of: members and nonmembers who have the class.
    """

    codes: tuple[str, ...] = ()
    patients: int = 0
    of: int = 0


class Tellings:
    """What tokens tell of a cohort's codes, worked out once for all classes.

    Args:
        compared: members and nonmembers, as the data set and as tokens tell them.
        tokenizer: of the target.
    """

    def __init__(self, compared: ComparedCohort, tokenizer: Tokenizer) -> None:
        cohort = compared.cohort
        self._codes, self._tokenizer = cohort.codes, tokenizer
        self._splits = (
            (cohort.members, compared.members),
            (cohort.nonmembers, compared.nonmembers),
        )
        self._told = codes_told(compared)
        self._places = {code: place for place, code in enumerate(cohort.codes)}
        self._events = np.zeros(len(cohort.codes), dtype=np.int64)
        for records, _ in self._splits:
            self._events += np.bincount(records.code, minlength=len(cohort.codes))

    def untold(self, found: ClassRanks) -> Untold:
        """Return whom a class leaves out; a pool leaves out whom its classes leave out.

        Args:
            found: the class against data and vocabulary.
        """
        if found.is_absent:
            return Untold()
        named = self._of_tokens(found.watch) & self._told
        lost = np.flatnonzero(found.counted & ~named & (self._events > 0))
        if not len(lost):
            return Untold()
        lost = lost[np.argsort(-self._events[lost], kind="stable")]
        patients, of = 0, 0
        for records, survey in self._splits:
            has = who_has(found.counted, records)
            patients += len(np.setdiff1d(has, who_is_told(found.counted & named, survey)))
            of += len(has)
        return Untold(tuple(self._codes[i] for i in lost[:EXAMPLES].tolist()), patients, of)

    def _of_tokens(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        """Return which codes of the data set these tokens stand for."""
        spelled, told = self._tokenizer.vocabulary_codes(), self._tokenizer.told_codes
        named = np.zeros(len(self._codes), dtype=np.bool_)
        for token in tokens:
            own = told.get(token) or {spelled[token]}
            named[[self._places[code] for code in own if code in self._places]] = True
        return named


def codes_told(compared: ComparedCohort) -> NDArray[np.bool_]:
    """Return which codes the tokens of some member or nonmember tell: [codes of the data set]."""
    told = np.zeros(len(compared.cohort.codes), dtype=np.bool_)
    for survey in (compared.members, compared.nonmembers):
        told[survey.event_code] = True
    return told


def who_has(codes: NDArray[np.bool_], records: Records) -> NDArray[np.int64]:
    """Return who has a dated event of one of these codes in the data set: places, ascending."""
    at = np.flatnonzero(codes[records.code] & (records.time_us != STATIC_TIME))
    return _whose(at, records.offsets)


def who_is_told(codes: NDArray[np.bool_], survey: Survey) -> NDArray[np.int64]:
    """Return of whom tokens tell a dated event of one of these codes: places, ascending."""
    return _whose(np.flatnonzero(codes[survey.event_code]), survey.event_offsets)


def _whose(at: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(np.searchsorted(offsets, at, side="right") - 1).astype(np.int64)
