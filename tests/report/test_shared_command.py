"""The command that a shared report repeats holds names of files, and nothing that is secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from auditing import AS_OF
from command_line import Command
from report_builder import failing_report

from checker.report.disclosure_control import for_audience
from checker.report.disclosure_control.command import shared_command


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (
            "phigate check policy.yaml target.yaml --out RUN --device cpu",
            "phigate check policy.yaml target.yaml --out RUN --device cpu",
        ),
        (
            "phigate check /home/mallory/p.yaml ../secret-project/t.yaml --out /mnt/x/run/",
            "phigate check p.yaml t.yaml --out run",
        ),
        ("/opt/venv/bin/phigate run 'C:\\Users\\m\\p.yaml' t", "phigate run p.yaml t"),
        ("phigate run p t --ray-address user:hunter2@head:6379 --workers 4", "phigate run p t"
         " --workers 4"),
        ("phigate run p t --ray-address=ray://u:hunter2@h:1", "phigate run p t"),
        ("phigate run p t --ledger /srv/ledger --fresh", "phigate run p t --fresh"),
        ("phigate run p t --token hunter2 --out=/a/b", "phigate run p t --out b"),
        ("phigate run p t --executor ray --device 'cuda:0; hunter2'", "phigate run p t"
         " --executor ray"),
        ("phigate run p t --as-of 2026-11-01T00:00+01:00", "phigate run p t"
         " --as-of 2026-11-01T00:00+01:00"),
        ("phigate run p t -k hunter2", "phigate run p t"),
        ("phigate run 'my policy.yaml' /", "phigate run 'my policy.yaml' ."),
        ("phigate run it's", ""),
        ("", ""),
        ("phigate run p t --out", "phigate run p t --out ."),
    ],
)  # fmt: skip
def test_names_are_kept_and_secrets_are_not(command: str, shown: str) -> None:
    assert shared_command(command) == shown
    assert "hunter2" not in shared_command(command)
    assert shared_command(shown) == shown


@pytest.mark.parametrize("min_cell", [1, 11])
def test_only_the_internal_report_has_the_whole_command(min_cell: int) -> None:
    report = failing_report()
    command = "phigate check /home/m/policy.yaml t.yaml --ray-address u:hunter2@h:1 --out RUN"
    whole = report.model_copy(
        update={
            "audience": "internal",
            "policy": report.policy.model_copy(update={"min_cell": min_cell}),
            "provenance": report.provenance.model_copy(update={"command": command}),
        }
    )
    assert for_audience(whole, "internal").provenance.command == command
    shown = for_audience(whole, "shared").provenance.command
    assert shown == "phigate check policy.yaml t.yaml --out RUN"


def test_a_shared_report_names_no_folder_of_the_machine(phigate: Command, workspace: Path) -> None:
    run = workspace / "run"
    phigate(
        "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", run,
        "--as-of", AS_OF, "--format", "json,html,markdown,sarif,oscal,junit",
    )  # fmt: skip
    shared = [path for path in run.iterdir() if path.name.startswith("report.")]
    assert len(shared) == 6
    for path in shared:
        assert str(workspace) not in path.read_text()
    phigate("report", run, "--audience", "internal", "--format", "json")
    internal = json.loads((run / "internal" / "report.json").read_text())
    assert str(workspace / "policy.yaml") in internal["provenance"]["command"]
    assert phigate("verify", run).code == 0
