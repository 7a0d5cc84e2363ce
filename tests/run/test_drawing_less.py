"""Threshold tests, curtailed sampling and sequential stopping draw less and decide alike."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from auditing import AS_OF, MEASURED, Audit, audit, write_policy
from command_line import Command

from checker.attacks.api import columns_of
from checker.errors import EvidenceError, ExitCode
from checker.evidence import EvidenceStore, tables_by_job
from checker.run.answers import check_answers
from checker.run.stored import load_run
from checker.verdict import judge

SETTINGS: dict[str, dict[str, bool]] = {
    "full": {},
    "tested": {},
    "short": {"curtailed": True},
    "early": {"sequential": True},
}
FIRST = {"tested": 3}
"""Samples that every prompt has, where that is not all of them."""

Audited = Callable[[str, str], Audit]


def sampling(folder: Path, name: str) -> Path:
    """One class and one attacker, with one way of drawing less."""
    drawn = {"samples": 20, "probabilitySamples": FIRST.get(name, 20), "horizonTokens": 32}
    controls: dict[str, Any] = {
        "hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}, "params": drawn}
    }
    return write_policy(folder / f"{name}.yaml", controls, sampling=SETTINGS[name])


@pytest.fixture(scope="module")
def audited(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Audit a target with a way of drawing less, once; the run is to be read only."""
    folder = tmp_path_factory.mktemp("audits")
    for name in ("leaking", "sound"):  # that only draw, so that hits are counted
        content = json.loads((simulated_targets / f"{name}.json").read_text())
        content["capabilities"] = ["samples", "embeddings"]
        counted = shutil.copytree(simulated_targets, folder / f"counted-{name}")
        (counted / f"{name}.json").write_text(json.dumps(content))
    done: dict[tuple[str, str], Audit] = {}

    def once(target: str, name: str) -> Audit:
        if (target, name) not in done:
            where, _, model = target.rpartition("-")
            targets = folder / target if where else simulated_targets
            done[target, name] = audit(
                sampling(folder, name), targets / f"{model}.yaml", folder / f"{name}-{target}"
            )
        return done[target, name]

    return once


def copied(found: Audit, folder: Path) -> Path:
    """Copy a run to be changed."""
    return shutil.copytree(found.run, folder / "run")


def drawn(run: Path) -> int:
    """Continuations that were drawn."""
    entries = json.loads((run / "manifest.json").read_text())["entries"]
    return sum(entry["rows"] for entry in entries if entry["kind"] == "rollouts")


def rows(run: Path) -> dict[tuple[str, int], list[int]]:
    """Tokens by prompt and number of the sample."""
    return {
        (row["prompt"], row["sample"]): row["tokens"]
        for entry in json.loads((run / "manifest.json").read_text())["entries"]
        if entry["kind"] == "rollouts"
        for row in pq.read_table(run / entry["file"]).to_pylist()
    }


@pytest.mark.parametrize("target", ["leaking", "sound"])
def test_as_many_are_drawn_as_it_takes_to_tell_the_side_of_the_threshold(
    audited: Audited, target: str
) -> None:
    full, tested = audited(target, "full"), audited(target, "tested")
    assert tested.verdicts == full.verdicts
    # a leak that is named nearly always takes four, and what is hardly ever named three
    assert 3 * drawn(full.run) / 20 <= drawn(tested.run) < 0.2 * drawn(full.run)
    assert [c["estimate"] for c in tested.cells.values()] == [
        c["estimate"] for c in full.cells.values()
    ]


def test_curtailed_sampling_draws_less_and_gives_the_same_numbers(audited: Audited) -> None:
    for target in ("counted-leaking", "counted-sound"):
        full, short = audited(target, "full"), audited(target, "short")
        assert short.verdicts == full.verdicts
        assert [c["estimate"] for c in short.cells.values()] == [
            c["estimate"] for c in full.cells.values()
        ]
        # with 20 samples and a threshold of one half nobody is settled before 10 are drawn
        assert 0.5 * drawn(full.run) <= drawn(short.run) < 0.9 * drawn(full.run)


@pytest.mark.parametrize("name", ["short", "tested"])
def test_what_is_drawn_are_the_first_of_those_drawn_anyway(
    audited: Audited, simulated_targets: Path, tmp_path: Path, name: str
) -> None:
    full_run, less_run = audited("leaking", "full").run, tmp_path / "run"
    # runs have keys of their own: with the same one prompts have the same names
    less_run.mkdir()
    (less_run / "pseudonym.key").write_bytes((full_run / "pseudonym.key").read_bytes())
    audit(sampling(tmp_path, name), simulated_targets / "leaking.yaml", less_run)
    full, less = rows(full_run), rows(less_run)
    assert less
    assert all(full[key] == tokens for key, tokens in less.items())


@pytest.mark.parametrize("change", ["fewer", "more"])
def test_how_many_a_test_takes_is_counted_again(
    audited: Audited, tmp_path: Path, change: str
) -> None:
    """Whoever stops where it suits him, or draws on until it does, is found by the draws alone."""
    run = load_run(copied(audited("leaking", "tested"), tmp_path))
    tables = dict(tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest))
    (job,) = run.plan.jobs_of("rollouts")
    table = tables[job.digest]
    check_answers(run.plan, run.manifest, tables)
    counts = Counter(table["prompt"].to_pylist())
    longest = max(counts, key=lambda prompt: counts[prompt])
    own = pc.equal(table["prompt"], longest)
    if change == "fewer":
        last = pc.and_(own, pc.equal(table["sample"], counts[longest] - 1))
        tables[job.digest] = table.filter(pc.invert(last))
    else:
        one = table.filter(own).slice(0, 1)
        sample = pa.array([counts[longest]], pa.int32())
        one = one.set_column(one.column_names.index("sample"), "sample", sample)
        tables[job.digest] = pa.concat_tables([table, one])
    with pytest.raises(EvidenceError, match="of 1 prompts it has another number of samples"):
        check_answers(run.plan, run.manifest, tables)


def test_a_prompt_that_is_not_drawn_to_its_end_is_no_answer(
    audited: Audited, tmp_path: Path
) -> None:
    run = load_run(copied(audited("sound", "tested"), tmp_path))
    tables = dict(tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest))
    (job,) = run.plan.jobs_of("rollouts")
    tables[job.digest] = tables[job.digest].filter(pc.less(tables[job.digest]["sample"], 2))
    findings = judge(run.policy, plan=run.plan, evidence=tables, as_of=MEASURED).findings
    assert {(one.verdict, one.reason) for one in findings} == {("inconclusive", "not-run")}


def test_a_leak_is_found_early_and_the_rest_is_not_drawn(
    phigate: Command, audited: Audited, simulated_targets: Path, tmp_path: Path
) -> None:
    early = audited("leaking", "early")
    assert early.code == ExitCode.FAIL
    assert json.loads((early.run / "manifest.json").read_text())["leftOut"]
    assert drawn(early.run) < drawn(audited("leaking", "full").run)
    stopped = [
        cell
        for cell in early.cells.values()
        if cell["estimate"] and "sequen" in cell["estimate"]["method"]
    ]
    assert stopped
    assert all(cell["verdict"] == "fail" for cell in stopped)
    # what was left out is no gap: the run is verified, and found finished when it is repeated
    run = copied(early, tmp_path)
    assert phigate("verify", run).code == ExitCode.PASS
    again = audit(sampling(tmp_path, "early"), simulated_targets / "leaking.yaml", run)
    assert again.code == ExitCode.FAIL
    assert again.verdicts == early.verdicts


def test_a_run_that_was_cut_short_is_not_taken_for_one_that_stopped(
    phigate: Command, audited: Audited, tmp_path: Path
) -> None:
    run = copied(audited("sound", "early"), tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    assert not manifest["leftOut"]
    last = [entry for entry in manifest["entries"] if entry["kind"] == "rollouts"][-1]
    manifest["entries"].remove(last)
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / last["file"]).unlink()
    outcome = phigate("judge", run, "--as-of", AS_OF, "--format", "json")
    assert outcome.code == ExitCode.INCONCLUSIVE
    cells = json.loads((run / "report.json").read_text())["cells"]
    assert "not-run" in {cell["reason"] for cell in cells}


def test_judging_without_sequential_bounds_needs_everything_drawn(
    phigate: Command, audited: Audited, tmp_path: Path
) -> None:
    run = copied(audited("leaking", "early"), tmp_path)
    outcome = phigate(
        "judge", run, "--policy", sampling(tmp_path, "full"), "--as-of", AS_OF, "--json"
    )  # fmt: skip
    reasons = {cell["reason"] for cell in json.loads(outcome.out)["cells"]}
    assert "not-run" in reasons
