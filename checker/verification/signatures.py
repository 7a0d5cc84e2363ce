"""Who answers for a report: what was signed, with which keys, and whether it speaks of this run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checker.canonical import sha256_hex
from checker.errors import EvidenceError
from checker.evidence import read_file
from checker.plugins import load_plugin, plugin_names
from checker.report.formats.json import load_report
from checker.report.model import Report
from checker.run.stored import Run, load_run
from checker.verification.attempts import check_line
from checker.verification.model_files import check_model
from checker.verification.statement import Statement

if TYPE_CHECKING:  # cryptography is loaded only where there is a signature to look at
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key


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
        renderings={path.name: sha256_hex(read_file(path)) for path in varying_renderings(folder)},
    )


def varying_renderings(folder: Path) -> list[Path]:
    """Return a run's shared files that no other machine need write in the same bytes, as PDFs.

    All others follow from `report.json` to the byte, so that its digest vouches for them.
    """
    formats = (load_plugin("phigate.reports", name) for name in plugin_names("phigate.reports"))
    paths = (folder / one.filename for one in formats if one.attached is not None)
    return [path for path in paths if path.exists()]


def vouched_renderings(
    folder: Path, *, keys: Sequence[Key], attestation: Path | None
) -> dict[str, str] | None:
    """Return the renderings that a run's signature names, by name, with their digests.

    Returns:
        None where no key was given; nothing where one did not sign, for then nobody vouches.
    """
    from checker.attestation import (
        ATTESTATION_FILE,
        is_signed_with,
        read_attestation,
        read_statement,
    )

    if not keys:
        return None
    try:
        envelope = read_attestation(attestation or folder / ATTESTATION_FILE)
        if not all(is_signed_with(envelope, key) for key in keys):
            return {}
        return _renderings(read_statement(envelope))
    except EvidenceError:  # `check_signed` says what is wrong with it
        return {}


def _renderings(signed: Mapping[str, Any]) -> dict[str, str]:
    """Return what a statement says of renderings, as far as it is well formed."""
    told = signed["predicate"].get("phigate")
    named = told.get("renderings") if isinstance(told, dict) else None
    found = {}
    for one in named if isinstance(named, list) else []:
        digests = one.get("digest") if isinstance(one, dict) else None
        if isinstance(digests, dict):
            found[str(one.get("name"))] = str(digests.get("sha256"))
    return found


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
    statements = list(check_signatures(envelope, keys, name=path.name))
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
        statements += check_line(ledger, entry, number)
    if model is not None:
        subject = signed.get("subject", [])
        files = {one.get("name", ""): one.get("digest", {}).get("sha256", "") for one in subject}
        statements += check_model(files, model)
    return statements, verdict


def check_signed(
    folder: Path,
    report: Report,
    run: Run | None,
    *,
    keys: Sequence[Key],
    attestation: Path | None,
) -> Iterator[Statement]:
    """Whether the report of a run was signed, by whom, and as what it says now."""
    from checker.attestation import ATTESTATION_FILE, read_attestation, written_form

    path, own = attestation or folder / ATTESTATION_FILE, folder / ATTESTATION_FILE
    if own.exists() and path.resolve() != own.resolve():
        yield Statement(None, f"{own.name} lies in the run's folder, and was not looked at")
    if attestation is None and not path.exists():
        wanted = False if keys else None
        yield Statement(wanted, f"the report is not signed: there is no {path.name}")
        return
    try:
        envelope = read_attestation(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    yield from check_signatures(envelope, keys, name=path.name)
    if read_file(path) != written_form(envelope):
        yield Statement(None, f"{path.name} is not in the form that phigate writes")
    yield from _attested(envelope, folder, report, run, name=path.name)


def check_signatures(envelope: Envelope, keys: Sequence[Key], *, name: str) -> Iterator[Statement]:
    """Which keys signed an envelope, and which of those asked for did not."""
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
        renderings=_renderings(signed),  # which need not lie here any more; see `renderings`
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
