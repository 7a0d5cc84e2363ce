"""The checker's own error rates: how often is a bad model passed, and a good one failed?

METHODS §7: phigate is a measuring instrument and is calibrated as one. For each family of metrics a
table-driven target of known truth gives patients' outcomes (no model runs); the probe measures
them, and the judge's rule holds the bounds against a limit. Each family is tried at five true
leakages (none, well inside the limit, just inside, at the limit, well outside), two sample sizes
and two backgrounds: two base rates, or two shapes of the scores where a base rate has no meaning.

A *false pass* is a pass whose truth is at the limit or beyond, a *false fail* a fail whose truth is
within it. Each may happen to at most 1 in 20 audits; a simulated share is shown with its exact
upper 95 % bound. Where the plan announces a probability of passing, the share of passes at no
leakage stands beside it. What is judged is the number alone: checks on the data, the placebo and
Holm's correction can only make a pass or a named failure rarer.

Also here: the same with sequential stopping and how many patients it saves, the sampling unit where
patients share prompts, and how many continuations curtailed sampling saves.

    python -m benchmarks.calibration --out calibration.json --figure calibration.svg
    python -m benchmarks.calibration --only gap,bits --audits 500

Every audit of rates takes microseconds, one of a bootstrapped metric 50 to 400 ms: `--slow-audits`
says how many of these are made at each point but the limit.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from checker import stats
from checker.errors import InsufficientData
from checker.plan.model import Cell, CellLimit, CellSample, Power
from checker.plan.power import cell_power
from checker.probes import Metric, Probe, load_probe
from checker.probes.canary_exposure import CanaryObservations
from checker.probes.observations import Clusters, DisclosureObservations, ScoreObservations
from checker.probes.trajectory_memorization import (
    RegurgitationObservations,
    TrajectoryObservations,
)
from checker.stats.exposure import null_exposure_bits
from checker.stats.intervals import clopper_pearson, square_and_add
from checker.stats.sequential import SEQUENTIAL_SHARE, confidence_sequence
from checker.verdict import hold_against_limit

CONFIDENCE: Final = 0.95
TOLERATED: Final = 0.07
"""Of a simulated error rate's upper 95 % bound, where 5 % are promised."""

PLACES: Final = ("none", "well inside", "just inside", "at the limit", "well outside")
SAMPLES: Final = 20
Array = NDArray[np.float64]
Simulate = Callable[[float, int, float, np.random.Generator], Any]


@dataclass(frozen=True)
class Family:
    """One family of metrics, and how targets of known truth look to it.

    Args:
        name: of the family.
        probe, metric: what measures it.
        limit: that is judged against.
        truths: five, in the order of PLACES.
        sizes: patients in each split.
        backgrounds: base rates, or numbers of a shape of the scores.
        simulate: takes truth, size, background and random numbers to observations.
        sample: takes a size to what the plan would know.
        slow: an audit takes much longer than drawing it.
        contrast: of the control.
    """

    name: str
    probe: str
    metric: str
    limit: float
    truths: tuple[float, ...]
    sizes: tuple[int, int]
    backgrounds: tuple[float, float]
    simulate: Simulate
    sample: Callable[[int], CellSample]
    slow: bool = False
    params: dict[str, Any] | None = None

    @property
    def kind(self) -> type[Probe]:
        """The probe."""
        found: type[Probe] = load_probe(self.probe)
        return found

    @property
    def definition(self) -> Metric:
        """The metric."""
        return self.kind.metrics[self.metric]


@dataclass(frozen=True)
class Point:
    """What came of many audits of one truth.

    `announced` is the probability of a pass that the plan gives, where the truth is no leakage.
    """

    family: str
    place: str
    truth: float
    limit: float
    size: int
    background: float
    audits: int
    passes: int
    fails: int
    announced: float | None = None

    @property
    def wrong(self) -> list[tuple[str, int]]:
        """Kinds of errors that are possible here, and how often they were made."""
        found = []
        if self.truth >= self.limit:
            found.append(("false pass", self.passes))
        if self.truth <= self.limit:
            found.append(("false fail", self.fails))
        return found

    @property
    def worst_bound(self) -> float:
        """Upper 95 % bound of the likelier error."""
        return max(
            stats.rate(count, self.audits, confidence=CONFIDENCE).high for _, count in self.wrong
        )


# --- targets of known truth ---------------------------------------------------------------------


def _split(n: int) -> NDArray[np.bool_]:
    return np.arange(2 * n) < n


def _disclosure(q: Array, positive: NDArray[np.bool_] | None = None, **more: Any) -> Any:
    n = len(q) // 2
    everybody = np.ones(2 * n, dtype=np.bool_)
    return DisclosureObservations(
        member=_split(n),
        positive=everybody if positive is None else positive,
        is_eligible=everybody if positive is None else positive,
        q=q,
        prompt=np.arange(2 * n),
        base=None,
        unanswered=0,
        **more,
    )


def _told(rate: Array | float, n: int, rng: np.random.Generator) -> Array:
    """Shares of 20 continuations: 0.9 for who is disclosed, 0.1 for the others."""
    return np.where(rng.random(n) < rate, 0.9, 0.1)


def rate(truth: float, n: int, background: float, rng: np.random.Generator) -> Any:
    """`disclosure_rate`; the background is that of nonmembers, which it does not see."""
    return _disclosure(np.concatenate([_told(truth, n, rng), _told(background, n, rng)]))


def excess(truth: float, n: int, background: float, rng: np.random.Generator) -> Any:
    """`excess_disclosure`: members are disclosed as nonmembers are, and a share beyond."""
    inside, outside = _told(background + truth, n, rng), _told(background, n, rng)
    return _disclosure(np.concatenate([inside, outside]))


def mean_q(truth: float, n: int, background: float, rng: np.random.Generator) -> Any:
    """`excess_mean_q`: a share of members is told every time, others as patients differ."""
    spread = rng.beta(2 * background + 1e-9, 2 * (1 - background), 2 * n)
    q = rng.binomial(SAMPLES, spread) / SAMPLES
    leaked = rng.random(n) < truth / (1 - background)
    q[:n][leaked] = 1.0
    return _disclosure(q)


def beyond_reference(truth: float, n: int, background: float, rng: np.random.Generator) -> Any:
    """Difference in differences: both models tell alike, but the target more of members."""
    drawn = rng.random(2 * n)
    target_only = np.where(_split(n), background / 2 + truth, background / 2)
    reference_only = background / 2
    both = drawn > 1 - 0.1
    q = np.where((drawn < target_only) | both, 0.9, 0.1)
    other = (drawn >= target_only) & (drawn < target_only + reference_only)
    return _disclosure(q, reference_q=np.where(other | both, 0.9, 0.1))


def _ranked(auroc: float, n: int, shape: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Scores of n and n patients with a true AUROC: normal (shape 0), or mostly tied (shape 1)."""
    if shape == 0:
        return rng.normal(math.sqrt(2) * ndtri(auroc), 1, n), rng.normal(0, 1, n)
    share = 2 * auroc - 1  # above everybody; the others score alike
    plain = [np.where(rng.random(n) < 0.7, 0.0, rng.integers(1, SAMPLES, n)) for _ in range(2)]
    return np.where(rng.random(n) < share, float(SAMPLES), plain[0]), plain[1]


def membership(truth: float, n: int, shape: float, rng: np.random.Generator) -> Any:
    """`membership_auroc`."""
    return ScoreObservations(_split(n), {"min-k": np.concatenate(_ranked(truth, n, shape, rng))})


def recognized(truth: float, n: int, shape: float, rng: np.random.Generator) -> Any:
    """`membership_tpr_at_fpr` at 5 %: scores shifted (shape 0), or a share above all (shape 1)."""
    outside = rng.normal(0, 1, n)
    if shape == 0:
        inside = rng.normal(ndtri(truth) - ndtri(0.05), 1, n)
    else:
        inside = np.where(rng.random(n) < (truth - 0.05) / 0.95, 9.0, rng.normal(0, 1, n))
    return ScoreObservations(_split(n), {"min-k": np.concatenate([inside, outside])})


def _classified(pairs: Sequence[tuple[Array, Array]]) -> Any:
    """Members and nonmembers, each with n patients who have the class and n who do not."""
    n = len(pairs[0][0])
    positive = np.tile(np.arange(2 * n) < n, 2)
    return _disclosure(np.concatenate([score for pair in pairs for score in pair]), positive)


def attribute_excess(truth: float, n: int, base: float, rng: np.random.Generator) -> Any:
    """`excess_attribute_auroc` over nonmembers' AUROC `base`."""
    return _classified([_ranked(base + truth, n, 0, rng), _ranked(base, n, 0, rng)])


def _average_precision(shift: float) -> float:
    """Average precision of N(shift, 1) against as many of N(0, 1), by quadrature."""
    at = np.linspace(-8, 8 + shift, 20001)
    above, others = 1 - ndtr(at - shift), 1 - ndtr(at)
    precision = np.divide(above, above + others, out=np.ones_like(above), where=above > 1e-300)
    return float(-np.trapezoid(precision, above))


_SHIFTS = np.linspace(0, 4, 401)
_PRECISIONS = np.array([_average_precision(shift) for shift in _SHIFTS])


def _precise(truth: float, n: int, shape: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Scores of n and n patients with a true average precision."""
    if shape == 0:
        shift = float(np.interp(truth, _PRECISIONS, _SHIFTS))
        return rng.normal(shift, 1, n), rng.normal(0, 1, n)
    # a share s above all, the rest alike: s + ∫ (s + (1-s)u) / (s + (1-s)u + u) d(s + (1-s)u)
    shares = np.linspace(0, 1, 501)
    u = np.linspace(0, 1, 2001)
    recall = shares[:, None] + (1 - shares[:, None]) * u
    precision = np.divide(recall, recall + u, out=np.ones_like(recall), where=recall + u > 0)
    precisions = shares + (1 - shares) * np.trapezoid(precision, u, axis=1)
    share = float(np.interp(truth, precisions, shares))
    scores = rng.normal(0, 1, n), rng.normal(0, 1, n)
    return np.where(rng.random(n) < share, 9 + scores[0], scores[0]), scores[1]


def auprc(truth: float, n: int, shape: float, rng: np.random.Generator) -> Any:
    """`attribute_auprc`, as many with the class as without."""
    return _classified([_precise(truth, n, shape, rng), _precise(0.5, n, shape, rng)])


def auprc_excess(truth: float, n: int, base: float, rng: np.random.Generator) -> Any:
    """`excess_attribute_auprc` over nonmembers' average precision `base`."""
    return _classified([_precise(base + truth, n, 0, rng), _precise(base, n, 0, rng)])


def repeated(truth: float, n: int, chance: float, rng: np.random.Generator) -> Any:
    """`regurgitation_excess` of n rollouts; by chance each also repeats either side's records."""
    drawn, patients = rng.random(n), rng.integers(1, 301, n)
    by_chance = (drawn >= truth + chance) & (drawn < truth + 2 * chance)
    halves = (by_chance[:, None] & (patients[:, None] % 2 == np.arange(2))) * patients[:, None]
    return RegurgitationObservations(
        member_groups=(drawn < truth + chance).astype(np.int64),
        nonmember_groups=by_chance.astype(np.int64),
        repeated=np.where(by_chance, patients, 0),
        halves=halves,
        groups=1,
        nonmembers=300,
    )


def nearer(truth: float, n: int, shape: float, rng: np.random.Generator) -> Any:
    """`distance_gap`: members nearer throughout (shape 0), or a share repeated (shape 1)."""
    distance = 0.8 * rng.gamma(4, 0.25, 2 * n)
    if shape == 0:
        distance[:n] -= truth
    else:
        distance[:n][rng.random(n) < truth / 0.8] = 0.0
    nobody = np.zeros(2 * n, dtype=np.bool_)
    return TrajectoryObservations(
        _split(n), nobody, distance, distance, distance, np.arange(2 * n, dtype=np.int64)
    )


def exposed(truth: float, n: int, shape: float, rng: np.random.Generator) -> Any:
    """`exposure_bits` of n canaries: a share above all twins (0), or in their top tenth (1)."""
    chance = null_exposure_bits(n)
    above = rng.binomial(n, rng.uniform(0, 0.1, 400_000)) if shape else np.zeros(1)
    share = (truth - chance) / (float(np.mean(np.log2((n + 1) / (above + 1)))) - chance)
    places = np.where(
        rng.random(n) < share,
        rng.uniform(0.9, 1, n) if shape else 1 + rng.random(n),
        rng.random(n),
    )
    included = _split(n)
    return CanaryObservations(
        included, np.concatenate([places, rng.random(n)]), np.empty(0, np.float64)
    )


def _everybody(n: int) -> CellSample:
    return CellSample(members=n, nonmembers=n)


def _with_negatives(n: int) -> CellSample:
    return CellSample(members=n, nonmembers=n, members_negative=n, nonmembers_negative=n)


def _rollouts(n: int) -> CellSample:
    return CellSample(members=300, nonmembers=300, rollouts=n)


def _around(limit: float, null: float = 0.0, outside: float = 2.5) -> tuple[float, ...]:
    return tuple(null + share * (limit - null) for share in (0.0, 0.2, 0.8, 1.0, outside))


T2, T4, T1 = "attribute-disclosure", "membership-inference", "trajectory-memorization"
_CHANCE_BITS = null_exposure_bits(300)
FAMILIES: Final = (
    Family("rate", T2, "disclosure_rate", 0.05, _around(0.05), (100, 300), (0.02, 0.05),
           rate, _everybody),
    Family("rate-difference", T2, "excess_disclosure", 0.05, _around(0.05), (100, 300),
           (0.02, 0.05), excess, _everybody),
    Family("mean-difference", T2, "excess_mean_q", 0.05, _around(0.05), (100, 300), (0.02, 0.1),
           mean_q, _everybody),
    Family("difference in differences", T2, "excess_disclosure", 0.10, _around(0.10), (100, 300),
           (0.02, 0.10), beyond_reference, _everybody),
    Family("auroc", T4, "membership_auroc", 0.60, _around(0.60, 0.5), (100, 300), (0, 1),
           membership, _everybody),
    Family("auroc-difference", T2, "excess_attribute_auroc", 0.10, _around(0.10), (100, 300),
           (0.5, 0.7), attribute_excess, _with_negatives),
    Family("tpr", T4, "membership_tpr_at_fpr", 0.15, _around(0.15, 0.05), (300, 600), (0, 1),
           recognized, _everybody, params={"fpr": 0.05}),
    Family("set-difference", T1, "regurgitation_excess", 0.05, _around(0.05), (100, 300),
           (0.0, 0.05), repeated, _rollouts),
    Family("gap", T1, "distance_gap", 0.10, _around(0.10), (300, 600), (0, 1), nearer,
           _everybody, slow=True),
    Family("auprc", T2, "attribute_auprc", 0.60, _around(0.60, 0.5), (150, 300), (0, 1), auprc,
           _with_negatives, slow=True),
    Family("auprc-difference", T2, "excess_attribute_auprc", 0.10, _around(0.10), (150, 300),
           (0.5, 0.6), auprc_excess, _with_negatives, slow=True),
    Family("bits", "canary-exposure", "exposure_bits", 2.5, _around(2.5, _CHANCE_BITS, 2.0),
           (300, 500), (0, 1), exposed, _everybody, slow=True, params={"manifest": "-"}),
)  # fmt: skip


# --- audits -------------------------------------------------------------------------------------


def study(
    family: Family,
    *,
    audits: int,
    slow_audits: int,
    seed: int = 0,
    places: Sequence[str] = PLACES,
    sizes: int = 2,
    confidence: float = CONFIDENCE,
) -> Iterator[Point]:
    """Yield a family's points.

    Args:
        family: what is audited.
        audits: at each point; of a slow family at the limit only.
        slow_audits: at the other points of a slow family.
        seed: of everything that is drawn.
        places: which of the five truths.
        sizes: 1 for the smaller sample only.
        confidence: of the bounds; less than promised makes an instrument that must be found out.
    """
    kind = family.kind
    params = kind.params_type.model_validate(family.params or {})
    limit = CellLimit(fail=family.limit)
    for size in family.sizes[:sizes]:
        sample = family.sample(size)
        cell = _cell(family, limit, sample)
        for background in family.backgrounds:
            for place, truth in zip(PLACES, family.truths, strict=True):
                if place not in places:
                    continue
                count = slow_audits if family.slow and place != "at the limit" else audits
                rng = np.random.default_rng([seed, size, *_words(family.name, place, background)])
                found = {"pass": 0, "fail": 0, "inconclusive": 0}
                for _ in range(count):
                    observed = family.simulate(truth, size, background, rng)
                    found[_verdict(cell, kind, observed, params, confidence)] += 1
                announced = None
                if place == "none" and family.name != "difference in differences":
                    power = cell_power(
                        family.definition, limit, sample, confidence=CONFIDENCE,
                        base_rate=0.0 if family.name == "rate" else background, fpr=0.05,
                    )  # fmt: skip
                    announced = power.pass_probability
                yield Point(family.name, place, truth, family.limit, size, background, count,
                            found["pass"], found["fail"], announced)  # fmt: skip


def _words(*words: object) -> list[int]:
    return list(" ".join(map(str, words)).encode())


def _verdict(cell: Cell, kind: type[Probe], observed: Any, params: Any, confidence: float) -> str:
    try:
        measured = kind.measure(cell.metric, observed, params=params, confidence=confidence)
    except InsufficientData:
        return "inconclusive"
    return hold_against_limit(cell, measured, confidence=confidence).verdict


def _cell(family: Family, limit: CellLimit, sample: CellSample) -> Cell:
    return Cell(
        id=family.name, control=family.name, attribute_class=None, attacker="-", subgroup="all",
        probe=family.probe, params=family.params or {}, metric=family.metric, limit=limit,
        severity="high", gating=True, on_inconclusive="block", measurement="-", labels=None,
        jobs=[], sample=sample, power=Power(can_pass=True),
    )  # fmt: skip


# --- sequential stopping ------------------------------------------------------------------------


@dataclass(frozen=True)
class Stopped:
    """The same with sequential stopping; `drawn` is the mean number of members drawn."""

    family: str
    truth: float
    size: int
    background: float
    audits: int
    passes: int
    fails: int
    drawn: float


def sequential_study(*, audits: int, limit: float = 0.05, batch: int = 16) -> Iterator[Stopped]:
    """Yield error rates and patients drawn of rates and differences that may stop early."""
    alpha = 1 - CONFIDENCE
    rng = np.random.default_rng(20_000)
    for size in (100, 300):
        for background in (0.02, 0.05):
            for truth in _around(limit):
                inside = (rng.random((audits, size)) < background + truth).cumsum(axis=1)
                alone = (rng.random((audits, size)) < truth).cumsum(axis=1)
                outside = (rng.random((audits, size)) < background).cumsum(axis=1)
                for name, first, second in (
                    ("rate", alone, None),
                    ("rate-difference", inside, outside),
                ):
                    passes = np.zeros(audits, dtype=np.bool_)
                    fails = passes.copy()
                    drawn = np.full(audits, size)
                    for n in [*range(batch, size, batch), size]:
                        early = n < size
                        share = SEQUENTIAL_SHARE if early else 1 - SEQUENTIAL_SHARE
                        x2 = None if second is None else second[:, n - 1]
                        low, high, none = _bounds(
                            first[:, n - 1], x2, n, early=early, confidence=1 - share * alpha
                        )
                        open_ = ~(passes | fails)
                        passes |= open_ & (high <= limit) & (none <= limit)
                        fails |= open_ & (low > limit)
                        drawn[open_ & (passes | fails)] = n
                    yield Stopped(name, truth, size, background, audits, int(passes.sum()),
                                  int(fails.sum()), float(drawn.mean()))  # fmt: skip


def _bounds(
    x1: NDArray[np.int64], x2: NDArray[np.int64] | None, n: int, *, early: bool, confidence: float
) -> tuple[Array, Array, float]:
    """Return bounds of the rate or difference, and the bound of no hits, as probe and judge do."""
    if early:
        level = confidence if x2 is None else (1 + confidence) / 2
        low, high = confidence_sequence(x1, n, confidence=level)
        none = float(confidence_sequence(0, n, confidence=confidence)[1])
        if x2 is not None:
            low2, high2 = confidence_sequence(x2, n, confidence=level)
            low, high = low - high2, high - low2
        return low, high, none
    low, high = clopper_pearson(x1, n, confidence=confidence)
    none = float(clopper_pearson(0, n, confidence=confidence)[1])
    if x2 is not None:
        other = (x2 / n, *clopper_pearson(x2, n, confidence=confidence))
        _, low, high = square_and_add((x1 / n, low, high), other)
    return low, high, none


# --- shared prompts, curtailed sampling ---------------------------------------------------------


def shared_prompts(*, audits: int) -> dict[str, dict[str, float]]:
    """Return false passes at the limit where 300 positives share 120 prompts.

    By prompt as the probe counts, and by patient as one must not; for prompts shared by about as
    many patients each, and for a few that many share.
    """
    rng = np.random.default_rng(120)
    found = {}
    even = np.repeat(1, 120) + (np.arange(120) < 60) * 1 + 1
    sizes = {"even": even, "uneven": 1 + rng.multinomial(180, rng.dirichlet(np.full(120, 0.3)))}
    for name, size in sizes.items():
        limit, background = 0.10, 0.02
        passes = {"by prompt": 0, "by patient": 0}
        for _ in range(audits):
            outcomes = [
                (rng.random(len(size)) < rate).astype(float)
                for rate in (background + limit, background)
            ]
            clustered = [Clusters(q, size).counted(q) for q in outcomes]
            patients = [(float(q @ size), int(size.sum())) for q in outcomes]
            for how, counts in (("by prompt", clustered), ("by patient", patients)):
                difference = stats.rate_difference(*counts[0], *counts[1], confidence=CONFIDENCE)
                none = stats.rate(0, counts[0][1], confidence=CONFIDENCE).high
                passes[how] += difference.high <= limit and none <= limit
        found[f"{name}, {int(size.sum())} patients"] = {
            how: count / audits for how, count in passes.items()
        }
    return found


def curtailed_savings() -> dict[str, float]:
    """Return the share of 20 continuations that need not be drawn, by q (threshold one half)."""
    rng = np.random.default_rng(20)
    shares = {}
    for q in (0.0, 0.05, 0.2, 0.5, 0.8, 1.0):
        hits = (rng.random((20_000, SAMPLES)) < q).cumsum(axis=1)
        drawn = np.arange(1, SAMPLES + 1)
        settled = (hits / SAMPLES > 0.5) | ((hits + SAMPLES - drawn) / SAMPLES <= 0.5)
        shares[f"q = {q}"] = float(1 - (settled.argmax(axis=1) + 1).mean() / SAMPLES)
    return shares


# --- telling ------------------------------------------------------------------------------------


def table(points: Sequence[Point]) -> str:
    """Return the points as text, one line each."""
    head = f"{'family':<26}{'truth':<14}{'n':>5}{'background':>11}{'audits':>8}"
    lines = [f"{head}{'pass':>8}{'fail':>8}{'open':>8}{'announced':>11}  errors (upper 95 % bound)"]
    for point in points:
        left = point.audits - point.passes - point.fails
        announced = "" if point.announced is None else f"{point.announced:.3f}"
        errors = ", ".join(
            f"{kind} {count / point.audits:.3f}"
            f" ({stats.rate(count, point.audits, confidence=CONFIDENCE).high:.3f})"
            for kind, count in point.wrong
        )
        lines.append(
            f"{point.family:<26}{point.place:<14}{point.size:>5}{point.background:>11g}"
            f"{point.audits:>8}"
            f"{point.passes / point.audits:>8.3f}{point.fails / point.audits:>8.3f}"
            f"{left / point.audits:>8.3f}{announced:>11}  {errors}"
        )
    return "\n".join(lines)


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw the shares of passes and fails over the truth, a panel for each family."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(point.family for point in points))
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(13, 3.1 * rows), layout="constrained")
    for axes, name in zip(figure.subplots(rows, 4, squeeze=False).ravel(), names, strict=False):
        mine = [point for point in points if point.family == name]
        for size, background in dict.fromkeys((p.size, p.background) for p in mine):
            line = [p for p in mine if (p.size, p.background) == (size, background)]
            at = [p.truth for p in line]
            for counts, colour in (
                ([p.passes for p in line], "tab:blue"),
                ([p.fails for p in line], "tab:red"),
            ):
                shown = [
                    stats.rate(x, p.audits, confidence=0.975)
                    for x, p in zip(counts, line, strict=True)
                ]
                below = [one.value - one.low for one in shown]
                above = [one.high - one.value for one in shown]
                axes.errorbar(at, [one.value for one in shown], yerr=[below, above],
                              color=colour, alpha=0.6, marker=".", linewidth=1)  # fmt: skip
        axes.axvline(mine[0].limit, color="grey", linestyle="--", linewidth=0.8)
        axes.axhline(1 - CONFIDENCE, color="grey", linestyle=":", linewidth=0.8)
        axes.set_title(name, fontsize=9)
        axes.set_ylim(-0.02, 1.02)
    figure.supxlabel("true leakage (dashed: the limit)")
    figure.supylabel("share of audits that pass (blue) or fail (red)")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--slow-audits", type=int, default=2000)
    parser.add_argument("--only", default=",".join(family.name for family in FAMILIES))
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--sizes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--join", type=Path, nargs="*", default=[], help="JSON of earlier parts")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    begun = time.monotonic()
    points: list[Point] = []
    for path in arguments.join:
        points += [Point(**one) for one in json.loads(path.read_text())["points"]]
    for family in FAMILIES:
        if family.name in arguments.only.split(","):
            found = list(
                study(
                    family,
                    audits=arguments.audits,
                    slow_audits=arguments.slow_audits,
                    places=arguments.places.split(","),
                    sizes=arguments.sizes,
                )
            )
            print(table(found), flush=True)
            points += found
    result: dict[str, Any] = {"points": [asdict(point) for point in points]}
    if "rate-difference" in arguments.only.split(","):
        result["sequential"] = [asdict(one) for one in sequential_study(audits=arguments.audits)]
        for one in result["sequential"]:
            print("sequential", one)
        result["shared_prompts"] = shared_prompts(audits=arguments.audits)
        result["curtailed"] = curtailed_savings()
        print(json.dumps({key: result[key] for key in ("shared_prompts", "curtailed")}, indent=1))
    worst = max(points, key=lambda point: point.worst_bound, default=None)
    if worst is not None:
        verdict = "within" if worst.worst_bound <= TOLERATED else "BEYOND"
        print(f"worst upper bound of an error: {worst.worst_bound:.4f}, {verdict} {TOLERATED}"
              f" ({worst.family}, {worst.place}, n = {worst.size}, {worst.background:g})"
              f"; {time.monotonic() - begun:.0f} s")  # fmt: skip
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.figure:
        draw(points, arguments.figure)


if __name__ == "__main__":
    main()
