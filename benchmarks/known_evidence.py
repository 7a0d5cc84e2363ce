"""Observations of known truth as the plan and the evidence tables that the judge reads.

Part of the calibration study, `benchmarks.calibration`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.known_draws import DrawnObservations
from benchmarks.known_truths import Design
from checker.attacks.api import load_attack
from checker.attacks.attribute_disclosure.measure import DisclosureObservations
from checker.attacks.canary_exposure.measure import CanaryObservations
from checker.attacks.embedding_probe.measure import EmbeddingObservations
from checker.attacks.families import Measurement, Power
from checker.attacks.membership_inference.measure import ScoreObservations
from checker.attacks.trajectory_memorization.extraction import ExtractionObservations
from checker.attacks.trajectory_memorization.measure import (
    RegurgitationObservations,
    TrajectoryObservations,
)
from checker.kinds import compensator_column, score_column
from checker.planning import AuditPlan, Cell, Job
from checker.planning.extraction import KIND as EXTRACTION
from checker.planning.model import Cost, DataSnapshot, PolicySnapshot, TargetSnapshot
from checker.planning.nonmembers import WINDOW, extraction_settings
from checker.policy import load_policy, load_target
from checker.policy.documents import LeakagePolicy, Limit
from checker.resources import resource

Array = NDArray[np.float64]

WATCHED, HARMLESS = 7, 1


def policy() -> LeakagePolicy:
    """Return a policy with default parameters; limits are the cells' own."""
    control = {
        "title": "C",
        "probe": "attribute-disclosure",
        "metric": "excess_disclosure",
        "limits": {"known": {"fail": 0.05}},
    }
    spec = {
        "context": "internal",
        "attackers": {"known": {"title": "Someone", "knows": {"events": 10}}},
        "controls": {"c": control},
    }
    document = {"apiVersion": "phigate/v1", "kind": "LeakagePolicy", "spec": spec}
    return LeakagePolicy.model_validate(
        {**document, "metadata": {"name": "known-truths", "version": "1"}}
    )


def evidence(design: Design, observations: Any, *, batch: int | None = None) -> dict[str, pa.Table]:
    """Return observations as evidence by the name of a job, with a split that is comparable.

    Args:
        design: whose observations they are.
        observations: what it drew.
        batch: prompts of a rollouts job; all in one unless given.
    """
    if isinstance(observations, DisclosureObservations):
        tables = _disclosure_tables(
            observations,
            batch or len(observations.q),
            samples=design.params.get("samples", 0),
            estimated=design.family == "mean-difference",
        )
    elif isinstance(observations, ScoreObservations):
        loss = observations.scores["loss"]
        names = ("loss", score_column("min-k", 20), score_column("min-k++", 20))
        named = {name: loss.astype(np.float32) for name in names}
        member = observations.member
        patients = [str(i) for i in range(len(loss))]
        table = {"patient": patients, "member": member, **_nobody(len(loss)), **named}
        tables = {"scores": pa.table(table)}
    elif isinstance(observations, EmbeddingObservations):
        columns = {
            "member": observations.member,
            "positive": observations.positive,
            "score": observations.score.astype(np.float32),
        }
        tables = {"probe-scores": pa.table(columns)}
    elif isinstance(observations, ExtractionObservations):
        tables = {f"{EXTRACTION}-0": _extraction_table(observations)}
    elif isinstance(observations, TrajectoryObservations):
        kept = ("member", "distance", "random_distance", "frequent_distance")
        columns = {name: getattr(observations, name) for name in kept}
        columns["longest_run"] = np.where(observations.extracted, 20, 0)
        columns["prompt"] = pa.array([str(i) for i in observations.prompt.tolist()])
        tables = {"trajectories": pa.table(columns)}
    elif isinstance(observations, RegurgitationObservations):
        records = observations.records
        n = len(records.repeated)
        half_a, half_b = records.halves.T
        columns = {
            "member_groups": records.member_groups,
            "nonmember_groups": records.nonmember_groups,
            "repeated": records.repeated,
            "half_a": np.ascontiguousarray(half_a),
            "half_b": np.ascontiguousarray(half_b),
            "groups": np.full(n, records.groups),
            "nonmembers": np.full(n, records.nonmembers),
        }
        tables = {"regurgitation": pa.table(columns)}
    else:
        tables = {"canaries": _canary_table(observations)}
    return {**COMPARABLE, **tables}


def _nobody(rows: int) -> dict[str, Any]:
    return {"subgroups": pa.array([[]] * rows, pa.list_(pa.string())), "tokens": [20] * rows}


def _disclosure_tables(
    found: DisclosureObservations, batch: int, *, samples: int, estimated: bool
) -> dict[str, pa.Table]:
    names = np.array([f"p{number}" for number in found.prompt.tolist()], dtype=object)
    rows = len(names)
    labels = {
        "patient": [f"x{i}" for i in range(rows)],
        "member": found.member,
        "positive": found.positive,
        "eligible": found.is_eligible,
        "prompt": pa.array(names.tolist(), pa.string()),
        "subgroups": _nobody(rows)["subgroups"],
        "base_score": pa.nulls(rows, pa.float32()),
    }
    tables = {"labels": pa.table(labels)}
    _, first = np.unique(found.prompt, return_index=True)
    for start in range(0, len(first), batch):
        part = first[start : start + batch]  # in the order of the prompts' numbers
        if isinstance(found, DrawnObservations):
            drawn = _continued(names[part], found.hits[part], found.expected[part])
        else:
            making = _expecting if estimated else _rollouts
            drawn = making(names[part], found.q[part], samples)
        tables[f"rollouts-{start // batch}"] = drawn
        if found.reference_q is not None:
            other = _rollouts(names[part], found.reference_q[part], samples)
            tables[f"reference-{start // batch}"] = other
    return tables


def _rollouts(names: NDArray[np.object_], q: Array, samples: int) -> pa.Table:
    return _table_of(names, np.arange(samples) < np.round(q * samples)[:, None])


def _table_of(names: NDArray[np.object_], hit: NDArray[np.bool_]) -> pa.Table:
    samples = hit.shape[1]
    tokens = np.where(hit, WATCHED, HARMLESS).astype(np.int32).ravel()
    ends = pa.array(np.arange(len(tokens) + 1, dtype=np.int32))
    prompts = pa.DictionaryArray.from_arrays(
        np.repeat(np.arange(len(names)), samples), pa.array(names.tolist(), pa.string())
    )
    columns = {
        "prompt": prompts.cast(pa.string()),
        "sample": pa.array(np.tile(np.arange(samples, dtype=np.int32), len(names))),
        "tokens": pa.ListArray.from_arrays(ends, pa.array(tokens)),
    }
    return pa.table(columns)


def _expecting(names: NDArray[np.object_], q: Array, samples: int) -> pa.Table:
    """Return rollouts of which none names the class, though each was to with probability q."""
    table = _rollouts(names, np.zeros_like(q), samples)
    expected = pa.array(np.repeat(q, samples).astype(np.float32))
    return table.append_column(compensator_column([WATCHED]), expected)


def _continued(
    names: NDArray[np.object_], hits: NDArray[np.bool_], expected: NDArray[np.float32]
) -> pa.Table:
    """Return rollouts with the hits and compensators that were drawn."""
    return _table_of(names, hits).append_column(
        compensator_column([WATCHED]), pa.array(expected.ravel())
    )


def _extraction_table(found: ExtractionObservations) -> pa.Table:
    rows = len(found.member)
    columns: dict[str, Any] = {
        "patient": [f"x{i}" for i in range(rows)],
        "member": found.member,
        "subgroups": _nobody(rows)["subgroups"],
        "prompt": [f"p{number}" for number in found.sequence.tolist()],
        "windows": [1] * rows,
        "common": [0] * rows,
    }
    for name in ("log_probability", "telling_log_probability", "rare_log_probability"):
        columns[name] = getattr(found, name).astype(np.float32)
    for name in ("greedy", "telling_greedy", "rare_greedy"):
        columns[name] = getattr(found, name)
    return pa.table(columns)


def _canary_table(found: CanaryObservations) -> pa.Table:
    canaries, beacons = len(found.score), len(found.beacon_score)
    columns = {
        "canary": np.arange(canaries + beacons),
        "beacon": np.arange(canaries + beacons) >= canaries,
        "natural": np.zeros(canaries + beacons, dtype=np.bool_),
        "included": np.concatenate([found.included, np.ones(beacons, dtype=np.bool_)]),
        "score": np.concatenate([found.score, found.beacon_score]).astype(np.float32),
    }
    return pa.table(columns)


def unknown_nonmembers(count: int) -> pa.Table:
    """Return what is seen of nonmembers of whom no piece comes out of the model."""
    columns = {
        "patient": [f"p{number}" for number in range(count)],
        "member": [False] * count,
        "subgroups": _nobody(count)["subgroups"],
        "prompt": ["p"] * count,
        "windows": [1] * count,
        "common": [0] * count,
        "log_probability": [-50.0] * count,
        "greedy": [False] * count,
        "telling_log_probability": [-50.0] * count,
        "telling_greedy": [False] * count,
        "rare_log_probability": [-50.0] * count,
        "rare_greedy": [False] * count,
    }
    return pa.table(columns)


def _comparable_split() -> dict[str, pa.Table]:
    """No record in both splits, or in the model, a classifier at chance, and the best format."""
    n, ladder, loss = 1000, np.arange(1000) / 1000, 1.0 + 0.001 * np.arange(100)
    counts = {"exact": 0, "near": 0, "same_codes": 0, "members": n, "nonmembers": n, "compared": n}
    split = {
        "patient": ["p"] * (2 * n),
        "member": np.arange(2 * n) < n,
        "score": np.concatenate([ladder, ladder + 0.0001]).astype(np.float32),
    }
    formats = {
        "patient": [str(i) for i in range(100)] * 2,
        "variant": ["declared"] * 100 + ["no BOS"] * 100,
        "loss": np.concatenate([loss, loss + 0.5]),
        **{table: np.concatenate([loss + 1.0] * 2) for table in ("unigram", "bigram")},
    }
    told = {
        "patient": [str(i) for i in range(100)] * 2,
        "telling": ["declared"] * 100 + ["age +1"] * 100,
        "tokens": [20] * 200,
        "loss": np.concatenate([20 * loss, 20 * loss + 10]),
    }
    parts = {
        "patient": [str(i) for i in range(100)],
        "part": ["static"] * 100,
        "loss": loss,
        "table": loss + 1.0,
    }
    overlap = {name: [count] for name, count in counts.items()}
    return {
        EXTRACTION: unknown_nonmembers(100),
        "overlap": pa.table({**overlap, "set_aside": [[]]}),
        "comparability": pa.table(split),
        "prompt-format": pa.table(formats),
        "other-descriptions": pa.table(told),
        "record-parts": pa.table(parts),
    }


COMPARABLE: Final = _comparable_split()
LOOKED_FOR: Final = {**extraction_settings(WINDOW).inputs(), "member": False}


def plan_of(
    design: Design, tables: dict[str, pa.Table], *, seed: int, sequential: bool = False
) -> AuditPlan:
    """Return the plan whose jobs the tables answer, with the design's one cell."""
    kinds = {name: name.rpartition("-")[0] if name[-1].isdigit() else name for name in tables}
    jobs = [
        Job.model_validate(
            {
                "digest": name,
                "kind": "rollouts" if kind == "reference" else kind,
                "title": name,
                "inputs": LOOKED_FOR if name == EXTRACTION else {},
                "runs_on": kind if kind == "reference" else "target",
            }
        )
        for name, kind in kinds.items()
    ]
    return AuditPlan(
        **SNAPSHOTS,
        cells=[cell_of(design, [name for name in tables if name not in {*COMPARABLE, "labels"}])],
        jobs=jobs,
        nonmember_jobs=[EXTRACTION],
        seed=seed,
        confidence=0.95,
        sequential=sequential,
    )


def cell_of(design: Design, jobs: list[str]) -> Cell:
    """Return the cell of a design."""
    probe = load_attack(design.probe)
    return Cell(
        id=design.key,
        control="c",
        attribute_class="secret" if probe.needs_attribute_class else None,
        attacker="known",
        subgroup="all",
        probe=design.probe,
        params=probe.params.model_validate(design.params).model_dump(mode="json"),
        metric=design.metric,
        contrast=design.contrast,
        limit=Limit(fail=design.limit),
        severity="high",
        gating=True,
        on_inconclusive="block",
        measurement=design.key,
        labels="labels" if any(name.startswith("rollouts") for name in jobs) else None,
        jobs=jobs,
        sample=design.sample,
        power=Power(can_pass=True),
    )


SNAPSHOTS: Final[dict[str, Any]] = {
    "policy": PolicySnapshot(
        document=load_policy(resource("policies/demo.yaml")).document, document_sha256="0" * 64,
        sha256="0" * 64, lines={},
    ),
    "target": TargetSnapshot(
        document=load_target(resource("policies/starter/target.yaml")).document,
        document_sha256="0" * 64, sha256="0" * 64, model_sha256="0" * 64, model_files={},
        vocabulary_sha256="0" * 64, vocabulary_size=10, context_length=None,
        capabilities=["samples", "logprobs", "embeddings"],
    ),
    "data": DataSnapshot(
        name="made up", sha256="0" * 64, members=1, nonmembers=1, events=1, tokens=1,
        tokens_left_out=0, unknown_events=0, unknown_share=0.0, commonest_unknown={},
        unused_tokens=[], unexplained_tokens=[],
    ),
    "classes": {
        "secret": {"title": "Secret", "codes_in_data": 1, "watch": [WATCHED], "unmatched": []}
    },
    "comparability": Power(can_pass=True),
    "cost": Cost(
        forward_tokens=0, forward_tokens_unshared=0, rollout_tokens=0, rollout_tokens_unshared=0
    ),
}  # fmt: skip


def measured(design: Design, observations: Any, *, confidence: float) -> Measurement:
    """Return what the design's attack makes of observations."""
    attack = load_attack(design.probe)
    params = attack.params.model_validate(design.params)
    metric = attack.metrics[design.metric].in_control(contrast=design.contrast, params=params)
    return attack.measuring.measure(metric, observations, params=params, confidence=confidence)
