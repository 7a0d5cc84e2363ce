"""A lower bound for ε of differential privacy from one training run with random inclusion.

Steinke, Nasr & Jagielski (2023, arXiv 2305.08846): m canaries are included by independent fair
coins, and the auditor guesses for r of them which side fell. Under (ε, δ)-differential privacy the
number of right guesses is stochastically at most Bin(r, q) with q = 1 / (1 + e^-ε), but for δ; more
right guesses than that rule the ε out. The coins are the proof: for ordinary patients, whose
inclusion was not random, the bound means nothing.

It bounds ε from below only. A low bound may come from a weak attack, so it can fail a model and
never pass one. The number of guesses must not be chosen by how they turn out.
"""

from __future__ import annotations

import numpy as np
import scipy

from checker.errors import InsufficientData

LARGEST_EPSILON = 50.0
"""Beyond it e^-ε is below what 1 + e^-ε can show in double precision."""


def epsilon_p_value(
    epsilon: float, *, correct: int, guesses: int, canaries: int, delta: float
) -> float:
    """Return how probable so many right guesses are at most, if the model is (ε, δ)-private.

    p = β + 2mδ · max_i P[v > Bin(r, q) >= v - i] / i with β = P[Bin(r, q) >= v].

    Args:
        epsilon: at least 0.
        correct: right guesses v, in [0, r].
        guesses: r, at least 1, of the m canaries; the others were abstained from.
        canaries: m, all whose inclusion was a coin flip.
        delta: of (ε, δ), in [0, 1].

    Returns:
        p in [0, 1]; small values refute the ε.

    Raises:
        InsufficientData: no guess was made (reason "too-few-canaries").

    Reference:
        Steinke, Nasr & Jagielski 2023, arXiv 2305.08846.
    """
    check_guesses(correct, guesses, canaries)
    if not 0 <= delta <= 1:
        raise ValueError(f"delta must lie in [0, 1], got {delta}")
    q = scipy.special.expit(epsilon)
    beta = float(scipy.stats.binom.sf(correct - 1, guesses, q))
    if delta == 0 or correct == 0:
        return min(beta, 1.0)
    steps = np.arange(1, correct + 1)
    below = np.cumsum(scipy.stats.binom.pmf(correct - steps, guesses, q))  # P[v > Bin >= v - i]
    return float(min(beta + 2 * canaries * delta * (below / steps).max(), 1.0))


def epsilon_lower_bound(
    correct: int, *, guesses: int, canaries: int, delta: float, confidence: float
) -> float:
    """Return an ε that the model exceeds, at the given confidence.

    Args:
        correct: right guesses v, in [0, r].
        guesses: r, at least 1, fixed before the guesses were counted.
        canaries: m >= r, included and left out, also those that were not guessed.
        delta: of (ε, δ)-differential privacy, in [0, 1].
        confidence: in (0, 1).

    Returns:
        The largest ε >= 0 that so many right guesses refute, or 0 where they refute none.

    Raises:
        InsufficientData: no guess was made (reason "too-few-canaries").

    Reference:
        Steinke, Nasr & Jagielski 2023, arXiv 2305.08846.

    >>> round(epsilon_lower_bound(100, guesses=100, canaries=1000, delta=0, confidence=0.95), 4)
    3.493
    >>> round(epsilon_lower_bound(95, guesses=100, canaries=1000, delta=1e-5, confidence=0.95), 4)
    2.1652
    """

    def excess(epsilon: float) -> float:
        p = epsilon_p_value(
            epsilon, correct=correct, guesses=guesses, canaries=canaries, delta=delta
        )
        return p - (1 - confidence)

    if excess(0.0) >= 0:
        return 0.0
    if excess(LARGEST_EPSILON) < 0:
        return LARGEST_EPSILON
    # any ε that is refuted is a bound, since a model that is private at less is private at it; the
    # root may be rounded to the side that is not
    root = float(scipy.optimize.brentq(excess, 0.0, LARGEST_EPSILON, xtol=1e-9))
    return root if excess(root) <= 0 else max(root - 2e-9, 0.0)


def check_guesses(correct: int, guesses: int, canaries: int) -> None:
    """Check that guesses were made, that no more were right, and that each was on a canary.

    Raises:
        InsufficientData: no guess was made (reason "too-few-canaries").
    """
    if guesses < 1:
        raise InsufficientData("guesses", needed=1, got=guesses, reason="too-few-canaries")
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(
            f"need 0 <= correct <= guesses <= canaries, got {correct}, {guesses}, {canaries}"
        )
