"""Are members and nonmembers alike, but for the training? Three checks that need no model.

Excess over nonmembers means memorisation only where nothing else tells the two groups apart
(METHODS §3, *Admissibility*): membership attacks have "worked" because the split had shifted (Das,
Zhang & Tramèr 2024, arXiv 2406.16201). (a) No record stands in both groups. (b) A classifier that
sees only codes and record length cannot tell them apart on patients it was not fitted to. (c) The
prompt alone does not promise the class more often in members. This module measures; whether a
measurement is good enough is the judge's to say.

Both predictors are logistic regressions over log(1 + count) with one ridge penalty. 0.1 is near the
best held-out AUROC for a shift of code frequencies (over 0.03 to 0.3 it moves by less than 0.01),
and, in (c), keeps noise of 80 against 80 patients within ±0.025 while a base rate that differs by
0.1 still shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from checker.errors import InsufficientData
from checker.records.tokenization import STATIC_TIME, Records
from checker.stats import Estimate

Codes = NDArray[np.int32]
Hashes = NDArray[np.uint64]

SHINGLE = 5
"""Events in a row that make up one shingle."""

NEAR_DUPLICATE = 0.8
"""Jaccard similarity of shingle sets from which two records count as nearly the same."""

MIN_EVENTS = 10
"""Shorter records are not compared: two strangers may well share one check-up."""

INVERSE_PENALTY = 0.1
FOLDS = 5
MAX_ITERATIONS = 10_000
BUCKETS = 1 << 22
CODES_AT_ONCE = 1 << 20


# --- (a) records in both ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Nonmembers whose record is also a member's.

    Args:
        exact: nonmembers with the very codes of a member, in the same order.
        near: further nonmembers nearly equal to a member.
        exact_indices: [exact] int64, ascending; which they are.
        nonmember_indices: [exact + near] int64, ascending; both together.
    """

    exact: int
    near: int
    exact_indices: NDArray[np.int64]
    nonmember_indices: NDArray[np.int64]


def find_duplicates(
    members: Sequence[Codes], nonmembers: Sequence[Codes], *, rng: np.random.Generator
) -> Duplicates:
    """Find nonmembers whose record is, or nearly is, that of a member.

    Near means a Jaccard similarity of at least 0.8 between the sets of runs of 5 codes. Two sets so
    alike share one of the rarest fifth of their runs (prefix filtering), so only records that do
    are compared, and those exactly: nothing is missed and nothing is found by chance. Records of
    fewer than 10 events are left out.

    Args:
        members: codes of each member's events, in order.
        nonmembers: the same of each nonmember.
        rng: draws the hash function. The result does not depend on it.

    Reference:
        Broder 1997, SEQUENCES '97:21 (shingles); Xiao, Wang, Lin & Yu 2008, WWW '08:131 (prefixes).
    """
    known = {codes.tobytes() for codes in members if len(codes) >= MIN_EVENTS}
    long = [i for i, codes in enumerate(nonmembers) if len(codes) >= MIN_EVENTS]
    exact = [i for i in long if nonmembers[i].tobytes() in known]
    same = set(exact)
    search = _NearSearch(members, rng=rng)
    near = [i for i in long if i not in same and search.finds(nonmembers[i])]
    return Duplicates(
        len(exact),
        len(near),
        exact_indices=np.array(exact, dtype=np.int64),
        nonmember_indices=np.array(sorted(exact + near), dtype=np.int64),
    )


def copied_records(members: Records, nonmembers: Records) -> NDArray[np.int64]:
    """Find nonmembers whose every event, time and value is a member's, however short the record.

    Two strangers may share one check-up, but not its minute and their dates of birth; records with
    fewer than two dated events are left out all the same, for they say too little.

    Returns:
        Positions among the nonmembers, ascending.
    """

    def contents(records: Records) -> Iterator[bytes | None]:
        for start, end in zip(records.offsets[:-1], records.offsets[1:], strict=True):
            times = records.time_us[start:end]
            dated = int((times != STATIC_TIME).sum())
            parts = (records.code[start:end], times, records.value[start:end])
            yield b"".join(part.tobytes() for part in parts) if dated > 1 else None

    known = set(contents(members)) - {None}
    found = [i for i, content in enumerate(contents(nonmembers)) if content in known]
    return np.array(found, dtype=np.int64)


class _NearSearch:
    """An inverted index from the rarest shingles of each member to the member."""

    def __init__(self, members: Sequence[Codes], *, rng: np.random.Generator) -> None:
        self._members = members
        self._multipliers = rng.integers(2**64, size=SHINGLE, dtype=np.uint64) | np.uint64(1)
        self._holders = np.zeros(BUCKETS, dtype=np.int32)
        self._sizes = np.zeros(len(members), dtype=np.int64)
        for i, hashes in self._hashed_members():
            self._sizes[i] = len(hashes)
            self._holders[self._buckets(hashes)] += 1
        keys, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        for i, hashes in self._hashed_members():
            rarest = self._rarest(hashes)
            keys.append(rarest)
            owners.append(np.full(len(rarest), i, dtype=np.int32))
        flat = np.concatenate(keys)
        order = np.argsort(flat, kind="stable")
        self._keys, self._owners = flat[order], np.concatenate(owners)[order]

    def finds(self, codes: Codes) -> bool:
        """Return whether some member's record is nearly this one."""
        hashes = self._hashes(codes)
        rarest = self._rarest(hashes)
        first = np.searchsorted(self._keys, rarest, side="left")
        last = np.searchsorted(self._keys, rarest, side="right")
        found = [self._owners[a:b] for a, b in zip(first, last, strict=True) if a < b]
        if not found:
            return False
        candidates = np.unique(np.concatenate(found))
        sizes = self._sizes[candidates]
        shorter, longer = np.minimum(sizes, len(hashes)), np.maximum(sizes, len(hashes))
        wanted = _runs(codes)
        return any(
            _jaccard(wanted, _runs(self._members[i])) >= NEAR_DUPLICATE
            for i in candidates[shorter >= NEAR_DUPLICATE * longer]
        )

    def _hashed_members(self) -> Iterator[tuple[int, Hashes]]:
        # hashed twice rather than kept: all shingles of a large cohort would fill the memory
        for i, codes in enumerate(self._members):
            if len(codes) >= MIN_EVENTS:
                yield i, self._hashes(codes)

    def _hashes(self, codes: Codes) -> Hashes:
        windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.uint64), SHINGLE)
        return np.unique(windows @ self._multipliers)

    def _buckets(self, hashes: Hashes) -> NDArray[np.intp]:
        return (hashes >> np.uint64(64 - (BUCKETS.bit_length() - 1))).astype(np.intp)

    def _rarest(self, hashes: Hashes) -> Hashes:
        """Return the prefix: as many shingles as two similar sets cannot both lack.

        Rare by the count of members in the shingle's bucket; any order that is the same for all
        records is right, this one only makes the lists short.
        """
        count = len(hashes) - math.ceil(NEAR_DUPLICATE * len(hashes) - 1e-9) + 1
        order = np.lexsort((hashes, self._holders[self._buckets(hashes)]))
        return hashes[order[:count]]


def _runs(codes: Codes) -> set[bytes]:
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE)
    return {window.tobytes() for window in windows}


def _jaccard(first: set[bytes], second: set[bytes]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


# --- (b) telling the splits apart ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SplitScores:
    """What a model-free classifier says of patients it was not fitted to.

    Args:
        scores: [k] float64, log odds of being a member; higher is more member-like.
        is_member: [k] bool.
        index: [k] int64, ascending positions in members followed by nonmembers.
    """

    scores: NDArray[np.float64]
    is_member: NDArray[np.bool_]
    index: NDArray[np.int64]


def split_classifier_scores(
    members: Sequence[Codes],
    nonmembers: Sequence[Codes],
    *,
    n_codes: int,
    rng: np.random.Generator,
) -> SplitScores:
    """Fit a classifier of membership on one random half of each group and score the other half.

    It sees how often each code occurs and how long the record is, never the model under audit. To
    be judged by `stats.auroc`: scores of one held-out half are independent given the classifier,
    which cross-validated scores are not.

    Args:
        members: codes of each member's events, each in [0, n_codes).
        nonmembers: the same of each nonmember.
        n_codes: number of codes.
        rng: draws the halves.

    Raises:
        InsufficientData: fewer than 2 patients in a group.
    """
    for group, what in ((members, "members"), (nonmembers, "nonmembers")):
        if len(group) < 2:
            raise InsufficientData(what, needed=2, got=len(group), reason=f"too-few-{what}")
    is_member = np.arange(len(members) + len(nonmembers)) < len(members)
    fitted = np.zeros(len(is_member), dtype=np.bool_)
    fitted[rng.permutation(len(members))[: len(members) // 2]] = True
    fitted[len(members) + rng.permutation(len(nonmembers))[: len(nonmembers) // 2]] = True
    records = [*members, *nonmembers]
    length = np.log1p([len(codes) for codes in records])
    length = (length - length[fitted].mean()) / (length[fitted].std() or 1.0)
    features = _bag(records, n_codes, further=length[:, None])
    model = _logistic_regression().fit(features[fitted], is_member[fitted])
    index = np.flatnonzero(~fitted)
    scores = np.asarray(model.decision_function(features[index]), np.float64)
    return SplitScores(scores, is_member[index], index)


# --- (c) base rates given the prompt ------------------------------------------------------------


def base_rate_scores(
    prompts: Sequence[Codes],
    positive: NDArray[np.bool_],
    is_member: NDArray[np.bool_],
    *,
    vocabulary_size: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Predict the class from the prompt, learning from nonmembers only.

    Nonmembers are scored by a model that was not fitted to them (5 folds), members by the mean of
    the same 5 models, so that both are equally new to what scores them.

    Args:
        prompts: n arrays of token ids in [0, vocabulary_size).
        positive: [n] bool, has the class.
        is_member: [n] bool.
        vocabulary_size: number of token ids.
        rng: draws the folds.

    Returns:
        [n] float32, probability of the class. Where fewer than 2 nonmembers have the class, or
        fewer than 2 lack it, there is nothing to learn from: all get the nonmembers' rate.

    Raises:
        InsufficientData: there are no nonmembers.
    """
    outside = np.flatnonzero(~is_member)
    if not len(outside):
        raise InsufficientData("nonmembers", needed=1, got=0, reason="too-few-nonmembers")
    label = positive[outside]
    rarer = int(min(label.sum(), (~label).sum()))
    if rarer < 2:
        return np.full(len(prompts), label.mean(), dtype=np.float32)
    features = _bag(prompts, vocabulary_size)
    scores = np.zeros(len(prompts))
    folds = StratifiedKFold(min(FOLDS, rarer), shuffle=True, random_state=int(rng.integers(2**32)))
    for taught, held_out in folds.split(outside, label):
        model = _logistic_regression().fit(features[outside[taught]], label[taught])
        unseen = outside[held_out]
        scores[unseen] = model.predict_proba(features[unseen])[:, 1]
        if is_member.any():
            scores[is_member] += model.predict_proba(features[is_member])[:, 1] / folds.n_splits
    return scores.astype(np.float32)


def base_rate_gap(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, confidence: float
) -> Estimate:
    """Estimate how much likelier the prompts make the class for members than for nonmembers.

    Args:
        member_scores: [m] in [0, 1], `base_rate_scores` of members who have the class; at least 2.
        nonmember_scores: [n] the same of nonmembers.
        confidence: of each bound, in (0, 1).

    Returns:
        The difference of means in [-1, 1] with Welch's bounds.

    Raises:
        InsufficientData: fewer than 2 in a group.

    Reference:
        Welch 1947, Biometrika 34:28.
    """
    groups = [np.asarray(scores, np.float64) for scores in (member_scores, nonmember_scores)]
    for group, what in zip(groups, ("members", "nonmembers"), strict=True):
        if len(group) < 2:
            raise InsufficientData(f"positive {what}", needed=2, got=len(group))
    value = float(groups[0].mean() - groups[1].mean())
    parts = [float(group.var(ddof=1)) / len(group) for group in groups]
    n = len(groups[0]) + len(groups[1])
    reach = 0.0
    if sum(parts) > 0:
        divisor = sum(part**2 / (len(g) - 1) for part, g in zip(parts, groups, strict=True))
        freedom = sum(parts) ** 2 / divisor
        reach = max(0.0, float(student.ppf(confidence, freedom))) * math.sqrt(sum(parts))
    return Estimate(
        value, max(value - reach, -1.0), min(value + reach, 1.0), n, confidence, "welch"
    )


# --- what both predictors share -----------------------------------------------------------------


def _bag(
    sequences: Sequence[Codes], size: int, *, further: NDArray[np.float64] | None = None
) -> sparse.csr_array:
    """Return log(1 + count) of each code in each sequence, and `further` columns: [n, size (+ k)].

    Sequences are counted some at a time, so that memory is for distinct codes, not for all.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    bags = []
    for part in _parts(lengths):
        ends = np.concatenate([[0], np.cumsum(lengths[part])])
        codes = np.concatenate([np.empty(0, np.int32), *sequences[part]])
        shape = (len(ends) - 1, size)
        bag = sparse.csr_array((np.ones(len(codes)), codes, ends.astype(np.int32)), shape=shape)
        bag.sum_duplicates()
        bag.data = np.log1p(bag.data)
        bags.append(bag if further is None else sparse.hstack([bag, further[part]], format="csr"))
    return sparse.vstack(bags, format="csr")


def _parts(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Cut sequences into parts of at most `CODES_AT_ONCE` codes, or of one sequence."""
    ends = np.cumsum(lengths)
    first, done = 0, 0
    while first < len(lengths) or first == len(lengths) == 0:
        last = int(np.searchsorted(ends, done + CODES_AT_ONCE, side="right"))
        last = min(max(last, first + 1), len(lengths))
        yield slice(first, last)
        if last == len(lengths):
            return
        first, done = last, int(ends[last - 1])


def _logistic_regression() -> LogisticRegression:
    # lbfgs draws no random numbers: equal data give equal scores
    return LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
