"""Put plan, judgement and manifest together as a report; nothing is measured or decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date
from typing import Any

from checker.attacks.families import Power
from checker.canonical import sha256_hex
from checker.errors import EvidenceError, ExitCode
from checker.evidence import Manifest, RunTimes
from checker.ledger import Attempt
from checker.planning import at_attempt
from checker.planning.cells import metric_of, planned_confidence
from checker.planning.learned_splits import ranking_cells
from checker.planning.model import AuditPlan, BaseCell, Cell
from checker.planning.remedies import Remedy, remedy
from checker.planning.sample_size import sample_needed
from checker.policy import ResolvedAttacker, resolve_attacker
from checker.policy.class_review import ReviewState, review_state
from checker.policy.classes import pooled
from checker.policy.documents import AuditTarget, LeakagePolicy, PolicyClassSpec, PolicySpec
from checker.policy.documents.elements import PolicyMetadata
from checker.policy.prerequisites import PrerequisiteFinding
from checker.policy.waivers import WaiverRecord, WaiverUse
from checker.report.claims import anonymity_words, with_claims
from checker.report.model import (
    ApprovalText,
    AttackerText,
    AttemptReport,
    AttributeClassText,
    BoundSide,
    CellReport,
    CitationText,
    ControlReport,
    EvidenceRef,
    PolicyRef,
    PrerequisiteReport,
    Provenance,
    Report,
    RocPoint,
    SampleNeeds,
    SamplingReport,
    Shortened,
    StandingOutRow,
    StudyReport,
    Summary,
    TargetRef,
    TokenShares,
    WaiverReport,
)
from checker.report.wording.numbers import level_text
from checker.report.wording.times import instant
from checker.stats.estimate import Estimate, ReportedEstimate
from checker.verdict import Finding, Judgement, worst
from checker.version import PHIGATE_VERSION


def assemble_report(
    plan: AuditPlan,
    judgement: Judgement,
    *,
    policy: LeakagePolicy,
    manifest: Manifest,
    times: RunTimes | None,
    as_of: str,
    waivers: WaiverRecord | None = None,
    attempt: Attempt | None = None,
) -> Report:
    """Return the report of a judged run.

    Args:
        plan: what was to be run.
        judgement: what follows from the evidence.
        policy: the policy that was judged against.
        manifest: which evidence there is.
        times: when it was made, where that is known.
        as_of: the time judged for, ISO 8601.
        waivers: the record of what was judged with, in the order of the judgement's waivers.
        attempt: as it was registered in a ledger, and judged.

    Raises:
        EvidenceError: the plan lacks a control of the policy, or a time is no time.
    """
    planned = at_attempt(plan, attempt=attempt.number if attempt else 1)
    power = {cell.id: cell.power for cell in planned.cells}
    target = plan.target.document
    cells = [
        with_claims(
            _cell(
                plan,
                finding,
                policy=policy,
                manifest=manifest,
                power=power[finding.cell.id],
                remedied=remedy(planned, finding.cell, finding.reason, _estimate(finding))
                if finding.verdict == "inconclusive"
                else None,
            )
        )
        for finding in judgement.findings
    ]
    summary = _summary(plan, judgement, manifest)
    return Report(
        verdict=judgement.verdict,
        policy=_policy_ref(plan, policy, target, today=instant(as_of).astimezone(UTC).date()),
        target=_target_ref(plan, target, min_cell=policy.spec.parameters.min_cell),
        study=StudyReport(**dict(target.spec.study)),
        summary=summary.model_copy(update={"not_claimed": anonymity_words(cells)}),
        cells=cells,
        ranked_by=_ranked_by(plan, cells),
        controls=_controls(plan, policy, judgement),
        prerequisites=[_prerequisite(one) for one in judgement.prerequisites],
        waivers=_waivers(judgement, waivers),
        admissibility=list(judgement.checks),
        provenance=_provenance(
            plan, manifest, times, as_of, waivers, _attempt(judgement, attempt) if attempt else None
        ),
    )


def _ranked_by(plan: AuditPlan, cells: Iterable[CellReport]) -> str | None:
    """Choose among the cells that count who stands out as `standing-out.csv` does."""
    counted = {cell.id for cell in cells if cell.standing_out}
    return next((cell.id for cell in ranking_cells(plan) if cell.id in counted), None)


def _attempt(judgement: Judgement, attempt: Attempt) -> AttemptReport:
    return AttemptReport(
        number=attempt.number, confidence=judgement.confidence, ledger_entry=attempt.sha256
    )


def _reported(estimate: Estimate | None) -> ReportedEstimate | None:
    return None if estimate is None else estimate.reported()


def _estimate(finding: Finding) -> ReportedEstimate | None:
    return _reported(finding.measurement.estimate if finding.measurement else None)


def _has_stopped(plan: AuditPlan, manifest: Manifest, finding: Finding) -> bool:
    """Whether a cell was decided before all its patients were drawn."""
    drawn = finding.measurement is not None
    return plan.sequential and drawn and not set(finding.cell.jobs).isdisjoint(manifest.left_out)


def _needs(plan: AuditPlan, policy: LeakagePolicy, cell: Cell) -> SampleNeeds:
    """Say how many patients would decide a cell; that depends on the policy alone."""
    metric = metric_of(cell)
    at_all, likely = sample_needed(
        metric,
        cell.limit,
        confidence=planned_confidence(
            metric, cell.limit, sequential=plan.sequential, confidence=plan.confidence
        ),
        base_rate=policy.spec.parameters.expected_base_rate,
    )
    return SampleNeeds(at_all=at_all, likely=likely)


_OF_FINDING = ("verdict", "warned", "reason", "explanation", "p_value", "waiver")
_OF_CONTROL = (
    "title", "attribute_class", "probe", "metric", "contrast", "severity", "enforcement",
    "on_inconclusive", "rationale", "remediation",
)  # fmt: skip
"""Fields that a report takes over as they are."""


def _cell(
    plan: AuditPlan,
    finding: Finding,
    *,
    policy: LeakagePolicy,
    manifest: Manifest,
    power: Power,
    remedied: Remedy | None,
) -> CellReport:
    cell, measurement = finding.cell, finding.measurement
    estimate = measurement.estimate if measurement else None
    return CellReport(
        **{name: getattr(cell, name) for name in BaseCell.model_fields},
        can_only_fail=not metric_of(cell).can_pass,
        stopped_early=_has_stopped(plan, manifest, finding),
        **{name: getattr(finding, name) for name in _OF_FINDING},
        bound_side=_bound_side(estimate, cell.limit.fail),
        estimate=_reported(estimate),
        members=_reported(measurement.members if measurement else None),
        nonmembers=_reported(measurement.nonmembers if measurement else None),
        reported={
            name: beside.reported()
            for name, beside in (measurement.reported if measurement else {}).items()
        },
        q_from=measurement.q_from if measurement else None,
        placebo=_reported(finding.placebo),
        sample=cell.sample,
        power=power,
        needs=_needs(plan, policy, cell),
        remedy=remedied,
        roc=[RocPoint(fpr=fpr, tpr=tpr.value, low=tpr.low, high=tpr.high)
             for fpr, tpr in finding.roc] or None,
        standing_out=[StandingOutRow(**asdict(row)) for row in finding.standing_out] or None,
        evidence=cell.judged_from,
        citations=list(policy.spec.controls[cell.control].cites),
    )  # fmt: skip


def _bound_side(estimate: Estimate | None, limit: float | None) -> BoundSide | None:
    """Say on which side of its limit an interval lies, or that the limit lies inside it."""
    if estimate is None or limit is None:
        return None
    if estimate.low > limit:
        return "beyond"
    return "within" if estimate.high <= limit else "straddles"


def _waivers(judgement: Judgement, record: WaiverRecord | None) -> list[WaiverReport]:
    metrics = {finding.cell.id: finding.cell.metric for finding in judgement.findings}
    snapshots = record.waivers if record else []
    return [
        WaiverReport(
            id=use.waiver.metadata.name,
            version=use.waiver.metadata.version,
            sha256=snapshot.sha256,
            cell=use.waiver.cell,
            metric=metrics.get(use.waiver.cell),
            status=use.status,
            explanation=use.explanation,
            ceiling=use.waiver.spec.ceiling,
            justification=use.waiver.spec.justification,
            compensating_controls=list(use.waiver.spec.compensating_controls),
            requester=use.waiver.spec.requester.name,
            approvals=[
                ApprovalText(name=one.name, role=one.role, on=one.on.isoformat())
                for one in use.waiver.spec.approvals
            ],
            ticket=use.waiver.spec.ticket,
            starts_on=use.waiver.spec.starts_on.isoformat(),
            expires_on=use.waiver.spec.expires_on.isoformat(),
        )
        for use, snapshot in zip(judgement.waivers, snapshots, strict=True)
    ]


def _prerequisite(found: PrerequisiteFinding) -> PrerequisiteReport:
    declared = found.declaration
    return PrerequisiteReport(
        id=found.name,
        title=found.spec.title,
        rationale=found.spec.rationale,
        verdict=found.verdict,
        reason=found.reason,
        explanation=found.explanation,
        holds=declared.holds if declared else None,
        declared_by=declared.by if declared else None,
        declared_on=declared.on.isoformat() if declared else None,
        document=declared.document if declared else None,
        document_sha256=declared.document_sha256 if declared else None,
        release=declared.release if declared else None,
        citations=list(found.spec.cites),
    )


def _controls(plan: AuditPlan, policy: LeakagePolicy, judgement: Judgement) -> list[ControlReport]:
    reports = []
    for name, control in policy.spec.controls.items():
        findings = [f for f in judgement.findings if f.cell.control == name]
        if not findings:
            raise EvidenceError(f"plan.json: has no cell of {name}, which its policy asks for")
        deciding = [f for f in findings if f.cell.gating] or findings
        reports.append(
            ControlReport(
                id=name,
                **{field: getattr(control, field) for field in _OF_CONTROL},
                params=findings[0].cell.params,
                citations=list(control.cites),
                verdict=worst(f.verdict for f in deciding),
                blocks=any(f.blocks for f in findings),
                line=plan.policy.lines.get(name),
                file=plan.policy.files.get(name),
            )
        )
    return reports


def _sampling(plan: AuditPlan, judgement: Judgement, manifest: Manifest) -> SamplingReport:
    """Count what was drawn of the plan's continuations, and what did not have to be."""
    rollouts = plan.jobs_of("rollouts")
    drawn = {entry.job: entry.rows for entry in manifest.entries}
    planned = {job.digest: job.inputs["count"] * job.inputs["samples"] for job in rollouts}
    lot = plan.data.lot if plan.data.drawn is not None else (None, None)
    tested = {job.digest for job in rollouts if "thresholdTest" in job.inputs}
    left_out = {name: planned[name] - rows for name, rows in drawn.items() if name in planned}
    return SamplingReport(
        by_lot=any({"lot", "drawn"} & job.inputs.keys() for job in plan.jobs),
        members=lot[0],
        nonmembers=lot[1],
        sequential=plan.sequential,
        curtailed=any("curtailed" in job.inputs for job in rollouts),
        tested=bool(tested),
        prompts=sum(job.inputs["count"] for job in rollouts),
        prompts_left_out=sum(
            job.inputs["count"] for job in rollouts if job.digest in manifest.left_out
        ),
        continuations=sum(planned.values()),
        continuations_left_out=sum(n for name, n in left_out.items() if name not in tested),
        continuations_not_needed=sum(n for name, n in left_out.items() if name in tested),
        cells_stopped_early=sum(_has_stopped(plan, manifest, f) for f in judgement.findings),
    )


def _summary(plan: AuditPlan, judgement: Judgement, manifest: Manifest) -> Summary:
    findings = judgement.findings
    gating = [finding for finding in findings if finding.cell.gating]
    counts = {
        verdict: sum(finding.verdict == verdict for finding in gating)
        for verdict in ("pass", "fail", "inconclusive", "not_applicable", "error")
    }
    confidence = level_text(judgement.confidence)
    applied = [use for use in judgement.waivers if use.status == "applied"]
    tested = sum(finding.is_tested for finding in findings)
    return Summary(
        exit_code=int(judgement.exit_code),
        decision=_decision(judgement, applied),
        blocked_by=[
            finding.cell.id
            for finding in sorted(
                (f for f in findings if f.blocks), key=lambda f: f.verdict != "fail"
            )
        ],
        release_statement=(
            f"A pass claims that every one of the {len(gating)} deciding tests is within its limit;"
            f" each was judged at {confidence} confidence, and all must pass, so no correction for"
            " their number is needed."
        ),
        multiplicity_statement=(
            "Naming the tests that fail is another claim: a test is named a failure only if it is"
            f" beyond its limit after Holm's correction over the {tested} tests that were measured,"
            f" so that with {confidence} confidence none is named wrongly."
        ),
        counts=counts,
        gating_cells=len(gating),
        reported_only_cells=len(findings) - len(gating),
        sampling=_sampling(plan, judgement, manifest),
        waived=[finding.cell.id for finding in findings if finding.waiver],
        waived_until=_last_day(applied),
    )


def _decision(judgement: Judgement, applied: Sequence[WaiverUse]) -> str:
    """Say what follows, in a sentence."""
    if judgement.verdict == "pass" and applied:
        many = f"{len(applied)} waivers" if len(applied) > 1 else "a waiver"
        return (
            f"The model may be released under this policy by {many}, until the end of"
            f" {_last_day(applied)} (UTC)."
        )
    if judgement.verdict == "error" and judgement.exit_code is ExitCode.USAGE:
        return "A waiver does not hold; until it is withdrawn or mended the model is not released."
    if judgement.verdict == "inconclusive" and not any(f.cell.gating for f in judgement.findings):
        # unless a prerequisite decides, which says so itself
        return "None of the policy's tests decides; the model is not released because of them."
    return {
        "pass": "The model may be released under this policy.",
        "fail": "The model must not be released under this policy.",
        "inconclusive": "The evidence does not decide; the model is not released.",
        "error": "The audit could not be completed; the model is not released.",
    }[judgement.verdict]


def _last_day(applied: Sequence[WaiverUse]) -> str | None:
    days = [use.waiver.spec.expires_on for use in applied]
    return min(days).isoformat() if days else None


def _policy_ref(
    plan: AuditPlan, policy: LeakagePolicy, target: AuditTarget, *, today: date
) -> PolicyRef:
    meta, spec = policy.metadata, policy.spec
    return PolicyRef(
        name=meta.name,
        version=meta.version,
        sha256=plan.policy.sha256,
        file=plan.policy.file,
        origins=plan.policy.origins,
        title=meta.title,
        owner=meta.owner,
        context=spec.context,
        effective_from=meta.effective_from.isoformat() if meta.effective_from else None,
        review_by=meta.review_by.isoformat() if meta.review_by else None,
        adopted=meta.is_adopted(as_of=today),
        adopted_by=_adopted_by(meta),
        confidence=spec.parameters.confidence,
        min_cell=spec.parameters.min_cell,
        fail_on=list(spec.gate.fail_on),
        attackers=[
            _attacker(resolve_attacker(spec, name), fields=_fields(target))
            for name in spec.attackers
        ],
        shortened=list(_shortened(spec)),
        attribute_classes=[
            AttributeClassText(
                id=name,
                title=_class_title(spec, name),
                sensitivity=attribute_class.sensitivity,
                benign=attribute_class.benign,
                review=_review(attribute_class, spec, today),
                reviewed_by=_reviewed_by(attribute_class),
                codes_in_data=plan.classes[name].codes_in_data if name in plan.classes else 0,
                tokens_watched=len(plan.classes[name].watch) if name in plan.classes else 0,
                **_depth(plan, name, min_cell=spec.parameters.min_cell),
            )
            for name, attribute_class in spec.attribute_classes.items()
        ],
        citations=[
            CitationText(id=name, **citation.model_dump(mode="json", by_alias=False))
            for name, citation in spec.citations.items()
        ],
    )


def _adopted_by(meta: PolicyMetadata) -> str | None:
    """Say who adopted a policy, and when; of another version as well, which is then named."""
    found = meta.adopted
    if found is None:
        return None
    who = ", ".join(part for part in (found.by, found.role, found.document) if part)
    return f"{who}, {found.on.isoformat()}, version {found.version}"


def _review(attribute_class: PolicyClassSpec, spec: PolicySpec, today: date) -> ReviewState:
    """Say whether a class is signed off by a day; what is to be signed later is a draft."""
    held = [
        spec.attribute_classes[name].reviewed
        for name in attribute_class.any_of or []
        if name in spec.attribute_classes
    ]
    signed = [one for one in (attribute_class.reviewed, *held) if one is not None]
    if any(one.date > today for one in signed):
        return "draft"
    return review_state(attribute_class, spec.attribute_classes)


def _reviewed_by(spec: PolicyClassSpec) -> str | None:
    found = spec.reviewed
    if found is None:
        return None
    return f"{found.by}, {found.role}, {found.date.isoformat()}, version {found.version}"


def _shortened(spec: PolicySpec) -> Iterator[Shortened]:
    for name, attacker in spec.attackers.items():
        for key, inherited in attacker.shortened.items():
            asked = getattr(attacker.knows, key)
            yield Shortened(of=name, key=f"knows.{key}", inherited=inherited, asked=asked)
    for name, control in spec.controls.items():
        for key, inherited in control.shortened.items():
            yield Shortened(of=name, key=key, inherited=inherited, asked=control.params[key])


def _fields(target: AuditTarget) -> list[str]:
    tokenization = target.spec.tokenization
    return [*(["age"] if tokenization.age else []), *tokenization.static]


def _attacker(attacker: ResolvedAttacker, *, fields: list[str]) -> AttackerText:
    knows, static = attacker.knows.in_words(), attacker.knows.static or []
    tried = [field for field in fields if field not in static]
    if static != "all" and attacker.knows.includes_events and tried:
        knows += f" (and tries out {', '.join(tried)})"
    return AttackerText(
        id=attacker.name,
        title=attacker.title,
        knows=knows,
        access=attacker.access,
        gating=attacker.gating,
        citations=list(attacker.cites),
    )


def _target_ref(plan: AuditPlan, target: AuditTarget, *, min_cell: int) -> TargetRef:
    return TargetRef(
        name=target.metadata.name,
        version=target.metadata.version,
        sha256=plan.target.sha256,
        backend=target.spec.model.backend,
        model_sha256=plan.target.model_sha256,
        data_set=plan.data.name,
        members_split=target.spec.data.members,
        nonmembers_split=target.spec.data.nonmembers,
        assignment=target.spec.data.assignment,
        assigned_by=target.spec.data.assigned_by,
        local_vocabularies=sorted(
            {one.vocabulary for one in plan.data.unread if one.problem == "declared"}
        ),
        untold_classes=sorted(
            {
                name
                for pool, found in plan.classes.items()
                for name, own in (found.parts or {pool: found}).items()
                if own.is_partly_untold(min_cell=min_cell)
            }
        ),
        token_shares=token_shares(plan, min_cell=min_cell),
        members=plan.data.members,
        nonmembers=plan.data.nonmembers,
        vocabulary_size=plan.target.vocabulary_size,
        context_length=plan.target.context_length,
        unknown_token_share=plan.data.unknown_share,
        reference_sha256=plan.target.reference_sha256,
    )


def _class_title(spec: PolicySpec, name: str) -> str:
    """Return what a class is called, and that more than its own codes counts as telling it."""
    own = pooled(spec.attribute_classes, name).values()
    counted = ", its proxies counted" if any(one.count_proxies for one in own) else ""
    return f"{spec.attribute_classes[name].title}{counted}"


def _depth(plan: AuditPlan, class_name: str, *, min_cell: int) -> dict[str, Any]:
    found = plan.depth.classes.get(class_name)
    if found is None:
        return {}
    return {"depth": found, "partly_beyond": found.is_partly_beyond(min_cell=min_cell)}


def token_shares(plan: AuditPlan, *, min_cell: int) -> TokenShares | None:
    """Return which part of the members' tokens is looked at; None of no tokens."""
    found = plan.depth.tokens
    if found is None or found.shares is None:
        return None
    continued, scored, beyond = found.shares
    by_windows = found.by_windows and found.members >= min_cell
    return TokenShares(continued=continued, scored=scored, beyond=beyond, by_windows=by_windows)


def _provenance(
    plan: AuditPlan,
    manifest: Manifest,
    times: RunTimes | None,
    as_of: str,
    waivers: WaiverRecord | None,
    attempt: AttemptReport | None,
) -> Provenance:
    titles = {job.digest: job.title for job in plan.jobs}
    oldest = times.oldest(manifest.entries) if times else None
    return Provenance(
        phigate_version=PHIGATE_VERSION,
        plan_sha256=plan.sha256,
        manifest_sha256=sha256_hex(manifest.to_bytes()),
        run_sha256=sha256_hex(times.to_bytes()) if times else None,
        waivers_sha256=sha256_hex(waivers.to_bytes()) if waivers else None,
        attempt=attempt,
        as_of=as_of,
        seed=plan.seed,
        environment=manifest.environment,
        preflight=manifest.preflight,
        started=times.started if times else None,
        finished=times.finished if times else None,
        measured=oldest.isoformat(timespec="seconds") if oldest else None,
        command=times.command if times else "",
        evidence=[
            EvidenceRef(title=titles.get(entry.job, entry.kind), **entry.model_dump())
            for entry in manifest.entries
        ],
    )
