"""The command verify: whether a run, or a signed statement alone, still holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import show_statements
from checker.cli.options import Existing, File, RunFolder, json_option, ledger_option, read_moment
from checker.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import Key


@click.command()
@click.argument("folder", metavar="[RUN]", type=RunFolder, required=False)
@click.option("--as-of", metavar="TIME", help="Ask too whether the verdict holds at this time.")
@click.option(
    "--key",
    "keys",
    type=File,
    multiple=True,
    metavar="PUBLIC",
    help="Who must have signed; repeatable, and then each must have.",
)
@click.option(
    "--attestation", type=Existing("signature"), help="The signature, where it is not in RUN."
)
@click.option(
    "--model",
    type=Existing("model"),
    metavar="PATH",
    help="Ask too whether this is the model that was audited.",
)
@click.option(
    "--policy",
    type=File,
    metavar="FILE",
    help="Ask too whether this is the policy that it was judged by.",
)
@ledger_option
@json_option
def verify(
    folder: Path | None,
    as_of: str | None,
    keys: tuple[Path, ...],
    attestation: Path | None,
    model: Path | None,
    policy: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Recompute a run's digests and verdicts, and compare them with its report.

    Says of the signature, the attempt and the model what can be said; needs no network.

    Without RUN, an --attestation alone is checked with --key, as the recipient of a model can; the
    exit code is then the verdict that was signed.
    """
    from checker.verification import verify_attestation, verify_run

    if folder is None:
        if attestation is None or not keys or as_of or policy:
            raise UsageError(
                "name the folder of a run, or an --attestation and the --key it was signed with"
                " (and neither --as-of nor --policy, which take the run itself)"
            )
        said, verdict = verify_attestation(
            attestation, keys=_public_keys(keys), model=model, ledger=ledger
        )
        show_statements(said, as_json=as_json)
        codes = {
            "pass": ExitCode.PASS,
            "fail": ExitCode.FAIL,
            "inconclusive": ExitCode.INCONCLUSIVE,
        }
        raise click.exceptions.Exit(int(codes.get(str(verdict), ExitCode.INCOMPLETE)))
    statements = verify_run(
        folder,
        as_of=read_moment(as_of) if as_of else None,
        keys=_public_keys(keys),
        attestation=attestation,
        ledger=ledger,
        model=model,
        policy=policy,
    )
    show_statements(statements, as_json=as_json)


def _public_keys(paths: tuple[Path, ...]) -> list[Key]:
    if not paths:
        return []
    from checker.attestation import load_public_key

    return [load_public_key(path) for path in paths]
