"""Defaults of a folder's `phigate.toml`, put into the command line as if they had been typed.

    [defaults]                      # of every command that has the option
    ledger = "/srv/phigate/ledger.jsonl"

    [check]
    format = ["html", "json", "junit"]
    device = "cuda:0"

Only where and how to work can be set: nothing that decides what is judged, by what, or for when,
for a file that nobody looks at must not turn a failure into a pass. What was taken from it is said,
stands in the record of the run, and gives way to what is typed and to environment variables.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from checker.errors import UsageError
from checker.plugins import nearest_or_all

DEFAULTS_FILE: Final = "phigate.toml"
EVERY: Final = "defaults"
SETTABLE: Final = (
    "audience", "device", "executor", "format", "key", "ledger", "ray-address",
    "threads-per-worker", "workers",
)  # fmt: skip
"""Options that say where and how, by name."""


def defaults_for(program: click.Group, arguments: Sequence[str], *, file: Path) -> list[str]:
    """Return what a file of defaults adds to a command, as words of the command line.

    Args:
        program: knows the commands.
        arguments: as typed, without the program's name.
        file: need not be there.

    Raises:
        UsageError: the file cannot be read, or sets what there is not or what must be typed.
    """
    if not file.is_file():
        return []
    tables = _read(file, program)
    path = _command(program, arguments)
    if path is None:
        return []
    command, name = path
    options = {
        flag.removeprefix("--"): one
        for one in command.params
        if isinstance(one, click.Option)
        for flag in one.opts
        if flag.startswith("--")
    }
    # what a command's own table says comes after what holds for all
    wanted = {**tables.get(EVERY, {}), **tables.get(name, {})}
    found: list[str] = []
    for key, value in wanted.items():
        option = options.get(key)
        if option is None or (isinstance(option.envvar, str) and os.environ.get(option.envvar)):
            continue
        found += [f"--{key}", value]
    return found


def place_for(program: click.Group, arguments: Sequence[str]) -> int:
    """Return behind how many words the name of the command ends."""
    found = _command(program, arguments)
    return 0 if found is None else len(found[1].split(" "))


def _command(program: click.Group, arguments: Sequence[str]) -> tuple[click.Command, str] | None:
    """Return the command that arguments name, and its name in full; None where they name none."""
    command: click.Command = program
    names: list[str] = []
    for word in arguments:
        if not isinstance(command, click.Group):
            break
        if word not in command.commands:
            return None
        command = command.commands[word]
        names.append(word)
    return None if isinstance(command, click.Group) else (command, " ".join(names))


def _read(file: Path, program: click.Group) -> dict[str, dict[str, str]]:
    """Read a file of defaults: a table a command, each with options and their values as text."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: cannot be read as TOML: {error}") from error
    known = [EVERY, *_names(program)]
    tables: dict[str, dict[str, str]] = {}
    for name, table in _flat(content).items():
        if name not in known:
            raise UsageError(f"{file}: there is no command '{name}'{nearest_or_all(name, known)}")
        command = None if name == EVERY else _command(program, name.split(" "))
        for key, value in table.items():
            if key not in SETTABLE:
                hint = nearest_or_all(key, SETTABLE)
                raise UsageError(f"{file}: {name}.{key} cannot be set here{hint}")
            flags = [] if command is None else [f for one in command[0].params for f in one.opts]
            if command is not None and f"--{key}" not in flags:
                raise UsageError(f"{file}: `phigate {name}` has no option --{key}")
            tables.setdefault(name, {})[key] = _text(value, f"{file}: {name}.{key}")
    return tables


def _flat(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the tables of commands, with `[ledger.list]` as "ledger list"."""
    tables: dict[str, Mapping[str, Any]] = {}
    for name, table in content.items():
        if not isinstance(table, dict):
            raise UsageError(
                f"{DEFAULTS_FILE}: '{name}' stands in no table; write it below [{EVERY}] or below"
                " the name of a command, such as [check]"
            )
        inner = {key: one for key, one in table.items() if isinstance(one, dict)}
        own = {key: one for key, one in table.items() if key not in inner}
        if own or not inner:
            tables[name] = own
        tables |= {f"{name} {key}": one for key, one in inner.items()}
    return tables


def _names(program: click.Group) -> list[str]:
    names: list[str] = []
    for name, command in program.commands.items():
        inner = command.commands if isinstance(command, click.Group) else None
        names += [name] if inner is None else [f"{name} {one}" for one in inner]
    return names


def _text(value: Any, where: str) -> str:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where}: write a text, a number or a list of texts")
