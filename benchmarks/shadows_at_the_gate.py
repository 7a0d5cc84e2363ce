"""What shadow models change of the release of small trained models.

The zoo's trained types, stopped when other patients no longer gain, on more patients than the zoo
has. Each is asked once for membership, without models that are trained on the very patients
(`shadows`), beside two and beside four, and judged by the limits of the gated and of the public
baseline. What either asks beside membership is left out.

    nice python -m benchmarks.shadows_at_the_gate --work gate --patients 1500 --kind gpt2

What was measured is kept; where a call ends early the next goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks import deciding_alone
from benchmarks.wrong_worlds import Size
from benchmarks.zoo.entries import ENTRIES
from benchmarks.zoo.keeping import Zoo
from benchmarks.zoo.training import train_entry
from checker.library import audit, load_policy, load_target, plan

KINDS: Final = ("gpt2", "llama", "mamba2")
BASELINES: Final = ("gated", "public-weights")
CONTROLS: Final = ("membership", "membership-of-the-few", "standing-out")


def policy(folder: Path, shadows: list[int]) -> Path:
    """Write a policy that asks for membership by both baselines' limits, and nothing else."""
    controls: dict[str, Any] = {}
    document: dict[str, Any] = {}
    for baseline in BASELINES:
        document = deciding_alone(load_policy(f"baseline-{baseline}@2"))
        for name in CONTROLS:
            control = document["spec"]["controls"][name]
            for count in shadows:
                params = {**control["params"], "shadows": count}
                controls[f"{name}.{baseline}.{count}"] = {**control, "params": params}
    document["metadata"] = {"name": "shadows-at-the-gate", "version": "1.0.0"}
    document["spec"]["controls"] = controls
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def study(folder: Path, *, kind: str, size: Size, seed: int, shadows: list[int]) -> dict[str, Any]:
    """Train a model, unless it is there, audit it, and say what each cell says and the cost."""
    zoo = Zoo(folder / f"patients-{size.patients}", "trained", seed, size)
    zoo.prepare()
    own = zoo.folder / "entries" / kind
    own.mkdir(parents=True, exist_ok=True)
    target = own / "target.yaml"
    document = zoo.target(train_entry(ENTRIES[f"{kind}-sound"], zoo))
    document["spec"]["expect"] = {"tokens": "../../sample.parquet"}
    target.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    planned = plan(load_policy(policy(own, shadows)), load_target(target))
    began = time.process_time()
    report = audit(planned, out=own / "run")
    found: dict[str, Any] = {"kind": kind, "patients": size.patients, "seed": seed}
    found["seconds"] = round(time.process_time() - began, 1)
    for cell in report.cells:
        name, baseline, count = cell.control.split(".")
        one = cell.estimate
        numbers = [] if one is None else [one.value, one.low, one.high]
        found.setdefault(count, {})[f"{name}, {baseline}"] = [cell.verdict, cell.reason, *numbers]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("gate"))
    parser.add_argument("--patients", type=int, default=1500, help="of each split")
    parser.add_argument("--further", type=int, default=2400, help="whom models learn from beside")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shadows", type=int, nargs="*", default=[0, 2, 4])
    parser.add_argument("--kind", choices=KINDS, action="append", default=[])
    asked = parser.parse_args()
    size = Size(asked.patients, asked.further, asked.patients // 4)
    asked.work.mkdir(parents=True, exist_ok=True)
    for kind in asked.kind or KINDS:
        found = study(asked.work, kind=kind, size=size, seed=asked.seed, shadows=asked.shadows)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
