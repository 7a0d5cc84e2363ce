"""Evidence with right digests and wrong contents: each kind's own rules, and its job's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from auditing import AS_OF, phigate
from command_line import Checked

from checker.attacks.api import load_attack
from checker.canonical import sha256_hex
from checker.errors import EvidenceError, ExitCode
from checker.evidence_columns import KINDS, strange_column
from checker.evidence_rows import CHECKED_KINDS, strange_rows
from checker.kinds import SHARED
from checker.plugins import BUILT_IN
from checker.run.stored import load_run
from checker.targets import LOGPROB_FLOOR

TEXTS = pa.list_(pa.string())
TABLES: dict[str, dict[str, Any]] = {
    "labels": {
        "patient": ["a", "b", "c"],
        "member": [True, True, False],
        "positive": [True, False, True],
        "eligible": [True, False, True],
        "prompt": ["p", None, "p"],
        "subgroups": pa.array([["x"], [], ["x"]], TEXTS),
        "base_score": pa.array([0.0, None, 1.0], pa.float32()),
        "holds": pa.array([["hiv"], [], ["hiv", "sud"]], TEXTS),
    },
    "rollouts": {
        "prompt": ["p", "p", "q"],
        "sample": [0, 1, 0],
        "tokens": pa.array([[1, 2], [], [0]], pa.list_(pa.int32())),
    },
    "scores": {
        "patient": ["a", "b"],
        "member": [True, False],
        "subgroups": pa.array([[], []], TEXTS),
        "tokens": [3, 1],
        "loss": [-1.5, LOGPROB_FLOOR],
        "min-k@20.0": [-2.5, -0.0],
        "min-k++@20.0": [-1e6, 3.0],
    },
    "other-descriptions": {
        "patient": ["a", "a"],
        "telling": ["x", "y"],
        "tokens": [3, 4],
        "loss": [1.5, 2500.0],  # summed, of a few hundred tokens
    },
    "record-parts": {
        "patient": ["a", "a"],
        "part": ["x", "y"],
        "loss": [1.5, 2.5],
        "table": [2.0, 3.0],
    },
    "spare-scores": {
        "patient": ["a", "b"],
        "tokens": [3, 1],
        "loss": [-1.5, LOGPROB_FLOOR],
        "min-k@20.0": [-2.5, -0.0],
        "min-k++@20.0": [-1e6, 3.0],
    },
    "extraction": {
        "patient": ["a", "b"],
        "member": [False, False],
        "subgroups": pa.array([[], []], TEXTS),
        "prompt": ["", "p"],
        "windows": [3, 2],
        "common": [0, 2],
        "log_probability": [-4.5, None],
        "greedy": [True, False],
    },
    "reference-training": {
        "tensor": ["w", "b", "scale"],
        "shape": pa.array([[2, 1], [1], []], pa.list_(pa.int64())),
        "values": pa.array([[0.5, -1.0], [0.0], [1.5]], pa.list_(pa.float32())),
    },
    "membership-tokens": {
        "patient": ["a", "b"],
        "logprob": [[-1.0, -2.0], [LOGPROB_FLOOR]],
        "mean": [[-3.0, -2.0], [-1.0]],
        "std": [[1.0, 0.5], [0.0]],
    },
    "membership-shadows": {
        "patient": ["a", "b"],
        "member": [True, False],
        "taught": [True, False],
        "logprob": [[-1.0, -0.5], [-2.0, -1.5]],
    },
    "membership-features": {
        "patient": ["a", "b"],
        "member": [True, False],
        "subgroups": pa.array([[], []], TEXTS),
        "tokens": [2, 1],
        "fitted": [True, False],
        "half": [False, True],
        "classic@loss": [-1.5, LOGPROB_FLOOR],
        "feature@loss": [-1.5, LOGPROB_FLOOR],
        "blind@own loss": [-1.0, -2.0],
        "other@declared loss": [-1.0, -2.0],
    },
    "membership-scores": {
        "patient": ["a", "b"],
        "member": [True, False],
        "subgroups": pa.array([[], []], TEXTS),
        "half": [False, True],
        "blind": [0.5, -0.5],
        "placebo": [0.0, 1.0],
        "declared": [0.0, 1.0],
        "score@strongest": [3.0, -2.0],
        "score@loss": [-1.5, LOGPROB_FLOOR],
    },
    "embeddings": {"prompt": ["p", "q"], "embedding": [[0.5, 1.0], [0.0, -1e30]]},
    "overlap": {
        "exact": [1],
        "near": [2],
        "same_codes": [1],
        "members": [9],
        "nonmembers": [10],
        "compared": [8],
        "set_aside": [["c", "d"]],
    },
    "comparability": {"patient": ["a", "b"], "member": [True, False], "score": [-40.0, 3.0]},
    "spare-tables": {
        "spare": [True, False],
        "unigram": [-2.0, -1.0],
        "unigram_min_k": [-4.0, -1.0],
        "bigram": [-2.0, -1.0],
        "bigram_min_k": [-4.0, -1.0],
    },
    "prompt-format": {
        "patient": ["a", "b", "a", "b"],
        "variant": ["declared", "declared", "no BOS", "no BOS"],
        "loss": [1.0, 2.0, 3.0, 4.0],
        "unigram": [5.0, 6.0, None, None],
        "bigram": [5.0, 6.0, None, None],
    },
    "expected-tokens": {"compared": [20], "different": [2], "place": [3], "position": [1]},
    "expected-loss": {"patient": ["a", "b"], "tokens": [3, 4], "loss": [0.0, 9.5]},
    "canaries": {
        "canary": [0, 1, 2],
        "included": [True, False, True],
        "beacon": [False, False, True],
        "natural": [False, True, False],
        "score": [-1.0, -2.0, -0.5],
    },
    "probe-scores": {
        "patient": ["a", "b"],
        "member": [True, False],
        "subgroups": pa.array([[], []], TEXTS),
        "positive": [True, False],
        "score": [1.0, 0.0],
    },
    "perturbations": {
        "prompt": ["p", "p", "q"],
        "identifier": ["none", "age", "none"],
        "change": ["unchanged", "+10", "unchanged"],
        "samples": [4, 4, 4],
        "hits": [4, 0, 1],
    },
    "trajectories": {
        "patient": ["a", "b"],
        "member": [True, False],
        "subgroups": pa.array([[], []], TEXTS),
        "prompt": ["p", "p"],
        "distance": [0.0, 2.0],
        "longest_run": [12, 0],
        "extracted": [True, False],
        "random_distance": [2.0, 4.0],
        "frequent_distance": [1.0, 1.0],
    },
    "regurgitation": {
        "prompt": ["p", "p"],
        "sample": [0, 1],
        "member_groups": [2, 0],
        "nonmember_groups": [0, 1],
        "repeated": [-1, 6],
        "half_a": [2, -1],
        "half_b": [0, 5],
        "groups": [2, 2],
        "nonmembers": [5, 5],
    },
}

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("other-descriptions", {"telling": ["x", "x"]}, "told in one way twice"),
    ("record-parts", {"part": ["x", "x"]}, "a part of a patient's record twice"),
    ("spare-scores", {"patient": ["a", "a"]}, "a patient twice"),
    ("spare-tables", {"bigram_min_k": [-1.5, -1.0]}, "likelier than all (bigram)"),
    ("extraction", {"patient": ["a", "a"]}, "a patient twice"),
    ("extraction", {"common": [4, 2]}, "more windows"),
    ("labels", {"patient": ["a", "a", "c"]}, "a patient twice"),
    ("labels", {"prompt": ["p", None, None]}, "1 eligible patients have no prompt"),
    ("labels", {"base_score": pa.array([None, 0.5, 1.0], pa.float32())}, "no base score"),
    ("labels", {"holds": pa.array([[], [], ["hiv"]], TEXTS)}, "of 1 patients it does not say"),
    ("labels", {"holds": pa.array([["a"], None, ["b"]], TEXTS)}, "of 1 patients it does not say"),
    ("labels", {"base_score": pa.array([1.5, None, 1.0], pa.float32())}, "more than 1"),
    ("rollouts", {"sample": [0, 0, 0]}, "not numbered from 0 on"),
    ("rollouts", {"sample": [0, -1, 0]}, "less than 0"),
    ("rollouts", {"sample": [1, 2, 0]}, "not numbered from 0 on"),
    ("rollouts", {"prompt": ["p", "q", "p"]}, "do not stand together"),
    ("rollouts", {"tokens": pa.array([[1], [], [-1]], pa.list_(pa.int32()))}, "less than 0"),
    ("scores", {"patient": ["a", "a"]}, "a patient twice"),
    ("scores", {"tokens": [0, 1]}, "less than 1"),
    ("scores", {"loss": [1e300, -1.0]}, "more than 1"),
    ("scores", {"min-k@20.0": [float("nan"), -1.0]}, "not finite"),
    ("scores", {"min-k++@20.0": [float("-inf"), -1.0]}, "not finite"),
    ("reference-training", {"tensor": ["w", "w", "b"]}, "a tensor twice"),
    (
        "reference-training",
        {"shape": pa.array([[2, 2], [1], []], pa.list_(pa.int64()))},
        "not as many values",
    ),
    (
        "reference-training",
        {"values": pa.array([[0.5, float("nan")], [0.0], [1.5]], pa.list_(pa.float32()))},
        "not finite",
    ),
    ("membership-tokens", {"patient": ["a", "a"]}, "a patient twice"),
    ("membership-tokens", {"mean": [[-3.0], [-1.0]]}, "not as many means"),
    ("membership-tokens", {"std": [[1.0, 0.5], [0.0, 0.0]]}, "not as many means"),
    ("membership-shadows", {"patient": ["a", "a"]}, "a patient twice"),
    ("membership-shadows", {"logprob": [[-1.0], [-1.0, -2.0]]}, "as many passes"),
    ("membership-features", {"patient": ["a", "a"]}, "a patient twice"),
    ("membership-features", {"tokens": [0, 1]}, "less than 1"),
    ("membership-features", {"feature@loss": [float("nan"), 0.0]}, "not finite"),
    ("membership-scores", {"patient": ["a", "a"]}, "a patient twice"),
    ("membership-scores", {"score@strongest": [float("inf"), 0.0]}, "not finite"),
    ("embeddings", {"prompt": ["p", "p"]}, "a prompt twice"),
    ("embeddings", {"embedding": [[0.5], [0.5, 1.0]]}, "one length"),
    ("overlap", {"exact": [-1]}, "less than 0"),
    ("overlap", {"near": [11]}, "11 nonmembers as near, of 10"),
    ("overlap", {"same_codes": [3]}, "3 nonmembers with a member's codes, of 2"),
    ("overlap", {"near": [1]}, "sets 2 nonmembers aside"),
    ("overlap", {"set_aside": [["c", "c"]]}, "sets 2 nonmembers aside"),
    ("comparability", {"patient": ["a", "a"]}, "a patient twice"),
    ("comparability", {"score": [float("inf"), 0.0]}, "not finite"),
    ("prompt-format", {"patient": ["a", "b", "a", "c"]}, "different patients"),
    ("prompt-format", {"patient": ["a", "b", "b", "a"]}, "different patients"),
    ("prompt-format", {"patient": ["a", "a", "a", "a"]}, "twice"),
    ("prompt-format", {"bigram": pa.nulls(4, pa.float64())}, "one of two tables"),
    ("prompt-format", {"loss": [-5.0, 2.0, 3.0, 4.0]}, "less than -1"),
    ("expected-tokens", {"different": [21]}, "21 sequences differ, of 20"),
    ("expected-tokens", {"different": [0]}, "does not say where"),
    ("expected-loss", {"patient": ["a", "a"]}, "a patient twice"),
    ("canaries", {"canary": [0, 2, 1]}, "not numbered from 0 on"),
    ("canaries", {"included": [True, False, False]}, "beacons"),
    ("canaries", {"beacon": [True, False, False]}, "beacons"),
    ("probe-scores", {"patient": ["a", "a"]}, "a patient twice"),
    ("probe-scores", {"score": [1.5, 0.0]}, "more than 1"),
    ("perturbations", {"hits": [5, 0, 1]}, "more hits than samples"),
    ("perturbations", {"hits": [-1, 0, 1]}, "less than 0"),
    ("perturbations", {"samples": [0, 4, 4]}, "less than 1"),
    ("perturbations", {"change": ["unchanged", "x", "unchanged"]}, "no number of years"),
    ("perturbations", {"identifier": ["none", "age", "sex"]}, "not asked unchanged"),
    ("perturbations", {"prompt": ["p", "q", "p"]}, "twice"),
    ("trajectories", {"patient": ["a", "a"]}, "a patient twice"),
    ("trajectories", {"distance": [-1.0, 2.0]}, "less than"),
    ("trajectories", {"random_distance": [2.0, 1e300]}, "more than"),
    ("regurgitation", {"sample": [0, 0]}, "a continuation twice"),
    ("regurgitation", {"member_groups": [3, 0]}, "more in member_groups"),
    ("regurgitation", {"repeated": [0, 7]}, "more in repeated"),
    ("regurgitation", {"half_a": [-2, 0]}, "less than -1"),
    ("regurgitation", {"groups": [2, 3]}, "differ in groups"),
    ("regurgitation", {"groups": [0, 0]}, "less than 1"),
]


def strange(kind: str, columns: dict[str, Any]) -> str | None:
    table = pa.table(columns)
    return strange_column(table, kind=kind) or strange_rows(table, kind=kind)


def test_every_built_in_kind_has_its_rules() -> None:
    own = {kind for name in BUILT_IN["phigate.probes"] for kind in load_attack(name).kinds}
    assert set(TABLES) == KINDS == CHECKED_KINDS == own | set(SHARED)
    assert {kind for kind, _, _ in WRONG} == KINDS


@pytest.mark.parametrize("kind", TABLES)
def test_what_a_run_writes_is_taken(kind: str) -> None:
    assert strange(kind, TABLES[kind]) is None


@pytest.mark.parametrize("kind", sorted(KINDS - {"overlap", "expected-tokens"}))
def test_nobody_to_measure_is_no_damage(kind: str) -> None:
    empty = pa.table(TABLES[kind]).slice(0, 0)
    assert strange_column(empty, kind=kind) is None
    assert strange_rows(empty, kind=kind) is None


@pytest.mark.parametrize(("kind", "change", "says"), WRONG)
def test_what_no_run_writes_is_refused(kind: str, change: dict[str, Any], says: str) -> None:
    said = strange(kind, {**TABLES[kind], **change})
    assert said is not None
    assert says in said


def test_one_row_is_one_row() -> None:
    for kind in ("overlap", "expected-tokens"):
        for count in (0, 2):
            table = pa.concat_tables([pa.table(TABLES[kind])] * 2).slice(0, count)
            assert f"it has {count} rows" in (strange_rows(table, kind=kind) or "")


@pytest.mark.parametrize(
    ("kind", "column", "says"),
    [
        ("membership-features", "feature@loss", "no feature"),
        ("membership-scores", "score@strongest", "no learned score"),
    ],
)
def test_what_a_run_always_learns_is_missed(kind: str, column: str, says: str) -> None:
    left = pa.table(TABLES[kind]).drop_columns([column])
    assert says in (strange_rows(left, kind=kind) or "")


def test_of_nobody_nothing_is_learned() -> None:
    nobody = pa.table(TABLES["membership-features"]).slice(0, 0)
    without = [name for name in nobody.column_names if "@" in name]
    assert strange_rows(nobody.drop_columns(without), kind="membership-features") is None


# --- a table and its job ------------------------------------------------------------------------


def rewrite(run: Path, kind: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a job's table, and make manifest and digests fit."""
    manifest = json.loads((run / "manifest.json").read_text())
    entry = next(one for one in manifest["entries"] if one["kind"] == kind)
    table = change(pq.read_table(run / entry["file"]))
    pq.write_table(table, run / entry["file"])
    entry |= {"sha256": sha256_hex((run / entry["file"]).read_bytes()), "rows": table.num_rows}
    (run / "manifest.json").write_text(json.dumps(manifest))


def with_column(name: str, values: Callable[[pa.Table], Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        new = pa.array(values(table), table.schema.field(name).type)
        return table.set_column(place, table.schema.field(name), new)

    return change


def of_fewer_prompts(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["prompt"], table["prompt"][0]))


def of_fewer_samples(table: pa.Table) -> pa.Table:
    return table.filter(pc.less(table["sample"], pc.max(table["sample"])))


def of_unknown_tokens(table: pa.Table) -> pa.Table:
    return with_column("tokens", lambda _: [[10**6]] * table.num_rows)(table)


def of_another_k(table: pa.Table) -> pa.Table:
    return table.rename_columns([name.replace("@20", "@21") for name in table.column_names])


def of_more_members(table: pa.Table) -> pa.Table:
    return with_column("members", lambda _: [7])(table)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("rollouts", of_fewer_prompts, "were asked"),
        ("rollouts", of_fewer_samples, "samples of a prompt"),
        ("rollouts", of_unknown_tokens, "which the vocabulary does not have"),
        ("scores", of_another_k, "lacks min-k@20.0"),
        ("labels", lambda table: table.slice(1), "and the plan of"),
        ("labels", with_column("patient", lambda t: [f"{i}" for i in range(t.num_rows)]), "differ"),
        ("overlap", of_more_members, "compares 7 members"),
        ("prompt-format", lambda table: table.drop_columns(["bigram"]), "lacks bigram"),
        (
            "prompt-format",
            with_column("unigram", lambda t: [None] * t.num_rows),
            "one of two tables",
        ),
    ],
)
def test_evidence_that_answers_something_else_is_not_judged(
    checked: Callable[[str], Checked],
    kind: str,
    change: Callable[[pa.Table], pa.Table],
    says: str,
) -> None:
    run = checked("leaking").folder / "run"
    rewrite(run, kind, change)
    code, out = phigate("judge", run, "--as-of", AS_OF, "--format", "json")
    assert code == ExitCode.INCOMPLETE, out
    assert says in " ".join(out.split())
    assert "itself failed" not in out


def test_a_manifest_that_answers_another_job_is_not_judged(
    checked: Callable[[str], Checked],
) -> None:
    run = checked("leaking").folder / "run"
    manifest = json.loads((run / "manifest.json").read_text())
    entries = manifest["entries"]
    for changed in (
        [*entries, entries[0]],
        [{**entries[0], "kind": "comparability"}, *entries[1:]],
        [{**entries[0], "job": "0" * 64}, *entries[1:]],
    ):
        (run / "manifest.json").write_text(json.dumps({**manifest, "entries": changed}))
        code, out = phigate("judge", run, "--as-of", AS_OF, "--format", "json")
        assert code == ExitCode.INCOMPLETE
        assert "manifest.json" in out or "is no" in out


# --- plans that do not hang together ------------------------------------------------------------


def change_plan(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    plan = json.loads((run / "plan.json").read_text())
    change(plan)
    (run / "plan.json").write_text(json.dumps(plan))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["planSha256"] = sha256_hex((run / "plan.json").read_bytes())
    (run / "manifest.json").write_text(json.dumps(manifest))


PLANS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda plan: plan["cells"].append(plan["cells"][0]), "twice"),
    (lambda plan: plan["jobs"].append(plan["jobs"][0]), "twice"),
    (lambda plan: plan["cells"][0].update(probe="mind-reading"), "unknown probe"),
    (lambda plan: plan["cells"][0].update(metric="membership_luck"), "does not have"),
    (lambda plan: plan["cells"][0].update(control="c"), "of no control"),
    (lambda plan: plan["cells"][0].update(attacker="nobody-known"), "of no control"),
    (lambda plan: plan["cells"][0]["params"].update(samples=-1), "does not take"),
    (lambda plan: plan["cells"][0].update(attributeClass="gout"), "the plan says nothing"),
    (lambda plan: plan["cells"][0].update(attributeClass=None), "no attribute class"),
    (lambda plan: plan["cells"][0].update(labels=None), "has no labels"),
    (lambda plan: plan["cells"][0].update(jobs=plan["cells"][-1]["jobs"]), "no job of kind"),
    (lambda plan: plan["cells"][0].update(labels=plan["cells"][0]["jobs"][0]), "another kind"),
    (lambda plan: plan["cells"][0].update(contrast="reference"), "on the reference"),
    (lambda plan: plan["jobs"][0]["inputs"].update(subgroups=[{}]), "no names"),
    (lambda plan: plan.update(confidence=1.0), "confidence"),
    (lambda plan: plan.update(confidence=0.2), "confidence"),
]


@pytest.mark.parametrize(("change", "says"), PLANS)
def test_a_plan_that_does_not_hang_together_is_refused(
    finished_checks: Callable[[str], Checked],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    says: str,
) -> None:
    whole = finished_checks("leaking").folder / "run"
    for name in ("plan.json", "manifest.json", "run.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    load_run(tmp_path)
    change_plan(tmp_path, change)
    with pytest.raises(EvidenceError, match=says):
        load_run(tmp_path)
