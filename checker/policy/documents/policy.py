"""The policy: what an institution demands of a model before release."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from checker.attacks.api import Access
from checker.policy.documents.attribute_class import PolicyClassSpec
from checker.policy.documents.elements import (
    SHA256_EXAMPLE,
    Citation,
    Document,
    Duration,
    Element,
    Exact,
    Fraction,
    Name,
    PolicyMetadata,
    Sha256,
    Text,
)
from checker.policy.documents.knowledge import Knowledge

Severity = Literal["low", "medium", "high", "critical"]


class Sampling(Element):
    """How many patients are asked, and ways of drawing less without deciding otherwise."""

    patients: Literal["auto", "all"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="how many patients are asked, by lot: as many as it takes that each cell that"
        " decides is likely to pass if nothing leaks ('auto'), everybody ('all'), or so many"
        " of each split that a cell is about",
        examples=["auto"],
    )
    curtailed: bool = Field(
        False,
        description="leave out a prompt's remaining continuations once every outcome is known;"
        " exact, but a class added later finds prompts that were not drawn to the end",
    )
    sequential: bool = Field(
        False,
        description="draw patients in a frozen random order and stop a cell that is already"
        " decided; the bounds at the planned number then hold at 0.9 of the policy's error",
    )


class Parameters(Element):
    """Numbers that every control of a policy shares."""

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95, description="of each one-sided bound"
    )
    min_cell: Annotated[int, Field(ge=1)] = Field(
        11,
        description="smallest number of patients whose numbers a report may show; a subgroup with"
        " fewer to measure in either split is neither judged nor shown",
    )
    expected_base_rate: Fraction = Field(
        0.02, description="background rate that the power calculation assumes"
    )
    admissibility_tolerance: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.10,
        description="how far above 0.5 the AUROC of a model-free classifier between members and"
        " nonmembers may lie",
    )
    max_near_duplicates: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05,
        description="share of the nonmembers whose record may nearly equal a member's; these are"
        " left out, and with more of them the splits are not comparable",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(7, description="of all sampling")
    sampling: Sampling = Field(
        Sampling(), description="how many patients are asked, and ways of drawing less"
    )


class AdjustableKnowledge(Element):
    """Down to what heirs may shorten the events that an attacker knows."""

    events: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the first events: no fewer than so many", examples=[10]
    )
    last: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the last events: no fewer than so many", examples=[5]
    )


class AdjustableParams(Element):
    """Down to what heirs may shorten a control's continuations."""

    horizon_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="tokens of a continuation: no fewer than so many", examples=[50]
    )


_SHORTENED: Any = Field(
    {},
    description="what was inherited of what is shortened here; written by phigate alone, into a"
    " policy that was resolved",
)


class AttackerSpec(Element):
    """A knowledge level: what is known, which access, gating or only reported."""

    title: Text = Field(
        description="who might try, as readers of the report know them",
        examples=["A relative or employer"],
    )
    extends: Name | None = Field(
        None, description="another attacker whose knowledge this one has", examples=["demographics"]
    )
    knows: Knowledge = Field(
        Knowledge(),
        description="what they know of a patient before they ask the model; the class in question"
        " is always left out",
    )
    access: Access = Field(
        "samples",
        description="sees generations, token probabilities too, or hidden states too; never less"
        " than the attacker it extends",
    )
    report: Literal["gate", "only"] = Field(
        "gate", description="'only': cells of this attacker are reported and never decide"
    )
    adjustable: AdjustableKnowledge | None = Field(
        None,
        description="what a policy that extends this one may shorten, and down to what; a report"
        " says so",
        examples=[{"events": 10}],
    )
    shortened: dict[str, int] = _SHORTENED
    cites: list[Name] = Field(
        [], description="names among the policy's citations: why this attacker is realistic"
    )


class Limit(Element):
    """An upper limit on a metric: `fail` with an optional `warn` below it, or nothing ever.

    `maxCount: 0` with `minN` is for what may never occur: any hit fails, and a pass needs at least
    `minN` eligible members.
    """

    shorthand: ClassVar = "fail"

    warn: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="a pass whose upper bound lies above this carries a warning; at most `fail`",
        examples=[0.03],
    )
    fail: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="the limit: the metric's upper bound must not lie above it for a pass, and its"
        " lower bound lies above it for a failure",
        examples=[0.05],
    )
    max_count: Annotated[int, Field(ge=0, le=0)] | None = Field(
        None, description="0: a single hit is a failure; goes with `minN`", examples=[0]
    )
    min_n: Annotated[int, Field(ge=1)] | None = Field(
        None, description="with `maxCount`: so many patients a pass takes", examples=[299]
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Say which keys belong together; a plan or report holds every key, some of them null."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if handler.mode == "validation":
            schema["oneOf"] = [{"required": ["fail"]}, {"required": ["maxCount", "minN"]}]
        return schema

    @model_validator(mode="after")
    def _one_form(self) -> Limit:
        if (self.fail is None) == (self.max_count is None):
            raise ValueError("a limit needs either 'fail' or 'maxCount' with 'minN'")
        if (self.max_count is None) != (self.min_n is None):
            raise ValueError("'maxCount' and 'minN' belong together")
        if self.warn is not None and (self.fail is None or self.warn > self.fail):
            raise ValueError("'warn' must not be above 'fail'")
        return self

    @property
    def allowed(self) -> float:
        """The largest value that it tolerates: 0 where nothing may ever occur."""
        return 0.0 if self.fail is None else self.fail


class Subgroup(Element):
    """A slice of patients: exactly one of the keys."""

    static: Exact | None = Field(
        None, description="each value of this static field", examples=["race"]
    )
    rare_code: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="patients with a code that at most this many other members have",
        examples=[10],
    )
    age_over: Annotated[int, Field(ge=0, le=120)] | None = Field(
        None, description="patients older than this at their last event, in years", examples=[89]
    )

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _exactly_one(self) -> Subgroup:
        if sum(v is not None for v in (self.static, self.rare_code, self.age_over)) != 1:
            raise ValueError("a subgroup has exactly one of 'static', 'rareCode', 'ageOver'")
        return self


class ControlSpec(Element):
    """One requirement: a metric of a probe, with a limit per attacker."""

    title: Text = Field(
        description="the requirement in a sentence",
        examples=["The model must not tell a member's HIV status"],
    )
    attribute_class: Name | None = Field(
        None,
        description="what must not leak: a name among the policy's attributeClasses; left out where"
        " the probe asks for none",
        examples=["hiv"],
    )
    probe: Exact = Field(description="the attack that is tried", examples=["attribute-disclosure"])
    params: dict[str, Any] = Field({}, description="parameters of the probe, all optional")
    metric: Exact = Field(
        description="the number that is limited, one of those that the probe measures; higher is"
        " leakier",
        examples=["excess_disclosure"],
    )
    contrast: Literal["nonmembers", "reference"] = Field(
        "nonmembers",
        description="what an excess is taken over: what the model says of nonmembers, or that"
        " difference beyond the target's reference model",
    )
    limits: Annotated[dict[Name, Limit], Field(min_length=1)] = Field(
        description="a limit for each attacker that the control is judged for",
        examples=[{"events-10": {"warn": 0.03, "fail": 0.05}}],
    )
    subgroups: Annotated[list[Literal["all", "rare_code"] | Subgroup], Field(min_length=1)] = Field(
        ["all"],
        description="the groups of patients that are judged, each on its own; `rare_code` are those"
        " with a code that at most 10 other members have",
        examples=[["all", "rare_code", {"static": "race"}]],
    )
    severity: Severity = Field(
        "high", description="how bad a breach would be; the gate says which severities block"
    )
    enforcement: Literal["advisory", "mandatory", "absolute"] = Field(
        "mandatory",
        description="advisory: shown, never decides; mandatory: decides, can be waived; absolute:"
        " decides, can never be waived",
    )
    on_inconclusive: Literal["block", "warn"] | None = Field(
        None, description="default: block, and warn for subgroups other than all"
    )
    adjustable: AdjustableParams | None = Field(
        None,
        description="what a policy that extends this one may shorten, and down to what; a report"
        " says so",
        examples=[{"horizonTokens": 50}],
    )
    shortened: dict[str, int] = _SHORTENED
    rationale: Text | None = Field(
        None,
        description="why it matters, for readers of the report",
        examples=["A recipient must not learn a stigmatising diagnosis from the model."],
    )
    remediation: list[Text] = Field(
        [],
        description="what would fix a breach, most effective first",
        examples=[["Retrain with de-duplicated records"]],
    )
    cites: list[Name] = Field(
        [], description="names among the policy's citations: what the requirement leans on"
    )


class PrerequisiteSpec(Element):
    """What forbids a release outright, whatever is measured; the target declares whether it holds.

    No attack can find it out: a data licence, the terms of controlled-access data, a registry's
    rules on what may leave it.
    """

    title: Text = Field(
        description="what has to be true, as a sentence; heirs cannot change it",
        examples=["The licence of the training data allows the model to be released like this"],
    )
    rationale: Text | None = Field(
        None,
        description="why it matters, for readers of the report",
        examples=["A licence that was broken cannot be mended by a good audit."],
    )
    max_age: Duration | None = Field(
        None, description="ISO 8601 duration; an older declaration no longer counts"
    )
    cites: list[Name] = Field(
        [], description="names among the policy's citations: what forbids the release"
    )


class Gate(Element):
    """What blocks a release."""

    fail_on: Annotated[list[Severity], Field(min_length=1)] = Field(
        ["critical", "high", "medium"],
        description="controls of these severities decide; all others are only shown",
    )
    max_evidence_age: Duration | None = Field(
        None, description="ISO 8601 duration; older evidence no longer counts"
    )
    require_expectation: bool = Field(
        False, description="no pass unless the target says what its trainer expects (`expect`)"
    )
    require_ledger: bool = Field(
        False,
        description="true: nothing passes but an audit that was registered in the institution's"
        " attempt ledger before the model was asked anything",
    )


class ParentRef(Element):
    """A policy that this one extends."""

    shorthand: ClassVar = "ref"

    ref: Exact = Field(
        description="name@version, looked up beside this file and then among the shipped policies,"
        " or a relative path",
        examples=["hospital-baseline@1.4", "../hospital.yaml"],
    )
    sha256: Sha256 | None = Field(
        None,
        description="of the parent's file: 64 hexadecimal digits, which pin it",
        examples=[SHA256_EXAMPLE],
    )


class WaiverRules(Element):
    """Who may grant exceptions from a policy, and for how long."""

    approver_roles: Annotated[list[Exact], Field(min_length=1)] = Field(
        description="only approvals in one of these roles are valid",
        examples=[["privacy-officer"]],
    )
    min_approvers: Annotated[int, Field(ge=1)] = Field(
        1, description="so many people have to approve; the requester is never one of them"
    )
    max_duration: Duration = Field(
        description="ISO 8601 duration; the longest that a waiver may be in force"
    )


class PolicySpec(Element):
    """The body of a leakage policy."""

    extends: Annotated[list[ParentRef], Field(max_length=8)] = Field(
        [], description="policies that this one tightens; what is left out here is inherited"
    )
    abstract: bool = Field(
        False, description="true: only ever extended, never judged by, and may have no controls"
    )
    context: Literal["public-weights", "gated", "internal"] = Field(
        description="who will get the model: everybody, holders of an agreement, or the institution"
    )
    parameters: Parameters = Field(Parameters(), description="numbers that every control shares")
    attackers: Annotated[dict[Name, AttackerSpec], Field(min_length=1)] = Field(
        description="who might try, by name: what each knows and sees"
    )
    attribute_classes: dict[Name, PolicyClassSpec] = Field(
        {}, description="what must not leak, by name: sets of codes"
    )
    controls: Annotated[dict[Name, ControlSpec], Field(min_length=1)] = Field(
        description="the requirements, by name"
    )
    prerequisites: dict[Name, PrerequisiteSpec] = Field(
        {},
        description="what forbids a release whatever is measured, by name; the target declares"
        " whether each holds, and what is not declared blocks",
    )
    citations: dict[Name, Citation] = Field({}, description="the sources, by name")
    gate: Gate = Field(Gate(), description="what blocks a release")
    waivers: WaiverRules | None = Field(
        None, description="the rules for exceptions; without them none can be granted"
    )


class LeakagePolicy(Document):
    """What an institution demands of a model before release."""

    kind: Literal["LeakagePolicy"] = Field(description="what kind of document this is")
    metadata: PolicyMetadata = Field(description="its name and version, and who answers for it")
    spec: PolicySpec = Field(description="the demands")

    @property
    def resolved(self) -> LeakagePolicy:
        """The same demands with nothing left to look up in other documents."""
        classes = {
            name: one.model_copy(update={"use": None})
            for name, one in self.spec.attribute_classes.items()
        }
        spec = self.spec.model_copy(update={"extends": [], "attribute_classes": classes})
        return self.model_copy(update={"spec": spec})

    @property
    def is_resolved(self) -> bool:
        """Whether it is complete, and refers to no other document."""
        spec = self.spec
        uses = any(one.use is not None for one in spec.attribute_classes.values())
        return not (spec.extends or spec.abstract or uses)


class AbstractPolicySpec(PolicySpec):
    """The body of a policy that is only ever extended."""

    attackers: dict[Name, AttackerSpec] = {}
    controls: dict[Name, ControlSpec] = {}


class AbstractPolicy(LeakagePolicy):
    """Something for policies to extend: attackers, classes or controls that several share."""

    spec: AbstractPolicySpec
