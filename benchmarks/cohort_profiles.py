"""Counts, in real cohorts, who has which class and how far attackers reach, for operating tables.

    python -m benchmarks.cohort_profiles ../shared/data/mimic_iv_demo \
        --write policies/operating/cohorts.json

A policy that asks for every class of the library, of attackers who know nothing, static facts, the
first 3, 10, 20 and 50 events, or all up to the class, is planned on MIMIC-IV's demo three times:
the first 20 diagnoses of each, all diagnoses, and the whole records. The plans' labels are what
is counted (`checker.planning.imagined.CohortProfile`), of members and nonmembers together; no model
is run. (Synthea writes diagnoses in SNOMED CT, which the library may not ship.)
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from checker.planning.compile import CompiledAudit
from checker.planning.imagined import ALL, NOTHING, STATIC, CohortProfile, CohortProfiles
from checker.policy import load_policy, load_target
from checker.policy.library import library_classes
from checker.run.prepare import prepare_documents
from checker.testing.simulated import write_simulated

HORIZON = 100
RUNGS: dict[str, dict[str, Any]] = {
    NOTHING: {},
    STATIC: {"static": ["age", "sex"]},
    **{str(n): {"static": ["age", "sex"], "events": n} for n in (3, 10, 20, 50)},
    ALL: {"static": ["age", "sex"], "events": "all"},
}
COHORTS: dict[str, str] = {
    "short": "short records: the first 20 diagnoses of each patient",
    "coded": "coded records: all diagnoses and nothing else",
    "raw": "raw hospital records: diagnoses, laboratory, medication, measurements",
}
EVERYBODYS = ("common-chronic", "routine-labs", "demographics", "tobacco")
"""Classes so common that they say nothing of how far one reaches a rare one."""

KEPT: dict[str, Callable[[pa.Table], pa.Table]] = {
    "short": lambda table: _first(_diagnoses(table), 20),
    "coded": lambda table: _diagnoses(table),
    "raw": lambda table: table,
}
SOURCE = "MIMIC-IV demo 2.2, 90 patients, ODbL 1.0"


def _diagnoses(table: pa.Table) -> pa.Table:
    return table.filter(pc.match_substring_regex(table["code"], "^(DIAGNOSIS|GENDER|MEDS_BIRTH)"))


def _first(table: pa.Table, count: int) -> pa.Table:
    """Keep so many events of each patient, and what comes before them."""
    subjects = table["subject_id"].to_numpy()
    count += 2  # sex and birth
    starts = np.flatnonzero(np.diff(subjects, prepend=subjects[0] - 1))
    lengths = np.diff(np.append(starts, len(subjects)))
    return table.filter(pa.array(np.arange(len(subjects)) - np.repeat(starts, lengths) < count))


def profile(data: Path, name: str) -> CohortProfile:
    """Count one cohort."""
    with tempfile.TemporaryDirectory() as scratch:
        audit = _planned(data, Path(scratch), KEPT[name])
    held: list[set[str]] = []
    reach: dict[str, list[int]] = {rung: [0, 0] for rung in RUNGS}
    distinct: dict[str, list[float]] = {rung: [] for rung in RUNGS}
    for cell in audit.plan.cells:
        if cell.labels is None:
            continue
        labels = audit.workload.labels[cell.labels]
        positive = np.concatenate([labels.split(side).positive for side in (True, False)])
        held = held or [set() for _ in positive]
        for patient in np.flatnonzero(positive):
            held[patient].add(str(cell.attribute_class))
        if cell.attribute_class in EVERYBODYS:
            continue
        reach[cell.attacker][0] += cell.sample.members + cell.sample.nonmembers
        reach[cell.attacker][1] += int(positive.sum())
        if cell.sample.distinct_prompt_share is not None:
            distinct[cell.attacker].append(cell.sample.distinct_prompt_share)
    return CohortProfile(
        name=name,
        title=COHORTS[name],
        source=SOURCE,
        classes=dict(sorted(Counter(" ".join(sorted(one)) for one in held).items())),
        horizon_tokens=HORIZON,
        within_reach={rung: round(a / max(b, 1), 3) for rung, (a, b) in reach.items()},
        distinct_prompts={
            # of more patients than these nearly all share what is known without any event
            rung: 0.0 if rung in (NOTHING, STATIC) else round(float(np.median(found or [1.0])), 3)
            for rung, found in distinct.items()
        },
    )


def _planned(data: Path, folder: Path, kept: Callable[[pa.Table], pa.Table]) -> CompiledAudit:
    for path in sorted((data / "data").rglob("*.parquet")):
        out = folder / "cohort" / path.relative_to(data)
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(kept(pq.read_table(path)), out)
    shutil.copytree(data / "metadata", folder / "cohort" / "metadata")
    codes: set[str] = set()
    for path in (folder / "cohort" / "data").rglob("*.parquet"):
        codes |= set(pc.unique(pq.read_table(path)["code"]).to_pylist())
    ages = [f"AGE//{years}" for years in range(130)]
    tokens = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *sorted(codes), *ages]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    write_simulated(
        folder / "model.json", vocabulary_size=len(vocabulary), context_length=100_000,
        unigram=[1 / len(vocabulary)] * len(vocabulary),
    )  # fmt: skip
    target = {
        "apiVersion": "phigate/v1",
        "kind": "AuditTarget",
        "metadata": {"name": "counted", "version": "1"},
        "spec": {
            "model": {"backend": "simulated", "path": "model.json"},
            "tokenization": {
                "vocabulary": "vocab.json",
                "specials": {"pad": "[PAD]", "bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]"},
                "static": {"sex": {"codes": "GENDER//*", "take": "first"}},
                "age": "AGE//{years}",
                "maxLength": 100_000,
            },
            "data": {
                "path": "cohort", "members": "train", "nonmembers": "held_out",
                "assignment": "random", "assignedBy": "publishers",
            },
        },
    }  # fmt: skip
    controls = {
        name: {
            "title": name,
            "attributeClass": name,
            "probe": "attribute-disclosure",
            "metric": "excess_mean_q",
            "params": {"horizonTokens": HORIZON},
            "limits": {rung: {"fail": 0.1} for rung in RUNGS},
        }
        for name in library_classes()
    }
    policy = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "counted", "version": "1.0.0"},
        "spec": {
            "context": "internal",
            "attackers": {name: {"title": name, "knows": knows} for name, knows in RUNGS.items()},
            "attributeClasses": {
                name: {"use": f"library/{name}@{one.document.metadata.version.partition('.')[0]}"}
                for name, one in library_classes().items()
            },
            "controls": controls,
        },
    }
    for name, document in (("target", target), ("policy", policy)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    found = prepare_documents(
        load_policy(folder / "policy.yaml"), load_target(folder / "target.yaml")
    )
    return found.audit


def main() -> None:
    """Print the profiles, or write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=list(COHORTS))
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    found = CohortProfiles(cohorts=[profile(asked.data, name) for name in asked.only])
    if asked.write:
        asked.write.write_bytes(found.to_bytes())
    else:
        print(found.to_bytes().decode())


if __name__ == "__main__":
    main()
