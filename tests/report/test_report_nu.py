"""The Nu HTML checker finds no error in what phigate writes as HTML."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_cases import case

from checker.report.comparison import compare_reports
from checker.report.formats.comparison import render_comparison
from checker.report.formats.html import render_html

NU = Path(__file__).parents[2] / ".cache" / "vnu-jar-26.9.27" / "vnu.jar"
CASES = ("every verdict", "every verdict, shared", "prerequisites")
# What the page may do is said in its head by digests, which the checker does not work out.
EXPECTED = "violates Content Security Policy"


@pytest.fixture(scope="module")
def nu() -> list[str]:
    """The command, without the files that it checks."""
    java = shutil.which("java")
    if java is None or not NU.exists():
        if os.environ.get("PHIGATE_REQUIRE_NU"):
            pytest.fail(f"PHIGATE_REQUIRE_NU is set, and there is no Java or no {NU}")
        pytest.skip(f"the Nu HTML checker takes Java and {NU}; .ci/run fetches it")
    # a page takes too short for compilers and collectors that pay off later
    return [
        java,
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xss4m",
        "-jar",
        str(NU),
        "--format",
        "json",
    ]


def findings(command: list[str], *files: Path) -> list[dict[str, Any]]:
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stderr)["messages"]
    return found


def test_pages_have_no_errors_and_those_of_a_broken_one_are_found(
    nu: list[str], tmp_path: Path
) -> None:
    pages = {name: render_html(case(name)) for name in CASES}
    compared = compare_reports(case("failing"), case("passing"))
    pages["comparison"] = render_comparison(compared)
    pages["broken"] = "<!DOCTYPE html><title>broken</title><table><tr><td role=cell></table>"
    for name, page in pages.items():
        (tmp_path / f"{name.replace(' ', '-')}.html").write_text(page, encoding="utf-8")
    found = findings(nu, *sorted(tmp_path.iterdir()))
    told = [
        f"{one['url'].rpartition('/')[2]}:{one.get('lastLine')}: {one['message']}"
        for one in found
        if one["type"] == "error" or EXPECTED not in one["message"]
    ]
    assert [one for one in told if one.startswith("broken.html")]
    assert not [one for one in told if not one.startswith("broken.html")]
