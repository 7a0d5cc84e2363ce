"""`phigate.toml`: where and how to work, said and recorded, and nothing that decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from command_line import Checked, Command

from checker.cli import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PHIGATE_CONFIG", raising=False)
    return tmp_path


def test_a_default_is_taken_said_and_recorded_and_what_is_typed_wins(
    phigate: Command, checked: Callable[[str], Checked], folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    done = checked("sound")
    (folder / "phigate.toml").write_text(
        '[defaults]\ndevice = "cpu"\n[report]\nformat = ["markdown", "junit"]\n[run]\nworkers = 3\n'
    )
    written = phigate("report", done.run)
    assert written.code == 0
    assert "phigate.toml: --format markdown,junit" in written.err
    assert "report.junit.xml" in written.out
    assert "junit" not in phigate("report", done.run, "--format", "json").out
    assert "phigate.toml" not in phigate("report", done.run, "-q").err
    elsewhere = folder / "other.toml"
    elsewhere.write_text('[report]\nformat = "sarif"\n')
    monkeypatch.setenv("PHIGATE_CONFIG", str(elsewhere))
    assert "report.sarif" in phigate("report", done.run).out
    monkeypatch.delenv("PHIGATE_CONFIG")
    policy, target = done.folder / "policy.yaml", done.folder / "sound.yaml"
    refused = phigate("run", policy, target, "--out", done.run)
    assert "--workers: belongs to --executor ray" in refused.err
    (folder / "phigate.toml").write_text('[run]\ndevice = "cpu"\n')
    assert phigate("run", policy, target, "--out", done.run, "--fresh").code == 0
    assert "run --device cpu" in json.loads((done.run / "run.json").read_text())["command"]


def test_the_environment_comes_before_the_file(
    phigate: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        assert phigate("ledger", "make", folder / f"{name}.jsonl").code == 0
    (folder / "phigate.toml").write_text('[defaults]\nledger = "a.jsonl"\n')
    shown = phigate("plan", "demo@2", "none.yaml")
    assert "phigate.toml: --ledger a.jsonl" in shown.err
    monkeypatch.setenv("PHIGATE_LEDGER", "b.jsonl")
    assert "phigate.toml" not in phigate("plan", "demo@2", "none.yaml").err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[check]\nwaivers = "w.yaml"\n', "check.waivers cannot be set here"),
        ("[check]\nno-waivers = true\n", "check.no-waivers cannot be set here"),
        ('[check]\nas-of = "2026-01-01"\n', "check.as-of cannot be set here"),
        ('[judge]\npolicy = "p.yaml"\n', "judge.policy cannot be set here"),
        ('[check]\nformats = "html"\n', "did you mean 'format'?"),
        ('[chek]\nformat = "html"\n', "did you mean 'check'?"),
        ('[explain]\nformat = "html"\n', "has no option --format"),
        ('format = "html"\n', "stands in no table"),
        ("[check]\nformat = 1.5\n", "write a text"),
        ("[check\n", "cannot be read as TOML"),
    ],
)
def test_what_decides_or_is_unknown_is_refused(
    phigate: Command, folder: Path, text: str, said: str
) -> None:
    (folder / "phigate.toml").write_text(text)
    outcome = phigate("check", "p.yaml", "t.yaml", "--out", "run")
    assert outcome.code == 2
    assert said in outcome.err
    assert "phigate.toml" in outcome.err


def test_without_a_file_nothing_changes(phigate: Command, folder: Path) -> None:
    assert phigate("explain", "demo@2").err == ""
    (folder / "phigate.toml").mkdir()
    assert phigate("explain", "demo@2").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(phigate: Command, shell: str) -> None:
    script = phigate("completion", shell)
    assert script.code == 0
    assert "_PHIGATE_COMPLETE" in script.out
    assert json.loads(phigate("completion", shell, "--json").out)["shell"] == shell


def test_commands_and_options_are_completed() -> None:
    complete = BashComplete(cli, {}, "phigate", "_PHIGATE_COMPLETE").get_completions
    assert [one.value for one in complete([], "cla")] == ["classes"]
    assert "find" in [one.value for one in complete(["classes"], "")]
    assert "--ledger" in [one.value for one in complete(["check"], "--led")]
