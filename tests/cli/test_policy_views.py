"""What privacy officers ask day by day: a policy on a screen, its limits, a class by a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command

from checker.policy.shipped import baselines
from checker.stats import positives_needed

SCREEN = 40
"""Lines of a terminal window that nobody would call large."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "ward.yaml"
    path.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: ward, version: '1.0'}\n"
        "spec:\n  extends: [{ref: baseline-gated@1}]\n  controls:\n    hiv:\n      limits:\n"
        "        k3-ten-events: {fail: 0.03}\n"
    )
    return path


def limits(phigate: Command, *arguments: object) -> list[dict[str, Any]]:
    outcome = phigate("limits", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


def test_a_limit_comes_with_its_patients_document_and_line(phigate: Command, policy: Path) -> None:
    cells = {(one["attribute_class"], one["attacker"]): one for one in limits(phigate, policy)}
    own, inherited = cells["hiv", "k3-ten-events"], cells["hiv", "k2-acquaintance"]
    assert (own["fail"], own["document"], own["line"]) == (0.03, "ward@1.0", 9)
    assert own["fewest"] == positives_needed(0.03, confidence=0.95) == 99
    assert inherited["document"] == "baseline-gated@1.1.0"
    line = Path(inherited["file"]).read_text().splitlines()[inherited["line"] - 1]
    assert yaml.safe_load(line.strip().replace("&ladder", "")) == {
        "k2-acquaintance": {"fail": inherited["fail"]}
    }
    everybody = cells[None, "k6-insider"]
    assert (everybody["counted"], everybody["title"]) == ("patients", None)


def test_every_limit_of_a_policy_is_listed_once(phigate: Command) -> None:
    for name in ("baseline-gated@1", "no-identifier-told@1"):
        found = limits(phigate, name)
        spec = json.loads(phigate("explain", name, "--json").out)["fields"]
        fields = [
            one["path"].split(".")
            for one in spec
            if ".limits." in one["path"] and one["path"].endswith((".fail", ".maxCount"))
        ]
        assert sorted((path[2], path[4]) for path in fields) == sorted(
            (one["control"], one["attacker"]) for one in found
        )


def test_the_table_of_limits_can_be_asked_for_a_class(phigate: Command, policy: Path) -> None:
    shown = phigate("limits", policy, "hiv").out
    assert "sud-alcohol" not in shown
    assert "ward@1.0:9" in shown
    assert "k6-whole-record *" in shown  # reported only
    wrong = phigate("limits", policy, "hivv")
    assert wrong.code == 2
    assert "did you mean 'hiv'?" in wrong.err


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("baseline-gated@1", 160),
        *(
            (f"{name}@{2 if name == 'demo' else 1}", 80)
            for name in baselines()
            if name != "starter"
        ),
    ],
)
def test_a_policy_is_explained_on_a_screen(
    phigate: Command, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    monkeypatch.setattr("checker.cli.console.WIDTH", width)
    shown = phigate("explain", name).out
    lines = shown.rstrip().splitlines()
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= width or width == 80  # names of files are not broken
    assert f"phigate limits {name}" in shown
    assert "…" not in shown
    spec = json.loads(phigate("explain", name, "--json").out)["fields"]
    assert f"{len(spec):,} fields" in shown
    controls = {one["path"].split(".")[2] for one in spec if one["path"].startswith("spec.contr")}
    first = next(iter(controls & set(shown.replace(",", " ").split())), None)
    assert first, "no control is named"


def test_a_control_is_explained_on_a_screen_and_all_shows_the_rest(
    phigate: Command, policy: Path
) -> None:
    shown = phigate("explain", policy, "hiv").out
    assert len(shown.splitlines()) <= SCREEN
    assert "ward@1.0, line 9" in shown
    everything = phigate("explain", policy, "hiv", "--all").out
    assert "spec.attackers.k3-ten-events" in everything
    assert "spec.attackers.k3-ten-events" not in shown


@pytest.mark.parametrize(
    ("sought", "first", "how"),
    [
        ("schizophrenia", "mental-health-serious", "synonym"),
        ("Schizo", "mental-health-serious", "synonym"),
        ("HIV", "hiv", "name"),
        ("f20.0", "mental-health-serious", "code"),
        ("ICD10CM/B20", "hiv", "code"),
        ("clozapine", "mental-health-serious", "code"),
        ("alcohol use", "sud-alcohol", "name"),
        ("sickle cell", "sickle-cell", "name"),
        ("bodily disease", "mental-health-serious", "note"),
    ],
)
def test_a_class_is_found_by_name_synonym_and_code(
    phigate: Command, sought: str, first: str, how: str
) -> None:
    found = json.loads(phigate("classes", "find", *sought.split(), "--json").out)
    assert (found[0]["name"], found[0]["how"]) == (first, how)
    assert first in phigate("classes", "find", *sought.split()).out


def test_a_search_that_leads_nowhere_says_so(phigate: Command) -> None:
    everywhere = "`phigate classes list` names all"
    for sought, hint in (
        ("appendicitis", everywhere),
        ("depresion", "did you mean 'depression'?"),
        ("ODC", everywhere),  # as short as that, everything resembles something
        ("suicde", "did you mean 'suicid'?"),
        ("sickel cell", "did you mean 'sickle cell'?"),
        ("hiv positive", "'hiv' alone leads to hiv, sti-non-hiv"),
        # other diseases, however much their names resemble one's
        ("arthritis", everywhere),
        ("hypotension", everywhere),
        ("angina", everywhere),
    ):
        outcome = phigate("classes", "find", *sought.split())
        assert outcome.code == 2
        assert f"no class answers to '{sought}'" in outcome.err
        assert hint in outcome.err
    assert phigate("classes", "find", "--", "...").code == 2
    # all words have to be there: half an answer would send a reader to the wrong class
    assert phigate("classes", "find", "alcohol", "schizophrenia").code == 2


def test_what_is_only_mentioned_is_said_to_be(phigate: Command) -> None:
    said = "No class is about this"
    assert said in phigate("classes", "find", "diabetes").out
    assert said not in phigate("classes", "find", "schizophrenia").out
    # a synonym of several words is no beginning of others
    assert "pre-term labor" not in phigate("classes", "find", "prep").out


def test_classes_of_a_policy_are_searched_too(phigate: Command, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: p, version: '1'}\nspec:\n"
        "  extends: [{ref: attacker-ladder@1}]\n  context: internal\n  attributeClasses:\n"
        "    ward: {title: Closed ward, codes: [{system: local, tier: definitive,"
        " values: ['WARD//PSY']}]}\n  controls:\n    ward:\n      title: t\n"
        "      attributeClass: ward\n      probe: attribute-disclosure\n"
        "      metric: excess_disclosure\n      limits: {k3-ten-events: {fail: 0.05}}\n"
    )
    found = json.loads(phigate("classes", "find", "closed", "--policy", path, "--json").out)
    assert [one["name"] for one in found] == ["ward"]
