"""What forbids a release whatever is measured: when a declaration counts, and when it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from policy_texts import HOSPITAL as WHOLE

from checker.errors import DocumentError
from checker.policy import load_policy, load_target
from checker.policy.documents import PolicySpec, TargetSpec
from checker.policy.inheritance.strictness import changes
from checker.policy.prerequisites import PrerequisiteFinding, prerequisite_findings
from checker.resources import resource

MODEL, OTHER = "a" * 64, "b" * 64
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
DECLARED = {
    "holds": True, "on": "2026-10-01", "by": "A. Lindqvist, data steward",
    "document": "Data use agreement 2026-17", "model": MODEL, "release": "public-weights",
}  # fmt: skip
LICENCE = {"title": "The data licence allows this release", "maxAge": "P90D"}


def policy_of(*, context: str = "gated", **prerequisites: Any) -> PolicySpec:
    document = yaml.safe_load(WHOLE)
    document["spec"]["context"] = context
    document["spec"]["prerequisites"] = prerequisites or {"licence": LICENCE}
    return load_policy(Path("p.yaml"), text=yaml.safe_dump(document)).document.spec


def target_of(**declarations: Any) -> TargetSpec:
    document = yaml.safe_load(resource("policies/starter/target.yaml").read_text())
    document["spec"]["declarations"] = declarations
    return load_target(Path("t.yaml"), text=yaml.safe_dump(document)).document.spec


def found(context: str = "gated", **changed: Any) -> PrerequisiteFinding:
    target = target_of(licence=DECLARED | changed)
    (one,) = prerequisite_findings(
        policy_of(context=context), target, model_sha256=MODEL, as_of=AS_OF
    )
    return one


def test_what_is_declared_to_hold_passes_and_says_who_says_so() -> None:
    one = found()
    assert (one.verdict, one.reason) == ("pass", None)
    assert one.explanation == (
        "Declared by A. Lindqvist, data steward on 2026-10-01 (Data use agreement 2026-17):"
        " it holds."
    )


def test_what_is_not_declared_is_inconclusive_and_a_slip_is_pointed_out() -> None:
    for declared, hint in (({}, "of it."), ({"license": DECLARED}, "did you mean 'license'?")):
        (one,) = prerequisite_findings(
            policy_of(), target_of(**declared), model_sha256=MODEL, as_of=AS_OF
        )
        assert (one.verdict, one.reason) == ("inconclusive", "not-declared")
        assert hint in one.explanation


@pytest.mark.parametrize("day", ["2026-10-01", "2027-01-01", "2020-01-01"])
def test_declared_false_fails_whatever_its_day(day: str) -> None:
    one = found(holds=False, on=day, release="gated")
    assert (one.verdict, one.reason) == ("fail", "declared-not-to-hold")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"on": "2026-11-02"}, "declared-in-future"),
        ({"on": "2026-08-02"}, "declaration-outdated"),  # 91 days before
        ({"model": OTHER}, "declaration-of-another-model"),
        ({"release": "internal"}, "declared-for-another-release"),
        ({"model": OTHER, "holds": False}, "declaration-of-another-model"),
    ],
)
def test_what_speaks_of_something_else_is_no_pass(changed: dict[str, Any], reason: str) -> None:
    one = found(**changed)
    assert (one.verdict, one.reason) == ("inconclusive", reason)


@pytest.mark.parametrize("day", ["2026-11-01", "2026-08-03"])
def test_the_first_and_the_last_day_count(day: str) -> None:
    assert found(on=day).verdict == "pass"


@pytest.mark.parametrize(
    ("holds", "release", "context", "verdict"),
    [
        (True, "public-weights", "internal", "pass"),  # who may publish may use it inside
        (True, "gated", "public-weights", "inconclusive"),
        (True, "internal", "internal", "pass"),
        (False, "internal", "public-weights", "fail"),  # who may not use it may not publish it
        (False, "public-weights", "internal", "inconclusive"),  # it says nothing of inside
        (False, "gated", "gated", "fail"),
    ],
)
def test_a_declaration_speaks_of_its_release_and_what_follows_from_it(
    holds: bool, release: str, context: str, verdict: str
) -> None:
    assert found(context, holds=holds, release=release).verdict == verdict


def test_before_an_audit_no_day_is_asked() -> None:
    target = target_of(licence=DECLARED | {"on": "2999-01-01"})
    (one,) = prerequisite_findings(policy_of(), target, model_sha256=MODEL, as_of=None)
    assert one.verdict == "pass"


def test_without_a_longest_age_a_declaration_does_not_age() -> None:
    spec = policy_of(licence={"title": "The data licence allows this release"})
    target = target_of(licence=DECLARED | {"on": "2001-01-01"})
    (one,) = prerequisite_findings(spec, target, model_sha256=MODEL, as_of=AS_OF)
    assert one.verdict == "pass"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"holds": "perhaps"}, "holds"),
        ({"on": "tomorrow"}, "is not a date"),
        ({"model": "abc"}, "SHA-256"),
        ({"release": "everybody"}, "release"),
        ({"document": None}, "document"),
        ({"waived": True}, "waived"),
    ],
)
def test_a_declaration_that_is_none_is_a_located_error(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError) as error:
        target_of(licence=DECLARED | changed)
    (problem, *_) = error.value.problems
    assert problem.line > 0
    assert words in str(problem)


# --- heirs --------------------------------------------------------------------------------------


def directions(old: PolicySpec, new: PolicySpec) -> dict[str, str]:
    return {".".join(map(str, one.path[1:])): one.direction for one in changes(old, new)}


def test_prerequisites_only_grow() -> None:
    base = policy_of()
    more = policy_of(licence=LICENCE, egress={"title": "The registry lets it leave"})
    assert directions(base, more) == {"prerequisites.egress": "tighter"}
    assert directions(more, base) == {"prerequisites.egress": "looser"}


@pytest.mark.parametrize(
    ("changed", "direction"),
    [
        ({"title": "Something milder"}, "incomparable"),
        ({"maxAge": "P30D"}, "tighter"),
        ({"maxAge": "P900D"}, "looser"),
        ({"rationale": "Because."}, "neutral"),
    ],
)
def test_an_heir_cannot_make_one_milder(changed: dict[str, str], direction: str) -> None:
    assert [*directions(policy_of(), policy_of(licence=LICENCE | changed)).values()] == [direction]


def test_a_department_inherits_and_cannot_drop_or_soften(tmp_path: Path) -> None:
    document = yaml.safe_load(WHOLE)
    document["spec"]["prerequisites"] = {"licence": LICENCE}
    (tmp_path / "parent.yaml").write_text(yaml.safe_dump(document))
    head = 'apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: heir, version: "1.0"}\n'
    heir = tmp_path / "heir.yaml"
    heir.write_text(
        f"{head}spec:\n  extends: [{{ref: ./parent.yaml}}]\n"
        "  prerequisites: {egress: {title: The registry lets it leave}}\n"
    )
    spec = load_policy(heir).document.spec
    assert [*spec.prerequisites] == ["licence", "egress"]
    heir.write_text(
        f"{head}spec:\n  extends: [{{ref: ./parent.yaml}}]\n"
        "  prerequisites: {licence: {maxAge: P900D}}\n"
    )
    with pytest.raises(DocumentError, match="age of declarations only falls"):
        load_policy(heir)


def test_a_citation_that_is_none_is_found() -> None:
    with pytest.raises(DocumentError, match="unknown citation 'no-law'"):
        policy_of(licence=LICENCE | {"cites": ["no-law"]})
