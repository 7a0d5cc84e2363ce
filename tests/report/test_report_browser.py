"""The report in a real browser: whole without network or scripts, accessible, and never too wide.

axe-core, which looks for violations of WCAG, is fetched by `.ci/run` into `.cache`, because half a
megabyte of somebody else's script has no place in the repository; elsewhere its test is skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import report_builder as build

from checker.report.formats.annex import render_annex_html
from checker.report.formats.html import render_html
from checker.report.model import Report

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
AXE = Path(__file__).parents[2] / ".cache" / "axe-core-4.14.1" / "axe.min.js"
REPORTS: dict[str, Callable[[], Report]] = {
    "failing": build.failing_report,
    "passing": build.passing_report,
    "every verdict": build.every_verdict_report,
    "shared": lambda: build.shared(build.every_verdict_report()),
}


def page_of(make: Callable[[], Report]) -> str:
    return render_html(make())


PAGES: dict[str, Callable[[], str]] = {
    **{name: partial(page_of, make) for name, make in REPORTS.items()},
    "annex": lambda: render_annex_html(build.shared(build.failing_report()), name="edpb"),
}

pytestmark = pytest.mark.browser


@pytest.fixture
def browser() -> str:
    if BROWSER is None:
        if os.environ.get("PHIGATE_REQUIRE_BROWSER"):
            pytest.fail("PHIGATE_REQUIRE_BROWSER is set and there is no Chromium")
        pytest.skip("Chromium is not installed")
    return BROWSER


@pytest.fixture
def axe() -> str:
    if not AXE.exists():
        if os.environ.get("PHIGATE_REQUIRE_AXE"):
            pytest.fail(f"PHIGATE_REQUIRE_AXE is set and there is no {AXE}")
        pytest.skip(f"axe-core is not in {AXE.parent}; .ci/run fetches it")
    return AXE.read_text(encoding="utf-8")


def show(browser: str, page: Path, profile: Path, *action: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={profile}", *action, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip


def ask(browser: str, folder: Path, html: str, script: str, *flags: str) -> Any:
    """Run a script in a page whose content policy was taken away; return what `say` was told."""
    page = folder / "asked.html"
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    tell = (
        "const say = (found) => { const told = document.createElement('pre'); told.id = 'told';"
        " told.textContent = JSON.stringify(found); document.body.append(told); };"
    )
    page.write_text(
        free.replace("</body>", f"<script>{tell}\n{script}</script></body>"), encoding="utf-8"
    )
    seen = show(
        browser, page, folder / "profile", "--virtual-time-budget=20000", "--dump-dom", *flags
    )
    told = re.search(r'<pre id="told">(.*?)</pre>', seen.stdout, re.DOTALL)
    assert told is not None, seen.stderr[-2000:]
    return json.loads(unescape(told[1]))


def long_titles() -> Report:
    """A report whose titles from outside are 10,000 letters without a gap, or as many words."""
    report = build.every_verdict_report()
    endless, wordy = "x" * 10_000, "word " * 2_000
    policy = report.policy
    attackers = [
        one.model_copy(update={"title": endless, "knows": endless}) for one in policy.attackers
    ]
    classes = [one.model_copy(update={"title": wordy}) for one in policy.attribute_classes]
    sources = [one.model_copy(update={"title": endless}) for one in policy.citations]
    changes = {
        "attackers": attackers, "attribute_classes": classes, "citations": sources,
        "name": endless, "version": endless, "title": wordy, "owner": endless,
    }  # fmt: skip
    return report.model_copy(
        update={
            "policy": policy.model_copy(update=changes),
            "target": report.target.model_copy(update={"name": endless, "data_set": endless}),
            "controls": [one.model_copy(update={"title": endless}) for one in report.controls],
            "cells": [one.model_copy(update={"explanation": endless}) for one in report.cells],
        }
    )


@pytest.mark.parametrize("name", ["failing", "passing"])
def test_the_report_renders_and_its_content_policy_blocks_nothing_it_needs(
    browser: str, tmp_path: Path, name: str
) -> None:
    report = REPORTS[name]()
    page = tmp_path / "report.html"
    page.write_text(render_html(report), encoding="utf-8")
    seen = show(browser, page, tmp_path / "profile", "--dump-dom")
    assert "Content Security Policy" not in seen.stderr
    assert "<main" in seen.stdout
    for cell in report.cells:
        assert cell.id in seen.stdout or cell.control in seen.stdout


@pytest.mark.parametrize(
    "make",
    [PAGES["failing"], lambda: render_html(long_titles()), PAGES["annex"]],
    ids=["failing", "long titles", "annex"],
)
def test_a_page_is_never_wider_than_the_window(
    browser: str, tmp_path: Path, make: Callable[[], str]
) -> None:
    page = tmp_path / "report.html"
    page.write_text(make(), encoding="utf-8")
    widths = (320, 390, 768, 1280)  # WCAG 1.4.10 asks for 320
    frames = "".join(
        f'<iframe src="{page.as_uri()}" style="width:{width}px;height:800px;border:0"></iframe>'
        for width in widths
    )
    # a word has as many rectangles as it has lines
    measure = """
    const broken = (page) => [...page.querySelectorAll('.signatures thead th, .numbers thead th')]
      .flatMap((cell) => [...cell.textContent.matchAll(/\\S+/g)].filter((word) => {
        const range = page.createRange();
        range.setStart(cell.firstChild, word.index);
        range.setEnd(cell.firstChild, word.index + word[0].length);
        return range.getClientRects().length > 1;
      }).map((word) => word[0]));
    onload = () => say([...document.querySelectorAll('iframe')].map((frame) =>
      [frame.contentDocument.documentElement.scrollWidth, broken(frame.contentDocument)]));
    """
    found = ask(
        browser, tmp_path, f"<body>{frames}</body>", measure, "--allow-file-access-from-files"
    )
    insides = [inside for inside, _ in found]
    assert all(inside <= width for inside, width in zip(insides, widths, strict=True)), insides
    assert [words for _, words in found[1:]] == [[], [], []], "words are broken at 390 px or more"


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("failing", "light"),
        ("passing", "dark"),
        ("every verdict", "light"),
        ("shared", "dark"),
        ("annex", "light"),
    ],
)
def test_axe_finds_no_violation(
    browser: str, axe: str, tmp_path: Path, name: str, scheme: str
) -> None:
    flags = ["--window-size=1280,900"]
    if scheme == "dark":
        flags.append("--blink-settings=preferredColorScheme=0")
    script = axe + (
        "\naxe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
        " 'best-practice']}).then((found) => say({dark: matchMedia('(prefers-color-scheme: dark)')"
        ".matches, passed: found.passes.length, broken: found.violations.map((rule) =>"
        " [rule.id, rule.nodes.length, rule.nodes[0].html.slice(0, 200),"
        " rule.nodes[0].failureSummary])}));"
    )
    found = ask(browser, tmp_path, PAGES[name](), script, *flags)
    assert found["dark"] == (scheme == "dark")
    assert found["passed"] > 20, "axe looked at the page"
    assert found["broken"] == []


def test_axe_would_find_a_violation(browser: str, axe: str, tmp_path: Path) -> None:
    html = render_html(build.passing_report()).replace("--muted: #59626a", "--muted: #b9bfc4", 1)
    script = axe + (
        "\naxe.run(document, {runOnly: ['wcag2aa']}).then((found) =>"
        " say(found.violations.map((rule) => rule.id)));"
    )
    assert ask(browser, tmp_path, html, script) == ["color-contrast"]


def test_tabbing_reaches_everything_in_the_order_of_the_page(browser: str, tmp_path: Path) -> None:
    script = """
const wanted = [...document.querySelectorAll("a[href], button, select, input, [tabindex='0']")]
  .filter((one) => one.checkVisibility());
const jumps = wanted.filter((one) => one.tabIndex !== 0).map((one) => one.outerHTML);
const deaf = wanted.filter((one) => { one.focus(); return document.activeElement !== one; });
const unnamed = wanted.filter((one) => !(one.textContent.trim() || one.labels?.length
  || one.getAttribute("aria-labelledby")));
const small = [...document.querySelectorAll("button, select, nav a, .word a")]
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 23.5)
  .map((one) => one.outerHTML);
say({count: wanted.length, jumps, deaf: deaf.map((one) => one.outerHTML),
     unnamed: unnamed.map((one) => one.outerHTML), small,
     first: wanted[0].getAttribute("href")});
"""
    found = ask(browser, tmp_path, render_html(build.every_verdict_report()), script)
    assert found["count"] > 60
    assert found["first"] == "#content"  # over the rest of the page
    assert found["jumps"] == found["deaf"] == found["unnamed"] == found["small"] == []


def test_findings_can_be_filtered_and_sorted_and_the_page_says_so(
    browser: str, tmp_path: Path
) -> None:
    script = """
const shown = () => [...document.querySelectorAll(".finding")]
  .filter((one) => one.checkVisibility()).map((one) => one.id);
const said = () => document.getElementById("shown").textContent;
const choose = (id, value) => { const field = document.getElementById(id); field.value = value;
  field.dispatchEvent(new Event("change", {bubbles: true})); };
const found = {all: shown(), said: [said()]};
choose("show-verdict", "fail"); found.fail = shown(); found.said.push(said());
choose("show-verdict", "");
document.getElementById("deciding").click(); found.deciding = shown(); found.said.push(said());
document.getElementById("deciding").click();
choose("order", "attacker"); found.byAttacker = shown();
choose("order", "rank"); found.again = shown();
say(found);
"""
    report = build.failing_report()
    found = ask(browser, tmp_path, render_html(report), script)
    assert len(found["all"]) == 10
    places = {f"finding-{place}": cell for place, cell in enumerate(report.cells, start=1)}
    assert [places[name].verdict for name in found["fail"]] == ["fail"] * 6
    assert all(places[name].gating for name in found["deciding"])
    assert found["said"] == [
        "10 of 10 findings shown", "6 of 10 findings shown", "7 of 10 findings shown",
    ]  # fmt: skip
    by_attacker = [places[name].attacker for name in found["byAttacker"]]
    assert len(list(dict.fromkeys(by_attacker))) == sum(
        one != other for one, other in zip(by_attacker, [None, *by_attacker], strict=False)
    )
    assert found["again"] == found["all"]


def test_tables_can_be_sorted_by_their_headers(browser: str, tmp_path: Path) -> None:
    script = """
const table = document.querySelector("table.passed");
const column = () => [...table.tBodies[0].rows].map((row) => row.cells[4].textContent.trim());
const button = table.tHead.rows[0].cells[4].querySelector("button");
button.click(); const up = column(); button.click();
say({up, down: column(), sort: table.tHead.rows[0].cells[4].getAttribute("aria-sort"),
     said: table.nextElementSibling.textContent});
"""
    found = ask(browser, tmp_path, render_html(build.passing_report()), script)
    numbers = [float(words.split("\u00a0")[0]) for words in found["up"]]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 2
    assert found["down"] == found["up"][::-1]
    assert found["sort"] == "descending"
    assert found["said"] == "sorted by Upper bound, descending"


def test_without_scripting_nothing_is_missing_but_the_tools(browser: str, tmp_path: Path) -> None:
    html = render_html(build.every_verdict_report())
    script = """
const words = (root) => { const copy = root.cloneNode(true);
  for (const one of copy.querySelectorAll("script, .tools, .unseen[role='status'], #told"))
    one.remove();
  return copy.textContent.replace(/\\s+/g, " "); };
const bare = new DOMParser().parseFromString(SOURCE, "text/html");
say({same: words(document.body) === words(bare.body),
     hidden: bare.querySelectorAll("[hidden]").length,
     tools: bare.querySelector(".tools").hidden});
""".replace("SOURCE", json.dumps(html).replace("</", "<\\/"))
    found = ask(browser, tmp_path, html, script)
    assert found == {"same": True, "hidden": 1, "tools": True}


def test_a_printed_page_shows_what_was_filtered_out_and_says_who_may_read_it(
    browser: str, tmp_path: Path
) -> None:
    pdftotext = shutil.which("pdftotext")
    if pdftotext is None:
        if os.environ.get("PHIGATE_REQUIRE_PDF"):
            pytest.fail("PHIGATE_REQUIRE_PDF is set and there is no pdftotext")
        pytest.skip("poppler-utils is not installed")
    page, printed = tmp_path / "report.html", tmp_path / "printed.pdf"
    html = render_html(build.failing_report())
    page.write_text(html.replace('class="finding v-fail', 'class="filtered finding v-fail'))
    show(browser, page, tmp_path / "profile", f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    words = subprocess.run(
        [pdftotext, "-layout", printed, "-"], capture_output=True, text=True, check=True
    ).stdout
    pages = words.rstrip("\f").split("\f")
    assert len(pages) > 5
    assert "61 of 142 members" in words
    for number, told in enumerate(pages, start=1):
        assert "Confidential: for the audit team" in told
        assert f"{number} / {len(pages)}" in told
