"""A membership score learned from a third of the patients, for the others (METHODS §2, T4).

Logistic regression with a ridge penalty over the features of whole records. It is fitted once and
applied to patients it was not fitted on: their scores are independent given the classifier, as
DeLong's bounds want it, which scores of several folds are not.

Features enter by their ranks among the fitted patients, as normal scores (van der Waerden 1952).
One token that a model calls impossible would otherwise be all that a mean says, and a target that
scores a few records absurdly would blind the attack to all others.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from checker.errors import InsufficientData

INVERSE_PENALTIES = (0.5, 0.03, 0.002)
"""Of these the one that tells most within the patients who are fitted on. No one of them does for
every leak: of a weak one (the demo's sound model) 0.5 finds AUROC 0.60 and 0.002 finds 0.62, of one
that hides behind a shift by patient 0.002 finds 0.83 and 1 finds 0.93."""

FOLDS = 3
"""Of the fitted patients, by which the penalty is chosen. None of those who are judged is asked."""

BEYOND_CHANCE = 2.0
"""Standard errors by which a part of the columns must tell more than chance to be taken for all.
Where averages tell nothing, a part that noise prefers would lose the few known by heart whom all
columns find (of 40 made-up cohorts in 6, and in none with it). That all columns find them is no
promise: a column more can hide them, which is why the score is asked without such columns too."""

MIN_FITTED = 10
"""Members, and nonmembers. With fewer no direction is learned and none is pretended."""

_TAIL = 1e-3
"""Probability beyond which ranks are no longer told apart: few are fitted, and none says more."""


def learned_scores(
    features: NDArray[np.float64],
    is_member: NDArray[np.bool_],
    fitted: NDArray[np.bool_],
    *,
    scored: NDArray[np.bool_] | None = None,
    alone: Sequence[int] = (),
) -> NDArray[np.float64]:
    """Fit on some patients and score others.

    Args:
        features: [n, d] finite.
        is_member: [n] bool, what to tell.
        fitted: [n] bool, on whom to fit.
        scored: [n] bool, whom to score, none of whom is fitted on; by default all others.
        alone: columns that may say more without the others, which is tried too.

    Returns:
        [scored] float64, log odds of being a member, in order; higher is more member-like.

    Raises:
        InsufficientData: fewer than `MIN_FITTED` of a kind to fit on.
        ValueError: a feature is not finite.
    """
    scored = ~fitted if scored is None else scored
    for chosen, what in ((is_member, "members"), (~is_member, "nonmembers")):
        count = int((fitted & chosen).sum())
        if count < MIN_FITTED:
            raise InsufficientData(
                f"{what} to learn from", needed=MIN_FITTED, got=count, reason="too-few-patients"
            )
    if not np.isfinite(features).all():
        raise ValueError("a feature of a record is not finite")
    taught = np.sort(features[fitted], axis=0)
    varies = taught[0] < taught[-1]  # what is constant tells nothing apart
    if not varies.any():
        return np.zeros(int(scored.sum()))
    columns = np.flatnonzero(varies).tolist()
    subsets = [list(range(len(columns)))]
    if apart := [number for number, column in enumerate(columns) if column in set(alone)]:
        subsets.append(apart)
    known = np.stack([_normal_scores(features[:, j], taught[:, j]) for j in columns], axis=1)
    # lbfgs draws no random numbers, and on one thread equal data give equal scores
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # an attacker who stops early is still an attacker; the score says how good it is
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalty, subset = _best(known[fitted], is_member[fitted], subsets)
        known = known[:, subset]
        return _fitted_scores(known[fitted], is_member[fitted], known[scored], penalty)


def _best(
    known: NDArray[np.float64], is_member: NDArray[np.bool_], subsets: Sequence[list[int]]
) -> tuple[float, list[int]]:
    """Return the penalty and columns that tell most of patients whom they were not fitted on.

    The first subset is all columns, and another is taken only where it tells anything. Who is in
    which fold is drawn from what is known of them, not from the order they come in.
    """
    fold = np.empty(len(known), dtype=np.int64)
    for kind in (is_member, ~is_member):
        rows = np.flatnonzero(kind)
        fold[rows[np.lexsort(known[rows].T)]] = np.arange(len(rows)) % FOLDS
    inside, outside = int(is_member.sum()), int((~is_member).sum())
    chance = 0.5 + BEYOND_CHANCE * np.sqrt((inside + outside + 1) / (12 * inside * outside))
    best: tuple[float, float, list[int]] | None = None
    for subset in subsets:
        for penalty in INVERSE_PENALTIES:
            asked = known[:, subset]
            scores = np.empty(len(known))
            for number in range(FOLDS):
                rest, own = fold != number, fold == number
                scores[own] = rankdata(
                    _fitted_scores(asked[rest], is_member[rest], asked[own], penalty)
                ) / int(own.sum())
            ranks = float(rankdata(scores)[is_member].sum())
            told = (ranks - inside * (inside + 1) / 2) / (inside * outside)  # AUROC
            is_whole = subset is subsets[0]
            if best is None or (told > best[0] and (is_whole or told > chance)):
                best = told, penalty, subset
    assert best is not None  # there is a penalty
    return best[1:]


def _fitted_scores(
    taught: NDArray[np.float64],
    is_member: NDArray[np.bool_],
    asked: NDArray[np.float64],
    penalty: float,
) -> NDArray[np.float64]:
    """Fit on some patients, with an inverse penalty, and return log odds of others."""
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=1000)
    model.fit(taught, is_member)
    found: NDArray[np.float64] = np.asarray(model.decision_function(asked), dtype=np.float64)
    return found


def _normal_scores(values: NDArray[np.float64], taught: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return normal scores of values by their ranks among ascending ones; ties share theirs."""
    below = np.searchsorted(taught, values, side="left")
    within = np.searchsorted(taught, values, side="right")
    rank = (below + within + 1) / (2 * (len(taught) + 1))
    scores: NDArray[np.float64] = norm.ppf(np.clip(rank, _TAIL, 1 - _TAIL))
    return scores
