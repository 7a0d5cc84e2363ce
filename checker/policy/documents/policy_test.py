"""Policy tests: made-up results for cells, and what the policy is expected to make of them.

Whoever changes a policy wants to know what it now says of results that were argued about: nobody of
eighty told on, three of sixty, an attack that could not be run. A `PolicyTest` writes them down;
`phigate test` judges them as an audit would, without model or patients.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from checker.policy.documents.elements import Document, Element, Name, Text
from checker.yaml import Form

Expected = Literal["pass", "warn", "fail", "inconclusive", "error"]

COUNT = r"^(0|[1-9][0-9]{0,8}) of [1-9][0-9]{0,8}$"
Count = Annotated[str, Field(pattern=COUNT), Form("hits and patients, such as 0 of 80")]


def counted(count: str) -> tuple[int, int]:
    """Return hits and patients of a count such as "3 of 80"."""
    hits, patients = count.split(" of ")
    return int(hits), int(patients)


class MadeUpEstimate(Element):
    """An estimate of the control's metric, as a probe would give it."""

    value: float = Field(description="the point estimate", examples=[0.02])
    low: float = Field(description="its lower bound, at the policy's confidence", examples=[0.0])
    high: float = Field(description="its upper bound, at the policy's confidence", examples=[0.04])
    members: Annotated[int, Field(ge=1)] = Field(description="members it rests on", examples=[200])
    nonmembers: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="nonmembers it rests on, where the metric compares with them",
        examples=[200],
    )

    @model_validator(mode="after")
    def _in_order(self) -> MadeUpEstimate:
        if not self.low <= self.value <= self.high:
            raise ValueError("an estimate lies between its bounds: low <= value <= high")
        return self


class MadeUpCell(Element):
    """What was found for one cell, and what the policy must make of it.

    Say what was found in one way: hits among `members` (and `nonmembers`), an `estimate`, or why
    there is none (`missing`).
    """

    cell: Annotated[
        str,
        Field(pattern=r"^[^/]+/[^/]+(/.+)?$"),
        Form("control/attacker or control/attacker/subgroup"),
    ] = Field(
        description="control/attacker, or control/attacker/subgroup",
        examples=["hiv-disclosure/events-10", "hiv-disclosure/events-10/rare_code"],
    )
    members: Count | None = Field(
        None,
        description="members for whom the attack succeeded, of all that were measured",
        examples=["0 of 80"],
    )
    nonmembers: Count | None = Field(
        None,
        description="the same among nonmembers, where the metric compares with them",
        examples=["1 of 80"],
    )
    estimate: MadeUpEstimate | None = Field(
        None, description="the result in numbers, for metrics that count no patients"
    )
    missing: Text | None = Field(
        None,
        description="why there is no result, as in reports; `probe-crashed` is an error, everything"
        " else is inconclusive",
        examples=["not-run", "split-not-comparable", "probe-crashed"],
    )
    expect: Expected = Field(
        description="the verdict; `warn` is a pass above the warning limit, which `pass` is not"
    )
    reason: Text | None = Field(
        None, description="the reason expected", examples=["too-few-positives"]
    )
    blocks: bool | None = Field(None, description="whether this cell alone must block a release")

    @model_validator(mode="after")
    def _one_way(self) -> MadeUpCell:
        ways = [self.members, self.estimate, self.missing]
        if sum(way is not None for way in ways) != 1:
            raise ValueError("say what was found as one of 'members', 'estimate', 'missing'")
        if self.nonmembers is not None and self.members is None:
            raise ValueError("'nonmembers' goes with 'members'")
        for count in (self.members, self.nonmembers):
            if count is not None and re.match(COUNT, count):
                hits, patients = counted(count)
                if hits > patients:
                    raise ValueError(f"'{count}' counts more hits than patients")
        return self


class PolicyCase(Element):
    """One story: what an audit found, and what must follow."""

    name: Text = Field(
        description="a sentence that says what is expected",
        examples=["One patient told on is too many"],
    )
    note: Text | None = Field(
        None,
        description="why it is expected",
        examples=["The committee argued about exactly this."],
    )
    cells: Annotated[list[MadeUpCell], Field(min_length=1)] = Field(
        description="what was found, cell by cell"
    )
    otherwise: Literal["not-run", "pass"] = Field(
        "not-run", description="what all other cells of the policy are taken for"
    )
    prerequisites: dict[Name, Literal["pass", "fail", "inconclusive"]] = Field(
        {},
        description="what became of what the policy presupposes, by name; the rest as `otherwise`"
        " says, and not declared where nothing was run",
        examples=[{"data-licence": "fail"}],
    )
    verdict: Literal["pass", "fail", "inconclusive", "error"] | None = Field(
        None, description="of the whole audit"
    )


class PolicyTestSpec(Element):
    """The body of a policy test."""

    policy: Text = Field(
        description="the policy under test: a path relative to this file, or a shipped one's name",
        examples=["../general-hospital-release.yaml"],
    )
    cases: Annotated[list[PolicyCase], Field(min_length=1)] = Field(
        description="each is judged on its own"
    )


class PolicyTest(Document):
    """Made-up results, and the verdicts that a policy must give."""

    kind: Literal["PolicyTest"] = Field(description="what kind of document this is")
    spec: PolicyTestSpec = Field(description="the policy and the cases")
