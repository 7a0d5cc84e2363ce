"""Verify a run offline: do the files still say what the report says, and who answers for it?

Every digest is computed anew, the evidence is judged again under the report's own time and attempt,
and the result is compared with `report.json`; then the signature, the ledger and the model's files,
where they are given. Each thing that was looked at gets one line: it holds, it does not, or it was
not checked because something it takes was not given. Nothing that was not checked reads as if it
held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checker.canonical import digest, sha256_hex
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, read_file
from checker.ledger import ATTEMPT_FILE, Ledger, load_attempt, read_ledger
from checker.plan import CellLimit
from checker.plugins import load_plugin, plugin_names
from checker.report.formats import ReportFormat
from checker.report.json import load_report, render_json
from checker.report.model import Report
from checker.report.suppression import for_audience
from checker.runs import (
    Run,
    judge_run_again,
    load_run,
    report_folder,
)

if TYPE_CHECKING:  # cryptography is loaded only where there is a signature to look at
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key

__all__ = [
    "Statement",
    "attest_run",
    "verify_attestation",
    "verify_ledger_file",
    "verify_run",
]


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that was looked at, and what was found.

    Args:
        holds: True, False, or None where it was not checked.
        text: one sentence.
    """

    holds: bool | None
    text: str


def verify_run(
    folder: Path,
    *,
    as_of: datetime | None = None,
    keys: Sequence[Key] = (),
    attestation: Path | None = None,
    ledger: Path | None = None,
    model: Path | None = None,
    signed: bool = True,
) -> list[Statement]:
    """Check a run against its own report.

    Args:
        folder: the run's.
        as_of: also ask whether the verdict still holds at this time, when evidence may have become
            too old and waivers may have expired.
        keys: public keys, each of which must have signed the report.
        attestation: where the signature is; default: with the run.
        ledger: the institution's, in which the attempt must stand.
        model: the model's folder, or its only file, which must be the one that was audited.
        signed: whether to look at the signature; not before there is one.

    Returns:
        Statements in the order they were checked; the run is verified when none fails to hold.

    Raises:
        EvidenceError: the run has no report that could be read at all.
    """
    report = load_report(folder / "report.json")
    try:
        run = load_run(folder)
    except EvidenceError as error:
        statements = [Statement(False, str(error))]
        if signed:
            statements += _signed(folder, report, None, keys=keys, attestation=attestation)
        return statements
    statements = [*_digests(run, report), _demands(run), *_jobs(run), *_evidence(run)]
    statements.append(_attempt(run, report))
    if all(statement.holds is not False for statement in statements):
        statements += _judged_again(run, report)
        if as_of is not None:
            statements += _still_holds(run, report, as_of)
    else:
        statements.append(Statement(False, "not judged again: the files above do not hold"))
    statements += _renderings(run, report)
    if ledger is not None:
        statements += _in_ledger(run, report, ledger)
    elif report.provenance.attempt is not None:
        statements.append(Statement(None, "no ledger was looked at; --ledger names one"))
    if signed:
        statements += _signed(folder, report, run, keys=keys, attestation=attestation)
    if model is not None:
        statements += _model(run.plan.target.model_files, model)
    return statements


def attest_run(folder: Path, *, url: str | None = None) -> dict[str, Any]:
    """Return what is signed of a run; call it only on a run that verifies.

    Args:
        folder: the run's.
        url: where the run can be looked at.

    Raises:
        EvidenceError: the run cannot be read.
    """
    from checker.attestation import make_statement

    return make_statement(
        load_report(folder / "report.json"),
        report_sha256=sha256_hex(read_file(folder / "report.json")),
        model_files=load_run(folder).plan.target.model_files,
        url=url,
    )


def verify_attestation(
    path: Path, *, keys: Sequence[Key], model: Path | None = None, ledger: Path | None = None
) -> tuple[list[Statement], str | None]:
    """Check a signed statement by itself, as whoever receives a model can, without the evidence.

    Args:
        path: of the envelope.
        keys: public keys, each of which must have signed it; at least one.
        model: the model's folder, or its only file, which must be the one it speaks of.
        ledger: the institution's, in which the attempt must stand.

    Returns:
        Statements in the order they were checked, and the verdict that was signed; None where the
        statement cannot be trusted or gives none.

    Raises:
        EvidenceError: the file cannot be read, or is no envelope.
    """
    from checker.attestation import read_attestation, read_statement

    envelope = read_attestation(path)
    statements = list(_signatures(envelope, keys, name=path.name))
    if not all(statement.holds for statement in statements):
        return statements, None
    try:
        signed = read_statement(envelope)
    except EvidenceError as error:
        return [*statements, Statement(False, f"{path.name}: {error}")], None
    told = signed["predicate"].get("phigate", {})
    verdict, attempt = told.get("verdict"), told.get("attempt") or {}
    number = attempt.get("number", "unknown")
    result = signed["predicate"].get("result")
    statements.append(
        Statement(
            True, f"it says {result}: {verdict}, judged as of {told.get('asOf')}, attempt {number}"
        )
    )
    if ledger is not None:
        entry = attempt.get("ledgerEntry", {}).get("sha256", "")
        statements += _line(ledger, entry, number)
    if model is not None:
        subject = signed.get("subject", [])
        files = {one.get("name", ""): one.get("digest", {}).get("sha256", "") for one in subject}
        statements += _model(files, model)
    return statements, verdict


def verify_ledger_file(path: Path, *, noted: Sequence[str] = ()) -> list[Statement]:
    """Follow a ledger's chain.

    Args:
        path: of the ledger.
        noted: digests of lines that must still stand in it.

    Raises:
        EvidenceError: it cannot be read.
    """
    ledger = read_ledger(path)
    count = len(ledger.lines)
    if ledger.problem is None:
        statements = [Statement(True, f"the chain holds over {count} lines; note {ledger.head}")]
    else:
        statements = [Statement(False, f"the chain holds over {count} lines; {ledger.problem}")]
    for sha256 in noted:
        place = ledger.place_of(sha256)
        where = "is in no line: lines were taken off" if place is None else f"is line {place}"
        statements.append(Statement(place is not None, f"{sha256[:12]}… {where}"))
    return statements


# --- the run's own files ------------------------------------------------------------------------


def _digests(run: Run, report: Report) -> Iterator[Statement]:
    said = {
        "plan.json": report.provenance.plan_sha256,
        "manifest.json": report.provenance.manifest_sha256,
    }
    if report.provenance.waivers_sha256 is not None:
        said["waivers.json"] = report.provenance.waivers_sha256
    for name, sha256 in said.items():
        if not (run.folder / name).exists():
            yield Statement(False, f"{name} is missing, and the report was judged with it")
            continue
        found = sha256_hex(read_file(run.folder / name))
        if found == sha256:
            yield Statement(True, f"{name} is the one the report speaks of ({sha256[:12]}…)")
        else:
            yield Statement(
                False, f"{name} was changed: the report says {sha256[:12]}…, it is {found[:12]}…"
            )


def _demands(run: Run) -> Statement:
    """The limits that cells are judged by are those of the policy that the plan was made from."""
    spec = run.policy.spec
    changed = []
    for cell in run.plan.cells:
        control = spec.controls.get(cell.control)
        limit = control.limits.get(cell.attacker) if control else None
        if limit is None or CellLimit.model_validate(limit.model_dump(mode="json")) != cell.limit:
            changed.append(cell.id)
    if run.plan.confidence != spec.parameters.confidence:
        return Statement(False, "plan.json: its confidence is not that of its policy")
    if changed:
        return Statement(False, f"plan.json: limits are not those of its policy: {changed[0]}")
    return Statement(True, f"all {len(run.plan.cells)} cells have the limits of the plan's policy")


def _jobs(run: Run) -> Iterator[Statement]:
    """A job is named by all it depends on, so its name says which model was asked what."""
    renamed = [job for job in run.plan.jobs if job.digest != digest(job.inputs)]
    strangers = [
        job
        for job in run.plan.jobs
        if job.runs_on == "target" and job.inputs.get("model") != run.plan.target.model_sha256
    ]
    for jobs, text in (
        (renamed, "of the plan are not what their digests say"),
        (strangers, "of the plan were run on another model than the one it names"),
    ):
        if jobs:
            names = ", ".join(job.digest[:12] for job in jobs[:5])
            yield Statement(False, f"{len(jobs)} jobs {text}: {names}")
    files = run.plan.target.model_files
    if digest(files) != run.plan.target.model_sha256:
        yield Statement(False, "the plan's model files are not those that its model's digest names")
        return
    if not renamed and not strangers:
        model = run.plan.target.model_sha256[:12]
        yield Statement(True, f"all jobs are what their digests say, on the model {model}…")


def _evidence(run: Run) -> Iterator[Statement]:
    store = EvidenceStore(run.folder)
    wrong = 0
    for entry in run.manifest.entries:
        try:
            store.load(entry)
        except EvidenceError as error:
            wrong += 1
            yield Statement(False, str(error))
    if not wrong:
        count = len(run.manifest.entries)
        yield Statement(True, f"all {count} evidence files are those of the manifest")
    left_out = set(run.manifest.left_out)  # judging again shows whether the cells need them
    present = {entry.job for entry in run.manifest.entries} | left_out | set(run.manifest.crashed)
    missing = [job for job in run.plan.jobs if job.digest not in present]
    if missing:
        names = ", ".join(job.digest[:12] for job in missing)
        yield Statement(False, f"{len(missing)} jobs of the plan have no evidence: {names}")


def _judged_again(run: Run, report: Report) -> Iterator[Statement]:
    try:
        judged = judge_run_again(run, report)
    except EvidenceError as error:
        yield Statement(False, f"not judged again: {error}")
        return
    for path, written in _written(run, report):
        again, name = for_audience(judged, written.audience), path.relative_to(run.folder)
        if render_json(again).encode() == read_file(path):
            text = f"judged again, the evidence gives the same {name}: {again.verdict}"
            yield Statement(True, text)
            continue
        differing = [
            field
            for field in type(written).model_fields
            if getattr(written, field) != getattr(again, field)
        ]
        yield Statement(
            False,
            f"judged again, the evidence says {again.verdict} and {name} {written.verdict};"
            f" they differ in {', '.join(differing) or 'their bytes'}",
        )


def _written(run: Run, report: Report) -> Iterator[tuple[Path, Report]]:
    """Yield the reports of a run, one for each audience that has one."""
    yield run.folder / "report.json", report
    path = report_folder(run.folder, "internal") / "report.json"
    if path.exists():
        yield path, load_report(path)


def _still_holds(run: Run, report: Report, as_of: datetime) -> Iterator[Statement]:
    later = judge_run_again(run, report, as_of=as_of)
    when = as_of.astimezone(UTC).isoformat(timespec="seconds")
    before = {waiver.id: waiver.status for waiver in report.waivers}
    for waiver in later.waivers:
        if waiver.status == "expired" and before.get(waiver.id) != "expired":
            text = f"as of {when} the waiver {waiver.id} has run out, on {waiver.expires_on} (UTC)"
            yield Statement(False, text)
    if later.summary.exit_code == report.summary.exit_code:
        yield Statement(True, f"as of {when} the verdict is the same: {later.verdict}")
    else:
        text = f"as of {when} the verdict is {later.verdict}: {later.summary.decision}"
        yield Statement(False, text)


def _renderings(run: Run, report: Report) -> Iterator[Statement]:
    """What people read must be what was judged: each rendering is made again and compared."""
    yield from _rendered(run, report, run.folder)
    folder = report_folder(run.folder, "internal")
    if folder.is_dir():
        yield from _rendered(run, load_report(folder / "report.json"), folder)


def _rendered(run: Run, report: Report, folder: Path) -> Iterator[Statement]:
    for name in plugin_names("phigate.reports"):
        if name == "json":
            continue
        written: ReportFormat = load_plugin("phigate.reports", name)
        path = folder / written.filename
        if path.exists():
            yield _rendering(path, written, report, name=str(path.relative_to(run.folder)))


def _rendering(path: Path, written: ReportFormat, report: Report, *, name: str) -> Statement:
    """Compare one rendering, as far as this machine can make it again."""
    lacking = written.lacking()
    if lacking is not None:
        return Statement(None, f"{name} was not compared: {lacking}")
    found, rendered = read_file(path), written.render(report)
    if found == rendered:
        return Statement(True, f"{name} is what report.json renders to")
    elsewhere = written.made_elsewhere(found, rendered)
    if elsewhere is not None:
        return Statement(None, f"{name} was not compared: {elsewhere}")
    return Statement(
        False,
        f"{name} is not what report.json renders to here: it was changed, or another version"
        " wrote it; `phigate report` writes it anew",
    )


# --- the attempt --------------------------------------------------------------------------------


def _attempt(run: Run, report: Report) -> Statement:
    """Which attempt the report says it is, by the run's own record."""
    said = report.provenance.attempt
    if said is None:
        return Statement(None, "attempt unknown: the report was judged without a ledger")
    try:
        kept = load_attempt(run.folder)
    except EvidenceError as error:
        return Statement(False, str(error))
    if kept is None or kept.sha256 != said.ledger_entry or kept.number != said.number:
        was = "is missing" if kept is None else "was changed"
        return Statement(
            False,
            f"{ATTEMPT_FILE} {was}: the report says attempt {said.number}, by the ledger entry"
            f" {said.ledger_entry[:12]}…",
        )
    if not kept.speaks_of(run.plan):
        return Statement(False, f"{ATTEMPT_FILE} registers another model, policy or evidence")
    return Statement(True, f"{ATTEMPT_FILE} registers attempt {kept.number}, as the report says")


def _in_ledger(run: Run, report: Report, path: Path) -> Iterator[Statement]:
    """Whether the institution's ledger has the attempt and its verdict."""
    try:
        ledger = read_ledger(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    said = report.provenance.attempt
    if ledger.problem is not None:
        yield Statement(False, f"{path}: {ledger.problem}")
    elif said is None:
        known = ledger.find(run.plan)
        found = f"has it as attempt {known.number}" if known else "does not hold this audit"
        yield Statement(
            False,
            f"the report was judged without a ledger, and {path} {found};"
            " `phigate judge RUN --ledger` judges it as what it is",
        )
    else:
        place = _stands(ledger, said.ledger_entry, said.number)
        yield place
        if place.holds:
            yield _recorded(report.verdict, ledger.last_verdict(run.plan))


def _line(path: Path, entry: str, number: object) -> Iterator[Statement]:
    """Whether a ledger has the line that registers an attempt."""
    try:
        ledger = read_ledger(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    if ledger.problem is not None:
        yield Statement(False, f"{path}: {ledger.problem}")
    else:
        yield _stands(ledger, entry, number)


def _stands(ledger: Ledger, entry: str, number: object) -> Statement:
    place = ledger.place_of(entry)
    if place is None:
        return Statement(
            False,
            f"{ledger.path}: lacks the line {entry[:12]}… that registers attempt {number}; it was"
            " changed or taken out, or this is another ledger",
        )
    return Statement(
        True, f"attempt {number} is line {place} of {len(ledger.lines)} in {ledger.path}"
    )


def _recorded(verdict: str, last: str | None) -> Statement:
    if last == verdict:
        return Statement(True, f"the ledger has this verdict on this plan: {verdict}")
    told = "no verdict on this plan" if last is None else f"another verdict, {last}"
    return Statement(False, f"the ledger has {told}; `phigate judge RUN --ledger` adds it")


# --- who answers for it -------------------------------------------------------------------------


def _signed(
    folder: Path,
    report: Report,
    run: Run | None,
    *,
    keys: Sequence[Key],
    attestation: Path | None,
) -> Iterator[Statement]:
    from checker.attestation import ATTESTATION_FILE, read_attestation

    path = attestation or folder / ATTESTATION_FILE
    if attestation is None and not path.exists():
        wanted = False if keys else None
        yield Statement(wanted, f"nobody signed the report: there is no {path.name}")
        return
    try:
        envelope = read_attestation(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    yield from _signatures(envelope, keys, name=path.name)
    yield from _attested(envelope, folder, report, run, name=path.name)


def _signatures(envelope: Envelope, keys: Sequence[Key], *, name: str) -> Iterator[Statement]:
    from checker.attestation import is_signed_with, key_ids

    holders = ", ".join(f"{one[:12]}…" for one in key_ids(envelope)) or "nobody"
    if not keys:
        yield Statement(None, f"{name} says that it was signed with {holders}; --key checks it")
    for key in keys:
        short = f"{key.keyid[:12]}…"
        if is_signed_with(envelope, key):
            yield Statement(True, f"{name} was signed with the key {short}")
        elif key.keyid in envelope.signatures:
            yield Statement(False, f"{name} was changed after it was signed with the key {short}")
        else:
            yield Statement(
                False, f"{name} was not signed with the key {short}, but with {holders}"
            )


def _attested(
    envelope: Envelope, folder: Path, report: Report, run: Run | None, *, name: str
) -> Iterator[Statement]:
    """Compare what was signed with what the run would be signed as now."""
    from checker.attestation import make_statement, read_statement

    try:
        signed = read_statement(envelope)
    except EvidenceError as error:
        yield Statement(False, f"{name}: {error}")
        return
    expected = make_statement(
        report,
        report_sha256=sha256_hex(read_file(folder / "report.json")),
        model_files=run.plan.target.model_files if run else {},
        url=signed["predicate"].get("url"),
    )
    if run is None:  # its plan cannot be trusted to name the model
        expected["subject"] = signed.get("subject")
    differing = list(_differences(signed, expected))
    if not differing:
        files = len(expected["subject"])
        yield Statement(True, f"{name} speaks of this report and of the model's {files} files")
    for what in differing:
        yield Statement(False, f"{name} speaks of another {what} than this run")


def _differences(signed: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Name what a signed statement says otherwise."""
    if signed.get("subject") != expected["subject"]:
        yield "model"
    had, wanted = signed["predicate"], expected["predicate"]
    if had.get("configuration") != wanted["configuration"]:
        before, now = _digests_of(had.get("configuration")), _digests_of(wanted["configuration"])
        names = sorted(name for name in before | now if before.get(name) != now.get(name))
        yield f"configuration ({', '.join(names) or 'in its wording'})"
    if had.get("phigate") != wanted["phigate"]:
        yield "report"
    lists = ("result", "passedTests", "warnedTests", "failedTests")
    if any(had.get(name) != wanted[name] for name in lists):
        yield "result"


def _digests_of(resources: Any) -> dict[str, Any]:
    """Return digests by name of what a statement calls its configuration, whatever it holds."""
    found = resources if isinstance(resources, list) else []
    return {str(one.get("name")): one.get("digest") for one in found if isinstance(one, dict)}


def _model(files: Mapping[str, str], path: Path) -> Iterator[Statement]:
    """Compare a model's files as they lie there with those that were audited."""
    wrong = False
    for name, sha256 in files.items():
        file = path / name if path.is_dir() else path
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            wrong = True
            yield Statement(False, f"{file}: cannot be read: {error.strerror or error}")
            continue
        if found != sha256:
            wrong = True
            yield Statement(False, f"{file}: is not the file that was audited")
    if not files:
        yield Statement(False, f"{path}: no file of the model was audited by name")
    elif not wrong:
        yield Statement(True, f"{path}: its {len(files)} files are the model that was audited")
