"""The audit plan as data: cells, jobs, sample, power and cost. Written as `plan.json`.

The plan is all that the judge needs beside the evidence: it holds the resolved policy, what each
class watches for in the model's vocabulary, and which jobs each cell is judged from. It names no
patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator

from checker.attacks.families import Power, Sample
from checker.canonical import JsonModel, digest, sha256_hex
from checker.policy import Origin
from checker.policy.documents import AsJson, AuditTarget, LeakagePolicy, Limit, as_json

Contrast = Literal["nonmembers", "reference"]


class BaseCell(JsonModel):
    """Control x attacker x subgroup, and what is demanded of it: a cell of the plan or a report.

    `contrast` is what is subtracted from members: nonmembers, or a reference model's view as well.
    """

    id: str
    control: str
    attribute_class: str | None
    attacker: str
    subgroup: str
    probe: str
    metric: str
    contrast: Contrast = "nonmembers"
    limit: Limit
    severity: str
    gating: bool


class Cell(BaseCell):
    """The unit that gets a verdict, as it is planned.

    `measurement` is the digest of everything that is measured and nothing that is demanded, so that
    a policy with other limits finds the same measurement again. `labels` and `jobs` are digests of
    the jobs the cell is judged from; both are empty when the target lacks the capability or the
    data set the class.
    """

    params: dict[str, Any]
    on_inconclusive: Literal["block", "warn"]
    measurement: str
    missing_capability: str | None = None
    labels: str | None
    jobs: list[str]
    sample: Sample
    power: Power

    @property
    def judged_from(self) -> list[str]:
        """Digests of all jobs it is judged from, its labels first."""
        return [*([self.labels] if self.labels else []), *self.jobs]


class Job(JsonModel):
    """One unit of work, identified by the digest of everything it depends on but the device.

    `runs_on` is the cohort alone, the model under audit ("target"), the reference model, or only
    the evidence of the jobs that `needs` names. `training_tokens` are those that a reference model
    of the checker's own learns from, over all passes and at most.
    """

    digest: str
    kind: str
    title: str
    inputs: dict[str, Any]
    runs_on: Literal["cohort", "target", "reference", "evidence"] = "cohort"
    needs: list[str] = Field(default_factory=list)
    forward_tokens: int = 0
    rollout_tokens: int = 0
    training_tokens: int = 0

    @property
    def all_tokens(self) -> int:
        """Tokens that are processed in any way, at most: what progress is counted in."""
        return self.forward_tokens + self.rollout_tokens + self.training_tokens

    @property
    def uses_model(self) -> bool:
        """Whether a model has to be loaded to run it."""
        return self.runs_on in {"target", "reference"}

    @property
    def depends_on_model(self) -> bool:
        """Whether its observations depend on a model, directly or through what it needs."""
        return self.runs_on != "cohort"

    @property
    def asks_every_member(self) -> bool:
        """Whether it looks at members beside the lot too."""
        return self.inputs.get("members") == "all"


class PolicySnapshot(JsonModel):
    """The policy as it was resolved: all that judging, reporting and verifying know of it.

    `document` refers to no other document, and `document_sha256` is the digest of what it says.
    `file` is the policy's own, without its folder, `sha256` that of its bytes, `lines` those of its
    controls, and `origins` are the other documents it rests on. A control that stands in one of
    them, and not in the policy's own file, is in `files`, which names that file. `prompts` says
    where it is written how many events an attacker knows, by the attacker's name and the key.
    """

    document: Annotated[LeakagePolicy, AsJson]
    document_sha256: str
    sha256: str
    file: str | None = None
    lines: dict[str, int]
    files: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, str] = Field(default_factory=dict)
    origins: list[Origin] = Field(default_factory=list)

    @field_validator("document")
    @classmethod
    def _is_resolved(cls, document: LeakagePolicy) -> LeakagePolicy:
        if not document.is_resolved:
            raise ValueError("the policy of a plan refers to no other document")
        return document

    @property
    def is_unchanged(self) -> bool:
        """Whether the document is the one that its digest names."""
        return digest(as_json(self.document)) == self.document_sha256


class TargetSnapshot(JsonModel):
    """The target as it was compiled, with the digests of its file, model and vocabulary.

    `document_sha256` is the digest of what the document says, a device that a command named
    included; `sha256` that of its file's bytes. `backend` is the plug-in that opens the model, and
    `reference_backend` that of the reference, by distribution, version and digest; None for
    phigate's own.
    """

    document: Annotated[AuditTarget, AsJson]
    document_sha256: str
    sha256: str
    backend: dict[str, str] | None = None
    reference_backend: dict[str, str] | None = None
    model_sha256: str
    model_files: dict[str, str]
    vocabulary_sha256: str
    vocabulary_size: int
    context_length: int | None
    capabilities: list[str]
    reference_sha256: str | None = None

    @property
    def is_unchanged(self) -> bool:
        """Whether the document is the one that its digest names."""
        return digest(as_json(self.document)) == self.document_sha256


class UnreadVocabulary(JsonModel):
    """Codes that claim one vocabulary and are not read, or not as they stand.

    The fields are those of `checker.records.code_census.ClaimedCodes`.
    """

    vocabulary: str
    kind: str | None
    problem: Literal["unread", "malformed", "lost-zeros", "restored", "declared"]
    detail: str
    codes: int
    events: int
    patients: int
    examples: list[str]


class DrawnPatients(JsonModel):
    """Who of a cohort is looked at, where not everybody is.

    `members`, `nonmembers` and `spare` were drawn by lot from all of them and stand for all.
    `asked_members` and `asked_nonmembers` are these, and who was drawn beside: for a class, of
    those who have it, or every member, for a test that nobody may fail.
    """

    members: int
    nonmembers: int
    spare: int
    asked_members: int
    asked_nonmembers: int


class DataSnapshot(JsonModel):
    """The cohort in numbers.

    `patients` is how they were drawn (`sampling.patients`), and `drawn` says who of them is looked
    at; None where everybody is. `nonmembers` are those who are
    judged. `near_duplicates` are nonmembers whose record nearly
    equals a member's, `same_codes` those of them with a member's codes in the same order, and
    `set_aside` says how many of them were left out of the nonmembers; `copied` are those who have a
    member's times and values too, who stay, so that no excess can count.
    `spare` are patients of whom nothing is judged, but for those of them whom the model may know.
    `tokens_left_out` lie outside the window that is scored. `unused_tokens` are ids of the
    vocabulary that no record holds; `unexplained_tokens` are those among them, a few by name, that
    stand for no code of the data set either: a format described incompletely leaves them over.
    `unread` are codes that no class can find, where one is looked for, and `suspect` what stands
    before ICD-9 codes that may have been numbers.
    """

    name: str
    sha256: str
    members: int
    nonmembers: int
    patients: Literal["auto", "all"] | int = "all"
    drawn: DrawnPatients | None = None
    near_duplicates: int = 0
    same_codes: int = 0
    set_aside: int = 0
    copied: int = 0
    spare: int = 0
    events: int
    tokens: int
    tokens_left_out: int
    unknown_events: int
    unknown_share: float
    commonest_unknown: dict[str, int]
    unused_tokens: list[int]
    unexplained_tokens: list[str]
    unread: list[UnreadVocabulary] = Field(default_factory=list)
    suspect: list[str] = Field(default_factory=list)

    @property
    def lot(self) -> tuple[int, int]:
        """Members and nonmembers who stand for everybody."""
        if self.drawn is None:
            return self.members, self.nonmembers
        return self.drawn.members, self.drawn.nonmembers

    @property
    def asked(self) -> tuple[int, int]:
        """Members and nonmembers who are looked at for anything."""
        if self.drawn is None:
            return self.members, self.nonmembers
        return self.drawn.asked_members, self.drawn.asked_nonmembers


UNTOLD_SHARE = 0.05
"""Of those who have a class, so many may be left unasked before reports say that they were."""


class ProxyCode(JsonModel):
    """A code that tells a class without being counted: see `checker.records.proxies.Proxy`."""

    code: str
    patients: int
    positives: int
    low: float
    high: float
    leaves_prompt: bool


class ClassSnapshot(JsonModel):
    """An attribute class against this data and vocabulary.

    `codes_in_data` counts definitive and strong ones; `watch` are the token ids of a hit;
    `unmatched` are values of the policy that match no code of the data set: it may not have them,
    or they may be misspelt. Of a pool, `parts` are its classes.
    `near` are a few codes of the data set that look like the class and are not of it, `near_codes`
    and `near_patients` how many codes and patients that makes. `proxies` are codes that tell it of
    nonmembers and do not count. `untold` are a few codes of the
    class that patients have and no token of the model names; `untold_patients` have these alone,
    of `patients` who have the class, and are not asked (both 0 where every code has a token).
    """

    title: str
    codes_in_data: int
    watch: list[Annotated[int, Field(ge=0, lt=2**31)]]
    unmatched: list[str]
    parts: dict[str, ClassSnapshot] = Field(default_factory=dict)
    near: list[str] = Field(default_factory=list)
    near_codes: int = 0
    near_patients: int = 0
    proxies: list[ProxyCode] = Field(default_factory=list)
    untold: list[str] = Field(default_factory=list)
    untold_patients: int = 0
    patients: int = 0

    def is_partly_untold(self, *, min_cell: int) -> bool:
        """Whether so many are not asked that a verdict on the class has to say so."""
        return self.untold_patients >= max(min_cell, UNTOLD_SHARE * self.patients, 1)

    @property
    def absent_from(self) -> Literal["data", "vocabulary"] | None:
        """Where nothing stands for the class, so that nothing is measured of it."""
        if not self.codes_in_data:
            return "data"
        return None if self.watch else "vocabulary"


class ClassDepth(JsonModel):
    """How many who have a class no attacker of a policy reaches (METHODS §1, *Depth*).

    Of `members` and `nonmembers` who have it and were looked at for every attacker, so many are
    `*_beyond` all of them, and `*_beyond_deciding` those whose verdicts count for the release;
    where none of these asks for the class, all attackers are taken.
    """

    members: int = Field(ge=0)
    members_beyond: int = Field(ge=0)
    members_beyond_deciding: int = Field(ge=0)
    nonmembers: int = Field(ge=0)
    nonmembers_beyond: int = Field(ge=0)
    nonmembers_beyond_deciding: int = Field(ge=0)

    def is_partly_beyond(self, *, min_cell: int) -> bool:
        """Whether so many are out of reach that a verdict on the class has to say so."""
        return self.members_beyond_deciding >= max(min_cell, UNTOLD_SHARE * self.members, 1)


class TokenDepth(JsonModel):
    """How much of the members' records is looked at, in tokens.

    `continued` could be told by a continuation of some prompt, `scored` are others that only scores
    of whole records look at; nothing looks at the rest of `tokens`. `by_windows` says that every
    member is scored, so that the rest is what lies outside the windows, whoever has what.
    """

    members: int = Field(ge=0)
    tokens: int = Field(ge=0)
    continued: int = Field(ge=0)
    scored: int = Field(ge=0)
    by_windows: bool = False

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """Shares that are told, only scored, and beyond all; None of no tokens."""
        if not self.tokens:
            return None
        told, scored = self.continued / self.tokens, self.scored / self.tokens
        return told, scored, max(0.0, 1 - told - scored)


class Depth(JsonModel):
    """What no attacker of a policy reaches: of classes that continuations are asked for, by name.

    `tokens` is None where a policy is judged by what another one measured.
    """

    classes: dict[str, ClassDepth] = Field(default_factory=dict)
    tokens: TokenDepth | None = None


class Cost(JsonModel):
    """Tokens the model has to process: prompts and records, and at most this many new ones.

    `*_unshared` are what it would be if no cell shared anything: every patient of every cell asked
    and scored by himself, for that cell only. `training_tokens` are what small reference models of
    the checker's own learn from, at most; the model under audit has no part in it.
    """

    forward_tokens: int
    forward_tokens_unshared: int
    rollout_tokens: int
    rollout_tokens_unshared: int
    training_tokens: int = 0


class PromptGap(JsonModel):
    """How much more prompts promise a cell's class in members than in nonmembers, as it was found.

    `value` is the gap of `checker.verdict.comparability.base_rate_gap`, `error` its standard error
    and `freedom` the degrees of freedom of its bounds.
    """

    value: float
    error: float
    freedom: float


class CheckPower(JsonModel):
    """A check that can stop what a cell's bounds would pass, and what is known of it before.

    `chance` is that it lets a model through that leaks nothing, in [0, 1]; with `is_floor` it is at
    least this, and with a `condition` it holds only under that. `cells` are the deciding cells that
    it may stop, `worst` the one with the lowest chance where it is asked cell by cell. `finds` is
    the least true effect that it stops with chance `found_chance` (None where that is not known),
    an AUROC or a gap of base rates; `finds_in` is the cell that this is true of, where others find
    less.
    """

    name: str
    reason: str
    title: str
    chance: float
    is_floor: bool = False
    condition: str | None = None
    cells: int
    worst: str | None = None
    finds: float | None = None
    found: Literal["auroc", "base-rate-gap"] | None = None
    found_chance: float | None = None
    finds_in: str | None = None


class ReleaseChance(JsonModel):
    """How likely a model that leaks nothing is released with these patients.

    `cells` is the chance that every cell that would block passes by its bounds, `checks` that no
    check stops it, and `chance` that both hold; None where some of it cannot be known before
    (`unknown` names those cells). `stopped_by` names the cells and checks that let no model
    through. With `is_floor` the truth is rather higher.
    """

    chance: float | None
    cells: float | None
    checks: float
    is_floor: bool
    unknown: list[str] = Field(default_factory=list)
    stopped_by: list[str] = Field(default_factory=list)


class ExpectedRate(JsonModel):
    """What a table of which token follows which would tell of those a test asks about.

    `mean` is how likely a continuation names the class, over patients, `told` the share of patients
    of whom that is above the threshold, and `spread` the variance between patients as a share of a
    coin's of the same mean. All in [0, 1].
    """

    mean: float
    told: float
    spread: float


class AuditPlan(JsonModel):
    """Everything that will be run and judged.

    `comparability` is the power of the check that members and nonmembers cannot be told apart
    without the model; where it cannot hold, no excess and no membership metric can pass. `checks`
    are all that can stop a pass beside bounds, and `release` is what both leave of the chance of a
    model that leaks nothing; no verdict depends on either.
    `nonmember_jobs` are digests of the jobs that look for nonmembers in the model, which cells may
    share. `prompt_gaps` are known, by the cell's id, where somebody asked what prompts promise
    before the audit (`phigate plan`); the plan of a run has none, and the judge asks the evidence.
    So is `spare_difference`, how spare patients differ from nonmembers without any model, and
    `expected_rates`, by the cell's id, of which the power of cells is taken where it is less.
    """

    schema_version: Literal["1"] = "1"
    policy: PolicySnapshot
    target: TargetSnapshot
    data: DataSnapshot
    classes: dict[str, ClassSnapshot]
    cells: list[Cell]
    jobs: list[Job]
    comparability: Power
    checks: list[CheckPower] = Field(default_factory=list)
    release: ReleaseChance | None = None
    nonmember_jobs: list[str] = Field(default_factory=list)
    depth: Depth = Depth()
    prompt_gaps: dict[str, PromptGap] = Field(default_factory=dict)
    spare_difference: str | None = None
    expected_rates: dict[str, ExpectedRate] = Field(default_factory=dict)
    cost: Cost
    seed: int = Field(ge=0)
    confidence: float = Field(ge=0.5, lt=1)
    sequential: bool = False

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `plan.json`; computed once, for a manifest names it after every job."""
        return sha256_hex(self.to_bytes())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other fields; pydantic would copy the digest too."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("sha256", None)
        return copied

    def class_absent_from(self, cell: Cell) -> Literal["data", "vocabulary"] | None:
        """Say where nothing stands for a cell's class; None where it has none, or all is there."""
        found = self.classes.get(cell.attribute_class) if cell.attribute_class else None
        return found.absent_from if found is not None else None

    def jobs_of(self, kind: str) -> list[Job]:
        """Return the plan's jobs of one kind."""
        return [job for job in self.jobs if job.kind == kind]

    def leaves_out(self, cell: Cell) -> bool:
        """Whether a cell was asked of a part of those it is about."""
        if self.data.drawn is not None:
            return True
        return any(job.digest == cell.labels and "drawn" in job.inputs for job in self.jobs)

    def has_every_member(self, cell: Cell) -> bool:
        """Whether a cell was asked of all members, also where a lot stands for them elsewhere."""
        own = set(cell.jobs)
        return any(job.digest in own and job.asks_every_member for job in self.jobs)

    def job(self, kind: str) -> Job | None:
        """Return the plan's only job of a kind, or None."""
        return next(iter(self.jobs_of(kind)), None)

    def rng_for(self, purpose: str) -> np.random.Generator:
        """Return the random numbers of one purpose; they depend on the seed and its name only."""
        return rng_for(self.seed, purpose)


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator that depends on the seed and a purpose's name only."""
    return np.random.default_rng([seed, int(digest(purpose)[:16], 16)])
