"""What `policies/README.md` shows is what phigate does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import Command
from meds_builder import write_meds

GUIDE = (Path(__file__).parents[2] / "policies" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:yaml|csv) file=(\S+)\n(.*?)```", GUIDE, flags=re.DOTALL))
COMMANDS = re.findall(r"^phigate ([^#\n]+?) *# exit (\d)$", GUIDE, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's files, as its reader would save them."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    ward = [("ICD10CM/F20.9", 0.0), ("WARD//PSY-CLOSED", 1.0), ("LAB//lithium level", 2.0)]
    write_meds(tmp_path / "cohort", {"train": [ward, ward], "held_out": [ward]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guide_shows_files_and_commands() -> None:
    assert len(FILES) == 7
    assert len(COMMANDS) == 16
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


def test_what_it_says_of_codes_is_what_match_says(phigate: Command) -> None:
    lines = phigate("classes", "match", "042", "nirmatrelvir / ritonavir").out.splitlines()
    (infection,) = [line for line in lines if line.startswith("042")]
    assert "hiv" in infection
    assert "definitive" in infection
    (covid,) = [line for line in lines if line.startswith("nirmatrelvir")]
    assert "excluded" in covid


def test_the_department_s_own_ward_is_caught(phigate: Command, folder: Path) -> None:
    outcome = phigate("classes", "coverage", "cohort", "--policy", "psychiatry.yaml",
                      "--class", "mental-health-serious", "--json")  # fmt: skip
    (serious,) = json.loads(outcome.out)["classes"]
    caught = {one["code"]["code"]: one["standing"] for one in serious["caught"]}
    assert caught["WARD//PSY-CLOSED"] == "definitive"
    assert serious["patients"] == 3
    assert [one["code"]["code"] for one in serious["near_misses"]] == ["LAB//lithium level"]


def test_the_shipped_policies_it_names_are_there() -> None:
    root = Path(__file__).parents[2] / "policies"
    shipped = {path.stem.partition("@")[0] for path in root.glob("*.yaml")} - {"baseline-common"}
    assert {name for name in shipped if f"`{name}`" in GUIDE} == shipped
