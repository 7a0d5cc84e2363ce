"""The command init: a commented policy, its tests, a target and a submission, to be changed."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from checker.cli.console import tell
from checker.cli.options import File, json_option
from checker.errors import UsageError


@click.command()
@click.argument("folder", type=File, default=Path())
@click.option(
    "--baseline",
    metavar="NAME",
    default="starter",
    show_default=True,
    help="A shipped policy, such as baseline-gated; an unknown name lists them.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@json_option
def init(folder: Path, baseline: str, force: bool, as_json: bool) -> None:
    """Write a commented policy, its tests, a target and a submission, to be changed."""
    from checker.cli.published_schemas import write_schemas
    from checker.policy import DOCUMENT_KINDS
    from checker.policy.shipped import starter_files

    files = starter_files(baseline)
    for name in files:
        if (folder / name).exists() and not force:
            raise UsageError(f"{folder / name}: is there already; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    schemas = folder / "schemas"
    write_schemas(schemas, kinds=DOCUMENT_KINDS)  # nobody writes the other files by hand
    both = shlex.join([str(folder / "policy.yaml"), str(folder / "target.yaml")])
    tests = shlex.quote(str(folder / "policy-tests.yaml"))
    written = [folder / name for name in files]
    said = [f"wrote {path}" for path in written]
    said += [
        f"wrote {schemas}, which explains each field in editors that know yaml-language-server",
        f"next: edit them, then `phigate validate {both}` and `phigate test {tests}`",
    ]
    tell("\n".join(said), as_json, written=[*written, schemas])
