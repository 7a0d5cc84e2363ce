"""The whole gate on targets of known truth: does a leaking one fail, and a sound one pass?

For each seed a synthetic cohort is written and two simulated targets are audited under the demo
policy, through the documents, the plan, the evidence and the judge that users have. The *leaking*
target repeats a random half of its members from what an attacker at 10 events knows, with
probability 0.95 a token; the *sound* one follows the population's token frequencies and nothing
else. Prints the verdicts over all seeds with exact bounds and writes them as JSON.

    python -m benchmarks.simulated_gate --seeds 100 --out gate.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import meds
import numpy as np
import yaml

from checker import stats
from checker.demo.cohort import write_cohort
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import KIND_STATIC, Tokenizer, load_vocabulary
from checker.report.model import Report
from checker.resources import resource
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import judge_run, load_run, write_reports
from checker.testing.simulated import MemorizedRecord, write_simulated

TARGETS = ("leaking", "sound")
EXPECTED = {"leaking": "fail", "sound": "pass"}
SPECIALS = {"bos": "[BOS]", "eos": "[EOS]", "pad": "[PAD]", "unk": "[UNK]"}
TOKENIZATION = {
    "vocabulary": "vocab.json",
    "specials": SPECIALS,
    "static": {"sex": "GENDER//*", "race": "RACE//*"},
    "age": "AGE//{years}",
}
SHARE_MEMORIZED = 0.5
WEIGHT = 0.95
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)


class Silent:
    """Progress for nobody."""

    def start(self, jobs: object, *, reused: int) -> None:
        """Say nothing."""

    def job(self, job: object) -> object:
        """Say nothing, later too."""
        return lambda tokens: None

    def done(self, job: object) -> None:
        """Say nothing."""


def write_targets(folder: Path, *, seed: int) -> None:
    """Write a cohort, its vocabulary, and a leaking and a sound target for it."""
    write_cohort(folder / "cohort", seed=seed)
    data = DataSpec(path="cohort", members=meds.train_split, nonmembers=meds.held_out_split)
    cohort = load_cohort(data, base=folder)
    ages = [f"AGE//{years}" for years in range(121)]
    tokens = [*SPECIALS.values(), *ages, *sorted(set(cohort.codes) - {meds.birth_code})]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(TOKENIZATION),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    records = tokenizer.encode(cohort.members, cohort.codes)
    counts = np.bincount(records.tokens, minlength=len(tokens)) + 0.01
    counts[records.tokens[0]] = 0.01  # BOS starts records and never follows
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(records))[: round(SHARE_MEMORIZED * len(records))]
    race = tokenizer.field_names.index("race")
    memorized = []
    for i in chosen.tolist():
        record = records.record(i)
        unasked = ~((record.kind == KIND_STATIC) & (record.field == race))
        for sequence in (record.tokens, record.tokens[unasked]):  # with and without race
            memorized.append(
                MemorizedRecord(tokens=tuple(sequence.tolist()), first=4, weight=WEIGHT)
            )
    for name in TARGETS:
        write_simulated(
            folder / f"{name}.json",
            vocabulary_size=len(tokens),
            context_length=128,
            unigram=(counts / counts.sum()).tolist(),
            memorized=memorized if name == "leaking" else (),
        )
        target = {
            "apiVersion": "phigate/v1",
            "kind": "AuditTarget",
            "metadata": {"name": name, "version": str(seed)},
            "spec": {
                "model": {"backend": "simulated", "path": f"{name}.json"},
                "tokenization": TOKENIZATION,
                "data": {"path": "cohort"},
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(target, sort_keys=False))


def audit(folder: Path, name: str) -> Report:
    """Audit one of the targets under the demo policy."""
    run = folder / f"run-{name}"
    prepared = prepare(resource("policies/demo.yaml"), folder / f"{name}.yaml")
    run_audit(
        prepared.audit,
        run=run,
        open_target=prepared.open_target,
        progress=Silent(),  # type: ignore[arg-type]
        command=f"phigate check demo.yaml {name}.yaml --out {run.name}",
    )
    report = judge_run(load_run(run), as_of=AS_OF)
    write_reports(run, report, formats=("json",))
    return report


def audit_seed(seed: int) -> dict[str, Report]:
    """Audit both targets of one seed in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        write_targets(Path(folder), seed=seed)
        return {name: audit(Path(folder), name) for name in TARGETS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    reasons: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    for seed in range(arguments.seeds):
        for name, report in audit_seed(seed).items():
            verdicts[name][report.verdict] += 1
            if report.verdict != EXPECTED[name]:
                reasons[name].update(f"{c.id}: {c.reason}" for c in report.cells if c.gating)
    print(f"{'target':<10}{'pass':>6}{'fail':>6}{'inconclusive':>14}   as expected, 95 % bounds")
    for name, found in verdicts.items():
        expected = stats.rate(found[EXPECTED[name]], arguments.seeds, confidence=0.95)
        print(
            f"{name:<10}{found['pass']:>6}{found['fail']:>6}{found['inconclusive']:>14}"
            f"   {expected.value:.3f} ({expected.low:.3f} to {expected.high:.3f})"
        )
    result = {
        "seeds": arguments.seeds,
        "verdicts": {name: dict(found) for name, found in verdicts.items()},
        "unexpected": {name: dict(found) for name, found in reasons.items()},
    }
    for name, found in reasons.items():
        for reason, count in found.most_common(8):
            print(f"  {name}, not as expected: {reason} ({count})")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
