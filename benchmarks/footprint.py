"""What `pip install phigate` costs: bytes to download and on disk, and seconds of cold commands.

The working copy is installed into an environment of its own, with the pins of `constraints.txt`
and without the extras. Downloads are the wheels that pip fetches; disk is what stands in
site-packages afterwards, compiled files included, without pip. Each command runs in a process of
its own, five times; the least CPU time is told, for the wall clock also tells what else the machine
does.

    python -m benchmarks.footprint
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
"""What stands in an environment before phigate does."""

COMMANDS = ("--help", "validate demo@2", "explain demo@2", "limits demo@2", "classes find hiv")


def cpu_seconds(program: Sequence[str], *, times: int = 5) -> float:
    """Return the least CPU time of a program, which has to end in 0."""
    found = []
    for _ in range(times):
        before = os.times()
        subprocess.run(program, check=True, capture_output=True)
        after = os.times()
        user = after.children_user - before.children_user
        found.append(user + after.children_system - before.children_system)
    return min(found)


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def sizes(site: Path) -> dict[str, int]:
    """Return the bytes of what stands in site-packages by name, largest first."""
    found: dict[str, int] = {}
    for path in site.iterdir():
        name = path.name.partition("-")[0].removesuffix(".libs").removesuffix(".py")
        if name not in TOOLS and path.name != "__pycache__":
            found[name] = found.get(name, 0) + size(path)
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    pins = ["-c", str(ROOT / "constraints.txt"), "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "download", *pins, "-d", str(folder / "get"), str(ROOT)], check=True)
        fetched = sum(map(size, (folder / "get").iterdir()))
        print(f"to download {fetched / 1e6:.0f} MB")
        subprocess.run([*pip, "install", *pins, str(ROOT)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        found = sizes(folder / "venv" / "lib" / version / "site-packages")
        print(f"on disk {sum(found.values()) / 1e6:.0f} MB")
        for part, count in list(found.items())[:10]:
            print(f"  {part:20} {count / 1e6:5.0f} MB")
        for command in COMMANDS:
            seconds = cpu_seconds([str(python.with_name("phigate")), *command.split()])
            print(f"phigate {command:20} {seconds:.2f} s of CPU time")


if __name__ == "__main__":
    main()
