"""Attestation: a signed statement of what was decided of which model, by which evidence.

An in-toto Statement v1 with the predicate test-result v0.1, in a DSSE envelope, signed with ed25519
by securesystemslib. It goes with the model: its subject are the digests of the model's files, so
the owner of a file can ask whether it was audited, without a network and without the evidence.

What it says. The tests are the policy's *deciding* cells, by id: passed, warned of (passed between
the warning limit and the limit, waived, or inconclusive where the policy only warns) and failed
(what blocks). The result is FAILED unless the release is allowed, inconclusive included, and WARNED
where it is allowed and a test warned. A cell that does not apply is no test, and what is only
reported decides nothing. `configuration` are policy, target, plan, manifest and waivers. The
extension field `phigate` holds the digest of `report.json`, the time judged for, the attempt and
the version of phigate.

What it does not say: no estimate, no count. It is made from the report that is shared, not from the
evidence, so it tells no more than that report does; the digest of the cohort stays out of it, for
with it a small count in the plan could be guessed and the guess confirmed by the digest.

No time of signing is in it, so that two people who sign the same report sign the same bytes; both
signatures then stand in one envelope.

References:
    https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
    https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
    https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import CryptoSigner, Key, Signature, SSlibKey

from checker.canonical import canonical_json
from checker.errors import EvidenceError, UsageError
from checker.evidence import read_file, write_atomically
from checker.json_text import read_json
from checker.report.model import Report

ATTESTATION_FILE = "attestation.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"


class PassphraseNeeded(UsageError):
    """A private key is encrypted, and no passphrase, or a wrong one, was given for it."""


# --- what is said -------------------------------------------------------------------------------


def make_statement(
    report: Report,
    *,
    report_sha256: str,
    model_files: Mapping[str, str],
    url: str | None = None,
    renderings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the statement on a report; pure.

    Args:
        report: that is shared.
        report_sha256: of the bytes of its `report.json`.
        model_files: SHA-256 by path, of every file that makes up the model.
        url: where the run can be looked at, such as a pipeline's page.
        renderings: SHA-256 by name of those files of the report that no other machine need write in
            the same bytes.

    Returns:
        The statement as JSON data. Equal arguments give equal statements.
    """
    tests: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for cell in report.cells:
        if cell.id in report.summary.blocked_by:
            tests["failedTests"].append(cell.id)
        elif cell.gating and cell.verdict == "pass" and not cell.warned:
            tests["passedTests"].append(cell.id)
        elif cell.gating and cell.verdict != "not_applicable":
            tests["warnedTests"].append(cell.id)
    predicate: dict[str, Any] = {
        "result": _result(report, warned=bool(tests["warnedTests"])),
        "configuration": _configuration(report),
        **tests,
        "phigate": {
            "version": report.provenance.phigate_version,
            "verdict": report.verdict,
            "asOf": _timestamp(report.provenance.as_of),
            "report": _resource("report.json", report_sha256),
            "attempt": _attempt(report),
        },
    }
    if renderings:
        written = [_resource(name, sha256) for name, sha256 in sorted(renderings.items())]
        predicate["phigate"]["renderings"] = written
    if url is not None:
        predicate["url"] = url
    files = dict(model_files) or {report.target.name: report.target.model_sha256}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_resource(name, sha256) for name, sha256 in sorted(files.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _result(report: Report, *, warned: bool) -> str:
    if report.verdict != "pass":
        return "FAILED"
    return "WARNED" if warned else "PASSED"


def _configuration(report: Report) -> list[dict[str, Any]]:
    """Name what the run was made from; `policy` and what it rests on come first."""
    policy, target, provenance = report.policy, report.target, report.provenance
    named = [
        ("policy", f"{policy.name}@{policy.version}", policy.sha256),
        *(
            (f"{origin.kind}:{origin.file}", f"{origin.name}@{origin.version}", origin.sha256)
            for origin in policy.origins
        ),
        ("target", f"{target.name}@{target.version}", target.sha256),
    ]
    resources = [
        {**_resource(name, sha256), "annotations": {"document": document}}
        for name, document, sha256 in named
    ]
    resources.append(_resource("plan.json", provenance.plan_sha256))
    resources.append(_resource("manifest.json", provenance.manifest_sha256))
    if provenance.waivers_sha256 is not None:
        resources.append(_resource("waivers.json", provenance.waivers_sha256))
    return resources


def _attempt(report: Report) -> dict[str, Any] | None:
    attempt = report.provenance.attempt
    if attempt is None:
        return None
    return {
        "number": attempt.number,
        "confidence": attempt.confidence,
        "ledgerEntry": {"sha256": attempt.ledger_entry},
    }


def _resource(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _timestamp(moment: str) -> str:
    """Return a time as in-toto writes it: RFC 3339, in UTC, with a Z."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- keys ---------------------------------------------------------------------------------------


def make_keys(private: Path, public: Path, *, passphrase: str | None) -> str:
    """Make a pair of ed25519 keys as PEM files and return their key id.

    Args:
        private: PKCS #8, mode 0600; encrypted where a passphrase is given.
        public: SubjectPublicKeyInfo, for all who are to verify.
        passphrase: of the private key, or None.

    Raises:
        UsageError: one of the files is there already: an overwritten key signs nothing any more.
        EvidenceError: they cannot be written.
    """
    for path in (private, public):
        if path.exists():
            raise UsageError(f"{path}: is there already, and keys are never overwritten")
    key = Ed25519PrivateKey.generate()
    lock: KeySerializationEncryption = NoEncryption()
    if passphrase:
        lock = BestAvailableEncryption(passphrase.encode())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    write_atomically(private, pem, mode=0o600)
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomically(public, shown)
    return str(SSlibKey.from_crypto(key.public_key()).keyid)


def load_private_key(path: Path, *, passphrase: str | None = None) -> CryptoSigner:
    """Read a private key to sign with.

    Raises:
        UsageError: it cannot be read, or is no ed25519 key in PEM.
        PassphraseNeeded: it is encrypted, and the passphrase is missing or wrong.
    """
    pem = _pem(path)
    try:
        key = load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except TypeError as error:  # encrypted and no passphrase, or a passphrase and not encrypted
        if passphrase:
            return load_private_key(path)
        raise PassphraseNeeded(f"{path}: is encrypted; it takes a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in pem:
            raise PassphraseNeeded(f"{path}: the passphrase does not open this key") from error
        raise UsageError(
            f"{path}: is no private key in PEM; `phigate keys make` makes one"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: is no ed25519 key; `phigate keys make` makes one")
    return CryptoSigner(key)


def load_public_key(path: Path) -> Key:
    """Read a public key to verify with.

    Raises:
        UsageError: it cannot be read, or is no ed25519 key in PEM.
    """
    pem = _pem(path)
    if b"PRIVATE KEY" in pem:
        raise UsageError(
            f"{path}: is a private key; give its public one, and keep this to yourself"
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path}: is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: is no ed25519 key")
    return SSlibKey.from_crypto(key)


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


# --- the envelope -------------------------------------------------------------------------------


def sign_statement(path: Path, statement: Mapping[str, Any], signer: CryptoSigner) -> list[str]:
    """Sign a statement and write its envelope; earlier signatures of the same statement stay.

    Args:
        path: of the envelope; one that speaks of another report is replaced.
        statement: as from `make_statement`.
        signer: with the private key.

    Returns:
        The ids of all keys that have now signed it.

    Raises:
        EvidenceError: the file cannot be written, or is there and is no envelope.
    """
    payload = canonical_json(statement)
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    if path.exists():
        before = read_attestation(path)
        if before.payload == payload and before.payload_type == PAYLOAD_TYPE:
            envelope = before
    envelope.sign(signer)
    write_atomically(path, written_form(envelope))
    return key_ids(envelope)


def written_form(envelope: Envelope) -> bytes:
    """Return an envelope as it is written; others may write the same in other bytes."""
    return f"{json.dumps(envelope.to_dict(), indent=2)}\n".encode()


def read_attestation(path: Path) -> Envelope:
    """Read an envelope; neither signature nor contents are checked.

    Raises:
        EvidenceError: it cannot be read, or is no DSSE envelope.
    """
    content = read_file(path)
    try:
        read = _named(read_json(content))
        texts = (read.get("payloadType"), *(one["keyid"] for one in read["signatures"]))
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("payloadType and keyid are texts")
        return Envelope.from_dict(read)
    except (SecureSystemsError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            f"{path}: is no DSSE envelope; `phigate sign` writes it anew"
        ) from error


_UNNAMED = "unnamed-"
"""Begins the id of a key that a signature does not name: in DSSE `keyid` is an optional hint."""


def _named(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return an envelope in which every signature has an id of its own."""
    signatures = [
        one if one.get("keyid") else {**one, "keyid": f"{_UNNAMED}{number}"}
        for number, one in enumerate(envelope["signatures"], start=1)
    ]
    return {**envelope, "signatures": signatures}


def read_statement(envelope: Envelope) -> dict[str, Any]:
    """Return what an envelope says; read it only where its signature was verified.

    Raises:
        EvidenceError: it is no in-toto statement of a test result.
    """
    try:
        statement = read_json(envelope.payload)
    except ValueError:
        statement = None
    if (
        envelope.payload_type != PAYLOAD_TYPE
        or not isinstance(statement, dict)
        or statement.get("_type") != STATEMENT_TYPE
        or statement.get("predicateType") != PREDICATE_TYPE
        or not isinstance(statement.get("predicate"), dict)
        or not _names_files(statement.get("subject"))
        or not _names_attempt(statement["predicate"])
    ):
        raise EvidenceError("what was signed is no in-toto statement of a test result")
    return statement


def _names_files(subject: Any) -> bool:
    """Whether a statement's subject is a list of files by name and digest."""
    return isinstance(subject, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("name"), str)
        and isinstance(one.get("digest"), dict)
        and isinstance(one["digest"].get("sha256"), str)
        for one in subject
    )


def _names_attempt(predicate: dict[str, Any]) -> bool:
    """Whether what phigate adds to a predicate has the shape that it gives it."""
    told = predicate.get("phigate", {})
    attempt = told.get("attempt") if isinstance(told, dict) else told
    if not isinstance(told, dict) or not isinstance(attempt, dict | None):
        return False
    line = (attempt or {}).get("ledgerEntry", {})
    return isinstance(line, dict) and isinstance(line.get("sha256", ""), str)


def is_signed_with(envelope: Envelope, key: Key) -> bool:
    """Whether an envelope holds a valid signature of a key."""
    hinted = (
        signature
        for signature in envelope.signatures.values()
        if signature.keyid == key.keyid or signature.keyid.startswith(_UNNAMED)
    )
    return any(_is_valid(signature, key, envelope.pae()) for signature in hinted)


def _is_valid(signature: Signature, key: Key, payload: bytes) -> bool:
    try:
        # the library refuses a signature that does not repeat the id of the key it is tried with
        key.verify_signature(Signature(key.keyid, signature.signature), payload)
    except SecureSystemsError:
        return False
    return True


def key_ids(envelope: Envelope) -> list[str]:
    """Return the ids of the keys that an envelope says it was signed with."""
    return sorted(envelope.signatures)
