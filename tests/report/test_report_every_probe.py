"""The report of an audit with every probe: what a reader of each format is told."""

from __future__ import annotations

import io
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from auditing import audit, write_policy
from every_probe import audited
from rich.console import Console

from checker.cli.plan_table import print_plan
from checker.planning import AuditPlan
from checker.plugins import plugin_names
from checker.report.charts import leakage_charts, perturbation_charts, roc_charts
from checker.report.formats.console import print_report
from checker.report.matrix import build_matrix
from checker.report.model import Report
from checker.report.wording.decision import sampling_words
from checker.report.wording.numbers import NBSP
from checker.report.wording.terms import CANNOT_PASS, NOT_SHOWN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("every-probe")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return audited(folder)


@pytest.fixture(scope="module")
def page(report: Report, folder: Path) -> str:
    html = (folder / "run" / "internal" / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def test_every_probe_is_in_it(report: Report) -> None:
    assert {cell.probe for cell in report.cells} == set(plugin_names("phigate.probes"))


def test_attacks_on_whole_records_have_rows_of_their_own(report: Report) -> None:
    rows = [row.title for row in build_matrix(report).rows]
    assert [row.partition(":")[0] for row in rows[1:]] == ["Records", "Membership", "Canaries"]


def test_the_page_says_what_each_control_is_held_against(page: str) -> None:
    for words in (
        "an excess: the same attack on patients the model never saw is subtracted",
        "a difference in differences: what a reference model",
        "perturbation only: members' own prompts with identifiers changed",
        "planted patients against equals that a fair coin left out",
        "the score is the ratio to a reference model's likelihood",
        "of members beyond nonmembers and a reference model",
        "Reference model's files, SHA-256",
    ):
        assert words in page, words


def test_the_page_reads_every_number_in_its_unit(page: str, report: Report) -> None:
    cells = {cell.control: cell for cell in report.cells if cell.subgroup == "all"}
    exposed = cells["exposed"].estimate
    assert exposed is not None
    assert f"{exposed.value:.2f} bits" in page
    assert cells["epsilon"].estimate is not None
    assert cells["epsilon"].estimate.high is None
    assert page.count(CANNOT_PASS) >= 4  # two cells, each in a square and in its finding
    assert "1.44 bits is chance" in page
    assert "canaries planted" in page
    assert "of random tokens" not in page
    assert "distance of tokens drawn by their frequency, members (reported only)" in page


def test_no_name_of_the_code_stands_where_words_belong(page: str) -> None:
    for name in ("q at age", "q unchanged", "random_distance", "age>119", "excess_probe_auroc"):
        assert name not in page.replace("told/relative/age>119", ""), name


def test_a_subgroup_below_the_minimum_cell_size_shows_no_count(page: str, report: Report) -> None:
    (cell,) = (cell for cell in report.cells if cell.reason == "subgroup-too-small")
    assert cell.sample is not None
    assert cell.sample.members < report.policy.min_cell
    assert NOT_SHOWN in page
    assert cell.estimate is None


def test_the_curve_peaks_at_a_members_own_age(report: Report) -> None:
    (curve,) = perturbation_charts(report)
    found = re.search(r"Own age, drawn afresh: ([\d.]+)", curve.description)
    beside = re.search(r"1 year older: ([\d.]+)", curve.description)
    assert found is not None
    assert beside is not None
    assert float(found[1]) > float(beside[1]) + 20
    assert "Disclosed is who is beyond 50" in curve.description
    assert "<title" in curve.svg


def test_every_control_with_two_parts_is_drawn_with_what_it_counts(report: Report) -> None:
    captions = [chart.caption for chart in leakage_charts(report)]
    assert captions == [
        "Share of patients disclosed",
        "Share of patients disclosed, this model minus the reference",
        "AUROC for the class",
        "AUROC for the class from embeddings",
        "Mean distance to what truly followed",
        "Share of continuations that repeat somebody's record",
    ]


def test_what_ranks_patients_has_a_curve_and_what_does_not_has_none(report: Report) -> None:
    for cell in report.cells:
        assert (cell.roc is not None) == (cell.probe == "membership-inference"), cell.id
    (auroc, recognized) = (cell for cell in report.cells if cell.roc is not None)
    assert recognized.estimate is not None
    at = {point.fpr: point for point in recognized.roc or []}
    # the metric is the curve at its false-positive rate, bounds and all
    assert (at[0.01].tpr, at[0.01].low, at[0.01].high) == (
        recognized.estimate.value, recognized.estimate.low, recognized.estimate.high,
    )  # fmt: skip
    assert auroc.roc != recognized.roc  # another score
    assert len(roc_charts(report)) == 2


def test_what_would_decide_does_not_hang_on_who_was_there(report: Report) -> None:
    needs = {cell.control: cell.needs for cell in report.cells if cell.subgroup == "all"}
    assert needs["told"].at_all == 29  # METHODS §4's formula at τ = 0.1: 1 - 0.05^(1/29) = 0.0981
    assert needs["membership"].at_all == 100  # two halves of 50 for the placebo
    assert needs["own-age"].at_all is None  # it can only fail
    subgroups = {cell.needs for cell in report.cells if cell.control == "told"}
    assert subgroups == {needs["told"]}


def test_the_terminal_names_units_and_what_can_only_fail(report: Report) -> None:
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    words = re.sub(r"\s+", " ", out.getvalue())
    assert f"{NBSP}bits" in out.getvalue()
    assert CANNOT_PASS in words
    assert "Canaries: are planted" in words


def test_the_plan_says_what_can_only_fail_and_what_is_nobody(folder: Path, report: Report) -> None:
    plan = AuditPlan.model_validate_json((folder / "run" / "plan.json").read_bytes())
    out = io.StringIO()
    print_plan(plan, Console(file=out, width=200))
    rows = {row.split()[0]: row for row in out.getvalue().splitlines() if "/" in row}
    assert "cannot pass, can only fail" in rows["own-age/relative/all"]
    assert "cannot pass, can only fail" in rows["epsilon/insider/all"]
    assert "it has no members" in rows["told/relative/age>119"]
    assert "below minCell 11" in rows["told/relative/age>80"]
    # of the two that can only fail, the policy lets one block
    assert "1 deciding cell can fail and never pass" in out.getvalue()
    assert "data.spare" not in out.getvalue()
    found = "Without any model, which token follows which tells them apart (AUROC 0.612)."
    told = io.StringIO()
    print_plan(plan.model_copy(update={"spare_difference": found}), Console(file=told, width=200))
    words = " ".join(told.getvalue().split())
    assert f"nothing that rests on nonmembers can pass. {found}" in words


def test_the_report_counts_what_was_not_drawn(simulated_targets: Path, tmp_path: Path) -> None:
    """Of a target that only draws, whose hits are counted, and of one whose q is estimated."""
    policy = write_policy(
        tmp_path / "less.yaml",
        {"hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}}},
        sampling={"sequential": True, "curtailed": True},
    )
    content = json.loads((simulated_targets / "leaking.json").read_text())
    content["capabilities"] = ["samples"]
    counted = shutil.copytree(simulated_targets, tmp_path / "counted")
    (counted / "leaking.json").write_text(json.dumps(content))
    tested = audit(policy, simulated_targets / "leaking.yaml", tmp_path / "tested")
    words = " ".join(sampling_words(Report.model_validate(tested.report)))
    assert "Threshold tests" in words
    drawn_there = tested.report["summary"]["sampling"]
    manifest = json.loads((tmp_path / "tested" / "manifest.json").read_text())
    rows = sum(entry["rows"] for entry in manifest["entries"] if entry["kind"] == "rollouts")
    there = drawn_there["prompts"] - drawn_there["promptsLeftOut"]
    assert drawn_there["continuationsNotNeeded"] == 10 * there - rows > 0
    found = audit(policy, counted / "leaking.yaml", tmp_path / "run")
    sampling = found.report["summary"]["sampling"]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    left = [job for job in plan["jobs"] if job["digest"] in manifest["leftOut"]]
    assert sampling["promptsLeftOut"] == sum(job["inputs"]["count"] for job in left) > 0
    drawn = [entry for entry in manifest["entries"] if entry["kind"] == "rollouts"]
    asked = sampling["prompts"] - sampling["promptsLeftOut"]
    assert sampling["continuationsLeftOut"] == 20 * asked - sum(entry["rows"] for entry in drawn)
    assert sampling["cellsStoppedEarly"] == 1
    assert found.cells["hiv-disclosure/events-10/all"]["stoppedEarly"]
    words = " ".join(sampling_words(Report.model_validate(found.report)))
    assert "1 test stopped early" in words
    assert "Curtailed sampling" in words
