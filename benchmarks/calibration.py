"""The checker's own error rates, on targets whose true leakage is known (METHODS §7).

*Enumerated.* Rates, differences and paired differences have finitely many outcomes, so the chance
that a target at the limit passes, or fails, is added up exactly over a grid: at most 5.1 %.

*Simulated.* For every family of metric, five truths from no leak to well outside the limit, two
sample sizes, and two background rates or shapes of scores, 2,000 audits each. An audit is what the
judge does with a cell: the probe's `measure`, then the judge's own comparison with the limit. The
whole of `judge`, from evidence tables, takes ten times as long, so it is given the first few audits
of each point: its verdict must be the same, but where its placebo or another check of
admissibility objects (which only ever makes a verdict inconclusive). The exact (Clopper-Pearson)
95 % upper bound of every error rate must be at most 7 %, and at no leak the share that passes must
be that which `plan` announces.

*Drawing less.* The same with sequential stopping, and how many patients it spares; what curtailed
sampling spares. *Shared prompts.* Bounds clustered by prompt against bounds that count patients.

    nice python -m benchmarks.calibration --out calibration

writes calibration.txt, calibration.json and calibration.svg; 2,000 audits a point take about half
an hour on one core. Exits with 1 where a demand is not met.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, multinomial

from benchmarks.known_truths import (
    SAMPLES,
    TRUTHS,
    Design,
    cell_of,
    designs,
    disclosed,
    evidence,
    plan_of,
    policy,
)
from benchmarks.remembered_draws import remembered
from checker import stats
from checker.errors import InsufficientData
from checker.execution.model_jobs import _is_settled, _undecided_draws
from checker.plan.jobs import PROMPTS_A_BATCH
from checker.plan.power import cell_power
from checker.probes import load_probe
from checker.stats import power
from checker.stats.intervals import square_and_add
from checker.stats.paired import paired_limits
from checker.stats.sequential import SEQUENTIAL_SHARE, confidence_sequence
from checker.verdict import _compare, _zero_hit_bound, judge, settled_cells

__all__ = ["Point", "audit_point", "enumerated", "main", "sequential_point", "shared_prompts"]

Array = NDArray[np.float64]

CONFIDENCE: Final = 0.95
ENUMERATED_AT_MOST: Final = 0.051
UPPER_AT_MOST: Final = 0.07
POWER_WITHIN: Final = 0.04
VERDICTS: Final = ("pass", "inconclusive", "fail")
AS_OF: Final = datetime(2026, 11, 1, tzinfo=UTC)
_RANDOM: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """What came of many audits of one target.

    Args:
        family, size, setting: of its design.
        truth_name, truth, limit: how far it leaks.
        counts: audits by verdict.
        announced: power that the plan announces, where it does and nothing leaks.
        drawn: mean share of the planned patients that were drawn.
        judged: audits that the whole judge was given as well.
        objected: reasons for which it did not reach the same verdict but inconclusive.
        contradicted: how often it reached another verdict for any other reason.
    """

    family: str
    size: str
    setting: str
    truth_name: str
    truth: float
    limit: float
    counts: dict[str, int]
    announced: float | None = None
    drawn: float = 1.0
    judged: int = 0
    objected: dict[str, int] | None = None
    contradicted: int = 0

    @property
    def audits(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def share(self, verdict: str) -> float:
        """Share of audits with a verdict."""
        return self.counts[verdict] / self.audits

    def upper(self, verdict: str) -> float:
        """Exact upper 95 % bound of that share."""
        return stats.rate(self.counts[verdict], self.audits, confidence=CONFIDENCE).high

    @property
    def false(self) -> list[str]:
        """Verdicts that are errors here; at the limit both are."""
        far = TRUTHS[self.truth_name]
        return ["pass"] * (far >= 1) + ["fail"] * (far <= 1)

    @property
    def worst(self) -> float:
        """Greatest upper bound of an error rate."""
        return max(self.upper(verdict) for verdict in self.false)

    @property
    def off_power(self) -> float | None:
        """By how much more audits pass than the plan announces."""
        return None if self.announced is None else self.share("pass") - self.announced


# --- audits ---------------------------------------------------------------------------------------


def audit_point(design: Design, truth_name: str, *, audits: int, judged: int = 0) -> Point:
    """Audit a target of known truth many times.

    Args:
        design: which metric, of whom.
        truth_name: one of `TRUTHS`.
        audits: how many.
        judged: of so many the whole judge must come to the same verdict.
    """
    truth = design.truth(truth_name)
    draw = design.target(truth)
    stream = zlib.crc32((design.stream or design.key).encode())
    inside = np.random.default_rng([_RANDOM, stream, list(TRUTHS).index(truth_name)])
    outside = np.random.default_rng([_RANDOM, stream, len(TRUTHS)])
    decide = _decider(design)
    found = [draw(inside, outside) for _ in range(audits)]
    with remembered():
        verdicts = [decide(observations) for observations in found]
    counts = Counter(verdicts)
    objected: Counter[str] = Counter()
    contradicted = 0
    for seed, (verdict, observations) in enumerate(zip(verdicts[:judged], found, strict=False)):
        tables = evidence(observations)
        plan = plan_of(design, tables, seed=seed)
        finding = judge(_POLICY, plan=plan, evidence=tables, as_of=AS_OF).findings[0]
        if finding.reason in _OBJECTIONS:
            objected[str(finding.reason)] += 1
        elif finding.verdict != verdict:
            contradicted += 1
    return Point(
        design.family, design.size, design.setting, truth_name, truth, design.limit,
        {verdict: counts[verdict] for verdict in VERDICTS},
        _announced(design) if truth_name == "no leak" else None,
        judged=min(judged, audits), objected=dict(objected), contradicted=contradicted,
    )  # fmt: skip


_POLICY: Final = policy()
_OBJECTIONS: Final = {"placebo-failed"}


def _decider(design: Design, *, confidence: float = CONFIDENCE) -> Callable[[Any], str]:
    """Return what turns observations into the verdict of one cell."""
    cell = cell_of(design, [])
    probe = load_probe(design.probe)
    params = probe.params_type.model_validate(cell.params)

    def decide(observations: Any) -> str:
        try:
            found = probe.measure(design.metric, observations, params=params, confidence=confidence)
        except InsufficientData:
            return "inconclusive"
        zero_hits = _zero_hit_bound(cell, found, confidence=confidence, partial=False)
        return _compare(cell, found, zero_hits=zero_hits).verdict

    return decide


def _announced(design: Design, *, confidence: float = CONFIDENCE) -> float | None:
    """Return the probability of a pass that the plan announces for the design's cell."""
    metric = load_probe(design.probe).metrics[design.metric]
    cell = cell_of(design, [])
    arguments: dict[str, Any] = {
        "confidence": confidence,
        "base_rate": design.base_rate,
        "fpr": design.params.get("fpr"),
    }
    if design.contrast == "reference":
        # not announced by `plan` for an excess over a reference; what `stats.power` has for it
        return power.pass_probability_difference_in_differences(
            design.sample.members, design.sample.nonmembers, limit=design.limit,
            base_rate=design.base_rate, confidence=confidence,
        )  # fmt: skip
    return cell_power(metric, cell.limit, design.sample, **arguments).pass_probability


# --- enumeration ----------------------------------------------------------------------------------


def enumerated() -> list[dict[str, Any]]:
    """Add up exactly how often targets at the limit pass, and fail, over a grid.

    Returns:
        For each family the greatest chance of a false pass and of a false fail, where it occurs,
        and the number of grid points.
    """
    return [_worst(family, grid) for family, grid in _GRIDS.items()]


_LIMITS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_BACKGROUNDS: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)


def _worst(family: str, grid: Callable[[], Iterator[tuple[Any, ...]]]) -> dict[str, Any]:
    found = list(grid())
    passes, fails = (max(found, key=lambda row, k=k: row[k]) for k in (0, 1))
    return {
        "family": family,
        "points": len(found),
        "false_pass": passes[0],
        "false_pass_at": passes[2],
        "false_fail": fails[1],
        "false_fail_at": fails[2],
    }


def _rate_grid() -> Iterator[tuple[float, float, str]]:
    for n in (30, 59, 93, 124, 200, 300, 473, 600, 1000):
        hits = np.arange(n + 1)
        low, high = stats.clopper_pearson(hits, n, confidence=CONFIDENCE)
        for limit in _LIMITS:
            mass = binom.pmf(hits, n, limit)
            yield (
                float(mass[high <= limit].sum()),
                float(mass[low > limit].sum()),
                f"n {n}, limit {limit:g}",
            )


def _difference_grid() -> Iterator[tuple[float, float, str]]:
    sizes = ((30, 30), (60, 60), (100, 100), (200, 200), (600, 600), (30, 120), (120, 30),
             (60, 300), (300, 60), (150, 600), (600, 150))  # fmt: skip
    for n1, n2 in sizes:
        x1, x2 = np.arange(n1 + 1)[:, None], np.arange(n2 + 1)
        _, low, high = square_and_add(
            (x1 / n1, *stats.clopper_pearson(x1, n1, confidence=CONFIDENCE)),
            (x2 / n2, *stats.clopper_pearson(x2, n2, confidence=CONFIDENCE)),
        )
        zero_hits = power.zero_hit_bound_difference(n1, n2, confidence=CONFIDENCE)
        for limit in _LIMITS:
            passes = (high <= limit) & (zero_hits <= limit)
            fails = low > limit
            for background in _BACKGROUNDS:
                first = binom.pmf(x1[:, 0], n1, background + limit)
                second = binom.pmf(x2, n2, background)
                yield (
                    float(first @ passes @ second),
                    float(first @ fails @ second),
                    f"n {n1} and {n2}, limit {limit:g}, background {background:g}",
                )


def _paired_grid() -> Iterator[tuple[float, float, str]]:
    for n in (30, 60, 100, 200):
        b, c = np.divmod(np.arange((n + 1) ** 2), n + 1)
        b, c = b[b + c <= n], c[b + c <= n]
        _, low, high = paired_limits(b, c, n, confidence=CONFIDENCE)
        for limit in _LIMITS:
            for other in (0.0, 0.01, 0.05, 0.1, 0.3):
                mass = multinomial.pmf(
                    np.stack([b, c, n - b - c], axis=1), n,
                    [other + limit, other, 1 - 2 * other - limit],
                )  # fmt: skip
                yield (
                    float(mass[high <= limit].sum()),
                    float(mass[low > limit].sum()),
                    f"n {n}, limit {limit:g}, second only {other:g}",
                )


_GRIDS: Final = {
    "rate": _rate_grid,
    "rate-difference": _difference_grid,
    "paired": _paired_grid,
}


# --- stopping early -------------------------------------------------------------------------------


def sequential_point(design: Design, truth_name: str, *, audits: int, judged: int = 0) -> Point:
    """Audit a rate or a difference of rates many times, stopping as soon as it is decided.

    Patients of both splits are drawn in one random order, `PROMPTS_A_BATCH` at a time. All audits
    are followed at once by the bounds that the probe uses; `judged` of them also by
    `settled_cells` and the judge, as `phigate run` does.
    """
    truth = design.truth(truth_name)
    stream = zlib.crc32(f"sequential {design.key}".encode())
    rng = np.random.default_rng([_RANDOM, stream, list(TRUTHS).index(truth_name)])
    n, m = design.sample.members, design.sample.nonmembers
    draw = design.target(truth)
    found = [draw(rng, rng) for _ in range(audits)]
    q = np.stack([observations.q for observations in found])
    order = np.stack([rng.permutation(n + m) for _ in range(audits)])
    hit = np.take_along_axis(q > 0.5, order, axis=1)
    member = order < n
    verdict = np.full(audits, "", dtype=object)
    drawn = np.full(audits, n + m)
    for end in [*range(PROMPTS_A_BATCH, n + m, PROMPTS_A_BATCH), n + m]:
        at = np.flatnonzero(verdict == "")
        inside, so_far = member[at, :end], hit[at, :end]
        counts = [(so_far & group).sum(1) for group in (inside, ~inside)]
        sizes = [inside.sum(1), (~inside).sum(1)]
        low, high = _bounds(design, counts, sizes, partial=end < n + m)
        now = np.where(low > design.limit, "fail", np.where(high <= design.limit, "pass", ""))
        verdict[at] = now
        drawn[at] = np.where(now != "", end, drawn[at])
    verdict[verdict == ""] = "inconclusive"
    replayed = [
        _judged_in_batches(design, found[i], order[i], seed=i) for i in range(min(judged, audits))
    ]
    confidence = 1 - (1 - SEQUENTIAL_SHARE) * (1 - CONFIDENCE)
    objected = Counter(reason for *_, reason in replayed if reason in _OBJECTIONS)
    contradicted = sum(
        (again, size) != (verdict[i], drawn[i]) and reason not in _OBJECTIONS
        for i, (again, size, reason) in enumerate(replayed)
    )
    return Point(
        design.family, design.size, design.setting, truth_name, truth, design.limit,
        {name: int((verdict == name).sum()) for name in VERDICTS},
        _announced(design, confidence=confidence) if truth_name == "no leak" else None,
        drawn=float(drawn.mean()) / (n + m),
        judged=len(replayed), objected=dict(objected), contradicted=contradicted,
    )  # fmt: skip


def _bounds(
    design: Design, hits: list[NDArray[Any]], sizes: list[NDArray[Any]], *, partial: bool
) -> tuple[Array, Array]:
    """Return lower and upper bounds of many audits; an upper one of 1 where none may pass."""
    share = SEQUENTIAL_SHARE if partial else 1 - SEQUENTIAL_SHARE
    confidence = 1 - share * (1 - CONFIDENCE)
    limits = confidence_sequence if partial else stats.clopper_pearson
    nobody = np.zeros(len(sizes[0]))
    seen = [np.maximum(size, 1) for size in sizes]
    zero_hits = limits(nobody, seen[0], confidence=confidence)[1]
    if design.family == "rate":
        low, high = limits(hits[0], seen[0], confidence=confidence)
        short = sizes[0] == 0
    elif partial:
        (l1, u1), (l2, u2) = (
            limits(x, n, confidence=(1 + confidence) / 2) for x, n in zip(hits, seen, strict=True)
        )
        low, high = l1 - u2, u1 - l2
        short = np.minimum(*sizes) == 0
    else:
        first, second = (
            (x / n, *limits(x, n, confidence=confidence)) for x, n in zip(hits, seen, strict=True)
        )
        _, low, high = square_and_add(first, second)
        short = np.minimum(*sizes) == 0
    low = np.where(short, -1.0, low)
    return low, np.where(short | (zero_hits > design.limit), np.maximum(high, 1.0), high)


def _judged_in_batches(
    design: Design, observations: Any, order: NDArray[np.int64], *, seed: int
) -> tuple[str, int, str | None]:
    """Run batch after batch through the judge: verdict, patients drawn, and the reason."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    numbered = disclosed(
        observations.q[observations.member], observations.q[~observations.member], prompts=rank
    )
    tables = evidence(numbered, batch=PROMPTS_A_BATCH)
    # tables of prompts are in the patients' order within a batch, batches in the order drawn
    plan = plan_of(design, tables, seed=seed, sequential=True)
    batches = [name for name in tables if name.startswith("rollouts")]
    some = {name: table for name, table in tables.items() if name not in batches}
    size = 0
    for name in batches:
        some[name] = tables[name]
        size += tables[name].num_rows // SAMPLES
        if size < len(order) and settled_cells(plan, some):
            break
    finding = judge(_POLICY, plan=plan, evidence=some, as_of=AS_OF).findings[0]
    return finding.verdict, size, finding.reason


# --- shared prompts, curtailed sampling -----------------------------------------------------------

PATIENTS, PROMPTS = 300, 120


def _equal(rng: np.random.Generator) -> NDArray[np.int64]:
    return np.repeat([2, 3], PROMPTS // 2)


def _scattered(rng: np.random.Generator) -> NDArray[np.int64]:
    rest = PATIENTS - PROMPTS
    return 1 + rng.multinomial(rest, np.full(PROMPTS, 1 / PROMPTS))


def _geometric(rng: np.random.Generator) -> NDArray[np.int64]:
    cuts = np.sort(rng.choice(PATIENTS - 1, PROMPTS - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [PATIENTS]]))


def _skewed(rng: np.random.Generator) -> NDArray[np.int64]:
    weight = 1 / np.arange(1, PROMPTS + 1)
    return 1 + rng.multinomial(PATIENTS - PROMPTS, weight / weight.sum())


_CLUSTERS: Final = {
    "2 or 3 patients a prompt": _equal,
    "at random": _scattered,
    "geometric": _geometric,
    "as 1/rank": _skewed,
}


def shared_prompts(*, audits: int) -> list[dict[str, Any]]:
    """Audit targets at the limit of which 300 positives share 120 prompts and so their outcomes."""
    result = []
    for design in _shared_designs():
        decide = _decider(design)
        for name, sizes_of in _CLUSTERS.items():
            rng = np.random.default_rng([_RANDOM, zlib.crc32(f"{design.key} {name}".encode())])
            passes = {"by_prompt": 0, "by_patient": 0}
            for _ in range(audits):
                inside, at_inside = _shared(sizes_of(rng), design.limit + design.base_rate, rng)
                outside, at_outside = _shared(sizes_of(rng), design.base_rate, rng)
                prompts = np.concatenate([at_inside, PROMPTS + at_outside])
                clustered = disclosed(inside, outside, prompts=prompts)
                apart = replace(clustered, prompt=np.arange(len(prompts)))
                passes["by_prompt"] += decide(clustered) == "pass"
                passes["by_patient"] += decide(apart) == "pass"
            result.append(
                {
                    "metric": design.metric,
                    "background": design.base_rate,
                    "prompts": name,
                    "audits": audits,
                    **{key: count / audits for key, count in passes.items()},
                    "upper": stats.rate(passes["by_prompt"], audits, confidence=CONFIDENCE).high,
                }
            )
    return result


def _shared_designs() -> Iterator[Design]:
    wanted = {"rate": (0.0,), "rate-difference": (0.0, 0.02)}
    first = {design.family: design for design in reversed(list(designs()))}
    for family, backgrounds in wanted.items():
        for background in backgrounds:
            yield replace(first[family], limit=0.05, base_rate=background, setting="shared")


def _shared(
    sizes: NDArray[np.int64], rate: float, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Return q of each patient and the prompt that decides it."""
    prompt = np.repeat(np.arange(len(sizes)), sizes)
    hit = rng.random(len(sizes)) < rate
    return hit[prompt].astype(np.float64), prompt


def curtailed(*, samples: int = 20, threshold: float = 0.5) -> list[dict[str, float]]:
    """Compute exactly what stopping a patient's rollouts once they are settled spares."""
    result = []
    for q in (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        still, disclosed_share, spent, done = {0: 1.0}, 0.0, 0.0, 0
        while still:
            step = min(samples - done, max(1, _undecided_draws(threshold, samples, done)))
            done += step
            after: dict[int, float] = {}
            for hits, mass in still.items():
                for more, chance in enumerate(binom.pmf(np.arange(step + 1), step, q)):
                    after[hits + more] = after.get(hits + more, 0.0) + mass * float(chance)
            still = {}
            for hits, mass in after.items():
                if _is_settled(hits, done, samples, threshold):
                    spent += mass * done
                    disclosed_share += mass * (hits / samples > threshold)
                else:
                    still[hits] = mass
        full = float(binom.sf(int(samples * threshold), samples, q))
        result.append(
            {"q": q, "saved": 1 - spent / samples, "changed": abs(disclosed_share - full)}
        )
    return result


# --- the study ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Study:
    """Everything found."""

    points: list[Point]
    sequential: list[Point]
    enumerated: list[dict[str, Any]]
    shared: list[dict[str, Any]]
    curtailed: list[dict[str, float]]
    short_cuts: dict[str, float]
    seconds: dict[str, float]

    @property
    def unmet(self) -> list[str]:
        """Demands that are not met, one sentence each."""
        missed = [
            f"{row['family']}: false {kind} {row[f'false_{kind}']:.2%} at {row[f'false_{kind}_at']}"
            for row in self.enumerated
            for kind in ("pass", "fail")
            if row[f"false_{kind}"] > ENUMERATED_AT_MOST
        ]
        for word, points in (("", self.points), ("sequential ", self.sequential)):
            for point in points:
                name = f"{word}{point.family}, {point.size}, {point.setting}, {point.truth_name}"
                missed += [
                    f"{name}: {point.share(verdict):.2%} {verdict}, at most"
                    f" {point.upper(verdict):.2%} where {UPPER_AT_MOST:.0%} is allowed"
                    for verdict in point.false
                    if point.upper(verdict) > UPPER_AT_MOST
                ]
                missed += [f"{name}: the judge contradicts it"] * bool(point.contradicted)
                off = point.off_power
                if off is not None and _is_off(point, off):
                    missed.append(
                        f"{name}: {point.share('pass'):.1%} pass, {point.announced:.1%} announced"
                    )
        missed += [
            f"shared prompts, {row['metric']}, {row['prompts']}: {row['by_prompt']:.2%} pass"
            for row in self.shared
            if row["upper"] > UPPER_AT_MOST
        ]
        missed += [f"curtailed at q {row['q']}" for row in self.curtailed if row["changed"] > 1e-9]
        return missed


_AT_LEAST: Final = {"mean-difference", "paired"}
"""What the plan announces for these is meant to be too low rather than too high: means as if of
coin tosses, and models that agree by chance only. See `checker.stats.power`."""


def _is_off(point: Point, off: float) -> bool:
    if point.family in _AT_LEAST:
        return off < -POWER_WITHIN
    # stopping early adds passes of cells that are clear anyway
    return abs(off) > POWER_WITHIN if point.drawn == 1 else off < -POWER_WITHIN


def study(
    *,
    audits: int,
    judged: int,
    families: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Study:
    """Run everything, or some families, printing as it goes."""
    seconds: dict[str, float] = {}
    points, sequential = [], []
    chosen = [design for design in designs() if not families or design.family in families]
    for design in chosen:
        begun = time.process_time()
        row = [audit_point(design, name, audits=audits, judged=judged) for name in TRUTHS]
        points += row
        spent = time.process_time() - begun
        seconds[design.family] = seconds.get(design.family, 0.0) + spent
        say(_line(row))
    begun = time.process_time()
    for design in chosen:
        if design.family in {"rate", "rate-difference"}:
            row = [sequential_point(design, name, audits=audits, judged=judged) for name in TRUTHS]
            sequential += row
            say("sequential " + _line(row))
    seconds["sequential"] = time.process_time() - begun
    begun = time.process_time()
    found = Study(
        points, sequential, enumerated(), shared_prompts(audits=audits), curtailed(),
        short_cuts(chosen), seconds,
    )  # fmt: skip
    seconds["the rest"] = time.process_time() - begun
    return found


def short_cuts(chosen: Sequence[Design], *, audits: int = 3) -> dict[str, float]:
    """Return by family how far bounds of remembered draws lie from the probe's own, at most."""
    farthest: dict[str, float] = {}
    for design in chosen:
        if design.family not in {"auprc", "auprc-difference", "gap", "bits"}:
            continue
        draw = design.target(design.limit)
        probe = load_probe(design.probe)
        params = probe.params_type.model_validate(design.params)
        rng = np.random.default_rng([_RANDOM, zlib.crc32(design.key.encode())])
        for _ in range(audits):
            observations = draw(rng, rng)

            def bounds(observations: Any = observations, design: Design = design) -> Array:
                found = probe.measure(
                    design.metric, observations, params=params, confidence=CONFIDENCE
                )
                return np.array([found.estimate.low, found.estimate.high])

            own = bounds()
            with remembered():
                gap = float(np.abs(own - bounds()).max())
            farthest[design.family] = max(farthest.get(design.family, 0.0), gap)
    return farthest


# --- what is written ------------------------------------------------------------------------------

_HEAD: Final = (
    f"{'family':<17}{'size':<20}{'setting':<25}"
    + "".join(f"{name:>21}" for name in TRUTHS)
    + f"{'false pass':>14}{'false fail':>14}{'power':>8}{'plan':>7}"
)


def _line(row: Sequence[Point]) -> str:
    """One design: pass/inconclusive/fail in percent at each truth, and the worst error rates."""
    first = row[0]
    cells = "".join(
        f"{' / '.join(f'{100 * point.share(verdict):.1f}' for verdict in VERDICTS):>21}"
        for point in row
    )
    errors = ""
    for verdict in ("pass", "fail"):
        worst = max((p for p in row if verdict in p.false), key=lambda p: p.counts[verdict])
        errors += f"{f'{worst.share(verdict):.2%}<{worst.upper(verdict):.1%}':>14}"
    plan = "-" if first.announced is None else f"{first.announced:.1%}"
    drawn = (
        ""
        if min(p.drawn for p in row) == 1
        else "   drawn " + ", ".join(f"{p.drawn:.0%}" for p in row)
    )
    return (
        f"{first.family:<17}{first.size:<20}{first.setting:<25}{cells}{errors}"
        f"{first.share('pass'):>8.1%}{plan:>7}{drawn}"
    )


def _rows(points: Sequence[Point]) -> list[str]:
    step = len(TRUTHS)
    return [_line(points[i : i + step]) for i in range(0, len(points), step)]


def text(found: Study) -> str:
    """Return the study as a table."""
    judged = sum(p.judged for p in (*found.points, *found.sequential))
    objected: Counter[str] = Counter()
    for point in (*found.points, *found.sequential):
        objected.update(point.objected or {})
    contradicted = sum(p.contradicted for p in (*found.points, *found.sequential))
    audits = sum(p.audits for p in found.points)
    parts = [
        "Exactly, at the limit, over a grid",
        *(
            f"  {row['family']:<17}{row['points']:>5} points: false pass {row['false_pass']:.2%}"
            f" ({row['false_pass_at']}), false fail {row['false_fail']:.2%}"
            f" ({row['false_fail_at']})"
            for row in found.enumerated
        ),
        "",
        f"By simulation, {audits} audits: pass / inconclusive / fail in percent at each truth; the"
        " worst error rate with its exact 95 % upper bound",
        _HEAD,
        *_rows(found.points),
        "",
        "With sequential stopping; share of the planned patients drawn, by truth",
        _HEAD,
        *_rows(found.sequential),
        "",
        f"{PATIENTS} positives over {PROMPTS} prompts at the limit: false passes",
        *(
            f"  {row['metric']:<18} background {row['background']:<5.0%} {row['prompts']:<26}"
            f" by prompt {row['by_prompt']:>6.2%} (at most {row['upper']:.1%}),"
            f" by patient {row['by_patient']:>6.2%}"
            for row in found.shared
        ),
        "",
        "Curtailed sampling of 20 rollouts, threshold 0.5: share of rollouts spared",
        "  " + ", ".join(f"q {row['q']:g}: {row['saved']:.0%}" for row in found.curtailed),
        "",
        f"The whole judge on {judged} of the audits: {contradicted} contradicted; made inconclusive"
        f" by {dict(objected) or 'nothing'}.",
        "Remembered draws, bounds off by at most "
        + ", ".join(f"{family} {gap:.1e}" for family, gap in found.short_cuts.items()),
        "Seconds: " + ", ".join(f"{name} {spent:.0f}" for name, spent in found.seconds.items()),
        "",
        *(found.unmet or ["All demands are met."]),
    ]
    return "\n".join(parts) + "\n"


def as_json(found: Study) -> str:
    """Return the study as JSON, with an exact interval for every share."""

    def of(point: Point) -> dict[str, Any]:
        shares = {}
        for verdict in VERDICTS:
            interval = stats.rate(point.counts[verdict], point.audits, confidence=CONFIDENCE)
            shares[verdict] = [interval.value, interval.low, interval.high]
        return {**asdict(point), "shares": shares, "errors": point.false}

    document = {
        "confidence": CONFIDENCE,
        "points": [of(point) for point in found.points],
        "sequential": [of(point) for point in found.sequential],
        "enumerated": found.enumerated,
        "shared_prompts": found.shared,
        "curtailed": found.curtailed,
        "short_cuts": found.short_cuts,
        "seconds": found.seconds,
        "unmet": found.unmet,
    }
    return json.dumps(document, indent=2) + "\n"


def draw_figure(found: Study, path: Path) -> None:
    """Draw shares of pass and fail against the truth, a panel a family, with exact intervals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    families = list(dict.fromkeys(point.family for point in found.points))
    columns = min(4, len(families))
    rows = -(-len(families) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    far = list(TRUTHS.values())
    for axis, family in zip(axes.flat, families, strict=False):
        mine = [point for point in found.points if point.family == family]
        for start in range(0, len(mine), len(far)):
            row = mine[start : start + len(far)]
            for verdict, colour in (("pass", "#37708f"), ("fail", "#b3431e")):
                bounds = [stats.rate(p.counts[verdict], p.audits, confidence=0.975) for p in row]
                value = np.array([b.value for b in bounds])
                reach = [value - [b.low for b in bounds], [b.high for b in bounds] - value]
                axis.errorbar(far, value, yerr=reach, color=colour, lw=1, capsize=2, alpha=0.8)
        axis.axvline(1, color="#5a636b", lw=0.8)
        axis.axhline(0.05, color="#5a636b", lw=0.8, ls=":")
        axis.set_title(family, fontsize=10)
        axis.set_ylim(-0.02, 1.02)
    for axis in axes.flat[len(families) :]:
        axis.set_visible(False)
    figure.suptitle(
        "Shares of pass (blue) and fail (red) against the truth, 0 no leak, 1 the limit; the rest"
        " is inconclusive", fontsize=10,
    )  # fmt: skip
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Run the study and write what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--audits", type=int, default=2000, help="of each point")
    parser.add_argument("--judged", type=int, default=4, help="of these by the whole judge")
    parser.add_argument("--families", nargs="*", default=[], help="only these")
    parser.add_argument("--out", type=Path, help="path of the files, without their endings")
    arguments = parser.parse_args()
    found = study(
        audits=arguments.audits,
        judged=arguments.judged,
        families=arguments.families,
        say=lambda line: print(line, flush=True),
    )
    print("\n" + text(found))
    if arguments.out:
        arguments.out.with_suffix(".txt").write_text(text(found), encoding="utf-8")
        arguments.out.with_suffix(".json").write_text(as_json(found), encoding="utf-8")
        draw_figure(found, arguments.out.with_suffix(".svg"))
    sys.exit(1 if found.unmet else 0)


if __name__ == "__main__":
    main()
