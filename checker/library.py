"""phigate as a library: what its commands do, as functions.

    from checker import audit, load_policy, load_target, plan

    planned = plan(load_policy("policy.yaml"), load_target("target.yaml"))
    report = audit(planned, out="runs/release-candidate")
    print(report.verdict, report.summary.exit_code)

`plan` reads the patients and says what can be decided, and runs no model; `audit` runs what is
left of it, judges and writes the report; `judge` judges a run's evidence again; `verify` checks a
run against its own report. Errors are those of `checker.errors`. A failed audit is a result and no
exception.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from checker import clock
from checker import policy as documents
from checker.evidence import Manifest
from checker.ledger import Attempt, load_attempt, record_attempt, record_verdict, register_attempt
from checker.planning import AuditPlan
from checker.policy import Located
from checker.policy.documents import AuditTarget, LeakagePolicy, LeakageWaiver
from checker.policy.waivers import check_waivers
from checker.report.model import Audience, Report
from checker.run import target_examination
from checker.run.belonging import check_apart, check_belongs
from checker.run.measured import require_dated, require_measurable, require_measured
from checker.run.prepare import Prepared, prepare_documents
from checker.run.running import RunProgress, run_audit
from checker.run.stored import (
    derive_run,
    judge_run,
    load_run,
    load_waivers,
    record_waivers,
    replace_reports,
)
from checker.run.target_examination import TargetExamination
from checker.verification import Statement, verify_run

if TYPE_CHECKING:  # cryptography and executors are loaded only where they are used
    from securesystemslib.signer import Key

    from checker.run.executors import Executor

Policy = Located[LeakagePolicy]
"""A valid, resolved policy, with the files and lines it came from."""

Target = Located[AuditTarget]
"""A valid target, with its file and lines."""

Waiver = Located[LeakageWaiver]
"""A valid waiver, with its file and lines."""

DEFAULT_FORMATS = ("json",)


def load_policy(path: str | Path) -> Policy:
    """Read a policy as it is judged by: complete, with nothing left to extend.

    Args:
        path: a file, or the name and version of a shipped policy, such as "baseline-gated@1".

    Raises:
        DocumentError: with all problems, each with its line.
    """
    return documents.load_policy(Path(path))


def load_target(path: str | Path) -> Target:
    """Read a target; paths in it are relative to its file.

    Raises:
        DocumentError: with all problems, each with its line.
    """
    return documents.load_target(Path(path))


def read_waivers(paths: Sequence[str | Path]) -> list[Waiver]:
    """Read all waivers that some files hold.

    Raises:
        DocumentError: with all problems, or a file holds no waiver.
    """
    return documents.load_all(LeakageWaiver, [Path(path) for path in paths])


def plan(policy: Policy, target: Target, *, device: str | None = None) -> Prepared:
    """Compile an audit: read the patients, and say what can be decided; no model is loaded.

    Args:
        policy: the demands.
        target: the model, its tokenization and its patients.
        device: overrides the target's `model.device`.

    Returns:
        The audit, ready to run. Its `plan` has cells with their sample and power, jobs and cost.

    Raises:
        DocumentError: the two do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the model's folder cannot be used.
    """
    return prepare_documents(policy, target, device=device)


def examine_target(
    target: Target, *, policy: Policy | None = None, device: str | None = None
) -> TargetExamination:
    """Check a model against itself and against its description, as every audit does first.

    Args:
        target: the model, its tokenization and its patients.
        policy: whose prompts and horizons decide how long the compared sequences are; without one
            they are as long as the records.
        device: overrides the target's `model.device`.

    Returns:
        What was shown, what could not be, and what is wrong.

    Raises:
        DocumentError: policy and target do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the model cannot be opened, or fails at what it is asked.
    """
    return target_examination.examine_target(target, policy=policy, device=device)


def collect(
    planned: Prepared,
    *,
    out: str | Path,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    progress: RunProgress | None = None,
    command: str | None = None,
    fresh: bool = False,
) -> Manifest:
    """Run what is left of an audit and keep the evidence, without judging.

    Args:
        planned: as from `plan`.
        out: the run's folder; made when it is not there. Where it holds this plan's run, finished
            jobs are not run again. Another plan's of which nothing was measured is emptied, with
            its log, and a `PhigateWarning` says so. What holds anything else is refused.
        ledger: an institution's ledger, in which the attempt is registered before the model is
            asked anything.
        executor: where jobs run; by default one after another in this process. It is closed.
        progress: is told what happens; by default nobody is.
        command: the command line that repeats the run, for the record; by default that of
            `phigate check`.
        fresh: forget what an earlier run left in the folder and measure everything anew.

    Raises:
        EvidenceError: the folder cannot be written, is another run's that has measured something,
            or holds anything else, or evidence in it was changed.
        TargetError: the model cannot be loaded or fails preflight.
        ExecutorError: there is nowhere to run; finished jobs are kept.
    """
    folder = Path(out)
    _check_folder(planned, folder, fresh=fresh)
    attempt = _attempt(ledger, plan=planned.plan, folder=folder)
    return _run(planned, folder, attempt, executor, progress, command, fresh=fresh)


def audit(
    planned: Prepared,
    *,
    out: str | Path,
    waivers: Sequence[Waiver] = (),
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    progress: RunProgress | None = None,
    command: str | None = None,
    fresh: bool = False,
    as_of: datetime | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    audience: Audience = "shared",
) -> Report:
    """Run what is left of an audit, judge it and write its reports.

    Args:
        planned: as from `plan`.
        out: the run's folder, as for `collect`.
        waivers: exceptions that were granted; what cannot hold is refused before anything is run.
        ledger: as for `collect`; the verdict is added to it.
        executor: as for `collect`.
        progress: as for `collect`.
        command: as for `collect`.
        fresh: as for `collect`.
        as_of: the time to judge for, with a time zone, not before the newest measurement; default:
            now.
        formats: names of report formats to write; "json" is what `verify` reads.
        audience: who may read them.

    Returns:
        The whole report, with every number, whatever its audience may see.

    Raises:
        PhigateError: what `collect` raises, or a waiver or format is none.
        UsageError: `as_of` is before the newest measurement.
    """
    folder = Path(out)
    if as_of is not None:
        require_measurable(planned.plan, folder, as_of=as_of, now=_now(), fresh=fresh)
    _check_waivers(waivers, policy=planned.policy.document, plan=planned.plan, as_of=as_of)
    _check_folder(planned, folder, fresh=fresh)
    attempt = _attempt(ledger, plan=planned.plan, folder=folder)
    _run(planned, folder, attempt, executor, progress, command, fresh=fresh)
    record = record_waivers(folder, waivers)
    report = judge_run(load_run(folder), as_of=as_of or _now(), waivers=record, attempt=attempt)
    _remember(ledger, attempt, plan=planned.plan, report=report)
    replace_reports(folder, report, formats=formats, audience=audience)
    return report


def judge(
    run: str | Path,
    *,
    policy: Policy | None = None,
    waivers: Sequence[Waiver] | None = None,
    ledger: str | Path | None = None,
    as_of: datetime | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    audience: Audience = "shared",
) -> Report:
    """Judge a run's evidence again, without the model, and write its reports.

    Args:
        run: the run's folder.
        policy: another policy to judge by, in a folder below the run's; default: its own.
        waivers: exceptions that were granted; None for those that the run was judged with before.
        ledger: an institution's ledger, in which the attempt is registered.
        as_of: the time to judge for, with a time zone, not before the newest measurement; default:
            now.
        formats: names of report formats to write.
        audience: who may read them.

    Raises:
        EvidenceError: evidence is missing or was changed.
        DocumentError: a waiver cannot hold.
        UsageError: `as_of` is before the newest measurement.
    """
    folder, report = judged(run, policy=policy, waivers=waivers, ledger=ledger, as_of=as_of)
    replace_reports(folder, report, formats=formats, audience=audience)
    return report


def judged(
    run: str | Path,
    *,
    policy: Policy | None = None,
    waivers: Sequence[Waiver] | None = None,
    ledger: str | Path | None = None,
    as_of: datetime | None = None,
) -> tuple[Path, Report]:
    """Judge a run as `judge` does; return the folder its reports belong into, and the report."""
    found = load_run(Path(run))
    if policy is not None:
        found = derive_run(found, policy)
    if as_of is not None:
        require_measured(found.manifest, found.times, as_of=as_of)
        require_dated(found.manifest, found.times, as_of=as_of, now=_now())
    attempt = _attempt(ledger, plan=found.plan, folder=found.folder)
    if attempt is not None:
        record_attempt(found.folder, attempt)
    if waivers is None:
        record = load_waivers(found.folder)
    else:
        _check_waivers(waivers, policy=found.policy, plan=found.plan, as_of=as_of)
        record = record_waivers(found.folder, waivers) if waivers else None
    report = judge_run(found, as_of=as_of or _now(), waivers=record, attempt=attempt)
    _remember(ledger, attempt, plan=found.plan, report=report)
    return found.folder, report


def verify(
    run: str | Path,
    *,
    keys: Sequence[Key] = (),
    attestation: str | Path | None = None,
    ledger: str | Path | None = None,
    model: str | Path | None = None,
    policy: str | Path | None = None,
    as_of: datetime | None = None,
) -> list[Statement]:
    """Check a run against its own report: every digest, every verdict, the signature.

    Args:
        run: the run's folder.
        keys: public keys, each of which must have signed (`checker.attestation.load_public_key`).
        attestation: where the signature is; default: with the run.
        ledger: the institution's, in which the attempt must stand.
        model: the model's folder, which must be the one that was audited.
        policy: the institution's policy file, which must be what the run was judged by.
        as_of: also ask whether the verdict still holds at this time.

    Returns:
        Statements in the order they were checked. The run is verified when none of them has
        `holds` False; None says that something was not looked at.

    Raises:
        EvidenceError: the run has no report that could be read at all.
        DocumentError: the policy is none.
    """
    return verify_run(
        Path(run),
        as_of=as_of,
        keys=keys,
        attestation=_path(attestation),
        ledger=_path(ledger),
        model=_path(model),
        policy=_path(policy),
    )


# --- what audit and judge share -----------------------------------------------------------------


def _run(
    planned: Prepared,
    folder: Path,
    attempt: Attempt | None,
    executor: Executor | None,
    progress: RunProgress | None,
    command: str | None,
    *,
    fresh: bool,
) -> Manifest:
    return run_audit(
        planned.audit,
        run=folder,
        open_target=planned.open_target,
        open_reference=planned.open_reference,
        executor=executor,
        progress=progress,
        command=command or _command(planned, folder),
        attempt=attempt,
        fresh=fresh,
    )


def _check_folder(planned: Prepared, folder: Path, *, fresh: bool) -> None:
    """Refuse a folder that is not this run's before an attempt is registered for it."""
    for model in planned.model_paths:
        check_apart(folder, model)
    check_belongs(folder, planned.plan, fresh=fresh)


def _attempt(ledger: str | Path | None, *, plan: AuditPlan, folder: Path) -> Attempt | None:
    """Register an attempt before anything is asked of a model, or take what a run was before."""
    if ledger is not None:
        return register_attempt(Path(ledger), plan=plan, at=_now())
    known = load_attempt(folder)
    return known if known is not None and known.speaks_of(plan) else None


def _remember(
    ledger: str | Path | None, attempt: Attempt | None, *, plan: AuditPlan, report: Report
) -> None:
    """Add the verdict to the ledger, where one is kept."""
    if ledger is not None and attempt is not None:
        record_verdict(
            Path(ledger),
            attempt=attempt,
            plan=plan,
            manifest_sha256=report.provenance.manifest_sha256,
            waivers_sha256=report.provenance.waivers_sha256,
            verdict=report.verdict,
            as_of=report.provenance.as_of,
            at=_now(),
        )


def _check_waivers(
    waivers: Sequence[Waiver], *, policy: LeakagePolicy, plan: AuditPlan, as_of: datetime | None
) -> None:
    """Refuse what cannot hold before anything is measured."""
    check_waivers(
        waivers,
        policy=policy,
        policy_sha256=plan.policy.sha256,
        as_of=as_of or _now(),
        model_sha256=plan.target.model_sha256,
        cells=[cell.id for cell in plan.cells],
    )


def _command(planned: Prepared, folder: Path) -> str:
    parts = ["phigate", "check", planned.policy.file, planned.target.file, "--out", str(folder)]
    return shlex.join(parts)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _now() -> datetime:
    return clock.current_time()
