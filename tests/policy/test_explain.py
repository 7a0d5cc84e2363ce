"""`phigate explain`: every field of a resolved policy, and the line it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from policy_texts import HOSPITAL, TIGHTER, WARD

from checker.policy import load_policy
from checker.policy.explanation import ResolvedField, explain
from checker.yaml import dotted


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    (tmp_path / "hospital.yaml").write_text(HOSPITAL)
    (tmp_path / "ward.yaml").write_text(WARD + TIGHTER)
    return tmp_path / "ward.yaml"


def by_path(path: Path, control: str | None = None) -> dict[str, list[ResolvedField]]:
    found: dict[str, list[ResolvedField]] = {}
    for one in explain(load_policy(path), control=control).fields:
        found.setdefault(dotted(one.path), []).append(one)
    return found


def test_every_field_has_its_value_document_and_line(ward: Path) -> None:
    fields = by_path(ward)
    (fail,) = fields["spec.controls.disclosure.limits.broker.fail"]
    assert fail.value == 0.02
    assert fail.place is not None
    assert (Path(fail.place.file).name, fail.place.line) == ("ward.yaml", 20)
    assert fail.document is not None
    assert (fail.document.name, fail.document.version) == ("ward", "1.0")
    (metric,) = fields["spec.controls.disclosure.metric"]
    assert metric.place is not None
    assert (Path(metric.place.file).name, metric.place.line) == ("hospital.yaml", 22)


def test_what_nobody_wrote_is_a_default_also_a_probes(ward: Path) -> None:
    fields = by_path(ward)
    for path, value in (
        ("spec.parameters.seed", 7),
        ("spec.controls.membership.severity", "high"),
        ("spec.controls.disclosure.params.topP", 0.95),
        ("spec.controls.membership.subgroups", ["all"]),
    ):
        (one,) = fields[path]
        assert (one.value, one.place) == (value, None)


def test_a_list_of_several_documents_is_shown_in_parts(ward: Path) -> None:
    parts = by_path(ward)["spec.attackers.broker.knows.static"]
    shown = [(one.value, Path(one.place.file).name) for one in parts if one.place]
    assert shown == [(["age", "sex"], "hospital.yaml"), (["race"], "ward.yaml")]


def test_every_leaf_of_the_policy_is_there_once(ward: Path) -> None:
    def leaves(value: Any, path: str) -> set[str]:
        if isinstance(value, dict):
            return {p for k, one in value.items() for p in leaves(one, f"{path}.{k}")}
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            return {f"{path}[{i}]" for i in range(len(value))}
        return {path} if value != [] else set()

    spec = load_policy(ward).document.spec
    wanted = leaves(spec.model_dump(by_alias=True, exclude_none=True), "spec")
    assert wanted <= set(by_path(ward))


def test_one_control_comes_with_what_it_refers_to(ward: Path) -> None:
    heads = {".".join(path.split(".")[1:3]) for path in by_path(ward, "membership")}
    assert heads >= {"controls.membership", "attackers.insider", "attackers.relative"}
    assert heads >= {"attackers.broker", "citations.a-study", "gate.failOn", "context"}
    assert not heads & {"controls.disclosure", "attributeClasses.hiv", "citations.a-law"}


def test_explain_shows_field_value_and_line(phigate: Command, ward: Path) -> None:
    outcome = phigate("explain", ward, "disclosure", "--all")
    assert outcome.code == 0
    lines = [" ".join(line.replace("│", " ").split()) for line in outcome.out.splitlines()]
    assert lines[0] == f"ward@1.0: {ward}"
    assert lines[1] == f"rests on hospital@1.4.2: {ward.parent / 'hospital.yaml'}"
    assert "limits.broker.fail 0.02 ward@1.0, line 20" in lines
    assert "metric excess_disclosure hospital@1.4.2, line 22" in lines
    assert "params.topP 0.95 default" in lines
    assert "maxEvidenceAge P30D ward@1.0, line 35" in lines


def test_one_control_comes_first_and_names_only_the_documents_it_rests_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hospital.yaml"
    path.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: hospital, version: '1'}\n"
        "spec:\n  extends: [{ref: baseline-gated@1}]\n"
    )
    explanation = explain(load_policy(path), control="hiv")
    names = {origin.name for origin in explanation.documents}
    assert names == {"hospital", "baseline-gated", "baseline-common", "attacker-ladder", "hiv"}
    assert explanation.documents[0].name == "hospital"
    assert explanation.fields[0].path[:3] == ("spec", "controls", "hiv")
    assert len(explain(load_policy(path)).documents) > 20


def test_explain_writes_json(phigate: Command, ward: Path) -> None:
    said = json.loads(phigate("explain", ward, "--json").out)
    assert [one["name"] for one in said["documents"]] == ["ward", "hospital"]
    (age,) = [one for one in said["fields"] if one["path"] == "spec.gate.maxEvidenceAge"]
    assert age == {
        "path": "spec.gate.maxEvidenceAge",
        "value": "P30D",
        "default": False,
        "file": str(ward),
        "line": 35,
        "column": 44,
        "document": "ward@1.0",
    }


def test_an_unknown_control_gets_a_suggestion(phigate: Command, ward: Path) -> None:
    outcome = phigate("explain", ward, "disclosur")
    assert outcome.code == 2
    assert outcome.err.strip().endswith("has no control 'disclosur'; did you mean 'disclosure'?")
    assert phigate("explain", ward.parent / "none.yaml").code == 2
