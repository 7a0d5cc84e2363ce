"""Who sees what: shared reports where everybody looks, internal ones in a folder of their own."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from auditing import AS_OF
from command_line import Checked, Command, Outcome
from report_cases import PAPER

from checker.errors import ExitCode
from checker.evidence import Pseudonyms
from checker.plugins import load_plugin, plugin_names
from checker.policy.documents import DataSpec
from checker.records.cohort import load_cohort

TEXT_FORMATS = [name for name in plugin_names("phigate.reports") if name not in PAPER]


def check(phigate: Command, folder: Path, name: str, *more: object) -> Outcome:
    return phigate(
        "check", folder / "policy.yaml", folder / f"{name}.yaml", "--out", folder / "run",
        "--as-of", AS_OF, *more,
    )  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_what_is_written_without_asking_may_be_passed_on(phigate: Command, workspace: Path) -> None:
    outcome = check(phigate, workspace, "sound", "--json")
    report = read(workspace / "run" / "report.json")
    assert report["audience"] == "shared"
    assert json.loads(outcome.out) == report
    assert not (workspace / "run" / "internal").exists()
    probe = "attribute-disclosure"
    disclosure = [c for c in report["cells"] if c["probe"] == probe and c["gating"]]
    assert all(c["estimate"] is None and c["sample"] is None for c in disclosure)
    assert {c["boundSide"] for c in disclosure} == {"within"}
    assert {c["verdict"] for c in disclosure} == {"pass"}


def test_the_audit_team_sees_every_number_in_a_folder_of_its_own(
    phigate: Command, workspace: Path
) -> None:
    run = workspace / "run"
    check(phigate, workspace, "sound", "--audience", "internal")
    internal = read(run / "internal" / "report.json")
    assert internal["audience"] == "internal"
    assert read(run / "report.json")["audience"] == "shared"
    assert all(c["estimate"]["n"] for c in internal["cells"] if c["gating"])
    for name in ("report.json", "report.html"):
        mode = (run / "internal" / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    assert "onfidential" in (run / "internal" / "report.html").read_text()
    assert phigate("verify", run).code == ExitCode.PASS
    page = run / "internal" / "report.html"
    page.write_text(page.read_text().replace("within", "beyond"))
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "BROKEN  internal/report.html" in outcome.out


def test_the_internal_report_can_be_had_later_from_the_evidence(
    phigate: Command, workspace: Path
) -> None:
    run = workspace / "run"
    check(phigate, workspace, "leaking", "--audience", "internal")
    at_once = (run / "internal" / "report.json").read_bytes()
    shared = (run / "report.json").read_bytes()
    for path in (run / "internal").iterdir():
        path.unlink()
    (run / "internal").rmdir()
    assert phigate("report", run, "--audience", "internal").code == ExitCode.PASS
    assert (run / "internal" / "report.json").read_bytes() == at_once
    assert (run / "report.json").read_bytes() == shared
    assert phigate("report", run, "--format", "html").code == ExitCode.PASS


def test_an_edited_internal_report_is_found_out(
    phigate: Command, checked: Callable[[str], Checked]
) -> None:
    run = checked("leaking").run
    phigate("report", run, "--audience", "internal", "--format", "json")
    path = run / "internal" / "report.json"
    path.write_text(path.read_text().replace('"verdict": "fail"', '"verdict": "pass"', 1))
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "internal/report.json" in outcome.out


@pytest.fixture
def everything(phigate: Command, checked: Callable[[str], Checked]) -> Path:
    """A run with reports in every text format for both audiences."""
    found = checked("leaking")
    formats = ",".join(TEXT_FORMATS)
    for audience in ("shared", "internal"):
        told = phigate("report", found.run, "--audience", audience, "--format", formats)
        assert told.code == 0
    return found.folder


def test_no_patient_pseudonym_or_record_is_in_any_report_of_any_audience(everything: Path) -> None:
    run = everything / "run"
    written = {
        path: path.read_bytes()
        for folder in (run, run / "internal")
        for path in folder.iterdir()
        if path.name.startswith("report.")
    }
    names = {load_plugin("phigate.reports", name).filename for name in TEXT_FORMATS}
    assert {path.name for path in written} == names
    assert len(written) == 2 * len(names)
    cohort = load_cohort(
        DataSpec(path="cohort", members="train", nonmembers="held_out"), base=everything
    )
    pseudonyms = Pseudonyms.of_run(run)
    secrets = [pseudonyms.key.hex()]
    for split in (cohort.members, cohort.nonmembers):
        for subject in split.subject_id.tolist():
            secrets += [
                f'"{subject}"',
                f" {subject} ",
                pseudonyms.of("patient", str(subject).encode()),
            ]
    sequences: set[tuple[int, ...]] = set()
    for path in (run / "evidence").glob("*.parquet"):
        table = pq.read_table(path)
        if "tokens" in table.column_names and "prompt" in table.column_names:
            secrets += set(table["prompt"].to_pylist())
            sequences |= {tuple(t[:4]) for t in table["tokens"].to_pylist() if len(t) > 3}
    assert len(secrets) > 1000
    assert len(sequences) > 1000
    for path, content in written.items():
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, (path, found[:3])
        numbers = [int(number) for number in re.findall(rb"(?<![\w.])\d+(?![\w.])", content)]
        runs_of_four = set(zip(*(numbers[i:] for i in range(4)), strict=False))
        assert not sequences & runs_of_four, path


def test_an_unknown_audience_is_refused(phigate: Command, workspace: Path) -> None:
    outcome = check(phigate, workspace, "sound", "--audience", "everybody")
    assert outcome.code == ExitCode.USAGE
    assert "everybody" in outcome.err
