"""The checker's own error rates, on targets whose true leakage is known (METHODS §7).

*Enumerated.* Rates, differences and paired differences have finitely many outcomes, so the chance
that a target at the limit passes, or fails, is added up exactly over a grid: at most 5.1 %.

*Simulated.* For every family of metric, five truths from no leak to well outside the limit, two
sample sizes, and two background rates or shapes of scores, 2,000 audits each. An audit is what the
judge does with a cell: the probe's `measure`, then the judge's own comparison with the limit. The
whole of `judge`, from evidence tables, takes ten times as long, so it is given the first few audits
of each point: its verdict must be the same, but where its placebo objects, which only ever makes a
verdict inconclusive. The exact (Clopper-Pearson) 95 % upper bound of every error rate must be at
most 7 %, and at no leak the share that passes within 4 points of what `plan` announces. For means
and for differences in differences it says "at least", and more may pass: it has to assume what
varies most, shares of 0 or 1 and models that agree by chance alone. Where that is so ("as
planned"), the 4 points hold for these too.

*Drawing less.* The same with sequential stopping, and how many patients it spares; what curtailed
sampling spares. *Shared prompts.* Bounds clustered by prompt against bounds that count patients.

    nice python -m benchmarks.calibration --out calibration

writes calibration.txt, calibration.json and calibration.svg; 2,000 audits a point take about half
an hour on one core. Exits with 1 where a demand is not met.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration_exact import curtailed, enumerated
from benchmarks.calibration_tables import (
    VERDICTS,
    Point,
    Study,
    as_json,
    draw_figure,
    line,
    text,
)
from benchmarks.known_evidence import cell_of, evidence, measured, plan_of, policy
from benchmarks.known_truths import SAMPLES, TRUTHS, Design, designs, disclosed
from benchmarks.remembered_draws import remembered
from checker import stats
from checker.errors import InsufficientData
from checker.planning.builder import PROMPTS_A_BATCH
from checker.planning.cells import metric_of
from checker.planning.power import cell_power
from checker.stats.intervals import difference_limits
from checker.stats.sequential import SEQUENTIAL_SHARE, confidence_sequence
from checker.verdict import judge, settled_cells
from checker.verdict.limits import compare_with_limit

Array = NDArray[np.float64]

CONFIDENCE: Final = 0.95
AS_OF: Final = datetime(2026, 11, 1, tzinfo=UTC)
_RANDOM: Final = 3
DRAWN_IN_BATCHES: Final = "attribute-disclosure"
"""The attack whose patients are drawn batch by batch; what is read off scores is not."""


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
        tables = evidence(design, observations)
        plan = plan_of(design, tables, seed=seed)
        finding = judge(_POLICY, plan=plan, evidence=tables, as_of=AS_OF).findings[0]
        if finding.reason in _OBJECTIONS:
            objected[str(finding.reason)] += 1
        elif finding.verdict != verdict:
            contradicted += 1
    return Point(
        design.family, design.size, design.setting, truth_name, truth, design.limit,
        {verdict: counts[verdict] for verdict in VERDICTS},
        _announced(design) if truth_name == "no leak" else None, design.at_least,
        judged=min(judged, audits), objected=dict(objected), contradicted=contradicted,
    )  # fmt: skip


_POLICY: Final = policy()
_OBJECTIONS: Final = {"placebo-failed"}


def _decider(design: Design, *, confidence: float = CONFIDENCE) -> Callable[[Any], str]:
    """Return what turns observations into the verdict of one cell."""
    cell = cell_of(design, [])

    def decide(observations: Any) -> str:
        try:
            found = measured(design, observations, confidence=confidence)
        except InsufficientData:
            return "inconclusive"
        return compare_with_limit(cell, found, confidence=confidence).verdict

    return decide


def _announced(design: Design, *, confidence: float = CONFIDENCE) -> float | None:
    """Return the probability of a pass that the plan announces for the cell, if it does."""
    if not design.announces:
        return None
    cell = cell_of(design, [])
    power = cell_power(
        metric_of(cell),
        cell.limit,
        design.sample,
        confidence=confidence,
        base_rate=design.base_rate,
    )
    return power.pass_probability


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
        _, low, high = difference_limits(hits[0], seen[0], hits[1], seen[1], confidence=confidence)
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
    tables = evidence(design, numbered, batch=PROMPTS_A_BATCH)
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


# --- the study ------------------------------------------------------------------------------------


def study(
    *,
    audits: int,
    judged: int,
    families: Sequence[str] = (),
    setting: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Study:
    """Run everything, or some families, or settings that hold a word, printing as it goes."""
    seconds: dict[str, float] = {}
    points, sequential = [], []
    chosen = [
        design
        for design in designs()
        if (not families or design.family in families) and setting in design.setting
    ]
    for design in chosen:
        begun = time.process_time()
        row = [audit_point(design, name, audits=audits, judged=judged) for name in TRUTHS]
        points += row
        spent = time.process_time() - begun
        seconds[design.family] = seconds.get(design.family, 0.0) + spent
        say(line(row))
    begun = time.process_time()
    for design in chosen:
        if design.family in {"rate", "rate-difference"} and design.probe == DRAWN_IN_BATCHES:
            row = [sequential_point(design, name, audits=audits, judged=judged) for name in TRUTHS]
            sequential += row
            say("sequential " + line(row))
    seconds["sequential"] = time.process_time() - begun
    begun = time.process_time()
    found = Study(points, sequential, [], [], [], short_cuts(chosen), seconds)
    if not setting:  # what hangs on no design
        found = replace(
            found, enumerated=enumerated(), shared=shared_prompts(audits=audits),
            curtailed=curtailed(),
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
        rng = np.random.default_rng([_RANDOM, zlib.crc32(design.key.encode())])
        for _ in range(audits):
            observations = draw(rng, rng)
            own = _own_bounds(design, observations)
            with remembered():
                gap = float(np.abs(own - _own_bounds(design, observations)).max())
            farthest[design.family] = max(farthest.get(design.family, 0.0), gap)
    return farthest


def _own_bounds(design: Design, observations: Any) -> Array:
    found = measured(design, observations, confidence=CONFIDENCE)
    return np.array([found.estimate.low, found.estimate.high])


def main() -> None:
    """Run the study and write what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--audits", type=int, default=2000, help="of each point")
    parser.add_argument("--judged", type=int, default=4, help="of these by the whole judge")
    parser.add_argument("--families", nargs="*", default=[], help="only these")
    parser.add_argument("--setting", default="", help="only settings that hold this")
    parser.add_argument("--out", type=Path, help="path of the files, without their endings")
    arguments = parser.parse_args()
    found = study(
        audits=arguments.audits,
        judged=arguments.judged,
        families=arguments.families,
        setting=arguments.setting,
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
