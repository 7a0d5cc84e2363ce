"""The commands of canaries: made-up patients, planted before training."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from checker.cli.console import tell
from checker.cli.options import File, json_option


@click.group()
def canaries() -> None:
    """Plant made-up patients before training, to audit what the model keeps of them."""


@canaries.command("make")
@click.argument("target", type=File)
@click.option("--out", type=File, required=True, help="Folder of the shard to train on.")
@click.option(
    "--manifest", type=File, required=True, help="The auditor's file, kept from those who train."
)
@click.option("--count", type=click.IntRange(20, 100_000), default=1000, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    help="To make them again; knowing it reveals who was left out. Default: random.",
)
@click.option(
    "--events", type=click.IntRange(4, 1000), default=32, show_default=True, help="In each."
)
@click.option(
    "--beacons",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Further ones that are certainly planted, and that a working attack must find.",
)
@click.option(
    "--repeats", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of a beacon."
)
@click.option(
    "--natural",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of canaries and beacons that begin and end like patients.",
)
@json_option
def make(
    target: Path,
    out: Path,
    manifest: Path,
    count: int,
    seed: int | None,
    events: int,
    beacons: int,
    repeats: int,
    natural: float,
    as_json: bool,
) -> None:
    """Draw canaries for TARGET, flip a coin for each, and write a MEDS shard of those included."""
    from checker.attacks.canary_exposure.making import make_canaries
    from checker.attacks.canary_exposure.manifest import CanarySettings
    from checker.policy import load_target

    spec = load_target(target).document.spec
    settings = CanarySettings(
        seed=secrets.randbits(63) if seed is None else seed,
        count=count,
        events=events,
        beacons=beacons,
        repeats=repeats,
        natural=natural,
    )
    made = make_canaries(
        spec, base=target.resolve().parent, settings=settings, out=out, manifest=manifest
    )
    copies = f", and {beacons} beacons {repeats} times each" if beacons else ""
    tell(
        f"wrote {out}: {made.included} of {count} canaries{copies}, to train on with split"
        f" '{made.split}'; see README.txt in it\n"
        f"wrote {manifest}: who was left out, and the seed; for the auditor only (mode 0600)",
        as_json,
        written=[out, manifest],
        included=made.included,
        split=made.split,
    )
