"""A lower bound for μ of Gaussian differential privacy from one training run.

Mahloujifar, Melis & Chaudhuri (2024, arXiv 2410.22235) bound how many canaries anybody can guess
right under a trade-off function f, whichever it is; the bound of Steinke, Nasr & Jagielski
(`epsilon`) knows one point of it, (ε, δ), alone. Training with noise follows Gaussian trade-off
functions closely, so that a μ that the guesses refute, put as ε at a δ, lies nearer to the truth.
It says that no mechanism with *that* trade-off function made the model: where noise was added
otherwise than assumed, the bound for (ε, δ) holds and this one need not.
"""

from __future__ import annotations

import math

import scipy

from checker.stats.epsilon import LARGEST_EPSILON, check_guesses

LARGEST_MU = 12.0
"""Beyond it nothing is private: two sides of a coin are told apart but once in a billion."""

_STEPS = 40


def refutes_gaussian(
    mu: float, *, correct: int, guesses: int, canaries: int, confidence: float
) -> bool:
    """Return whether so many right guesses are too many for μ-Gaussian differential privacy.

    With c right among c' guesses on m canaries the chance of c or more is below 1 - confidence, if
    the recursion over h and r, back from i = c to 0, needs more probability than there is: more
    than c' / m.

    Args:
        mu: above 0; 1 / σ where noise of σ is added to what one canary moves by 1.
        correct: right guesses c, in [0, c'].
        guesses: c', at least 1, fixed before the guesses were counted.
        canaries: m >= c', all whose inclusion was a coin flip.
        confidence: in (0, 1).

    Raises:
        InsufficientData: no guess was made (reason "too-few-canaries").

    Reference:
        Mahloujifar, Melis & Chaudhuri 2024, arXiv 2410.22235, algorithm 3.
    """
    check_guesses(correct, guesses, canaries)
    share = (1 - confidence) * guesses / canaries
    right, wrong = share * correct / guesses, share * (guesses - correct) / guesses
    ndtr, ndtri = scipy.special.ndtr, scipy.special.ndtri
    for i in range(correct - 1, -1, -1):
        # the least that a wrong guess needs where a right one has so much: f's inverse
        more = max(wrong, float(ndtr(ndtri(min(right, 1.0)) - mu)))
        right += i / (guesses - i) * (more - wrong)
        wrong = more
        if right + wrong > guesses / canaries:
            return True
    return False


def gaussian_mu_lower_bound(
    correct: int, *, guesses: int, canaries: int, confidence: float
) -> float:
    """Return a μ that the model exceeds, at the given confidence: the largest that is refuted.

    Args:
        correct: right guesses c.
        guesses: c', fixed before they were counted.
        canaries: m, of each of which a coin decided.
        confidence: in (0, 1).

    Returns:
        In [0, `LARGEST_MU`]; 0 where none is refuted.

    >>> round(gaussian_mu_lower_bound(100, guesses=100, canaries=1000, confidence=0.95), 2)
    1.23
    """
    low, high = 0.0, LARGEST_MU
    if refutes_gaussian(
        high, correct=correct, guesses=guesses, canaries=canaries, confidence=confidence
    ):
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if refutes_gaussian(
            middle, correct=correct, guesses=guesses, canaries=canaries, confidence=confidence
        ):
            low = middle
        else:
            high = middle
    return low


def gaussian_epsilon(mu: float, *, delta: float) -> float:
    """Return the ε at which μ-Gaussian differential privacy is (ε, δ)-differential privacy.

    Args:
        mu: at least 0.
        delta: in (0, 1).

    Returns:
        At least 0, at most `LARGEST_EPSILON`.

    Reference:
        Dong, Roth & Su 2022, J. R. Stat. Soc. B 84:3, corollary 2.13.

    >>> round(gaussian_epsilon(1.0, delta=1e-5), 3)
    4.377
    """

    def excess(epsilon: float) -> float:
        ndtr, log_ndtr = scipy.special.ndtr, scipy.special.log_ndtr
        missed = math.exp(epsilon + float(log_ndtr(-epsilon / mu - mu / 2)))
        return float(ndtr(-epsilon / mu + mu / 2)) - missed - delta

    if mu <= 0 or excess(0.0) <= 0:
        return 0.0
    if excess(LARGEST_EPSILON) > 0:
        return LARGEST_EPSILON
    return float(scipy.optimize.brentq(excess, 0.0, LARGEST_EPSILON, xtol=1e-9))
