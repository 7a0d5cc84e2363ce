"""`report.json`: the same report in, the same report out, and errors that say where."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import report_builder as build

from checker.errors import EvidenceError
from checker.report.formats.json import load_report, render_json
from checker.report.model import Report


@pytest.mark.parametrize("name", ["failing", "passing", "inconclusive", "every_verdict"])
def test_a_report_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    report = getattr(build, f"{name}_report")()
    path = tmp_path / "report.json"
    path.write_text(render_json(report), encoding="utf-8")
    assert load_report(path) == report
    assert render_json(load_report(path)) == render_json(report)


def test_the_file_is_camel_case_indented_and_keeps_letters() -> None:
    written = render_json(build.failing_report())
    assert written.startswith('{\n  "schemaVersion": "1",\n  "verdict": "fail",\n')
    assert written.endswith("}\n")
    assert '"nonmembersSplit": "held_out"' in written
    assert "Law §2782" in written


def test_the_file_obeys_the_schema_of_the_model() -> None:
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    jsonschema.validate(json.loads(render_json(build.every_verdict_report())), schema)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "report.json"),
        (b"\xff\xfe", "report.json"),
        (b'{"schemaVersion": "2"}', "schemaVersion"),
        (b"[]", "report.json that phigate wrote"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_a_sentence(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"report\.json") as caught:
        load_report(path)
    assert words in str(caught.value)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"absent\.json: there is no such file"):
        load_report(tmp_path / "absent.json")
