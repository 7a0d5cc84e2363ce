"""Table-driven targets of known truth: what probes would observe of them, without any model.

A target *leaks* for a chosen share of members, or shifts their scores by a chosen amount, and
otherwise follows the population; both are solved for, so that the metric's true value is exactly
the one asked for. Drawing a target's observations is then a few random numbers a patient. Every
family of `checker.attacks.families` with limits has one, at two sample sizes and two
background rates, or two shapes of the scores where a background rate means nothing.

Part of the calibration study, `benchmarks.calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.attribute_disclosure.measure import DisclosureObservations
from checker.attacks.canary_exposure.measure import CanaryObservations
from checker.attacks.embedding_probe.measure import EmbeddingObservations
from checker.attacks.families import Sample
from checker.attacks.families.samples import RepeatedRecords
from checker.attacks.membership_inference.measure import ScoreObservations
from checker.attacks.trajectory_memorization.measure import (
    RegurgitationObservations,
    TrajectoryObservations,
)
from checker.stats.betting import SPREAD_ASSUMED
from checker.stats.exposure import null_exposure_bits

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, np.random.Generator], Any]
"""Draws one audit's observations; the second generator is for nonmembers."""

TRUTHS: Final = {
    "no leak": 0.0,
    "well inside": 0.4,
    "just inside": 0.9,
    "at the limit": 1.0,
    "well outside": 2.5,
}
"""How far the truth has gone from no leak to the limit."""

SAMPLES: Final = 10
_VALUES: Final = np.arange(21) / 20
_LEVEL: Final = np.concatenate([[0.42], 0.58 * 0.85 ** np.arange(20) / sum(0.85 ** np.arange(20))])
"""Of the tied shape: q of 20 samples of somebody of whom the model knows nothing, 42 % zeros. Just
below the half from which `checker.stats.auc` distrusts DeLong's variance."""
_LEAKED: Final = np.asarray(binom.pmf(np.arange(21), 20, 0.8))
"""The same of somebody whose record it knows."""


@dataclass(frozen=True, slots=True)
class Design:
    """One metric at one sample size and one background rate or shape of scores.

    Args:
        family: of the metric, or "paired" for a difference in differences.
        probe, metric, params, contrast: as a policy names them.
        limit: of the metric.
        null: the metric's true value when nothing leaks.
        sample: what the plan is told.
        setting: the background rate or the shape of the scores, in words.
        target: takes a truth to what draws observations.
        base_rate: that the plan is told.
        at_least: outcomes vary less than the plan assumes, so more audits pass than it announces.
        announces: the plan's assumption is met, or outcomes vary less; otherwise what it announces
            is of other patients.
        stream: names the random numbers; designs that share one draw the same patients.
    """

    family: str
    probe: str
    metric: str
    limit: float
    null: float
    sample: Sample
    setting: str
    target: Callable[[float], Draw]
    params: dict[str, Any] = field(default_factory=dict)
    contrast: Literal["nonmembers", "reference"] = "nonmembers"
    base_rate: float = 0.02
    at_least: bool = False
    announces: bool = True
    stream: str = ""

    def truth(self, name: str) -> float:
        """Return the true value of the metric that a name in `TRUTHS` stands for."""
        return self.null + TRUTHS[name] * (self.limit - self.null)

    @property
    def size(self) -> str:
        """Who is audited, in short."""
        if self.sample.rollouts is not None:
            return f"{self.sample.rollouts} rollouts"
        if self.family == "rate":
            return str(self.sample.members)
        inside, outside = str(self.sample.members), str(self.sample.nonmembers)
        if self.sample.members_negative is not None:
            inside += f"+{self.sample.members_negative}"
            outside += f"+{self.sample.nonmembers_negative}"
        return inside if self.family == "auprc" else f"{inside} / {outside}"

    @property
    def key(self) -> str:
        """Name of the design, also of its random numbers unless `stream` is given."""
        return f"{self.family} {self.size} {self.setting}"


def designs() -> Iterator[Design]:
    """Yield all designs, families in the order of METHODS §4, and newer attacks behind them."""
    from benchmarks.known_draws import designs_of_draws  # made of what stands here

    yield from _rates()
    yield from _rankings()
    yield from _true_positive_rates()
    yield from _precisions()
    yield from _trajectories()
    yield from _canaries()
    yield from designs_of_draws()


# --- rates, their differences, and paired ones ----------------------------------------------------


def _rates() -> Iterator[Design]:
    for base in (0.02, 0.05):
        for n in (100, 300):
            yield Design(
                "rate", "attribute-disclosure", "disclosure_rate", 0.1, base,
                Sample(members=n, nonmembers=0, members_positive=n), f"background {base:.0%}",
                partial(
                    lambda truth, n, base: _disclosing(n, 0, base=base, excess=truth - base),
                    n=n, base=base,
                ),
                {"samples": SAMPLES}, base_rate=base,
            )  # fmt: skip
    sizes = ((150, 200), (300, 300)), ((100, 100), (200, 200))
    for family, metric, limit, of_both in (
        ("rate-difference", "excess_disclosure", 0.05, sizes[0]),
        ("mean-difference", "excess_mean_q", 0.05, sizes[0]),
        ("paired", "excess_disclosure", 0.1, sizes[1]),
    ):
        for base in (0.02, 0.1):
            for each in of_both:
                yield _excess(family, metric, limit, each, base)
    for each in sizes[0]:
        yield _excess("mean-difference", "excess_mean_q", 0.05, each, 0.02, as_planned=True)
    for each in sizes[1]:
        yield _excess("paired", "excess_disclosure", 0.1, each, 0.1, as_planned=True)


def _excess(
    family: str,
    metric: str,
    limit: float,
    sizes: tuple[int, int],
    base: float,
    *,
    as_planned: bool = False,
) -> Design:
    """Return a design of an excess.

    Of a mean the plan assumes that q is spread like a beta distribution, and of two models what
    varies most, that they hit independently of each other. With `as_planned` so it is. Elsewhere q
    is counted and far more spread, which the plan does not announce.
    """
    n, m = sizes
    kinds: dict[str, Callable[..., Draw]] = {
        "rate-difference": _disclosing,
        "mean-difference": partial(_naming, as_planned=as_planned),
        "paired": partial(_beyond, independent=as_planned),
    }
    return Design(
        family, "attribute-disclosure", metric, limit, 0.0,
        Sample(members=n, nonmembers=m, members_positive=n, nonmembers_positive=m),
        f"background {base:.0%}" + ", as planned" * as_planned,
        lambda truth: kinds[family](n, m, base=base, excess=truth),
        {"samples": SAMPLES}, "reference" if family == "paired" else "nonmembers", base,
        at_least=family == "paired" and not as_planned,
        announces=family != "mean-difference" or as_planned,
    )  # fmt: skip


def disclosed(
    members: Array, nonmembers: Array, *, prompts: NDArray[np.int64] | None = None
) -> DisclosureObservations:
    """Return observations of eligible positives from their q.

    Args:
        members: [n] in [0, 1].
        nonmembers: [m] in [0, 1].
        prompts: [n + m] equal for equal prompts; nobody shares one unless given.
    """
    n, m = len(members), len(nonmembers)
    everybody = np.ones(n + m, dtype=np.bool_)
    q = np.concatenate([members, nonmembers])
    return DisclosureObservations(
        member=np.arange(n + m) < n,
        positive=everybody,
        is_eligible=everybody,
        q=q,
        above=q > AttributeDisclosureParams().threshold,
        prompt=np.arange(n + m) if prompts is None else prompts,
        base=None,
        unanswered=0,
    )


def _share(hit: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Return q of somebody disclosed, above one half, or not."""
    return np.where(hit, rng.integers(6, 11, hit.shape), rng.integers(0, 6, hit.shape)) / SAMPLES


def _disclosing(n: int, m: int, *, base: float, excess: float) -> Draw:
    """The class is named of a share of members by heart, of anybody at the background rate."""
    leak = excess / (1 - base)

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> DisclosureObservations:
        hit = (rng.random(n) < leak) | (rng.random(n) < base)
        return disclosed(_share(hit, rng), _share(outside.random(m) < base, outside))

    return draw


def _naming(n: int, m: int, *, base: float, excess: float, as_planned: bool) -> Draw:
    """The same, where medicine says more of some patients than of others: q has every value.

    Estimated as the plan assumes it, or counted and so far apart that half of all are 0.
    """
    leak = excess / (1 - base)

    def q(size: int, rng: np.random.Generator) -> Array:
        if as_planned:
            weight = 1 / SPREAD_ASSUMED - 1
            return _single(rng.beta(weight * base, weight * (1 - base), size))
        return rng.binomial(SAMPLES, rng.beta(0.5 * base, 0.5 * (1 - base), size)) / SAMPLES

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> DisclosureObservations:
        return disclosed(np.where(rng.random(n) < leak, 1.0, q(n, rng)), q(m, outside))

    return draw


def _beyond(n: int, m: int, *, base: float, excess: float, independent: bool) -> Draw:
    """Target and reference find members easier by 3 points, and agree on half of the patients.

    Unless they are independent: then nobody is easier, and they agree by chance alone.
    """
    easier = base if independent else base + 0.03
    alike = 0.0 if independent else 0.5
    leak = excess / (1 - easier)

    def both(size: int, rate: float, rng: np.random.Generator) -> tuple[Any, Any]:
        first = rng.random(size)
        second = np.where(rng.random(size) < alike, first, rng.random(size))
        return first < rate, second < rate

    def draw(rng: np.random.Generator, outside: np.random.Generator) -> DisclosureObservations:
        target, reference = both(n, easier, rng)
        target |= rng.random(n) < leak
        target_out, reference_out = both(m, base, outside)
        found = disclosed(_share(target, rng), _share(target_out, outside))
        others = np.concatenate([_share(reference, rng), _share(reference_out, outside)])
        return replace(
            found,
            reference_q=others,
            reference_above=others > AttributeDisclosureParams().threshold,
        )

    return draw


# --- what ranks patients --------------------------------------------------------------------------

Scores = Callable[[np.random.Generator, int], Array]


def _single(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)  # as evidence holds them


def _normal(shift: float = 0.0) -> Scores:
    return lambda rng, n: _single(rng.normal(shift, 1.0, n))


def _tied(leak: float = 0.0) -> Scores:
    running = np.cumsum((1 - leak) * _LEVEL + leak * _LEAKED)
    return lambda rng, n: _single(_VALUES[np.searchsorted(running / running[-1], rng.random(n))])


def _as_shares(shift: float = 0.0) -> Scores:
    """The same order as q of 1,000 samples, of which hardly two are equal."""
    return lambda rng, n: np.round(norm.cdf(rng.normal(shift, 1.0, n), 0.8, 2.0) * 1000) / 1000


_SAMPLES_TO_RANK: Final = {"untied": 1000, "tied": 20}
_SHARES: Final[dict[str, Callable[[float], Scores]]] = {
    "untied": _as_shares,
    "tied": lambda leak: _tied(leak),
}


def _auroc_of_leaked() -> float:
    below = np.cumsum(_LEVEL) - _LEVEL
    return float(_LEAKED @ (below + _LEVEL / 2))


def _ranked(shape: str, auroc: float) -> Scores:
    """Return scores that beat those of `_ranked(shape, 0.5)` with the given probability."""
    if shape == "untied":
        return _normal(math.sqrt(2) * float(norm.ppf(auroc)))
    return _tied((auroc - 0.5) / (_auroc_of_leaked() - 0.5))


def _rankings() -> Iterator[Design]:
    outside_auroc = 0.6  # what medicine says of anybody
    for shape in ("untied", "tied"):
        for n in (100, 300):
            yield Design(
                "auroc", "membership-inference", "membership_auroc", 0.6, 0.5,
                Sample(members=n, nonmembers=n), shape,
                partial(lambda truth, n, shape: _membership(
                    n, n, inside=_ranked(shape, truth), outside=_ranked(shape, 0.5)
                ), n=n, shape=shape),
                {"score": "loss"},
            )  # fmt: skip
    for shape in ("untied", "tied"):
        for positives, negatives in ((100, 200), (200, 400)):
            yield Design(
                "auroc-difference", "embedding-probe", "excess_probe_auroc", 0.1, 0.0,
                of_both_splits(positives, negatives), shape,
                partial(lambda truth, m, n, shape: _embedded(
                    m, n, _ranked(shape, 0.5),
                    _ranked(shape, outside_auroc + truth), _ranked(shape, outside_auroc),
                ), m=positives, n=negatives, shape=shape),
            )  # fmt: skip


def of_both_splits(positives: int, negatives: int) -> Sample:
    """Return as many patients with the class, and without, in either split."""
    return Sample(
        members=positives, members_negative=negatives, members_positive=positives,
        nonmembers=positives, nonmembers_negative=negatives, nonmembers_positive=positives,
    )  # fmt: skip


def _membership(n: int, m: int, *, inside: Scores, outside: Scores) -> Draw:
    member = np.arange(n + m) < n
    patients = np.arange(n + m).astype(str).astype(np.object_)

    def draw(rng: np.random.Generator, other: np.random.Generator) -> ScoreObservations:
        scores = np.concatenate([inside(rng, n), outside(other, m)])
        return ScoreObservations(member, {"loss": scores}, patients)

    return draw


def _embedded(m: int, n: int, without: Scores, inside: Scores, outside: Scores) -> Draw:
    member = np.arange(2 * (m + n)) < m + n
    positive = np.tile(np.arange(m + n) < m, 2)

    def draw(rng: np.random.Generator, other: np.random.Generator) -> EmbeddingObservations:
        parts = [inside(rng, m), without(rng, n), outside(other, m), without(other, n)]
        return EmbeddingObservations(member, positive, np.concatenate(parts), fitted=True)

    return draw


def _true_positive_rates() -> Iterator[Design]:
    fpr = 0.05
    for shape in ("shifted", "by heart"):
        for n in (300, 1000):
            yield Design(
                "tpr", "membership-inference", "membership_tpr_at_fpr", 0.15, fpr,
                Sample(members=n, nonmembers=n), shape,
                partial(lambda truth, n, shape: _membership(
                    n, n, inside=_caught(shape, truth, fpr), outside=_normal()
                ), n=n, shape=shape),
                {"score": "loss", "fpr": fpr},
            )  # fmt: skip


def _caught(shape: str, tpr: float, fpr: float) -> Scores:
    """Return scores of which `tpr` lie above the normal quantile that `fpr` lie above."""
    if shape == "shifted":
        return _normal(float(norm.isf(fpr) - norm.isf(tpr)))
    leak = (tpr - fpr) / (1 - fpr)
    return lambda rng, n: _single(rng.normal(size=n) + 10.0 * (rng.random(n) < leak))


def _precisions() -> Iterator[Design]:
    prevalence = 1 / 3
    for family in ("auprc", "auprc-difference"):
        for shape in ("untied", "tied"):
            for m, n in ((100, 200), (150, 300)):
                is_excess = family == "auprc-difference"
                null = 0.0 if is_excess else prevalence
                yield Design(
                    family, "attribute-disclosure",
                    "excess_attribute_auprc" if is_excess else "attribute_auprc",
                    null + 0.1, null, of_both_splits(m, n), shape,
                    partial(lambda truth, m, n, shape, is_excess: _precise(
                        m, n, shape, truth + prevalence * is_excess, with_nonmembers=is_excess
                    ), m=m, n=n, shape=shape, is_excess=is_excess),
                    {"samples": _SAMPLES_TO_RANK[shape]}, stream=f"auprc {m} {shape}",
                )  # fmt: skip


def _precise(m: int, n: int, shape: str, precision: float, *, with_nonmembers: bool) -> Draw:
    """Positives among members rank with this average precision, among nonmembers by chance."""
    inside, by_chance = _precisely(shape, precision, m / (m + n)), _SHARES[shape](0.0)
    positive = np.arange(m + n) < m

    def draw(rng: np.random.Generator, other: np.random.Generator) -> DisclosureObservations:
        q = np.concatenate([inside(rng, m), by_chance(rng, n)])
        groups = 2 if with_nonmembers else 1
        if with_nonmembers:
            q = np.concatenate([q, by_chance(other, m), by_chance(other, n)])
        return DisclosureObservations(
            member=np.arange(len(q)) < m + n,
            positive=np.tile(positive, groups),
            is_eligible=np.tile(positive, groups),
            q=q,
            above=q > AttributeDisclosureParams().threshold,
            prompt=np.arange(len(q)),
            base=None,
            unanswered=0,
        )

    return draw


def _precisely(shape: str, precision: float, prevalence: float) -> Scores:
    odds = (1 - prevalence) / prevalence

    def area(found: Array, false: Array, weight: Array) -> float:
        return float(weight @ (found / (found + odds * false)))

    def of_shift(shift: float) -> float:
        found = (np.arange(20_000) + 0.5) / 20_000
        false = norm.sf(norm.isf(found) + shift)
        return area(found, false, np.full(len(found), 1 / len(found)))

    def of_leak(leak: float) -> float:
        mass = (1 - leak) * _LEVEL + leak * _LEAKED
        at_least = np.cumsum(mass[::-1])[::-1], np.cumsum(_LEVEL[::-1])[::-1]
        return area(*at_least, mass)

    solve, highest = (of_shift, 5.0) if shape == "untied" else (of_leak, 1.0)
    scores = _SHARES[shape]
    if precision <= solve(0.0):
        return scores(0.0)
    return scores(float(brentq(lambda x: solve(x) - precision, 0.0, highest)))


# --- trajectories and canaries --------------------------------------------------------------------


def _trajectories() -> Iterator[Design]:
    for groups, common in ((1, 0.05), (1, 0.3), (2, 0.3)):
        for rollouts in (200, 600):
            yield Design(
                "set-difference", "trajectory-memorization", "regurgitation_excess", 0.05, 0.0,
                Sample(members=150 * groups, nonmembers=150, rollouts=rollouts),
                f"background {common:.0%}, {groups} group{'s' * (groups > 1)}",
                partial(lambda truth, r, c, g: _regurgitating(
                    r, common=c, groups=g, excess=truth
                ), r=rollouts, c=common, g=groups),
            )  # fmt: skip
    for shape in ("nearer", "by heart"):
        for n in (300, 600):
            yield Design(
                "gap", "trajectory-memorization", "distance_gap", 0.1, 0.0,
                Sample(members=n, nonmembers=n), shape,
                partial(
                    lambda truth, n, shape: _distant(n, gap=truth, shape=shape), n=n, shape=shape
                ),
            )  # fmt: skip


def _regurgitating(n: int, *, common: float, groups: int, excess: float) -> Draw:
    """A share of rollouts is some member's own; others hold runs that few patients happen to have.

    Of 400 such runs each stands in 0.3 records of a set on average, so that about 120 of the 150
    patients have one, and a set's luck with the runs that the model likes weighs as rollouts do.
    """
    runs, holders = 400, 0.3

    def draw(rng: np.random.Generator, other: np.random.Generator) -> RegurgitationObservations:
        by_heart = rng.random(n) < excess
        holds = ~by_heart & (rng.random(n) < common)
        run = rng.integers(0, runs, n)
        inside = rng.poisson(holders, (groups, runs)) > 0
        halves = other.poisson(holders / 2, (2, runs))
        outside = halves.sum(axis=0)
        only_out = (outside > 0) & ~inside
        number = np.arange(1, runs + 1)

        def whose(counted: NDArray[np.bool_], held: NDArray[np.int64]) -> NDArray[np.int64]:
            found = np.where(counted, np.where(held == 1, number, -1), 0)
            return np.where(holds, found[run], 0)

        first, second = halves
        return RegurgitationObservations(
            RepeatedRecords(
                member_groups=by_heart + holds * (inside & (outside == 0)).sum(axis=0)[run],
                nonmember_groups=holds * only_out.sum(axis=0)[run],
                repeated=whose(only_out.any(axis=0), outside),
                halves=np.stack(
                    [
                        whose((first > 0) & (second == 0), first),
                        whose((second > 0) & (first == 0), second),
                    ],
                    axis=1,
                ),
                groups=groups,
                nonmembers=150,
            )
        )

    return draw


def _distant(n: int, *, gap: float, shape: str) -> Draw:
    """Skewed distances of mean 0.8; members' are shorter, or 0 for those known by heart."""
    mean = 0.8
    member = np.arange(2 * n) < n
    flat = np.full(2 * n, 1.0)

    def draw(rng: np.random.Generator, other: np.random.Generator) -> TrajectoryObservations:
        inside, outside = rng.gamma(2.0, mean / 2, n), other.gamma(2.0, mean / 2, n)
        inside *= rng.random(n) >= gap / mean if shape == "by heart" else 1 - gap / mean
        return TrajectoryObservations(
            member=member,
            extracted=np.zeros(2 * n, dtype=np.bool_),
            distance=np.concatenate([inside, outside]),
            random_distance=flat,
            frequent_distance=flat,
            prompt=np.arange(2 * n),
        )

    return draw


def _canaries() -> Iterator[Design]:
    for shape in ("shifted", "by heart"):
        for n in (60, 120):
            yield Design(
                "bits", "canary-exposure", "exposure_bits", 2.5, null_exposure_bits(n),
                Sample(members=n, nonmembers=n), shape,
                partial(
                    lambda truth, n, shape: _planted(n, bits=truth, shape=shape), n=n, shape=shape
                ),
                {"manifest": "canaries.json"},
            )  # fmt: skip


def _planted(n: int, *, bits: float, shape: str) -> Draw:
    if shape == "shifted":
        scores = _normal(_shift_of_bits(bits, twins=n))
    else:
        null, largest = null_exposure_bits(n), math.log2(n + 1)
        leak = (bits - null) / (largest - null)

        def scores(rng: np.random.Generator, size: int) -> Array:
            return _single(rng.normal(size=size) + 10.0 * (rng.random(size) < leak))

    included = np.arange(2 * n) < n

    def draw(rng: np.random.Generator, other: np.random.Generator) -> CanaryObservations:
        together = np.concatenate([scores(rng, n), _normal()(other, n)])
        return CanaryObservations(included, together, np.full(20, 20.0))

    return draw


def _shift_of_bits(bits: float, *, twins: int) -> float:
    """Return by how much canaries score above normal twins for this mean exposure."""
    planted = norm.isf((np.arange(4_000) + 0.5) / 4_000)
    count = np.arange(twins + 1)
    logs = np.log2(1 + count)

    def beyond(shift: float) -> float:
        above = norm.sf(planted + shift)[:, None]  # share of twins above each canary
        return float(np.log2(twins + 1) - (binom.pmf(count, twins, above) @ logs).mean()) - bits

    return 0.0 if beyond(0.0) >= -1e-4 else float(brentq(beyond, 0.0, 8.0, xtol=1e-4))
