"""What shared reports of cohorts that differ by one patient differ in, and what is left to guess.

    python -m benchmarks.disclosure [--policies 500] [--worlds 1]

Each run makes up a policy on one class: one to five limits, warned or not, none may be or not, of
rates and excesses, for one to three attackers who ask about the same patients. It is judged in
random worlds: 0 to 15 hits, or many, among 3 to 400 members and nonmembers.

*Differencing.* One patient more or less is hit or there, in either split, and the two shared
reports are compared: equal to the byte, or different in what docs name (METHODS §8), a verdict, a
step of a rounded count, how many times its limit a failure exceeds. Anything else is *unnamed*.

*Isolation.* For every few hits (none included) the adversary, who knows the program, looks for
another world with the same shared report, for each other few count in turn, among as many patients
as there may be. A count that some world with the same verdicts has, and none with the same report,
is *isolated*.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
if str(HELPERS) not in sys.path:
    sys.path.append(str(HELPERS))
from disclosure_worlds import (  # noqa: E402  where the tests have their helpers
    MIN_CELL,
    Counts,
    Design,
    Place,
    World,
    named_difference,
    verdict_of,
)

from checker.policy.documents import Limit  # noqa: E402
from checker.stats.intervals import clopper_pearson  # noqa: E402

LIMITS = (0.01, 0.02, 0.03, 0.0375, 0.04, 0.05, 0.1, 0.2)
SIZES = (3, 7, 10, 11, 14, 15, 24, 25, 40, 58, 59, 60, 75, 84, 92, 93, 110, 150, 220, 299, 350, 400)
SEARCHED = (*SIZES, 18, 30, 50, 67, 79, 98, 123, 135, 180, 260, 430, 520, 650, 900, 1400, 2200)
"""More patients than any world has: nobody who reads the report knows how many there are."""


TRIED = 20
"""How many hits of the other attackers are tried for each number of patients."""

UNNAMED = "UNNAMED"
ISOLATED = "of these isolated by the report"
Differences = Counter[tuple[str, str]]


def random_design(rng: np.random.Generator) -> Design:
    """Make up a policy on one class."""
    attackers = [f"events-{k}" for k in (5, 10, 20)[: int(rng.integers(1, 4))]]
    places: dict[str, Place] = {}
    for _ in range(int(rng.integers(1, 6))):
        fail = float(rng.choice(LIMITS))
        warn = fail * float(rng.choice([0.5, 0.8])) if rng.random() < 0.3 else None
        metric = str(rng.choice(["excess_disclosure", "disclosure_rate"]))
        limit = Limit(fail=fail, warn=warn)
        if metric == "disclosure_rate" and rng.random() < 0.1:
            limit = Limit(max_count=0, min_n=59)
        place = Place(
            limit,
            attacker=str(rng.choice(attackers)),
            metric=metric,
            gating=bool(rng.random() < 0.8),
        )
        places[place.id] = place
    return Design("made up", tuple(places.values()))


def random_world(design: Design, rng: np.random.Generator) -> World:
    """Draw counts: the same patients for each attacker, of whom later ones hit more."""
    n, m = (int(rng.choice(SIZES)) for _ in range(2))
    few, others = int(rng.integers(16)), int(rng.choice([0, 0, 1, 3, 12]))
    if rng.random() < 0.3:  # where numbers are shown
        few = int(rng.integers(n + 1))
    counts = []
    for _ in design.attackers:
        counts.append(Counts.of(min(few, n), n, min(others, m), m))
        few += int(rng.choice([0, 0, 1, 4, n // 3, n]))
    return design.world(counts)


def one_patient_apart(design: Design, world: World) -> Iterator[tuple[str, World]]:
    """Yield worlds that differ by one patient, seen by one attacker, and if it is there by all."""
    by_attacker = {
        place.attacker: counts for place, counts in zip(design.places, world, strict=True)
    }
    for attacker in design.attackers:
        for what, other in by_attacker[attacker].neighbours():
            changed = {
                name: other if name == attacker else _as_large(counts, other)
                for name, counts in by_attacker.items()
            }
            yield what, design.world([changed[name] for name in design.attackers])


def _as_large(counts: Counts, other: Counts) -> Counts:
    """Return counts among as many patients as another attacker asks about."""
    return Counts(
        replace(counts.members, n=other.members.n), replace(counts.nonmembers, n=other.nonmembers.n)
    )


def isolated(design: Design, world: World) -> tuple[int, int]:
    """Return how many few counts the verdicts leave beside the true one, and how many more fall.

    Of the first attacker's members.
    """
    told, true = design.told(world), world[0].members.hits
    left = fallen = 0
    for hits in range(MIN_CELL):
        if hits == true:
            continue
        other = is_same = False
        for one in _worlds_with(design, world, hits):
            found = design.told(one)
            other |= found.verdicts == told.verdicts
            is_same = found.text == told.text
            if is_same:
                break
        left += other
        fallen += other and not is_same
    return left, fallen


def _worlds_with(design: Design, world: World, hits: int) -> Iterator[World]:
    """Yield worlds in which the first attacker hits so many members, of any number there may be.

    What the others hit is chosen so that each is judged as it was, where that can be.
    """
    by_attacker = {
        place.attacker: counts for place, counts in zip(design.places, world, strict=True)
    }
    others = design.attackers[1:]
    verdicts = {
        name: [
            verdict_of(place, by_attacker[name])
            for place in design.places
            if place.attacker == name
        ]
        for name in others
    }
    sizes = {*SEARCHED, *_first_passes(design, hits)}
    for n in sorted(sizes, key=lambda one: abs(one - world[0].members.n)):
        if hits > n:
            continue
        first = replace(world[0], members=replace(world[0].members, hits=hits, n=n))
        likely = []
        for name in others:
            other, size = by_attacker[name], max(1, by_attacker[name].members.n)
            share = round(other.members.hits * n / size)
            tried = dict.fromkeys([share, other.members.hits, *range(0, n + 1, max(1, n // TRIED))])
            mine = [place for place in design.places if place.attacker == name]
            found = [
                counts
                for counts in (
                    replace(other, members=replace(other.members, hits=x, n=n))
                    for x in tried
                    if x <= n
                )
                if [verdict_of(place, counts) for place in mine] == verdicts[name]
            ]
            if not found:
                found = [replace(other, members=replace(other.members, hits=min(share, n), n=n))]
            # of a failure a factor may be told, or be missing: not all that fails is told alike
            fails = any(verdict == "fail" for verdict, _ in verdicts[name])
            likely.append(found if fails else found[:1])
        for counts in _in_turn(likely):
            yield design.world([first, *counts])


def _in_turn(groups: list[list[Counts]]) -> Iterator[tuple[Counts, ...]]:
    """Yield one of each group in turn, the last again where a group is shorter than others."""
    for place in range(max((len(group) for group in groups), default=1)):
        yield tuple(group[min(place, len(group) - 1)] for group in groups)


def _first_passes(design: Design, hits: int) -> Iterator[int]:
    """Yield the fewest patients among whom so many hits keep each limit, and a few more.

    There few may be withheld for the last time, and not every size is searched.
    """
    for place in design.places:
        for limit in (place.limit.fail, place.limit.warn):
            if limit is not None:
                least = _least(hits, limit)
                yield from (least, least + 4, least + 9)


@cache
def _least(hits: int, limit: float) -> int:
    n = np.arange(hits + 1, 6000)
    _, high = clopper_pearson(hits, n, confidence=0.95)
    return int(n[np.argmax(high <= limit)])


def study(*, policies: int, worlds: int, seed: int) -> tuple[Differences, Counter[str]]:
    """Compare neighbours, and search for other worlds, under so many made-up policies.

    Args:
        policies: each from a seed of its own.
        worlds: of each policy.
        seed: the first.

    Returns:
        How often one patient made which difference, and how many few counts could be guessed.
    """
    differences, guesses = Counter[tuple[str, str]](), Counter[str]()
    for one in range(seed, seed + policies):
        rng = np.random.default_rng(one)
        design = random_design(rng)
        for _ in range(worlds):
            world = random_world(design, rng)
            for what, other in one_patient_apart(design, world):
                same = design.told(world).text == design.told(other).text
                kind = "equal" if same else named_difference(design, world, other) or UNNAMED
                differences[what, kind] += 1
                if kind == UNNAMED:
                    print(f"seed {one}: {design.places} {world} {other}")
            if world[0].members.hits < MIN_CELL:
                left, fallen = isolated(design, world)
                guesses["few counts"] += 1
                guesses["others that the verdicts leave"] += left
                guesses[ISOLATED] += fallen
                if fallen:
                    print(f"seed {one}, isolated: {design.places} {world}")
    return differences, guesses


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, default=500)
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    differences, guesses = study(policies=asked.policies, worlds=asked.worlds, seed=asked.seed)
    kinds = ("equal", "verdict", "step of a rounded count", "times the limit", UNNAMED)
    print(f"{'one patient':32s}" + "".join(f"{kind:>26s}" for kind in kinds))
    for what in dict.fromkeys(name for name, _ in differences):
        print(f"{what:32s}" + "".join(f"{differences[what, kind]:26d}" for kind in kinds))
    for name, count in guesses.items():
        print(f"{name}: {count}")


if __name__ == "__main__":
    main()
