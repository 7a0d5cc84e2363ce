"""All cells of a plan: judged one by one, corrected for their number, and waivers applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from checker import stats
from checker.planning.model import AuditPlan
from checker.policy.documents import LeakagePolicy, LeakageWaiver
from checker.policy.prerequisites import prerequisite_findings
from checker.policy.waivers import use_waivers
from checker.verdict.admissibility import admissibility_checks
from checker.verdict.cell_judge import CellJudge
from checker.verdict.declared_privacy import privacy_check
from checker.verdict.direction import direction_of
from checker.verdict.draws import draws_check
from checker.verdict.finding import Finding, Judgement, overall_verdict
from checker.verdict.reference_check import reference_check
from checker.verdict.registration import beyond_any_ceiling, without_passes


def judge(
    policy: LeakagePolicy,
    *,
    plan: AuditPlan,
    evidence: Mapping[str, pa.Table],
    waivers: Sequence[LeakageWaiver] = (),
    crashed: Mapping[str, str] | None = None,
    measured_at: datetime | None = None,
    attempt: int = 1,
    registered: bool = False,
    as_of: datetime,
) -> Judgement:
    """Judge the evidence of a plan against a policy.

    Args:
        policy: the demands; the plan's cells carry its limits (`checker.planning.with_policy` puts
            another policy's limits over the same measurements).
        plan: what was to be run.
        evidence: observations by job digest; what is missing was not run.
        waivers: exceptions that were granted; see `checker.policy.waivers`.
        crashed: by job digest, why a job could not be completed.
        measured_at: when the oldest evidence was measured, or None where that is unknown.
        attempt: which try at releasing this model under this policy it is, from 1.
        registered: whether a ledger registered it as that before the model was asked anything;
            under a policy that requires a ledger nothing else passes.
        as_of: the time to judge for.

    Returns:
        A finding for every cell. Equal arguments give equal findings, years later too.

    Raises:
        UsageError: there is no such attempt.
    """
    confidence = stats.attempt_confidence(plan.confidence, attempt=attempt)
    checks = admissibility_checks(
        plan,
        evidence,
        tolerance=policy.spec.parameters.admissibility_tolerance,
        max_near=policy.spec.parameters.max_near_duplicates,
        confidence=confidence,
        require_expectation=policy.spec.gate.require_expectation,
    )
    drawn, reference = draws_check(plan, evidence), reference_check(plan, evidence)
    private = privacy_check(plan, evidence)
    checks += [check for check in (drawn, reference, private) if check is not None]
    oldest = policy.spec.gate.max_evidence_age
    stale = oldest is not None and (
        measured_at is None or not measured_at <= as_of <= measured_at + oldest
    )
    cell_judge = CellJudge(
        plan=plan,
        evidence=evidence,
        crashed=crashed or {},
        checks={check.name: check for check in checks},
        stale=stale,
        min_cell=policy.spec.parameters.min_cell,
        confidence=confidence,
        placebo_confidence=stats.placebo_confidence(cells=len(plan.cells)),
    )
    findings = _holm([cell_judge.finding(cell) for cell in plan.cells], alpha=1 - confidence)
    direction = direction_of(plan, findings)
    findings = [direction.apply(one) for one in findings]
    checks += direction.checks()
    cells = {cell.id: cell for cell in plan.cells}
    unregistered = policy.spec.gate.require_ledger and not registered
    if unregistered:
        findings = without_passes(findings)

    def beyond_ceiling(cell_id: str, ceiling: float) -> str | None:
        beyond = cell_judge.beyond_ceiling(cell_id, ceiling)
        return direction.beyond_ceiling(cells[cell_id]) if beyond is None else beyond

    uses = use_waivers(
        waivers,
        policy=policy,
        policy_sha256=plan.policy.sha256,
        model_sha256=plan.target.model_sha256,
        as_of=as_of,
        blocking={finding.cell.id: finding.blocks for finding in findings},
        excess=beyond_any_ceiling if unregistered else beyond_ceiling,
    )
    applied = {use.waiver.cell: use.waiver.metadata.name for use in uses if use.status == "applied"}
    findings = [replace(one, waiver=applied.get(one.cell.id)) for one in findings]
    prerequisites = prerequisite_findings(
        policy.spec,
        plan.target.document.spec,
        model_sha256=plan.target.model_sha256,
        as_of=as_of,
    )
    verdict = overall_verdict(
        findings,
        waiver_errors=any(use.is_error for use in uses),
        prerequisites=prerequisites,
    )
    return Judgement(
        verdict, tuple(findings), tuple(checks), tuple(uses), confidence, prerequisites
    )


def _holm(findings: list[Finding], *, alpha: float) -> list[Finding]:
    """Keep as *fail* what Holm's procedure still names; the rest exceeds only uncorrected."""
    tested = [i for i, finding in enumerate(findings) if finding.is_tested]
    # a cell that is not beyond its limit has some p above α: which one changes nothing
    p_values = [1.0 if (p := findings[i].p_value) is None else p for i in tested]
    named = stats.holm(p_values, alpha=alpha)
    result = list(findings)
    for i, still in zip(tested, named, strict=True):
        if findings[i].verdict == "fail" and not still:
            result[i] = replace(
                findings[i],
                verdict="inconclusive",
                reason="exceeds-uncorrected",
                explanation=f"{findings[i].explanation} After Holm's correction over"
                f" {len(tested)} cells it can no longer be named a failure.",
            )
    return result


def settled_cells(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, attempt: int = 1
) -> set[str]:
    """Return the ids of cells that the evidence so far decides, though not all of it is drawn.

    A confidence sequence holds at every number of patients at once, so looking after each batch
    costs nothing but the share of the error that it spends.

    Args:
        plan: of a policy that asks for sequential sampling.
        evidence: observations by job digest, as far as they were made.
        attempt: as `judge` will be told; a cell settled at a laxer level would not be decided.
    """
    confidence = stats.attempt_confidence(plan.confidence, attempt=attempt)
    cell_judge = CellJudge(
        plan,
        evidence,
        {},
        {},
        stale=False,
        min_cell=1,
        confidence=confidence,
        placebo_confidence=plan.confidence,
    )
    return {cell.id for cell in plan.cells if cell_judge.settles(cell)}
