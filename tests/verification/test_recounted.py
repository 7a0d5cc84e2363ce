"""What verify counts, compares and asks again: samples, splits, label jobs, comparisons."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from auditing import phigate
from command_line import Checked

from checker.attacks.api import columns_of
from checker.errors import ExitCode
from checker.evidence import EvidenceStore, tables_by_job
from checker.planning import AuditPlan, Job
from checker.run.stored import Run, load_run
from checker.verification.demands import check_measurements, check_plugins
from checker.verification.figures import check_figures
from checker.verification.samples import strange_patients, strange_samples


@pytest.fixture(scope="module")
def run(finished_checks: Callable[[str], Checked]) -> Run:
    return load_run(finished_checks("leaking").folder / "run")


@pytest.fixture(scope="module")
def tables(run: Run) -> Mapping[str, pa.Table]:
    return tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest)


def with_plan(run: Run, change: Callable[[dict[str, Any]], Any]) -> Run:
    document = json.loads(run.plan.to_bytes())
    change(document)
    return replace(run, plan=AuditPlan.model_validate_json(json.dumps(document)))


def with_samples(run: Run, changes: Mapping[int, Mapping[str, Any]]) -> Run:
    def change(plan: dict[str, Any]) -> None:
        for place, sample in changes.items():
            plan["cells"][place]["sample"].update(sample)

    return with_plan(run, change)


def found_in(run: Run) -> list[str]:
    return [one.text for one in check_figures(run) if one.holds is False]


# --- samples ------------------------------------------------------------------------------------


def test_every_count_of_every_sample_is_counted_again(
    run: Run, tables: Mapping[str, pa.Table]
) -> None:
    assert list(strange_samples(run.plan, tables.get)) == []
    tried = set()
    for place, cell in enumerate(run.plan.cells):
        for name, value in cell.sample.model_dump(by_alias=True).items():
            if value is None:
                continue
            wrong = value + 1 if isinstance(value, int) else value / 2

            def change(
                plan: dict[str, Any], at: int = place, key: str = name, v: Any = wrong
            ) -> None:
                plan["cells"][at]["sample"][key] = v

            (said,) = strange_samples(with_plan(run, change).plan, tables.get)
            assert cell.id in said
            tried.add((cell.probe, name))
    # of who lacks the class and was not asked, nothing is known to the evidence but a base score
    assert {("membership-inference", "members"), ("membership-inference", "nonmembers")} <= tried
    assert {("attribute-disclosure", "membersNegative")} <= tried
    assert {("attribute-disclosure", "distinctPromptShare")} <= tried


def test_a_sample_that_cannot_be_counted_is_left_alone(
    run: Run, tables: Mapping[str, pa.Table]
) -> None:
    assert list(strange_samples(run.plan, lambda job: None)) == []
    without = {job.digest for job in run.plan.jobs_of("labels")}
    rest = {job: table for job, table in tables.items() if job not in without}
    assert list(strange_samples(run.plan, rest.get)) == []


CODES = {"codeSystems": [{"match": "X//{code}", "system": "icd10cm"}]}


def code_systems_of(plan: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = plan["target"]["document"]["spec"]
    return spec


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plan: plan["data"].update(nearDuplicates=1), "says 1 near-duplicates"),
        (lambda plan: plan["data"].update(sameCodes=1), "1 of the same codes"),
        (lambda plan: plan["data"].update(setAside=2), "2 set aside"),
        (lambda plan: plan["data"].update(nonmembers=7), "says 7 nonmembers"),
        (lambda plan: code_systems_of(plan).update(CODES), "codeSystems of job"),
    ],
)
def test_figures_of_the_plan_are_compared(
    run: Run, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    assert any(says in text for text in found_in(with_plan(run, change)))


# --- who is in which split ----------------------------------------------------------------------


def test_nobody_is_a_member_in_one_table_and_none_in_another(
    run: Run, tables: Mapping[str, pa.Table]
) -> None:
    assert list(strange_patients(run.plan, tables.get)) == []
    for kind in ("scores", "comparability", "labels"):
        job = run.plan.jobs_of(kind)[-1]
        table = tables[job.digest]
        flags = table["member"].to_pylist()
        flags[0] = not flags[0]
        place = table.column_names.index("member")
        changed = {**tables, job.digest: table.set_column(place, "member", pa.array(flags))}
        assert any("in the other split" in s for s in strange_patients(run.plan, changed.get)), kind
        names = ["a stranger", *table["patient"].to_pylist()[1:]]
        place = table.column_names.index("patient")
        changed = {**tables, job.digest: table.set_column(place, "patient", pa.array(names))}
        if kind != "labels":
            assert any("has nobody of 1" in s for s in strange_patients(run.plan, changed.get))
    # of the declared format's losses all are members'
    job = run.plan.jobs_of("prompt-format")[0]
    outside = next(
        name for name, member in zip(
            tables[run.plan.jobs_of("labels")[0].digest]["patient"].to_pylist(),
            tables[run.plan.jobs_of("labels")[0].digest]["member"].to_pylist(),
            strict=True,
        ) if not member
    )  # fmt: skip
    table = tables[job.digest]
    names = [outside, *table["patient"].to_pylist()[1:]]
    place = table.column_names.index("patient")
    changed = {**tables, job.digest: table.set_column(place, "patient", pa.array(names))}
    assert any("in the other split" in said for said in strange_patients(run.plan, changed.get))


# --- label jobs ---------------------------------------------------------------------------------


def of_labels(run: Run, **inputs: Any) -> Run:
    """A plan whose label jobs have other inputs, whatever their digests."""

    def changed(job: Job) -> Job:
        if job.kind != "labels":
            return job
        return job.model_copy(update={"inputs": {**job.inputs, **inputs}})

    jobs = [changed(job) for job in run.plan.jobs]
    return replace(run, plan=run.plan.model_copy(update={"jobs": jobs}))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"horizonTokens": 1}, "a job of other horizonTokens"),
        ({"everybody": 5}, "a job of other everybody"),
        ({"watch": []}, "a job of other watch"),
    ],
)
def test_labels_are_those_that_the_policy_asks_for(
    run: Run, inputs: dict[str, Any], says: str
) -> None:
    assert check_measurements(run).holds is True
    said = check_measurements(of_labels(run, **inputs))
    assert said.holds is False
    assert says in said.text


def test_what_is_taken_out_of_prompts_is_one_for_a_class(run: Run) -> None:
    assert found_in(run) == []
    jobs = run.plan.jobs_of("labels")
    first = next(
        one for one in jobs
        if sum(one.inputs["codes"] == other.inputs["codes"] for other in jobs) > 1
    )  # fmt: skip
    changed = first.model_copy(update={"inputs": {**first.inputs, "removed": []}})
    plan = run.plan.model_copy(
        update={"jobs": [changed if job is first else job for job in run.plan.jobs]}
    )
    assert any("takes other codes out" in said for said in found_in(replace(run, plan=plan)))


def test_another_version_of_a_plug_in_is_said(run: Run) -> None:
    assert list(check_plugins(run)) == []
    told = {"distribution": "phigate-toys", "version": "1.0", "sha256": "ab" * 32}
    jobs = [
        job.model_copy(update={"inputs": {**job.inputs, "plugin": told}})
        for job in run.plan.jobs_of("scores")
    ]
    changed = replace(run, plan=run.plan.model_copy(update={"jobs": jobs}))
    (said,) = check_plugins(changed)
    assert said.holds is None
    assert "run by phigate-toys 1.0 (abababababab…); installed here is phigate itself" in said.text


# --- comparisons --------------------------------------------------------------------------------


def broken(folder: Path) -> list[str]:
    _, out = phigate("verify", folder)
    return [line[8:] for line in out.splitlines() if line.startswith("BROKEN")]


@pytest.mark.parametrize("audience", ["shared", "internal"])
def test_a_comparison_is_held_against_its_run(
    checked: Callable[[str], Checked], audience: str
) -> None:
    later, earlier = (checked(name).folder / "run" for name in ("leaking", "sound"))
    folder = later
    if audience == "internal":
        for one in (later, earlier):
            code, said = phigate("report", one, "--format", "json", "--audience", "internal")
            assert code == ExitCode.PASS, said
        folder = later / "internal"
    code, said = phigate("report", later, "--compare", earlier, "--audience", audience)
    assert code == ExitCode.PASS, said
    assert broken(later) == []
    assert "what it says of the earlier run" in " ".join(phigate("verify", later)[1].split())
    data, page = folder / "comparison.json", folder / "comparison.html"
    comment = folder / "comparison.md"
    contents, commented = (data.read_bytes(), page.read_bytes()), comment.read_bytes()
    for path, content in (
        (comment, commented.replace(b"fail", b"pass")),
        (page, contents[1].replace(b"fail", b"pass")),
        (data, contents[0].replace(b'"verdict": "fail"', b'"verdict": "pass"')),
        (data, contents[0] + b"\n"),
        (data, b"{}"),
        (data, b"Release is allowed"),
    ):
        assert content not in contents
        path.write_bytes(content)
        assert any("comparison" in text for text in broken(later)), content[:30]
        data.write_bytes(contents[0])
        page.write_bytes(contents[1])
        comment.write_bytes(commented)
    data.unlink()
    assert any("lies here without the comparison.json" in text for text in broken(later))


def test_a_trend_is_held_against_its_run(checked: Callable[[str], Checked]) -> None:
    later, earlier = (checked(name).folder / "run" for name in ("leaking", "sound"))
    oldest = earlier.parent / "run-before"
    shutil.copytree(earlier, oldest)
    code, said = phigate("report", later, "--compare", oldest, "--compare", earlier)
    assert code == ExitCode.PASS, said
    assert broken(later) == []
    assert "2 earlier runs nothing here can show" in " ".join(phigate("verify", later)[1].split())
    for name in ("trend.json", "trend.html", "trend.md"):
        path = later / name
        content = path.read_bytes()
        path.write_bytes(content.replace(b"fail", b"pass"))
        assert any("trend" in text for text in broken(later)), name
        path.write_bytes(content)
    assert broken(later) == []
    (later / "trend.json").unlink()
    assert any("lies here without the trend.json" in text for text in broken(later))
