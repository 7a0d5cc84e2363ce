"""What a fresh machine gets: pinned dependencies, a whole wheel, and a Makefile that helps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import checker
from checker.cli.man_page import man_page

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
Wheel = tuple[str, set[str], str]
"""Its file name, the names in it, and the text of its licence."""

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


# --- what is installed --------------------------------------------------------------------------


def test_every_direct_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    pinned = {canonicalize_name(pin.name): pin for pin in pins()}
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
        *PROJECT["build-system"]["requires"],
    ]
    for requirement in map(Requirement, wanted):
        (exactly,) = pinned[canonicalize_name(requirement.name)].specifier
        assert exactly.version in requirement.specifier, requirement


def test_a_pin_is_one_exact_public_version() -> None:
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert len(set(names)) == len(names)
    for pin in pins():
        (exactly,) = pin.specifier
        assert exactly.operator == "=="
        assert "+" not in exactly.version, f"{pin}: a local build is on no public index"
        assert pin.url is None


def test_what_torch_brings_by_itself_is_left_to_torch() -> None:
    """CUDA libraries differ by platform; a pin of ours would break those without a GPU."""
    assert not [pin for pin in pins() if re.match(r"nvidia|cuda|triton", pin.name)]


def test_the_constraints_name_no_index() -> None:
    assert not re.search(r"://|^-", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)


# --- the wheel ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return path.name, set(archive.namelist()), archive.read(_license(archive)).decode()


def _license(archive: zipfile.ZipFile) -> str:
    return next(name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))


def test_the_wheel_carries_every_file_that_the_checkout_reads(wheel: Wheel) -> None:
    _, names, _ = wheel
    for folder, inside in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"][
        "force-include"
    ].items():
        shipped = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert shipped, folder
        for path in shipped:
            assert f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" in names
    for path in (ROOT / "checker").rglob("*"):
        if path.suffix in {".py", ".csv"} or path.name == "py.typed":
            assert path.relative_to(ROOT).as_posix() in names


def test_the_wheel_carries_nothing_but_the_package(wheel: Wheel) -> None:
    _, names, _ = wheel
    name = f"phigate-{checker.__version__}"
    assert {one.split("/")[0] for one in names} == {"checker", f"{name}.dist-info", f"{name}.data"}
    shared = {one for one in names if one.startswith(f"{name}.data/")}
    assert shared == {f"{name}.data/data/share/man/man1/phigate.1"}


def test_the_manual_page_is_what_help_says() -> None:
    page = (ROOT / "docs" / "man" / "phigate.1").read_text(encoding="utf-8")
    assert page == man_page(), "python -m checker.cli.man_page > docs/man/phigate.1"
    commands = re.findall(r"^\.SS phigate (.+?)(?: \[| [A-Z]|$)", page, re.M)
    assert {"check", "target test", "new waiver", "completion"} <= set(commands)
    # a line that roff takes for an order is one of those that are meant
    assert set(re.findall(r"^[.'](\w*)", page, re.M)) == {"TH", "SH", "SS", "TP", "B", "PP"}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_reads_the_manual_page_without_a_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", ROOT / "docs" / "man" / "phigate.1"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    assert b"inconclusive, and" in done.stdout


def test_the_wheel_says_its_version_and_licence(wheel: Wheel) -> None:
    name, _, text = wheel
    assert name == f"phigate-{checker.__version__}-py3-none-any.whl"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_the_version_and_a_place_for_the_next() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] == "Unreleased"
    assert headings[1].split()[0] == checker.__version__


# --- make and continuous integration ------------------------------------------------------------


@needs_make
def test_make_alone_lists_the_targets() -> None:
    listed = make()
    assert listed.returncode == 0
    for target in ("venv", "demo", "test", "check", "docs", "clean"):
        assert re.search(rf"make {target}\s+\S", listed.stdout), target


@needs_make
def test_an_old_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")  # what an old interpreter answers to the question
    old.chmod(0o755)
    refused = make("venv", f"PYTHON={old}", folder=tmp_path)
    assert refused.returncode != 0
    assert "needs Python 3.11 or newer" in refused.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_the_environment_is_made_again_when_what_it_holds_has_changed(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    now = stamp.stat().st_mtime
    for name, age, code in (("pyproject.toml", -60, 0), ("constraints.txt", 60, 1)):
        os.utime(tmp_path / "constraints.txt", (now - 60, now - 60))
        os.utime(tmp_path / "pyproject.toml", (now - 60, now - 60))
        os.utime(tmp_path / name, (now + age, now + age))
        # -q: nothing is run; the status says whether something would be
        assert make("-q", "venv", folder=tmp_path).returncode == code, name


def test_continuous_integration_runs_make_check_and_no_browser_test_can_be_skipped_unseen() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    for what in ("BROWSER", "PDF", "AXE"):
        assert f"PHIGATE_REQUIRE_{what}=1" in text
    assert text.rstrip().endswith("make check")
