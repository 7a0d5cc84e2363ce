"""The waiver: a written, approved and dated acceptance of one finding, for one model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from checker.policy.documents.elements import (
    NAME,
    SHA256_EXAMPLE,
    VERSION,
    Day,
    Document,
    Element,
    Exact,
    Name,
    Sha256,
    Text,
)
from checker.yaml import Form


class Person(Element):
    """Somebody who answers for what they asked for."""

    name: Text = Field(description="as others know them", examples=["Dr. M. Okafor"])
    email: Text | None = Field(
        None,
        description="tells apart people of one name, and finds one person under two",
        examples=["m.okafor@hospital.example"],
    )


class Approval(Person):
    """One person's consent."""

    role: Text = Field(
        description="one of the policy's waivers.approverRoles", examples=["privacy-officer"]
    )
    on: Day = Field(
        description="the day of the approval; never after the waiver starts",
        examples=["2026-10-01"],
    )


class WaivedPolicy(Element):
    """The policy whose demand is waived."""

    ref: Annotated[
        str,
        Field(pattern=NAME.rstrip("$") + "@" + VERSION.lstrip("^")),
        Form("name@version"),
    ] = Field(
        description="name@version, exactly: another version of the policy needs a new waiver",
        examples=["general-hospital-release@2.1.0"],
    )
    sha256: Sha256 | None = Field(
        None,
        description="of the policy's file; given, it must be this very file",
        examples=[SHA256_EXAMPLE],
    )

    @property
    def name(self) -> str:
        """The policy's name, without its version."""
        return self.ref.partition("@")[0]


class WaivedModel(Element):
    """The model it is waived for, and no other."""

    name: Name = Field(
        description="as in the target's metadata.name, for readers", examples=["ehr-gpt"]
    )
    sha256: Sha256 = Field(
        description="of the model's files: the target's modelSha256 in `phigate plan --json` and in"
        " the report; a model that was trained on needs a new waiver",
        examples=[SHA256_EXAMPLE],
    )


class WaiverSpec(Element):
    """The body of a waiver: what is accepted, up to where, why, by whom and until when."""

    policy: WaivedPolicy = Field(description="whose demand is waived")
    control: Name = Field(
        description="the control that is waived; never an absolute one",
        examples=["hiv-disclosure"],
    )
    attacker: Name = Field(
        description="the attacker against whom it is waived, and no other", examples=["events-10"]
    )
    subgroup: Exact = Field(
        "all",
        description="the group of patients, as in the cell's name in plan and report",
        examples=["all", "rare_code", "race=White"],
    )
    model: WaivedModel = Field(description="the model it is waived for")
    ceiling: Annotated[float, Field(gt=0)] = Field(
        description="the largest value of the control's metric that is accepted; the waiver is void"
        " unless the upper bound is shown to be within it",
        examples=[0.08],
    )
    justification: Text = Field(
        description="why the risk is acceptable for the time being",
        examples=["A pilot of eight weeks on two wards"],
    )
    compensating_controls: Annotated[list[Text], Field(min_length=1)] = Field(
        description="what keeps the risk down meanwhile",
        examples=[["Recipients sign a data use agreement"]],
    )
    requester: Person = Field(description="who asks for it; never an approver")
    approvals: Annotated[list[Approval], Field(min_length=1)] = Field(
        description="who consents: as many, and in such roles, as the policy asks for"
    )
    ticket: Text = Field(description="where the decision is recorded", examples=["GOV-1234"])
    starts_on: Day = Field(
        description="in force from the beginning of this day, UTC", examples=["2026-10-01"]
    )
    expires_on: Day = Field(
        description="in force until the end of this day, UTC", examples=["2027-01-31"]
    )

    @field_validator("subgroup")
    @classmethod
    def _no_cell_name(cls, value: str) -> str:
        if value.strip() != value:
            raise ValueError("a subgroup has no spaces around it")
        return value


class LeakageWaiver(Document):
    """A dated exception from one demand of a policy, for one model."""

    kind: Literal["LeakageWaiver"] = Field(description="what kind of document this is")
    spec: WaiverSpec = Field(description="what is accepted, and under which conditions")

    @property
    def cell(self) -> str:
        """The cell it speaks of: control/attacker/subgroup."""
        return f"{self.spec.control}/{self.spec.attacker}/{self.spec.subgroup}"
