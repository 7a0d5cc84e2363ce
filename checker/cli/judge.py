"""The command judge: a run's evidence judged again, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli import auditing, options

if TYPE_CHECKING:
    from checker.report.model import Audience


@click.command()
@click.argument("folder", metavar="RUN", type=options.RunFolder)
@click.option("--policy", type=options.File, help="Judge by another policy, in a folder below RUN.")
@options.format_option
@options.audience_option
@options.waivers_option
@options.no_waivers_option
@options.ledger_option
@options.as_of_option
@options.json_option
def judge(
    folder: Path,
    policy: Path | None,
    formats: str,
    audience: Audience,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    ledger: Path | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Judge a run's evidence again, without the model.

    Waivers that the run was judged with before count again, unless others are given; so does the
    attempt that it was registered as.
    """
    from checker import library

    names, moment = options.read_formats(formats), options.read_moment(as_of)
    granted = () if no_waivers else library.read_waivers(waivers) if waivers else None
    run, report = library.judged(
        folder,
        policy=library.load_policy(policy) if policy is not None else None,
        waivers=granted,
        ledger=ledger,
        as_of=moment,
    )
    auditing.finish(report, run, names, audience=audience, as_json=as_json)
