"""What `policies/README.md` shows is what phigate does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import Command

GUIDE = (Path(__file__).parents[1] / "policies" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```yaml file=(\S+)\n(.*?)```", GUIDE, flags=re.DOTALL))
COMMANDS = re.findall(r"^phigate ([^#\n]+?) *# exit (\d)$", GUIDE, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's files, as its reader would save them."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide_shows_files_and_commands() -> None:
    assert len(FILES) == 5
    assert len(COMMANDS) == 9
    shown = re.findall(r"^phigate .*", GUIDE, flags=re.MULTILINE)
    assert len(shown) == len(COMMANDS), "a command without its exit code is not tested"


@pytest.mark.parametrize(("command", "code"), COMMANDS)
def test_each_command_of_the_guide_exits_as_it_says(
    phigate: Command, folder: Path, command: str, code: str
) -> None:
    outcome = phigate(*shlex.split(command))
    assert outcome.code == int(code), outcome.err + outcome.out


def test_the_refusal_is_the_one_shown(phigate: Command, folder: Path) -> None:
    (shown,) = re.findall(r"```text\n(.*?)\n```", GUIDE, flags=re.DOTALL)
    assert shown in phigate("validate", "loose.yaml").err


def test_the_shipped_policies_it_names_are_there() -> None:
    root = Path(__file__).parents[1] / "policies"
    shipped = {path.stem for path in root.glob("*.yaml")} - {"baseline-common"}
    assert {name for name in shipped if f"`{name}`" in GUIDE} == shipped
