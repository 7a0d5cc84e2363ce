"""q by counting or by compensators: bias, variance and cost on targets whose q is known exactly.

Tables say how likely a class is to be named within the horizon, and a sum over their states gives
that to the last digit, after temperature and top-p. Three ways to come to it: *steadily*, the same
small chance at every step; *at once*, in the first step or never; *by branches*, where the first
step decides and the class then follows almost surely, as in a model that repeats records. Estimated
by `checker.stats.naming` from S continuations a patient and counted from the same, with the
compensators' plain mean beside it:

* bias, which must be within 0.002, and the root of the mean squared error of a patient's q;
* how many times the continuations counting takes for the same error: what is saved.

On which side of p_th = 0.5 a patient is, is asked three ways (`sides`): how often he is said to be
above it by counting 20, by estimating q from 4, and by the test of `checker.stats.naming_side` with
3 to 10; and how many that draws.

The last table is the plan's: how many patients a group a sound model needs for a mean excess within
a limit, by how far q spreads between patients.

    python -m benchmarks.naming --out naming.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker import stats
from checker.stats.naming import naming_probabilities
from checker.stats.naming_side import ThresholdTest, sums_so_far
from checker.targets import Sampler, Tokens
from checker.targets.compensator import watch_of, watched_rollouts
from checker.targets.sampling import shape_probabilities
from checker.testing.simulated import SimulatedModel, SimulatedTarget

WAYS = ("steadily", "at once", "by branches")
CHANCES = (0.01, 0.1, 0.5, 0.9, 0.99)
TOP_P = (1.0, 0.95)
SAMPLES = (2, 3, 4, 5, 8, 20)
SIDES_AT = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
COUNTED = 20
TEST = ThresholdTest(0.5, first=3, most=10)
HORIZON = 16
MOST_BIAS = 0.002
EXACT = 1e-6
TAIL = 0.04
AT_ONCE = 20_000
START = 0
"""The token that stands before every continuation, and never in one."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A table, the tokens of its class, and how likely a continuation is to hold one."""

    model: SimulatedModel
    watch: list[int]
    q: float


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one table with S samples a patient.

    `errors` are by estimator; `saved` is how many times the continuations counting
    takes for the estimate's error, where the error is not zero.
    """

    way: str
    top_p: float
    q: float
    samples: int
    patients: int
    bias: float
    standard_error: float
    errors: dict[str, float]
    saved: float | None

    @property
    def is_unbiased(self) -> bool:
        """Whether the bias is within what is promised, but for what chance allows."""
        return abs(self.bias) <= MOST_BIAS + 3 * self.standard_error


def truth(way: str, chance: float, *, sampler: Sampler) -> Truth:
    """Build a table that names its class with about a probability, and say with which exactly.

    The tokens that matter are equally likely; a tail of rarer ones has 4 % of the mass, and top-p
    cuts it off.
    """
    if way == "steadily":
        # so many equal tokens that a step names the class with the chance that the horizon needs
        a_step = 1 - (1 - chance) ** (1 / sampler.horizon_tokens)
        watch = list(range(1, 1 + max(1, round(a_step * 2000))))
        unigram = np.concatenate(
            [[0.0], np.full(2000, (1 - TAIL) / 2000), np.full(400, TAIL / 400)]
        )
        model = SimulatedModel(vocabulary_size=2401, unigram=unigram.tolist())
    elif way == "at once":
        watch = list(range(1, 1 + round(chance * 200)))
        watch += range(201, 241) if chance > 0.5 else ()
        model = _first_step(leads=[], chance=0.0)
    else:
        # nine in ten of the continuations that are led there come to it
        a_branch = max(0.9, chance)
        leads = list(range(1, 1 + round(chance / a_branch * 200)))
        leads += range(201, 241) if chance > 0.5 else ()
        watch = [241]
        model = _first_step(leads=leads, chance=a_branch)
    return Truth(model, watch, exact(model, watch, sampler=sampler))


def _first_step(*, leads: list[int], chance: float) -> SimulatedModel:
    """One of 200 equal tokens comes first, or one of 40 rare ones.

    Some of them lead to token 241 with a chance, all others to 242.
    """
    first = dict.fromkeys(range(1, 201), (1 - TAIL) / 200)
    first |= dict.fromkeys(range(201, 241), TAIL / 40)
    rest: dict[int, float] = {242: 1.0}
    transitions: dict[int, dict[int, float]] = dict.fromkeys(range(1, 243), rest)
    transitions |= {token: {241: chance, 242: 1 - chance} for token in leads}
    return SimulatedModel(vocabulary_size=243, transitions=transitions | {START: first})


def exact(model: SimulatedModel, watch: list[int], *, sampler: Sampler) -> float:
    """Return how likely a continuation of START is to hold a token of the class.

    Backwards over the steps: from a row of the table the class is named now, or from the row that
    the next token leads to.
    """
    size = model.vocabulary_size
    uniform = [1 / size] * size
    rows = np.zeros((1 + len(model.transitions), size))
    rows[0] = uniform if model.unigram is None else model.unigram
    row_of = np.zeros(size, dtype=np.int64)
    for index, (token, following) in enumerate(model.transitions.items(), start=1):
        row_of[token] = index
        rows[index, list(following)] = list(following.values())
    weights = shape_probabilities(rows, sampler=sampler)
    weights = weights / weights.sum(axis=1, keepdims=True)
    named = np.zeros(size, dtype=np.bool_)
    named[watch] = True
    chance = np.zeros(len(rows))
    for _ in range(sampler.horizon_tokens):
        chance = weights @ np.where(named, 1.0, chance[row_of])
    return float(chance[row_of[START]])


def study_of(
    way: str, chance: float, *, top_p: float, rollouts: int, samples: Sequence[int] = SAMPLES
) -> Iterator[Row]:
    """Estimate q of many patients, all of one truth, from the same rollouts in groups of S."""
    sampler = Sampler(temperature=1.0, top_p=top_p, horizon_tokens=HORIZON, seed=1)
    known = truth(way, chance, sampler=sampler)
    hits, expected = drawn_from(known, rollouts, sampler=sampler)
    for count in samples:
        yield _row(way, top_p, known.q, hits, expected, samples=count)


def drawn_from(
    known: Truth, rollouts: int, *, sampler: Sampler
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Draw continuations of START; return which named the class, and their compensators."""
    watch = watch_of([known.watch], vocabulary_size=known.model.vocabulary_size)
    target = SimulatedTarget(known.model)
    prompt: Tokens = np.array([START], dtype=np.int32)
    hits, expected = [], []
    for first in range(0, rollouts, AT_ONCE):
        (found,) = watched_rollouts(
            target,
            [prompt],
            keys=[first],
            samples=min(AT_ONCE, rollouts - first),
            sampler=sampler,
            watch=watch,
        )
        tokens = np.stack([one.tokens for one in found])
        hits.append(np.isin(tokens, known.watch).any(axis=1))
        expected.append(np.array([one.expected[0] for one in found], dtype=np.float64))
    return np.concatenate(hits), np.concatenate(expected)


def _row(
    way: str,
    top_p: float,
    q: float,
    hits: NDArray[np.bool_],
    expected: NDArray[np.float64],
    *,
    samples: int,
) -> Row:
    patients = len(hits) // samples
    hits, expected = hits[: patients * samples], expected[: patients * samples]
    group = np.repeat(np.arange(patients), samples)
    found: dict[str, NDArray[np.float64]] = {
        "counted": np.bincount(group, weights=hits) / samples,
        "compensators": np.bincount(group, weights=expected) / samples,
        "estimated": naming_probabilities(hits, expected, group),
    }
    errors = {name: float(np.sqrt(np.mean((own - q) ** 2))) for name, own in found.items()}
    estimated, error = found["estimated"], errors["estimated"]
    return Row(
        way, top_p, q, samples, patients,
        bias=float(estimated.mean() - q),
        standard_error=float(estimated.std() / np.sqrt(patients)),
        errors=errors,
        saved=(errors["counted"] / error) ** 2 if error > EXACT else None,
    )  # fmt: skip


def study(*, rollouts: int) -> Iterator[Row]:
    """Try all truths."""
    for way in WAYS:
        for top_p in TOP_P:
            for chance in CHANCES:
                yield from study_of(way, chance, top_p=top_p, rollouts=rollouts)


# --- on which side of a threshold -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """How often patients of one q are said to be above one half, and what the test draws."""

    way: str
    q: float
    counted: float
    estimated: float
    tested: float
    draws: float


def sides(*, rollouts: int, chances: Sequence[float] = SIDES_AT) -> Iterator[Side]:
    """Ask of many patients of each q on which side of the threshold they are."""
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=HORIZON, seed=2)
    for way in WAYS:
        for chance in chances:
            known = truth(way, chance, sampler=sampler)
            drawn, masses = drawn_from(known, rollouts, sampler=sampler)
            whole = slice(0, rollouts - rollouts % COUNTED)
            hits = drawn[whole].reshape(-1, COUNTED)
            expected = masses[whole].reshape(-1, COUNTED)
            found = TEST.decide(hits, expected)
            yield Side(
                way,
                known.q,
                counted=float((hits.mean(axis=1) > TEST.threshold).mean()),
                estimated=float((sums_so_far(hits, expected)[:, 3] / 4 > TEST.threshold).mean()),
                tested=float(found.above.mean()),
                draws=float(found.after.mean()),
            )


# --- patients that a mean needs -------------------------------------------------------------------


def patients_needed(
    limit: float, *, mean: float, spread: float, confidence: float = 0.95, audits: int = 40
) -> int:
    """Return about how many patients a group pass four of five sound models.

    Args:
        limit: of the mean excess.
        mean: of q in both groups.
        spread: standard deviation of q between patients.
        confidence: of the bound.
        audits: simulated at each size.
    """
    weight = mean * (1 - mean) / spread**2 - 1
    rng = np.random.default_rng([round(1e6 * limit), round(1e6 * spread)])

    def enough(n: int) -> bool:
        passes = 0
        for _ in range(audits):
            q = rng.beta(mean * weight, (1 - mean) * weight, (2, n))
            high = stats.bounded_mean_difference(*q, confidence=confidence).high
            passes += high <= limit
        return passes >= 0.8 * audits

    low, high = 16, 32
    while not enough(high):
        low, high = high, 2 * high
    while high - low > max(2, low // 40):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def line(row: Row) -> str:
    """Return a row of the printed table."""
    saved = "exact" if row.saved is None else f"{row.saved:8.1f}"
    errors = "  ".join(
        f"{row.errors[name]:.4f}" for name in ("counted", "compensators", "estimated")
    )
    return (
        f"{row.way:<12} top-p {row.top_p:<5} q {row.q:.4f}  S {row.samples:>2}  bias"
        f" {row.bias:+.5f}  rmse {errors}  saved {saved:>8}"
    )


def main() -> int:
    """Run the study and print it; 1 where an estimate is biased."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=400_000, help="of each table")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    begun = time.process_time()
    rows = []
    print("rmse: counted, compensators' mean, estimated")
    for row in study(rollouts=arguments.rollouts):
        rows.append(row)
        print(line(row), flush=True)
    print("said to be above 0.5: counted of 20, estimated from 4, tested; and how many that draws")
    asked = list(sides(rollouts=arguments.rollouts))
    for side in asked:
        print(
            f"{side.way:<12} q {side.q:.3f}  {side.counted:.4f}  {side.estimated:.4f}"
            f"  {side.tested:.4f}  {side.draws:.2f}"
        )
    needed: list[dict[str, Any]] = []
    for limit in (0.05, 0.02):
        for mean, spread in ((0.02, 0.01), (0.02, 0.04), (0.1, 0.05), (0.1, 0.1)):
            n = patients_needed(limit, mean=mean, spread=spread)
            needed.append({"limit": limit, "mean": mean, "spread": spread, "patients": n})
            print(f"limit {limit}: mean {mean}, spread {spread}: {n} patients a group", flush=True)
    biased = [row for row in rows if not row.is_unbiased]
    print(f"{len(rows)} points, {len(biased)} biased; {time.process_time() - begun:.0f} s")
    if arguments.out:
        found = {
            "rows": [asdict(row) for row in rows],
            "sides": [asdict(side) for side in asked],
            "needed": needed,
        }
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if biased else 0


if __name__ == "__main__":
    raise SystemExit(main())
