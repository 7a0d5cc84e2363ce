"""How often a model that knows no nonmember is said to know some, and how faint a memory is found.

    python -m benchmarks.nonmembers [--audits 20000]

A sound model's scores of nonmembers and of spare patients come from one distribution: three scores
of a record, which nearly agree, as loss, Min-K% and Min-K%++ do; what tables of tokens give is
compared alike, at the same level. Of the nonmembers of a sound model 1 % are extractable, which is
the most that is allowed. At most 0.1 % of such audits may be stopped by each check (METHODS §3,
*Nonmembers unknown to the model*), of which scores and tables have half each.

A model that was trained on both splits scores nonmembers higher: the table gives the share of
audits in which that is found, by the AUROC with which the two can be told apart.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from checker import stats
from checker.planning.nonmembers import SPARE_LEVEL
from checker.verdict.nonmembers import MOST_KNOWN, PROVEN, told_apart

SCORES, NOISE = 3, 0.2
SIZES = ((90, 40), (200, 100), (600, 120), (1000, 1000), (4000, 200))


def false_alarms(
    *, audits: int, nonmembers: int, spare: int, seed: int, level: float = SPARE_LEVEL
) -> int:
    """Return in how many of so many sound audits spare patients are told from nonmembers."""
    rng = np.random.default_rng(seed)
    return _found(rng, audits, nonmembers, spare, shift=0.0, level=level)


def found_known(*, audits: int, nonmembers: int, spare: int, auroc: float, seed: int) -> int:
    """Return the same where nonmembers score higher, so that an AUROC tells the two apart."""
    shift = float(norm.ppf(auroc)) * np.sqrt(2 * (1 + NOISE**2))
    rng = np.random.default_rng(seed)
    return _found(rng, audits, nonmembers, spare, shift=shift, level=SPARE_LEVEL)


def extractable_alarms(*, nonmembers: int) -> float:
    """Return the chance that 1 % of extractable nonmembers look like more: exact."""
    from scipy.stats import binom

    hits = np.arange(nonmembers + 1)
    known = [stats.rate(int(x), nonmembers, confidence=PROVEN).low > MOST_KNOWN for x in hits]
    return float(binom.pmf(hits, nonmembers, MOST_KNOWN)[known].sum())


def _found(
    rng: np.random.Generator,
    audits: int,
    nonmembers: int,
    spare: int,
    *,
    shift: float,
    level: float,
) -> int:
    found = 0
    for start in range(0, audits, 500):
        count = min(500, audits - start)
        sides = [
            rng.standard_normal((count, 1, size))
            + NOISE * rng.standard_normal((count, SCORES, size))
            for size in (nonmembers, spare)
        ]
        p = told_apart(sides[0] + shift, sides[1])
        found += sum(bool(stats.holm(one.ravel().tolist(), alpha=level).any()) for one in p)
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=20_000)
    audits = parser.parse_args().audits
    print("nonmembers, spare: sound audits in which they are told apart; found at AUROC")
    for n, m in SIZES:
        alarms = false_alarms(audits=audits, nonmembers=n, spare=m, seed=1) / audits
        power = [
            found_known(audits=400, nonmembers=n, spare=m, auroc=auroc, seed=2) / 400
            for auroc in (0.55, 0.6, 0.7, 0.9)
        ]
        shown = "  ".join(f"{share:.2f}" for share in power)
        print(f"  {n:5d} {m:5d}  {alarms:.2%}  {shown}")
    print("nonmembers: sound audits in which too many are extractable")
    for n in (100, 300, 1000, 4000):
        print(f"  {n:5d}  {extractable_alarms(nonmembers=n):.2%}")


if __name__ == "__main__":
    main()
