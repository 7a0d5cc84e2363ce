"""Policy tests: what a policy makes of made-up results; the judge makes the same of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command
from judging import Bench, policy

from checker.errors import DocumentError, ExitCode
from checker.policy.documents import LeakagePolicy, Limit, PolicyTest
from checker.policy.loading import load_only, load_policy
from checker.policy.located import Located
from checker.verdict.policy_tests import CaseResult, find_tests, policy_under_test, run_policy_test

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "policies" / "tests"

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0"}
spec:
  context: internal
  attackers:
    known: {title: Known, knows: {events: 10}}
    insider: {title: Insider, knows: {events: all}, access: logprobs}
  attributeClasses:
    hiv: {title: HIV, codes: [{system: icd10cm, tier: definitive, values: ["B20"]}]}
  controls:
    excess:
      title: E
      attributeClass: hiv
      probe: attribute-disclosure
      metric: excess_disclosure
      limits: {known: {warn: 0.03, fail: 0.05}}
      subgroups: [all, {static: race}, {ageOver: 89}]
    never:
      title: N
      attributeClass: hiv
      probe: attribute-disclosure
      metric: disclosure_rate
      limits: {known: {maxCount: 0, minN: 50}}
    members:
      title: M
      probe: membership-inference
      metric: membership_auroc
      limits: {insider: {fail: 0.6}}
"""


def a_test(*cells: dict[str, Any], **case: Any) -> Located[PolicyTest]:
    """A test of one case."""
    document = {
        "apiVersion": "phigate/v1",
        "kind": "PolicyTest",
        "metadata": {"name": "t", "version": "1"},
        "spec": {"policy": "p.yaml", "cases": [{"name": "n", "cells": list(cells), **case}]},
    }
    return load_only(PolicyTest, Path("t.yaml"), text=yaml.safe_dump(document, sort_keys=False))


def result_of(*cells: dict[str, Any], **case: Any) -> CaseResult:
    ward = load_policy(Path("p.yaml"), text=POLICY)
    (result,) = run_policy_test(a_test(*cells, **case), policy=ward)
    return result


def problems_of(*cells: dict[str, Any], **case: Any) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        result_of(*cells, **case)
    assert all(problem.line > 1 for problem in caught.value.problems)
    return [problem.message for problem in caught.value.problems]


# --- the shipped policies -----------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_policies_do_what_their_tests_expect(path: Path) -> None:
    (test,) = find_tests([path])
    for result in run_policy_test(test, policy=policy_under_test(test)):
        assert result.holds, (
            f"{path.name}:{result.line}: {[c for c in result.checks if not c.holds]}"
        )


def test_every_shipped_policy_that_decides_has_tests() -> None:
    tested = {(SHIPPED / test.document.spec.policy).resolve() for test in find_tests([SHIPPED])}
    policies = [*(ROOT / "policies").glob("*.yaml"), ROOT / "policies" / "starter" / "policy.yaml"]
    for path in policies:
        if not load_only(LeakagePolicy, path).document.spec.abstract:
            assert path.resolve() in tested, f"{path.name} has no policy test"


# --- what is made of results --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "nonmembers", "expect"),
    [
        ("0 of 200", "0 of 200", "pass"),  # 1 - 0.05^(1/200) = 0.0149
        ("0 of 80", "0 of 80", "warn"),  # 0.0368
        ("0 of 58", "0 of 80", "inconclusive"),  # 0.0503
        ("4 of 80", "0 of 80", "inconclusive"),
        ("40 of 80", "0 of 80", "fail"),
        ("40 of 80", "40 of 80", "inconclusive"),
    ],
)
def test_counts_are_judged_as_the_judge_does(members: str, nonmembers: str, expect: str) -> None:
    result = result_of(
        {"cell": "excess/known", "members": members, "nonmembers": nonmembers, "expect": expect}
    )
    assert result.holds, result.checks
    bench = Bench()
    (x, m), (y, n) = ([int(part) for part in c.split(" of ")] for c in (members, nonmembers))
    bench.disclosure("hiv", hits=(x, y), n=(m, n), limit=Limit(warn=0.03, fail=0.05))
    (finding,) = bench.judge(policy=policy()).findings
    assert ("warn" if finding.warned else finding.verdict) == expect


PRESUPPOSING = (
    POLICY
    + """\
  prerequisites:
    licence: {title: The licence allows it}
"""
)


@pytest.mark.parametrize(
    ("told", "verdict"), [({}, "pass"), ({"licence": "fail"}, "fail"),
                          ({"licence": "inconclusive"}, "inconclusive")],
)  # fmt: skip
def test_a_case_says_what_became_of_a_prerequisite(told: dict[str, str], verdict: str) -> None:
    ward = load_policy(Path("p.yaml"), text=PRESUPPOSING)
    cell = {"cell": "never/known", "members": "0 of 50", "expect": "pass"}
    test = a_test(cell, otherwise="pass", verdict=verdict, prerequisites=told)
    (result,) = run_policy_test(test, policy=ward)
    assert result.holds, result
    if told:
        assert "Not met: licence." in result.checks[-1].explanation


def test_what_a_case_leaves_unsaid_of_prerequisites_is_not_declared() -> None:
    ward = load_policy(Path("p.yaml"), text=PRESUPPOSING)
    cell = {"cell": "never/known", "members": "0 of 50", "expect": "pass"}
    (result,) = run_policy_test(a_test(cell, verdict="inconclusive"), policy=ward)
    assert result.holds
    with pytest.raises(DocumentError, match="no prerequisite 'license'; did you mean 'licence'"):
        run_policy_test(a_test(cell, prerequisites={"license": "fail"}), policy=ward)


def test_zero_tolerance_counts_members_only() -> None:
    for members, expect in (("0 of 50", "pass"), ("1 of 900", "fail"), ("0 of 49", "inconclusive")):
        assert result_of({"cell": "never/known", "members": members, "expect": expect}).holds


def test_an_estimate_stands_for_metrics_that_count_no_patients() -> None:
    for high, expect in ((0.6, "pass"), (0.61, "inconclusive")):
        estimate = {"value": 0.55, "low": 0.5, "high": high, "members": 200, "nonmembers": 200}
        assert result_of({"cell": "members/insider", "estimate": estimate, "expect": expect}).holds
    leaking = {"value": 0.7, "low": 0.601, "high": 0.8, "members": 200, "nonmembers": 200}
    assert result_of({"cell": "members/insider", "estimate": leaking, "expect": "fail"}).holds


EXCHANGED = {"value": 0.01, "low": 0.005, "high": 0.02, "members": 200, "nonmembers": 200}
BY_CHANCE = {"value": 0.45, "low": 0.41, "high": 0.495, "members": 200, "nonmembers": 200}


def test_what_looks_worse_than_chance_is_no_pass_and_neither_are_other_patients() -> None:
    excess = {"cell": "excess/known", "members": "0 of 80", "nonmembers": "0 of 80"}
    other = {"expect": "inconclusive", "reason": "worse-than-chance"}
    attack = {"cell": "members/insider", "estimate": EXCHANGED, **other}
    assert result_of(attack, {**excess, **other}, otherwise="pass", verdict="inconclusive").holds
    beyond = {"cell": "excess/known", "members": "0 of 80", "nonmembers": "40 of 80", **other}
    assert result_of(beyond).holds


def test_a_little_less_than_chance_is_chance() -> None:
    attack = {"cell": "members/insider", "estimate": BY_CHANCE, "expect": "pass"}
    assert result_of(attack).holds
    few = {"cell": "excess/known", "members": "0 of 80", "nonmembers": "4 of 80", "expect": "pass"}
    assert result_of(few).holds


def test_direction_is_judged_as_the_judge_does() -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 30), n=(80, 80))
    (finding,) = bench.judge().findings
    made_up = {"cell": "excess/known", "members": "0 of 80", "nonmembers": "30 of 80"}
    result = result_of({**made_up, "expect": "inconclusive", "reason": "worse-than-chance"})
    assert result.holds
    assert finding.reason == "worse-than-chance"
    assert result.checks[0].explanation == finding.explanation.replace("hiv/known/all", "excess")


def test_an_expectation_that_is_not_met_says_what_was_got_and_why() -> None:
    result = result_of(
        {"cell": "excess/known", "members": "40 of 80", "nonmembers": "0 of 80", "expect": "pass"}
    )
    assert not result.holds
    (check,) = result.checks
    assert (check.expected, check.got) == ("pass", "fail")
    assert "the lower bound is above the limit of 0.05" in check.explanation


def test_a_pass_with_a_warning_is_not_the_pass_that_was_expected() -> None:
    cell = {"cell": "excess/known", "members": "0 of 80", "nonmembers": "0 of 80"}
    assert not result_of({**cell, "expect": "pass"}).holds
    assert result_of({**cell, "expect": "warn"}).holds


def test_what_a_case_does_not_mention_was_not_run_unless_it_says_otherwise() -> None:
    cell = {"cell": "never/known", "members": "0 of 80", "expect": "pass"}
    assert result_of(cell, verdict="inconclusive").holds
    assert result_of(cell, verdict="pass", otherwise="pass").holds
    untold = result_of(cell, verdict="pass").checks[-1].explanation
    assert untold.startswith("Blocked by ")
    assert untold.endswith(
        "that the case says nothing of (`otherwise: pass` takes them for passed)."
    )


def test_a_subgroup_of_a_field_may_have_any_value() -> None:
    cell = {"members": "40 of 80", "nonmembers": "0 of 80", "expect": "fail", "blocks": True}
    assert result_of({"cell": "excess/known/race=White", **cell}).holds
    assert result_of({"cell": "excess/known/age>89", **cell}).holds
    lacking = {"missing": "too-few-positives", "expect": "inconclusive", "blocks": False}
    assert result_of({"cell": "excess/known/race=White", **lacking}).holds


# --- what is wrong with a test ------------------------------------------------------------------


def test_a_cell_that_the_policy_has_not_is_found_at_its_line() -> None:
    for cell, says in (
        ("exces/known", "did you mean 'excess'?"),
        ("excess/knwon", "did you mean 'known'?"),
        ("excess/known/al", "did you mean 'all'?"),
        ("excess/known/sex=F", "there are all, race=*, age>89"),
    ):
        (message,) = problems_of({"cell": cell, "members": "0 of 9", "expect": "pass"})
        assert says in message


def test_a_result_that_the_metric_cannot_have_is_an_error() -> None:
    hits = {"members": "0 of 80", "expect": "pass"}
    both = {**hits, "nonmembers": "0 of 80"}
    assert "give their count too" in problems_of({"cell": "excess/known", **hits})[0]
    assert "counts members only" in problems_of({"cell": "never/known", **both})[0]
    assert "give an 'estimate'" in problems_of({"cell": "members/insider", **both})[0]


def test_a_result_that_contradicts_itself_is_an_error() -> None:
    for cell, says in (
        ({"members": "81 of 80"}, "more hits than patients"),
        ({"members": "0/80"}, "such as 0 of 80"),
        ({}, "one of 'members', 'estimate', 'missing'"),
        ({"missing": "not-run", "nonmembers": "0 of 80"}, "goes with 'members'"),
        ({"estimate": {"value": 0.5, "low": 0.6, "high": 0.7, "members": 9}}, "low <= value"),
    ):
        (message, *_) = problems_of({"cell": "excess/known", "expect": "pass", **cell})
        assert says in message


def test_nothing_is_said_twice() -> None:
    cell = {"cell": "never/known", "members": "0 of 80", "expect": "pass"}
    assert "stands twice" in problems_of(cell, {**cell, "cell": "never/known/all"})[0]


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ward.yaml").write_text(POLICY)
    shutil.copy(SHIPPED / "demo.yaml", tmp_path / "test.yaml")
    text = (tmp_path / "test.yaml").read_text()
    (tmp_path / "test.yaml").write_text(text.replace("../demo.yaml", "demo.yaml"))
    shutil.copy(ROOT / "policies" / "demo.yaml", tmp_path / "demo.yaml")
    return tmp_path


def test_the_command_passes_fails_and_names_the_line(phigate: Command, folder: Path) -> None:
    assert phigate("test", folder / "test.yaml").code == ExitCode.PASS
    looser = (folder / "demo.yaml").read_text().replace("fail: 0.05", "fail: 0.10")
    (folder / "demo.yaml").write_text(looser)
    outcome = phigate("test", folder)
    assert outcome.code == ExitCode.FAIL
    lines = (folder / "test.yaml").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "Fifty-eight are too few" in text)
    assert f"test.yaml:{line}: Fifty-eight are too few" in outcome.out
    assert "expected inconclusive, got pass" in outcome.out


def test_the_command_speaks_json(phigate: Command, folder: Path) -> None:
    told = json.loads(phigate("test", folder, "--json").out)
    assert told["passed"] is True
    assert told["cases"][0]["policy"] == "demo@2.1.0"
    assert all(case["holds"] for case in told["cases"])


def test_a_policy_can_be_tested_by_another_ones_tests(phigate: Command, folder: Path) -> None:
    outcome = phigate("test", folder / "test.yaml", "--policy", folder / "ward.yaml")
    assert outcome.code == ExitCode.USAGE
    assert "the policy has no control 'told-outright'" in outcome.err


def test_running_no_test_is_a_failure(phigate: Command, folder: Path) -> None:
    (folder / "nothing").mkdir()
    for place in (folder / "nothing", folder / "ward.yaml"):
        outcome = phigate("test", place)
        assert outcome.code == ExitCode.FAIL
        assert "nothing was tested" in outcome.err
    assert phigate("test").code == ExitCode.USAGE


def test_a_policy_that_is_not_there_is_named(phigate: Command, folder: Path) -> None:
    (folder / "demo.yaml").unlink()
    outcome = phigate("test", folder / "test.yaml")
    assert outcome.code == ExitCode.USAGE
    assert "test.yaml:" in outcome.err
    assert "there is no file" in outcome.err
