"""How often the number of members who stand out is judged wrongly, on made-up scores.

Each world draws scores of members and nonmembers who are judged, as many as baselines have of
1,000, 3,000 and 10,000 patients in each split without spare ones, and judges them against the
limit. *Told wrongly* are a failure where no more stand out than the limit allows, and a pass where
more do. Who stands out is known: a member who is above the nonmember of the rank and would not be
without what training added.

Where nine of ten patients are members, a lot of them is looked at, and the verdict speaks of these.
Who stands out is counted among all members all the same, so that *false pass* says there how often
a limit is met by a sample and not by everybody.

    python -m benchmarks.exposed_members [--audits 2000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from checker import stats

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Scores]
Verdict = Literal["pass", "fail", "inconclusive"]

SIZES = {1_000: (667, 444), 3_000: (2_000, 1_333), 10_000: (6_667, 4_444)}
"""Judged of the patients in each split: two thirds, and of nonmembers two thirds of two thirds."""

NINE_OF_TEN = (6_000, 444)
"""Judged of 9,000 members and 1,000 nonmembers: of these members 888 are looked at."""


def normal(rng: np.random.Generator, n: int) -> Scores:
    return rng.standard_normal(n)


def heavy(rng: np.random.Generator, n: int) -> Scores:
    return rng.standard_t(3, n)


def coarse(rng: np.random.Generator, n: int) -> Scores:
    return np.round(rng.standard_normal(n), 1)


@dataclass(frozen=True)
class World:
    """What training added to members' scores.

    Args:
        title: for the table.
        draw: scores without training.
        shift: added to every member's.
        memorized: this share of the members score `far` higher.
        far: by how much.
        odd: so many nonmembers score above everybody.
    """

    title: str
    draw: Draw = normal
    shift: float = 0.0
    memorized: float = 0.0
    far: float = 20.0
    odd: int = 0


WORLDS = (
    World("no memory"),
    World("no memory, heavy tails", heavy),
    World("no memory, many ties", coarse),
    World("sound, AUROC 0.595", shift=0.34),
    World("sound, AUROC 0.595, heavy tails", heavy, shift=0.45),
    World("one in twenty", memorized=0.05),
    World("one in a hundred", memorized=0.01),
    World("one in a hundred, faintly", memorized=0.01, far=3.0),
    World("one in twenty, one odd nonmember", memorized=0.05, far=20.0, odd=1),
)


@dataclass(frozen=True)
class Tally:
    """What became of many audits of one world."""

    passed: float
    failed: float
    false_pass: float
    false_fail: float


def audit(
    world: World,
    rng: np.random.Generator,
    *,
    sizes: tuple[int, int],
    limit: float,
    rank: int,
    confidence: float = 0.95,
) -> tuple[Verdict, int]:
    """Return the verdict, and how many truly stand out."""
    n, m = sizes
    without, outside = world.draw(rng, n), world.draw(rng, m)
    if world.odd:
        outside[: world.odd] = without.max() + 2 * world.far
    inside = without + world.shift
    inside[: round(world.memorized * n)] += world.far
    threshold = np.sort(outside)[::-1][rank - 1]
    standing = int(((inside > threshold) & (without <= threshold)).sum())
    found = stats.exposed_members(inside, outside, rank=rank, confidence=confidence)
    if found.low > limit:
        return "fail", standing
    return ("pass" if found.high <= limit else "inconclusive"), standing


def tally(
    world: World, *, sizes: tuple[int, int], limit: float, rank: int, audits: int, seed: int = 1
) -> Tally:
    """Judge a world many times."""
    rng = np.random.default_rng(seed)
    found = [audit(world, rng, sizes=sizes, limit=limit, rank=rank) for _ in range(audits)]
    shares = {
        "passed": [verdict == "pass" for verdict, _ in found],
        "failed": [verdict == "fail" for verdict, _ in found],
        "false_pass": [verdict == "pass" and standing > limit for verdict, standing in found],
        "false_fail": [verdict == "fail" and standing <= limit for verdict, standing in found],
    }
    return Tally(**{name: float(np.mean(values)) for name, values in shares.items()})


def lines(*, audits: int, limits: tuple[float, ...], ranks: tuple[int, ...]) -> Iterator[str]:
    yield "| patients | rank | limit | world | pass | fail | false pass | false fail |"
    yield "|---|---|---|---|---|---|---|---|"
    sizes_of = {f"{size:,}": sizes for size, sizes in SIZES.items()}
    for size, sizes in (sizes_of | {"9,000 and 1,000": NINE_OF_TEN}).items():
        for rank in ranks:
            for limit in limits:
                for world in WORLDS:
                    one = tally(world, sizes=sizes, limit=limit, rank=rank, audits=audits)
                    yield (
                        f"| {size} | {rank} | {limit:g} | {world.title} | {one.passed:.3f} |"
                        f" {one.failed:.3f} | {one.false_pass:.4f} | {one.false_fail:.4f} |"
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=2_000)
    parser.add_argument("--limits", type=float, nargs="+", default=[10, 12])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1])
    asked = parser.parse_args()
    for line in lines(audits=asked.audits, limits=tuple(asked.limits), ranks=tuple(asked.ranks)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
