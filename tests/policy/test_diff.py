"""`phigate diff`: what each change of a policy means, and the table that says so."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from command_line import Command
from policy_texts import HOSPITAL, LADDER, REGION, TIGHTER, WARD
from pydantic import BaseModel

from checker.policy import load_policy
from checker.policy.documents import ControlSpec, PolicyClassSpec, PolicySpec
from checker.policy.explanation import compare
from checker.policy.inheritance.rules import (
    CodesRule,
    Fixed,
    Grows,
    LimitRule,
    Named,
    Parts,
    Permission,
    Rule,
)
from checker.policy.inheritance.strictness import ATTRIBUTE_CLASS, POLICY

BEFORE = HOSPITAL.replace('version: "1.4.2"', 'version: "1.4.3"')


def changed(old: str, new: str, text: str = HOSPITAL) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def found(old: str, new: str) -> list[tuple[str, str]]:
    """Return the direction and the last parts of the path of each change."""
    comparison = compare(
        load_policy(Path("old.yaml"), text=old), load_policy(Path("new.yaml"), text=new)
    )
    return [
        (change.direction, ".".join(map(str, change.path[1:]))) for change in comparison.changes
    ]


# --- the table ----------------------------------------------------------------------------------


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation leads to; list items are compared whole."""
    if get_origin(annotation) in (Annotated, Union, types.UnionType, dict):
        for one in get_args(annotation):
            yield from _models(one)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def _without_rule(model: type[BaseModel], rule: Rule, path: str) -> Iterator[str]:
    rule = rule.parts if isinstance(rule, Permission) else rule
    if isinstance(rule, Named):
        rule = rule.part
    if isinstance(rule, LimitRule | CodesRule | Fixed | Grows) or not isinstance(rule, Parts):
        return
    for name, info in model.model_fields.items():
        key = info.alias or name
        if key not in rule.rules and not (path.endswith("controls") and key == "params"):
            yield f"{path}.{key}"
        for inner in _models(info.annotation):
            yield from _without_rule(inner, rule.of(key), f"{path}.{key}")


def test_every_field_of_a_policy_has_a_rule() -> None:
    assert list(_without_rule(PolicySpec, POLICY, "spec")) == []
    assert list(_without_rule(PolicyClassSpec, ATTRIBUTE_CLASS, "class")) == []


def test_a_field_without_a_rule_would_be_noticed() -> None:
    fewer = Parts("", {key: rule for key, rule in POLICY.rules.items() if key != "gate"})
    assert "spec.gate" in list(_without_rule(PolicySpec, fewer, "spec"))


def test_a_field_without_a_rule_cannot_change() -> None:
    (change,) = Parts("", {}).changes((), {"new": 1}, {"new": 2}, 0.95)
    assert change.direction == "incomparable"


def test_defaults_of_lists_in_the_table_are_those_of_the_types() -> None:
    control = POLICY.rules["controls"].part.rules  # type: ignore[attr-defined]
    assert list(control["subgroups"].default) == ControlSpec.model_fields["subgroups"].default


# --- what changes mean --------------------------------------------------------------------------


def test_a_policy_does_not_differ_from_itself() -> None:
    for text in (HOSPITAL, REGION):
        assert found(text, text) == []


def test_writing_out_a_default_is_no_change() -> None:
    new = changed("      metric: exc", "      severity: high\n      metric: exc")
    new = changed("{samples: 20}", "{samples: 20, threshold: 0.5}", new)
    assert found(HOSPITAL, new) == []


def test_an_attacker_that_says_itself_what_it_inherited_is_no_change() -> None:
    new = changed("extends: broker, knows: {events: 10}", "knows: {static: [age, sex], events: 10}")
    assert found(HOSPITAL, new) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("fail: 0.05", "fail: 0.04", "controls.disclosure.limits.broker.fail"),
        ("warn: 0.03, ", "warn: 0.02, ", "controls.disclosure.limits.broker.warn"),
        ("confidence: 0.95", "confidence: 0.99", "parameters.confidence"),
        ("minCell: 11", "minCell: 12", "parameters.minCell"),
        ("Tolerance: 0.10", "Tolerance: 0.05", "parameters.admissibilityTolerance"),
        ("minCell: 11,", "minCell: 11, maxNearDuplicates: 0.01,", "parameters.maxNearDuplicates"),
        ("context: gated", "context: internal", "context"),
        ("maxEvidenceAge: P90D", "maxEvidenceAge: P89D", "gate.maxEvidenceAge"),
        ("[critical, high]", "[critical, high, low]", "gate.failOn"),
        ("report: only", "report: gate", "attackers.relative.report"),
        ("knows: {events: 10}", "knows: {events: all}", "attackers.relative.knows.events"),
        (
            "knows: {events: 10}", "knows: {events: 10, random: 5}",
            "attackers.relative.knows.random",
        ),
        (
            "knows: {events: 10}", "knows: {events: 10, codeTypes: [LAB//*]}",
            "attackers.relative.knows.codeTypes",
        ),
        ('"C46"]', '"C46", "R75"]', "attributeClasses.hiv.codes"),
        ("tier: suggestive", "tier: strong", "attributeClasses.hiv.codes"),
    ],
)  # fmt: skip
def test_demanding_more_is_tighter_and_the_way_back_looser(old: str, new: str, path: str) -> None:
    other = changed(old, new)
    assert found(HOSPITAL, other) == [("tighter", path)]
    assert found(other, HOSPITAL) == [("looser", path)]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("metric: excess_disclosure", "metric: excess_mean_q", "controls.disclosure.metric"),
        ("samples: 20", "samples: 40", "controls.disclosure.params.samples"),
        ("minCell: 11", "minCell: 11, seed: 8", "parameters.seed"),
        ("basis: legal-duty", "basis: analogy", "citations.a-law.basis"),
    ],
)
def test_what_cannot_be_compared_is_called_so(old: str, new: str, path: str) -> None:
    other = changed(old, new)
    assert found(HOSPITAL, other) == found(other, HOSPITAL) == [("incomparable", path)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("title: Tell no HIV status", "title: Other words"),
        ("      cites: [a-law]\n", ""),
        ("minCell: 11", "minCell: 11, expectedBaseRate: 0.1"),
    ],
)
def test_words_demand_nothing(old: str, new: str) -> None:
    assert [direction for direction, _ in found(HOSPITAL, changed(old, new))] == ["neutral"]


def test_a_control_that_no_longer_blocks_is_looser_though_its_severity_rose() -> None:
    old = changed("[critical, high]", "[high]")
    new = changed("      metric: exc", "      severity: critical\n      metric: exc", old)
    assert found(old, new) == [
        ("looser", "controls.disclosure.blocks"), ("tighter", "controls.disclosure.severity"),
    ]  # fmt: skip


def test_lists_say_what_came_and_what_went() -> None:
    new = changed('["B59", "C46"]', '["B59", "R75"]')
    comparison = compare(
        load_policy(Path("old.yaml"), text=HOSPITAL), load_policy(Path("new.yaml"), text=new)
    )
    assert [(c.direction, c.old, c.new) for c in comparison.changes] == [
        ("looser", ["icd10cm C46 suggestive"], None),
        ("tighter", None, ["icd10cm R75 suggestive"]),
    ]


def test_how_codes_are_grouped_and_spelled_is_no_change() -> None:
    one = '- {system: icd9cm, tier: definitive, values: ["042", "V08"]}'
    two = one.replace('"042", "V08"', '"V08"') + "\n        " + one.replace(', "V08"', ', "079.53"')
    assert found(changed(one, two), changed(one, two.replace("079.53", "07953"))) == []


def test_a_warning_no_lower_than_the_limit_is_as_good_as_none() -> None:
    new = changed("{warn: 0.03, fail: 0.05}", "{fail: 0.03}")
    # remarked on from 0.03 before, refused from 0.03 now
    assert found(HOSPITAL, new) == [
        ("tighter", "controls.disclosure.limits.broker.fail"),
        ("neutral", "controls.disclosure.limits.broker.warn"),
    ]


def test_waivers_loosen_where_there_were_none() -> None:
    rules = "  waivers: {approverRoles: [officer], maxDuration: P90D}\n"
    assert found(HOSPITAL, HOSPITAL + rules) == [("looser", "waivers")]
    assert found(HOSPITAL + rules, HOSPITAL) == [("tighter", "waivers")]


# --- the command --------------------------------------------------------------------------------


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)


def test_diff_exits_1_only_when_something_is_looser(phigate: Command, tmp_path: Path) -> None:
    write(tmp_path, hospital=HOSPITAL, ward=WARD + TIGHTER)
    hospital, ward = tmp_path / "hospital.yaml", tmp_path / "ward.yaml"
    tighter = phigate("diff", hospital, ward)
    assert tighter.code == 0
    assert "looser" not in tighter.out
    assert "spec.controls.disclosure.limits.broker.fail" in tighter.out
    looser = phigate("diff", ward, hospital)
    assert looser.code == 1
    assert looser.out.splitlines()[4].startswith("looser")  # worst first
    same = phigate("diff", ward, ward)
    assert (same.code, same.out.splitlines()[-1]) == (0, "They demand the same.")
    new = changed("metric: excess_disclosure", "metric: excess_mean_q")
    write(tmp_path, other=new)
    assert phigate("diff", hospital, tmp_path / "other.yaml").code == 0


def test_a_line_that_is_inherited_is_shown_with_its_file(phigate: Command, tmp_path: Path) -> None:
    write(
        tmp_path, hospital=HOSPITAL, ward=WARD, stricter=WARD + "  gate: {maxEvidenceAge: P30D}\n"
    )
    shown = phigate("diff", tmp_path / "ward.yaml", tmp_path / "stricter.yaml").out
    assert "P90D (hospital.yaml, line 28)" in shown
    assert "P30D (line 6)" in shown


def test_diff_writes_json_with_both_lines(phigate: Command, tmp_path: Path) -> None:
    write(tmp_path, hospital=HOSPITAL, ward=WARD + "  gate: {maxEvidenceAge: P30D}\n")
    outcome = phigate("diff", tmp_path / "hospital.yaml", tmp_path / "ward.yaml", "--json")
    said = json.loads(outcome.out)
    assert said["counts"] == {"looser": 0, "incomparable": 0, "tighter": 1, "neutral": 0}
    assert said["changes"] == [
        {
            "path": "spec.gate.maxEvidenceAge",
            "direction": "tighter",
            "old": "P90D",
            "new": "P30D",
            "law": "evidence age only falls",
            "oldPlace": f"{tmp_path / 'hospital.yaml'}:28:36",
            "newPlace": f"{tmp_path / 'ward.yaml'}:6:10",
        }
    ]


def test_loosening_within_a_major_version_is_remarked_on(phigate: Command, tmp_path: Path) -> None:
    looser = changed("fail: 0.05", "fail: 0.06", BEFORE)
    write(tmp_path, old=HOSPITAL, new=looser, major=looser.replace("1.4.3", "2.0.0"))
    outcome = phigate("diff", tmp_path / "old.yaml", tmp_path / "new.yaml")
    assert outcome.out.splitlines()[-1] == (
        "loosening is a new major version, but hospital went from 1.4.2 to 1.4.3"
    )
    assert (
        "new major version"
        not in phigate("diff", tmp_path / "old.yaml", tmp_path / "major.yaml").out
    )


def test_a_document_that_is_no_policy_cannot_be_compared(phigate: Command, tmp_path: Path) -> None:
    write(tmp_path, ladder=LADDER, bad="apiVersion: phigate/v1\nkind: LeakagePolicy\n")
    assert phigate("diff", tmp_path / "ladder.yaml", tmp_path / "ladder.yaml").code == 0
    assert phigate("diff", tmp_path / "ladder.yaml", tmp_path / "bad.yaml").code == 2
    assert phigate("diff", tmp_path / "ladder.yaml", tmp_path / "none.yaml").code == 2
