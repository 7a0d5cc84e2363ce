"""What an audit costs: tokens, from the plan, and seconds, against the number of everything.

*Curves*: tokens with and without sharing when one of patients, classes, levels or controls grows
and the rest stays, on made-up patients (`checker.testing.hospital`), and the seconds that audits of
a small random GPT-2 take.

*One class more*: how many rollout tokens the n-th attribute class adds on the same attackers. Only
patients who have a class within reach are asked about it, so the prompts it needs are of three
kinds: asked already for an earlier class or for T1; not asked yet, because their patient has none
of the earlier classes; and changed, because codes of this class were in them and had to leave.
Counted exactly, on made-up patients and, with `--library`, for the 30 classes of the library in the
order of their names on a MEDS data set, or on the demo's cohort where the name is `demo`.

    python -m benchmarks.cost --out cost.json --library demo --library ../shared/data/synthea
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import meds
import pyarrow.parquet as pq
import torch
import yaml
from transformers import AutoModelForCausalLM, GPT2Config
from transformers.utils import logging as transformers_logging

from checker.demo.cohort import write_cohort
from checker.planning import CompiledAudit
from checker.policy.library import library_classes
from checker.run.prepare import Prepared, prepare
from checker.run.running import run_audit
from checker.testing.hospital import (
    ATTACKERS,
    LEVELS,
    SPECIALS,
    TIME,
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_simulated_target,
    write_target,
)
from checker.testing.simulated import write_simulated

SAMPLES, HORIZON = 3, 100  # as many as are drawn at first where q is estimated


@dataclass(frozen=True, slots=True)
class Size:
    """A plan's size: what grows, and what it costs.

    Args:
        what, count: what is counted, and how many there are.
        jobs, cells: of the plan.
        forward, forward_unshared, rollout, rollout_unshared: tokens.
        plan_s: seconds of CPU from files to plan.
        audit_s: seconds that running it took, or None where only the plan was made.
    """

    what: str
    count: int
    jobs: int
    cells: int
    forward: int
    forward_unshared: int
    rollout: int
    rollout_unshared: int
    plan_s: float
    audit_s: float | None = None


def controls(
    classes: Sequence[str],
    *,
    levels: Sequence[str] = tuple(LEVELS),
    tests: Sequence[str] = ("T2",),
    samples: int = SAMPLES,
    horizon: int = HORIZON,
) -> dict[str, dict[str, Any]]:
    """Return the controls of some tests for some classes at some levels."""
    found: dict[str, dict[str, Any]] = {}
    limits = {level: {"fail": 0.2} for level in levels}
    drawn = {"samples": samples, "horizonTokens": horizon}
    if "T1" in tests:  # first, as in policies/paper-t1-t6.yaml
        found["t1"] = {
            "title": "T1",
            "probe": "trajectory-memorization",
            "params": {**drawn, "minRun": 1},
            "metric": "excess_extraction",
            "limits": limits,
        }
    for name in classes:
        told = disclosure(name, samples=samples, horizon_tokens=horizon, levels=levels)
        if "T2" in tests:
            found[f"t2-{name}"] = told
        if "T3" in tests:
            found[f"t3-{name}"] = {
                "title": "T3",
                "attributeClass": name,
                "probe": "embedding-probe",
                "metric": "excess_probe_auroc",
                "limits": {"hidden-states": {"fail": 0.2}},
            }
        if "T5" in tests:
            found[f"t5-{name}"] = {
                **told,
                "probe": "identifier-perturbation",
                "metric": "memorized_share",
                "limits": {level: {"fail": 0.2} for level in levels if level != "static"},
            }
    for k in [k for k in (20.0, 10.0) if f"T4 at {k:.0f} %" in tests]:
        found[f"t4-{k:.0f}"] = {
            "title": "T4",
            "probe": "membership-inference",
            "params": {"score": "min-k", "k": k},
            "metric": "membership_auroc",
            "limits": {"record": {"fail": 0.6}},
        }
    return found


def size_of(
    folder: Path, chosen: Mapping[str, Any], *, what: str, count: int, run: bool = False
) -> Size:
    """Compile a plan over the data set and target in a folder and, where wanted, run it."""
    began = time.process_time()
    prepared = prepare(write_policy(folder / "policy.yaml", dict(chosen)), folder / "target.yaml")
    plan_s = time.process_time() - began
    plan, cost = prepared.audit.plan, prepared.audit.plan.cost
    return Size(
        what=what,
        count=count,
        jobs=len(plan.jobs),
        cells=len(plan.cells),
        forward=cost.forward_tokens,
        forward_unshared=cost.forward_tokens_unshared,
        rollout=cost.rollout_tokens,
        rollout_unshared=cost.rollout_tokens_unshared,
        plan_s=plan_s,
        audit_s=_run(prepared) if run else None,
    )


def _run(prepared: Prepared) -> float:
    with tempfile.TemporaryDirectory() as run:
        began = time.perf_counter()
        run_audit(
            prepared.audit,
            run=Path(run),
            open_target=prepared.open_target,
            command="phigate run",
        )
        return time.perf_counter() - began


TESTS = ("T2", "T1", "T4 at 20 %", "T4 at 10 %", "T5", "T3")


def curve_of_plans(hospital: Hospital, *, samples: int, horizon: int, run: bool) -> list[Size]:
    """Let patients, classes, levels and controls grow, one at a time, each to what is given.

    Args:
        hospital: the largest.
        samples: of every rollout.
        horizon: of every rollout, in tokens.
        run: run the plans on a random GPT-2 of two layers; otherwise only plan.
    """
    half: dict[str, Any] = {"samples": samples, "horizon": horizon}
    sizes: list[Size] = []

    def measure(
        what: str, counts: Iterable[int], wards: Mapping[int, Hospital] | None = None, **fixed: Any
    ) -> None:
        for count in counts:
            ward = (wards or {}).get(count, hospital)
            varied: dict[str, Any] = {"levels": tuple(LEVELS), "tests": ("T2",), **fixed}
            classes = ward.class_names
            if what == "classes":
                classes = classes[:count]
            elif what == "levels":
                varied["levels"] = tuple(LEVELS)[:count]
            elif what == "controls":
                varied["tests"] = TESTS[:count]
            with tempfile.TemporaryDirectory() as folder:
                _write(Path(folder), ward, run=run)
                chosen = controls(classes, **half, **varied)
                sizes.append(size_of(Path(folder), chosen, what=what, count=count, run=run))

    most = hospital.members
    wards = {
        2 * n: replace(hospital, members=n, nonmembers=n) for n in (most // 8, most // 4, most // 2)
    }
    measure("patients", [*wards, 2 * most], wards)
    measure("classes", [n for n in (1, 2, 4, 8, 12, 16) if n <= hospital.classes])
    measure("levels", range(1, len(LEVELS) + 1))
    measure("controls", range(1, len(TESTS) + 1))
    return sizes


def _write(folder: Path, hospital: Hospital, *, run: bool) -> None:
    write_hospital(folder, hospital)
    if not run:
        write_simulated_target(folder)
        return
    config = GPT2Config(
        vocab_size=len(json.loads((folder / "vocab.json").read_text())),
        n_positions=512,
        n_layer=2,
        n_embd=64,
        n_head=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    write_target(folder / "target.yaml", {"path": "model", "dtype": "float32", "device": "cpu"})


# --- one class more -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Added:
    """What one class more costs.

    Args:
        number: how many classes there are now.
        name: of the last one.
        asked: distinct prompts it needs, over all attackers.
        shared: of these, asked before.
        changed: not asked before, for codes of the class had to leave them.
        new: not asked before, for their patient has none of the earlier classes.
        rollout_tokens: of the plan with it.
        added: tokens that it added.
    """

    number: int
    name: str
    asked: int
    shared: int
    changed: int
    new: int
    rollout_tokens: int
    added: int

    @property
    def added_share(self) -> float:
        """Tokens added, as a share of those before it; 0 where there were none."""
        before = self.rollout_tokens - self.added
        return self.added / before if before else 0.0


def added_by_each(audit: CompiledAudit, totals: Sequence[int], *, start: int) -> list[Added]:
    """Say of each class of a plan what it added, in the policy's order.

    Args:
        audit: with all classes, and T1 as its last control, which asks for everybody's prompt.
        totals: rollout tokens of the plans with the first 1, 2, ... classes.
        start: rollout tokens of the plan without any.
    """
    whole: dict[str, list[bytes | None]] = {}
    by_class: dict[str, dict[str, list[bytes | None]]] = {}
    for cell in audit.plan.cells:
        if cell.labels is None:
            continue
        found = audit.workload.labels[cell.labels]
        keys = [*found.members.keys, *found.nonmembers.keys]
        if cell.attribute_class is None:
            whole[cell.attacker] = keys
        else:
            by_class.setdefault(cell.attribute_class, {})[cell.attacker] = keys
    asked: set[bytes] = set() if not start else {k for keys in whole.values() for k in keys if k}
    rows, before = [], start
    for number, ((name, levels), total) in enumerate(
        zip(by_class.items(), totals, strict=True), start=1
    ):
        own: dict[bytes, bool] = {}
        for attacker, keys in levels.items():
            for key, plain in zip(keys, whole[attacker], strict=True):
                if key is not None:
                    own[key] = own.get(key, True) and key != plain
        fresh = {key for key in own if key not in asked}
        changed = sum(own[key] for key in fresh)
        rows.append(
            Added(
                number=number,
                name=name,
                asked=len(own),
                shared=len(own) - len(fresh),
                changed=changed,
                new=len(fresh) - changed,
                rollout_tokens=total,
                added=total - before,
            )
        )
        asked |= fresh
        before = total
    return rows


def one_class_more(folder: Path, target: Path, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Compile a policy with its first 1, 2, ... classes, with T1 on the same attackers and without.

    Args:
        folder: to write policies to.
        target: the target's file.
        policy: with one control for each class.
    """
    spec = dict(policy["spec"])
    limits = next(iter(spec["controls"].values()))["limits"]
    t1 = {"t1": controls([], tests=("T1",))["t1"] | {"limits": limits}}

    def compiled(chosen: Mapping[str, Any]) -> CompiledAudit:
        path = folder / "policy.yaml"
        own = {**policy, "spec": {**spec, "controls": dict(chosen)}}
        path.write_text(yaml.safe_dump(own, sort_keys=False))
        return prepare(path, target).audit

    told = list(spec["controls"].items())
    full = compiled(dict(told) | t1)
    present = [
        (name, control)
        for name, control in told
        if full.plan.classes[control["attributeClass"]].absent_from is None
    ]
    result: dict[str, Any] = {
        "data": full.plan.data.name,
        "patients": full.plan.data.members + full.plan.data.nonmembers,
        "classes": len(told),
        "classes_in_data": len(present),
    }
    for name, first in (("eligible patients only", {}), ("everybody, for T1", t1)):
        plans = [compiled(first | dict(present[:count])) for count in range(1, len(present) + 1)]
        start = compiled(first).plan.cost.rollout_tokens if first else 0
        totals = [own.plan.cost.rollout_tokens for own in plans]
        rows = added_by_each(compiled(dict(present) | t1), totals, start=start)
        result[name] = [asdict(row) | {"added_share": row.added_share} for row in rows]
    return result


def library_policy() -> dict[str, Any]:
    """Return a policy that asks for every class of the library at the four levels."""
    versions = {name: one.document.metadata.version for name, one in library_classes().items()}
    names = sorted(versions)
    return {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "library", "version": "1"},
        "spec": {
            "context": "internal",
            "parameters": {"seed": 7},
            "attackers": {name: ATTACKERS[name] for name in LEVELS},
            "attributeClasses": {
                name: {"use": f"library/{name}@{versions[name].partition('.')[0]}"}
                for name in names
            },
            "controls": {
                f"t2-{name}": {
                    **disclosure(name, samples=SAMPLES, horizon_tokens=HORIZON),
                    "severity": "high",
                }
                for name in names
            },
        },
    }


def write_real_target(folder: Path, data: Path) -> Path:
    """Write a simulated target over a MEDS data set, whose vocabulary is the codes that occur."""
    tables = data.glob(f"{meds.data_subdirectory}/**/*.parquet")
    codes = sorted({code for path in tables for code in pq.read_table(path)["code"].to_pylist()})
    fields = {"sex": "GENDER", "race": "RACE"}
    static = {
        name: f"{kind}//*"
        for name, kind in fields.items()
        if any(code.startswith(f"{kind}//") for code in codes)
    }
    tokens = [
        *SPECIALS.values(),
        *(entry["token"] for entry in TIME),
        *(f"AGE//{years}" for years in range(121)),
        *(code for code in codes if code != meds.birth_code),
    ]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    write_simulated(folder / "model.json", vocabulary_size=len(tokens))
    path = write_target(folder / "target.yaml", {"backend": "simulated", "path": "model.json"})
    document = yaml.safe_load(path.read_text())
    document["spec"]["data"]["path"] = str(data)
    document["spec"]["tokenization"]["static"] = static
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def library_on(name: str) -> dict[str, Any]:
    """Measure the library's classes on the demo's cohort or a data set."""
    with tempfile.TemporaryDirectory() as written:
        folder = Path(written)
        data = Path(name).resolve()
        if name == "demo":
            data = folder / "cohort"
            write_cohort(data, seed=0)
        return one_class_more(folder, write_real_target(folder, data), library_policy())


def made_up_classes(hospital: Hospital) -> dict[str, Any]:
    """Measure made-up classes on made-up patients."""
    with tempfile.TemporaryDirectory() as written:
        folder = Path(written)
        write_hospital(folder, hospital)
        target = write_simulated_target(folder)
        path = write_policy(folder / "policy.yaml", controls(hospital.class_names))
        found = one_class_more(folder, target, yaml.safe_load(path.read_text()))
        return found | {"hospital": asdict(hospital)}


# --- tables -------------------------------------------------------------------------------------


def show_curve(title: str, sizes: Sequence[Size]) -> None:
    print(f"\n{title}")
    print(
        f"{'':<10}{'':>7}{'cells':>7}{'jobs':>7}{'forward':>14}{'unshared':>14}{'rollout':>14}"
        f"{'unshared':>15}{'plan, s':>9}{'audit, s':>10}"
    )
    for own in sizes:
        took = f"{own.audit_s:.1f}" if own.audit_s is not None else "-"
        print(
            f"{own.what:<10}{own.count:>7}{own.cells:>7}{own.jobs:>7}{own.forward:>14,}"
            f"{own.forward_unshared:>14,}{own.rollout:>14,}{own.rollout_unshared:>15,}"
            f"{own.plan_s:>9.2f}{took:>10}"
        )


def show_added(found: Mapping[str, Any]) -> None:
    print(
        f"\nOne class more on {found['data']}: {found['patients']} patients, of"
        f" {found['classes']} classes {found['classes_in_data']} occur; levels"
        f" {', '.join(LEVELS)}, {SAMPLES} continuations of {HORIZON} tokens"
    )
    for kind in ("eligible patients only", "everybody, for T1"):
        print(f"\nasked before: {kind}")
        print(
            f"{'':>3} {'class':<30}{'prompts':>9}{'shared':>8}{'changed':>9}{'new':>7}"
            f"{'tokens added':>14}{'to':>13}{'%':>8}"
        )
        for row in found[kind]:
            share = (
                f"{100 * row['added_share']:.2f}" if row["added"] < row["rollout_tokens"] else "-"
            )
            print(
                f"{row['number']:>3} {row['name']:<30}{row['asked']:>9}{row['shared']:>8}"
                f"{row['changed']:>9}{row['new']:>7}{row['added']:>14,}"
                f"{row['rollout_tokens'] - row['added']:>13,}{share:>8}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--library", action="append", default=[], help="a MEDS data set, or demo")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    planned = Hospital(2000, 2000, events=200, codes=2000, classes=12)
    audited = Hospital(64, 64, events=100, codes=200, classes=4)
    if arguments.quick:
        planned = Hospital(80, 80, events=80, codes=100, classes=12)
        audited = Hospital(8, 8, events=80, codes=30, classes=2)
    plans = curve_of_plans(planned, samples=SAMPLES, horizon=HORIZON, run=False)
    patients = planned.members + planned.nonmembers
    show_curve(f"Plans: {patients:,} made-up patients, 12 classes, 4 levels, T2, or less", plans)
    audits = curve_of_plans(audited, samples=4, horizon=20, run=True)
    show_curve(
        "Audits of a random GPT-2 (2 layers, width 64), 4 continuations of 20 tokens", audits
    )
    classes = [made_up_classes(planned), *map(library_on, arguments.library)]
    for found in classes:
        show_added(found)
    result = {
        "plans": [asdict(own) for own in plans],
        "audits": [asdict(own) for own in audits],
        "one_class_more": classes,
        "threads": torch.get_num_threads(),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
