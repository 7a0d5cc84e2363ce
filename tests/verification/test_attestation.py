"""Signing: what is said of a model, by whom, and what must not be said."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from auditing import audit, write_policy
from command_line import Command
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from report_builder import every_verdict_report, failing_report, passing_report

from checker.attestation import make_statement
from checker.canonical import sha256_hex
from checker.errors import ExitCode
from checker.report.model import AttemptReport, Report

FILES = {"model.safetensors": "a" * 64, "config.json": "b" * 64}


def said_of(report: Report, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"report_sha256": "c" * 64, "model_files": FILES, **changes}
    return make_statement(report, **settings)


# --- what is said -------------------------------------------------------------------------------


def test_the_statement_is_an_in_toto_test_result() -> None:
    report = passing_report()
    statement = said_of(report, url="https://ci.example/run/1")
    # spec/v1/statement.md and spec/predicates/test-result.md of in-toto/attestation
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == [
        {"name": "config.json", "digest": {"sha256": "b" * 64}},
        {"name": "model.safetensors", "digest": {"sha256": "a" * 64}},
    ]
    predicate = statement["predicate"]
    assert set(predicate) == {
        "result", "configuration", "url", "passedTests", "warnedTests", "failedTests", "phigate",
    }  # fmt: skip
    assert predicate["result"] in {"PASSED", "WARNED", "FAILED"}
    for resource in predicate["configuration"]:
        assert re.fullmatch("[0-9a-f]{64}", resource["digest"]["sha256"])
    names = {one["name"]: one["digest"]["sha256"] for one in predicate["configuration"]}
    assert names["policy"] == report.policy.sha256
    assert names["plan.json"] == report.provenance.plan_sha256
    assert names["manifest.json"] == report.provenance.manifest_sha256
    assert "waivers.json" not in names
    told = predicate["phigate"]
    assert told["report"] == {"name": "report.json", "digest": {"sha256": "c" * 64}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["asOf"])  # RFC 3339, UTC
    assert told["attempt"] is None


def test_waivers_and_the_attempt_are_named() -> None:
    report = passing_report()
    provenance = report.provenance.model_copy(
        update={
            "waivers_sha256": "d" * 64,
            "attempt": AttemptReport(number=2, confidence=0.975, ledger_entry="e" * 64),
        }
    )
    predicate = said_of(report.model_copy(update={"provenance": provenance}))["predicate"]
    waivers = {"name": "waivers.json", "digest": {"sha256": "d" * 64}}
    assert waivers in predicate["configuration"]
    assert predicate["phigate"]["attempt"] == {
        "number": 2, "confidence": 0.975, "ledgerEntry": {"sha256": "e" * 64},
    }  # fmt: skip


def test_only_an_allowed_release_is_not_failed() -> None:
    for report, result in ((passing_report(), "PASSED"), (failing_report(), "FAILED")):
        assert said_of(report)["predicate"]["result"] == result
    for verdict in ("inconclusive", "error"):
        report = passing_report().model_copy(update={"verdict": verdict})
        assert said_of(report)["predicate"]["result"] == "FAILED"


def test_each_deciding_cell_is_in_one_list_by_what_became_of_it() -> None:
    report = every_verdict_report()
    predicate = said_of(report)["predicate"]
    cells = {cell.id: cell for cell in report.cells}
    listed = [
        name for key in ("passedTests", "warnedTests", "failedTests") for name in predicate[key]
    ]
    assert len(listed) == len(set(listed))
    blocking = set(report.summary.blocked_by)
    assert set(listed) - blocking == {
        name
        for name, cell in cells.items()
        if cell.gating and cell.verdict != "not_applicable" and name not in blocking
    }
    assert predicate["failedTests"] == [name for name in cells if name in blocking]
    assert all(cells[c].verdict == "pass" and not cells[c].warned for c in predicate["passedTests"])
    # a cell that only warns: passed between the limits, or is not decided where that does not block
    assert predicate["failedTests"]
    assert predicate["passedTests"]


def test_a_pass_with_a_warning_or_a_waiver_is_warned() -> None:
    report = passing_report()
    first = next(i for i, cell in enumerate(report.cells) if cell.gating)
    for change in (
        {"warned": True},
        {"verdict": "fail", "waiver": "w"},
        {"verdict": "inconclusive", "reason": "too-few-positives"},
    ):
        cells = list(report.cells)
        cells[first] = cells[first].model_copy(update=change)
        predicate = said_of(report.model_copy(update={"cells": cells}))["predicate"]
        assert predicate["result"] == "WARNED"
        assert predicate["warnedTests"] == [cells[first].id]


def test_no_number_of_the_report_is_in_the_statement() -> None:
    """Digests, ids, times, versions: but no estimate and no count, for these can be withheld."""
    statement = said_of(every_verdict_report())

    def numbers(node: Any) -> list[Any]:
        if isinstance(node, dict):
            return [n for value in node.values() for n in numbers(value)]
        if isinstance(node, list):
            return [n for value in node for n in numbers(value)]
        return [node] if isinstance(node, int | float) else []

    assert numbers(statement) == []
    withheld = every_verdict_report().model_dump()
    for cell in withheld["cells"]:  # whatever was measured, the statement is the same
        cell.update(estimate=None, members=None, nonmembers=None, reported={}, placebo=None)
    assert said_of(Report.model_validate(withheld)) == statement


# --- keys ---------------------------------------------------------------------------------------


@pytest.fixture
def pair(phigate: Command, tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key."""
    assert phigate("keys", "make", tmp_path / "officer").code == ExitCode.PASS
    return tmp_path / "officer.key", tmp_path / "officer.pub"


def test_a_pair_of_keys_is_made_for_its_owner_alone_and_never_overwritten(
    phigate: Command, pair: tuple[Path, Path]
) -> None:
    private, public = pair
    assert private.stat().st_mode & 0o777 == 0o600
    assert isinstance(load_pem_public_key(public.read_bytes()), Ed25519PublicKey)
    before = private.read_bytes()
    again = phigate("keys", "make", private.with_name("officer"))
    assert again.code == ExitCode.USAGE
    assert "never overwritten" in again.err
    assert private.read_bytes() == before


@pytest.fixture(scope="module")
def finished(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one control; read only."""
    folder = tmp_path_factory.mktemp("signing")
    controls = {"membership": {"limits": {"record": {"fail": 0.7}}}}
    policy = write_policy(folder / "policy.yaml", controls)
    return audit(policy, simulated_targets / "sound.yaml", folder / "run").run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be signed."""
    return shutil.copytree(finished, tmp_path / "run")


def envelope_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "attestation.json").read_text())
    return found


def test_an_encrypted_key_takes_its_passphrase(
    phigate: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIGATE_KEY_PASSPHRASE", "correct horse")
    made = phigate("keys", "make", tmp_path / "k", "--passphrase")
    assert "encrypted" in made.out
    key = tmp_path / "k.key"
    assert "ENCRYPTED" in key.read_text()
    assert phigate("sign", run, "--key", key).code == ExitCode.PASS
    for passphrase, words in (("wrong", "does not open"), (None, "takes a passphrase")):
        monkeypatch.delenv("PHIGATE_KEY_PASSPHRASE")
        if passphrase:
            monkeypatch.setenv("PHIGATE_KEY_PASSPHRASE", passphrase)
        refused = phigate("sign", run, "--key", key)
        assert refused.code == ExitCode.USAGE
        assert words in refused.err
        monkeypatch.setenv("PHIGATE_KEY_PASSPHRASE", "correct horse")


def test_a_passphrase_is_asked_for_where_somebody_can_answer(
    phigate: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(text: str, **settings: Any) -> str:
        assert settings["hide_input"]
        asked.append(text)
        return "correct horse"

    monkeypatch.setattr("click.prompt", answer)
    phigate("keys", "make", tmp_path / "k", "--passphrase")
    refused = phigate("sign", run, "--key", tmp_path / "k.key")
    assert (refused.code, asked) == (ExitCode.USAGE, ["Passphrase"])  # nobody is at a terminal
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert phigate("sign", run, "--key", tmp_path / "k.key").code == ExitCode.PASS
    assert asked == ["Passphrase"] * 2


def test_a_passphrase_that_a_key_does_not_need_is_no_hindrance(
    phigate: Command, run: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIGATE_KEY_PASSPHRASE", "for another key")
    assert phigate("sign", run, "--key", pair[0]).code == ExitCode.PASS


def test_what_is_no_ed25519_key_is_refused_in_a_sentence(
    phigate: Command, run: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = pair
    other = ec.generate_private_key(ec.SECP256R1())
    curve = tmp_path / "ec.key"
    curve.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    nonsense = tmp_path / "nonsense.key"
    nonsense.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    for key in (public, curve, nonsense, tmp_path / "absent", tmp_path):
        refused = phigate("sign", run, "--key", key)
        assert (refused.code, key.name in refused.err) == (ExitCode.USAGE, True)
    for key in (private, curve, nonsense, tmp_path / "absent", tmp_path):
        refused = phigate("verify", run, "--key", key)
        assert (refused.code, key.name in refused.err) == (ExitCode.USAGE, True)
    assert not (run / "attestation.json").exists()


# --- signing ------------------------------------------------------------------------------------


def test_a_signature_is_a_dsse_envelope_that_openssl_verifies(
    phigate: Command, run: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    signed = phigate("sign", run, "--key", pair[0], "--url", "https://ci.example/1")
    assert signed.code == ExitCode.PASS, signed.err
    assert "PASSED, signed with" in signed.out
    envelope = envelope_of(run)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"], validate=True)
    statement = json.loads(payload)
    assert statement["predicate"]["url"] == "https://ci.example/1"
    assert statement["predicate"]["phigate"]["report"]["digest"]["sha256"] == sha256_hex(
        (run / "report.json").read_bytes()
    )
    plan = json.loads((run / "plan.json").read_text())
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == (
        plan["target"]["modelFiles"]
    )
    # DSSE v1.0: PAE = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
    kind = envelope["payloadType"].encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (signature,) = envelope["signatures"]
    public = load_pem_public_key(pair[1].read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(base64.b64decode(signature["sig"]), pae)
    if shutil.which("openssl"):
        (tmp_path / "pae").write_bytes(pae)
        (tmp_path / "sig").write_bytes(base64.b64decode(signature["sig"]))
        checked = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(pair[1]), "-rawin",
             "-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Verified Successfully" in checked.stdout, checked.stderr


def test_two_who_sign_the_same_report_stand_in_one_envelope(
    phigate: Command, run: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    phigate("keys", "make", tmp_path / "chair")
    chair = tmp_path / "chair.pub"
    phigate("sign", run, "--key", pair[0])
    assert phigate("verify", run, "--key", pair[1]).code == ExitCode.PASS
    both = ("verify", run, "--key", pair[1], "--key", chair)
    missing = phigate(*both)
    assert missing.code == ExitCode.INCOMPLETE
    assert "was not signed with the key" in missing.out
    assert "as 1 others did before" in phigate("sign", run, "--key", tmp_path / "chair.key").out
    phigate("sign", run, "--key", pair[0])  # again: nothing is added
    assert len(envelope_of(run)["signatures"]) == 2
    assert phigate(*both).code == ExitCode.PASS


@pytest.mark.parametrize("named", ["", None])
def test_a_signature_that_names_no_key_is_tried_with_the_one_given(
    phigate: Command, run: Path, pair: tuple[Path, Path], tmp_path: Path, named: str | None
) -> None:
    phigate("sign", run, "--key", pair[0])
    envelope = envelope_of(run)
    (signature,) = envelope["signatures"]
    signature.pop("keyid")  # a hint, and optional (DSSE 1.0.2)
    if named is not None:
        signature["keyid"] = named
    (run / "attestation.json").write_text(json.dumps(envelope))
    assert phigate("verify", run, "--key", pair[1]).code == ExitCode.PASS
    phigate("keys", "make", tmp_path / "chair")
    other = phigate("verify", run, "--key", tmp_path / "chair.pub")
    assert other.code == ExitCode.INCOMPLETE
    assert "was not signed with the key" in other.out
    signature["sig"] = base64.b64encode(bytes(64)).decode()
    (run / "attestation.json").write_text(json.dumps(envelope))
    assert phigate("verify", run, "--key", pair[1]).code == ExitCode.INCOMPLETE


def test_a_new_report_replaces_the_signature_of_the_old_one(
    phigate: Command, run: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    phigate("keys", "make", tmp_path / "chair")
    phigate("sign", run, "--key", pair[0])
    assert phigate("judge", run, "--as-of", "2026-12-01", "--format", "json").code == ExitCode.PASS
    stale = phigate("verify", run, "--key", pair[1])
    assert stale.code == ExitCode.INCOMPLETE
    assert "attestation.json speaks of another report" in stale.out
    phigate("sign", run, "--key", tmp_path / "chair.key")
    assert len(envelope_of(run)["signatures"]) == 1


def test_a_failure_is_signed_as_one(
    phigate: Command, simulated_targets: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    controls = {"membership": {"limits": {"record": {"fail": 0.7}}}}
    policy = write_policy(tmp_path / "policy.yaml", controls)
    found = audit(policy, simulated_targets / "leaking.yaml", tmp_path / "leak")
    assert found.code == ExitCode.FAIL
    out = tmp_path / "elsewhere.json"
    signed = phigate("sign", found.run, "--key", pair[0], "--out", out)
    assert (signed.code, "FAILED" in signed.out) == (ExitCode.PASS, True)
    assert not (found.run / "attestation.json").exists()
    arguments = ("verify", found.run, "--key", pair[1])
    assert phigate(*arguments, "--attestation", out).code == ExitCode.PASS
    assert phigate(*arguments).code == ExitCode.INCOMPLETE


def test_what_does_not_verify_is_not_signed(
    phigate: Command, run: Path, pair: tuple[Path, Path]
) -> None:
    path = run / "report.json"
    path.write_text(path.read_text().replace('"verdict": "pass"', '"verdict": "fail"'))
    refused = phigate("sign", run, "--key", pair[0])
    assert refused.code == ExitCode.INCOMPLETE
    assert "is not signed, because it does not hold" in refused.err
    assert not (run / "attestation.json").exists()


def test_signing_and_verifying_need_no_network_and_no_model(
    run: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    script = """
import socket, sys
from checker.cli import run_command
def refuse(*arguments, **settings):
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
for verb, key in (("sign", "officer.key"), ("verify", "officer.pub")):
    sys.argv = ["phigate", verb, "run", "--key", key]
    assert run_command() == 0
assert not {"torch", "transformers", "matplotlib"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (run / "attestation.json").exists()
