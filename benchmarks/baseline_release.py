"""Is a sound model released by the baselines as often as `phigate power` says, a leaking one not?

    python -m benchmarks.baseline_release [--audits 400] [--policies baseline-internal@2 ...]

For each baseline a cohort is imagined (MIMIC-IV demo's shares, splits by lot, even) of the size at
which it is to release sound models. What the model would give is drawn for each cell, judged with
the judge's own bounds, limits and placebo, and the verdicts are put together. Sound is a model
whose members look like nonmembers: mean q of 0.05, spread like a beta distribution; scores from one
distribution; two in a thousand whose windows count by chance. Then one cell after another leaks
twice what its limit allows, and all others nothing. Checks that are not of one cell (prompt format,
splits, nonmembers) are not drawn; they cost about two points (`benchmarks.splits_by_lot`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from checker import load_policy, stats
from checker.attacks.families import ExposedMembers, Measurement
from checker.attacks.families.ranked import SplitAuroc, TruePositiveRate
from checker.attacks.families.samples import Clusters
from checker.planning import AuditPlan, Cell
from checker.planning.cells import metric_of
from checker.planning.imagined import imagined_plan, shipped_profiles
from checker.planning.operating import operating_point
from checker.planning.release import blocks
from checker.stats.betting import SPREAD_ASSUMED
from checker.verdict import overall_verdict
from checker.verdict.finding import Finding
from checker.verdict.limits import compare_with_limit

SIZES = {
    "baseline-internal@2": 1_000,
    "baseline-gated@2": 3_000,
    "baseline-public-weights@2": 10_000,
}
COHORT = "raw"


@dataclass(frozen=True, slots=True)
class Released:
    """How many of so many audits released the model.

    Args:
        audits: that were drawn.
        released: of them.
        stopped: by cell, in how many it was what did not pass.
    """

    audits: int
    released: int
    stopped: dict[str, int]


def plan_of(policy: str, *, cohort: str = COHORT, patients: int | None = None) -> AuditPlan:
    """Return the imagined plan of a baseline, with as many nonmembers as members."""
    half = (patients or SIZES[policy]) // 2
    return imagined_plan(
        load_policy(policy), shipped_profiles()[cohort], members=half, nonmembers=half
    )


def audits(plan: AuditPlan, *, count: int, seed: int, leaks: str | None = None) -> Released:
    """Draw and judge audits.

    Args:
        plan: imagined.
        count: of audits.
        seed: of what is drawn.
        leaks: the cell that is at twice its limit; none where the model is sound.
    """
    rng = np.random.default_rng(seed)
    released, stopped = 0, dict[str, int]()
    for _ in range(count):
        findings = list(_judged(plan, rng, leaks=leaks))
        if overall_verdict(findings) == "pass":
            released += 1
        for one in findings:
            if one.blocks:
                stopped[one.cell.id] = stopped.get(one.cell.id, 0) + 1
    return Released(count, released, stopped)


def _judged(plan: AuditPlan, rng: np.random.Generator, *, leaks: str | None) -> Iterator[Finding]:
    level = stats.placebo_confidence(cells=len(plan.cells))
    for cell in plan.cells:
        if not blocks(cell) and cell.id != leaks:
            continue
        found, placebo = _drawn(cell, plan, rng, twice=cell.id == leaks, level=level)
        finding = compare_with_limit(cell, found, confidence=plan.confidence)
        null = metric_of(cell).family.null_value
        if finding.verdict == "pass" and placebo is not None:
            low, high = placebo
            if not low <= null <= high:
                finding = replace(finding, verdict="inconclusive", reason="placebo-failed")
        yield finding


def _drawn(
    cell: Cell, plan: AuditPlan, rng: np.random.Generator, *, twice: bool, level: float
) -> tuple[Measurement, tuple[float, float] | None]:
    family = metric_of(cell).family
    sizes = cell.sample.members, cell.sample.nonmembers
    limit, base = cell.limit.fail or 0.0, cell.power.base_rate or 0.0
    excess = 2 * limit if twice else 0.0
    groups: tuple[Any, ...]
    if isinstance(family, SplitAuroc | TruePositiveRate | ExposedMembers):
        inside, outside = (rng.normal(size=n) for n in sizes)
        if twice and isinstance(family, SplitAuroc):
            inside += math.sqrt(2) * float(ndtri(0.5 + 2 * (limit - 0.5)))
        elif twice and isinstance(family, TruePositiveRate):
            # so many members stand out as make the rate what it is to be
            share = (excess - family.fpr) / (1 - family.fpr)
            inside += 20 * (rng.random(sizes[0]) < share)
        elif twice:
            inside[: math.ceil(excess)] += 20
        groups = inside, outside
    elif family.counts_hits:
        rates = (base + excess if family.is_excess or not twice else excess, base)
        groups = tuple(
            Clusters.of_counts(int(rng.binomial(n, rate)), n)
            for n, rate in zip(sizes, rates, strict=True)
        )
    else:
        weight = 1 / SPREAD_ASSUMED - 1
        groups = tuple(
            Clusters(rng.beta(mean * weight, (1 - mean) * weight, n), np.ones(n, dtype=np.int64))
            for n, mean in zip(sizes, (base + excess, base), strict=True)
        )
    found = family.measure(*groups, confidence=plan.confidence)
    placebo = family.placebo(groups[1], confidence=level, rng=rng)
    return found, None if placebo is None else (placebo.low, placebo.high)


def main() -> None:
    """Print what was released."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audits", type=int, default=400)
    parser.add_argument("--policies", nargs="+", default=list(SIZES))
    parser.add_argument("--cohorts", nargs="+", default=["coded", "raw"])
    asked = parser.parse_args()
    for policy in asked.policies:
        for cohort in asked.cohorts:
            plan = plan_of(policy, cohort=cohort)
            point = operating_point(plan)
            bounds = plan.release.cells if plan.release is not None else None
            sound = audits(plan, count=asked.audits, seed=1)
            print(
                f"{policy}, {cohort}, {SIZES[policy]:,} patients: announced {point.released:.1%}"
                f" (by bounds {bounds:.1%}), sound released {sound.released} of {sound.audits}",
                flush=True,
            )
            print(f"  not passed by: {sound.stopped}")
        for cell in plan.cells:
            if cell.limit.fail is not None and cell.power.can_pass and blocks(cell):
                found = audits(plan, count=asked.audits, seed=2, leaks=cell.id)
                print(f"  {cell.id} at twice its limit: {found.released} of {found.audits}")


if __name__ == "__main__":
    main()
