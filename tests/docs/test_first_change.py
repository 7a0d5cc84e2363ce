"""The first change of CONTRIBUTING.md works, step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATCHES = dict(re.findall(r"^```diff file=(\S+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL))

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def run_the_tests(folder: Path) -> tuple[int, str]:
    """Run the test file that the page names, in a copy of the working copy."""
    assert "\npytest tests/policy/test_lint.py\n" in TEXT
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"),
            *("tests/policy/test_lint.py", "-k", "confidence or sound"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # none is needed, and loading them takes longest
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def apply(folder: Path, patch: str) -> None:
    (folder / patch).write_text(PATCHES[patch], encoding="utf-8")
    done = subprocess.run(
        ["git", "apply", patch], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs_git
def test_the_first_change_fails_first_and_passes_then(tmp_path: Path) -> None:
    folder = tmp_path / "phigate"
    for name in ("checker", "tests", "benchmarks", "policies", "schemas", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)  # else git looks further up
    assert list(PATCHES) == ["test.patch", "warning.patch"]
    apply(folder, "test.patch")
    code, said = run_the_tests(folder)
    assert code == 1, said
    assert "1 failed" in said
    apply(folder, "warning.patch")
    code, said = run_the_tests(folder)
    assert code == 0, said
