"""The commands of ledger: the institution's record of how often each model was audited."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import (
    emit_json,
    plain_table,
    show,
    show_statements,
    tell,
    told,
)
from checker.cli.options import File, LedgerFile, json_option
from checker.errors import EvidenceError

if TYPE_CHECKING:
    from rich.console import Console

    from checker.ledger import Ledger


@click.group()
def ledger() -> None:
    """The attempt ledger: how often each model was audited, by an institution's own record.

    Name it to check, run and judge with --ledger, or once for all in PHIGATE_LEDGER.
    """


new_ledger_argument = click.argument("path", metavar="[FILE]", type=File, envvar="PHIGATE_LEDGER")
ledger_argument = click.argument("path", metavar="[FILE]", type=LedgerFile, envvar="PHIGATE_LEDGER")


@ledger.command("make")
@new_ledger_argument
@json_option
def make_empty_ledger(path: Path, as_json: bool) -> None:
    """Start an empty ledger; keep it where all audits of the institution can write to it."""
    from checker.ledger import make_ledger

    make_ledger(path)
    tell(f"wrote {path}: name it with --ledger, or in PHIGATE_LEDGER", as_json, written=[path])


@ledger.command("list")
@ledger_argument
@json_option
def list_ledger(path: Path, as_json: bool) -> None:
    """List attempts and verdicts, oldest first."""
    from checker.ledger import read_ledger

    found = read_ledger(path)
    if found.problem is not None and not found.lines:
        raise EvidenceError(f"{path}: {found.problem}")
    if as_json:
        emit_json([line.entry.model_dump(mode="json") for line in found.lines])
    else:
        show(partial(_print_lines, found))
    if found.problem is not None:
        raise EvidenceError(f"{path}: {found.problem}")
    for earlier, later in found.contradictions():
        raise EvidenceError(
            f"{path}: lines {earlier} and {later} contradict each other; `phigate ledger verify`"
            " says in what"
        )


@ledger.command("verify")
@ledger_argument
@click.option(
    "--holds",
    "noted",
    multiple=True,
    metavar="SHA256",
    help="A digest noted earlier that must still stand in it; repeatable.",
)
@json_option
def verify_ledger(path: Path, noted: tuple[str, ...], as_json: bool) -> None:
    """Follow the chain from the first line to the last, and say the last one's digest."""
    from checker.verification import verify_ledger_file

    show_statements(verify_ledger_file(path, noted=noted), as_json=as_json)


@ledger.command()
@ledger_argument
@json_option
def mend(path: Path, as_json: bool) -> None:
    """Take off a last line that was cut short when writing it was interrupted."""
    from checker.ledger import mend_ledger

    done = mend_ledger(path)
    tell(f"{path}: {done}", as_json, ledger=path, done=done)


def _print_lines(ledger: Ledger, console: Console) -> None:
    """Print the lines of an attempt ledger; digests are cut to what tells them apart."""
    from checker.report.wording.plain import shorten

    table = plain_table("at", "model", "policy", "attempt", "", "evidence", "line")
    for line in ledger.lines:
        entry = line.entry
        model = f"{entry.target} {entry.target_version} ({entry.model_sha256[:12]})"
        shown = (
            (entry.at, 40),
            (model, 80),
            (f"{entry.policy} {entry.policy_version}", 60),
            (entry.attempt, 8),
            (entry.verdict or "registered", 20),
            (entry.evidence_sha256[:12], 20),
            (line.sha256[:12], 20),
        )
        table.add_row(*(told(shorten(text, length)) for text, length in shown))
    console.print(table)
