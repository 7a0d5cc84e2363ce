"""Continuations and windows of known truth: what newer attacks observe of patients without a model.

*Continuations.* A continuation can name the class at each of 16 steps, with one small chance, and
adds these chances up (the compensator) until it does; of whom the model knows by heart it can name
it at one step, with chance 0.9. So a patient's q is known, and what is made of it has the error
that three continuations leave. A ranking by such estimates has a truth of its own, which is counted
once on many patients.

*Windows.* The likeliest window of somebody of whom nothing is known is far too unlikely to come
out, but for the share of patients whom the criterion takes for extractable by mistake.

Part of the calibration study, `benchmarks.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.known_truths import Design, Draw, of_both_splits
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.attribute_disclosure.measure import DisclosureObservations
from checker.attacks.families import Sample
from checker.attacks.trajectory_memorization.extraction import ExtractionObservations
from checker.stats.betting import SPREAD_ASSUMED
from checker.stats.naming import naming_probabilities

Array = NDArray[np.float64]

SAMPLES: Final = AttributeDisclosureParams().estimation_samples
STEPS: Final = 16
BY_HEART: Final = 0.9
"""q of a patient whose record is known by heart."""

POSITIVES_KNOWN: Final = 0.05
NEGATIVES_KNOWN: Final = 0.02
"""Mean q that medicine gives those who have the class, and those who do not."""

_SPREAD_MATTERS: Final = 0.1
"""From this background on: three continuations make estimates vary by 0.15 of a coin's variance
where the plan assumes 0.1."""

_BY_MISTAKE: Final = 0.002
"""Patients taken for extractable, as plans assume them."""

POOL: Final = 200_000
"""Patients of each kind on whom the truth of a ranking is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnObservations(DisclosureObservations):
    """The same with the continuations that q is estimated from.

    Args:
        hits: [n, S], which named the class.
        expected: [n, S] float32, their compensators.
    """

    hits: NDArray[np.bool_]
    expected: NDArray[np.float32]


def designs_of_draws() -> Iterator[Design]:
    """Yield the designs of estimated q and of extraction."""
    for base in (0.02, 0.1):
        for n, m in ((150, 200), (300, 300)):
            yield Design(
                "mean-difference", "attribute-disclosure", "excess_mean_q", 0.05, 0.0,
                Sample(members=n, nonmembers=m, members_positive=n, nonmembers_positive=m),
                f"background {base:.0%}, by compensators",
                partial(lambda truth, n, m, base: _naming(n, m, base=base, excess=truth),
                        n=n, m=m, base=base),
                {"probabilitySamples": SAMPLES}, base_rate=base,
                announces=base < _SPREAD_MATTERS,
            )  # fmt: skip
    for positives, negatives in ((100, 200), (200, 400)):
        yield Design(
            "auroc-difference", "attribute-disclosure", "excess_attribute_auroc", 0.1, 0.0,
            of_both_splits(positives, negatives), "by compensators",
            partial(lambda truth, m, n: _ranking(m, n, gain=truth), m=positives, n=negatives),
            {"probabilitySamples": SAMPLES}, at_least=True,  # medicine tells more than it assumes
        )  # fmt: skip
    for base in (_BY_MISTAKE, 0.01):
        for n in (400, 1000):
            yield Design(
                "rate", "trajectory-memorization", "extractable_share", 0.03, base,
                Sample(members=n, nonmembers=0), f"extraction, background {base:.1%}",
                partial(lambda truth, n, base: _extracting(n, 0, base=base, excess=truth - base),
                        n=n, base=base),
                {"windows": "any"}, base_rate=base, announces=base == _BY_MISTAKE,
            )  # fmt: skip
    for base in (_BY_MISTAKE, 0.01):
        for n, m in ((400, 300), (1000, 700)):
            yield Design(
                "rate-difference", "trajectory-memorization", "excess_extractable", 0.03, 0.0,
                Sample(members=n, nonmembers=m), f"extraction, background {base:.1%}",
                partial(lambda truth, n, m, base: _extracting(n, m, base=base, excess=truth),
                        n=n, m=m, base=base),
                {"windows": "any"}, base_rate=base, announces=base == _BY_MISTAKE,
            )  # fmt: skip


# --- continuations --------------------------------------------------------------------------------

Continuations = tuple[NDArray[np.bool_], NDArray[np.float32]]
"""Hits and compensators, [n, SAMPLES] each."""


def _spread(mean: float, size: int, rng: np.random.Generator) -> Array:
    """Return q of patients of whom medicine says something, as the plan assumes it."""
    weight = 1 / SPREAD_ASSUMED - 1
    return rng.beta(weight * mean, weight * (1 - mean), size)


def _steadily(q: Array, rng: np.random.Generator) -> Continuations:
    """Continue records of which each step names the class with the same chance."""
    hazard = np.clip(-np.expm1(np.log1p(-q) / STEPS), 1e-12, 1 - 1e-12)[:, None]
    first = np.ceil(np.log(1 - rng.random((len(q), SAMPLES))) / np.log1p(-hazard))
    first = np.maximum(first, 1)
    added = np.minimum(np.minimum(first, STEPS), np.floor(1 / hazard))
    hits = first <= STEPS
    # what would lift the sum above one is counted from there on, not added
    expected = added * hazard + (hits & (first > added))
    return hits, expected.astype(np.float32)


def _at_one_step(size: int, rng: np.random.Generator) -> Continuations:
    hits = rng.random((size, SAMPLES)) < BY_HEART
    return hits, np.full(hits.shape, BY_HEART, dtype=np.float32)


def _leaking(size: int, *, mean: float, leak: float, rng: np.random.Generator) -> Continuations:
    """Continue records of patients of whom a share is known by heart."""
    known = rng.random(size) < leak
    steady, told = _steadily(_spread(mean, size, rng), rng), _at_one_step(size, rng)
    hits, expected = (
        np.where(known[:, None], one, other) for one, other in zip(told, steady, strict=True)
    )
    return hits, expected


def _estimated(drawn: Continuations) -> Array:
    hits, expected = drawn
    group = np.repeat(np.arange(len(hits)), SAMPLES)
    return naming_probabilities(hits.ravel(), expected.ravel().astype(np.float64), group)


def _observed(
    groups: list[Continuations], *, members: int, positive: NDArray[np.bool_]
) -> DrawnObservations:
    hits, expected = (np.concatenate(part) for part in zip(*groups, strict=True))
    q = _estimated((hits, expected))
    return DrawnObservations(
        member=np.arange(len(q)) < members,
        positive=positive,
        is_eligible=positive,
        q=q,
        above=q > AttributeDisclosureParams().threshold,
        prompt=np.arange(len(q)),
        base=None,
        unanswered=0,
        estimated=True,
        hits=hits,
        expected=expected,
    )


def _naming(n: int, m: int, *, base: float, excess: float) -> Draw:
    leak = excess / (BY_HEART - base)
    positive = np.ones(n + m, dtype=np.bool_)

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> DrawnObservations:
        groups = [
            _leaking(n, mean=base, leak=leak, rng=rng),
            _leaking(m, mean=base, leak=0.0, rng=outside),
        ]
        return _observed(groups, members=n, positive=positive)

    return draw


def _ranking(m: int, n: int, *, gain: float) -> Draw:
    """Those who have the class are told by medicine a little, and some members by heart."""
    by_heart, by_medicine = _placements()
    leak = gain / (by_heart - by_medicine)
    positive = np.tile(np.arange(m + n) < m, 2)

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> DrawnObservations:
        groups = [
            _leaking(size, mean=mean, leak=known, rng=stream)
            for known, stream in ((leak, rng), (0.0, outside))
            for size, mean, known in ((m, POSITIVES_KNOWN, known), (n, NEGATIVES_KNOWN, 0.0))
        ]
        return _observed(groups, members=m + n, positive=positive)

    return draw


@cache
def _placements() -> tuple[float, float]:
    """Return how likely the estimate of a patient known by heart, or else, beats a negative's."""
    rng = np.random.default_rng(11)
    negative = np.sort(_estimated(_steadily(_spread(NEGATIVES_KNOWN, POOL, rng), rng)))
    groups = _at_one_step(POOL, rng), _steadily(_spread(POSITIVES_KNOWN, POOL, rng), rng)
    below = []
    for drawn in groups:
        q = _estimated(drawn)
        beaten = np.searchsorted(negative, q, side="left")
        beaten_or_equal = np.searchsorted(negative, q, side="right")
        below.append(float((beaten + beaten_or_equal).mean() / (2 * POOL)))
    return below[0], below[1]


# --- windows --------------------------------------------------------------------------------------


def _extracting(n: int, m: int, *, base: float, excess: float) -> Draw:
    """Windows of some members come out because they are known, of anybody at the background."""
    leak = excess / (1 - base)
    member = np.arange(n + m) < n

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> ExtractionObservations:
        hit = np.concatenate(
            [(rng.random(n) < leak) | (rng.random(n) < base), outside.random(m) < base]
        )
        logs = np.where(hit, -6.0 * rng.random(n + m), -20.0 - 10.0 * rng.random(n + m))
        logs = logs.astype(np.float32).astype(np.float64)  # as evidence holds them
        nobody = np.zeros(n + m, dtype=np.bool_)
        return ExtractionObservations(
            member=member,
            log_probability=logs,
            greedy=nobody,
            telling_log_probability=logs,
            telling_greedy=nobody,
            rare_log_probability=logs,
            rare_greedy=nobody,
            sequence=np.arange(n + m),
        )

    return draw
