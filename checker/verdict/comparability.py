"""Are members and nonmembers alike, but for the training? Two checks that need no model.

Excess over nonmembers means memorisation only where nothing else tells the two groups apart
(METHODS §3, *Admissibility*): membership attacks have "worked" because the split had shifted (Das,
Zhang & Tramèr 2024, arXiv 2406.16201). (a) No record stands in both groups, which
`checker.records.duplicates` finds. (b) A classifier that sees only codes and record length cannot
tell them apart on patients it was not fitted to. (c) The prompt alone does not promise the class
more often in members. This module measures; whether a
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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import expit, stdtrit

from checker.errors import InsufficientData
from checker.stats import Estimate

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Codes = NDArray[np.int32]

INVERSE_PENALTY = 0.1
FOLDS = 5
TAUGHT_EACH_OTHER = 2.0
"""Variance of a mean of cross-fitted predictions over that of independent ones, at most."""

MAX_ITERATIONS = 10_000
CODES_AT_ONCE = 1 << 20


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
    drawn: NDArray[np.float64] | None = None,
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
        drawn: [nonmembers] float64 in (0, 1], what share of those like each nonmember was drawn;
            default: the same of all.

    Returns:
        [n] float32, probability of the class. Where fewer than 2 nonmembers have the class, or
        fewer than 2 lack it, there is nothing to learn from: all get the nonmembers' rate.

    Raises:
        InsufficientData: there are no nonmembers.
    """
    outside = np.flatnonzero(~is_member)
    shift = 0.0
    if not len(outside):
        raise InsufficientData("nonmembers", needed=1, got=0, reason="too-few-nonmembers")
    label = positive[outside]
    rarer = int(min(label.sum(), (~label).sum()))
    if rarer < 2:
        rate = np.average(label, weights=None if drawn is None else 1 / drawn)
        return np.full(len(prompts), rate, dtype=np.float32)
    if drawn is not None:
        shift = _odds_of_all(label, drawn)
    from sklearn.model_selection import StratifiedKFold

    features = _bag(prompts, vocabulary_size)
    scores = np.zeros(len(prompts))
    folds = StratifiedKFold(min(FOLDS, rarer), shuffle=True, random_state=int(rng.integers(2**32)))
    for taught, held_out in folds.split(outside, label):
        model = _logistic_regression().fit(features[outside[taught]], label[taught])
        unseen = outside[held_out]
        scores[unseen] = _probability(model, features[unseen], shift)
        if is_member.any():
            scores[is_member] += _probability(model, features[is_member], shift) / folds.n_splits
    return scores.astype(np.float32)


def _probability(
    model: LogisticRegression, features: sparse.csr_array, shift: float
) -> NDArray[np.float64]:
    """Return the probability of the class where its log odds are higher by `shift` than taught."""
    if not shift:
        return np.asarray(model.predict_proba(features)[:, 1], np.float64)
    return np.asarray(expit(model.decision_function(features) + shift), np.float64)


def _odds_of_all(label: NDArray[np.bool_], drawn: NDArray[np.float64]) -> float:
    """Return by how much the log odds of the class among all exceed those of who was drawn.

    Drawing more of those who have a class changes the intercept of a logistic regression and
    nothing else (Prentice & Pyke 1979, Biometrika 66:403).
    """
    weight = 1 / drawn
    odds = weight[label].sum() / weight[~label].sum()
    return float(np.log(odds * (~label).sum() / label.sum()))


def base_rate_gap(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, confidence: float
) -> Estimate:
    """Estimate how much likelier the prompts make the class for members than for nonmembers.

    Welch's interval, but with the variance of the nonmembers' mean doubled, for they have also
    taught what scores them. To first order a prediction is a sum over those it was learned from,
    so their mean is a sum over pairs of nonmembers, in which every pair of two folds stands twice:
    once each has taught the other's score. In ridge regression the two terms agree, so the part of
    the variance that is due to pairs is doubled, and no other (Hoeffding 1948, on U-statistics).
    That part is all of it where prompts say nothing of the class; where they say much, the bounds
    are wider than they would have to be. Members have taught nobody, and given the models their
    scores are independent. `benchmarks/base_rate_gap.py` has the false alarms.

    Args:
        member_scores: [m] in [0, 1], `base_rate_scores` of members who have the class; at least 2.
        nonmember_scores: [n] the same of nonmembers.
        confidence: of each bound, in (0, 1).

    Returns:
        The difference of means in [-1, 1] with its bounds.

    Raises:
        InsufficientData: fewer than 2 in a group.

    Reference:
        Welch 1947, Biometrika 34:28; Hoeffding 1948, Ann. Math. Statist. 19:293.
    """
    value, error, freedom = gap_and_error(member_scores, nonmember_scores)
    reach = 0.0
    if error > 0:
        reach = max(0.0, float(stdtrit(freedom, confidence))) * error
    n = len(np.asarray(member_scores)) + len(np.asarray(nonmember_scores))
    return Estimate(
        value,
        max(value - reach, -1.0),
        min(value + reach, 1.0),
        n,
        confidence,
        "welch, cross-fitted",
    )


def gap_and_error(
    member_scores: ArrayLike, nonmember_scores: ArrayLike
) -> tuple[float, float, float]:
    """Return a gap of base rates, its standard error and its degrees of freedom.

    `base_rate_gap` says what they are; where nothing varies the error is 0 and so is the freedom.

    Raises:
        InsufficientData: fewer than 2 in a group.
    """
    groups = [np.asarray(scores, np.float64) for scores in (member_scores, nonmember_scores)]
    for group, what in zip(groups, ("members", "nonmembers"), strict=True):
        if len(group) < 2:
            raise InsufficientData(f"positive {what}", needed=2, got=len(group))
    value = float(groups[0].mean() - groups[1].mean())
    parts = [
        times * float(group.var(ddof=1)) / len(group)
        for times, group in zip((1.0, TAUGHT_EACH_OTHER), groups, strict=True)
    ]
    if not sum(parts):
        return value, 0.0, 0.0
    divisor = sum(part**2 / (len(g) - 1) for part, g in zip(parts, groups, strict=True))
    return value, math.sqrt(sum(parts)), sum(parts) ** 2 / divisor


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
    from sklearn.linear_model import LogisticRegression  # of the extra `audit`: judging needs none

    # lbfgs draws no random numbers: equal data give equal scores
    return LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
