"""The whole gate on targets of known truth: does a leaking one fail, and a sound one pass?

For each seed a synthetic cohort is written and two simulated targets are audited under the demo
policy (`checker.testing.toy_targets`), through the documents, the plan, the evidence and the judge
that users have. Prints the verdicts over all seeds with exact bounds and writes them as JSON.

    python -m benchmarks.simulated_gate --seeds 100 --out gate.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from checker import stats
from checker.report.model import Report
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import judge_run, load_run, write_reports
from checker.testing.toy_targets import TARGETS, write_targets

EXPECTED = {"leaking": "fail", "sound": "pass"}
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)


def audit(folder: Path, name: str) -> Report:
    """Audit one of the targets under the policy of three classes."""
    run = folder / f"run-{name}"
    prepared = prepare(Path(__file__).with_name("three_classes.yaml"), folder / f"{name}.yaml")
    run_audit(
        prepared.audit,
        run=run,
        open_target=prepared.open_target,
        command=f"phigate check policy.yaml {name}.yaml --out {run.name}",
        clock=lambda: AS_OF,
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
