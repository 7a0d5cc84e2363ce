"""Are verdicts on a draw of the patients true of all of them? Whole audits, drawn by need.

One cohort of made-up patients; a table-driven model that recites the continuation of so many
members, by lot from those who have each combination of two classes, that the excess over
*everybody* is nothing, the limit, or twice the limit. Each audit draws other patients (the policy's
seed; `sampling.patients: auto`), and goes the whole way: files, plan, draw, preflight, jobs, judge.
Judged are a class and a pool of two classes by the share told on; with splits declared as a lot,
and as `other`, where what prompts promise is subtracted.

Of audits at the limit as many may pass as the confidence says, and as many may fail: the exact
95 % upper bound of either share must be at most 7 %. At nothing, what passes stands beside what the
plans announced, cell by cell.

    python -m benchmarks.drawn_patients --audits 200 --keep drawn.jsonl [--minutes 5]

With `--keep` it goes on where it stopped; `--minutes` bounds one turn. `--lots 2000` draws so many
lots by the plan's own function and asks no model, for what it would tell is known.

`--sizes 3000 5000 10000` audits cohorts of so many patients in turn, with an attack on membership
beside (by the loss), and counts releases: where nothing is told as many as the plans announced, and
at twice the limit none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import meds
import numpy as np
import yaml

from benchmarks import THREE_CLASSES
from benchmarks.splits_by_lot import declared
from checker import stats
from checker.attacks.api import columns_of
from checker.demo.cohort import write_cohort
from checker.evidence import EvidenceStore, tables_by_job
from checker.planning.drawn import lot_order
from checker.planning.needs import FEWEST
from checker.planning.workload import Workload
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.duplicates import record_digests
from checker.records.tokenization import KIND_STATIC, Tokenizer, load_vocabulary
from checker.run.cohort_jobs import promised_by_prompts
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.testing import offer_simulated_backend
from checker.testing.simulated import MemorizedRecord
from checker.testing.toy_targets import write_models
from checker.verdict import judge
from checker.verdict.assignment import Assignment
from checker.verdict.comparability import base_rate_gap

Truth = Literal["nothing", "limit", "twice"]
TIMES: dict[Truth, float] = {"nothing": 0.0, "limit": 1.0, "twice": 2.0}
ASSIGNMENTS: tuple[Assignment, ...] = ("random", "other")
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
POOLED = ("hiv", "substance-use")
RELEASE = "release"
"""Stands for the whole policy among the cells."""

AUROC = 0.53
"""Limit of the attack on membership where releases are counted, so near that chance decides."""

KNOWN = 12
"""Tokens after which the model recites a record to its end, of nobody else by then."""

_WORLDS: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True, slots=True)
class Setup:
    """Who is drawn from.

    Args:
        patients: of either split.
        positives: of each class in either split.
        limit: of every cell; 300 positives of each split pass it well where nothing is told.
        attacked: membership is asked too.
        seed: of the patients.
    """

    patients: int = 3600
    positives: int = 600
    limit: float = 0.1
    attacked: bool = False
    seed: int = 0

    @classmethod
    def of(cls, everybody: int) -> Setup:
        """Return a cohort of so many patients, a sixth of whom have each class, with attacks."""
        return cls(patients=everybody // 2, positives=everybody // 12, attacked=True)

    def numbered(self, seed: int) -> Setup:
        """Return patients of their own where membership is asked, for it hangs on who they are."""
        return replace(self, seed=seed) if self.attacked else self


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cell of one audit.

    Args:
        truth: what the model tells of everybody.
        assignment: as it was declared.
        cell: of which it is, or `RELEASE`.
        verdict: "fail" also where it is named only before Holm's correction.
        announced: by the plan, the chance of a pass by its bounds where nothing is told; of a
            release that no check stops it either.
        asked: eligible members of the cell; of a release, all who were looked at.
        patients: in either split.
        reasons: of a release that is none.
    """

    truth: Truth
    assignment: Assignment
    cell: str
    verdict: str
    announced: float
    asked: int
    patients: int = 3600
    reasons: tuple[str, ...] = ()


@cache
def world(setup: Setup, truth: Truth) -> Path:
    """Write patients and a model of that truth; returns the folder, which goes with the process."""
    offer_simulated_backend()
    kept = tempfile.TemporaryDirectory()  # deleted when the process ends
    _WORLDS.append(kept)
    folder = Path(kept.name)
    shutil.copytree(_patients(setup), folder / "cohort")
    write_models(folder, seed=0)
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    target["spec"]["data"] = {"path": "cohort", "assignment": "other"}
    (folder / "other.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    model = json.loads((folder / "sound.json").read_text())
    if setup.attacked:  # how often tokens occur among everybody: of members alone it is memory
        model["unigram"] = _of_everybody(folder)
    policy = _policy(folder, seed=0, setup=setup, patients="all")
    recited = _recited(policy, folder / "other.yaml", share=setup.limit * TIMES[truth])
    model["memorized"] = [one.model_dump(mode="json", by_alias=True) for one in recited]
    (folder / "sound.json").write_text(json.dumps(model))
    return folder


@cache
def _patients(setup: Setup) -> Path:
    """Write patients, whatever is told of them; returns the folder."""
    kept = tempfile.TemporaryDirectory()
    _WORLDS.append(kept)
    folder = Path(kept.name) / "cohort"
    write_cohort(
        folder,
        seed=setup.seed,
        members=setup.patients,
        nonmembers=setup.patients,
        tuning=0,
        positives=setup.positives,
    )
    return folder


def _of_everybody(folder: Path) -> list[float]:
    """Return how often each token occurs among members and nonmembers."""
    target = yaml.safe_load((folder / "other.yaml").read_text())["spec"]
    cohort = load_cohort(
        DataSpec(path="cohort", members=meds.train_split, nonmembers=meds.held_out_split),
        base=folder,
    )
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(target["tokenization"]),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    records = [tokenizer.encode(own, cohort.codes) for own in (cohort.members, cohort.nonmembers)]
    tokens = np.concatenate([own.tokens for own in records])
    counts = np.bincount(tokens, minlength=len(tokenizer.vocabulary.ids)) + 0.01
    counts[tokens[0]] = 0.01  # BOS starts records and never follows
    shares: list[float] = (counts / counts.sum()).tolist()
    return shares


def _recited(policy: Path, target: Path, *, share: float) -> Iterator[MemorizedRecord]:
    """Yield what the model recites."""
    work = prepare(policy, target).audit.workload
    race = work.tokenizer.field_names.index("race")
    for i in _whom(work, share=share):
        record = work.asked[True].record(i)
        asked = ~((record.kind == KIND_STATIC) & (record.field == race))
        for tokens in (record.tokens, record.tokens[asked]):  # with and without race
            yield MemorizedRecord.model_validate(
                {"tokens": tokens.tolist(), "from": KNOWN, "weight": 1.0}
            )


def _whom(work: Workload, *, share: float) -> list[int]:
    """Return whom the model recites: that share of each combination of classes, by lot."""
    (pool,) = (one for one in work.labels.values() if one.recipe.parts)
    assert pool.members.holds is not None
    rng, chosen = np.random.default_rng(11), []
    for held in np.unique(pool.members.holds[pool.members.eligible]).tolist():
        these = np.flatnonzero(pool.members.eligible & (pool.members.holds == held))
        # never less than the share: a truth below the limit would make false passes look rarer
        chosen += rng.permutation(these)[: math.ceil(share * len(these))].tolist()
    return chosen


def _policy(folder: Path, *, seed: int, setup: Setup, patients: str) -> Path:
    """Write the policy of three classes with the two cells."""
    policy = yaml.safe_load(THREE_CLASSES.read_text())
    spec = policy["spec"]
    spec["parameters"] |= {"seed": seed, "sampling": {"patients": patients}}
    spec["attributeClasses"]["any"] = {"title": "Any of the two", "anyOf": list(POOLED)}
    known = spec["controls"]
    told: dict[str, Any] = {
        **known["hiv-disclosure"],
        # so short that whoever is not recited is hardly ever told on by chance
        "params": {"samples": 10, "horizonTokens": 16, "threshold": 0.5},
        "limits": {"events-10": {"fail": setup.limit}},
    }
    spec["controls"] = {
        "class": told,
        "pool": told | {"attributeClass": "any"},
    }
    if setup.attacked:
        attacked = known["membership"] | {"limits": {"record": {"fail": AUROC}}}
        spec["controls"]["loss"] = attacked | {"params": {"score": "loss"}}
    path = folder / f"policy-{patients}-{seed}.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    return path


def audit(seed: int, *, truth: Truth, setup: Setup) -> list[Outcome]:
    """Audit a draw of the patients, and judge it under each declaration."""
    folder = world(setup, truth)
    policy = _policy(folder, seed=seed, setup=setup, patients="auto")
    # whom a plan asks hangs on the declaration: `other` asks as many or more
    prepared = prepare(policy, folder / "other.yaml")
    policy.unlink()
    with tempfile.TemporaryDirectory() as run:
        manifest = run_audit(
            prepared.audit,
            run=Path(run) / "run",
            open_target=prepared.open_target,
            command="benchmark",
        )
        evidence = tables_by_job(EvidenceStore(Path(run) / "run", columns_of), manifest)
    found = []
    for assignment in ASSIGNMENTS:
        plan = declared(prepared.audit, assignment)
        judged = judge(prepared.policy.document, plan=plan, evidence=evidence, as_of=AS_OF)
        found += [
            Outcome(
                truth,
                assignment,
                one.cell.control,
                "fail" if one.is_beyond_limit else one.verdict,
                one.cell.power.pass_probability or 0.0,
                one.cell.sample.members,
                setup.patients,
            )
            for one in judged.findings
        ]
        if setup.attacked:
            assert plan.release is not None
            stopped = tuple(f"{f.cell.control}: {f.reason}" for f in judged.findings if f.blocks)
            chance, asked = plan.release.chance or 0.0, sum(plan.data.asked)
            found.append(
                Outcome(
                    truth, assignment, RELEASE, judged.verdict, chance, asked, setup.patients,
                    stopped,
                )
            )  # fmt: skip
    return found


def lots(seeds: Iterable[int], *, truth: Truth, setup: Setup) -> list[tuple[int, Outcome]]:
    """Draw without asking: the lot of the plan, the bounds of the judge, and what is told is known.

    What prompts promise is learned once, from everybody.
    """
    folder = world(setup, truth)
    prepared = prepare(_policy(folder, seed=0, setup=setup, patients="all"), folder / "other.yaml")
    plan, work = prepared.plan, prepared.audit.workload
    told = np.zeros(setup.patients, np.bool_)
    told[_whom(work, share=setup.limit * TIMES[truth])] = True
    digests = [record_digests(own) for own in (work.cohort.members, work.cohort.nonmembers)]
    promised = {
        cell.control: promised_by_prompts(work.labels[str(cell.labels)], plan=plan, workload=work)
        for cell in plan.cells
    }
    found = []
    for seed in seeds:
        order = [lot_order(own, seed=seed, model=plan.target.model_sha256) for own in digests]
        for cell in plan.cells:
            labels, scores = work.labels[str(cell.labels)], promised[cell.control]
            assert scores is not None
            inside, outside = (
                lot[own.eligible[lot]][:FEWEST]
                for lot, own in zip(order, (labels.members, labels.nonmembers), strict=True)
            )
            n, confidence = (len(inside), len(outside)), plan.confidence
            excess = stats.rate_difference(
                float(told[inside].sum()), n[0], 0.0, n[1], confidence=confidence
            )
            split = len(labels.members.keys)
            gap = base_rate_gap(scores[inside], scores[split:][outside], confidence=confidence)
            chance = cell.power.pass_probability or 0.0
            for assignment, one in zip(
                ASSIGNMENTS, (excess, stats.difference(excess, gap)), strict=True
            ):
                verdict = "fail" if one.low > setup.limit else "inconclusive"
                verdict = "pass" if one.high <= setup.limit else verdict
                named = Outcome(truth, assignment, cell.control, verdict, chance, len(inside))
                found.append((seed, named))
    return found


def measure(
    seeds: Iterable[int],
    *,
    truths: Iterable[Truth] = tuple(TIMES),
    setups: Sequence[Setup] = (Setup(),),
    kept: list[tuple[int, Outcome]] | None = None,
    keep: Path | None = None,
    seconds: float = math.inf,
) -> list[tuple[int, Outcome]]:
    """Audit each truth once a seed.

    Args:
        seeds: of the draws.
        truths: to be audited.
        setups: of who is drawn from, in turn.
        kept: of an earlier turn; added to.
        keep: gets a line for each cell.
        seconds: after which no further audit begins.
    """
    end = time.monotonic() + seconds
    found = [] if kept is None else kept
    done = {(seed, one.truth) for seed, one in found}
    for seed, truth in itertools.product(seeds, truths):
        if (seed, truth) in done:
            continue
        if time.monotonic() >= end:
            break
        new = audit(seed, truth=truth, setup=setups[seed % len(setups)].numbered(seed))
        found += [(seed, one) for one in new]
        if keep is not None:
            with keep.open("a") as file:
                file.writelines(json.dumps({"seed": seed, **asdict(one)}) + "\n" for one in new)
    return found


def upper(outcomes: list[Outcome], verdict: str) -> float:
    """Return the exact 95 % upper bound of the share with a verdict."""
    hits = sum(one.verdict == verdict for one in outcomes)
    return stats.rate(hits, len(outcomes), confidence=0.95).high


def table(found: list[tuple[int, Outcome]]) -> str:
    """Return what passed and failed of each truth, with the bounds of what must not be."""
    lines = [f"{'truth':9}{'splits':8}{'cell':7}{'audits':>7}{'asked':>7}   passed     failed"]
    for truth in get_args(Truth):
        for assignment in ASSIGNMENTS:
            for cell in dict.fromkeys(one.cell for _, one in found):
                own = [
                    one
                    for _, one in found
                    if (one.truth, one.assignment, one.cell) == (truth, assignment, cell)
                ]
                if not own:
                    continue
                shares = [sum(one.verdict == v for one in own) / len(own) for v in ("pass", "fail")]
                told = f"   {shares[0]:>6.1%}     {shares[1]:>6.1%}"
                if truth == "nothing":
                    announced = sum(one.announced for one in own) / len(own)
                    told += f"   announced {announced:.1%}"
                else:
                    told += f"   passed at most {upper(own, 'pass'):.1%}"
                if truth != "twice":
                    told += f", failed at most {upper(own, 'fail'):.1%}"
                asked = round(sum(one.asked for one in own) / len(own))
                lines.append(f"{truth:9}{assignment:8}{cell:7}{len(own):>7}{asked:>7}{told}")
    return "\n".join(lines)


def read(path: Path) -> list[tuple[int, Outcome]]:
    """Return what an earlier turn kept."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (line.pop("seed"), Outcome(**line | {"reasons": tuple(line.get("reasons", ()))}))
        for line in lines
    ]


def main() -> None:
    """Audit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audits", type=int, default=200)
    parser.add_argument("--truth", choices=get_args(Truth), action="append")
    parser.add_argument("--keep", type=Path, help="a file to go on from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of this turn")
    parser.add_argument("--lots", type=int, help="draw so many, and ask no model")
    parser.add_argument("--sizes", type=int, nargs="+", help="of cohorts; releases are counted")
    asked = parser.parse_args()
    if asked.lots:
        for truth in asked.truth or get_args(Truth):
            print(table(lots(range(1, asked.lots + 1), truth=truth, setup=Setup())))
        return
    found = measure(
        range(1, asked.audits + 1),
        truths=asked.truth or get_args(Truth),
        setups=[Setup.of(size) for size in asked.sizes] if asked.sizes else [Setup()],
        kept=read(asked.keep) if asked.keep is not None and asked.keep.is_file() else [],
        keep=asked.keep,
        seconds=60 * asked.minutes,
    )
    print(table(found))
    for (cell, reasons), count in Counter(
        (f"{one.truth}, {one.assignment}, {2 * one.patients:,}", ", ".join(one.reasons))
        for _, one in found
        if one.reasons and one.truth == "nothing"
    ).items():
        print(f"not released ({cell} patients): {reasons} ({count})")


if __name__ == "__main__":
    main()
