"""How often the base-rate check objects to splits that were dealt by lot, and what it finds else.

    python -m benchmarks.base_rate_gap [--minutes 9] [--keep gaps.jsonl]

Members and nonmembers are drawn from one population whose prompts promise a class more or less
strongly. What is counted is how often the interval of `base_rate_gap` misses zero, two-sided at
5 %, 1 % and 0.1 %: at most so often, or the check objects to sound audits (METHODS §3,
*Admissibility* (c)). Then members' prompts are shifted, so that a perfect predictor would expect
the class more often by half of a limit, by the limit, and by twice that: the share of audits in
which a declared lot is disproved, and in which an undeclared split is stopped.

The time is dealt to all cases in turn; with `--keep` it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta

from checker import stats
from checker.stats.false_alarms import base_rate_confidence
from checker.verdict.comparability import base_rate_gap, base_rate_scores

LEVELS = (0.05, 0.01, 0.001)
LIMIT = 0.1
CELLS = 10
"""Cells of the audit of a lot, among which its level is shared."""

_EFFECTS = np.array([1.0, -1.0, 0.7, -0.7, 1.2, 0.5, 0.9, -0.4])


@dataclass(frozen=True, slots=True)
class Case:
    """A population, how it is split, and how far members are from it.

    Args:
        members: positives among them.
        nonmembers: positives among them.
        rate: base rate of the class.
        signal: how strongly prompts tell it, in log odds a token; 0 for not at all.
        tokens: of the vocabulary.
        shift: by how much a perfect predictor expects the class more often in positive members.
    """

    members: int
    nonmembers: int
    rate: float
    signal: float = 0.0
    tokens: int = 80
    shift: float = 0.0


SIZES = ((60, 60), (240, 60), (60, 240), (300, 300), (1000, 250), (1000, 1000))
EXCHANGEABLE = tuple(
    Case(members, nonmembers, rate, signal, tokens)
    for members, nonmembers in SIZES
    for rate, signal, tokens in (
        (0.5, 0.0, 80),
        (0.2, 0.0, 400),
        (0.2, 0.6, 80),
        (0.05, 0.0, 80),
        (0.05, 1.5, 80),
    )
)
SHIFTED = tuple(
    Case(positives, positives, 0.2, signal, shift=share * LIMIT)
    for positives in (60, 300, 1000)
    for signal in (1.0, 2.0)
    for share in (0.0, 0.5, 1.0, 2.0)
)


@dataclass
class Tally:
    """What was counted of one case.

    Args:
        audits: how many.
        missed: for each of LEVELS, intervals that miss zero.
        disproved: audits in which a declared lot is disproved.
        stopped: audits in which an undeclared split is not shown alike within half of LIMIT.
        total: of the gaps that were measured.
    """

    audits: int = 0
    missed: tuple[int, ...] = (0,) * len(LEVELS)
    disproved: int = 0
    stopped: int = 0
    total: float = 0.0

    def add(self, members: NDArray[np.float32], nonmembers: NDArray[np.float32]) -> None:
        """Count one audit's predictions for positives."""

        def gap(confidence: float) -> stats.Estimate:
            return base_rate_gap(members, nonmembers, confidence=confidence)

        self.audits += 1
        self.missed = tuple(
            count + (not stats.contains(gap(1 - level / 2), 0))
            for count, level in zip(self.missed, LEVELS, strict=True)
        )
        self.disproved += not stats.contains(gap(base_rate_confidence(cells=CELLS)), 0)
        shown = gap(0.95)
        self.stopped += max(-shown.low, shown.high) > LIMIT / 2
        self.total += shown.value


def audit(case: Case, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what a predictor fitted on nonmembers expects for positive members and nonmembers."""
    moved = _moved(case)
    inside, outside = [], []
    without = round(case.nonmembers * (1 - case.rate) / case.rate)
    inside = _drawn(case, case.members, rng, positive=True, moved=moved)
    outside = _drawn(case, case.nonmembers, rng, positive=True, moved=0.0)
    others = _drawn(case, without, rng, positive=False, moved=0.0)
    prompts = [*inside, *outside, *others]
    row = np.arange(len(prompts))
    positive = row < len(inside) + len(outside)
    is_member = row < len(inside)
    scores = base_rate_scores(prompts, positive, is_member, vocabulary_size=case.tokens, rng=rng)
    return scores[is_member], scores[positive & ~is_member]


def _drawn(
    case: Case, n: int, rng: np.random.Generator, *, positive: bool, moved: float
) -> list[NDArray[np.int32]]:
    """Draw so many prompts of patients with the class, or without it."""
    found: list[NDArray[np.int32]] = []
    share = case.rate if positive else 1 - case.rate
    while len(found) < n:
        held = _held(case, int(1.2 * (n - len(found)) / share) + 50, rng, moved=moved)
        has = rng.random(len(held)) < _promise(case, held)
        chosen = held[has == positive]
        found += [np.flatnonzero(one).astype(np.int32) for one in chosen]
    return found[:n]


def _held(case: Case, n: int, rng: np.random.Generator, *, moved: float) -> NDArray[np.bool_]:
    """Which tokens stand in each prompt: [n, tokens]; telling ones are commoner by `moved`."""
    common = np.random.default_rng(case.tokens).beta(1, 6, case.tokens)
    odds = logit(common)
    odds[: len(_EFFECTS)] += moved * np.sign(_EFFECTS)
    held: NDArray[np.bool_] = rng.random((n, case.tokens)) < expit(odds)
    return held


def _promise(case: Case, held: NDArray[np.bool_]) -> NDArray[np.float64]:
    told = held[:, : len(_EFFECTS)] @ (case.signal * _EFFECTS)
    promised: NDArray[np.float64] = expit(_intercept(case.rate, case.signal, case.tokens) + told)
    return promised


@cache
def _intercept(rate: float, signal: float, tokens: int) -> float:
    """Log odds that give the population its base rate, by bisection on a large sample."""
    case = Case(1, 1, rate, signal, tokens)
    told = _held(case, 50_000, np.random.default_rng(0), moved=0.0)[:, : len(_EFFECTS)] @ (
        signal * _EFFECTS
    )
    low, high = -20.0, 20.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + told).mean() < rate else (low, middle)
    return low


@cache
def _moved(case: Case) -> float:
    """By how much telling tokens are commoner in members, for the shift that is asked for."""
    if not case.shift:
        return 0.0

    def expected(moved: float) -> float:
        """What a perfect predictor expects, on average over patients who have the class."""
        promised = _promise(case, _held(case, 50_000, np.random.default_rng(1), moved=moved))
        return float((promised**2).sum() / promised.sum())

    base, low, high = expected(0.0), 0.0, 8.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) - base < case.shift else (low, middle)
    return low


def measure(
    cases: tuple[Case, ...], *, seconds: float, tallies: dict[Case, Tally], batch: int = 20
) -> Iterator[Case]:
    """Audit one batch of each case after the other, until the time is over.

    Args:
        cases: to be audited.
        seconds: to spend.
        tallies: by case, what was counted before; added to.
        batch: audits of one case before the next has its turn.

    Yields:
        A case after each of its batches.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for case in cases:
            tally = tallies.setdefault(case, Tally())
            # a batch has random numbers of its own, so that going on is no repetition
            rng = np.random.default_rng([tally.audits, cases.index(case)])
            for _ in range(batch):
                tally.add(*audit(case, rng))
            yield case
            if time.monotonic() >= end:
                return


def upper(hits: int, n: int) -> float:
    """Return the 95 % upper bound of a share (Clopper-Pearson)."""
    return float(beta.ppf(0.95, hits + 1, n - hits)) if hits < n else 1.0


def table(tallies: dict[Case, Tally]) -> str:
    """Return what was found, in lines."""
    alike = {case: one for case, one in tallies.items() if case in EXCHANGEABLE and one.audits}
    apart = {case: one for case, one in tallies.items() if case in SHIFTED and one.audits}
    lines = []
    if alike:
        heads = "".join(f"{level:>17.1%}" for level in LEVELS)
        lines.append(f"positives     rate signal tokens  audits{heads}")
        for case, one in alike.items():
            lines.append(
                f"{case.members:5}/{case.nonmembers:<6}{case.rate:6}{case.signal:7}"
                f"{case.tokens:7}{one.audits:8}{_shares(one)}"
            )
        total = Tally(
            audits=sum(one.audits for one in alike.values()),
            missed=tuple(sum(n) for n in zip(*(one.missed for one in alike.values()), strict=True)),
        )
        lines += [f"{'all':32}{total.audits:8}{_shares(total)}", ""]
    if apart:
        lines.append("positives signal  shift  audits  measured  lot disproved  undeclared stopped")
        lines += [
            f"{case.members:9}{case.signal:7}{case.shift:7.3f}{one.audits:8}"
            f"{one.total / one.audits:10.3f}{one.disproved / one.audits:15.2f}"
            f"{one.stopped / one.audits:20.2f}"
            for case, one in apart.items()
        ]
    return "\n".join(lines)


def _shares(one: Tally) -> str:
    return "".join(
        f"  {missed / one.audits:6.2%} (≤{upper(missed, one.audits):6.2%})" for missed in one.missed
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--shifted", action="store_true", help="only the shifted splits")
    asked = parser.parse_args()
    tallies: dict[Case, Tally] = {}
    if asked.keep is not None and asked.keep.is_file():
        for line in asked.keep.read_text().splitlines():
            kept = json.loads(line)
            tally = Tally(**kept["tally"])
            tally.missed = tuple(tally.missed)
            tallies[Case(**kept["case"])] = tally
    cases = SHIFTED if asked.shifted else EXCHANGEABLE
    for _ in measure(cases, seconds=60 * asked.minutes, tallies=tallies):
        if asked.keep is not None:
            lines = (
                json.dumps({"case": asdict(c), "tally": asdict(t)}) for c, t in tallies.items()
            )
            asked.keep.write_text("".join(f"{line}\n" for line in lines))
    print(table(tallies))


if __name__ == "__main__":
    main()
