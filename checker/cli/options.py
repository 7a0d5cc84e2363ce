"""Options that several commands share, and how what is given to them is read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from checker import clock
from checker.errors import PluginError, UsageError
from checker.plugins import BUILT_IN, load_plugin, plugin_names

File = click.Path(path_type=Path)


class Existing(click.ParamType[Path]):
    """A file or folder that has to be there: what a user names and is not, is a mistake (exit 2).

    Args:
        what: it is, in a word.
        hint: what to do where there is none; `{path}` in it is what was named.
    """

    name = "path"

    def __init__(self, what: str, *, hint: str = "") -> None:
        self.what, self.hint = what, hint

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path.

        Raises:
            UsageError: there is nothing.
        """
        path = Path(value)
        try:
            there = path.exists()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            hint = self.hint.format(path=shlex.quote(str(path)))
            raise UsageError(f"{path}: there is no such {self.what}{hint}")
        return path


LedgerFile = Existing(
    "ledger", hint="; check the path, or start one with `phigate ledger make {path}`"
)
RunFolder = click.Path(path_type=Path, exists=True, file_okay=False)


def read_moment(text: str | None) -> datetime:
    """Read `--as-of`; without one it is now."""
    if text is None:
        return clock.current_time().replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--as-of {text}: write an ISO 8601 time like 2026-10-01T12:00Z"
        ) from error
    if not 1970 <= moment.year <= 9000:
        raise UsageError(f"--as-of {text}: is out of range; write a year from 1970 to 9000")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_formats(text: str) -> list[str]:
    """Read `--format`; JSON is always written, for `verify` and `report` read it.

    What a format lacks is said before anything is measured, and not when it is to be written.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = plugin_names("phigate.reports")
    for name in names:
        if name not in known:
            raise UsageError(
                f"--format {name}: there is no such format; there are {', '.join(known)}"
            )
        lacking = load_plugin("phigate.reports", name).lacking()
        if lacking is not None:
            raise PluginError(f"--format {name}: {lacking}")
    return list(dict.fromkeys(["json", *names]))


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
others_option = click.option(
    "--skip-others",
    is_flag=True,
    help="Pass over files that are not phigate's; for hooks, which name every YAML file.",
)
as_of_option = click.option("--as-of", metavar="TIME", help="Judge for this time (ISO 8601).")
format_option = click.option(
    "--format",
    "formats",
    default="html,json",
    show_default=True,
    help=f"Reports, comma-separated: {', '.join(sorted(BUILT_IN['phigate.reports']))}.",
)
out_option = click.option(
    "--out", type=File, required=True, help="The run's folder; a run there is resumed."
)
audience_option = click.option(
    "--audience",
    type=click.Choice(["shared", "internal"]),
    default="shared",
    show_default=True,
    help="internal shows small cells too, for the audit team, in a folder of its own.",
)
waivers_option = click.option(
    "--waivers", type=File, multiple=True, metavar="FILE", help="Waivers to judge with; repeatable."
)
ledger_option = click.option(
    "--ledger",
    type=LedgerFile,
    envvar="PHIGATE_LEDGER",
    show_envvar=True,
    help="The institution's attempt ledger; a further attempt is judged more strictly.",
)
no_waivers_option = click.option(
    "--no-waivers", is_flag=True, help="Judge as if nothing were waived."
)


def _device(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise UsageError(f"--device {value}: write auto, cpu, cuda or cuda:N")
    return value


device_option = click.option(
    "--device", callback=_device, help="auto, cpu, cuda or cuda:N; default: the target's."
)
fresh_option = click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on, or empty the folder first."
)


def executor_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where jobs run; `audits` chooses an executor by them."""
    options = (
        click.option(
            "--executor",
            type=click.Choice(["serial", "ray"]),
            default="serial",
            show_default=True,
            help="Run jobs one after another, or on several workers (extra: ray).",
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            help="A Ray cluster's head node; default: workers on this machine only.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Each holds patients and model in memory; default: one a GPU, or a CPU.",
        ),
        click.option(
            "--threads-per-worker",
            type=click.IntRange(min=1),
            metavar="N",
            help="CPU threads of each; default: 1.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
