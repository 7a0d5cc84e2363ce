"""The report as data: what every format renders and none computes.

Written as `report.json`; its schema is `schemas/Report.json`. Keys are camelCase there. A finding's
numbers always come with bounds; what could not be measured is None beside a reason, and what the
report's audience must not learn is None beside its name in `withheld`
(`disclosure_control.suppression` decides that, before any format sees the report).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from checker.attacks.families import Power, QFrom, Sample
from checker.canonical import JsonModel
from checker.planning.model import BaseCell, ClassDepth, Contrast
from checker.planning.remedies import Remedy
from checker.policy import Origin
from checker.policy.class_review import ReviewState
from checker.policy.documents.elements import Seen
from checker.policy.documents.study import Study
from checker.policy.waivers import WaiverStatus
from checker.stats.estimate import ReportedEstimate
from checker.verdict import Verdict
from checker.verdict.checks import AdmissibilityCheck

Audience = Literal["shared", "internal"]
AUDIENCES: tuple[Audience, ...] = ("shared", "internal")
BoundSide = Literal["within", "beyond", "straddles"]


class RocPoint(JsonModel):
    """A point of an attack's ROC curve.

    `tpr` is the share of members caught where a share `fpr` of the nonmembers is accused wrongly;
    each bound is one-sided at the policy's confidence and holds for this point on its own.
    """

    fpr: float
    tpr: float
    low: float
    high: float


class StandingOutRow(JsonModel):
    """Members who score above the nonmember of a rank from the top: see `stats.StandingOut`."""

    rank: int
    above: int
    by_chance: float
    at_least: int


class SampleNeeds(JsonModel):
    """How many patients would decide a cell, whatever this cohort has.

    `at_all` are the fewest with which it can pass; with about `likely` a sound model passes with a
    probability of 0.8. Both count members, and as many nonmembers, or what is counted instead of
    members. None where no number would do, or where it is not known before the data.
    """

    at_all: int | None = None
    likely: int | None = None


class CellReport(BaseCell):
    """One finding: control x attacker x subgroup.

    `can_only_fail` marks attacks that can show a leak and never its absence; `stopped_early` cells
    that were decided before all their patients were drawn. `bound_side` says where the interval
    lies: its upper end within the limit, its lower end beyond it, or the limit between them; None
    where nothing was measured or where nothing may ever occur, and where the numbers are withheld
    and the verdict does not say it. `above_none` is the other finding: whether the number is shown
    to be more than what a model gives that leaks nothing; None where that is not known, or cannot
    be said. `times_limit` says of a failure without numbers how many times its limit the lower
    bound is at least. `remedy` is the one cheapest thing that would decide it; None where it is
    decided, and where the reason alone says what to do. `roc` and `standing_out` are None where the
    attack ranks no patients, and where their steps could give a count away. `q_from` says what a
    patient's q was had from, where the attack has one: how likely the model was to name the class
    at each step, or the continuations that named it. `withheld` names the fields that this audience
    does not see because they could be traced to fewer patients than `minCell`.
    """

    can_only_fail: bool = False
    stopped_early: bool | None = False
    verdict: Verdict
    warned: bool = False
    reason: str | None = None
    explanation: str
    bound_side: BoundSide | None = None
    above_none: bool | None = None
    times_limit: int | None = None
    estimate: ReportedEstimate | None
    members: ReportedEstimate | None = None
    nonmembers: ReportedEstimate | None = None
    reported: dict[str, ReportedEstimate] = Field(default_factory=dict)
    q_from: QFrom | None = None
    p_value: float | None = None
    placebo: ReportedEstimate | None = None
    sample: Sample | None
    power: Power | None
    needs: SampleNeeds = SampleNeeds()
    remedy: Remedy | None = None
    roc: list[RocPoint] | None = None
    standing_out: list[StandingOutRow] | None = None
    withheld: list[str] = Field(default_factory=list)
    evidence: list[str]
    citations: list[str]
    waiver: str | None = None


class ApprovalText(JsonModel):
    """One person's consent to a waiver."""

    name: str
    role: str
    on: str


class WaiverReport(JsonModel):
    """A waiver and what became of it; the finding it speaks of keeps its verdict.

    `metric` is None where there is no such cell.
    """

    id: str
    version: str
    sha256: str
    cell: str
    metric: str | None
    status: WaiverStatus
    explanation: str
    ceiling: float
    justification: str
    compensating_controls: list[str]
    requester: str
    approvals: list[ApprovalText]
    ticket: str
    starts_on: str
    expires_on: str


class ControlReport(JsonModel):
    """A control in the policy's words, with the worst verdict among its gating cells.

    `line` is where it stands in the policy's file, or in `file`, where it is inherited whole.
    """

    id: str
    title: str
    attribute_class: str | None
    probe: str
    metric: str
    contrast: Contrast = "nonmembers"
    params: dict[str, Any]
    severity: str
    enforcement: str
    on_inconclusive: str | None
    rationale: str | None
    remediation: list[str]
    citations: list[str]
    verdict: Verdict
    blocks: bool
    line: int | None = None
    file: str | None = None


class PrerequisiteReport(JsonModel):
    """What forbids a release whatever was measured, and what the target's owner declares of it.

    `holds` and what follows are the declaration's, whether or not it counts; None where there is
    none. `document_sha256` is of the document's file, where the owner says so.
    """

    id: str
    title: str
    rationale: str | None = None
    verdict: Literal["pass", "fail", "inconclusive"]
    reason: str | None = None
    explanation: str
    holds: bool | None = None
    declared_by: str | None = None
    declared_on: str | None = None
    document: str | None = None
    document_sha256: str | None = None
    release: str | None = None
    citations: list[str] = Field(default_factory=list)


class AttackerText(JsonModel):
    """An attacker in plain words."""

    id: str
    title: str
    knows: str
    access: str
    gating: bool
    citations: list[str] = Field(default_factory=list)


class AttributeClassText(JsonModel):
    """An attribute class in plain words, and who signed off the codes that it was audited with.

    `review` is `changed` where somebody did, and its codes are others today. `depth` says how many
    who have it no attacker reaches, and `partly_beyond` whether these are more than a few.
    """

    id: str
    title: str
    sensitivity: str | None
    benign: bool
    codes_in_data: int | None
    tokens_watched: int
    review: ReviewState = "draft"
    reviewed_by: str | None = None
    depth: ClassDepth | None = None
    partly_beyond: bool = False


class CitationText(JsonModel):
    """A source, what it is a basis for, whom it addresses, and how what is said of it is known."""

    id: str
    title: str
    basis: str
    jurisdiction: str | None = None
    addressee: str | None = None
    as_of: str | None = None
    seen: Seen | None = None
    every_person: bool = False
    url: str | None = None
    note: str | None = None


class Shortened(JsonModel):
    """What a policy asks less of than the one that it extends, as that one allows.

    `of` is an attacker or a control and `key` what of it; `inherited` was asked for, `asked` is.
    """

    of: str
    key: str
    inherited: int
    asked: int


class PolicyRef(JsonModel):
    """The policy the report speaks of; `file` is the name of its file, without the folder."""

    name: str
    version: str
    sha256: str
    file: str | None = None
    title: str | None = None
    owner: str | None = None
    context: str
    effective_from: str | None = None
    review_by: str | None = None
    adopted: bool = False
    adopted_by: str | None = None
    confidence: float
    min_cell: int = 11
    fail_on: list[str]
    attackers: list[AttackerText]
    shortened: list[Shortened] = Field(default_factory=list)
    attribute_classes: list[AttributeClassText]
    citations: list[CitationText]
    origins: list[Origin] = Field(default_factory=list)


class TokenShares(JsonModel):
    """Of the members' tokens what continuations may tell, what is only scored, and the rest.

    Shared reports say the rest alone, and only `by_windows`: where every member is scored, of
    `minCell` or more. All else hangs on how many have a class, or are scored.
    """

    continued: float | None = Field(ge=0, le=1)
    scored: float | None = Field(ge=0, le=1)
    beyond: float = Field(ge=0, le=1)
    by_windows: bool = False


class TargetRef(JsonModel):
    """The model and the patients the report speaks of; a shared report rounds their numbers.

    `local_vocabularies` are those of the data set that phigate could read, or that claim to be
    known ones, and that the target declares to be its own: no class finds their codes.
    `untold_classes` are classes of which more than a few patients were not asked, because no token
    names what they have.
    """

    name: str
    version: str
    sha256: str
    backend: str
    model_sha256: str
    data_set: str
    members_split: str
    nonmembers_split: str
    assignment: Literal["random", "other"] | None = None
    assigned_by: str | None = None
    local_vocabularies: list[str] = Field(default_factory=list)
    untold_classes: list[str] = Field(default_factory=list)
    token_shares: TokenShares | None = None
    members: int | None
    nonmembers: int | None
    vocabulary_size: int
    context_length: int | None
    unknown_token_share: float
    reference_sha256: str | None = None


class StudyReport(Study):
    """What the target declares of its study; `withheld` names what it declares and is not shown."""

    withheld: list[str] = Field(default_factory=list)


class SignatureReport(JsonModel):
    """A line to sign; `on` is None until somebody has."""

    role: str
    name: str | None = None
    on: str | None = None


class SubmissionReport(JsonModel):
    """What the report is submitted with: as entered, and nothing is judged by it.

    `decision` is what people decided after the verdict, which it does not change.
    """

    id: str
    version: str
    sha256: str
    number: str | None = None
    document_version: str | None = None
    replaces: str | None = None
    decision: str | None = None
    signatures: list[SignatureReport] = Field(default_factory=list)


class SamplingReport(JsonModel):
    """What was drawn, and what did not have to be.

    `by_lot` says that not everybody was looked at, and `members` and `nonmembers` how many stand
    for all; of a class more of those who have it may have been asked. `prompts_left_out` were not
    asked because every cell that wanted them was decided before (sequential sampling);
    `continuations_left_out` are those of prompts that were asked, left out once every outcome was
    known (curtailed sampling), and `continuations_not_needed` of those that were `tested`, where
    fewer told on which side of its threshold a prompt is. Prompts of two models count twice.
    Counts are None for an audience that must not learn how many patients were asked.
    """

    by_lot: bool = False
    members: int | None = None
    nonmembers: int | None = None
    sequential: bool = False
    curtailed: bool = False
    tested: bool = False
    prompts: int | None = 0
    prompts_left_out: int | None = 0
    continuations: int | None = 0
    continuations_left_out: int | None = 0
    continuations_not_needed: int | None = 0
    cells_stopped_early: int | None = 0


class Summary(JsonModel):
    """The decision in numbers and in two sentences; `blocked_by` are ids of cells, worst first.

    `not_claimed` says that no anonymity is claimed, whatever the decision.
    `waived` are ids of cells that only a waiver keeps from blocking, and `waived_until` is the last
    day (UTC) on which all of these waivers are in force.
    """

    exit_code: int
    decision: str
    not_claimed: str = ""
    release_statement: str
    blocked_by: list[str]
    multiplicity_statement: str
    counts: dict[str, int]
    gating_cells: int
    reported_only_cells: int
    sampling: SamplingReport = SamplingReport()
    waived: list[str] = Field(default_factory=list)
    waived_until: str | None = None


class EvidenceRef(JsonModel):
    """A job's evidence: where to find it and what its bytes must hash to.

    `rows` is None for an audience that must not learn how many patients were asked.
    """

    job: str
    kind: str
    title: str
    file: str
    sha256: str
    rows: int | None


class AttemptReport(JsonModel):
    """Which try at releasing this model under this policy it is, by the institution's ledger.

    `confidence` is the level that every bound was held at, each one-sided; `ledger_entry` is the
    SHA-256 of the ledger's line that registers the attempt.
    """

    number: int
    confidence: float
    ledger_entry: str


class Provenance(JsonModel):
    """How the report came about and how to repeat it.

    `attempt` is None where no ledger was kept; the model was then judged as at a first attempt.
    `measured` is when the oldest of its evidence was: a run that is begun again keeps what it has.
    `run_sha256` is of `run.json`, which says when each file was measured. Of `evidence` a shared
    report has the first entry of each kind, as how many there are counts patients; the manifest has
    all.
    """

    phigate_version: str
    plan_sha256: str
    manifest_sha256: str
    run_sha256: str | None = None
    waivers_sha256: str | None = None
    attempt: AttemptReport | None = None
    as_of: str
    seed: int
    environment: dict[str, Any]
    preflight: dict[str, Any]
    started: str | None
    finished: str | None
    measured: str | None = None
    command: str
    evidence: list[EvidenceRef]


class Report(JsonModel):
    """Everything that any format shows.

    `audience` is who may read it: `internal` holds every number, `shared` none that could be traced
    to a few patients. `ranked_by` is the cell by whose score members are counted who stand out.
    """

    schema_version: Literal["1"] = "1"
    verdict: Literal["pass", "fail", "inconclusive", "error"]
    audience: Audience = "internal"
    policy: PolicyRef
    target: TargetRef
    study: StudyReport = StudyReport()
    submission: SubmissionReport | None = None
    summary: Summary
    cells: list[CellReport]
    ranked_by: str | None = None
    controls: list[ControlReport]
    prerequisites: list[PrerequisiteReport] = Field(default_factory=list)
    waivers: list[WaiverReport] = Field(default_factory=list)
    admissibility: list[AdmissibilityCheck]
    provenance: Provenance
