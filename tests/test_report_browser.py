"""The report in a real browser: it renders whole, without network and without scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from report_builder import failing_report, passing_report

from checker.report.html import render_html

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)

pytestmark = pytest.mark.browser


@pytest.fixture
def browser() -> str:
    if BROWSER is None:
        if os.environ.get("PHIGATE_REQUIRE_BROWSER"):
            pytest.fail("PHIGATE_REQUIRE_BROWSER is set and there is no Chromium")
        pytest.skip("Chromium is not installed")
    return BROWSER


def show(browser: str, page: Path, profile: Path, *action: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={profile}", *action, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("build", [failing_report, passing_report])
def test_the_report_renders_and_its_content_policy_blocks_nothing_it_needs(
    browser: str, tmp_path: Path, build: object
) -> None:
    report = build()  # type: ignore[operator]
    page = tmp_path / "report.html"
    page.write_text(render_html(report), encoding="utf-8")
    seen = show(browser, page, tmp_path / "profile", "--dump-dom")
    assert "Content Security Policy" not in seen.stderr
    assert "<main" in seen.stdout
    for cell in report.cells:
        assert cell.id in seen.stdout or cell.control in seen.stdout


@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_is_not_wider_than_the_window(browser: str, tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(failing_report()), encoding="utf-8")
    measure = tmp_path / "measure.html"
    measure.write_text(
        f'<iframe id="f" src="{page.as_uri()}" style="width:{width}px;height:800px"></iframe>'
        "<script>onload = () => { const d = document.getElementById('f').contentDocument;"
        "document.title = 'width ' + d.documentElement.scrollWidth; }</script>"
    )
    seen = show(
        browser, measure, tmp_path / "profile", "--allow-file-access-from-files",
        "--virtual-time-budget=5000", "--dump-dom",
    )  # fmt: skip
    found = int(seen.stdout.partition("<title>width ")[2].partition("<")[0])
    assert found <= width
