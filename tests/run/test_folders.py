"""A run's folder belongs to one plan and one model, and holds nothing but the run."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from auditing import AS_OF
from command_line import Checked, Command, Outcome

from checker.errors import EvidenceError, ExitCode
from checker.evidence import write_atomically
from checker.run.belonging import check_apart, foreign_files
from checker.run.folder import locked_folder

Check = Callable[[str], Checked]
LATER = "2026-11-02T00:00:00+00:00"


def check(
    phigate: Command, folder: Path, name: str, *more: object, formats: str = "json"
) -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / f"{name}.yaml", "--out", folder / "run",
        "--as-of", AS_OF, "--format", formats, *more,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by name, but for when the run took place."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in {"run.json", "log.txt"}
    }


def broken(outcome: Outcome) -> list[str]:
    return [line for line in outcome.out.splitlines() if line.startswith("BROKEN")]


# --- one plan and one model -----------------------------------------------------------------------


def test_the_same_plan_goes_on(phigate: Command, checked: Check) -> None:
    workspace = checked("sound").folder
    before = contents(workspace / "run")
    measured = json.loads((workspace / "run" / "run.json").read_text())["measured"]
    assert check(phigate, workspace, "sound", formats="json,html").code == ExitCode.PASS
    after = contents(workspace / "run")
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} <= {
        "report.json", "report.html",  # which say when it ran
    }  # fmt: skip
    assert json.loads((workspace / "run" / "run.json").read_text())["measured"] == measured


def test_another_model_is_refused_and_fresh_leaves_nothing_of_the_first(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    run = workspace / "run"
    # a page that says "Release is allowed", of the sound model
    assert (run / "report.html").exists()
    phigate("report", run, "--audience", "internal", "--format", "json,markdown")
    phigate("report", run, "--compare", run)
    stricter = workspace / "stricter.yaml"
    stricter.write_text((workspace / "policy.yaml").read_text().replace("0.05", "0.04"))
    phigate("judge", run, "--policy", stricter, "--format", "json", "--as-of", AS_OF)
    (derived,) = (path for path in run.iterdir() if path.name.startswith("judged-by-"))
    phigate("judge", derived, "--policy", workspace / "policy.yaml", "--format", "json")
    assert any(path.name.startswith("judged-by-") for path in derived.iterdir())
    before = contents(run)
    key = before["pseudonym.key"]

    refused = check(phigate, workspace, "leaking")
    assert refused.code == ExitCode.INCOMPLETE
    assert "holds the run of another model" in refused.err
    assert "--fresh" in refused.err
    assert contents(run) == before

    assert check(phigate, workspace, "leaking", "--fresh").code == ExitCode.FAIL
    after = contents(run)
    assert {name for name in after if not name.startswith("evidence/")} == {
        ".lock", "plan.json", "manifest.json", "report.json", "pseudonym.key", "standing-out.csv",
    }  # fmt: skip
    assert after["pseudonym.key"] != key
    assert not {name for name in after if name.startswith("evidence/")} & before.keys()
    assert not (run / "internal").exists()
    assert phigate("verify", run).code == ExitCode.PASS


def test_another_edition_of_the_policy_is_refused(phigate: Command, checked: Check) -> None:
    workspace = checked("sound").folder
    policy = workspace / "policy.yaml"
    policy.write_text(policy.read_text().replace("fail: 0.05", "fail: 0.5"))
    refused = check(phigate, workspace, "sound")
    assert refused.code == ExitCode.INCOMPLETE
    assert "a run under another policy or edition of it" in refused.err
    # what it was judged by is judged again below it, without the model
    judged = phigate("judge", workspace / "run", "--policy", policy, "--as-of", AS_OF)
    assert judged.code == ExitCode.PASS


def test_other_patients_are_refused(phigate: Command, checked: Check) -> None:
    workspace = checked("sound").folder
    splits = workspace / "cohort" / "metadata" / "subject_splits.parquet"
    table = pq.read_table(splits)
    names = table["split"].to_pylist()
    names[names.index("held_out")] = "tuning"
    column = pa.array(names, table.schema.field("split").type)
    pq.write_table(table.set_column(table.column_names.index("split"), "split", column), splits)
    refused = check(phigate, workspace, "sound")
    assert refused.code == ExitCode.INCOMPLETE
    assert "holds a run on other patients" in refused.err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: (run / "plan.json").write_text("{}"), "another version of phigate"),
        (lambda run: (run / "plan.json").unlink(), "evidence and no plan"),
    ],
)
def test_a_plan_that_cannot_be_read_is_not_taken_for_this_one(
    phigate: Command, checked: Check, spoil: Callable[[Path], object], said: str
) -> None:
    workspace = checked("sound").folder
    spoil(workspace / "run")
    refused = check(phigate, workspace, "sound")
    assert refused.code == ExitCode.INCOMPLETE
    assert said in refused.err


def test_a_refused_folder_costs_no_attempt(phigate: Command, checked: Check) -> None:
    workspace = checked("sound").folder
    ledger = workspace / "ledger.jsonl"
    phigate("ledger", "make", ledger)
    before = ledger.read_bytes()
    refused = check(phigate, workspace, "leaking", "--ledger", ledger)
    assert "holds the run of another model" in refused.err
    assert ledger.read_bytes() == before


# --- nothing but a run ----------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "fresh"), [("cohort", False), (".", True)])
def test_a_folder_of_patients_or_models_is_refused_and_left_alone(
    phigate: Command, workspace: Path, place: str, fresh: bool
) -> None:
    before = contents(workspace)
    outcome = phigate(
        "check", workspace / "policy.yaml", workspace / "sound.yaml",
        "--out", workspace / place, *(["--fresh"] if fresh else []),
    )  # fmt: skip
    assert outcome.code == ExitCode.INCOMPLETE
    assert "which is no part of a run; name a new folder with --out" in outcome.err
    assert contents(workspace) == before


def test_a_run_with_foreign_files_is_refused_and_does_not_verify(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    page = workspace / "run" / "Release.pdf"
    page.write_text("Release is allowed")
    for more in ((), ("--fresh",)):
        refused = check(phigate, workspace, "sound", *more)
        assert refused.code == ExitCode.INCOMPLETE
        assert "holds Release.pdf, which is no part of a run" in refused.err
        assert page.exists()
    verified = phigate("verify", workspace / "run")
    assert verified.code == ExitCode.INCOMPLETE
    (line,) = broken(verified)
    assert "Release.pdf is no part of the run" in line


def test_what_is_part_of_a_run_goes_by_its_name_and_place(tmp_path: Path) -> None:
    key = "0" * 64
    parts = [
        "plan.json", "manifest.json", "run.json", "waivers.json", "attempt.json", ".lock",
        "pseudonym.key", "attestation.json", "report.json", "report.pdf", "comparison.html",
        f"evidence/{key}.parquet", "internal/report.html", "internal/comparison.json",
        "judged-by-strict-1-0123456789ab/plan.json", "judged-by-x/internal/report.json",
        "judged-by-x/judged-by-y/report.html",
    ]  # fmt: skip
    strangers = [
        "notes.txt", "evidence/thesis.txt", f"evidence/{key[1:]}.parquet", "evidence/report.html",
        f"{key}.parquet", "internal/plan.json", "internal/more/report.html", "old/report.html",
        "judged-by-x/Release.html", "judged-by-x/judged-by-y/Release.html", "evidence.parquet",
    ]  # fmt: skip
    for name in (*parts, *strangers):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    expected = {
        "internal/more/report.html": "internal/more/",
        "old/report.html": "old/",
    }
    (tmp_path / "judged-by-link").symlink_to(tmp_path, target_is_directory=True)
    strangers.append("judged-by-link/")
    assert foreign_files(tmp_path) == sorted(expected.get(name, name) for name in strangers)


def test_what_a_system_or_a_kill_leaves_is_no_foreign_file(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    run = workspace / "run"
    (run / ".DS_Store").write_bytes(b"\0")
    left = [run / ".plan.json.0a1b2c3d.tmp", run / "evidence" / ".x.parquet.0a1b2c3d.tmp"]
    for path in left:
        path.write_text("half")
    assert phigate("verify", run).code == ExitCode.PASS
    assert check(phigate, workspace, "sound").code == ExitCode.PASS
    assert not any(path.exists() for path in left)
    assert (run / ".DS_Store").exists()


def test_evidence_that_is_not_judged_and_runs_below_are_named(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    run = workspace / "run"
    one = next((run / "evidence").iterdir())
    shutil.copy(one, one.with_name("0" * 64 + ".parquet"))
    phigate("judge", run, "--policy", workspace / "policy.yaml", "--format", "json")
    verified = phigate("verify", run)
    assert verified.code == ExitCode.PASS
    assert "1 evidence files are not in the manifest" in verified.out
    assert "is a run under another policy: it holds, and nobody signed it here" in verified.out


def test_a_run_does_not_lie_in_a_model_s_folder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    check_apart(tmp_path / "runs" / "a", model)
    check_apart(tmp_path / "model-run", model)
    check_apart(tmp_path / "run", tmp_path / "model.json")
    for inside in (model, model / "run", tmp_path / "x" / ".." / "model" / "run"):
        with pytest.raises(EvidenceError, match="all of which is hashed as the model"):
            check_apart(inside, model)


def test_a_file_is_no_folder_of_a_run(phigate: Command, workspace: Path) -> None:
    (workspace / "run").write_text("")
    outcome = check(phigate, workspace, "sound")
    assert outcome.code == ExitCode.INCOMPLETE
    assert "is a file; --out names the folder of a run" in outcome.err


# --- reports that are old -------------------------------------------------------------------------


def test_reports_of_an_earlier_judgement_do_not_lie_beside_a_new_one(
    phigate: Command, checked: Check
) -> None:
    workspace = checked("sound").folder
    run = workspace / "run"
    phigate("report", run, "--audience", "internal", "--format", "json,markdown")
    phigate("report", run, "--compare", run)
    kept = {run / "report.html", run / "internal" / "report.md", run / "comparison.html"}
    assert all(path.exists() for path in kept)
    # the same judgement once more: nothing is old
    assert phigate("judge", run, "--as-of", AS_OF, "--format", "json").code == ExitCode.PASS
    assert all(path.exists() for path in kept)
    assert phigate("judge", run, "--as-of", LATER, "--format", "json").code == ExitCode.PASS
    assert not any(path.exists() for path in kept)
    assert not (run / "internal").exists()
    assert json.loads((run / "report.json").read_text())["provenance"]["asOf"] == LATER
    assert phigate("verify", run).code == ExitCode.PASS


# --- modes ----------------------------------------------------------------------------------------


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_what_is_confidential_is_its_owner_s_alone_under_any_umask(
    phigate: Command, workspace: Path, mask: int
) -> None:
    phigate("ledger", "make", workspace / "ledger.jsonl")
    run = workspace / "run"
    with umask(mask):
        outcome = check(
            phigate, workspace, "sound", "--audience", "internal",
            "--ledger", workspace / "ledger.jsonl",
        )  # fmt: skip
        assert outcome.code == ExitCode.PASS, outcome.err
        phigate("judge", run, "--policy", workspace / "policy.yaml", "--format", "json")
    (derived,) = (path for path in run.iterdir() if path.name.startswith("judged-by-"))
    names = ("plan.json", "manifest.json", "run.json")
    secret = [
        *(folder / name for folder in (run, derived) for name in names),
        run / "pseudonym.key", run / "attempt.json", run / "internal" / "report.json",
        *(run / "evidence").iterdir(),
    ]  # fmt: skip
    assert {path.name: oct(mode(path)) for path in secret if mode(path) != 0o600} == {}
    folders = (run, run / "evidence", run / "internal", derived)
    assert {path.name: oct(mode(path)) for path in folders if mode(path) != 0o700} == {}
    # made to be passed on: as the umask says, and never beyond its owner's reach
    assert mode(run / "report.json") == (0o644 & ~mask) | 0o600


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    write_atomically(shared / "plan.json", b"{}", mode=0o600)
    with locked_folder(shared):
        assert mode(shared / ".lock") == 0o600
    assert mode(shared) == 0o750
