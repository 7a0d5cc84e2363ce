"""What holds for every report format, whatever it is made for."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import report_builder as build
from auditing import three_classes
from command_line import Command
from hostile import HOSTILE, poisoned
from report_cases import ALIKE, PAPER

from checker.canonical import sha256_hex
from checker.cli import run_command
from checker.plugins import BUILT_IN, load_plugin
from checker.report.disclosure_control import for_audience
from checker.report.formats.api import ReportFormat, filled
from checker.report.formats.json import render_json
from checker.report.model import Report

# HTML and PDF have tests of their own: they are pages, and drawing them takes longer
NAMES = sorted({*BUILT_IN["phigate.reports"]} - {"html"} - PAPER - ALIKE)
SHORT_FORMATS = sorted({*NAMES} - {"json"})
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def rendered(name: str, report: Report) -> str:
    found: ReportFormat = load_plugin("phigate.reports", name)
    return found.render(report).decode("utf-8")


@cache
def every_verdict() -> Report:
    return build.every_verdict_report()


@cache
def every_verdict_with(kind: str) -> Report:
    return poisoned(every_verdict(), HOSTILE[kind])


def test_no_two_formats_write_one_file() -> None:
    files = [load_plugin("phigate.reports", name).filename for name in BUILT_IN["phigate.reports"]]
    assert len(set(files)) == len(files)
    assert all(re.fullmatch(r"report(\.[a-z]+)+", file) for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_text_that_ends_in_one_line_break(name: str) -> None:
    text = rendered(name, every_verdict())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\r" not in text


@pytest.mark.parametrize("name", SHORT_FORMATS)
def test_an_internal_report_says_that_it_is_confidential_and_a_shared_one_does_not(
    name: str,
) -> None:
    report = every_verdict()
    assert report.audience == "internal"
    assert "Confidential: for the audit team" in rendered(name, report)
    assert "onfidential" not in rendered(name, for_audience(report, "shared"))


@pytest.mark.parametrize("name", SHORT_FORMATS)
def test_a_withheld_cell_says_verdict_side_and_limit_but_no_number(name: str) -> None:
    # 61 of 142 members, 4 of 139 nonmembers: 61/142 - 4/139 = 0.40081
    fail = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    whole = build.report_of([fail], "fail")
    shared = whole.model_copy(update={"audience": "shared", "cells": [build.suppressed(fail)]})
    internal, outside = rendered(name, whole), rendered(name, shared)
    number = re.compile(r"0\.400810\d+|40\.1\s%|33\.1\s%")
    assert number.search(internal)
    assert not number.search(outside)
    assert not re.search(r"\b(61|142|139|281)\b", re.sub(r"[0-9a-f]{12,}", "", outside))
    assert re.search(r"\bfail\b", outside, re.IGNORECASE)
    assert re.search(r"[Oo]ver 5\s%|above the limit|\"beyond\"", outside)
    assert re.search(r"at most 5\s%|0\.05\b", outside)


@pytest.mark.parametrize("name", SHORT_FORMATS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_leaves_no_character_that_acts(name: str, kind: str) -> None:
    text = rendered(name, every_verdict_with(kind))
    found = FORBIDDEN.search(text)
    assert found is None, f"U+{ord(found[0]):04X} at {text[max(0, found.start() - 60) :][:80]!r}"
    assert len(text) < 3_000_000


@pytest.mark.parametrize("name", SHORT_FORMATS)
def test_text_of_ten_thousand_characters_is_cut(name: str) -> None:
    text = rendered(name, every_verdict_with("long"))
    assert max(map(len, re.findall("x+", text))) <= 1_000


@pytest.mark.parametrize("name", NAMES)
def test_a_report_without_cells_can_be_written(name: str) -> None:
    report = build.passing_report()
    empty = report.model_copy(
        update={
            "cells": [],
            "controls": [],
            "policy": report.policy.model_copy(update={"attackers": [], "citations": []}),
        }
    )
    assert rendered(name, empty)


def test_a_field_that_holds_nothing_is_left_out_and_false_and_zero_are_not() -> None:
    assert filled({"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": False, "g": 0.0}) == {
        "e": 0, "f": False, "g": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["sarif", "junit", "oscal", "markdown"])
def test_a_time_that_is_none_is_an_error_in_a_sentence(
    name: str, tmp_path: Path, phigate: Command
) -> None:
    report = build.passing_report()
    provenance = report.provenance.model_copy(
        update={"as_of": "yesterday", "started": "this morning", "finished": "at noon"}
    )
    (tmp_path / "report.json").write_text(
        render_json(report.model_copy(update={"provenance": provenance})), encoding="utf-8"
    )
    outcome = phigate("report", tmp_path, "--format", name)
    assert outcome.code == 4
    assert "is no ISO 8601 time; `phigate judge` writes the report again" in outcome.err


@pytest.mark.parametrize("command", ["check", "judge", "report"])
def test_the_help_names_every_format(command: str, phigate: Command) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"-\n\s+", "-", phigate(command, "--help").out))
    for name in BUILT_IN["phigate.reports"]:
        assert re.search(rf"[ ,]{re.escape(name)}[,.\]]", text), name


@pytest.fixture(scope="module")
def audited(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run with every format, and the policy it was judged by."""
    folder = tmp_path_factory.mktemp("audited")
    policy, run = folder / "release.yaml", folder / "run"
    policy.write_text(three_classes(), encoding="utf-8")
    target = simulated_targets / "leaking.yaml"
    arguments = ["check", policy, target, "--out", run, "--format", ",".join(SHORT_FORMATS)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["phigate", *map(str, arguments)])
        assert run_command() == 1
    return run, policy


def test_verify_makes_every_format_again_and_finds_what_was_changed(
    audited: tuple[Path, Path], phigate: Command
) -> None:
    run, _ = audited
    paths = [run / load_plugin("phigate.reports", name).filename for name in SHORT_FORMATS]
    whole = phigate("verify", run)
    assert whole.code == 0
    contents = {path: path.read_bytes() for path in paths}
    for path, content in contents.items():
        assert f"{path.name} is what report.json renders to" in whole.out
        path.write_bytes(content.replace(b"HIV", b"H1V", 1))
        assert path.read_bytes() != content
    changed = phigate("verify", run)
    assert changed.code == 4
    for path, content in contents.items():
        assert f"{path.name} is not what report.json renders to" in changed.out
        path.write_bytes(content)


def test_a_run_s_findings_lie_on_the_lines_of_its_policy(audited: tuple[Path, Path]) -> None:
    run, policy = audited
    (log,) = json.loads((run / "report.sarif").read_text(encoding="utf-8"))["runs"]
    lines = policy.read_text(encoding="utf-8").splitlines()
    assert log["results"]
    for result in log["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "release.yaml"
        assert lines[place["region"]["startLine"] - 1].strip() == f"{result['ruleId']}:"
    assert log["artifacts"][0]["hashes"]["sha-256"] == sha256_hex(policy.read_bytes())
