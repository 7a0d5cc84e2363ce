"""The commands of target: a model and its description, before any policy."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, error_console, plain_table, show, told, write
from checker.cli.options import File, device_option, json_option
from checker.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from checker.run.target_examination import TargetExamination

_CODES = {"shown": ExitCode.PASS, "not shown": ExitCode.INCONCLUSIVE, "wrong": ExitCode.FAIL}
_STYLES = {"shown": "green", "not shown": "yellow", "wrong": "bold red"}


@click.group()
def target() -> None:
    """Describe a model, and see whether it was described rightly."""


_KINDS = ("hf-ehr", "huggingface", "meds-eic-ar", "token-table")
"""Those of `checker.importing`, which is not imported before it is used."""


@target.command("init")
@click.argument("source", metavar="DIR", type=File)
@click.option("--from", "kind", type=click.Choice(_KINDS), required=True, help="What DIR is of.")
@click.option("--data", type=File, metavar="MEDS", help="The patients: a MEDS data set.")
@click.option(
    "--loader",
    type=File,
    metavar="DIR",
    help="What the trainer's data loader wrote: a folder for meds-eic-ar, a token table.",
)
@click.option("--out", type=File, required=True, metavar="FOLDER", help="Where the target goes.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@json_option
def run_init(
    source: Path,
    kind: str,
    data: Path | None,
    loader: Path | None,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a target from what a trainer left in DIR, and say what was taken for granted."""
    from checker import importing

    with error_console().status("reading the trainer's files"):
        done = importing.init_target(kind, source, out=out, data=data, loader=loader, force=force)
    if as_json:
        emit_json(
            {
                "target": str(done.target),
                "written": [str(path) for path in done.written],
                "assumed": list(done.assumed),
                "left": list(done.left),
            }
        )
        return
    for path in done.written:
        write(f"wrote {path}")
    _list("taken for granted", done.assumed)
    _list("left to say, in the target", done.left)
    quoted = shlex.quote(str(done.target))
    write(f"next: {'say that, then ' if done.left else ''}`phigate target test {quoted}`")


def _list(title: str, sentences: Sequence[str]) -> None:
    if sentences:
        write(f"{title}:")
        for sentence in sentences:
            write(f"  * {sentence}")


@target.command("convert")
@click.argument("checkpoint", type=File)
@click.option(
    "--config",
    type=File,
    required=True,
    metavar="FILE",
    help="config.json of the architecture, or its folder.",
)
@click.option("--out", type=File, required=True, metavar="FOLDER", help="Where the model goes.")
@click.option("--force", is_flag=True, help="Overwrite a model that is there.")
@json_option
def run_convert(checkpoint: Path, config: Path, out: Path, force: bool, as_json: bool) -> None:
    """Write a trainer's CHECKPOINT as safetensors: Lightning, .pt, or a folder of shards.

    It is read in a process of its own, and nothing that it names is imported or run.
    """
    from checker import importing

    with error_console().status("reading the checkpoint"):
        done = importing.convert(checkpoint, out=out, config=config, force=force)
    if as_json:
        emit_json({**asdict(done), "out": str(done.out)})
        return
    formats = " and ".join(done.dtypes)
    write(f"wrote {done.out}: {done.parameters:,} numbers in {formats}; {done.summary}")
    if done.not_loaded:
        some = ", ".join(done.not_loaded[:3])
        write(f"not loaded: {len(done.not_loaded)} classes and functions that it names ({some})")
    write(f"next: name {done.out} as model.path of a target, then `phigate target test`")


@target.command("prompts")
@click.argument("path", metavar="TARGET", type=File)
@click.option("--policy", type=File, metavar="POLICY", required=True, help="Which prompts it asks.")
@click.option("--out", type=File, required=True, metavar="FILE", help="A Parquet file.")
@json_option
def run_prompts(path: Path, policy: Path, out: Path, as_json: bool) -> None:
    """Write the prompts that a policy asks a model that draws elsewhere.

    The file holds patients' records.
    """
    from checker import library
    from checker.run.asked_draws import write_asked_draws

    with error_console().status("reading the patients"):
        count = write_asked_draws(library.load_policy(policy), library.load_target(path), out=out)
    if as_json:
        emit_json({"written": str(out), "continuations": count})
    else:
        write(f"wrote {out}: {count:,} continuations to draw")


@target.command("test")
@click.argument("path", metavar="TARGET", type=File)
@click.option(
    "--policy",
    type=File,
    metavar="POLICY",
    help="Go through the lengths that this policy's audit uses. Default: whole records.",
)
@device_option
@json_option
def run_test(path: Path, policy: Path | None, device: str | None, as_json: bool) -> None:
    """Check a model against itself and against its description, as every audit does first.

    Exit codes: 0 all was shown, 1 something is wrong, 3 something could not be shown.
    """
    from checker import library

    with error_console().status("reading the patients and asking the model"):
        found = library.examine_target(
            library.load_target(path),
            policy=None if policy is None else library.load_policy(policy),
            device=device,
        )
    if as_json:
        emit_json({"answer": found.answer, **asdict(found)})
    else:
        show(partial(_print_test, found))
    raise click.exceptions.Exit(int(_CODES[found.answer]))


def _print_test(found: TargetExamination, console: Console) -> None:
    where = ", ".join(told(found.environment[key]) for key in ("backend", "device", "dtype"))
    console.print(f"[bold]{told(found.target)}[/] ({where}; {', '.join(found.capabilities)})")
    usage = found.usage
    console.print(
        f"records of up to {usage.longest_record:,} tokens; {usage.horizon_tokens:,} drawn after"
        f" prompts of up to {usage.longest_prompt:,}"
    )
    table = plain_table("", "what is to be shown", "what was found")
    for check in found.checks:
        style = _STYLES[check.answer]
        table.add_row(f"[{style}]{check.answer}[/]", told(check.title), told(check.found))
    console.print(table)
    left = [check for check in found.checks if check.answer != "shown"]
    if left:
        console.print("[bold]What to do next[/]")
        for step in dict.fromkeys(check.next_step for check in left):
            console.print(f"  {told(step)}")
    else:
        console.print("All of it was shown; `phigate plan` says what an audit could decide.")
