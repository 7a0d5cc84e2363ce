"""Somebody who may write in a run's folder and has no key: what of his tricks verify finds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import AS_OF, phigate, write_policy
from signed_runs import Signed

from checker.errors import EvidenceError, ExitCode
from checker.evidence import read_file
from checker.report.formats.api import ReportFormat
from checker.report.formats.json import JSON, load_report

ALLOWED = b"<h1>Release is allowed</h1>"


@pytest.fixture
def signed(signed_run: Signed, tmp_path: Path) -> Signed:
    return Signed(shutil.copytree(signed_run.folder, tmp_path / "work"))


def broken(signed: Signed) -> list[str]:
    return signed.verify()[2]


# --- pages that no other machine writes in the same bytes ---------------------------------------


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Callable[[Signed, bytes], bytes]:
    """PDFs that were made elsewhere: the report as data, and pages that say anything."""
    monkeypatch.setattr(
        "checker.report.formats.pdf.PDF",
        ReportFormat(
            "report.pdf",
            render=lambda report: JSON.render(report) + b"%%as rendered here",
            made_elsewhere=lambda found, rendered: "it was made with other libraries or fonts",
            attached=lambda found: found.partition(b"%%")[0],
        ),
    )

    def write(signed: Signed, said: bytes) -> bytes:
        content = JSON.render(load_report(signed.run / "report.json")) + b"%%" + said
        (signed.run / "report.pdf").write_bytes(content)
        return content

    return write


def test_pages_that_cannot_be_compared_hold_where_they_were_signed(
    signed: Signed, pages: Callable[[Signed, bytes], bytes]
) -> None:
    pages(signed, b"blocked")
    assert "pages were not compared" in signed.unsigned()[1]
    (text,) = broken(signed)
    assert "report.pdf carries the data of this report, and its pages were not compared" in text
    assert "no signature that was checked covers it" in text
    assert phigate("sign", signed.run, "--key", signed.folder / "officer.key")[0] == ExitCode.PASS
    code, holds, found = signed.verify()
    assert (code, found) == (ExitCode.PASS, [])
    assert "report.pdf is the one that was signed" in holds
    pages(signed, ALLOWED)
    (text,) = broken(signed)
    assert "no signature that was checked covers it" in text
    (signed.run / "report.pdf").unlink()  # who signed it does not oblige anybody to pass it on
    assert broken(signed) == []


def test_internal_pages_that_cannot_be_compared_hold_under_no_key(
    signed: Signed, pages: Callable[[Signed, bytes], bytes]
) -> None:
    internal = ("--format", "json,pdf", "--audience", "internal")
    assert phigate("report", signed.run, *internal)[0] == ExitCode.PASS
    path = signed.run / "internal" / "report.pdf"
    path.write_bytes(path.read_bytes() + ALLOWED)
    assert "internal/report.pdf carries the data" in signed.unsigned()[1]
    (text,) = broken(signed)
    assert "internal/report.pdf" in text
    assert text.endswith("no signature that was checked covers it, so take it away")


def test_a_signature_that_does_not_hold_vouches_for_no_page(
    signed: Signed, pages: Callable[[Signed, bytes], bytes]
) -> None:
    pages(signed, ALLOWED)
    assert phigate("sign", signed.run, "--key", signed.folder / "stranger.key")[0] == ExitCode.PASS
    found = broken(signed)
    assert any("was not signed with the key" in text for text in found)
    assert any("no signature that was checked covers it" in text for text in found)


# --- folders and files beside the run -----------------------------------------------------------


def test_pages_in_a_folder_that_looks_like_a_run_are_seen(signed: Signed) -> None:
    below = signed.run / "judged-by-baseline-gated-1.0.0-0123456789ab"
    below.mkdir()
    (below / "report.html").write_bytes(ALLOWED)
    (text,) = broken(signed)
    assert f"{below.name}/ is no run that holds" in text
    shutil.copy(signed.run / "report.json", below)
    assert any("is no run that holds" in text for text in broken(signed))


def test_a_run_under_another_policy_is_verified_with_the_run(signed: Signed) -> None:
    lenient = write_policy(
        signed.folder / "lenient.yaml", {"membership": {"limits": {"record": {"fail": 0.99}}}}
    )
    settings = ("--policy", lenient, "--as-of", AS_OF, "--format", "json,html")
    assert phigate("judge", signed.run, *settings)[0] == ExitCode.PASS
    (below,) = (path for path in signed.run.iterdir() if path.name.startswith("judged-by-"))
    assert broken(signed) == []
    said = " ".join(signed.unsigned()[1].split())
    assert f"{below.name}/ is a run under another policy: it holds, and nobody signed it" in said
    (below / "report.html").write_bytes(ALLOWED)
    (text,) = broken(signed)
    assert f"{below.name}/ is no run that holds: report.html is not what" in text


def test_a_link_to_a_folder_elsewhere_is_no_part_of_the_run(signed: Signed) -> None:
    elsewhere = signed.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "report.html").write_bytes(ALLOWED)
    (signed.run / "judged-by-x").symlink_to(elsewhere)
    assert any("judged-by-x/ is no part of the run" in text for text in broken(signed))


def test_names_that_only_look_like_a_report_are_strangers(signed: Signed) -> None:
    names = ("rep\u043ert.html", "report.html\u200b", "report\u2044.html")
    for name in names:
        (signed.run / name).write_bytes(ALLOWED)
    assert sum("is no part of the run" in text for text in broken(signed)) == len(names)


# --- files that never end -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "never"),
    [("report.json", "pipe"), ("plan.json", "device"), ("waivers.json", "pipe")],
)
def test_what_is_no_ordinary_file_is_not_read(signed: Signed, name: str, never: str) -> None:
    path = signed.run / name
    path.unlink(missing_ok=True)
    if never == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(EvidenceError, match="is no ordinary file"):
        read_file(path)
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert "is no ordinary file" in " ".join(out.split())


# --- another run, another evidence --------------------------------------------------------------


def test_the_run_of_another_model_is_told_by_the_model_and_said_without(
    signed_run: Signed, simulated_targets: Path, tmp_path: Path
) -> None:
    other = Signed(shutil.copytree(simulated_targets, tmp_path / "other"))
    shutil.copy(signed_run.folder / "policy.yaml", other.folder)
    documents = (other.folder / "policy.yaml", other.folder / "sound.yaml", "--out", other.run)
    assert phigate("check", *documents, "--as-of", AS_OF, "--format", "json")[0] == ExitCode.PASS
    for key in ("officer.key", "officer.pub"):
        shutil.copy(signed_run.folder / key, other.folder)
    assert phigate("sign", other.run, "--key", other.folder / "officer.key")[0] == ExitCode.PASS
    looked = ("verify", other.run, "--key", other.folder / "officer.pub")
    code, out = phigate(*looked)
    assert code == ExitCode.PASS
    assert "no model was looked at; --model names the one that sound" in " ".join(out.split())
    code, out = phigate(*looked, "--model", signed_run.folder / "leaking.json")
    assert code == ExitCode.INCOMPLETE
    assert "is not the file that was audited" in " ".join(out.split())


@pytest.mark.parametrize("file", ["../evidence.parquet", "/tmp/x.parquet", "evidence/../x.parquet"])
def test_evidence_lies_with_the_evidence(signed: Signed, file: str) -> None:
    def move(manifest: dict[str, Any]) -> None:
        manifest["entries"][0]["file"] = file

    signed.edit("manifest.json", move)
    assert any("entries.0.file" in text for text in broken(signed))


@pytest.mark.parametrize("key", ["waiversSha256", "manifestSha256"])
def test_a_report_with_a_digest_that_is_none_is_broken(signed: Signed, key: str) -> None:
    signed.edit("report.json", lambda report: report["provenance"].update({key: "ba78d1"}))
    assert any(text.startswith("the report says what no ledger holds") for text in broken(signed))


def test_a_signature_that_lies_here_and_was_not_looked_at_is_named(signed: Signed) -> None:
    elsewhere = signed.folder / "signature.json"
    shutil.copy(signed.run / "attestation.json", elsewhere)
    (signed.run / "attestation.json").write_text("{}")
    looked = ("verify", signed.run, "--key", signed.folder / "officer.pub")
    _, out = phigate(*looked, "--attestation", elsewhere)
    assert "attestation.json lies in the run's folder, and was not looked at" in out
    assert phigate(*looked)[0] == ExitCode.INCOMPLETE
