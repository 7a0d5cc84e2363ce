"""What the README shows is what phigate does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from conftest import Command

from checker.cli import cli
from checker.errors import ExitCode
from checker.plugins import load_plugin, plugin_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_s_documents_are_valid(phigate: Command, tmp_path: Path) -> None:
    files = []
    for number, text in enumerate(blocks("yaml")):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    assert len(files) == 2
    outcome = phigate("validate", *files)
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.err


def test_the_readme_s_error_message_is_the_one_shown(phigate: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    text = blocks("yaml")[0].replace("excess_disclosure", "exces_disclosure")
    policy.write_text(text)
    shown = blocks("text")[0].strip()
    message = phigate("validate", policy).err
    assert shown.partition(": ")[2] in message
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "exces_" in row)
    assert shown.startswith(f"policy.yaml:{line}:")


def test_every_command_of_the_readme_exists() -> None:
    shown = "\n".join([*blocks("sh"), *re.findall(r"`(phigate [^`]+)`", README)])
    named = set(re.findall(r"^phigate ([a-z]+)", shown, flags=re.MULTILINE))
    assert len(named) >= 8
    assert named <= set(cli.commands), named - set(cli.commands)
    shown_targets = "\n".join([*blocks("sh"), *re.findall(r"`(make [^`]+)`", README)])
    targets = set(re.findall(r"^make ([a-z]+)", shown_targets, flags=re.MULTILINE))
    assert targets == {"demo", "test", "check"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_readme_names_every_probe_and_metric_and_exit_code() -> None:
    for name in plugin_names("phigate.probes"):
        assert f"`{name}`" in README
        for metric in load_plugin("phigate.probes", name).metrics.values():
            assert not metric.limitable or f"`{metric.name}`" in README
    codes = dict(re.findall(r"^\| (\d) \| (.+) \|$", README, flags=re.MULTILINE))
    assert set(map(int, codes)) == set(ExitCode)


def test_files_the_readme_links_to_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readme_s_audit_commands_run(phigate: Command, workspace: Path) -> None:
    shutil.copy(workspace / "sound.yaml", workspace / "target.yaml")
    commands = re.findall(r"^phigate (plan|check|verify) ([^#\n]*)", README, flags=re.MULTILINE)
    assert [name for name, _ in commands][:3] == ["plan", "check", "verify"]
    for name, arguments in commands[:3]:
        words = [str(workspace / w) if "." in w or "/" in w else w for w in arguments.split()]
        assert phigate(name, *words).code == ExitCode.PASS
