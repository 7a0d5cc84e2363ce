"""The documents an institution writes, as types: `LeakagePolicy` and `AuditTarget`.

The words of the YAML are the words of the classes (camelCase there, snake_case here). Everything
is frozen and strict: an unknown key, a number where text belongs or a misspelt enumeration is an
error, because a requirement that is read as something else is a requirement that is not enforced.
References inside a document (an attacker named in a limit, a citation, a probe's parameters) are
checked in `checker.policy.validation`, which knows the lines they stand on.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from checker.canonical import ClosedModel
from checker.codes import CodeSystem, Tier

__all__ = [
    "API_VERSION",
    "Access",
    "AttackerSpec",
    "AttributeClassSpec",
    "AuditTarget",
    "Citation",
    "CodeSet",
    "CodeSystem",
    "CodeSystemSpec",
    "ControlSpec",
    "DataSpec",
    "Document",
    "Gate",
    "Knowledge",
    "LeakagePolicy",
    "Limit",
    "Metadata",
    "ModelSpec",
    "Parameters",
    "PolicySpec",
    "Sampling",
    "Severity",
    "Specials",
    "StaticField",
    "Subgroup",
    "TargetSpec",
    "Tier",
    "TimeBin",
    "TokenizationSpec",
    "ValueBins",
]

API_VERSION = "phigate/v1"

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        max_length=80,
        description="lower-case letters, digits, hyphens and dots",
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _day(value: Any) -> Any:
    """Read a quoted date like an unquoted one: editors' schemas know dates as text only."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"'{value[:40]}' is not a date such as 2026-10-01") from None


def _duration(value: Any) -> Any:
    """Take ISO 8601 only: a bare 90 would be read as 90 seconds."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"P(?=.)[0-9.DHMSTWY]{1,30}", value):
        raise ValueError("a duration is written like P90D (90 days)")
    return value


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration must be longer than nothing")
    return value


Day = Annotated[date, BeforeValidator(_day)]
Duration = Annotated[
    timedelta,
    AfterValidator(_above_zero),
    Field(strict=False, examples=["P90D"]),
    BeforeValidator(_duration),
]

Access = Literal["samples", "logprobs", "embeddings"]
Severity = Literal["low", "medium", "high", "critical"]


class Element(ClosedModel):
    """Base of every part of a document: closed like every file, and strict about types."""

    model_config = ConfigDict(strict=True)


class Metadata(Element):
    """Who answers for a document, and since when."""

    name: Name
    version: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$",
            max_length=40,
            description="letters, digits, dots, plus signs, underscores and hyphens",
            examples=["2.1.0"],
        ),
    ]
    title: Text | None = None
    description: Text | None = None
    owner: Text | None = Field(None, description="who answers for the document")
    effective_from: Day | None = None
    review_by: Day | None = None


# --- the policy ---------------------------------------------------------------------------------


class Sampling(Element):
    """Ways of drawing less without deciding otherwise; neither is used unless asked for."""

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
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(7, description="of all sampling")
    sampling: Sampling = Sampling()


class Knowledge(Element):
    """What an attacker knows of a patient: it becomes the prompt.

    The keys add up. `random` and `codeTypes` choose among the events that lie before what is to be
    told, which is the class's first definitive or strong code.
    """

    static: list[str] | Literal["all"] | None = Field(
        None, description="'age' and names of the target's tokenization.static fields, or 'all'"
    )
    events: Annotated[int, Field(ge=0)] | Literal["all"] | None = Field(
        None, description="the first N events, or 'all' but the class in question"
    )
    random: Annotated[int, Field(ge=1)] | None = Field(
        None, description="N events more, drawn at random with the policy's seed", examples=[20]
    )
    code_types: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None,
        description="all events whose code matches one of these globs over the data set's spelling",
        examples=[["MEDICATION//*"]],
    )


class AttackerSpec(Element):
    """A knowledge level: what is known, which access, gating or only reported."""

    title: Text
    extends: Name | None = Field(None, description="another attacker whose knowledge this one has")
    knows: Knowledge = Knowledge()
    access: Access = Field(
        "samples",
        description="sees generations, token probabilities too, or hidden states too; never less"
        " than the attacker it extends",
    )
    report: Literal["gate", "only"] = Field(
        "gate", description="'only': cells of this attacker are reported and never decide"
    )
    cites: list[Name] = []


class CodeSet(Element):
    """Codes of one system and tier.

    ICD values are prefixes ("F10") or ranges of equally long prefixes ("F10-F16"), dots ignored;
    `drug` values are generic names matched as whole words; `local` values are globs over the data
    set's own spelling; all others are exact codes.
    """

    system: CodeSystem
    tier: Tier
    values: Annotated[list[Text], Field(min_length=1)]


class AttributeClassSpec(Element):
    """What leaks: a named set of codes with a sensitivity."""

    title: Text
    sensitivity: Text | None = Field(None, description="HL7 v3 ActCode", examples=["HIV", "ETH"])
    description: Text | None = None
    benign: bool = Field(False, description="audited for context: an excess here means that the"
                         " model memorises whole records")  # fmt: skip
    codes: Annotated[list[CodeSet], Field(min_length=1)]


class Limit(Element):
    """An upper limit on a metric: `fail` with an optional `warn` below it, or nothing ever.

    `maxCount: 0` with `minN` is for what may never occur: any hit fails, and a pass needs at least
    `minN` eligible members.
    """

    warn: Annotated[float, Field(ge=0)] | None = None
    fail: Annotated[float, Field(gt=0)] | None = None
    max_count: Annotated[int, Field(ge=0, le=0)] | None = None
    min_n: Annotated[int, Field(ge=1)] | None = None

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["fail"]}, {"required": ["maxCount", "minN"]}]}
    )

    @model_validator(mode="after")
    def _one_form(self) -> Limit:
        if (self.fail is None) == (self.max_count is None):
            raise ValueError("a limit needs either 'fail' or 'maxCount' with 'minN'")
        if (self.max_count is None) != (self.min_n is None):
            raise ValueError("'maxCount' and 'minN' belong together")
        if self.warn is not None and (self.fail is None or self.warn > self.fail):
            raise ValueError("'warn' must not be above 'fail'")
        return self


class Subgroup(Element):
    """A slice of patients: exactly one of the keys."""

    static: str | None = Field(None, description="each value of this static field")
    rare_code: Annotated[int, Field(ge=0)] | None = Field(
        None, description="patients with a code that at most this many other members have"
    )
    age_over: Annotated[int, Field(ge=0, le=120)] | None = Field(
        None, description="patients older than this at their last event, in years"
    )

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _exactly_one(self) -> Subgroup:
        if sum(v is not None for v in (self.static, self.rare_code, self.age_over)) != 1:
            raise ValueError("a subgroup has exactly one of 'static', 'rareCode', 'ageOver'")
        return self


class ControlSpec(Element):
    """One requirement: a metric of a probe, with a limit per attacker."""

    title: Text
    attribute_class: Name | None = None
    probe: str
    params: dict[str, Any] = Field({}, description="parameters of the probe, all optional")
    metric: str
    contrast: Literal["nonmembers", "reference"] = Field(
        "nonmembers",
        description="what an excess is taken over: what the model says of nonmembers, or that"
        " difference beyond the target's reference model",
    )
    limits: Annotated[dict[Name, Limit], Field(min_length=1)]
    subgroups: Annotated[list[Literal["all", "rare_code"] | Subgroup], Field(min_length=1)] = [
        "all"
    ]
    severity: Severity = "high"
    enforcement: Literal["advisory", "mandatory", "absolute"] = "mandatory"
    on_inconclusive: Literal["block", "warn"] | None = Field(
        None, description="default: block, and warn for subgroups other than all"
    )
    rationale: Text | None = None
    remediation: list[Text] = []
    cites: list[Name] = []


class Citation(Element):
    """A source, and what it is a basis for. No regulation known sets a numeric limit."""

    title: Text
    basis: Literal["legal-duty", "guidance", "evidence", "analogy", "institutional-choice"]
    url: Text | None = None
    note: Text | None = None


class Gate(Element):
    """What blocks a release."""

    fail_on: Annotated[list[Severity], Field(min_length=1)] = ["critical", "high", "medium"]
    max_evidence_age: Duration | None = Field(
        None, description="ISO 8601 duration; older evidence no longer counts"
    )


class PolicySpec(Element):
    """The body of a leakage policy."""

    context: Literal["public-weights", "gated", "internal"]
    parameters: Parameters = Parameters()
    attackers: Annotated[dict[Name, AttackerSpec], Field(min_length=1)]
    attribute_classes: dict[Name, AttributeClassSpec] = {}
    controls: Annotated[dict[Name, ControlSpec], Field(min_length=1)]
    citations: dict[Name, Citation] = {}
    gate: Gate = Gate()


class LeakagePolicy(Element):
    """What an institution demands of a model before release."""

    api_version: Literal["phigate/v1"]
    kind: Literal["LeakagePolicy"]
    metadata: Metadata
    spec: PolicySpec


# --- the target ---------------------------------------------------------------------------------


class ModelSpec(Element):
    """The model under audit."""

    backend: str = "huggingface"
    path: Text = Field(description="local directory, relative to this file")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = Field(
        "auto", description="auto, cpu, cuda or cuda:N"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = Field(False, description="run Python code from the model directory")


class Specials(Element):
    """Special tokens by their spelling in the vocabulary; one that is not named is not used."""

    bos: Text | None = None
    eos: Text | None = None
    pad: Text | None = None
    unk: Text | None = None


class StaticField(Element):
    """Codes that make up a static field, and which of several counts."""

    codes: Text = Field(description="glob over codes", examples=["RACE//*"])
    take: Literal["first", "last"] = "first"


Gap = Annotated[str, Field(pattern=r"^[0-9]{1,5}(\.[0-9]{1,6})?(s|m|h|d|w|y)$")]


class TimeBin(Element):
    """The token for gaps up to a duration; the last entry has no `upTo`."""

    up_to: Gap | None = Field(None, description="a number with s, m, h, d, w or y", examples=["7d"])
    token: Text


class ValueBins(Element):
    """Quantile tokens for numeric values.

    `bins` is a parquet file with columns `code` and `edges` (ascending inner edges, list of
    numbers); a value in the i-th of the edges + 1 intervals gets bin i, counted from 1.
    """

    bins: Text
    token: Text = Field(
        "{code}//Q{bin}", description="with {bin}, and {code} if it replaces the code's token"
    )


class TokenizationSpec(Element):
    """How a patient's events become the model's tokens."""

    vocabulary: Text = Field(
        description="vocab.json, MEDS codes.parquet with code/vocab_index, or tokenizer.json"
    )
    specials: Specials = Specials()
    static: dict[str, str | StaticField] = Field({}, description="field: glob over codes")
    age: Text | None = Field(None, examples=["AGE//{years}"])
    prefix_order: list[str] | None = Field(
        None, description="order of 'age' and the static fields; default: age, then as declared"
    )
    max_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="default: the model's context"
    )
    window: Literal["first", "last", "tiled"] = "first"
    time: list[TimeBin] = []
    values: ValueBins | None = None


class CodeSystemSpec(Element):
    """How a data set spells the codes of a system."""

    match: Annotated[str, Field(pattern=r"\{code\}")] = Field(
        examples=["DIAGNOSIS//ICD//10//{code}"],
        description="glob with {code} where the code stands",
    )
    system: CodeSystem


class DataSpec(Element):
    """The patients: a MEDS 0.4 data set and which of its splits were trained on."""

    path: Text
    members: Text = "train"
    nonmembers: Text = "held_out"


class TargetSpec(Element):
    """The body of an audit target."""

    model: ModelSpec
    tokenization: TokenizationSpec
    code_systems: list[CodeSystemSpec] = []
    data: DataSpec
    reference: ModelSpec | None = Field(
        None,
        description="a model of the same vocabulary that was trained without these members",
    )


class AuditTarget(Element):
    """The model under audit with its tokenization and its data."""

    api_version: Literal["phigate/v1"]
    kind: Literal["AuditTarget"]
    metadata: Metadata
    spec: TargetSpec


Document = LeakagePolicy | AuditTarget
