"""A run's folder: read it back, judge it, write its reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from checker.attacks.api import columns_of
from checker.canonical import sha256_hex
from checker.errors import DocumentError, EvidenceError, UsageError
from checker.evidence import (
    INTERNAL_REPORTS,
    EvidenceStore,
    Manifest,
    RunTimes,
    load_json_file,
    read_file,
    tables_by_job,
    write_atomically,
)
from checker.ledger import Attempt, load_attempt, record_attempt
from checker.planning import AuditPlan, with_policy
from checker.plugins import load_plugin, plugin_names
from checker.policy import Located, problems_in
from checker.policy.documents import LeakagePolicy, LeakageWaiver, Submission
from checker.policy.waivers import WaiverRecord, WaiverSnapshot
from checker.report.assemble import assemble_report
from checker.report.comparison import Comparison
from checker.report.disclosure_control import for_audience
from checker.report.formats.api import ReportFormat
from checker.report.formats.json import JSON, load_report
from checker.report.model import Audience, Report
from checker.report.submission import SubmissionRecord, submitted, unfit
from checker.report.trend import Trend
from checker.run.answers import check_answers
from checker.run.belonging import ATTESTATION, COMPARISONS, report_files
from checker.run.measured import require_measured
from checker.run.registration import is_registered
from checker.run.sound_plan import check_plan
from checker.verdict import judge

WAIVERS = "waivers.json"
SUBMISSION = "submission.json"


@dataclass(frozen=True, slots=True)
class Run:
    """What a run's folder holds beside the evidence itself."""

    folder: Path
    plan: AuditPlan
    manifest: Manifest
    times: RunTimes | None

    @property
    def policy(self) -> LeakagePolicy:
        """The plan's own, which is the only one that a run is judged by."""
        return self.plan.policy.document


def load_run(folder: Path) -> Run:
    """Read a run's plan, manifest and times.

    Raises:
        EvidenceError: one of them is missing, the manifest belongs to another plan, or the plan
            holds a policy or a target that is not valid, or does not hang together.
    """
    if not folder.is_dir():
        raise EvidenceError(f"{folder}: is not the folder of a run")
    if not (folder / "plan.json").exists():
        raise EvidenceError(f"{folder}: is not the folder of a run: it holds no plan.json")
    plan = load_json_file(folder / "plan.json", AuditPlan)
    if not (folder / "manifest.json").exists():
        raise EvidenceError(
            f"{folder}: this audit was interrupted before its first job was finished; run the same"
            " command again"
        )
    manifest = load_json_file(folder / "manifest.json", Manifest)
    if manifest.plan_sha256 != sha256_hex(read_file(folder / "plan.json")):
        raise EvidenceError(
            f"{folder}: manifest.json belongs to another plan.json; finish the audit first"
            " (`phigate run`), or restore the plan it was run from"
        )
    times_path = folder / "run.json"
    times = load_json_file(times_path, RunTimes) if times_path.exists() else None
    _check_documents(plan, folder / "plan.json")
    check_plan(plan, folder / "plan.json")
    return Run(folder, plan, manifest, times)


def _check_documents(plan: AuditPlan, path: Path) -> None:
    """Check the policy and the target of a plan as strictly as if they stood in a file.

    Raises:
        EvidenceError: one of them is not valid.
    """
    for document in (plan.target.document, plan.policy.document):
        for problem in problems_in(document, file=str(path)):
            raise EvidenceError(
                f"{path}: holds a {document.kind} that is not valid here at {problem.path}:"
                f" {problem.message}"
            )


def derive_run(run: Run, policy: Located[LeakagePolicy]) -> Run:
    """Put another policy over a run's evidence, as a run of its own that can be verified.

    It is written below the run's folder and refers to the evidence there; nothing is measured. An
    attempt that was registered for the run is also that of another edition of the same policy.

    Raises:
        EvidenceError: its folder cannot be written.
    """
    meta = policy.document.metadata
    folder = run.folder / f"judged-by-{meta.name}-{meta.version}-{policy.identity[:12]}"
    plan = with_policy(run.plan, policy)
    moved = {entry.file: f"../{entry.file}" for entry in run.manifest.entries}
    entries = [
        entry.model_copy(update={"file": moved[entry.file]}) for entry in run.manifest.entries
    ]
    manifest = run.manifest.model_copy(update={"plan_sha256": plan.sha256, "entries": entries})
    times = run.times
    if times is not None:
        measured = {moved[f]: stamp for f, stamp in times.measured.items() if f in moved}
        times = times.model_copy(update={"measured": measured})
        write_atomically(folder / "run.json", times.to_bytes(), mode=0o600)
    write_atomically(folder / "plan.json", plan.to_bytes(), mode=0o600)
    write_atomically(folder / "manifest.json", manifest.to_bytes(), mode=0o600)
    attempt = load_attempt(run.folder)
    if attempt is not None and attempt.speaks_of(plan):
        record_attempt(folder, attempt)
    return Run(folder, plan, manifest, times)


def record_waivers(folder: Path, waivers: Sequence[Located[LeakageWaiver]]) -> WaiverRecord | None:
    """Keep in a run's folder what it is judged with; the record of an earlier judgement goes.

    Raises:
        EvidenceError: the folder cannot be written.
    """
    path = folder / WAIVERS
    if waivers:
        record = WaiverRecord(
            waivers=[WaiverSnapshot(document=one.document, sha256=one.sha256) for one in waivers]
        )
        write_atomically(path, record.to_bytes(), mode=0o600)
        return record
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be deleted: {error.strerror or error}") from error
    return None


def load_waivers(folder: Path) -> WaiverRecord | None:
    """Read what a run was judged with before, or None where no waiver was given.

    Raises:
        EvidenceError: it is not what this version of phigate writes.
    """
    path = folder / WAIVERS
    return load_json_file(path, WaiverRecord) if path.exists() else None


def judge_run(
    run: Run,
    *,
    as_of: datetime,
    waivers: WaiverRecord | None = None,
    attempt: Attempt | None = None,
) -> Report:
    """Judge a run's evidence; no model, GPU or network is needed.

    Args:
        run: the run.
        as_of: the time to judge for.
        waivers: exceptions that were granted.
        attempt: which try at this release it is, by a ledger; None where none was kept, and then
            it is judged as a first one.

    Raises:
        EvidenceError: evidence is missing, was changed, or is no answer to what the plan asks.
        UsageError: the time lies before the newest measurement.
    """
    require_measured(run.manifest, run.times, as_of=as_of)
    plan = run.plan
    granted = [snapshot.document for snapshot in waivers.waivers] if waivers else []
    evidence = tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest)
    check_answers(plan, run.manifest, evidence)
    judgement = judge(
        run.policy,
        plan=plan,
        evidence=evidence,
        waivers=granted,
        crashed=run.manifest.crashed,
        measured_at=run.times.oldest(run.manifest.entries) if run.times else None,
        attempt=attempt.number if attempt else 1,
        registered=is_registered(plan, run.manifest, run.times, attempt),
        as_of=as_of,
    )
    return assemble_report(
        plan,
        judgement,
        policy=run.policy,
        manifest=run.manifest,
        times=run.times,
        as_of=as_of.astimezone(UTC).isoformat(timespec="seconds"),
        waivers=waivers,
        attempt=attempt,
    )


def judge_run_again(run: Run, report: Report, *, as_of: datetime | None = None) -> Report:
    """Judge a run as one of its reports says that it was judged: same waivers, same attempt.

    Args:
        run: the run.
        report: one of its reports.
        as_of: the time to judge for; default: that of the report.

    Raises:
        EvidenceError: the report's time is invalid, or evidence or waivers are missing or changed.
        UsageError: the time lies before the newest measurement.
    """
    if as_of is None:
        try:
            as_of = datetime.fromisoformat(report.provenance.as_of)
        except ValueError as error:
            raise EvidenceError(
                f"{run.folder / 'report.json'}: was judged for an invalid time:"
                f" {report.provenance.as_of}"
            ) from error
    waivers = load_waivers(run.folder) if report.provenance.waivers_sha256 else None
    attempt = load_attempt(run.folder) if report.provenance.attempt else None
    judged = judge_run(run, as_of=as_of, waivers=waivers, attempt=attempt)
    if report.submission is None:
        return judged
    return submitted(judged, load_json_file(run.folder / SUBMISSION, SubmissionRecord))


def report_folder(folder: Path, audience: Audience) -> Path:
    """Return where a run's reports for an audience are; internal ones are kept apart."""
    return folder / INTERNAL_REPORTS if audience == "internal" else folder


def write_reports(
    folder: Path, report: Report, *, formats: Sequence[str], audience: Audience = "shared"
) -> list[Path]:
    """Write a report in each format, as an audience may see it, and return the files.

    What is for the audit team only goes into a folder of its own, readable by its owner alone. The
    shared `report.json` is written in any case: `verify` compares a run with it.

    Args:
        folder: the run's.
        report: as judged, or a shared one as it was read back.
        formats: names of report formats.
        audience: who is to read it.

    Raises:
        PluginError: a format is unknown.
        EvidenceError: a file cannot be written.
    """
    contents = _rendered(folder, report, formats=formats, audience=audience)
    shared = {}
    if audience == "internal":
        shared = _rendered(folder, report, formats=["json"], audience="shared")
    _write(folder, shared | contents)
    return [*contents]


def _rendered(
    folder: Path, report: Report, *, formats: Iterable[str], audience: Audience
) -> dict[Path, bytes]:
    """Return what a report renders to for an audience, by the files that it belongs in."""
    chosen: list[ReportFormat] = [load_plugin("phigate.reports", name) for name in formats]
    shown = for_audience(report, audience)
    return {report_folder(folder, audience) / one.filename: one.render(shown) for one in chosen}


def _write(folder: Path, contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        write_atomically(path, content, mode=0o600 if path.parent != folder else 0o644)


def submit(
    folder: Path,
    located: Located[Submission],
    *,
    formats: Sequence[str],
    audience: Audience = "shared",
    today: date,
) -> list[Path]:
    """Put a submission into a run's reports, all of them, and return the files.

    Nothing is written before everything is rendered: a format that cannot be made here must not
    leave some reports with a decision and others without.

    Args:
        folder: the run's.
        located: what its reports are submitted with.
        formats: names of report formats to write beside those that lie there.
        audience: whom these formats are for.
        today: nobody has signed later than this.

    Raises:
        DocumentError: the submission is about another report.
        UsageError: the reports are signed as they are.
        PluginError: a format is unknown, or what it needs is not installed.
        EvidenceError: a file cannot be read or written.
    """
    shared = load_report(folder / JSON.filename)
    wrong = [located.problem(*one) for one in unfit(located.document, shared, today=today)]
    if wrong:
        raise DocumentError(wrong)
    if (folder / ATTESTATION).exists():
        raise UsageError(
            f"{folder / ATTESTATION}: signs the reports as they are; delete it, put the submission"
            " in, and sign again"
        )
    record = SubmissionRecord(document=located.document, sha256=located.sha256)
    asked = {audience: set(formats)}
    lying = _lying(folder) | asked.get("shared", set()) | {"json"}
    contents = _rendered(
        folder, submitted(shared, record), formats=sorted(lying), audience="shared"
    )
    internal = _lying(report_folder(folder, "internal")) | asked.get("internal", set())
    if internal:
        judged = shared.model_copy(update={"submission": None})
        whole = submitted(judge_run_again(load_run(folder), judged), record)
        contents |= _rendered(folder, whole, formats=sorted(internal), audience="internal")
    write_atomically(folder / SUBMISSION, record.to_bytes(), mode=0o600)
    _write(folder, contents)
    return [*contents]


def _lying(folder: Path) -> set[str]:
    """Return the names of the formats that a report in a folder is written in."""
    names = plugin_names("phigate.reports")
    found: dict[str, ReportFormat] = {one: load_plugin("phigate.reports", one) for one in names}
    return {name for name, one in found.items() if (folder / one.filename).exists()}


def replace_reports(
    folder: Path, report: Report, *, formats: Sequence[str], audience: Audience = "shared"
) -> list[Path]:
    """Write a newly judged report, and delete what an earlier judgement left behind.

    Beside a new verdict must lie no page that tells an old one. The old reports go first, so that a
    run that is killed in between has too few rather than wrong ones. Where the same is judged again
    for the same time, nothing is old, and what is there stays.

    Args:
        folder: the run's.
        report: as judged.
        formats: names of report formats.
        audience: who is to read it.

    Raises:
        PluginError: a format is unknown.
        EvidenceError: a file cannot be written or deleted.
    """
    shared = folder / JSON.filename
    same = shared.exists() and read_file(shared) == JSON.render(for_audience(report, "shared"))
    if not same:
        _delete_reports(folder)
    return write_reports(folder, report, formats=formats, audience=audience)


def _delete_reports(folder: Path) -> None:
    internal = report_folder(folder, "internal")
    try:
        for old in (internal, folder):
            for name in report_files() | COMPARISONS | {SUBMISSION}:
                (old / name).unlink(missing_ok=True)
        if internal.is_dir() and not any(internal.iterdir()):
            internal.rmdir()
    except OSError as error:
        raise EvidenceError(
            f"{folder}: an old report cannot be deleted: {error.strerror or error}"
        ) from error


def write_comparison(
    folder: Path, found: Comparison | Trend, *, pages: Mapping[str, str]
) -> list[Path]:
    """Write a comparison or a trend, as data and for people, beside the last run's reports.

    Args:
        folder: the last run's.
        found: of the runs.
        pages: what it renders to by file name.

    Raises:
        EvidenceError: a file cannot be written.
    """
    target = report_folder(folder, found.audience)
    mode = 0o644 if found.audience == "shared" else 0o600
    contents = {name: page.encode() for name, page in pages.items()}
    contents[f"{type(found).__name__.lower()}.json"] = found.to_bytes()
    for name, content in contents.items():
        write_atomically(target / name, content, mode=mode)
    return [target / name for name in contents]
