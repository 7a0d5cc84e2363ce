"""Equal verdicts at a fifth of the tokens: T2 of three trained families, counted and estimated.

The families of `benchmarks.families` are asked by T2 alone, three ways: *counted*, the share of 20
continuations that name the class, as phigate did; *estimated* from the same 20; and estimated from
as many as a policy draws by default: three of each prompt, and more where these do not tell on
which side of the threshold it is. The first two are judged from one evidence, once without its
compensators. Printed are verdict, value and bounds of each cell, how many tokens were drawn, and
whether all verdicts agree; the exit code is 1 where one does not.

    python -m benchmarks.fewer_samples --folder /some/folder --out fewer.json

Models stay in the folder and are those of `python -m benchmarks.families --folder`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.families import AS_OF, FAMILIES, Families, generated, policy_of
from checker.attacks.api import columns_of
from checker.evidence import EvidenceStore, tables_by_job
from checker.run.prepare import Prepared, prepare
from checker.run.running import run_audit
from checker.run.stored import Run, load_run
from checker.verdict import judge

WAYS = ("counted", "estimated", "fewer")
COUNTED_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What one way of asking found of a cell."""

    verdict: str
    reason: str | None
    value: float | None
    low: float | None
    high: float | None


def policy(families: Families, *, samples: int | None) -> dict[str, Any]:
    """Return the policy of the families with T2 alone, its means and rankings too.

    Args:
        families: whose study it is.
        samples: where q is estimated; None draws as many as by default.
    """
    document = policy_of(families.study)
    controls: dict[str, Any] = {}
    for name, control in document["spec"]["controls"].items():
        if control["title"] != "T2":
            continue
        params = {**control["params"], "samples": COUNTED_SAMPLES}
        if samples is not None:
            params["probabilitySamples"] = samples
        for metric in ("excess_disclosure", "excess_mean_q"):
            controls[f"{name}-{metric}".replace("_", "-")] = {
                **control, "params": params, "metric": metric
            }  # fmt: skip
    document["spec"]["controls"] = controls
    return document


def asked(families: Families, family: str, *, samples: int | None) -> tuple[Prepared, Run]:
    """Audit one family by T2."""
    name = "default" if samples is None else str(samples)
    path = families.folder / f"t2-{name}.yaml"
    path.write_text(json.dumps(policy(families, samples=samples)), encoding="utf-8")
    prepared = prepare(path, families.folder / "audit" / f"target-{family}.yaml")
    folder = families.folder / "audit" / f"run-t2-{name}-{family}"
    run_audit(
        prepared.audit,
        run=folder,
        open_target=prepared.open_target,
        command="benchmarks.fewer_samples",
        clock=lambda: AS_OF,
    )
    return prepared, load_run(folder)


def answers(run: Run, *, counted: bool = False) -> dict[str, Answer]:
    """Judge a run's cells, from the compensators or as if there were none."""
    evidence = tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest)
    tables: Mapping[str, pa.Table] = evidence
    if counted:
        tables = {name: _without_compensators(table) for name, table in evidence.items()}
    judgement = judge(run.policy, plan=run.plan, evidence=tables, as_of=AS_OF)
    found = {}
    for one in judgement.findings:
        e = one.measurement.estimate if one.measurement else None
        numbers = (None, None, None) if e is None else (e.value, e.low, e.high)
        found[one.cell.id] = Answer(one.verdict, one.reason, *numbers)
    return found


def tokens_drawn(run: Run) -> int:
    """Count the tokens of all continuations of a run."""
    evidence = tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest)
    tables = [evidence[job.digest] for job in run.plan.jobs_of("rollouts")]
    return sum(len(table["tokens"].combine_chunks().flatten()) for table in tables)


def _without_compensators(table: pa.Table) -> pa.Table:
    return table.drop_columns([c for c in table.column_names if c.startswith("compensator@")])


def study(families: Families) -> dict[str, Any]:
    """Ask all families in all ways."""
    families.prepare()
    families.train()
    rows: dict[str, dict[str, dict[str, Answer]]] = {}
    tokens = {"counted": 0, "fewer": 0}
    for family in FAMILIES:
        begun = time.process_time()
        _, run = asked(families, family, samples=COUNTED_SAMPLES)
        _, less = asked(families, family, samples=None)
        rows[family] = {
            "counted": answers(run, counted=True),
            "estimated": answers(run),
            "fewer": answers(less),
        }
        tokens["counted"] += tokens_drawn(run)
        tokens["fewer"] += tokens_drawn(less)
        for cell in rows[family]["counted"]:
            print(f"{family:<12} {cell}")
            for way in WAYS:
                print(f"    {way:<10} {_shown(rows[family][way][cell])}")
        print(f"{family}: {time.process_time() - begun:.0f} s", flush=True)
    different = [
        f"{family} {cell}"
        for family, ways in rows.items()
        for cell, answer in ways["counted"].items()
        if answer.verdict != ways["fewer"][cell].verdict
    ]
    return {"rows": rows, "tokens": tokens, "different": different}


def _shown(answer: Answer) -> str:
    if answer.value is None:
        return f"{answer.verdict} ({answer.reason})"
    numbers = f"{answer.value:.3f} ({answer.low:.3f} to {answer.high:.3f})"
    return f"{numbers} {answer.verdict}{f' ({answer.reason})' if answer.reason else ''}"


def main() -> int:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    patients = generated(arguments.folder / "source", seed=arguments.seed)
    found = study(Families(arguments.folder / "work", patients, arguments.seed))
    drawn = found["tokens"]
    print(f"{drawn['fewer']:,} tokens instead of {drawn['counted']:,}")
    print("verdicts that differ: " + (", ".join(found["different"]) or "none"))
    if arguments.out:
        found["rows"] = {
            family: {
                way: {cell: asdict(answer) for cell, answer in own.items()}
                for way, own in ways.items()
            }
            for family, ways in found["rows"].items()
        }
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if found["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
