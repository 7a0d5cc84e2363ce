"""Who stands out of a run: ranked exactly, told to its owner alone, and to a trainer by name."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from auditing import Audit, audit, phigate, write_policy

from checker import stats
from checker.evidence import Pseudonyms
from checker.planning.learned_splits import ranking_cells
from checker.report.formats.html import render_html
from checker.report.formats.json import load_report
from checker.run.exposures import EXPOSURES_FILE, Exposures, exposures_of, exposures_text
from checker.run.leaving_out import standing
from checker.run.prepare import prepare
from checker.run.stored import load_run
from checker.verification.exclusions import check_exposures

MEMBERSHIP = {
    "probe": "membership-inference",
    "params": {"score": "loss"},
    "metric": "membership_auroc",
    "limits": {"record": {"fail": 0.7}},
}


@pytest.fixture(scope="module")
def leaking(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("standing")
    policy = write_policy(folder / "policy.yaml", {"hiv-disclosure": {}, "told": MEMBERSHIP})
    return audit(policy, simulated_targets / "leaking.yaml", folder / "run")


def listed(run: Path) -> list[dict[str, str]]:
    lines = (run / EXPOSURES_FILE).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_ranks_are_those_of_the_evidence_and_name_whom_the_model_repeats(
    leaking: Audit, simulated_targets: Path
) -> None:
    run = load_run(leaking.run)
    scores = {job.digest for job in run.plan.jobs if job.kind == "scores"}
    tables = [pq.read_table(leaking.run / e.file) for e in run.manifest.entries if e.job in scores]
    members = {p: s for t in tables for p, m, s in zip(*(t[c].to_pylist() for c in
               ("patient", "member", "loss")), strict=True) if m}  # fmt: skip
    others = [s for t in tables for m, s in zip(*(t[c].to_pylist() for c in ("member", "loss")),
              strict=True) if not m]  # fmt: skip
    rows = listed(leaking.run)
    assert len(rows) == len(members) == 600
    for row in rows[::37]:
        rank = 1 + sum(other >= members[row["patient"]] for other in others)
        assert int(row["rank"]) == rank
        assert int(row["members_so_far"]) == sum(int(one["rank"]) <= rank for one in rows)
        assert float(row["by_chance"]) == pytest.approx(rank * 600 / 601, abs=0.01)
        _, high = stats.clopper_pearson(rank - 1, 600, confidence=0.95)
        assert float(row["share_high"]) == pytest.approx(float(high), abs=1e-6)
    # the model repeats half of its members, and these are the first
    model = json.loads((simulated_targets / "leaking.json").read_text())
    assert int(rows[0]["members_so_far"]) >= len(model["memorized"]) // 2 - 5


def test_the_list_is_its_owners_alone(leaking: Audit) -> None:
    path = leaking.run / EXPOSURES_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((leaking.run / "pseudonym.key").stat().st_mode) == 0o600
    first = listed(leaking.run)[0]["patient"]
    key = (leaking.run / "pseudonym.key").read_text()
    for audience in ("internal", "shared"):
        code, said = phigate("report", leaking.run, "--audience", audience,
                             "--format", "json,html")  # fmt: skip
        assert code == 0, said
    for report in leaking.run.rglob("report.*"):
        text = report.read_text()
        assert first not in text
        assert key not in text
    told = json.loads((leaking.run / "internal" / "report.json").read_text())
    shared = json.loads((leaking.run / "report.json").read_text())
    own, other = (
        next(cell for cell in one["cells"] if cell["control"] == "told") for one in (told, shared)
    )
    assert own["standingOut"][0]["above"] == sum(row["rank"] == "1" for row in listed(leaking.run))
    assert other["standingOut"] is None
    assert (told["rankedBy"], shared["rankedBy"]) == (own["id"], None)
    page = (leaking.run / "internal" / "report.html").read_text()
    assert "Who stands out one by one?" in page
    assert "Who stands out one by one?" not in (leaking.run / "report.html").read_text()


def test_a_trainer_gets_the_subjects_above_a_rank(
    leaking: Audit, simulated_targets: Path, tmp_path: Path
) -> None:
    target, out = simulated_targets / "leaking.yaml", tmp_path / "leave-out.txt"
    code, said = phigate("standing-out", leaking.run, "--data", target, "--out", out)
    assert code == 0
    assert "members score above all but 5 of 600 nonmembers" in said
    names = Pseudonyms.of_run(leaking.run)
    wanted = {row["patient"] for row in listed(leaking.run) if int(row["rank"]) <= 6}
    assert {names.of_subject(int(line)) for line in out.read_text().splitlines()} == wanted
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    code, said = phigate("standing-out", leaking.run, "--data", target, "--out", out)
    assert (code, "is there already" in said) == (4, True)
    code, said = phigate("standing-out", leaking.run, "--out", tmp_path / "other.txt")
    assert (code, "--out needs --data" in said) == (2, True)
    code, said = phigate("standing-out", leaking.run, "--rank", "1", "--json")
    found = json.loads(said)
    assert (code, found["rank"], found["out"]) == (0, 1, None)
    assert found["members"] >= found["atLeast"] > 200


def test_other_patients_than_those_of_the_run_are_refused(
    leaking: Audit, simulated_targets: Path, tmp_path: Path
) -> None:
    target = (simulated_targets / "leaking.yaml").read_text()
    swapped = simulated_targets / "swapped.yaml"
    swapped.write_text(target.replace("path: cohort\n", "path: cohort\n    members: tuning\n"))
    try:
        code, said = phigate(
            "standing-out", leaking.run, "--data", swapped, "--out", tmp_path / "x.txt"
        )
    finally:
        swapped.unlink()
    assert code == 4
    assert "it is not the data set that was audited" in " ".join(said.split())
    assert not (tmp_path / "x.txt").exists()


def test_verify_ranks_again(leaking: Audit) -> None:
    run, path = load_run(leaking.run), leaking.run / EXPOSURES_FILE
    (holds,) = check_exposures(run)
    assert holds.holds
    whole = path.read_text()
    try:
        for changed in (whole.replace(",1,", ",2,", 1), None):
            path.unlink()
            if changed is not None:
                path.write_text(changed)
            (broken,) = check_exposures(run)
            assert broken.holds is False
    finally:
        path.write_text(whole)
        path.chmod(0o600)


def test_the_list_is_by_the_first_score_whose_evidence_is_whole(
    leaking: Audit, simulated_targets: Path, tmp_path: Path
) -> None:
    """A learned score is preferred, but where its evidence is not whole the other one ranks."""
    learned = {**MEMBERSHIP, "params": {"score": "strongest"}}
    policy = write_policy(tmp_path / "policy.yaml", {"told": MEMBERSHIP, "learned": learned})
    plan = prepare(policy, simulated_targets / "leaking.yaml").audit.plan
    assert [cell.control for cell in ranking_cells(plan)] == ["learned", "told"]
    run = load_run(leaking.run)
    files = {entry.job: leaking.run / entry.file for entry in run.manifest.entries}
    asked: list[str] = []

    def table(job: str) -> pa.Table | None:
        asked.append(job)
        return pq.read_table(files[job]) if job in files else None

    found = exposures_of(plan, table)
    assert found is not None
    assert found.control == "told"
    assert set(asked) - set(files)  # what the learned score is made of was looked for
    assert exposures_of(plan, lambda job: None) is None


def test_a_page_counts_by_the_score_that_the_list_is_by(leaking: Audit) -> None:
    report = load_report(leaking.run / "internal" / "report.json")
    (own,) = (cell for cell in report.cells if cell.id == report.ranked_by)
    assert own.standing_out is not None
    other = own.model_copy(update={"id": f"{own.id}x", "standing_out": own.standing_out[:1]})
    page = render_html(report.model_copy(update={"cells": [other, *report.cells]}))
    table = page[page.index("Members above the nonmember of a rank") :].partition("</table>")[0]
    assert table.count("<tr><td") == len(own.standing_out)


def test_where_nobody_is_ranked_there_is_no_list(simulated_targets: Path, tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "policy.yaml", {"hiv-disclosure": {}})
    made = audit(policy, simulated_targets / "sound.yaml", tmp_path / "run")
    assert not (made.run / EXPOSURES_FILE).exists()
    code, said = phigate("standing-out", made.run)
    assert code == 4
    assert "nobody was ranked" in said


# --- what a list claims -------------------------------------------------------------------------


def test_chance_fills_a_list_as_it_says() -> None:
    """Of members who are like nonmembers so many are listed, and hardly ever is one blamed."""
    rng, rank, n, m, rounds = np.random.default_rng(3), 5, 400, 300, 400
    counts, blamed = [], 0
    for _ in range(rounds):
        scores = np.round(rng.standard_t(3, n + m), 2)  # with ties
        ranks = np.sort(stats.ranks_among(scores[:n], scores[n:]))
        found = Exposures("told", tuple(map(str, range(n))), tuple(ranks.tolist()), m)
        one = standing(found, rank=rank, confidence=0.95)
        counts.append(one.members)
        blamed += one.at_least > 0
        (row,) = stats.standing_out(scores[:n], scores[n:], ranks=[rank], confidence=0.95)
        assert (row.above, row.by_chance, row.at_least) == (
            one.members, one.by_chance, one.at_least
        )  # fmt: skip
    assert np.mean(counts) <= rank * n / (m + 1) + 0.5
    assert np.mean(counts) >= 0.85 * rank * n / (m + 1)
    assert blamed / rounds <= 0.05 + 1.64 * (0.05 * 0.95 / rounds) ** 0.5


def test_ties_and_ranks_beyond_the_last() -> None:
    assert stats.ranks_among([3.0, 2.0, 0.0], [2.0, 1.0]).tolist() == [1, 2, 3]
    found = Exposures("told", ("a", "b", "c"), (1, 2, 3), 2)
    assert standing(found, rank=9, confidence=0.95).rank == 2
    assert found.up_to(2) == ("a", "b")
    text = exposures_text(found, confidence=0.95).splitlines()[-1]
    assert text.startswith("c,3,")
    assert text.endswith(",1.000000,3.00,3")
