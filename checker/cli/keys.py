"""The commands of keys: pairs to sign reports with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from checker.cli.console import tell
from checker.cli.options import File, json_option


@click.group()
def keys() -> None:
    """Keys to sign reports with."""


@keys.command("make")
@click.argument("name", type=File)
@click.option(
    "--passphrase",
    "with_passphrase",
    is_flag=True,
    help="Encrypt the private key; asked for, or taken from PHIGATE_KEY_PASSPHRASE.",
)
@json_option
def make_key_pair(name: Path, with_passphrase: bool, as_json: bool) -> None:
    """Make an ed25519 pair: NAME.key to sign with, and NAME.pub to give to all who verify."""
    from checker.attestation import make_keys

    passphrase = None
    if with_passphrase:
        passphrase = os.environ.get("PHIGATE_KEY_PASSPHRASE") or click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        )
    private, public = (name.with_name(f"{name.name}{end}") for end in (".key", ".pub"))
    key_id = make_keys(private, public, passphrase=passphrase)
    locked = "encrypted" if passphrase else "not encrypted"
    tell(
        f"wrote {private}: keep it to yourself (mode 0600, {locked})\n"
        f"wrote {public}: for `phigate verify RUN --key`\n"
        f"key id {key_id}",
        as_json,
        written=[private, public],
        keyId=key_id,
        encrypted=bool(passphrase),
    )
