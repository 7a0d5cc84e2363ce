"""How often a sound audit is said to be worse than chance, and how often an exchanged one is not.

    python -m benchmarks.direction [--audits 20000]

A sound audit has twelve cells, all independent (dependent ones raise fewer alarms): membership
AUROCs of groups of 50 to 1,000 patients, equal and unequal, and shares of patients beyond
nonmembers at background rates from 0.02 to 0.5. Members and nonmembers are drawn from one
distribution. At most 1 % may be said to be worse than chance (METHODS §3, *Direction*).

In an exchanged audit one cell's true effect is reversed: the table gives the share that is found.
"""

from __future__ import annotations

import argparse

import numpy as np

from checker import stats
from checker.attacks.families import RateDifference
from checker.attacks.families.ranked import SplitAuroc
from checker.attacks.families.samples import Clusters
from checker.stats.false_alarms import DIRECTION
from checker.verdict.direction import p_below_chance

SCORED = ((50, 50), (100, 100), (300, 300), (60, 600), (600, 60), (1000, 400))
COUNTED = (
    (60, 60, 0.02),
    (100, 100, 0.1),
    (300, 300, 0.5),
    (80, 400, 0.2),
    (400, 80, 0.2),
    (173, 173, 0.3),
)


def p_values(rng: np.random.Generator) -> list[float]:
    """Return the twelve p-values of one sound audit."""
    found = [_auroc(rng, n, m, shift=0.0) for n, m in SCORED]
    for n, m, rate in COUNTED:
        inside, outside = (_clusters(rng.binomial(size, rate), size) for size in (n, m))
        found.append(_known(p_below_chance(RateDifference(), inside, outside)))
    return found


def false_alarms(*, audits: int, seed: int) -> int:
    """Return how many of so many sound audits have a cell that is called worse than chance."""
    rng = np.random.default_rng(seed)
    return sum(bool(stats.holm(p_values(rng), alpha=DIRECTION).any()) for _ in range(audits))


def found_exchanged(*, audits: int, seed: int, n: int, shift: float, cells: int) -> int:
    """Return how many exchanged audits are found by one cell of n patients a split.

    Args:
        audits: how many.
        seed: of the draws.
        n: members, and as many nonmembers.
        shift: by which members would score higher, in standard deviations, were nothing exchanged.
        cells: of the audit, which the correction is for.
    """
    rng = np.random.default_rng(seed)
    others = [1.0] * (cells - 1)
    return sum(
        bool(
            stats.holm([_auroc(rng, n, n, shift=-shift), *others], alpha=DIRECTION).any()
        )
        for _ in range(audits)
    )  # fmt: skip


def _auroc(rng: np.random.Generator, n: int, m: int, *, shift: float) -> float:
    members, nonmembers = rng.standard_normal(n) + shift, rng.standard_normal(m)
    return _known(p_below_chance(SplitAuroc(), members, nonmembers))


def _clusters(hits: int, n: int) -> Clusters:
    return Clusters.of_counts(hits, n)


def _known(p: float | None) -> float:
    assert p is not None  # both families have a direction
    return p


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=20_000)
    audits = parser.parse_args().audits
    alarms = false_alarms(audits=audits, seed=1)
    print(
        f"sound: {alarms} of {audits} audits ({alarms / audits:.2%}) said to be worse than chance"
    )
    print("exchanged: AUROC before, patients a split, cells, found")
    for auroc, shift in ((0.6, 0.358), (0.7, 0.742), (0.9, 1.812)):
        for n in (60, 150, 500):
            for cells in (1, 12, 73):
                found = found_exchanged(audits=200, seed=2, n=n, shift=shift, cells=cells)
                print(f"  {auroc:.1f} {n:5d} {cells:4d} {found / 200:6.2f}")


if __name__ == "__main__":
    main()
