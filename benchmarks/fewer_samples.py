"""Equal verdicts at a fifth of the tokens: T2 of trained models, counted and estimated.

Models are asked by T2 alone, three ways: *counted*, the share of 20 continuations that name the
class, as phigate 0.1 did; *estimated* from the same 20; and estimated from as many as a policy
draws by default: three of each prompt, and more where these do not tell on which side of the
threshold it is. The first two are judged from one evidence, once without its compensators. Printed
are verdict, value and bounds of each cell, how many tokens were drawn, and whether all verdicts
agree; the exit code is 1 where one does not.

    python -m benchmarks.fewer_samples --folder /some/folder --out fewer.json
    python -m benchmarks.fewer_samples --folder /some/folder --demo phigate-demo --out demo.json

The first asks the families of `benchmarks.families`, by metrics of shares and of means; models stay
in the folder and are those of `python -m benchmarks.families --folder`. The second asks the two
models of a finished `phigate demo` by the T2 controls of the demo's own policy; the demo's folder
is only read. Both count a token once, however many cells read it.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from benchmarks.families import AS_OF, FAMILIES, Families, generated, policy_of
from checker.attacks.api import columns_of
from checker.evidence import EvidenceStore, tables_by_job
from checker.run.prepare import prepare
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


METRICS = ("excess_disclosure", "excess_mean_q")


def t2_alone(
    document: dict[str, Any], *, metrics: Sequence[str] = (), samples: int | None = None
) -> dict[str, Any]:
    """Return a policy with its controls of T2 alone.

    Args:
        document: a policy.
        metrics: each control is asked for each of these; for its own where there are none.
        samples: where q is estimated; None draws as many as by default.
    """
    document = copy.deepcopy(document)
    controls: dict[str, Any] = {}
    for name, control in document["spec"]["controls"].items():
        if control["probe"] != "attribute-disclosure":
            continue
        params = {**control["params"], "samples": COUNTED_SAMPLES}
        if samples is not None:
            params["probabilitySamples"] = samples
        for metric in metrics or [control["metric"]]:
            own = f"{name}-{metric}".replace("_", "-") if metrics else name
            controls[own] = {**control, "params": params, "metric": metric}
    document["spec"]["controls"] = controls
    return document


def asked(policy: dict[str, Any], target: Path, run: Path) -> Run:
    """Audit a target under a policy, or take up what was audited."""
    run.parent.mkdir(parents=True, exist_ok=True)
    path = run.parent / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    prepared = prepare(path, target)
    run_audit(
        prepared.audit,
        run=run,
        open_target=prepared.open_target,
        command="benchmarks.fewer_samples",
        clock=lambda: AS_OF,
    )
    return load_run(run)


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


def study(
    document: dict[str, Any], targets: Mapping[str, Path], folder: Path, *, metrics: Sequence[str]
) -> dict[str, Any]:
    """Ask all models in all ways.

    Args:
        document: a policy.
        targets: a target's file by the name of its model.
        folder: for runs.
        metrics: as of `t2_alone`.
    """
    rows: dict[str, dict[str, dict[str, Answer]]] = {}
    tokens: dict[str, dict[str, int]] = {}
    for name, target in targets.items():
        begun = time.process_time()
        run, less = (
            asked(
                t2_alone(document, metrics=metrics, samples=samples),
                target,
                folder / f"run-t2-{samples or 'default'}-{name}",
            )
            for samples in (COUNTED_SAMPLES, None)
        )
        rows[name] = {
            "counted": answers(run, counted=True),
            "estimated": answers(run),
            "fewer": answers(less),
        }
        tokens[name] = {"counted": tokens_drawn(run), "fewer": tokens_drawn(less)}
        for cell in rows[name]["counted"]:
            print(f"{name:<12} {cell}")
            for way in WAYS:
                print(f"    {way:<10} {_shown(rows[name][way][cell])}")
        print(f"{name}: {time.process_time() - begun:.0f} s of CPU", flush=True)
    different = [
        f"{name} {cell}"
        for name, ways in rows.items()
        for cell, answer in ways["counted"].items()
        if answer.verdict != ways["fewer"][cell].verdict
    ]
    return {"rows": rows, "tokens": tokens, "different": different}


def of_families(folder: Path, *, seed: int) -> dict[str, Any]:
    """Train the families, where they are not trained yet, and ask them."""
    patients = generated(folder / "source", seed=seed)
    families = Families(folder / "work", patients, seed)
    families.prepare()
    families.train()
    own = families.folder / "audit"
    targets = {family: own / f"target-{family}.yaml" for family in FAMILIES}
    return study(policy_of(patients), targets, own, metrics=METRICS)


def of_demo(demo: Path, folder: Path) -> dict[str, Any]:
    """Ask the models of a demo."""
    document = yaml.safe_load((demo / "policy.yaml").read_text(encoding="utf-8"))
    targets = {name: demo / f"target-{name}.yaml" for name in ("sound", "overtrained")}
    return study(document, targets, folder, metrics=())


def _summed(tokens: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {way: sum(own[way] for own in tokens.values()) for way in ("counted", "fewer")}


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
    parser.add_argument("--demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.demo:
        found = of_demo(arguments.demo, arguments.folder)
    else:
        found = of_families(arguments.folder, seed=arguments.seed)
    for name, drawn in {**found["tokens"], "all": _summed(found["tokens"])}.items():
        share = drawn["fewer"] / drawn["counted"]
        print(f"{name}: {drawn['fewer']:,} tokens instead of {drawn['counted']:,}, {share:.1%}")
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
