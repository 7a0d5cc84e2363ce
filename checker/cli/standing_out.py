"""The command standing-out: who stands out of a run, as a list to train without."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli import options
from checker.cli.console import tell
from checker.errors import UsageError
from checker.report.wording.plain import plain


@click.command("standing-out")
@click.argument("folder", metavar="RUN", type=options.RunFolder)
@click.option(
    "--rank",
    type=click.IntRange(min=1),
    help="Above which nonmember, from the top.  [default: one in a hundred]",
)
@click.option("--data", type=options.File, metavar="TARGET", help="Where the patients are.")
@click.option("--out", type=click.Path(path_type=Path), help="New file of subject ids, mode 0600.")
@options.json_option
def standing_out(
    folder: Path, rank: int | None, data: Path | None, out: Path | None, as_json: bool
) -> None:
    """Say how many members stand out, and list them for a training without them.

    With --data and --out the members who score above the nonmember of a rank are written by their
    subject_id, one a line: a run names them by pseudonyms, and only its folder holds the key. Some
    of them are there by chance, and others who are not listed may be remembered.
    """
    from checker.run.leaving_out import read_exposures, standing, write_subjects

    if data is None and out is not None:
        raise UsageError("--out needs --data: the target whose members are to be found")
    if out is None and data is not None:
        raise UsageError("--data needs --out: subject ids are written to a file, never shown")
    found, confidence = read_exposures(folder)
    counted = standing(found, rank=rank, confidence=confidence)
    said = counted.words
    if data is not None and out is not None:
        write_subjects(folder, found, rank=counted.rank, target=data, out=out)
        where = plain(str(out))
        said += f"\nwrote {where}: their subject ids, for whoever trains the model (mode 0600)"
    tell(said, as_json, **counted.model_dump(), out=out)
