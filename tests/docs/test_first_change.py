"""Changes of the working copy that pages walk through work, step by step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SELECTOR = (ROOT / "docs" / "extending" / "selector.md").read_text(encoding="utf-8")
SIMULATED = ROOT / "checker" / "testing" / "plugins"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def patches(page: str) -> dict[str, str]:
    """The patches that a page shows, by their file's name."""
    shown = re.findall(r"^```diff file=(\S+)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return dict(shown)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the working copy, to be changed."""
    folder = tmp_path / "phigate"
    for name in ("checker", "tests", "benchmarks", "policies", "schemas", "reports"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "examples")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # else git looks further up
    return folder


def apply(folder: Path, name: str, patch: str) -> None:
    (folder / name).write_text(patch, encoding="utf-8")
    done = subprocess.run(
        ["git", "apply", name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def python(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a module in the copy; exit code and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [folder, SIMULATED])),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # none is needed, and loading them takes longest
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_the_first_change_fails_first_and_passes_then(copy: Path) -> None:
    assert list(patches(CONTRIBUTING)) == ["test.patch", "warning.patch"]
    assert "\npytest tests/policy/test_lint.py\n" in CONTRIBUTING
    tests = ["pytest", "-q", "-p", "no:cacheprovider", "--noconftest"]
    tests += ["tests/policy/test_lint.py", "-k", "confidence or sound"]
    for name, expected in (("test.patch", 1), ("warning.patch", 0)):
        apply(copy, name, patches(CONTRIBUTING)[name])
        code, said = python(copy, tests)
        assert code == expected, said
        assert ("1 failed" in said) == (expected == 1)


def test_the_selector_is_added_in_two_files_and_gives_prompts_of_its_own(
    copy: Path, simulated_targets: Path
) -> None:
    (patch,) = patches(SELECTOR).items()
    apply(copy, *patch)
    assert len(re.findall(r"^\+\+\+ b/checker/", patch[1], flags=re.MULTILINE)) == 2
    policy = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "firsts", "version": "1.0.0"},
        "spec": {
            "context": "internal",
            "attackers": {
                "relative": {"title": "Relative", "knows": {"static": ["age"], "firsts": 1}},
                "nurse": {"title": "Nurse", "extends": "relative", "knows": {"firsts": 2}},
            },
            "controls": {
                "words": {
                    "title": "No record may be continued word for word",
                    "probe": "trajectory-memorization",
                    "params": {"horizonTokens": 24, "minRun": 5},
                    "metric": "excess_extraction",
                    "limits": {"relative": {"fail": 0.1}, "nurse": {"fail": 0.1}},
                    "severity": "high",
                }
            },
        },
    }
    (copy / "policy.yaml").write_text(yaml.safe_dump(policy))
    code, said = python(
        copy,
        ["checker.cli", "plan", "policy.yaml", str(simulated_targets / "sound.yaml"), "--json"],
    )
    assert code == 0, said
    cells = json.loads(said)["cells"]
    assert len({cell["measurement"] for cell in cells}) == len(cells) == 2
    one, other = (set(cell["jobs"]) for cell in cells)  # prompts that are equal are run once
    assert one - other
    assert other - one
    assert all(cell["sample"]["distinctPromptShare"] > 0.9 for cell in cells)
