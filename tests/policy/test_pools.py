"""Pools of classes as documents: what may stand in one, and what is inherited of it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from command_line import Command

from checker.errors import DocumentError
from checker.planning.identity import class_identity
from checker.policy import load_policy

ROOT = Path(__file__).parents[2]
POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0"}
spec:
  context: internal
  attackers:
    insider: {title: Insider, knows: {static: all, events: all}, access: logprobs}
  attributeClasses:
    hiv: {title: HIV, codes: [{system: icd10cm, tier: definitive, values: [B20]}]}
    sud: {title: Opioids, codes: [{system: icd10cm, tier: definitive, values: [F11]}]}
    htn: {title: Pressure, benign: true, codes: [{system: icd10cm, tier: strong, values: [I10]}]}
    gravest: {title: Any of the gravest, anyOf: [hiv, sud]}
  controls:
    told:
      title: Tell none of them
      attributeClass: gravest
      probe: attribute-disclosure
      metric: excess_mean_q
      limits: {insider: {fail: 0.02}}
      cites: [decision]
  citations:
    decision: {title: Ours, basis: institutional-choice}
"""


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(DocumentError) as refused:
        load_policy(Path("p.yaml"), text=text)
    return [(one.path, one.message) for one in refused.value.problems]


def changed(old: str, new: str) -> str:
    assert POLICY.count(old) == 1, old
    return POLICY.replace(old, new)


def test_a_pool_is_a_class_and_its_classes_count_as_audited() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    assert policy.document.spec.attribute_classes["gravest"].any_of == ["hiv", "sud"]
    unaudited = [w.path for w in policy.warnings if "is not audited" in w.message]
    assert unaudited == ["spec.attributeClasses.htn"]
    assert not [w for w in policy.warnings if "no code of 'gravest'" in w.message]


@pytest.mark.parametrize(
    ("written", "path", "said"),
    [
        ("anyOf: [hiv, sut]", "anyOf[1]", "did you mean 'sud'"),
        ("anyOf: [hiv, hiv]", "anyOf[1]", "stands here twice"),
        ("anyOf: [hiv, htn]", "anyOf[1]", "holds no benign one"),
        ("anyOf: [hiv, gravest]", "anyOf[1]", "is a pool itself"),
        ("anyOf: [hiv]", "anyOf", "needs 2 items"),
        ("anyOf: [hiv, sud], words: [opioid]", "words", "no words of its own"),
        (
            "anyOf: [hiv, sud], codes: [{system: icd10cm, tier: strong, values: [F10]}]",
            "codes",
            "no codes of its own",
        ),
        ("description: Nothing", "", "'codes' is missing"),
    ],
)
def test_what_is_no_pool_is_said_where_it_stands(written: str, path: str, said: str) -> None:
    found = problems(changed("anyOf: [hiv, sud]", written))
    here = "spec.attributeClasses.gravest" + (f".{path}" if path else "")
    assert [one for one in found if one[0] == here and said in one[1]], found


def test_what_ranks_patients_or_asks_for_one_class_takes_no_pool() -> None:
    ranked = problems(changed("metric: excess_mean_q", "metric: attribute_auroc"))
    assert any("ranks patients" in message for _, message in ranked)
    perturbed = problems(
        changed("probe: attribute-disclosure", "probe: identifier-perturbation").replace(
            "excess_mean_q", "memorized_share"
        )
    )
    assert any("asks for one class" in message for _, message in perturbed)


def test_a_department_may_not_thin_a_pool_out(tmp_path: Path) -> None:
    (tmp_path / "hospital.yaml").write_text(POLICY)
    child = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: department, version: "1.0"}
spec:
  extends: [{ref: ./hospital.yaml}]
  context: internal
  attributeClasses:
    flu: {title: Influenza, codes: [{system: icd10cm, tier: strong, values: [J10]}]}
    gravest: {anyOf: %s}
"""
    for pool in ("[hiv, sud, flu]", "[hiv, flu]"):
        (tmp_path / "child.yaml").write_text(child % pool)
        with pytest.raises(DocumentError) as refused:
            load_policy(tmp_path / "child.yaml")
        (problem,) = refused.value.problems
        assert problem.path == "spec.attributeClasses.gravest.anyOf"
        assert "make another pool" in problem.message
    (tmp_path / "child.yaml").write_text(child % "[hiv, sud]")
    whole = load_policy(tmp_path / "child.yaml").document.spec
    assert whole.attribute_classes["gravest"].any_of == ["hiv", "sud"]


def test_a_pool_is_what_its_classes_are() -> None:
    def of(text: str) -> object:
        return class_identity(load_policy(Path("p.yaml"), text=text).document.spec, "gravest")

    assert of(POLICY) == of(changed("[hiv, sud]", "[sud, hiv]"))
    assert of(POLICY) == of(changed("Any of the gravest", "Otherwise called"))
    assert of(POLICY) != of(changed("values: [F11]", "values: [F11, F13]"))
    assert of(POLICY) != of(
        changed("title: Pressure", "title: Other")
        .replace("[hiv, sud]", "[hiv, one]")
        .replace("    sud:", "    one:")
    )


def test_editors_know_pools() -> None:
    schema = json.loads((ROOT / "schemas" / "LeakagePolicy.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert not list(validator.iter_errors(yaml.safe_load(POLICY)))
    neither = yaml.safe_load(changed("anyOf: [hiv, sud]", "description: Nothing"))
    assert list(validator.iter_errors(neither))
    small = yaml.safe_load(changed("anyOf: [hiv, sud]", "anyOf: [hiv]"))
    assert list(validator.iter_errors(small))


def test_commands_speak_of_a_pool_s_classes(tmp_path: Path, phigate: Command) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    shown = phigate("classes", "show", "gravest", "--policy", path)
    assert "any of hiv, sud" in shown.out
    assert "any of 2" in phigate("classes", "list", "--policy", path).out
    matched = phigate("classes", "match", "B20", "--policy", path)
    assert "hiv" in matched.out
    explained = phigate("explain", path, "told", "--all").out
    assert "B20" in explained
    assert "F11" in explained
    assert "I10" not in explained
