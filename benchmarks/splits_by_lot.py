"""What the checks on splits and on the reference cost a sound model, in released audits.

Each seed draws a cohort by lot (`checker.demo.cohort`), a sound simulated target for it and an
honest reference, and audits it once. The evidence is then judged as if the target had declared
`assignment: random`, `other`, and nothing. Counted are audits that are released, and audits that
would be but for a check: what was stopped by one of NEW with all its deciding bounds within their
limits. The difference is the price of the checks; at a level of 1 % each it has to stay within 2
points with `random`.

    python -m benchmarks.splits_by_lot --seeds 100
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from checker.attacks.api import columns_of
from checker.evidence import EvidenceStore, tables_by_job
from checker.resources import resource
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.testing import offer_simulated_backend
from checker.testing.toy_targets import write_targets
from checker.verdict import Finding, Judgement, judge
from checker.verdict.assignment import Assignment

NEW = frozenset({"split-not-comparable", "near-duplicates", "reference-knows-members"})
ASSIGNMENTS: tuple[Assignment | None, ...] = ("random", "other", None)
FURTHER = 1_000_000
"""Seeds of reference cohorts lie so much further than those of the audited ones."""

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
CONTROLS: dict[str, dict[str, Any]] = {
    "hiv-disclosure": {"limits": {"events-10": {"fail": 0.1}}},
    "membership": {},
    "membership-ratio": {
        "title": "Beyond a reference model",
        "probe": "membership-inference",
        "params": {"score": "reference-ratio"},
        "metric": "membership_auroc",
        "limits": {"record": {"fail": 0.7}},
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One audit under one declaration.

    Args:
        released: nothing blocks.
        but_for_checks: nothing would, if the checks in NEW had not been asked.
        stopped_by: reasons in NEW that were given.
    """

    released: bool
    but_for_checks: bool
    stopped_by: frozenset[str]


def audits(seed: int, folder: Path) -> dict[Assignment | None, Outcome]:
    """Audit one sound target, and judge it under each declaration."""
    write_targets(folder, seed=seed)
    _write_reference(folder, seed=seed + FURTHER)
    target = yaml.safe_load((folder / "sound.yaml").read_text())
    target["spec"]["reference"] = {"backend": "simulated", "path": "reference.json"}
    (folder / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    policy = yaml.safe_load(resource("policies/demo.yaml").read_text())
    known = policy["spec"]["controls"]
    policy["spec"]["controls"] = {
        name: {**known.get(name, {}), **control} for name, control in CONTROLS.items()
    }
    policy["spec"]["parameters"]["seed"] = seed
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    prepared = prepare(folder / "policy.yaml", folder / "target.yaml")
    manifest = run_audit(
        prepared.audit,
        run=folder / "run",
        open_target=prepared.open_target,
        open_reference=prepared.open_reference,
        command="benchmark",
    )
    evidence = tables_by_job(EvidenceStore(folder / "run", columns_of), manifest)
    found = {}
    for assignment in ASSIGNMENTS:
        document = prepared.target.document
        data = document.spec.data.model_copy(update={"assignment": assignment})
        document = document.model_copy(
            update={"spec": document.spec.model_copy(update={"data": data})}
        )
        snapshot = prepared.plan.target.model_copy(update={"document": document})
        plan = prepared.plan.model_copy(update={"target": snapshot})
        judged = judge(prepared.policy.document, plan=plan, evidence=evidence, as_of=AS_OF)
        found[assignment] = outcome(judged)
    return found


def _write_reference(folder: Path, *, seed: int) -> None:
    """Write a model of the same population and vocabulary that was fitted to other patients."""
    write_targets(folder / "others", seed=seed)
    ids = json.loads((folder / "vocab.json").read_text())
    others = json.loads((folder / "others" / "vocab.json").read_text())
    fitted = json.loads((folder / "others" / "sound.json").read_text())["unigram"]
    shares = [fitted[others[token]] if token in others else min(fitted) for token in ids]
    model = json.loads((folder / "sound.json").read_text())
    model["unigram"] = [share / sum(shares) for share in shares]
    (folder / "reference.json").write_text(json.dumps(model))


def outcome(judged: Judgement) -> Outcome:
    """Say whether a judgement releases the model, and what stopped it otherwise."""
    deciding = [finding for finding in judged.findings if finding.cell.gating]
    stopped = frozenset(f.reason for f in deciding if f.reason is not None and f.reason in NEW)
    return Outcome(
        released=judged.verdict == "pass",
        but_for_checks=all(f.verdict == "pass" or _only_stopped(f) for f in deciding),
        stopped_by=stopped,
    )


def _only_stopped(finding: Finding) -> bool:
    """Whether the bounds would pass and only a check says no."""
    limit, found = finding.cell.limit.fail, finding.measurement
    return (
        finding.reason in NEW
        and found is not None
        and limit is not None
        and found.estimate.high <= limit
    )


def measure(seeds: Iterable[int]) -> dict[str, Any]:
    """Audit one sound target a seed; returns counts by declaration, progress on standard error."""
    offer_simulated_backend()
    counts: dict[str, Counter[str]] = {str(name): Counter() for name in ASSIGNMENTS}
    total = 0
    for seed in seeds:
        total += 1
        with tempfile.TemporaryDirectory() as folder:
            for assignment, one in audits(seed, Path(folder)).items():
                count = counts[str(assignment)]
                count["released"] += one.released
                count["but for the checks"] += one.but_for_checks
                count.update(sorted(one.stopped_by))
        print(json.dumps({"audits": total, "counts": counts}), file=sys.stderr, flush=True)
    return {"audits": total, "counts": {name: dict(count) for name, count in counts.items()}}


def main() -> None:
    """Print the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    print(json.dumps(measure(range(asked.first, asked.first + asked.seeds)), indent=2))


if __name__ == "__main__":
    main()
