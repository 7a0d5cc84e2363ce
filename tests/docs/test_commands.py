"""What the documentation tells people to type is what the command line and make understand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from checker.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "examples" / "ci" / "README.md",
    ROOT / "policies" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|\$\w+|…|\.\.\.")


def commands(page: Path, word: str) -> list[str]:
    """Commands in blocks of shell, line by line, and in code within sentences."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line.strip()
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    spoken = [one.replace("\n", " ") for one in re.findall(r"`([^`]+)`", outside)]
    return [line for line in (*lines, *spoken) if re.match(rf"{word}( |$)", line)]


SHOWN = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")
    for page in PAGES
    for command in dict.fromkeys(commands(page, "phigate"))
]


def test_there_are_commands_to_look_at() -> None:
    assert len(SHOWN) > 40


def parse(words: list[str], group: click.Group) -> click.Command:
    """Walk to the command that is meant, and check the options that are given to it.

    Arguments may be missing in a sentence ("`phigate validate` warns"); what is there must fit.
    """
    command: click.Command = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        if PLACEHOLDER.fullmatch(name):
            return command
        assert name in command.commands, name
        command = command.commands[name]
    known = {
        option: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= dict.fromkeys(("--help", "-h", "--version"), click.Option(["--flag"], is_flag=True))
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    given = 0
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        option = word.partition("=")[0]
        assert option in known, option
        if not known[option].is_flag and "=" not in word and words:
            value = words.pop(0)
            kind = known[option].type
            if isinstance(kind, click.Choice) and not PLACEHOLDER.fullmatch(value):
                assert set(value.split("|")) <= set(map(str, kind.choices)), value
    limit = sum(one.nargs if one.nargs > 0 else 1000 for one in arguments)
    assert given <= limit, f"{given} arguments"
    return command


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_that_is_shown_parses(command: str) -> None:
    typed = re.split(r" #|\s\|\|?\s|\s&&\s|\s>\s", command)[0]
    parse(shlex.split(typed)[1:], cli)


@pytest.mark.parametrize(
    "command", ["phigate audit x", "phigate check --formats html", "phigate sign a b c"]
)
def test_a_command_that_does_not_exist_is_seen(command: str) -> None:
    with pytest.raises(AssertionError):
        parse(shlex.split(command)[1:], cli)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_has_the_targets_that_are_shown(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands(page, "make"):
        for target in re.findall(r"make ([a-z-]+)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), command


def test_files_that_pytest_is_shown_exist() -> None:
    for page in PAGES:
        for command in (*commands(page, "pytest"), *commands(page, "PHIGATE_UPDATE_GOLDEN=1")):
            for path in re.findall(r"tests/[\w./-]+", command):
                assert (ROOT / path).exists(), command
