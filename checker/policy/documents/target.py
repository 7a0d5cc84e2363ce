"""The target an institution declares: a model, its tokenization and the patients it is tried on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from checker.codes import CodeSystem
from checker.policy.documents.elements import (
    SHA256_EXAMPLE,
    Day,
    Document,
    Element,
    Exact,
    Fraction,
    Name,
    Sha256,
    Text,
)
from checker.policy.documents.study import Study
from checker.yaml import Form

Gap = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,10}(\.[0-9]{1,6})?(s|m|h|d|w|y)$"),
    Form("a number with s, m, h, d, w or y, such as 7d"),
]


class ModelSpec(Element):
    """The model under audit."""

    backend: str = Field(
        "huggingface", description="what loads the model: huggingface, or a plug-in"
    )
    path: Annotated[str, Field(max_length=10_000)] = Field(
        "",
        description="local directory or file, relative to this file; some backends can do without",
        examples=["./model"],
    )
    options: dict[str, Any] | None = Field(None, description="what the backend takes besides")
    adapter: Text | None = Field(
        None,
        description="local directory of a LoRA adapter, as peft saves it, that the model at `path`"
        " is released with",
        examples=["./adapter"],
    )
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$"), Form("auto, cpu, cuda or cuda:N")
    ] = Field("auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="the precision it runs in; auto: that of its files"
    )
    trust_remote_code: bool = Field(False, description="run Python code from the model directory")


class Specials(Element):
    """Special tokens by their spelling in the vocabulary; one that is not named is not used."""

    bos: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None,
        description="stands at the beginning of every record; a list where there are several",
        examples=["[BOS]"],
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

    @property
    def leading(self) -> tuple[str, ...]:
        """What every record begins with, in order; none where no BOS is declared."""
        if self.bos is None:
            return ()
        return (self.bos,) if isinstance(self.bos, str) else tuple(self.bos)


class StaticField(Element):
    """Codes that make up a static field, and which of several counts."""

    codes: Exact = Field(description="glob over codes", examples=["RACE//*"])
    take: Literal["first", "last"] = Field(
        "first", description="which one counts where a patient has several"
    )


class TimeBin(Element):
    """The token for gaps up to a duration; the last entry has no `upTo`, and some no token."""

    up_to: Gap | None = Field(None, description="a number with s, m, h, d, w or y", examples=["7d"])
    token: Text | None = Field(
        None,
        description="its spelling in the vocabulary; left out where the model is told no such gap",
        examples=["TIME//1-7"],
    )


class ValueBins(Element):
    """Quantile tokens for numeric values.

    `bins` is a parquet file with columns `code` and `edges` (ascending inner edges, list of
    numbers); a value in the i-th of the edges + 1 intervals gets bin i, counted from 1. A third
    column, `tokens`, may spell the token of each interval, null where there is none; then no
    template is needed.
    """

    bins: Text = Field(
        description="parquet file with columns code and edges, relative to this file",
        examples=["./model/bins.parquet"],
    )
    token: Text = Field(
        "{code}//Q{bin}",
        description="with {bin}, and {code} if it replaces the code's token; not used where the"
        " bins file spells its tokens",
    )


Channel = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"),
    Form("a name as of a Python argument, such as token_type_ids"),
]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]


class ChannelTime(Element):
    """Counts the time at which a token's event happened."""

    since: Literal["birth", "first", "epoch"] = Field(
        "birth",
        description="counted from the patient's birth, his first dated event or 1970-01-01",
    )
    unit: Gap = Field(
        "1d", description="what is counted: 1d, 1y (365.25 days), 365d", examples=["1d"]
    )
    front: Literal["first", "zero"] = Field(
        "first",
        description="what tokens in front of the first dated event have: its value, or 0",
    )


class ChannelSpec(Element):
    """A number that the model is given beside each token id.

    Either it counts time, or it follows from the tokens alone. Drawn tokens go on with it: at each
    the value grows by `each` and by what `adds` says of the token, or becomes what `sets` says. Of
    a channel that counts time, time tokens add the middle of their gaps unless `adds` says more.
    """

    time: ChannelTime | None = Field(
        None, description="counts time; left out where the channel follows from the tokens"
    )
    start: Number = Field(0.0, description="of the first token, but for its own change")
    each: Number = Field(0.0, description="growth from token to token: 1 counts positions")
    adds: dict[Exact, Number] = Field(
        {}, description="growth at tokens: by glob over their spelling, the first that matches",
        examples=[{"[VS]": 1}],
    )  # fmt: skip
    sets: dict[Exact, Number] = Field(
        {},
        description="value at tokens: by glob over their spelling, the first that matches",
        examples=[{"LAB//*": 2, "*": 0}],
    )
    modulo: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None,
        description="the value goes round after so much above start: 2 alternates",
        examples=[2],
    )
    takes_effect: Literal["at", "after"] = Field(
        "at", description="whether a token's change holds for itself, or from the next token on"
    )
    whole: bool = Field(True, description="the model is told whole numbers, rounded down")
    most: Number | None = Field(
        None, description="larger values are told as this one", examples=[511]
    )


class TokenizationSpec(Element):
    """How a patient's events become the model's tokens."""

    vocabulary: Text = Field(
        description="vocab.json, a CSV of tokens and ids, MEDS codes.parquet with"
        " code/vocab_index, or tokenizer.json",
        examples=["./model/vocab.json"],
    )
    records: Text | None = Field(
        None,
        description="parquet file with a row a token, as the trainer's own loader made the records"
        " (docs/targets.md); the rules of time, values and order are then not used",
        examples=["./tokens.parquet"],
    )
    channels: dict[Channel, ChannelSpec] = Field(
        {},
        description="what the model is given beside token ids, by the name of its input: ages,"
        " segments, positions",
        examples=[{"token_type_ids": {"adds": {"[VS]": 1}, "modulo": 2}}],
    )
    specials: Specials = Field(
        Specials(), description="special tokens, by their spelling in the vocabulary"
    )
    static: dict[str, Exact | StaticField] = Field(
        {},
        description="facts that stand before the record, by field: a glob over codes",
        examples=[{"sex": "GENDER//*"}],
    )
    undated: Literal["keep", "omit"] = Field(
        "keep",
        description="events without a time that belong to no static field: tokens before the"
        " record, or left out",
    )
    same_time_first: list[Exact] = Field(
        [],
        description="codes that stand before the others of the same time, whatever their order in"
        " the files: globs",
        examples=[["MEDS_DEATH*"]],
    )
    age: Text | None = Field(
        None,
        description="the token of a patient's age, with {years} where the number stands",
        examples=["AGE//{years}"],
    )
    present: dict[str, Fraction] = Field(
        {},
        description="share of the patients who have 'age' or a static field at the least; 0.9 for"
        " those not named here",
        examples=[{"race": 0.5}],
    )
    prefix_order: list[Exact] | None = Field(
        None,
        description="order of 'age' and the static fields; default: age, then as declared",
        examples=[["age", "sex"]],
    )
    max_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="of a record, in tokens; default: the model's context", examples=[2048]
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
    gaps: Literal["kept", "codes", "all"] = Field(
        "kept",
        description="between which dated events the time is told: those that became tokens; those"
        " whose code is of the vocabulary, though the bin of the value is not, or is of"
        " sameTimeFirst; or all of the data set",
    )
    values: ValueBins | None = Field(None, description="tokens for numeric values")


class CodeSystemSpec(Element):
    """How a data set spells the codes of a system."""

    match: Annotated[Exact, Field(pattern=r"\{code\}")] = Field(
        examples=["DIAGNOSIS//ICD//10//{code}"],
        description="glob with {code} where the code stands",
    )
    system: CodeSystem = Field(
        description="the system that these codes are of; local: only local values find them"
    )


class DataSpec(Element):
    """The patients: a MEDS 0.4 data set and which of its splits were trained on."""

    path: Text = Field(
        description="folder of a MEDS data set, relative to this file", examples=["./cohort"]
    )
    codes: Exact | None = Field(
        None,
        description="the table of codes inside that folder, where it is not the usual"
        " metadata/codes.parquet: one that `phigate classes map` wrote, for example",
        examples=["metadata/codes.mapped.parquet"],
    )
    members: Exact = Field("train", description="the split that the model was trained on")
    nonmembers: Exact = Field(
        "held_out", description="the split that it never saw: same source, same period"
    )
    spare: Exact | Annotated[list[Exact], Field(min_length=1)] | None = Field(
        None,
        description="one more split, or several, of the same source that the model never saw; its"
        " patients are not judged: nonmembers must look like them to the model",
        examples=["tuning"],
    )
    assignment: Literal["random", "other"] | None = Field(
        None,
        description="how patients came to their split: random is by lot, patient by patient; other"
        " is by date, by hospital or in any way but by lot. Unless it is declared, the splits have"
        " to be shown comparable",
    )
    assigned_by: Text | None = Field(
        None,
        description="who dealt the patients to the splits, and how; the report repeats it",
        examples=["data steward, seed 42"],
    )

    @property
    def spare_splits(self) -> tuple[str, ...]:
        """Names of the splits of spare patients; none where none are declared."""
        if self.spare is None:
            return ()
        return (self.spare,) if isinstance(self.spare, str) else tuple(self.spare)


class ExpectedLoss(Element):
    """Losses as the trainer measured them, in nats a token."""

    members: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="mean over the tokens of the members' records, behind the first of each",
        examples=[1.83],
    )


class Expectation(Element):
    """What the model's trainer knows of it, and the audit has to find again."""

    tokens: Text | None = Field(
        None,
        description="parquet file with subject_id and tokens, of at least 20 patients, as the"
        " trainer's own data loader made them; relative to this file",
        examples=["./sample.parquet"],
    )
    loss: ExpectedLoss | None = Field(
        None, description="the training loss, which the audit must meet within 2 %"
    )


class Declaration(Element):
    """What the owner answers for, and no audit can find out: whether a prerequisite holds."""

    holds: bool = Field(description="whether it is so; false fails the release")
    on: Day = Field(
        description="the day it was declared; it counts from then on", examples=["2026-11-01"]
    )
    by: Text = Field(description="who answers for it", examples=["A. Lindqvist, data steward"])
    document: Text = Field(
        description="the paper that says so, as somebody would find it",
        examples=["Data use agreement 2026-17, section 4"],
    )
    document_sha256: Sha256 | None = Field(
        None, description="of that paper's file: 64 hexadecimal digits", examples=[SHA256_EXAMPLE]
    )
    model: Sha256 = Field(
        description="of the model's files that it speaks of: the target's modelSha256 in"
        " `phigate plan --json`",
        examples=[SHA256_EXAMPLE],
    )
    release: Literal["public-weights", "gated", "internal"] = Field(
        description="the widest release that it speaks of; what may be published may be shared",
        examples=["gated"],
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
    expect: Expectation | None = Field(
        None,
        description="what the trainer knows of the model: it shows that this description is true",
    )
    declarations: dict[Name, Declaration] = Field(
        {},
        description="whether what the policy presupposes holds, by the policy's names; believed,"
        " and shown as declared",
    )
    study: Study = Field(
        Study(),
        description="what boards, authorities and experts ask of the study behind the model;"
        " printed in reports and annexes as it stands, and believed",
    )


class AuditTarget(Document):
    """The model under audit with its tokenization and its data."""

    kind: Literal["AuditTarget"] = Field(description="what kind of document this is")
    spec: TargetSpec = Field(description="the model, its tokenization and its data")
