"""The command sign: who answers for a report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import tell
from checker.cli.options import File, RunFolder, json_option
from checker.errors import EvidenceError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


@click.command()
@click.argument("folder", metavar="RUN", type=RunFolder)
@click.option(
    "--key",
    type=File,
    required=True,
    metavar="PRIVATE",
    help="From `phigate keys make`. Its passphrase, if it has one, is asked for, or taken from"
    " PHIGATE_KEY_PASSPHRASE.",
)
@click.option("--out", type=File, help="The signature; default: attestation.json in RUN.")
@click.option("--url", help="Where the run can be looked at, such as the pipeline's page.")
@json_option
def sign(folder: Path, key: Path, out: Path | None, url: str | None, as_json: bool) -> None:
    """Sign what the report of RUN says of the model; only a run that verifies is signed.

    Others who sign the same report afterwards are added. The exit code is not the verdict: a
    failure is signed as well.
    """
    from checker.attestation import ATTESTATION_FILE, sign_statement
    from checker.verification import attest_run, verify_run

    signer = _private_key(key)
    broken = [one.text for one in verify_run(folder, signed=False) if one.holds is False]
    if broken:
        raise EvidenceError(f"{folder}: is not signed, because it does not hold: {broken[0]}")
    path = out or folder / ATTESTATION_FILE
    signed = attest_run(folder, url=url)
    holders = sign_statement(path, signed, signer)
    result = signed["predicate"]["result"]
    others = f", as {len(holders) - 1} others did before" if len(holders) > 1 else ""
    keyid = signer.public_key.keyid
    said = f"wrote {path}: {result}, signed with {keyid}{others}"
    tell(said, as_json, written=[path], result=result, keyId=keyid, signatures=len(holders))


def _private_key(path: Path) -> CryptoSigner:
    """Load a private key; a passphrase is asked for only on a terminal."""
    from checker.attestation import PassphraseNeeded, load_private_key

    given = os.environ.get("PHIGATE_KEY_PASSPHRASE")
    try:
        return load_private_key(path, passphrase=given)
    except PassphraseNeeded:
        if given or sys.stdin is None or not sys.stdin.isatty():
            raise
    return load_private_key(path, passphrase=click.prompt("Passphrase", hide_input=True, err=True))
