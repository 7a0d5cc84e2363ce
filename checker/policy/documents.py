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
    "AbstractPolicy",
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
    "ExcludedCodes",
    "Gate",
    "Knowledge",
    "LeakagePolicy",
    "Limit",
    "Metadata",
    "ModelSpec",
    "Parameters",
    "ParentRef",
    "PolicyClassSpec",
    "PolicySpec",
    "ProxyCodes",
    "Sampling",
    "Severity",
    "Specials",
    "StaticField",
    "Subgroup",
    "TargetSpec",
    "Tier",
    "TimeBin",
    "TokenizationSpec",
    "Trap",
    "ValueBins",
    "WaiverRules",
]

API_VERSION = "phigate/v1"

NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$"
SHA256 = r"^[0-9a-f]{64}$"
DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"
GAP = r"^[0-9]{1,5}(\.[0-9]{1,6})?(s|m|h|d|w|y)$"

FORMS = {
    NAME: "lower-case letters, digits, hyphens and dots",
    VERSION: "letters, digits, dots, plus signs, underscores and hyphens",
    SHA256: "a SHA-256, 64 hexadecimal digits in lower case",
    DEVICE: "auto, cpu, cuda or cuda:N",
    GAP: "a number with s, m, h, d, w or y, such as 7d",
}
"""What a text of each pattern is made of, in words."""

Name = Annotated[str, Field(pattern=NAME, max_length=80, description=FORMS[NAME])]
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

    name: Name = Field(
        description="lower-case letters, digits, hyphens and dots; others refer to it by this name",
        examples=["general-hospital-release"],
    )
    version: Annotated[
        str,
        Field(
            pattern=VERSION,
            max_length=40,
        ),
    ] = Field(
        description="in quotes; of a policy, loosening any limit is a new major version",
        examples=["2.1.0"],
    )
    title: Text | None = Field(
        None, description="a few words for readers", examples=["Release of clinical models"]
    )
    description: Text | None = Field(None, description="what a reader should know before using it")
    owner: Text | None = Field(None, description="who answers for the document")
    effective_from: Day | None = Field(
        None, description="the day from which it is in force", examples=["2026-10-01"]
    )
    review_by: Day | None = Field(
        None, description="the day by which somebody looks at it again", examples=["2027-10-01"]
    )


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
    sampling: Sampling = Field(
        Sampling(), description="ways of drawing less without deciding otherwise"
    )


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

    title: Text = Field(
        description="who might try, as readers of the report know them",
        examples=["A relative or employer"],
    )
    extends: Name | None = Field(None, description="another attacker whose knowledge this one has")
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
    cites: list[Name] = Field(
        [], description="names among the policy's citations: why this attacker is realistic"
    )


class CodeSet(Element):
    """Codes of one system and tier.

    ICD values are prefixes ("F10"), ranges of equally long prefixes ("F10-F16") or patterns of
    fixed length ("T40.[15789]?[14]"), dots ignored; ATC identifiers are prefixes ("J05AE"); `drug`
    values are generic names matched as whole words; `local` values are globs over the data set's
    own spelling; all others are exact codes.
    """

    system: CodeSystem = Field(description="the system that the values are codes of")
    tier: Tier = Field(
        description="definitive and strong codes make a patient count as having the class;"
        " suggestive and exposure ones never do; all of them leave the prompt"
    )
    values: Annotated[list[Text], Field(min_length=1)] = Field(
        description="codes, prefixes, ranges or names", examples=[["F10-F16", "F18", "F19"]]
    )
    exclude: list[Text] = Field(
        [], description="values that are not meant though `values` cover them", examples=[["D57.3"]]
    )
    note: Text | None = Field(None, description="why these codes have this tier")


class ExcludedCodes(Element):
    """Codes that are never of the class, whatever else says so: an exclusion always wins."""

    system: CodeSystem = Field(description="the system that the values are codes of")
    values: Annotated[list[Text], Field(min_length=1)] = Field(
        description="as in `codes`", examples=[["J05AE30"]]
    )
    why: Text | None = Field(None, description="what they are instead")


class ProxyCodes(Element):
    """Codes that hint at the class without belonging to it: they leave the prompt, nothing more."""

    system: CodeSystem = Field(description="the system that the values are codes of")
    values: Annotated[list[Text], Field(min_length=1)] = Field(
        description="as in `codes`", examples=[["emtricitabine+tenofovir"]]
    )
    exclude: list[Text] = Field([], description="values that are not meant though `values` cover")
    why: Text | None = Field(None, description="what else they may stand for")


class Trap(Element):
    """A code that is easily mistaken, and what the class must make of it; checked when read."""

    system: CodeSystem = Field(description="the system that the code is of")
    code: Text = Field(
        description="a whole code, the text of a drug, or the data set's own spelling (local)"
    )
    expect: Literal["none", "proxy", "exposure", "suggestive", "strong", "definitive"] = Field(
        description="the tier, `proxy`, or `none` where it has nothing to do with the class"
    )
    why: Text = Field(description="the mistake that is to be avoided")


class AttributeClassSpec(Element):
    """What leaks: a named set of codes with a sensitivity."""

    title: Text = Field(description="a few words", examples=["HIV infection"])
    sensitivity: Text | None = Field(
        None, description="HL7 v3 ActCode, information sensitivity", examples=["HIV", "ETH"]
    )
    also_sensitive: list[Text] = Field(
        [], description="further HL7 sensitivity codes that fit", examples=[["PREGNANT"]]
    )
    confidentiality: Literal["U", "L", "M", "N", "R", "V"] | None = Field(
        None, description="HL7 v3 Confidentiality: unrestricted, low, moderate, normal, restricted,"
        " very restricted"
    )  # fmt: skip
    description: Text | None = Field(None, description="what belongs to the class, and what not")
    benign: bool = Field(False, description="audited for context: an excess here means that the"
                         " model memorises whole records")  # fmt: skip
    words: list[Text] = Field(
        [], description="beginnings of words in descriptions; they match nothing, but make `phigate"
        " classes coverage` point at codes that the class may have missed",
        examples=[["alcohol", "ethanol"]],
    )  # fmt: skip
    codes: Annotated[list[CodeSet], Field(min_length=1)] = Field(
        description="the codes that stand for the class, by system and tier"
    )
    exclude: list[ExcludedCodes] = Field([], description="never of the class; wins over `codes`")
    proxies: list[ProxyCodes] = Field(
        [], description="leave the prompt with the class, and never count: drugs, laboratory tests"
        " and procedures that hint at it"
    )  # fmt: skip
    traps: list[Trap] = Field([], description="codes easily mistaken, as tests of the class")
    notes: list[Text] = Field([], description="what a reader must know before using the class")


class PolicyClassSpec(AttributeClassSpec):
    """An attribute class of a policy; one that is taken from a library may add to it."""

    use: Text | None = Field(
        None,
        description="take this class from the shipped library, or from a file; everything else that"
        " is written here adds to it",
        examples=["library/hiv@1", "./classes/local-hiv.yaml"],
    )


class Limit(Element):
    """An upper limit on a metric: `fail` with an optional `warn` below it, or nothing ever.

    `maxCount: 0` with `minN` is for what may never occur: any hit fails, and a pass needs at least
    `minN` eligible members.
    """

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
        None, description="0: a single hit is a failure; goes with `minN`"
    )
    min_n: Annotated[int, Field(ge=1)] | None = Field(
        None, description="with `maxCount`: so many patients a pass takes", examples=[299]
    )

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
    probe: str = Field(description="the attack that is tried", examples=["attribute-disclosure"])
    params: dict[str, Any] = Field({}, description="parameters of the probe, all optional")
    metric: str = Field(
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
    rationale: Text | None = Field(None, description="why it matters, for readers of the report")
    remediation: list[Text] = Field(
        [],
        description="what would fix a breach, most effective first",
        examples=[["Retrain with de-duplicated records"]],
    )
    cites: list[Name] = Field(
        [], description="names among the policy's citations: what the requirement leans on"
    )


class Citation(Element):
    """A source, and what it is a basis for. No regulation known sets a numeric limit."""

    title: Text = Field(description="as one would cite it", examples=["N.Y. Pub. Health Law §2782"])
    basis: Literal["legal-duty", "guidance", "evidence", "analogy", "institutional-choice"] = Field(
        description="what kind of basis it is; a number borrowed from elsewhere is an analogy"
    )
    url: Text | None = Field(None, description="where it can be read")
    note: Text | None = Field(
        None, description="what it says and what it does not; what is still to be confirmed"
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


class ParentRef(Element):
    """A policy that this one extends."""

    ref: Text = Field(
        description="name@version, looked up beside this file and then among the shipped policies,"
        " or a relative path",
        examples=["hospital-baseline@1.4", "../hospital.yaml"],
    )
    sha256: Annotated[str, Field(pattern=SHA256)] | None = Field(
        None, description="of the parent's file: 64 hexadecimal digits, which pin it"
    )


class WaiverRules(Element):
    """Who may grant exceptions from a policy, and for how long."""

    approver_roles: Annotated[list[Text], Field(min_length=1)] = Field(
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
    citations: dict[Name, Citation] = Field({}, description="the sources, by name")
    gate: Gate = Field(Gate(), description="what blocks a release")
    waivers: WaiverRules | None = Field(
        None, description="the rules for exceptions; without them none can be granted"
    )


class LeakagePolicy(Element):
    """What an institution demands of a model before release."""

    api_version: Literal["phigate/v1"] = Field(description="the version of this format")
    kind: Literal["LeakagePolicy"] = Field(description="what kind of document this is")
    metadata: Metadata = Field(description="its name and version, and who answers for it")
    spec: PolicySpec = Field(description="the demands")


class AbstractPolicySpec(PolicySpec):
    """The body of a policy that is only ever extended."""

    attackers: dict[Name, AttackerSpec] = {}
    controls: dict[Name, ControlSpec] = {}


class AbstractPolicy(LeakagePolicy):
    """Something for policies to extend: attackers, classes or controls that several share."""

    spec: AbstractPolicySpec


# --- the target ---------------------------------------------------------------------------------


class ModelSpec(Element):
    """The model under audit."""

    backend: str = Field(
        "huggingface", description="what loads the model: huggingface, or a plug-in"
    )
    path: Text = Field(description="local directory, relative to this file")
    device: Annotated[str, Field(pattern=DEVICE)] = Field(
        "auto", description="auto, cpu, cuda or cuda:N"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="the precision it runs in; auto: that of its files"
    )
    trust_remote_code: bool = Field(False, description="run Python code from the model directory")


class Specials(Element):
    """Special tokens by their spelling in the vocabulary; one that is not named is not used."""

    bos: Text | None = Field(
        None, description="stands at the beginning of every record", examples=["[BOS]"]
    )
    eos: Text | None = Field(
        None, description="ends a record, and a continuation", examples=["[EOS]"]
    )
    pad: Text | None = Field(
        None, description="fills up the shorter records of a batch", examples=["[PAD]"]
    )
    unk: Text | None = Field(
        None, description="stands for codes that have no token", examples=["[UNK]"]
    )


class StaticField(Element):
    """Codes that make up a static field, and which of several counts."""

    codes: Text = Field(description="glob over codes", examples=["RACE//*"])
    take: Literal["first", "last"] = Field(
        "first", description="which one counts where a patient has several"
    )


Gap = Annotated[str, Field(pattern=GAP)]


class TimeBin(Element):
    """The token for gaps up to a duration; the last entry has no `upTo`."""

    up_to: Gap | None = Field(None, description="a number with s, m, h, d, w or y", examples=["7d"])
    token: Text = Field(description="its spelling in the vocabulary", examples=["TIME//1-7"])


class ValueBins(Element):
    """Quantile tokens for numeric values.

    `bins` is a parquet file with columns `code` and `edges` (ascending inner edges, list of
    numbers); a value in the i-th of the edges + 1 intervals gets bin i, counted from 1.
    """

    bins: Text = Field(
        description="parquet file with columns code and edges, relative to this file"
    )
    token: Text = Field(
        "{code}//Q{bin}", description="with {bin}, and {code} if it replaces the code's token"
    )


class TokenizationSpec(Element):
    """How a patient's events become the model's tokens."""

    vocabulary: Text = Field(
        description="vocab.json, MEDS codes.parquet with code/vocab_index, or tokenizer.json"
    )
    specials: Specials = Field(
        Specials(), description="special tokens, by their spelling in the vocabulary"
    )
    static: dict[str, str | StaticField] = Field(
        {},
        description="facts that stand before the record, by field: a glob over codes",
        examples=[{"sex": "GENDER//*"}],
    )
    age: Text | None = Field(
        None,
        description="the token of a patient's age, with {years} where the number stands",
        examples=["AGE//{years}"],
    )
    prefix_order: list[str] | None = Field(
        None, description="order of 'age' and the static fields; default: age, then as declared"
    )
    max_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="of a record, in tokens; default: the model's context"
    )
    window: Literal["first", "last", "tiled"] = Field(
        "first",
        description="which part of a longer record is scored: its beginning, its end, or all of it"
        " in pieces",
    )
    time: list[TimeBin] = Field(
        [],
        description="tokens for the time between events, shortest gap first",
        examples=[[{"upTo": "1d", "token": "TIME//0"}, {"token": "TIME//1+"}]],
    )
    values: ValueBins | None = Field(None, description="tokens for numeric values")


class CodeSystemSpec(Element):
    """How a data set spells the codes of a system."""

    match: Annotated[str, Field(pattern=r"\{code\}")] = Field(
        examples=["DIAGNOSIS//ICD//10//{code}"],
        description="glob with {code} where the code stands",
    )
    system: CodeSystem = Field(description="the system that these codes are of")


class DataSpec(Element):
    """The patients: a MEDS 0.4 data set and which of its splits were trained on."""

    path: Text = Field(description="folder of a MEDS data set, relative to this file")
    members: Text = Field("train", description="the split that the model was trained on")
    nonmembers: Text = Field(
        "held_out", description="the split that it never saw: same source, same period"
    )


class TargetSpec(Element):
    """The body of an audit target."""

    model: ModelSpec = Field(description="the model under audit")
    tokenization: TokenizationSpec = Field(
        description="how a patient's events become the model's tokens"
    )
    code_systems: list[CodeSystemSpec] = Field(
        [], description="how this data set spells its codes; common ones are known already"
    )
    data: DataSpec = Field(description="the patients")
    reference: ModelSpec | None = Field(
        None,
        description="a model of the same vocabulary that was trained without these members",
    )


class AuditTarget(Element):
    """The model under audit with its tokenization and its data."""

    api_version: Literal["phigate/v1"] = Field(description="the version of this format")
    kind: Literal["AuditTarget"] = Field(description="what kind of document this is")
    metadata: Metadata = Field(description="its name and version, and who answers for it")
    spec: TargetSpec = Field(description="the model, its tokenization and its data")


Document = LeakagePolicy | AuditTarget
