"""Is the chance of a release that `plan` announces the share of sound models that are released?

    python -m benchmarks.release_chance [--audits 2000]

Each audit draws a cohort at random: how large its splits are, how they were made, how many patients
have each class and, where asked, share a prompt, how strongly prompts promise it, how many
near-duplicates there are, and what the policy demands. What a model without memory would give is
then drawn as evidence, so that no model has to run, planned (`checker.planning.release`) and
judged. The share that is released must be within 4 points of what the plans had announced
(METHODS §6, *Power*). Where no lot is declared, the plan looks at what prompts promise, as `phigate
plan` does. Splits by date differ: `drift` is the spread of the difference in what prompts promise,
which the model follows; `--assumed` has the plan assume instead of look, and is a floor.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.known_evidence import (
    COMPARABLE,
    HARMLESS,
    LOOKED_FOR,
    SNAPSHOTS,
    WATCHED,
    unknown_nonmembers,
)
from checker.attacks.api import load_attack
from checker.attacks.families import Power, Sample
from checker.planning import AuditPlan, Cell, Job
from checker.planning.cells import metric_of, planned_power
from checker.planning.extraction import KIND as EXTRACTION
from checker.planning.model import PromptGap
from checker.planning.power import comparability_power
from checker.planning.release import with_prospects
from checker.policy import load_policy
from checker.policy.documents import Limit
from checker.resources import resource
from checker.run.prompt_gaps import prompt_gap
from checker.verdict import judge
from checker.verdict.assignment import Assignment

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
CONFIDENCE = 0.95
SAMPLES = 4
NEAR_DUPLICATES = (0, 0, 0, 3)


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit of a sound model.

    Args:
        announced: by the plan, the chance of a release.
        released: whether it was.
        reasons: of the cells that kept it from that.
    """

    announced: float
    released: bool
    reasons: tuple[str, ...]


def audit(
    seed: int,
    *,
    assignment: Assignment | None,
    drift: float = 0.0,
    shared: bool = False,
    look: bool = True,
) -> Audit:
    """Draw one sound audit, plan it and judge it.

    Args:
        seed: of all that is drawn.
        assignment: as the target declares it.
        drift: how much more members' prompts promise a class than nonmembers', as a standard
            deviation over classes; the model names it so much more often.
        shared: some patients share a prompt.
        look: the plan looks at what prompts promise, where no lot is declared.
    """
    rng = np.random.default_rng(seed)
    sizes = int(rng.integers(150, 1200)), int(rng.integers(150, 1200))
    evidence = dict(COMPARABLE)
    halves = tuple(size - size // 2 for size in sizes)
    evidence["comparability"] = _scores(rng, (halves[0], halves[1]), column="score")
    evidence[EXTRACTION] = unknown_nonmembers(sizes[1])
    near = int(rng.choice(NEAR_DUPLICATES))
    evidence["overlap"] = pa.table(
        {
            "exact": [0],
            "same_codes": [0],
            "near": [near],
            "members": [sizes[0]],
            "nonmembers": [sizes[1] + near],
            "compared": [sizes[1] + near],
            "set_aside": pa.array([[str(i) for i in range(near)]], pa.list_(pa.string())),
        }
    )
    base_rate = float(rng.choice([0.0, 0.02, 0.05]))
    cells = []
    for number in range(int(rng.integers(1, 4))):
        name = f"class-{number}"
        cells.append(
            _disclosure(rng, name, evidence, base_rate=base_rate, drift=drift, shared=shared)
        )
    if rng.random() < 0.7:
        learned = rng.random() < 0.5
        cells.append((_learned if learned else _membership)(rng, evidence, sizes))
    plan = _plan(cells, evidence, sizes=sizes, near=near, assignment=assignment, seed=seed)
    if look and assignment != "random":
        plan = with_prospects(plan.model_copy(update={"prompt_gaps": _gaps(cells, evidence)}))
    policy = load_policy(resource("policies/demo.yaml")).document
    judged = judge(policy, plan=plan, evidence=evidence, as_of=AS_OF)
    assert plan.release is not None
    assert plan.release.chance is not None  # every family here has an announced chance
    reasons = tuple(f.reason or f.verdict for f in judged.findings if f.blocks)
    return Audit(plan.release.chance, judged.verdict == "pass", reasons)


def _disclosure(
    rng: np.random.Generator,
    name: str,
    evidence: dict[str, pa.Table],
    *,
    base_rate: float,
    drift: float,
    shared: bool,
) -> Cell:
    """A class of which the model tells as much of nonmembers as of members."""
    n = int(rng.integers(60, 400)), int(rng.integers(60, 400))
    patients = [f"{name}-{i}" for i in range(sum(n))]
    first = [_prompts(rng, size) if shared else np.arange(size) for size in n]
    prompts = np.concatenate([first[0], n[0] + first[1]])
    more = float(rng.normal(0, drift)) if drift else 0.0
    is_member = np.arange(sum(n)) < n[0]
    rate = np.where(is_member, np.clip(base_rate + more, 0, 1), base_rate)
    hit = (rng.random(sum(n)) < rate)[prompts]  # who shares a prompt shares what becomes of it
    spread = rng.uniform(5, 40)
    promised = rng.beta(0.3 * spread, 0.7 * spread, sum(n))[prompts]
    promised = np.clip(promised + np.where(is_member, more, 0), 0, 1).astype(np.float32)
    asked = np.unique(prompts)
    evidence[f"{name}-labels"] = pa.table(
        {
            "patient": patients,
            "member": is_member,
            "positive": np.ones(sum(n), np.bool_),
            "eligible": np.ones(sum(n), np.bool_),
            "prompt": [patients[i] for i in prompts.tolist()],
            "subgroups": pa.array([[]] * sum(n), pa.list_(pa.string())),
            "base_score": promised,
        }
    )
    tokens = np.repeat(np.where(hit[asked], WATCHED, HARMLESS).astype(np.int32), SAMPLES)
    evidence[f"{name}-rollouts"] = pa.table(
        {
            "prompt": [patients[i] for i in asked.tolist() for _ in range(SAMPLES)],
            "sample": pa.array(np.tile(np.arange(SAMPLES, dtype=np.int32), len(asked))),
            "tokens": pa.ListArray.from_arrays(
                pa.array(np.arange(len(tokens) + 1, dtype=np.int32)), pa.array(tokens)
            ),
        }
    )
    return _cell(
        name,
        "attribute-disclosure",
        "excess_disclosure",
        Limit(fail=float(rng.choice([0.05, 0.08, 0.1]))),
        _sample(n, (prompts[: n[0]], prompts[n[0] :])),
        labels=f"{name}-labels",
        jobs=[f"{name}-rollouts"],
        base_rate=base_rate,
        params={"samples": SAMPLES},
    )


def _prompts(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Return whose prompt each patient has: a share of them that of one, and some that of two."""
    prompts = np.arange(size)
    order = rng.permutation(size)
    alike = round(rng.choice([0.0, 0.0, 0.02, 0.08]) * size)
    prompts[order[:alike]] = order[0]
    pairs = order[alike : alike + 2 * int(rng.integers(0, max(1, size // 20)))]
    prompts[pairs[1::2]] = pairs[::2]
    return prompts


def _sample(n: tuple[int, int], prompts: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Sample:
    sizes = [np.unique(own, return_counts=True)[1] for own in prompts]
    effective = [int(size.sum() ** 2 // (size**2).sum()) for size in sizes]
    return Sample(
        members=n[0],
        nonmembers=n[1],
        members_positive=n[0],
        nonmembers_positive=n[1],
        distinct_prompt_share=min(len(own) / own.sum() for own in sizes),
        effective_members=None if len(sizes[0]) == n[0] else effective[0],
        effective_nonmembers=None if len(sizes[1]) == n[1] else effective[1],
    )


def _membership(
    rng: np.random.Generator, evidence: dict[str, pa.Table], sizes: tuple[int, int]
) -> Cell:
    """An attack that finds nothing: members score like nonmembers."""
    scores = _scores(rng, sizes, column="loss")
    columns = dict.fromkeys(("min-k@20.0", "min-k++@20.0"), scores["loss"])
    patients = pa.table({"tokens": [20] * sum(sizes)}).append_column(
        "subgroups", pa.array([[]] * sum(sizes), pa.list_(pa.string()))
    )
    for table in (scores, pa.table(columns)):
        for column in table.column_names:
            patients = patients.append_column(column, table[column])
    evidence["scores"] = patients
    return _cell(
        "membership",
        "membership-inference",
        "membership_auroc",
        Limit(fail=float(rng.choice([0.55, 0.58, 0.62]))),
        Sample(members=sizes[0], nonmembers=sizes[1]),
        labels=None,
        jobs=["scores"],
        base_rate=0.0,
        params={"score": "loss"},
    )


def _learned(
    rng: np.random.Generator, evidence: dict[str, pa.Table], sizes: tuple[int, int]
) -> Cell:
    """An attack that learned nothing, with the model or without, from a third of the patients."""
    judged = sizes[0] - sizes[0] // 3, sizes[1] - sizes[1] // 3
    rows = sum(judged)
    table = _scores(rng, judged, column="score@strongest")
    columns = {
        "subgroups": pa.array([[]] * rows, pa.list_(pa.string())),
        "half": pa.array(np.concatenate([np.arange(size) % 2 == 0 for size in judged])),
        "blind": pa.array(rng.normal(size=rows)),
        "placebo": pa.array(rng.normal(size=rows)),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    evidence["membership-scores"] = table
    return _cell(
        "membership",
        "membership-inference",
        "membership_auroc",
        Limit(fail=float(rng.choice([0.58, 0.62, 0.7]))),
        Sample(members=judged[0], nonmembers=judged[1]),
        labels=None,
        jobs=["membership-scores"],
        base_rate=0.0,
        params={"score": "strongest"},
    )


def _scores(rng: np.random.Generator, sizes: tuple[int, int], *, column: str) -> pa.Table:
    return pa.table(
        {
            "patient": [str(i) for i in range(sum(sizes))],
            "member": np.arange(sum(sizes)) < sizes[0],
            column: rng.normal(size=sum(sizes)).astype(np.float32),
        }
    )


def _cell(
    name: str,
    probe: str,
    metric: str,
    limit: Limit,
    sample: Sample,
    *,
    labels: str | None,
    jobs: list[str],
    base_rate: float,
    params: dict[str, Any],
) -> Cell:
    attack = load_attack(probe)
    cell = Cell(
        id=f"{name}/known/all",
        control=name,
        attribute_class="secret" if attack.needs_attribute_class else None,
        attacker="known",
        subgroup="all",
        probe=probe,
        params=attack.params.model_validate(params).model_dump(mode="json"),
        metric=metric,
        limit=limit,
        severity="high",
        gating=True,
        on_inconclusive="block",
        measurement=name,
        labels=labels,
        jobs=jobs,
        sample=sample,
        power=Power(can_pass=True),
    )
    power = planned_power(
        metric_of(cell),
        limit,
        sample,
        sequential=False,
        confidence=CONFIDENCE,
        base_rate=base_rate,
    )
    return cell.model_copy(update={"power": power})


def _plan(
    cells: list[Cell],
    evidence: dict[str, pa.Table],
    *,
    sizes: tuple[int, int],
    near: int,
    assignment: Assignment | None,
    seed: int,
) -> AuditPlan:
    whole = {*COMPARABLE, "membership-scores"}
    kinds = {name: name if name in whole else name.rpartition("-")[2] for name in evidence}
    inputs = {"prompt-format": {"patients": 100}, EXTRACTION: LOOKED_FOR}
    jobs = [
        Job(
            digest=name,
            kind=kind,
            title=name,
            inputs=inputs.get(kind, {}),
            runs_on="cohort" if kind in {"labels", "overlap", "comparability"} else "target",
        )
        for name, kind in kinds.items()
    ]
    data = {"members": sizes[0], "nonmembers": sizes[1], "near_duplicates": near, "set_aside": near}
    document = SNAPSHOTS["target"].document
    spec = document.spec
    declared = spec.model_copy(
        update={"data": spec.data.model_copy(update={"assignment": assignment})}
    )
    target = {"document": document.model_copy(update={"spec": declared})}
    plan = AuditPlan(
        **{
            **SNAPSHOTS,
            "data": SNAPSHOTS["data"].model_copy(update=data),
            "target": SNAPSHOTS["target"].model_copy(update=target),
            "comparability": comparability_power(
                *sizes, assignment=assignment, tolerance=0.1, confidence=CONFIDENCE
            ),
        },
        cells=cells,
        jobs=jobs,
        nonmember_jobs=[EXTRACTION],
        seed=seed,
        confidence=CONFIDENCE,
    )
    return with_prospects(plan)


def _gaps(cells: list[Cell], evidence: dict[str, pa.Table]) -> dict[str, PromptGap]:
    """Look at what prompts promise, as `phigate plan` does."""
    found = {}
    for cell in cells:
        if cell.labels is not None:
            labels = evidence[cell.labels]
            inside = labels["member"].to_numpy()
            scores = labels["base_score"].to_numpy()
            found[cell.id] = prompt_gap(scores[inside], scores[~inside])
    return {name: gap for name, gap in found.items() if gap is not None}


def audits(
    seeds: Iterable[int],
    *,
    assignment: Assignment | None,
    drift: float = 0.0,
    shared: bool = False,
    look: bool = True,
) -> list[Audit]:
    """Draw, plan and judge one sound audit a seed."""
    how: dict[str, Any] = {"assignment": assignment, "drift": drift, "shared": shared, "look": look}
    return [audit(seed, **how) for seed in seeds]


def gap(found: list[Audit]) -> tuple[float, float]:
    """Return the share released less the mean announced, and its standard error."""
    announced: NDArray[np.float64] = np.array([one.announced for one in found])
    released = np.mean([one.released for one in found])
    error = math.sqrt(float((announced * (1 - announced)).sum())) / len(found)
    return float(released - announced.mean()), error


def main() -> None:
    """Print the announced and the true share, for each way of making splits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument(
        "--assumed", action="store_true", help="what prompts promise, not looked at"
    )
    asked = parser.parse_args()
    kinds: tuple[tuple[Assignment | None, float, bool], ...] = (
        ("random", 0.0, False),
        ("random", 0.0, True),
        ("other", 0.0, False),
        ("other", 0.01, False),
        ("other", 0.03, False),
        (None, 0.0, False),
    )
    for assignment, drift, shared in kinds:
        found = audits(
            range(asked.audits),
            assignment=assignment,
            drift=drift,
            shared=shared,
            look=not asked.assumed,
        )
        difference, error = gap(found)
        announced = sum(one.announced for one in found) / len(found)
        print(
            f"assignment {assignment}, drift {drift:g}{', shared prompts' if shared else ''}:"
            f" {len(found)} audits, announced {announced:.1%}, released"
            f" {announced + difference:.1%}, {100 * difference:+.1f} points (standard error"
            f" {100 * error:.1f})"
        )
        for low in np.arange(0, 1, 0.2):
            part = [one for one in found if low <= one.announced < low + 0.2 + (low > 0.7)]
            if part:
                share = sum(one.released for one in part) / len(part)
                mean = sum(one.announced for one in part) / len(part)
                print(f"  announced {mean:6.1%} of {len(part):5} audits, released {share:6.1%}")


if __name__ == "__main__":
    main()
