"""The price: how many sound models, rightly described, are stopped by a check.

Each seed is one audit of a sound model with `expect.tokens` and an honest reference, and of splits
that were dealt by lot. *Simulated* models follow how often tokens occur; twenty lots are dealt from
each pool of patients (`checker.demo.cohort`), the model is of its members, the reference of the
patients who are left. *Trained* ones are the demo's sound recipe on a cohort of their own, with a
reference that is trained on the tuning patients. The evidence is then judged as if the target had
declared `assignment: random`, `other`, and nothing.

Counted are audits that are released, and audits that would be if no check had been asked: those
with all deciding bounds within their limits. The difference is the price of the checks; with
`random` it has to stay within 2 points, and the false alarms of each check within 1 % (METHODS §6,
*Power*). Beside it stands what the plans announced.

    python -m benchmarks.splits_by_lot --seeds 100 --keep price.jsonl [--model trained]

With `--keep` it goes on where it stopped; `--minutes` bounds one turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import THREE_CLASSES
from checker import stats
from checker.attacks.api import columns_of
from checker.demo.cohort import write_cohort
from checker.demo.walkthrough import Demonstration, Settings
from checker.evidence import EvidenceStore, tables_by_job
from checker.planning import AuditPlan, CompiledAudit
from checker.planning.cells import metric_of
from checker.planning.power import comparability_power
from checker.planning.release import with_prospects
from checker.policy.documents import DataSpec, LeakagePolicy, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.run.prepare import prepare
from checker.run.prompt_gaps import with_prompt_gaps
from checker.run.running import run_audit
from checker.targets.conformance import ConformanceError
from checker.testing import offer_simulated_backend
from checker.testing.toy_targets import write_models
from checker.verdict import Finding, Judgement, judge
from checker.verdict.assignment import Assignment

Model = Literal["simulated", "trained"]

ASSIGNMENTS: tuple[Assignment | None, ...] = ("random", "other", None)
LOTS = 20
"""Lots that are dealt from one pool of patients; whoever the patients are, a lot is a lot."""

_POOLS: list[tempfile.TemporaryDirectory[str]] = []

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)

CHECKS = {
    "attack-not-shown-to-work": "prompt format",
    "floor": "floor",
    "expected-tokens": "expectation",
    "split-overlap": "same records",
    "near-duplicates": "near-duplicates",
    "split-not-comparable": "(b) classifier",
    "worse-than-chance": "direction",
}
"""What must hold, by its name in a judgement; an undecided check stops a pass too."""

ALARMS = (
    *CHECKS.values(),
    "(c) base rates",
    "placebo",
    "reference",
    "nonmembers",
    "conformance",
)
CHECK_REASONS = frozenset(
    {
        "attack-not-shown-to-work",
        "expectation-not-met",
        "split-overlap",
        "near-duplicates",
        "split-not-comparable",
        "worse-than-chance",
        "placebo-failed",
        "reference-knows-members",
        "nonmembers-known-to-model",
        "spare-not-comparable",
    }
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is audited, and how strictly.

    Args:
        model: simulated, or trained; then the cohort is the demo's, of other sizes.
        members, nonmembers: patients of the splits.
        others: patients apart, to whom the reference is fitted.
        positives: of the class in either split; on average, where a lot deals them.
        excess: limit of what is told of the class.
        auroc: limit of both membership attacks.
        spare: the patients apart are declared as spare.
    """

    model: Model = "simulated"
    members: int = 600
    nonmembers: int = 600
    others: int = 600
    positives: int = 80
    excess: float = 0.1
    auroc: float = 0.7
    spare: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One audit under one declaration.

    Args:
        released: nothing blocks.
        but_for_checks: nothing would, if no check had been asked.
        alarms: of ALARMS, those that were raised.
        announced: by the plan, the chance of a release; None where it could not say.
    """

    released: bool
    but_for_checks: bool
    alarms: tuple[str, ...]
    announced: float | None


Outcomes = dict[str, Outcome]
"""By the declaration, "None" where there is none."""


# --- one audit -----------------------------------------------------------------------------------


def audits(seed: int, folder: Path, *, setup: Setup) -> Outcomes:
    """Audit one sound model, and judge it under each declaration."""
    policy, target = (_trained if setup.model == "trained" else _simulated)(seed, folder, setup)
    prepared = prepare(policy, target)
    try:
        manifest = run_audit(
            prepared.audit,
            run=folder / "run",
            open_target=prepared.open_target,
            open_reference=prepared.open_reference,
            command="benchmark",
        )
    except ConformanceError:
        stopped = Outcome(False, True, ("conformance",), None)
        return {str(name): stopped for name in ASSIGNMENTS}
    evidence = tables_by_job(EvidenceStore(folder / "run", columns_of), manifest)
    return {
        str(assignment): _judged(
            prepared.policy.document, declared(prepared.audit, assignment), evidence
        )
        for assignment in ASSIGNMENTS
    }


def _simulated(seed: int, folder: Path, setup: Setup) -> tuple[Path, Path]:
    """Write a model that follows how often tokens occur, and a reference of other patients."""
    deal(pool(setup, seed=seed // LOTS), folder / "cohort", setup=setup, seed=seed)
    write_models(folder, seed=seed)
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    others = DataSpec(path="cohort", members=meds.tuning_split, nonmembers=meds.held_out_split)
    cohort = load_cohort(others, base=folder)
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(target["spec"]["tokenization"]),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    model = json.loads((folder / "sound.json").read_text())
    tokens = tokenizer.encode(cohort.members, cohort.codes).tokens
    counts = np.bincount(tokens, minlength=len(model["unigram"])) + 0.01
    counts[tokens[0]] = 0.01  # BOS starts records and never follows
    model["unigram"] = (counts / counts.sum()).tolist()
    (folder / "reference.json").write_text(json.dumps(model))
    target["spec"]["reference"] = {"backend": "simulated", "path": "reference.json"}
    if setup.spare:
        target["spec"]["data"]["spare"] = meds.tuning_split
    (folder / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    return _policy(folder, seed, setup, samples=10), folder / "target.yaml"


@cache
def pool(setup: Setup, *, seed: int) -> Path:
    """Write patients that many lots deal out; returns the folder, which goes with the process."""
    folder = tempfile.TemporaryDirectory()  # deleted when the process ends
    _POOLS.append(folder)
    everybody = setup.members + setup.nonmembers + setup.others
    write_cohort(
        Path(folder.name) / "cohort",
        seed=seed,
        members=everybody // 2,
        nonmembers=everybody - everybody // 2,
        tuning=0,
        positives=round(setup.positives * everybody / (setup.members + setup.nonmembers)),
    )
    return Path(folder.name) / "cohort"


def deal(pool: Path, folder: Path, *, setup: Setup, seed: int) -> None:
    """Deal a pool's patients to members, nonmembers and others by lot: a copy with new splits."""
    shutil.copytree(pool, folder)
    path = folder / meds.subject_splits_filepath
    subjects = pq.read_table(path)["subject_id"].to_numpy()
    sizes = (setup.members, setup.nonmembers, setup.others)
    names = (meds.train_split, meds.held_out_split, meds.tuning_split)
    splits = np.repeat(np.array(names, dtype=object), sizes)
    lot = np.random.default_rng([seed, 3]).permutation(len(subjects))
    table = pa.table(
        {
            "subject_id": pa.array(subjects[lot].tolist(), pa.int64()),
            "split": pa.array(splits.tolist(), pa.string()),
        }
    )
    pq.write_table(table, path)


def _trained(seed: int, folder: Path, setup: Setup) -> tuple[Path, Path]:
    """Train the demo's sound model, and its reference on the tuning patients."""
    made = folder / "demo"
    demo = Demonstration(Settings(made, seed=seed), say=lambda said: None)
    demo.prepare()
    demo.train(lambda model, epoch, loss: None, models=("sound", "reference"))
    target = yaml.safe_load(demo.target_path("sound").read_text())
    target["spec"]["reference"] = {
        "backend": "huggingface",
        "path": "model-reference",
        "device": "cpu",
    }
    (made / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    return _policy(made, seed, setup, samples=10), made / "target.yaml"


def _policy(folder: Path, seed: int, setup: Setup, *, samples: int) -> Path:
    """Write the policy of three classes with one class, and two attacks on membership."""
    policy = yaml.safe_load(THREE_CLASSES.read_text())
    known = policy["spec"]["controls"]
    told = {**known["hiv-disclosure"], "limits": {"events-10": {"fail": setup.excess}}}
    told["params"] = {**told["params"], "samples": samples}
    attacked = {**known["membership"], "limits": {"record": {"fail": setup.auroc}}}
    policy["spec"]["controls"] = {
        "hiv-disclosure": told,
        "membership": attacked,
        "membership-ratio": {
            **attacked,
            "title": "Beyond a reference model",
            "params": {"score": "reference-ratio"},
        },
    }
    policy["spec"]["parameters"]["seed"] = seed
    (folder / "price.yaml").write_text(yaml.safe_dump(policy))
    return folder / "price.yaml"


def declared(audit: CompiledAudit, assignment: Assignment | None) -> AuditPlan:
    """Return the plan that the same patients would have under another declaration."""
    plan = audit.plan
    document = plan.target.document
    data = document.spec.data.model_copy(update={"assignment": assignment})
    document = document.model_copy(update={"spec": document.spec.model_copy(update={"data": data})})
    snapshot = plan.target.model_copy(update={"document": document})
    comparability = comparability_power(
        plan.data.members,
        plan.data.nonmembers,
        assignment=assignment,
        tolerance=plan.policy.document.spec.parameters.admissibility_tolerance,
        confidence=plan.confidence,
    )
    declared = plan.model_copy(update={"target": snapshot, "comparability": comparability})
    return with_prompt_gaps(replace(audit, plan=with_prospects(declared)))


def _judged(policy: LeakagePolicy, plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> Outcome:
    judged = judge(policy, plan=plan, evidence=evidence, as_of=AS_OF)
    return outcome(judged, announced=None if plan.release is None else plan.release.chance)


def outcome(judged: Judgement, *, announced: float | None) -> Outcome:
    """Say whether a judgement releases the model, and which checks spoke against it."""
    deciding = [finding for finding in judged.findings if finding.cell.gating]
    checks = {check.name: check.holds for check in judged.checks}
    alarms = [title for name, title in CHECKS.items() if checks.get(name, True) is not True]
    if checks.get("reference-knows-members") is False:
        alarms.append("reference")
    reasons = {finding.reason for finding in deciding}
    if "split-not-comparable" in reasons and checks["split-not-comparable"]:
        alarms.append("(c) base rates")
    if any(_misplaced(finding) for finding in deciding):
        alarms.append("placebo")
    if reasons & {"nonmembers-known-to-model", "spare-not-comparable"}:
        alarms.append("nonmembers")
    return Outcome(
        released=judged.verdict == "pass",
        but_for_checks=all(f.verdict == "pass" or _only_stopped(f) for f in deciding),
        alarms=tuple(alarms),
        announced=announced,
    )


def _misplaced(finding: Finding) -> bool:
    """Whether two halves of the nonmembers differ."""
    found, null = finding.placebo, metric_of(finding.cell).family.null_value
    return found is not None and not stats.contains(found, null)


def _only_stopped(finding: Finding) -> bool:
    """Whether the bounds would pass and only a check says no."""
    limit, found = finding.cell.limit.fail, finding.measurement
    return (
        finding.reason in CHECK_REASONS
        and found is not None
        and limit is not None
        and found.estimate.high <= limit
    )


# --- all of them ---------------------------------------------------------------------------------


def measure(
    seeds: Iterable[int],
    *,
    setup: Setup | None = None,
    kept: dict[int, Outcomes] | None = None,
    keep: Path | None = None,
    seconds: float = float("inf"),
) -> dict[int, Outcomes]:
    """Audit one sound model a seed, but for those that were; says on standard error how far it is.

    Args:
        seeds: of the audits.
        setup: of what is audited.
        kept: outcomes of an earlier turn, by seed; added to.
        keep: gets a line for each audit.
        seconds: after which no further audit begins.
    """
    offer_simulated_backend()
    end = time.monotonic() + seconds
    found = {} if kept is None else kept
    for seed in seeds:
        if seed in found:
            continue
        if time.monotonic() >= end:
            break
        with tempfile.TemporaryDirectory() as folder:
            found[seed] = audits(seed, Path(folder), setup=setup or Setup())
        if keep is not None:
            line = {"seed": seed, "outcomes": {k: asdict(v) for k, v in found[seed].items()}}
            with keep.open("a") as file:
                file.write(json.dumps(line) + "\n")
        released = sum(one["random"].released for one in found.values())
        print(f"{len(found)} audits, {released} released", file=sys.stderr, flush=True)
    return found


def read(path: Path) -> dict[int, Outcomes]:
    """Return what an earlier turn kept."""
    found = {}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        found[int(one["seed"])] = {
            name: Outcome(**{**fields, "alarms": tuple(fields["alarms"])})
            for name, fields in one["outcomes"].items()
        }
    return found


def table(found: dict[int, Outcomes]) -> str:
    """Return shares of audits with exact 90 % intervals (two bounds at 95 %), by declaration."""
    lines = [f"{len(found)} audits of sound models, rightly described"]
    for assignment in map(str, ASSIGNMENTS):
        ones = [one[assignment] for one in found.values()]
        lines += ["", f"assignment: {assignment}"]
        counts = {
            "released": sum(one.released for one in ones),
            "released but for the checks": sum(one.but_for_checks for one in ones),
            "lost to the checks": sum(one.but_for_checks and not one.released for one in ones),
            **{name: sum(name in one.alarms for one in ones) for name in ALARMS},
        }
        lines += [f"  {name:<28}{_share(count, len(ones))}" for name, count in counts.items()]
        said = [one.announced for one in ones if one.announced is not None]
        if said:
            lines.append(f"  {'announced, on average':<28}{sum(said) / len(said):>17.1%}")
    return "\n".join(lines)


def _share(count: int, n: int) -> str:
    found = stats.rate(count, n, confidence=0.95)
    return f"{count:>4} of {n:<4}{found.value:>6.1%} ({found.low:.1%} to {found.high:.1%})"


def main() -> None:
    """Audit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--model", choices=("simulated", "trained"), default="simulated")
    parser.add_argument("--spare", action="store_true", help="declare the patients apart as spare")
    parser.add_argument("--keep", type=Path, help="a file to go on from")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this turn")
    asked = parser.parse_args()
    kept = read(asked.keep) if asked.keep is not None and asked.keep.is_file() else {}
    found = measure(
        range(asked.first, asked.first + asked.seeds),
        setup=Setup(asked.model, spare=asked.spare),
        kept=kept,
        keep=asked.keep,
        seconds=60 * asked.minutes,
    )
    print(table(found))


if __name__ == "__main__":
    main()
